"""Program  ->  how its pairs are walked: whole, by rows of blocks, or by tiles of one triangle."""

from __future__ import annotations

from dataclasses import dataclass

from ntkc.ir.program import Program, lets
from ntkc.passes.forms import Forms

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


LANES_OF_ENTRIES = 131_072
"""Entries of a tile: two arrays of float32 stay in a core's cache, and one operation of XLA is long enough to split."""
ACCELERATOR_ENTRIES = 16_777_216
"""The same on an accelerator: a tile of 128 MB as complex float32, so that starting an operation costs nothing."""
MOST_LANES = 65_536
BLOCK = 128
"""Samples of a block, whose per-sample values are kept while the block meets all others."""


SAMPLE_ENTRIES = 4_194_304
"""Entries of covariances within samples that exist at a time."""


@dataclass(frozen=True)
class PixelSchedule:
    """`lanes` pairs of samples are computed at a time, with per-sample values of `block` samples kept.

    On an accelerator `wide_lanes` pairs.
    """

    lanes: int
    wide_lanes: int
    block: int = BLOCK
    one_by_one: bool = False

    def text(self) -> str:
        """One line for reports."""
        alone = ", one by one" if self.one_by_one else ""
        return (
            f"tiles of {self.lanes} pairs ({self.wide_lanes} on an accelerator); "
            f"per-sample values of {self.block} samples at a time{alone}; "
            "one triangle of symmetric matrices"
        )


def schedule_pixels(program: Program, forms: Forms) -> PixelSchedule:
    """Pairs a tile, so many that the largest covariance of a tile has what a core or accelerator wants."""
    sizes = [forms.entries(let.dst) for let in lets(program.per_pair) if let.dst.stream in "KT"]
    sizes += [forms.entries(k) for k in program.inputs if k.stream == "K"]
    lanes, wide_lanes = (
        min(max(n // max(sizes, default=1), 1), MOST_LANES) for n in (LANES_OF_ENTRIES, ACCELERATOR_ENTRIES)
    )
    within = [forms.entries(let.dst) for let in lets(program.per_sample) if let.dst.stream in "WZ"]
    one_by_one = max(within, default=0) * BLOCK > SAMPLE_ENTRIES
    kept = sum(forms.entries(let.dst) for let in lets(program.per_sample) if let.dst.stream == "Z")
    block = SAMPLE_ENTRIES // kept if kept else BLOCK
    return PixelSchedule(lanes, wide_lanes, min(max(block, 1), BLOCK), one_by_one)
