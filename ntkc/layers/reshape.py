"""Layers that pass their operand on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import sympy as sp

from ntkc.ir.exact import whole
from ntkc.ir.op import Op, Requests, Shape
from ntkc.ir.value import Value


@dataclass(frozen=True)
class _Transparent(Op):
    """y = x: nothing changes, and `fuse` removes the node."""

    transparent: ClassVar[bool] = True

    def shape(self, operands: Sequence[Shape]) -> Shape:
        return operands[0]

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        return operands[0]

    def covariance(self, ask: Requests) -> sp.Expr:
        return ask.covariance(0, 0)

    def tangent(self, ask: Requests) -> sp.Expr:
        return ask.tangent(0, 0)

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        return operands[0]


@dataclass(frozen=True)
class Identity(_Transparent):
    """y = x."""

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Identity(),)


@dataclass(frozen=True)
class Flatten(_Transparent):
    """K -> 1/P sum_p K[p, p] over P pixels; y = x for inputs [n, features]."""

    def shape(self, operands: Sequence[Shape]) -> Shape:
        (below,) = operands
        return (None,) if None in below else (prod(n for n in below if n is not None),)

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        return operands[0].reshape(len(operands[0]), -1)

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Flatten(),)


@dataclass(frozen=True)
class FanOut(_Transparent):
    """x -> (x, ..., x), `num` times: in a graph, `num` edges leave this node."""

    num: int = 2

    def check_fields(self) -> None:
        object.__setattr__(self, "num", whole(self.num, "FanOut num"))

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (FanOut(2),)
