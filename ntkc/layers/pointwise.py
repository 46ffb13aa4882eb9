"""Entry-by-entry functions of Gaussian fields, and the one covariance rule that all of them share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import sympy as sp

from ntkc.errors import NoClosedForm, NoInfiniteLimit, UnsupportedExpr
from ntkc.gaussian.dual import K12, Q1, Q2, dual, dual_of_derivatives, evaluate
from ntkc.gaussian.normal_form import HIGHEST_POWER, X
from ntkc.gaussian.numbers import on_array
from ntkc.gaussian.parse import degree_bound
from ntkc.gaussian.series import series, series_of_derivatives
from ntkc.gaussian.stepped import stepped
from ntkc.ir.op import Op, Requests, Shape
from ntkc.ir.streams import Reserved
from ntkc.ir.value import Law, Value, variable
from ntkc.ir.words import one_line

Term = tuple[sp.Expr, int]
"""A function of X, and the slot of the operand it is applied to."""


@dataclass(frozen=True)
class _Pointwise(Op):
    """y = sum_i f_i(a_i):  K = sum_ij E[f_i(a_i) f_j(a_j')],  T = sum_ij T[a_i, a_j] E[f_i'(a_i) f_j'(a_j')]."""

    remasks: ClassVar[bool] = True

    @abstractmethod
    def terms(self) -> tuple[Term, ...]:
        """The f_i with the slots of their operands."""

    def shape(self, operands: Sequence[Shape]) -> Shape:
        return operands[0]

    def covariance(self, ask: Requests) -> sp.Expr:
        return _sum(self.terms(), ask, dual_or_series)

    def tangent(self, ask: Requests) -> sp.Expr:
        return _sum(self.terms(), ask, derivatives_or_series, ask.tangent)


def _sum(terms: Sequence[Term], ask: Requests, dual_map: Any, factor: Any = lambda i, j: sp.S.One) -> sp.Expr:
    total = sp.S.Zero
    for f, i in terms:
        for h, j in terms:
            weight = factor(i, j)
            if weight != 0:
                q1, q2, k = ask.variance(i, 1), ask.variance(j, 2), ask.covariance(i, j)
                parts = ((f, sp.S.One), (sp.S.One, h)) if k == 0 else ((f, h),)
                made = stepped(f, h, dual_map is derivatives_or_series) if k != 0 else None
                forms = (dual_map(*p) for p in parts) if made is None else (made,)
                total += weight * sp.Mul(*(evaluate(form, q1, q2, k) for form in forms))
    return total


@lru_cache(maxsize=1024)
def dual_or_series(f: sp.Expr, h: sp.Expr) -> sp.Expr:
    """V(q1, q2, k) = E[f(u) h(v)]: a closed form if one is known, else a series with a certified error.

    Raises:
        NoClosedForm: neither is.
    """
    try:
        return dual(f, h)
    except NoClosedForm:
        return series(f, h, Q1, Q2, K12)


@lru_cache(maxsize=1024)
def derivatives_or_series(f: sp.Expr, h: sp.Expr) -> sp.Expr:
    """E[f'(u) h'(v)], in the same way."""
    try:
        return dual_of_derivatives(f, h)
    except NoClosedForm:
        dual_or_series(f, h)  # where f itself has no series, the error names f
        return series_of_derivatives(f, h, Q1, Q2, K12)


@dataclass(frozen=True)
class Pointwise(_Pointwise):
    """Elementwise layers fused into one expression of Gaussian operands (made by `fuse`).

    `slopes` are its derivatives in parameters of the channels:  T gains E[h h'] for each of them, h.
    """

    internal: ClassVar[bool] = True
    arity: ClassVar[int | None] = None

    expr: sp.Expr
    variables: tuple[sp.Symbol, ...]
    layers: tuple[str, ...] = ()
    slopes: tuple[sp.Expr, ...] = ()

    def terms(self) -> tuple[Term, ...]:
        return split_terms(self.expr, self.variables)

    def tangent(self, ask: Requests) -> sp.Expr:
        own = (_sum(split_terms(h, self.variables), ask, dual_or_series) for h in self.slopes)
        return sp.Add(super().tangent(ask), *own)

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        fields = frozenset[str]().union(*(v.fields for v in operands))
        centered = is_odd(self.expr, self.variables)
        is_trained = bool(self.slopes) or any(v.trained for v in operands)
        return Value(Law.POINTWISE, self.expr, fields, is_trained, centered)

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        return pointwise(self.expr, dict(zip(self.variables, operands, strict=True)))

    def kernel_identity(self, widths: Sequence[object]) -> object:
        places = {v: Reserved(f"x{i}", real=True) for i, v in enumerate(self.variables)}
        return Pointwise, self.expr.xreplace(places), tuple(h.xreplace(places) for h in self.slopes)

    def words(self) -> str:
        return " -> ".join(self.layers) or str(self.expr)


def is_odd(expr: sp.Expr, variables: Iterable[sp.Symbol]) -> bool:
    """f(-u) = -f(u): then the mean of f is 0."""
    return bool(sp.expand(expr + expr.xreplace({v: -v for v in variables})) == 0)


@lru_cache(maxsize=1024)
def slope_of(f: sp.Expr) -> sp.Expr | None:
    """a x -> a,  None for other functions of X, 0 among them."""
    slope = sp.cancel(f / X) if f.is_polynomial(X) else f / X
    return None if slope == 0 or X in slope.free_symbols else slope


@lru_cache(maxsize=1024)
def split_terms(expr: sp.Expr, variables: tuple[sp.Symbol, ...]) -> tuple[Term, ...]:
    """f(a, b) -> f_1(a) + f_2(b), each as a function of X.

    Raises:
        NoClosedForm: a term mixes two Gaussian fields.
    """
    by_slot: dict[int, sp.Expr] = {}
    constant = sp.S.Zero
    for term in sp.Add.make_args(expr if len(variables) == 1 else sp.expand(expr)):
        slots = [i for i, v in enumerate(variables) if term.has(v)]
        if len(slots) > 1:
            raise NoClosedForm(f"{term} mixes {len(slots)} Gaussian fields; only sums of functions of one are derived")
        if not slots:
            constant += term
            continue
        by_slot[slots[0]] = by_slot.get(slots[0], sp.S.Zero) + term.xreplace({variables[slots[0]]: X})
    first = min(by_slot, default=0)
    by_slot[first] = by_slot.get(first, sp.S.Zero) + constant
    return tuple((f, i) for i, f in sorted(by_slot.items()))


LARGEST_NUMBER = 1e9
"""Of an expression: its fourth power, which covariances hold, is finite in float32."""
LARGEST_VALUE = 1.8e19
"""Of a function at x = 3 and -3: its square is finite in float32."""


@lru_cache(maxsize=1024)
def require_range(f: sp.Expr, name: str) -> None:
    """Refuse functions that float32 cannot hold for a variance of 1.

    Raises:
        UnsupportedExpr: erf(1e15 x), whose limit is sign(x), or exp(900 x).
    """
    sizes = [abs(n) for n in f.atoms(sp.Number)]
    if any(n > LARGEST_NUMBER for n in sizes):
        raise UnsupportedExpr(
            f"{name}: {one_line(str(f), 80)} holds {float(max(sizes)):.3g}; beyond {LARGEST_NUMBER:.0e} numbers make "
            "float32 overflow: rescale it, or write its limit, as sign(x) for erf(1e15*x)"
        )
    if f.free_symbols <= {X}:
        try:
            values = np.abs(on_array(f, np.array([-3.0, 3.0])))
        except UnsupportedExpr:
            return
        if not (values <= LARGEST_VALUE).all():
            raise UnsupportedExpr(
                f"{name}: {one_line(str(f), 80)} has values of {values.max():.3g} between -3 and 3, whose squares "
                f"float32 cannot hold (at most {LARGEST_VALUE:.2g}): rescale it"
            )


def check_degree(expr: sp.Expr, node: str) -> None:
    """Refuse nested powers before anything expands them.

    Raises:
        UnsupportedExpr: of a Gaussian field, the expression holds a power beyond HIGHEST_POWER.
    """
    degree = degree_bound(expr.xreplace(dict.fromkeys((s for s in expr.free_symbols if isinstance(s, Reserved)), X)))
    if degree > HIGHEST_POWER:
        raise UnsupportedExpr(
            f"{node} makes powers up to {degree} of a Gaussian with what is below it, beyond {HIGHEST_POWER}: "
            "put a Dense layer between them"
        )


@dataclass(frozen=True)
class _Elementwise(_Pointwise):
    """One nonlinearity; a subclass says what `of(x)` is. Its fields are numbers or sympy expressions."""

    @abstractmethod
    def of(self, x: sp.Expr) -> sp.Expr:
        """The function as a sympy expression of x."""

    def check_range(self) -> None:
        require_range(self.of(X), type(self).__name__)

    def terms(self) -> tuple[Term, ...]:
        return ((self.of(X), 0),)

    @property
    def linear(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """a x, a multiple of its operand, whatever law that has."""
        return slope_of(self.of(X)) is not None

    @property
    def factor(self) -> sp.Expr:
        """a."""
        return slope_of(self.of(X)) or sp.S.One

    def covariance(self, ask: Requests) -> sp.Expr:
        return self.factor**2 * ask.covariance(0, 0) if self.linear else super().covariance(ask)

    def tangent(self, ask: Requests) -> sp.Expr:
        return self.factor**2 * ask.tangent(0, 0) if self.linear else super().tangent(ask)

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        (x,) = operands
        if self.linear and self.factor == 1:
            return x
        if self.linear and (x.opaque or x.law is not Law.POINTWISE):
            return replace(x, expr=variable(node))
        if x.opaque or x.law not in (Law.GAUSSIAN, Law.POINTWISE):
            raise NoInfiniteLimit(
                f"{node} ({type(self).__name__}) acts on a value that is {x.law.value}, not Gaussian: "
                "put a Dense layer before it"
            )
        made = self.of(x.expr)
        check_degree(made, node)
        return Value(Law.POINTWISE, made, x.fields, x.trained, gains=x.gains)

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        return pointwise(self.of(X), {X: operands[0]})
