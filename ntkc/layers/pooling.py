"""Pools, local and global, and what flattening pixels comes to."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import sympy as sp

from ntkc.errors import InvalidInput, ShapeMismatch
from ntkc.gaussian.functions import Ratio
from ntkc.ir.layout import Layout
from ntkc.ir.maps import Maps, Take, Total, Trace, Window, centres, pool, spatial_size
from ntkc.ir.op import Op, Requests, Shape, spatial_of
from ntkc.ir.value import Law, Value, variable
from ntkc.layers.conv import along, padding_name, sizes


@dataclass(frozen=True)
class Mapped(Op):
    """K -> A K A^T,  T -> A T A^T:  a linear map of pixels, the same for all channels."""

    acts_on_pixels: ClassVar[bool] = True
    keeps_law: ClassVar[bool] = True
    """The image of a Gaussian field is one."""

    @abstractmethod
    def maps(self, spatial: Sequence[int]) -> Maps:
        """The map along each axis."""

    def shape(self, operands: Sequence[Shape]) -> Shape:
        spatial = spatial_of(operands[0])
        return (*spatial_size(self.maps(spatial), spatial), operands[0][-1])

    def layout_after(self, layout: Layout, operand: Shape) -> Layout:
        maps = self.maps(spatial_of(operand))
        return layout.without(i for i, m in enumerate(maps) if not m.keeps_axis)

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        (x,) = operands
        is_gaussian = x.law is Law.GAUSSIAN and self.keeps_law
        law = Law.GAUSSIAN if is_gaussian else Law.OTHER
        return Value(law, variable(node), x.fields, x.trained, not x.has_mean, x.alike and self.keeps_law)

    def covariance(self, ask: Requests) -> sp.Expr:
        return ask.covariance(0, 0, self.maps(ask.spatial(0)))

    def tangent(self, ask: Requests) -> sp.Expr:
        return ask.tangent(0, 0, self.maps(ask.spatial(0)))


@dataclass(frozen=True)
class _Pool(Mapped):
    """A window that moves over the pixels."""

    is_mean: ClassVar[bool]
    remasks: ClassVar[bool] = True

    window_shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    padding: str | tuple[tuple[int, int], ...] = "VALID"

    def check_fields(self) -> None:
        name = type(self).__name__
        object.__setattr__(self, "window_shape", sizes(self.window_shape, f"{name} window_shape"))
        if self.strides is not None:
            object.__setattr__(self, "strides", sizes(self.strides, f"{name} strides", len(self.window_shape)))
        object.__setattr__(self, "padding", padding_name(self.padding, len(self.window_shape)))

    @property
    def steps(self) -> tuple[int, ...]:
        """Stride of each axis."""
        return self.strides or (1,) * len(self.window_shape)

    @property
    def is_normalized(self) -> bool:
        """Windows at the edge count their true pixels only."""
        return False

    def maps(self, spatial: Sequence[int]) -> Maps:
        if len(spatial) != len(self.window_shape):
            raise ShapeMismatch(
                f"{self.label()} has a window of {len(self.window_shape)} axes, its input {len(spatial)} spatial axes"
            )
        places = enumerate(zip(spatial, self.window_shape, self.steps, strict=True))
        return tuple(pool(along(self.padding, i), n, w, s, self.is_mean, self.is_normalized) for i, (n, w, s) in places)

    def presence(self, ask: Requests) -> sp.Expr:
        """A pixel is masked where the middle of its window is."""
        spatial = ask.spatial(0)
        windows = [m for m in self.maps(spatial) if isinstance(m, Window)]
        places = [centres(m.window, m.stride, m.low, m.size(n)) for m, n in zip(windows, spatial, strict=True)]
        same = [Take(tuple(range(n))) for n in spatial]
        return ask.presence(0, None, () if places == same else tuple(places))

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        (x,) = operands
        jnp, lax = pointwise.jnp, pointwise.lax
        maps = [m for m in self.maps(x.shape[1:-1]) if isinstance(m, Window)]
        pads = [(0, 0), *((m.low, m.high) for m in maps), (0, 0)]
        x = jnp.pad(x, pads, mode="wrap" if self.padding == "CIRCULAR" else "constant")
        zero = x.dtype.type(0)
        y = lax.reduce_window(x, zero, lax.add, (1, *self.window_shape, 1), (1, *self.steps, 1), "VALID")
        for axis, m in enumerate(maps):
            y = y * jnp.asarray(m.scales, y.dtype).reshape((-1, *(1,) * (y.ndim - axis - 2)))
        return y


@dataclass(frozen=True)
class AvgPool(_Pool):
    """K[p, p'] -> 1/w^2 sum_d sum_d' K[s p + d, s p' + d']:  the mean of a window, at both places.

    With `normalize_edges`, windows that reach over the edge (SAME) divide by the pixels they cover, not by w.
    """

    is_mean: ClassVar[bool] = True

    normalize_edges: bool = False

    def check_fields(self) -> None:
        super().check_fields()
        if not isinstance(self.normalize_edges, bool):
            raise InvalidInput(f"AvgPool(normalize_edges={self.normalize_edges!r}): True or False is needed")

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (
            AvgPool((2, 2), (2, 2)),
            AvgPool((3, 2), None, "SAME"),
            AvgPool((3, 3), (2, 1), "SAME", normalize_edges=True),
            AvgPool((2, 2), None, "CIRCULAR"),
        )

    @property
    def is_normalized(self) -> bool:
        return self.normalize_edges


@dataclass(frozen=True)
class SumPool(_Pool):
    """K[p, p'] -> sum_d sum_d' K[s p + d, s p' + d']:  the sum of a window, at both places."""

    is_mean: ClassVar[bool] = False

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (SumPool((2, 2), (2, 2)), SumPool((3, 2), None, "SAME"))


@dataclass(frozen=True)
class GlobalAvgPool(Mapped):
    """K -> 1/P^2 sum_p sum_p' K[p, p']:  the mean of all P pixels."""

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (GlobalAvgPool(),)

    def maps(self, spatial: Sequence[int]) -> Maps:
        return tuple(Total(1 / n) for n in spatial)

    def statistic(self, ask: Requests) -> sp.Expr:
        """One over the pixels that are there."""
        return Ratio(sp.S.One, ask.presence(0, None, counted(ask.spatial(0))))

    def _unmasked(self, stream: Any, ask: Requests) -> sp.Expr:
        if not ask.is_masked:
            return stream(0, 0, self.maps(ask.spatial(0)))
        there = ask.presence(0, 1) * ask.presence(0, 2)
        total = stream(0, 0, tuple(Total(1.0) for _ in ask.spatial(0)), there)
        return total * ask.statistic(1) * ask.statistic(2)

    def covariance(self, ask: Requests) -> sp.Expr:
        return self._unmasked(ask.covariance, ask)

    def tangent(self, ask: Requests) -> sp.Expr:
        return self._unmasked(ask.tangent, ask)

    def presence(self, ask: Requests) -> sp.Expr:
        return any_there(ask)

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        (x,) = operands
        axes = tuple(range(1, x.ndim - 1))
        if pointwise.there is None:
            return x.mean(axes)
        return x.sum(axes) / pointwise.jnp.maximum(pointwise.there.sum(axes), 1)[..., None]


@dataclass(frozen=True)
class GlobalSumPool(Mapped):
    """K -> sum_p sum_p' K[p, p']:  the sum of all pixels."""

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (GlobalSumPool(),)

    def maps(self, spatial: Sequence[int]) -> Maps:
        return tuple(Total(1.0) for _ in spatial)

    def presence(self, ask: Requests) -> sp.Expr:
        return any_there(ask)

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        (x,) = operands
        return x.sum(tuple(range(1, x.ndim - 1)))


@dataclass(frozen=True)
class FlattenPixels(Mapped):
    """K -> 1/P sum_p K[p, p]:  Flatten on pixels (put in its place by `settle`)."""

    internal: ClassVar[bool] = True
    keeps_law: ClassVar[bool] = False

    def maps(self, spatial: Sequence[int]) -> Maps:
        return tuple(Trace(1 / n) for n in spatial)

    def presence(self, ask: Requests) -> sp.Expr:
        return any_there(ask)

    def shape(self, operands: Sequence[Shape]) -> Shape:
        (below,) = operands
        return (None,) if below[-1] is None else (prod(n for n in below if n is not None),)

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        return operands[0].reshape(len(operands[0]), -1)

    def words(self) -> str:
        return "Flatten()"


def counted(spatial: Sequence[int]) -> Maps:
    """The sum of a value over all pixels."""
    return tuple(Trace(1.0) for _ in spatial)


def any_there(ask: Requests) -> sp.Expr:
    """1 if any pixel is there."""
    return sp.Min(ask.presence(0, None, counted(ask.spatial(0))), 1)
