"""Kernel blocks as numpy arrays:  rows are padded to a few sizes, so that XLA compiles for few shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from ntkc.data import tiles_of_one_call
from ntkc.predict.targets import require_finite
from ntkc.program import KernelProgram

EMPTY: Mapping[str, float] = MappingProxyType({})
FEWEST_ROWS = 32
LARGEST_BLOCK = 2**24
"""Entries of the blocks between test and training inputs: 128 MiB in float64."""
MOST_ROWS = 2048
"""Test inputs at a time: networks of tanh keep a thousand numbers and more for each in every layer."""


def bucket(rows: int) -> int:
    """The size that `rows` are padded to: 32, 64, 96, ..., then steps of at most 1/8."""
    step = max(FEWEST_ROWS, 2 ** (rows.bit_length() - 4))
    return -(-rows // step) * step


def pad_rows(x: Any) -> Any:
    """Copies of the last row below it."""
    return np.pad(x, ((0, bucket(len(x)) - len(x)), (0, 0)), mode="edge")


def precision(dtype: Any) -> Any:
    """Context in which JAX computes in float64 if `dtype` is that, in float32 else."""
    return jax.enable_x64(np.dtype(dtype) == np.float64)


def kernel_block(
    program: KernelProgram, get: str, x1: Any, x2: Any = None, parameters: Mapping[str, Any] = EMPTY
) -> Any:
    """K or T of the rows of x1 and x2 (None: of x1 with itself), in the dtype of x1."""
    with tiles_of_one_call():
        return run_padded(lambda a, b: program(a, b, get, **parameters), get, x1, x2)


def run_padded(function: Callable[[Any, Any], Any], get: str, x1: Any, x2: Any) -> Any:
    """function(x1, x2), [n1, n2, ...], computed on padded rows and cut; an array of its own, to write to."""
    with precision(x1.dtype):
        block = np.asarray(function(pad_rows(x1), None if x2 is None else pad_rows(x2)))
    block = block[: len(x1), : len(x1 if x2 is None else x2)].copy()
    require_finite(f"the {get} of X", block)
    return block


def in_chunks(x: Any, n_train: int) -> Iterator[Any]:
    """Rows of x, so many at a time that blocks with `n_train` columns fit in memory."""
    size = min(MOST_ROWS, max(FEWEST_ROWS, LARGEST_BLOCK // n_train // FEWEST_ROWS * FEWEST_ROWS))
    yield from (x[start : start + size] for start in range(0, len(x), size))
