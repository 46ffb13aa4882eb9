"""The arc-cosine kernels in the gap delta = 1 - rho, and their recognition in a dual activation.

    gap(delta)   = 1 - kappa1(rho),   kappa1 = (sqrt(1 - rho^2) + (pi - arccos rho) rho) / pi
    slope(delta) = kappa0(rho)      = 1 - arccos(rho) / pi

Every degree-one homogeneous activation a min(x, 0) + b max(x, 0) is a mixture of x and |x|, so this pair serves all.
Source: Cho and Saul 2009, eq. 6 and 8; the form in delta loses no digits where rho is near 1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import sympy as sp

from ntkc.gaussian.functions import Angle, Root
from ntkc.ir.streams import Reserved

K = Reserved("k", real=True)
Q1, Q2 = (Reserved(name, positive=True) for name in ("q1", "q2"))
"""The covariance and the variances of what is recognised."""


class _OfGap(sp.Function):
    """A function of delta that printers show in elementary functions."""

    nargs = 1

    def explicit(self) -> sp.Expr:
        raise NotImplementedError

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.explicit()._eval_evalf(prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = printer._print(self.explicit())
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


def _gap(delta: sp.Expr) -> sp.Expr:
    rho = 1 - delta
    return 1 - (sp.sqrt(1 - rho**2) + (sp.pi - sp.acos(rho)) * rho) / sp.pi


def _slope(delta: sp.Expr) -> sp.Expr:
    return 1 - sp.acos(1 - delta) / sp.pi


class ArcGap(_OfGap):
    """1 - kappa1(1 - delta)."""

    def explicit(self) -> sp.Expr:
        return _gap(self.args[0])

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return ArcSlope(self.args[0])


class ArcSlope(_OfGap):
    """kappa0(1 - delta)."""

    def explicit(self) -> sp.Expr:
        return _slope(self.args[0])


class NearGap(ArcGap):
    """ArcGap of a correlation known to be at least 0."""


class NearSlope(ArcSlope):
    """ArcSlope of a correlation known to be at least 0."""


class EvenGap(_OfGap):
    """1 - E|u||v| of unit Gaussians: small near rho = 1 and near rho = -1, and exact in both places."""

    def explicit(self) -> sp.Expr:
        return 2 * _gap(self.args[0]) - self.args[0]


class EvenSlope(_OfGap):
    """E[sign(u) sign(v)] of unit Gaussians."""

    def explicit(self) -> sp.Expr:
        return 2 * _slope(self.args[0]) - 1


class Mixture(NamedTuple):
    """V = linear k + bent s1 s2 E|u||v|, u and v normalised:  what a degree-one homogeneous activation has."""

    linear: sp.Expr
    bent: sp.Expr

    @property
    def total(self) -> sp.Expr:
        """V(q, q, q) / q."""
        return self.linear + self.bent

    @property
    def is_nonnegative(self) -> bool:
        """V >= 0 for every correlation: V(rho = -1) = bent - linear is the least value."""
        return bool((self.bent - self.linear).is_nonnegative)

    def gap(self, delta: sp.Expr, near: bool = False) -> sp.Expr:
        """1 - V / sqrt(V11 V22)."""
        if self.linear == 0:
            return EvenGap(delta)
        gap = (NearGap if near else ArcGap)(delta)
        return ((self.linear - self.bent) * delta + 2 * self.bent * gap) / self.total

    def slope(self, delta: sp.Expr, near: bool = False) -> sp.Expr:
        """The dual of the derivatives: linear + bent E[sign(u) sign(v)]."""
        if self.linear == 0:
            return self.bent * EvenSlope(delta)
        return self.linear - self.bent + 2 * self.bent * (NearSlope if near else ArcSlope)(delta)


def recognise(expr: sp.Expr, k: sp.Symbol, q1: sp.Symbol, q2: sp.Symbol) -> Mixture | None:
    """linear k + c (Root(k, q1, q2) + k Angle(k, q1, q2))  ->  its Mixture; None for anything else."""
    return _mixture_of(expr.xreplace({k: K, q1: Q1, q2: Q2}))


@lru_cache(maxsize=4096)
def _mixture_of(expr: sp.Expr) -> Mixture | None:
    """The same of K, Q1 and Q2: layers are alike, and so are found once."""
    linear, root, angle = _coefficients(expr, K, Q1, Q2)
    if angle is None or sp.expand(angle - root * K) != 0:
        return None
    slope = sp.expand(linear / K)
    if {K, Q1, Q2} & (slope.free_symbols | root.free_symbols) or root == 0:
        return None
    return Mixture(slope, root * sp.pi / 2)


def recognise_slope(expr: sp.Expr, k: sp.Symbol, q1: sp.Symbol, q2: sp.Symbol) -> Mixture | None:
    """c0 + c1 Angle(k, q1, q2), the slope of a Mixture  ->  (c0, c1 pi / 2); None for anything else."""
    return _slope_of(expr.xreplace({k: K, q1: Q1, q2: Q2}))


@lru_cache(maxsize=4096)
def _slope_of(expr: sp.Expr) -> Mixture | None:
    constant, root, angle = _coefficients(expr, K, Q1, Q2)
    if angle is None or root != 0 or {K, Q1, Q2} & (constant.free_symbols | angle.free_symbols):
        return None
    return Mixture(constant, angle * sp.pi / 2)


def _coefficients(expr: sp.Expr, k: sp.Symbol, q1: sp.Symbol, q2: sp.Symbol) -> tuple[sp.Expr, sp.Expr, sp.Expr | None]:
    """expr = c0 + c1 Root + c2 Angle; the last is None if it is not of this form."""
    r, a = sp.Dummy("r"), sp.Dummy("a")
    plain = sp.expand(expr.xreplace({Root(k, q1, q2): r, Angle(k, q1, q2): a}))
    if plain.has(Root, Angle) or not plain.is_polynomial(r, a) or sp.Poly(plain, r, a).total_degree() > 1:
        return plain, sp.S.Zero, None
    return plain.coeff(r, 0).coeff(a, 0), plain.coeff(r, 1), plain.coeff(a, 1)
