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
    number = np.asarray(value).reshape(())[()]
    if isinstance(number, np.float32):
        number = float(str(number))
    found = tracing.exact_number(number)
    is_long = isinstance(found, sp.Rational) and len(str(found.q)) > SHORT
    return (_inverse_root(float(number)) or found) if is_long else found


def _inverse_root(number: float) -> sp.Expr | None:
    """1/sqrt of a short decimal, if it rounds to this number."""
    square = float(f"{number**-2:.{SHORT}g}")
    candidate = sp.sign(number) / sp.sqrt(sp.Rational(repr(square)))
    return candidate if abs(float(candidate) - number) <= 4e-16 * abs(number) else None
