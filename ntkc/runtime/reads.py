"""What networks read of their data: functions of the samples x of an input, and of all pairs of two sets of samples.

Those of pairs take x1, x2, their mean squares q1, q2, and `same`, [n1, n2] or [], True where both are one sample;
`cosine_gap` and `distances` of data.py are more of them, and `present` of samples.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from ntkc.runtime.data import cosine_gap, distances, products
from ntkc.runtime.pixel_data import distances_of_pixels


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


def covariances(x: Array, form: str) -> Array:
    """mean_c x[p, c] x[p', c] for the entries of a form: [pixels ..., n]."""
    return products(x, x, form, True)


def own_distances(x: Array, form: str) -> Array:
    """mean_c (x[p, c] - x[p', c])^2 / 2 for the entries of a form: [pixels ..., n]."""
    return distances_of_pixels(x, x, form, jnp.ones((), bool), True)[0]


def row_products(x1: Array, x2: Array, q1: Array, q2: Array, same: Array) -> Array:
    """x1 . x2 / d of all pairs of rows; the mean square where both are the same."""
    k = jnp.dot(x1, x2.T, precision=lax.Precision.HIGHEST) / x1.shape[-1]
    return jnp.where(same, q1[:, None], k)


def pixel_products(x1: Array, x2: Array, q1: Array, q2: Array, same: Array, form: str) -> Array:
    """mean_c x1[p, c] x2[p', c] for the entries of a form: [pixels ..., n1, n2]."""
    return products(x1, x2, form)


def distance(x1: Array, x2: Array, q1: Array, q2: Array, same: Array) -> Array:
    """Half the mean square of x1 - x2 of all pairs of rows."""
    return distances(x1, x2, q1, q2, same)[0]


def pixel_distances(x1: Array, x2: Array, q1: Array, q2: Array, same: Array, form: str) -> tuple[Array, Array]:
    """mean_c (x1[p, c] - x2[p', c])^2 / 2, and the difference of mean squares, for the entries of a form."""
    return distances_of_pixels(x1, x2, form, same)


def pixel_distance(x1: Array, x2: Array, q1: Array, q2: Array, same: Array, form: str) -> Array:
    """The first of them alone."""
    return distances_of_pixels(x1, x2, form, same)[0]
