"""Program  ->  the text of a JAX module: per_sample and pair, and a call of ntkc.runtime that walks over the data."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import sympy as sp

from ntkc import runtime
from ntkc.backends.jax.lines import INDENT, WIDTH, function, indented, wrapped
from ntkc.backends.jax.maps import table_lines
from ntkc.backends.jax.names import Names
from ntkc.backends.jax.steps import step_tables
from ntkc.backends.jax.writer import Writer, in_order, under_map
from ntkc.gaussian.certificates import TOLERANCES
from ntkc.gaussian.kinks import CHOICES, KinkCoefficients, is_kinked, kink_of
from ntkc.gaussian.near_zero import NearZero, taylor_of
from ntkc.ir.graph import Graph, op_of, ordered
from ntkc.ir.maps import AxisMap, Mixed, Patch, Window
from ntkc.ir.program import PATTERN1, PATTERN2, Let, Loop, Program, Statement, Table, lets
from ntkc.ir.streams import SAMPLE, Kind, Stream, streams_in
from ntkc.ir.words import one_line
from ntkc.layers.aggregate import Gathered
from ntkc.layers.attention import Between, Inner
from ntkc.passes.forms import Forms
from ntkc.passes.recognise import BIAS
from ntkc.passes.schedule import Schedule

FORMULAS_OWN = {sp.Rational(*v) for v in ((1, 2), (1, 4), (1, 8), (1, 3), (2, 1), (3, 1), (4, 1), (8, 1))}
"""Numbers that formulas themselves hold: a hyper-parameter of this value, or its square, is not told from them."""
COVARIANCES = (Kind.K, Kind.E, Kind.W, Kind.J)
"""What a nonlinearity makes of pairs of pixels."""
OF_MANY_PIXELS = (Mixed, Between, Inner, Gathered)
SAMPLE_READS = {Kind.S: "mean_squares", Kind.W: "covariances", Kind.J: "own_distances", Kind.Y: "present"}
ROW_READS = {Kind.K: "row_products", Kind.G: "cosine_gap", Kind.E: "distance", Kind.D: "distances"}
PIXEL_READS = {Kind.K: "pixel_products", Kind.E: "pixel_distance", Kind.D: "pixel_distances"}
"""The functions of ntkc.runtime that make what a program reads of its data; that for D makes E, too."""
PORT_READS = {
    Kind.Y: "m",
    Kind.S: "q",
    Kind.W: "w",
    Kind.J: "e",
    Kind.K: "K",
    Kind.T: "T",
    Kind.G: "gap",
    Kind.H: "tau",
    Kind.E: "E",
    Kind.D: "D",
}
"""What ntkc.runtime calls the same of a kernel that the caller gives."""


@dataclass(frozen=True)
class _Sampled:
    """What per_sample hands to pair: values made once, and those of each turn of a loop, by the loop's layer."""

    vectors: tuple[Stream, ...]
    stacks: Mapping[str, tuple[Stream, ...]]
    has_pattern: bool


@dataclass(frozen=True)
class _Emission:
    """All that the text is made of."""

    program: Program
    forms: Forms
    schedule: Schedule
    sampled: _Sampled
    writers: tuple[Writer, Writer]
    names: Names
    kinked: frozenset[Stream] = field(default_factory=frozenset[Stream])

    @property
    def per_sample(self) -> Writer:
        return self.writers[0]

    @property
    def pair(self) -> Writer:
        return self.writers[1]


def emit(
    program: Program, forms: Forms, schedule: Schedule, graph: Graph, tolerances: Mapping[str, float] = TOLERANCES
) -> str:
    """The module as text: the network layer by layer; what it imports from ntkc.runtime does the rest.

    `tolerances` are those of series, by precision.
    """
    names = Names()
    names.reserve(runtime.__all__)
    values, constants = _constants(program, names)
    kinked = frozenset(let.dst for let in lets(program.per_sample) if isinstance(let.expr, KinkCoefficients))
    terms = {let.dst: 2 if let.dst in kinked else 1 for let in lets(program.per_sample) if let.dst.kind is Kind.M}
    tolerance = "" if dict(tolerances) == dict(TOLERANCES) else "TOLERANCE"
    first, second = (Writer(program, forms, names, is_pair, tolerance, terms, constants) for is_pair in (False, True))
    made = _Emission(program, forms, schedule, _what_pairs_read(program), (first, second), names, kinked)
    exprs = [let.expr for let in lets((*program.per_sample, *program.per_pair))]
    tables = [*values, *_tables(program), *step_tables(exprs, names), *table_lines(program.maps, names)]
    if tolerance and terms:
        tables.append(f"TOLERANCE = {_quoted(dict(tolerances))}")
    tables += _losses(made)
    body = [*_per_sample(made), "", "", *_pair(made), "", "", *_call(made)]
    return _whole(_doc(program, graph), tables, body)


def _whole(doc: str, tables: Sequence[str], body: Sequence[str]) -> str:
    text = "\n".join(body) + "\n"
    used = {node.id for node in ast.walk(ast.parse("\n".join([*tables, text]))) if isinstance(node, ast.Name)}
    imports = [
        *(["import jax"] if "jax" in used else []),
        *(["import jax.numpy as jnp"] if "jnp" in used else []),
        *(["from jax import lax"] if "lax" in used else []),
    ]
    called = sorted(used & set(runtime.__all__))
    blocks = [
        *(["from math import pi"] if "pi" in used else []),
        *(["\n".join(imports)] if imports else []),
        "\n".join(_import(called)),
        *(["\n".join(tables)] if tables else []),
    ]
    return f"{doc}\n\n" + "\n\n".join(blocks) + "\n\n\n" + text


def _import(called: Sequence[str]) -> list[str]:
    line = f"from ntkc.runtime import {', '.join(called)}"
    if len(line) <= WIDTH:
        return [line]
    return [
        "from ntkc.runtime import (",
        *textwrap.wrap(", ".join(called) + ",", WIDTH, initial_indent=INDENT, subsequent_indent=INDENT),
        ")",
    ]


def describe(graph: Graph) -> str:
    """The layers in words, those of a long chain shortened."""
    labels = [op_of(graph, n).label() for n in ordered(graph)]
    shown = labels if len(labels) <= 12 else [*labels[:5], f"... {len(labels) - 8} more ...", *labels[-3:]]
    return " -> ".join(shown)


def _doc(program: Program, graph: Graph) -> str:
    """What the network is, and what the letters mean."""
    keys = [*program.inputs, *(let.dst for let in lets([*program.per_sample, *program.per_pair]))]
    kinds = sorted({k.kind for k in keys}, key=lambda kind: kind.rank)
    letters = "; ".join(f"{kind.letter}: {kind.meaning}" for kind in kinds)
    sides = "x, y: the samples of a pair" + (", p: hyper-parameters" if program.parameters else "")
    axes = "[pixels ..., " if program.has_pixels else "["
    arrays = f"Arrays are {axes}samples], and {axes}samples of x, samples of y]"
    paragraphs = [describe(graph), f"{letters}. {sides[0].upper()}{sides[1:]}. {arrays}."]
    filled = "\n\n".join("\n".join(textwrap.wrap(text, WIDTH, break_long_words=False)) for text in paragraphs)
    return f'"""NNGP and NTK kernels of an infinitely wide network.\n\n{filled}\n"""'


def _constants(program: Program, names: Names) -> tuple[list[str], dict[str, dict[sp.Expr, str]]]:
    """Lines that name the hyper-parameters of layers, and the text of each number in the statements of each layer."""
    found = {
        (name, value): ""
        for own in program.constants.values()
        for name, value in own.items()
        if not {value, value**2} & FORMULAS_OWN
    }
    for name, value in found:
        found[name, value] = names.name(("constant", name, value), name)
    texts: dict[str, dict[sp.Expr, str]] = {}
    for node, own in program.constants.items():
        named = [(value, found[name, value]) for name, value in own.items() if (name, value) in found]
        texts[node] = dict(reversed(named))
        texts[node] |= {value**2: f"{text}**2" for value, text in reversed(named) if value**2 not in texts[node]}
    if not found:
        return [], texts
    numbers = ", ".join(repr(float(value)) for _, value in found)
    return wrapped(f"{', '.join(found.values())} = {numbers}", WIDTH), texts


def _tables(program: Program) -> Iterator[str]:
    """Coefficients of a collapsed program, and what is taken out of functions with a kink."""
    for name, table in program.tables.items():
        yield f"# {name} over the norms, a polynomial of u"
        yield from _table(name, table)
    near = {a for let in lets(program.per_sample) for a in let.expr.atoms(NearZero)}
    for name, f in sorted({(str(a.args[0]), a.args[1]) for a in near}, key=str):
        taylor = taylor_of(f)
        assert taylor is not None
        yield f"# {one_line(str(f), 60)} = c_0 + c_1 x + ... up to a radius, the first number"
        yield f"{name} = ("
        text = ", ".join(map(repr, (taylor.radius, *taylor.c))) + ","
        yield from textwrap.wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
        yield ")"
    atoms = {a for let in lets(program.per_sample) for a in let.expr.atoms(KinkCoefficients)}
    named = {str(table): f.expr for f, table, _ in (a.args for a in atoms) if is_kinked(f.expr)}
    for name in sorted(named):
        yield f"# sign(x) (p_0 + p_1 x + ...) exp(-c x^2 / 2) has the kink of {named[name]} at 0"
        kinks = {dtype: kink_of(named[name], dtype) for dtype in CHOICES}
        yield from _rows(name, {dtype: (kink.c, *kink.p) for dtype, kink in kinks.items()})


def _table(name: str, table: Table) -> Iterator[str]:
    yield from _rows(name, table.coefficients, {d: f"  # relative error {e:.0e}" for d, e in table.errors.items()})


def _rows(name: str, rows: Mapping[str, Sequence[float]], notes: Mapping[str, str] | None = None) -> Iterator[str]:
    yield f"{name} = {{"
    for dtype, row in rows.items():
        yield f'{INDENT}"{dtype}": ({(notes or {}).get(dtype, "")}'
        text = ", ".join(map(repr, row)) + ","
        yield from textwrap.wrap(text, WIDTH, initial_indent=2 * INDENT, subsequent_indent=2 * INDENT)
        yield f"{INDENT}),"
    yield "}"


def _what_pairs_read(program: Program) -> _Sampled:
    """Per-sample values read by pairs and outputs, and what is watched, those made inside loops apart."""
    in_loops = {k: s.layer for s in program.per_sample if isinstance(s, Loop) for k in s.stacked}
    exprs = [*(let.expr for let in lets(program.per_pair)), *program.outputs.values()]
    read = dict.fromkeys(
        s.sample for e in exprs for s in sorted(streams_in(e), key=attrgetter("name")) if s.side in (1, 2)
    )
    read |= dict.fromkeys(s for watched in _watched(program) for s in watched if s is not None)
    stacks: dict[str, tuple[Stream, ...]] = {}
    for stream in read:
        if stream in in_loops:
            stacks[in_loops[stream]] = (*stacks.get(in_loops[stream], ()), stream)
    has_pattern = any({PATTERN1, PATTERN2} & e.free_symbols for e in exprs)
    return _Sampled(tuple(s for s in read if s not in in_loops), stacks, has_pattern)


def _watched(program: Program) -> dict[tuple[Stream, Stream | None], str]:
    """Relative errors of samples with the variances that they belong to, where pairs see those; and words for them."""
    known = {k for k in program.inputs if k.kind is Kind.S} | {
        k for s in program.per_sample for k in (s.stacked if isinstance(s, Loop) else (s.dst,))
    }
    made = {let.dst: let.expr.args for let in lets(program.per_sample) if let.dst.kind is Kind.M}
    return {
        (s, q if (q := made[s.of(Kind.M)][-1]) in known else None): (
            f"{one_line(str(_plain(made[s.of(Kind.M)][0].expr)), 60)} after {s.node}"
        )
        for s in sorted(known, key=attrgetter("name"))
        if s.kind is Kind.X
    }


def _plain(f: sp.Expr) -> sp.Expr:
    """A function without what stands for it near 0."""
    return f.args[1] if isinstance(f, NearZero) else f


def _arguments(made: _Emission, *others: str) -> str:
    return ", ".join(["p", *(["features"] if made.program.reads_width else []), *others])


def _comment(layer: str, comments: Mapping[str, str]) -> list[str]:
    return [f"# {layer}: {comments[layer]}"] if layer in comments else []


def _by_layer(statements: Iterable[Statement]) -> Iterator[Loop | list[Let]]:
    """Loops, and the statements of each layer together."""
    group: list[Let] = []
    for s in statements:
        if isinstance(s, Let) and group and s.layer == group[0].layer:
            group.append(s)
            continue
        if group:
            yield group
        group = [s] if isinstance(s, Let) else []
        if isinstance(s, Loop):
            yield s
    if group:
        yield group


def _by_node(group: Sequence[Let]) -> Iterator[list[Let]]:
    """Statements of one layer, those of each of its nodes together."""
    nodes = dict.fromkeys(let.dst.node for let in group)
    for node in nodes:
        yield [let for let in group if let.dst.node == node]


def _per_sample(made: _Emission) -> list[str]:
    program, writer, sampled = made.program, made.per_sample, made.sampled
    sources = [made.names.stream(k) for k in program.inputs if k.side == SAMPLE]
    pattern = ["pattern"] if program.pattern is not None else []
    body: list[str] = []
    held = _held_nodes(_within(program.per_sample), program)
    for part in _by_layer(program.per_sample):
        if isinstance(part, Loop):
            body += [*_comment(part.layer, program.comments), *_sample_loop(part, made)]
            continue
        body += _comment(part[0].layer, program.comments)
        body += _sample_lets(part, writer, held)
    kept = [*map(made.names.stream, sampled.vectors), *(made.names.name(("loop", n), n) for n in sampled.stacks)]
    kept += ["pattern"] if sampled.has_pattern else []
    body += _returned(_output(writer, "variance", program, made.forms), kept)
    doc = "Variance of the output, and what pairs read of each sample."
    return function(f"def per_sample({_arguments(made, 'one', *sources, *pattern)}):", doc, body)


def _returned(variance: str, kept: Sequence[str]) -> list[str]:
    named = ", ".join(f"{name}={name}" for name in kept)
    line = f"return {variance}, dict({named})"
    return (
        [line]
        if len(line) < WIDTH - 2 * len(INDENT)
        else [*wrapped(f"values = dict({named})"), f"return {variance}, values"]
    )


def _output(writer: Writer, name: str, program: Program, forms: Forms) -> str:
    writer.node = program.output
    text = writer.spread(sp.sympify(program.outputs[name]), forms.outputs)
    writer.node = ""
    return text


def _within(statements: Iterable[Statement]) -> list[Let]:
    return [s for s in statements if isinstance(s, Let) and s.dst.kind in (Kind.W, Kind.J)]


def _sample_lets(group: Sequence[Let], writer: Writer, held: Iterable[str]) -> Iterator[str]:
    for let in group:
        is_held = let.dst.kind in (Kind.W, Kind.J) and let.dst.node in held and _is_nonlinear(let)
        yield from _layer([let], writer, {}, let.dst.node if is_held else "")


def _sample_loop(loop: Loop, made: _Emission) -> Iterator[str]:
    writer, names = made.per_sample, made.names
    kept = [names.stream(k) for k in made.sampled.stacks.get(loop.layer, ())]
    starts, ends, afters = ([names.stream(getattr(c, part)) for c in loop.carry] for part in ("start", "end", "after"))
    befores = [writer.text(c.before, writer.form_of(c.start)) for c in loop.carry]
    turn, stack = names.name(("turn", loop.layer), f"turn_{loop.layer}"), names.name(("loop", loop.layer), loop.layer)
    body: list[str] = []
    held = _held_nodes(_within(loop.body), writer.program)
    for part in _by_layer(loop.body):
        assert not isinstance(part, Loop)
        body += _comment(part[0].layer, writer.program.comments)
        body += _sample_lets(part, writer, held)
    named = ", ".join(f"{name}={name}" for name in kept)
    yield from function(f"def {turn}({', '.join(starts)}):", "", [*body, f"return ({_one(ends)}), dict({named})"], 2)
    yield ""
    yield f"({_one(afters)}), {stack if kept else '_'} = stacked({', '.join([turn, str(loop.count), *befores])})"


def _one(names: Sequence[str]) -> str:
    """The inside of a tuple."""
    return ", ".join(names) + ("," if len(names) == 1 else "")


def _pair(made: _Emission) -> list[str]:
    program, writer = made.program, made.pair
    inputs = [made.names.stream(k) for k in program.inputs if k.side is None]
    body: list[str] = []
    parts: dict[sp.Expr, object] = {}
    held = _held_nodes([s for s in program.per_pair if isinstance(s, Let)], program)
    for part in _by_layer(program.per_pair):
        if isinstance(part, Loop):
            body += [*_comment(part.layer, program.comments), *_pair_loop(part, made)]
            continue
        body += _comment(part[0].layer, program.comments)
        for group in _by_node(part):
            body += _layer(group, writer, parts, group[0].dst.node if group[0].dst.node in held else "")
    returned = [_output(writer, name, program, made.forms) for name in ("nngp", "ntk")]
    head = f"def pair({_arguments(made, 'x', 'y', 'same', *inputs)}):"
    return function(head, "NNGP and NTK of every pair of samples.", [*body, f"return {', '.join(returned)}"])


def _pair_loop(loop: Loop, made: _Emission) -> Iterator[str]:
    writer, names = made.pair, made.names
    carries = sorted(loop.carry, key=lambda c: c.start.kind.rank)
    starts, ends, afters = ([names.stream(getattr(c, part)) for c in carries] for part in ("start", "end", "after"))
    befores = [writer.text(c.before, writer.form_of(c.start)) for c in carries]
    turn, stack = names.name(("turn", loop.layer), f"turn_{loop.layer}"), names.name(("loop", loop.layer), loop.layer)
    kept = [f"{side}.{stack}" if loop.layer in made.sampled.stacks else "None" for side in ("x", "y")]
    parts: dict[sp.Expr, object] = {}
    held = _held_nodes(loop.body, writer.program)
    body: list[str] = []
    for part in _by_layer(loop.body):
        assert not isinstance(part, Loop)
        body += _comment(part[0].layer, writer.program.comments)
        for group in _by_node(part):
            body += _layer(group, writer, parts, group[0].dst.node if group[0].dst.node in held else "")
    repeated = "scanned" if made.schedule.lanes else "unrolled"
    yield from function(f"def {turn}({', '.join(['x', 'y', *starts])}):", "", [*body, f"return {_one(ends)}"], 2)
    yield ""
    yield f"{_one(afters)} = {repeated}({', '.join([turn, str(loop.count), *kept, *befores])})"


def _held_nodes(lets_here: Sequence[Let], program: Program) -> set[str]:
    """Nonlinearities of one Gaussian that are computed before a filter, or a pool of distances, reads them.

    Margins of filters are put around them then, and pools read distances twice.
    """
    mixed = [a for let in lets_here for a in let.expr.atoms(Mixed)]
    read = [(under_map(a), program.maps[str(a.args[1])]) for a in mixed]
    held = {v.node for v, maps in read if isinstance(v, Stream) and any(_waits(m, v) for m in maps)}
    return {let.dst.node for let in lets_here if let.dst.node in held and _is_nonlinear(let)}


def _waits(m: AxisMap, operand: Stream) -> bool:
    return (isinstance(m, Patch) and m.window > 1) or (isinstance(m, Window) and operand.kind in (Kind.E, Kind.J))


def _is_nonlinear(let: Let) -> bool:
    return let.dst.kind in COVARIANCES and bool(let.expr.atoms(sp.Function)) and not let.expr.has(*OF_MANY_PIXELS)


def _layer(group: Sequence[Let], writer: Writer, parts: dict[sp.Expr, object], held: str) -> Iterator[str]:
    """K and T of one layer; the maps of both are applied to them as one complex array."""
    operands = _operands_of(group, writer) if held else []
    if not operands:
        yield from _packed_maps(group, writer)
        yield from writer.lets(group, parts)  # type: ignore[arg-type]
        return
    names = [writer.names.stream(let.dst) for let in group]
    given = [writer.names.stream(s) for s in operands]
    body = [*writer.lets(group, {}), f"return {', '.join(names)}"]
    name = writer.local(held)
    yield from function(f"def {name}({', '.join(given)}):", "", body, 3)
    yield f"{', '.join(names)} = held({', '.join([name, *given])})"


def _operands_of(group: Sequence[Let], writer: Writer) -> list[Stream]:
    """The covariance, and tangent kernel, that a nonlinearity reads, if it reads one Gaussian in its own form."""
    found = {s for let in group for s in streams_in(let.expr) if s.kind.is_paired and s.kind is not Kind.Z}
    forms = {writer.form_of(s) for s in found} | {writer.form_of(let.dst) for let in group}
    is_one = len(forms) == len({s.node for s in found}) == 1
    return sorted(found, key=lambda s: s.kind.rank) if is_one and len(found) == len(group) else []


def _packed_maps(group: Sequence[Let], writer: Writer) -> Iterator[str]:
    by_kind = {let.dst.kind: let for let in group if let.dst.node == let.dst.other}
    covariance = next((by_kind[kind] for kind in (Kind.E, Kind.K) if kind in by_kind), None)
    tangent = by_kind.get(Kind.T)
    if covariance is None or tangent is None:
        return
    form = writer.form_of(covariance.dst)
    if form != writer.form_of(tangent.dst):
        return
    mixed = {m.args[1]: m for m in covariance.expr.atoms(Mixed)}
    for second in in_order(tangent.expr.atoms(Mixed)):
        first = mixed.get(second.args[1])
        if first is None or first == second or not first.free_symbols:
            continue
        inner = writer.inner(first, form)
        texts = [writer.text(under_map(m), inner) for m in (first, second)]
        names = [
            writer.names.stream(let.dst) if let.expr == m else writer.local(f"A{let.dst.kind.letter}_{let.dst.node}")
            for let, m in ((covariance, first), (tangent, second))
        ]
        mapped = writer.mixed(first, "k", form)
        yield f"{', '.join(names)} = as_one(lambda k: {mapped}, {', '.join(texts)})"
        for m, name in zip((first, second), names, strict=True):
            writer.keep(m, form, name)


def _call(made: _Emission) -> list[str]:
    """The call that makes the functions of the module."""
    program, schedule = made.program, made.schedule
    if program.is_port:
        return [f"onward = continued({', '.join(['per_sample', 'pair', *_reads(made), *_shown(made), *_watch(made)])})"]
    walk = f"Rows({schedule.rows})"
    if schedule.lanes:
        more = ", one_by_one=True" if schedule.one_by_one else ""
        walk = f"Tiles({schedule.lanes}, {schedule.wide_lanes}, {schedule.block}{more})"
    options = [walk, *_reads(made), *_shown(made)]
    if program.has_pixels and (len(program.data) > 1 or program.pattern is not None):
        options.append(f"shapes={[tuple(n or 1 for n in shape) for shape in program.data.values()]}")
    options += ["reads_features=True"] if program.reads_width else []
    options += [] if program.pattern is None else [f"pattern={(program.pattern.sizes, program.pattern.is_sparse)}"]
    options += ["masked=True"] if program.is_masked else []
    options += _watch(made)
    names = "nngp, ntk, kernel, variance, unresolved"
    whole = f"{names} = kernels({', '.join(['per_sample', 'pair', *options])})"
    if len(whole) <= WIDTH:
        return [whole]
    inside = ", ".join(["per_sample", "pair", *options]) + ","
    short = (
        [inside] if len(inside) <= WIDTH - len(INDENT) else [f"{text}," for text in ["per_sample", "pair", *options]]
    )
    return [f"{names} = kernels(", *indented(short), ")"]


def _has_bias_first(program: Program) -> bool:
    """Gaps of the data are read beside a bias alone: their products with norms are smooth where a row is zero."""
    gaps = {k for k in program.inputs if k.kind is Kind.G}
    biased = {let.dst.node for let in lets(program.per_sample) if let.dst.kind is Kind.C and let.dst.other == BIAS}
    reading = {let.dst.node for let in lets(program.per_pair) if let.expr.free_symbols & gaps}
    return len(program.data) == len(gaps) == 1 and reading <= biased


def _reads(made: _Emission) -> list[str]:
    """What per_sample and pair read of the data."""
    program = made.program
    places = {node: i for i, node in enumerate(program.data)}
    if program.is_port:
        given = {
            name: tuple(
                (places[k.node], PORT_READS[k.kind], *_form(k, made))
                for k in program.inputs
                if (k.side == SAMPLE) is is_sample
            )
            for name, is_sample in (("samples", True), ("pairs", False))
        }
        axes = tuple(len(shape) - 1 for shape in program.data.values())
        return [f"{name}={_tuple(read)}" for name, read in given.items()] + ([f"axes={axes}"] if any(axes) else [])
    functions = PIXEL_READS if program.has_pixels else ROW_READS
    if _has_bias_first(program):
        return ["samples=((0, smooth_mean_squares),)", "pairs=((0, smooth_cosine_gap),)"]
    samples = [_read(places[k.node], SAMPLE_READS[k.kind], _form(k, made)) for k in program.inputs if k.side == SAMPLE]
    differences = {k.node for k in program.inputs if k.kind is Kind.D}
    pairs = [
        _read(places[k.node], functions[Kind.D if k.node in differences else k.kind], _form(k, made))
        for k in program.inputs
        if k.side is None and k.kind is not Kind.D
    ]
    return [f"samples={_row(samples)}", f"pairs={_row(pairs)}"]


def _read(place: int, function: str, form: Sequence[str]) -> str:
    return _row([str(place), function, *(f'"{f}"' for f in form)])


def _quoted(value: object) -> str:
    """A dictionary with double quotes."""
    return repr(value).replace("'", '"')


def _row(texts: Sequence[str]) -> str:
    """A tuple of what stands in texts."""
    return f"({_one(texts)})" if texts else "()"


def _tuple(rows: Iterable[object]) -> str:
    return repr(tuple(rows)).replace("'", '"')


def _form(stream: Stream, made: _Emission) -> list[str]:
    has_form = made.program.has_pixels or stream.kind in (Kind.W, Kind.J)
    return [made.pair.form_of(stream)] if has_form and stream.kind.is_paired else []


def _shown(made: _Emission) -> list[str]:
    sizes = made.program.spatial.get(made.program.output, ())
    return [f'output="{made.forms.outputs}"', f"sizes={sizes}"] if sizes else []


def _losses(made: _Emission) -> list[str]:
    """The table of errors that are watched: their names, those of the variances they belong to, and words for them."""
    places = {
        s: f"{made.names.name(('loop', n), n)}.{made.names.stream(s)}"
        for n, streams in made.sampled.stacks.items()
        for s in streams
    }
    rows = [
        (*("" if s is None else places.get(s, made.names.stream(s)) for s in watched), words)
        for watched, words in _watched(made.program).items()
    ]
    lines = [f"{INDENT}({', '.join(map(_quoted, row))})," for row in rows]
    return ["WATCHED = (", *lines, ")"] if rows else []


def _watch(made: _Emission) -> list[str]:
    """The argument that says what is watched."""
    if not _watched(made.program):
        return []
    tolerance = f", {made.pair.tolerance}" if made.pair.tolerance else ""
    return [f"watch=Watch(WATCHED{tolerance})"]
