"""Graph  ->  the law of every node in the infinite-width limit (forward)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ntkc.ir.graph import Graph, op_of, operands, ordered
from ntkc.ir.value import Value

Values = Mapping[str, Value]


def analyse(graph: Graph) -> Values:
    """Value of every node.

    Raises:
        NoInfiniteLimit: naming the layer whose operand is not Gaussian.
    """
    values: dict[str, Value] = {}
    for node in ordered(graph):
        op, below = op_of(graph, node), [values[u] for u in operands(graph, node)]
        value = op.value(node, below)
        values[node] = replace(value, trained=any(v.trained for v in below)) if op.frozen else value
    return values
