"""Series of functions with a kink or jump at 0: the kink is taken out, and has a closed form of its own.

    P(x) = sign(x) (p_0 + p_1 x + ...) exp(-c x^2 / 2)      such that f - P has as many derivatives at 0 as there are p

    E[f(u) h(v)] = E[P(u) R(v)] + sum_n (d_n s'_n + s_n d'_n) / 2 rho^n

d and s are the Hermite coefficients of f - P and f + P at the variance of u, d' and s' those of h - R and h + R at that
of v. A kink in f alone makes a_n^2 fall like n^(-5/2), a jump like n^(-3/2); here each product holds a d, which falls
faster by a power of n for every two p. By Parseval and Cauchy, as in `certificates`,

    |sum_{n >= N}| <= |rho|^N (sqrt(tail d tail s') + sqrt(tail s tail d')) / 2
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np
import sympy as sp

from ntkc.errors import NoClosedForm
from ntkc.gaussian import moments
from ntkc.gaussian.certificates import (
    DOUBTFUL,
    REACH,
    TERMS,
    TOLERANCES,
    VARIANCES,
    Certificate,
    hermite_rows,
    sums_beyond,
)
from ntkc.gaussian.normal_form import Pieces, X, pieces
from ntkc.gaussian.numbers import on_array, on_number

KINKS = (sp.Max, sp.Min, sp.Abs, sp.sign, sp.Heaviside, sp.Piecewise)
"""What makes two pieces of a function."""

PANELS = (0, 1 / 64, 1 / 16, 1 / 4, *np.linspace(0.75, REACH, 18))
"""Ends of the panels of Gauss-Legendre quadrature on either side of 0, finer near it."""

NODES, MORE_NODES = 20, 26
"""Of each panel; and of those that check them."""

DECAYS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 6.0)
"""What is tried for c."""


class Choice(NamedTuple):
    """How P is chosen for a working precision: what leaves least beyond `terms` terms, at variance JUDGED.

    `orders` are tried for the number of p. P may exceed f by the factor `largest` in the mean square sense: its square
    is how much of the precision is lost.
    """

    orders: tuple[int, ...]
    largest: float
    terms: int


CHOICES = {"float32": Choice((4, 6, 8, 10), 2.5, 128), "float64": Choice((8, 10, 12, 14, 16), 50.0, 480)}
JUDGED = 3.0

SMOOTH = 4
"""Derivatives of f - P whose norm bounds the tail of d: more precise than differences of squares in float64."""

DIGITS = 40
LARGE = 1e9
"""More than any series leaves: a P that is too large is chosen only if all are."""


class KinkMoment(sp.Function):
    """KinkMoment(P, R, k, q1, q2) = E[P(u) R(v)], of two tables by name."""

    nargs = 5


class KinkCoefficients(sp.Function):
    """KinkCoefficients(f, P, q): the d_n(q) and s_n(q), for each sample; P is the name of a table, or None."""

    nargs = 3


class KinkTails(sp.Function):
    """KinkTails(h): what each further chunk of terms leaves of the squares of d and s, over E[f^2], for each sample."""

    nargs = 1


class KinkRemainder(sp.Function):
    """KinkRemainder(tails): what all terms leave, over E[f^2], for each sample."""

    nargs = 1


class KinkSum(sp.Function):
    """KinkSum(h1, h2, rho, tails1, tails2) = sum_n (d_n s'_n + s_n d'_n) / 2 rho^n."""

    nargs = 5


class SplitMoment(sp.Function):
    """SplitMoment(f, q) = E[f(u)], u ~ N(0, q), of a function with a kink at 0."""

    nargs = 2


def is_kinked(f: sp.Expr) -> bool:
    """Written by `joined`: two pieces that meet at 0."""
    return f.has(sp.Max, sp.Min, sp.sign)


def joined(parts: Pieces) -> sp.Expr:
    """Two pieces as one expression, neither of which is evaluated, and overflows, on the other's side."""
    high, low = (part.xreplace({X: sp.S.Zero}) for part in (parts.plus, parts.minus))
    if not all(v.is_finite is not False and v is not sp.nan for v in (high, low)):
        raise NoClosedForm(f"{parts.plus} for x > 0, {parts.minus} for x < 0: not finite at 0; no closed form is known")
    above, below = parts.plus.xreplace({X: sp.Max(X, 0)}), parts.minus.xreplace({X: sp.Min(X, 0)})
    return above + below - (high + low) / 2 + sp.sign(X) * (high - low) / 2


@dataclass(frozen=True)
class Kink:
    """P(x) = sign(x) (p_0 + p_1 x + ...) exp(-c x^2 / 2)."""

    c: float
    p: tuple[float, ...]

    def side(self, sign: int) -> sp.Expr:
        """The smooth piece of one side."""
        return sign * sp.Add(*(p * X**n for n, p in enumerate(self.p))) * sp.exp(-sp.Float(self.c) * X**2 / 2)

    def on_array(self, x: np.ndarray) -> np.ndarray:
        """P(x)."""
        return np.sign(x) * np.polynomial.polynomial.polyval(x, self.p) * np.exp(-self.c / 2 * x * x)


@dataclass(frozen=True)
class KinkCertificate(Certificate):
    """A function of two smooth pieces: quadrature splits at 0."""

    needed = TOLERANCES["float32"]

    kink: Kink

    def second_moment(self, q: float) -> float:
        return _second_moment(self.f, q)

    def coefficients(self, q: float) -> np.ndarray:
        return np.mean(self.parts(q), 0)

    def parts(self, q: float, count: int = NODES) -> tuple[np.ndarray, np.ndarray]:
        """d_n(q) and s_n(q)."""
        x = np.sqrt(q) * split_nodes(count)[0]
        values, part = on_array(self.f, x), self.kink.on_array(x)
        with np.errstate(invalid="ignore"):
            both = split_hermite(count) @ np.stack([values - part, values + part], 1)
        return both[:, 0], both[:, 1]

    def size(self, q: float) -> float:
        return self.second_moment(q) + float(_norms([self.kink], q)[0]) ** 2

    def value(self, q1: float, q2: float, rho: float, terms: int = TERMS) -> float:
        (d1, s1), (d2, s2) = self.parts(q1), self.parts(q2)
        series = np.polynomial.polynomial.polyval(rho, ((d1 * s2 + s1 * d2) / 2)[:terms])
        return float(series) + kink_moment(self.kink, self.kink, rho * np.sqrt(q1 * q2), q1, q2)

    def tails(self, q: float) -> tuple[np.ndarray, np.ndarray]:
        d, s = self.parts(q)
        x = np.sqrt(q) * split_nodes(NODES)[0]
        sum_norm = float(np.sum(split_nodes(NODES)[1] * (on_array(self.f, x) + self.kink.on_array(x)) ** 2))
        return sums_beyond(d) + self._rest(q, d), sums_beyond(s) + abs(sum_norm - float(np.sum(s**2)))

    def _rest(self, q: float, d: np.ndarray) -> float:
        """sum_{n >= TERMS} d_n^2: the derivative of order SMOOTH has the squares n (n - 1) ... d_n^2."""
        z, w = split_nodes(NODES)
        slopes = q ** (SMOOTH / 2) * on_array(self._slope, np.sqrt(q) * z)
        n = np.arange(TERMS)
        factors = np.prod([n - i for i in range(SMOOTH)], 0, dtype=float)
        norm = float(np.sum(w * slopes**2))
        least = 4 * np.finfo(float).eps * norm
        return (abs(norm - float(np.sum(factors * d**2))) + least) / float(
            np.prod(TERMS - np.arange(SMOOTH), dtype=float)
        )

    @cached_property
    def _slope(self) -> sp.Expr:
        """The derivative of f - P of order SMOOTH."""
        of = pieces(self.f)
        slopes = (sp.diff(f - self.kink.side(sign), X, SMOOTH) for f, sign in ((of.plus, 1), (of.minus, -1)))
        return joined(Pieces(*slopes))

    @cached_property
    def is_sound(self) -> bool:
        for q in VARIANCES[:2]:
            coarse, fine = (np.array(self.parts(q, count)) for count in (NODES, MORE_NODES))
            total = self.second_moment(q)
            if not (np.isfinite(coarse).all() and np.isfinite(total)):
                return False
            if np.abs(coarse - fine).max() > DOUBTFUL * np.sqrt(total):
                return False
        return self.converges()


@lru_cache(maxsize=256)
def kink_of(f: sp.Expr, precision: str) -> Kink:
    """The P of a function for a working precision: of all that are tried and not too large, what leaves least.

    Raises:
        NoClosedForm: f has no Taylor series at 0 from either side.
    """
    choice = CHOICES[precision]
    jumps = _jumps(f, max(choice.orders))
    tried = [Kink(c, _flattened(jumps[:order], c)) for c in DECAYS for order in choice.orders]
    sizes = np.max([_norms(tried, q) / np.sqrt(_second_moment(f, q)) for q in VARIANCES], 0)
    left = np.where(sizes <= choice.largest, _left(f, tried, choice.terms), LARGE * sizes)
    return tried[int(np.argmin(left))]


def _second_moment(f: sp.Expr, q: float) -> float:
    z, w = split_nodes(NODES)
    return float(np.sum(w * on_array(f, np.sqrt(q) * z) ** 2))


def _norms(kinks: list[Kink], q: float) -> np.ndarray:
    """E[P(u)^2]^(1/2) of each."""
    z, w = split_nodes(NODES)
    return np.sqrt([np.sum(w * kink.on_array(np.sqrt(q) * z) ** 2) for kink in kinks])


def _left(f: sp.Expr, kinks: list[Kink], terms: int) -> np.ndarray:
    """sqrt(tail d tail s) of each P."""
    x = np.sqrt(JUDGED) * split_nodes(NODES)[0]
    rows = split_hermite(NODES)[terms:]
    of_f, of_parts = rows @ on_array(f, x), rows @ np.stack([kink.on_array(x) for kink in kinks], 1)
    d, s = (np.sum((of_f[:, None] + sign * of_parts) ** 2, 0) for sign in (-1, 1))
    return np.sqrt(d * s)


def _flattened(jumps: tuple[float, ...], c: float) -> tuple[float, ...]:
    """Taylor coefficients of g  ->  those of g exp(c x^2 / 2)."""
    growth = [(c / 2) ** (n // 2) / math.factorial(n // 2) if n % 2 == 0 else 0.0 for n in range(len(jumps))]
    return tuple(math.fsum(growth[i] * jumps[n - i] for i in range(n + 1)) for n in range(len(jumps)))


@lru_cache(maxsize=256)
def _jumps(f: sp.Expr, order: int) -> tuple[float, ...]:
    """Taylor coefficients of half the difference of the pieces above and below 0."""
    of = pieces(f)
    with mp.workdps(DIGITS):
        above, below = (_taylor(g, order) for g in (of.plus, of.minus))
        rounding = mp.mpf(10) ** (-DIGITS // 2)
        return tuple(float(mp.chop((a - b) / 2, rounding)) for a, b in zip(above, below, strict=True))


def _taylor(g: sp.Expr, order: int) -> list[Any]:
    try:
        found = mp.taylor(lambda x: on_number(g, x), 0, order - 1)
    except (ValueError, ZeroDivisionError):
        found = [mp.nan]
    if not all(isinstance(v, mp.mpf) and mp.isfinite(v) for v in found):
        raise NoClosedForm(
            f"{g} on one side of 0 has no Taylor series there: no closed form and no fast series is known"
        )
    return found


@lru_cache(maxsize=4)
def split_nodes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes, and weights times the standard normal density."""
    x, w = np.polynomial.legendre.leggauss(count)
    left, right = np.array(PANELS[:-1])[:, None], np.array(PANELS[1:])[:, None]
    z, w = ((left + right) / 2 + (right - left) / 2 * x).ravel(), ((right - left) / 2 * w).ravel()
    w = w * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    return np.concatenate([-z[::-1], z]), np.concatenate([w[::-1], w])


@lru_cache(maxsize=4)
def split_hermite(count: int) -> np.ndarray:
    """He_n(z) / sqrt(n!) times the weights, [TERMS, nodes]."""
    return hermite_rows(*split_nodes(count))


def kink_moment(first: Kink, second: Kink, k: float, q1: float, q2: float) -> float:
    """E[P(u) R(v)]: the exponentials tilt the Gaussian, then moments with two signs."""
    c1, c2 = first.c, second.c
    minor = q1 * q2 - k * k
    minor = minor if minor > 4 * np.finfo(float).eps * q1 * q2 else 0.0
    det = 1 + c1 * q1 + c2 * q2 + c1 * c2 * minor
    root1, root2 = np.sqrt((q1 + c2 * minor) / det), np.sqrt((q2 + c1 * minor) / det)
    angle = float(np.arctan2(k / det, np.sqrt(minor / det))) if q1 * q2 else 0.0
    products = (
        p * root1**n * r * root2**m * _unit_moment(n, m, angle)
        for n, p in enumerate(first.p)
        for m, r in enumerate(second.p)
    )
    return float(sum(products) / np.sqrt(det))


def _unit_moment(n: int, m: int, angle: float) -> float:
    """E[sign(u) u^n sign(v) v^m] of unit Gaussians of correlation sin(angle)."""
    of_angle, of_root = (np.polyval(c, np.sin(angle)) for c in _angle_and_root(n, m))
    return float(2 / np.pi * (of_angle * angle + of_root * np.cos(angle)))


@cache
def _angle_and_root(n: int, m: int) -> tuple[list[float], list[float]]:
    """The polynomials of rho that stand at arcsin(rho) and sqrt(1 - rho^2), highest power first."""
    zero = moments.FIELD.zero
    angle, root = moments.two_sign_moment(n, m, moments.PLAIN, zero, zero)
    whole = root / (moments.q1 * moments.q2 - moments.k**2)
    unit = {"q1": 1, "q2": 1, "k": X}
    parts = (part.as_expr().subs({sp.Symbol(name): value for name, value in unit.items()}) for part in (angle, whole))
    return tuple([float(c) for c in sp.Poly(part, X).all_coeffs()] for part in parts)  # type: ignore[return-value]
