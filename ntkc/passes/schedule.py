"""Program  ->  how its pairs are walked: blocks of rows, or tiles of images, and one triangle of symmetric matrices."""

from __future__ import annotations

from dataclasses import dataclass

from ntkc.ir.program import Program, lets
from ntkc.ir.streams import Kind
from ntkc.passes.forms import Forms

ROWS = 256
"""Rows of a block: its float32 columns of a few thousand samples stay in a core's cache."""
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
class Schedule:
    """Rows are compared `rows` at a time with all others; images, `lanes` pairs at a time.

    Attributes:
        rows: of a block, in a network without pixels.
        lanes: pairs of samples a tile, 0 without pixels; `wide_lanes` on an accelerator.
        block: samples whose per-sample values are kept while they meet all others.
        one_by_one: per-sample values are made sample by sample, because each needs all pairs of its pixels.
    """

    rows: int = ROWS
    lanes: int = 0
    wide_lanes: int = 0
    block: int = BLOCK
    one_by_one: bool = False

    def text(self) -> str:
        """One line for reports."""
        if not self.lanes:
            triangle = f"in tiles of {self.rows} x {self.rows}"
            return f"blocks of {self.rows} rows; one triangle of symmetric matrices, {triangle}"
        alone = ", one by one" if self.one_by_one else ""
        return (
            f"tiles of {self.lanes} pairs ({self.wide_lanes} on an accelerator); "
            f"per-sample values of {self.block} samples at a time{alone}; "
            "one triangle of symmetric matrices"
        )


def schedule(program: Program, forms: Forms) -> Schedule:
    """Rows in blocks; with pixels, so many pairs a tile that its largest covariance has what a core wants."""
    if not program.has_pixels:
        return Schedule()
    keys = [*(let.dst for let in lets(program.per_pair)), *(k for k in program.inputs if k.side is None)]
    sizes = [forms.entries(key) for key in keys if key.kind.is_paired]
    lanes, wide_lanes = (
        min(max(n // max(sizes, default=1), 1), MOST_LANES) for n in (LANES_OF_ENTRIES, ACCELERATOR_ENTRIES)
    )
    within = [let.dst for let in lets(program.per_sample) if let.dst.kind.is_paired]
    one_by_one = max(map(forms.entries, within), default=0) * BLOCK > SAMPLE_ENTRIES
    kept = sum(forms.entries(key) for key in within if key.kind is Kind.Z)
    block = SAMPLE_ENTRIES // kept if kept else BLOCK
    return Schedule(ROWS, lanes, wide_lanes, min(max(block, 1), BLOCK), one_by_one)
