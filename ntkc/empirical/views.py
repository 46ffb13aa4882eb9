"""Which entries of a weight an array holds:  v[i, j, ...] = w.flat[offset + i s1 + j s2 + ...].

Transposes, reshapes, slices and conversions of a weight keep that form, and move no gradient from one entry to another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp

Axis = tuple[int, int]
"""(size, stride)."""


@dataclass(frozen=True)
class View:
    """An array of entries of a weight, each at most once; `shape` is that of the whole weight."""

    weight: int
    shape: tuple[int, ...]
    offset: int
    axes: tuple[Axis, ...]
    loops: tuple[Axis | None, ...] = ()
    """Inside scans, outermost first: the axis whose entries steps see one by one, None where each step sees all."""

    @classmethod
    def whole(cls, weight: int, shape: Sequence[int]) -> View:
        """The weight itself."""
        return cls(weight, tuple(shape), 0, tuple(zip(shape, strides_of(shape), strict=True)))

    def in_steps(self, is_stacked: bool) -> View:
        """What one step of a scan sees: an entry of the first axis, or all."""
        if not is_stacked:
            return replace(self, loops=(*self.loops, None))
        return replace(self, axes=self.axes[1:], loops=(*self.loops, self.axes[0]))

    def of_all_steps(self) -> View:
        """What all steps of the innermost scan see together."""
        *outer, loop = self.loops
        return replace(self, axes=self.axes if loop is None else (loop, *self.axes), loops=tuple(outer))

    def is_apart_from(self, other: View) -> bool:
        """They have no entry in common, as far as intervals of entries, or of each axis, tell."""
        (low1, high1), (low2, high2) = self._range(), other._range()
        if high1 < low2 or high2 < low1:
            return True
        box1, box2 = self._box(), other._box()
        if box1 is None or box2 is None:
            return False
        return any(b1 <= a2 or b2 <= a1 for (a1, b1), (a2, b2) in zip(box1, box2, strict=True))

    def _range(self) -> tuple[int, int]:
        return self.offset, self.offset + sum((size - 1) * stride for size, stride in self.axes)

    def _box(self) -> list[tuple[int, int]] | None:
        """Start and end along each axis of the weight; None for what is no box of it."""
        lengths = {stride: size for size, stride in self.axes if size > 1}
        strides = strides_of(self.shape)
        kept = {s for s, n in zip(strides, self.shape, strict=True) if n > 1}
        if not set(lengths) <= kept:
            return None
        starts = [(self.offset // s) % n for s, n in zip(strides, self.shape, strict=True)]
        ends = [a + (lengths.get(s, 1) if n > 1 else 1) for a, s, n in zip(starts, strides, self.shape, strict=True)]
        fits = all(end <= n for end, n in zip(ends, self.shape, strict=True))
        return list(zip(starts, ends, strict=True)) if fits else None


def strides_of(shape: Sequence[int]) -> tuple[int, ...]:
    """(3, 4, 5) -> (20, 5, 1)."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def view_of(primitive: str, parameters: Mapping[str, Any], view: View) -> View | None:
    """What an operation on a view makes, if that is a view again."""
    rule = RULES.get(primitive)
    return rule(view, parameters) if rule and all(size for size, _ in view.axes) else None


def _transposed(view: View, parameters: Mapping[str, Any]) -> View | None:
    return replace(view, axes=tuple(view.axes[i] for i in parameters["permutation"]))


def _squeezed(view: View, parameters: Mapping[str, Any]) -> View | None:
    return replace(view, axes=tuple(a for i, a in enumerate(view.axes) if i not in parameters["dimensions"]))


def _expanded(view: View, parameters: Mapping[str, Any]) -> View | None:
    """New axes of size 1; none that repeat entries."""
    shape, places = parameters["shape"], parameters["broadcast_dimensions"]
    if math.prod(shape) != math.prod(size for size, _ in view.axes):
        return None
    old = dict(zip(places, view.axes, strict=True))
    return replace(view, axes=tuple(old.get(i, (1, 1)) for i in range(len(shape))))


def _converted(view: View, parameters: Mapping[str, Any]) -> View | None:
    return view if jnp.issubdtype(parameters["new_dtype"], jnp.floating) else None


def _sliced(view: View, parameters: Mapping[str, Any]) -> View | None:
    starts, limits = parameters["start_indices"], parameters["limit_indices"]
    steps = parameters["strides"] or (1,) * len(starts)
    offset = view.offset + sum(a * stride for a, (_, stride) in zip(starts, view.axes, strict=True))
    sizes = [-((a - b) // step) for a, b, step in zip(starts, limits, steps, strict=True)]
    axes = tuple((n, step * stride) for n, step, (_, stride) in zip(sizes, steps, view.axes, strict=True))
    return replace(view, offset=offset, axes=axes)


def _reshaped(view: View, parameters: Mapping[str, Any]) -> View | None:
    """New axes are cut from runs of old ones that lie side by side, the last first."""
    if parameters.get("dimensions") is not None:
        return None
    runs = _runs(view.axes)
    made: list[Axis] = []
    for size in reversed(parameters["new_sizes"]):
        if size == 1:
            made.append((1, 1))
            continue
        if not runs or runs[-1][0] % size:
            return None
        left, stride = runs.pop()
        made.append((size, stride))
        if left > size:
            runs.append((left // size, stride * size))
    return replace(view, axes=tuple(reversed(made)))


def _runs(axes: Sequence[Axis]) -> list[Axis]:
    """Axes of more than one entry, merged where one continues the next."""
    runs: list[Axis] = []
    for size, stride in axes:
        if size == 1:
            continue
        if runs and runs[-1][1] == size * stride:
            runs[-1] = (runs[-1][0] * size, stride)
        else:
            runs.append((size, stride))
    return runs


def _same(view: View, parameters: Mapping[str, Any]) -> View | None:
    return view


RULES: dict[str, Callable[[View, Mapping[str, Any]], View | None]] = {
    "transpose": _transposed,
    "squeeze": _squeezed,
    "broadcast_in_dim": _expanded,
    "convert_element_type": _converted,
    "slice": _sliced,
    "reshape": _reshaped,
    "copy": _same,
}
