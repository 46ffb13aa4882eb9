"""Expectations of steps and delta functions of two Gaussians."""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import pi
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ntkc.runtime.roots import root


def safe(q: Array) -> Array:
    """A variance that may be divided by."""
    return jnp.maximum(q, jnp.asarray(1e-12 if q.dtype == jnp.float32 else 1e-30, q.dtype))


def tail(q: Array, c: Array | float) -> Array:
    """2 P(u > c), u ~ N(0, q)."""
    return lax.erfc(c * lax.rsqrt(2 * safe(q)))


def density(q: Array, c: Array | float) -> Array:
    """Twice the density of N(0, q) at c."""
    return jnp.sqrt(2 / pi / safe(q)) * jnp.exp(-c * c / (2 * safe(q)))


def spread_of(k: Array, q1: Array, q2: Array) -> Array:
    """S = sqrt(q1 q2 - k^2), and no less than rounding leaves of it."""
    least = 2 * jnp.sqrt(jnp.finfo(k.dtype).eps * safe(q1) * safe(q2))
    return jnp.maximum(root(k, q1, q2), least)


def turned(k: Array, q1: Array, q2: Array, c1: Array | float, c2: Array | float) -> Array:
    """(q1 c2 - k c1) / (S sqrt(2 q1)), S^2 = q1 q2 - k^2: how far v is below c2 where u = c1, over its spread."""
    # The difference of q1 and k is exact where they are near, and the only one if the thresholds are equal.
    return ((q1 - k) * c1 + q1 * (c2 - c1)) / (jnp.sqrt(2 * safe(q1)) * spread_of(k, q1, q2))


def edge(k: Array, q1: Array, q2: Array, c1: Array | float, c2: Array | float) -> Array:
    """E[2 delta(u - c1) 2 [v > c2]], (u, v) Gaussian with variances q and covariance k."""
    turn = turned(k, q1, q2, c1, c2)
    above = lax.erfc(jnp.abs(turn))  # Owen's T needs the same
    return density(q1, c1) * jnp.where(turn < 0, 2 - above, above)


def ridge(k: Array, q1: Array, q2: Array, c1: Array | float, c2: Array | float) -> Array:
    """S^2 E[2 delta(u - c1) 2 delta(v - c2)], S^2 = q1 q2 - k^2."""
    return 2 / pi * root(k, q1, q2) * jnp.exp(-c1 * c1 / (2 * safe(q1)) - turned(k, q1, q2, c1, c2) ** 2)


@functools.cache
def legendre(dtype: str) -> tuple[Any, Any]:
    """Nodes and weights on [-1, 1]."""
    return np.polynomial.legendre.leggauss(8 if dtype == "float32" else 16)


def owens_t(h: Array, g: Array) -> Array:
    """Owen's T(sqrt(2) h, g / h) by Gauss-Legendre quadrature on the ratio of the smaller to the larger, to 2e-14."""
    small, large = jnp.minimum(jnp.abs(h), jnp.abs(g)), jnp.maximum(jnp.abs(h), jnp.abs(g))
    r, square = small / large, large * large
    x, w = (jnp.asarray(v, r.dtype) for v in legendre(r.dtype.name))

    def turn(i: Any, total: Array) -> Any:
        one = 1 + (r * (x[i] + 1) / 2) ** 2
        return total + w[i] * jnp.exp(-square * one) / one

    # A loop, because XLA's compilation of the nodes written out takes minutes in deep networks.
    t = lax.fori_loop(0, len(x), turn, jnp.zeros_like(r)) * r / (4 * pi)
    above_h, above_g = lax.erfc(jnp.abs(h)), lax.erfc(jnp.abs(g))
    other = (above_h + above_g - above_h * above_g) / 4 - t
    return jnp.where(jnp.abs(g) <= jnp.abs(h), t, other) * jnp.sign(h) * jnp.sign(g)


def orthant(k: Array, q1: Array, q2: Array, c1: Array | float, c2: Array | float) -> Array:
    """4 P(u > c1, v > c2), (u, v) Gaussian with variances q and covariance k."""
    return orthant_of(k, q1, q2, *(jnp.asarray(c, k.dtype) for c in (c1, c2)))


@jax.custom_jvp
def orthant_of(k: Array, q1: Array, q2: Array, c1: Array | float, c2: Array | float) -> Array:
    """The same of arrays."""
    scale1, scale2 = jnp.sqrt(2 * safe(q1)), jnp.sqrt(2 * safe(q2))
    a1, a2 = (jnp.where(jnp.abs(c) < 1e-15 * s, 1e-15 * s, c) for c, s in ((c1, scale1), (c2, scale2)))
    h1, h2 = a1 / scale1, a2 / scale2
    turns = owens_t(h1, turned(k, q1, q2, a1, a2)) + owens_t(h2, turned(k, q2, q1, a2, a1))
    return tail(q1, c1) + tail(q2, c2) - 4 * turns - 2 * (h1 * h2 < 0)


@orthant_of.defjvp
def orthant_of_jvp(primals: Any, tangents: Any) -> Any:
    (k, q1, q2, c1, c2), (dk, dq1, dq2, dc1, dc2) = primals, tangents
    edge1, edge2 = edge(k, q1, q2, c1, c2), edge(k, q2, q1, c2, c1)
    square = root(k, q1, q2) ** 2
    both = jnp.where(square > 0, ridge(k, q1, q2, c1, c2) / jnp.where(square > 0, square, 1), 0)
    slope1, slope2 = ((c * e - k * both) / safe(q) / 2 for c, e, q in ((c1, edge1, q1), (c2, edge2, q2)))
    return orthant_of(*primals), both * dk - edge1 * dc1 - edge2 * dc2 + slope1 * dq1 + slope2 * dq2


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """function(*arguments); XLA fuses nothing across a conditional, and so computes nothing twice."""
    unknown = jax.tree.map(lambda v: jnp.full(v.shape, jnp.nan, v.dtype), jax.eval_shape(function, *arguments))
    is_number = jnp.isfinite(arguments[0].ravel()[0])
    return lax.cond(is_number, function, lambda *_: unknown, *arguments)


def steps(k: Array, q1: Array, q2: Array, c1: Array | float, c2: Array | float) -> tuple[Array, Array, Array, Array]:
    """4 P(u > c1, v > c2), with a delta function for the first step, for the second, and for both times q1 q2 - k^2."""

    def all_four(k: Array, q1: Array, q2: Array) -> tuple[Array, Array, Array, Array]:
        edges = edge(k, q1, q2, c1, c2), edge(k, q2, q1, c2, c1)
        return orthant(k, q1, q2, c1, c2), *edges, ridge(k, q1, q2, c1, c2)

    return apart(all_four, k, q1, q2)
