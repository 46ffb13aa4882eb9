"""StoredGram: a Gram matrix on disk, read like an array."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ntkc.errors import InvalidStore, unknown
from ntkc.gram.files import Floats
from ntkc.gram.store import Header, Store, read_header

Indices = npt.NDArray[np.intp]
Part = slice | Indices


@dataclass(frozen=True, eq=False)
class StoredGram:
    """K[rows, columns] of a matrix in tiles on disk.

    Rows and columns are picked apart from each other: K[[0, 5], [1, 2]] is the matrix [[K01, K02], [K51, K52]], as
    K[train][:, test] is of an array. The upper triangle of a symmetric matrix is read from the lower one. Whole tiles
    are read and their checksums compared: pick many rows at once.

    Raises:
        CorruptedTile: a tile fails its checksum.
        InvalidStore: a tile was not computed yet.
        IndexError: rows or columns that there are not.
    """

    path: Path
    get: str
    header: Header = field(repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str], get: str | None = None) -> StoredGram:
        """The matrix in a store, by name if it holds two; nothing is written or locked."""
        folder = Path(path)
        header = read_header(folder)
        if header is None:
            raise InvalidStore(f"{folder} holds no store of ntkc.gram")
        names = [name for name in header.kernels if get in (name, None)]
        if len(names) != 1:
            raise unknown("kernel in this store", get, header.kernels)
        return cls(folder, names[0], header)

    @property
    def shape(self) -> tuple[int, int]:
        return self.header.plan.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.header.dtype)

    @property
    def ndim(self) -> int:
        return 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        rows, columns = _pair(key)
        picked1, picked2 = _picked(rows, self.shape[0]), _picked(columns, self.shape[1])
        parts1, parts2 = (_parts(p, side) for p, side in zip((picked1, picked2), self.header.plan.tile, strict=True))
        result = np.empty((picked1.size, picked2.size), self.dtype)
        for place, uses in self._uses(parts1, parts2).items():
            values = Store(self.path, self.header).read(self.get, place)
            for i, j in uses:
                (to_rows, from_rows), (to_columns, from_columns) = parts1[i], parts2[j]
                turned = values if (i, j) == place else values.T
                result[_outer(to_rows, to_columns)] = turned[_outer(from_rows, from_columns)]
        return result.reshape(picked1.shape + picked2.shape)[()]

    def _uses(self, rows: Any, columns: Any) -> dict[tuple[int, int], list[tuple[int, int]]]:
        """Tiles that are read, and the places in the matrix that each of them fills."""
        found: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for i in rows:
            for j in columns:
                place = (max(i, j), min(i, j)) if self.header.plan.is_triangle else (i, j)
                found.setdefault(place, []).append((i, j))
        return found

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Floats:
        if copy is False:
            raise ValueError("a matrix on disk becomes an array by copying only: leave out copy=False")
        return np.asarray(self[:, :], dtype)

    def __repr__(self) -> str:
        plan = self.header.plan
        return (
            f"<StoredGram {self.get} {plan.shape[0]} x {plan.shape[1]} {self.header.dtype} in {str(self.path)!r}, "
            f"{len(plan.tiles())} tiles of {plan.tile[0]} x {plan.tile[1]}>"
        )


def _pair(key: Any) -> tuple[Any, Any]:
    rows, *rest = key if isinstance(key, tuple) else (key,)
    if len(rest) > 1:
        raise IndexError(f"{len(rest) + 1} indices: a Gram matrix has rows and columns")
    return rows, rest[0] if rest else slice(None)


def _picked(key: Any, count: int) -> Indices:
    """Numbers of the samples that an index picks, 0-dimensional for a single one."""
    found = np.asarray(np.arange(count)[key])
    if found.ndim > 1:
        raise IndexError(f"an index with {found.ndim} axes: give a number, a slice, or a list of them")
    return found


def _parts(picked: Indices, side: int) -> dict[int, tuple[Part, Part]]:
    """For each row (or column) of tiles: where its samples go in the result, and where they are in the tile."""
    samples = picked.reshape(-1)
    tiles = samples // side
    places = {int(tile): np.flatnonzero(tiles == tile) for tile in np.unique(tiles)}
    return {tile: (_as_slice(to), _as_slice(samples[to] - tile * side)) for tile, to in places.items()}


def _as_slice(indices: Indices) -> Part:
    """Consecutive numbers as a slice, which numpy copies much faster."""
    is_run = bool((np.diff(indices) == 1).all())
    return slice(int(indices[0]), int(indices[-1]) + 1) if is_run else indices


def _outer(rows: Part, columns: Part) -> tuple[Part, Part]:
    """An index of all pairs, not of rows[n] with columns[n]."""
    return (rows, columns) if isinstance(rows, slice) or isinstance(columns, slice) else (rows[:, None], columns)
