"""Statements in covariances  ->  in distances.

K_u = ...      E_u = ...,  K_u = (q1 + q2) / 2 - E_u     where E_u is wanted
T_u = T_v f    T_v slope(E_v)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import sympy as sp

from ntkc.gaussian.arc_cosine import Mixture
from ntkc.gaussian.erf_gap import ErfLike, is_slope_of
from ntkc.ir.maps import Mixed
from ntkc.ir.program import Carry, Let, Loop, Program, Statement, lets
from ntkc.ir.streams import SAMPLE, Kind, Stream
from ntkc.passes.gaps.bends import product_gap
from ntkc.passes.gaps.parts import (
    COVARIANCE,
    bent_operands,
    both_variances,
    distance_of,
    factors_of,
    norms,
    slope_mixture,
    slopes,
    split_of,
)
from ntkc.passes.gaps.rules import Rules, from_covariance, to_covariance
from ntkc.passes.gaps.wanted import Wanted, difference_of


@dataclass(frozen=True)
class Rewriter:
    """What is rewritten, and into what."""

    program: Program
    wanted: Wanted

    @property
    def rules(self) -> Rules:
        return self.wanted.rules

    def all(self) -> Program:
        """The program in distances, dead statements included."""
        sources = [k for k in self.program.inputs if k in self.wanted.distances]
        given = [Let(k, to_covariance(k), k.node) for k in sources]
        per_pair = [*(g for g in given if g.dst.side is None), *self._statements(self.program.per_pair)]
        per_sample = [*(g for g in given if g.dst.side == SAMPLE), *self._statements(self.program.per_sample)]
        inputs = [new for k in self.program.inputs for new in self._inputs(k)]
        return replace(self.program, per_sample=tuple(per_sample), per_pair=tuple(per_pair), inputs=tuple(inputs))

    def _inputs(self, key: Stream) -> list[Stream]:
        if key not in self.wanted.distances:
            return [key]
        return [distance_of(key), *([key.of(Kind.D)] if key in self.wanted.differences else [])]

    def _statements(self, statements: tuple[Statement, ...]) -> list[Statement]:
        covariances = {let.dst.node: let for let in lets(statements) if let.dst.kind is Kind.K}
        made: list[Statement] = []
        for s in statements:
            made += self._let(s, covariances) if isinstance(s, Let) else self._loop(s, covariances)
        return made

    def _loop(self, loop: Loop, covariances: dict[str, Let]) -> list[Statement]:
        carried = [c for c in loop.carry if c.start in self.wanted.distances]
        entered = [Let(c.start, to_covariance(c.start), loop.layer) for c in carried]
        body = (*entered, *(new for let in loop.body for new in self._let(let, covariances)))
        carry = tuple(_of_distances(c) if c in carried else c for c in loop.carry)
        left = [Let(c.after, to_covariance(c.after), loop.layer) for c in carried]
        return [replace(loop, body=body, carry=carry), *left]

    def _let(self, let: Let, covariances: dict[str, Let]) -> list[Let]:
        if let.dst.kind is Kind.T:
            return [replace(let, expr=self._tangent(let, covariances.get(let.dst.node)))]
        if let.dst.kind not in COVARIANCE:
            return [let]
        if let.dst not in self.wanted.distances:
            return [replace(let, expr=self._covariance(let))]
        e = self.rules.distance(let)
        if e == distance_of(let.dst):
            return [let]
        if e is None:
            return [let, Let(distance_of(let.dst), from_covariance(let.dst), let.layer)]
        made = [Let(distance_of(let.dst), e, let.layer), Let(let.dst, self._of_distance(let.dst), let.layer)]
        if let.dst in self.wanted.differences:
            d = difference_of(let.expr, self.rules.mixes)
            assert d is not None
            made.append(Let(let.dst.of(Kind.D), d, let.layer))
        return made

    def _of_distance(self, key: Stream) -> sp.Expr:
        """A covariance from the distance: of what an activation reads in norms, which are at hand there."""
        if key not in self.wanted.gaps:
            return to_covariance(key)
        n1, n2 = norms(key.node)
        return n1 * n2 - product_gap(key)

    def _covariance(self, let: Let) -> sp.Expr:
        """A covariance with its activations in gaps."""
        found = split_of(let)
        if found is None or not found.bent:
            return let.expr
        factors = factors_of(let.expr)
        bends = self.rules.bends
        bent = (bends.covariance(form, v) for v, form in found.bent.items() if isinstance(form, Mixture))
        scale = factors.first * factors.second if factors.is_scaled else sp.S.One
        return scale * sp.Add(found.rest, *bent)

    def _tangent(self, let: Let, covariance: Let | None) -> sp.Expr:
        """A tangent kernel in slopes of gaps."""
        if covariance is None:
            return let.expr
        bent = bent_operands(covariance)
        if not bent:
            return self._with_shared_map(let.expr, covariance)
        factors = factors_of(let.expr)
        scale = factors.first * factors.second if factors.is_scaled else sp.S.One
        rest = sp.Mul(factors.constant, factors.places, *factors.rest) if factors.is_scaled else let.expr
        parts = slopes(rest)
        if parts is None:
            return let.expr
        return scale * sp.Add(*(t * self._slope(f, t, bent) for t, f in parts.items()))

    def _slope(self, factor: sp.Expr, tangent: Stream, bent: dict[Stream, Mixture | ErfLike]) -> sp.Expr:
        v = Stream(Kind.K, tangent.node)
        form = bent.get(v)
        if isinstance(form, Mixture):
            mixture = slope_mixture(factor, v)
            return factor if mixture is None else self.rules.bends.slope(mixture, v)
        if form is None or not is_slope_of(form, sp.cancel(factor), v, *both_variances(v.node)):
            return factor
        return self.rules.bends.slope(form, v)

    def _with_shared_map(self, expr: sp.Expr, covariance: Let) -> sp.Expr:
        """What maps made of K_v  ->  K_u / c: with K_u made of a distance, it is there already."""
        mixed = sorted(covariance.expr.atoms(Mixed), key=str)
        if covariance.dst not in self.wanted.distances or len(mixed) != 1 or mixed[0] not in expr.atoms(Mixed):
            return expr
        weight = covariance.expr.coeff(mixed[0], 1)
        # With a bias b, K_u - b keeps no digit where c K_v is smaller than rounding of b; an open c may be 0.
        if covariance.expr != weight * mixed[0] or not weight.is_number or weight == 0:
            return expr
        return expr.xreplace({mixed[0]: covariance.dst / weight})


def _of_distances(c: Carry) -> Carry:
    return Carry(*(distance_of(k) for k in (c.before, c.start, c.end, c.after)))
