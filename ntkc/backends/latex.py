"""Program  ->  LaTeX: one line a statement, a repeated block once, arc-cosines as kappa_0 and kappa_1 of an angle.

Networks without biases are shown as functions of the angle (theta_l, f_l); all others in K, Theta and variances q.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import sympy as sp

from ntkc.backends.latex_pixels import PLACES, PixelPrinter, has_pixels, map_definitions
from ntkc.gaussian.arc_cosine import ArcGap, ArcSlope, EvenGap, EvenSlope, NearGap, NearSlope
from ntkc.gaussian.functions import Angle, Ratio, Root
from ntkc.ir.graph import Graph, inputs_of, op_of, operands, ordered
from ntkc.ir.program import SAMPLE, Stream, Let, Loop, Program, Statement, lets, unsided
from ntkc.ir.value import Law
from ntkc.passes.analyse import analyse
from ntkc.passes.normalise import mixture_of, normalise, operand_of
from ntkc.passes.prune import prune
from ntkc.passes.roll import Block

_FLAT = {"K": "K", "T": r"\Theta", "q": "q", "delta": "f", "tau": r"\tau", "theta": r"\theta"}
LETTERS = {**_FLAT, "w": "W", "v": "v", "z": "G", "m": "m", "vartheta": r"\vartheta"}
OUTPUTS = {"nngp": "K", "ntk": r"\Theta"}
TURN = r"\ell"


class Label(NamedTuple):
    """Where a node stands: the number of Gaussian layers up to it, and the activation on top, if any."""

    level: str
    mark: str = ""

    def text(self) -> str:
        """`_{2}`, or `_{2,\\mathrm{relu}}`."""
        return f"_{{{self.level}}}" if not self.mark else rf"_{{{self.level},\mathrm{{{self.mark}}}}}"


@dataclass(frozen=True)
class _Line:
    """dst = expr, for the turns of a loop; an angle's line holds the cosine."""

    dst: sp.Symbol
    expr: sp.Expr
    suffix: str = ""


@dataclass
class _Page:
    """Lines so far, how nodes are labelled, and which angles have a line."""

    labels: Mapping[str, Label]
    lines: list[_Line] = field(default_factory=list[_Line])
    angles: set[str] = field(default_factory=set[str])

    def add_angle(self, node: str, cosine: sp.Expr, suffix: str) -> None:
        """theta = arccos(cosine), once for each node."""
        if node not in self.angles:
            self.angles.add(node)
            self.lines.append(_Line(_theta(node), cosine, suffix))

    def symbol(self, name: str) -> str:
        """`K_dense1` -> `K_{1}`,  `q2_relu1` -> `q'_{1,relu}`; hyper-parameters as they are."""
        letter, _, node = name.partition("_")
        if name in PLACES:
            return PLACES[name]
        if node not in self.labels:
            return sp.latex(sp.Symbol(name))
        if letter.startswith("kappa"):
            angle = r"\vartheta" if letter.startswith("kappaw") else r"\theta"
            return rf"\kappa_{letter[-1]}({angle}{self.labels[node].text()})"
        prime = "'" if letter.endswith("2") else ""
        return f"{LETTERS[letter.rstrip('12')]}{prime}{self.labels[node].text()}"

    def text(self, expr: sp.Expr) -> str:
        """An expression with the symbols of this page."""
        names = {s: self.symbol(s.name) for s in expr.free_symbols}
        plain = expr.replace(lambda e: isinstance(e, (Root, Angle, Ratio)), lambda e: e.explicit())
        return _Printer({"symbol_names": names, "inv_trig_style": "full"}).doprint(plain)

    def line(self, line: _Line) -> str:
        """One row of the environment."""
        left = self.symbol(line.dst.name)
        arccos = r"\arccos " if line.dst.name.startswith(("theta_", "vartheta_")) else ""
        right = self.text(line.expr)
        return f"{left} &= {arccos}{_in_parentheses(right) if arccos else right}{line.suffix}"


def latex_of(graph: Graph, program: Program, get: str) -> str:
    """The derivation of "nngp" or "ntk" as an `aligned` environment; `graph` is the rolled graph of `program`."""
    page = _Page(_labels(graph))
    outputs = {name: program.outputs[name] for name in (get, "variance")}
    given = replace(program, outputs=outputs)
    normal = given if has_pixels(program) or len(program.data) > 1 else prune(normalise(given))
    if _is_zonal(normal):
        first, last = _zonal_page(page, normal, get)
        shown = normal
    else:
        shown = prune(replace(program, outputs={get: program.outputs[get]}))
        first, last = _general_page(page, shown, get)
    body = [page.line(line) for line in _inlined(page, shown, get)]
    rows = [*first, *body, last]
    return (
        "\\begin{aligned}\n"
        + " \\\\\n".join([*rows, *_definitions(rows), *map_definitions(program, "\n".join(rows))])
        + "\n\\end{aligned}"
    )


def _inlined(page: _Page, program: Program, get: str) -> list[_Line]:
    """A line of an activation that one other line reads is put into that line."""
    kept = set(program.outputs[get].free_symbols)
    for loop in (s for s in [*program.per_sample, *program.per_pair] if isinstance(s, Loop)):
        kept |= {k for c in loop.carry for k in (c.before, c.start, c.end, c.after)}
    lines = list(page.lines)
    on_a_side = {unsided(s.name) for line in lines for s in line.expr.free_symbols if unsided(s.name) != s.name}
    for line in page.lines:
        node = line.dst.name.partition("_")[2]
        readers = [other for other in lines if line.dst in other.expr.free_symbols]
        if len(readers) != 1 or line.dst in kept or line.dst.name in on_a_side or not page.labels[node].mark:
            continue
        (reader,) = readers
        current = next(x for x in lines if x.dst == line.dst)
        merged = replace(reader, expr=sp.expand_mul(reader.expr.xreplace({line.dst: current.expr}), deep=False))
        lines = [merged if x is reader else x for x in lines if x is not current]
    return lines


def _is_zonal(normal: Program) -> bool:
    """Every pair statement is a function of the angle alone."""
    gaps = [k for k in normal.inputs if k.kind is Kind.G]
    read = {s.name for let in lets(normal.per_pair) for s in let.expr.free_symbols}
    return bool(gaps) and not normal.is_port and not normal.parameters and not any(_is_sampled(name) for name in read)


def _is_sampled(name: str) -> bool:
    return name.partition("_")[0][-1:] in ("1", "2")


def _labels(graph: Graph) -> dict[str, Label]:
    """A label for every node, the bodies of blocks included."""
    values = analyse(graph)
    inputs = inputs_of(graph)
    labels = {n: Label("0", n if len(inputs) > 1 else "") for n in inputs}
    level = 0
    for node in ordered(graph):
        if node in labels:
            continue
        op = op_of(graph, node)
        below = labels[operands(graph, node)[0]]
        if isinstance(op, Block):
            level = int(below.level) + op.count
            labels[node] = Label(str(level), below.mark)
            labels.update(_body_labels(op.body, below.mark))
        elif values[node].law is Law.POINTWISE:
            labels[node] = _unique(Label(below.level, node.rstrip("0123456789")), node, labels)
        else:
            level += 1
            labels[node] = Label(str(level))
    return labels


def _body_labels(body: Graph, mark: str) -> dict[str, Label]:
    labels: dict[str, Label] = {}
    for node in ordered(body):
        labels[node] = _unique(Label(TURN, node.rstrip("0123456789")), node, labels)
    labels[body.graph["input"]] = Label(TURN, mark)
    labels[body.graph["output"]] = Label(f"{TURN}+1", mark)
    return labels


def _unique(label: Label, node: str, taken: Mapping[str, Label]) -> Label:
    return Label(label.level, node) if label in taken.values() else label


def _general_page(page: _Page, program: Program, get: str) -> tuple[list[str], str]:
    exprs = [*(let.expr for let in lets([*program.per_sample, *program.per_pair])), program.outputs[get]]
    read = {symbol.name for expr in exprs for symbol in expr.free_symbols}
    read |= {c.before.name for s in [*program.per_sample, *program.per_pair] if isinstance(s, Loop) for c in s.carry}
    shown = [k for k in program.inputs if read & {k.name, k.on(1).name, k.on(2).name}]
    first = [f"{page.symbol(key.name)} &= {_source_text(program, key)}" for key in shown]
    for let, suffix in _turns([*program.per_sample, *program.per_pair], page):
        page.lines.append(_general_line(page, let, suffix))
    return first, f"{OUTPUTS[get]}(x, x') &= {page.text(program.outputs[get])}"


def _source_text(program: Program, key: Stream) -> str:
    """A stream of the data, x^{(2)} those of the second of several inputs."""
    if program.is_port:
        return {"K": "K(x, x')", "S": "K(x, x)", "T": r"\Theta(x, x')"}[key.kind]
    mark = f"^{{({list(program.data).index(key.node) + 1})}}" if len(program.data) > 1 else ""
    d, x, other = (rf"{name}{mark}" for name in ("d", "x", "x'"))
    p, q = ("_{p}", "_{p'}") if any(program.spatial.values()) else ("", "")
    texts = {
        "K": rf"\frac{{1}}{{{d}}} {x}{p} \cdot {other}{q}",
        "S": rf"\frac{{1}}{{{d}}} {x}{p} \cdot {x}{p}",
        "W": rf"\frac{{1}}{{{d}}} {x}{p} \cdot {x}{q}",
        "Y": rf"\left[{x}{p}\right]",
        "T": r"\Theta(x, x')",
    }
    return texts[key.kind]


def _general_line(page: _Page, let: Let, suffix: str) -> _Line:
    if let.dst.kind is Kind.W:
        return _line_within(page, let, suffix)
    mixture, operand = mixture_of(let), operand_of(let)
    if let.dst.kind is Kind.K and mixture is not None:
        key = Stream(Kind.S, operand, operand, SAMPLE)
        K, norm = Stream(Kind.K, operand, operand), sp.sqrt(key.on(1)) * sp.sqrt(key.on(2))
        page.add_angle(operand, K / norm, suffix)
        bend = 2 * mixture.bent * norm * _kappa(1, operand)
        return _Line(let.dst, (mixture.linear - mixture.bent) * K + bend, suffix)
    if let.dst.kind is Kind.T and operand in page.angles:
        slopes = {a: sp.pi * _kappa(0, operand) - sp.pi / 2 for a in let.expr.atoms(Angle)}
        return _Line(let.dst, sp.factor(let.expr.xreplace(slopes)), suffix)
    return _Line(let.dst, let.expr, suffix)


def _line_within(page: _Page, let: Let, suffix: str) -> _Line:
    """The covariance of two pixels of a sample, as one of two samples, with an angle of its own."""
    names = {
        s: sp.Symbol(f"K_{s.name.removeprefix('w_')}", real=True) for s in let.expr.free_symbols if s.name[:2] == "w_"
    }
    line = replace(let, dst=replace(let.dst, stream="K", side=None), expr=let.expr.xreplace(names))
    mixture, operand = mixture_of(line), operand_of(line)
    if mixture is None:
        return _Line(let.dst, let.expr, suffix)
    key, w = Stream(Kind.S, operand, operand, SAMPLE), Stream(Kind.W, operand, operand, SAMPLE)
    norm = sp.sqrt(key.on(1)) * sp.sqrt(key.on(2))
    if f"w_{operand}" not in page.angles:
        page.angles.add(f"w_{operand}")
        page.lines.append(_Line(sp.Symbol(f"vartheta_{operand}", real=True), w / norm, suffix))
    bend = 2 * mixture.bent * norm * sp.Symbol(f"kappaw1_{operand}", real=True)
    return _Line(let.dst, (mixture.linear - mixture.bent) * w + bend, suffix)


def _zonal_page(page: _Page, program: Program, get: str) -> tuple[list[str], str]:
    (gap,) = (k for k in program.inputs if k.kind is Kind.G)
    first = rf"{page.symbol(gap.name)} &= \frac{{x \cdot x'}}{{\lVert x \rVert \, \lVert x' \rVert}}"
    for let, suffix in _turns(program.per_pair, page):
        page.lines.append(_zonal_line(page, let, suffix))
    ratio, output = _variance_ratio(program), program.outputs[get]
    function = sp.expand(output / sp.Mul(*(s for s in output.free_symbols if _is_sampled(s.name))))
    factor = "" if ratio == 1 else f"{page.text(ratio)} \\, "
    scale = r"\frac{\lVert x \rVert \, \lVert x' \rVert}{d}"
    shown = _in_parentheses(page.text(_in_cosines(function)))
    return [first], rf"{OUTPUTS[get]}(x, x') &= {factor}{scale} \, {shown}"


def _zonal_line(page: _Page, let: Let, suffix: str) -> _Line:
    for call in sorted(let.expr.atoms(*_CALLS), key=str):
        page.add_angle(call.args[0].name.partition("_")[2], call.args[0], suffix)
    expr = _in_cosines(let.expr)
    return _Line(let.dst, sp.expand(1 - expr) if let.dst.kind is Kind.G else expr, suffix)


_CALLS = (ArcGap, ArcSlope, EvenGap, EvenSlope)


def _in_cosines(expr: sp.Expr) -> sp.Expr:
    """delta -> 1 - f,  gap(delta) -> 1 - kappa_1(theta),  slope(delta) -> kappa_0(theta);  f is written delta."""
    values: dict[sp.Expr, sp.Expr] = {}
    for call in expr.atoms(*_CALLS):
        node = call.args[0].name.partition("_")[2]
        cosine = call.args[0]
        values[call] = {
            ArcGap: 1 - _kappa(1, node),
            NearGap: 1 - _kappa(1, node),
            ArcSlope: _kappa(0, node),
            NearSlope: _kappa(0, node),
            EvenGap: 1 + cosine - 2 * _kappa(1, node),
            EvenSlope: 2 * _kappa(0, node) - 1,
        }[type(call)]
    marks = {call: sp.Symbol(f"call{i}@") for i, call in enumerate(values)}
    placed = expr.xreplace(marks)
    gaps = {s: 1 - s for s in placed.free_symbols if s.name.startswith("delta_")}
    return sp.expand(placed.xreplace(gaps).xreplace({mark: values[call] for call, mark in marks.items()}))


def _variance_ratio(program: Program) -> sp.Expr:
    """q of the output over q of the input: a number, for networks without biases."""
    known: dict[sp.Symbol, sp.Expr] = {k: sp.S.One for k in program.inputs if k.side == SAMPLE}
    for statement in program.per_sample:
        _step(statement, known)
    return sp.sympify(program.outputs["variance"]).xreplace(known)


def _step(statement: Statement, known: dict[sp.Symbol, sp.Expr]) -> None:
    if isinstance(statement, Let):
        known[statement.dst] = statement.expr.xreplace(known)
        return
    for c in statement.carry:
        known[c.start] = known[c.before]
    for _ in range(statement.count):
        for let in statement.body:
            known[let.dst] = let.expr.xreplace(known)
        for c in statement.carry:
            known[c.start] = known[c.end]
    for c in statement.carry:
        known[c.after] = known[c.start]


def _turns(statements: Iterable[Statement], page: _Page) -> Iterator[tuple[Let, str]]:
    """Every Let, with the range of its loop."""
    for s in statements:
        if isinstance(s, Let):
            yield s, ""
            continue
        first = int(page.labels[s.carry[0].before.node].level)
        for let in s.body:
            yield let, rf" \qquad {TURN} = {first}, \dots, {first + s.count - 1}"


def _kappa(order: int, node: str) -> sp.Symbol:
    return sp.Symbol(f"kappa{order}_{node}", real=True)


def _theta(node: str) -> sp.Symbol:
    return sp.Symbol(f"theta_{node}", real=True)


def _definitions(rows: Sequence[str]) -> list[str]:
    text = "\n".join(rows)
    definitions = {
        r"\kappa_0": r"\kappa_0(\theta) &= 1 - \frac{\theta}{\pi}",
        r"\kappa_1": r"\kappa_1(\theta) &= \frac{\sin \theta + (\pi - \theta) \cos \theta}{\pi}",
    }
    return [line for name, line in definitions.items() if name in text]


class _Printer(PixelPrinter):
    """sympy's printer, with long fractions as the decimals they came from."""

    def _print_Rational(self, expr: sp.Expr) -> str:
        if expr.q > 1000 or abs(expr.p) > 10_000:
            return repr(float(expr))
        return super()._print_Rational(expr)

    def _print_Integer(self, expr: sp.Expr) -> str:
        return str(int(expr)) if abs(expr) < 10**9 else repr(float(expr))


def _in_parentheses(text: str) -> str:
    return rf"\left({text}\right)" if "+" in text or " - " in text else text
