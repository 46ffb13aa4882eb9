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
from ntkc.gram.plan import Plan, plan_tiles
from ntkc.program import GETS, KernelProgram

UNMEASURED_COPIES = 8
"""Arrays of the size of a tile, and of its data, where XLA does not say what a program needs."""


@dataclass(frozen=True, eq=False)
class TileMaker:
    """All that a tile is computed from."""

    program: KernelProgram
    kernels: tuple[str, ...]
    """In the order of GETS."""
    x1: Floats = field(repr=False)
    x2: Floats | None = field(repr=False)
    values: dict[str, jax.Array]

    @classmethod
    def of(cls, program: KernelProgram, names: tuple[str, ...], x1: Any, x2: Any, values: dict[str, Any]) -> TileMaker:
        kernels = tuple(name for name in GETS if name in names)
        return cls(program, kernels, np.asarray(x1), None if x2 is None else np.asarray(x2), values)

    @property
    def others(self) -> Floats:
        """The samples of the columns."""
        return self.x1 if self.x2 is None else self.x2

    @property
    def function(self) -> Any:
        """The jitted function of the program, which `program(...)` calls after its checks of all data."""
        return self.program.module[self.kernels[0] if len(self.kernels) == 1 else "kernel"]

    def tile(self, tile: Tile) -> tuple[Floats, ...]:
        """One array for each kernel."""
        is_own = self.x2 is None and tile.rows == tile.columns
        made = self.function(self.x1[tile.rows], None if is_own else self.others[tile.columns], **self.values)
        return tuple(np.asarray(v) for v in (made if len(self.kernels) > 1 else (made,)))

    def plan(self, memory: float) -> Plan:
        """The largest tiles that need `memory` bytes."""
        itemsize = self.x1.itemsize * len(self.kernels)
        return plan_tiles((len(self.x1), len(self.others)), self.x2 is None, memory, itemsize, self.need)

    def need(self, plan: Plan) -> float:
        """Bytes that the largest tile of a plan needs."""
        rows, columns = plan.tile
        if not plan.is_triangle:
            return self._need(rows, columns)
        # The only tile of a symmetric matrix is its own diagonal.
        return max(self._need(rows, None), 0 if plan.is_one_tile else self._need(rows, columns))

    def _need(self, rows: int, columns: int | None) -> float:
        """Data, temporaries and results of a tile, and a copy to be written."""
        sample, dtype = self.x1.shape[1:], self.x1.dtype
        x1, x2 = (n and jax.ShapeDtypeStruct((n, *sample), dtype) for n in (rows, columns))
        # jit keeps what is compiled here: the first tile of this shape does not wait for it again.
        analysis = self.function.lower(x1, x2, **self.values).compile().memory_analysis()
        area, data = rows * (columns or rows), (rows + (columns or 0)) * math.prod(sample)
        if analysis is None:
            return dtype.itemsize * UNMEASURED_COPIES * (len(self.kernels) * area + data)
        held = analysis.argument_size_in_bytes + analysis.output_size_in_bytes + analysis.temp_size_in_bytes
        return held + dtype.itemsize * area

    def source(self) -> dict[str, Any]:
        """Hashes of the program and the data, and the hyper-parameters."""
        return {
            "program": hashlib.sha256(self.program.source.encode()).hexdigest(),
            "hyper-parameters": {name: np.asarray(value).tolist() for name, value in sorted(self.values.items())},
            "x1": _digest(self.x1),
            "x2": None if self.x2 is None else _digest(self.x2),
        }


def _digest(x: Floats) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(x).data).hexdigest()
    return f"{x.dtype.name} {' x '.join(map(str, x.shape))} sha256 {digest}"


def versions() -> dict[str, str]:
    """What may change the last bits of a tile."""
    return {"jax": version("jax"), "backend": jax.default_backend()}
