"""How a rule reaches the streams of its operands: one way for demand, which records, and lower, which reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sympy as sp

from ntkc.errors import NoInfiniteLimit
from ntkc.ir.graph import Graph, op_of, operands, ordered
from ntkc.ir.op import Shape
from ntkc.ir.program import SAMPLE, Key
from ntkc.ir.value import Law
from ntkc.passes.analyse import Values

WIDTH = sp.Symbol("features", positive=True, integer=True)
"""Number of features of the data, where the graph does not state it."""

Reader = Callable[[Key], sp.Expr]


@dataclass(frozen=True)
class Streams:
    """Covariances between nodes of a graph: zero for independent fields, bilinear over sums, else a stream to read."""

    graph: Graph
    values: Values
    shapes: Mapping[str, Shape]
    position: Mapping[str, int]
    read: Reader

    @classmethod
    def of(cls, graph: Graph, values: Values, shapes: Mapping[str, Shape], read: Reader) -> Streams:
        return cls(graph, values, shapes, {n: i for i, n in enumerate(ordered(graph))}, read)

    def get(self, stream: str, u: str, v: str) -> sp.Expr:
        """K[u, v], T[u, v] or S[u, v]."""
        if not self.values[u].fields & self.values[v].fields:
            return sp.S.Zero
        if stream == "T" and not (self.values[u].trained and self.values[v].trained):
            return sp.S.Zero
        if u == v:
            return self.read(Key(stream, u, v, SAMPLE if stream == "S" else None))
        later, other = (u, v) if self.position[u] > self.position[v] else (v, u)
        op = op_of(self.graph, later)
        if op.linear:
            return sp.Add(*(self.get(stream, a, other) for a in operands(self.graph, later)))
        if op.fresh:
            return sp.S.Zero
        raise NoInfiniteLimit(
            f"the covariance of {later} ({op.label()}) with {other} is needed, but the two are not jointly Gaussian: "
            "put a Dense layer on one branch"
        )


@dataclass(frozen=True)
class Ask:
    """The Requests of one node: across samples, or (within=True) of one sample with itself."""

    streams: Streams
    node: str
    within: bool = False

    @property
    def _operands(self) -> tuple[str, ...]:
        return operands(self.streams.graph, self.node)

    @property
    def arity(self) -> int:
        return len(self._operands)

    def covariance(self, i: int, j: int) -> sp.Expr:
        nodes = self._operands
        return self.streams.get("S" if self.within else "K", nodes[i], nodes[j])

    def own(self) -> sp.Expr:
        return self.streams.get("K", self.node, self.node)

    def tangent(self, i: int, j: int) -> sp.Expr:
        nodes = self._operands
        return self.streams.get("T", nodes[i], nodes[j])

    def variance(self, i: int, side: int) -> sp.Expr:
        node = self._operands[i]
        if self.streams.values[node].law not in (Law.GAUSSIAN, Law.POINTWISE):
            raise NoInfiniteLimit(f"{self.node} needs the variance of {node}, which is not Gaussian")
        key = Key("S", node, node, SAMPLE)
        self.streams.read(key)
        return key.symbol if self.within else key.on(side).symbol

    def width(self, i: int) -> sp.Expr:
        features = self.streams.shapes[self._operands[i]][0]
        return WIDTH if features is None else sp.Integer(features)


def rule(streams: Streams, key: Key) -> sp.Expr:
    """The rule of the key's node for the key's stream."""
    op = op_of(streams.graph, key.u)
    ask = Ask(streams, key.u, within=key.stream == "S")
    return op.tangent(ask) if key.stream == "T" else op.covariance(ask)
