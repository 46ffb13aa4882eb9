"""A sympy function of X on numpy arrays or mpmath numbers, walked as a tree: no text is made of it, none is run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import mpmath as mp
import numpy as np
import sympy as sp

from ntkc.errors import UnsupportedExpr
from ntkc.gaussian.normal_form import X

ARRAY_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Add": lambda *args: reduce(np.add, args),
    "Mul": lambda *args: reduce(np.multiply, args),
    "Pow": np.power,
    "Max": lambda *args: reduce(np.maximum, args),
    "Min": lambda *args: reduce(np.minimum, args),
    "Abs": np.abs,
    "sign": np.sign,
    "Heaviside": lambda v, middle=0.5: np.heaviside(v, middle),
    "exp": np.exp,
    "log": np.log,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asin": np.arcsin,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "erf": np.vectorize(math.erf, [float]),
    "erfc": np.vectorize(math.erfc, [float]),
    "Softplus": lambda v: np.logaddexp(0, v),
    "Sigmoid": lambda v: np.exp(-np.logaddexp(0, -v)),
}


NUMBER_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Add": lambda *args: mp.fsum(args),
    "Mul": lambda *args: mp.fprod(args),
    "Pow": mp.power,
    "Max": max,
    "Min": min,
    "Abs": abs,
    "Heaviside": lambda v, middle=0.5: (mp.sign(v) + 1) / 2 if v else mp.mpf(middle),
    "Softplus": lambda v: mp.log1p(mp.exp(v)),
    "Sigmoid": lambda v: 1 / (1 + mp.exp(-v)),
    **{name: getattr(mp, name) for name in ("sign", "exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{name: getattr(mp, name) for name in ("asin", "atan", "asinh", "erf", "erfc")},
}


def on_array(f: sp.Expr, x: np.ndarray) -> np.ndarray:
    """f(x) entry by entry, in float64; NaN and infinities are left to the caller.

    Raises:
        UnsupportedExpr: for a function that numpy lacks, or a symbol other than X.
    """
    with np.errstate(all="ignore"):
        value = _value(f, np.asarray(x, float), ARRAY_FUNCTIONS, float)
        return np.broadcast_to(np.asarray(value, float), np.shape(x))


def on_number(f: sp.Expr, x: Any) -> Any:
    """f(x) in mpmath's working precision."""
    return _value(f, mp.mpf(x), NUMBER_FUNCTIONS, lambda c: mp.mpf(str(sp.N(c, mp.mp.dps + 5))))


def _value(f: sp.Expr, x: Any, functions: Mapping[str, Callable[..., Any]], constant: Callable[[sp.Expr], Any]) -> Any:
    if f == X:
        return x
    if not f.free_symbols:
        return constant(f)
    name = type(f).__name__
    if name not in functions:
        raise UnsupportedExpr(f"{f}: no numerical function for {name}; there are {', '.join(functions)}")
    if isinstance(f, sp.Pow) and f.exp.is_Integer:
        return _whole_power(_value(f.base, x, functions, constant), int(f.exp))
    return functions[name](*(_value(a, x, functions, constant) for a in f.args))


def _whole_power(base: Any, exponent: int) -> Any:
    value = math.prod([base] * abs(exponent))
    return 1 / value if exponent < 0 else value
