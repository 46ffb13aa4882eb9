"""Graph  ->  which streams of which nodes the outputs need (backward)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ntkc.ir.graph import Graph, feature_shapes, op_of, operands, ordered
from ntkc.ir.program import SAMPLE, Key
from ntkc.layers.inputs import Input, Port
from ntkc.passes.analyse import Values, analyse
from ntkc.passes.ask import Streams, rule
from ntkc.passes.roll import Block

Demand = Mapping[str, frozenset[Key]]
"""The keys demanded of each node."""

ORDER = "YVZSWKT"
"""Streams in the order in which they are computed."""


OUTPUTS = "SKT"
"""Streams of the output that a program gives."""


def demand(graph: Graph, values: Values, streams: Iterable[str] = OUTPUTS) -> Demand:
    """Keys of every node that the given streams of the output depend on."""
    found: dict[str, set[Key]] = {n: set() for n in graph}
    output = graph.graph["output"]

    def record(key: Key) -> object:
        found[key.u].add(key)
        return key.symbol

    access = Streams.of(graph, values, feature_shapes(graph), record)
    for stream in streams:
        access.get(stream, output, output)
    for node in reversed(ordered(graph)):
        op = op_of(graph, node)
        if isinstance(op, Block):
            (below,) = operands(graph, node)
            for stream in carried_streams(op, found[node]):
                access.get(stream, below, below)
        elif not isinstance(op, (Input, Port)):
            # A tangent rule may ask for its own covariance, so the streams go backwards.
            for stream in reversed(ORDER):
                for key in [k for k in found[node] if k.stream == stream]:
                    rule(access, key)
    return {n: frozenset(keys) for n, keys in found.items()}


def carried_streams(block: Block, keys: Iterable[Key]) -> tuple[str, ...]:
    """Streams that one turn of the block must hand to the next so that `keys` of its end are known."""
    streams = {k.stream for k in keys}
    values = analyse(block.body)
    port = block.body.graph["input"]
    while True:
        needed = streams | {k.stream for k in demand(block.body, values, sorted(streams))[port]}
        if needed == streams:
            return tuple(s for s in ORDER if s in streams)
        streams = needed


def _rank(key: Key) -> tuple[int, str, str]:
    return ORDER.index(key.stream), key.u, key.v


def in_order(keys: Iterable[Key]) -> list[Key]:
    """Keys as they are computed: variances, covariances, tangent kernels."""
    return sorted(keys, key=_rank)


def sample_key(node: str) -> Key:
    """The variance of a node."""
    return Key("S", node, node, SAMPLE)
