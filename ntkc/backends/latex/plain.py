"""Functions of ntkc  ->  functions that readers know:  Root(k, q1, q2) -> sqrt(q1 q2 - k**2)."""

from __future__ import annotations

import sympy as sp

from ntkc.gaussian.functions import Edge, Orthant, Ridge, explicit
from ntkc.gaussian.series import Sigmoid, Softplus


class Chance(sp.Function):
    """Chance(k, q1, q2, c1, c2) = P(u > c1, v > c2)."""

    nargs = 5
    is_extended_real = True


def plain(expr: sp.Expr) -> sp.Expr:
    """An expression in functions that readers know."""
    shown = expr.replace(Edge, _edge).replace(Ridge, _ridge)
    if shown.has(Orthant):
        shown = shown.replace(Orthant, lambda *a: 4 * Chance(*a))
        shown = sp.Add(*map(sp.factor_terms, sp.Add.make_args(shown)))
    shown = shown.replace(Sigmoid, lambda a: 1 / (1 + sp.exp(-a))).replace(Softplus, lambda a: sp.log(1 + sp.exp(a)))
    return explicit(shown)


def _edge(k: sp.Expr, q1: sp.Expr, q2: sp.Expr, c1: sp.Expr, c2: sp.Expr) -> sp.Expr:
    density = sp.sqrt(2 / (sp.pi * q1)) * sp.exp(-(c1**2) / (2 * q1))
    return density * sp.erfc((q1 * c2 - k * c1) / sp.sqrt(2 * q1 * (q1 * q2 - k**2)))


def _ridge(k: sp.Expr, q1: sp.Expr, q2: sp.Expr, c1: sp.Expr, c2: sp.Expr) -> sp.Expr:
    square = q1 * q2 - k**2
    form = (q2 * c1**2 - 2 * k * c1 * c2 + q1 * c2**2) / (2 * square)
    return 2 / sp.pi * sp.sqrt(square) * sp.exp(-form)
