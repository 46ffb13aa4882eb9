"""A Python function of numbers, as JAX sees it  ->  a sympy expression.

lambda x: x * jax.nn.sigmoid(x)                       ->   x / (1 + exp(-x))
lambda k, q1, q2: jnp.arcsin(k / jnp.sqrt(q1 * q2))   ->   asin(k / (sqrt(q1) sqrt(q2)))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
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
    below, above = cases
    edge, is_rising = _edge(condition)
    if edge is None:
        return below + (above - below) * condition
    if not is_rising:
        below, above = above, below
    return _joined(sp.sympify(below), sp.sympify(above), edge)


def _edge(condition: sp.Expr) -> tuple[sp.Expr | None, bool]:
    """(1 + sign(a x + b)) / 2  ->  -b / a, and whether a > 0."""
    factor, sign = sp.expand(2 * condition - 1).as_coeff_Mul()
    inside = sign.args[0] if isinstance(sign, sp.sign) else sp.S.Zero
    slope, offset = inside.coeff(X, 1), inside.coeff(X, 0)
    if not slope.is_number or slope == 0 or sp.expand(inside - slope * X - offset) != 0:
        return None, True
    return -offset / slope, bool(factor * slope > 0)


def _joined(below: sp.Expr, above: sp.Expr, edge: sp.Expr) -> sp.Expr:
    """below(x) for x < edge, above(x) for x > edge: where they meet, each reads x up to the edge and no further."""
    low, high = sp.Min(X, edge), sp.Max(X, edge)
    if sp.expand(below.xreplace({X: edge}) - above.xreplace({X: edge})) != 0:
        return below + (above - below) * (1 + sp.sign(X - edge)) / 2
    return below.xreplace({X: low}) + above.xreplace({X: high}) - below.xreplace({X: edge})


def _greater(a: sp.Expr, b: sp.Expr, **_: Any) -> Any:
    """1 where a > b, 0 where a < b: the boundary has no weight."""
    difference = sp.expand(a - b)
    if difference.is_number:
        return bool(difference > 0)
    return True if difference.is_positive else (1 + sp.sign(difference)) / 2


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
    "asin": lambda a, **_: sp.asin(a),
    "acos": lambda a, **_: sp.acos(a),
    "atan": lambda a, **_: sp.atan(a),
    "atan2": lambda a, b, **_: sp.atan2(a, b),
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

PI_POWERS = (sp.S.One, -sp.S.One, sp.S.Half, -sp.S.Half)
LARGEST_PART = 1000
"""Numerators and denominators of the square of what stands before a power of pi."""

WHOLE: Mapping[str, Callable[..., sp.Expr]] = {"logaddexp": _logaddexp, "softplus": lambda x: sp.log(1 + sp.exp(x))}
"""Functions of JAX known by name, and by a few values: inside, they are written for floating point."""
TRIALS = ((-2.25, 0.5), (0.75, -1.5), (3.0, 2.75))


def expression_of(fn: Callable[..., Any], variables: Sequence[sp.Symbol] = (X,)) -> sp.Expr:
    """The expression that a function of these variables computes, traced once.

    Raises:
        UnsupportedExpr: no function of so many numbers, or it cannot be traced, or uses what has no expression.
    """
    name = getattr(fn, "__name__", repr(fn))
    if not callable(fn):
        raise UnsupportedExpr(f"{fn!r} is not a function")
    try:
        with jax.enable_x64(True):
            closed = jax.make_jaxpr(fn)(*(1.0 for _ in variables))
    except Exception as error:
        raise UnsupportedExpr(
            f"{name} cannot be traced by JAX ({type(error).__name__}): write it with jax.numpy, or give its "
            'expression, stax.Activation("x*erf(x)")'
        ) from error
    if len(closed.jaxpr.outvars) != 1 or closed.jaxpr.outvars[0].aval.shape != ():
        taken = "one number" if len(variables) == 1 else f"{len(variables)} numbers"
        raise UnsupportedExpr(f"{name} must take {taken} and return one number")
    (result,) = _run(closed.jaxpr, closed.consts, list(variables), name)
    return sp.sympify(result)


def _run(jaxpr: Any, constants: Any, arguments: list[Any], name: str) -> list[Any]:
    values: Values = dict(zip(jaxpr.constvars, map(exact_number, constants), strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))
    for eqn in jaxpr.eqns:
        inputs = [_read(v, values) for v in eqn.invars]
        outputs = _equation(eqn, inputs, name)
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [_read(v, values) for v in jaxpr.outvars]


def _read(variable: Any, values: Values) -> Any:
    return exact_number(variable.val) if isinstance(variable, core.Literal) else values[variable]


def exact_number(value: Any) -> Any:
    """A constant of a traced function, exactly.

    Raises:
        UnsupportedExpr: it is not finite.
    """
    number = float(value)
    if not math.isfinite(number):
        raise UnsupportedExpr(f"the constant {number} is not finite")
    return _of_pi(number) or exact(number)


def _of_pi(number: float) -> sp.Expr | None:
    """6.283185307179586 -> 2 pi,  0.7978845608028654 -> sqrt(2 / pi):  where these round to the very same float."""
    if not 1 / LARGEST_PART < abs(number) < LARGEST_PART:
        return None
    for power in PI_POWERS:
        square = sp.Rational(number**2 / math.pi ** (2 * power)).limit_denominator(LARGEST_PART)
        candidate = sp.sign(number) * sp.sqrt(square) * sp.pi**power
        if square.p <= LARGEST_PART and float(candidate) == number:
            return candidate
    return None


def _equation(eqn: Any, inputs: list[Any], name: str) -> list[Any]:
    inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    called = str(eqn.params.get("name", ""))
    if inner is not None:
        jaxpr, constants = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())
        if called in WHOLE and agrees(WHOLE[called], core.ClosedJaxpr(jaxpr, constants)):
            return [WHOLE[called](*inputs)]
        return _run(jaxpr, constants, inputs, name)
    rule = PRIMITIVES.get(eqn.primitive.name)
    if rule is None:
        raise UnsupportedExpr(f"{name} uses {eqn.primitive.name}, which has no expression; it may use {_known()}")
    return [rule(*inputs, **eqn.params)]


def agrees(form: Callable[..., sp.Expr], closed: Any) -> bool:
    """The function has the values of this form: a name alone proves nothing."""
    with jax.enable_x64(True):
        for trial in TRIALS:
            given = [np.float64(v) for v in trial[: len(closed.in_avals)]]
            (value,) = core.jaxpr_as_fun(closed)(*given)
            if not math.isclose(float(value), float(form(*map(sp.Float, given))), rel_tol=1e-12):
                return False
    return True


def _known() -> str:
    return ", ".join(sorted(PRIMITIVES))
