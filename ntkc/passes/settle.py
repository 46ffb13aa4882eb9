"""Layers whose meaning depends on the shape of the data  ->  what they are on these data.

Flatten        pixels [h, w, c] -> one mean over p = p';  [features] -> nothing
"""

from __future__ import annotations

from dataclasses import replace

from ntkc.ir.graph import Graph, GraphBuilder, feature_shapes, op_of, operands, ordered
from ntkc.ir.op import Op, Shape
from ntkc.layers.aggregate import Aggregate
from ntkc.layers.branching import FanInConcat
from ntkc.layers.inputs import Input
from ntkc.layers.pooling import FlattenPixels
from ntkc.layers.reshape import Flatten, Identity


def is_open(graph: Graph) -> bool:
    """Only the data will tell how many spatial axes there are."""
    source = op_of(graph, graph.graph["input"])
    return isinstance(source, Input) and source.spatial is None


def has_pixels(graph: Graph) -> bool:
    """Data have spatial axes, or a layer needs the program that knows them."""
    shape = feature_shapes(graph)[graph.graph["input"]]
    return len(shape) > 1 or is_masked(graph) or any(op_of(graph, n).acts_on_pixels for n in graph)


def on_data(graph: Graph, spatial: tuple[int, ...], features: int | None) -> Graph:
    """The network on data with these spatial axes and features; names are kept.

    Raises:
        ShapeMismatch: a layer does not fit them.
    """
    return _copied(graph, {graph.graph["input"]: Input(features, spatial, is_masked(graph))})


def is_masked(graph: Graph) -> bool:
    """Pixels of the data may be missing."""
    return bool(getattr(op_of(graph, graph.graph["input"]), "masked", False))


def masked(graph: Graph) -> Graph:
    """The network on data in which NaN stands for what is missing."""
    source = op_of(graph, graph.graph["input"])
    assert isinstance(source, Input)
    return _copied(graph, {graph.graph["input"]: replace(source, masked=True)})


def has_patterns(graph: Graph) -> bool:
    """A layer reads a graph that each sample brings with it."""
    return any(isinstance(op_of(graph, n), Aggregate) for n in graph)


def without_patterns(graph: Graph) -> Graph:
    """The network on data that bring no graphs."""
    return _copied(graph, {n: Identity() for n in graph if isinstance(op_of(graph, n), Aggregate)})


def settle(graph: Graph) -> Graph:
    """The graph with layers as they act on data of its shape; names are kept."""
    shapes = feature_shapes(graph)
    changed = {n: _settled(op_of(graph, n), [shapes[u] for u in operands(graph, n)]) for n in graph}
    return _copied(graph, {n: op for n, op in changed.items() if op is not op_of(graph, n)})


def _settled(op: Op, below: list[Shape]) -> Op:
    if isinstance(op, FanInConcat):
        return FanInConcat(-1) if op.axis == len(below[0]) else op
    if not isinstance(op, Flatten):
        return op
    return FlattenPixels() if len(below[0]) > 1 else Identity()


def _copied(graph: Graph, changed: dict[str, Op]) -> Graph:
    builder = GraphBuilder()
    for node in ordered(graph):
        builder.add(changed.get(node, op_of(graph, node)), operands(graph, node), node)
    return builder.finish(graph.graph["output"])
