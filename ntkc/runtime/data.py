"""What pairs of samples start from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax


def present(x: Array) -> Array:
    """1 for pixels with a channel that is a number, 0 for masked ones: [pixels ..., samples]."""
    return jnp.moveaxis(1 - jnp.all(jnp.isnan(x), -1).astype(x.dtype), 0, -1)


def cleaned(x: Array) -> Array:
    """Data with 0 for what is masked."""
    return jnp.where(jnp.isnan(x), 0, x)


LETTERS = "abcdefghijklmnopqrstuvwxyz"


def products(x1: Array, x2: Array, form: str, is_within: bool = False) -> Array:
    """x1[p] . x2[p'] / channels for the entries of a form, of all pairs of samples, or of each with itself."""
    if not form.strip("D") and not is_within and x1.shape[-1] <= 16:
        x1, x2 = (jnp.moveaxis(x, 0, -2) for x in (x1, x2))
        terms = [x1[..., :, None, c] * x2[..., None, :, c] for c in range(x1.shape[-1])]
        return sum(terms[1:], terms[0]) / x1.shape[-1]
    first = second = pixels = ""
    for i, f in list(enumerate(form))[::-1]:
        a, b, r = LETTERS[i], LETTERS[8 + i], LETTERS[16 + i]
        if f not in "DF":
            x1, x2 = (x.reshape(*x.shape[: i + 1], -1, int(f), *x.shape[i + 2 :]) for x in (x1, x2))
        one, two, both = {"D": (a, a, a), "F": (a, b, a + b)}.get(f, (a + r, b + r, r + a + b))
        first, second, pixels = one + first, two + second, both + pixels
    samples = "yy" if is_within else "yz"
    spec = f"y{first}x,{samples[1]}{second}x->{pixels}{'y' if is_within else samples}"
    return jnp.einsum(spec, x1, x2, precision=lax.Precision.HIGHEST) / x1.shape[-1]


NEAR = 0.02
"""Closer pairs than this part of their mean squares (or nearly opposite ones) need more than a float32 product has."""


def gap_of_products(x1: Array, x2: Array, q1: Array, q2: Array) -> Array:
    """1 - x1 . x2 / (|x1| |x2|) from mean squares q; 1 where a row is zero."""
    inverse1, inverse2 = (jnp.where(q > 0, lax.rsqrt(jnp.where(q > 0, q, 1)), 0) for q in (q1, q2))
    products = jnp.matmul(x1, x2.mT, precision=lax.Precision.HIGHEST) / x1.shape[-1]
    return 1 - products * inverse1[..., :, None] * inverse2[..., None, :]


def unit(x: Array) -> tuple[Array, Array]:
    """Rows over their norms, and half the square of what that makes: 1/2 but for rounding, which cancels in a gap."""
    norm = jnp.sqrt(jnp.sum(x * x, -1, keepdims=True))
    u = x / jnp.where(norm > 0, norm, 1)
    return u, jnp.where(norm[..., 0] > 0, jnp.sum(u * u, -1) / 2, 0.5)


VERY_NEAR = {"float32": 1e-9, "float64": 1e-5}
"""Below this part of the whole, differences of rows are taken themselves: float64 products leave errors of 1e-16."""


@jax.custom_batching.custom_vmap
def gap_in_float64(x1: Array, x2: Array, same: Array) -> Array:
    """The gap in float64, also where jax_enable_x64 is off: exact where rows are near or nearly opposite."""
    with jax.enable_x64(True):
        (u1, half1), (u2, half2) = (unit(x.astype("float64")) for x in (x1, x2))
        delta = half1[..., :, None] + half2[..., None, :] - jnp.matmul(u1, u2.mT, precision=lax.Precision.HIGHEST)
        near = ~same & (delta < VERY_NEAR[x1.dtype.name])
        opposite = delta > 2 - VERY_NEAR[x1.dtype.name]
        delta = _replaced(delta, near, lambda: square_distances(u1, u2) / 2)
        return _replaced(delta, opposite, lambda: 2 - square_distances(u1, -u2) / 2).astype(x1.dtype)


def _replaced(values: Array, where: Array, exact: Callable[[], Array]) -> Array:
    """Other values in some places, which are computed only if there are such."""
    return lax.cond(jnp.any(where), lambda: jnp.where(where, exact(), values), lambda: values)


def square_distances(x1: Array, x2: Array) -> Array:
    """|x1 - x2|^2 of all pairs of rows, feature by feature: no digits are lost, and no array is larger than the sum."""

    def add(total: Array, features: tuple[Array, Array]) -> tuple[Array, None]:
        a, b = features
        return total + (a[..., :, None] - b[..., None, :]) ** 2, None

    start = jnp.zeros((*x1.shape[:-1], x2.shape[-2]), x1.dtype)
    return lax.scan(add, start, (jnp.moveaxis(x1, -1, 0), jnp.moveaxis(x2, -1, 0)))[0]


def spread_over(size: int, batched: Sequence[bool], data: Sequence[Array]) -> list[Array]:
    """Every array with a first axis of a batch."""
    return [x if b else jnp.broadcast_to(x, (size, *x.shape)) for x, b in zip(data, batched, strict=True)]


@gap_in_float64.def_vmap
def gap_in_float64_vmap(size: int, batched: Sequence[bool], *data: Array) -> Any:
    """Batched by JAX itself, the product would leave the float64 context."""
    return gap_in_float64(*spread_over(size, batched, data)), True


@jax.custom_jvp
def cosine_gap(x1: Array, x2: Array, q1: Array, q2: Array, same: Array) -> Array:
    """1 - cos(x1, x2) of all pairs of rows; exactly 0 where `same`, and 1 where a row is zero."""
    same = same & (q1 > 0)[:, None]
    # Derivatives, of any order, come from the rule below alone.
    fixed = lax.stop_gradient(x1), lax.stop_gradient(x2)
    if x1.dtype == jnp.float64:
        return jnp.where(same, 0, gap_in_float64(*fixed, same))
    delta = jnp.where(same, 0, gap_of_products(x1, x2, q1, q2))
    farthest = jnp.max(jnp.where(same, 0, jnp.abs(1 - delta)))
    exact = lax.cond(farthest > 1 - NEAR, gap_in_float64, lambda x1, x2, same: delta, *fixed, same)
    return jnp.where(same, 0, exact)


@cosine_gap.defjvp
def cosine_gap_jvp(primals: Any, tangents: Any) -> Any:
    *data, same = primals
    slope = jax.jvp(gap_of_products, tuple(data), tuple(tangents[:4]))[1]
    return cosine_gap(*primals), jnp.where(same, 0, slope)


def distances_of_products(x1: Array, x2: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    """(q1 + q2) / 2 - x1 . x2 / d and q1 - q2 of all pairs of rows, from mean squares q."""
    q1, q2 = q1[..., :, None], q2[..., None, :]
    products = jnp.matmul(x1, x2.mT, precision=lax.Precision.HIGHEST) / x1.shape[-1]
    return (q1 + q2) / 2 - products, q1 - q2


@jax.custom_batching.custom_vmap
def distances_in_float64(x1: Array, x2: Array, same: Array) -> tuple[Array, Array]:
    """The same in float64, also where jax_enable_x64 is off: exact where rows are near."""
    with jax.enable_x64(True):
        wide1, wide2 = (x.astype("float64") for x in (x1, x2))
        q1, q2 = (jnp.mean(x * x, -1) for x in (wide1, wide2))
        eta, d = distances_of_products(wide1, wide2, q1, q2)
        near = ~same & (eta < VERY_NEAR[x1.dtype.name] * (q1[..., :, None] + q2[..., None, :]))
        eta = _replaced(eta, near, lambda: square_distances(wide1, wide2) / (2 * x1.shape[-1]))
        return eta.astype(x1.dtype), d.astype(x1.dtype)


@distances_in_float64.def_vmap
def distances_in_float64_vmap(size: int, batched: Sequence[bool], *data: Array) -> Any:
    """Batched by JAX itself, the product would leave the float64 context."""
    return distances_in_float64(*spread_over(size, batched, data)), (True, True)


@jax.custom_jvp
def distances(x1: Array, x2: Array, q1: Array, q2: Array, same: Array) -> tuple[Array, Array]:
    """Half the mean square of x1 - x2 and the difference of mean squares of all pairs of rows; 0 where `same`."""
    same = jnp.broadcast_to(same, (*q1.shape, q2.shape[-1]))  # vmap gives each of its axes to all of them
    # Derivatives, of any order, come from the rule below alone.
    fixed = lax.stop_gradient(x1), lax.stop_gradient(x2)
    if x1.dtype == jnp.float64:
        eta, d = distances_in_float64(*fixed, same)
    else:
        eta, d = distances_of_products(x1, x2, q1, q2)
        is_near = ~same & (eta < NEAR / 2 * (q1[..., :, None] + q2[..., None, :]))
        eta, d = lax.cond(jnp.any(is_near), distances_in_float64, lambda x1, x2, same: (eta, d), *fixed, same)
    return jnp.where(same, 0, eta), jnp.where(same, 0, d)


@distances.defjvp
def distances_jvp(primals: Any, tangents: Any) -> Any:
    *data, same = primals
    slopes = jax.jvp(distances_of_products, tuple(data), tuple(tangents[:4]))[1]
    return distances(*primals), tuple(jnp.where(same, 0, s) for s in slopes)
