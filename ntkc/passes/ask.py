"""How a rule reaches the streams of its operands: one way for demand, which records, and lower, which reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import sympy as sp
from sympy.core.symbol import Str

from ntkc.errors import NoInfiniteLimit
from ntkc.ir.graph import Graph, op_of, operands, ordered
from ntkc.ir.maps import Maps, Mixed
from ntkc.ir.op import Op, Shape, spatial_of
from ntkc.ir.program import PATTERN, PATTERN1, PATTERN2, SAME_PIXEL, SAME_SAMPLE, WIDTH, Pattern
from ntkc.ir.streams import SAMPLE, Kind, Stream, variance
from ntkc.ir.value import Law, Value
from ntkc.passes.analyse import Values
from ntkc.passes.settle import is_masked

Reader = Callable[[Stream], sp.Expr]


@dataclass(frozen=True)
class Covariances:
    """Covariances between nodes of a graph: zero for independent fields, bilinear over sums, else a stream to read."""

    graph: Graph
    values: Values
    shapes: Mapping[str, Shape]
    position: Mapping[str, int]
    read: Reader
    maps: dict[str, Maps] = field(default_factory=dict[str, Maps])
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    patterns: set[Pattern] = field(default_factory=set[Pattern])
    known: dict[tuple[Kind, str, str], sp.Expr] = field(default_factory=dict[tuple[Kind, str, str], sp.Expr])
    """Covariances of different nodes that have been asked for."""

    @classmethod
    def of(cls, graph: Graph, values: Values, shapes: Mapping[str, Shape], read: Reader) -> Covariances:
        return cls(graph, values, shapes, {n: i for i, n in enumerate(ordered(graph))}, read)

    def named(self, node: str, maps: Maps, operand: str) -> Str:
        """The name under which the program keeps maps of a node: the node's, and a letter where it has several."""
        name = node
        for letter in "abcdefgh":
            if self.maps.setdefault(name, maps) == maps:
                break
            name = node + letter
        self.sizes[name] = spatial_of(self.shapes[operand])
        return Str(name)

    def get(self, kind: Kind, u: str, v: str) -> sp.Expr:
        """K[u, v], T[u, v], S[u, v] or W[u, v]."""
        if not self.values[u].fields & self.values[v].fields:
            if kind is not Kind.T and self.values[u].law is Law.GIVEN is self.values[v].law:
                raise NoInfiniteLimit(
                    f"the product of the data of {u} and {v} is needed, which is not derived: put a Dense layer on each"
                )
            if kind is not Kind.T and self.values[u].has_mean and self.values[v].has_mean:
                raise NoInfiniteLimit(
                    f"{u} and {v} are independent, but the product of their means is needed, which is not derived: "
                    "end one of the branches in a layer with weights"
                )
            return sp.S.Zero
        if kind is Kind.T and not (self.values[u].trained and self.values[v].trained):
            return sp.S.Zero
        if u == v:
            return self.read(Stream(kind, u, v, SAMPLE if kind.is_sample else None))
        later, other = (u, v) if self.position[u] > self.position[v] else (v, u)
        if (kind, later, other) not in self.known:
            self.known[kind, later, other] = self._of_operands(kind, later, other)
        return self.known[kind, later, other]

    def _of_operands(self, kind: Kind, later: str, other: str) -> sp.Expr:
        """The same of a node and one that stands before it."""
        op = op_of(self.graph, later)
        if op.linear:
            counts = Counter(operands(self.graph, later))
            return op.factor * sp.Add(*(count * self.get(kind, a, other) for a, count in counts.items()))
        if op.fresh:
            return sp.S.Zero
        raise NoInfiniteLimit(
            f"the covariance of {later} ({op.label()}) with {other} is needed, but the two are not jointly Gaussian: "
            "put a Dense layer on one branch"
        )


OF_OPERANDS = {
    Kind.K: Kind.K,
    Kind.T: Kind.K,
    Kind.S: Kind.S,
    Kind.V: Kind.S,
    Kind.W: Kind.W,
    Kind.Z: Kind.W,
    Kind.Y: Kind.S,
}
"""The covariance of operands that a stream reads."""


@dataclass(frozen=True)
class Ask:
    """The Requests of one node for one stream: K, T across samples, S, W, V of one sample."""

    streams: Covariances
    node: str
    kind: Kind = Kind.K

    @property
    def _operands(self) -> tuple[str, ...]:
        return operands(self.streams.graph, self.node)

    @property
    def arity(self) -> int:
        return len(self._operands)

    def related(self, i: int) -> Sequence[int]:
        slots = self._slots_of
        return sorted(set[int]().union(*(slots[mark] for mark in _marks(self.streams.values[self._operands[i]]))))

    @cached_property
    def _slots_of(self) -> dict[object, list[int]]:
        """The operands that have a mark."""
        found: dict[object, list[int]] = {}
        for i, node in enumerate(self._operands):
            for mark in _marks(self.streams.values[node]):
                found.setdefault(mark, []).append(i)
        return found

    def covariance(self, i: int, j: int, maps: Maps = (), factor: sp.Expr = sp.S.One) -> sp.Expr:
        kind = OF_OPERANDS[self.kind]
        if kind is Kind.S and any(m.reads_all_pairs for m in maps):
            kind = Kind.W
        return self._mapped(kind, i, j, maps, factor)

    def _mapped(self, kind: Kind, i: int, j: int, maps: Maps, factor: sp.Expr) -> sp.Expr:
        nodes = self._operands
        expr = self.streams.get(kind, nodes[i], nodes[j]) * factor
        if expr == 0 or all(m.is_identity for m in maps):
            return expr
        return Mixed(expr, self.streams.named(self.node, maps, self._operands[i]))

    def pairs(self, i: int, j: int) -> sp.Expr:
        nodes = self._operands
        return self.streams.get(Kind.W if self.kind.is_sample else Kind.K, nodes[i], nodes[j])

    def own(self) -> sp.Expr:
        return self.streams.get(Kind.K, self.node, self.node)

    def tangent(self, i: int, j: int, maps: Maps = (), factor: sp.Expr = sp.S.One) -> sp.Expr:
        return self._mapped(Kind.T, i, j, maps, factor)

    def variance(self, i: int, side: int) -> sp.Expr:
        node = self._operands[i]
        if self.streams.values[node].law not in (Law.GAUSSIAN, Law.POINTWISE):
            raise NoInfiniteLimit(f"{self.node} needs the variance of {node}, which is not Gaussian")
        return self._sided(variance(node), side)

    def statistic(self, side: int) -> sp.Expr:
        is_matrix = op_of(self.streams.graph, self.node).statistic_is_matrix
        return self._sided(Stream(Kind.Z if is_matrix else Kind.V, self.node, side=SAMPLE), side)

    def _sided(self, key: Stream, side: int) -> sp.Expr:
        self.streams.read(key)
        return key if self.kind is Kind.S else key.on(side)

    @property
    def is_masked(self) -> bool:
        return is_masked(self.streams.graph)

    def presence(self, i: int, side: int | None = None, maps: Maps = ()) -> sp.Expr:
        node = self._operands[i]
        key = Stream(Kind.Y, node, side=SAMPLE)
        self.streams.read(key)
        symbol = key if side is None else key.on(side)
        if all(m.is_identity for m in maps):
            return symbol
        return Mixed(symbol, self.streams.named(self.node, maps, node))

    def absence(self, i: int, maps: Maps) -> sp.Expr:
        return Mixed(1 - self.presence(i), self.streams.named(self.node, maps, self._operands[i]))

    def own_presence(self) -> sp.Expr:
        """What an entry is multiplied with, so that it is 0 where a pixel is masked."""
        key = Stream(Kind.Y, self.node, side=SAMPLE)
        self.streams.read(key)
        return key if self.kind is Kind.S else key.on(1) * key.on(2)

    def same_pixel(self) -> sp.Expr:
        return sp.S.One if self.kind is Kind.S else SAME_PIXEL

    def same_sample(self) -> sp.Expr:
        return sp.S.One if self.kind.is_sample else SAME_SAMPLE

    def patterns(self, sizes: tuple[int, ...], is_sparse: bool) -> tuple[sp.Expr, sp.Expr]:
        self.streams.patterns.add(Pattern(sizes, is_sparse))
        return (PATTERN, PATTERN) if self.kind.is_sample else (PATTERN1, PATTERN2)

    def width(self, i: int) -> sp.Expr:
        shape = self.streams.shapes[self._operands[i]]
        return WIDTH if shape[-1] is None else sp.Integer(shape[-1])

    def spatial(self, i: int) -> tuple[int, ...]:
        return spatial_of(self.streams.shapes[self._operands[i]])


class Untrained(Ask):
    """Operands without tangent kernels."""

    def tangent(self, i: int, j: int, maps: Maps = (), factor: sp.Expr = sp.S.One) -> sp.Expr:
        return sp.S.Zero


def _tangent(op: Op, ask: Ask) -> sp.Expr:
    """T of a layer; where its weights are frozen, without what is left of it if those of operands are 0."""
    if not op.frozen:
        return op.tangent(ask)
    return sp.expand(op.tangent(ask) - op.tangent(Untrained(ask.streams, ask.node, ask.kind)))


def _marks(value: Value) -> set[object]:
    """Two nodes without a mark in common are uncorrelated: a field, data, a mean that may differ from 0."""
    return {*value.fields, *([Law.GIVEN] if value.law is Law.GIVEN else []), *(["mean"] if value.has_mean else [])}


def rule(streams: Covariances, key: Stream) -> sp.Expr:
    """The rule of the key's node for the key's stream."""
    op = op_of(streams.graph, key.node)
    ask = Ask(streams, key.node, key.kind)
    if key.kind is Kind.Y:
        return op.presence(ask)
    if key.kind in (Kind.V, Kind.Z):
        return op.statistic(ask)
    expr = _tangent(op, ask) if key.kind is Kind.T else op.covariance(ask)
    return expr * ask.own_presence() if ask.is_masked and op.remasks else expr
