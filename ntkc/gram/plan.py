"""n1 x n2 samples, bytes  ->  tiles of nearly equal size that fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ntkc.batching import Tile
from ntkc.errors import InvalidInput

LARGEST = 4096**2
"""Pairs of a tile at most: larger ones are no faster, and a killed run loses one tile."""
COPIES = 4
"""Arrays of the size of a tile that most programs hold at once: a first guess, before it is measured."""
MARGIN = 0.9
"""A tile is planned for this share of the memory when the first plan was too large."""


@dataclass(frozen=True)
class TilePlan:
    """An n1 x n2 matrix in tiles of `tile` samples; of a symmetric one only tiles on and below the diagonal."""

    shape: tuple[int, int]
    tile: tuple[int, int]
    is_triangle: bool

    @classmethod
    def of(cls, shape: tuple[int, int], is_triangle: bool, area: int) -> TilePlan:
        """Tiles of at most `area` pairs, as square as the matrix allows, and as equal."""
        n1, n2 = shape
        columns = min(n2, math.isqrt(area))
        rows = columns if is_triangle else min(n1, area // columns)
        columns = rows if is_triangle else min(n2, area // rows)
        return cls(shape, (_even(n1, rows), _even(n2, columns)), is_triangle)

    @property
    def area(self) -> int:
        return math.prod(self.tile)

    @property
    def is_one_tile(self) -> bool:
        return self.tile == self.shape

    def tiles(self) -> list[Tile]:
        """Row after row."""
        (n1, n2), (rows, columns) = self.shape, self.tile
        return [
            Tile(slice(i, min(i + rows, n1)), slice(j, min(j + columns, n2)), self.is_triangle and j < i)
            for i in range(0, n1, rows)
            for j in range(0, i + 1 if self.is_triangle else n2, columns)
        ]

    def place(self, tile: Tile) -> tuple[int, int]:
        """Row and column of a tile among the tiles."""
        return tile.rows.start // self.tile[0], tile.columns.start // self.tile[1]


def plan_tiles(
    shape: tuple[int, int], is_triangle: bool, memory: float, itemsize: int, measured: Callable[[TilePlan], float]
) -> TilePlan:
    """The largest tiles, up to LARGEST, that need `memory` bytes or less; `measured` says what a plan needs.

    Raises:
        InvalidInput: one pair of samples needs more.
    """
    area, need = int(min(LARGEST, memory / (COPIES * itemsize))), 0.0
    while area >= 1:
        plan = TilePlan.of(shape, is_triangle, area)
        need = measured(plan)
        if need <= memory:
            return plan
        area = int(MARGIN * plan.area * memory / need)
    raise InvalidInput(f"memory is {memory:.3g} bytes, but one pair of samples needs {need:.3g}; give more")


def _even(count: int, most: int) -> int:
    """Samples a tile, so that ceil(count / most) tiles are as equal as can be."""
    return -(-count // -(-count // most))
