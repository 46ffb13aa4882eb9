"""The network as a networkx.MultiDiGraph: node attribute `op`, edge key = operand slot, graph attributes input, output.

x + x is two edges, of keys 0 and 1, from one node to the FanInSum. `inputs` has every Input in the order of the data,
`input` the first, `operands` the operands of every node. Graphs are frozen once built; a pass returns a new one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import networkx as nx

from ntkc.errors import InvalidGraph, InvalidInput, ShapeMismatch
from ntkc.ir.op import TRACED, UNKNOWN, Op, Shape

Graph = nx.MultiDiGraph
LARGEST_GRAPH = 100_000
NODE_NAME = re.compile(r"[a-z]{1,40}[0-9]{1,20}")
"""Names that stand in source and formulas as they are; nodes of other names get one, `dense1`."""


class GraphBuilder:
    """Adds layers one by one; `finish` validates and freezes."""

    def __init__(self) -> None:
        self._graph: Graph = nx.MultiDiGraph()
        self._counts: Counter[str] = Counter()

    def add(self, op: Op, operands: Sequence[str] = (), name: str | None = None) -> str:
        """Add a layer on top of the given nodes; the name it got."""
        if len(self._graph) >= LARGEST_GRAPH:
            raise InvalidGraph(f"more than {LARGEST_GRAPH} layers")
        if op.traced:
            raise InvalidInput(TRACED)
        node = self._free_name(op, name)
        self._graph.add_node(node, op=op)
        for slot, operand in enumerate(operands):
            self._graph.add_edge(operand, node, key=slot)
        return node

    def _free_name(self, op: Op, name: str | None) -> str:
        """`dense1`, `dense2`, ...: nodes name variables of the source, so they are letters, then digits."""
        if name is not None and NODE_NAME.fullmatch(name) and name not in self._graph:
            return name
        stem = type(op).__name__.lower()
        self._counts[stem] += 1
        node = f"{stem}{self._counts[stem]}"
        return node if node not in self._graph else self._free_name(op, None)

    def __contains__(self, node: str) -> bool:
        return node in self._graph

    def replace(self, node: str, op: Op) -> None:
        """Put another layer in the place of a node's."""
        self._graph.nodes[node]["op"] = op

    @property
    def ops(self) -> dict[str, Op]:
        """The layers so far, by name."""
        return {n: op_of(self._graph, n) for n in self._graph}

    def below(self, output: str) -> Graph:
        """The validated, frozen graph of a node and what it stands on alone; names are kept."""
        wanted = nx.ancestors(self._graph, output) | {output}
        builder = GraphBuilder()
        builder._graph.add_nodes_from((n, d) for n, d in self._graph.nodes(data=True) if n in wanted)
        builder._graph.add_edges_from(e for e in self._graph.edges(keys=True) if e[1] in wanted)
        return builder.finish(output)

    def finish(self, output: str) -> Graph:
        """The validated, frozen graph."""
        graph = self._graph
        unknown = [n for n in graph if "op" not in graph.nodes[n]]
        if unknown:
            raise InvalidGraph(f"{unknown} are operands, but no layers of the graph")
        _check_acyclic(graph)
        sources = tuple(n for n in graph if graph.in_degree(n) == 0)
        graph.graph.update(input=sources[0], inputs=sources, output=output, operands=_all_operands(graph))
        _check_structure(graph)
        feature_shapes(graph)
        return nx.freeze(graph)


def op_of(graph: Graph, node: str) -> Op:
    """The layer at a node."""
    return graph.nodes[node]["op"]


def inputs_of(graph: Graph) -> tuple[str, ...]:
    """The nodes that data go to, in the order of the data."""
    return graph.graph["inputs"]


def operands(graph: Graph, node: str) -> tuple[str, ...]:
    """The nodes that feed a node, in slot order."""
    return graph.graph["operands"][node]


def _all_operands(graph: Graph) -> Mapping[str, tuple[str, ...]]:
    """Found once: rules ask for them once for each pair of slots."""
    return {node: tuple(u for _, u in sorted((s, u) for u, _, s in graph.in_edges(node, keys=True))) for node in graph}


def ordered(graph: Graph) -> list[str]:
    """Nodes, each after its operands; the order of insertion where the graph leaves a choice."""
    if "ordered" not in graph.graph:  # frozen graphs do not change
        position = {n: i for i, n in enumerate(graph)}
        graph.graph["ordered"] = list(nx.lexicographical_topological_sort(graph, key=lambda n: position[n]))
    return graph.graph["ordered"]


def feature_shapes(graph: Graph) -> Mapping[str, Shape]:
    """Shape of every node, without the samples.

    Raises:
        ShapeMismatch: naming the layer where shapes do not fit.
    """
    if "shapes" not in graph.graph:
        graph.graph["shapes"] = _shapes(graph)
    return graph.graph["shapes"]


def _shapes(graph: Graph) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for node in ordered(graph):
        below = [shapes[u] for u in operands(graph, node)]
        if UNKNOWN in below:
            shapes[node] = UNKNOWN
            continue
        try:
            shapes[node] = op_of(graph, node).shape(below)
        except ShapeMismatch as error:
            raise ShapeMismatch(f"{node}: {error}") from error
    return shapes


def _check_acyclic(graph: Graph) -> None:
    if not nx.is_directed_acyclic_graph(graph):
        cycle = " -> ".join(str(u) for u, *_ in nx.find_cycle(graph))
        raise InvalidGraph(f"the graph has a cycle through {cycle}; recurrence is not supported")


def _check_structure(graph: Graph) -> None:
    for node in graph:
        _check_slots(graph, node)
    sinks = [n for n in graph if graph.out_degree(n) == 0]
    if sinks != [graph.graph["output"]]:
        raise InvalidGraph(f"several outputs, {sinks}: join them with FanInSum, or compile each alone")


def _check_slots(graph: Graph, node: str) -> None:
    op = op_of(graph, node)
    slots = sorted(slot for _, _, slot in graph.in_edges(node, keys=True))
    if slots != list(range(len(slots))):
        raise InvalidGraph(f"{node}: operand slots {slots} are not 0, 1, 2, ...")
    if op.arity is None and not slots:
        raise InvalidGraph(f"{node}: {type(op).__name__} has no operand; draw an edge from each layer it joins")
    if op.arity is not None and len(slots) != op.arity:
        raise InvalidGraph(f"{node}: {type(op).__name__} takes {op.arity} operand(s), got {len(slots)}")
