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

from ntkc.errors import InvalidInput, ShapeMismatch

Axes = int | Sequence[int]


@dataclass(frozen=True)
class Pairing:
    """Traced and diagonal axes of an output of `ndim` axes, counted from 0."""

    ndim: int
    traced: tuple[int, ...]
    diagonal: tuple[int, ...]
    of_samples: bool = False
    """Axis 0 is one of samples that were stacked."""

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

    def stacked(self, axis: int) -> Pairing:
        """For outputs sample by sample, their axis first."""
        places = [axis, *(a for a in range(self.ndim) if a != axis)]
        traced, diagonal = (
            tuple(i for i, a in enumerate(places) if a in axes) for axes in (self.traced, self.diagonal)
        )
        return Pairing(self.ndim, traced, diagonal, True)

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
    """(-1,) -> (ndim - 1,),  each axis once, in order; one that is named twice counts once."""
    given = [axes] if isinstance(axes, int) else list(axes)
    if not all(isinstance(a, int) and -ndim <= a < ndim for a in given):
        raise InvalidInput(
            f"{name} = {axes!r}: axes of an output with {ndim} axes, from {-ndim} to {ndim - 1}, are needed"
        )
    return tuple(sorted({a % ndim for a in given}))


def paired(shape1: Any, shape2: Any, trace_axes: Axes, diagonal_axes: Axes) -> Pairing:
    """The pairing of two outputs, if their shapes allow it."""
    if len(shape1) != len(shape2):
        raise ShapeMismatch(f"outputs of shapes {shape1} and {shape2}: both need the same number of axes")
    pairing = Pairing.of(len(shape1), trace_axes, diagonal_axes)
    if len(shape1) == 1 and pairing.traced:
        raise ShapeMismatch(
            f"f makes {shape1}, one number a sample, and an average over its last axis would be over samples: return "
            "y[:, None], or give trace_axes=()"
        )
    for a in (*pairing.traced, *pairing.diagonal):
        if shape1[a] != shape2[a]:
            kind = "traced" if a in pairing.traced else "diagonal"
            raise ShapeMismatch(f"outputs of shapes {shape1} and {shape2}: axis {a} is {kind} and needs one size")
    return pairing


def contract(left: Any, right: Any, pairing: Pairing) -> Any:
    """sum over shared last axes, and the average over traced ones, of left [*f(x1), ...] and right [*f(x2), ...].

    One product of matrices: XLA copies operands of which it has to contract several axes.
    """
    axes = range(pairing.ndim)
    free = [a for a in axes if pairing.count(a) == 2]
    rows, columns = (_matrix(v, pairing.diagonal, free, pairing.traced) for v in (left, right))
    spec = "dik,djk->dij" if pairing.diagonal else "ik,jk->ij"
    total = jnp.einsum(spec, rows, columns, precision=lax.Precision.HIGHEST)
    order = [(a, 0) for a in pairing.diagonal] + [(a, side) for side in (0, 1) for a in free]
    shape = [(left.shape, right.shape)[side][a] for a, side in order]
    total = jnp.transpose(total.reshape(shape), sorted(range(len(order)), key=order.__getitem__))
    return total / pairing.size(left.shape)


def _matrix(v: Any, diagonal: Sequence[int], free: Sequence[int], traced: Sequence[int]) -> Any:
    """[(diagonal,) free, all others]."""
    last = [a for a in range(v.ndim) if a not in (*diagonal, *free, *traced)]
    sizes = [math.prod(v.shape[a] for a in axes) for axes in (diagonal, free, [*traced, *last])]
    matrix = jnp.transpose(v, (*diagonal, *free, *traced, *last))
    return matrix.reshape(sizes if diagonal else sizes[1:])


def from_full(full: Any, shape: Sequence[int], pairing: Pairing) -> Any:
    """[*f(x1), *f(x2)]  ->  the kernel; `shape` is that of f(x1)."""
    first, second, kernel = pairing.labels()
    return jnp.einsum(full, [*first, *second], kernel) / pairing.size(shape)


def _without(axes: Sequence[int], axis: int) -> tuple[int, ...]:
    return tuple(a - (a > axis) for a in axes if a != axis)
