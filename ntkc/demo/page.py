"""Study  ->  one HTML page that stands alone: table, formulas as MathML, networks and curves as SVG, the source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from ntkc.demo.drawing import draw
from ntkc.demo.mathml import mathml
from ntkc.demo.plots import angle_curves, line_plot, png, square_side
from ntkc.demo.study import KERNELS, Outcome, Score, Study
from ntkc.demo.style import CSS
from ntkc.demo.words import HEADS, best_line, cells, method, split_line
from ntkc.errors import UnsupportedExpr
from ntkc.program import KernelProgram

MOST_IMAGES = 12


def page(study: Study) -> str:
    """The whole document."""
    title = f"Infinitely wide networks on {study.data.name}"
    parts = (
        f"<h1>{escape(title)}</h1>",
        '<p class="lead">ntkc compiled each network below, symbolically, to its two infinite-width kernels: the NNGP '
        "(the network at random weights) and the NTK (the network trained by gradient descent). "
        "No network was trained: the predictions are kernel regression.</p>",
        f'<p class="best">{escape(best_line(study)).replace("best", "Best", 1)}</p>',
        "<h2>Results</h2>",
        results(study),
        f'<p class="note">{escape(split_line(study.data))} {escape(method())}</p>',
        mistakes(study),
        "<h2>What the kernels see</h2>",
        curves(study.outcomes),
        "<h2>Networks, formulas, source</h2>",
        *(network(outcome, outcome.name == study.best.architecture) for outcome in study.outcomes),
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{CSS}</style>\n</head>\n<body>\n<main>\n{chr(10).join(parts)}\n</main>\n</body>\n</html>\n"
    )


def table(heads: Sequence[tuple[str, bool]], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A table; a head is (text, is it a column of numbers), a row (CSS class, cells)."""
    kinds = [' class="number"' if is_number else "" for _, is_number in heads]
    head = "".join(f"<th{kind}>{escape(text)}</th>" for (text, _), kind in zip(heads, kinds, strict=True))
    body = "".join(
        f'<tr class="{kind_of_row}">'
        + "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, kinds, strict=True))
        + "</tr>\n"
        for kind_of_row, row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def results(study: Study) -> str:
    return table(HEADS, (("top" if score is study.best else "", cells(score)) for score in study.scores))


def mistakes(study: Study) -> str:
    """The test images that the best kernel gets wrong; nothing if the data are no square images."""
    test, best = study.data.test, study.best
    side = square_side(test.x.shape)
    wrong = np.flatnonzero(best.predicted != test.y)
    if side is None or len(wrong) == 0:
        return ""
    figures = "".join(_mistake(study, best, int(i), side) for i in wrong[:MOST_IMAGES])
    count = f"all {len(wrong)}" if len(wrong) <= MOST_IMAGES else f"{MOST_IMAGES} of {len(wrong)}"
    title = f"The test images that {best.architecture}, {best.kernel} gets wrong ({count})"
    return f'<h3>{escape(title)}</h3><div class="images">{figures}</div>'


def _mistake(study: Study, best: Score, i: int, side: int) -> str:
    image = study.data.test.x[i].reshape(side, side)
    true, said = (escape(study.data.classes[int(c)]) for c in (study.data.test.y[i], best.predicted[i]))
    return f'<figure><img alt="test image {i}" src="{png(image)}">is {true}, read as {said}</figure>'


def curves(outcomes: Sequence[Outcome]) -> str:
    """Both kernels of every network over the angle between two inputs."""
    found = {outcome.name: angle_curves(outcome.program) for outcome in outcomes}
    classes = {name: f"c{i % 5}" for i, name in enumerate(found)}
    x = next(iter(found.values()))[0]
    plots = [
        line_plot(f"{title} / its value at 0°", x, {name: found[name][column] for name in found}, classes)
        for column, title in enumerate(KERNELS.values(), 1)
    ]
    legend = "".join(f'<li><i class="{classes[name]}"></i>{escape(name)}</li>' for name in found)
    return (
        "<p>Two inputs of mean square 1 at an angle: how much the network makes of their likeness. "
        "Depth flattens the NNGP and sharpens the NTK; residual branches slow this down.</p>"
        f'<div class="plots">{"".join(plots)}</div><ul class="legend">{legend}</ul>'
    )


def network(outcome: Outcome, is_open: bool) -> str:
    program = outcome.program
    percents = ", ".join(f"{s.kernel} {s.percent} %" for s in outcome.scores)
    return (
        f"<details{' open' if is_open else ''}><summary>{escape(outcome.name)}<span>{percents}</span></summary><div>"
        f'<div class="network"><div><h3>Network</h3>{draw(program.graph)}</div>'
        f"<div>{''.join(formula(program, get) for get in KERNELS)}</div></div>"
        f"<h3>Stages of the compiler</h3>{stages(program)}"
        f"<h3>The JAX source that ran</h3><pre>{escape(program.source)}</pre></div></details>"
    )


def formula(program: KernelProgram, get: str) -> str:
    return f'<h3>{KERNELS[get]}</h3><div class="formula">{formula_markup(program.latex(get))}</div>'


def formula_markup(latex: str) -> str:
    """MathML, or the TeX itself where the converter does not know a command."""
    try:
        return mathml(latex)
    except UnsupportedExpr:
        return f"<pre><code>{escape(latex)}</code></pre>"


def stages(program: KernelProgram) -> str:
    heads = (("stage", False), ("statements", True), ("operations", True), ("ms", True), ("what it did", False))
    rows = (
        ("", (r.stage, _count(r.statements), _count(r.operations), f"{r.milliseconds:.1f}", r.what))
        for r in program.stages
    )
    return table(heads, rows)


def _count(number: int | None) -> str:
    return "" if number is None else str(number)
