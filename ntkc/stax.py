"""Layers with the names, arguments and results of `neural_tangents.stax`.

    init_fn, apply_fn, kernel_fn = stax.serial(stax.Dense(512), stax.Relu(), stax.Dense(10))

A layer is also what `ntkc.compile` takes. Finite networks draw the same weights as the peer for the same key.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import numpy as np
import sympy as sp
from jax import lax

from ntkc.errors import InvalidInput, unknown
from ntkc.ir.exact import whole
from ntkc.ir.layout import PLAIN, Layout
from ntkc.ir.maps import PADDINGS
from ntkc.ir.op import Op, Scalar
from ntkc.layers import (
    activations,
    aggregate,
    attention,
    branching,
    channels,
    conv,
    dense,
    given,
    linear_maps,
    norm,
    pooling,
    resampling,
    reshape,
)
from ntkc.networks import samples
from ntkc.networks.kernel_fn import Layer, tree_of
from ntkc.networks.requirements import Bool as Bool
from ntkc.networks.requirements import Diagonal as Diagonal
from ntkc.networks.requirements import MaskedArray as MaskedArray
from ntkc.networks.requirements import requires as requires
from ntkc.networks.requirements import supports_masking as supports_masking
from ntkc.networks.requirements import unmask_fn as unmask_fn
from ntkc.networks.tree import Leaf, Parallel, Repeated, Serial, picked
from ntkc.networks.triples import Triple
from ntkc.tracing import expression_of


def _choices(name: str, values: Sequence[str]) -> Any:
    """An enum whose members are the words that an argument takes."""
    return enum.Enum(name, {value: value for value in values}, module=__name__)


Padding = _choices("Padding", PADDINGS)
AggregateImplementation = _choices("AggregateImplementation", aggregate.IMPLEMENTATIONS)
AttentionMechanism = _choices("AttentionMechanism", attention.MECHANISMS)
PositionalEmbedding = _choices("PositionalEmbedding", attention.EMBEDDINGS)


def layer(layer_fn: Callable[..., Any]) -> Callable[..., Layer]:
    """@layer above a function that returns (init_fn, apply_fn, kernel_fn), kernel_fn a function of Kernels.

    Such layers stand among others; kernel_fn of their network goes on from Kernel to Kernel. They have no formula, and
    so no program, source or LaTeX: `ntkc.layers.Op` has all of these.
    """

    @wraps(layer_fn)
    def made(*args: Any, **kwargs: Any) -> Layer:
        return Layer(Triple(layer_fn.__name__, *layer_fn(*args, **kwargs)))

    return made


def from_op(op: Op) -> Layer:
    """(init_fn, apply_fn, kernel_fn) of any `ntkc.layers.Op`: the way to a layer of one's own."""
    return Layer(Leaf(type(op).__name__, op))


def serial(*layers: Any) -> Layer:
    """Layers one after another."""
    return Layer(Serial("serial", tuple(tree_of(layer) for layer in layers)))


def parallel(*layers: Any) -> Layer:
    """Layers side by side, each on one branch of a FanOut."""
    return Layer(Parallel("parallel", tuple(tree_of(layer) for layer in layers)))


def repeat(layer: Any, n: int) -> Layer:
    """One layer n times, each with weights of its own; outputs need the shape of inputs."""
    return Layer(Repeated("repeat", tree_of(layer), whole(n, "repeat n", 0)))


def _layer(op: Op, layout: Layout | None = None, layout_out: Layout | None = None) -> Layer:
    return Layer(Leaf(type(op).__name__, op, layout, layout_out))


def Dense(
    out_dim: int,
    W_std: Scalar = 1.0,
    b_std: Scalar | None = None,
    batch_axis: int = 0,
    channel_axis: int = -1,
    parameterization: str = "ntk",
    s: tuple[int, int] = (1, 1),
) -> Layer:
    """K -> W_std^2 K + b_std^2,  T -> K' + W_std^2 T:  a fully connected layer."""
    return _layer(dense.Dense(out_dim, W_std, b_std, parameterization, s), Layout(batch_axis, channel_axis))


def Conv(
    out_chan: int,
    filter_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
    W_std: Scalar = 1.0,
    b_std: Scalar | None = None,
    dimension_numbers: tuple[str, str, str] | None = None,
    parameterization: str = "ntk",
    s: tuple[int, int] = (1, 1),
    dilation: Sequence[int] | None = None,
    groups: int = 1,
) -> Layer:
    """K[p, p'] -> W_std^2 / w sum_d K[s p + d, s p' + d] + b_std^2:  a convolution over any number of spatial axes."""
    axes = _filter_axes(filter_shape, dimension_numbers)
    sizes = (axes.ordered(filter_shape), axes.ordered(strides))
    own = (out_chan, *sizes, padding, W_std, b_std, parameterization, s)
    return axes.layer(conv.Conv(*own, axes.ordered(dilation), groups))


def ConvTranspose(
    out_chan: int,
    filter_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
    W_std: Scalar = 1.0,
    b_std: Scalar | None = None,
    dimension_numbers: tuple[str, str, str] | None = None,
    parameterization: str = "ntk",
    s: tuple[int, int] = (1, 1),
) -> Layer:
    """K[p, p'] -> W_std^2 / w sum_d K[(p - d) / s, (p' - d) / s] + b_std^2:  a transposed convolution."""
    axes = _filter_axes(filter_shape, dimension_numbers)
    sizes = (axes.ordered(filter_shape), axes.ordered(strides))
    return axes.layer(conv.ConvTranspose(out_chan, *sizes, padding, W_std, b_std, parameterization, s))


def ConvLocal(
    out_chan: int,
    filter_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
    W_std: Scalar = 1.0,
    b_std: Scalar | None = None,
    dimension_numbers: tuple[str, str, str] | None = None,
    parameterization: str = "ntk",
    s: tuple[int, int] = (1, 1),
) -> Layer:
    """K[p, p] as in Conv, K[p, p'] = 0:  a convolution with a filter of its own at each place."""
    axes = _filter_axes(filter_shape, dimension_numbers)
    if list(axes.lhs) != [c for c in axes.rhs if c in axes.lhs]:
        raise InvalidInput(f"ConvLocal(dimension_numbers={dimension_numbers}): pixels of data and filters in one order")
    sizes = (axes.ordered(filter_shape), axes.ordered(strides))
    return axes.layer(conv.ConvLocal(out_chan, *sizes, padding, W_std, b_std, parameterization, s))


def _tuple(given: Sequence[int] | None) -> Any:
    return tuple(given) if isinstance(given, (list, tuple)) else given


@dataclass(frozen=True)
class _FilterAxes:
    """Dimension numbers of a convolution: letters of the pixels of data, of filters with I and O, of outputs."""

    lhs: str
    rhs: str
    out: str
    layout: Layout
    layout_out: Layout

    def ordered(self, given: Any) -> Any:
        """What is given for each axis of the filter, in the order of the pixels of the data."""
        own = [c for c in self.rhs if c not in "IO"]
        if not isinstance(given, (list, tuple)) or len(given) != len(own):
            return _tuple(given)
        return tuple(given[own.index(c)] for c in self.lhs)

    def layer(self, op: Op) -> Layer:
        """The layer, whose pixels are those of the data, and then turned."""
        order = tuple(self.lhs.index(c) for c in self.out)
        turn = None if order == tuple(range(len(order))) else linear_maps.Permute(order)
        filters = tuple((self.lhs + "IO").index(c) for c in self.rhs)
        return Layer(Leaf(type(op).__name__, op, self.layout, self.layout_out, turn, filters))


def _filter_axes(filter_shape: Any, given: Sequence[str] | None) -> _FilterAxes:
    """What dimension numbers say; None is samples first and channels last, filters [..., in, out]."""
    count = len(filter_shape) if isinstance(filter_shape, (list, tuple)) else 0
    lhs, rhs, out = (str(part) for part in given) if given is not None else conv.channels_last(count)
    pixels, pixels_out = ("".join(c for c in spec if c not in "NC") for spec in (lhs, out))
    letters = set(pixels)
    wanted = {lhs: letters | set("NC"), rhs: letters | set("IO"), out: letters | set("NC")}
    if any(set(spec) != known or len(spec) != count + 2 for spec, known in wanted.items()) or len(letters) != count:
        raise InvalidInput(
            f"dimension_numbers={given} with a filter of {count} axes: data and output need N, C and a letter for each "
            "axis, the filter I, O and the same letters, as ('NHWC', 'HWIO', 'NHWC')"
        )
    places = (Layout(spec.index("N"), spec.index("C"), count + 2) for spec in (lhs, out))
    return _FilterAxes(pixels, rhs, pixels_out, *places)


def AvgPool(
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
    normalize_edges: bool = False,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> Layer:
    """K[p, p'] -> 1/w^2 sum_d sum_d' K[s p + d, s p' + d']:  the mean of a window."""
    op = pooling.AvgPool(_tuple(window_shape), _tuple(strides), padding, normalize_edges)
    return _layer(op, Layout(batch_axis, channel_axis, len(op.window_shape) + 2))


def SumPool(
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> Layer:
    """K[p, p'] -> sum_d sum_d' K[s p + d, s p' + d']:  the sum of a window."""
    op = pooling.SumPool(_tuple(window_shape), _tuple(strides), padding)
    return _layer(op, Layout(batch_axis, channel_axis, len(op.window_shape) + 2))


def GlobalAvgPool(batch_axis: int = 0, channel_axis: int = -1) -> Layer:
    """K -> 1/P^2 sum_p sum_p' K[p, p']:  the mean of all pixels."""
    return _layer(pooling.GlobalAvgPool(), Layout(batch_axis, channel_axis))


def GlobalSumPool(batch_axis: int = 0, channel_axis: int = -1) -> Layer:
    """K -> sum_p sum_p' K[p, p']:  the sum of all pixels."""
    return _layer(pooling.GlobalSumPool(), Layout(batch_axis, channel_axis))


def LayerNorm(
    axis: int | Sequence[int] = -1, eps: Scalar = 1e-12, batch_axis: int = 0, channel_axis: int = -1
) -> Layer:
    """K -> K / sqrt((v1 + eps) (v2 + eps)):  normalisation over channels, and spatial axes if `axis` has them."""
    layout = Layout(batch_axis, channel_axis)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    if layout.samples in axes:
        return Layer(samples.normalised(axes, float(eps), layout))
    return _layer(norm.LayerNorm(tuple(layout.plain_axis(a) for a in axes), eps), layout)


def RMSNorm(eps: Scalar = 1e-12) -> Layer:
    """K -> K / sqrt((q1 + eps) (q2 + eps)):  each pixel divided by the root mean square of its channels."""
    return _layer(norm.RMSNorm(eps), PLAIN)


def Gains(gain: Scalar = 1.0) -> Layer:
    """K -> gain^2 K,  T -> gain^2 T + K:  a trained factor for each channel, which begins as `gain`."""
    return _layer(channels.Gains(gain))


def Shifts(b_std: Scalar = 0.0, is_local: bool = False) -> Layer:
    """K -> K + b_std^2,  T -> T + 1:  a trained bias for each channel, with `is_local` at each pixel."""
    return _layer(channels.Shifts(b_std, is_local))


def GroupNorm(groups: int = 1, eps: Scalar = 1e-5) -> Layer:
    """K -> K / sqrt((v1 + eps) (v2 + eps)),  v averaged over all pixels:  normalisation of groups of channels."""
    return _layer(norm.GroupNorm(groups, eps), PLAIN)


def Dropout(rate: float, mode: str = "train") -> Layer:
    """K -> K / rate where both sides are one pixel of one sample; `rate` is the probability to KEEP an entry."""
    return _layer(norm.Dropout(rate, mode))


def GlobalSelfAttention(
    n_chan_out: int,
    n_chan_key: int,
    n_chan_val: int,
    n_heads: int,
    linear_scaling: bool = True,
    W_key_std: Scalar = 1.0,
    W_value_std: Scalar = 1.0,
    W_query_std: Scalar = 1.0,
    W_out_std: Scalar = 1.0,
    b_std: Scalar | None = None,
    attention_mechanism: Any = "SOFTMAX",
    pos_emb_type: Any = "NONE",
    pos_emb_p_norm: Scalar = 2,
    pos_emb_decay_fn: Callable[[Any], Any] | str | sp.Expr | None = None,
    n_chan_pos_emb: int | None = None,
    W_pos_emb_std: Scalar = 1.0,
    val_pos_emb: bool = False,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> Layer:
    """K -> O^2 G1 K G2^T + b_std^2,  G = zeta(W_q W_k K~):  attention of all positions to all; see layers.attention."""
    decay = expression_of(pos_emb_decay_fn) if callable(pos_emb_decay_fn) else pos_emb_decay_fn
    scales = (W_key_std, W_value_std, W_query_std, W_out_std, b_std)
    embedding = (pos_emb_type, pos_emb_p_norm, decay, n_chan_pos_emb, W_pos_emb_std, val_pos_emb)
    sizes = (n_chan_out, n_chan_key, n_chan_val, n_heads, linear_scaling)
    op = attention.GlobalSelfAttention(*sizes, *scales, attention_mechanism, *embedding)
    return _layer(op, Layout(batch_axis, channel_axis))


def Index(idx: Any, batch_axis: int = 0, channel_axis: int = -1) -> Layer:
    """K[p, p'] -> K[i_p, i_p']:  `idx` as in numpy, `stax.Slice[:, 1:5, ::2]`; samples and channels stay whole."""
    layout = Layout(batch_axis, channel_axis)
    parts = idx if isinstance(idx, tuple) else (idx,)
    if _picks_samples_or_channels(parts, layout):
        return Layer(samples.index(parts, layout))
    return _layer(resampling.Index(_spatial_parts(parts, layout)), layout)


def _placed(parts: tuple[Any, ...], layout: Layout) -> list[tuple[Any, int]]:
    """The parts of an index and their axes, 0 that of samples and -1 that of channels."""
    if parts.count(Ellipsis) > 1:
        raise InvalidInput(f"Index({parts}): one Ellipsis at most")
    if any(part is not Ellipsis and not isinstance(part, (int, slice)) for part in parts):
        raise InvalidInput(f"Index({parts}): whole numbers and slices of axes are supported")
    if Ellipsis not in parts:
        while parts and parts[-1] == slice(None):
            parts = parts[:-1]
    place = parts.index(Ellipsis) if Ellipsis in parts else len(parts)
    return [(part, layout.plain_axis(i if i <= place else i - len(parts))) for i, part in enumerate(parts)]


def _picks_samples_or_channels(parts: tuple[Any, ...], layout: Layout) -> bool:
    return any(axis in (0, -1) and part not in (Ellipsis, slice(None)) for part, axis in _placed(parts, layout))


def _spatial_parts(parts: tuple[Any, ...], layout: Layout) -> tuple[Any, ...]:
    """The parts of spatial axes: without those of samples and channels, which stay whole."""
    placed = _placed(parts, layout)
    return tuple(_plain_part(part) for part, axis in placed if part is Ellipsis or axis not in (0, -1))


def _plain_part(part: Any) -> Any:
    if part is Ellipsis:
        return resampling.REST
    return (part.start, part.stop, part.step) if isinstance(part, slice) else part


class _Slice:
    """Slice[:, 1:5]: the index itself."""

    def __getitem__(self, idx: Any) -> Any:
        return idx


Slice = _Slice()


def ImageResize(
    shape: Sequence[int],
    method: Any,
    antialias: bool = True,
    precision: Any = lax.Precision.HIGHEST,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> Layer:
    """K -> A K A^T,  A the interpolation along each axis; -1 keeps a size. `precision` is always the highest."""
    layout = Layout(batch_axis, channel_axis, len(shape))
    if shape[layout.on(len(shape)).samples] != -1:
        return _resized_samples(tuple(shape), method, antialias, layout)
    return _layer(resampling.ImageResize(picked(shape, layout.order(len(shape))), method, antialias), layout)


def _resized_samples(shape: tuple[int, ...], method: Any, antialias: bool, layout: Layout) -> Layer:
    """ImageResize of the samples, and then of the pixels as the layer of pixels has it."""
    batch, size = layout.on(len(shape)).samples, shape[layout.on(len(shape)).samples]
    rest = ImageResize([-1 if a == batch else n for a, n in enumerate(shape)], method, antialias, **_axes(layout))
    op = resampling.ImageResize(picked(tuple(-1 for _ in shape), range(len(shape))), method, antialias)

    def matrix(count: int) -> Any:
        return resampling.matrix(count, size, op.method, antialias)

    return Layer(samples.resized(shape, op.method, antialias, matrix, rest[2], layout))


def _axes(layout: Layout) -> dict[str, Any]:
    return {"batch_axis": layout.samples, "channel_axis": layout.channels}


def Permute(order: Sequence[int]) -> Layer:
    """y[p_a, p_b, ...] = x[p_1, p_2, ...]:  spatial axes in another order, 0 the first; channels are last."""
    return _layer(linear_maps.Permute(_tuple(order)), PLAIN)


def DotGeneral(
    *,
    lhs: Any = None,
    rhs: Any = None,
    dimension_numbers: Any = (((), ()), ((), ())),
    precision: Any = None,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> Layer:
    """K -> A K A^T:  jax.lax.dot_general of the input with a constant array, `rhs` or `lhs`; samples stay apart.

    `precision` is accepted for compatibility, and always the highest.
    """
    layout = Layout(batch_axis, channel_axis)
    if lhs is not None and rhs is not None:
        raise InvalidInput("DotGeneral: one of lhs and rhs is the input; give the other only")
    if lhs is None and rhs is None:
        return _layer(reshape.Identity(), layout)
    array = np.asarray(rhs if lhs is None else lhs, float)
    sides = (tuple(pair) if lhs is None else tuple(pair)[::-1] for pair in dimension_numbers)
    (summed, array_summed), (shared, array_shared) = sides
    axes = [[layout.plain_axis(int(a)) for a in own] for own in (summed, shared)]
    if any(a == 0 for own in axes for a in own):
        return Layer(samples.product(array, lhs is not None, dimension_numbers))
    if any(a < 0 for own in axes for a in own):
        raise InvalidInput(
            f"DotGeneral(dimension_numbers={dimension_numbers}): products over channels, which are infinitely many, "
            "are not supported"
        )
    pixels = [tuple(a - 1 for a in own) for own in axes]
    own = (tuple(array.ravel().tolist()), array.shape, pixels[0], tuple(array_summed), pixels[1], tuple(array_shared))
    return _layer(linear_maps.DotGeneral(*own, is_left=lhs is not None), layout)


def _as_given(pattern: Any) -> Any:
    return pattern


def Aggregate(
    aggregate_axis: int | Sequence[int] | None = None,
    batch_axis: int = 0,
    channel_axis: int = -1,
    to_dense: Callable[[Any], Any] | None = _as_given,
    implementation: Any = "DENSE",
) -> Layer:
    """K -> A1^T K A2:  sums over the edges of a graph for each sample, the `pattern` of apply_fn and kernel_fn.

    apply_fn takes `pattern`, kernel_fn a pair of them, for x1 and x2; None is the identity. "DENSE": weights of edges
    [samples, tails ..., heads ...] over the aggregated axes, made of the pattern by `to_dense`. "SPARSE": whole numbers
    [samples, edges, axes, 2], tails and heads of edges; negative ones stand for none.
    """
    name = str(getattr(implementation, "value", implementation)).upper()
    if name not in aggregate.IMPLEMENTATIONS:
        raise unknown("implementation", implementation, aggregate.IMPLEMENTATIONS)
    layout = Layout(batch_axis, channel_axis)
    axes = (aggregate_axis,) if isinstance(aggregate_axis, int) else aggregate_axis
    plain = None if axes is None else tuple(layout.plain_axis(a) for a in axes)
    function = None if name == "SPARSE" or to_dense is _as_given else to_dense
    return Layer(Leaf("Aggregate", aggregate.Aggregate(plain, name == "SPARSE"), layout, to_dense=function))


def Identity() -> Layer:
    """y = x."""
    return _layer(reshape.Identity())


def Flatten(batch_axis: int = 0, batch_axis_out: int = 0) -> Layer:
    """K -> 1/P sum_p K[p, p] over P pixels; y = x on [samples, features]."""
    if batch_axis_out not in (-2, -1, 0, 1):
        raise InvalidInput(f"Flatten(batch_axis_out={batch_axis_out}): the output has two axes")
    samples = batch_axis_out % 2
    return _layer(reshape.Flatten(), Layout(batch_axis, None), Layout(samples, 1 - samples, 2))


def FanOut(num: int) -> Layer:
    """x -> [x, ..., x]."""
    return _layer(reshape.FanOut(num))


def FanInSum() -> Layer:
    """[x_1, ..., x_m] -> x_1 + ... + x_m; correlated branches are exact."""
    return _layer(branching.FanInSum())


def FanInProd() -> Layer:
    """[x_1, ..., x_m] -> x_1 ... x_m, of independent branches."""
    return _layer(branching.FanInProd())


def FanInConcat(axis: int = -1) -> Layer:
    """[x_1, ..., x_m] -> concatenated along the channels (-1) or a spatial axis, of independent branches."""
    return Layer(samples.concatenated()) if axis == 0 else _layer(branching.FanInConcat(axis))


def Relu(do_stabilize: bool = False) -> Layer:
    """max(x, 0). Kernels are stable for all norms; `do_stabilize` is accepted for compatibility."""
    return _layer(activations.Relu())


def LeakyRelu(alpha: Scalar, do_stabilize: bool = False) -> Layer:
    """alpha min(x, 0) + max(x, 0)."""
    return _layer(activations.LeakyRelu(alpha))


def ABRelu(a: Scalar, b: Scalar, do_stabilize: bool = False) -> Layer:
    """a min(x, 0) + b max(x, 0)."""
    return _layer(activations.ABRelu(a, b))


def Abs(do_stabilize: bool = False) -> Layer:
    """|x|."""
    return _layer(activations.Abs())


def Erf(a: Scalar = 1.0, b: Scalar = 1.0, c: Scalar = 0.0) -> Layer:
    """a erf(b x) + c."""
    return _layer(activations.Erf(a, b, c))


def Sin(a: Scalar = 1.0, b: Scalar = 1.0, c: Scalar = 0.0) -> Layer:
    """a sin(b x + c)."""
    return _layer(activations.Sin(a, b, c))


def Cos(a: Scalar = 1.0, b: Scalar = 1.0, c: Scalar = 0.0) -> Layer:
    """a cos(b x + c)."""
    return _layer(activations.Cos(a, b, c))


def Exp(a: Scalar = 1.0, b: Scalar = 1.0) -> Layer:
    """a exp(b x)."""
    return _layer(activations.Exp(a, b))


def Scale(by: Scalar) -> Layer:
    """by x:  K -> by^2 K,  T -> by^2 T;  after any layer, pools and the data among them."""
    return _layer(activations.Scale(by))


def Frozen(layer: Any) -> Layer:
    """A layer, or several in one, whose weights are drawn and not trained: T without what their derivatives add."""
    return Layer(tree_of(layer).mapped(lambda op: replace(op, frozen=True)))


def Monomial(degree: int) -> Layer:
    """x^degree."""
    return _layer(activations.Monomial(degree))


def Polynomial(coef: Sequence[Scalar]) -> Layer:
    """coef[0] + coef[1] x + coef[2] x^2 + ..."""
    return _layer(activations.Polynomial(tuple(coef)))


def RectifiedMonomial(degree: int) -> Layer:
    """max(x, 0)^degree; the unit step for degree 0."""
    return _layer(activations.RectifiedMonomial(degree))


def Hermite(degree: int) -> Layer:
    """The Hermite polynomial He_degree(x) / sqrt(degree!), exact for every variance (the peer assumes 1)."""
    return _layer(activations.Hermite(degree))


def Sign() -> Layer:
    """sign(x), with derivative 0."""
    return _layer(activations.Sign())


def Gaussian(a: Scalar = 1.0, b: Scalar = -1.0) -> Layer:
    """a exp(b x^2)."""
    return _layer(activations.Gaussian(a, b))


def Gabor() -> Layer:
    """exp(-x^2) sin(x)."""
    return _layer(activations.Gabor())


def Rbf(gamma: Scalar = 1.0) -> Layer:
    """sqrt(2) sin(sqrt(2 gamma) x + pi / 4): random Fourier features of the kernel exp(-gamma |x - x'|^2)."""
    return _layer(activations.Rbf(gamma))


def Gelu(approximate: bool = False) -> Layer:
    """x Phi(x), or its approximation by tanh (whose kernels are then those of that function, as a series)."""
    return _layer(activations.Gelu(approximate))


def Sigmoid_like() -> Layer:
    """erf(x / 2.4020563531719796) / 2 + 1 / 2: close to the logistic sigmoid, with a closed form."""
    return Erf(0.5, 1 / 2.4020563531719796, 0.5)


def Activation(expr: str | sp.Expr | Callable[[Any], Any]) -> Layer:
    """Any nonlinearity: text such as "x*erf(x)", a sympy expression, or a jax.numpy function of one number.

    Its kernels are closed forms where they exist, else series with a certified error (see `explain()`).
    """
    return _layer(activations.Activation(expression_of(expr) if callable(expr) else expr))


def Tanh() -> Layer:
    """tanh(x)."""
    return Activation("tanh(x)")


def Sigmoid() -> Layer:
    """1 / (1 + exp(-x))."""
    return Activation("sigmoid(x)")


def Softplus() -> Layer:
    """log(1 + exp(x))."""
    return Activation("softplus(x)")


def Silu() -> Layer:
    """x / (1 + exp(-x))."""
    return Activation("silu(x)")


def Elu() -> Layer:
    """max(x, 0) + exp(min(x, 0)) - 1."""
    return Activation("elu(x)")


def ElementwiseNumerical(fn: Callable[[Any], Any], deg: int, df: Callable[[Any], Any] | None = None) -> Layer:
    """fn(x) of any jax.numpy function, derived from the expression that tracing it gives.

    `deg` (the peer's quadrature degree) and `df` are accepted for compatibility: the derivative is derived, and the
    error is that of `ntkc.compile(..., tolerance=...)`, whatever the degree.
    """
    whole(deg, "deg")
    return Activation(fn)


def Elementwise(
    fn: Callable[[Any], Any] | str | sp.Expr | None = None,
    nngp_fn: Callable[[Any, Any, Any], Any] | sp.Expr | None = None,
    d_nngp_fn: Callable[[Any, Any, Any], Any] | sp.Expr | None = None,
) -> Layer:
    """fn(x) with K = nngp_fn(cov12, var1, var2) and T = d_nngp_fn(cov12, var1, var2) T, jax.numpy functions.

    They are traced once into expressions of k, q1 and q2, which may be given as well: kernels have formulas, LaTeX and
    JSON. Without `d_nngp_fn` it is the exact derivative in k; without `nngp_fn` both are derived from `fn` (the peer
    then has no kernel); without `fn` there is no finite network.

    Raises:
        UnsupportedExpr: a function that uses what has no expression. InvalidInput: neither fn nor nngp_fn is given.
    """
    if nngp_fn is None:
        if fn is None or d_nngp_fn is not None:
            raise InvalidInput("Elementwise: nngp_fn is needed, or fn alone, from which both kernels are derived")
        return Activation(fn)
    function = expression_of(fn) if callable(fn) else fn
    return _layer(given.Elementwise(function, _of_covariances(nngp_fn), d_nngp_fn and _of_covariances(d_nngp_fn)))


def _of_covariances(fn: Callable[[Any, Any, Any], Any] | sp.Expr) -> sp.Expr:
    return fn if isinstance(fn, sp.Expr) else expression_of(fn, tuple(given.KERNEL_VARIABLES.values()))


def ExpNormalized(gamma: Scalar = 1, shift: Scalar = -1, do_clip: bool = False) -> Layer:
    """K -> sqrt(p) exp(gamma (K / sqrt(p) + shift)),  p = q1 q2:  a kernel only; its finite network does not exist."""
    return _layer(given.ExpNormalized(gamma, shift, do_clip))
