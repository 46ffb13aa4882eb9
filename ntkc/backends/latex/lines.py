"""Line: one row of a derivation, of one turn or for every turn of a range."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import sympy as sp

from ntkc.backends.latex.labels import Entry


class Given(sp.Symbol):
    """What the data give, its name as LaTeX."""

    __slots__ = ()


@dataclass(frozen=True)
class Line:
    """dst = expr, and = the other names in `also`; for every turn of a range, if there is one."""

    dst: Entry
    expr: sp.Expr
    turns: range | None = None
    also: tuple[Entry, ...] = ()

    def each(self, entries: Iterable[Entry]) -> set[Entry]:
        """Entries at every turn."""
        turns = self.turns or range(1)
        return {e.on(False).at(turn) for e in entries for turn in (turns if e.label.turns else turns[:1])}

    @property
    def made(self) -> set[Entry]:
        """What it defines."""
        return self.each((self.dst, *self.also))

    @property
    def read(self) -> set[Entry]:
        """What it reads, without its sides."""
        return self.each(entries_in(self.expr))

    @property
    def is_alias(self) -> bool:
        """It only renames."""
        return isinstance(self.expr, Entry)

    def at(self, turn: int) -> Line:
        """The line of one turn."""
        return replace(self.with_entries(lambda e: e.at(turn)), turns=None)

    def with_entries(self, replacement: Callable[[Entry], Entry]) -> Line:
        """The line with each entry replaced."""
        values = {e: replacement(e) for e in entries_in(self.expr)}
        also = tuple(map(replacement, self.also))
        return replace(self, dst=replacement(self.dst), expr=self.expr.xreplace(values), also=also)


def entries_in(expr: sp.Expr) -> set[Entry]:
    """The entries that an expression reads."""
    return {s for s in expr.free_symbols if isinstance(s, Entry)}
