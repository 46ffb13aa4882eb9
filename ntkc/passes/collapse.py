"""A program in delta alone  ->  one polynomial for nngp and one for ntk, whatever the depth.

    without biases   K = n1 n2 f(theta),  T = n1 n2 g(theta),  theta = arccos(1 - delta) / pi
    f, g  ->  polynomials in  u = 2 (1 + e) theta / (theta + e) - 1

Both are analytic in theta on [0, 1]; depth L moves their nearest pole to about -1/L, and the Moebius map u, with
e of that order, moves it away again: 14 to 20 coefficients serve float32, 27 to 43 float64, at depths 2 to 50.
All of it is computed in 30 digits, so that every machine writes the same source.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import mpmath as mp
import sympy as sp
from sympy.core.symbol import Str

from ntkc.gaussian.arc_cosine import ArcGap, ArcSlope, EvenGap, EvenSlope, NearGap, NearSlope
from ntkc.ir.evaluate import walk
from ntkc.ir.program import Let, Loop, Program, Statement, Table, lets, verify
from ntkc.ir.streams import Kind, Stream, streams_in

FEWEST_KINKS = 5
"""With fewer arc-cosines than this the statements themselves are as fast, and say more."""
NEGLIGIBLE = {"float32": 2e-9, "float64": 2e-15}
"""Chebyshev coefficients below this share of the largest |f| are left out."""
WORST = {"float32": 1e-7, "float64": 1e-12}
"""Errors, relative to |f| + max |f| / 10, that certification may not pass; the statements stay if it does."""
DIGITS = 30
DEGREE = 72
UNSEEN = 8
"""So many coefficients at the end must be negligible: what lies beyond DEGREE is smaller still."""
LARGEST_TERMS = 10
"""Terms of a polynomial may add up to this many times its largest value: rounding grows with them."""
SCALE = 20
"""e times the number of arc-cosines: near the best for every mixture and depth that was tried."""
NAMES = {"nngp": "NNGP", "ntk": "NTK"}

Number = Any
"""An mpmath number."""


class AngleOverPi(sp.Function):
    """arccos(1 - delta) / pi."""

    nargs = 1


class Collapsed(sp.Function):
    """Collapsed(name, u): the polynomial of this name in `Program.tables`."""

    nargs = 2


def collapse(program: Program) -> Program:
    """The program with its pair statements replaced by two polynomials, if they read delta and numbers only."""
    inputs = [k for k in program.inputs if k.side is None]
    if program.is_port or program.parameters or program.reads_width or [k.kind for k in inputs] != [Kind.G]:
        return program
    kinks = _count_kinks(program.per_pair)
    if kinks < FEWEST_KINKS or any(_is_sampled(s) for let in lets(program.per_pair) for s in streams_in(let.expr)):
        return program
    norms = {name: _norms(expr) for name, expr in program.outputs.items() if name in NAMES}
    functions = {name: sp.cancel(program.outputs[name] / norm) for name, norm in norms.items()}
    if any(_is_sampled(s) for f in functions.values() for s in streams_in(f)):
        return program
    moebius = sp.Rational(SCALE, kinks)
    tables = _fit(program, functions, moebius)
    if any(t.errors[dtype] > worst for t in tables.values() for dtype, worst in WORST.items()):
        return program
    return _collapsed(program, inputs[0], norms, sp.Float(float(moebius)), tables)


def _collapsed(
    program: Program, gap: Stream, norms: Mapping[str, sp.Expr], e: sp.Float, tables: Mapping[str, Table]
) -> Program:
    theta, u = gap.of(Kind.P), gap.of(Kind.U)
    layer = "collapsed"
    statements = (
        Let(theta, AngleOverPi(gap), layer),
        Let(u, (2 + 2 * e) * theta / (theta + e) - 1, layer),
    )
    outputs = {name: norm * Collapsed(Str(NAMES[name]), u) for name, norm in norms.items()}
    comment = "without biases every layer is a function of the angle alone, and so are all of them together"
    return verify(
        replace(
            program,
            per_pair=statements,
            outputs={**program.outputs, **outputs},
            comments={**program.comments, layer: comment},
            tables={NAMES[name]: table for name, table in tables.items()},
        )
    )


def _norms(expr: sp.Expr) -> sp.Expr:
    """The factors of an output that belong to single samples."""
    return sp.Mul(*(f for f in sp.Mul.make_args(expr) if f.free_symbols and all(map(_is_sampled, f.free_symbols))))


def _is_sampled(symbol: sp.Basic) -> bool:
    return isinstance(symbol, Stream) and symbol.side is not None


def _count_kinks(statements: tuple[Statement, ...]) -> int:
    """Arc-cosines along the program, those in loops for every turn."""
    total = 0
    for s in statements:
        turns = s.count if isinstance(s, Loop) else 1
        total += turns * sum(len(let.expr.atoms(ArcGap, EvenGap)) for let in lets((s,)))
    return total


def _fit(program: Program, functions: Mapping[str, sp.Expr], moebius: sp.Rational) -> dict[str, Table]:
    with mp.workdps(DIGITS):
        e = mp.mpf(float(moebius))
        nodes = [mp.cos(mp.pi * (2 * i + 1) / (2 * (DEGREE + 1))) for i in range(DEGREE + 1)]
        values = [_evaluate(program, functions, _theta(u, e)) for u in nodes]
        _angle.cache_clear()
        return {name: _table([v[name] for v in values]) for name in functions}


def _table(values: Sequence[Number]) -> Table:
    """Coefficients of 1, u, u^2, ...; the error counts every Chebyshev coefficient that is left out."""
    series = _chebyshev(values)
    largest = max(abs(v) for v in values) or mp.mpf(1)
    coefficients: dict[str, tuple[float, ...]] = {}
    errors: dict[str, float] = {}
    for dtype, share in NEGLIGIBLE.items():
        kept = 1 + max((n for n, c in enumerate(series) if abs(c) > share * largest), default=0)
        monomials = _monomials(series[:kept])
        coefficients[dtype] = tuple(float(c) for c in monomials)
        is_resolved = kept <= DEGREE - UNSEEN and mp.fsum(map(abs, monomials)) <= LARGEST_TERMS * largest
        # Relative to |f| + max |f| / 10, which is at least a tenth of the largest.
        errors[dtype] = float(10 * mp.fsum(map(abs, series[kept:])) / largest) if is_resolved else math.inf
    return Table(coefficients, errors)


def _chebyshev(values: Sequence[Number]) -> list[Number]:
    """Coefficients of the interpolant at the zeros of T_{DEGREE + 1}."""
    count = len(values)
    cosines = [mp.cos(mp.pi * i / (2 * count)) for i in range(4 * count)]
    sums = (mp.fsum(v * cosines[n * (2 * i + 1) % (4 * count)] for i, v in enumerate(values)) for n in range(count))
    return [s * (1 if n == 0 else 2) / count for n, s in enumerate(sums)]


def _monomials(series: Sequence[Number]) -> list[Number]:
    """sum_n c_n T_n(u) as coefficients of 1, u, u^2, ..., by Clenshaw's recursion on polynomials."""
    first, second = [mp.mpf(0)], [mp.mpf(0)]
    for c in reversed(series[1:]):
        first, second = _shifted(first, second, c, 2), first
    return _shifted(first, second, series[0], 1)[: len(series)]


def _shifted(first: list[Number], second: list[Number], c: Number, factor: int) -> list[Number]:
    """factor u first(u) - second(u) + c."""
    total = [c, *(factor * v for v in first)]
    for i, v in enumerate(second):
        total[i] -= v
    return total


def _theta(u: Number, e: Number) -> Number:
    y = (u + 1) / 2
    return y * e / (1 + e - y)


def _evaluate(program: Program, functions: Mapping[str, sp.Expr], theta: Number) -> dict[str, Number]:
    """The normalised outputs at the angle pi theta."""
    (gap,) = (k for k in program.inputs if k.side is None)
    known: dict[Stream, Number] = {gap: 2 * mp.sin(mp.pi * theta / 2) ** 2}
    walk(program.per_pair, known, _value)
    return {name: _value(f, known) for name, f in functions.items()}


def _value(expr: sp.Expr, known: Mapping[Stream, Number]) -> Number:
    function, reads = _compiled(expr)
    return function(*(known[r] for r in reads))


@lru_cache(maxsize=256)
def _compiled(expr: sp.Expr) -> tuple[Any, list[sp.Symbol]]:
    symbols = sorted(expr.free_symbols, key=str)
    return sp.lambdify(symbols, expr, modules=[_NUMBERS, "mpmath"]), symbols


@lru_cache(maxsize=100_000)
def _angle(delta: Number) -> Number:
    """arccos(1 - delta); rounding may lead out of [0, 2]."""
    return 2 * mp.asin(mp.sqrt(min(max(delta, 0), 2) / 2))


def _arc_gap(delta: Number) -> Number:
    a = _angle(delta)
    return 1 - (mp.sin(a) + (mp.pi - a) * (1 - delta)) / mp.pi


def _arc_slope(delta: Number) -> Number:
    return 1 - _angle(delta) / mp.pi


_NUMBERS: dict[str, Any] = {
    ArcGap.__name__: _arc_gap,
    NearGap.__name__: _arc_gap,
    EvenGap.__name__: lambda delta: 2 * _arc_gap(delta) - delta,
    ArcSlope.__name__: _arc_slope,
    NearSlope.__name__: _arc_slope,
    EvenSlope.__name__: lambda delta: 2 * _arc_slope(delta) - 1,
}
