"""Graph  ->  which streams of which nodes the outputs need (backward)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ntkc.ir.graph import Graph, feature_shapes, op_of, operands, ordered
from ntkc.ir.streams import Kind, Stream
from ntkc.layers.inputs import Input, Port
from ntkc.passes.analyse import Values, analyse
from ntkc.passes.ask import Covariances, rule
from ntkc.passes.roll import Block

Demand = Mapping[str, frozenset[Stream]]
"""The keys demanded of each node."""

OUTPUTS = {"variance": Kind.S, "nngp": Kind.K, "ntk": Kind.T}
"""Name and kind of what every program computes."""
ALL_PAIRS = {**OUTPUTS, "variance": Kind.W}
"""The same, with the covariance of all pairs of the pixels that the output has."""


def outputs_of(graph: Graph, diagonal: bool = False) -> Mapping[str, Kind]:
    """What a program computes of its output; `diagonal`: of pixels that are left, only pairs of equal ones."""
    has_pixels_left = len(feature_shapes(graph)[graph.graph["output"]]) > 1 and not diagonal
    return ALL_PAIRS if has_pixels_left else OUTPUTS


def demand(graph: Graph, diagonal: bool = False) -> Demand:
    """Keys of every node that the outputs depend on."""
    return demand_of(graph, analyse(graph), outputs_of(graph, diagonal).values())


def demand_of(graph: Graph, values: Values, kinds: Iterable[Kind]) -> Demand:
    """Keys of every node that the given streams of the output depend on."""
    found: dict[str, set[Stream]] = {n: set() for n in graph}
    output = graph.graph["output"]

    def record(key: Stream) -> object:
        found[key.node].add(key)
        return key

    access = Covariances.of(graph, values, feature_shapes(graph), record)
    for kind in kinds:
        access.get(kind, output, output)
    for node in reversed(ordered(graph)):
        op = op_of(graph, node)
        if isinstance(op, Block):
            (below,) = operands(graph, node)
            for kind in carried_kinds(op, found[node]):
                access.get(kind, below, below)
        elif not isinstance(op, (Input, Port)):
            # A tangent rule may ask for its own covariance, so the streams go backwards.
            for kind in reversed(Kind):
                for key in [k for k in found[node] if k.kind is kind]:
                    rule(access, key)
    return {n: frozenset(keys) for n, keys in found.items()}


def carried_kinds(block: Block, keys: Iterable[Stream]) -> tuple[Kind, ...]:
    """Streams that one turn of the block must hand to the next so that `keys` of its end are known."""
    kinds = {k.kind for k in keys}
    values = analyse(block.body)
    port = block.body.graph["input"]
    while True:
        needed = kinds | {k.kind for k in demand_of(block.body, values, sorted(kinds, key=_place))[port]}
        if needed == kinds:
            return tuple(sorted(kinds, key=_place))
        kinds = needed


def _place(kind: Kind) -> int:
    return kind.rank


def in_order(keys: Iterable[Stream]) -> list[Stream]:
    """Keys as they are computed: variances, covariances, tangent kernels."""
    return sorted(keys, key=lambda key: (key.kind.rank, key.node, key.other))
