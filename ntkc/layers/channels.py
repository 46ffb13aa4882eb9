"""Gains and shifts: parameters of each channel, which multiply it or are added to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import sympy as sp

from ntkc.ir.exact import exact
from ntkc.ir.op import Op, Requests, Scalar, Shape, WeightSpec
from ntkc.ir.streams import Reserved
from ntkc.ir.value import Law, Value, variable


@dataclass(frozen=True)
class Gains(Op):
    """y = g x,  K -> gain^2 K,  T -> gain^2 T + K:  each channel has a trained g of its own, which begins as `gain`.

    A function f that follows has T -> E[f'(u) f'(u')] gain^2 T + E[x f'(u) x' f'(u')], u = gain x: the gradient in g is
    no sum over channels.
    """

    gain: Scalar = 1.0

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Gains(), Gains(0.5))

    def shape(self, operands: Sequence[Shape]) -> Shape:
        return operands[0]

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        (x,) = operands
        if x.opaque or x.law not in (Law.GAUSSIAN, Law.POINTWISE):
            return Value(Law.OTHER, variable(node), x.fields, True, not x.has_mean, x.alike)
        gain = Reserved(f"g_{node}", real=True)
        gains = x.gains if self.frozen else (*x.gains, (gain, exact(self.gain)))
        made = x.expr * (exact(self.gain) if self.frozen else gain)
        return Value(Law.POINTWISE, made, x.fields, True, not x.has_mean, gains=gains)

    def covariance(self, ask: Requests) -> sp.Expr:
        return exact(self.gain) ** 2 * ask.covariance(0, 0)

    def tangent(self, ask: Requests) -> sp.Expr:
        return exact(self.gain) ** 2 * ask.tangent(0, 0) + ask.covariance(0, 0)

    def weights(self, operands: Sequence[Shape]) -> tuple[WeightSpec | None, ...]:
        return (((*(1 for _ in operands[0]), operands[0][-1] or 1), 0.0),)

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        return (pointwise.number(self.gain, "gain") + weights[0]) * operands[0]


@dataclass(frozen=True)
class Shifts(Op):
    """y = x + b,  K -> K + b_std^2,  T -> T + 1:  each channel has a trained b of its own, of deviation b_std.

    With `is_local` each pixel of it has: then both are added where pixels are equal.
    """

    linear: ClassVar[bool] = True
    remasks: ClassVar[bool] = True

    b_std: Scalar = 0.0
    is_local: bool = False

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Shifts(), Shifts(0.5))

    @property
    def acts_on_pixels(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Pixels are told apart."""
        return self.is_local

    def shape(self, operands: Sequence[Shape]) -> Shape:
        return operands[0]

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        (x,) = operands
        if x.law is Law.GAUSSIAN:
            return replace(x, expr=variable(node), fields=x.fields | {node}, trained=True)
        if x.law is Law.POINTWISE and exact(self.b_std) == 0 and not (x.opaque or self.is_local):
            shift = Reserved(f"g_{node}", real=True)
            gains = x.gains if self.frozen else (*x.gains, (shift, sp.S.Zero))
            return replace(x, expr=x.expr if self.frozen else x.expr + shift, trained=True, gains=gains)
        return Value(Law.OTHER, variable(node), x.fields | {node}, True, not x.has_mean, x.alike)

    def _where(self, ask: Requests) -> sp.Expr:
        return ask.same_pixel() if self.is_local else sp.S.One

    def covariance(self, ask: Requests) -> sp.Expr:
        return ask.covariance(0, 0) + exact(self.b_std) ** 2 * self._where(ask)

    def tangent(self, ask: Requests) -> sp.Expr:
        return ask.tangent(0, 0) + self._where(ask)

    def weights(self, operands: Sequence[Shape]) -> tuple[WeightSpec | None, ...]:
        *spatial, width = operands[0]
        return (((1, *(n if self.is_local else 1 for n in spatial), width or 1), self.b_std),)  # type: ignore[return-value]

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        return operands[0] + weights[0]
