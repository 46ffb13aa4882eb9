"""A program in delta alone  ->  one polynomial for nngp and one for ntk, whatever the depth.

    without biases   K = n1 n2 f(theta),  T = n1 n2 g(theta),  theta = arccos(1 - delta) / pi
    f, g  ->  polynomials in  u = 2 (1 + e) theta / (theta + e) - 1

Both are analytic in theta on [0, 1]; depth L moves their nearest pole to about -1/L, and the Moebius map u, with
e of that order, moves it away again: 12 to 17 coefficients serve float32, 27 to 38 float64, at depths 2 to 50.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import sympy as sp
from numpy.polynomial import chebyshev, polynomial

from ntkc.gaussian.arc_cosine import ArcGap, ArcSlope, EvenGap, EvenSlope, NearGap, NearSlope
from ntkc.ir.program import Key, Let, Loop, Program, Statement, Table, lets, verify

FEWEST_KINKS = 5
"""With fewer arc-cosines than this the statements themselves are as fast, and say more."""
NEGLIGIBLE = {"float32": 2e-9, "float64": 2e-15}
"""Chebyshev coefficients below this share of max |f| are left out; float64 values themselves have 1e-16 of noise."""
WORST = {"float32": 1e-7, "float64": 1e-12}
"""Errors, relative to |f| + max |f| / 10, that certification may not pass; the statements stay if it does."""
DEGREE = 96
SCALES = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""Candidates for e times the number of arc-cosines."""
NAMES = {"nngp": "NNGP", "ntk": "NTK"}
STREAMS = {"nngp": "K", "ntk": "T"}

Array = Any


class AngleOverPi(sp.Function):
    """arccos(1 - delta) / pi."""

    nargs = 1


class Fitted(NamedTuple):
    """Tables for one Moebius constant."""

    moebius: float
    tables: dict[str, Table]

    def size(self) -> int:
        """Number of float64 coefficients."""
        return sum(len(t.coefficients["float64"]) for t in self.tables.values())


def collapse(program: Program) -> Program:
    """The program with its pair statements replaced by two polynomials, if they read delta and numbers only."""
    inputs = [k for k in program.inputs if k.side is None]
    if program.is_port or program.parameters or [k.stream for k in inputs] != ["G"]:
        return program
    kinks = _count_kinks(program.per_pair)
    if kinks < FEWEST_KINKS or any(_is_sampled(s) for let in lets(program.per_pair) for s in let.expr.free_symbols):
        return program
    norms = {name: _norms(expr) for name, expr in program.outputs.items() if name in NAMES}
    functions = {name: sp.cancel(program.outputs[name] / norm) for name, norm in norms.items()}
    if any(_is_sampled(s) for f in functions.values() for s in f.free_symbols):
        return program
    best = min((_fit(program, functions, scale / kinks) for scale in SCALES), key=Fitted.size)
    if any(t.errors[dtype] > worst for t in best.tables.values() for dtype, worst in WORST.items()):
        return program
    return _collapsed(program, inputs[0], norms, best)


def _collapsed(program: Program, gap: Key, norms: Mapping[str, sp.Expr], fitted: Fitted) -> Program:
    theta, u = Key("P", gap.u, gap.u), Key("U", gap.u, gap.u)
    e = sp.Float(fitted.moebius)
    layer = "collapsed"
    statements = (
        Let(theta, AngleOverPi(gap.symbol), layer),
        Let(u, (2 + 2 * e) * theta.symbol / (theta.symbol + e) - 1, layer),
    )
    outputs = {name: norm * sp.Function(NAMES[name])(u.symbol) for name, norm in norms.items()}
    comment = "without biases every layer is a function of the angle alone, and so are all of them together"
    return verify(
        replace(
            program,
            per_pair=statements,
            outputs={**program.outputs, **outputs},
            comments={**program.comments, layer: comment},
            tables={NAMES[name]: table for name, table in fitted.tables.items()},
        )
    )


def _norms(expr: sp.Expr) -> sp.Expr:
    """The factors of an output that belong to single samples."""
    return sp.Mul(*(f for f in sp.Mul.make_args(expr) if f.free_symbols and all(map(_is_sampled, f.free_symbols))))


def _is_sampled(symbol: sp.Basic) -> bool:
    return str(symbol).split("_")[0] in {f"{letter}{side}" for letter in "qnabc" for side in (1, 2)}


def _count_kinks(statements: tuple[Statement, ...]) -> int:
    """Arc-cosines along the program, those in loops for every turn."""
    total = 0
    for s in statements:
        turns = s.count if isinstance(s, Loop) else 1
        total += turns * sum(len(let.expr.atoms(ArcGap, EvenGap)) for let in lets((s,)))
    return total


def _fit(program: Program, functions: Mapping[str, sp.Expr], e: float) -> Fitted:
    nodes = chebyshev.chebpts1(DEGREE + 1)
    values = _evaluate(program, functions, _theta(nodes, e))
    grid = np.linspace(0, 1, 1001)
    thetas = np.unique(np.concatenate([grid**4, grid, 1 - grid**2]))
    exact = _evaluate(program, functions, thetas)
    u = 2 * (1 + e) * thetas / (thetas + e) - 1
    return Fitted(e, {name: _table(nodes, values[name], u, exact[name]) for name in functions})


def _table(nodes: Array, values: Array, u: Array, exact: Array) -> Table:
    series = chebyshev.chebfit(nodes, values, DEGREE)
    largest = np.max(np.abs(exact))
    size = np.abs(exact) + largest / 10
    coefficients: dict[str, tuple[float, ...]] = {}
    errors: dict[str, float] = {}
    for dtype, share in NEGLIGIBLE.items():
        monomials = chebyshev.cheb2poly(chebyshev.chebtrim(series, share * largest))
        coefficients[dtype] = tuple(float(c) for c in monomials)
        errors[dtype] = float(np.max(np.abs(polynomial.polyval(u, monomials) - exact) / size))
    return Table(coefficients, errors)


def _theta(u: Array, e: float) -> Array:
    y = (u + 1) / 2
    return y * e / (1 + e - y)


def _evaluate(program: Program, functions: Mapping[str, sp.Expr], theta: Array) -> dict[str, Array]:
    """The normalised outputs at angles pi theta, in float64 numpy: the reference that the tables are fitted to."""
    (gap,) = (k for k in program.inputs if k.side is None)
    known: dict[str, Array] = {gap.name: 2 * np.sin(np.pi * theta / 2) ** 2}
    for statement in program.per_pair:
        _run(statement, known)
    return {name: np.broadcast_to(_value(f, known), theta.shape) for name, f in functions.items()}


def _run(statement: Statement, known: dict[str, Array]) -> None:
    if isinstance(statement, Let):
        known[statement.dst.name] = _value(statement.expr, known)
        return
    known.update({c.start.name: known[c.before.name] for c in statement.carry})
    steps = [(let.dst.name, *_compiled(let.expr)) for let in statement.body]
    for _ in range(statement.count):
        for name, function, reads in steps:
            known[name] = function(*(known[r] for r in reads))
        known.update({c.start.name: known[c.end.name] for c in statement.carry})
    known.update({c.after.name: known[c.start.name] for c in statement.carry})


def _value(expr: sp.Expr, known: Mapping[str, Array]) -> Array:
    function, reads = _compiled(expr)
    return function(*(known[r] for r in reads))


def _compiled(expr: sp.Expr) -> tuple[Any, list[str]]:
    symbols = sorted(expr.free_symbols, key=str)
    return sp.lambdify(symbols, expr, modules=[_NUMPY, "numpy"]), [s.name for s in symbols]


def _angle(delta: Array) -> Array:
    """arccos(1 - delta), accurate at both ends."""
    return np.where(
        delta <= 1,
        2 * np.arcsin(np.sqrt(np.clip(delta, 0, 2) / 2)),
        np.pi - 2 * np.arcsin(np.sqrt(np.clip(2 - delta, 0, 2) / 2)),
    )


def _lens(angle: Array) -> Array:
    """(sin a - a cos a) / pi, by its series where the difference would cancel."""
    a2 = angle**2
    terms = 1 / 3 - a2 * (1 / 30 - a2 * (1 / 840 - a2 * (1 / 45360 - a2 * (1 / 3991680 - a2 / 518918400))))
    return np.where(angle < 0.7, angle * a2 * terms, np.sin(angle) - angle * np.cos(angle)) / np.pi


def _arc_gap(delta: Array) -> Array:
    a = _angle(delta)
    return np.where(delta <= 1, delta, 1) - _lens(np.where(delta <= 1, a, np.pi - a))


def _even_gap(delta: Array) -> Array:
    near = np.where(delta <= 1, _angle(delta), np.pi - _angle(delta))
    return np.where(delta <= 1, delta, 2 - delta) - 2 * _lens(near)


def _arc_slope(delta: Array) -> Array:
    return 1 - _angle(delta) / np.pi


_NUMPY: dict[str, Any] = {
    ArcGap.__name__: _arc_gap,
    NearGap.__name__: _arc_gap,
    EvenGap.__name__: _even_gap,
    ArcSlope.__name__: _arc_slope,
    NearSlope.__name__: _arc_slope,
    EvenSlope.__name__: lambda delta: 2 * _arc_slope(delta) - 1,
}
