"""Functions whose leading terms cancel at 0, as log(1 + x^2):  near 0 they are their Taylor polynomials."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np
import sympy as sp

from ntkc.errors import UnsupportedExpr
from ntkc.gaussian.normal_form import X
from ntkc.gaussian.numbers import on_array, on_number

TRIED = (0.1, 0.01, 1e-3, 1e-4, 1e-6)
"""Where digits are counted."""
LOST = 32 * float(np.finfo(float).eps)
TERMS = 40
DIGITS = 40
RADII = (1.0, 0.7, 0.5, 0.35, 0.25, 0.125, 1 / 16)
"""Of the circles within which polynomials are used."""


class NearZero(sp.Function):
    """NearZero(P, f, x): the polynomial P, of a table by name, where |x| is below its radius, else f."""

    nargs = 3


class Taylor(NamedTuple):
    """c_0 + c_1 x + ... up to a radius."""

    radius: float
    c: tuple[float, ...]


@lru_cache(maxsize=256)
def taylor_of(f: sp.Expr) -> Taylor | None:
    """The polynomial of a function that loses digits near 0; None for others, and for those that have none."""
    if f.free_symbols != {X}:
        return None
    try:
        if not _loses_digits(f):
            return None
        c = _coefficients(f)
    except (UnsupportedExpr, ValueError, ZeroDivisionError, OverflowError, TypeError):
        return None
    return next((Taylor(r, tuple(map(float, c))) for r in RADII if _is_enough(c, r)), None)


def _loses_digits(f: sp.Expr) -> bool:
    x = np.array([s * v for v in TRIED for s in (1, -1)])
    with mp.workdps(DIGITS):
        exact = [on_number(f, v) for v in x]
    return any(abs(a - b) > LOST * abs(b) for a, b in zip(on_array(f, x), exact, strict=True))


def _coefficients(f: sp.Expr) -> list[Any]:
    """Derivatives at 0 by differences, for which mpmath takes as many digits as they need."""
    with mp.workdps(DIGITS):
        found = mp.taylor(lambda x: on_number(f, x), 0, TERMS)
    if not all(isinstance(v, mp.mpf) and mp.isfinite(v) for v in found) or not any(found):
        raise ValueError(f"{f} has no Taylor series at 0")
    return found


def _is_enough(c: list[Any], radius: float) -> bool:
    """The last terms are below rounding, relative to the first."""
    sizes = [abs(v) * radius**n for n, v in enumerate(c)]
    leading = next((n for n, v in enumerate(sizes) if v), 0)
    return bool(max(sizes[-4:]) < 1e-17 * sizes[leading])
