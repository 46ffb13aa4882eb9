"""Program  ->  its outputs at given values: numbers of mpmath, numpy arrays, or sympy expressions put into one another.

The reference interpreter: `formula` and `collapse` run on it, and tests compare programs before and after a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import sympy as sp

from ntkc.ir.program import Loop, Program, Statement
from ntkc.ir.streams import Stream

Known = dict[Any, Any]
"""What each symbol stands for."""
Value = Callable[[sp.Expr, Mapping[Any, Any]], Any]
"""An expression at what its symbols stand for."""
Turns = dict[str, list[Known]]
"""Per-sample values kept for every turn of a loop, by the layer of the loop."""


def substitute(expr: sp.Expr, known: Mapping[Any, Any]) -> sp.Expr:
    """The `Value` of formulas."""
    return sp.sympify(expr).xreplace(known)


def run(
    program: Program,
    sample1: Mapping[Stream, Any],
    sample2: Mapping[Stream, Any],
    pair: Mapping[Any, Any],
    value: Value,
) -> dict[str, Any]:
    """The outputs of a program, "variance" that of the first sample.

    Args:
        sample1, sample2: the inputs of one sample each, as they stand in `program.inputs`; and hyper-parameters.
        pair: the inputs of the pair, and hyper-parameters.
        value: how an expression is computed.
    """
    known: Known = dict(pair)
    turns: Turns = {}
    ends: list[Known] = []
    for side, given in ((1, sample1), (2, sample2)):
        inside: Known = dict(given)
        kept = walk(program.per_sample, inside, value)
        ends.append(inside)
        known |= _on(side, inside)
        for layer, own in kept.items():
            there = turns.setdefault(layer, [{} for _ in own])
            turns[layer] = [{**a, **_on(side, b)} for a, b in zip(there, own, strict=True)]
    walk(program.per_pair, known, value, turns)
    outputs = {name: value(expr, known) for name, expr in program.outputs.items() if name != "variance"}
    if "variance" in program.outputs:
        outputs["variance"] = value(program.outputs["variance"], ends[0])
    return outputs


def walk(statements: Iterable[Statement], known: Known, value: Value, turns: Turns | None = None) -> Turns:
    """Add what statements define to `known`; gives what their loops stack."""
    kept: Turns = {}
    for s in statements:
        if isinstance(s, Loop):
            kept[s.layer] = _loop(s, known, value, (turns or {}).get(s.layer, [{}] * s.count))
        else:
            known[s.dst] = value(s.expr, known)
    return kept


def _loop(loop: Loop, known: Known, value: Value, turns: list[Known]) -> list[Known]:
    state = {c.start: known[c.before] for c in loop.carry}
    kept: list[Known] = []
    for turn in turns:
        inside = {**known, **turn, **state}
        for let in loop.body:
            inside[let.dst] = value(let.expr, inside)
        kept.append({k: inside[k] for k in loop.stacked})
        state = {c.start: inside[c.end] for c in loop.carry}
    known.update({c.after: state[c.start] for c in loop.carry})
    return kept


def _on(side: int, known: Known) -> Known:
    return {s.on(side) if isinstance(s, Stream) else s: v for s, v in known.items()}
