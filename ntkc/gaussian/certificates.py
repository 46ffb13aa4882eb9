"""What is known of the error of a Hermite series:  E[f(u) h(v)] = sum_n a_n(q1) b_n(q2) rho^n  cut after some terms.

    a_n(q) = E[f(sqrt(q) z) He_n(z)] / sqrt(n!),   rho = k / sqrt(q1 q2)          (Daniely, Frostig and Singer 2016)

By Parseval, |sum_{n >= N}| <= |rho|^N sqrt(tail(q1) tail(q2)), tail(q) = E[f(sqrt(q) z)^2] - sum_{n < N} a_n(q)^2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import numpy as np
import sympy as sp

from ntkc.gaussian.numbers import on_array

TERMS = 1280
"""Most terms of a series."""

REACH = 13.0
"""Nodes run from -REACH to REACH standard deviations: what lies beyond is below 1e-18."""

STEP = 0.05
TOLERANCES = {"float32": 1e-6, "float64": 1e-10}
"""Error of a series over sqrt(V(q1) V(q2)), for each working precision."""

VARIANCES = (0.1, 1.0, 3.0, 10.0)
"""Where `explain` states the number of terms."""

DOUBTFUL = 1e-11
"""Two quadratures of a function differ by less."""


@dataclass(frozen=True)
class Certificate(ABC):
    """What is known of the series of one function, from quadrature in float64."""

    needed: ClassVar[float]
    """The tolerance without which a series is not used."""

    f: sp.Expr

    @abstractmethod
    def second_moment(self, q: float) -> float:
        """E[f(sqrt(q) z)^2]."""

    @abstractmethod
    def coefficients(self, q: float) -> np.ndarray:
        """a_0(q) ... a_{TERMS - 1}(q)."""

    @abstractmethod
    def value(self, q1: float, q2: float, rho: float, terms: int = TERMS) -> float:
        """E[f(u) f(v)], the series cut after `terms` terms."""

    @abstractmethod
    def size(self, q: float) -> float:
        """The square of what is added up, to which rounding is relative."""

    @abstractmethod
    def tails(self, q: float) -> tuple[np.ndarray, np.ndarray]:
        """Upper bounds of the sums of squares from each term on, of two series whose products are summed."""

    @cached_property
    @abstractmethod
    def is_sound(self) -> bool:
        """Values are finite, two quadratures agree, and the series converges for moderate variances."""

    def bound(self, q1: float, q2: float, rho: float, terms: int) -> float:
        """Upper bound of |E[f(u) f(v)] - value(q1, q2, rho, terms)|; add rounding of the working precision."""
        (fast1, slow1), (fast2, slow2) = ([t[terms] for t in self.tails(q)] for q in (q1, q2))
        return abs(rho) ** terms * float(np.sqrt(fast1 * slow2) + np.sqrt(slow1 * fast2)) / 2

    def terms(self, q: float, tolerance: float) -> int | None:
        """Fewest terms whose bound at rho = 1 is at most tolerance E[f^2]; None if TERMS do not suffice."""
        fast, slow = self.tails(q)
        enough = np.flatnonzero(np.sqrt(fast * slow) <= tolerance * self.second_moment(q))
        return int(enough[0]) if len(enough) else None

    def converges(self) -> bool:
        """What is needed is met at moderate variances."""
        return all(self.terms(q, self.needed) is not None for q in VARIANCES[:2])

    def text(self, tolerance: float) -> str:
        """`8/28/66/186 terms for 1e-06`: at the VARIANCES."""
        counts = (self.terms(q, tolerance) for q in VARIANCES)
        return f"{'/'.join('-' if c is None else str(c) for c in counts)} terms for {tolerance:g}"


@dataclass(frozen=True)
class SmoothCertificate(Certificate):
    """An analytic function: the trapezoidal rule is exponentially accurate."""

    needed = TOLERANCES["float64"]

    def second_moment(self, q: float) -> float:
        with np.errstate(over="ignore", invalid="ignore"):  # is_sound refuses what is not finite
            return float(np.sum(weights(STEP) * on_array(self.f, np.sqrt(q) * nodes(STEP)) ** 2))

    def coefficients(self, q: float, step: float = STEP) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return hermite_weights(step) @ on_array(self.f, np.sqrt(q) * nodes(step))

    def value(self, q1: float, q2: float, rho: float, terms: int = TERMS) -> float:
        products = self.coefficients(q1) * self.coefficients(q2)
        return float(np.polynomial.polynomial.polyval(rho, products[:terms]))

    def size(self, q: float) -> float:
        return self.second_moment(q)

    def tails(self, q: float) -> tuple[np.ndarray, np.ndarray]:
        a = self.coefficients(q)
        tail = sums_beyond(a) + abs(self.second_moment(q) - float(np.sum(a**2)))
        return tail, tail

    @cached_property
    def is_sound(self) -> bool:
        for q in VARIANCES[:2]:
            coarse, fine = self.coefficients(q), self.coefficients(q, STEP / 2)
            total = self.second_moment(q)
            if not (np.isfinite(coarse).all() and np.isfinite(total)):
                return False
            if np.abs(coarse - fine).max() > DOUBTFUL * np.sqrt(total):
                return False
        return self.converges()


def sums_beyond(a: np.ndarray) -> np.ndarray:
    """sum_{n >= N} a_n^2 for N = 0 ... len(a)."""
    return np.append(np.cumsum(a[::-1] ** 2)[::-1], 0.0)


@lru_cache(maxsize=4)
def nodes(step: float) -> np.ndarray:
    """The trapezoidal nodes."""
    half = round(REACH / step)
    return step * np.arange(-half, half + 1)


@lru_cache(maxsize=4)
def weights(step: float) -> np.ndarray:
    """Standard normal density times the step: exponentially accurate for analytic functions."""
    z = nodes(step)
    return step / np.sqrt(2 * np.pi) * np.exp(-z * z / 2)


@lru_cache(maxsize=4)
def hermite_weights(step: float) -> np.ndarray:
    """He_n(z) / sqrt(n!) times the weights, [TERMS, nodes]."""
    return hermite_rows(nodes(step), weights(step))


def hermite_rows(z: np.ndarray, first: np.ndarray) -> np.ndarray:
    """He_n(z) / sqrt(n!) times the first row, [TERMS, nodes], by the three-term recursion."""
    before, row = np.zeros_like(z), first
    rows = [row]
    for n in range(TERMS - 1):
        before, row = row, (z * row - np.sqrt(n) * before) / np.sqrt(n + 1)
        rows.append(row)
    return np.array(rows)
