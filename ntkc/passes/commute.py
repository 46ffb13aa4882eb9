"""Sums of equal maps of pixels  ->  the map of a sum:  pool(f(u)) + pool(g(v)) = pool(f(u) + g(v)).

Only where the left side has no rule: branches that depend on each other, or that are independent and have means. The
sum of functions of Gaussians has one, whatever they have in common.
"""

from __future__ import annotations

from itertools import combinations

from ntkc.ir.graph import Graph, GraphBuilder, op_of, operands, ordered
from ntkc.ir.value import Law
from ntkc.layers.pooling import Mapped
from ntkc.passes.analyse import Values, analyse
from ntkc.passes.settle import is_masked, is_open


def commute(graph: Graph) -> Graph:
    """The graph with sums moved below the maps that all their operands are; masked pixels have weights of their own."""
    while not (is_masked(graph) or is_open(graph)):
        values = analyse(graph)
        found = next((n for n in ordered(graph) if _is_movable(graph, values, n)), None)
        if found is None:
            break
        graph = _moved(graph, found)
    return graph


def _is_movable(graph: Graph, values: Values, node: str) -> bool:
    maps = operands(graph, node)
    ops = {op_of(graph, m) for m in maps}
    if len(maps) < 2 or not op_of(graph, node).linear or len(ops) != 1 or not isinstance(ops.pop(), Mapped):
        return False
    below = [operands(graph, m)[0] for m in maps]
    return Law.GIVEN not in {values[u].law for u in below} and any(
        values[u].fields & values[v].fields or (values[u].has_mean and values[v].has_mean)
        for u, v in combinations(maps, 2)
    )


def _moved(graph: Graph, node: str) -> Graph:
    """The sum `node` of what its operands are maps of, and one map on top."""
    maps = operands(graph, node)
    unread = {m for m in maps if set(graph.successors(m)) == {node}}
    builder = GraphBuilder()
    made: dict[str, str] = {}
    for n in ordered(graph):
        if n in unread:
            continue
        if n != node:
            made[n] = builder.add(op_of(graph, n), [made[u] for u in operands(graph, n)], n)
            continue
        total = builder.add(op_of(graph, n), [made[operands(graph, m)[0]] for m in maps], n)
        made[n] = builder.add(op_of(graph, maps[0]), [total], maps[0])
    return builder.finish(made[graph.graph["output"]])
