"""Dual activations without a closed form:  E[f(u) h(v)] = sum_n a_n(q1) b_n(q2) rho^n,  with a certified error.

    a_n(q) = E[f(sqrt(q) z) He_n(z)] / sqrt(n!),   rho = k / sqrt(q1 q2)          (Daniely, Frostig and Singer 2016)

By Parseval, |sum_{n >= N}| <= |rho|^N sqrt(tail(q1) tail(q2)), tail(q) = E[f(sqrt(q) z)^2] - sum_{n < N} a_n(q)^2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import mpmath as mp
import numpy as np
import sympy as sp

from ntkc.errors import NoClosedForm
from ntkc.gaussian.normal_form import X
from ntkc.gaussian.numbers import on_array, on_number

TERMS = 1280
"""Most terms of a series."""

REACH = 13.0
"""Nodes run from -REACH to REACH standard deviations: what lies beyond is below 1e-18."""

STEP = 0.05
TOLERANCES = {"float32": 1e-6, "float64": 1e-10}
"""Error of a series over sqrt(V(q1) V(q2)), for each working precision."""

VARIANCES = (0.1, 1.0, 3.0, 10.0)
"""Where `explain` states the number of terms."""

CUTS = [-16, -4, 0, 4, 16]
"""Panels of the quadrature in many digits."""

DOUBTFUL = 1e-11
"""Two quadratures of a smooth function differ by less."""


class Softplus(sp.Function):
    """log(1 + exp(x)), safe for large x."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return Sigmoid(self.args[0])

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return sp.log(1 + sp.exp(self.args[0]))._eval_evalf(prec)


class Sigmoid(sp.Function):
    """1 / (1 + exp(-x)), to full relative accuracy for all x."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return self * Sigmoid(-self.args[0])

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return (1 / (1 + sp.exp(-self.args[0])))._eval_evalf(prec)


class Series(sp.Function):
    """Series(f, h, q1, q2, k) = E[f(u) h(v)] of two sympy.Lambda; on one sample with itself it is a Moment."""

    nargs = 5

    @classmethod
    def eval(cls, f: sp.Lambda, h: sp.Lambda, q1: sp.Expr, q2: sp.Expr, k: sp.Expr) -> sp.Expr | None:
        return Moment(sp.Lambda(X, f.expr * h.expr), q1) if q1 == q2 == k else None

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        f, h, *numbers = self.args
        if any(v.free_symbols for v in numbers):
            return None
        with mp.workprec(prec + 10):
            q1, q2, k = (mp.mpf(str(sp.N(v, mp.mp.dps + 5))) for v in numbers)
            return sp.Float(_pair_quadrature(f.expr, h.expr, q1, q2, k))

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        f, h, *rest = self.args
        u, v = sp.symbols("u v")
        inside = printer._print(f.expr.xreplace({X: u}) * h.expr.xreplace({X: v}))
        text = rf"\mathbb{{E}}_{{{', '.join(map(printer._print, rest))}}}\left[{inside}\right]"
        return text if exp is None else rf"{text}^{{{exp}}}"


class Moment(sp.Function):
    """Moment(f, q) = E[f(u)],  u ~ N(0, q)."""

    nargs = 2

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        f, q = self.args
        if q.free_symbols:
            return None
        with mp.workprec(prec + 10):
            root = mp.sqrt(mp.mpf(str(sp.N(q, mp.mp.dps + 5))))
            return sp.Float(mp.quad(lambda z: on_number(f.expr, root * z) * mp.npdf(z), CUTS))

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        f, q = self.args
        inside = printer._print(f.expr.xreplace({X: sp.Symbol("u")}))
        text = rf"\mathbb{{E}}_{{{printer._print(q)}}}\left[{inside}\right]"
        return text if exp is None else rf"{text}^{{{exp}}}"


class Coefficients(sp.Function):
    """Coefficients(f, q): the vector of the a_n(q), for each sample."""

    nargs = 2


class Cosine(sp.Function):
    """Cosine(k, q1, q2) = k / sqrt(q1 q2), between -1 and 1; 0 where a variance is 0."""

    nargs = 3


class Chunks(sp.Function):
    """Chunks(a): how many chunks of the terms of a series are needed, for each sample."""

    nargs = 1


class HermiteSum(sp.Function):
    """HermiteSum(a, b, rho, chunks1, chunks2) = sum_n a_n b_n rho^n."""

    nargs = 5


def series(f: sp.Expr, h: sp.Expr, q1: sp.Expr, q2: sp.Expr, k: sp.Expr) -> sp.Expr:
    """E[f(u) h(v)] as a Series.

    Raises:
        NoClosedForm: the series of f or h converges too slowly to be certified (a kink), or f is not finite.
    """
    for g in (f, h):
        certificate(g)
    return Series(sp.Lambda(X, f), sp.Lambda(X, h), q1, q2, k)


def stable(f: sp.Expr) -> sp.Expr:
    """The same function in forms that do not overflow: 1 / (1 + exp) as Sigmoid, log(1 + exp) as Softplus."""
    return f.replace(_is_ratio, _of_ratio).replace(_is_inverse, _of_inverse).replace(_is_softplus, _of_softplus)


def _is_one_plus_exp(e: sp.Expr) -> bool:
    return isinstance(e, sp.Add) and len(e.args) == 2 and e.args[0] == 1 and isinstance(e.args[1], sp.exp)


def _inner(one_plus_exp: sp.Expr) -> sp.Expr:
    """u of 1 + exp(u)."""
    return one_plus_exp.args[1].args[0]


def _is_inverse(e: sp.Expr) -> bool:
    return isinstance(e, sp.Pow) and e.exp.is_negative is True and _is_one_plus_exp(e.base)


def _of_inverse(e: sp.Expr) -> sp.Expr:
    return Sigmoid(-_inner(e.base)) ** -e.exp


def _is_ratio(e: sp.Expr) -> bool:
    """exp(u) / (1 + exp(u)) and multiples."""
    return isinstance(e, sp.Mul) and any(_is_inverse(a) and sp.exp(_inner(a.base)) in e.args for a in e.args)


def _of_ratio(e: sp.Expr) -> sp.Expr:
    inverse = next(a for a in e.args if _is_inverse(a) and sp.exp(_inner(a.base)) in e.args)
    u = _inner(inverse.base)
    return e / inverse / sp.exp(u) * inverse.base ** (inverse.exp + 1) * Sigmoid(u)


def _is_softplus(e: sp.Expr) -> bool:
    return isinstance(e, sp.log) and _is_one_plus_exp(e.args[0])


def _of_softplus(e: sp.Expr) -> sp.Expr:
    return Softplus(_inner(e.args[0]))


@dataclass(frozen=True)
class Certificate:
    """What is known of the Hermite series of one function, from quadrature in float64."""

    f: sp.Expr

    def second_moment(self, q: float) -> float:
        """E[f(sqrt(q) z)^2]."""
        values = on_array(self.f, np.sqrt(q) * nodes(STEP))
        return float(np.sum(weights(STEP) * values**2))

    def coefficients(self, q: float, step: float = STEP) -> np.ndarray:
        """a_0(q) ... a_{TERMS - 1}(q)."""
        with np.errstate(invalid="ignore"):
            return hermite_weights(step) @ on_array(self.f, np.sqrt(q) * nodes(step))

    def tail(self, q: float, terms: int) -> float:
        """Upper bound of sum_{n >= terms} a_n(q)^2: Parseval's remainder beyond TERMS, and the squares before it."""
        a = self.coefficients(q)
        remainder = abs(self.second_moment(q) - float(np.sum(a**2)))
        return float(np.sum(a[terms:] ** 2)) + remainder

    def bound(self, q1: float, q2: float, rho: float, terms: int) -> float:
        """Upper bound of |E[f(u) f(v)] - sum of `terms` terms|; add rounding of the working precision."""
        return abs(rho) ** terms * float(np.sqrt(self.tail(q1, terms) * self.tail(q2, terms)))

    def terms(self, q: float, tolerance: float) -> int | None:
        """Fewest terms whose tail is at most tolerance E[f^2]; None if TERMS do not suffice."""
        a, total = self.coefficients(q), self.second_moment(q)
        beyond = np.append(np.cumsum(a[::-1] ** 2)[::-1], 0.0) + abs(total - np.sum(a**2))
        enough = np.flatnonzero(beyond <= tolerance * total)
        return int(enough[0]) if len(enough) else None

    @cached_property
    def is_sound(self) -> bool:
        """Values are finite, two steps of quadrature agree, and the series converges for moderate variances."""
        for q in VARIANCES[:2]:
            coarse, fine = self.coefficients(q), self.coefficients(q, STEP / 2)
            total = self.second_moment(q)
            if not (np.isfinite(coarse).all() and np.isfinite(total)):
                return False
            if np.abs(coarse - fine).max() > DOUBTFUL * np.sqrt(total) or self.terms(q, TOLERANCES["float64"]) is None:
                return False
        return True

    def text(self, tolerances: Iterable[float] = tuple(TOLERANCES.values())) -> str:
        """`tanh(x): 8/28/66/186 terms for 1e-06 ...`, for reports."""
        parts = []
        for tolerance in tolerances:
            counts = (self.terms(q, tolerance) for q in VARIANCES)
            parts.append(f"{'/'.join('-' if c is None else str(c) for c in counts)} terms for {tolerance:g}")
        return f"{self.f}: {', '.join(parts)} at q = {'/'.join(f'{q:g}' for q in VARIANCES)}"


@lru_cache(maxsize=256)
def certificate(f: sp.Expr) -> Certificate:
    """The certificate of a function of X; hyper-parameters left open are tried at 1.

    Raises:
        NoClosedForm: for functions whose series converges too slowly, or that are not finite.
    """
    found = Certificate(f.xreplace(dict.fromkeys(f.free_symbols - {X}, sp.S.One)))
    if not found.is_sound:
        raise NoClosedForm(
            f"{f} has no closed form that is known, and its Hermite series does not reach {TOLERANCES['float64']:g} "
            f"in {TERMS} terms (a kink, a jump, or values beyond floating point): smooth it, or write its kinks "
            "with Max, Min, Abs or sign of x times a polynomial"
        )
    return found


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
    """He_n(z) / sqrt(n!) times the weights, [TERMS, nodes], by the three-term recursion."""
    z, before, row = nodes(step), np.zeros_like(nodes(step)), weights(step)
    rows = [row]
    for n in range(TERMS - 1):
        before, row = row, (z * row - np.sqrt(n) * before) / np.sqrt(n + 1)
        rows.append(row)
    return np.array(rows)


def _pair_quadrature(f: sp.Expr, h: sp.Expr, q1: Any, q2: Any, k: Any) -> Any:
    """E[f(u) h(v)] by two nested quadratures, to the working precision of mpmath."""
    cosine = k / mp.sqrt(q1 * q2) if q1 * q2 else mp.mpf(0)
    sine = mp.sqrt(max(1 - cosine**2, 0))

    def inner(z: Any) -> Any:
        return mp.quad(lambda w: on_number(h, mp.sqrt(q2) * (cosine * z + sine * w)) * mp.npdf(w), CUTS)

    return mp.quad(lambda z: on_number(f, mp.sqrt(q1) * z) * inner(z) * mp.npdf(z), CUTS)
