"""Repeated blocks  ->  one Block and a count, so that depth costs neither algebra nor pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import networkx as nx
import sympy as sp

from ntkc.ir.graph import Graph, GraphBuilder, feature_shapes, inputs_of, op_of, operands, ordered
from ntkc.ir.op import Op, Requests, Shape, spatial_of
from ntkc.ir.value import Law, Value, variable
from ntkc.layers.inputs import Port
from ntkc.passes.analyse import analyse
from ntkc.passes.settle import is_masked

LONGEST_PERIOD = 8
FEWEST_TURNS = 3
ROOT = ""
"""Before all inputs."""


@dataclass(frozen=True)
class Block(Op):
    """`count` times the body, a graph from a Port to its output."""

    internal: ClassVar[bool] = True

    body: Graph
    count: int
    law: Law

    def shape(self, operands: Sequence[Shape]) -> Shape:
        return feature_shapes(self.body)[self.body.graph["output"]]

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        return Value(self.law, variable(node), frozenset({node}), trained=True)

    def covariance(self, ask: Requests) -> sp.Expr:
        raise AssertionError("lower turns a Block into a Loop")

    def tangent(self, ask: Requests) -> sp.Expr:
        raise AssertionError("lower turns a Block into a Loop")

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        raise AssertionError("finite networks run before roll")

    def words(self) -> str:
        inner = " -> ".join(op_of(self.body, n).label() for n in ordered(self.body)[1:])
        return f"{self.count} times [{inner}]"


@dataclass(frozen=True)
class Repeat:
    """Segments start ... start + period * count - 1 are `count` copies of the first `period`."""

    start: int
    period: int
    count: int

    @property
    def saved(self) -> int:
        """Segments that need not be written."""
        return self.period * (self.count - 1)


def roll(graph: Graph, keep_first: bool | None = None) -> Graph:
    """The graph with every run of equal segments between cut nodes replaced by a Block.

    Of equal gains, a block of rows ends on a Gaussian node, what people call a layer, and takes three turns or more;
    with pixels it ends on a nonlinearity, so that the margins which a filter needs are put around values that are
    there already, and two turns are enough.

    With `keep_first`, no block starts before the first nonlinearity: covariances after it are often known to be
    non-negative, and the block's code need not tell the signs apart. By default so for rows. False is for formulas:
    blocks then end on Gaussian nodes with pixels, too.
    """
    values = analyse(graph)
    is_of_rows = all(len(shape) == 1 for shape in feature_shapes(graph).values())
    last_law = Law.GAUSSIAN if is_of_rows or keep_first is False else Law.POINTWISE
    fewest = FEWEST_TURNS if is_of_rows else 2
    keep_first = is_of_rows if keep_first is None else keep_first
    cuts = _cut_nodes(graph)
    place = {n: i for i, n in enumerate(ordered(graph))}
    segments = [sorted(_segment(graph, a, b), key=place.__getitem__) for a, b in pairwise(cuts)]
    shapes = feature_shapes(graph)
    signatures = [_signature(graph, a, nodes, shapes) for a, nodes in zip(cuts, segments, strict=False)]
    laws = [values[n].law for n in cuts]
    builder = GraphBuilder()
    last, i = _copy(graph, builder, sorted(_up_to(graph, cuts[0]), key=place.__getitem__), {}), 0
    bends = [i for i, nodes in enumerate(segments, 1) if any(values[n].law is Law.POINTWISE for n in nodes)]
    first = bends[0] if keep_first and bends else 0
    repeats = {r.start: r for r in find_repeats(signatures, laws, first, last_law, fewest)}
    while i < len(segments):
        if i not in repeats:
            last = _copy(graph, builder, segments[i], {cuts[i]: last})
            i += 1
            continue
        r = repeats[i]
        nodes = [n for segment in segments[i : i + r.period] for n in segment]
        trained = values[cuts[i]].trained
        last = builder.add(Block(_body(graph, cuts[i], nodes, laws[i], trained), r.count, laws[i]), [last])
        i += r.period * r.count
    return builder.finish(last)


def find_repeats(
    signatures: Sequence[object],
    laws: Sequence[Law],
    first: int = 0,
    last_law: Law = Law.GAUSSIAN,
    fewest: int = FEWEST_TURNS,
) -> list[Repeat]:
    """Runs of equal segments from `first` on, longest first; a run starts and ends on nodes of one, random law."""
    candidates = [
        Repeat(start, period, count)
        for period in range(1, LONGEST_PERIOD + 1)
        for start, count in _runs(signatures, period)
        if start >= first and count >= fewest and laws[start] == laws[start + period] and laws[start] in _RANDOM
    ]
    candidates.sort(key=lambda r: (-r.saved, r.period, laws[r.start] != last_law, r.start))
    chosen: list[Repeat] = []
    for r in candidates:
        if all(r.start + r.period * r.count <= c.start or c.start + c.period * c.count <= r.start for c in chosen):
            chosen.append(r)
    return chosen


_RANDOM = (Law.GAUSSIAN, Law.POINTWISE)


def _runs(signatures: Sequence[object], period: int) -> list[tuple[int, int]]:
    """(start, count) for every start from which the period repeats."""
    found: list[tuple[int, int]] = []
    equal = 0
    for i in range(len(signatures) - period - 1, -1, -1):
        equal = equal + 1 if signatures[i] == signatures[i + period] else 0
        if equal >= period:
            found.append((i, equal // period + 1))
    return found


def _cut_nodes(graph: Graph) -> list[str]:
    """Nodes that every path from an input to the output passes, in order."""
    rooted = nx.DiGraph(graph)
    rooted.add_edges_from((ROOT, n) for n in inputs_of(graph))
    dominator = nx.immediate_dominators(rooted, ROOT)
    chain = [graph.graph["output"]]
    while dominator[chain[-1]] != ROOT:
        chain.append(dominator[chain[-1]])
    return chain[::-1]


def _up_to(graph: Graph, node: str) -> set[str]:
    """A node and all that it depends on."""
    return {node, *nx.ancestors(graph, node)}


def _segment(graph: Graph, first: str, last: str) -> set[str]:
    """Nodes after one cut node, up to and including the next."""
    inside: set[str] = set()
    pending = [last]
    while pending:
        node = pending.pop()
        if node != first and node not in inside:
            inside.add(node)
            pending.extend(operands(graph, node))
    return inside


def _signature(graph: Graph, first: str, nodes: Sequence[str], shapes: Mapping[str, Shape]) -> object:
    """Equal for segments with equal rules and wiring."""
    place = {n: i for i, n in enumerate([first, *nodes])}
    return tuple(
        (
            (op_of(graph, n).frozen, op_of(graph, n).kernel_identity([shapes[u][-1] for u in operands(graph, n)])),
            tuple(place[u] for u in operands(graph, n)),
            tuple(shapes[u][:-1] for u in operands(graph, n)),
        )
        for n in nodes
    )


def _copy(graph: Graph, builder: GraphBuilder, nodes: Sequence[str], renamed: dict[str, str]) -> str:
    node = ""
    for node in nodes:
        renamed[node] = builder.add(op_of(graph, node), [renamed[u] for u in operands(graph, node)], node)
    return renamed[node]


def _body(graph: Graph, first: str, nodes: Sequence[str], law: Law, trained: bool) -> Graph:
    builder = GraphBuilder()
    shape = feature_shapes(graph)[first]
    masked = is_masked(graph)
    port = builder.add(Port(law, trained, shape[-1], spatial_of(shape), masked), (), f"before{nodes[0]}")
    return builder.finish(_copy(graph, builder, nodes, {first: port}))
