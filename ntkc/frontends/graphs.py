"""Graph of named layers -> Graph:  nodes carry op="Dense" and its parameters, edges the slot of their operand."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx

from ntkc.errors import InvalidGraph, NtkcError, ShapeMismatch, unknown
from ntkc.frontends.fields import checked_fields, is_whole
from ntkc.ir.graph import LARGEST_GRAPH, NODE_NAME, Graph, GraphBuilder
from ntkc.ir.op import Op, make_op
from ntkc.ir.words import quoted, shown
from ntkc.layers.inputs import open_inputs

EDGE_ATTRIBUTES = ("slot", "label")


@dataclass(frozen=True)
class Node:
    """One layer as a user describes it: a name of any kind, and the names of its operands in slot order."""

    name: Hashable
    op: Op
    operands: tuple[Hashable, ...]


def from_networkx(graph: Any) -> Graph:
    """DiGraph or MultiDiGraph whose nodes carry `op` (a layer's name, or an Op) and the layer's fields  ->  Graph.

    An operand's slot is the edge attribute `slot`; else the keys of a MultiDiGraph if they are 0, 1, 2, ...; else
    the order in which the edges were added. x + x is two edges of a MultiDiGraph. `label` is ignored.

    Raises:
        InvalidGraph, UnknownName, InvalidInput, ShapeMismatch: the graph is no network; the message names the node.
    """
    if not isinstance(graph, nx.Graph) or not graph.is_directed():
        raise InvalidGraph(
            f"{type(graph).__name__}: a networkx DiGraph or MultiDiGraph is needed, edges along the data"
        )
    if len(graph) > LARGEST_GRAPH:
        raise InvalidGraph(f"a graph of {len(graph)} layers: at most {LARGEST_GRAPH}")
    nodes = [_node(graph, name) for name in graph]
    return assemble(nodes, graph.graph.get("output"), graph.graph.get("input"))


def _node(graph: Any, name: Hashable) -> Node:
    attributes = {k: v for k, v in graph.nodes[name].items() if k != "label"}
    if "op" not in attributes:
        raise InvalidGraph(
            f'node {quoted(name)} has no `op`: give it a layer, as graph.add_node({quoted(name)}, op="Relu")'
        )
    op = layer(name, attributes.pop("op"), attributes)
    sources = _operands(graph, name)
    if op.arity is None and len(sources) == 1 and not graph.is_multigraph():
        raise InvalidGraph(
            f"node {quoted(name)}: {type(op).__name__} has one operand in a DiGraph, which keeps one edge between two "
            "nodes; for x + x use a MultiDiGraph, for x alone leave the sum out"
        )
    return Node(name, op, sources)


def _operands(graph: Any, name: Hashable) -> tuple[Hashable, ...]:
    """The nodes that feed a node, in slot order."""
    edges = list(graph.in_edges(name, data=True))
    for source, _, attributes in edges:
        for key in attributes:
            if key not in EDGE_ATTRIBUTES:
                raise unknown(f"edge attribute (of {quoted(source)} -> {quoted(name)})", key, EDGE_ATTRIBUTES)
    slots = [a.get("slot") for *_, a in edges]
    if all(s is None for s in slots):
        keys = [k for *_, k in graph.in_edges(name, keys=True)] if graph.is_multigraph() else []
        slots = keys if _distinguish(keys) else list(range(len(edges)))
    if not all(is_whole(s) for s in slots) or sorted(slots) != list(range(len(edges))):
        raise InvalidGraph(
            f"node {quoted(name)}: the operands have slots {slots}; they must be 0, 1, 2, ..., each once"
        )
    return tuple(source for _, source in sorted(zip(slots, (u for u, *_ in edges), strict=True), key=lambda p: p[0]))


def _distinguish(keys: Sequence[object]) -> bool:
    """networkx counts the edges of each pair of nodes from 0, so that keys of several operands may repeat."""
    return len(keys) > 1 and len(set(keys)) == len(keys) and all(is_whole(k) for k in keys)


def layer(name: Hashable, op: object, parameters: Mapping[str, Any]) -> Op:
    """The Op of a node, from a layer's name and fields of the right types.

    Raises:
        NtkcError: of the kind that fits, with the name of the node.
    """
    if isinstance(op, Op):
        if parameters:
            raise InvalidGraph(
                f"node {quoted(name)} has the layer {op.label()} and fields {shown(parameters)}: give one of them"
            )
        return op
    if not isinstance(op, str):
        raise InvalidGraph(
            f'node {quoted(name)}: op={shown(op)} is neither a layer\'s name, such as "Dense", nor an Op'
        )
    try:
        return make_op(op, checked_fields(op, parameters))
    except NtkcError as error:
        raise type(error)(f"node {quoted(name)}: {error}") from error


def assemble(nodes: Sequence[Node], output: Hashable | None = None, source: Hashable | None = None) -> Graph:
    """Layers in any order  ->  Graph; names of letters, then digits, are kept, others become `dense1`.

    Raises:
        InvalidGraph: the layers are no network of one output.
        ShapeMismatch: branches of a sum differ in width.
    """
    if not nodes:
        raise InvalidGraph("the graph is empty: a network has at least an Input")
    by_name = {n.name: n for n in nodes}
    wiring = _wiring(nodes)
    _check_acyclic(wiring)
    for node in nodes:
        _check_arity(node)
    _check_source([n.name for n in nodes if not n.operands], source)
    _check_output([n for n in wiring if wiring.out_degree(n) == 0], output)
    order = [by_name[n] for n in _ordered(wiring)]
    return _build(order, _public_names(order))


def _wiring(nodes: Sequence[Node]) -> Any:
    wiring: Any = nx.MultiDiGraph()
    wiring.add_nodes_from(n.name for n in nodes)
    wiring.add_edges_from((o, n.name) for n in nodes for o in n.operands)
    return wiring


def _check_acyclic(wiring: Any) -> None:
    if nx.is_directed_acyclic_graph(wiring):
        return
    cycle = [quoted(u) for u, *_ in nx.find_cycle(wiring)]
    path = " -> ".join([*cycle, cycle[0]])
    raise InvalidGraph(f"the graph has a cycle, {path}; recurrence is not supported: write each step as nodes")


def _check_arity(node: Node) -> None:
    given, kind, arity = len(node.operands), type(node.op).__name__, node.op.arity
    if arity is None and not given:
        raise InvalidGraph(f"node {quoted(node.name)}: {kind} takes one operand or more, got 0")
    if arity is None or given == arity:
        return
    remedy = "; join branches with FanInSum" if arity else "; it begins the network"
    if not given:
        remedy = '; draw an edge to it, from a node with op="Input" if it comes first'
    raise InvalidGraph(f"node {quoted(node.name)}: {kind} takes {arity} operand(s), got {given}{remedy}")


def _check_source(found: Sequence[Hashable], stated: Hashable | None) -> None:
    if stated is not None and stated not in found:
        raise InvalidGraph(f"the Input is stated to be {shown(stated)}, but the edges make it {shown(list(found))}")


def _check_output(found: Sequence[Hashable], stated: Hashable | None) -> None:
    if len(found) != 1:
        raise InvalidGraph(
            f"{len(found)} outputs, {shown(list(found))}: a network has one; "
            "join branches with FanInSum, or compile each alone"
        )
    if stated is not None and stated != found[0]:
        raise InvalidGraph(f"the output is stated to be {shown(stated)}, but the edges make it {quoted(found[0])}")


def _ordered(wiring: Any) -> list[Hashable]:
    position = {n: i for i, n in enumerate(wiring)}
    return list(nx.lexicographical_topological_sort(wiring, key=lambda n: position[n]))


def _public_names(nodes: Iterable[Node]) -> dict[Hashable, str]:
    """Names that stand in programs and source:  "first layer" -> "dense1"."""
    names: dict[Hashable, str] = {n.name: n.name for n in nodes if _is_public(n.name)}  # type: ignore[misc]
    taken = set(names.values())
    counts: dict[str, int] = {}
    for node in nodes:
        if node.name in names:
            continue
        stem = type(node.op).__name__.lower()
        counts[stem] = next(i for i in range(counts.get(stem, 0) + 1, LARGEST_GRAPH + 2) if f"{stem}{i}" not in taken)
        names[node.name] = f"{stem}{counts[stem]}"
    return names


def _is_public(name: Hashable) -> bool:
    return isinstance(name, str) and NODE_NAME.fullmatch(name) is not None


def _build(order: Sequence[Node], names: Mapping[Hashable, str]) -> Graph:
    builder = GraphBuilder()
    for node in order:
        builder.add(node.op, [names[o] for o in node.operands], names[node.name])
    open_inputs(builder)
    try:
        return builder.finish(names[order[-1].name])
    except ShapeMismatch as error:
        place = str(error).partition(":")[0]
        given = next((k for k, v in names.items() if v == place), place)
        raise ShapeMismatch(f"node {quoted(given)}: {str(error).removeprefix(f'{place}: ')}") from error
