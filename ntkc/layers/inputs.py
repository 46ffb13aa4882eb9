"""Where a network begins: data, or a kernel computed before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import sympy as sp

from ntkc.ir.exact import whole
from ntkc.ir.op import Op, Requests, Shape
from ntkc.ir.value import Law, Value, variable


@dataclass(frozen=True)
class _Source(Op):
    """A node without operands: its streams are arguments of the program."""

    arity: ClassVar[int | None] = 0

    def covariance(self, ask: Requests) -> sp.Expr:
        raise AssertionError("the streams of a source are arguments of the program")

    def tangent(self, ask: Requests) -> sp.Expr:
        raise AssertionError("the streams of a source are arguments of the program")

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        return operands[0]


@dataclass(frozen=True)
class Input(_Source):
    """K = x . x' / d,  T = 0:  the data, rows of `features` numbers (None: any number)."""

    features: int | None = None

    def __post_init__(self) -> None:
        if self.features is not None:
            object.__setattr__(self, "features", whole(self.features, "Input features"))

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Input(), Input(features=3))

    def shape(self, operands: Sequence[Shape]) -> Shape:
        return (self.features,)

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        return Value(Law.GIVEN, variable(node), frozenset({node}), trained=False)


@dataclass(frozen=True)
class Port(_Source):
    """K, T and variances given by the caller: the start of a network that continues another."""

    internal: ClassVar[bool] = True

    law: Law = Law.GAUSSIAN
    trained: bool = True
    features: int | None = None

    def shape(self, operands: Sequence[Shape]) -> Shape:
        return (self.features,)

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        return Value(self.law, variable(node), frozenset({node}), self.trained)
