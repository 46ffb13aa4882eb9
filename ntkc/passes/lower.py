"""Graph and demand  ->  Program: each layer's rule, asked only for what is demanded."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import sympy as sp

from ntkc.errors import InvalidGraph, InvalidInput
from ntkc.ir.graph import Graph, feature_shapes, inputs_of, op_of, operands, ordered
from ntkc.ir.maps import Maps
from ntkc.ir.op import Op, spatial_of
from ntkc.ir.program import PLACES, SAMPLE, Carry, Key, Let, Loop, Pattern, Program, Statement, lets, unsided, verify
from ntkc.layers.inputs import Input, Port
from ntkc.passes.analyse import Values, analyse
from ntkc.passes.ask import WIDTH, WITHIN, Streams, rule
from ntkc.passes.demand import Demand, carried_streams, demand, in_order
from ntkc.passes.roll import Block

OUTPUTS = {"variance": "S", "nngp": "K", "ntk": "T"}
"""Name and stream of what every program computes."""
ALL_PAIRS = {**OUTPUTS, "variance": "W"}
"""The same, with the covariance of all pairs of the pixels that the output has."""


@dataclass
class _Statements:
    per_sample: list[Statement] = field(default_factory=list[Statement])
    per_pair: list[Statement] = field(default_factory=list[Statement])
    comments: dict[str, str] = field(default_factory=dict[str, str])
    maps: dict[str, Maps] = field(default_factory=dict[str, Maps])
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    patterns: set[Pattern] = field(default_factory=set[Pattern])
    spatial: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])


def lower(graph: Graph, values: Values, demanded: Demand, wanted: Mapping[str, str] = OUTPUTS) -> Program:
    """The program of a graph: K, T and the variance of its output from those of its sources."""
    statements = _Statements()
    _lower_nodes(graph, values, demanded, statements)
    sources, output, shapes = inputs_of(graph), graph.graph["output"], feature_shapes(graph)
    read = Streams.of(graph, values, shapes, lambda key: key.symbol)
    outputs = {name: read.get(stream, output, output) for name, stream in wanted.items()}
    inputs = tuple(in_order({key for n in sources for key in (Key("S", n, n, SAMPLE), *demanded[n])}))
    return verify(
        Program(
            tuple(statements.per_sample),
            tuple(statements.per_pair),
            inputs,
            outputs,
            _parameters(statements, outputs.values(), inputs),
            statements.comments,
            data={n: shapes[n] for n in sources},
            is_port=isinstance(op_of(graph, sources[0]), Port),
            maps=statements.maps,
            sizes=statements.sizes,
            spatial=statements.spatial,
            output=output,
            pattern=_pattern(statements.patterns, len(sources)),
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
    streams = Streams.of(graph, values, feature_shapes(graph), lambda key: key.symbol)
    access = replace(streams, maps=out.maps, sizes=out.sizes, patterns=out.patterns)
    for node in ordered(graph):
        op = op_of(graph, node)
        out.spatial[node] = spatial_of(access.shapes[node])
        if isinstance(op, (Input, Port)):
            continue
        out.comments[node] = op.label()
        for symbol in open_symbols(op):
            _checked(symbol)
        if isinstance(op, Block):
            _lower_block(graph, node, op, demanded, out)
            continue
        for key in in_order(demanded[node]):
            let = Let(key, sp.sympify(rule(access, key)), node)
            (out.per_sample if key.side == SAMPLE else out.per_pair).append(let)


def _lower_block(graph: Graph, node: str, block: Block, demanded: Demand, out: _Statements) -> None:
    streams = carried_streams(block, demanded[node])
    values = analyse(block.body)
    inner = replace(out, per_sample=[], per_pair=[])
    _lower_nodes(block.body, values, demand(block.body, values, streams), inner)
    (below,) = operands(graph, node)
    carries = {s: _carry(s, below, block.body, node) for s in streams}
    sample = [c for s, c in carries.items() if s in WITHIN]
    pair = [c for s, c in carries.items() if s not in WITHIN]
    if inner.per_sample:
        body = tuple(s for s in inner.per_sample if isinstance(s, Let))
        kept = (*(c.start for c in sample), *(s.dst for s in body))
        out.per_sample.append(Loop(body, block.count, tuple(sample), kept, node))
    if pair:
        body = tuple(s for s in inner.per_pair if isinstance(s, Let))
        out.per_pair.append(Loop(body, block.count, tuple(pair), (), node))


def _carry(stream: str, below: str, body: Graph, node: str) -> Carry:
    side = SAMPLE if stream in WITHIN else None
    start, end = body.graph["input"], body.graph["output"]
    return Carry(*(Key(stream, n, n, side) for n in (below, start, end, node)))


def _parameters(statements: _Statements, outputs: Iterable[sp.Expr], inputs: Iterable[Key]) -> tuple[sp.Symbol, ...]:
    """Symbols that are no streams: the hyper-parameters left open, and the number of features of the data."""
    keys = {k.name for k in inputs}
    used: set[sp.Symbol] = {s for expr in outputs for s in expr.free_symbols}
    for let in lets([*statements.per_sample, *statements.per_pair]):
        keys.add(let.dst.name)
        used |= let.expr.free_symbols
    for loop in (s for s in [*statements.per_sample, *statements.per_pair] if isinstance(s, Loop)):
        keys |= {k.name for c in loop.carry for k in (c.start, c.after)}
    found = sorted((s for s in used if not {s.name, unsided(s.name)} & keys and s not in PLACES), key=lambda s: s.name)
    return tuple(_checked(s) for s in found)


RESERVED = {
    *("x", "x1", "x2", "get", "pi", "jax", "jnp", "lax", "take", "same", "apart", "samples", "features"),
    *("stats1", "stats2", "vectors1", "vectors2", "turn1", "turn2", "turn", "k", "t", "q", "q1", "q2"),
    *("nngp", "ntk", "kernel", "variance", "per_sample", "pair", "gram", "triangle", "block", "padded", "onward"),
    *("samples_of", "inputs_of", "in_blocks", "columns", "rows", "root", "angle", "polynomial", "table", "shape"),
    *("fit", "predict", "y", "ridge", "size", "unit", "np", "coefficients", "cosine", "hermite_sum", "gaussian_mean"),
    *("unresolved", "stats", "series", "shares", "assemble", "places", "count", "left", "right", "some_rows", "tile"),
    *("mirror", "compute", "whole", "made", "corner", "first", "both", "below", "step", "samples"),
    *("angle_gap", "span", "distances", "block_size"),
    *("pattern", "pattern1", "pattern2", "pattern_graph", "pattern1_graph", "pattern2_graph", "joined", "parts"),
    *("both", "gathered", "adjacency"),
    *("ARCCOS", "ARCTAN", "CHUNK", "GAP", "HERMITE", "LEGENDRE", "NEAR", "NODES", "PARTS", "SPLIT_HERMITE"),
    *("SPLIT_NODES", "SPLIT_TABLES", "TABLES", "TERMS", "TOLERANCE", "ROWS", "arc_cosine", "arc_cosine_even"),
    *("arc_cosine_near", "arccos_over_pi", "at_nodes", "at_split_nodes", "chunk_added", "cosine_gap", "density"),
    *("density_at_zero", "derivative", "distances_in_float64", "distances_of_products", "edge", "edge_moments"),
    *("exact_minor", "exp_sinh", "gaussian_nodes", "gram_determinant", "halves", "kink", "kink_coefficients"),
    *("kink_moment", "kink_sum", "kink_tails", "mean_of_kink", "moment_of_signs", "most_chunks", "orthant"),
    *("owens_t", "project", "ratio", "safe", "safe_sqrt", "signed_moments", "split_mean", "split_nodes", "spread_of"),
    *("steps", "tail", "tilted_moment", "turned"),
    *(
        "BLOCK",
        "LANES",
        "LETTERS",
        "between",
        "blocks",
        "cleaned",
        "contracted",
        "contracted_values",
        "cut",
        "embedded",
    ),
    *("groups", "nngp_of_pair", "stats_of"),
    *("inner", "left_terms", "levelled", "multiplied", "narrowed", "nngp_tile", "nothing", "of_pixels", "patched"),
    *("patched_mod", "permuted", "picked", "placed", "pooled", "positions", "present", "products", "right_terms"),
    *("same_pixels", "sides", "slab", "softmax_of_keys", "start", "stop", "taken", "tiles", "total", "widened"),
}
"""Names that emitted modules use themselves."""
STREAMS = (
    "K|T|q|n|c|a|b|d|r|delta|eta|phi|tau|theta|u|h|i|gap|slope|root|over|sum|minor|angle|chunks"
    "|orthant|edge1|edge2|ridge"
)
"""What the names of streams, and of what emitted modules make of them, begin with."""


def open_symbols(op: Op) -> set[sp.Symbol]:
    """Symbols in the hyper-parameters of a layer."""
    values = [v for value in vars(op).values() for v in (value if isinstance(value, tuple) else (value,))]
    found = {s for v in values if isinstance(v, sp.Expr) for s in v.free_symbols}
    return found - set(getattr(op, "variables", ()))


def _checked(symbol: sp.Symbol) -> sp.Symbol:
    """A hyper-parameter's symbol, if emitted source can have it as an argument."""
    name = symbol.name
    is_stream = re.match(rf"({STREAMS})[12]?_|block\d", name)
    is_plain = name.isidentifier() and name.isascii() and not keyword.iskeyword(name)
    if symbol != WIDTH and (is_stream or not is_plain or name in RESERVED):
        raise InvalidInput(f"the symbol {name!r} cannot name a hyper-parameter; use a plain name such as w or sigma")
    return symbol
