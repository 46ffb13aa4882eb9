"""Layers known by their covariance map: K' = V(K, q1, q2) of a Gaussian input, with no function behind it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import sympy as sp

from ntkc.errors import InvalidInput, NoFiniteNetwork, NoInfiniteLimit
from ntkc.gaussian.dual import K12, Q1, Q2, evaluate
from ntkc.gaussian.functions import Angle, Ratio, Root, explicit
from ntkc.gaussian.normal_form import X
from ntkc.gaussian.parse import parse
from ntkc.ir.exact import exact
from ntkc.ir.hyper import Parameter
from ntkc.ir.op import Op, Requests, Scalar, Shape
from ntkc.ir.value import Law, Value, variable

KERNEL_VARIABLES = {"k": K12, "q1": Q1, "q2": Q2}
"""What a covariance map is written in: the covariance and the two variances."""


@dataclass(frozen=True)
class _Given(Op):
    """K' = V(K, q1, q2),  T' = V'(K, q1, q2) T."""

    variables: ClassVar[tuple[sp.Symbol, ...]] = (K12, Q1, Q2, X)

    @abstractmethod
    def covariance_map(self) -> sp.Expr:
        """V, in K12, Q1 and Q2."""

    @abstractmethod
    def slope_map(self) -> sp.Expr:
        """V', the factor of the tangent kernel."""

    def shape(self, operands: Sequence[Shape]) -> Shape:
        return operands[0]

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        (x,) = operands
        if x.law is not Law.GAUSSIAN:
            raise NoInfiniteLimit(
                f"{node} ({type(self).__name__}) acts on a value that is {x.law.value}, not Gaussian: "
                "put a Dense layer before it"
            )
        return Value(Law.OTHER, variable(node), x.fields, x.trained)

    def covariance(self, ask: Requests) -> sp.Expr:
        return self._at(self.covariance_map(), ask)

    def tangent(self, ask: Requests) -> sp.Expr:
        return ask.tangent(0, 0) * self._at(self.slope_map(), ask)

    def _at(self, expr: sp.Expr, ask: Requests) -> sp.Expr:
        return evaluate(expr, ask.variance(0, 1), ask.variance(0, 2), ask.covariance(0, 0))

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        raise NoFiniteNetwork(f"{self.label()} is a kernel only: no function of a finite network is known")

    def kernel_identity(self, widths: Sequence[object]) -> object:
        return type(self), self.covariance_map(), self.slope_map()


@dataclass(frozen=True)
class Elementwise(_Given):
    """y = fn(x) with K' = nngp_fn(k, q1, q2) and T' = d_nngp_fn(k, q1, q2) T, by default the derivative in k.

    `fn` is an expression of x, or None for a layer that has kernels only; it is not compared with `nngp_fn`.
    """

    fn: str | sp.Expr | None
    nngp_fn: sp.Expr
    d_nngp_fn: sp.Expr | None = None

    def check_fields(self) -> None:
        fn = parse(self.fn) if isinstance(self.fn, str) else self.fn
        object.__setattr__(self, "fn", None if fn is None else exact(fn, "fn"))
        object.__setattr__(self, "nngp_fn", _of_covariances(self.nngp_fn, "nngp_fn"))
        if self.d_nngp_fn is not None:
            object.__setattr__(self, "d_nngp_fn", _of_covariances(self.d_nngp_fn, "d_nngp_fn"))

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        erf = 2 / sp.pi * sp.asin(2 * K12 / sp.sqrt((1 + 2 * Q1) * (1 + 2 * Q2)))
        return (Elementwise(sp.erf(X), erf), Elementwise(X**2, Q1 * Q2 + 2 * K12**2, 4 * K12))

    def covariance_map(self) -> sp.Expr:
        return in_angles(self.nngp_fn)

    def slope_map(self) -> sp.Expr:
        if self.d_nngp_fn is not None:
            return in_angles(self.d_nngp_fn)
        return sp.expand(sp.diff(self.covariance_map(), K12))

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        if self.fn is None:
            return super().forward(weights, operands, pointwise)
        return pointwise(self.fn, {X: operands[0]})


@dataclass(frozen=True)
class ExpNormalized(_Given):
    """K' = sqrt(p) exp(gamma (K / sqrt(p) + shift)),  p = q1 q2:  the Gaussian kernel of normalised inputs.

    Source: Shankar et al. 2020 (2003.02237), page 6. `do_clip` keeps K / sqrt(p) between -1 and 1.
    """

    gamma: Scalar = 1
    shift: Scalar = -1
    do_clip: bool = False

    def check_fields(self) -> None:
        if not isinstance(self.do_clip, bool):
            raise InvalidInput(f"ExpNormalized(do_clip={self.do_clip!r}): True or False is needed")

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (ExpNormalized(), ExpNormalized(0.5, 0.25, do_clip=True))

    def covariance_map(self) -> sp.Expr:
        return sp.sqrt(Q1) * sp.sqrt(Q2) * self._exponential()

    def slope_map(self) -> sp.Expr:
        return exact(self.gamma) * self._exponential()

    def _exponential(self) -> sp.Expr:
        rho = Ratio(K12, sp.sqrt(Q1) * sp.sqrt(Q2))
        clipped = sp.Max(sp.Min(rho, 1), -1) if self.do_clip else rho
        return sp.exp(exact(self.gamma) * (clipped + exact(self.shift)))


def _of_covariances(expr: object, name: str) -> sp.Expr:
    """The expression, in the symbols K12, Q1 and Q2 wherever symbols have those names."""
    given = exact(expr, name)
    symbols = [s for s in given.free_symbols if s.name in KERNEL_VARIABLES and not isinstance(s, Parameter)]
    named = given.xreplace({s: KERNEL_VARIABLES[s.name] for s in symbols})
    return explicit(in_angles(named))


def in_angles(expr: sp.Expr) -> sp.Expr:
    """arcsin(n / sqrt(A B)) -> Angle(n, A, B),  sqrt(q1 q2 - k^2) -> Root(k, q1, q2):  what rounding does not break."""
    return expr.replace(lambda e: isinstance(e, (sp.asin, sp.acos, sp.atan2, sp.Pow)), _in_angle)


def _in_angle(e: sp.Expr) -> sp.Expr:
    if isinstance(e, sp.asin):
        return _angle(e.args[0])
    if isinstance(e, sp.acos):
        return sp.pi / 2 - _angle(e.args[0])
    if isinstance(e, sp.atan2):
        y, x = e.args
        return sp.pi / 2 - Angle(*y.args) if isinstance(y, Root) and x == y.args[0] else e
    return _root(e)


def _angle(sine: sp.Expr) -> sp.Expr:
    """arcsin(n / sqrt(A(q1) B(q2))); arguments clipped to [-1, 1] are there already."""
    while isinstance(sine, (sp.Max, sp.Min)) and len(sine.args) == 2 and abs(sine.args[0]) == 1:
        sine = sine.args[1]
    top, bottom = sine.as_numer_denom()
    right, left = sp.factor(bottom**2).as_independent(Q1, as_Add=False)
    if left.has(K12, Q2) or right.has(K12):
        return Angle(sine, 1, 1)
    return Angle(top, left, right)


def _root(power: sp.Expr) -> sp.Expr:
    """(q1 q2 - k^2)^(n/2), or 1 - k^2 / (q1 q2) in its place, as a power of Root."""
    base, exponent = power.args
    if exponent.is_Integer or not base.has(K12):
        return power
    scale = sp.cancel(base / (Q1 * Q2 - K12**2))
    return scale**exponent * Root(K12, Q1, Q2) ** (2 * exponent) if scale.is_positive else power
