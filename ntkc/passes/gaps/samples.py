"""What pairs read of single samples: norms, angles of erf, spreads of pools, and variances nobody asked for before."""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from ntkc.gaussian.functions import Angle
from ntkc.ir.maps import Mixed
from ntkc.ir.program import Let, Loop, Program, Statement, lets
from ntkc.ir.streams import SAMPLE, Kind, Stream, streams_in, variance
from ntkc.passes.gaps.bends import norm_of
from ntkc.passes.gaps.parts import PLACES
from ntkc.passes.gaps.rules import Rules
from ntkc.passes.noisy import own_in_noise
from ntkc.passes.prune import alive


def finished(program: Program, before: Program, rules: Rules) -> Program:
    """The program with all that its statements read of samples, and without dead statements."""
    made = alive(with_sample_parts(program, rules))
    read = (s for let in lets((*made.per_sample, *made.per_pair)) for s in streams_in(let.expr))
    missing = {variance(s.node) for s in read if s.kind in (Kind.S, Kind.N)} - _sampled(made)
    within = {let.dst.node: let for let in lets(before.per_sample) if let.dst.kind is Kind.W}
    added = {s.node: Let(s, own_variance(within[s.node].expr, program), s.node) for s in missing if s.node in within}
    if not added:
        return made
    per_sample = tuple(new for s in program.per_sample for new in _with_added(s, added))
    return finished(replace(program, per_sample=per_sample), before, rules)


def _sampled(program: Program) -> set[Stream]:
    """What there is of samples."""
    carries = [c for s in program.per_sample if isinstance(s, Loop) for c in s.carry]
    return {
        *program.inputs,
        *(let.dst for let in lets(program.per_sample)),
        *(k for c in carries for k in (c.start, c.after)),
    }


def own_variance(expr: sp.Expr, program: Program) -> sp.Expr:
    """A covariance of one pixel of a sample with itself."""
    if isinstance(expr, Mixed) and any(m.reads_all_pairs for m in program.maps[str(expr.args[1])]):
        return expr
    if isinstance(expr, Stream):
        return variance(expr.node) if expr.kind is Kind.W else expr.on(SAMPLE)
    if expr in PLACES:
        return PLACES[expr]
    if not expr.args:
        return expr
    return expr.func(*(own_variance(a, program) if isinstance(a, sp.Expr) else a for a in expr.args))


def _with_added(s: Statement, added: dict[str, Let]) -> list[Statement]:
    """A statement after the variance that its node needs, which reads its masks and statistics."""
    if isinstance(s, Let):
        is_place = s.dst.node in added and s.dst.kind.rank >= Kind.S.rank
        return [added.pop(s.dst.node), s] if is_place else [s]
    body = tuple(new for let in s.body for new in _with_added(let, added))
    new = tuple(let.dst for let in body if isinstance(let, Let) and let.dst.kind is Kind.S and let.dst not in s.stacked)
    return [replace(s, body=body, stacked=(*s.stacked, *new))]


def with_sample_parts(program: Program, rules: Rules) -> Program:
    """The program with norms, angles and spreads of samples that its statements read."""
    parts = _Parts(program, rules)
    front = [let for k in program.inputs if k.side == SAMPLE for let in parts.after(k)]
    return replace(program, per_sample=(*front, *(new for s in program.per_sample for new in parts.statement(s))))


class _Parts:
    """Per-sample statements to add, by what they come after or before."""

    def __init__(self, program: Program, rules: Rules) -> None:
        read = {s.sample for let in lets((*program.per_sample, *program.per_pair)) for s in streams_in(let.expr)}
        self.rules = rules
        there = {let.dst for let in lets(program.per_sample)}
        self.norms = {s.node for s in read if s.kind is Kind.N and s not in there}
        self.angles = [s for s in sorted(read, key=str) if s.kind is Kind.R]
        self.spreads = [s for s in sorted(read, key=str) if s.kind is Kind.Q]
        self.started: set[str] = set()

    def after(self, key: Stream) -> list[Let]:
        """What is made of a variance."""
        if key.kind is not Kind.S or key.node not in self.norms:
            return []
        n = Stream(Kind.N, key.node, side=SAMPLE)
        return [Let(n, norm_of(n), key.node)]

    def statement(self, s: Statement) -> list[Statement]:
        if isinstance(s, Let):
            return [*self._let(s)]
        starts = [new for c in s.carry for new in self.after(c.start)]
        body = (*starts, *(new for let in s.body for new in self._let(let)))
        kept = (*s.stacked, *(let.dst for let in body if let.dst not in s.stacked and not let.dst.kind.is_paired))
        ends = [new for c in s.carry for new in self.after(c.after)]
        return [replace(s, body=body, stacked=kept), *ends]

    def _let(self, let: Let) -> list[Let]:
        before: list[Let] = []
        own: dict[sp.Expr, sp.Expr] = {}
        for r in self.angles:
            if r.node == let.dst.node:
                operand, noise = self.rules.bends.noises[r]
                q = variance(operand)
                plain = Angle(q, q + noise, q + noise)
                twice, angle = 2 * q / noise, own_in_noise(plain)
                own |= {plain: r.of(Kind.F), angle: r.of(Kind.F)}
                if r.node not in self.started:
                    before += [
                        Let(r, twice / (1 + sp.sqrt(1 + twice)), let.layer),
                        Let(r.of(Kind.F), angle, let.layer),
                    ]
        spreads: list[Let] = []
        if let.dst.node not in self.started:
            spreads = [Let(s, self._spread(s), let.layer) for s in self.spreads if s.node == let.dst.node]
        self.started.add(let.dst.node)
        let = replace(let, expr=let.expr.xreplace(own)) if let.dst.kind is Kind.S else let
        return [*spreads, *before, let, *self.after(let.dst)]

    def _spread(self, s: Stream) -> sp.Expr:
        within = self.rules.mixes.spreads[s]
        made = self.rules.distance(Let(Stream(Kind.W, s.node, side=SAMPLE), within.args[0]))
        assert made is not None
        return Mixed(made, within.args[1])
