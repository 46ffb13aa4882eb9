"""sympy expressions  ->  Python text that JAX runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sympy as sp
from sympy.core.symbol import Str
from sympy.printing.precedence import PRECEDENCE, precedence
from sympy.printing.str import StrPrinter

from ntkc.errors import UnsupportedExpr
from ntkc.ir.streams import Reserved

HEADS: dict[str, str] = {
    "exp": "jnp.exp",
    "Expm1": "jnp.expm1",
    "sin": "jnp.sin",
    "cos": "jnp.cos",
    "tan": "jnp.tan",
    "sinh": "jnp.sinh",
    "cosh": "jnp.cosh",
    "tanh": "jnp.tanh",
    "log": "jnp.log",
    "asin": "jnp.arcsin",
    "atan": "jnp.arctan",
    "atan2": "jnp.arctan2",
    "erf": "lax.erf",
    "erfc": "lax.erfc",
    "sign": "jnp.sign",
    "Abs": "jnp.abs",
    "Root": "root",
    "Angle": "angle",
    "Minor": "exact_minor",
    "ExpSinh": "exp_sinh",
    "Ratio": "ratio",
    "Gap": "gap_of",
    "CosineGap": "gap_of_cosine",
    "ProductGap": "gap_of_product",
    "Excess": "excess",
    "AngleOverPi": "angle_over_pi",
    "AngleGap": "angle_gap",
    "Span": "span",
    "Across": "across",
    "ArcSine": "arc_sine",
    "SineDistance": "sine_distance",
    "SineGap": "sine_gap",
    "Orthant": "orthant",
    "Edge": "edge",
    "Ridge": "ridge",
    "Tail": "tail",
    "Density": "density",
    "Softplus": "jax.nn.softplus",
    "Sigmoid": "jax.nn.sigmoid",
    "Moment": "gaussian_mean",
    "Coefficients": "coefficients",
    "Chunks": "chunks_needed",
    "Cosine": "cosine",
    "Remainder": "remainder",
    "HermiteSum": "hermite_sum",
    "KinkMoment": "kink_moment",
    "KinkCoefficients": "kink_coefficients",
    "KinkTails": "kink_tails",
    "KinkRemainder": "kink_remainder",
    "KinkSum": "kink_sum",
    "NearZero": "near_zero",
    "SigmoidSum": "sigmoid_sum",
    "SigmoidMean": "sigmoid_mean",
    "SplitMoment": "split_mean",
    "Collapsed": "polynomial",
}
"""Functions with one JAX or run-time counterpart; an expression with any other function is refused."""


CUSTOM = ("Root", "Angle", "Minor")
"""Functions whose counterpart has a derivative of its own."""

WRITABLE = (sp.Symbol, sp.Number, sp.NumberSymbol, sp.Add, sp.Mul, sp.Pow, sp.Max, sp.Min, sp.Function, Str)
"""Kinds of expression that have a text; functions are looked up in HEADS."""

Names = Callable[[sp.Symbol], str]
"""The text of a symbol."""


class Written(Reserved):
    """What stands for a part of an expression that has a text, or a variable, already."""

    __slots__ = ()


def written(text: str, is_positive: bool = False) -> Written:
    """The symbol that is printed as this text."""
    return Written(text, positive=True) if is_positive else Written(text, real=True)


class JaxPrinter(StrPrinter):
    """Python text; a number is printed so that it reads back as the nearest float."""

    def __init__(self, names: Names, constants: Mapping[sp.Expr, str] | None = None) -> None:
        super().__init__({"order": "lex"})
        self.names = names
        self.constants = constants or {}

    def _print_Symbol(self, expr: sp.Symbol) -> str:
        return expr.name if isinstance(expr, Written) else self.names(expr)

    _print_Stream = _print_Reserved = _print_Written = _print_Parameter = _print_Symbol

    def _print_Float(self, expr: sp.Expr) -> str:
        return repr(float(expr))

    def _print_Rational(self, expr: sp.Expr) -> str:
        return number(expr)

    _print_Half = _print_Rational

    def _print_Integer(self, expr: sp.Expr) -> str:
        return str(int(expr))

    def _print_Pi(self, expr: sp.Expr) -> str:
        return "pi"

    def _print_Exp1(self, expr: sp.Expr) -> str:
        return repr(float(sp.E))

    def _print_Pow(self, expr: sp.Expr, rational: bool = False) -> str:
        base, exponent = expr.args
        if not base.free_symbols and not exponent.free_symbols:
            return repr(float(expr))
        if exponent == sp.Rational(1, 2):
            return f"safe_sqrt({self._print(base)})"
        if exponent == -sp.Rational(1, 2):
            return f"1/safe_sqrt({self._print(base)})"
        power = precedence(expr)
        if exponent.is_Integer and exponent < 0:
            return f"1/{self.parenthesize(base**-exponent, power, strict=False)}"
        return f"{self.parenthesize(base, power, strict=True)}**{self.parenthesize(exponent, power)}"

    def _print_Mul(self, expr: sp.Expr) -> str:
        constant, rest = (
            expr.as_independent(*expr.free_symbols, as_Add=False) if expr.free_symbols else (expr, sp.S.One)
        )
        if constant in self.constants and rest != 1:
            return f"{self.constants[constant]}*{self.parenthesize(rest, PRECEDENCE['Mul'], strict=False)}"
        if _is_readable(constant):
            return super()._print_Mul(expr)
        value = repr(float(constant))
        if rest == 1:
            return value
        numerator, denominator = rest.as_numer_denom()
        if numerator == 1:
            return f"{value}/{self.parenthesize(denominator, PRECEDENCE['Mul'], strict=False)}"
        return f"{value}*{self.parenthesize(rest, PRECEDENCE['Mul'], strict=True)}"

    def _print_Add(self, expr: sp.Expr, order: Any = None) -> str:
        """Positive terms first: 1 - delta, not -delta + 1."""
        terms = sorted(self._as_ordered_terms(expr, order=order), key=lambda t: t.could_extract_minus_sign())
        text = self._term(terms[0])
        for t in terms[1:]:
            sign, positive = (" - ", -t) if t.could_extract_minus_sign() else (" + ", t)
            if positive in self.constants:
                text += sign + self.constants[positive]
                continue
            text += sign + self.parenthesize(positive, precedence(sp.Add(t, 1, evaluate=False)), strict=bool(t == -t))
        return text

    def _term(self, expr: sp.Expr) -> str:
        return self.constants[expr] if expr in self.constants else self._print(expr)

    def _print_Max(self, expr: sp.Expr) -> str:
        return self._nested("jnp.maximum", expr)

    def _print_Min(self, expr: sp.Expr) -> str:
        return self._nested("jnp.minimum", expr)

    def _nested(self, name: str, expr: sp.Expr) -> str:
        first, *rest = (self._print(a) for a in sorted(expr.args, key=lambda a: a.is_number))
        for other in rest:
            first = f"{name}({first}, {other})"
        return first

    def _print_Function(self, expr: sp.Expr) -> str:
        name = type(expr).__name__
        if not expr.free_symbols:
            return repr(float(expr))
        if name not in HEADS:
            raise UnsupportedExpr(f"{expr}: the JAX backend does not know {name}; it knows {', '.join(HEADS)}")
        # jax.custom_jvp gives whole numbers tangents of no type that arithmetic knows.
        floats = [repr(float(a)) if name in CUSTOM and a.is_Integer else self._print(a) for a in expr.args]
        return f"{HEADS[name]}({', '.join(floats)})"

    def _print_Lambda(self, expr: sp.Lambda) -> str:
        (variable,) = expr.variables
        inside = expr.expr.xreplace({variable: Written("v", real=True)})
        inside = inside.replace(_has_expm1, _with_expm1)
        return f"lambda v: {self._print(inside)}"

    _print_Abs = _print_Function
    _print_sign = _print_Function
    _print_exp = _print_Function
    _print_erf = _print_Function
    _print_log = _print_Function
    _print_Root = _print_Function
    _print_Angle = _print_Function

    def emptyPrinter(self, expr: Any) -> str:
        raise UnsupportedExpr(f"{expr}: the JAX backend cannot write {type(expr).__name__}")


class Expm1(sp.Function):
    """exp(x) - 1, to full relative accuracy near 0."""

    nargs = 1


def _has_expm1(expr: sp.Expr) -> bool:
    return isinstance(expr, sp.Add) and -1 in expr.args and any(isinstance(a, sp.exp) for a in expr.args)


def _with_expm1(expr: sp.Expr) -> sp.Expr:
    """exp(u) - 1 + rest  ->  Expm1(u) + rest."""
    first = next(a for a in expr.args if isinstance(a, sp.exp))
    return expr - first + 1 + Expm1(first.args[0])


def _is_readable(constant: sp.Expr) -> bool:
    """2, 1/4, 3/(2*pi): numbers that a reader takes in better than their decimals."""
    factors = sp.Mul.make_args(constant)
    return all(f in (sp.pi, 1 / sp.pi) or (f.is_Rational and f.q < 10_000 and abs(f.p) < 10_000) for f in factors)


def number(value: sp.Expr) -> str:
    """1/4 -> 0.25,  1/3 -> 1/3,  a long fraction -> its nearest float."""
    if value.is_Integer:
        return str(int(value))
    short = repr(float(value))
    if len(short) > 12 and len(str(value)) <= 9:
        return f"{value.p}/{value.q}"
    return short


def own_name(symbol: sp.Symbol) -> str:
    """The text of a symbol where no other is given."""
    return symbol.name


def jax_text(expr: sp.Expr, names: Names = own_name, constants: Mapping[sp.Expr, str] | None = None) -> str:
    """The expression as Python text over jnp, lax, pi and functions of ntkc.runtime.

    Args:
        names: the text of each symbol.
        constants: numbers that are written by a name.

    Raises:
        UnsupportedExpr: for a function without a JAX counterpart.
    """
    check_writable(expr)
    return JaxPrinter(names, constants).doprint(expr)


def check_writable(expr: sp.Basic) -> None:
    """Refuse what has no text, before any is made."""
    if isinstance(expr, sp.Lambda):
        return check_writable(expr.expr)
    if not isinstance(expr, WRITABLE) or expr in (sp.oo, -sp.oo, sp.zoo, sp.nan):
        raise UnsupportedExpr(f"{expr}: the JAX backend cannot write it")
    for part in expr.args:
        check_writable(part)
    return None
