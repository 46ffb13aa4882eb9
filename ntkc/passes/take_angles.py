"""Degree-one activations in K  ->  in the gap delta = 1 - K / (n1 n2), n = sqrt(q), whose arc-cosines are polynomials.

    Relu    K' = n1 n2 (1 - (delta + gap(delta)) / 2) / 2 ...,    T' = T slope(delta) / 2 ...

K itself is what filters mix, so it stays; `normalise` is for networks without pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import sympy as sp

from ntkc.gaussian.arc_cosine import Mixture, recognise, recognise_slope
from ntkc.gaussian.functions import Angle, CosineGap, Ratio
from ntkc.ir.maps import Maps, Mixed
from ntkc.ir.program import Let, Program, Statement, verify
from ntkc.ir.streams import Kind, Stream, streams_in

Operand = tuple[sp.Symbol, sp.Symbol, sp.Symbol]
"""k, q1 and q2 of the Gaussian that an activation reads."""


@dataclass
class _Known:
    """Covariances that cannot be negative, by name; the maps of pixels."""

    maps: Mapping[str, Maps]
    nonnegative: set[sp.Symbol] = field(default_factory=set[sp.Symbol])

    def delta(self, operand: Operand) -> sp.Expr:
        k, q1, q2 = operand
        return CosineGap(k * Ratio(sp.S.One, sp.sqrt(q1)) * Ratio(sp.S.One, sp.sqrt(q2)))

    def is_nonnegative(self, expr: sp.Expr) -> bool:
        """A sum, with coefficients that are not negative, of covariances that are not."""
        if isinstance(expr, Mixed):
            k, name = expr.args
            return all(m.is_nonnegative for m in self.maps[str(name)]) and self.is_nonnegative(k)
        if isinstance(expr, sp.Symbol):
            return expr in self.nonnegative or bool(expr.is_nonnegative)
        if isinstance(expr, (sp.Add, sp.Mul)):
            return all(self.is_nonnegative(a) for a in expr.args)
        return bool(expr.is_nonnegative)


def take_angles(program: Program) -> Program:
    """The program with arc-cosines of gaps wherever one activation of degree one reads one Gaussian."""
    known = _Known(program.maps)
    per_pair = tuple(_rewritten(s, known) for s in program.per_pair)
    per_sample = tuple(_rewritten(s, known) for s in program.per_sample)
    if (per_pair, per_sample) == (program.per_pair, program.per_sample):
        return program
    return verify(replace(program, per_pair=per_pair, per_sample=per_sample))


def _rewritten(statement: Statement, known: _Known) -> Statement:
    if isinstance(statement, Let):
        return _rewritten_let(statement, known)
    starts = {c.start for c in statement.carry if c.before in known.nonnegative}
    while True:
        inside = _Known(known.maps, known.nonnegative | starts)
        body = tuple(_rewritten_let(let, inside) for let in statement.body)
        still = {c.start for c in statement.carry if c.start in starts and c.end in inside.nonnegative}
        if still == starts:
            break
        starts = still
    known.nonnegative |= {c.after for c in statement.carry if c.start in starts}
    return replace(statement, body=body)


def _rewritten_let(let: Let, known: _Known) -> Let:
    operand = _operand(let.expr)
    if let.dst.kind in (Kind.K, Kind.W):
        mixture = recognise(let.expr, *operand) if operand else None
        if operand and mixture:
            expr = _covariance(mixture, operand, known)
            known.nonnegative.update([let.dst] if mixture.is_nonnegative else [])
            return replace(let, expr=expr)
        if known.is_nonnegative(let.expr):
            known.nonnegative.add(let.dst)
        return let
    if let.dst.kind is not Kind.T or operand is None:
        return let
    return _rewritten_slope(let, operand, known)


def _operand(expr: sp.Expr) -> Operand | None:
    """What the one angle in an expression is an angle of."""
    angles = {a.args for a in expr.atoms(Angle)}
    if len(angles) != 1:
        return None
    k, q1, q2 = angles.pop()
    return (k, q1, q2) if all(isinstance(s, Stream) for s in (k, q1, q2)) else None


def _covariance(mixture: Mixture, operand: Operand, known: _Known) -> sp.Expr:
    k, q1, q2 = operand
    near = k in known.nonnegative
    return mixture.total * sp.sqrt(q1) * sp.sqrt(q2) * (1 - mixture.gap(known.delta(operand), near))


def _rewritten_slope(let: Let, operand: Operand, known: _Known) -> Let:
    tangents = [s for s in streams_in(let.expr) if s.kind is Kind.T]
    if len(tangents) != 1:
        return let
    (tangent,) = tangents
    mixture = recognise_slope(sp.expand(let.expr / tangent), *operand)
    if mixture is None:
        return let
    near = operand[0] in known.nonnegative
    return replace(let, expr=tangent * mixture.slope(known.delta(operand), near))
