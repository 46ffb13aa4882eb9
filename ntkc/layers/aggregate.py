"""Sums over the edges of a graph that each sample brings with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import sympy as sp

from ntkc.errors import InvalidInput, ShapeMismatch
from ntkc.ir.op import Op, Requests, Shape
from ntkc.ir.value import Law, Value, variable

IMPLEMENTATIONS = ("DENSE", "SPARSE")
"""How graphs are given: weights of all edges, or a list of edges."""


class Gathered(sp.Function):
    """Gathered(A1, K, A2, axes)[p, p'] = sum_a sum_b A1[a, p] K[a, b] A2[b, p'], over some of the spatial axes."""

    nargs = 4
    is_extended_real = True

    @property
    def axes(self) -> tuple[int, ...]:
        """The spatial axes that are summed over, 0 the first, in the order that A has them."""
        return tuple(int(a) for a in self.args[3].args)


@dataclass(frozen=True)
class Aggregate(Op):
    """y[p] = sum_a A[a, p] x[a],  K -> A1^T K A2,  T -> A1^T T A2:  A a matrix of weights of edges, one a sample.

    A comes with the data, as `pattern`; without one, y = x. `aggregate_axis` counts the samples as axis 0 (None: all
    spatial axes). A has the shape [samples, tails ..., heads ...]; if `is_sparse` it is a list of edges of weight 1,
    [samples, edges, axes, 2] of tails and heads, where negative numbers stand for none.

    Source: Du et al. 2019 (1905.13192), section 3.
    """

    remasks: ClassVar[bool] = True
    acts_on_pixels: ClassVar[bool] = True

    aggregate_axis: int | tuple[int, ...] | None = None
    is_sparse: bool = False

    def check_fields(self) -> None:
        axis = self.aggregate_axis
        axes = axis if isinstance(axis, (tuple, list)) else () if axis is None else (axis,)
        if axis is not None and (not axes or not all(isinstance(a, int) for a in axes) or {0, -1} & {*axes}):
            raise InvalidInput(f"Aggregate(aggregate_axis={axis!r}): spatial axes are needed, 1 the first, or None")
        object.__setattr__(self, "aggregate_axis", None if axis is None else tuple(axes))

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Aggregate(), Aggregate(1), Aggregate(-2, True))

    def axes(self, count: int) -> tuple[int, ...]:
        """The axes among `count` spatial ones, 0 the first."""
        if self.aggregate_axis is None:
            return tuple(range(count))
        assert isinstance(self.aggregate_axis, tuple)
        found = tuple(a - 1 if a > 0 else a + count + 1 for a in self.aggregate_axis)
        if not all(0 <= a < count for a in found) or len(set(found)) < len(found):
            raise ShapeMismatch(f"{self.label()} of {count} spatial axes")
        return found

    def shape(self, operands: Sequence[Shape]) -> Shape:
        if len(operands[0]) < 2:
            raise ShapeMismatch(f"{self.label()} needs nodes: data [samples, nodes, channels]")
        self.axes(len(operands[0]) - 1)
        return operands[0]

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        (x,) = operands
        law = Law.GAUSSIAN if x.law is Law.GAUSSIAN else Law.OTHER
        return Value(law, variable(node), x.fields, x.trained)

    def _gathered(self, stream: sp.Expr, ask: Requests) -> sp.Expr:
        spatial = ask.spatial(0)
        axes = self.axes(len(spatial))
        first, second = ask.patterns(tuple(spatial[a] for a in axes), self.is_sparse)
        return stream if stream == 0 else Gathered(first, stream, second, sp.Tuple(*axes))

    def covariance(self, ask: Requests) -> sp.Expr:
        return self._gathered(ask.pairs(0, 0), ask)

    def tangent(self, ask: Requests) -> sp.Expr:
        return self._gathered(ask.tangent(0, 0), ask)

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        (x,) = operands
        pattern, jnp = getattr(pointwise, "pattern", None), pointwise.jnp
        if pattern is None:
            return x
        axes = self.axes(x.ndim - 2)
        sizes = tuple(x.shape[1 + a] for a in axes)
        found = checked_pattern("pattern", pattern, len(x), sizes, self.is_sparse, jnp)
        front = tuple(1 + a for a in axes)
        rows = jnp.moveaxis(x, front, range(1, len(axes) + 1))
        nodes = rows.reshape(len(x), -1, *rows.shape[1 + len(axes) :])
        if self.is_sparse:
            made = _along_edges(nodes, found, sizes, jnp)
        else:
            count = nodes.shape[1]
            made = jnp.einsum("na...,nap->np...", nodes, jnp.asarray(found, x.dtype).reshape(len(x), count, count))
        return jnp.moveaxis(made.reshape(rows.shape), range(1, len(axes) + 1), front)


def _along_edges(nodes: Any, edges: Any, sizes: tuple[int, ...], jnp: Any) -> Any:
    """The sum over edges that end in a node: nodes [n, nodes, ...], edges [n, edges, axes, 2]."""
    places = edges[:, :, 0]
    for i, size in enumerate(sizes[1:], 1):
        places = places * size + edges[:, :, i]
    is_edge = (edges >= 0).all((-2, -1))
    tails, heads = (jnp.where(is_edge, places[..., side], 0) for side in (0, 1))
    samples = jnp.arange(len(nodes))[:, None]
    sent = nodes[samples, tails] * is_edge.reshape(*is_edge.shape, *(1,) * (nodes.ndim - 2))
    return jnp.zeros_like(nodes).at[samples, heads].add(sent)


def checked_pattern(name: str, pattern: Any, samples: int, sizes: tuple[int, ...], is_sparse: bool, jnp: Any) -> Any:
    """A pattern as an array [samples, tails ..., heads ...], or a sparse one [samples, edges, axes, 2].

    Raises:
        ShapeMismatch: it has another shape.
    """
    found = jnp.asarray(pattern)
    if not is_sparse:
        if found.shape != (samples, *sizes, *sizes):
            raise ShapeMismatch(f"{name} has shape {found.shape}; {(samples, *sizes, *sizes)} is needed")
        return found
    if len(sizes) == 1 and found.ndim == 3:
        found = found[:, :, None]
    if found.ndim != 4 or (found.shape[0], *found.shape[2:]) != (samples, len(sizes), 2):
        needed = f"({samples}, edges, {len(sizes)}, 2)"
        raise ShapeMismatch(f"{name} has shape {found.shape}; {needed} is needed, tails and heads of edges")
    return found


def reads_pattern(op: Op) -> bool:
    """The layer needs a graph for each sample."""
    return isinstance(op, Aggregate)
