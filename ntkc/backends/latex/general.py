r"""Lines in K, Theta and variances q:  the rules as they are, arc-cosine kernels in terms of an angle.

theta_{1} = arccos K_{1} / sqrt(q_{1} q'_{1}),   K_{2} = 1/2 kappa_1(theta_{1}) sqrt(q_{1} q'_{1})
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import sympy as sp

from ntkc.backends.latex.labels import Entry, Kappa, Label, angle_of, entry_of
from ntkc.backends.latex.lines import Given, Line
from ntkc.backends.latex.plain import plain
from ntkc.gaussian.functions import Angle
from ntkc.ir.program import Let, Loop, Program, Statement
from ntkc.ir.streams import Kind, Stream, streams_in, variance
from ntkc.passes.recognise import mixture_of, operand_of


@dataclass
class Angles:
    """The angles that have a line already."""

    labels: Mapping[str, Label]
    lines: list[Line] = field(default_factory=list[Line])
    known: set[tuple[Entry, range | None]] = field(default_factory=set[tuple[Entry, range | None]])

    def add(self, angle: Entry, cosine: sp.Expr, turns: range | None) -> None:
        """angle = arccos(cosine), once for each angle."""
        if (angle, turns) not in self.known:
            self.known.add((angle, turns))
            self.lines.append(Line(angle, sp.acos(cosine), turns))

    def shown(self, expr: sp.Expr) -> sp.Expr:
        """An expression in entries."""
        return plain(expr).xreplace({s: entry_of(s, self.labels) for s in streams_in(expr)})


def general_lines(program: Program, labels: Mapping[str, Label]) -> list[Line]:
    """The lines of a program."""
    page = Angles(labels)
    page.lines += [Line(entry_of(key, labels), Given(source_text(program, key))) for key in program.inputs]
    for let, turns in turns_of([*program.per_sample, *program.per_pair], labels):
        add = _add_within if let.dst.kind is Kind.W else _add_line
        add(page, let, turns)
    return page.lines


def turns_of(statements: Iterable[Statement], labels: Mapping[str, Label]) -> Iterator[tuple[Let, range | None]]:
    """Every Let, with the range of its loop."""
    for s in statements:
        if isinstance(s, Loop):
            first = labels[s.carry[0].before.node].level
            yield from ((let, range(first, first + s.count)) for let in s.body)
        else:
            yield s, None


def source_text(program: Program, key: Stream) -> str:
    """A stream of the data, x^{(2)} those of the second of several inputs."""
    if program.is_port:
        source = r"_{\mathrm{in}}"
        return {Kind.K: f"K{source}(x, x')", Kind.T: rf"\Theta{source}(x, x')"}.get(key.kind, f"K{source}(x, x)")
    mark = f"^{{({list(program.data).index(key.node) + 1})}}" if len(program.data) > 1 else ""
    d, x, other = (rf"{name}{mark}" for name in ("d", "x", "x'"))
    p, q = ("_{p}", "_{p'}") if any(program.spatial.values()) else ("", "")
    texts = {
        Kind.K: rf"\frac{{1}}{{{d}}} {x}{p} \cdot {other}{q}",
        Kind.S: rf"\frac{{1}}{{{d}}} {x}{p} \cdot {x}{p}",
        Kind.W: rf"\frac{{1}}{{{d}}} {x}{p} \cdot {x}{q}",
        Kind.Y: rf"\left[{x}{p}\right]",
    }
    return texts[key.kind]


def _add_line(page: Angles, let: Let, turns: range | None) -> None:
    mixture, operand = mixture_of(let), operand_of(let)
    dst, expr = entry_of(let.dst, page.labels), let.expr
    if let.dst.kind is Kind.K and mixture is not None:
        K, norm = Stream(Kind.K, operand), _norm(operand)
        angle = angle_of(operand, page.labels)
        page.add(angle, page.shown(K / norm), turns)
        expr = (mixture.linear - mixture.bent) * K + 2 * mixture.bent * norm * Kappa(1, angle)
    elif let.dst.kind is Kind.T and operand and (angle_of(operand, page.labels), turns) in page.known:
        slope = sp.pi * Kappa(0, angle_of(operand, page.labels)) - sp.pi / 2
        expr = sp.factor(expr.xreplace(dict.fromkeys(expr.atoms(Angle), slope)))
    page.lines.append(Line(dst, page.shown(expr), turns))


def _add_within(page: Angles, let: Let, turns: range | None) -> None:
    """The covariance of two pixels of a sample, as one of two samples, with an angle of its own."""
    as_pair = {s: s.of(Kind.K) for s in streams_in(let.expr) if s.kind is Kind.W}
    line = replace(let, dst=let.dst.of(Kind.K), expr=let.expr.xreplace(as_pair))
    mixture, operand = mixture_of(line), operand_of(line)
    expr = let.expr
    if mixture is not None:
        W, norm = Stream(Kind.W, operand, side=0), _norm(operand)
        angle = angle_of(operand, page.labels, within=True)
        page.add(angle, page.shown(W / norm), turns)
        expr = (mixture.linear - mixture.bent) * W + 2 * mixture.bent * norm * Kappa(1, angle)
    page.lines.append(Line(entry_of(let.dst, page.labels), page.shown(expr), turns))


def _norm(node: str) -> sp.Expr:
    return sp.sqrt(variance(node, 1)) * sp.sqrt(variance(node, 2))
