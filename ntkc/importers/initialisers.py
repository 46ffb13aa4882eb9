"""Entries of a weight  ->  the initialiser they were drawn by:  variance times fan-in, and the law by its kurtosis.

U(-1/sqrt(fan_in), 1/sqrt(fan_in))   variance 1 / (3 fan_in), kurtosis 9/5   ->   W_std^2 = 1/3
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

ERRORS = 4
"""A variance is that of an initialiser if it is within so many of its standard errors."""
LAWS = {"uniform": -1.2, "truncated normal": -0.634, "normal": 0.0}
"""Excess kurtosis of each; a normal is cut at two standard deviations."""
TRAINED, ORTHOGONAL = 1.3, 0.75
"""Largest singular value over that of independent entries, beyond which they are not independent."""
FEWEST_SINGULAR, STEPS = 16, 20
ENOUGH, MOST_SINGULAR = 2**20, 512
"""Entries whose moments are read, and rows and columns whose singular values are."""
SMALL_MEAN = 0.01
"""Share of the standard deviation below which no mean is told from 0."""


@dataclass(frozen=True)
class Fans:
    """Inputs of one output, and outputs of one input, taps of filters counted in both."""

    fan_in: int
    fan_out: int


@dataclass(frozen=True)
class Moments:
    """What is read of the entries of a weight."""

    count: int
    mean: float
    variance: float
    kurtosis: float
    top: float | None
    """Largest singular value over that of independent entries of this variance."""

    @classmethod
    def of(cls, entries: Any) -> Moments:
        """Of an array, in blocks, so that no copy is made of it; of large ones, evenly spaced rows tell enough."""
        whole = np.asarray(entries)
        flat = whole[:: 1 + (whole.size - 1) // ENOUGH] if whole.ndim and len(whole) > 1 else whole
        count, mean = flat.size, float(np.mean(flat, dtype=np.float64))
        if not np.isfinite(np.sum(whole)):
            mean = math.nan
        second = fourth = 0.0
        for block in _blocks(flat):
            centered = block.astype(np.float64) - mean
            second += float((centered**2).sum())
            fourth += float((centered**4).sum())
        variance = second / max(count, 1)
        kurtosis = fourth / count / variance**2 - 3 if variance > 0 else 0.0
        return cls(count, mean, variance, kurtosis, None)

    @property
    def is_constant(self) -> bool:
        """All entries are one number."""
        return self.variance <= 1e-14 * (self.mean**2 + self.variance)

    @cached_property
    def law(self) -> str:
        """The nearest law, if the kurtosis is within its error of it."""
        name = min(LAWS, key=lambda n: abs(LAWS[n] - self.kurtosis))
        return name if abs(LAWS[name] - self.kurtosis) <= self.kurtosis_error else "other"

    @property
    def kurtosis_error(self) -> float:
        """By how much a kurtosis of so many entries may be off."""
        return ERRORS * max(math.sqrt(24 / self.count), 0.02)

    @property
    def relative_error(self) -> float:
        """Standard error of the variance, over it."""
        return math.sqrt((max(self.kurtosis, LAWS["uniform"]) + 2) / self.count)

    @property
    def has_mean(self) -> bool:
        """Its mean is not that of centered entries."""
        deviation = math.sqrt(self.variance)
        return abs(self.mean) > max(ERRORS * deviation / math.sqrt(self.count), SMALL_MEAN * deviation)


def _blocks(array: np.ndarray) -> Sequence[np.ndarray]:
    """Parts along the first axis."""
    rows = max(1, 2**18 // max(array[:1].size, 1))
    return [array[i : i + rows] for i in range(0, len(array), rows)] if array.ndim else [array[None]]


def top_singular(matrix: np.ndarray, variance: float) -> float | None:
    """Largest singular value over sqrt(variance) (sqrt(rows) + sqrt(columns)); None for small matrices."""
    matrix = np.ascontiguousarray(matrix[:MOST_SINGULAR, :MOST_SINGULAR])
    rows, columns = matrix.shape
    if min(rows, columns) < FEWEST_SINGULAR or variance <= 0:
        return None
    vector = np.random.default_rng(0).standard_normal(columns).astype(matrix.dtype)
    size = 0.0
    for _ in range(STEPS):
        vector = matrix.T @ (matrix @ (vector / np.linalg.norm(vector)))
        size = math.sqrt(float(np.linalg.norm(vector)))
    return size / (math.sqrt(variance) * (math.sqrt(rows) + math.sqrt(columns)))


def initialisers(fans: Fans) -> Mapping[str, sp.Expr]:
    """Variance of the entries under each known initialiser."""
    i, o = sp.Integer(fans.fan_in), sp.Integer(fans.fan_out)
    return {
        UNIFORM_ONLY: 1 / (3 * i),
        "LeCun, 1/fan_in": 1 / i,
        CUT_ONLY: CUT / i,
        "He, 2/fan_in": 2 / i,
        "He, 2/fan_out": 2 / o,
        "Glorot, 2/(fan_in + fan_out)": 2 / (i + o),
        "N(0, 1)": sp.S.One,
        "N(0, 0.02^2)": sp.Rational(1, 2500),
        "N(0, 0.01^2)": sp.Rational(1, 10000),
    }


UNIFORM_ONLY = "1/(3 fan_in), default of torch and Equinox"
CUT_ONLY = "N(0, 1/fan_in) cut at 2 deviations, default of Haiku"
CUT = 1 - 4 * sp.exp(-2) / (sp.sqrt(2 * sp.pi) * sp.erf(sp.sqrt(2)))
"""Variance of N(0, 1) cut at two standard deviations."""
LAW_OF = {
    UNIFORM_ONLY: "uniform",
    CUT_ONLY: "truncated normal",
    **dict.fromkeys(("N(0, 1)", "N(0, 0.02^2)", "N(0, 0.01^2)"), "normal"),
}
"""Of initialisers that draw by one law alone."""


def matches(moments: Moments, fans: Fans) -> list[tuple[str, sp.Expr]]:
    """The initialisers whose variance and law are those of the entries, the nearest first."""
    width = ERRORS * moments.relative_error
    found = [
        (abs(moments.variance / float(v) - 1), name, v)
        for name, v in initialisers(fans).items()
        if abs(moments.variance / float(v) - 1) <= width and law_fits(name, moments)
    ]
    return [(name, v) for _, name, v in sorted(found, key=lambda f: f[0])]


def law_fits(name: str, moments: Moments) -> bool:
    """Entries of this kurtosis may be those of the initialiser."""
    law = LAW_OF.get(name)
    return law is None or abs(moments.kurtosis - LAWS[law]) <= moments.kurtosis_error
