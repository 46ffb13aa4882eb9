"""Sigmoids, and their slopes, as sums of tanh:  a + sum_j c_j tanh(b_j x),  which are means of noisy signs.

Those have closed forms at all variances (`ntkc.runtime.sigmoids`), where Hermite series need ever more terms.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import sympy as sp
from sympy.core.symbol import Str

from ntkc.gaussian.normal_form import X
from ntkc.gaussian.series import Sigmoid

SERIES_REACH = 10.0
"""The variance of b x up to which the series of tanh(b x) is used."""


class SigmoidSum(sp.Function):
    """SigmoidSum(f, h, is_slope, k, q1, q2, a, b, chunks1, chunks2) = E[f(u) h(v)]: a series, or mixtures."""

    nargs = 10


class SigmoidMean(sp.Function):
    """SigmoidMean(f, is_slope, square, q) = E[f(u)^2]."""

    nargs = 4


class Mixture(NamedTuple):
    """a + sum_j c_j tanh(b_j x), or sum_j c_j d/dx tanh(b_j x)."""

    a: float
    rows: tuple[tuple[float, float], ...]
    is_slope: bool

    @property
    def reach(self) -> sp.Expr:
        """The variance up to which its series is used."""
        return sp.Float(SERIES_REACH / max(b * b for _, b in self.rows))

    def text(self) -> Str:
        """As ntkc.runtime reads it."""
        return Str(repr((self.a, self.rows)))


@lru_cache(maxsize=1024)
def mixture_of(f: sp.Expr) -> Mixture | None:
    """A function of X as a mixture; None for all others."""
    names = {atom: sp.Dummy() for atom in sorted(f.atoms(sp.tanh, Sigmoid), key=str)}
    slopes = {atom: sp.cancel(atom.args[0] / X) for atom in names}
    if not names or not all(b.is_number and b != 0 for b in slopes.values()):
        return None
    plain = f.xreplace(names)
    if not plain.is_polynomial(*names.values()) or X in plain.free_symbols or len(plain.free_symbols) != len(names):
        return None
    poly = sp.Poly(plain, *names.values())
    made = _of_values(poly, slopes) if poly.total_degree() == 1 else _of_slopes(poly, slopes)
    return made if made is None or all(map(_is_moderate, (made.a, *sum(made.rows, ())))) else None


def square_root_of(expr: sp.Expr) -> Mixture | None:
    """The mixture whose square an expression is."""
    factor, rest = expr.as_independent(X, as_Add=False)
    if not (isinstance(rest, sp.Pow) and rest.exp == 2 and factor.is_positive):
        return None
    return mixture_of(sp.sqrt(factor) * rest.base)


def _is_moderate(v: float) -> bool:
    return abs(v) < 1e6


def _of_values(poly: sp.Poly, slopes: dict[sp.Expr, sp.Expr]) -> Mixture:
    """Sigmoid(b x) = (1 + tanh(b x / 2)) / 2."""
    a, rows = float(poly.nth(*[0] * len(slopes))), []
    for i, (atom, b) in enumerate(slopes.items()):
        c = float(poly.nth(*[int(i == j) for j in range(len(slopes))]))
        is_half = isinstance(atom, Sigmoid)
        a += c / 2 if is_half else 0.0
        rows.append((c / 2, float(b) / 2) if is_half else (c, float(b)))
    return Mixture(a, tuple(rows), False)


def _of_slopes(poly: sp.Poly, slopes: dict[sp.Expr, sp.Expr]) -> Mixture | None:
    """1 - tanh(b x)^2 = d/dx tanh(b x) / b,  Sigmoid(b x) Sigmoid(-b x) = d/dx tanh(b x / 2) / (2 b)."""
    atoms, rest = list(slopes), sp.S.Zero
    rows: list[tuple[float, float]] = []
    for powers, c in poly.terms():
        used = [(atom, n) for atom, n in zip(atoms, powers, strict=True) if n]
        if not used:
            rest += c
        elif len(used) == 1 and used[0][1] == 2 and isinstance(used[0][0], sp.tanh):
            b = slopes[used[0][0]]
            rest += c
            rows.append((float(-c / b), float(b)))
        elif len(used) == 2 and all(n == 1 and isinstance(a, Sigmoid) for a, n in used):
            b, other = (slopes[a] for a, _ in used)
            if b + other != 0:
                return None
            rows.append((float(c / (2 * abs(b))), float(abs(b) / 2)))
        else:
            return None
    return Mixture(0.0, tuple(rows), True) if rest == 0 and rows else None
