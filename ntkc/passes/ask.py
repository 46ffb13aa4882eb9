"""How a rule reaches the streams of its operands: one way for demand, which records, and lower, which reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import sympy as sp
from sympy.core.symbol import Str

from ntkc.errors import NoInfiniteLimit
from ntkc.ir.graph import Graph, op_of, operands, ordered
from ntkc.ir.maps import Maps, Mixed
from ntkc.ir.op import Shape, spatial_of
from ntkc.ir.program import PATTERN, PATTERN1, PATTERN2, SAME_PIXEL, SAME_SAMPLE, SAMPLE, Key, Pattern
from ntkc.ir.value import Law
from ntkc.passes.analyse import Values
from ntkc.passes.settle import is_masked

WIDTH = sp.Symbol("features", positive=True, integer=True)
"""Number of features of the data, where the graph does not state it."""

Reader = Callable[[Key], sp.Expr]

WITHIN = "SWVZY"
"""Streams of one sample."""


@dataclass(frozen=True)
class Streams:
    """Covariances between nodes of a graph: zero for independent fields, bilinear over sums, else a stream to read."""

    graph: Graph
    values: Values
    shapes: Mapping[str, Shape]
    position: Mapping[str, int]
    read: Reader
    maps: dict[str, Maps] = field(default_factory=dict[str, Maps])
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    patterns: set[Pattern] = field(default_factory=set[Pattern])

    @classmethod
    def of(cls, graph: Graph, values: Values, shapes: Mapping[str, Shape], read: Reader) -> Streams:
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

    def get(self, stream: str, u: str, v: str) -> sp.Expr:
        """K[u, v], T[u, v], S[u, v] or W[u, v]."""
        if not self.values[u].fields & self.values[v].fields:
            if stream != "T" and self.values[u].law is Law.GIVEN is self.values[v].law:
                raise NoInfiniteLimit(
                    f"the product of the data of {u} and {v} is needed, which is not derived: put a Dense layer on each"
                )
            if stream != "T" and self.values[u].has_mean and self.values[v].has_mean:
                raise NoInfiniteLimit(
                    f"{u} and {v} are independent, but the product of their means is needed, which is not derived: "
                    "end one of the branches in a layer with weights"
                )
            return sp.S.Zero
        if stream == "T" and not (self.values[u].trained and self.values[v].trained):
            return sp.S.Zero
        if u == v:
            return self.read(Key(stream, u, v, SAMPLE if stream in WITHIN else None))
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


OF_OPERANDS = {"K": "K", "T": "K", "S": "S", "V": "S", "W": "W", "Z": "W", "Y": "S"}
"""The covariance of operands that a stream reads."""


@dataclass(frozen=True)
class Ask:
    """The Requests of one node for one stream: K, T across samples, S, W, V of one sample."""

    streams: Streams
    node: str
    stream: str = "K"

    @property
    def _operands(self) -> tuple[str, ...]:
        return operands(self.streams.graph, self.node)

    @property
    def arity(self) -> int:
        return len(self._operands)

    def covariance(self, i: int, j: int, maps: Maps = (), factor: sp.Expr = sp.S.One) -> sp.Expr:
        stream = OF_OPERANDS[self.stream]
        if stream == "S" and any(m.reads_all_pairs for m in maps):
            stream = "W"
        return self._mapped(stream, i, j, maps, factor)

    def _mapped(self, stream: str, i: int, j: int, maps: Maps, factor: sp.Expr) -> sp.Expr:
        nodes = self._operands
        expr = self.streams.get(stream, nodes[i], nodes[j]) * factor
        if expr == 0 or all(m.is_identity for m in maps):
            return expr
        return Mixed(expr, self.streams.named(self.node, maps, self._operands[i]))

    def pairs(self, i: int, j: int) -> sp.Expr:
        nodes = self._operands
        return self.streams.get("W" if self.stream in WITHIN else "K", nodes[i], nodes[j])

    def own(self) -> sp.Expr:
        return self.streams.get("K", self.node, self.node)

    def tangent(self, i: int, j: int, maps: Maps = (), factor: sp.Expr = sp.S.One) -> sp.Expr:
        return self._mapped("T", i, j, maps, factor)

    def variance(self, i: int, side: int) -> sp.Expr:
        node = self._operands[i]
        if self.streams.values[node].law not in (Law.GAUSSIAN, Law.POINTWISE):
            raise NoInfiniteLimit(f"{self.node} needs the variance of {node}, which is not Gaussian")
        return self._sided(Key("S", node, node, SAMPLE), side)

    def statistic(self, side: int) -> sp.Expr:
        is_matrix = op_of(self.streams.graph, self.node).statistic_is_matrix
        return self._sided(Key("Z" if is_matrix else "V", self.node, self.node, SAMPLE), side)

    def _sided(self, key: Key, side: int) -> sp.Expr:
        self.streams.read(key)
        return key.symbol if self.stream == "S" else key.on(side).symbol

    @property
    def is_masked(self) -> bool:
        return is_masked(self.streams.graph)

    def presence(self, i: int, side: int | None = None, maps: Maps = ()) -> sp.Expr:
        node = self._operands[i]
        key = Key("Y", node, node, SAMPLE)
        self.streams.read(key)
        symbol = key.symbol if side is None else key.on(side).symbol
        if all(m.is_identity for m in maps):
            return symbol
        return Mixed(symbol, self.streams.named(self.node, maps, node))

    def absence(self, i: int, maps: Maps) -> sp.Expr:
        return Mixed(1 - self.presence(i), self.streams.named(self.node, maps, self._operands[i]))

    def own_presence(self) -> sp.Expr:
        """What an entry is multiplied with, so that it is 0 where a pixel is masked."""
        key = Key("Y", self.node, self.node, SAMPLE)
        self.streams.read(key)
        return key.symbol if self.stream == "S" else key.on(1).symbol * key.on(2).symbol

    def same_pixel(self) -> sp.Expr:
        return sp.S.One if self.stream == "S" else SAME_PIXEL

    def same_sample(self) -> sp.Expr:
        return sp.S.One if self.stream in WITHIN else SAME_SAMPLE

    def patterns(self, sizes: tuple[int, ...], is_sparse: bool) -> tuple[sp.Expr, sp.Expr]:
        self.streams.patterns.add(Pattern(sizes, is_sparse))
        return (PATTERN, PATTERN) if self.stream in WITHIN else (PATTERN1, PATTERN2)

    def width(self, i: int) -> sp.Expr:
        shape = self.streams.shapes[self._operands[i]]
        return WIDTH if shape[-1] is None else sp.Integer(shape[-1])

    def spatial(self, i: int) -> tuple[int, ...]:
        return spatial_of(self.streams.shapes[self._operands[i]])


def rule(streams: Streams, key: Key) -> sp.Expr:
    """The rule of the key's node for the key's stream."""
    op = op_of(streams.graph, key.u)
    ask = Ask(streams, key.u, key.stream)
    if key.stream == "Y":
        return op.presence(ask)
    if key.stream in "VZ":
        return op.statistic(ask)
    expr = op.tangent(ask) if key.stream == "T" else op.covariance(ask)
    return expr * ask.own_presence() if ask.is_masked and op.remasks else expr
