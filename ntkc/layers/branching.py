"""Where branches meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar

import sympy as sp

from ntkc.errors import NoInfiniteLimit, ShapeMismatch
from ntkc.ir.op import Op, Requests, Shape
from ntkc.ir.value import Law, Value, variable


@dataclass(frozen=True)
class FanInSum(Op):
    """y = sum_i x_i:  K = sum_ij K[x_i, x_j],  T = sum_ij T[x_i, x_j]; correlated branches are exact."""

    arity: ClassVar[int | None] = None
    linear: ClassVar[bool] = True

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (FanInSum(),)

    def shape(self, operands: Sequence[Shape]) -> Shape:
        widths = {s for s in operands if s != (None,)}
        if len(widths) > 1:
            raise ShapeMismatch(f"FanInSum of branches of shapes {list(operands)}: all branches need one shape")
        return widths.pop() if widths else operands[0]

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        laws = {v.law for v in operands}
        fields = frozenset[str]().union(*(v.fields for v in operands))
        trained = any(v.trained for v in operands)
        if Law.POINTWISE not in laws:
            law = laws.pop() if len(laws) == 1 else Law.OTHER
            return Value(law, variable(node), fields, trained)
        if laws <= {Law.GAUSSIAN, Law.POINTWISE}:
            return Value(Law.POINTWISE, sp.Add(*(v.expr for v in operands)), fields, trained)
        raise NoInfiniteLimit(
            f"{node} adds the raw input to a nonlinearity; their product has no infinite-width limit. "
            "Put a Dense layer between the input and the sum"
        )

    def covariance(self, ask: Requests) -> sp.Expr:
        return self._bilinear(ask.covariance, ask)

    def tangent(self, ask: Requests) -> sp.Expr:
        return self._bilinear(ask.tangent, ask)

    def _bilinear(self, stream: Any, ask: Requests) -> sp.Expr:
        slots = range(ask.arity)
        return sp.Add(*(stream(i, j) for i in slots for j in slots))

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        return reduce(lambda x, y: x + y, operands)
