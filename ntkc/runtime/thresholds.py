"""E[f(u) h(v)] of polynomials that change at steps, without cancellation at any variance.

    V(k) = sum_{n < m} E[f^(n)] E[h^(n)] k^n / n!  +  int_0^k (k - c)^(m - 1) / (m - 1)! E_c[f^(m)(u) h^(m)(v)] dc

by Price's theorem, m times: f^(m) and h^(m) are pulses, whose expectation is a Gaussian density and its derivatives.
Every term is at most sqrt(V11 V22). In x = 1 - |c| / (s1 s2) the integrand has the scale x of a heat kernel near 0;
powers of Gauss-Legendre nodes follow it. Their number grows as the least gap of the pairs falls. float64 inside, also
where jax_enable_x64 is off.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from math import factorial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ntkc.runtime.data import spread_over
from ntkc.runtime.distributions import Distribution, derivative_of, derivatives, mean_of, times_x
from ntkc.runtime.pulses import Pairs, Pulse, densities_at, products_of_pulses
from ntkc.runtime.roots import cosine

POWER = 8
"""x is this power of the variable of the nodes, whose root is made of square roots."""
NODES = {
    "float32": ((0.5, 8), (0.1, 12), (0.03, 16), (0.01, 16), (0.001, 24), (0.0, 112)),
    "float64": ((0.5, 16), (0.1, 20), (0.03, 24), (0.01, 32), (0.001, 44), (0.0, 224)),
}
"""(least gap, nodes)."""
CHUNKS = {"float32": 4, "float64": 1}
"""Nodes of one turn of the loop over them, by the precision inside: few, for the compiler, where the loop is rare."""
REACH = 110.0
"""Beyond, exponentials have fallen by exp(REACH / 4)."""
MILD = 8.0
"""Variances over the squares of thresholds, and of distances between them, up to which float32 serves."""
LARGEST = 1e6
"""The largest variance at which it does."""
SMALLEST = 1e-60
"""A variance that is 0 counts as this: no threshold is reached."""


@functools.cache
def node_table(dtype: str) -> tuple[Any, Any, Any, Any]:
    """Least gaps, numbers of nodes, nodes and weights on [0, 1] of each rule."""
    rules = NODES[dtype]
    most = max(n for _, n in rules)
    made = [np.polynomial.legendre.leggauss(n) for _, n in rules]
    x, w = (np.stack([np.pad(rule[i], (0, most - len(rule[i]))) for rule in made]) for i in (0, 1))
    return np.array([g for g, _ in rules]), np.array([n for _, n in rules], "int32"), (x + 1) / 2, w / 2


def gaps_of(dtype: str) -> Any:
    """The least gap of each rule."""
    return node_table(dtype)[0]


def threshold_of(f: Distribution, h: Distribution) -> tuple[float, float]:
    """The least |edge| of the pulses of both, and the largest noise."""
    places = [*f.pulses, *h.pulses]
    return min(abs(t) for t, _, _ in places), max(noise for _, noise, _ in places)


def integrals(
    fs: tuple[Distribution, Distribution], of: Pairs, near: Array, powers: tuple[int, ...], dtype: str, least: Any
) -> list[Array]:
    """int_near^1 (x - near)^j E[f(u) h(v)] dx for every j of `powers`, f and h made of pulses, s1 s2 (1 - x) = |k|.

    Pairs of float32 whose variances are near the thresholds lose nothing in it.
    """
    edge, noise = threshold_of(*fs)
    top = jnp.minimum(1, REACH * (jnp.maximum(of.q1, of.q2) + noise) / edge**2) if edge else 1.0
    high = jnp.maximum(near, top)
    rule = jnp.sum(least < gaps_of(dtype), dtype="int32")
    walk = functools.partial(over_nodes, products_of_pulses(*fs), powers, dtype, rule)
    if dtype != "float32" or isinstance(least, float):
        return walk(of, near, high)
    return lax.cond(is_mild(fs, of), functools.partial(narrow, walk), walk, of, near, high)


def narrow(walk: Callable[..., list[Array]], of: Pairs, near: Array, high: Array) -> list[Array]:
    """The same in float32."""
    made = walk(*jax.tree.map(lambda v: v.astype("float32"), (of, near, high)))
    return [v.astype("float64") for v in made]


def is_mild(fs: tuple[Distribution, Distribution], of: Pairs) -> Array:
    """float32 holds the sums of pulses: none cancel, and no exponent is large."""
    edge, noise = threshold_of(*fs)
    places = sorted({t for f in fs for t, _, _ in f.pulses})
    span = min([b - a for a, b in itertools.pairwise(places)], default=math.inf)
    most = jnp.maximum(jnp.max(of.q1), jnp.max(of.q2))
    least = jnp.minimum(jnp.min(of.q1), jnp.min(of.q2))
    return (most <= MILD * span**2) & (most <= LARGEST) & (least >= (edge**2 - MILD * noise) / MILD)


def over_nodes(
    pulses: tuple[Pulse, ...], powers: tuple[int, ...], dtype: str, rule: Array, of: Pairs, near: Array, high: Array
) -> list[Array]:
    """The integrals by quadrature between two ends."""
    low, high = (jnp.sqrt(jnp.sqrt(jnp.sqrt(v))) for v in (near, high))
    _, counts, nodes, weights = (jnp.asarray(v) for v in node_table(dtype))

    size = CHUNKS[near.dtype.name]

    def turn(i: Any, totals: list[Array]) -> list[Array]:
        start = rule, size * i.astype("int32")
        rows = (lax.dynamic_slice(v, start, (1, size)).astype(near.dtype) for v in (nodes, weights))
        for node, weight in zip(*(row[0] for row in rows), strict=True):
            y = low + (high - low) * node
            y2 = y * y
            y4 = y2 * y2
            x = y4 * y4
            value = densities_at(pulses, of, x) * (weight * POWER * (high - low) * (y4 * y2 * y))
            totals = [total + value * (x - near) ** j for total, j in zip(totals, powers, strict=True)]
        return totals

    start = [jnp.zeros(jnp.broadcast_shapes(near.shape, of.q1.shape, of.q2.shape), near.dtype) for _ in powers]
    last = lax.dynamic_index_in_dim(counts, rule, keepdims=False) // size
    return lax.fori_loop(jnp.zeros_like(last), last, turn, start)


def value_and_slope(
    f: Distribution, h: Distribution, q1: Array, q2: Array, delta: Array, dtype: str, least: Any
) -> tuple[Array, Array]:
    """V and dV/dk in float64; delta = 1 - rho, of which the pairs that are asked for have at least `least`."""
    rho = 1 - delta
    of = Pairs(q1, q2, jnp.sqrt(q1), jnp.sqrt(q2), jnp.where(rho < 0, -1.0, 1.0))
    scale = of.s1 * of.s2
    near, order = jnp.minimum(delta, 2 - delta), max(f.order, h.order)
    fs, hs = derivatives(f, order + 1), derivatives(h, order + 1)
    means = [mean_of(a, q1) * mean_of(b, q2) for a, b in zip(fs[:order], hs[:order], strict=True)]
    k = scale * rho
    value = sum((m * k**n / factorial(n) for n, m in enumerate(means)), jnp.zeros_like(k))
    slope = sum((m * k ** (n - 1) / factorial(n - 1) for n, m in enumerate(means) if n), jnp.zeros_like(k))
    ends = fs[order], hs[order]
    if not all(end.pulses for end in ends):
        return value, slope
    if order == 0:
        return densities_at(products_of_pulses(*ends), of, near), slope
    powers = tuple(j for j in (order - 1, order - 2) if j >= 0)
    found = integrals(ends, of, near, powers, dtype, least)
    value += (of.sign * scale) ** order / factorial(order - 1) * found[0]
    if order == 1:
        return value, slope + densities_at(products_of_pulses(*ends), of, near)
    return value, slope + (of.sign * scale) ** (order - 1) / factorial(order - 2) * found[1]


def of_pairs(f: Distribution, h: Distribution, q1: Array, q2: Array, delta: Array) -> tuple[Array, Array]:
    """V and dV/dk of all lanes; what equal samples have, who need most nodes, is made once a sample."""
    dtype = jnp.result_type(q1, q2, delta)
    shape = jnp.broadcast_shapes(q1.shape, q2.shape, delta.shape)
    with jax.enable_x64(True):
        q1, q2, delta = (jnp.asarray(v).astype("float64") for v in (q1, q2, delta))
        q1, q2, delta = jnp.maximum(q1, SMALLEST), jnp.maximum(q2, SMALLEST), jnp.clip(delta, 0, 2)
        same = (delta == 0) & (q1 == q2)
        apart = jnp.where(same, 1, delta)
        least = jnp.min(jnp.minimum(apart, 2 - apart))
        own = value_and_slope(f, h, q1, q1, jnp.zeros_like(q1), dtype.name, 0.0)
        both = value_and_slope(f, h, q1, q2, apart, dtype.name, least)
        made = (jnp.where(same, a, b) for a, b in zip(own, both, strict=True))
        return tuple(jnp.broadcast_to(v, shape).astype(dtype) for v in made)  # type: ignore[return-value]


def of_samples(f: Distribution, h: Distribution, q: Array) -> tuple[Array, Array]:
    """The same of samples with themselves."""
    with jax.enable_x64(True):
        wide = jnp.maximum(q.astype("float64"), SMALLEST)
        made = value_and_slope(f, h, wide, wide, jnp.zeros_like(wide), q.dtype.name, 0.0)
        return tuple(v.astype(q.dtype) for v in made)  # type: ignore[return-value]


@functools.cache
def in_float64(function: Callable[..., Any], f: Distribution, h: Distribution) -> Callable[..., Any]:
    """A function of these two for any shape and precision, which vmap leaves in float64."""

    @jax.custom_batching.custom_vmap
    def computed(*data: Array) -> Any:
        return function(f, h, *data)

    @computed.def_vmap
    def rule(size: int, batched: Any, *data: Array) -> Any:
        rank = max(v.ndim - bool(b) for v, b in zip(data, batched, strict=True))
        spread = spread_over(size, batched, data)
        return computed(*(v.reshape(size, *[1] * (rank + 1 - v.ndim), *v.shape[1:]) for v in spread)), (True, True)

    return computed


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def stepped(f: Distribution, h: Distribution, q1: Array, q2: Array, delta: Array) -> tuple[Array, Array]:
    """V(q1, q2, k) = E[f(u) h(v)] and dV/dk, from the gap delta = 1 - k / sqrt(q1 q2)."""
    return in_float64(of_pairs, f, h)(q1, q2, delta)


@stepped.defjvp
def stepped_jvp(f: Distribution, h: Distribution, primals: Any, tangents: Any) -> Any:
    made = stepped(f, h, *primals)
    slopes = derivative_of(f), derivative_of(h)
    return made, (change_of(f, h, primals, tangents), change_of(*slopes, primals, tangents))


def change_of(f: Distribution, h: Distribution, primals: Any, tangents: Any) -> Array:
    """dV = -s1 s2 E[f' h'] d delta + E[u f' h] dq1 / (2 q1) + E[f v h'] dq2 / (2 q2), delta fixed in the latter two."""
    (q1, q2, delta), (dq1, dq2, ddelta) = primals, tangents
    slope1, slope2 = derivative_of(f), derivative_of(h)
    scale = jnp.sqrt(jnp.maximum(q1, 0)) * jnp.sqrt(jnp.maximum(q2, 0))
    change = -scale * stepped(slope1, slope2, q1, q2, delta)[0] * ddelta
    parts = (times_x(slope1), h, q1, dq1), (f, times_x(slope2), q2, dq2)
    for a, b, q, dq in parts:
        change += jnp.where(q > 0, stepped(a, b, q1, q2, delta)[0] / jnp.where(q > 0, 2 * q, 1), 0) * dq
    return change


def gap_of_covariance(k: Array, q1: Array, q2: Array) -> Array:
    """1 - rho; 0 and 2 where the rounding of k alone decides whether it is more."""
    delta = 1 - cosine(k, q1, q2)
    least = 4 * jnp.finfo(delta.dtype).eps
    fixed = lax.stop_gradient(delta)
    snapped = jnp.where(fixed < least, 0, jnp.where(fixed > 2 - least, 2, fixed))
    return delta + (snapped - fixed)


def stepped_pair(f: Distribution, h: Distribution, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    """The same from a covariance."""
    return stepped(f, h, q1, q2, gap_of_covariance(k, q1, q2))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def stepped_variance(f: Distribution, h: Distribution, q: Array) -> Array:
    """E[f(u) h(u)], u ~ N(0, q)."""
    return in_float64(of_samples, f, h)(q)[0]


@stepped_variance.defjvp
def stepped_variance_jvp(f: Distribution, h: Distribution, primals: Any, tangents: Any) -> Any:
    (q,), (dq,) = primals, tangents
    slopes = [stepped_variance(times_x(derivative_of(a)), b, q) for a, b in ((f, h), (h, f))]
    return stepped_variance(f, h, q), jnp.where(q > 0, sum(slopes) / jnp.where(q > 0, 2 * q, 1), 0) * dq
