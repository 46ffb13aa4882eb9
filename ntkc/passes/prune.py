"""Statements that no output needs  ->  nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import sympy as sp

from ntkc.ir.program import Let, Loop, Program, Statement, lets, verify
from ntkc.ir.streams import Kind, Stream, streams_in, variance


def prune(program: Program) -> Program:
    """The program without aliases, dead statements, dead carries and per-sample vectors that no pair reads."""
    return verify(alive(_without_aliases(program)))


def alive(program: Program) -> Program:
    """The program without what is dead; it may still read what it does not define."""
    wanted = {s for expr in program.outputs.values() for s in _read(expr)}
    per_pair = _alive(program.per_pair, wanted)
    wanted |= {watched for s in wanted if isinstance(s, Stream) for watched in _watched(s)}
    per_sample = _alive(program.per_sample, wanted)
    inputs = tuple(k for k in program.inputs if k.side is not None or k in wanted)
    return replace(program, per_sample=per_sample, per_pair=per_pair, inputs=inputs)


def _watched(stream: Stream) -> tuple[Stream, ...]:
    """What is told of the error of a series beside its coefficients."""
    return (stream.of(Kind.X), variance(stream.node)) if stream.kind is Kind.M else ()


def _without_aliases(program: Program) -> Program:
    """The program without statements that say that a stream is another of its kind: readers read that."""
    found: dict[sp.Basic, sp.Basic] = {}
    for let in lets([*program.per_sample, *program.per_pair]):
        source = let.expr.xreplace(found)
        if isinstance(source, Stream) and source.kind is let.dst.kind and source.side == let.dst.side:
            found.update({let.dst.on(s): source.on(s) for s in (let.dst.side, 1, 2)} if let.dst.kind.is_sample else {})
            found[let.dst] = source
    if not found:
        return program
    return replace(
        program,
        per_sample=_renamed(program.per_sample, found),
        per_pair=_renamed(program.per_pair, found),
        outputs={name: sp.sympify(expr).xreplace(found) for name, expr in program.outputs.items()},
    )


def _renamed(statements: Iterable[Statement], found: Mapping[sp.Basic, sp.Basic]) -> tuple[Statement, ...]:
    made: list[Statement] = []
    for s in statements:
        if isinstance(s, Let):
            made += [] if s.dst in found else [replace(s, expr=s.expr.xreplace(found))]
            continue
        body = tuple(let for let in _renamed(s.body, found) if isinstance(let, Let))
        carry = tuple(replace(c, before=found.get(c.before, c.before), end=found.get(c.end, c.end)) for c in s.carry)
        stacked = tuple(dict.fromkeys(found.get(k, k) for k in s.stacked))
        made.append(replace(s, body=body, carry=carry, stacked=stacked))
    return tuple(made)


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
