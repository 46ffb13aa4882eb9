"""Functions with a kink at 0: what is taken out of them in closed form, and the series of the rest."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from math import pi
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ntkc.runtime.polynomials import polynomial
from ntkc.runtime.roots import exact_minor, ratio, safe_sqrt
from ntkc.runtime.series import CHUNK, TERMS, TOLERANCE, Tolerance, hermite_sum, project
from ntkc.runtime.tables import ARCTAN, Table

SPLIT_CUTS = (80, 120, 420, 500, 540)
"""Of nodes on both sides of 0."""
Row = Sequence[float]
"""c, p_0, p_1, ...: of (p_0 + p_1 x + ...) exp(-c x^2 / 2)."""


def kink(table: Table, x: Array) -> Array:
    """sign(x) (p_0 + p_1 x + ...) exp(-c x^2 / 2), c, p_0, p_1, ... for the precision of x."""
    c, *p = table[x.dtype.name]
    total = p[-1]
    for v in p[-2::-1]:
        total = total * x + v
    return jnp.sign(x) * total * jnp.exp(-c / 2 * x * x)


@functools.cache
def split_nodes() -> tuple[Any, Any]:
    """Nodes z of panels that meet at 0, and He_n(z) / sqrt(n!) times the normal density and weights, n < TERMS."""
    ends = np.array([0, 1 / 64, 1 / 16, 1 / 4, *np.linspace(0.75, 13, 18)])[:, None]
    x, w = np.polynomial.legendre.leggauss(20)
    half = np.diff(ends, axis=0) / 2
    z, w = ((ends[:-1] + half) + half * x).ravel(), (half * w).ravel()
    z, w = np.concatenate([-z, z]), np.concatenate([w, w])
    before, row = 0 * z, w / np.sqrt(2 * np.pi) * np.exp(-z * z / 2)
    rows = [row]
    for n in range(TERMS - 1):
        before, row = row, (z * row - np.sqrt(n) * before) / np.sqrt(n + 1)
        rows.append(row)
    return z, np.array(rows)


@functools.cache
def split_table(dtype: str) -> Any:
    """The same for one precision."""
    return split_nodes()[1].astype(dtype)


def at_split_nodes(f: Callable[[Array], Array], q: Array) -> Array:
    """f(sqrt(q) z): [nodes, samples]."""
    x = safe_sqrt(q) * jnp.asarray(split_nodes()[0], q.dtype)[:, None]
    return jnp.broadcast_to(f(x), x.shape)


def split_mean(f: Callable[[Array], Array], q: Array) -> Array:
    """E[f(u)], u ~ N(0, q), of a function with a kink at 0, for each sample."""
    return project(split_table(q.dtype.name)[0], at_split_nodes(f, q), SPLIT_CUTS)


def kink_coefficients(f: Callable[[Array], Array], table: Table, q: Array) -> Array:
    """Hermite coefficients of f - P and of f + P, P = kink(table, x), or 0: [TERMS, 2, samples]."""
    values = at_split_nodes(f, q)
    part = at_split_nodes(lambda x: kink(table, x), q) if table else 0
    both = project(split_table(q.dtype.name), jnp.concatenate([values - part, values + part], 1), SPLIT_CUTS)
    return both.reshape(TERMS, 2, -1)


def kink_tails(h: Array) -> Array:
    """What is left of the squares of f - P and f + P from each chunk on, over E[f^2]: [2, chunks, samples]."""
    squares = jnp.sum((h * h).reshape(TERMS // CHUNK, CHUNK, *h.shape[1:]), 1)
    # Beyond the last, squares fall like n^(-5.5) or faster, and n^(-1.5).
    rest = squares[-1] * (TERMS // CHUNK) * jnp.asarray([1 / 4, 2], h.dtype).reshape(2, *[1] * (h.ndim - 2))
    beyond = jnp.cumsum(squares[::-1], 0)[::-1] + rest
    return lax.stop_gradient(jnp.moveaxis(ratio(beyond, jnp.sum(jnp.mean(h, 1) ** 2, 0)), 0, 1))


def kink_remainder(tails: Array) -> Array:
    """sqrt(d s) of what all terms leave of the squares of f - P and f + P."""
    return jnp.sqrt(jnp.prod(tails[:, -1], 0))


def chunks_of_products(tails1: Array, tails2: Array, tolerance: Tolerance) -> Array:
    """The least number of chunks whose remainder is within tolerance for all pairs, by Cauchy's inequality."""
    (d1, s1), (d2, s2) = (jnp.max(t.reshape(2, TERMS // CHUNK, -1), -1) for t in (tails1, tails2))
    left = (jnp.sqrt(d1) * jnp.sqrt(s2) + jnp.sqrt(s1) * jnp.sqrt(d2)) / 2
    return jnp.sum(left > tolerance[left.dtype.name]).astype(left.dtype)


def kink_sum(h1: Array, h2: Array, rho: Array, tails1: Array, tails2: Array, tolerance: Tolerance = TOLERANCE) -> Array:
    """sum_n (d1_n s2_n + s1_n d2_n) / 2 rho^n, d and s the coefficients of f - P and f + P."""
    chunks = chunks_of_products(tails1, tails2, tolerance)
    (d1, s1), (d2, s2) = ((h[:, 0], h[:, 1]) for h in (h1, h2))
    return (hermite_sum(d1, s2, rho, chunks, chunks) + hermite_sum(s1, d2, rho, chunks, chunks)) / 2


def edge_moments(root: Array, rest: Array, count: int) -> list[Array]:
    """root, 2 rest root, 8 rest^2 root, ...: 2^j j! rest^j root."""
    moments = [root]
    for j in range(1, count):
        moments.append(moments[-1] * (2 * j * rest))
    return moments


def signed_moments(
    counts: tuple[int, int],
    root: Array,
    angle: Array,
    variances: tuple[Array, Array],
    k: Array,
    slopes: tuple[Array, Array],
    rests: tuple[Array, Array],
) -> dict[tuple[int, int], Array]:
    """pi / 2 E[sign(u) u^n sign(v) v^m], n + m even, by Stein's lemma.

    slopes are k over the variances, rests the variances of v where u = 0 and of u where v = 0; root^2 = q1 q2 - k^2.
    """
    (q1, q2), (slope1, slope2) = variances, slopes
    edge1, edge2 = (edge_moments(root, rest, count) for rest, count in zip(rests, reversed(counts), strict=True))
    table = {(0, 0): angle}
    for n in range(counts[0]):
        for m in range(n % 2, counts[1], 2):
            if n == 0 and m > 0:
                table[n, m] = (m - 1) * q2 * table[n, m - 2] + slope1 * edge1[m // 2 - 1]
            elif n > 0:
                mixed = m * k * table[n - 1, m - 1] if m > 0 else slope2 * edge2[n // 2 - 1]
                table[n, m] = mixed + ((n - 1) * q1 * table[n - 2, m] if n > 1 else edge1[m // 2])
    return table


def kink_moment(table1: Table, table2: Table, k: Array, q1: Array, q2: Array) -> Array:
    """E[kink(table1, u) kink(table2, v)]."""
    return tilted_moment(table1[k.dtype.name], table2[k.dtype.name], k, q1, q2)


def moment_of_signs(first: Row, second: Row, k: Array, q1: Array, q2: Array) -> Array:
    """The same of two rows of tables: the exponentials tilt the Gaussian, then moments with two signs."""
    (c1, *p), (c2, *r) = first, second
    minor = exact_minor(k, q1, q2)
    over1, over2 = q1 + c2 * minor, q2 + c1 * minor
    det = 1 + c1 * q1 + c2 * q2 + c1 * c2 * minor
    tilted1, tilted2, tilted = over1 / det, over2 / det, k / det
    root, scale = safe_sqrt(minor / det), safe_sqrt(tilted1) * safe_sqrt(tilted2)
    z = ratio(tilted, scale + root)
    angle = 2 * z * polynomial(ARCTAN, z * z)  # of the same root: the two cancel where the vectors are near
    slopes, rests = (ratio(k, over1), ratio(k, over2)), (ratio(minor, over1), ratio(minor, over2))
    table = signed_moments((len(p), len(r)), root, angle, (tilted1, tilted2), tilted, slopes, rests)
    return 2 / pi / jnp.sqrt(det) * sum(p[n] * r[m] * moment for (n, m), moment in table.items() if p[n] * r[m])


tilted_moment = jax.custom_jvp(moment_of_signs, nondiff_argnums=(0, 1))


def derivative(row: Row) -> Row:
    """c, p'_0, p'_1, ... with (p_0 + p_1 x + ...) exp(-c x^2 / 2)  ->  (p'_0 + p'_1 x + ...) exp(-c x^2 / 2)."""
    c, *p = row
    padded = [0.0, *p, 0.0, 0.0]
    return (c, *((n + 1) * padded[n + 2] - c * padded[n] for n in range(len(p) + 1)))


def mean_of_kink(row: Row, q: Array) -> Array:
    """E[sign(w) (p_0 + p_1 w + ...) exp(-c w^2 / 2)], w ~ N(0, q)."""
    c, *p = row
    tilted = q / (1 + c * q)
    total, moment = 0, safe_sqrt(2 / pi * tilted)
    for n in range(1, len(p), 2):
        total += p[n] * moment
        moment *= (n + 1) * tilted
    return total / jnp.sqrt(1 + c * q)


def density_at_zero(q: Array) -> Array:
    """1 / sqrt(2 pi q), and 0 where q is 0."""
    return jnp.where(q > 0, lax.rsqrt(jnp.where(q > 0, 2 * pi * q, 1)), 0)


def slope_in_variance(first: Row, second: Row, k: Array, q1: Array, q2: Array) -> Array:
    """d/dq1 E[P(u) R(v)] = E[P''(u) R(v)] / 2, with what the jumps of P and P' at 0 give."""
    rest, edge = ratio(exact_minor(k, q1, q2), q1), density_at_zero(q1)
    slope = mean_of_kink(derivative(second), rest) + 2 * second[1] * density_at_zero(rest)
    at_jumps = first[2] * mean_of_kink(second, rest) - first[1] * ratio(k, q1) * slope
    return moment_of_signs(derivative(derivative(first)), second, k, q1, q2) / 2 + edge * at_jumps


def slope_in_covariance(first: Row, second: Row, k: Array, q1: Array, q2: Array) -> Array:
    """d/dk E[P(u) R(v)] = E[P'(u) R'(v)], with what the jumps of P and R at 0 give."""
    slope1, slope2, minor = derivative(first), derivative(second), exact_minor(k, q1, q2)
    at_jump1 = first[1] * density_at_zero(q1) * mean_of_kink(slope2, ratio(minor, q1))
    at_jump2 = second[1] * density_at_zero(q2) * mean_of_kink(slope1, ratio(minor, q2))
    at_both = first[1] * second[1] * density_at_zero(q1) * density_at_zero(ratio(minor, q1))
    return moment_of_signs(slope1, slope2, k, q1, q2) + 2 * (at_jump1 + at_jump2 + 2 * at_both)


@tilted_moment.defjvp
def tilted_moment_jvp(first: Row, second: Row, primals: Any, tangents: Any) -> Any:
    (k, q1, q2), (dk, dq1, dq2) = primals, tangents
    slope1, slope2 = slope_in_variance(first, second, k, q1, q2), slope_in_variance(second, first, k, q2, q1)
    change = slope_in_covariance(first, second, k, q1, q2) * dk + slope1 * dq1 + slope2 * dq2
    return tilted_moment(first, second, k, q1, q2), change
