"""Hermite series of functions without a closed form."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from ntkc.runtime.roots import ratio, safe_sqrt

TERMS = 1280
"""Terms of a series at most."""
CHUNK = 32
"""Terms added in one turn."""
PARTS = (0, 96, 320, TERMS)
"""Coefficients are computed in parts, as long as they are needed."""
TOLERANCE = {"float32": 1e-6, "float64": 1e-10}
"""The part of its squares that a series may leave out."""
Tolerance = Mapping[str, float]


@functools.cache
def gaussian_nodes() -> tuple[Any, Any]:
    """Nodes z, and He_n(z) / sqrt(n!) times the standard normal density and the step, n < TERMS."""
    z = np.linspace(-13, 13, 521)
    before, row = 0 * z, 0.05 / np.sqrt(2 * np.pi) * np.exp(-z * z / 2)
    rows = [row]
    for n in range(TERMS - 1):
        before, row = row, (z * row - np.sqrt(n) * before) / np.sqrt(n + 1)
        rows.append(row)
    return z, np.array(rows)


@functools.cache
def gaussian_tables(dtype: str) -> list[Any]:
    """The same in parts, for one precision."""
    _, hermite = gaussian_nodes()
    return [hermite[a:b].astype(dtype) for a, b in itertools.pairwise(PARTS)]


CUTS = (220, 260, 300)
"""Nodes are added up in four parts of equal weight: of one long sum float32 loses a digit."""


def project(weights: ArrayLike, values: Array, cuts: tuple[int, ...] = CUTS) -> Array:
    """Quadrature of values [nodes, samples]."""
    weights, ends = jnp.asarray(weights), (0, *cuts, len(values))
    parts = [
        jnp.matmul(weights[..., a:b], values[a:b], precision=lax.Precision.HIGHEST) for a, b in itertools.pairwise(ends)
    ]
    return sum(parts[1:], parts[0])


def at_nodes(f: Callable[[Array], Array], q: Array) -> Array:
    """f(sqrt(q) z): [nodes, samples]."""
    x = safe_sqrt(q) * jnp.asarray(gaussian_nodes()[0], q.dtype)[:, None]
    return jnp.broadcast_to(f(x), x.shape)


def gaussian_mean(f: Callable[[Array], Array], q: Array) -> Array:
    """E[f(u)], u ~ N(0, q), for each sample."""
    return project(gaussian_tables(q.dtype.name)[0][0], at_nodes(f, q))


def coefficients(f: Callable[[Array], Array], q: Array, tolerance: Tolerance = TOLERANCE) -> Array:
    """E[f(sqrt(q) z) He_n(z)] / sqrt(n!): [TERMS, samples]; 0 from where the Parseval tail is within tolerance."""
    values = at_nodes(f, q)
    tables = gaussian_tables(q.dtype.name)
    total = rest = project(tables[0][0], values * values)
    parts: list[Array] = []
    for table in tables:
        is_needed = jnp.any(rest > tolerance[q.dtype.name] / 2 * total)
        none = jnp.zeros((len(table), len(q)), q.dtype)
        branches = project, lambda table, values, none=none: none
        part = lax.cond(is_needed, *branches, table, values) if parts else project(table, values)
        rest -= jnp.sum(part * part, 0)
        parts.append(part)
    return jnp.concatenate(parts)


def chunks_needed(h: Array, tolerance: Tolerance = TOLERANCE) -> Array:
    """How many chunks of a series each sample needs for a Parseval tail within tolerance."""
    squares = jnp.sum((h * h).reshape(TERMS // CHUNK, CHUNK, -1), 1)
    beyond = jnp.cumsum(squares[::-1], 0)[::-1]
    return lax.stop_gradient(jnp.sum(beyond > tolerance[h.dtype.name] * beyond[0], 0).astype(h.dtype))


def remainder(f: Callable[[Array], Array], h: Array, q: Array) -> Array:
    """1 - sum_n h_n^2 / E[f^2], what Parseval's sum leaves, for each variance of any shape.

    Quadrature at half as many nodes shows that of all nodes: the error of the trapezoidal rule squares as nodes double.
    """
    squares = at_nodes(f, jnp.ravel(q)) ** 2
    weights = jnp.asarray(gaussian_tables(q.dtype.name)[0][0])
    total = jnp.reshape(project(weights, squares), q.shape)
    coarse = jnp.reshape(project(2 * weights[::2], squares[::2], (110, 130, 150)), q.shape)
    left = ratio(jnp.abs(total - jnp.sum(h * h, 0)), total)
    return lax.stop_gradient(jnp.maximum(left, ratio(coarse - total, total) ** 2))


def chunk_added(i: Any, total: Array, h1: Array, h2: Array, rho: Array) -> Array:
    """Horner's scheme through the i-th chunk of terms."""
    a, b = (lax.dynamic_slice_in_dim(h, i * CHUNK, CHUNK) for h in (h1, h2))
    for n in reversed(range(CHUNK)):
        total = total * rho + a[n] * b[n]
    return total


def chunks_added(chunks: Array, h1: Array, h2: Array, rho: Array) -> Array:
    """sum_n h1_n h2_n rho^n over the first chunks."""
    none = jnp.zeros(jnp.broadcast_shapes(h1.shape[1:], h2.shape[1:], rho.shape), rho.dtype)
    return lax.fori_loop(0, chunks, lambda i, total: chunk_added(chunks - 1 - i, total, h1, h2, rho), none)


def chunks_added_linearly(chunks: Array, h1: Array, h2: Array, rho: Array) -> Array:
    """The same in a form that can be transposed in h1 and h2."""

    def turn(total: Array, i: Array) -> tuple[Array, None]:
        return lax.cond(i < chunks, lambda v: chunk_added(i, v, h1, h2, rho), lambda v: v, total), None

    none = jnp.zeros(jnp.broadcast_shapes(h1.shape[1:], h2.shape[1:], rho.shape), rho.dtype)
    return lax.scan(turn, none, jnp.arange(TERMS // CHUNK), reverse=True)[0]


def most_chunks(chunks1: Array, chunks2: Array) -> Array:
    """What every pair needs."""
    return jnp.maximum(jnp.max(chunks1), jnp.max(chunks2)).astype("int32")


@jax.custom_jvp
def hermite_sum(h1: Array, h2: Array, rho: Array, chunks1: Array, chunks2: Array) -> Array:
    """sum_n h1_n h2_n rho^n (Daniely, Frostig and Singer 2016); the error is at most the tolerance of its bound."""
    return chunks_added(most_chunks(chunks1, chunks2), h1, h2, rho)


@hermite_sum.defjvp
def hermite_sum_jvp(primals: Any, tangents: Any) -> Any:
    h1, h2, rho, *needed = primals
    dh1, dh2, drho, *_ = tangents
    chunks = most_chunks(*needed)
    order = jnp.arange(TERMS, dtype=h1.dtype).reshape(-1, *(1 for _ in h1.shape[1:]))
    below = tuple(jnp.pad(h[1:], [(0, 1)] + [(0, 0)] * (h.ndim - 1)) for h in (order * h1, h2))
    slope = hermite_sum(*below, rho, *needed)
    change = chunks_added_linearly(chunks, dh1, h2, rho) + chunks_added_linearly(chunks, h1, dh2, rho)
    return hermite_sum(*primals), slope * drho + change


def near_zero(taylor: Sequence[float], f: Array, x: Array) -> Array:
    """f, or the polynomial c_0 + c_1 x + ... of (radius, c_0, c_1, ...) within its radius."""
    radius, *c = taylor
    is_near = jnp.abs(x) < radius
    inside = jnp.where(is_near, x, 0)
    leading = next(n for n, v in enumerate(c) if v)
    return jnp.where(is_near, inside**leading * polynomial_in(c[leading:], inside), f)


def polynomial_in(c: Sequence[float], x: Array) -> Array:
    """c_0 + c_1 x + ..., of x^2 if all of it is even."""
    x, c = (x * x, c[::2]) if not any(c[1::2]) else (x, c)
    total = jnp.full_like(x, c[-1])
    for v in c[-2::-1]:
        total = total * x + v
    return total
