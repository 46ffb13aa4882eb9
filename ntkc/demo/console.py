"""The demo on the terminal: progress, results, one formula, one function of the source."""

from __future__ import annotations

import ast
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.syntax import Syntax
from rich.table import Table

from ntkc.demo.architectures import architectures
from ntkc.demo.data import Split, load
from ntkc.demo.page import page
from ntkc.demo.study import KERNELS, Outcome, Study, evaluate
from ntkc.demo.words import CONSOLE_HEADS, best_line, cells, method, split_line

STEPS = 2 + len(KERNELS)
"""Calls of `tick` in the evaluation of a network."""


def run_demo(data: str | Path | None, output: str | Path, seed: int, console: Console) -> Study:
    """Evaluate all networks, print the results, write the page; the last line is the best test accuracy.

    Raises:
        InvalidInput, MissingExtra: there are no data to use.
    """
    samples = load(data, seed)
    console.print(split_line(samples), highlight=False)
    study = Study(samples, evaluated(samples, console))
    console.print(results_table(study))
    console.print(method(), style="dim", highlight=False)
    show_program(study, console)
    target = Path(output)
    target.write_text(page(study), encoding="utf-8")
    console.print(f"\nreport: {target}", highlight=False, soft_wrap=True)
    console.print(best_line(study), style="bold", highlight=False, soft_wrap=True)
    return study


def evaluated(data: Split, console: Console) -> tuple[Outcome, ...]:
    nets = architectures(len(data.classes))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("", total=STEPS * len(nets))

        def tick(what: str) -> None:
            progress.update(task, description=what, advance=1)

        return tuple(evaluate(net, data, tick) for net in nets)


def results_table(study: Study) -> Table:
    """The columns of CONSOLE_HEADS: what fits 80 characters; the page has the seconds one by one."""
    table = Table(title=f"test results on {study.data.name}", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, is_number in CONSOLE_HEADS:
        table.add_column(name, justify="right" if is_number else "left", no_wrap=True)
    for score in study.scores:
        row = (*cells(score)[: len(CONSOLE_HEADS) - 1], f"{score.seconds:.1f}")
        table.add_row(*row, style="bold green" if score is study.best else None)
    return table


def show_program(study: Study, console: Console) -> None:
    """LaTeX and the pair function of the best network."""
    best = study.best
    program = next(o.program for o in study.outcomes if o.name == best.architecture)
    console.rule(f"{best.architecture}: the {best.kernel} as LaTeX")
    get = next(name for name, title in KERNELS.items() if title == best.kernel)
    console.print(program.latex(get), markup=False, highlight=False, soft_wrap=True)
    console.rule(f"{best.architecture}: the JAX function of every pair of samples")
    show_source(function_text(program.source, "pair"), console)


def show_source(text: str, console: Console) -> None:
    """Coloured on a terminal; elsewhere as it is, so that it can be copied."""
    if console.is_terminal:
        console.print(Syntax(text, "python", background_color="default", word_wrap=True))
    else:
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def function_text(source: str, name: str) -> str:
    """The text of one function of a module."""
    found = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == name]
    return ast.get_source_segment(source, found[0]) or "" if found else ""
