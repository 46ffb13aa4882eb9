r"""Lines of networks without biases, as functions of the angle:  f = K / (n n'),  tau = Theta / (n n').

theta_{1} = arccos f_{1},   f_{2} = kappa_1(theta_{1}),   tau_{2} = f_{2} + kappa_0(theta_{1}) tau_{1}
"""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp

from ntkc.backends.latex.general import Angles, turns_of
from ntkc.backends.latex.labels import Kappa, Label, angle_of, entry_of
from ntkc.backends.latex.lines import Given, Line
from ntkc.gaussian.arc_cosine import ArcGap, ArcSlope, EvenGap, EvenSlope
from ntkc.ir.evaluate import substitute, walk
from ntkc.ir.program import Let, Program, lets
from ntkc.ir.streams import SAMPLE, Kind, Stream, streams_in

CALLS = (ArcGap, ArcSlope, EvenGap, EvenSlope)
COSINE = r"\frac{x \cdot x'}{\lVert x \rVert \, \lVert x' \rVert}"
SCALE = r"\frac{\lVert x \rVert \, \lVert x' \rVert}{d}"


def is_zonal(normal: Program) -> bool:
    """Every pair statement of a normalised program is a function of the angle alone."""
    read = {s for let in lets(normal.per_pair) for s in streams_in(let.expr)}
    has_gap = any(k.kind is Kind.G for k in normal.inputs)
    return has_gap and not normal.is_port and not normal.parameters and not any(s.side for s in read)


def zonal_lines(program: Program, labels: Mapping[str, Label]) -> list[Line]:
    """The lines of a normalised program."""
    page = Angles(labels)
    page.lines += [Line(entry_of(k, labels), Given(COSINE)) for k in program.inputs if k.kind is Kind.G]
    for let, turns in turns_of(program.per_pair, labels):
        _add_line(page, let, turns)
    return page.lines


def zonal_output(program: Program, get: str, labels: Mapping[str, Label]) -> tuple[sp.Expr, sp.Expr]:
    """The output over n n', and what the variance of the output is times that of the data."""
    output = program.outputs[get]
    norms = sp.Mul(*(s for s in streams_in(output) if s.side))
    known: dict[sp.Symbol, sp.Expr] = {k: sp.S.One for k in program.inputs if k.side == SAMPLE}
    walk(program.per_sample, known, substitute)
    return in_cosines(sp.expand(output / norms), labels), substitute(program.outputs["variance"], known)


def _add_line(page: Angles, let: Let, turns: range | None) -> None:
    for call in sorted(let.expr.atoms(*CALLS), key=str):
        (gap,) = call.args
        page.add(angle_of(gap.node, page.labels), entry_of(gap, page.labels), turns)
    expr = in_cosines(let.expr, page.labels)
    shown = sp.expand(1 - expr) if let.dst.kind is Kind.G else expr
    page.lines.append(Line(entry_of(let.dst, page.labels), shown, turns))


def in_cosines(expr: sp.Expr, labels: Mapping[str, Label]) -> sp.Expr:
    """delta -> 1 - f,  gap(delta) -> 1 - kappa_1(theta),  slope(delta) -> kappa_0(theta)."""
    values: dict[sp.Basic, sp.Expr] = {s: _in_cosine(s, labels) for s in streams_in(expr)}
    values |= {call: _in_angle(call, labels) for call in expr.atoms(*CALLS)}
    return sp.expand(expr.xreplace(values))


def _in_cosine(stream: Stream, labels: Mapping[str, Label]) -> sp.Expr:
    entry = entry_of(stream, labels)
    return 1 - entry if stream.kind is Kind.G else entry


def _in_angle(call: sp.Expr, labels: Mapping[str, Label]) -> sp.Expr:
    (gap,) = call.args
    angle, cosine = angle_of(gap.node, labels), entry_of(gap, labels)
    if isinstance(call, ArcGap):
        return 1 - Kappa(1, angle)
    if isinstance(call, ArcSlope):
        return Kappa(0, angle)
    return 1 + cosine - 2 * Kappa(1, angle) if isinstance(call, EvenGap) else 2 * Kappa(0, angle) - 1
