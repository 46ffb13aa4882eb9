"""Masked data: which pixels are there after each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import sympy as sp
from jax import lax

from ntkc.expressions import function_of
from ntkc.ir.graph import Graph, feature_shapes, inputs_of, op_of, operands, ordered
from ntkc.ir.maps import Maps, Matrix, Permuted, Pick, Place, Product, Spread, Take, Total, Trace, joint_map
from ntkc.ir.op import Op, Shape, spatial_of
from ntkc.ir.streams import Reserved
from ntkc.passes.settle import settled


def presence_after(graph: Graph, sources: Sequence[Any]) -> Any:
    """The pixels of the output of a network that are there, from those of its inputs: [samples, pixels ...]."""
    found, shapes = dict(zip(inputs_of(graph), sources, strict=True)), feature_shapes(graph)
    for node in ordered(graph):
        if node not in found:
            below = operands(graph, node)
            found[node] = there_after(op_of(graph, node), [found[u] for u in below], [shapes[u] for u in below])
    return found[graph.graph["output"]]


def there_after(op: Op, operands: Sequence[Any], shapes: Sequence[Shape]) -> Any:
    """The pixels of a layer that are there, from those of its operands and the shapes of these."""
    ask: Any = _Presence(operands, shapes)
    expr = sp.sympify(settled(op, list(shapes)).presence(ask))
    symbols = sorted(expr.free_symbols, key=str)
    return function_of(expr, symbols)(*(ask.values[s] for s in symbols))


@dataclass(frozen=True)
class _Presence:
    """What `Op.presence` may ask for, as symbols of arrays [samples, pixels ...]."""

    operands: Sequence[Any]
    shapes: Sequence[Shape]
    values: dict[sp.Expr, Any] = field(default_factory=dict[sp.Expr, Any])

    @property
    def arity(self) -> int:
        return len(self.operands)

    def spatial(self, i: int) -> tuple[int, ...]:
        return spatial_of(self.shapes[i])

    def presence(self, i: int, side: int | None = None, maps: Maps = ()) -> sp.Expr:
        return self._kept(mapped(self.operands[i], maps))

    def absence(self, i: int, maps: Maps) -> sp.Expr:
        return self._kept(mapped(1 - self.operands[i], maps))

    def _kept(self, value: Any) -> sp.Expr:
        symbol = Reserved(f"there{len(self.values)}", real=True)
        self.values[symbol] = value
        return symbol


def mapped(v: Any, maps: Maps) -> Any:
    """Maps of pixels applied to one number a pixel, [samples, pixels ...]."""
    joint = joint_map(maps)
    if isinstance(joint, Permuted):
        return jnp.transpose(v, (0, *(1 + i for i in joint.order)))
    if isinstance(joint, Product):
        array = jnp.asarray(joint.array, v.dtype)
        return jnp.einsum(f"...{joint.reads},{joint.own}->...{joint.made}", v, array, precision=lax.Precision.HIGHEST)
    for axis, m in list(enumerate(maps, 1))[::-1]:
        v = along(v, m, axis)
    return v


def along(v: Any, m: Any, axis: int) -> Any:
    """One map along its axis."""
    if isinstance(m, Take):
        return jnp.take(v, jnp.asarray(m.places), axis=axis)
    if isinstance(m, Pick):
        return jnp.take(v, m.place, axis=axis)
    if isinstance(m, (Trace, Total)):
        return m.scale * v.sum(axis)
    if isinstance(m, (Matrix, Spread)):
        rows = jnp.asarray(m.rows, v.dtype)
        return jnp.moveaxis(jnp.tensordot(rows, v, (1, axis), precision=lax.Precision.HIGHEST), 0, axis)
    if isinstance(m, Place):
        pads = [(0, 0)] * v.ndim
        pads[axis] = (m.start, m.total - m.start - v.shape[axis])
        return jnp.pad(v, pads)
    assert m.is_identity, m
    return v
