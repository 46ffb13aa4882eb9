"""Is a kernel that of its network?  E[K_w] = K + c / w + O(1 / w^2)  for networks of width w with random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random

from ntkc.data import checked_data
from ntkc.empirical import NtkImplementation, empirical_nngp_fn, empirical_ntk_fn
from ntkc.empirical.kernels import KERNELS
from ntkc.errors import InvalidInput, ShapeMismatch, unknown
from ntkc.ir.exact import whole
from ntkc.ir.op import Op
from ntkc.layers.branching import FanInConcat
from ntkc.networks.kernel_fn import KernelFn, Layer, inputs_of_data, tree_of
from ntkc.networks.tree import ONE, Leaf, Parallel, Repeated, Serial, Tree
from ntkc.predict.progress import counting_bar
from ntkc.program import KernelProgram

WIDTH_FIELDS = ("out_dim", "out_chan")
"""Fields of layers that hold a width."""
CURVATURE = 10.0
"""Size of the d in d / w^2, over the largest entry of the kernel, that a verdict allows for."""
OUTPUTS = 4
"""Channels of the output whose tangent kernels are averaged; each has the same mean."""
ROUNDING = 1e-5
"""Over the largest entry, added to standard errors: kernels that do not vary are compared to this."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """M_w - K over the largest entry of K, for each width w, and its limit at infinite width, for each entry."""

    name: str
    widths: tuple[int, ...]
    differences: np.ndarray
    standard_errors: np.ndarray
    limit: np.ndarray
    limit_error: np.ndarray
    bound: float
    """Standard errors that the limit may differ from 0."""

    @property
    def agrees(self) -> bool:
        """No entry is further from 0 than its bound."""
        return bool(np.all(np.abs(self.limit) <= self.bound * self.limit_error))

    @property
    def resolution(self) -> float:
        """The error of an entry, over the largest entry, that is found more often than not."""
        return float(np.max(self.bound * self.limit_error))

    @property
    def worst(self) -> tuple[int, ...]:
        """Index of the entry of the most standard errors."""
        place = np.argmax(np.abs(self.limit) / self.limit_error)
        return tuple(int(i) for i in np.unravel_index(place, self.limit.shape))

    def __str__(self) -> str:
        at = self.worst
        columns = [*(f"w = {w}" for w in self.widths), "limit", "allowed"]
        cells = [_percents(d[at], e[at]) for d, e in zip(self.differences, self.standard_errors, strict=True)]
        cells += [
            _percents(self.limit[at], self.limit_error[at]),
            f"{100 * float(self.bound * self.limit_error[at]):.2f}",
        ]
        sizes = [max(len(a), len(b)) for a, b in zip(columns, cells, strict=True)]
        rows = ["  ".join(v.rjust(n) for v, n in zip(row, sizes, strict=True)) for row in (columns, cells)]
        return f"  {self.name:4}  {rows[0]}\n  {at!s:4}  {rows[1]}"


def _percents(value: float, error: float) -> str:
    return f"{100 * value:+.2f} +- {100 * error:.2f}"


@dataclass(frozen=True, eq=False)
class Agreement:
    """What `check` found: true if sampled networks agree with the kernel. `print` shows the table."""

    comparisons: tuple[Comparison, ...]
    n_samples: int
    confidence: float

    @property
    def agrees(self) -> bool:
        """Every kernel agrees."""
        return all(c.agrees for c in self.comparisons)

    @property
    def resolution(self) -> float:
        """The error, over the largest entry, that would be found more often than not."""
        return max(c.resolution for c in self.comparisons)

    def __bool__(self) -> bool:
        return self.agrees

    def __repr__(self) -> str:
        return f"<Agreement: {self._verdict()}>"

    def __str__(self) -> str:
        head = (
            f"{self._verdict()}\n{self.n_samples} networks of each width; the entry of each kernel that differs most, "
        )
        return "\n".join([f"{head}% of the largest entry:", *map(str, self.comparisons)])

    def _verdict(self) -> str:
        wrong = [c.name for c in self.comparisons if not c.agrees]
        if wrong:
            return f"{' and '.join(wrong)} DISAGREE with networks of growing width (confidence {self.confidence})"
        names = " and ".join(c.name for c in self.comparisons)
        return f"{names} agree with networks of growing width; an error of {self.resolution:.1%} would be found"


def check(
    net: Any,
    x1: Any,
    x2: Any = None,
    get: str | Iterable[str] = KERNELS,
    widths: Sequence[int] = (64, 128, 256, 512),
    n_samples: int = 500,
    key: Any = None,
    confidence: float = 0.999,
    progress: bool | None = None,
) -> Agreement:
    """M_w = K + c / w + d / w^2 + noise:  is K, where c is fitted to means M_w over random networks, their limit?

    The test is two-sided in each entry, so that a right kernel passes with a probability of at least `confidence`.
    `Agreement.resolution` is what it can find: it shrinks like 1 / sqrt(n_samples).

    Args:
        net: a layer of `ntkc.stax`, or its kernel_fn, every width of which is replaced by each of `widths`; or a
            function width -> (init_fn, apply_fn, kernel_fn), for networks and kernels of any origin (init_fn and
            apply_fn are compiled, kernel_fn is called as kernel_fn(x1, x2, "nngp")).
        x1, x2: few samples [n, ..., features]; all entries of the kernel are compared.
        get: "nngp", "ntk", or both.
        widths: two widths or more, large enough for d / w^2 to be small.
        n_samples: networks drawn of each width.
        key: of the draws; PRNGKey(0) if it is not given.
        progress: a bar on standard error; None shows one on a terminal only.

    Raises:
        InvalidInput: fewer than two widths or samples. NoFiniteNetwork: a layer of kernels only.
    """
    names, sizes = _checked_names(get), _checked_widths(widths)
    n_samples = whole(n_samples, "n_samples", 2)
    if not 0 < confidence < 1:
        raise InvalidInput(f"confidence = {confidence}: a number between 0 and 1 is needed")
    x1, x2 = _checked_inputs("x1", x1), None if x2 is None else _checked_inputs("x2", x2)
    keys = random.split(random.PRNGKey(0) if key is None else key, (len(sizes), n_samples))
    growing = _growing(net)
    is_random = _is_random(growing(sizes[0]), x1)
    found: list[list[tuple[np.ndarray, np.ndarray]]] = []
    with counting_bar(progress, "sampling networks", len(sizes)) as tell:
        for width, drawn in zip(sizes, keys, strict=True):
            found.append(_differences(growing(width), names, (x1, x2), drawn, is_random))
            tell(f"width {width}")
    comparisons = [
        _compared(name, sizes, of_name, n_samples, confidence)
        for name, of_name in zip(names, zip(*found, strict=True), strict=True)
    ]
    return Agreement(tuple(comparisons), n_samples, confidence)


def _checked_inputs(name: str, x: Any) -> Any:
    """Data of one input, or nested tuples of them."""
    if inputs_of_data(x) == ONE:
        return checked_data(name, x, None)
    return tuple(_checked_inputs(f"{name}[{i}]", part) for i, part in enumerate(x))


def _shapes(x: Any) -> Any:
    return jax.tree.map(lambda v: v.shape, x)


def _checked_names(get: str | Iterable[str]) -> tuple[str, ...]:
    names = (get,) if isinstance(get, str) else tuple(get)
    for name in names:
        if name not in KERNELS:
            raise unknown("kernel", name, KERNELS)
    if not names:
        raise InvalidInput(f"get is empty: one of {KERNELS}, or both, are needed")
    return names


def _checked_widths(widths: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(sorted({whole(w, "width") for w in widths}))
    if len(sizes) < 2:
        raise InvalidInput(f"widths = {tuple(widths)}: two or more are needed, to see the limit beyond them")
    return sizes


def _growing(net: Any) -> Callable[[int], Any]:
    """width -> (init_fn, apply_fn, kernel_fn)."""
    if _is_function(net):
        return net
    return _Widened(tree_of(net), net if isinstance(net, KernelFn) else net[2])


def _is_function(net: Any) -> bool:
    return callable(net) and not isinstance(net, (KernelFn, KernelProgram))


@dataclass(frozen=True)
class _Widened:
    """A layer at any width, with the kernel it came with unless widths stand in that."""

    tree: Tree
    kernel_fn: KernelFn

    def __call__(self, width: int) -> tuple[Any, Any, Any]:
        tree = widened(self.tree, width)
        init_fn, apply_fn, _ = Layer(tree)
        feels_widths = any(_feels_widths(op) for op in ops_of(self.tree))
        return init_fn, apply_fn, type(self.kernel_fn)(tree) if feels_widths else self.kernel_fn


def _feels_widths(op: Op) -> bool:
    return isinstance(op, FanInConcat) or op.kernel_identity((1,)) != op.kernel_identity((2,))


def widened(tree: Tree, width: int) -> Tree:
    """Dense(512) -> Dense(width),  and so every width of a tree."""
    match tree:
        case Leaf(_, op):
            held = [f.name for f in fields(op) if f.name in WIDTH_FIELDS]
            return replace(tree, op=replace(op, **dict.fromkeys(held, width)))
        case Repeated(name, part, count):
            return Repeated(name, widened(part, width), count)
        case Serial(name, parts) | Parallel(name, parts):
            return type(tree)(name, tuple(widened(part, width) for part in parts))
        case _:
            raise AssertionError(f"{type(tree).__name__} is no known tree")


def ops_of(tree: Tree) -> Iterator[Op]:
    """Every layer of a tree."""
    match tree:
        case Leaf(_, op):
            yield op
        case Repeated(_, part, _):
            yield from ops_of(part)
        case Serial(_, parts) | Parallel(_, parts):
            for part in parts:
                yield from ops_of(part)
        case _:
            raise AssertionError(f"{type(tree).__name__} is no known tree")


def _differences(
    network: tuple[Any, Any, Any], names: tuple[str, ...], inputs: tuple[Any, Any], keys: Any, is_random: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    """M_w - K and its standard error, over the largest entry of K, for each kernel."""
    kernel_fn = network[2]
    drawn = jax.jit(_sampler(network, names, inputs, is_random))(keys)
    return [
        _difference(name, np.asarray(kernel_fn(*inputs, name), np.float64), np.asarray(values, np.float64))
        for name, values in zip(names, drawn, strict=True)
    ]


def _difference(name: str, exact: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if values.shape[1:] != exact.shape:
        raise ShapeMismatch(f"the {name} has shape {exact.shape}, that of sampled networks {values.shape[1:]}")
    scale = float(np.max(np.abs(exact))) or 1.0
    error = values.std(0, ddof=1) / len(values) ** 0.5
    return (values.mean(0) - exact) / scale, np.hypot(error / scale, ROUNDING)


def _sampler(
    network: tuple[Any, Any, Any], names: tuple[str, ...], inputs: tuple[Any, Any], is_random: bool
) -> Callable[[Any], Any]:
    """keys -> the kernels of one network for each key."""
    init_fn, apply_fn, _ = network

    def few_outputs(params: Any, x: Any, **kwargs: Any) -> Any:
        return apply_fn(params, x, **kwargs)[..., :OUTPUTS]

    # Samples that are mapped over would all get one key: a network that draws sees them together.
    axis = None if is_random else 0
    way = NtkImplementation.STRUCTURED_DERIVATIVES
    functions = {"nngp": empirical_nngp_fn(apply_fn), "ntk": empirical_ntk_fn(few_outputs, (-1,), (), axis, way)}

    def one(key: Any) -> Any:
        init_key, apply_key = random.split(key)
        _, params = init_fn(init_key, _shapes(inputs[0]))
        return [functions[name](*inputs, params, rng=apply_key) for name in names]

    return lambda keys: lax.map(one, keys)


def _is_random(network: tuple[Any, Any, Any], x: Any) -> bool:
    """Whether outputs depend on the key given to apply_fn."""
    init_fn, apply_fn, _ = network

    @jax.jit
    def outputs(key: Any) -> Any:
        return apply_fn(init_fn(random.PRNGKey(0), _shapes(x))[1], x, rng=key)

    return bool(jnp.any(outputs(random.PRNGKey(0)) != outputs(random.PRNGKey(1))))


def _compared(
    name: str,
    widths: tuple[int, ...],
    found: Sequence[tuple[np.ndarray, np.ndarray]],
    n_samples: int,
    confidence: float,
) -> Comparison:
    differences, errors = (np.stack(v) for v in zip(*found, strict=True))
    limit, limit_error = at_infinity(widths, differences, errors)
    bound = student(1 - (1 - confidence) / 2 / limit.size, n_samples - 1)
    return Comparison(name, widths, differences, errors, limit, limit_error, bound)


def at_infinity(widths: Sequence[int], values: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a, and its standard error, of a + c / w + d / w^2 fitted to values [widths, ...],  d ~ N(0, CURVATURE^2).

    Generalised least squares for (a, c), with covariance diag(errors^2) + CURVATURE^2 / (w w')^2.
    """
    u = 1 / np.asarray(widths, float)
    columns = np.stack([np.ones_like(u), u], 1)
    noise = np.moveaxis(errors, 0, -1)[..., None] ** 2 * np.eye(len(u))
    weighted = np.linalg.solve(noise + CURVATURE**2 * np.outer(u**2, u**2), columns)
    covariance = np.linalg.inv(np.swapaxes(weighted, -1, -2) @ columns)
    fitted = covariance @ np.swapaxes(weighted, -1, -2) @ np.moveaxis(values, 0, -1)[..., None]
    return fitted[..., 0, 0], np.sqrt(covariance[..., 0, 0])


def student(probability: float, freedom: int) -> float:
    """Quantile of Student's t:  z + (z^3 + z) / 4 n + (5 z^5 + 16 z^3 + 3 z) / 96 n^2 + ...  (Abramowitz 26.7.5)."""
    z, n = NormalDist().inv_cdf(probability), freedom
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
