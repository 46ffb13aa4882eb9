"""The network that is found in a model, node by node; `finished` makes a graph of the nodes that the output needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import sympy as sp

from ntkc.errors import NtkcError
from ntkc.gaussian.normal_form import X
from ntkc.importers.axes import Groups, whole
from ntkc.importers.refusals import UnsupportedModel
from ntkc.importers.values import Field, Moment, Weight
from ntkc.ir.op import Op
from ntkc.layers.activations import Abs, Activation, Cos, Erf, Exp, Gelu, Relu, Scale, Sign, Sin
from ntkc.layers.branching import FanInProd, FanInSum
from ntkc.layers.inputs import Input
from ntkc.layers.norm import GroupNorm, LayerNorm, RMSNorm
from ntkc.layers.pooling import AvgPool, GlobalAvgPool, GlobalSumPool, SumPool

KNOWN = {sp.expand(op.of(X)): op for op in (Relu(), Abs(), Erf(), Sin(), Cos(), Exp(), Sign(), Gelu(), Gelu(True))}


@dataclass(frozen=True)
class Use:
    """The weights of a layer, or the one of a gain or a shift."""

    kernel: Weight | None = None
    bias: Weight | None = None
    outputs: tuple[int, ...] = ()
    """The axes of the kernel's view along which outputs lie."""
    fan_in: int = 1
    fan_out: int = 1


@dataclass(frozen=True)
class Node:
    """A layer; `use` where it has weights, whose standard deviations are read at the end."""

    op: Op
    operands: tuple[int, ...]
    use: Use | None
    shape: tuple[int, ...]
    place: str = field(compare=False)


@dataclass
class Net:
    """Nodes so far; equal layers of equal operands and weights are one node."""

    nodes: list[Node] = field(default_factory=list[Node])
    known: dict[object, int] = field(default_factory=dict[object, int])
    made_of: dict[tuple[int, sp.Expr], int] = field(default_factory=dict[tuple[int, sp.Expr], int])
    place: str = ""
    """Where in the model the equation stands that is read."""

    def add(self, op: Op, operands: Sequence[int] = (), use: Use | None = None) -> int:
        """The node of a layer."""
        key = (op, tuple(operands), use)
        if key not in self.known:
            shape = self._shape(op, operands)
            self.known[key] = len(self.nodes)
            self.nodes.append(Node(op, tuple(operands), use, shape, self.place))
        return self.known[key]

    def _shape(self, op: Op, operands: Sequence[int]) -> tuple[int, ...]:
        try:
            return tuple(n or 1 for n in op.shape([self.nodes[i].shape for i in operands]))
        except NtkcError as error:
            raise self.refusal(str(error), "see the message") from error

    def refusal(self, rule: str, remedy: str) -> UnsupportedModel:
        """The error of the place that is read."""
        return UnsupportedModel(self.place, rule, remedy)

    def set_tokens(self, source: int, rows: int) -> None:
        """How many different tokens an input has."""
        node = self.nodes[source]
        assert isinstance(node.op, Input)
        if node.op.features not in (1, rows):
            raise self.refusal(
                f"embeddings of {node.op.features} and {rows} rows are read at the same tokens",
                "give both embeddings as many rows",
            )
        self.nodes[source] = replace(node, op=replace(node.op, features=rows), shape=(*node.shape[:-1], rows))

    def groups(self, node: int) -> Groups:
        """All axes of a node; the samples' size is not known here, and never asked."""
        return whole((SAMPLES_SIZE, *self.nodes[node].shape))

    def channel_axis(self, node: int) -> int:
        """The number of the axis of channels."""
        return len(self.nodes[node].shape)

    def channels(self, node: int) -> int:
        return self.nodes[node].shape[-1]

    def pixels(self, node: int) -> tuple[int, ...]:
        return self.nodes[node].shape[:-1]

    def materialised(self, value: Field) -> Field:
        """A field that is a node itself."""
        if value.expr == X:
            return value
        key = (value.node, value.expr)
        if key not in self.made_of:
            self.made_of[key] = self._made(value.node, value.expr)
        return Field(self.made_of[key], value.groups)

    def _made(self, node: int, expr: sp.Expr) -> int:
        if expr.has(Moment):
            return self._normalised(node, expr)
        if X not in expr.free_symbols:
            raise self.refusal(f"the constant {expr} is used as a layer", "leave it out")
        factor = sp.cancel(expr / X)
        if X not in factor.free_symbols:
            return self._scaled(node, factor)
        form = sp.expand(expr.replace(sp.erfc, lambda a: 1 - sp.erf(a)))
        return self.add(KNOWN[form] if form in KNOWN else Activation(form if expr.has(sp.erfc) else expr), [node])

    def _scaled(self, node: int, factor: sp.Expr) -> int:
        """A sum of pixels over their number is their mean."""
        below = self.nodes[node]
        op = below.op
        if isinstance(op, SumPool) and factor == sp.Rational(1, _product(op.window_shape)):
            return self.add(AvgPool(op.window_shape, op.strides, op.padding), below.operands)
        if isinstance(op, GlobalSumPool) and factor == sp.Rational(1, _product(self.pixels(below.operands[0]))):
            return self.add(GlobalAvgPool(), below.operands)
        return self.add(Scale(factor), [node])

    def _normalised(self, node: int, expr: sp.Expr) -> int:
        """(u - E[u]) / sqrt(E[u^2] - E[u]^2 + eps)  ->  LayerNorm, GroupNorm;  u / sqrt(E[u^2] + eps)  ->  RMSNorm."""
        tags = {m.args[2] for m in expr.atoms(Moment)}
        if len(tags) != 1:
            raise self.refusal("means over different axes meet in one expression", "normalise over one set of axes")
        (tag,) = tags
        found = norm_form(expr.xreplace({Moment(node, k, tag): symbol for k, symbol in MOMENTS.items()}))
        if found is None:
            raise self.refusal(
                "a mean over channels is used other than in LayerNorm, GroupNorm or RMSNorm",
                "normalise as (x - mean) / sqrt(variance + eps)",
            )
        factor, eps, is_centered = found
        made = self.add(self._norm(node, tag, eps, is_centered), [node])
        return made if factor == 1 else self.add(Scale(factor), [made])

    def _norm(self, node: int, tag: sp.Tuple, eps: sp.Expr, is_centered: bool) -> Op:
        *axes, parts = (int(a) for a in tag)
        channel = self.channel_axis(node)
        has_all_pixels = set(axes) == set(range(1, channel + 1))
        if not is_centered:
            if set(axes) != {channel} or parts != 1:
                raise self.refusal("a root mean square over pixels", "take it over channels alone")
            return RMSNorm(eps)
        if parts > 1 or (has_all_pixels and channel > 1):
            if not has_all_pixels:
                raise self.refusal("groups of channels normalised at each pixel", "use GroupNorm or LayerNorm")
            return GroupNorm(parts, eps)
        return LayerNorm(tuple(-1 if a == channel else a for a in axes), eps)

    def sum_of(self, parts: Sequence[int]) -> int:
        """The node of a sum."""
        return self.add(FanInSum(), parts)

    def product_of(self, parts: Sequence[int]) -> int:
        """The node of a product of independent branches."""
        return self.add(FanInProd(), parts)


SAMPLES_SIZE = 2
"""How many samples a model is traced with: one would leave no axis for them."""


def _product(sizes: Sequence[int]) -> int:
    return int(sp.prod(sizes))


MOMENTS = {1: sp.Symbol("mean", real=True), 2: sp.Symbol("square", positive=True)}
Y, V = sp.Symbol("y", real=True), sp.Symbol("v", positive=True)


@lru_cache(maxsize=256)
def norm_form(expr: sp.Expr) -> tuple[sp.Expr, sp.Expr, bool] | None:
    """c (x - mean) / sqrt(square - mean^2 + eps) -> (c, eps, True),  c x / sqrt(square + eps) -> (c, eps, False)."""
    mean, square = MOMENTS[1], MOMENTS[2]
    for form, is_centered in (
        (expr.xreplace({X: Y + mean, square: V + mean**2}), True),
        (expr.xreplace({X: Y, square: V}), False),
    ):
        found = _inverse_root(form, mean)
        if found is not None:
            return (*found, is_centered)
    return None


def _inverse_root(form: sp.Expr, mean: sp.Symbol) -> tuple[sp.Expr, sp.Expr] | None:
    """c y / sqrt(v + eps)  ->  (c, eps)."""
    form = sp.simplify(form)
    inverse = sp.simplify((Y / form) ** 2) if form.free_symbols == {Y, V} else Y
    if inverse.free_symbols != {V} or not inverse.is_polynomial(V) or sp.degree(inverse, V) != 1:
        return None
    slope = inverse.expand().coeff(V, 1)
    eps = inverse.expand().coeff(V, 0) / slope
    sign = 1 if form.subs({Y: 1, V: 1}) > 0 else -1
    return (sign / sp.sqrt(slope), eps) if eps >= 0 else None
