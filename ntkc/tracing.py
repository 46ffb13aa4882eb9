"""A Python function of one number, as JAX sees it  ->  a sympy expression of X.

lambda x: x * jax.nn.sigmoid(x)   ->   x / (1 + exp(-x))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import sympy as sp
from jax.extend import core

from ntkc.errors import UnsupportedExpr
from ntkc.gaussian.normal_form import X
from ntkc.ir.exact import exact

Values = dict[Any, Any]
"""What each variable of a jaxpr holds."""


def _integer_pow(x: sp.Expr, *, y: int, **_: Any) -> sp.Expr:
    return x**y


def _select(condition: Any, *cases: sp.Expr, **_: Any) -> sp.Expr:
    """cases[1] where the condition holds, else cases[0]."""
    if isinstance(condition, bool):
        return cases[int(condition)]
    first, second = cases
    return first + (second - first) * condition


def _greater(a: sp.Expr, b: sp.Expr, **_: Any) -> Any:
    """1 where a > b, 0 where a < b: the boundary has no weight."""
    difference = sp.expand(a - b)
    return bool(difference > 0) if difference.is_number else (1 + sp.sign(difference)) / 2


def _differs(a: sp.Expr, b: sp.Expr, **_: Any) -> bool:
    return sp.expand(a - b) != 0  # x != x asks for NaN; two different functions are equal nowhere but on a null set


def _same(x: Any, **_: Any) -> Any:
    return x


def _logaddexp(a: sp.Expr, b: sp.Expr) -> sp.Expr:
    return sp.log(sp.exp(a - b) + 1) + b


PRIMITIVES: Mapping[str, Callable[..., Any]] = {
    "add": lambda a, b, **_: a + b,
    "add_any": lambda a, b, **_: a + b,
    "sub": lambda a, b, **_: a - b,
    "mul": lambda a, b, **_: a * b,
    "div": lambda a, b, **_: a / b,
    "neg": lambda a, **_: -a,
    "max": lambda a, b, **_: sp.Max(a, b),
    "min": lambda a, b, **_: sp.Min(a, b),
    "clamp": lambda low, a, high, **_: sp.Min(sp.Max(a, low), high),
    "abs": lambda a, **_: sp.Abs(a),
    "sign": lambda a, **_: sp.sign(a),
    "exp": lambda a, **_: sp.exp(a),
    "exp2": lambda a, **_: sp.Integer(2) ** a,
    "log": lambda a, **_: sp.log(a),
    "log1p": lambda a, **_: sp.log(1 + a),
    "expm1": lambda a, **_: sp.exp(a) - 1,
    "sin": lambda a, **_: sp.sin(a),
    "cos": lambda a, **_: sp.cos(a),
    "sinh": lambda a, **_: sp.sinh(a),
    "cosh": lambda a, **_: sp.cosh(a),
    "tanh": lambda a, **_: sp.tanh(a),
    "atan": lambda a, **_: sp.atan(a),
    "erf": lambda a, **_: sp.erf(a),
    "erfc": lambda a, **_: sp.erfc(a),
    "logistic": lambda a, **_: 1 / (1 + sp.exp(-a)),
    "sqrt": lambda a, **_: sp.sqrt(a),
    "rsqrt": lambda a, **_: 1 / sp.sqrt(a),
    "square": lambda a, **_: a**2,
    "pow": lambda a, b, **_: a**b,
    "integer_pow": _integer_pow,
    "select_n": _select,
    "gt": _greater,
    "ge": _greater,
    "lt": lambda a, b, **_: _greater(b, a),
    "le": lambda a, b, **_: _greater(b, a),
    "ne": _differs,
    "eq": lambda a, b, **_: not _differs(a, b),
    **dict.fromkeys(
        ("convert_element_type", "copy", "stop_gradient", "broadcast_in_dim", "reshape", "squeeze", "copy_p"), _same
    ),
}

WHOLE: Mapping[str, Callable[..., sp.Expr]] = {"logaddexp": _logaddexp, "softplus": lambda x: sp.log(1 + sp.exp(x))}
"""Functions of JAX known by name: inside, they are written for floating point."""


def expression_of(fn: Callable[[Any], Any]) -> sp.Expr:
    """The expression that a function computes, traced once.

    Raises:
        UnsupportedExpr: it is no function of one number, cannot be traced, or uses a primitive that has no expression.
    """
    name = getattr(fn, "__name__", repr(fn))
    if not callable(fn):
        raise UnsupportedExpr(f"{fn!r} is not a function")
    try:
        with jax.enable_x64(True):
            closed = jax.make_jaxpr(fn)(1.0)
    except Exception as error:
        raise UnsupportedExpr(
            f"{name} cannot be traced by JAX ({type(error).__name__}): write it with jax.numpy, or give its "
            'expression, stax.Activation("x*erf(x)")'
        ) from error
    if len(closed.jaxpr.outvars) != 1 or closed.jaxpr.outvars[0].aval.shape != ():
        raise UnsupportedExpr(f"{name} must take one number and return one number")
    (result,) = _run(closed.jaxpr, closed.consts, [X], name)
    return sp.sympify(result)


def _run(jaxpr: Any, constants: Any, arguments: list[Any], name: str) -> list[Any]:
    values: Values = dict(zip(jaxpr.constvars, map(_number, constants), strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))
    for eqn in jaxpr.eqns:
        inputs = [_read(v, values) for v in eqn.invars]
        outputs = _equation(eqn, inputs, name)
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [_read(v, values) for v in jaxpr.outvars]


def _read(variable: Any, values: Values) -> Any:
    return _number(variable.val) if isinstance(variable, core.Literal) else values[variable]


def _number(value: Any) -> Any:
    number = float(value)
    if not math.isfinite(number):
        raise UnsupportedExpr(f"the constant {number} is not finite")
    return exact(number)


def _equation(eqn: Any, inputs: list[Any], name: str) -> list[Any]:
    inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    called = str(eqn.params.get("name", ""))
    if called in WHOLE:
        return [WHOLE[called](*inputs)]
    if inner is not None:
        jaxpr, constants = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())
        return _run(jaxpr, constants, inputs, name)
    rule = PRIMITIVES.get(eqn.primitive.name)
    if rule is None:
        raise UnsupportedExpr(f"{name} uses {eqn.primitive.name}, which has no expression; it may use {_known()}")
    return [rule(*inputs, **eqn.params)]


def _known() -> str:
    return ", ".join(sorted(PRIMITIVES))
