"""Distances of the pixels of all pairs of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array

from ntkc.runtime.data import distances
from ntkc.runtime.pixels import left, right, same_pixels

FEW_CHANNELS = 16
"""So many squared differences are added one by one."""


def distances_of_pixels(x1: Array, x2: Array, form: str, same: Array, is_within: bool = False) -> tuple[Array, Array]:
    """E = mean_c (x1[p] - x2[p'])^2 / 2 and D = q1[p] - q2[p'] for the entries of a form, q mean squares.

    x [n, pixels ..., channels]; of all pairs of samples, `same` [n1, n2] where both are one, or of each with itself.
    """
    if x1.shape[-1] <= FEW_CHANNELS:
        return few_channels(x1, x2, form, is_within)
    rows1, rows2 = (in_rows(x, form, is_within) for x in (x1, x2))
    sizes = x1.shape[1:-1]
    is_same = same_pixels(form, sizes, jnp.ones((1,) * (1 if is_within else 2), bool))
    samples = (len(x1),) if is_within else (len(x1), len(x2))
    counts = counts_of(form, sizes)
    entries = jnp.broadcast_to(is_same & same, (*(n for group in counts for n in group), *samples))
    shape, order = layout(form, counts, samples)
    made = distances(
        rows1, rows2, *(jnp.mean(r * r, -1) for r in (rows1, rows2)), to_rows(entries, order, rows1, rows2)
    )
    e, d = (jnp.transpose(v.reshape(shape), order) for v in made)
    return e, d


def few_channels(x1: Array, x2: Array, form: str, is_within: bool) -> tuple[Array, Array]:
    """From differences of the data, which are exact where the data are near."""
    first, second = (jnp.moveaxis(x, (0, -1), (-2, -1)) for x in (x1, x2))
    if not is_within:
        first, second = first[..., :, None, :], second[..., None, :, :]
    channels = first.shape[-1]
    total: Any = 0
    for c in range(channels):
        total = total + (left(first[..., c], form) - right(second[..., c], form)) ** 2
    q1, q2 = (jnp.mean(v * v, -1) for v in (first, second))
    return total / (2 * channels), left(q1, form) - right(q2, form)


def counts_of(form: str, sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """The sizes of the array axes of each spatial axis."""
    return [
        (n,) if f == "D" else (n, n) if f == "F" else (int(f), n // int(f), n // int(f))
        for f, n in zip(form, sizes, strict=True)
    ]


def in_rows(x: Array, form: str, is_within: bool) -> Array:
    """[n, pixels ..., c]  ->  [one pixel of both sides ..., rows, c], rows the pixels of one side, and samples."""
    shape: list[int] = [len(x)]
    shared: list[int] = []
    own: list[int] = []
    for f, n in zip(form, x.shape[1:-1], strict=True):
        place = len(shape)
        if f == "D":
            shared.append(place)
            shape.append(n)
        elif f == "F":
            own.append(place)
            shape.append(n)
        else:
            own.append(place)
            shared.append(place + 1)
            shape += [n // int(f), int(f)]
    order = [*shared, 0, *own] if is_within else [*shared, *own, 0]
    split = x.reshape(*shape, x.shape[-1])
    kept = [split.shape[i] for i in order[: len(shared) + is_within]]
    return jnp.transpose(split, (*order, len(shape))).reshape(*kept, -1, x.shape[-1])


def layout(
    form: str, counts: Sequence[tuple[int, ...]], samples: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape of matrices of rows with all their axes, and the order in which those stand in a form."""
    groups: list[list[int]] = [[], [], []]  # shared axes, those of the first side, those of the second
    sizes, place = [n for group in counts for n in group], 0
    for f, group in zip(form, counts, strict=True):
        sides = {"D": (0,), "F": (1, 2)}.get(f, (0, 1, 2))
        for side in sides:
            groups[side].append(place)
            place += 1
        assert len(sides) == len(group)
    if len(samples) == 1:
        groups[0].append(place)
    else:
        groups[1].append(place)
        groups[2].append(place + 1)
    axes = [a for group in groups for a in group]
    sizes += samples
    return tuple(sizes[a] for a in axes), tuple(axes.index(a) for a in range(len(axes)))


def to_rows(entries: Array, order: Sequence[int], rows1: Array, rows2: Array) -> Array:
    """Entries of a form as matrices of rows."""
    back = [order.index(i) for i in range(len(order))]
    return jnp.transpose(entries, back).reshape(*rows1.shape[:-1], rows2.shape[-2])
