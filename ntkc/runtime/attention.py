"""Attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike


def positions(
    form: str, sizes: Sequence[int], power: ArrayLike, decay: Callable[[Array], Array], lanes: Array
) -> Array:
    """decay(sum_i |p_i - p_i'|^power) of each entry of a form, in the dtype of `lanes`, an array of samples."""
    distance = jnp.zeros((1,) * lanes.ndim, lanes.dtype)
    for f, n in list(zip(form, sizes, strict=True))[::-1]:
        i = jnp.arange(n, dtype=distance.dtype)
        apart = jnp.abs(i[:, None] - i) ** power if f == "F" else 0 * i
        distance = apart.reshape(apart.shape + (1,) * distance.ndim) + distance
    return jnp.broadcast_to(decay(distance), distance.shape)


def softmax_of_keys(a: Array) -> Array:
    """Softmax over the second pixel of all pairs [p, p', ..., samples], or pairs of samples."""
    return jax.nn.softmax(a, tuple(range(1, a.ndim - lanes_of(a), 2)))


def lanes_of(a: Array) -> int:
    """How many axes of samples follow an even number of axes of pixels: 1, or 2."""
    return 1 if a.ndim % 2 else 2


def between(s1: Array, k: Array, s2: Array) -> Array:
    """sum_a sum_b s1[p, a] k[a, b] s2[p', b] of all pairs of pixels.

    s1 [..., n1, 1], k [..., n1, n2], s2 [..., 1, n2], or all [..., n].
    """
    is_pair = lanes_of(s1) == 2
    s1, s2 = (s1[..., 0], s2[..., 0, :]) if is_pair else (s1, s2)
    count = s1.ndim // 2
    a, b, c, d = (letters[:count] for letters in ("abcde", "fghij", "klmno", "pqrst"))
    first, second, third, made = (
        "".join(x + y for x, y in zip(*pair, strict=True)) for pair in ((a, b), (b, c), (d, c), (a, d))
    )
    n1, n2 = ("y", "z") if is_pair else ("y", "y")
    lanes = n1 + n2 if is_pair else n1
    spec = f"{first}{n1},{second}{lanes},{third}{n2}->{made}{lanes}"
    return jnp.einsum(spec, s1, k, s2, precision=lax.Precision.HIGHEST)


def inner(a: Array, b: Array, form: str) -> Array:
    """Sum of a b over all pairs of pixels, with axes of one for each entry of a form."""
    axes = tuple(range(2 * len(form)))
    total = jnp.sum(a * b, axes)
    return total.reshape((1,) * (len(form) + form.count("F")) + total.shape)
