"""NNGP and NTK kernels of an infinitely wide network.

Input() -> Dense(out_dim=512, W_std=1.5, b_std=0.1) -> Relu() -> Dense(out_dim=512, W_std=1.5, b_std=0.1) -> Relu() ->
Dense(out_dim=512, W_std=1.5, b_std=0.1) -> Relu() -> Dense(out_dim=1, W_std=1.5, b_std=0.1)

q: variance; n: norm sqrt(q); delta: gap 1 - K / (n1 n2); tau: T / (n1 n2); c: share of an operand, or the bias, in a
norm; a: sine of half the angle of two shares, scaled; b: its cosine, scaled. X, y: the samples of a pair. Arrays are
[samples], and [samples of x, samples of y].
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from inspect import currentframe, signature
from itertools import accumulate
from math import inf, isnan, pi, prod
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol
from warnings import warn as issue

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.core import Tracer
from jax.typing import ArrayLike


def present(x: Array) -> Array:
    """1 for pixels with a channel that is a number, 0 for masked ones: [pixels ..., samples]."""
    return jnp.moveaxis(1 - jnp.all(jnp.isnan(x), -1).astype(x.dtype), 0, -1)


def cleaned(x: Array) -> Array:
    """Data with 0 for what is masked."""
    return jnp.where(jnp.isnan(x), 0, x)


NEAR = 0.02
"""Closer pairs than this part of their mean squares (or nearly opposite ones) need more than a float32 product has."""


def gap_of_products(x1: Array, x2: Array, q1: Array, q2: Array) -> Array:
    """1 - x1 . x2 / (|x1| |x2|) from mean squares q; 1 where a row is zero."""
    inverse1, inverse2 = (jnp.where(q > 0, lax.rsqrt(jnp.where(q > 0, q, 1)), 0) for q in (q1, q2))
    products = jnp.matmul(x1, x2.mT, precision=lax.Precision.HIGHEST) / x1.shape[-1]
    return 1 - products * inverse1[..., :, None] * inverse2[..., None, :]


def unit(x: Array) -> tuple[Array, Array]:
    """Rows over their norms, and half the square of what that makes: 1/2 but for rounding, which cancels in a gap."""
    norm = jnp.sqrt(jnp.sum(x * x, -1, keepdims=True))
    u = x / jnp.where(norm > 0, norm, 1)
    return u, jnp.where(norm[..., 0] > 0, jnp.sum(u * u, -1) / 2, 0.5)


VERY_NEAR = {"float32": 1e-9, "float64": 1e-5}
"""Below this part of the whole, differences of rows are taken themselves: float64 products leave errors of 1e-16."""


@jax.custom_batching.custom_vmap
def gap_in_float64(x1: Array, x2: Array, same: Array) -> Array:
    """The gap in float64, also where jax_enable_x64 is off: exact where rows are near or nearly opposite."""
    with jax.enable_x64(True):
        (u1, half1), (u2, half2) = (unit(x.astype("float64")) for x in (x1, x2))
        delta = half1[..., :, None] + half2[..., None, :] - jnp.matmul(u1, u2.mT, precision=lax.Precision.HIGHEST)
        near = ~same & (delta < VERY_NEAR[x1.dtype.name])
        opposite = delta > 2 - VERY_NEAR[x1.dtype.name]
        delta = _replaced(delta, near, lambda: square_distances(u1, u2) / 2)
        return _replaced(delta, opposite, lambda: 2 - square_distances(u1, -u2) / 2).astype(x1.dtype)


@gap_in_float64.def_vmap
def gap_in_float64_vmap(size: int, batched: Sequence[bool], *data: Array) -> Any:
    """Batched by JAX itself, the product would leave the float64 context."""
    return gap_in_float64(*spread_over(size, batched, data)), True


def _replaced(values: Array, where: Array, exact: Callable[[], Array]) -> Array:
    """Other values in some places, which are computed only if there are such."""
    return lax.cond(jnp.any(where), lambda: jnp.where(where, exact(), values), lambda: values)


def square_distances(x1: Array, x2: Array) -> Array:
    """|x1 - x2|^2 of all pairs of rows, feature by feature: no digits are lost, and no array is larger than the sum."""

    def add(total: Array, features: tuple[Array, Array]) -> tuple[Array, None]:
        a, b = features
        return total + (a[..., :, None] - b[..., None, :]) ** 2, None

    start = jnp.zeros((*x1.shape[:-1], x2.shape[-2]), x1.dtype)
    return lax.scan(add, start, (jnp.moveaxis(x1, -1, 0), jnp.moveaxis(x2, -1, 0)))[0]


def spread_over(size: int, batched: Sequence[bool], data: Sequence[Array]) -> list[Array]:
    """Every array with a first axis of a batch."""
    return [x if b else jnp.broadcast_to(x, (size, *x.shape)) for x, b in zip(data, batched, strict=True)]


@jax.custom_jvp
def cosine_gap(x1: Array, x2: Array, q1: Array, q2: Array, same: Array) -> Array:
    """1 - cos(x1, x2) of all pairs of rows; exactly 0 where `same`, and 1 where a row is zero."""
    same = same & (q1 > 0)[:, None]
    # Derivatives, of any order, come from the rule below alone.
    fixed = lax.stop_gradient(x1), lax.stop_gradient(x2)
    if x1.dtype == jnp.float64:
        return jnp.where(same, 0, gap_in_float64(*fixed, same))
    delta = jnp.where(same, 0, gap_of_products(x1, x2, q1, q2))
    farthest = jnp.max(jnp.where(same, 0, jnp.abs(1 - delta)))
    exact = lax.cond(farthest > 1 - NEAR, gap_in_float64, lambda x1, x2, same: delta, *fixed, same)
    return jnp.where(same, 0, exact)


@cosine_gap.defjvp
def cosine_gap_jvp(primals: Any, tangents: Any) -> Any:
    *data, same = primals
    slope = jax.jvp(gap_of_products, tuple(data), tuple(tangents[:4]))[1]
    return cosine_gap(*primals), jnp.where(same, 0, slope)


Predict = Callable[[Any], Array]
"""Samples, or a tuple of the samples of several inputs  ->  what the network says of them."""


def predictor(nngp: Callable[..., Array], ntk: Callable[..., Array]) -> Callable[..., Predict]:
    """The function `fit` of a network with these kernels."""

    def fit(
        x: Any = None,
        y: Any = None,
        /,
        ridge: float = 0.0,
        t: float | None = None,
        get: str = "ntk",
        *,
        parameters: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> Predict:
        """Closed-form predictor of the infinitely wide network.

        f(x*) = K(x*, x) (K + ridge I)^-1 (I - exp(-(K + ridge I) t / n)) y,   t None: t = infinity

        is the mean of gradient flow of the mean squared error / 2 after time t (get="ntk"), or, for get="nngp" and t
        None, the posterior mean of the Gaussian process with noise variance `ridge`.

        x: [n, ..., features], or a tuple of such inputs, y: [n] or [n, outputs], ridge >= 0, t >= 0. Hyper-parameters
        by name, or in `parameters`. Returns predict(x_new) -> [m] or [m, outputs].
        Raises ValueError where data are not finite, or K + ridge I is not positive definite.
        """
        # Data may come by name; beside data by place, x and y are hyper-parameters like any others.
        x, y = (named.pop(name) if v is None else v for name, v in (("x", x), ("y", y)))
        gram_of = {"ntk": ntk, "nngp": nngp}[get]
        given = {**(parameters or {}), **named}
        dtype = jnp.result_type(*inputs_of(x), jnp.float32)
        x, y = as_data(x, dtype), jnp.asarray(y, dtype)
        count = len(inputs_of(x)[0])
        targets = y[:, None] if y.ndim == 1 else y
        check(inputs_of(x), y, count, len(targets), ridge, t)
        weights = weights_of(gram_of(x, **given), targets, ridge, t)

        def predict(x_new: Any) -> Array:
            """Predictions for samples x_new."""
            between_them = gram_of(as_data(x_new, dtype), x, **given)
            mean = jnp.matmul(between_them, weights, precision=lax.Precision.HIGHEST)
            return mean[:, 0] if y.ndim == 1 else mean

        return predict

    return fit


def weights_of(gram: Array, targets: Array, ridge: float, t: float | None) -> Array:
    """(K + ridge I)^-1 (I - exp(-(K + ridge I) t / n)) y, in float64: a ridge is lost in float32 entries."""
    count = len(gram)
    with jax.enable_x64(True):
        wide = gram.astype("float64") + ridge * jnp.eye(count, dtype="float64")
        values, vectors = jnp.linalg.eigh(wide)
        kept = filtered(values, count, t, float(jnp.finfo(gram.dtype).eps))
        return (vectors @ (kept[:, None] * (vectors.T @ targets.astype("float64")))).astype(gram.dtype)


def inputs_of(x: Any) -> tuple[Any, ...]:
    """The inputs of a network, of which there may be one."""
    return x if isinstance(x, tuple) else (x,)


def as_data(x: Any, dtype: Any) -> Any:
    """One array, or a tuple of several."""
    return tuple(jnp.asarray(v, dtype) for v in x) if isinstance(x, tuple) else jnp.asarray(x, dtype)


def check(inputs: tuple[Array, ...], y: Array, count: int, targets: int, ridge: float, t: float | None) -> None:
    """Raise ValueError where nothing can be fitted."""
    if count != targets:
        raise ValueError(f"{count} rows of x and {targets} targets: one target a row is needed")
    if not (all(jnp.isfinite(v).all() for v in inputs) and jnp.isfinite(y).all()):
        raise ValueError("x or y holds NaN or infinity: remove or impute it")
    if not ridge >= 0 or not (t is None or t >= 0):
        raise ValueError(f"ridge = {ridge}, t = {t}: neither may be negative or NaN")


def filtered(values: Array, count: int, t: float | None, eps: float) -> Array:
    """(1 - exp(-v t / n)) / v of the eigenvalues v, which is t / n in the limit v = 0."""
    floor = jnp.sum(values) * max(eps / count**0.5, 8 * float(jnp.finfo(values.dtype).eps))
    if t is None and not values[0] > floor:
        needed = 2 * floor - values[0]
        raise ValueError(f"the smallest eigenvalue is {values[0]:.2e}: a ridge of {needed:.1e} or more is needed")
    rate = 0.0 if t is None else t / count
    safe = jnp.where(values > 0, values, 1)
    return 1 / safe if t is None else jnp.where(values > 0, -jnp.expm1(-safe * rate) / safe, rate)


Table = Mapping[str, Sequence[float]]


# arccos(1 - t) / (pi sqrt(t)) on [0, 1]
ARCCOS = {
    "float32": (  # relative error 2e-08
        0.45015815299680595,
        0.03751382807875198,
        0.008427089511530378,
        0.0026154666975202706,
        0.00047073570200239085,
        0.0010626511388224292,
        -0.0006336413341060533,
        0.000385708111593065,
    ),
    "float64": (  # relative error 2e-17
        0.45015815807855303,
        0.03751317983987564,
        0.00844046546442507,
        0.0025120432714529307,
        0.0008547930425932389,
        0.00031471098117365757,
        0.00012213551482788204,
        4.8544795153372625e-05,
        2.3195458675430442e-05,
        -2.2873114960199797e-06,
        3.460419989822555e-05,
        -6.525326994907856e-05,
        0.00011080327258598078,
        -0.00013687625959514212,
        0.00012754304139369471,
        -8.557648187341667e-05,
        3.955053770370357e-05,
        -1.1261280138402475e-05,
        1.527104740182858e-06,
    ),
}


# (sin a - a cos a) / (a t), a = arccos(1 - t), on [0, 1]
GAP = {
    "float32": (  # relative error 7e-08
        0.6666666419837777,
        -0.02221981394419445,
        -0.005328669498104973,
        -0.0014065956096815202,
        -0.0011326628022954395,
        0.0005180923287934538,
        -0.0004771763647513016,
    ),
    "float64": (  # relative error 1e-17
        0.6666666666666666,
        -0.022222222222219583,
        -0.005291005291320786,
        -0.001622574940980564,
        -0.0005622364898093341,
        -0.00020952341949964323,
        -8.202249621257854e-05,
        -3.280014952456704e-05,
        -1.5810336558324903e-05,
        1.7293421983294904e-06,
        -2.4092012616056382e-05,
        4.5540376273763904e-05,
        -7.728983429366994e-05,
        9.548521798779673e-05,
        -8.896757754723667e-05,
        5.969211576207787e-05,
        -2.7585632113397762e-05,
        7.853912875890783e-06,
        -1.064861487429076e-06,
    ),
}


_NNGP_ALONE: ContextVar[bool] = ContextVar("nngp_alone", default=False)
"""T is not wanted: it is 0 from the next layer on, and what made it is dead code."""


@contextmanager
def nngp_alone(is_alone: bool) -> Generator[None]:
    """Trace a network for its NNGP only."""
    token = _NNGP_ALONE.set(is_alone)
    try:
        yield
    finally:
        _NNGP_ALONE.reset(token)


def alone(function: Callable[..., Any], *given: Any) -> Any:
    """function(*given), fused with nothing before or after it."""
    first: Array = given[0].real
    # Always true, which XLA does not know.
    is_ready = ~(first[(0,) * first.ndim] > jnp.inf)
    made = jax.eval_shape(function, *given)

    def other(*given: Array) -> Any:
        alike = given[0] if len(given) == 1 else given
        if jax.tree.map(lambda v: (v.shape, v.dtype), made) == jax.tree.map(lambda v: (v.shape, v.dtype), alike):
            return alike  # which costs least
        return jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), made)

    return lax.cond(is_ready, function, other, *given)


def adjacency(edges: Array, sizes: Sequence[int], dtype: Any) -> Array:
    """[n, tails ..., heads ...]: how often an edge stands in [n, edges, axes, 2], tails and heads; negative is none."""
    places: Any = 0
    count = 1
    for i, size in enumerate(sizes):
        places, count = places * size + edges[:, :, i], count * size
    is_edge = jnp.all(edges >= 0, (2, 3))
    tails, heads = (jnp.where(is_edge, places[..., side], 0) for side in (0, 1))
    samples = jnp.arange(len(edges))[:, None]
    made = jnp.zeros((len(edges), count, count), dtype).at[samples, tails, heads].add(is_edge.astype(dtype))
    return made.reshape(len(edges), *sizes, *sizes)


@jax.tree_util.register_pytree_node_class
class Values:
    """Arrays by name, read as attributes: a frozen pytree, so that loops take it apart."""

    __slots__ = ("_named",)
    _named: Mapping[str, Any]

    def __init__(self, named: Mapping[str, Any]) -> None:
        nested = {n: Values(v) if isinstance(v, Mapping) else v for n, v in named.items()}
        object.__setattr__(self, "_named", nested)

    def __getattr__(self, name: str) -> Any:
        named = object.__getattribute__(self, "_named")
        if name not in named:
            raise AttributeError(f"no value {name!r}; have {sorted(named)}")
        return named[name]

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"cannot set {name!r}: values are frozen")

    def map(self, function: Callable[[Any], Any]) -> Values:
        """function of every array, those of loops left as they are."""
        return Values({n: v if isinstance(v, Values) else function(v) for n, v in self._named.items()})

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[str, ...]]:
        """Arrays, then names."""
        return tuple(self._named.values()), tuple(self._named)

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], arrays: tuple[Any, ...]) -> Values:
        """The inverse of `tree_flatten`."""
        return cls(dict(zip(names, arrays, strict=True)))


def left_lanes(values: Values) -> Values:
    """[..., n]  ->  [..., n, 1]: one value for each row of a matrix of pairs; those of loops get it turn by turn."""
    return values.map(lambda v: v[..., :, None])


def right_lanes(values: Values) -> Values:
    """[..., n]  ->  [..., 1, n]: one value for each column of a matrix of pairs; those of loops get it turn by turn."""
    return values.map(lambda v: v[..., None, :])


def polynomial(table: Table, t: Array) -> Array:
    """c[0] + c[1] t + c[2] t^2 + ... by pairs (Estrin), coefficients for the precision of t."""
    c: list[Any] = list(table[t.dtype.name])
    while len(c) > 1:
        c = [c[i] + c[i + 1] * t if i + 1 < len(c) else c[i] for i in range(0, len(c), 2)]
        t = t * t
    return c[0]


def ratio(a: ArrayLike, b: Array) -> Array:
    """a / b, and 0 where b is 0: the share of a part in a norm of zero."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)


def safe_sqrt(x: Array) -> Array:
    """sqrt(x) with derivative 0, not infinity, at 0."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0)


@jax.custom_jvp
def arccos_over_pi(t: Array) -> Array:
    """arccos(1 - t) / pi for t in [0, 1]."""
    return jnp.sqrt(t) * polynomial(ARCCOS, t)


@arccos_over_pi.defjvp
def arccos_over_pi_jvp(primals: Any, tangents: Any) -> Any:
    (t,), (dt,) = primals, tangents
    return arccos_over_pi(t), angle_slope(t) * dt


def angle_slope(delta: Array) -> Array:
    """1 / (pi sqrt(delta (2 - delta))), of which that of arccos(1 - delta) / pi is the root."""
    # Where samples coincide it has a cone, of which 0 is the mean derivative; a gap of rounding alone means 0.
    is_apart = jnp.minimum(delta, 2 - delta) > (4 * jnp.finfo(delta.dtype).eps) ** 2
    return jnp.where(is_apart, lax.rsqrt(jnp.where(is_apart, delta * (2 - delta), 1)) / pi, 0)


def by_price(made: Any, turns: int, primals: Any, tangents: Any) -> Any:
    """(gap, slope) of delta and their tangents: slope is the derivative of gap, and is so many angles over pi."""
    (delta,), (d,), (_, slope) = primals, tangents, made
    return made, (slope * d, -turns * angle_slope(delta) * d)


@jax.custom_jvp
def arc_cosine(delta: Array) -> tuple[Array, Array]:
    """1 - kappa1 and kappa0 of the correlation 1 - delta: the arc-cosine kernels of Cho and Saul 2009."""
    near = delta <= 1
    t = jnp.where(near, delta, 2 - delta)
    p = arccos_over_pi(t)
    return jnp.where(near, delta, 1) - p * (t * polynomial(GAP, t)), jnp.where(near, 1 - p, p)


@arc_cosine.defjvp
def arc_cosine_jvp(primals: Any, tangents: Any) -> Any:
    """By Price's theorem."""
    return by_price(arc_cosine(*primals), 1, primals, tangents)


@jax.custom_jvp
def arc_cosine_near(delta: Array) -> tuple[Array, Array]:
    """1 - kappa1 and kappa0 of a correlation 1 - delta that is known to be at least 0."""
    p = arccos_over_pi(delta)
    return delta - p * (delta * polynomial(GAP, delta)), 1 - p


@arc_cosine_near.defjvp
def arc_cosine_near_jvp(primals: Any, tangents: Any) -> Any:
    """By Price's theorem."""
    return by_price(arc_cosine_near(*primals), 1, primals, tangents)


TERMS = 1280
"""Terms of a series at most."""


TOLERANCE = {"float32": 1e-6, "float64": 1e-10}
"""The part of its squares that a series may leave out."""


Tolerance = Mapping[str, float]


class PrecisionLost(UserWarning):
    """A kernel is not within its bound, or not finite: the message names the place, the value, and the remedy."""


class SeriesNotConverged(PrecisionLost):
    """A Hermite series keeps more than its tolerance: the variances of the data are too large for its terms."""


Loss = tuple[str, str, str]
"""Names of the relative errors and of the variances among the values of samples, and what they are of, in words."""


HEADROOM = 1 / 8
"""Where a value to the eighth power is finite, so is all that pairs make of it."""


_WITHOUT_CALLBACKS: ContextVar[bool] = ContextVar("without_callbacks", default=False)


class Watch(NamedTuple):
    """What is watched: losses, and the errors that are allowed; results that are not finite always are."""

    losses: Sequence[Loss] = ()
    tolerance: Tolerance = TOLERANCE


NOTHING_LOST = Watch()


@jax.tree_util.register_pytree_node_class
class Concern:
    """Rows as above, and the names of the values of samples."""

    def __init__(self, rows: Any, places: tuple[str, ...] = ()) -> None:
        self.rows, self.places = rows, places

    def tree_flatten(self) -> tuple[tuple[Any], tuple[str, ...]]:
        """Rows, then places."""
        return (self.rows,), self.places

    @classmethod
    def tree_unflatten(cls, places: tuple[str, ...], rows: tuple[Any]) -> Concern:
        """The inverse of `tree_flatten`."""
        return cls(*rows, places)


def concern_of(watch: Watch, values: Values, **others: Any) -> Concern:
    """The concern of some samples, its last row (largest value, that value, its place)."""
    made = {**named(values), **others}
    rows = [largest_loss(made, loss, variance) for loss, variance, _ in watch.losses]
    places = tuple(name for name, v in made.items() if TERMS not in jnp.shape(v)[:-1])
    sizes = [jnp.max(jnp.abs(jnp.asarray(made[name])), initial=0) for name in places]
    at = jnp.argmax(jnp.stack(sizes))
    size = jnp.stack(sizes)[at]
    rows.append(jnp.stack([size, size, at.astype(size.dtype)]))
    return Concern(lax.stop_gradient(jnp.stack(rows)), places)


def losses_of(watch: Watch, values: Values, dtype: Any = None) -> Concern:
    """The same without a last row that says anything."""
    made = named(values) if watch.losses else {}
    rows = [largest_loss(made, loss, variance) for loss, variance, _ in watch.losses]
    nothing = jnp.zeros(3, rows[0].dtype if rows else dtype)
    return Concern(lax.stop_gradient(jnp.stack([*rows, nothing])))


def named(values: Values) -> dict[str, Any]:
    """Values by name, those of loops as "block1.q_tanh2"."""
    names, arrays = values.tree_flatten()[::-1]
    found: dict[str, Any] = {}
    for name, v in zip(names, arrays, strict=True):
        inner = {f"{name}.{n}": a for n, a in named(v).items()} if isinstance(v, Values) else {name: v}
        found |= {n: a for n, a in inner.items() if n.rpartition(".")[2] != "pattern"}
    return found


def largest_loss(made: dict[str, Any], loss: str, variance: str) -> Array:
    """The row of a loss: where it is largest of all samples."""
    losses = jnp.ravel(made[loss])
    at = jnp.argmax(losses)
    q = jnp.ravel(jnp.broadcast_to(made[variance], made[loss].shape))[at] if variance else jnp.nan
    return jnp.stack([losses[at], jnp.asarray(q, losses.dtype), jnp.zeros((), losses.dtype)])


def worst(rows: Array) -> Array:
    """[concerns, rows, 3]  ->  [rows, 3]: of each row the one that has most."""
    keys = jnp.where(jnp.isnan(rows[..., 0]), jnp.inf, rows[..., 0])
    is_it = jnp.arange(len(rows))[:, None] == jnp.argmax(keys, 0)
    return jnp.sum(jnp.where(is_it[..., None], rows, 0), 0)


def worse(first: Concern, second: Concern) -> Concern:
    """The worst of two."""
    return Concern(worst(jnp.stack([first.rows, second.rows])), first.places)


def judged(made: Array, concern: Concern) -> Concern:
    """The concern of a result: all of it is looked at only where values of samples are near what a float can hold."""
    size = concern.rows[-1, 0]
    is_suspect = ~(size < float(jnp.finfo(size.dtype).max) ** HEADROOM)
    is_bad = lax.cond(is_suspect, lambda v: ~jnp.all(jnp.isfinite(v)), lambda v: jnp.zeros((), bool), made)
    return _with_flag(concern, is_bad)


def _with_flag(concern: Concern, is_bad: Array) -> Concern:
    rows = concern.rows
    last = jnp.concatenate([lax.stop_gradient(is_bad).astype(rows.dtype)[None], rows[-1, 1:]])
    return Concern(jnp.concatenate([rows[:-1], last[None]]), concern.places)


def report(watch: Watch, concern: Concern) -> None:
    """Warns of what is lost: at once if the numbers are known, else when the compiled program runs."""
    if not isinstance(concern.rows, Tracer):
        warn(watch, concern.places, concern.rows)
    elif not _WITHOUT_CALLBACKS.get():
        _alarm(watch, concern.places)(concern.rows)


def _alarm(watch: Watch, places: tuple[str, ...]) -> Any:
    """rows -> rows, with the warning: one for a whole batch."""

    def plain(rows: Array) -> Array:
        is_lost = jnp.any(~(rows[:, 0] <= jnp.asarray(allowed(watch, rows), rows.dtype)))
        say = partial(jax.debug.callback, partial(warn, watch, places))
        lax.cond(is_lost, lambda r: say(r), lambda r: None, rows)
        return rows

    def batched(size: int, is_batched: Sequence[bool], rows: Array) -> tuple[Array, bool]:
        del size, is_batched
        made(worst(rows))
        return rows, True

    made: Any = jax.custom_batching.custom_vmap(plain)
    made.def_vmap(batched)
    return made


def allowed(watch: Watch, rows: Any) -> list[float]:
    """What the first of each row may be: the tolerance, with the rounding of sums of squares."""
    most = watch.tolerance[rows.dtype.name] + 8 * float(jnp.finfo(rows.dtype).eps)
    return [most] * len(watch.losses) + [0.5]


def warn(watch: Watch, places: tuple[str, ...], rows: Any) -> None:
    """A warning for each row that has more than it may; of losses, for the largest of them."""
    numbers: list[list[float]] = rows.tolist()
    lost = [i for i, (row, most) in enumerate(zip(numbers, allowed(watch, rows), strict=True)) if not row[0] <= most]
    losses = [i for i in lost if i < len(watch.losses)]
    if losses:
        at = max(losses, key=lambda i: inf if isnan(numbers[i][0]) else numbers[i][0])
        bound, q, _ = numbers[at]
        _say(of_series(watch.losses[at][2], bound, q, others=len(losses) - 1), SeriesNotConverged)
    if len(watch.losses) in lost:
        _, size, place = numbers[-1]
        _say(of_overflow(places, size, int(place), rows.dtype.name), PrecisionLost)


def of_series(words: str, bound: float, q: float, others: int) -> str:
    """What is said of a series that is cut."""
    more = f", as do {others} more," if others else ""
    at = "" if isnan(q) else f" at the variance {q:.3g}"
    return (
        f"{words}: a series{more} keeps a relative error of up to {bound:.1e}{at}: the variances of these data are too "
        "large for its terms (explain() shows how many each needs); rescale the data or lower W_std"
    )


def of_overflow(places: tuple[str, ...], size: float, place: int, dtype: str) -> str:
    """What is said of a result that is not finite."""
    at = f": {places[place]} reaches {size:.3g}, and products of it are" if places else ": some values are"
    wider = ", or compute in float64 (jax_enable_x64)" if dtype == "float32" else ""
    return f"the kernel holds NaN or infinities{at} beyond what {dtype} can hold; rescale the data, lower W_std{wider}"


def _say(message: str, category: type[Warning]) -> None:
    """A warning of the line outside of this package and jax that called."""
    level, frame = 1, currentframe()
    while frame is not None and frame.f_back is not None and _is_inside(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    issue(message, category, stacklevel=level)


def _is_inside(module: str) -> bool:
    return module.startswith((__name__.partition(".")[0], "jax", "contextlib"))


class Jitted:
    """A function jitted with all hyper-parameters as one argument: jit would take one called x1 for the data."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.jitted: Any = jax.jit(function)
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        self.__signature__ = signature(self.arguments)

    def arguments(self, *given: Any, **named: Any) -> tuple[Any, ...]:
        """Those of the jitted function."""
        return (*given, named)

    def __call__(self, /, *given: Any, **named: Any) -> Any:
        return self.jitted(*self.arguments(*given, **named))

    def lower(self, /, *given: Any, **named: Any) -> Any:
        """What jax.jit's `lower` gives."""
        return self.jitted.lower(*self.arguments(*given, **named))

    def clear_cache(self) -> None:
        """Forget what was compiled."""
        self.jitted.clear_cache()


class Watched(Jitted):
    """A function that gives what is lost beside its results, and warns of it; under jit if `is_aloud`."""

    def __init__(self, function: Callable[..., Any], watch: Watch) -> None:
        super().__init__(function)
        self.watch = watch
        self.is_aloud = True

    def __call__(self, /, *given: Any, **named: Any) -> Any:
        made, concern = super().__call__(*given, **named)
        if self.is_aloud or not isinstance(concern.rows, Tracer):
            report(self.watch, concern)
        return made

    def finite(self, /, *given: Any, **named: Any) -> Any:
        """The same, which warns only where it is not finite: of losses all data were asked before."""
        made, concern = super().__call__(*given, **named)
        report(self.watch._replace(losses=()), Concern(concern.rows[-1:], concern.places))
        return made


class OfPairs(Watched):
    """f(x1, x2=None, pattern=(pattern1, pattern2), **parameters)."""

    def arguments(
        self, /, x1: Any, x2: Any = None, *, pattern: Any = (None, None), **parameters: Any
    ) -> tuple[Any, ...]:
        """(x1, x2, pattern, parameters)."""
        return x1, x2, pattern, parameters


class OfSamples(Jitted):
    """f(x, pattern=None, **parameters)."""

    def arguments(self, x: Any, /, *, pattern: Any = None, **parameters: Any) -> tuple[Any, ...]:
        """(x, pattern, parameters)."""
        return x, pattern, parameters


def mean_squares(x: Array) -> Array:
    """mean_c x[c]^2: [pixels ..., n]."""
    return jnp.moveaxis(jnp.mean(x * x, -1), 0, -1)


TINY = {"float32": 1e-12, "float64": 1e-100}
"""What a zero row is taken to be: its square is a number, and so is the third power of the norm's inverse."""


def away_from_zero(x: Array) -> Array:
    """Rows of zeros as tiny ones, with the derivatives of x: norms and cosines have none at 0, though products have."""
    is_zero = jnp.all(x == 0, -1, keepdims=True)
    return x + lax.stop_gradient(jnp.where(is_zero, jnp.asarray(TINY[x.dtype.name], x.dtype), 0))


def smooth_mean_squares(x: Array) -> Array:
    """mean_c x[c]^2 of rows whose norms a bias is added to."""
    return mean_squares(away_from_zero(x))


def smooth_cosine_gap(x1: Array, x2: Array, q1: Array, q2: Array, same: Array) -> Array:
    """1 - cos(x1, x2) of such rows, whose mean squares are not q1 and q2 where they are zero."""
    x1, x2 = away_from_zero(x1), away_from_zero(x2)
    return cosine_gap(x1, x2, mean_squares(x1), mean_squares(x2), same)


Read = Sequence[Any]
"""(number of the input, function) or (number of the input, function, form): what a network reads of its data."""


class Network(NamedTuple):
    """What emitted source says of a network; see `kernels`."""

    per_sample: Callable[..., Any]
    pair: Callable[..., Any]
    samples: Sequence[Read]
    pairs: Sequence[Read]
    output: str
    sizes: Sequence[int]
    shapes: Sequence[tuple[int, ...]] | None
    reads_features: bool
    pattern: tuple[Sequence[int], bool] | None
    masked: bool
    watch: Watch


def shown(net: Network) -> tuple[int, ...]:
    """The pixel axes of an output."""
    return tuple(
        n for f, size in zip(net.output, net.sizes, strict=True) for n in ((size, size) if f == "F" else (size,))
    )


def joined(net: Network, x: Any, pattern: Any) -> Array:
    """The inputs of each sample, and its pattern, as one row."""
    if net.pattern is None and pattern is not None:
        raise ValueError("a pattern was given to a network that reads none")
    if net.shapes is None:
        return x
    inputs = x if len(net.shapes) > 1 else (x,)
    given = inputs if net.pattern is None else (*inputs, jnp.asarray(pattern, inputs[0].dtype))
    return jnp.concatenate([v.reshape(len(v), -1) for v in given], 1) if len(given) > 1 else x


def both_joined(net: Network, x1: Any, x2: Any, patterns: Any) -> tuple[Array, Array | None]:
    """Both sides; None stays."""
    pattern1, pattern2 = (None, None) if patterns is None else patterns
    return joined(net, x1, pattern1), None if x2 is None else joined(net, x2, pattern2)


def parts(net: Network, whole: Array) -> tuple[Sequence[Array], Array | None]:
    """Every input [n, pixels ..., channels], and patterns [tails ..., heads ..., n]."""
    if net.shapes is None or (len(net.shapes) == 1 and net.pattern is None):
        return (whole,), None
    places = list(accumulate(prod(shape) for shape in net.shapes))
    cuts = jnp.split(whole, places, axis=1)  # the last holds patterns, or nothing
    inputs = [x.reshape(-1, *shape) for x, shape in zip(cuts[:-1], net.shapes, strict=True)]
    if net.pattern is None:
        return inputs, None
    sizes, is_sparse = net.pattern
    if is_sparse:
        edges = cuts[-1].reshape(len(whole), -1, len(sizes), 2).astype(int)
        return inputs, jnp.moveaxis(adjacency(edges, sizes, whole.dtype), 0, -1)
    return inputs, jnp.moveaxis(cuts[-1].reshape(-1, *sizes, *sizes), 0, -1)


def arguments(net: Network, inputs: Sequence[Array], p: SimpleNamespace) -> tuple[Any, ...]:
    """The first arguments of both functions."""
    return (p, inputs[0].shape[-1]) if net.reads_features else (p,)


def samples_of(net: Network, whole: Array, p: SimpleNamespace) -> tuple[Any, Values]:
    """Variance of the output, and what pairs need, of each sample: arrays [pixels ..., n]."""
    inputs, pattern = parts(net, whole)
    read = [
        of_sample(inputs[i] if of_sample is present else clean(net, inputs[i]), *form)
        for i, of_sample, *form in net.samples
    ]
    read += [] if pattern is None else [pattern]
    made, values = net.per_sample(*arguments(net, inputs, p), jnp.ones(len(whole), whole.dtype), *read)
    return made, Values(values)


def clean(net: Network, x: Array) -> Array:
    """Data with 0 for what is masked, if anything may be."""
    return cleaned(x) if net.masked else x


Take = Callable[..., Array]
"""What is wanted of (nngp, ntk)."""


class Walk(Protocol):
    """How all pairs of samples are gone through."""

    def gram(
        self, net: Network, is_alone: bool, take: Take, x1: Array, x2: Array | None, p: SimpleNamespace
    ) -> tuple[Array, Concern]:
        """`take` of all pairs of samples, of x1 with itself if x2 is None, and what is lost."""
        ...

    def losses(self, net: Network, whole: Array, p: SimpleNamespace) -> Concern:
        """What is lost in any samples."""
        ...


class Side(NamedTuple):
    """Samples, the mean squares of each input (or none: they are computed where they are read), and their values."""

    whole: Array
    squares: tuple[Array, ...]
    values: Values


def squares_of(net: Network, whole: Array) -> tuple[Array, ...]:
    """Mean squares of every input."""
    return tuple(mean_squares(clean(net, x)) for x in parts(net, whole)[0])


def given_to_pair(net: Network, side1: Side, side2: Side, same: Array, p: SimpleNamespace) -> tuple[Any, ...]:
    """The arguments of pair for all pairs of two sets of samples."""
    inputs1, inputs2 = parts(net, side1.whole)[0], parts(net, side2.whole)[0]
    squares1, squares2 = (s.squares or squares_of(net, s.whole) for s in (side1, side2))
    read: list[Array] = []
    for i, of_pairs, *form in net.pairs:
        x1, x2 = clean(net, inputs1[i]), clean(net, inputs2[i])
        made = of_pairs(x1, x2, squares1[i], squares2[i], same, *form)
        read += made if isinstance(made, tuple) else (made,)
    lanes = jnp.broadcast_to(same, (len(side1.whole), len(side2.whole))).astype(side1.whole.dtype)
    sides = left_lanes(side1.values), right_lanes(side2.values)
    return (*arguments(net, inputs1, p), *sides, lanes, *read)


def made_of_pairs(
    net: Network, is_alone: bool, side1: Side, side2: Side, same: Array, p: SimpleNamespace
) -> list[Array]:
    """(nngp, ntk) of all pairs of two sets of samples [pixels ..., n1, n2]; T is 0 where it is not wanted."""
    given = given_to_pair(net, side1, side2, same, p)
    with nngp_alone(is_alone):
        made = net.pair(*given)
    shape = (*shown(net), len(side1.whole), len(side2.whole))
    return [jnp.broadcast_to(jnp.asarray(v, side1.whole.dtype), shape) for v in made]


Named = Mapping[str, Any]
"""Hyper-parameters."""


class Kernels(NamedTuple):
    """The jitted functions of a network; data are one array, or a tuple of several inputs."""

    nngp: Callable[..., Array]
    ntk: Callable[..., Array]
    kernel: Callable[..., tuple[Array, Array]]
    variance: Callable[..., Array]
    unresolved: Callable[..., Concern] | None


def kernels(
    per_sample: Callable[..., Any],
    pair: Callable[..., Any],
    walk: Walk,
    *,
    samples: Sequence[Read],
    pairs: Sequence[Read],
    output: str = "",
    sizes: Sequence[int] = (),
    shapes: Sequence[tuple[int, ...]] | None = None,
    reads_features: bool = False,
    pattern: tuple[Sequence[int], bool] | None = None,
    masked: bool = False,
    watch: Watch = NOTHING_LOST,
) -> Kernels:
    """K(x1, x2) and T(x1, x2) of all pairs of samples.

    per_sample(p, [features], *samples) -> variance, values;  pair(p, [features], x, y, same, *pairs) -> K, T; p has
    the hyper-parameters, x and y the values of both sides, along rows and columns of lanes [n1, n2].

    walk: Rows(256), or Tiles(lanes, ...) for data with pixels, several inputs or patterns.
    samples, pairs: (number of the input, function of reads.py or data.py, form of pixels if it has any); per_sample
    is given the pattern last, where there is one.
    output, sizes: form and sizes of the network's output.  shapes: of a sample of each input, where data are more than
    one array.  pattern: sizes of a graph's axes, and whether patterns are lists of edges.  masked: NaN is missing.
    watch: the relative errors among the values, "lost_tanh1" or "block1.lost_tanh2", and what they may be.
    """
    net = Network(per_sample, pair, samples, pairs, output, sizes, shapes, reads_features, pattern, masked, watch)
    gram = partial(walk.gram, net)

    def nngp(x1: Any, x2: Any, patterns: Any, parameters: Named) -> tuple[Array, Concern]:
        """K of every pair of samples of x1 and x2; of x1 with itself if x2 is None."""
        return gram(True, only, *both_joined(net, x1, x2, patterns), SimpleNamespace(**parameters))

    def ntk(x1: Any, x2: Any, patterns: Any, parameters: Named) -> tuple[Array, Concern]:
        """T of every pair of samples of x1 and x2; of x1 with itself if x2 is None."""
        return gram(False, last, *both_joined(net, x1, x2, patterns), SimpleNamespace(**parameters))

    def kernel(x1: Any, x2: Any, patterns: Any, parameters: Named) -> tuple[tuple[Array, Array], Concern]:
        """(nngp, ntk). The two travel as one complex array: as two, XLA would compute their common part twice."""
        both, concern = gram(False, lax.complex, *both_joined(net, x1, x2, patterns), SimpleNamespace(**parameters))
        return (both.real, both.imag), concern

    def variance(x: Any, patterns: Any, parameters: Named) -> Array:
        """nngp of every sample with itself, without the pairs: [n, pixels ...], of all pairs of pixels if nngp is."""
        whole = joined(net, x, patterns)
        made, _ = samples_of(net, whole, SimpleNamespace(**parameters))
        return jnp.moveaxis(jnp.broadcast_to(jnp.asarray(made, whole.dtype), (*shown(net), len(whole))), -1, 0)

    def unresolved(x: Any, patterns: Any, parameters: Named) -> Concern:
        """The largest relative errors that are watched, of any sample."""
        return walk.losses(net, joined(net, x, patterns), SimpleNamespace(**parameters))

    errors = OfSamples(unresolved) if watch.losses else None
    first, second, both = (OfPairs(f, watch) for f in (nngp, ntk, kernel))
    return Kernels(first, second, both, OfSamples(variance), errors)


def only(k: Array, *_: Array) -> Array:
    """(K,) or (K, T)  ->  K."""
    return k


def last(_: Array, t: Array) -> Array:
    """(K, T)  ->  T."""
    return t


class Rows(NamedTuple):
    """Blocks of `size` samples, each compared with all others at once; tiles of one triangle of symmetric matrices."""

    size: int = 256

    def gram(
        self, net: Network, is_alone: bool, take: Take, x1: Array, x2: Array | None, p: SimpleNamespace
    ) -> tuple[Array, Concern]:
        """`take` of all pairs of samples, of x1 with itself if x2 is None, and what is lost."""
        made_of = partial(block, net, is_alone, take, p)
        if max(len(x1), len(x1 if x2 is None else x2)) <= self.size // 2:
            return at_once(net, made_of, x1, x2, p)
        side1, concern = side_of(net, padded(x1, self.size), p)
        if x2 is None:
            made = triangle(made_of, side1, len(x1), self.size)
            return made, judged(made, concern)
        side2, concern2 = side_of(net, x2, p)
        made = rectangle(made_of, side1, side2, len(x1), self.size)
        return made, judged(made, worse(concern, concern2))

    def losses(self, net: Network, whole: Array, p: SimpleNamespace) -> Concern:
        """What is lost in any samples."""
        return losses_of(net.watch, samples_of(net, whole, p)[1])


def at_once(net: Network, made_of: Take, x1: Array, x2: Array | None, p: SimpleNamespace) -> tuple[Array, Concern]:
    """All pairs of few samples: loops would take longer to compile than to run."""
    side1, concern = side_of(net, x1, p)
    if x2 is None:
        made = made_of(jnp.eye(len(x1), dtype=bool), side1, side1)
        # Alone, as XLA computes entries and their mirror images twice otherwise, and rounds them apart.
        made = alone(lambda v: jnp.where(jnp.tri(len(x1), dtype=bool), v, v.T), made)
        return made, judged(made, concern)
    side2, concern2 = side_of(net, x2, p)
    made = made_of(jnp.zeros((), bool), side1, side2)
    return made, judged(made, worse(concern, concern2))


def rectangle(made_of: Take, side1: Side, right: Side, rows: int, most: int) -> Array:
    """All pairs, block of rows after block of rows."""
    apart = jnp.zeros((), bool)
    left = in_blocks(side1, block_size(rows, most))
    count, size = left.whole.shape[:2]

    @jax.checkpoint
    def some_rows(i: Array) -> Array:
        return made_of(apart, jax.tree.map(lambda v: v[i], left), right)

    places = jnp.arange(count)
    return assemble(lambda i: (some_rows(i), (i * size, 0)), places, (count * size, len(right.whole)))[:rows]


def block(net: Network, is_alone: bool, take: Take, p: SimpleNamespace, same: Array, side1: Side, side2: Side) -> Array:
    """What `take` makes of (nngp, ntk) for all pairs of two sets of samples."""
    # The barrier keeps the loop's slices out of the elementwise chain, which XLA then vectorises.
    side1, side2 = lax.optimization_barrier((side1, side2))
    return take(*made_of_pairs(net, is_alone, side1, side2, same, p))


def side_of(net: Network, whole: Array, p: SimpleNamespace) -> tuple[Side, Concern]:
    """Samples with their mean squares and values, and what is lost in these."""
    squares, (variance, values) = squares_of(net, whole), samples_of(net, whole, p)
    others = {f"the mean square of input {i + 1}": q for i, q in enumerate(squares)}
    concern = concern_of(net.watch, values, **others, **{"the variance of the output": variance})
    return Side(whole, squares, values), concern


def in_blocks(side: Side, size: int) -> Side:
    """Samples with a first axis of blocks of `size`."""

    def piled(v: Array) -> Array:
        return jnp.moveaxis(v.reshape(*v.shape[:-1], -1, size), -2, 0)

    whole = side.whole.reshape(-1, size, *side.whole.shape[1:])
    return Side(whole, *jax.tree.map(piled, (side.squares, side.values)))


def side_of_block(blocks: Side, i: Array) -> Side:
    """Block i, its values copied: an elementwise chain is not vectorised where XLA fuses these slices with it."""
    known, structure = jax.tree.flatten((blocks.squares, blocks.values))
    made = alone(lambda *piled: tuple(v[i] for v in piled), *known)
    return Side(blocks.whole[i], *jax.tree.unflatten(structure, made))


def block_size(count: int, most: int) -> int:
    """Samples a block, two blocks at least: XLA inlines a loop of one turn, and then computes things twice."""
    return min(most, -(-count // 2))


def padded(x: Array, most: int) -> Array:
    """Rows added, copies of the last, up to a whole number of blocks."""
    size = block_size(len(x), most)
    more = max(-len(x) % size, 2 * size - len(x))
    return jnp.pad(x, [(0, more)] + [(0, 0)] * (x.ndim - 1), mode="edge")


def assemble(compute: Callable[[Any], tuple[Array, Any]], places: Any, shape: tuple[int, int]) -> Array:
    """A matrix of blocks; `compute` makes the block of a place and says where its corner goes.

    Each is stored a turn after it was made: XLA spreads an elementwise chain over the cores unless it ends in a store.
    """

    def turn(state: Any, place: Any) -> Any:
        whole, made, corner = state
        return (lax.dynamic_update_slice(whole, made, corner), *compute(place)), None

    first = jax.eval_shape(compute, jax.tree.map(lambda p: p[0], places))
    made, corner = jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), first)
    start = jnp.zeros(shape, made.dtype), made, corner
    (whole, made, corner), _ = lax.scan(turn, start, places)
    return lax.dynamic_update_slice(whole, made, corner)


def triangle(made_of: Take, side: Side, rows: int, most: int) -> Array:
    """All pairs of rows of one set: tiles on and below the diagonal, then their mirror images."""
    size = block_size(rows, most)
    side = in_blocks(side, size)
    same, below = jnp.eye(size, dtype=bool), jnp.tri(size, dtype=bool)

    @jax.checkpoint
    def tile(i: Array, j: Array) -> Array:
        return made_of((i == j) & same, side_of_block(side, i), side_of_block(side, j))

    def compute(place: Any) -> tuple[Array, Any]:
        i, j = place
        return tile(i, j), (i * size, j * size)

    def mirror(whole: Array, place: Any) -> tuple[Array, None]:
        i, j = place
        lower = lax.dynamic_slice(whole, (i * size, j * size), (size, size))
        lower = jnp.where((i == j) & below, lower, lower.T)
        return lax.dynamic_update_slice(whole, lower, (j * size, i * size)), None

    count = len(side.whole)
    below_or_on = [(i, j) for i in range(count) for j in range(i + 1)]
    places = tuple(map(jnp.array, zip(*below_or_on, strict=True)))
    whole = assemble(compute, places, (count * size, count * size))
    whole, _ = lax.scan(mirror, whole, places)  # apart from `compute`, where XLA would compute each tile twice
    return whole[:rows, :rows]


W_std, b_std = 1.5, 0.1


def per_sample(p, one, q_input1):
    """Variance of the output, and what pairs read of each sample."""
    n_input1 = safe_sqrt(q_input1)
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    q_dense1 = W_std**2*q_input1 + b_std**2
    n_dense1 = safe_sqrt(q_dense1)
    c_dense1_input1 = ratio(W_std*n_input1, n_dense1)
    c_dense1_bias = ratio(0.1, n_dense1)
    b_dense1 = 0.8408964152537145*safe_sqrt(c_dense1_input1 + 1)
    a_dense1 = 0.7071067811865476*c_dense1_bias/b_dense1
    # relu1: Relu()
    q_relu1 = q_dense1/2
    n_relu1 = safe_sqrt(q_relu1)
    # dense2: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    q_dense2 = W_std**2*q_relu1 + b_std**2
    n_dense2 = safe_sqrt(q_dense2)
    c_dense2_relu1 = ratio(W_std*n_relu1, n_dense2)
    c_dense2_bias = ratio(0.1, n_dense2)
    b_dense2 = 0.8408964152537145*safe_sqrt(c_dense2_relu1 + 1)
    a_dense2 = 0.7071067811865476*c_dense2_bias/b_dense2
    # relu2: Relu()
    q_relu2 = q_dense2/2
    n_relu2 = safe_sqrt(q_relu2)
    # dense3: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    q_dense3 = W_std**2*q_relu2 + b_std**2
    n_dense3 = safe_sqrt(q_dense3)
    c_dense3_relu2 = ratio(W_std*n_relu2, n_dense3)
    c_dense3_bias = ratio(0.1, n_dense3)
    b_dense3 = 0.8408964152537145*safe_sqrt(c_dense3_relu2 + 1)
    a_dense3 = 0.7071067811865476*c_dense3_bias/b_dense3
    # relu3: Relu()
    q_relu3 = q_dense3/2
    n_relu3 = safe_sqrt(q_relu3)
    # dense4: Dense(out_dim=1, W_std=1.5, b_std=0.1)
    q_dense4 = W_std**2*q_relu3 + b_std**2
    n_dense4 = safe_sqrt(q_dense4)
    c_dense4_relu3 = ratio(W_std*n_relu3, n_dense4)
    c_dense4_bias = ratio(0.1, n_dense4)
    b_dense4 = 0.8408964152537145*safe_sqrt(c_dense4_relu3 + 1)
    a_dense4 = 0.7071067811865476*c_dense4_bias/b_dense4
    values = dict(
        a_dense1=a_dense1, b_dense1=b_dense1, c_dense1_input1=c_dense1_input1, a_dense2=a_dense2, b_dense2=b_dense2,
        c_dense2_relu1=c_dense2_relu1, a_dense3=a_dense3, b_dense3=b_dense3, c_dense3_relu2=c_dense3_relu2,
        a_dense4=a_dense4, b_dense4=b_dense4, c_dense4_relu3=c_dense4_relu3, n_dense4=n_dense4,
    )
    return q_dense4, values


def pair(p, x, y, same, delta_input1):
    """NNGP and NTK of every pair of samples."""
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    delta_dense1 = x.c_dense1_input1*y.c_dense1_input1*delta_input1 + (x.a_dense1*y.b_dense1 - y.a_dense1*x.b_dense1)**2
    tau_dense1 = 1 - delta_dense1
    # relu1: Relu()
    delta_relu1, slope_relu1 = arc_cosine(delta_dense1)
    tau_relu1 = tau_dense1*slope_relu1
    # dense2: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    delta_dense2 = x.c_dense2_relu1*y.c_dense2_relu1*delta_relu1 + (x.a_dense2*y.b_dense2 - y.a_dense2*x.b_dense2)**2
    tau_dense2 = x.c_dense2_relu1*y.c_dense2_relu1*tau_relu1 + 1 - delta_dense2
    # relu2: Relu()
    delta_relu2, slope_relu2 = arc_cosine_near(delta_dense2)
    tau_relu2 = tau_dense2*slope_relu2
    # dense3: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    delta_dense3 = x.c_dense3_relu2*y.c_dense3_relu2*delta_relu2 + (x.a_dense3*y.b_dense3 - y.a_dense3*x.b_dense3)**2
    tau_dense3 = x.c_dense3_relu2*y.c_dense3_relu2*tau_relu2 + 1 - delta_dense3
    # relu3: Relu()
    delta_relu3, slope_relu3 = arc_cosine_near(delta_dense3)
    tau_relu3 = tau_dense3*slope_relu3
    # dense4: Dense(out_dim=1, W_std=1.5, b_std=0.1)
    delta_dense4 = x.c_dense4_relu3*y.c_dense4_relu3*delta_relu3 + (x.a_dense4*y.b_dense4 - y.a_dense4*x.b_dense4)**2
    tau_dense4 = x.c_dense4_relu3*y.c_dense4_relu3*tau_relu3 + 1 - delta_dense4
    return x.n_dense4*y.n_dense4*(1 - delta_dense4), x.n_dense4*y.n_dense4*tau_dense4


nngp, ntk, kernel, variance, unresolved = kernels(
    per_sample, pair, Rows(256), samples=((0, smooth_mean_squares),), pairs=((0, smooth_cosine_gap),),
)

fit = predictor(nngp, ntk)
