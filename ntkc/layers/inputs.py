"""Where a network begins: data, or a kernel computed before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import sympy as sp

from ntkc.errors import InvalidInput
from ntkc.ir.exact import whole
from ntkc.ir.graph import GraphBuilder
from ntkc.ir.op import UNKNOWN, Op, Requests, Shape
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
    """K = x . x' / d,  T = 0:  the data, rows of `features` numbers (None: any number).

    Where it is `masked`, NaN stands for what is missing: K is 0 there, and masked pixels stay out of all that follows.
    With pixels, `spatial` has their number along each axis (None: only the data will tell), and K is one of pixels.
    Programs take data whose features are on `channel_axis`, 1 for [n, features, pixels ...]; of `tokens`, whole numbers
    that each stand for a row of zeros and a one, data have no such axis.
    """

    features: int | None = None
    spatial: tuple[int, ...] | None = ()
    masked: bool = False
    channel_axis: int = field(default=-1, kw_only=True)
    tokens: bool = field(default=False, kw_only=True)

    def check_fields(self) -> None:
        object.__setattr__(self, "channel_axis", whole(self.channel_axis, "Input channel_axis", -1))
        if self.tokens and self.features is None:
            raise InvalidInput("Input(tokens=True): how many different tokens there are is its `features`")
        if self.features is not None:
            object.__setattr__(self, "features", whole(self.features, "Input features"))
        if self.spatial is not None:
            if isinstance(self.spatial, str) or not hasattr(self.spatial, "__iter__"):
                raise InvalidInput(f"Input(spatial={self.spatial!r}): pixels along each axis are needed, as (32, 32)")
            object.__setattr__(self, "spatial", tuple(whole(n, "Input spatial") for n in self.spatial))

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Input(), Input(features=3))

    def shape(self, operands: Sequence[Shape]) -> Shape:
        return UNKNOWN if self.spatial is None else (*self.spatial, self.features)

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        return Value(Law.GIVEN, variable(node), frozenset({node}), trained=False)


@dataclass(frozen=True)
class Port(_Source):
    """K, T and variances given by the caller: the start of a network that continues another."""

    internal: ClassVar[bool] = True

    law: Law = Law.GAUSSIAN
    trained: bool = True
    features: int | None = None
    spatial: tuple[int, ...] = ()
    masked: bool = False

    def shape(self, operands: Sequence[Shape]) -> Shape:
        return (*self.spatial, self.features)

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        is_opaque = self.law is Law.POINTWISE
        return Value(self.law, variable(node), frozenset({node}), self.trained, opaque=is_opaque)


def open_inputs(builder: GraphBuilder) -> None:
    """Let data have any number of spatial axes, where a layer acts on pixels and an Input states none."""
    sources = {n: op for n, op in builder.ops.items() if isinstance(op, Input) and op.spatial == ()}
    if any(op.acts_on_pixels for op in builder.ops.values()):
        for node, op in sources.items():
            builder.replace(node, replace(op, spatial=None))
