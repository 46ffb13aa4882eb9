"""Fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import sympy as sp

from ntkc.errors import InvalidInput, ShapeMismatch, unknown
from ntkc.ir.exact import exact, whole
from ntkc.ir.op import Op, Requests, Scalar, Shape, WeightSpec
from ntkc.ir.value import Law, Value, variable

PARAMETERIZATIONS = ("ntk", "standard")


@dataclass(frozen=True)
class Dense(Op):
    """K -> W_std^2 K + b_std^2,  T -> K' + W_std^2 T.

    In the standard parameterization T -> n K + W_std^2 T + 1[b_std is not None], n the input width over s[0].
    Source: Jacot et al. 2018 (1806.07572), Lee et al. 2018 (1711.00165); Sohl-Dickstein et al. 2020 (2001.07301)
    for the standard parameterization.
    """

    remasks: ClassVar[bool] = True
    fresh: ClassVar[bool] = True
    like_data: ClassVar[tuple[int, ...]] = (1,)

    out_dim: int
    W_std: Scalar = 1.0
    b_std: Scalar | None = None
    parameterization: str = "ntk"
    s: tuple[int, int] = (1, 1)

    def check_fields(self) -> None:
        object.__setattr__(self, "out_dim", whole(self.out_dim, "Dense out_dim"))
        if not isinstance(self.parameterization, str) or self.parameterization.lower() not in PARAMETERIZATIONS:
            raise unknown("parameterization", self.parameterization, PARAMETERIZATIONS)
        object.__setattr__(self, "parameterization", self.parameterization.lower())
        object.__setattr__(self, "s", width_scales(self.s))

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Dense(3), Dense(3, 1.3, 0.2), Dense(3, 1.5, 0.0, "standard"), Dense(3, 0.9, 0.4, "standard", (1, 2)))

    @property
    def is_standard(self) -> bool:
        """Weights of variance W_std^2 / n, gradients not rescaled."""
        return self.parameterization == "standard"

    @property
    def w2(self) -> sp.Expr:
        """W_std^2."""
        return exact(self.W_std) ** 2

    @property
    def b2(self) -> sp.Expr:
        """b_std^2, zero without a bias."""
        return exact(self.b_std or 0) ** 2

    def shape(self, operands: Sequence[Shape]) -> Shape:
        (below,) = operands
        return (*below[:-1], self.out_dim * self.s[1] if self.is_standard else self.out_dim)

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        return Value(Law.GAUSSIAN, variable(node), frozenset({node}), trained=True)

    def covariance(self, ask: Requests) -> sp.Expr:
        return self.w2 * ask.covariance(0, 0) + self.b2

    def tangent(self, ask: Requests) -> sp.Expr:
        if not self.is_standard:
            return ask.own() + self.w2 * ask.tangent(0, 0)
        width = ask.width(0) / self.s[0]
        bias = 0 if self.b_std is None else 1
        return width * ask.covariance(0, 0) + self.w2 * ask.tangent(0, 0) + bias

    def weights(self, operands: Sequence[Shape]) -> tuple[WeightSpec | None, ...]:
        ((*spatial, fan_in),) = operands
        if fan_in is None or fan_in < 1:
            raise ShapeMismatch(f"{self.label()}: the finite network needs the input width, got {fan_in}")
        width = self.shape(operands)[-1]
        assert width is not None
        w_scale, b_scale = 1.0, 1.0
        if self.is_standard:
            w_scale, b_scale = over(self.W_std, (fan_in / self.s[0]) ** 0.5), self.b_std or 0.0
        bias = (*(1,) * (1 + len(spatial)), width)
        return ((fan_in, width), w_scale), None if self.b_std is None else (bias, b_scale)

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        (W, b), (x,) = weights, operands
        if self.is_standard:
            y = x @ W / self.s[0] ** 0.5
            return y if b is None else y + b
        y = pointwise.number(self.W_std, "W_std") / x.shape[-1] ** 0.5 * (x @ W)
        return y if b is None else y + pointwise.number(self.b_std or 0.0, "b_std") * b

    def kernel_identity(self, widths: Sequence[object]) -> object:
        if self.is_standard:
            return Dense, self.w2, self.b2, self.b_std is None, self.s[0], tuple(widths)
        return Dense, self.w2, self.b2


def over(value: Scalar, divisor: float) -> Scalar:
    """A hyper-parameter divided by a number."""
    number = exact(value)
    return number / exact(divisor) if number.free_symbols else float(number) / divisor


def width_scales(s: object) -> tuple[int, int]:
    """A pair of positive whole numbers."""
    try:
        first, second = (int(v) for v in s)  # type: ignore[union-attr, attr-defined]
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"Dense(s={s!r}): s is a pair of positive whole numbers") from error
    if first < 1 or second < 1:
        raise InvalidInput(f"Dense(s={s!r}): s is a pair of positive whole numbers")
    return first, second
