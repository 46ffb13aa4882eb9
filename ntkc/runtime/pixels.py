"""Maps of pixels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ntkc.runtime.series import Tolerance, chunks_needed

Axes = Sequence[Sequence[Any]]
"""Numbers of a map along each spatial axis."""


def groups(form: str) -> list[tuple[int, ...]]:
    """The array axes of each spatial axis: one for equal pixels (D), two for all pairs (F), three for pairs mod s."""
    counts = [{"D": 1, "F": 2}.get(f, 3) for f in form]
    return [tuple(range(sum(counts[:i]), sum(counts[: i + 1]))) for i in range(len(form))]


def widened(k: Array, form: str, axes: Axes) -> Array:
    """Margins of zeros, or of the other end of the image, and zeros between pixels, for filters and pools."""
    for wraps in (False, True):
        ends, sides = [(0, 0, 0)] * k.ndim, [(0, 0)] * k.ndim
        for group, (low, high, is_wrapped, interior) in zip(groups(form), axes, strict=True):
            for a in group if is_wrapped == wraps else ():
                ends[a] = (0, interior - 1, interior - 1) if wraps else (low, high, interior - 1)
                sides[a] = (low, high)
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


def patched(k: Array, form: str, axes: Axes) -> Array:
    """Mean over the taps of a filter, which moves on both sides of a pair at once.

    axes: (taps, stride, low, high, wraps, spread, interior) of each spatial axis.
    """
    places, count = list(zip(groups(form), axes, strict=True)), 1
    k = widened(k, form, [(0, 0, False, 1) if len(g) == 3 else (a[2], a[3], a[4], a[6]) for g, a in places])
    for group, axis in places[::-1]:
        taps, stride, _, _, _, spread, _ = axis
        count *= taps
        if len(group) == 3:
            k = patched_mod(k, group, axis)
        elif taps > 1 or stride > 1:
            size = (k.shape[group[0]] - (taps - 1) * spread - 1) // stride + 1
            parts = [cut(k, group, t * spread, stride, size) for t in range(taps)]
            k = sum(parts[1:], parts[0])
    return scaled(k, 1 / count)


def patched_mod(k: Array, group: Sequence[int], axis: Sequence[Any]) -> Array:
    """Sum over the taps of a filter along axes r, a, a' of pixels s a + r, s a' + r: tap by tap another r, or a + 1."""
    (taps, stride, low, high, wraps, spread, _), (r, a, b) = axis, group
    step, count = k.shape[r], k.shape[a]
    size = (step * count + low + high - (taps - 1) * spread - 1) // stride + 1
    places = [[divmod(stride * i + t * spread - low, step) for t in range(taps)] for i in range(step // stride)]
    far = max(abs(q) for row in places for q, _ in row)
    ends = [(far, far) if i in (a, b) else (0, 0) for i in range(k.ndim)]
    k = jnp.pad(k, ends, mode="wrap" if wraps else "constant") if far else k
    rows: list[Array] = []
    for row in places:
        parts = [cut(cut(k, (a, b), far + q, 1, size // len(places)), (r,), i, 1, 1) for q, i in row]
        rows.append(sum(parts[1:], parts[0]))
    return jnp.concatenate(rows, r) if len(rows) > 1 else jnp.squeeze(rows[0], r)


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


def outside(q: Array, form: str, axes: Axes, is_left: bool) -> Array:
    """1/2 mean_t q[p + t] over the taps t of a filter that are inside the image for p and not for p'.

    For the entries (p, p') of a form, or (p', p) if not `is_left`; q [pixels ..., samples ...].
    """
    kinds = [kinds_of(axis, n) for axis, n in zip(axes, q.shape, strict=False)]
    rows = [own if f != "D" else np.ones_like(own[:1]) for f, (own, _) in zip(form, kinds, strict=True)]
    means = split_pixels(means_outside(q, axes, rows), form)
    *first, last = [i for i, f in enumerate(form) if f != "D"]
    masks = {i: mask_of(kinds[i][1], form[i], q.dtype) for i in (*first, last)}
    of_kinds = "".join(LABELS["kind"][i] for i in (*first, last))
    read = "".join(LABELS["own"][i] + (LABELS["rest"][i] if f not in "DF" else "") for i, f in enumerate(form))
    groups_made = [group_outside(i, f, i == last, is_left) for i, f in enumerate(form)]
    others = [LABELS["kind"][i] + (LABELS["rest"][i] if form[i] != "F" else "") + LABELS["other"][i] for i in first]
    made = "".join(groups_made)
    spec = ",".join([f"{of_kinds}{read}...", *others]) + f"->{of_kinds[-1]}{made}..."
    by_kind = jnp.einsum(spec, means, *(masks[i] for i in first), precision=lax.Precision.HIGHEST)
    return chosen(by_kind, masks[last], made, last, is_left)


LABELS = {"kind": "ABCDEFGH", "own": "abcdefgh", "other": "ijklmnop", "rest": "qrstuvwx"}
"""Of array axes, for each spatial axis: kinds of pixels, the pixel of q and the other one, and r of pixels s a + r."""


def group_outside(i: int, f: str, is_last: bool, is_left: bool) -> str:
    """The array axes of a spatial axis; the other pixel of the last one comes with its kind."""
    own, other, rest = (LABELS[name][i] for name in ("own", "other", "rest"))
    if f == "D":
        return own
    pair = own if is_last else own + other if is_left else other + own
    return pair if f == "F" else rest + pair


def split_pixels(means: Array, form: str) -> Array:
    """[kinds ..., pixels ..., samples ...] without the kinds of diagonal axes, and pixels s a + r as a, r."""
    count = len(form)
    kinds = [n for f, n in zip(form, means.shape, strict=False) if f != "D"]
    pixels: list[int] = []
    for f, n in zip(form, means.shape[count:], strict=False):
        pixels += [n] if f in "DF" else [n // int(f), int(f)]
    return means.reshape(*kinds, *pixels, *means.shape[2 * count :])


def chosen(made: Array, mask: Array, letters: str, last: int, is_left: bool) -> Array:
    """sum_k made[k] mask[k]: what each pixel along the last axis reads, where exactly one mask is 1."""
    place = letters.index(LABELS["own"][last]) + (1 if is_left else 0)
    total: Any = 0
    for v, m in zip(made, mask, strict=True):
        v = jnp.expand_dims(v, place)
        shape = [1] * v.ndim
        shape[place] = m.shape[-1]
        if m.ndim > 1:
            shape[letters.index(LABELS["rest"][last])] = m.shape[0]
        total = jnp.where(m.reshape(shape) > 0, v, total)
    return total


def kinds_of(axis: Sequence[Any], count: int) -> tuple[Any, Any]:
    """The sets of taps that pixels of a filter read [kinds, taps], and which set each pixel reads."""
    rows, kind = np.unique(np.array(inside_taps(axis, count), float), axis=0, return_inverse=True)
    return rows, kind.ravel()


def mask_of(kind: Any, f: str, dtype: Any) -> Array:
    """1 where a pixel is of a kind: [kinds, pixels], or [kinds, r, a] for pixels s a + r."""
    mask = np.eye(int(kind.max()) + 1)[:, kind]
    return jnp.asarray(mask if f == "F" else np.swapaxes(mask.reshape(len(mask), -1, int(f)), 1, 2), dtype)


def means_outside(q: Array, axes: Axes, kinds: Sequence[Any]) -> Array:
    """1/2 mean_t q[p + t] over the taps that a kind of pixel lacks: [kinds ..., pixels ..., samples ...]."""
    count = len(axes)
    taps = widened(q, "D" * count, [(a[2], a[3], a[4], a[6]) for a in axes])
    for i, (taps_here, stride, _, _, _, spread, _) in enumerate(axes):
        size = (taps.shape[2 * i] - (taps_here - 1) * spread - 1) // stride + 1
        parts = [cut(taps, (2 * i,), t * spread, stride, size) for t in range(taps_here)]
        taps = jnp.stack(parts, 2 * i)
    missing = 1 - functools.reduce(np.multiply.outer, kinds)  # [kinds, taps] of each axis
    matrix = jnp.asarray(missing / (2 * prod(a[0] for a in axes)), q.dtype)
    of_taps = [2 * i + 1 for i in range(count)], [2 * i for i in range(count)]
    return jnp.tensordot(matrix, taps, of_taps, precision=lax.Precision.HIGHEST)


def inside_taps(axis: Sequence[Any], count: int) -> list[list[bool]]:
    """For each pixel that a filter makes of `count`, which taps read a pixel."""
    taps, stride, low, high, wraps, spread, interior = axis
    total = count * interior if wraps else (count - 1) * interior + 1
    size = (total + low + high - (taps - 1) * spread - 1) // stride + 1
    places = [[p * stride + t * spread - low for t in range(taps)] for p in range(size)]
    return [[i % interior == 0 and (wraps or 0 <= i < total) for i in row] for row in places]


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


def same_pixels(form: str, sizes: Sequence[int], lanes: int = 2) -> Array:
    """1 where both pixels of an entry are the same, 0 elsewhere; `lanes` last axes of one for those of samples."""
    same = jnp.ones((1,) * lanes, bool)
    for f, n in list(zip(form, sizes, strict=True))[::-1]:
        step = n if f == "D" else 1 if f == "F" else int(f)
        eye = jnp.ones((step, 1, 1), bool) * jnp.eye(n // step, dtype=bool)
        eye = eye[0] if f == "F" else eye[:, 0, 0] if f == "D" else eye
        same = eye.reshape(eye.shape + (1,) * same.ndim) * same
    return 1.0 * same  # weakly typed: makes neither float64 of others, nor float32 of numbers
