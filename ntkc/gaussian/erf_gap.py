"""Erf-like covariances in half the mean squared distance eta = (q1 + q2) / 2 - k, and their recognition.

    V(k) = c0 + c1 arcsin(k / sqrt(Q1 Q2)),  Q = q + noise   (Williams 1997)
    (V11 + V22) / 2 - V(k) = c1 AngleGap,    dV/dk = c1 / (noise Span)

    1 - V(k) / sqrt(V11 V22) = SineGap      for c0 = 0, in the gap of k;  (V11 + V22) / 2 - V(k) = c1 SineDistance

All variables of these functions are over the noise. With alpha = arccos(k / sqrt(Q1 Q2)), and alpha1, alpha2 the same
of k = q1 = q2,  AngleGap = alpha - (alpha1 + alpha2) / 2: the form in eta loses no digits where u and v are near.
"""

from __future__ import annotations

from typing import NamedTuple

import sympy as sp

from ntkc.gaussian.functions import Angle, Root, explicit


class _OfDistance(sp.Function):
    """A function with a counterpart in elementary functions."""

    def explicit(self) -> sp.Expr:
        """The same in elementary functions."""
        raise NotImplementedError

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.explicit()._eval_evalf(prec)


class AngleGap(_OfDistance):
    """AngleGap(eta, d, q1, q2, r1, r2, total) = alpha - (alpha1 + alpha2) / 2.

    d = q1 - q2, r = sqrt(1 + 2 q) - 1 and total = arcsin(q1 / Q1) + arcsin(q2 / Q2) repeat what q1 and q2 say.
    """

    nargs = 7

    def explicit(self) -> sp.Expr:
        eta, _, q1, q2, *_ = self.args
        k = (q1 + q2) / 2 - eta  # type: ignore[operator]
        own = (sp.acos(q / (1 + q)) for q in (q1, q2))
        return sp.acos(k / sp.sqrt((1 + q1) * (1 + q2))) - sp.Add(*own) / 2  # type: ignore[operator]


class Span(_OfDistance):
    """Span(eta, d, q1, q2) = sqrt((1 + q1) (1 + q2) - k^2)."""

    nargs = 4

    def explicit(self) -> sp.Expr:
        eta, _, q1, q2 = self.args
        return sp.sqrt((1 + q1) * (1 + q2) - ((q1 + q2) / 2 - eta) ** 2)  # type: ignore[operator]


class Across(_OfDistance):
    """Across(delta, r1, r2, s1, s2) = sqrt(1 - z^2), z = r1 r2 (1 - delta): the sine of the angle whose cosine is z.

    r = sqrt(q / (q + noise)) is the share of a norm in that with noise, and r^2 = 1 - 2 s^2.
    """

    nargs = 5

    def explicit(self) -> sp.Expr:
        return sp.sqrt(1 - _cosine(self) ** 2)


class ArcSine(_OfDistance):
    """ArcSine(delta, r1, r2, s1, s2) = arcsin(r1 r2 (1 - delta)), with r and s those of Across."""

    nargs = 5

    def explicit(self) -> sp.Expr:
        return sp.asin(_cosine(self))


class SineDistance(_OfDistance):
    """SineDistance(delta, r1, r2, s1, s2, t1, t2, total) = (u1 + u2) / 2 - arcsin(r1 r2 (1 - delta)).

    r and s are those of Across, t = sqrt(1 + 2 q / noise) - 1, and total = u1 + u2 with u = arcsin(r^2).
    """

    nargs = 8

    def explicit(self) -> sp.Expr:
        return self.args[-1] / 2 - sp.asin(_cosine(self))  # type: ignore[operator]


class SineGap(_OfDistance):
    """SineGap(delta, r1, r2, s1, s2, t1, t2, u1, u2) = 1 - arcsin(r1 r2 (1 - delta)) / sqrt(u1 u2).

    The gap of what an erf makes of a gap, with r, s, t and u those of SineDistance.
    """

    nargs = 9

    def explicit(self) -> sp.Expr:
        return 1 - sp.asin(_cosine(self)) / sp.sqrt(self.args[-2] * self.args[-1])  # type: ignore[operator]


def _cosine(function: sp.Function) -> sp.Expr:
    """r1 r2 (1 - delta)."""
    delta, r1, r2, *_ = function.args
    return r1 * r2 * (1 - delta)  # type: ignore[operator]


class ErfLike(NamedTuple):
    """V = constant + scale Angle(k, q1 + noise, q2 + noise)."""

    constant: sp.Expr
    scale: sp.Expr
    noise: sp.Expr


def recognise_erf(expr: sp.Expr, k: sp.Symbol, q1: sp.Symbol, q2: sp.Symbol) -> ErfLike | None:
    """c0 + c1 Angle(k, q1 + t, q2 + t), t > 0  ->  (c0, c1, t); None for anything else."""
    angles = expr.atoms(Angle)
    if len(angles) != 1:
        return None
    (angle,) = angles
    noise = angle.args[1] - q1
    mark = sp.Dummy("angle")
    plain = sp.expand(expr.xreplace({angle: mark}))
    found = ErfLike(plain.coeff(mark, 0), plain.coeff(mark, 1), noise)
    if angle != Angle(k, q1 + noise, q2 + noise) or sp.expand(plain - found.constant - found.scale * mark) != 0:
        return None
    is_free = not {k, q1, q2, mark} & set[sp.Basic]().union(*(e.free_symbols for e in found))
    return found if is_free and noise != 0 else None


def is_slope_of(found: ErfLike, expr: sp.Expr, k: sp.Symbol, q1: sp.Symbol, q2: sp.Symbol) -> bool:
    """Whether expr is dV/dk = scale / Root(k, q1 + noise, q2 + noise), however it is written."""
    root = Root(k, q1 + found.noise, q2 + found.noise)
    return sp.expand(explicit(expr / found.scale) ** -2 - explicit(root) ** 2) == 0
