"""Expressions of one emitted function as text: every stream in the form that its reader wants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import sympy as sp

from ntkc.backends.expression import HEADS, Written, jax_text, written
from ntkc.backends.jax.maps import called, joint_called
from ntkc.backends.jax.names import SIDES, Names
from ntkc.backends.jax.steps import CALLS, IN_GAP, VALUES, has_slope, table_name, tables_in
from ntkc.gaussian.arc_cosine import ArcGap, ArcSlope, EvenGap, EvenSlope, NearGap, NearSlope
from ntkc.gaussian.functions import Angle, Edge, Minor, Orthant, Ridge, Root
from ntkc.gaussian.kinks import KinkCoefficients, KinkRemainder, KinkSum, KinkTails, SplitMoment
from ntkc.gaussian.normal_form import X
from ntkc.gaussian.series import Chunks, Coefficients, Moment
from ntkc.gaussian.sigmoids import SigmoidMean
from ntkc.gaussian.stepped import SLOPES
from ntkc.ir.maps import Framed, Mixed, joint_map
from ntkc.ir.program import PATTERN, PATTERN1, PATTERN2, SAME_PIXEL, Let, Program
from ntkc.ir.streams import SAMPLE, Kind, Stream, streams_in
from ntkc.layers.aggregate import Gathered
from ntkc.layers.attention import Between, Inner, Positions, Softmax
from ntkc.passes.forms import ALL, DIAGONAL, Form, Forms, gathered_form, inner_form, outer_letter, step_of

_PAIRS = (
    (ArcGap, ArcSlope, "arc_cosine"),
    (NearGap, NearSlope, "arc_cosine_near"),
    (EvenGap, EvenSlope, "arc_cosine_even"),
)
ARC_COSINES = {function: pair for pair in _PAIRS for function in pair[:2]}
"""The two functions of one gap that a single call gives, and the name of that call."""
STEPS = ("orthant", "edge1", "edge2", "ridge")
"""What one call gives for steps of two Gaussians."""
SHARED: dict[type[sp.Function], str] = {Root: "root", Angle: "angle", Minor: "minor"}
"""Functions that are computed once where several statements of a layer read them, and the name of the result."""
LONG_SUM, MANY_TIMES = 4, 3
"""Operations of a sum, and how often it is read, that earn it a line of its own."""
OF_VARIANCES = {
    Coefficients: "coefficients",
    Chunks: "chunks_needed",
    Moment: "gaussian_mean",
    SigmoidMean: "sigmoid_mean",
    SplitMoment: "split_mean",
    KinkCoefficients: "kink_coefficients",
}
"""Functions of a list of variances, or of their coefficients."""
WITH_TOLERANCE = (Coefficients, Chunks, KinkSum)
"""Functions that are told how exact a series must be."""

Made = dict[sp.Expr, Written]
"""Parts of expressions that have a line of their own."""


@dataclass
class Writer:
    """Texts of one function of a program, per_sample or pair.

    Attributes:
        terms: axes before the pixels of what has several numbers a pixel, the coefficients of series.
        tolerance: the text of the tolerances of series; empty for the usual ones.
        constants: names of the numbers that are hyper-parameters, by layer.
        mapped: maps that have a variable already, by form.
    """

    program: Program
    forms: Forms
    names: Names
    is_pair: bool
    tolerance: str = ""
    terms: Mapping[Stream, int] = field(default_factory=dict[Stream, int])
    constants: Mapping[str, Mapping[sp.Expr, str]] = field(default_factory=dict[str, Mapping[sp.Expr, str]])
    mapped: dict[tuple[sp.Expr, Form], Written] = field(default_factory=dict[tuple[sp.Expr, Form], Written])
    locals: set[str] = field(default_factory=set[str])
    """Variables that have been made for parts of expressions."""
    node: str = ""
    """The layer whose statement is written."""

    def text(self, expr: sp.Expr, form: Form) -> str:
        """An expression whose entries are those of a form."""
        return self.plain(self.prepared(expr, form))

    def plain(self, expr: sp.Expr) -> str:
        """The text of an expression that is prepared, with the layer's hyper-parameters by their names."""
        return jax_text(expr, self.names.symbol, self.constants.get(self.node))

    def form_of(self, stream: Stream) -> Form:
        """The form in which a stream is kept."""
        diagonal = DIAGONAL * len(self.program.spatial.get(stream.node, ()))
        return self.forms.of.get(stream.sample, diagonal) if stream.kind.is_paired else diagonal

    def sizes_of(self, form: Form) -> tuple[int, ...]:
        """The array axes of a form at the layer that is written."""
        sizes = self.program.spatial.get(self.node or self.program.output, ())
        return tuple(n for f, size in zip(form, sizes, strict=True) for n in _axes_of(f, size))

    def prepared(self, expr: sp.Expr, form: Form) -> sp.Expr:
        """The expression with maps, and streams in another form, as symbols whose names are their text."""
        if (expr, form) in self.mapped:
            return self.mapped[expr, form]
        if isinstance(expr, Mixed):
            inner = self.inner(expr, form)
            return written(self.mixed(expr, self.text(under_map(expr), inner), form))
        if isinstance(expr, sp.Symbol):
            return self.symbol(expr, form)
        if not expr.args or isinstance(expr, sp.Lambda):
            return expr
        if isinstance(expr, Gathered):
            return written(self.gathered(expr, form))
        if isinstance(expr, (Between, Inner, Softmax, Positions)):
            return written(self.of_all_pairs(expr, form))
        if type(expr) in OF_VARIANCES:
            return written(self.of_variances(expr, form))
        if isinstance(expr, (KinkTails, KinkRemainder)):
            return written(f"{HEADS[type(expr).__name__]}({self.text(expr.args[0], form)})")
        if isinstance(expr, KinkSum):
            *values, tails1, tails2 = expr.args
            texts = [*(self.text(v, form) for v in values), *(self.plain(self.whole(t)) for t in (tails1, tails2))]
            return written(f"kink_sum({', '.join([*texts, *self._tolerances()])})")
        parts = [self.prepared(a, form) if isinstance(a, sp.Expr) else a for a in expr.args]
        return expr.func(*parts)

    def _tolerances(self) -> list[str]:
        return [self.tolerance] if self.tolerance else []

    def whole(self, symbol: sp.Symbol) -> sp.Symbol:
        """A per-sample value of all pixels, whatever the entry."""
        return symbol if self.is_pair or not isinstance(symbol, Stream) else symbol.sample

    def symbol(self, symbol: sp.Symbol, form: Form) -> sp.Expr:
        """A symbol in the form that is wanted of it."""
        if symbol == SAME_PIXEL:
            return self.same_pixels(form)
        if symbol in (PATTERN1, PATTERN2):
            return written(f"{SIDES[1 if symbol == PATTERN1 else 2]}.pattern")
        if not isinstance(symbol, Stream) or symbol.kind is Kind.Z:
            return self.whole(symbol)
        if symbol.kind.is_paired:
            stored = self.form_of(symbol)
            return symbol if stored == form else written(f'narrowed({self.names.symbol(symbol)}, "{stored}", "{form}")')
        if symbol.side in (None, SAMPLE):
            return symbol
        own = self.whole(symbol)
        if not form.strip(DIAGONAL):
            return own
        terms = self.terms.get(symbol.sample, 0)
        side = "left" if symbol.side == 1 else "right"
        first = f", {terms}" if terms else ""
        return written(f'{side}({self.names.symbol(own)}, "{form}"{first})', bool(symbol.is_positive))

    def frame(self, expr: Mixed, form: Form) -> str:
        """What a filter reads where one pixel is outside of the image, as one more argument; none for equal pixels."""
        if not isinstance(expr.args[0], Framed) or not form.strip(DIAGONAL):
            return ""
        sides = (v.xreplace({s: self.whole(s) for s in v.free_symbols}) for v in expr.args[0].args[1:])
        return f", ({', '.join(map(self.plain, sides))})"

    def same_pixels(self, form: Form) -> sp.Expr:
        """1 where both pixels of an entry are the same."""
        if not form.strip(DIAGONAL):
            return sp.S.One
        return written(f'same_pixels("{form}", {self.program.spatial[self.node]}, {self.lanes})')

    @property
    def lanes(self) -> str:
        """An array of samples, or of pairs of them."""
        return "same" if self.is_pair else "one"

    def of_all_pairs(self, expr: sp.Expr, form: Form) -> str:
        """Attention, in the form that is wanted of it."""
        full = ALL * len(form)
        if isinstance(expr, Positions):
            power, decay = expr.args
            sizes = self.program.spatial[self.node]
            return f'positions("{form}", {sizes}, {self.plain(power)}, {self.plain(decay)}, {self.lanes})'
        texts = [self.spread(a, full) for a in expr.args]
        if isinstance(expr, Inner):
            return f'inner({", ".join(texts)}, "{form}")'
        text = f"between({', '.join(texts)})" if isinstance(expr, Between) else f"softmax_of_keys({texts[0]})"
        return text if form == full else f'narrowed({text}, "{full}", "{form}")'

    def gathered(self, expr: Gathered, form: Form) -> str:
        """Sums over the edges of a graph for each sample."""
        inner = gathered_form(expr, form)
        first, second = (self.text(expr.args[i], form) for i in (0, 2))
        outer = "".join(f if f == DIAGONAL or i not in expr.axes else ALL for i, f in enumerate(form))
        k = self.text(expr.args[1], inner)
        text = f'gathered({first}, {k}, {second}, "{inner}", "{outer}", {expr.axes})'
        return text if outer == form else f'narrowed({text}, "{outer}", "{form}")'

    def of_variances(self, expr: sp.Expr, form: Form) -> str:
        """A quadrature for each pixel of each sample, which are put on one axis for it."""
        *first, last = expr.args
        texts = [*map(self.plain, first), self.text(last, form)]
        kept = self._tolerances() if isinstance(expr, WITH_TOLERANCE) else []
        if not form:
            return f"{OF_VARIANCES[type(expr)]}({', '.join([*texts, *kept])})"
        named = [f"tolerance={t}" for t in kept]
        return f"of_pixels({', '.join([OF_VARIANCES[type(expr)], *texts, *named])})"

    def keep(self, mixed: Mixed, form: Form, name: str) -> None:
        """Maps that have a variable from now on."""
        self.mapped[mixed, form] = written(name)

    def inner(self, expr: Mixed, form: Form) -> Form:
        """The form of what maps are applied to; all pairs where those are there, and filters move on by strides."""
        name = str(expr.args[1])
        maps, sizes = self.program.maps[name], self.program.sizes[name]
        inner = inner_form(maps, form, sizes)
        stored = [self.form_of(s) for s in streams_in(under_map(expr)) if s.kind.is_paired]
        if joint_map(maps) or not stored or len(form) != len(inner):
            return inner
        return "".join(
            ALL if outer == ALL and {f[i] for f in stored} == {ALL} else own
            for i, (outer, own) in enumerate(zip(form, inner, strict=True))
        )

    def mixed(self, expr: Mixed, text: str, form: Form) -> str:
        """The text of maps applied to what a text stands for, so that the result has a form."""
        name = str(expr.args[1])
        maps, inner = self.program.maps[name], self.inner(expr, form)
        joint = joint_map(maps)
        table = self.names.name(("map", name), name.upper())
        if joint is not None:
            outer = joint.outer_form(form)
            text = joint_called(text, inner, outer, joint, table)
            return text if outer == form else f'narrowed({text}, "{outer}", "{form}")'
        outer = "".join(outer_letter(m, f) for m, f in zip(maps, inner, strict=True))
        text = called(text, inner, maps, table, self.frame(expr, inner))
        if outer == form:
            return text
        change = "embedded" if any(a == DIAGONAL != b for a, b in zip(outer, form, strict=True)) else "narrowed"
        return f'{change}({text}, "{outer}", "{form}")'

    def is_constant(self, expr: sp.Expr) -> bool:
        """No sample decides it: it must be spread over all."""
        return not any(
            isinstance(s, (Stream, Written)) or s in (PATTERN, PATTERN1, PATTERN2) for s in expr.free_symbols
        )

    def filled(self, expr: sp.Expr, form: Form) -> str:
        """A constant for all entries and lanes."""
        return f"filled({self.text(expr, form)}, {self.sizes_of(form)}, {self.lanes})"

    def spread(self, expr: sp.Expr, form: Form) -> str:
        """An expression that is read as an array, be it a constant or not."""
        return self.filled(expr, form) if self.is_constant(expr) else self.text(expr, form)

    def lets(self, group: Sequence[Let], made: Made | None = None) -> Iterator[str]:
        """Statements of one layer; what several read stands on a line of its own."""
        self.node = group[0].dst.node
        made = {} if made is None else made
        ready = [(let, self.prepared(let.expr, self.form_of(let.dst))) for let in group]
        counts = counted_parts(expr for _, expr in ready)
        for let, expr in ready:
            name = self.names.stream(let.dst)
            if self.is_constant(expr):  # also where no two pixels differ
                yield f"{name} = {self.filled(let.expr, self.form_of(let.dst))}"
                continue
            if isinstance(expr, Written) and expr.name == name:
                continue
            yield from self.shared(expr, name, made, counts)
            if expr not in made:
                yield f"{name} = {self.plain(_with_overs(expr, made).xreplace(made))}"

    def shared(self, expr: sp.Expr, name: str, made: Made, counts: Counter[sp.Expr]) -> Iterator[str]:
        """Lines for the parts of an expression that it, or a later one, reads more than once; `name` is its own."""
        own = {expr: name}
        for call in in_order(expr.atoms(*ARC_COSINES)):
            argument = call.args[0]
            gap, slope, function = ARC_COSINES[type(call)]
            if gap(argument) not in made:
                names = self.make((gap(argument), slope(argument)), ("gap", "slope"), made, own)
                yield f"{names} = {function}({self.plain(argument.xreplace(made))})"
        for call in in_order(expr.atoms(*CALLS)):
            if call not in made:
                yield self.step_call(call, made, own)
        for arguments in _steps(expr):
            calls = Orthant(*arguments), *_edges(*arguments), Ridge(*arguments)
            if calls[0] not in made:
                yield f"{self.make(calls, STEPS, made, own)} = steps({', '.join(map(self.plain, arguments))})"
        for call in in_order(expr.atoms(*SHARED)):
            if counts[call] > 1 and call not in made:
                text = self.plain(call)
                yield f"{self.make([call], [SHARED[type(call)]], made, own)} = {text}"
        sums = (e for e in expr.atoms(sp.Add) if counts[e] >= MANY_TIMES and e not in made and X not in e.free_symbols)
        for repeated in sorted(sums, key=lambda e: (_operations(e), str(e))):
            text = self.plain(repeated.xreplace(made))
            yield f"{self.make([repeated], ['sum'], made, own)} = {text}"
        for over in in_order({1 / e.base for e in expr.atoms(sp.Pow) if _is_over_root(e)}):
            if counts[over] > 1 and over not in made and over.base in made:
                name = self.local(f"over_{made[over.base].name}")
                yield f"{name} = 1/{made[over.base].name}"
                made[over] = written(name)

    def step_call(self, call: sp.Expr, made: Made, own: Mapping[sp.Expr, str]) -> str:
        """A line for an expectation of polynomials with steps, and what comes with it."""
        _f, _h, *arguments = call.args
        first, second = (table_name(t, self.names) for t in tables_in(call))
        q1, q2, k = (self.plain(a.xreplace(made)) for a in arguments)
        is_gap, value = isinstance(call, IN_GAP), VALUES.get(type(call), type(call))(*call.args)
        if arguments[0] == arguments[1] == arguments[2]:
            return f"{self.make([call], ['mean'], made, own)} = stepped_variance({first}, {second}, {q1})"
        text = f"stepped({first}, {second}, {q1}, {q2}, {k})"
        text = text if is_gap else f"stepped_pair({first}, {second}, {k}, {q1}, {q2})"
        if not has_slope(call):
            return f"{self.make([call], ['mean'], made, own)} = {text}[0]"
        parts = value, SLOPES[type(value)](*value.args)
        return f"{self.make(parts, ('mean', 'slope'), made, own)} = {text}"

    def make(self, parts: Sequence[sp.Expr], wishes: Sequence[str], made: Made, own: Mapping[sp.Expr, str]) -> str:
        """Variables for parts of expressions, as the left side of a line; a whole expression has its own name."""
        wished = zip(parts, wishes, strict=True)
        names = [own.get(part) or self.local(f"{wish}_{self.node}") for part, wish in wished]
        made.update(zip(parts, map(written, names), strict=True))
        return ", ".join(names)

    def local(self, wish: str) -> str:
        """The name of a variable of this function alone."""
        name = self.names.unused(wish, self.locals)
        self.locals.add(name)
        return name


def under_map(expr: Mixed) -> sp.Expr:
    """What maps are applied to, whatever stands around the image."""
    return expr.args[0].args[0] if isinstance(expr.args[0], Framed) else expr.args[0]


def _axes_of(letter: str, size: int) -> tuple[int, ...]:
    """The axes of an array along one spatial axis."""
    if letter == DIAGONAL:
        return (size,)
    step = step_of(letter, size)
    return (size, size) if letter == ALL else (step, size // step, size // step)


def in_order(parts: Iterable[sp.Expr]) -> list[sp.Expr]:
    """Parts in an order that does not depend on the process; their text takes sympy long, and one needs none."""
    found = list(parts)
    return sorted(found, key=str) if len(found) > 1 else found


@lru_cache(maxsize=4096)
def _operations(expr: sp.Expr) -> int:
    return int(sp.count_ops(expr))


def counted_parts(exprs: Iterable[sp.Expr]) -> Counter[sp.Expr]:
    """How often each root, angle, minor and long sum is read, and how often a power of one over a root."""
    parts = [e for expr in exprs for e in sp.preorder_traversal(expr)]
    read = (e for e in parts if isinstance(e, tuple(SHARED)) or _is_long_sum(e))
    return Counter([*read, *(1 / e.base for e in parts if _is_over_root(e))])


def _is_long_sum(expr: sp.Basic) -> bool:
    return isinstance(expr, sp.Add) and _operations(expr) >= LONG_SUM


def _is_over_root(expr: sp.Basic) -> bool:
    """Root(...) to the power of -1, -2, ..."""
    return isinstance(expr, sp.Pow) and isinstance(expr.base, Root) and bool(expr.exp.is_Integer) and expr.exp < 0


def _with_overs(expr: sp.Expr, made: Made) -> sp.Expr:
    """K / Root^3  ->  K over^3."""
    powers = {e: made[1 / e.base] ** -e.exp for e in expr.atoms(sp.Pow) if _is_over_root(e) and 1 / e.base in made}
    return expr.xreplace(powers)


def _steps(expr: sp.Expr) -> list[tuple[sp.Expr, ...]]:
    """The arguments of Orthant and Ridge, and of an Edge that those do not bring with them."""
    found = dict.fromkeys(a.args for a in in_order(expr.atoms(Orthant, Ridge)))
    for edge in in_order(expr.atoms(Edge)):
        if not any(edge in _edges(*arguments) for arguments in found):
            found[edge.args] = None
    return list(found)


def _edges(k: sp.Expr, q1: sp.Expr, q2: sp.Expr, c1: sp.Expr, c2: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """A delta function for the first step, and for the second."""
    return Edge(k, q1, q2, c1, c2), Edge(k, q2, q1, c2, c1)
