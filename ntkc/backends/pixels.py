"""Program with pixels  ->  the text of a JAX module with per_sample, pair, nngp, ntk and kernel."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import sympy as sp

from ntkc.backends.expression import jax_text
from ntkc.backends.jax import (
    INDENT,
    arguments_of,
    braced,
    commented,
    counted_parts,
    indented,
    kink_tables,
    own_tables,
    pair_let,
)
from ntkc.backends.pixel_driver import pixel_driver_text, port_driver_text, unresolved_text
from ntkc.backends.prelude import DEFAULT_TOLERANCE, HELPERS, helper_text
from ntkc.gaussian.kinks import KinkCoefficients, KinkSum, SplitMoment
from ntkc.gaussian.series import Chunks, Coefficients, Moment
from ntkc.ir.maps import (
    AxisMap,
    JointMap,
    Level,
    Local,
    Maps,
    Matrix,
    Mixed,
    Patch,
    Permuted,
    Pick,
    Place,
    Product,
    ProductOfValues,
    Spread,
    Take,
    Total,
    Trace,
    Window,
    joint_map,
)
from ntkc.ir.program import (
    PATTERN,
    SAME_PIXEL,
    SAME_SAMPLE,
    SAMPLE,
    Carry,
    Key,
    Let,
    Loop,
    Program,
    Statement,
    lets,
    unsided,
)
from ntkc.layers.aggregate import Gathered
from ntkc.layers.attention import Between, Inner, Positions, Softmax
from ntkc.passes.forms import (
    ALL,
    DIAGONAL,
    PAIRED,
    PAIRED_PREFIXES,
    Form,
    Forms,
    gathered_form,
    inner_form,
    outer_letter,
    step_of,
)
from ntkc.passes.prune import prune
from ntkc.passes.schedule import PixelSchedule


def emit_pixels(
    program: Program,
    forms: Forms,
    schedule: PixelSchedule,
    title: str,
    tolerances: Mapping[str, float] = types.MappingProxyType({}),
) -> str:
    """The module as text: formulas first, then the loops over tiles of samples that `schedule` decided."""
    sampled = _sampled_of(program)
    alone = prune(replace(program, outputs={n: program.outputs[n] for n in ("variance", "nngp")}))
    functions = [
        _per_sample_text(program, forms, sampled),
        _pair_text(program, forms, sampled, "pair", ("nngp", "ntk")),
        _pair_text(alone, forms, sampled, "nngp_of_pair", ("nngp",)),
        port_driver_text(program, forms) if program.is_port else pixel_driver_text(program, forms, schedule),
    ]
    series = _series_places(program, sampled)
    functions += [unresolved_text(program, series)] if series and not program.is_port else []
    body = _map_tables(program) + "\n\n" + "\n\n".join(functions)
    helpers = helper_text(name for name in HELPERS if re.search(rf"\b{name}\(|of_pixels\({name},", body))
    helpers = helpers.replace(DEFAULT_TOLERANCE, f"TOLERANCE = {braced(tolerances)}\n")
    helpers = own_tables(program) + kink_tables(program) + helpers
    numpy = "import numpy as np\n" if "np." in helpers.replace("jnp.", "") else ""
    math = "from math import pi\n\n" if re.search(r"\bpi\b", helpers + body) else ""
    return (
        f'"""NNGP and NTK kernels of an infinitely wide network.\n\n{title}\n\n'
        'Written by ntkc; needs jax only. Arrays of data are [samples, pixels ..., channels].\n"""\n\n'
        f"{math}import jax\nimport jax.numpy as jnp\n{numpy}from jax import lax\n{helpers}\n{body}"
    )


MapText = Callable[[str, Form, Maps, str], str]
"""The text of maps of one kind: of their argument, its form, all maps of the layer, and their name."""


@dataclass(frozen=True)
class _Sampled:
    """Names of the per-sample values that pairs read: those made once, and those of each turn of a loop."""

    vectors: tuple[str, ...]
    stacks: Mapping[str, tuple[str, ...]]


def _series_places(program: Program, sampled: _Sampled) -> list[tuple[str, bool]]:
    """Coefficients of every series in what `stats_of` gives, [terms, ...], and whether a kink is taken out of it."""
    kinked = {let.dst.name for let in lets(program.per_sample) if isinstance(let.expr, KinkCoefficients)}
    found = [(f"stats[0][{i}]", name) for i, name in enumerate(sampled.vectors) if name.startswith("h_")]
    for loop, kept in enumerate(sampled.stacks.values(), 1):
        places = [(i, name) for i, name in enumerate(kept) if name.startswith("h_")]
        found += [(f"jnp.moveaxis(stats[{loop}][{i}], 0, {2 if name in kinked else 1})", name) for i, name in places]
    return [(text, name in kinked) for text, name in found]


def _sampled_of(program: Program) -> _Sampled:
    in_loops = {k.name: s.layer for s in program.per_sample if isinstance(s, Loop) for k in s.stacked}
    read: dict[str, None] = {}
    for expr in [*(let.expr for let in lets(program.per_pair)), *program.outputs.values()]:
        for symbol in sorted(expr.free_symbols, key=str):
            if unsided(symbol.name) != symbol.name and symbol not in program.parameters:
                read[unsided(symbol.name)] = None
    stacks: dict[str, tuple[str, ...]] = {}
    for name in read:
        if name in in_loops:
            stacks[in_loops[name]] = (*stacks.get(in_loops[name], ()), name)
    return _Sampled(tuple(n for n in read if n not in in_loops), stacks)


@dataclass
class _Writer:
    """Expressions of one function as text: every stream in the form that the reader wants."""

    program: Program
    forms: Forms
    is_pair: bool
    made: dict[tuple[sp.Expr, Form], sp.Symbol] = field(default_factory=dict[tuple[sp.Expr, Form], sp.Symbol])

    def form_of(self, key: Key) -> Form:
        diagonal = DIAGONAL * len(self.program.spatial[key.u])
        return self.forms.of.get(key.name, diagonal) if key.stream in PAIRED else diagonal

    def prepared(self, expr: sp.Expr, form: Form) -> sp.Expr:
        """The expression with maps, and streams in another form, as symbols whose names are their text."""
        if (expr, form) in self.made:
            return self.made[expr, form]
        if isinstance(expr, Mixed):
            return _as_symbol(self.mapped(str(expr.args[1]), [expr.args[0]], form))
        if isinstance(expr, sp.Symbol):
            return self.symbol(expr, form)
        if not expr.args or isinstance(expr, sp.Lambda):
            return expr
        if isinstance(expr, Gathered):
            return _as_symbol(self.gathered(expr, form))
        if isinstance(expr, (Between, Inner, Softmax, Positions)):
            return _as_symbol(self.of_all_pairs(expr, form))
        if type(expr) in OF_VARIANCES:
            return _as_symbol(self.of_variances(expr, form))
        if isinstance(expr, KinkSum):
            *values, tails1, tails2 = expr.args
            return KinkSum(*(self.prepared(v, form) for v in values), *(self.whole(t) for t in (tails1, tails2)))
        parts = [self.prepared(a, form) if isinstance(a, sp.Expr) else a for a in expr.args]
        return expr.func(*parts)

    def whole(self, symbol: sp.Symbol) -> sp.Symbol:
        """A per-sample value of all pixels, whatever the entry."""
        return symbol if self.is_pair else sp.Symbol(unsided(symbol.name), real=True)

    def symbol(self, symbol: sp.Symbol, form: Form) -> sp.Expr:
        name = symbol.name
        if symbol in self.program.parameters:
            return symbol
        if symbol == SAME_SAMPLE:
            return _as_symbol("same")
        if symbol == SAME_PIXEL:
            sizes = self.program.spatial[self.node] if form.strip(DIAGONAL) else ()
            lanes = "" if self.is_pair else "[..., 0]"
            return _as_symbol(f'same_pixels("{form}", {sizes}){lanes}') if sizes else sp.S.One
        if name[:2] in PAIRED_PREFIXES:
            stored = self.forms.of[name]
            return symbol if stored == form else _as_symbol(f'narrowed({name}, "{stored}", "{form}")')
        plain = unsided(name)
        if plain == name or symbol in self.program.parameters:
            return symbol
        if plain.startswith("z_") or plain == PATTERN.name:
            return self.whole(symbol)
        side = "left" if name.split("_")[0].endswith("1") else "right"
        lanes = "" if not self.is_pair else "[..., None]" if side == "left" else "[..., None, :]"
        if name.startswith("h"):
            side += "_terms"
        return _as_symbol(f'{side}({name if self.is_pair else plain}, "{form}"){lanes}', bool(symbol.is_positive))

    def of_all_pairs(self, expr: sp.Expr, form: Form) -> str:
        """Attention, in the form that is wanted of it."""
        full = ALL * len(form)
        sizes = self.program.spatial[self.node]
        if isinstance(expr, Positions):
            lanes = "" if self.is_pair else "[..., 0]"
            power, decay = expr.args
            return f'positions("{form}", {sizes}, {jax_text(power)}, {jax_text(decay)}){lanes}'
        texts = [jax_text(self.prepared(a, full)) for a in expr.args]
        if isinstance(expr, Inner):
            return f'inner({", ".join(texts)}, "{form}")'
        text = f"between({', '.join(texts)})" if isinstance(expr, Between) else f"softmax_of_keys({texts[0]})"
        return text if form == full else f'narrowed({text}, "{full}", "{form}")'

    def gathered(self, expr: Gathered, form: Form) -> str:
        """Sums over the edges of a graph for each sample."""
        inner = gathered_form(expr, form)
        first, second = (jax_text(self.prepared(expr.args[i], form)) for i in (0, 2))
        outer = "".join(f if f == DIAGONAL or i not in expr.axes else ALL for i, f in enumerate(form))
        k = jax_text(self.prepared(expr.args[1], inner))
        text = f'gathered({first}, {k}, {second}, "{inner}", "{outer}", {expr.axes})'
        return text if outer == form else f'narrowed({text}, "{outer}", "{form}")'

    def of_variances(self, expr: sp.Expr, form: Form) -> str:
        """A quadrature for each pixel of each sample, which are put on one axis for it."""
        *first, last = expr.args
        texts = [jax_text(a) for a in first]
        text = jax_text(self.prepared(last, form))
        return f"of_pixels({OF_VARIANCES[type(expr)]}, {', '.join([*texts, text])})"

    node: str = ""
    """The layer whose statement is written."""

    def mapped(self, name: str, arguments: Sequence[sp.Expr], form: Form) -> str:
        """The text of maps applied to an expression, or to two as one complex array."""
        maps = self.program.maps[name]
        inner = inner_form(maps, form, self.program.sizes[name])
        texts = [jax_text(self.prepared(a, inner)) for a in arguments]
        text = f"lax.complex({texts[0]}, {texts[1]})" if len(texts) == 2 else texts[0]
        joint = joint_map(maps)
        if joint is not None:
            outer = joint.outer_form(form)
            text = _joint(text, inner, outer, joint, name)
            return text if outer == form else f'narrowed({text}, "{outer}", "{form}")'
        outer = "".join(outer_letter(m, f) for m, f in zip(maps, inner, strict=True))
        for kind in KINDS:
            if any(type(m) is kind for m in maps):
                text = KINDS[kind](text, inner, maps, name)
        if outer == form:
            return text
        change = "embedded" if any(a == DIAGONAL != b for a, b in zip(outer, form, strict=True)) else "narrowed"
        return f'{change}({text}, "{outer}", "{form}")'


def _joint(text: str, inner: Form, outer: Form, joint: JointMap, name: str) -> str:
    """The text of a map of all axes at once."""
    if isinstance(joint, Permuted):
        return f'permuted({text}, "{inner}", {joint.order})'
    assert isinstance(joint, Product)
    labels = (joint.reads, joint.own, joint.made)
    if isinstance(joint, ProductOfValues):
        return f"contracted_values({text}, {name.upper()}, {labels})"
    return f'contracted({text}, "{inner}", "{outer}", {name.upper()}, {labels})'


def _as_symbol(text: str, is_positive: bool = False) -> sp.Symbol:
    return sp.Symbol(text, positive=True) if is_positive else sp.Symbol(text, real=True)


def _table_name(name: str, maps: Maps, kind: type[AxisMap]) -> str:
    """One table for each kind of map that a layer has."""
    kinds = [k for k in KINDS if any(type(m) is k for m in maps)]
    return name.upper() + ("" if len(kinds) == 1 else f"_{kind.__name__.upper()}")


def _called(function: str, kind: type[AxisMap]) -> MapText:
    def text(argument: str, form: Form, maps: Maps, name: str) -> str:
        return f'{function}({argument}, "{form}", {_table_name(name, maps, kind)})'

    return text


def _scaled_sum(argument: str, form: Form, maps: Maps, name: str) -> str:
    scale = 1.0
    for m in maps:
        scale *= m.scale**2 if isinstance(m, Total) else m.scale if isinstance(m, Trace) else 1.0
    return f'total({argument}, "{form}", {scale!r})'


def _levelled(argument: str, form: Form, maps: Maps, name: str) -> str:
    return f"levelled({argument}, {tuple(i for i, m in enumerate(maps) if isinstance(m, Level))})"


OF_VARIANCES = {
    Coefficients: "coefficients",
    Chunks: "chunks_needed",
    Moment: "gaussian_mean",
    SplitMoment: "split_mean",
    KinkCoefficients: "kink_coefficients",
}
"""Functions of a list of variances, or of their coefficients."""

KINDS: Mapping[type[AxisMap], MapText] = {
    Patch: _called("patched", Patch),
    Local: _called("patched", Local),
    Window: _called("pooled", Window),
    Matrix: _called("multiplied", Matrix),
    Spread: _called("multiplied", Spread),
    Take: _called("taken", Take),
    Place: _called("placed", Place),
    Pick: _called("picked", Pick),
    Level: _levelled,
    Total: _scaled_sum,
    Trace: _scaled_sum,
}
"""How each kind of map is written; others of the same layer are left alone by it."""

TABLES = {
    Patch: lambda m: (m.window, m.stride, m.low, m.high, m.wraps, m.spread, m.interior),
    Local: lambda m: (m.window, m.stride, m.low, m.high, m.wraps, m.spread, m.interior),
    Window: lambda m: (m.window, m.stride, m.low, m.high, m.wraps, _short(m.scales)),
    Matrix: lambda m: m.rows,
    Spread: lambda m: m.rows,
    Take: lambda m: m.places,
    Place: lambda m: (m.start, m.total),
    Pick: lambda m: m.place,
}
IDLE: Mapping[type[AxisMap], tuple[object, ...]] = {
    Patch: (1, 1, 0, 0, False, 1, 1),
    Local: (1, 1, 0, 0, False, 1, 1),
    Window: (1, 1, 0, 0, False, 1.0),
}


def _short(scales: tuple[float, ...]) -> float | tuple[float, ...]:
    return scales[0] if len(set(scales)) == 1 else scales


def _map_tables(program: Program) -> str:
    """What the maps of each layer are, axis by axis."""
    lines: list[str] = []
    for name, maps in program.maps.items():
        joint = joint_map(maps)
        if isinstance(joint, Product):
            lines.append(f"{name.upper()} = {joint.array!r}")
        for kind, row in TABLES.items():
            if any(type(m) is kind for m in maps) and not all(m.is_identity for m in maps):
                rows = tuple(row(m) if type(m) is kind else IDLE.get(kind) for m in maps)
                lines.append(f"{_table_name(name, maps, kind)} = {rows!r}")
    return "\n".join(lines) + "\n" if lines else ""


def _per_sample_text(program: Program, forms: Forms, sampled: _Sampled) -> str:
    writer = _Writer(program, forms, is_pair=False)
    sources = [k.name for k in program.inputs if k.side == SAMPLE]
    sources += [] if program.pattern is None else [PATTERN.name]
    lines = [
        f"def per_sample({arguments_of(program, *sources)}):",
        f'{INDENT}"""Variance of the output, and what pairs need of each sample: arrays [pixels ..., samples]."""',
    ]
    held = _held_nodes(_within(program.per_sample), program)
    if held or any(_held_nodes(_within(s.body), program) for s in program.per_sample if isinstance(s, Loop)):
        lines += _ready(sources[0])
    for s, comment in commented(program.per_sample, program.comments):
        lines += comment
        if isinstance(s, Loop):
            lines += _sample_loop(s, sampled, writer)
        else:
            lines += _sample_let(s, writer, sources[0], held)
    handed = "".join(f", {loop}" for loop in sampled.stacks) or ","
    writer.node = program.output
    variance = jax_text(writer.prepared(sp.sympify(program.outputs["variance"]), forms.outputs))
    lines.append(f"return {variance}, ([{', '.join(sampled.vectors)}]{handed})")
    return indented(lines)


def _within(statements: Iterable[Statement]) -> list[Let]:
    return [s for s in statements if isinstance(s, Let) and s.dst.stream == "W"]


def _sample_let(let: Let, writer: _Writer, source: str, held: Iterable[str] = ()) -> Iterator[str]:
    writer.node = let.dst.u
    if let.dst.stream == "W" and let.dst.u in held and _operands_of([let], writer):
        yield from _pair_lets([let], writer, {}, held)
        return
    form = writer.form_of(let.dst)
    expr = writer.prepared(let.expr, form)
    if expr.free_symbols:
        yield from pair_let(replace(let, expr=expr), {}, counted_parts([replace(let, expr=expr)]))
        return
    shape = ", ".join(str(n) for n in (*_sizes_of(form, writer.program.spatial[let.dst.u]), f"{source}.shape[-1]"))
    yield f"{let.dst.name} = jnp.full(({shape}), {jax_text(expr)}, {source}.dtype)"


def _sizes_of(form: Form, sizes: tuple[int, ...]) -> list[int]:
    return [n for f, size in zip(form, sizes, strict=True) for n in _axes_of(f, size)]


def _axes_of(letter: str, size: int) -> tuple[int, ...]:
    """The axes of an array along one spatial axis."""
    if letter == DIAGONAL:
        return (size,)
    step = step_of(letter, size)
    return (size, size) if letter == ALL else (step, size // step, size // step)


def _sample_loop(loop: Loop, sampled: _Sampled, writer: _Writer) -> Iterator[str]:
    kept = sampled.stacks.get(loop.layer, ())
    starts, ends, afters = (", ".join(getattr(c, p).name for c in loop.carry) + "," for p in ("start", "end", "after"))
    befores = ", ".join(_in_form(c, writer) for c in loop.carry) + ","
    yield f"def turn_{loop.layer}(carried, _):"
    yield f"{INDENT}{starts} = carried"
    held = _held_nodes(_within(loop.body), writer.program)
    for let in loop.body:
        for line in _sample_let(let, writer, loop.carry[0].start.name, held):
            yield INDENT + line
    yield f"{INDENT}return ({ends}), [{', '.join(kept)}]"
    yield ""
    target = loop.layer if kept else "_"
    yield f"({afters}), {target} = lax.scan(turn_{loop.layer}, ({befores}), length={loop.count})"


def _in_form(c: Carry, writer: _Writer) -> str:
    """What enters a loop, in the form that the loop carries."""
    return jax_text(writer.prepared(c.before.symbol, writer.form_of(c.start)))


def _pair_text(program: Program, forms: Forms, sampled: _Sampled, name: str, gets: Sequence[str]) -> str:
    writer = _Writer(program, forms, is_pair=True)
    inputs = [k.name for k in program.inputs if k.side is None]
    lines = [
        f"def {name}({arguments_of(program, *inputs, 'stats1', 'stats2', 'same')}):",
        f'{INDENT}"""{" and ".join(gets)} of every pair of two sets of samples: arrays [pixels ..., n1, n2]."""',
    ]
    stacks = [s.layer for s in program.per_pair if isinstance(s, Loop) and s.layer in sampled.stacks]
    used = {unsided(s.name) for s in _symbols(program)}
    for side in (1, 2):
        names = "".join(f", {loop}_{side}" if loop in stacks else ", _" for loop in sampled.stacks)
        lines.append(f"vectors{side}{names or ','} = stats{side}")
        if used & set(sampled.vectors):
            lines.append(f"[{', '.join(_sided(v, side) for v in sampled.vectors)}] = vectors{side}")
    made: dict[sp.Expr, str] = {}
    held = _held_nodes([s for s in program.per_pair if isinstance(s, Let)], program)
    if held or any(_held_nodes(s.body, program) for s in program.per_pair if isinstance(s, Loop)):
        lines += _ready(next(k.name for k in program.inputs if k.stream == "K" and k.side is None))
    for part, comment in _by_node(program.per_pair, program.comments):
        lines += comment
        if isinstance(part, Loop):
            lines += _pair_loop(part, sampled, writer)
        else:
            lines += _pair_lets(part, writer, made, held)
    writer.node = ""
    returned = [jax_text(writer.prepared(sp.sympify(program.outputs[g]), forms.outputs)) for g in gets]
    lines.append(f"return {', '.join(returned)}")
    return indented(lines)


def _symbols(program: Program) -> set[sp.Symbol]:
    exprs = [*(let.expr for let in lets(program.per_pair)), *program.outputs.values()]
    return {s for e in exprs for s in e.free_symbols}


def _sided(name: str, side: int) -> str:
    letter, _, rest = name.partition("_")
    return f"{letter}{side}_{rest}"


def _by_node(
    statements: Iterable[Statement], comments: Mapping[str, str]
) -> Iterator[tuple[Loop | list[Let], list[str]]]:
    """Loops, and the statements of each layer together."""
    group: list[Let] = []
    for s in statements:
        if isinstance(s, Let) and group and s.layer == group[0].layer:
            group.append(s)
            continue
        if group:
            yield group, _comment(group[0].layer, comments)
        group = [s] if isinstance(s, Let) else []
        if isinstance(s, Loop):
            yield s, _comment(s.layer, comments)
    if group:
        yield group, _comment(group[0].layer, comments)


def _comment(layer: str, comments: Mapping[str, str]) -> list[str]:
    return [f"# {layer}: {comments[layer]}"] if layer in comments else []


def _ready(array: str) -> list[str]:
    return [
        "# Always true, which XLA does not know: it would compute activations entry by entry inside the margins.",
        f"ready = {array}[(0,) * {array}.ndim] < jnp.inf",
    ]


def _held_nodes(lets_here: Sequence[Let], program: Program) -> set[str]:
    """Nonlinearities of one Gaussian that a filter reads: they are computed before its margins are put around them."""
    read = {a.args[0].name.partition("_")[2] for let in lets_here for a in let.expr.atoms(Mixed) if _is_symbol(a)}
    padded = {
        a.args[0].name.partition("_")[2]
        for let in lets_here
        for a in let.expr.atoms(Mixed)
        if _is_symbol(a) and any(isinstance(m, Patch) and m.window > 1 for m in program.maps[str(a.args[1])])
    }
    return {let.dst.u for let in lets_here if let.dst.u in read & padded and _is_nonlinear(let)}


def _is_symbol(mixed: Mixed) -> bool:
    return isinstance(mixed.args[0], sp.Symbol)


OF_MANY_PIXELS = (Mixed, Between, Inner, Gathered)


def _is_nonlinear(let: Let) -> bool:
    return let.dst.stream in "KW" and bool(let.expr.atoms(sp.Function)) and not let.expr.has(*OF_MANY_PIXELS)


def _pair_lets(
    group: Sequence[Let], writer: _Writer, made: dict[sp.Expr, str], held: Iterable[str] = ()
) -> Iterator[str]:
    """K and T of one layer; the maps of both are applied to them as one complex array."""
    node = group[0].dst.u
    operands = _operands_of(group, writer) if node in held else None
    if operands is None:
        yield from _plain_lets(group, writer, made)
        return
    both = len(group) == 2
    inside = "both" if both else operands[0]
    yield f"def {node}({inside}):"
    if both:
        yield f"{INDENT}{', '.join(operands)} = both.real, both.imag"
    for line in _plain_lets(group, writer, dict(made)):
        yield INDENT + line
    names = [let.dst.name for let in group]
    yield f"{INDENT}return {_as_one(names)}"
    yield ""
    target = f"both_{node}" if both else names[0]
    yield f"{target} = lax.cond(ready, {node}, lambda v: v, {_as_one(operands)})"
    if both:
        yield f"{', '.join(names)} = {target}.real, {target}.imag"


def _as_one(names: Sequence[str]) -> str:
    return f"lax.complex({', '.join(names)})" if len(names) == 2 else names[0]


def _operands_of(group: Sequence[Let], writer: _Writer) -> list[str] | None:
    """The covariance, and tangent kernel, that a nonlinearity reads, if it reads one Gaussian in its own form."""
    streams = [let.dst.stream for let in group]
    found = sorted({s.name for let in group for s in let.expr.free_symbols if s.name[:2] in PAIRED_PREFIXES})
    expected = {"KT": ["K_", "T_"], "K": ["K_"], "W": ["w_"]}.get("".join(streams))
    forms = {writer.forms.of[name] for name in found} | {writer.form_of(let.dst) for let in group}
    if expected is None or [name[:2] for name in found] != expected or len(forms) != 1:
        return None
    return found if len({name.partition("_")[2] for name in found}) == 1 else None


def _plain_lets(group: Sequence[Let], writer: _Writer, made: dict[sp.Expr, str]) -> Iterator[str]:
    writer.node = group[0].dst.u
    yield from _packed_maps(group, writer)
    ready = [replace(let, expr=writer.prepared(let.expr, writer.form_of(let.dst))) for let in group]
    counts = counted_parts(ready)
    for let in ready:
        if let.expr.free_symbols:
            yield from pair_let(let, made, counts)
            continue
        sizes = _sizes_of(writer.form_of(let.dst), writer.program.spatial[let.dst.u])
        shape = ", ".join([*map(str, sizes), "*same.shape"])
        yield f"{let.dst.name} = jnp.full(({shape}), {jax_text(let.expr)}, stats1[0][0].dtype)"


def _packed_maps(group: Sequence[Let], writer: _Writer) -> Iterator[str]:
    by_stream = {let.dst.stream: let for let in group if let.dst.stream in "KT" and let.dst.u == let.dst.v}
    if set(by_stream) != {"K", "T"}:
        return
    form = writer.form_of(by_stream["K"].dst)
    if form != writer.form_of(by_stream["T"].dst):
        return
    covariances = {m.args[1]: m for m in by_stream["K"].expr.atoms(Mixed)}
    for tangent in sorted(by_stream["T"].expr.atoms(Mixed), key=str):
        covariance = covariances.get(tangent.args[1])
        if covariance is None or covariance == tangent:
            continue
        name = f"both_{tangent.args[1]}"
        yield f"{name} = {writer.mapped(str(tangent.args[1]), [covariance.args[0], tangent.args[0]], form)}"
        writer.made[covariance, form] = _as_symbol(f"{name}.real")
        writer.made[tangent, form] = _as_symbol(f"{name}.imag")


def _pair_loop(loop: Loop, sampled: _Sampled, writer: _Writer) -> Iterator[str]:
    kept = sampled.stacks.get(loop.layer, ())
    carries = sorted(loop.carry, key=lambda c: c.start.stream)
    is_packed = [c.start.stream for c in carries] == ["K", "T"] and len({writer.form_of(c.start) for c in carries}) == 1
    starts, ends, afters = ([getattr(c, p).name for c in carries] for p in ("start", "end", "after"))
    befores = [_in_form(c, writer) for c in carries]
    yield f"def turn_{loop.layer}(carried, vectors):"
    unpacked = "carried.real, carried.imag" if is_packed else "carried"
    yield f"{INDENT}{', '.join(starts)}{'' if len(starts) > 1 else ','} = {unpacked}"
    if kept:
        for side in (1, 2):
            yield f"{INDENT}[{', '.join(_sided(n, side) for n in kept)}] = vectors[{side - 1}]"
    made: dict[sp.Expr, str] = {}
    held = _held_nodes(loop.body, writer.program)
    for part, comment in _by_node(loop.body, writer.program.comments):
        for line in [*comment, *_pair_lets(part if isinstance(part, list) else [], writer, made, held)]:
            yield INDENT + line
    yield f"{INDENT}return {_packed(ends, is_packed)}, None"
    yield ""
    vectors = f"({loop.layer}_1, {loop.layer}_2)" if kept else "None"
    yield f"carried, _ = lax.scan(turn_{loop.layer}, {_packed(befores, is_packed)}, {vectors}, length={loop.count})"
    yield f"{', '.join(afters)}{'' if len(afters) > 1 else ','} = {unpacked}"


def _packed(names: Sequence[str], is_packed: bool) -> str:
    return f"lax.complex({', '.join(names)})" if is_packed else f"({', '.join(names)},)"
