"""Nonlinearities: each is its sympy expression, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import sympy as sp

from ntkc.errors import InvalidInput, UnsupportedExpr
from ntkc.gaussian.normal_form import HIGHEST_POWER, X
from ntkc.gaussian.parse import parse
from ntkc.ir.exact import exact, whole
from ntkc.ir.hyper import Parameter
from ntkc.ir.op import Op, Scalar
from ntkc.ir.words import shown
from ntkc.layers.pointwise import _Elementwise  # pyright: ignore[reportPrivateUsage]


@dataclass(frozen=True)
class ABRelu(_Elementwise):
    """a min(x, 0) + b max(x, 0)."""

    a: Scalar
    b: Scalar

    def of(self, x: sp.Expr) -> sp.Expr:
        return exact(self.a, "a") * sp.Min(x, 0) + exact(self.b, "b") * sp.Max(x, 0)

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (ABRelu(-0.5, 1.25),)


@dataclass(frozen=True)
class Relu(_Elementwise):
    """max(x, 0)."""

    def of(self, x: sp.Expr) -> sp.Expr:
        return sp.Max(x, 0)

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Relu(),)


@dataclass(frozen=True)
class LeakyRelu(_Elementwise):
    """alpha min(x, 0) + max(x, 0)."""

    alpha: Scalar

    def of(self, x: sp.Expr) -> sp.Expr:
        return exact(self.alpha, "alpha") * sp.Min(x, 0) + sp.Max(x, 0)

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (LeakyRelu(0.1),)


@dataclass(frozen=True)
class Abs(_Elementwise):
    """|x|."""

    def of(self, x: sp.Expr) -> sp.Expr:
        return sp.Abs(x)

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Abs(),)


@dataclass(frozen=True)
class Erf(_Elementwise):
    """a erf(b x) + c."""

    a: Scalar = 1.0
    b: Scalar = 1.0
    c: Scalar = 0.0

    def of(self, x: sp.Expr) -> sp.Expr:
        return exact(self.a, "a") * sp.erf(exact(self.b, "b") * x) + exact(self.c, "c")

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Erf(), Erf(0.5, 1.5, 0.25))


@dataclass(frozen=True)
class Sin(_Elementwise):
    """a sin(b x + c)."""

    a: Scalar = 1.0
    b: Scalar = 1.0
    c: Scalar = 0.0

    def of(self, x: sp.Expr) -> sp.Expr:
        return exact(self.a, "a") * sp.sin(exact(self.b, "b") * x + exact(self.c, "c"))

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Sin(), Sin(1.25, 0.5, 0.75))


@dataclass(frozen=True)
class Cos(_Elementwise):
    """a cos(b x + c)."""

    a: Scalar = 1.0
    b: Scalar = 1.0
    c: Scalar = 0.0

    def of(self, x: sp.Expr) -> sp.Expr:
        return exact(self.a, "a") * sp.cos(exact(self.b, "b") * x + exact(self.c, "c"))

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Cos(), Cos(1.25, 0.5, 0.75))


@dataclass(frozen=True)
class Exp(_Elementwise):
    """a exp(b x)."""

    a: Scalar = 1.0
    b: Scalar = 1.0

    def of(self, x: sp.Expr) -> sp.Expr:
        return exact(self.a, "a") * sp.exp(exact(self.b, "b") * x)

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Exp(0.5, 0.5),)


@dataclass(frozen=True)
class Scale(_Elementwise):
    """by x:  K -> by^2 K,  T -> by^2 T;  after any layer, data and pools among them."""

    by: Scalar = 1.0

    def of(self, x: sp.Expr) -> sp.Expr:
        return exact(self.by, "by") * x

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Scale(0.5),)


@dataclass(frozen=True)
class Monomial(_Elementwise):
    """x^degree."""

    degree: int

    def check_fields(self) -> None:
        object.__setattr__(self, "degree", whole(self.degree, "Monomial degree", 0, HIGHEST_POWER))

    def of(self, x: sp.Expr) -> sp.Expr:
        return x**self.degree

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Monomial(0), Monomial(1), Monomial(2), Monomial(3))


@dataclass(frozen=True)
class Polynomial(_Elementwise):
    """coef[0] + coef[1] x + coef[2] x^2 + ..."""

    coef: tuple[Scalar, ...]

    def check_fields(self) -> None:
        if not isinstance(self.coef, Iterable) or isinstance(self.coef, str):
            raise InvalidInput(f"Polynomial(coef={self.coef!r}): a sequence of coefficients is needed")
        coef = tuple(self.coef)
        if not 1 <= len(coef) <= HIGHEST_POWER + 1:
            raise InvalidInput(f"Polynomial(coef={coef}): from 1 to {HIGHEST_POWER + 1} coefficients")
        plain = (c if isinstance(c, (int, sp.Expr)) else float(exact(c, f"coef[{i}]")) for i, c in enumerate(coef))
        object.__setattr__(self, "coef", tuple(plain))

    def of(self, x: sp.Expr) -> sp.Expr:
        return sp.Add(*(exact(c, f"coef[{i}]") * x**i for i, c in enumerate(self.coef)))

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Polynomial((0.5, -1.0, 0.25)), Polynomial((0.0, 1.0, 0.0, 0.5)))


@dataclass(frozen=True)
class RectifiedMonomial(_Elementwise):
    """max(x, 0)^degree; the unit step for degree 0."""

    degree: int

    def check_fields(self) -> None:
        object.__setattr__(self, "degree", whole(self.degree, "RectifiedMonomial degree", 0, HIGHEST_POWER))

    def of(self, x: sp.Expr) -> sp.Expr:
        return sp.Max(x, 0) ** self.degree if self.degree else (1 + sp.sign(x)) / 2

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (RectifiedMonomial(0), RectifiedMonomial(1), RectifiedMonomial(2), RectifiedMonomial(3))


@dataclass(frozen=True)
class Hermite(_Elementwise):
    """He_degree(x) / sqrt(degree!): of norm 1 for x ~ N(0, 1); exact for every variance."""

    degree: int

    def check_fields(self) -> None:
        object.__setattr__(self, "degree", whole(self.degree, "Hermite degree", 0, HIGHEST_POWER))

    def of(self, x: sp.Expr) -> sp.Expr:
        polynomial = sp.hermite_prob_poly(self.degree, X)
        return sp.sympify(polynomial / sp.sqrt(sp.factorial(self.degree))).xreplace({X: x})

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Hermite(0), Hermite(1), Hermite(2), Hermite(3))


@dataclass(frozen=True)
class Sign(_Elementwise):
    """sign(x); its derivative is 0 almost everywhere, and so is its part of the NTK."""

    def of(self, x: sp.Expr) -> sp.Expr:
        return sp.sign(x)

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Sign(),)


@dataclass(frozen=True)
class Gaussian(_Elementwise):
    """a exp(b x^2), b <= 0."""

    a: Scalar = 1.0
    b: Scalar = -1.0

    def of(self, x: sp.Expr) -> sp.Expr:
        return exact(self.a, "a") * sp.exp(exact(self.b, "b") * x**2)

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Gaussian(), Gaussian(1.25, -0.5))


@dataclass(frozen=True)
class Gabor(_Elementwise):
    """exp(-x^2) sin(x)."""

    def of(self, x: sp.Expr) -> sp.Expr:
        return sp.exp(-(x**2)) * sp.sin(x)

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Gabor(),)


@dataclass(frozen=True)
class Rbf(_Elementwise):
    """sqrt(2) sin(sqrt(2 gamma) x + pi / 4): K = exp(-gamma |x - x'|^2) of unscaled inputs (Rahimi and Recht 2007)."""

    gamma: Scalar = 1.0

    def of(self, x: sp.Expr) -> sp.Expr:
        return sp.sqrt(2) * sp.sin(sp.sqrt(2 * exact(self.gamma, "gamma")) * x + sp.pi / 4)

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Rbf(), Rbf(0.25))


@dataclass(frozen=True)
class Gelu(_Elementwise):
    """x Phi(x); with `approximate`, x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 (Hendrycks and Gimpel 2016)."""

    approximate: bool = False

    def check_fields(self) -> None:
        if not isinstance(self.approximate, bool):
            raise InvalidInput(f"Gelu(approximate={self.approximate!r}): True or False is needed")

    def of(self, x: sp.Expr) -> sp.Expr:
        if self.approximate:
            cubic = x + sp.Rational("0.044715") * x**3
            return x * (1 + sp.tanh(sp.sqrt(2 / sp.pi) * cubic)) / 2
        return x * (1 + sp.erf(x / sp.sqrt(2))) / 2

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Gelu(), Gelu(approximate=True))


@dataclass(frozen=True)
class Activation(_Elementwise):
    """Any expression of x: text such as "x*erf(x)" (read by a whitelist parser), or a sympy expression."""

    variables: ClassVar[tuple[sp.Symbol, ...]] = (X,)

    expr: str | sp.Expr

    def check_fields(self) -> None:
        if isinstance(self.expr, str):
            object.__setattr__(self, "expr", parse(self.expr))
        elif isinstance(self.expr, sp.Expr):
            object.__setattr__(self, "expr", _in_x(self.expr))
        else:
            raise UnsupportedExpr(f"Activation({self.expr!r}): text or a sympy expression is needed")
        if self.of(X).has(sp.asin, sp.acos):
            raise UnsupportedExpr(f"Activation({self.expr}): asin and acos are not real beyond [-1, 1]")

    def of(self, x: sp.Expr) -> sp.Expr:
        return sp.sympify(self.expr).xreplace({X: x})

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Activation("x*erf(x)"), Activation("x + relu(x)/2"), Activation("relu(x)**2"))


def _in_x(expr: sp.Expr) -> sp.Expr:
    """The expression with its argument named X: the symbol called x, or the only symbol there is."""
    symbols = sorted((s for s in expr.free_symbols if not isinstance(s, Parameter)), key=str)
    named = [s for s in symbols if str(s) == "x"] or (symbols if len(symbols) == 1 else [])
    if len(named) != 1:
        raise UnsupportedExpr(f"Activation({shown(expr)}): which of {shown(symbols)} is the argument? Call it x")
    return exact(expr.xreplace({named[0]: X}), "expr")
