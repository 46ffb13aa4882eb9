"""Arc-cosine kernels as functions of the gap 1 - rho."""

from __future__ import annotations

from math import pi
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from ntkc.runtime.polynomials import polynomial
from ntkc.runtime.roots import ratio
from ntkc.runtime.tables import ARCCOS, GAP


def gap_of(k: Array, scale: Array) -> Array:
    """1 - k / scale in [0, 2]; a covariance within rounding of its bound means 0."""
    delta = jnp.clip(1 - ratio(k, scale), 0, 2)
    return jnp.where(delta < 8 * jnp.finfo(delta.dtype).eps, 0, delta)


def gap_of_cosine(rho: Array) -> Array:
    """1 - rho in [0, 2]; a cosine within rounding of 1 means 1."""
    delta = 1 - rho
    return jnp.where(delta < 8 * jnp.finfo(delta.dtype).eps, 0, jnp.minimum(delta, 2))


def gap_of_product(p: Array, inverse: Array) -> Array:
    """1 - rho in [0, 2] from p = n1 n2 - k and inverse = 1 / (n1 n2); 1 where that is 0, as of a norm of zero."""
    return jnp.where(inverse > 0, jnp.clip(p * inverse, 0, 2), 1)


def excess(a: Array, b: Array, top: Array | None = None) -> Array:
    """a - b, which is never negative nor above `top`; without one, what rounding may have made means 0."""
    made = a - b
    if top is None:
        return jnp.where(made < 8 * jnp.finfo(made.dtype).eps * b, 0, made)
    return jnp.clip(made, 0, top)


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


@jax.custom_jvp
def arc_cosine_even(delta: Array) -> tuple[Array, Array]:
    """1 - E|u||v| and E[sign(u) sign(v)] of unit Gaussians of correlation 1 - delta."""
    near = delta <= 1
    t = jnp.where(near, delta, 2 - delta)
    p = arccos_over_pi(t)
    return t - 2 * p * (t * polynomial(GAP, t)), jnp.where(near, 1 - 2 * p, 2 * p - 1)


@arc_cosine_even.defjvp
def arc_cosine_even_jvp(primals: Any, tangents: Any) -> Any:
    """By Price's theorem."""
    return by_price(arc_cosine_even(*primals), 2, primals, tangents)


def angle_over_pi(delta: Array) -> Array:
    """arccos(1 - delta) / pi for delta in [0, 2]."""
    near = delta <= 1
    p = arccos_over_pi(jnp.where(near, delta, 2 - delta))
    return jnp.where(near, p, 1 - p)
