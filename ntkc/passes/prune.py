"""Statements that no output needs  ->  nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import sympy as sp

from ntkc.ir.program import Let, Loop, Program, Statement, verify
from ntkc.ir.streams import streams_in


def prune(program: Program) -> Program:
    """The program without dead statements, dead carries and per-sample vectors that no pair reads."""
    return verify(alive(program))


def alive(program: Program) -> Program:
    """The same, which may still read what it does not define."""
    wanted = {s for expr in program.outputs.values() for s in _read(expr)}
    per_pair = _alive(program.per_pair, wanted)
    per_sample = _alive(program.per_sample, wanted)
    inputs = tuple(k for k in program.inputs if k.side is not None or k in wanted)
    return replace(program, per_sample=per_sample, per_pair=per_pair, inputs=inputs)


def _read(expr: sp.Expr) -> set[sp.Symbol]:
    """The streams that an expression reads, as they are made: q of a sample for q1 and q2."""
    return {s.sample for s in streams_in(expr)}


def _alive(statements: Iterable[Statement], wanted: set[sp.Symbol]) -> tuple[Statement, ...]:
    """Statements that define a wanted stream; what they read is added to `wanted`."""
    kept: list[Statement] = []
    for s in reversed(tuple(statements)):
        if isinstance(s, Loop):
            s = _alive_loop(s, wanted)
            if s.carry or s.stacked:
                kept.append(s)
        elif s.dst in wanted:
            wanted |= _read(s.expr)
            kept.append(s)
    return tuple(reversed(kept))


def _alive_loop(loop: Loop, wanted: set[sp.Symbol]) -> Loop:
    stacked = tuple(k for k in loop.stacked if k in wanted)
    carry = {c for c in loop.carry if c.after in wanted}
    while True:
        inside = {c.end for c in carry} | set[sp.Symbol](stacked)
        body = _alive(loop.body, inside)
        more = {c for c in loop.carry if c.start in inside}
        if more <= carry:
            break
        carry |= more
    wanted |= inside | {c.before for c in carry}
    alive = tuple(c for c in loop.carry if c in carry)
    return replace(loop, body=tuple(s for s in body if isinstance(s, Let)), carry=alive, stacked=stacked)
