"""Signal propagation through wide random networks, from the same dual activations as the kernels.

    q -> w^2 V(q) + b^2,      c -> (w^2 V(q, c) + b^2) / q,      chi_1 = w^2 E[f'(u)^2]

for x -> f(Dense(x, W_std=w, b_std=b)), V(q, c) = E[f(u) f(v)] with variances q and covariance c q
(Poole et al. 2016, Schoenholz et al. 2017).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import mpmath as mp
import numpy as np
import sympy as sp

from ntkc.errors import InvalidInput, UnsupportedExpr
from ntkc.gaussian.dual import K12, Q1, Q2
from ntkc.gaussian.functions import explicit
from ntkc.gaussian.normal_form import X
from ntkc.gaussian.numbers import on_array
from ntkc.gaussian.series import Moment, Series, certificate
from ntkc.ir.op import Op
from ntkc.layers.activations import Activation
from ntkc.layers.pointwise import derivatives_or_series, dual_or_series
from ntkc.tracing import expression_of

Q = sp.Symbol("q", positive=True)
C = sp.Symbol("c", real=True)
W, B = sp.symbols("w b", positive=True)
"""The symbols of the formulas: variance, correlation, W_std and b_std."""

DIGITS = 30
SMALLEST, LARGEST = 1e-14, 1e12
"""Variances among which fixed points are sought."""
PLACES = np.geomspace(SMALLEST, LARGEST, 209)
SMALL = 1e-3
"""Of f(u)^2 at the smallest variance: functions that jump at 0 have more."""

FLAT = 1e-10
"""A relative difference that counts as none: every variance is a fixed point of a He-initialised ReLU network."""


@dataclass(frozen=True)
class FixedPoint:
    """Where a map returns its argument, and its slope there."""

    value: float
    slope: float

    @property
    def is_stable(self) -> bool:
        """Nearby values are drawn to it."""
        return abs(self.slope) < 1

    @property
    def depth_scale(self) -> float:
        """Layers in which a distance to a stable point shrinks by e: -1 / log |slope|; infinite at |slope| = 1."""
        size = abs(self.slope)
        if size == 0:
            return 0.0
        return math.inf if size >= 1 else -1 / math.log(size)


class MeanField:
    """The variance and correlation maps of one nonlinearity: formulas, fixed points, critical line, depth scales."""

    def __init__(self, f: sp.Expr) -> None:
        self.f = f
        self._value = dual_or_series(f, f)
        self._slope = _with_jumps(self._value, derivatives_or_series(f, f))

    @cached_property
    def second_moment(self) -> sp.Expr:
        """V(q) = E[f(u)^2] of a variance q."""
        return _at(self._value, Q)

    @cached_property
    def slope_moment(self) -> sp.Expr:
        """E[f'(u)^2] of a variance q; infinite where f jumps."""
        return sp.oo if self.jumps else _at(self._slope, Q)

    @cached_property
    def jumps(self) -> bool:
        """f' has delta functions, so that dV/dk has a pole at k = q."""
        return not math.isfinite(self._number(self._slope, 1.0, 1.0))

    @property
    def variance_map(self) -> sp.Expr:
        """w^2 V(q) + b^2."""
        return W**2 * self.second_moment + B**2

    @property
    def correlation_map(self) -> sp.Expr:
        """(w^2 V(q, c) + b^2) / q."""
        return (W**2 * _at(self._value, C * Q) + B**2) / Q

    @property
    def chi_1(self) -> sp.Expr:
        """w^2 E[f'(u)^2]: the slope of the correlation map at c = 1, and the mean growth of squared gradients."""
        return W**2 * self.slope_moment

    @property
    def critical_line(self) -> tuple[sp.Expr, sp.Expr]:
        """(W_std, b_std) as functions of q, where q is a fixed point and chi_1 = 1."""
        return 1 / sp.sqrt(self.slope_moment), sp.sqrt(Q - self.second_moment / self.slope_moment)

    def fixed_variances(self, W_std: float, b_std: float = 0.0) -> tuple[FixedPoint, ...]:
        """Fixed points of the variance map, ascending; every variance is one if the point's value is NaN.

        Raises:
            InvalidInput: a standard deviation that is negative or not finite.
        """
        w2, b2 = _squares(W_std, b_std)

        def surplus(q: float) -> float:
            return w2 * self._moment(q) + b2 - q

        if all(abs(surplus(q)) <= FLAT * q for q in PLACES[::26]):
            return (FixedPoint(math.nan, 1.0),)
        at_zero = [0.0] if b2 == 0 and self._moment(SMALLEST) < SMALL and self.f.subs(X, 0) == 0 else []
        found = [*at_zero, *_roots(surplus, PLACES)]
        return tuple(FixedPoint(q, self._variance_slope(max(q, SMALLEST), w2, b2)) for q in found)

    def fixed_correlations(self, W_std: float, b_std: float = 0.0, q: float | None = None) -> tuple[FixedPoint, ...]:
        """Fixed points of the correlation map at the variance q, by default the stable one of the variance map.

        Raises:
            InvalidInput: there is no stable variance, and none was given; or q is not finite and positive.
        """
        w2, b2 = _squares(W_std, b_std)
        if q is not None and not (math.isfinite(q) and q > 0):
            raise InvalidInput(f"q = {q}: a variance is finite and positive")
        q = self._settled(W_std, b_std) if q is None else q

        def surplus(c: float) -> float:
            return (w2 * self._pair(q, c) + b2) / q - c

        towards_one = 1 - np.geomspace(2, 1e-6, 121)
        inner = (FixedPoint(c, w2 * self._pair_slope(q, c)) for c in _roots(surplus, towards_one))
        return (*inner, FixedPoint(1.0, w2 * self._slope_moment(q)))

    def chi(self, W_std: float, b_std: float = 0.0) -> float:
        """chi_1 at the stable variance: below 1 correlations converge to 1 and gradients vanish, above they explode."""
        return _squares(W_std, b_std)[0] * self._slope_moment(self._settled(W_std, b_std))

    def phase(self, W_std: float, b_std: float = 0.0) -> str:
        """ "ordered", "critical" or "chaotic"."""
        chi = self.chi(W_std, b_std)
        return "critical" if abs(chi - 1) < 1e-6 else "ordered" if chi < 1 else "chaotic"

    def depth_scales(self, W_std: float, b_std: float = 0.0) -> tuple[float, float]:
        """(xi_q, xi_c): layers in which variances and correlations approach their stable fixed points by a factor e."""
        variances = [p for p in self.fixed_variances(W_std, b_std) if p.is_stable or math.isnan(p.value)]
        if not variances:
            raise InvalidInput(f"W_std={W_std}, b_std={b_std}: variances of {self.f} grow without bound")
        correlations = self.fixed_correlations(W_std, b_std)
        stable = next((p for p in correlations if p.is_stable), correlations[-1])
        return variances[0].depth_scale, stable.depth_scale

    def critical_W_std(self, b_std: float = 0.0) -> float:
        """W_std at which chi_1 = 1 for this b_std (the smallest such variance).

        Raises:
            InvalidInput: no such point: say, ReLU with biases, whose critical line is the point (sqrt 2, 0), or a
                function that jumps, or is constant.
        """
        _, b2 = _squares(0.0, b_std)
        if self.jumps or self._slope_moment(1.0) == 0:
            why = "jumps: chi_1 is infinite" if self.jumps else "is constant: chi_1 is 0"
            raise InvalidInput(f"{self.f} has no critical point, as it {why}")

        def surplus(q: float) -> float:
            return q - self._moment(q) / self._slope_moment(q) - b2

        if b2 == 0 and abs(surplus(SMALLEST)) <= 10 * SMALLEST:
            return self._critical(SMALLEST)
        found = _roots(surplus, PLACES)
        if not found:
            raise InvalidInput(f"{self.f} has no critical point with b_std = {b_std}")
        return self._critical(found[0])

    def _critical(self, q: float) -> float:
        return 1 / math.sqrt(self._slope_moment(q))

    def _settled(self, W_std: float, b_std: float) -> float:
        """The stable variance that is not 0; 1 where every variance is fixed, and a tiny one where only 0 is."""
        points = self.fixed_variances(W_std, b_std)
        stable = [p.value for p in points if p.is_stable and p.value > 0]
        if stable:
            return stable[0]
        if any(math.isnan(p.value) for p in points):
            return 1.0
        if any(p.value == 0 for p in points):
            return SMALLEST
        raise InvalidInput(f"W_std={W_std}, b_std={b_std}: variances of {self.f} grow without bound; give q")

    def _moment(self, q: float) -> float:
        return _mean_square(self.f, q) if self._value.has(Series) else self._number(self._value, q, 1.0)

    def _slope_moment(self, q: float) -> float:
        if self._slope.has(Series):
            return _mean_square(sp.diff(self.f, X), q)
        return self._number(self._slope, q, 1.0)

    def _pair(self, q: float, c: float) -> float:
        return self._number(self._value, q, c)

    def _pair_slope(self, q: float, c: float) -> float:
        return self._number(self._slope, q, c)

    def _variance_slope(self, q: float, w2: float, b2: float) -> float:
        step = 1e-4 * q
        return w2 * (self._moment(q + step) - self._moment(q - step)) / (2 * step)

    def _number(self, expr: sp.Expr, q: float, c: float) -> float:
        atoms = expr.atoms(Series)
        values = {atom: sp.Float(_series_value(atom.args[0].expr, q, c)) for atom in atoms}
        return _evaluated(expr.xreplace(values), q, c)

    def __repr__(self) -> str:
        return f"<MeanField of {self.f}: q -> w^2 ({self.second_moment}) + b^2>"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle q \\mapsto {sp.latex(self.variance_map)}, \\quad \\chi_1 = {sp.latex(self.chi_1)}$"


def meanfield(f: str | sp.Expr | Op | Callable[[Any], Any]) -> MeanField:
    """The mean-field analysis of a nonlinearity.

    Args:
        f: text ("tanh(x)"), a sympy expression, a stax nonlinearity (stax.Relu()), or a jax.numpy function.

    Raises:
        UnsupportedExpr: f is none of these. NoClosedForm: it has neither a closed form nor a fast series.
    """
    op: Any = getattr(getattr(f, "tree", None), "op", f)
    if isinstance(op, (str, sp.Expr)):
        op = Activation(op)
    if not isinstance(op, Op):
        return MeanField(expression_of(op))
    of = getattr(op, "of", None)
    if of is None:
        raise UnsupportedExpr(f"{op.label()} is no nonlinearity: give one, stax.Relu() or 'tanh(x)'")
    return MeanField(of(X))


def _at(expr: sp.Expr, k: sp.Expr) -> sp.Expr:
    """A dual activation at q1 = q2 = q, in elementary functions."""
    plain = explicit(expr.xreplace({Q1: Q, Q2: Q, K12: k}))
    roots = plain.replace(lambda e: isinstance(e, sp.Pow) and e.exp.q == 2, lambda e: sp.factor(e.base) ** e.exp)
    return roots if roots.has(Series, Moment) else sp.simplify(roots)


@lru_cache(maxsize=100_000)
def _evaluated(expr: sp.Expr, q: float, c: float) -> float:
    at = sp.Float(q, DIGITS), sp.Float(c, DIGITS)
    value = explicit(expr.xreplace({Q1: at[0], Q2: at[0], K12: at[0] * at[1]}))
    if value.has(sp.zoo, sp.nan, sp.oo):
        return math.inf
    return float(mp.re(mp.mpmathify(sp.N(value, DIGITS))))


@lru_cache(maxsize=4096)
def _series_value(f: sp.Expr, q: float, c: float) -> float:
    squares = certificate(f).coefficients(q) ** 2
    # What the terms leave out is at most this much at c = 1, where the sum then is exact.
    rest = max(_mean_square(f, q) - float(np.sum(squares)), 0.0)
    return float(np.polynomial.polynomial.polyval(c, squares)) + rest * c ** len(squares)


def _with_jumps(value: sp.Expr, slope: sp.Expr) -> sp.Expr:
    """dV/dk, which where f jumps is more than E[f'(u) f'(v)] of the derivatives beside the jumps."""
    if value.has(Series):
        return slope
    whole = sp.diff(value, K12)
    found = [_evaluated(e, 1.25, 0.375) for e in (whole, slope)]
    return slope if math.isclose(*found, rel_tol=1e-9, abs_tol=1e-12) else whole


@lru_cache(maxsize=4096)
def _mean_square(f: sp.Expr, q: float) -> float:
    """E[f(u)^2] of a variance q, by quadrature on intervals that grow from 0 on: at any q and any scale of f."""
    z, w = graded_nodes()
    values = np.square(on_array(f, math.sqrt(q) * z))
    return float(np.sum(w * np.exp(-(z**2) / 2) * values) / math.sqrt(2 * math.pi))


@lru_cache(maxsize=1)
def graded_nodes() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on both sides of 0, up to 13."""
    x, w = np.polynomial.legendre.leggauss(24)
    ends = np.concatenate([[0.0], 13 * 2.0 ** np.arange(-44, 1, 0.5)])
    middle, half = (ends[1:] + ends[:-1]) / 2, np.diff(ends) / 2
    z, weights = (middle[:, None] + half[:, None] * x).ravel(), (half[:, None] * w).ravel()
    return np.concatenate([-z, z]), np.concatenate([weights, weights])


def _squares(W_std: float, b_std: float) -> tuple[float, float]:
    for name, value in (("W_std", W_std), ("b_std", b_std)):
        if not (math.isfinite(value) and value >= 0):
            raise InvalidInput(f"{name} = {value}: a standard deviation is finite and not negative")
    return float(W_std) ** 2, float(b_std) ** 2


def _roots(f: Callable[[float], float], places: np.ndarray) -> list[float]:
    """Zeros of a function between neighbouring places where its sign changes."""
    values = [f(float(p)) for p in places]
    found: list[float] = []
    for left, right, a, b in zip(places, places[1:], values, values[1:], strict=False):
        if a == 0:
            found.append(float(left))
        elif a * b < 0:
            found.append(float(mp.findroot(lambda v: f(float(v)), (left, right), solver="anderson", tol=1e-24)))
    return found
