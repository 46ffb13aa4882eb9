"""Graph and demand  ->  Program: each layer's rule, asked only for what is demanded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace

import sympy as sp

from ntkc.errors import InvalidGraph
from ntkc.gaussian.stepped import closed
from ntkc.ir.exact import exact
from ntkc.ir.graph import Graph, feature_shapes, inputs_of, op_of, operands, ordered
from ntkc.ir.hyper import Parameter
from ntkc.ir.maps import Maps
from ntkc.ir.op import Op, spatial_of
from ntkc.ir.program import Carry, Let, Loop, Pattern, Program, Statement, lets, verify
from ntkc.ir.streams import SAMPLE, Kind, Stream, variance
from ntkc.layers.inputs import Input, Port
from ntkc.passes.analyse import Values, analyse
from ntkc.passes.ask import Covariances, rule
from ntkc.passes.demand import Demand, carried_kinds, demand_of, in_order, outputs_of
from ntkc.passes.roll import Block
from ntkc.passes.settle import is_masked


@dataclass
class _Statements:
    per_sample: list[Statement] = field(default_factory=list[Statement])
    per_pair: list[Statement] = field(default_factory=list[Statement])
    comments: dict[str, str] = field(default_factory=dict[str, str])
    constants: dict[str, Mapping[str, sp.Expr]] = field(default_factory=dict[str, Mapping[str, sp.Expr]])
    maps: dict[str, Maps] = field(default_factory=dict[str, Maps])
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    patterns: set[Pattern] = field(default_factory=set[Pattern])
    spatial: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])


def lower(graph: Graph, demanded: Demand, diagonal: bool = False) -> Program:
    """The program of a graph: K, T and the variance of its output from those of its sources."""
    values, wanted = analyse(graph), outputs_of(graph, diagonal)
    statements = _Statements()
    _lower_nodes(graph, values, demanded, statements)
    sources, output, shapes = inputs_of(graph), graph.graph["output"], feature_shapes(graph)
    read = Covariances.of(graph, values, shapes, lambda key: key)
    outputs = {name: read.get(kind, output, output) for name, kind in wanted.items()}
    inputs = tuple(in_order({key for n in sources for key in (variance(n), *demanded[n])}))
    return verify(
        Program(
            tuple(statements.per_sample),
            tuple(statements.per_pair),
            inputs,
            outputs,
            _parameters(statements, outputs.values()),
            statements.comments,
            constants=statements.constants,
            data={n: shapes[n] for n in sources},
            is_port=isinstance(op_of(graph, sources[0]), Port),
            maps=statements.maps,
            sizes=statements.sizes,
            spatial=statements.spatial,
            output=output,
            pattern=_pattern(statements.patterns, len(sources)),
            is_masked=is_masked(graph),
        )
    )


def _pattern(found: set[Pattern], inputs: int) -> Pattern | None:
    """The one kind of edges that all layers read."""
    if found and inputs > 1:
        raise InvalidGraph(f"a network of {inputs} inputs with Aggregate layers is not supported")
    if len(found) > 1:
        raise InvalidGraph(f"Aggregate layers share one pattern, and need several kinds: {sorted(map(str, found))}")
    return found.pop() if found else None


def _lower_nodes(graph: Graph, values: Values, demanded: Demand, out: _Statements) -> None:
    streams = Covariances.of(graph, values, feature_shapes(graph), lambda key: key)
    access = replace(streams, maps=out.maps, sizes=out.sizes, patterns=out.patterns)
    for node in ordered(graph):
        op = op_of(graph, node)
        out.spatial[node] = spatial_of(access.shapes[node])
        if isinstance(op, (Input, Port)):
            continue
        out.comments[node] = op.label()
        out.constants[node] = numbers_of(op)
        if isinstance(op, Block):
            _lower_block(graph, node, op, demanded, out)
            continue
        for key in in_order(demanded[node]):
            let = Let(key, sp.sympify(rule(access, key)), node)
            (out.per_sample if key.side == SAMPLE else out.per_pair).append(let)


def _lower_block(graph: Graph, node: str, block: Block, demanded: Demand, out: _Statements) -> None:
    kinds = carried_kinds(block, demanded[node])
    values = analyse(block.body)
    inner = replace(out, per_sample=[], per_pair=[])
    _lower_nodes(block.body, values, demand_of(block.body, values, kinds), inner)
    (below,) = operands(graph, node)
    carries = {kind: _carry(kind, below, block.body, node) for kind in kinds}
    sample = [c for kind, c in carries.items() if kind.is_sample]
    pair = [c for kind, c in carries.items() if not kind.is_sample]
    if inner.per_sample:
        body = tuple(s for s in inner.per_sample if isinstance(s, Let))
        kept = (*(c.start for c in sample), *(s.dst for s in body))
        out.per_sample.append(Loop(body, block.count, tuple(sample), kept, node))
    if pair:
        body = tuple(s for s in inner.per_pair if isinstance(s, Let))
        out.per_pair.append(Loop(body, block.count, tuple(pair), (), node))


def _carry(kind: Kind, below: str, body: Graph, node: str) -> Carry:
    side = SAMPLE if kind.is_sample else None
    start, end = body.graph["input"], body.graph["output"]
    return Carry(*(Stream(kind, n, side=side) for n in (below, start, end, node)))


def _parameters(statements: _Statements, outputs: Iterable[sp.Expr]) -> tuple[sp.Symbol, ...]:
    """The hyper-parameters left open: symbols that are no streams."""
    exprs = [*outputs, *(let.expr for let in lets([*statements.per_sample, *statements.per_pair]))]
    used = {s for expr in exprs for s in expr.free_symbols if isinstance(s, Parameter)}
    return tuple(sorted(used, key=lambda s: s.name))


def numbers_of(op: Op) -> dict[str, sp.Expr]:
    """Hyper-parameters of a layer that are numbers, by name; 0 and 1 need none."""
    given = {f.name: getattr(op, f.name) for f in fields(op) if "Scalar" in str(f.type)}
    found = {name: exact(value) for name, value in given.items() if isinstance(value, (int, float, sp.Number))}
    return {name: value for name, value in found.items() if value not in (0, 1, -1)}


def open_symbols(op: Op) -> set[sp.Symbol]:
    """Symbols in the hyper-parameters of a layer."""
    values = [v for value in vars(op).values() for v in (value if isinstance(value, tuple) else (value,))]
    return {s for v in values if isinstance(v, sp.Expr) for s in v.free_symbols if isinstance(s, Parameter)}


def in_closed_forms(program: Program) -> Program:
    """The program as readers want it: expectations that only the run time can compute well in closed forms."""
    changed = {part: tuple(map(_in_closed_form, getattr(program, part))) for part in ("per_sample", "per_pair")}
    return replace(program, **changed)


def _in_closed_form(s: Statement) -> Statement:
    if isinstance(s, Loop):
        return replace(s, body=tuple(map(_in_closed_form, s.body)))
    return replace(s, expr=closed(sp.sympify(s.expr)))
