"""Program  ->  how its pairs are walked: whole, by rows of blocks, or by tiles of one triangle."""

from __future__ import annotations

from dataclasses import dataclass

from ntkc.ir.program import Program

ROWS = 256
"""Rows of a block: its float32 columns of a few thousand samples stay in a core's cache."""


@dataclass(frozen=True)
class Schedule:
    """`rows` samples are compared at a time with all others, or with as many in a symmetric Gram matrix."""

    rows: int = ROWS

    def text(self) -> str:
        """One line for reports."""
        return f"blocks of {self.rows} rows; one triangle of symmetric matrices, in tiles of {self.rows} x {self.rows}"


def schedule(program: Program) -> Schedule:
    """The schedule of a program without pixels: its elementwise chain is one loop over a block of pairs."""
    return Schedule()
