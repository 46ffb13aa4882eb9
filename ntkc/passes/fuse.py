"""Elementwise regions  ->  one Pointwise node each:  Relu(Relu(u)), u + Relu(u)  ->  Pointwise(expression of u)."""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy as sp

from ntkc.ir.graph import Graph, GraphBuilder, op_of, operands, ordered
from ntkc.ir.value import variable
from ntkc.layers.pointwise import Pointwise
from ntkc.passes.analyse import Values


@dataclass(frozen=True)
class _Region:
    """What stands behind a node: the Gaussian nodes it is a function of, and the layers that make the function."""

    variables: tuple[str, ...]
    layers: tuple[str, ...]


@dataclass(frozen=True)
class _Fusion:
    graph: Graph
    values: Values
    builder: GraphBuilder = field(default_factory=GraphBuilder)
    regions: dict[str, _Region] = field(default_factory=dict[str, _Region])
    made: dict[str, str] = field(default_factory=dict[str, str])


def fuse(graph: Graph, values: Values) -> Graph:
    """A graph of sources, Gaussian layers, linear sums and Pointwise nodes only; names are kept."""
    fusion = _Fusion(graph, values)
    for node in ordered(graph):
        fusion.regions[node] = _region(fusion, node)
        if values[node].expr == variable(node):
            inputs = [_materialise(fusion, u) for u in operands(graph, node)]
            fusion.made[node] = fusion.builder.add(op_of(graph, node), inputs, node)
    return fusion.builder.finish(_materialise(fusion, graph.graph["output"]))


def _region(fusion: _Fusion, node: str) -> _Region:
    if fusion.values[node].expr == variable(node):
        return _Region((node,), ())
    below = [fusion.regions[u] for u in operands(fusion.graph, node)]
    layers = dict.fromkeys(name for r in below for name in r.layers)
    op = op_of(fusion.graph, node)
    if not op.transparent:
        layers[op.label()] = None
    return _Region(tuple(dict.fromkeys(v for r in below for v in r.variables)), tuple(layers))


def _materialise(fusion: _Fusion, node: str) -> str:
    """The node of the new graph that holds this value; a Pointwise node is made on first use."""
    if node in fusion.made:
        return fusion.made[node]
    region, value = fusion.regions[node], fusion.values[node]
    start = dict(value.gains)
    expr = value.expr.xreplace(start)
    slopes = tuple(s for s in (sp.diff(value.expr, g).xreplace(start) for g in start) if s != 0)
    if isinstance(expr, sp.Symbol) and not slopes:
        return fusion.made[region.variables[0]]
    # A constant (Monomial(0)) reads no variable, yet keeps one operand, so that the graph has one source.
    read = [v for v in region.variables if value.expr.has(variable(v))] or [region.variables[0]]
    op = Pointwise(expr, tuple(variable(v) for v in read), region.layers, slopes)
    fusion.made[node] = fusion.builder.add(op, [fusion.made[v] for v in read], node)
    return fusion.made[node]
