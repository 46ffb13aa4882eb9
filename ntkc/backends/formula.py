"""Program  ->  one sympy expression of k, q1, q2."""

from __future__ import annotations

import sympy as sp

from ntkc.gaussian.dual import K12, Q1, Q2
from ntkc.gaussian.functions import explicit
from ntkc.ir.program import SAMPLE, Let, Loop, Program, Statement

STREAMS = {"nngp": "K", "ntk": "T"}


def formula_of(program: Program, get: str) -> sp.Expr:
    """The output of a program in K, T and S (before `normalise`), all statements put into one another."""
    known: dict[sp.Symbol, sp.Expr] = {}
    for side, q in ((1, Q1), (2, Q2)):
        sample = {k.symbol: q for k in program.inputs if k.side == SAMPLE}
        for statement in program.per_sample:
            _run(statement, sample, side, known)
        known.update({_sided(symbol, side): value for symbol, value in sample.items()})
    known.update({k.symbol: K12 for k in program.inputs if k.side is None})
    for statement in program.per_pair:
        _run(statement, known)
    return explicit(sp.sympify(program.outputs[get]).xreplace(known))


def _sided(symbol: sp.Symbol, side: int) -> sp.Symbol:
    return sp.Symbol(symbol.name.replace("q_", f"q{side}_", 1), positive=True)


def _run(
    statement: Statement,
    known: dict[sp.Symbol, sp.Expr],
    side: int | None = None,
    turns: dict[sp.Symbol, sp.Expr] | None = None,
) -> None:
    """Add what a statement defines. In a loop, turn i of a sample keeps its values as `name@i` for turn i of pairs."""
    if isinstance(statement, Let):
        known[statement.dst.symbol] = statement.expr.xreplace(known)
        return
    state = {c.start.symbol: known[c.before.symbol] for c in statement.carry}
    for turn in range(statement.count):
        inside = {**known, **(_turn_values(statement, known, turn) if side is None else {}), **state}
        for let in statement.body:
            inside[let.dst.symbol] = let.expr.xreplace(inside)
        if side is not None and turns is not None:
            for key in statement.stacked:
                turns[_at(_sided(key.symbol, side), turn)] = inside[key.symbol]
        state = {c.start.symbol: inside[c.end.symbol] for c in statement.carry}
    known.update({c.after.symbol: state[c.start.symbol] for c in statement.carry})


def _at(symbol: sp.Symbol, turn: int) -> sp.Symbol:
    return sp.Symbol(f"{symbol.name}@{turn}", positive=True)


def _turn_values(loop: Loop, known: dict[sp.Symbol, sp.Expr], turn: int) -> dict[sp.Symbol, sp.Expr]:
    symbols = {s for let in loop.body for s in let.expr.free_symbols if s.is_positive}
    return {s: known[_at(s, turn)] for s in symbols if _at(s, turn) in known}
