"""Constants of a model, exactly:  float32(1e-5) -> 1/100000,  0.999995... = 1/sqrt(1.00001) -> that root."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from ntkc import tracing
from ntkc.ir.exact import SHORT


def exact_number(value: Any) -> Any:
    """The number that a constant stands for.

    Raises:
        UnsupportedExpr: it is not finite.
    """
    array = np.asarray(value).reshape(())
    number = array[()]
    if array.dtype == np.float32:
        return _of_short_float(number)
    found = tracing.exact_number(number)
    is_long = isinstance(found, sp.Rational) and len(str(found.q)) > SHORT
    return (_inverse_root(float(number), SHORT, 4e-16) or found) if is_long else found


def _of_short_float(number: Any) -> Any:
    """0.70710677 -> 1/sqrt(2):  roots of small fractions, and of pi, that round to the very same float32."""
    text = str(number)
    if sum(c.isdigit() for c in text.partition("e")[0].lstrip("-0.")) < FULL or not np.isfinite(number):
        return tracing.exact_number(float(text))
    for power in (0, sp.S.Half, -sp.S.Half, 1, -1):
        square = sp.Rational(float(number) ** 2 / float(sp.pi ** (2 * power))).limit_denominator(SMALL)
        candidate = (1 if number > 0 else -1) * sp.sqrt(square) * sp.pi**power
        if square.p <= SMALL and np.float32(float(candidate)) == number:
            return candidate
    return _inverse_root(float(number), FULL - 1, 1.2e-7) or tracing.exact_number(float(text))


def _inverse_root(number: float, digits: int, error: float) -> sp.Expr | None:
    """1/sqrt of a short decimal, if it rounds to this number."""
    square = float(f"{number**-2:.{digits}g}")
    candidate = (1 if number > 0 else -1) / sp.sqrt(sp.Rational(repr(square)))
    is_short = len(str(sp.Rational(repr(square)).q)) < digits
    return candidate if is_short and abs(float(candidate) - number) <= error * abs(number) else None


FULL = 7
"""Digits of a float32 that is no short decimal, at least."""
SMALL = 16
"""Numerators and denominators of what a float32 tells."""
