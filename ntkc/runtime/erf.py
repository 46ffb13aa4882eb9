"""The error function's kernel as a function of the distance of two pre-activations."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ntkc.runtime.polynomials import polynomial
from ntkc.runtime.tables import ARCTAN


def gram_determinant(eta: Array, d: Array, q1: Array, q2: Array) -> Array:
    """q1 q2 - k^2 of the covariance k = (q1 + q2) / 2 - eta, d = q1 - q2."""
    return jnp.maximum(eta * (q1 + q2 - eta) - d * d / 4, 0)


@jax.custom_jvp
def span(eta: Array, d: Array, q1: Array, q2: Array) -> Array:
    """sqrt((1 + q1) (1 + q2) - k^2)."""
    return jnp.sqrt(gram_determinant(eta, d, q1, q2) + q1 + q2 + 1)


@span.defjvp
def span_jvp(primals: Any, tangents: Any) -> Any:
    (eta, _, q1, q2), (deta, _, dq1, dq2) = primals, tangents
    s, k = span(*primals), (q1 + q2) / 2 - eta
    return s, ((1 + q2 - k) * dq1 + (1 + q1 - k) * dq2 + 2 * k * deta) / (2 * s)


@jax.custom_jvp
def angle_gap(eta: Array, d: Array, q1: Array, q2: Array, r1: Array, r2: Array, total: Array) -> Array:
    """alpha - (alpha1 + alpha2) / 2, cos alpha = k / sqrt((1 + q1) (1 + q2)), k = (q1 + q2) / 2 - eta, d = q1 - q2.

    alpha1, alpha2 are the alpha of k = q1 = q2: 1 + r = sqrt(1 + 2 q) is the cotangent of their half, total is pi less
    their sum. Exact where eta and d are small; a negative k is read as -k, then turned back.
    """
    k, s = jnp.abs(q1 + q2 - 2 * eta) / 2, span(eta, d, q1, q2)
    square = (1 + q1) * (1 + q2)
    c, w = r1 + r2 + r1 * r2, 2 + r1 + r2  # cosine and sine of (alpha1 + alpha2) / 2, times 2 sqrt(square)
    # For small q the sine is eta: a little of that keeps it where q1 q2 underflows, and 0 / 0 away.
    little = jnp.finfo(s.dtype).eps ** 2
    least = little * jnp.minimum(eta, q1 + q2 - eta)
    sine = 2 * (gram_determinant(eta, d, q1, q2) + d * d / (w * w) + least) / (s * c + k * w + 2 * little)
    z = sine * (2 * square / (2 * square + k * c + s * w))
    gap = 2 * z * polynomial(ARCTAN, z * z)
    return jnp.where(2 * eta <= q1 + q2, gap, total - gap)


@angle_gap.defjvp
def angle_gap_jvp(primals: Any, tangents: Any) -> Any:
    (eta, d, q1, q2, r1, r2, _), (deta, _, dq1, dq2, *_) = primals, tangents
    s, k = span(eta, d, q1, q2), (q1 + q2) / 2 - eta
    slope1, slope2 = (((k / s + 1 / (1 + r)) / (1 + q) - 1 / s) / 2 for q, r in ((q1, r1), (q2, r2)))
    return angle_gap(*primals), deta / s + slope1 * dq1 + slope2 * dq2
