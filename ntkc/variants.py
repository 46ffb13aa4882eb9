"""Variants of a network: for data of a shape, with missing entries, with graphs of their own, for equal pixels only."""

from __future__ import annotations

from dataclasses import dataclass

from ntkc.ir.graph import Graph, inputs_of, op_of
from ntkc.passes.settle import has_patterns, is_masked, masked, on_data, without_patterns

Shapes = tuple[tuple[int, ...], ...]
"""Of a sample of each input, (pixels ..., features)."""


@dataclass(frozen=True)
class Variant:
    """Which of its programs a network is asked for.

    Attributes:
        shapes: of the data; None where the graph says them, or they do not matter.
        masked: NaN stands for what is missing.
        diagonal: of pixels that the output has, only pairs of equal ones are wanted.
        patterns: data bring the graphs that Aggregate reads.
    """

    shapes: Shapes | None = None
    masked: bool = False
    diagonal: bool = False
    patterns: bool = True

    def graph(self, graph: Graph) -> Graph:
        """The network as this variant has it."""
        if has_patterns(graph) and not self.patterns:
            graph = without_patterns(graph)
        if self.masked and not is_masked(graph):
            graph = masked(graph)
        return graph if self.shapes is None else on_data(graph, self.shapes)


def fits(graph: Graph, shapes: Shapes) -> bool:
    """The network is one for data of these shapes as it stands: it says them, or takes rows of any length."""
    stated = [op_of(graph, n).shape(()) for n in inputs_of(graph)]
    return tuple(stated) == shapes or (stated == [(None,)] and len(shapes[0]) == 1)
