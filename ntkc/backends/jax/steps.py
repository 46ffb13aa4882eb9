"""Polynomials that change at steps, as emitted tables:  STEPS = Distribution((0, 1), ((1, 0, (0, -1)),))."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import sympy as sp

from ntkc.backends.jax.lines import WIDTH, wrapped
from ntkc.backends.jax.names import Names
from ntkc.gaussian.normal_form import X
from ntkc.gaussian.stepped import SLOPES, Stepped, SteppedAt, SteppedSlope, SteppedSlopeAt, steps_of
from ntkc.runtime.distributions import Distribution, derivative_of

CALLS = (Stepped, SteppedAt, SteppedSlope, SteppedSlopeAt)
IN_GAP = (SteppedAt, SteppedSlopeAt)
VALUES = {slope: value for value, slope in SLOPES.items()}
Table = tuple[sp.Expr, bool]
"""A function, and whether its derivative almost everywhere is meant."""


def table_of(table: Table) -> Distribution:
    """The numbers of a function, or of its derivative almost everywhere."""
    f, is_slope = table
    found = steps_of(f)
    assert found is not None
    steps = tuple((float(t), float(noise), tuple(map(float, c))) for t, noise, c in found.steps)
    whole = Distribution(tuple(map(float, found.base)), steps)
    if not is_slope:
        return whole
    slope = derivative_of(whole)
    return slope._replace(pulses=tuple(p for p in slope.pulses if p[1]))


def tables_in(call: sp.Expr) -> tuple[Table, Table]:
    """The tables that a call reads: those of derivatives only where a function jumps."""
    f, h = (a.expr for a in call.args[:2])
    is_slope = isinstance(call, tuple(VALUES)) and not has_slope(call)
    return (f, is_slope), (h, is_slope)


def has_slope(call: sp.Expr) -> bool:
    """dV/dk, which comes with V, is E[f' h']: neither function jumps."""
    return all(found is not None and found.is_continuous for found in (steps_of(a.expr) for a in call.args[:2]))


def table_name(table: Table, names: Names) -> str:
    """The name of a table in the module."""
    return names.name(("steps", *table), "SLOPES" if table[1] else "STEPS")


def step_tables(exprs: Iterable[sp.Expr], names: Names) -> Iterator[str]:
    """Lines of all tables that expressions read."""
    calls = sorted({a for e in exprs for a in e.atoms(*CALLS)}, key=str)
    for f, is_slope in dict.fromkeys(t for call in calls for t in tables_in(call)):
        shown = f.xreplace({X: sp.Symbol("x")})
        yield f"# {'slopes of ' if is_slope else ''}{shown}".replace("\n", " ")[:WIDTH]
        base, steps, pulses = table_of((f, is_slope))
        rows = [base, *([steps, pulses] if pulses else [steps] if steps else [])]
        yield from wrapped(f"{table_name((f, is_slope), names)} = Distribution({', '.join(map(repr, rows))})", WIDTH)
