"""Square roots, ratios and angles that are right where rounding decides."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from ntkc.runtime.polynomials import polynomial
from ntkc.runtime.tables import ARCTAN


def ratio(a: ArrayLike, b: Array) -> Array:
    """a / b, and 0 where b is 0: the share of a part in a norm of zero."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)


def safe_sqrt(x: Array) -> Array:
    """sqrt(x) with derivative 0, not infinity, at 0."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0)


def exp_sinh(a: Array, b: Array) -> Array:
    """exp(a) sinh(b): no cancellation near b = 0, and no overflow of one factor."""
    near = jnp.abs(b) < 1
    return jnp.where(
        near,
        jnp.exp(jnp.where(near, a, 0)) * jnp.sinh(jnp.where(near, b, 0)),
        (jnp.exp(a + b) - jnp.exp(a - b)) / 2,
    )


def cosine(k: Array, q1: Array, q2: Array) -> Array:
    """k / sqrt(q1 q2) in [-1, 1]; 0 where a variance is 0."""
    rho = ratio(k, safe_sqrt(q1) * safe_sqrt(q2))
    return rho + lax.stop_gradient(jnp.clip(rho, -1, 1) - rho)  # derivatives as if rounding had not gone beyond


def halves(x: Array) -> tuple[Array, Array]:
    """x as the sum of two numbers of half the digits (Dekker 1971)."""
    big = x * (2.0 ** (12 if x.dtype == jnp.float32 else 27) + 1)
    high = big - (big - x)
    return high, x - high


@jax.custom_jvp
def exact_minor(k: Array, q1: Array, q2: Array) -> Array:
    """q1 q2 - k^2 from exact products of halves; zero where the rounding of k alone decides its sign."""
    (a1, a2), (b1, b2), (c1, c2) = (halves(jnp.asarray(v, jnp.result_type(k, q1, q2, 1.0))) for v in (q1, q2, k))
    minor = (a1 * b1 - c1 * c1) + ((a1 * b2 - c1 * c2) + (a2 * b1 - c1 * c2)) + (a2 * b2 - c2 * c2)
    return jnp.where(minor > 4 * jnp.finfo(minor.dtype).eps * q1 * q2, minor, 0)


@exact_minor.defjvp
def exact_minor_jvp(primals: Any, tangents: Any) -> Any:
    (k, q1, q2), (dk, dq1, dq2) = primals, tangents
    return exact_minor(k, q1, q2), q2 * dq1 + q1 * dq2 - 2 * k * dk


@jax.custom_jvp
def root(k: Array, q1: Array, q2: Array) -> Array:
    """sqrt(q1 q2 - k^2), zero where rounding alone decides its sign."""
    return jnp.sqrt(exact_minor(k, q1, q2))


@root.defjvp
def root_jvp(primals: Any, tangents: Any) -> Any:
    (k, q1, q2), (dk, dq1, dq2) = primals, tangents
    r = root(k, q1, q2)
    slope = (q2 * dq1 + q1 * dq2) / 2 - k * dk
    return r, jnp.where(r > 0, slope / jnp.where(r > 0, r, 1), 0)


@jax.custom_jvp
def angle(k: Array, q1: Array, q2: Array) -> Array:
    """arcsin(k / sqrt(q1 q2)) by half the angle: no branch, no cancellation."""
    scale = jnp.sqrt(q1 * q2) + root(k, q1, q2)
    z = k / jnp.where(scale > 0, scale, 1)
    return 2 * z * polynomial(ARCTAN, z * z)


@angle.defjvp
def angle_jvp(primals: Any, tangents: Any) -> Any:
    (k, q1, q2), (dk, dq1, dq2) = primals, tangents
    r = root(k, q1, q2)
    inverse = jnp.where(r > 0, 1 / jnp.where(r > 0, r, 1), 0)
    relative = dq1 / jnp.where(q1 > 0, q1, 1) + dq2 / jnp.where(q2 > 0, q2, 1)
    return angle(k, q1, q2), inverse * (dk - k / 2 * relative)
