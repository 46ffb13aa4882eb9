"""Polynomials that change at steps away from 0:  E[f(u) h(v)] as a symbol, that the run time computes in float64.

Their closed forms (`dual`) are sums of terms that grow like powers of the variance and cancel; the symbol knows them,
for readers, and its numbers come from an integral in which nothing cancels (`runtime/thresholds.py`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import sympy as sp

from ntkc.errors import NoClosedForm
from ntkc.gaussian.dual import K12, Q1, Q2, dual, dual_of_derivatives, evaluate
from ntkc.gaussian.normal_form import X, pieces

Powers = tuple[sp.Expr, ...]


class Steps(NamedTuple):
    """f = base(x) + sum P(y) Theta(y), y = x - edge, Theta a step from 0 to 1 outwards from 0, of some noise."""

    base: Powers
    steps: tuple[tuple[sp.Expr, sp.Expr, Powers], ...]

    @property
    def is_continuous(self) -> bool:
        """f does not jump."""
        return not any(noise == 0 and c[0] != 0 for _, noise, c in self.steps)


class _OfSteps(sp.Function):
    """A function of two sympy.Lambda, the variances, and the covariance or the gap."""

    nargs = 5

    def explicit(self) -> sp.Expr:
        """The closed form."""
        raise NotImplementedError

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.explicit()._eval_evalf(prec)


class Stepped(_OfSteps):
    """Stepped(f, h, q1, q2, k) = E[f(u) h(v)]."""

    def explicit(self) -> sp.Expr:
        f, h, *arguments = self.args
        return evaluate(dual(f.expr, h.expr), *arguments)


class SteppedSlope(_OfSteps):
    """SteppedSlope(f, h, q1, q2, k) = E[f'(u) h'(v)], derivatives almost everywhere."""

    def explicit(self) -> sp.Expr:
        f, h, *arguments = self.args
        return evaluate(dual_of_derivatives(f.expr, h.expr), *arguments)


class SteppedAt(_OfSteps):
    """SteppedAt(f, h, q1, q2, delta) = E[f(u) h(v)] for k = sqrt(q1 q2) (1 - delta)."""

    def explicit(self) -> sp.Expr:
        return Stepped(*_in_covariance(self)).explicit()


class SteppedSlopeAt(_OfSteps):
    """The same of SteppedSlope."""

    def explicit(self) -> sp.Expr:
        return SteppedSlope(*_in_covariance(self)).explicit()


OF_GAP = {Stepped: SteppedAt, SteppedSlope: SteppedSlopeAt}
"""The form in the gap of each."""
SLOPES = {Stepped: SteppedSlope, SteppedAt: SteppedSlopeAt}
"""What one call gives with each."""


def _in_covariance(function: _OfSteps) -> tuple[sp.Expr, ...]:
    f, h, q1, q2, delta = function.args
    return f, h, q1, q2, sp.sqrt(q1) * sp.sqrt(q2) * (1 - delta)  # type: ignore[operator]


@lru_cache(maxsize=1024)
def steps_of(f: sp.Expr) -> Steps | None:
    """f in steps; None for anything but numbers, powers of x, and steps or erf(a x + b) times these."""
    if f.free_symbols - {X}:
        return None
    try:
        atoms = pieces(f).atoms()
    except NoClosedForm:
        return None
    if any(atom.a != 0 or atom.b != 0 for atom in atoms) or not all(c.is_number for c in atoms.values()):
        return None
    base, steps = sp.S.Zero, dict[tuple[sp.Expr, sp.Expr], sp.Expr]()
    for atom, c in atoms.items():
        power = c * (X - atom.edge) ** atom.n
        if atom.noise is None:
            base += power
            continue
        side, place = (-1 if atom.edge.is_negative else 1), (atom.edge, atom.noise)
        # sign = side (2 Theta - 1)
        base -= side * power
        steps[place] = steps.get(place, sp.S.Zero) + 2 * side * c * X**atom.n
    placed = ((*place, _powers(p)) for place, p in steps.items())
    return Steps(_powers(base), tuple(s for s in placed if s[2]))


def _powers(p: sp.Expr) -> Powers:
    """Coefficients of 1, x, x^2, ...; none of 0."""
    plain = sp.expand(p)
    return tuple(sp.Poly(plain, X).all_coeffs()[::-1]) if plain != 0 else ()


def has_steps_away(f: sp.Expr) -> bool:
    """A step that is not at 0, in a function that `steps_of` knows."""
    found = steps_of(f)
    return found is not None and any(edge != 0 for edge, _, _ in found.steps)


def stepped(f: sp.Expr, h: sp.Expr, is_slope: bool = False) -> sp.Expr | None:
    """E[f(u) h(v)], or E[f'(u) h'(v)], as a symbol; None where other forms lose nothing, or for other functions."""
    if not (has_steps_away(f) or has_steps_away(h)) or steps_of(f) is None or steps_of(h) is None:
        return None
    return (SteppedSlope if is_slope else Stepped)(sp.Lambda(X, f), sp.Lambda(X, h), Q1, Q2, K12)


def closed(expr: sp.Expr) -> sp.Expr:
    """The expression in closed forms."""
    return expr.replace(lambda e: isinstance(e, _OfSteps), lambda e: e.explicit())
