"""Hyper-parameters as exact sympy numbers, so that algebra on them never rounds."""

from __future__ import annotations

import math
import numbers
from typing import Any

import sympy as sp

from ntkc.errors import InvalidInput
from ntkc.ir.words import one_line

SHORT = 10
"""A float whose decimal text has at most this many digits means that decimal."""


def as_number(value: Any) -> Any:
    """np.array(1.3) -> 1.3:  an array of no axes as the number it holds, anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def whole(value: object, name: str, least: int = 1, most: int | None = None) -> int:
    """A whole number in its range, numpy's included.

    Raises:
        InvalidInput: for anything else.
    """
    value = as_number(value)
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    number = int(value) if isinstance(value, numbers.Integral) and is_whole else least - 1
    if number < least or (most is not None and number > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InvalidInput(f"{name} = {one_line(repr(value))}: a whole number {bounds} is needed")
    return number


def exact(value: object, name: str = "value") -> sp.Expr:
    """0.1 -> 1/10,  2**0.5 -> sqrt(2),  Symbol("w") -> w,  other floats -> their shortest exact decimal.

    A float with a long decimal text is read as the square root of p/q, q <= 1000, where that root rounds to the
    very same float: people write `W_std=2**0.5` and mean variance 2.

    Raises:
        InvalidInput: for anything that is neither a finite real number nor a sympy expression.
    """
    if isinstance(value, sp.Expr):
        return _checked_expr(value, name)
    value = as_number(value)
    is_real = isinstance(value, numbers.Real) or hasattr(value, "__float__")
    if isinstance(value, bool) or not is_real or getattr(value, "shape", ()):
        raise InvalidInput(f"{name} = {one_line(repr(value))}: a real number or a sympy expression is needed")
    if isinstance(value, numbers.Integral):
        return sp.Integer(int(value))
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number):
        raise InvalidInput(f"{name} = {number}: hyper-parameters must be finite")
    return _exact_float(number)


def _checked_expr(value: sp.Expr, name: str) -> sp.Expr:
    if value.has(sp.nan, sp.oo, -sp.oo, sp.zoo, sp.I):
        raise InvalidInput(f"{name} = {one_line(str(value))}: hyper-parameters must be finite and real")
    return value.replace(lambda e: e.is_Float, lambda e: _exact_float(float(e)))


def _exact_float(number: float) -> sp.Expr:
    text = repr(number)
    if sum(c.isdigit() for c in text.split("e")[0].lstrip("-0.")) <= SHORT:
        return sp.Rational(text)
    square = sp.Rational(text) ** 2
    nearby = square.limit_denominator(1000) if hasattr(square, "limit_denominator") else square
    root = sp.sign(sp.Rational(text)) * sp.sqrt(nearby)
    return root if float(root) == number else sp.Rational(text)
