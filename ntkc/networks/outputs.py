"""A tree on top of data or kernels  ->  the graph of each of its outputs, with the sources that this output reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from ntkc.ir.graph import Graph, GraphBuilder, inputs_of, op_of
from ntkc.ir.layout import Layout
from ntkc.ir.op import Op
from ntkc.layers.inputs import Input, Port, open_inputs
from ntkc.networks.graph import stated_layouts
from ntkc.networks.tree import Inputs, Tree, Wire
from ntkc.passes.settle import has_patterns, without_patterns
from ntkc.program import KernelProgram, build

KEPT_PROGRAMS = 64
"""Compiled programs that kernel functions keep: each takes some 200 memory maps, of the 65,530 that Linux allows."""


@dataclass(frozen=True, eq=False)
class Output:
    """One output of a network: its graph, and the numbers of the sources that it reads."""

    graph: Graph
    reads: tuple[int, ...]
    diagonal: bool = False

    @cached_property
    def program(self) -> KernelProgram:
        """The compiled graph."""
        return build(self.graph, diagonal=self.diagonal)

    def of(self, sources: Sequence[Any]) -> Any:
        """What this output reads of all sources: one, or a tuple."""
        read = tuple(sources[i] for i in self.reads)
        return read[0] if len(read) == 1 else read


@dataclass(frozen=True)
class Source:
    """What a network stands on: data, or a kernel, and where samples and channels are; `number` among all of them."""

    number: int
    op: Op
    layout: Layout


def on_each(function: Callable[..., Any], outputs: Any, *others: Any) -> Any:
    """function(output, other, ...) for each output of nested lists and tuples, which stay."""
    if not isinstance(outputs, (list, tuple)):
        return function(outputs, *others)
    return type(outputs)([on_each(function, *parts) for parts in zip(outputs, *others, strict=True)])


def like(given: Any, made: Any) -> Any:
    """Lists in the place of tuples where what was given has lists."""
    if type(made) is not tuple or not isinstance(given, (list, tuple)) or len(given) != len(made):
        return made
    kind = list if isinstance(given, list) else tuple
    return kind(like(*pair) for pair in zip(given, made, strict=True))


def flat(sources: Any) -> list[Any]:
    """The leaves of nested lists and tuples."""
    return [leaf for part in sources for leaf in flat(part)] if isinstance(sources, (list, tuple)) else [sources]


@lru_cache(maxsize=KEPT_PROGRAMS)
def outputs_on_data(tree: Tree, inputs: Inputs) -> Any:
    """An Output for each output of the network on data of this structure, nested as the outputs are."""
    count = iter(range(len(flat(inputs))))
    layouts = stated_layouts(tree, inputs)
    return outputs_of(tree, on_each(lambda layout: Source(next(count), Input(), layout), layouts))


@lru_cache(maxsize=KEPT_PROGRAMS)
def outputs_on_kernels(tree: Tree, sources: Any, diagonal: bool) -> Any:
    """The same on kernels, without graphs of samples; a Source that stands at several places is one tensor."""
    return outputs_of(tree, sources, diagonal)


def outputs_of(tree: Tree, sources: Any, diagonal: bool = False) -> Any:
    """An Output for each output of the network on these sources."""
    builder = GraphBuilder()
    nodes = {s.number: builder.add(s.op) for s in dict.fromkeys(flat(sources))}
    wires = tree.attach(builder, on_each(lambda s: Wire(nodes[s.number], s.layout), sources))
    open_inputs(builder)
    made: dict[str, Output] = {}

    def output(wire: Wire) -> Output:
        if wire.node not in made:
            made[wire.node] = _output(builder.below(wire.node), nodes, diagonal)
        return made[wire.node]

    return on_each(output, wires)


def _output(graph: Graph, sources: dict[int, str], diagonal: bool) -> Output:
    reads = tuple(i for i, node in sources.items() if node in graph)
    is_on_kernels = isinstance(op_of(graph, inputs_of(graph)[0]), Port)
    return Output(without_patterns(graph) if is_on_kernels and has_patterns(graph) else graph, reads, diagonal)
