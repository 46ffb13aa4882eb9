"""Reports  ->  tables on the screen."""

import os
from typing import Any

from cases import DISTANCES
from report import OURS, PEER, CaseReport, near_duplicate_rows
from rich.console import Console
from rich.table import Table

CASE_COLUMNS = ("case", "n", "d")
FIRST_COLUMNS = ("first ntkc", "peer", "peer/ntkc", "compile ntkc", "peer", "peer/ntkc")
STEADY_COLUMNS = ("jit ntkc", "peer", "peer/ntkc", "best ntkc", "peer", "peer/ntkc", "product", "error ntkc", "peer")


def print_report(surroundings: dict[str, Any], reports: list[CaseReport]) -> None:
    """The same as tables; errors are relative to sqrt(K_ii K_jj)."""
    # A pipe has no width; without one the columns would be squeezed into 80.
    console = Console(width=None if os.isatty(1) else 160)
    console.print(f"{surroundings['cpu']}, {surroundings['cores']} cores, {surroundings['date']}")
    for name, facts in surroundings["packages"].items():
        if facts:
            console.print(
                f"{name}: jax {facts['jax']}, Python {facts['python']}, {facts['device']}; "
                f"import over jax {facts['import_s']:.3f} s (median of {facts['imports']})"
            )
    timed = [report for report in reports if not report.case.is_near_duplicates]
    if timed:
        console.print(_first_call_table(timed))
        console.print(_steady_table(timed))
    rows = [row for report in reports for row in near_duplicate_rows(report)]
    if rows:
        console.print(_near_duplicate_table(rows))
    for report in reports:
        for name, failure in report.failures.items():
            console.print(f"{report.case.name}: {name} failed: {failure}", markup=False, style="red")


def _first_call_table(reports: list[CaseReport]) -> Table:
    table = _table("first call, seconds (compile = first call - steady median)", *CASE_COLUMNS)
    for heading in FIRST_COLUMNS:
        table.add_column(heading, justify="right")
    for report in reports:
        table.add_row(*_case_cells(report), *_time_cells(report, "first_s"), *_time_cells(report, "compile_s"))
    return table


def _steady_table(reports: list[CaseReport]) -> Table:
    table = _table(
        "steady, least seconds (best: of jit and direct call; product = x1 @ x2.T as a share of ntkc's)", *CASE_COLUMNS
    )
    for heading in STEADY_COLUMNS:
        table.add_column(heading, justify="right")
    for report in reports:
        times = (*_time_cells(report, "steady_min_s"), *_time_cells(report, "best_s"))
        errors = (_number(report.worst_error(name)) for name in (OURS, PEER))
        table.add_row(*_case_cells(report), *times, _number(report.product_share(OURS)), *errors)
    return table


def _near_duplicate_table(rows: list[dict[str, Any]]) -> Table:
    """A line for each network, norm ratio and package; a column for each distance."""
    table = _table("float32 NTK of near duplicates: error by |x - x'| / |x|", "depth", "b_std", "norm ratio", "package")
    for distance in DISTANCES:
        table.add_column(f"{distance:g}", justify="right")
    lines: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        network = tuple(f"{row[name]:g}" for name in ("depth", "b_std", "norm_ratio"))
        for name in (OURS, PEER):
            lines.setdefault((*network, name), []).append(_number(row["error"].get(name)))
    for heading, cells in lines.items():
        table.add_row(*heading, *cells)
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _case_cells(report: CaseReport) -> tuple[str, str, str]:
    return report.case.name, str(report.case.n), str(report.case.width)


def _time_cells(report: CaseReport, field: str) -> tuple[str, str, str]:
    """ntkc, peer, peer / ntkc."""
    ours, theirs = (
        _number(getattr(report.timings[name], field) if name in report.timings else None) for name in (OURS, PEER)
    )
    return ours, theirs, _number(report.ratio(field))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
