"""Layers with the names, arguments and results of `neural_tangents.stax`.

    init_fn, apply_fn, kernel_fn = stax.serial(stax.Dense(512), stax.Relu(), stax.Dense(10))

A layer is also what `ntkc.compile` takes. Finite networks draw the same weights as the peer for the same key.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import sympy as sp
from jax import lax, random

from ntkc.backends.expression import function_text
from ntkc.errors import InvalidGraph, InvalidInput, ShapeMismatch, unknown
from ntkc.gaussian.series import stable
from ntkc.ir.exact import whole
from ntkc.ir.graph import Graph, GraphBuilder
from ntkc.ir.op import Op, Scalar
from ntkc.ir.value import Law
from ntkc.kernel import Kernel
from ntkc.layers import activations, attention, branching, conv, dense, given, norm, pooling, resampling, reshape
from ntkc.layers.inputs import Input, Port, open_input
from ntkc.program import KernelProgram, build
from ntkc.tracing import expression_of

Wires = Any
"""A node of the graph, or a list with one for each branch."""


@dataclass(frozen=True)
class Tree(ABC):
    """How layers were combined: what serial, parallel and repeat made."""

    name: str

    @abstractmethod
    def attach(self, builder: GraphBuilder, wires: Wires) -> Wires:
        """Add the layers to a graph, on top of the given nodes."""

    @abstractmethod
    def init(self, rng: Any, input_shape: Any) -> tuple[Any, Any]:
        """init_fn(rng, input_shape) -> (output_shape, params): shapes are (-1, features)."""

    @abstractmethod
    def apply(self, params: Any, inputs: Any, **kwargs: Any) -> Any:
        """apply_fn(params, inputs) -> outputs [n, features]."""

    @abstractmethod
    def text(self) -> str:
        """Python text that makes the layer."""


@dataclass(frozen=True)
class Leaf(Tree):
    """One layer."""

    op: Op

    def attach(self, builder: GraphBuilder, wires: Wires) -> Wires:
        if self.op.arity == 1 and not isinstance(wires, str):
            raise InvalidGraph(f"{self.text()} takes one input, got {len(wires)} branches; join them with FanInSum")
        node = builder.add(self.op, [wires] if isinstance(wires, str) else list(wires))
        return [node] * self.op.num if isinstance(self.op, reshape.FanOut) else node

    def init(self, rng: Any, input_shape: Any) -> tuple[Any, Any]:
        shapes = _branch_shapes(input_shape, self)
        features = [tuple(s[1:]) for s in shapes]
        specs = self.op.weights(features)
        keys = random.split(rng, len(specs)) if specs else ()
        params = tuple(
            None if spec is None else spec[1] * random.normal(key, spec[0])
            for spec, key in zip(specs, keys, strict=True)
        )
        output = (*shapes[0][:1], *self.op.shape(features))
        return [output] * self.op.num if isinstance(self.op, reshape.FanOut) else output, params

    def apply(self, params: Any, inputs: Any, **kwargs: Any) -> Any:
        branches = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        output = self.op.forward(params, branches, _Arrays(kwargs.get("rng")))
        return [output] * self.op.num if isinstance(self.op, reshape.FanOut) else output

    def text(self) -> str:
        return self.op.label()


@dataclass(frozen=True)
class Serial(Tree):
    """One after another."""

    parts: tuple[Tree, ...]

    def attach(self, builder: GraphBuilder, wires: Wires) -> Wires:
        for part in self.parts:
            wires = part.attach(builder, wires)
        return wires

    def init(self, rng: Any, input_shape: Any) -> tuple[Any, Any]:
        params: list[Any] = []
        for part in self.parts:
            rng, key = random.split(rng)
            input_shape, param = part.init(key, input_shape)
            params.append(param)
        return input_shape, params

    def apply(self, params: Any, inputs: Any, **kwargs: Any) -> Any:
        for part, param, own in zip(self.parts, params, _split_keys(kwargs, len(self.parts)), strict=True):
            inputs = part.apply(param, inputs, **own)
        return inputs

    def text(self) -> str:
        return f"serial({', '.join(p.text() for p in self.parts)})"


@dataclass(frozen=True)
class Parallel(Tree):
    """Side by side, one branch each."""

    parts: tuple[Tree, ...]

    def _matched(self, branches: Any) -> list[tuple[Tree, Any]]:
        if isinstance(branches, str) or len(branches) != len(self.parts):
            got = 1 if isinstance(branches, str) else len(branches)
            raise InvalidGraph(
                f"parallel of {len(self.parts)} layers got {got} branches; FanOut({len(self.parts)}) first"
            )
        return list(zip(self.parts, branches, strict=True))

    def attach(self, builder: GraphBuilder, wires: Wires) -> Wires:
        return [part.attach(builder, wire) for part, wire in self._matched(wires)]

    def init(self, rng: Any, input_shape: Any) -> tuple[Any, Any]:
        matched = self._matched(input_shape)
        keys = random.split(rng, len(matched))
        made = [part.init(key, shape) for key, (part, shape) in zip(keys, matched, strict=True)]
        return [shape for shape, _ in made], tuple(param for _, param in made)

    def apply(self, params: Any, inputs: Any, **kwargs: Any) -> Any:
        matched = zip(params, self._matched(inputs), _split_keys(kwargs, len(self.parts)), strict=True)
        return [part.apply(p, x, **own) for p, (part, x), own in matched]

    def text(self) -> str:
        return f"parallel({', '.join(p.text() for p in self.parts)})"


@dataclass(frozen=True)
class Repeat(Tree):
    """One layer n times; its weights are stacked along a first axis."""

    part: Tree
    count: int

    def attach(self, builder: GraphBuilder, wires: Wires) -> Wires:
        for _ in range(self.count):
            wires = self.part.attach(builder, wires)
        return wires

    def init(self, rng: Any, input_shape: Any) -> tuple[Any, Any]:
        params: list[Any] = []
        for _ in range(self.count):
            rng, key = random.split(rng)
            shape, param = self.part.init(key, input_shape)
            if shape != input_shape:
                raise ShapeMismatch(f"repeat: {self.part.text()} turns {input_shape} into {shape}; use serial instead")
            params.append(param)
        return input_shape, jax.tree.map(lambda *v: jnp.stack(v), *params) if params else ()

    def apply(self, params: Any, inputs: Any, **kwargs: Any) -> Any:
        if self.count == 0:
            return inputs
        return lax.scan(lambda x, p: (self.part.apply(p, x, **kwargs), None), inputs, params, self.count)[0]

    def text(self) -> str:
        return f"repeat({self.part.text()}, {self.count})"


def _split_keys(kwargs: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """A key of its own for each part."""
    rng = kwargs.get("rng")
    if rng is None:
        return [kwargs] * count
    return [{**kwargs, "rng": key} for key in random.split(rng, count)] if count else []


class Layer(tuple[Any, Any, "KernelFn"]):
    """(init_fn, apply_fn, kernel_fn), made from a Tree."""

    tree: Tree

    def __new__(cls, tree: Tree) -> Layer:
        init_fn, apply_fn = _named(tree.init, tree.name), _named(tree.apply, tree.name)
        layer = super().__new__(cls, (init_fn, apply_fn, KernelFn(tree)))
        layer.tree = tree
        return layer

    def __repr__(self) -> str:
        return f"stax.{self.tree.text()}"

    def __getnewargs__(self) -> tuple[Tree]:
        return (self.tree,)


def _named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def named(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    named.__name__ = named.__qualname__ = name
    named.__doc__ = function.__doc__
    return named


class KernelFn:
    """kernel_fn(x1, x2=None, get=None): the kernel of a layer, on data or on the Kernel of the layers before it."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.__name__ = self.__qualname__ = tree.name

    def __reduce__(self) -> tuple[Any, ...]:
        return KernelFn, (self.tree,)

    def __deepcopy__(self, memo: Any) -> KernelFn:
        return self

    @cached_property
    def program(self) -> KernelProgram:
        """The compiled network."""
        return build(graph_of(self.tree, Input()))

    def __call__(
        self,
        x1_or_kernel: Any,
        x2: Any = None,
        get: str | Iterable[str] | None = None,
        *,
        pattern: Any = None,
        mask_constant: float | None = None,
        diagonal_batch: bool | None = None,
        diagonal_spatial: bool | None = None,
        **parameters: Any,
    ) -> Any:
        """K and T of data [n1, features] and [n2, features], or of a Kernel.

        `get` is None for a Kernel, the name of one of its fields, or a tuple of names for a named tuple.
        """
        if pattern is not None:
            raise InvalidInput("pattern is not supported")
        if isinstance(x1_or_kernel, Kernel):
            return _selected(self._onward(x1_or_kernel, parameters), get)
        if isinstance(x1_or_kernel, (list, tuple)) and any(isinstance(x, (Kernel, jax.Array)) for x in x1_or_kernel):
            raise InvalidGraph(f"{self.__name__} got {len(x1_or_kernel)} inputs; networks of one input are supported")
        names = (get,) if isinstance(get, str) else get
        if names is not None and {str(n).lower() for n in names} <= {"nngp", "ntk"}:
            gets = get if isinstance(get, str) else tuple(names)
            return self.program(x1_or_kernel, x2, gets, mask_constant=mask_constant, **parameters)
        return _selected(self.program(x1_or_kernel, x2, None, mask_constant=mask_constant, **parameters), get)

    def _onward(self, kernel: Kernel, parameters: dict[str, Any]) -> Kernel:
        law = Law.GAUSSIAN if kernel.is_gaussian else Law.GIVEN if kernel.is_input else Law.POINTWISE
        width = None if kernel.shape1 is None else kernel.shape1[kernel.channel_axis]
        program = _port_program(self.tree, law, kernel.ntk is not None, width)
        return program.onward(kernel, parameters)


@lru_cache(maxsize=256)
def _port_program(tree: Tree, law: Law, has_ntk: bool, width: int | None) -> KernelProgram:
    return build(graph_of(tree, Port(law, has_ntk, width)))


def _selected(kernel: Kernel, get: str | Iterable[str] | None) -> Any:
    if get is None:
        return kernel
    names = tuple(n.lower() for n in ((get,) if isinstance(get, str) else get))
    for name in names:
        if name not in kernel.asdict():
            raise unknown("kernel field", name, kernel.asdict())
    if isinstance(get, str):
        return getattr(kernel, names[0])
    return KernelProgram.named_result(names)(*(getattr(kernel, n) for n in names))


def graph_of(tree: Tree, source: Op) -> Graph:
    """The network of a tree on top of data (Input) or of a given kernel (Port)."""
    builder = GraphBuilder()
    node = builder.add(source)
    output = tree.attach(builder, node)
    if not isinstance(output, str):
        raise InvalidGraph(f"{tree.text()} has several outputs ({len(output)}): join them with FanInSum")
    open_input(builder, node)
    return builder.finish(output)


def tree_of(layer: Any) -> Tree:
    """The tree of a Layer, of its kernel_fn, or of the triple taken apart and put together again."""
    if isinstance(layer, (Layer, KernelFn)):
        return layer.tree
    if isinstance(layer, (tuple, list)) and len(layer) == 3 and isinstance(layer[2], KernelFn):
        return layer[2].tree
    raise InvalidGraph(f"{layer!r} is no layer: layers are made by ntkc.stax, as stax.Dense(512)")


def _branch_shapes(input_shape: Any, leaf: Leaf) -> list[tuple[Any, ...]]:
    is_one = not input_shape or not isinstance(input_shape[0], (tuple, list))
    shapes = [tuple(input_shape)] if is_one else [tuple(s) for s in input_shape]
    for shape in shapes:
        if len(shape) < 2:
            raise ShapeMismatch(
                f"{leaf.text()}: input shape {shape}; (-1, features) or (-1, pixels ..., features) is needed"
            )
    return shapes


@dataclass(frozen=True)
class _Arrays:
    """What finite layers compute with: expressions on arrays, JAX, and a key for random layers."""

    rng: Any = None
    jnp: Any = jnp
    lax: Any = lax

    def __call__(self, expr: sp.Expr, arrays: dict[sp.Symbol, Any]) -> Any:
        function = _array_function(expr, tuple(arrays))
        values = [jnp.asarray(v) for v in arrays.values()]
        first = values[0]
        return jnp.broadcast_to(jnp.asarray(function(*values), first.dtype), first.shape)

    def kept(self, x: Any, rate: float) -> Any:
        """Entries kept with probability `rate` and divided by it; the others are 0."""
        if self.rng is None:
            raise InvalidInput("Dropout draws random numbers: give apply_fn a key, rng=jax.random.PRNGKey(0)")
        return jnp.where(random.bernoulli(self.rng, rate, x.shape), x / rate, 0)


_pointwise = _Arrays()


@lru_cache(maxsize=1024)
def _array_function(expr: sp.Expr, symbols: tuple[sp.Symbol, ...]) -> Callable[..., Any]:
    names: dict[str, Any] = {"jax": jax, "jnp": jnp, "lax": lax, "pi": math.pi}
    exec(compile(function_text("elementwise", stable(expr), symbols), "<ntkc elementwise>", "exec"), names)
    return names["elementwise"]


def serial(*layers: Any) -> Layer:
    """Layers one after another."""
    return Layer(Serial("serial", tuple(tree_of(layer) for layer in layers)))


def parallel(*layers: Any) -> Layer:
    """Layers side by side, each on one branch of a FanOut."""
    return Layer(Parallel("parallel", tuple(tree_of(layer) for layer in layers)))


def repeat(layer: Any, n: int) -> Layer:
    """One layer n times, each with weights of its own; outputs need the shape of inputs."""
    return Layer(Repeat("repeat", tree_of(layer), whole(n, "repeat n", 0)))


def _layer(op: Op) -> Layer:
    return Layer(Leaf(type(op).__name__, op))


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
    if batch_axis != 0 or channel_axis not in (-1, 1):
        raise InvalidInput(f"Dense(batch_axis={batch_axis}, channel_axis={channel_axis}): data are [samples, features]")
    return _layer(dense.Dense(out_dim, W_std, b_std, parameterization, s))


def _check_layout(name: str, batch_axis: int, channel_axis: int) -> None:
    if batch_axis != 0 or channel_axis not in (-1,):
        raise InvalidInput(
            f"{name}(batch_axis={batch_axis}, channel_axis={channel_axis}): data are [samples, pixels ..., channels]"
        )


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
    _check_dimensions(dimension_numbers, len(filter_shape))
    own = (out_chan, _tuple(filter_shape), _tuple(strides), padding, W_std, b_std, parameterization, s)
    return _layer(conv.Conv(*own, _tuple(dilation), groups))


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
    _check_dimensions(dimension_numbers, len(filter_shape))
    own = (out_chan, _tuple(filter_shape), _tuple(strides), padding, W_std, b_std, parameterization, s)
    return _layer(conv.ConvTranspose(*own))


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
    _check_dimensions(dimension_numbers, len(filter_shape))
    own = (out_chan, _tuple(filter_shape), _tuple(strides), padding, W_std, b_std, parameterization, s)
    return _layer(conv.ConvLocal(*own))


def _tuple(given: Sequence[int] | None) -> Any:
    return tuple(given) if isinstance(given, (list, tuple)) else given


def _check_dimensions(given: tuple[str, str, str] | None, axes: int) -> None:
    """Data, filter and output in the order of the axes that ntkc has."""
    if given is None:
        return
    lhs, rhs, out = given
    if not (lhs == out and lhs[0] == "N" and lhs[-1] == "C" and rhs == f"{lhs[1:-1]}IO" and len(lhs) == axes + 2):
        raise InvalidInput(
            f"dimension_numbers={given}: samples first and channels last are supported, as ('NHWC', 'HWIO', 'NHWC')"
        )


def AvgPool(
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
    normalize_edges: bool = False,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> Layer:
    """K[p, p'] -> 1/w^2 sum_d sum_d' K[s p + d, s p' + d']:  the mean of a window."""
    _check_layout("AvgPool", batch_axis, channel_axis)
    return _layer(pooling.AvgPool(_tuple(window_shape), _tuple(strides), padding, normalize_edges))


def SumPool(
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> Layer:
    """K[p, p'] -> sum_d sum_d' K[s p + d, s p' + d']:  the sum of a window."""
    _check_layout("SumPool", batch_axis, channel_axis)
    return _layer(pooling.SumPool(_tuple(window_shape), _tuple(strides), padding))


def GlobalAvgPool(batch_axis: int = 0, channel_axis: int = -1) -> Layer:
    """K -> 1/P^2 sum_p sum_p' K[p, p']:  the mean of all pixels."""
    _check_layout("GlobalAvgPool", batch_axis, channel_axis)
    return _layer(pooling.GlobalAvgPool())


def GlobalSumPool(batch_axis: int = 0, channel_axis: int = -1) -> Layer:
    """K -> sum_p sum_p' K[p, p']:  the sum of all pixels."""
    _check_layout("GlobalSumPool", batch_axis, channel_axis)
    return _layer(pooling.GlobalSumPool())


def LayerNorm(
    axis: int | Sequence[int] = -1, eps: Scalar = 1e-12, batch_axis: int = 0, channel_axis: int = -1
) -> Layer:
    """K -> K / sqrt((v1 + eps) (v2 + eps)):  normalisation over channels, and spatial axes if `axis` has them."""
    _check_layout("LayerNorm", batch_axis, channel_axis)
    return _layer(norm.LayerNorm(_tuple(axis) if not isinstance(axis, int) else axis, eps))


def RMSNorm(eps: Scalar = 1e-12) -> Layer:
    """K -> K / sqrt((q1 + eps) (q2 + eps)):  each pixel divided by the root mean square of its channels."""
    return _layer(norm.RMSNorm(eps))


def GroupNorm(groups: int = 1, eps: Scalar = 1e-5) -> Layer:
    """K -> K / sqrt((v1 + eps) (v2 + eps)),  v averaged over all pixels:  normalisation of groups of channels."""
    return _layer(norm.GroupNorm(groups, eps))


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
    """K -> O^2 G1 K G2^T + b_std^2,  G = zeta(W_q W_k K~):  attention of all positions to all (see layers.attention)."""
    _check_layout("GlobalSelfAttention", batch_axis, channel_axis)
    decay = expression_of(pos_emb_decay_fn) if callable(pos_emb_decay_fn) else pos_emb_decay_fn
    scales = (W_key_std, W_value_std, W_query_std, W_out_std, b_std)
    embedding = (pos_emb_type, pos_emb_p_norm, decay, n_chan_pos_emb, W_pos_emb_std, val_pos_emb)
    sizes = (n_chan_out, n_chan_key, n_chan_val, n_heads, linear_scaling)
    return _layer(attention.GlobalSelfAttention(*sizes, *scales, attention_mechanism, *embedding))


def Index(idx: Any) -> Layer:
    """K[p, p'] -> K[i_p, i_p']:  `idx` as in numpy, `stax.Slice[:, 1:5, ::2]`; samples and channels stay whole."""
    parts = idx if isinstance(idx, tuple) else (idx,)
    return _layer(resampling.Index(_spatial_parts(parts)))


def _spatial_parts(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """The parts of spatial axes: without that of the samples, and that of the channels after an Ellipsis."""
    if Ellipsis in parts[:1]:
        parts = (slice(None), *parts)
    if Ellipsis in parts[:-1] and parts[-1] == slice(None):
        parts = parts[:-1]
    elif Ellipsis in parts:
        raise InvalidInput(f"Index({parts}): all channels stay")
    if not parts or parts[0] != slice(None):
        raise InvalidInput(f"Index({parts}): all samples stay; index the data instead")
    for part in parts[1:]:
        if not isinstance(part, (int, slice)) and part is not Ellipsis:
            raise InvalidInput(f"Index({parts}): whole numbers and slices of spatial axes are supported")
    return tuple(_plain_part(p) for p in parts[1:])


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
    _check_layout("ImageResize", batch_axis, channel_axis)
    return _layer(resampling.ImageResize(tuple(shape), method, antialias))


def Identity() -> Layer:
    """y = x."""
    return _layer(reshape.Identity())


def Flatten(batch_axis: int = 0, batch_axis_out: int = 0) -> Layer:
    """K -> 1/P sum_p K[p, p] over P pixels; y = x on [samples, features]."""
    if batch_axis != 0 or batch_axis_out != 0:
        raise InvalidInput(f"Flatten(batch_axis={batch_axis}, batch_axis_out={batch_axis_out}): samples come first")
    return _layer(reshape.Flatten())


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
    return _layer(branching.FanInConcat(axis))


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
