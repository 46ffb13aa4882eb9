"""Layers whose meaning depends on the shape of the data  ->  what they are on these data.

Flatten        pixels [h, w, c] -> one mean over p = p';  [features] -> nothing
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ntkc.ir.graph import Graph, GraphBuilder, feature_shapes, inputs_of, op_of, operands, ordered
from ntkc.ir.op import Op, Shape
from ntkc.layers.aggregate import Aggregate
from ntkc.layers.branching import FanInConcat
from ntkc.layers.conv import Conv
from ntkc.layers.inputs import Input
from ntkc.layers.pooling import FlattenPixels
from ntkc.layers.reshape import Flatten, Identity


def is_open(graph: Graph) -> bool:
    """Only the data will tell how many spatial axes there are, or how the features of several inputs are cut."""
    sources = [op for op in (op_of(graph, n) for n in inputs_of(graph)) if isinstance(op, Input)]
    return any(op.spatial is None or (len(sources) > 1 and op.features is None) for op in sources)


def has_pixels(graph: Graph) -> bool:
    """Data have spatial axes or several parts, or a layer needs the program that knows them."""
    shapes = [feature_shapes(graph)[n] for n in inputs_of(graph)]
    is_plain = len(shapes) == 1 and len(shapes[0]) == 1
    return not is_plain or is_masked(graph) or any(op_of(graph, n).acts_on_pixels for n in graph)


def on_data(graph: Graph, shapes: Sequence[tuple[int, ...]]) -> Graph:
    """The network on samples of these shapes, (pixels ..., features), one for each Input; names are kept.

    Raises:
        ShapeMismatch: a layer does not fit them.
    """
    found = zip(inputs_of(graph), shapes, strict=True)
    return _copied(graph, {node: _on_shape(op_of(graph, node), shape) for node, shape in found})


def _on_shape(op: Op, shape: tuple[int, ...]) -> Op:
    given = op if isinstance(op, Input) else Input()
    return replace(given, features=shape[-1], spatial=shape[:-1])


def is_masked(graph: Graph) -> bool:
    """Pixels of the data may be missing."""
    return any(getattr(op_of(graph, n), "masked", False) for n in inputs_of(graph))


def masked(graph: Graph) -> Graph:
    """The network on data in which NaN stands for what is missing."""
    sources = {n: op_of(graph, n) for n in inputs_of(graph)}
    return _copied(graph, {n: replace(op, masked=True) for n, op in sources.items() if isinstance(op, Input)})


def has_patterns(graph: Graph) -> bool:
    """A layer reads a graph that each sample brings with it."""
    return any(isinstance(op_of(graph, n), Aggregate) for n in graph)


def without_patterns(graph: Graph) -> Graph:
    """The network on data that bring no graphs."""
    return _copied(graph, {n: Identity() for n in graph if isinstance(op_of(graph, n), Aggregate)})


def settle(graph: Graph) -> Graph:
    """The graph with layers as they act on data of its shape; names are kept. Data of no known shape change nothing."""
    if is_open(graph):
        return graph
    shapes = feature_shapes(graph)
    changed = {n: settled(op_of(graph, n), [shapes[u] for u in operands(graph, n)]) for n in graph}
    found = {n: op for n, op in changed.items() if op is not op_of(graph, n)}
    return _copied(graph, found) if found else graph


def settled(op: Op, below: list[Shape]) -> Op:
    """A layer as it acts on operands of these shapes."""
    if isinstance(op, FanInConcat):
        return FanInConcat(-1) if op.axis == len(below[0]) else op
    if isinstance(op, Conv):
        return op.on_channels(below[0][-1])
    if not isinstance(op, Flatten):
        return op
    return FlattenPixels() if len(below[0]) > 1 else Identity()


def _copied(graph: Graph, changed: dict[str, Op]) -> Graph:
    builder = GraphBuilder()
    for node in ordered(graph):
        builder.add(changed.get(node, op_of(graph, node)), operands(graph, node), node)
    return builder.finish(graph.graph["output"])
