"""Program  ->  one sympy expression of k, q1, q2, each layer's terms collected before they are put into the next.

one ReLU layer    (sqrt(q1 q2 - k**2) + k (pi - acos(k / sqrt(q1 q2)))) / (2 pi)
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import sympy as sp

from ntkc.gaussian.dual import K12, Q1, Q2
from ntkc.gaussian.functions import Angle, explicit
from ntkc.ir.evaluate import run
from ntkc.ir.program import Program
from ntkc.ir.streams import SAMPLE, Kind, streams_in


def formula_of(program: Program, get: str) -> sp.Expr:
    """The output of a program in K, T and S, all statements put into one another."""
    first, second = ({k: q for k in program.inputs if k.side == SAMPLE} for q in (Q1, Q2))
    pair = {k: K12 for k in program.inputs if k.side is None}
    return min(
        (run(program, first, second, pair, value)[get] for value in (_plain_at, _collected_at)), key=sp.count_ops
    )


def _plain_at(expr: sp.Expr, known: Mapping[Any, Any]) -> sp.Expr:
    """The `Value` of formulas of rules as they stand."""
    return explicit(sp.sympify(expr)).xreplace(known)


def _collected_at(expr: sp.Expr, known: Mapping[Any, Any]) -> sp.Expr:
    """The `Value` of formulas of collected rules."""
    return collected(sp.sympify(expr)).xreplace(known)


@lru_cache(maxsize=1024)
def collected(expr: sp.Expr) -> sp.Expr:
    """The shortest way to write a rule: as it is, or grouped by its streams, with arcsines or with arccosines."""
    plain = explicit(expr)
    return min((plain, *(_grouped(e) for e in (expr, expr.replace(Angle, _as_acos)))), key=sp.count_ops)


def _as_acos(k: sp.Expr, q1: sp.Expr, q2: sp.Expr) -> sp.Expr:
    return sp.pi / 2 - sp.acos(k / sp.sqrt(q1 * q2))


def _grouped(expr: sp.Expr) -> sp.Expr:
    """Terms of the same tangent kernel, then of the same covariance, together; common factors in front."""
    streams = sorted(streams_in(expr), key=lambda s: (s.kind is not Kind.T, s.name))
    pairs = [s for s in streams if s.kind in (Kind.T, Kind.K)]
    return sp.factor_terms(sp.collect(sp.expand(explicit(expr)), pairs))
