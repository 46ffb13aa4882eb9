r"""Program  ->  LaTeX: one line a statement, a recursion once with its range, arc-cosines as kappa of an angle.

Networks without biases are shown as functions of the angle (theta_l, f_l); all others in K, Theta and variances q.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import sympy as sp

from ntkc.backends.latex.general import general_lines
from ntkc.backends.latex.labels import Kappa, entry_of, labels_of
from ntkc.backends.latex.lines import Given, Line, entries_in
from ntkc.backends.latex.maps import definitions_of_maps
from ntkc.backends.latex.names import TURN, names_of
from ntkc.backends.latex.plain import Chance, plain
from ntkc.backends.latex.printer import Printer
from ntkc.backends.latex.simplify import simplified
from ntkc.backends.latex.zonal import SCALE, is_zonal, zonal_lines, zonal_output
from ntkc.gaussian.series import Moment, Series
from ntkc.ir.graph import Graph
from ntkc.ir.program import PLACES, Program, lets
from ntkc.ir.streams import Kind, streams_in
from ntkc.passes.normalise import normalise
from ntkc.passes.prune import alive

OUTPUTS = {"nngp": "K", "ntk": r"\Theta"}
WITHIN = (Kind.W, Kind.V, Kind.Z, Kind.Y)
"""Streams that only programs with pixels have."""
KAPPAS = (
    (0, r"\kappa_0(\theta) &= 1 - \frac{\theta}{\pi}"),
    (1, r"\kappa_1(\theta) &= \frac{\sin \theta + (\pi - \theta) \cos \theta}{\pi}"),
)
PAIR = r"(u, v) &\sim \mathcal{N}\left(0, \begin{pmatrix} q & k \\ k & q' \end{pmatrix}\right) \quad \text{in } "
GAUSSIANS = (
    (Series, PAIR + r"\mathbb{E}_{q, q', k}"),
    (Chance, PAIR + r"\mathbb{P}_{q, q', k}"),
    (Moment, r"u &\sim \mathcal{N}\left(0, q\right) \quad \text{in } \mathbb{E}_{q}"),
)
"""What expectations are over."""


def latex_of(graph: Graph, program: Program, get: str) -> str:
    """The derivation of "nngp" or "ntk" as an `aligned` environment; `graph` is the rolled graph of `program`."""
    labels = labels_of(graph)
    outputs = {name: program.outputs[name] for name in (get, "variance")}
    given = replace(program, outputs=outputs)
    normal = given if program.has_pixels or _reads_pixels(program) else alive(normalise(given))
    if is_zonal(normal):
        output, ratio = zonal_output(normal, get, labels)
        return _page(program, get, *simplified(zonal_lines(normal, labels), output), ratio)
    shown = alive(replace(program, outputs={get: program.outputs[get]}))
    output = plain(shown.outputs[get])
    output = output.xreplace({s: entry_of(s, labels) for s in streams_in(output)})
    return _page(program, get, *simplified(general_lines(shown, labels), output))


def _reads_pixels(program: Program) -> bool:
    """Something is of pixels, or of equal samples: a rule that only programs with pixels have."""
    statements = [*lets(program.per_sample), *lets(program.per_pair)]
    read = {s for let in statements for s in let.expr.free_symbols}
    return bool(program.maps or read & set(PLACES)) or any(let.dst.kind in WITHIN for let in statements)


def _page(program: Program, get: str, lines: Sequence[Line], output: sp.Expr, ratio: sp.Expr | None = None) -> str:
    """The environment; `ratio` is that of the variances where the output is a function of the angle."""
    exprs = [*(line.expr for line in lines), output]
    entries = {e for line in lines for e in (line.dst, *line.also, *entries_in(line.expr))}
    parameters = sorted({s for e in exprs for s in e.free_symbols if type(s) is sp.Symbol}, key=lambda s: s.name)
    given = {s: s.name for e in exprs for s in e.free_symbols if isinstance(s, Given)}
    printer = Printer({**names_of(parameters, entries), **given})
    rows = [
        *(_row(line, printer) for line in lines),
        rf"{OUTPUTS[get]}(x, x') &= {_result(output, ratio, printer)}",
        *_definitions(exprs),
        *definitions_of_maps(program, exprs),
    ]
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def _row(line: Line, printer: Printer) -> str:
    left = " = ".join(printer.doprint(e) for e in (line.dst, *line.also))
    if isinstance(line.expr, sp.acos):
        right = rf"\arccos {_in_parentheses(line.expr.args[0], printer)}"
    else:
        right = printer.doprint(line.expr)
    return f"{left} &= {right}{_range_text(line.turns)}"


def _range_text(turns: range | None) -> str:
    if turns is None:
        return ""
    between = r"" if len(turns) == 2 else r" \dots,"
    return rf" \qquad {TURN} = {turns.start},{between} {turns.stop - 1}"


def _result(output: sp.Expr, ratio: sp.Expr | None, printer: Printer) -> str:
    if ratio is None:
        return printer.doprint(output)
    factor = "" if ratio == 1 else rf"{printer.doprint(ratio)} \, "
    return rf"{factor}{SCALE} \, {_in_parentheses(output, printer)}"


def _in_parentheses(expr: sp.Expr, printer: Printer) -> str:
    text = printer.doprint(expr)
    return rf"\left({text}\right)" if isinstance(expr, sp.Add) or text.startswith("-") else text


def _definitions(exprs: Sequence[sp.Expr]) -> Iterator[str]:
    """What the functions that the page reads are."""
    orders = {call.args[0] for expr in exprs for call in expr.atoms(Kappa)}
    yield from (text for order, text in KAPPAS if order in orders)
    yield from (text for head, text in GAUSSIANS if any(expr.has(head) for expr in exprs))
