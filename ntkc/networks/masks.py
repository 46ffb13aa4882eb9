"""Masked data in finite networks: which pixels are there after each layer; the others are 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import sympy as sp
from jax import lax

from ntkc.data import with_nan
from ntkc.ir.layout import Layout
from ntkc.ir.maps import Maps, Matrix, Permuted, Pick, Place, Product, Spread, Take, Total, Trace, joint_map
from ntkc.ir.op import Op, Shape, spatial_of
from ntkc.ir.streams import Reserved
from ntkc.networks.arrays import function_of
from ntkc.passes.settle import settled


@partial(jax.tree_util.register_dataclass, data_fields=["value", "there"], meta_fields=["layout"])
@dataclass(frozen=True)
class Masked:
    """An array, 0 where a pixel is missing, and which are there, [samples, pixels ...]: 1 or 0."""

    value: Any
    there: Any
    layout: Layout

    @property
    def shape(self) -> Shape:
        """Of one sample, [pixels ..., channels]."""
        return tuple(jnp.shape(self.value)[a] for a in self.layout.order(jnp.ndim(self.value))[1:])


def hidden(value: Any, there: Any, layout: Layout) -> Masked:
    """An array with 0 where no pixel is there."""
    own = layout.on(jnp.ndim(value))
    seen = jnp.transpose(there[..., None], own.places(jnp.ndim(value)))
    return Masked(jnp.where(seen > 0, value, 0), there, own)


def masked_data(x: Any, constant: Any, layout: Layout) -> Masked:
    """Data with 0 in the place of a constant (NaN, too); pixels of which all channels are equal to it are missing."""
    array = with_nan("inputs", x, constant)
    is_hidden = jnp.isnan(array)
    plain = jnp.transpose(is_hidden, layout.order(array.ndim))
    there = 1 - plain.all(-1).astype(array.dtype)
    return hidden(jnp.where(is_hidden, 0, array), there, layout)


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
