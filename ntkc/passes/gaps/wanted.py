"""Which distances are wanted (backward): those that an activation reads, and what they are made of."""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy as sp

from ntkc.gaussian.arc_cosine import Mixture
from ntkc.gaussian.erf_gap import ErfLike
from ntkc.ir.maps import Mixed
from ntkc.ir.program import Let, Program, Statement
from ntkc.ir.streams import Kind, Stream, streams_in
from ntkc.passes.gaps.bends import Bends
from ntkc.passes.gaps.mixes import Mixes
from ntkc.passes.gaps.parts import COVARIANCE, Unknown, bent_operands, factors_of, is_covariance
from ntkc.passes.gaps.rules import Rules

DISTANCES = tuple(COVARIANCE.values())


@dataclass
class Wanted:
    """Covariances by the distance of whose node something is made; those whose difference of variances is."""

    rules: Rules
    distances: set[Stream] = field(default_factory=set[Stream])
    differences: set[Stream] = field(default_factory=set[Stream])
    gaps: set[Stream] = field(default_factory=set[Stream])
    """Those that an activation of degree one reads."""

    def read(self, expr: sp.Expr) -> None:
        """Something is made of this."""
        for s in streams_in(expr):
            if s.kind in DISTANCES:
                self.distances.add(s.of(Kind.K if s.kind is Kind.E else Kind.W))
            if s.kind is Kind.D:
                self.differences.add(s.of(Kind.K))
            if s.kind is Kind.Q:
                within = self.rules.mixes.spreads[s.sample]
                self.distances |= {k for k in streams_in(within) if is_covariance(k)}

    def statement(self, s: Statement) -> None:
        """What a statement wants, what is wanted of it being known."""
        if isinstance(s, Let):
            self._let(s)
            return
        while True:
            before = set(self.distances)
            for c in s.carry:
                own = {c.before, c.start, c.end, c.after}
                if own & self.distances:
                    self.distances |= own
            for let in reversed(s.body):
                self._let(let)
            if before == self.distances:
                return

    def _let(self, let: Let) -> None:
        if let.dst.kind not in COVARIANCE:
            return
        bent = bent_operands(let)
        self.distances |= bent.keys()
        self.gaps |= {v for v, form in bent.items() if isinstance(form, Mixture)}
        if any(isinstance(form, ErfLike) for form in bent.values()):
            self.distances.add(let.dst)
        if let.dst in self.distances:
            made = self.rules.distance(let)
            self.read(sp.S.Zero if made is None else made)
        if let.dst in self.differences:
            made = difference_of(let.expr, self.rules.mixes)
            self.read(sp.S.Zero if made is None else made)


def find_wanted(program: Program, rules: Rules) -> Wanted:
    """What is wanted of all covariances."""
    wanted = Wanted(rules)
    for statements in (program.per_pair, program.per_sample):
        for s in reversed(statements):
            wanted.statement(s)
    return wanted


def carried_differences(program: Program, mixes: Mixes) -> set[Stream]:
    """Covariances of pairs up to the first nonlinearity, whose q1 - q2 the data tell better than variances do."""
    found = {k for k in program.inputs if k.kind is Kind.K}
    for let in (s for s in program.per_pair if isinstance(s, Let) and s.dst.kind is Kind.K):
        read = {k for k in streams_in(let.expr) if is_covariance(k)}
        if read and read <= found and difference_of(let.expr, mixes) is not None:
            found.add(let.dst)
    return found


def difference_of(expr: sp.Expr, mixes: Mixes) -> sp.Expr | None:
    """q1 - q2 of a linear map of covariances, in those of its operands; None for anything else."""
    try:
        return _difference(expr, mixes)
    except Unknown:
        return None


def _difference(expr: sp.Expr, mixes: Mixes) -> sp.Expr:
    if is_covariance(expr):
        return expr.of(Kind.D)  # type: ignore[union-attr]
    if expr.is_Add:
        return sp.Add(*(_difference(t, mixes) for t in expr.args))
    if isinstance(expr, Mixed):
        made = mixes.difference(expr, _difference(expr.args[0], mixes))
        if made is None:
            raise Unknown
        return made
    f = factors_of(expr)
    if f.is_scaled or f.places != 1 or len(f.rest) > 1 or (f.rest and f.constant == 1):
        raise Unknown
    return f.constant * _difference(f.rest[0], mixes) if f.rest else sp.S.Zero


def bends_of(nonnegative: set[Stream], carried: set[Stream]) -> Bends:
    """Activations that read the difference of the data where it is carried."""

    def difference(v: Stream) -> sp.Expr:
        q1, q2 = (Stream(Kind.S, v.node, side=side) for side in (1, 2))
        return v.of(Kind.D) if v in carried else q1 - q2

    return Bends(nonnegative, difference)
