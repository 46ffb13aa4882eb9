"""Maps of pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from ntkc.runtime.series import Tolerance, chunks_needed
from ntkc.runtime.together import alone

Axes = Sequence[Sequence[Any]]
"""Numbers of a map along each spatial axis."""


DIAGONAL = "D"
IDLE = (0, 0, False, 1)
"""No margins."""


def groups(form: str) -> list[tuple[int, ...]]:
    """The array axes of each spatial axis: one for equal pixels (D), two for all pairs (F), three for pairs mod s."""
    counts = [{"D": 1, "F": 2}.get(f, 3) for f in form]
    return [tuple(range(sum(counts[:i]), sum(counts[: i + 1]))) for i in range(len(form))]


def step_of(f: str) -> int:
    """The s of pairs mod s."""
    return 1 if f in "DF" else int(f)


def widened(k: Array, form: str, axes: Axes) -> Array:
    """Margins of zeros, or of the other end of the image, and zeros between pixels, for filters and pools.

    axes: (low, high, wraps, interior) of each spatial axis; whole steps for pairs mod s.
    """
    for wraps in (False, True):
        ends, sides = [(0, 0, 0)] * k.ndim, [(0, 0)] * k.ndim
        for f, group, (low, high, is_wrapped, interior) in zip(form, groups(form), axes, strict=True):
            around = low // step_of(f), high // step_of(f)
            for a in group[-2:] if is_wrapped == wraps else ():
                ends[a] = (0, interior - 1, interior - 1) if wraps else (*around, interior - 1)
                sides[a] = around
        if any(e != (0, 0, 0) for e in ends):
            k = lax.pad(k, jnp.zeros((), k.dtype), ends)
        if wraps and any(s != (0, 0) for s in sides):
            k = jnp.pad(k, sides, mode="wrap")
    return k


def cut(k: Array, group: Sequence[int], start: int, stride: int, size: int) -> Array:
    """Every `stride`-th pixel from `start` on, along all array axes of a spatial axis at once."""
    for a in group:
        k = lax.slice_in_dim(k, start, start + (size - 1) * stride + 1, stride, a)
    return k


def patched(k: Array, form: str, axes: Axes, frame: tuple[Array, Array] | None = None) -> Array:
    """Mean over the taps of a filter, which moves on both sides of a pair at once.

    axes: (taps, stride, low, high, wraps, spread, interior) of each spatial axis. frame: a, b of one pixel each; k is
    a[p] + b[p'] where one of them is outside of the image, 0 there itself.
    """
    places, count = list(zip(groups(form), axes, strict=True)), 1
    if frame is None:
        k = widened(k, form, [IDLE if len(g) == 3 else (a[2], a[3], a[4], a[6]) for g, a in places])
    else:
        k = framed(k, form, axes, frame)
    for group, axis in places[::-1]:
        taps, stride, _, _, _, spread, _ = axis
        count *= taps
        if len(group) == 3:
            k = patched_mod(k, group, axis, frame is not None)
        elif taps > 1 or stride > 1:
            size = (k.shape[group[0]] - (taps - 1) * spread - 1) // stride + 1
            parts = [cut(k, group, t * spread, stride, size) for t in range(taps)]
            k = sum(parts[1:], parts[0])
    return scaled(k, 1 / count)


def patched_mod(k: Array, group: Sequence[int], axis: Sequence[Any], is_framed: bool = False) -> Array:
    """Sum over the taps of a filter along axes r, a, a' of pixels s a + r, s a' + r: tap by tap another r, or a + 1."""
    (taps, stride, low, high, wraps, spread, _), (r, a, b) = axis, group
    step, far = k.shape[r], far_of(axis, k.shape[r])
    count = k.shape[a] - (2 * far if is_framed else 0)
    size = (step * count + low + high - (taps - 1) * spread - 1) // stride + 1
    if far and not is_framed:
        ends = [(far, far) if i in (a, b) else (0, 0) for i in range(k.ndim)]
        k = jnp.pad(k, ends, mode="wrap" if wraps else "constant")
    rows: list[Array] = []
    for row in places_mod(axis, step):
        parts = [cut(cut(k, (a, b), far + q, 1, size * stride // step), (r,), i, 1, 1) for q, i in row]
        rows.append(sum(parts[1:], parts[0]))
    return jnp.concatenate(rows, r) if len(rows) > 1 else jnp.squeeze(rows[0], r)


def places_mod(axis: Sequence[Any], step: int) -> list[list[tuple[int, int]]]:
    """Where each tap reads step a + r: how far along a, and which r; for each r that a filter makes."""
    taps, stride, low, _, _, spread, _ = axis
    return [[divmod(stride * i + t * spread - low, step) for t in range(taps)] for i in range(step // stride)]


def far_of(axis: Sequence[Any], step: int) -> int:
    """The farthest that a tap reads along a of pixels step a + r."""
    return max(abs(q) for row in places_mod(axis, step) for q, _ in row)


def framed(k: Array, form: str, axes: Axes, frame: tuple[Array, Array]) -> Array:
    """k with the margins of a filter: a[p] + b[p'] where one pixel is outside of the image, 0 where it is itself."""
    margins = [margins_of(f, axis) for f, axis in zip(form, axes, strict=True)]
    pixels = DIAGONAL * len(form)

    def around(a: Array, b: Array) -> Array:
        a, b = (widened(v, pixels, margins) for v in (a, b))
        return as_type(left(a, form) + right(b, form), k.dtype)

    if any(interior > 1 for *_, interior in margins):
        inside = widened(jnp.ones(frame[0].shape[: len(form)], bool), pixels, margins)
        inside = inside.reshape(*inside.shape, *(1 for _ in frame[0].shape[len(form) :]))
        return jnp.where(left(inside, form) & right(inside, form), widened(k, form, margins), around(*frame))
    k = widened(k, form, [m if m[2] else IDLE for m in margins])
    starts = [0] * k.ndim
    for f, group, (low, _, wraps, _) in zip(form, groups(form), margins, strict=True):
        for i in group[-2:]:
            starts[i] = 0 if wraps else low // step_of(f)
    return alone(lambda k, a, b: lax.dynamic_update_slice(alone(around, a, b), k, starts), k, *frame)


def margins_of(f: str, axis: Sequence[Any]) -> tuple[int, int, bool, int]:
    """(low, high, wraps, interior) around the pixels that a filter reads; whole steps for pairs mod s."""
    _, _, low, high, wraps, _, interior = axis
    if f in "DF":
        return low, high, wraps, interior
    far = far_of(axis, int(f)) * int(f)
    return far, far, wraps, 1


def as_type(v: Array, dtype: Any) -> Array:
    """Real numbers, as complex ones if they are to be."""
    return lax.complex(v, jnp.zeros_like(v)) if jnp.issubdtype(dtype, jnp.complexfloating) else v


def pooled(k: Array, form: str, axes: Axes) -> Array:
    """Sum over a window, which moves on each side of a pair by itself, times a number for each place.

    axes: (window, stride, low, high, wraps, scales) of each spatial axis.
    """
    k = widened(k, form, [(low, high, wraps, 1) for _, _, low, high, wraps, _ in axes])
    for group, (window, stride, _, _, _, scales) in zip(groups(form), axes, strict=True):
        for a in group:
            size = (k.shape[a] - window) // stride + 1
            parts = [cut(k, (a,), t, stride, size) for t in range(window)]
            k = sum(parts[1:], parts[0])
            k = k * jnp.asarray(scales, k.real.dtype).reshape((-1,) + (1,) * (k.ndim - a - 1))
    return k


def multiplied(k: Array, form: str, matrices: Sequence[Any]) -> Array:
    """A K A^T along each spatial axis; None leaves it."""
    for group, rows in zip(groups(form), matrices, strict=True):
        for a in group if rows is not None else ():
            matrix = jnp.asarray(rows, k.dtype)
            k = jnp.moveaxis(jnp.tensordot(matrix, k, (1, a), precision=lax.Precision.HIGHEST), 0, a)
    return k


def taken(k: Array, form: str, places: Sequence[Any]) -> Array:
    """The pixels at these places along each spatial axis; None leaves it."""
    for group, indices in zip(groups(form), places, strict=True):
        for a in group if indices is not None else ():
            k = jnp.take(k, jnp.asarray(indices), axis=a)
    return k


def placed(k: Array, form: str, places: Sequence[Any]) -> Array:
    """Zeros around, so that pixels start at (start, out of total) along each spatial axis; None leaves it."""
    ends = [(0, 0, 0)] * k.ndim
    for group, place in zip(groups(form), places, strict=True):
        if place is None:
            continue
        for a in group:
            ends[a] = (place[0], place[1] - place[0] - k.shape[a], 0)
    return lax.pad(k, jnp.zeros((), k.dtype), ends)


def permuted(k: Array, form: str, order: Sequence[int]) -> Array:
    """Spatial axes in another order."""
    axes = groups(form)
    pixels = [a for i in order for a in axes[i]]
    return jnp.transpose(k, (*pixels, *range(len(pixels), k.ndim)))


def contracted(k: Array, form: str, to: str, array: Any, labels: Sequence[str]) -> Array:
    """A K A^T over several spatial axes at once; labels of the axes of K, of A and of the result."""
    reads, own, made = labels
    letters = {**dict(zip(made, to, strict=True)), **dict(zip(reads, form, strict=True))}
    names = {a: {"D": a, "F": a + a.upper()}.get(f, chr(ord(a) + 13) + a + a.upper()) for a, f in letters.items()}
    other = "".join(a if letters[a] == "D" else a.upper() for a in own)
    spec = f"{own},{''.join(names[a] for a in reads)}...,{other}->{''.join(names[a] for a in made)}..."
    matrix = jnp.asarray(array, k.dtype)
    return jnp.einsum(spec, matrix, k, matrix, precision=lax.Precision.HIGHEST)


def contracted_values(v: Array, array: Any, labels: Sequence[str]) -> Array:
    """A v over several spatial axes at once; labels of the axes of v, of A and of the result."""
    reads, own, made = labels
    return jnp.einsum(f"{own},{reads}...->{made}...", jnp.asarray(array, v.dtype), v, precision=lax.Precision.HIGHEST)


def picked(k: Array, form: str, places: Sequence[Any]) -> Array:
    """The entry of one pixel along each spatial axis, which then is gone; None leaves it."""
    for group, place in list(zip(groups(form), places, strict=True))[::-1]:
        if place is None:
            continue
        for a in group[::-1]:
            k = lax.index_in_dim(k, place, a, keepdims=False)
    return k


def levelled(v: Array, axes: Sequence[int]) -> Array:
    """The mean over spatial axes, at each pixel."""
    return jnp.broadcast_to(jnp.mean(v, axes, keepdims=True), v.shape)


def total(k: Array, form: str, scale: float) -> Array:
    """Sum over all pixels, or pairs of pixels, times a number.

    Axis by axis, as means: one long sum of thousands of equal numbers rounds the same way again and again.
    """
    for _ in range(len(form) + form.count("F")):
        scale = scale * k.shape[0]
        k = scaled(jnp.sum(k, 0), 1 / k.shape[0])
    return scaled(k, scale)


def scaled(k: Array, scale: float) -> Array:
    """A real multiple; XLA would multiply two complex numbers."""
    return lax.complex(k.real * scale, k.imag * scale) if jnp.iscomplexobj(k) else k * scale


def narrowed(k: Array, form: str, to: str) -> Array:
    """The entries of `form` that `to` keeps: of F or pairs mod s, those mod a multiple of s, or of equal pixels (D)."""
    for group, before, after in list(zip(groups(form), form, to, strict=True))[::-1]:
        if before == after:
            continue
        k = jnp.expand_dims(k, group[0]) if before == "F" else k
        first, (step, count) = group[0], k.shape[group[0] : group[0] + 2]
        factor = count if after == "D" else int(after) // step
        k = k.reshape(*k.shape[: first + 1], *(count // factor, factor) * 2, *k.shape[first + 3 :])
        k = jnp.moveaxis(jnp.diagonal(k, axis1=first + 2, axis2=first + 4), -1, first)
        shape = (step * factor,) if after == "D" else (step * factor, *k.shape[first + 2 : first + 4])
        k = k.reshape(*k.shape[:first], *shape, *k.shape[first + 4 :])
    return k


def embedded(k: Array, form: str, to: str) -> Array:
    """Entries of equal pixels among zeros, along the axes that are D in `form` and not in `to`."""
    for i, (before, after) in enumerate(zip(form, to, strict=True)):
        if before != after:
            a = groups(to[:i] + form[i:])[i][0]
            step = 1 if after == "F" else int(after)
            count = k.shape[a] // step
            k = jnp.moveaxis(k.reshape(*k.shape[:a], count, step, *k.shape[a + 1 :]), a + 1, a)
            eye = jnp.eye(count, dtype=k.dtype).reshape((count,) * 2 + (1,) * (k.ndim - a - 2))
            k = jnp.expand_dims(k, a + 2) * eye
            k = jnp.squeeze(k, a) if after == "F" else k
    return k


def sides(v: Array, form: str, is_left: bool, terms: int) -> Array:
    """One value a pixel, for the first or the second pixel of each entry of a form."""
    for i, f in list(enumerate(form, terms))[::-1]:
        count = v.shape[i]
        step = count if f == "D" else 1 if f == "F" else int(f)
        if f not in "DF":
            v = jnp.moveaxis(v.reshape(*v.shape[:i], count // step, step, *v.shape[i + 1 :]), i + 1, i)
        if f != "D":
            v = jnp.expand_dims(v, i + (f != "F") + (1 if is_left else 0))
    return v


def left(v: Array, form: str, terms: int = 0) -> Array:
    """One value a pixel, for the first pixel of each entry of a form: v [terms ..., pixels ..., samples ...]."""
    return sides(v, form, True, terms)


def right(v: Array, form: str, terms: int = 0) -> Array:
    """One value a pixel, for the second pixel of each entry of a form: v [terms ..., pixels ..., samples ...]."""
    return sides(v, form, False, terms)


def of_pixels(function: Callable[..., Any], *given: Any, tolerance: Tolerance | None = None) -> Array:
    """function(..., v), made for a list of samples, of pixels and samples: v [pixels ..., n], or terms of them.

    A tolerance goes to the function last, behind v.
    """
    *first, v = given
    more = () if tolerance is None else (tolerance,)
    is_series = function is chunks_needed
    shape = v.shape[1:] if is_series else v.shape
    made = function(*first, v.reshape(len(v), -1) if is_series else v.reshape(-1), *more)
    return made.reshape(*made.shape[:-1], *shape)


def same_pixels(form: str, sizes: Sequence[int], lanes: Array) -> Array:
    """1 where both pixels of an entry are the same, 0 elsewhere, in the dtype of `lanes`, an array of samples.

    The last axes, of one, are those of samples.
    """
    dtype = lanes.dtype
    same = jnp.ones((1,) * lanes.ndim, dtype)
    for f, n in list(zip(form, sizes, strict=True))[::-1]:
        step = n if f == "D" else 1 if f == "F" else int(f)
        eye = jnp.ones((step, 1, 1), dtype) * jnp.eye(n // step, dtype=dtype)
        eye = eye[0] if f == "F" else eye[:, 0, 0] if f == "D" else eye
        same = eye.reshape(eye.shape + (1,) * same.ndim) * same
    return same
