"""What each stage of a compilation did, as a table."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from ntkc.compile import StageReport

COLUMNS = ("stage", "statements", "operations", "ms", "what it did")
NUMBERS = COLUMNS[1:4]
WIDTH = 110


class StageTable(Table):
    """A rich table that reads as text too, in `print` and at a prompt."""

    def __init__(self, reports: Iterable[StageReport]) -> None:
        super().__init__(title="stages")
        for name in COLUMNS:
            self.add_column(name, justify="right" if name in NUMBERS else "left")
        for r in reports:
            counts = ("" if v is None else str(v) for v in (r.statements, r.operations))
            self.add_row(r.stage, *counts, f"{r.milliseconds:.1f}", r.what)

    def __str__(self) -> str:
        console = Console(width=WIDTH, force_terminal=False)
        with console.capture() as capture:
            console.print(self)
        return capture.get()

    __repr__ = __str__
