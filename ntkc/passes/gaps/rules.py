"""Half the squared distance E = (q1 + q2) / 2 - K of what a covariance is made of, without a difference of covariances.

sum            E(X + Y) = E(X) + E(Y),   E(c X) = c E(X),   E(b) = 0
f1 f2 X        f1 f2 (E - r^2 / 2) + r'^2 / 2,   r = n1 - n2,  r' = f1 n1 - f2 n2
X Y            m E(Y) + l E(X) - E(X) E(Y) + d e / 4,   l, m the mean variances of X and Y, d, e their differences
X (1 + c s)    (1 + c) E + c (1 - s) X,   s 1 for one pixel of one sample with itself
f1 g2 + g1 f2  (f1 - f2) (g1 - g2)
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from ntkc.gaussian.functions import Angle, Excess, Root
from ntkc.ir.maps import Mixed
from ntkc.ir.program import SAME_PIXEL, SAME_SAMPLE, Let
from ntkc.ir.streams import Kind, Stream, streams_in
from ntkc.passes.gaps.bends import Bends, product_gap
from ntkc.passes.gaps.mixes import Mixes, of_places, reads_local
from ntkc.passes.gaps.parts import (
    PLACES,
    Unknown,
    both_variances,
    distance_of,
    factors_of,
    is_covariance,
    norms,
    on_side,
    split,
    swapped,
)


@dataclass(frozen=True)
class Rules:
    """The rules for one program."""

    bends: Bends
    mixes: Mixes

    def distance(self, let: Let) -> sp.Expr | None:
        """E of a covariance, from those of its operands; None if there is no rule."""
        if let.expr == to_covariance(let.dst):
            return distance_of(let.dst)  # which an earlier statement made
        try:
            if reads_local(let.expr, self.mixes.maps):
                return self._local(let)
            made = self._distance(let.expr, let.dst)
        except Unknown:
            return None
        blocks = of_places(let.expr, self.mixes.maps)
        return made + self._between_blocks(let, blocks) if blocks else made

    def _local(self, let: Let) -> sp.Expr:
        """A filter of its own at each place: what two places make has no covariance."""
        q1, q2 = both_variances(let.dst.node)
        weights = let.expr.xreplace({SAME_PIXEL: sp.S.Zero})
        f = factors_of(let.expr)
        there = f.first * f.second if f.is_scaled else sp.S.One
        return self._distance(weights, let.dst) + there * (1 - SAME_PIXEL) * (q1 + q2) / 2

    def _between_blocks(self, let: Let, blocks: list[Mixed]) -> sp.Expr:
        """Pixels of different parts have no covariance: half of both variances."""
        q1, q2 = both_variances(let.dst.node)
        inside = sp.S.Zero
        for block in blocks:
            sides = [on_side(block.args[0], side) for side in (1, 2)]
            if None in sides or let.expr.coeff(block) != 1:
                raise Unknown
            inside += Mixed(sp.Add(*sides) / 2, block.args[1])
        return Excess((q1 + q2) / 2, inside)

    def _distance(self, expr: sp.Expr, u: Stream) -> sp.Expr:
        if not any(map(is_covariance, streams_in(expr))):
            return self._without_covariance(expr)
        if is_covariance(expr):
            return distance_of(expr)  # type: ignore[arg-type]
        if isinstance(expr, Mixed):
            return self.mixes.distance(expr, self._distance(expr.args[0], u), u)
        factors = factors_of(expr)
        if factors.is_scaled:
            return self._scaled(expr, u)
        if expr.has(Root, Angle):
            found = split(expr)
            if found is None:
                raise Unknown
            bent = sp.Add(*(self.bends.distance(form, v, u) for v, form in found.bent.items()))
            return bent + self._sum(found.rest, u)
        if expr.is_Add:
            return self._sum(expr, u)
        if not expr.is_Mul and not expr.is_Pow:
            raise Unknown
        return self._product(expr, u)

    def _sum(self, expr: sp.Expr, u: Stream) -> sp.Expr:
        terms = sp.Add.make_args(expr)
        free = [t for t in terms if not any(map(is_covariance, streams_in(t)))]
        bound = [t for t in terms if t not in free]
        return self._without_covariance(sp.Add(*free)) + sp.Add(*(self._distance(t, u) for t in bound))

    def _without_covariance(self, expr: sp.Expr) -> sp.Expr:
        """sum of f1 g2 + g1 f2  ->  sum of (f1 - f2) (g1 - g2); biases vanish where no place matters."""
        total, terms = sp.S.Zero, list(sp.Add.make_args(sp.expand(expr)))
        while terms:
            term = terms.pop()
            f = factors_of(term)
            if f.rest or not (f.is_scaled or f.places != 1):
                if f.rest:
                    raise Unknown
                continue
            if f.is_scaled and f.places != 1:
                raise Unknown
            if not f.is_scaled:
                total += f.constant * (sp.sympify(f.places).xreplace(PLACES) - f.places)
                continue
            other = swapped(term)
            if other != term:
                if other not in terms:
                    raise Unknown
                terms.remove(other)
            first, second = f.first - swapped(f.first), swapped(f.second) - f.second
            total += f.constant * first * second / (2 if other == term else 1)
        return total

    def _scaled(self, expr: sp.Expr, u: Stream) -> sp.Expr:
        """f1 f2 X, the same f on both sides."""
        f = factors_of(expr)
        inner = sp.Mul(f.constant, f.places, *f.rest)
        if not f.is_mirrored:
            raise Unknown
        e = self._distance(inner, u)
        if all(s.kind is Kind.Y for s in streams_in(f.first)):
            q1, q2 = both_variances(u.node)
            return f.first * f.second * e + (f.first - f.second) * (q1 - q2) / 2
        if is_covariance(inner):
            (n1, n2), scale = norms(u.node), f.first * f.second
            return scale * sp.Max(product_gap(inner), 0) + (n1 - n2) ** 2 / 2  # type: ignore[arg-type]
        q1, q2 = on_side(inner, 1), on_side(inner, 2)
        if q1 is None or q2 is None:
            raise Unknown
        return f.first * f.second * e + (f.first - f.second) * (f.first * q1 - f.second * q2) / 2

    def _product(self, expr: sp.Expr, u: Stream) -> sp.Expr:
        f = factors_of(expr)
        parts = [part for factor in f.rest for part in _powers(factor)]
        if any(not any(map(is_covariance, streams_in(p))) for p in parts) or parts == [expr]:
            raise Unknown
        made, covariance = self._distance(parts[0], u), parts[0]
        for part in parts[1:]:
            sides = [on_side(p, side) for p in (covariance, part) for side in (1, 2)]
            if None in sides:
                raise Unknown
            a1, a2, b1, b2 = map(sp.sympify, sides)
            e = self._distance(part, u)
            made = (b1 + b2) / 2 * made + (a1 + a2) / 2 * e - made * e + (a1 - a2) * (b1 - b2) / 4
            covariance = covariance * part
        most = f.places.xreplace(PLACES)  # of 1 + c s, what is dropped of one entry
        made = most * made + (most - f.places) * covariance
        return f.constant * made


def _powers(factor: sp.Expr) -> list[sp.Expr]:
    """x^3 as three factors."""
    if factor.is_Pow and factor.exp.is_Integer and factor.exp > 0:
        return [factor.base] * int(factor.exp)
    return [factor]


def from_covariance(key: Stream) -> sp.Expr:
    """(q1 + q2) / 2 - K, 0 for one pixel of one sample with itself."""
    q1, q2 = both_variances(key.node)
    one = SAME_PIXEL if key.kind is Kind.W else SAME_PIXEL * SAME_SAMPLE
    return Excess((q1 + q2) / 2, key) * (1 - one)


def to_covariance(key: Stream) -> sp.Expr:
    """K = (q1 + q2) / 2 - E."""
    q1, q2 = both_variances(key.node)
    return (q1 + q2) / 2 - distance_of(key)
