"""Constant linear maps of pixels: other orders of axes, products with an array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
import sympy as sp

from ntkc.errors import InvalidInput, ShapeMismatch
from ntkc.ir.layout import Layout
from ntkc.ir.maps import Maps, Nested, Permuted, Product, ProductOfValues
from ntkc.ir.op import Op, Requests, Shape
from ntkc.layers.pooling import Mapped

LABELS = "abcdefgh"
"""One for each spatial axis of the operand, then one for each axis that an array adds."""


@dataclass(frozen=True)
class Permute(Mapped):
    """y[p_a, p_b, ...] = x[p_1, p_2, ...]:  spatial axes in another order: that of the operand's, 0 the first."""

    order: tuple[int, ...]

    def check_fields(self) -> None:
        order = tuple(self.order)
        if sorted(order) != list(range(len(order))) or len(order) > len(LABELS):
            raise InvalidInput(f"Permute(order={self.order!r}): each of 0, 1, ... once, 0 the first spatial axis")
        object.__setattr__(self, "order", order)

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Permute((1, 0)),)

    def maps(self, spatial: Sequence[int]) -> Maps:
        if len(spatial) != len(self.order):
            raise ShapeMismatch(f"{self.label()} of {len(spatial)} spatial axes")
        return (Permuted(LABELS[: len(spatial)], "".join(LABELS[i] for i in self.order)),)

    def presence(self, ask: Requests) -> sp.Expr:
        return ask.presence(0, None, self.maps(ask.spatial(0)))

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        (x,) = operands
        return x.transpose(0, *(i + 1 for i in self.order), x.ndim - 1)


@dataclass(frozen=True)
class DotGeneral(Mapped):
    """y = A x,  K -> A K A^T:  a constant array, `array` of shape `array_shape`, summed with x over several axes.

    Axes `contracted` of the pixels (0 the first spatial one) are summed with `array_contracted` of the array; `shared`
    ones stay and pick an entry along `array_shared` for each pixel; other axes of the array are new spatial axes. As in
    jax.lax.dot_general, the result has the shared axes, then the free ones of x, then those of the array (of the array,
    then of x if `is_left`: the array stands on the left).
    """

    remasks: ClassVar[bool] = True

    array: tuple[float | int, ...]
    array_shape: tuple[int, ...] = ()
    contracted: tuple[int, ...] = ()
    array_contracted: tuple[int, ...] = ()
    shared: tuple[int, ...] = ()
    array_shared: tuple[int, ...] = ()
    is_left: bool = False

    def check_fields(self) -> None:
        array, shape = tuple(float(v) for v in self.array), tuple(int(n) for n in self.array_shape)
        if len(array) != prod(shape) or not array or not np.isfinite(array).all():
            raise InvalidInput(
                f"DotGeneral: {prod(shape)} finite numbers are an array of shape {shape}, got {len(array)}"
            )
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "array_shape", shape)
        for name in ("contracted", "array_contracted", "shared", "array_shared"):
            object.__setattr__(self, name, tuple(int(a) for a in getattr(self, name)))
        for own, other in ((self.contracted, self.array_contracted), (self.shared, self.array_shared)):
            if len(own) != len(other):
                raise InvalidInput(f"DotGeneral: axes {own} of the pixels go with as many of the array, got {other}")
        for used, count in ((self._used, len(LABELS)), (self._array_used, len(shape))):
            if len(set(used)) < len(used) or not all(0 <= a < count for a in used):
                raise InvalidInput(f"DotGeneral: the axes {used} are not each one of 0, ..., {count - 1}, once")

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (
            DotGeneral((1.5,)),
            DotGeneral((1.0, -1.0, 0.5), (3,), (0,), (0,)),
            DotGeneral(tuple(np.linspace(-1, 1, 24).tolist()), (3, 4, 2), (1,), (1,), (0,), (0,)),
            DotGeneral(tuple(np.linspace(-1, 1, 24).tolist()), (2, 3, 4), (0, 1), (1, 2), is_left=True),
        )

    @property
    def _used(self) -> tuple[int, ...]:
        return (*self.contracted, *self.shared)

    @property
    def _array_used(self) -> tuple[int, ...]:
        return (*self.array_contracted, *self.array_shared)

    def labels(self, count: int) -> tuple[str, str, str]:
        """Labels of the spatial axes of x, of the array, and of the result."""
        if count + len(self.array_shape) - len(self._array_used) > len(LABELS) or any(a >= count for a in self._used):
            raise ShapeMismatch(f"{self.label()} of {count} spatial axes")
        reads, more = LABELS[:count], iter(LABELS[count:])
        of_array = dict(zip(self._array_used, self._used, strict=True))
        own = "".join(reads[of_array[a]] if a in of_array else next(more) for a in range(len(self.array_shape)))
        free = "".join(a for i, a in enumerate(reads) if i not in self._used)
        new = "".join(a for a in own if a not in reads)
        return reads, own, "".join(reads[i] for i in self.shared) + (new + free if self.is_left else free + new)

    def _product(self, spatial: Sequence[int]) -> Product:
        reads, own, made = self.labels(len(spatial))
        for i, a in zip(self._used, self._array_used, strict=True):
            if spatial[i] != self.array_shape[a]:
                raise ShapeMismatch(
                    f"{self.label()}: {spatial[i]} pixels meet {self.array_shape[a]} numbers on axis {i}"
                )
        return Product(reads, made, own, _nested(np.array(self.array).reshape(self.array_shape)), self.array_shape)

    def maps(self, spatial: Sequence[int]) -> Maps:
        return (self._product(spatial),)

    def presence(self, ask: Requests) -> sp.Expr:
        """A pixel is masked where all that it is made of are."""
        p = self._product(ask.spatial(0))
        read = _nested((np.array(self.array) != 0).astype(float).reshape(self.array_shape))
        return sp.Min(ask.presence(0, None, (ProductOfValues(p.reads, p.made, p.own, read, p.array_shape),)), 1)

    def layout_after(self, layout: Layout, operand: Shape) -> Layout:
        count = len(operand) - 1
        order = layout.order(count + 2)
        kept = [a for a in range(count + 2) if a not in [order[1 + i] for i in self._used]]
        made = len(self.labels(count)[2])
        first = len(self.shared) + (len(self.array_shape) - len(self._array_used) if self.is_left else 0)
        return Layout(first + kept.index(order[0]), first + kept.index(order[-1]), made + 2)

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        (x,) = operands
        jnp, (reads, own, made) = pointwise.jnp, self.labels(x.ndim - 2)
        self._product(x.shape[1:-1])
        array = jnp.asarray(np.array(self.array).reshape(self.array_shape), x.dtype)
        return jnp.einsum(f"y{reads}z,{own}->y{made}z", x, array, precision=pointwise.lax.Precision.HIGHEST)

    def words(self) -> str:
        parts = [f"shape={self.array_shape}", f"contracted={self.contracted}", f"shared={self.shared}"]
        return f"DotGeneral({', '.join(parts[: 3 if self.shared else 2])})"


def _nested(array: np.ndarray) -> Nested:
    """An array as tuples of tuples."""
    return tuple(map(_nested, array)) if array.ndim else float(array)
