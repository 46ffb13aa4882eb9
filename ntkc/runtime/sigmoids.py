"""Sigmoids at large variances:  tanh(x) = E sign(x + K xi),  K of Kolmogorov's distribution, xi normal.

So E[tanh(u) tanh(v)] is a mean of 2/pi arcsin(k / sqrt((q1 + K^2)(q2 + K'^2))), to the same accuracy for all variances.
A sigmoid is a + sum_j c_j tanh(b_j x), written (a, ((c_1, b_1), ...)).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import pi
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ntkc.runtime.polynomials import polynomial
from ntkc.runtime.roots import exact_minor, ratio
from ntkc.runtime.series import gaussian_mean, hermite_sum
from ntkc.runtime.tables import ARCTAN

Sigmoid = tuple[float, tuple[tuple[float, float], ...]]
LARGE = 10.0
"""Series of tanh(b x) are used up to this variance of b x, mixtures beyond."""
STEPS = {"float32": (0.22, 0.29, 2.7), "float64": (0.14, 0.21, 3.5)}
"""Step in log K, and the least and largest K: relative errors of tanh and its slope of 5e-8 and 6e-13."""


@functools.cache
def kolmogorov_rule(dtype: str) -> tuple[Any, Any]:
    """Nodes K^2 and weights: the trapezoidal rule in log K, which converges exponentially."""
    step, least, most = STEPS[dtype]
    k = np.exp(np.arange(np.log(least), np.log(most), step))[:, None]
    j = np.arange(1, 40)
    far = 8 * k * (-1.0) ** (j - 1) * j**2 * np.exp(-2 * (j * k) ** 2)
    odd = ((2 * j - 1) * pi / k) ** 2
    near = np.sqrt(2 * pi) / k**2 * (odd / 4 - 1) * np.exp(-odd / 8)
    w = step * k[:, 0] * np.where(k[:, 0] > 1, far.sum(1), near.sum(1))
    return k[:, 0] ** 2, w / w.sum()


def reach(of: Sigmoid) -> float:
    """The variance up to which series are used."""
    return LARGE / max(b * b for _, b in of[1])


def noises(of: Sigmoid, dtype: str) -> tuple[Any, Any]:
    """Noise variances and weights of the signs that a sigmoid is a mean of."""
    squares, weights = kolmogorov_rule(dtype)
    rows = of[1]
    return np.concatenate([squares / b**2 for _, b in rows]), np.concatenate([c * weights for c, _ in rows])


def signs_mixed(first: Sigmoid, second: Sigmoid, is_slope: bool, k: Array, q1: Array, q2: Array) -> Array:
    """E[f(u) h(v)], or E[f'(u) h'(v)]."""
    dtype = jnp.result_type(k, q1, q2)
    (t1, w1), (t2, w2) = (noises(of, dtype.name) for of in (first, second))
    terms = [jnp.asarray(v.ravel(), dtype) for v in (*np.meshgrid(t1, t2, indexing="ij"), 2 / pi * np.outer(w1, w2))]
    k, q1, q2 = jnp.broadcast_arrays(k, q1, q2)
    minor = exact_minor(k, q1, q2)

    @jax.checkpoint
    def term(t1: Array, t2: Array, weight: Array) -> Array:
        root = jnp.sqrt(minor + (q1 * t2 + q2 * t1 + t1 * t2))
        if is_slope:
            return weight / root
        z = k / (jnp.sqrt(q1 + t1) * jnp.sqrt(q2 + t2) + root)
        return weight * 2 * z * polynomial(ARCTAN, z * z)

    start = jnp.full(k.shape, 0 if is_slope else first[0] * second[0], dtype)
    return lax.scan(lambda total, row: (total + term(*row), None), start, tuple(terms))[0]


def sigmoid_sum(
    first: Sigmoid,
    second: Sigmoid,
    is_slope: int,
    k: Array,
    q1: Array,
    q2: Array,
    h1: Array,
    h2: Array,
    chunks1: Array,
    chunks2: Array,
) -> Array:
    """E[f(u) h(v)], or of derivatives: a Hermite series, and a mixture where a variance is large."""
    is_large = jnp.any(q1 > reach(first)) | jnp.any(q2 > reach(second))
    shape = jnp.broadcast_shapes(k.shape, q1.shape, q2.shape)

    def series(k: Array, q1: Array, q2: Array) -> Array:
        rho = ratio(k, jnp.sqrt(jnp.where(q1 > 0, q1, 1)) * jnp.sqrt(jnp.where(q2 > 0, q2, 1)))
        rho = jnp.where((q1 > 0) & (q2 > 0), rho, 0)
        rho = rho + lax.stop_gradient(jnp.clip(rho, -1, 1) - rho)
        return jnp.broadcast_to(hermite_sum(h1, h2, rho, chunks1, chunks2), shape)

    return lax.cond(is_large, lambda *a: signs_mixed(first, second, bool(is_slope), *a), series, k, q1, q2)


def sigmoid_mean(of: Sigmoid, is_slope: int, square: Callable[[Array], Array], q: Array) -> Array:
    """E[f(u)^2], or E[f'(u)^2], of a sigmoid."""
    near = gaussian_mean(square, jnp.minimum(q, reach(of)))
    return jnp.where(q > reach(of), signs_mixed(of, of, bool(is_slope), q, q, q), near)
