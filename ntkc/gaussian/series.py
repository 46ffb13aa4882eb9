"""Dual activations without a closed form:  E[f(u) h(v)] as a symbol, that a certified series stands for.

E[f(u) h(v)] = sum_n a_n(q1) b_n(q2) rho^n        (`certificates`; `kinks` where f or h has a kink or jump at 0)
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import mpmath as mp
import sympy as sp

from ntkc.errors import NoClosedForm
from ntkc.gaussian.certificates import TERMS, VARIANCES, Certificate, SmoothCertificate
from ntkc.gaussian.kinks import KINKS, KinkCertificate, is_kinked, joined, kink_of
from ntkc.gaussian.normal_form import Pieces, X, pieces
from ntkc.gaussian.numbers import on_number

CUTS = [-16, -4, 0, 4, 16]
"""Panels of the quadrature in many digits."""


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


class Remainder(sp.Function):
    """Remainder(f, a, q) = 1 - sum_n a_n(q)^2 / E[f(u)^2], by Parseval the error of a series over sqrt(V V')."""

    nargs = 3


class HermiteSum(sp.Function):
    """HermiteSum(a, b, rho, chunks1, chunks2) = sum_n a_n b_n rho^n."""

    nargs = 5


def series(f: sp.Expr, h: sp.Expr, q1: sp.Expr, q2: sp.Expr, k: sp.Expr) -> sp.Expr:
    """E[f(u) h(v)] as a Series.

    Raises:
        NoClosedForm: the series of f or h converges too slowly to be certified, or f is not finite.
    """
    forms = [form(g) for g in (f, h)]
    for g in forms:
        certificate(g)
    return Series(*(sp.Lambda(X, g) for g in forms), q1, q2, k)


def series_of_derivatives(f: sp.Expr, h: sp.Expr, q1: sp.Expr, q2: sp.Expr, k: sp.Expr) -> sp.Expr:
    """E[f'(u) h'(v)], derivatives almost everywhere, as a Series; raises as `series` does."""
    return series(slope(f), slope(h), q1, q2, k)


def form(f: sp.Expr) -> sp.Expr:
    """The same function as series are made of it: one smooth expression, or two pieces that meet at 0.

    Raises:
        NoClosedForm: it has kinks away from 0.
    """
    if not f.has(*KINKS):
        return stable(f)
    parts = _parts(f)
    return parts.plus if parts.plus == parts.minus else joined(parts)


def slope(f: sp.Expr) -> sp.Expr:
    """f' almost everywhere: what back-propagation multiplies with, jumps left out."""
    if not f.has(*KINKS):
        return sp.diff(stable(f), X)
    slopes = _parts(f).derivative()
    return slopes.plus if slopes.plus == slopes.minus else joined(slopes)


def _parts(f: sp.Expr) -> Pieces:
    found = pieces(f)
    if found.tails:
        raise NoClosedForm(
            f"{f} has no closed form that is known, and its Hermite series converges too slowly: it has kinks away "
            "from 0, between pieces that are no polynomials"
        )
    return Pieces(stable(found.plus), stable(found.minus))


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


@lru_cache(maxsize=256)
def certificate(f: sp.Expr, precision: str = "float64") -> Certificate:
    """The certificate of a function of X for a working precision; hyper-parameters left open are tried at 1.

    Raises:
        NoClosedForm: for functions whose series converges too slowly, or that are not finite.
    """
    if is_kinked(f) and f.free_symbols != {X}:
        raise NoClosedForm(f"{f} has no closed form that is known: for its series, give hyper-parameters as numbers")
    plain = f.xreplace(dict.fromkeys(f.free_symbols - {X}, sp.S.One))
    found = KinkCertificate(plain, kink_of(plain, precision)) if is_kinked(f) else SmoothCertificate(plain)
    if not found.is_sound:
        raise NoClosedForm(
            f"{f} has no closed form that is known, and its Hermite series does not reach {found.needed:g} in {TERMS} "
            "terms (values beyond floating point, or sharp features near 0): smooth it, or write its kinks with Max, "
            "Min, Abs or sign of x times a polynomial"
        )
    return found


def report(f: sp.Expr, tolerances: Mapping[str, float]) -> str:
    """`tanh(x): 8/28/66/186 terms for 1e-06, ... at q = 0.1/1/3/10`, for the tolerance of each precision."""
    precisions = {tolerance: precision for precision, tolerance in tolerances.items()}
    counts = ", ".join(certificate(f, precision).text(tolerance) for tolerance, precision in precisions.items())
    return f"{f}: {counts} at q = {'/'.join(f'{q:g}' for q in VARIANCES)}"


def _pair_quadrature(f: sp.Expr, h: sp.Expr, q1: Any, q2: Any, k: Any) -> Any:
    """E[f(u) h(v)] by two nested quadratures, to the working precision of mpmath."""
    cosine = k / mp.sqrt(q1 * q2) if q1 * q2 else mp.mpf(0)
    sine = mp.sqrt(max(1 - cosine**2, 0))

    def inner(z: Any) -> Any:
        kink = -cosine * z / sine if sine else mp.mpf(0)
        cuts = sorted({*CUTS, kink}) if abs(kink) < CUTS[-1] else CUTS
        return mp.quad(lambda w: on_number(h, mp.sqrt(q2) * (cosine * z + sine * w)) * mp.npdf(w), cuts)

    return mp.quad(lambda z: on_number(f, mp.sqrt(q1) * z) * inner(z) * mp.npdf(z), CUTS)
