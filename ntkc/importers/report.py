"""How a model was read, as a table and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ntkc.importers.imported import Imported

COLUMNS = ("parameter", "shape", "initialisation", "read as", "notes")
WIDTH = 120


class Report:
    """The report of an import: for `print`, for a prompt, and for rich."""

    def __init__(self, imported: Imported) -> None:
        self.imported = imported

    def __rich__(self) -> Group:
        made = self.imported
        table = Table(title=f"{len(made.readings)} parameters, {len(made.graph)} layers")
        for name in COLUMNS:
            table.add_column(name, overflow="fold")
        for r in made.readings:
            shape = " x ".join(map(str, r.shape)) or "1"
            table.add_row(*(Text(t) for t in (r.name, shape, r.initialiser, r.read_as, "; ".join(r.notes))))
        return Group(table, *_lines("In the limit:", made.notes), *_lines("Warnings:", made.warnings))

    def __str__(self) -> str:
        console = Console(width=WIDTH, force_terminal=False)
        with console.capture() as capture:
            console.print(self)
        return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"

    __repr__ = __str__


def _lines(title: str, sentences: Sequence[str]) -> list[Text]:
    return [Text(title), *(Text(f"  - {s}") for s in sentences)] if sentences else []
