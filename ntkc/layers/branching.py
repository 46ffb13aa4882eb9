"""Where branches meet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar

import sympy as sp

from ntkc.errors import InvalidInput, NoClosedForm, NoInfiniteLimit, ShapeMismatch
from ntkc.ir.maps import Maps, Patch, Place
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
        return common_shape("FanInSum", operands)

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        laws = {v.law for v in operands}
        fields = frozenset[str]().union(*(v.fields for v in operands))
        trained = any(v.trained for v in operands)
        if Law.POINTWISE not in laws:
            law = laws.pop() if len(laws) == 1 else Law.OTHER
            centered, alike = not any(v.has_mean for v in operands), all(v.alike for v in operands)
            return Value(law, variable(node), fields, trained, centered, alike)
        if laws <= {Law.GAUSSIAN, Law.POINTWISE}:
            centered = not any(v.has_mean for v in operands)
            gains = tuple({g: n for v in operands for g, n in v.gains}.items())
            return Value(Law.POINTWISE, sp.Add(*(v.expr for v in operands)), fields, trained, centered, gains=gains)
        if Law.GIVEN not in laws:
            return Value(Law.OTHER, variable(node), fields, trained, False, all(v.alike for v in operands))
        raise NoInfiniteLimit(
            f"{node} adds the raw input to a nonlinearity; their product has no infinite-width limit. "
            "Put a Dense layer between the input and the sum"
        )

    def covariance(self, ask: Requests) -> sp.Expr:
        return self._bilinear(ask.covariance, ask)

    def tangent(self, ask: Requests) -> sp.Expr:
        return self._bilinear(ask.tangent, ask)

    def _bilinear(self, stream: Any, ask: Requests) -> sp.Expr:
        """sum_ab n_a n_b K[a, b] over different operands a, b that stand n_a and n_b times in the sum."""
        # No two nodes share K[a, a] unless it is 0, and then it is 0 with every other node, too.
        own = [stream(i, i) for i in range(ask.arity)]
        counts, slots = Counter(own), {own[i]: i for i in range(ask.arity)}
        firsts = set(slots.values())
        pairs = ((i, j) for i in sorted(firsts) for j in ask.related(i) if j in firsts)
        return sp.Add(*(counts[own[i]] * counts[own[j]] * stream(i, j) for i, j in pairs))

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        return reduce(lambda x, y: x + y, operands)


@dataclass(frozen=True)
class FanInProd(Op):
    """y = prod_i x_i of independent branches:  K = prod_i K_i,  T = sum_i T_i prod_{j != i} K_j."""

    arity: ClassVar[int | None] = None
    acts_on_pixels: ClassVar[bool] = True

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (FanInProd(),)

    def shape(self, operands: Sequence[Shape]) -> Shape:
        return common_shape("FanInProd", operands)

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        if sum(len(v.fields) for v in operands) > len(frozenset[str]().union(*(v.fields for v in operands))):
            raise NoClosedForm(f"{node} multiplies branches that are not independent; end each in a layer with weights")
        if not all(v.alike for v in operands):
            raise NoClosedForm(f"{node} multiplies flattened pixels or joined channels: put a Dense layer before it")
        fields = frozenset[str]().union(*(v.fields for v in operands))
        centered = any(not v.has_mean for v in operands)
        return Value(Law.OTHER, variable(node), fields, any(v.trained for v in operands), centered)

    def covariance(self, ask: Requests) -> sp.Expr:
        return sp.Mul(*(ask.covariance(i, i) for i in range(ask.arity)))

    def tangent(self, ask: Requests) -> sp.Expr:
        slots = range(ask.arity)
        others = {i: sp.Mul(*(ask.covariance(j, j) for j in slots if j != i)) for i in slots}
        return sp.Add(*(ask.tangent(i, i) * others[i] for i in slots))

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        return reduce(lambda x, y: x * y, operands)


@dataclass(frozen=True)
class FanInConcat(Op):
    """K -> sum_i n_i K_i / sum_i n_i over channels;  over pixels, K_i in its own block and 0 between blocks.

    `axis` counts the samples as axis 0; the last axis, or -1, is that of the n_i channels. Branches are independent.
    """

    arity: ClassVar[int | None] = None
    acts_on_pixels: ClassVar[bool] = True

    axis: int = -1

    def check_fields(self) -> None:
        if not isinstance(self.axis, int) or self.axis == 0:
            raise InvalidInput(f"FanInConcat(axis={self.axis!r}): an axis other than that of the samples is needed")

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (FanInConcat(),)

    @property
    def is_of_channels(self) -> bool:
        """Joins channels, whose distributions then differ (`settle` writes their axis as -1)."""
        return self.axis == -1

    def _place(self, rank: int) -> int:
        """The axis of a sample: 0 for the first spatial axis, `rank` - 1 for the channels."""
        place = self.axis - 1 if self.axis > 0 else self.axis + rank
        if not 0 <= place < rank:
            raise ShapeMismatch(f"FanInConcat(axis={self.axis}) of arrays with {rank + 1} axes")
        return place

    def shape(self, operands: Sequence[Shape]) -> Shape:
        place = self._place(len(operands[0]))
        rest = common_shape("FanInConcat", [(*s[:place], None, *s[place + 1 :]) for s in operands])
        parts = [s[place] for s in operands]
        total = None if None in parts else sum(n for n in parts if n is not None)
        return (*rest[:place], total, *rest[place + 1 :])

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        fields = frozenset[str]().union(*(v.fields for v in operands))
        is_gaussian = all(v.law is Law.GAUSSIAN for v in operands) and not self.is_of_channels
        law = Law.GAUSSIAN if is_gaussian else Law.OTHER
        centered = not any(v.has_mean for v in operands)
        alike = all(v.alike for v in operands) and not self.is_of_channels
        return Value(law, variable(node), fields, any(v.trained for v in operands), centered, alike)

    def _joined(self, ask: Requests, stream: Any) -> sp.Expr:
        slots = range(ask.arity)
        spatial = [ask.spatial(i) for i in slots]
        place = self._place(len(spatial[0]) + 1)
        if place == len(spatial[0]):
            total = sp.Add(*(ask.width(i) for i in slots))
            return sp.Add(*(ask.width(i) / total * stream(i, i) for i in slots))
        counts = [s[place] for s in spatial]
        maps = [self._block(len(spatial[0]), place, sum(counts[:i]), sum(counts)) for i in slots]
        if any(stream(i, j) != 0 for i in slots for j in slots if i != j):
            raise NoClosedForm("FanInConcat of pixels of branches that are not independent")
        return sp.Add(*(stream(i, i, maps[i]) for i in slots))

    def presence(self, ask: Requests) -> sp.Expr:
        slots = range(ask.arity)
        spatial = [ask.spatial(i) for i in slots]
        place = self._place(len(spatial[0]) + 1)
        if place == len(spatial[0]):
            return super().presence(ask)
        counts = [s[place] for s in spatial]
        maps = [self._block(len(spatial[0]), place, sum(counts[:i]), sum(counts)) for i in slots]
        return sp.Add(*(ask.presence(i, None, maps[i]) for i in slots))

    @staticmethod
    def _block(axes: int, place: int, start: int, total: int) -> Maps:
        return tuple(Place(start, total) if axis == place else Patch() for axis in range(axes))

    def covariance(self, ask: Requests) -> sp.Expr:
        return self._joined(ask, ask.covariance)

    def tangent(self, ask: Requests) -> sp.Expr:
        return self._joined(ask, ask.tangent)

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        return pointwise.jnp.concatenate(operands, self.axis)


def common_shape(name: str, shapes: Sequence[Shape]) -> Shape:
    """The one shape of all branches; sizes that only the data will tell fit any.

    Raises:
        ShapeMismatch: they differ.
    """
    if len({len(s) for s in shapes}) > 1:
        raise ShapeMismatch(f"{name} of branches of shapes {list(shapes)}: all branches need one shape")
    sizes = [{n for n in column if n is not None} for column in zip(*shapes, strict=True)]
    if any(len(s) > 1 for s in sizes):
        raise ShapeMismatch(f"{name} of branches of shapes {list(shapes)}: all branches need one shape")
    return tuple(s.pop() if s else None for s in sizes)
