"""Data and a compiled network  ->  any tile of their Gram matrix, and what it needs."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

from ntkc.batching import Tile
from ntkc.gram.files import Floats
from ntkc.gram.plan import TilePlan, plan_tiles
from ntkc.program import GETS, KernelProgram

UNMEASURED_COPIES = 8
"""Arrays of the size of a tile, and of its data, where XLA does not say what a program needs."""


@dataclass(frozen=True, eq=False)
class TileMaker:
    """All that a tile is computed from."""

    program: KernelProgram
    kernels: tuple[str, ...]
    """In the order of GETS."""
    x1: Any = field(repr=False)
    x2: Any = field(repr=False)
    values: dict[str, jax.Array]

    @classmethod
    def of(cls, program: KernelProgram, names: tuple[str, ...], x1: Any, x2: Any, values: dict[str, Any]) -> TileMaker:
        kernels = tuple(name for name in GETS if name in names)
        first, second = (jax.tree.map(np.asarray, x) for x in (x1, x2))
        return cls(program, kernels, first, second, values)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the data and the kernels."""
        return jax.tree.leaves(self.x1)[0].dtype

    @property
    def others(self) -> Any:
        """The samples of the columns."""
        return self.x1 if self.x2 is None else self.x2

    @property
    def function(self) -> Any:
        """The jitted function of the program, which `program(...)` calls after its checks of all data."""
        return self.program.module[self.kernels[0] if len(self.kernels) == 1 else "kernel"]

    def tile(self, tile: Tile) -> tuple[Floats, ...]:
        """One array for each kernel."""
        is_own = self.x2 is None and tile.rows == tile.columns
        rows, columns = _samples(self.x1, tile.rows), None if is_own else _samples(self.others, tile.columns)
        made = self.function.finite(rows, columns, **self.values)
        return tuple(np.asarray(v) for v in (made if len(self.kernels) > 1 else (made,)))

    def plan(self, memory: float) -> TilePlan:
        """The largest tiles that need `memory` bytes."""
        itemsize = self.dtype.itemsize * len(self.kernels)
        shape = _count(self.x1), _count(self.others)
        return plan_tiles(shape, self.x2 is None, memory, itemsize, self.need)

    def need(self, plan: TilePlan) -> float:
        """Bytes that the largest tile of a plan needs."""
        rows, columns = plan.tile
        if not plan.is_triangle:
            return self._need(rows, columns)
        # The only tile of a symmetric matrix is its own diagonal.
        return max(self._need(rows, None), 0 if plan.is_one_tile else self._need(rows, columns))

    def _need(self, rows: int, columns: int | None) -> float:
        """Data, temporaries and results of a tile, and a copy to be written."""
        x1, x2 = (n and _structure(self.x1, n) for n in (rows, columns))
        # jit keeps what is compiled here: the first tile of this shape does not wait for it again.
        analysis = self.function.lower(x1, x2, **self.values).compile().memory_analysis()
        sample = sum(math.prod(x.shape[1:]) for x in jax.tree.leaves(self.x1))
        area, data, itemsize = rows * (columns or rows), (rows + (columns or 0)) * sample, self.dtype.itemsize
        if analysis is None:
            return itemsize * UNMEASURED_COPIES * (len(self.kernels) * area + data)
        held = analysis.argument_size_in_bytes + analysis.output_size_in_bytes + analysis.temp_size_in_bytes
        return held + itemsize * area

    def source(self) -> dict[str, Any]:
        """Hashes of the program and the data, and the hyper-parameters."""
        return {
            "program": hashlib.sha256(self.program.source.encode()).hexdigest(),
            "hyper-parameters": {name: np.asarray(value).tolist() for name, value in sorted(self.values.items())},
            "x1": _digest(self.x1),
            "x2": None if self.x2 is None else _digest(self.x2),
        }


def _samples(x: Any, places: slice) -> Any:
    return jax.tree.map(lambda v: v[places], x)


def _count(x: Any) -> int:
    return len(jax.tree.leaves(x)[0])


def _structure(x: Any, count: int) -> Any:
    return jax.tree.map(lambda v: jax.ShapeDtypeStruct((count, *v.shape[1:]), v.dtype), x)


def _digest(x: Any) -> str:
    if isinstance(x, tuple):
        return ", ".join(map(_digest, x))
    digest = hashlib.sha256(np.ascontiguousarray(x).data).hexdigest()
    return f"{x.dtype.name} {' x '.join(map(str, x.shape))} sha256 {digest}"


def versions() -> dict[str, str]:
    """What may change the last bits of a tile."""
    return {"jax": version("jax"), "backend": jax.default_backend()}
