"""Statements that no output needs  ->  nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ntkc.ir.program import Let, Loop, Program, Statement, verify


def prune(program: Program) -> Program:
    """The program without dead statements, dead carries and per-sample vectors that no pair reads."""
    wanted = {s.name for expr in program.outputs.values() for s in expr.free_symbols}
    per_pair = _alive(program.per_pair, wanted)
    sample = {_sampled(name) for name in wanted} | wanted
    per_sample = _alive(program.per_sample, sample)
    inputs = tuple(k for k in program.inputs if k.side is not None or k.name in wanted)
    return verify(replace(program, per_sample=per_sample, per_pair=per_pair, inputs=inputs))


def _sampled(name: str) -> str:
    """`q1_dense1`, `q2_dense1`  ->  `q_dense1`."""
    letter, _, rest = name.partition("_")
    return f"{letter.rstrip('12')}_{rest}"


def _alive(statements: Iterable[Statement], wanted: set[str]) -> tuple[Statement, ...]:
    """Statements that define a wanted name; what they read is added to `wanted`."""
    kept: list[Statement] = []
    for s in reversed(tuple(statements)):
        if isinstance(s, Loop):
            s = _alive_loop(s, wanted)
            if s.carry or s.stacked:
                kept.append(s)
        elif s.dst.name in wanted:
            wanted |= {symbol.name for symbol in s.expr.free_symbols}
            kept.append(s)
    return tuple(reversed(kept))


def _alive_loop(loop: Loop, wanted: set[str]) -> Loop:
    stacked = tuple(k for k in loop.stacked if k.name in wanted)
    carry = {c for c in loop.carry if c.after.name in wanted}
    while True:
        inside = {c.end.name for c in carry} | {k.name for k in stacked}
        body = _alive(loop.body, inside)
        more = {c for c in loop.carry if c.start.name in inside}
        if more <= carry:
            break
        carry |= more
    wanted |= inside | {c.before.name for c in carry}
    alive = tuple(c for c in loop.carry if c in carry)
    return replace(loop, body=tuple(s for s in body if isinstance(s, Let)), carry=alive, stacked=stacked)
