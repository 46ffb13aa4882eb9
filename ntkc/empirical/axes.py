"""Which axes of an output are traced, kept once, or kept for both inputs.

Outputs f(x1)[a, b, c] and f(x2)[a', b', c'] make a kernel with the axes a, a', b, b', c, c'; a traced axis is averaged
over a = a' and left out, a diagonal axis is kept once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax

from ntkc.errors import InvalidInput

Axes = int | Sequence[int]


@dataclass(frozen=True)
class Pairing:
    """Traced and diagonal axes of an output of `ndim` axes, counted from 0."""

    ndim: int
    traced: tuple[int, ...]
    diagonal: tuple[int, ...]

    @classmethod
    def of(cls, ndim: int, trace_axes: Axes, diagonal_axes: Axes) -> Pairing:
        """Checked, with negative axes counted from the end.

        Raises:
            InvalidInput: an axis that the output lacks, or that is traced and diagonal.
        """
        traced = axes_of(trace_axes, ndim, "trace_axes")
        diagonal = axes_of(diagonal_axes, ndim, "diagonal_axes")
        both = sorted(set(traced) & set(diagonal))
        if both:
            raise InvalidInput(f"the axes {both} are in trace_axes and in diagonal_axes: name them in one of the two")
        return cls(ndim, traced, diagonal)

    def without(self, axis: int) -> Pairing:
        """For outputs that lack one axis."""
        return Pairing(self.ndim - 1, _without(self.traced, axis), _without(self.diagonal, axis))

    def place(self, axis: int) -> int:
        """Where an axis stands in the kernel, or would stand if it were not traced."""
        return sum(self.count(a) for a in range(axis))

    def count(self, axis: int) -> int:
        """How often an axis stands in the kernel."""
        return 0 if axis in self.traced else 1 if axis in self.diagonal else 2

    def labels(self) -> tuple[list[int], list[int], list[int]]:
        """Labels of the axes of f(x1), of f(x2) and of the kernel, as einsum takes them."""
        left = list(range(self.ndim))
        right = [a if self.count(a) < 2 else self.ndim + a for a in left]
        kernel = [label for a in left for label in ([] if a in self.traced else [left[a], right[a]][: self.count(a)])]
        return left, right, kernel

    def size(self, shape: Sequence[int]) -> int:
        """Number of entries that are averaged."""
        return math.prod(shape[a] for a in self.traced)


def axes_of(axes: Axes, ndim: int, name: str) -> tuple[int, ...]:
    """(-1,) -> (ndim - 1,),  each axis once, in order."""
    given = [axes] if isinstance(axes, int) else list(axes)
    if not all(isinstance(a, int) and -ndim <= a < ndim for a in given):
        raise InvalidInput(
            f"{name} = {axes!r}: axes of an output with {ndim} axes, from {-ndim} to {ndim - 1}, are needed"
        )
    found = sorted({a % ndim for a in given})
    if len(found) < len(given):
        raise InvalidInput(f"{name} = {axes!r} names an axis twice")
    return tuple(found)


def contract(left: Any, right: Any, pairing: Pairing) -> Any:
    """sum over shared last axes, and the average over traced ones, of left [*f(x1), ...] and right [*f(x2), ...]."""
    first, second, kernel = pairing.labels()
    shared = [2 * pairing.ndim + i for i in range(left.ndim - pairing.ndim)]
    total = jnp.einsum(left, [*first, *shared], right, [*second, *shared], kernel, precision=lax.Precision.HIGHEST)
    return total / pairing.size(left.shape)


def from_full(full: Any, shape: Sequence[int], pairing: Pairing) -> Any:
    """[*f(x1), *f(x2)]  ->  the kernel; `shape` is that of f(x1)."""
    first, second, kernel = pairing.labels()
    return jnp.einsum(full, [*first, *second], kernel) / pairing.size(shape)


def _without(axes: Sequence[int], axis: int) -> tuple[int, ...]:
    return tuple(a - (a > axis) for a in axes if a != axis)
