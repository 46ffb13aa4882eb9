"""What a pair computes of one sample alone  ->  a per-sample vector:  K / (q1 + 1)  ->  K i1,  i = 1 / (q + 1).

Divisions, roots and functions only: to read a vector costs as much as to add or multiply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import sympy as sp

from ntkc.ir.maps import Mixed
from ntkc.ir.program import Let, Loop, Program, Statement, lets, verify
from ntkc.ir.streams import SAMPLE, Kind, Stream

VECTORS = (Kind.S, Kind.N, Kind.C, Kind.R, Kind.F, Kind.V)
"""Streams with one number a sample; series have vectors of coefficients, which only they read."""


@dataclass
class _Made:
    """Keys of samples by the symbols that pairs read, the open hyper-parameters, and the vectors made so far."""

    keys: Mapping[Stream, Stream]
    parameters: frozenset[sp.Symbol]
    found: dict[sp.Expr, Stream] = field(default_factory=dict[sp.Expr, Stream])

    @cached_property
    def sides(self) -> dict[sp.Symbol, int]:
        return {key.on(side): side for key in self.keys.values() for side in (1, 2)}

    @cached_property
    def alone(self) -> frozenset[sp.Symbol]:
        """What an expression of one side may read."""
        return self.parameters | self.keys.keys()

    def vector(self, expr: sp.Expr, side: int, node: str) -> sp.Symbol:
        """The vector of an expression of one side, named after the node that reads it first."""
        whole = expr.xreplace({s: self.keys[s] for s in expr.free_symbols if s in self.keys})
        if whole not in self.found:
            taken = sum(key.node == node for key in self.found.values())
            self.found[whole] = Stream(Kind.I, node, node if not taken else str(taken + 1), SAMPLE)
        return self.found[whole].on(side)


def hoist(program: Program) -> Program:
    """The program with per-sample parts of its pairs made per sample."""
    keys = {key.on(side): key for key in _sample_keys(program) for side in (1, 2)}
    made = _Made(keys, frozenset(program.parameters))
    per_pair = tuple(_hoisted(s, made) for s in program.per_pair)
    if not made.found:
        return program
    return verify(replace(program, per_sample=_with_vectors(program, made.found), per_pair=per_pair))


def _sample_keys(program: Program) -> Iterator[Stream]:
    carries = [c for s in program.per_sample if isinstance(s, Loop) for c in s.carry]
    keys = [*program.inputs, *(let.dst for let in lets(program.per_sample))]
    keys += [key for c in carries for key in (c.start, c.after)]
    return (key for key in keys if key.side == SAMPLE and key.kind in VECTORS)


def _hoisted(statement: Statement, made: _Made) -> Statement:
    if isinstance(statement, Loop):
        return replace(statement, body=tuple(_hoisted_let(let, made) for let in statement.body))
    return _hoisted_let(statement, made)


def _hoisted_let(let: Let, made: _Made) -> Let:
    return replace(let, expr=_visited(let.expr, let.dst.node, made))


def _visited(expr: sp.Expr, node: str, made: _Made) -> sp.Expr:
    """The expression with its largest costly parts that read one side only as vectors."""
    symbols = expr.free_symbols
    sides = {made.sides[s] for s in symbols if s in made.sides}
    if not sides:
        return expr
    constant, rest = expr.as_independent(*made.sides, as_Add=False) if expr.is_Mul else (sp.S.One, expr)
    if constant != 1:
        return constant * _visited(rest, node, made)
    if len(sides) == 1 and symbols <= made.alone and _is_costly(expr):
        return made.vector(expr, sides.pop(), node)
    return expr.func(*(_visited(a, node, made) for a in expr.args)) if expr.args else expr


def _is_costly(expr: sp.Expr) -> bool:
    """Holds a division, a root or a function; maps of pixels are of entries, not of samples."""
    if expr.has(Mixed):
        return False
    return expr.has(sp.Function) or any(not (p.exp.is_Integer and p.exp > 0) for p in expr.atoms(sp.Pow))


def _with_vectors(program: Program, found: Mapping[sp.Expr, Stream]) -> tuple[Statement, ...]:
    """Per-sample statements, each vector as soon as what it reads is there."""
    pending = dict(found)
    known = {key for key in program.inputs if key.side == SAMPLE} | set(program.parameters)
    per_sample: list[Statement] = list(_ready(pending, known))
    for s in program.per_sample:
        if isinstance(s, Let):
            known.add(s.dst)
        else:
            inside = known | {c.start for c in s.carry} | {let.dst for let in s.body}
            lets_inside = _ready(pending, inside)
            s = replace(s, body=(*s.body, *lets_inside), stacked=(*s.stacked, *(let.dst for let in lets_inside)))
            known |= {c.after for c in s.carry}
        per_sample += [s, *_ready(pending, known)]
    return tuple(per_sample)


def _ready(pending: dict[sp.Expr, Stream], known: set[sp.Symbol]) -> list[Let]:
    """The vectors that can be made now, taken out of `pending`."""
    ready = [expr for expr in pending if expr.free_symbols <= known]
    return [Let(pending[expr], expr, pending.pop(expr).node) for expr in ready]
