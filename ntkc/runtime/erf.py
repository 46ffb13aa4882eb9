"""The error function's kernel as a function of the distance of two pre-activations."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ntkc.runtime.polynomials import polynomial
from ntkc.runtime.roots import ratio, safe_sqrt
from ntkc.runtime.tables import ARCTAN, OVER_SINE


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


def across(delta: Array, r1: Array, r2: Array, s1: Array, s2: Array) -> Array:
    """sqrt(1 - z^2), z = r1 r2 (1 - delta), from r^2 = 1 - 2 s^2: every term is positive."""
    product, other = r1 * r2, r1 * s2
    return jnp.sqrt(2 * (s1 * s1 + other * other) + product * product * (delta * (2 - delta)))


def arc_sine(delta: Array, r1: Array, r2: Array, s1: Array, s2: Array) -> Array:
    """arcsin(r1 r2 (1 - delta)) by half the angle."""
    z = r1 * r2 * (1 - delta) / (1 + across(delta, r1, r2, s1, s2))
    return 2 * z * polynomial(ARCTAN, z * z)


class _Sines(NamedTuple):
    """Of m = (u1 + u2) / 2, d = (u1 - u2) / 2, u = arcsin(r^2), and of the arcsine a of |z|, z = r1 r2 (1 - delta)."""

    m: Array
    cos_m: Array
    d: Array
    a: Array
    cos_a: Array
    spread: Array  # (r1 r2)^2 delta (2 - delta)

    @property
    def total(self) -> Array:
        """sin(m + a)."""
        return self.m * self.cos_a + self.cos_m * self.a

    @property
    def rest(self) -> Array:
        """sin(m - a), from sin(m - a) sin(m + a) = sin(d)^2 + spread: no digits are lost where it is small."""
        return (self.d * self.d + self.spread) / jnp.maximum(self.total, jnp.finfo(self.total.dtype).tiny)


def _sines(delta: Array, r1: Array, r2: Array, s1: Array, s2: Array, t1: Array, t2: Array) -> _Sines:
    """Sums of positive terms: 1 + t is the cotangent of the angle of sine s, half of pi / 2 - u."""
    product, both = r1 * r2, s1 * s2
    return _Sines(
        both * (t1 + t2 + t1 * t2),
        both * (2 + t1 + t2),
        both * (t1 - t2),
        product * jnp.abs(1 - delta),
        across(delta, r1, r2, s1, s2),
        product * product * (delta * (2 - delta)),
    )


def sine_distance(
    delta: Array, r1: Array, r2: Array, s1: Array, s2: Array, t1: Array, t2: Array, total: Array
) -> Array:
    """(u1 + u2) / 2 - arcsin(z), z = r1 r2 (1 - delta), u = arcsin(r^2), total = u1 + u2."""
    sines = _sines(delta, r1, r2, s1, s2, t1, t2)
    # One quotient after the other: XLA fuses what follows with them, but not with a quotient by their product.
    x = sines.rest * (1 / (1 + sines.cos_m * sines.cos_a + sines.m * sines.a))
    rest = 2 * x * polynomial(ARCTAN, x * x)
    return jnp.where(delta <= 1, rest, total - rest)


def sine_gap(
    delta: Array, r1: Array, r2: Array, s1: Array, s2: Array, t1: Array, t2: Array, u1: Array, u2: Array
) -> Array:
    """1 - arcsin(z) / sqrt(u1 u2), z = r1 r2 (1 - delta), u = arcsin(r^2): exact also where rows are parallel.

    With a = arcsin(|z|), m = (u1 + u2) / 2 and d = (u1 - u2) / 2, in x / sin(x) = 1 + f(x),

        u1 u2 - a^2           = (m - a) (m + a) - d^2
        sin(m - a) sin(m + a) = sin(d)^2 + (r1 r2)^2 delta (2 - delta)

    so that the former is a sum of positive terms, which is taken over u1 u2 as a whole, since variances may underflow.
    """
    sines = _sines(delta, r1, r2, s1, s2, t1, t2)
    z = sines.a / (1 + sines.cos_a)
    a, mean, norm = 2 * z * polynomial(ARCTAN, z * z), (u1 + u2) / 2, safe_sqrt(u1) * safe_sqrt(u2)
    f_rest, f_total = _over_sine(mean - a, sines.rest), _over_sine(mean + a, sines.total)
    f_d = _over_sine(jnp.abs(u1 - u2) / 2, jnp.abs(sines.d))
    both = f_rest + f_total + f_rest * f_total
    curved = ratio(sines.d, u1) * ratio(sines.d, u2) * jnp.maximum(both - f_d * (2 + f_d), 0)
    made = (1 + both) * (ratio(r1 * r1, u1) * ratio(r2 * r2, u2)) * (delta * (2 - delta)) + curved
    plain = 1 - jnp.where(delta <= 1, ratio(a, norm), -ratio(a, norm))
    is_near = plain * jnp.maximum(u1, u2) < jnp.minimum(u1, u2)
    return jnp.where(is_near, made * ratio(norm, norm + a), plain)


def _over_sine(x: Array, sine: Array) -> Array:
    """x / sin(x) - 1 for 0 <= x < pi, of x and its sine."""
    near = x < 1
    square = jnp.where(near, x * x, 0)
    return jnp.where(near, square * polynomial(OVER_SINE, square), x / jnp.where(near, 1, sine) - 1)
