"""Activation text -> sympy expression, by a whitelist: nothing in the text is ever executed."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable

import sympy as sp

from ntkc.errors import UnsupportedExpr
from ntkc.gaussian.normal_form import HIGHEST_POWER, X

LONGEST_TEXT = 500
DEEPEST = 40
LARGEST_CONSTANT = 1e9
CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-*/().,^ \t")
NAMES: dict[str, sp.Expr] = {"x": X, "pi": sp.pi}


def _relu(x: sp.Expr) -> sp.Expr:
    return sp.Max(x, 0)


def _gelu(x: sp.Expr) -> sp.Expr:
    return x / 2 * (1 + sp.erf(x / sp.sqrt(2)))


def _sigmoid(x: sp.Expr) -> sp.Expr:
    return 1 / (1 + sp.exp(-x))


FUNCTIONS: dict[str, tuple[Callable[..., sp.Expr], int]] = {
    "relu": (_relu, 1),
    "gelu": (_gelu, 1),
    "sigmoid": (_sigmoid, 1),
    "max": (sp.Max, 2),
    "Max": (sp.Max, 2),
    "min": (sp.Min, 2),
    "Min": (sp.Min, 2),
    **{name: (getattr(sp, name), 1) for name in ("Abs", "erf", "erfc", "exp", "sin", "cos", "sinh", "cosh", "tanh")},
    **{name: (getattr(sp, name), 1) for name in ("sign", "sqrt", "log", "atan")},
    "abs": (sp.Abs, 1),
}
"""Each name with its function and number of arguments."""

OPERATORS: dict[type[ast.operator], Callable[[sp.Expr, sp.Expr], sp.Expr]] = {
    ast.Add: lambda a, b: a + b,  # type: ignore[operator]
    ast.Sub: lambda a, b: a - b,  # type: ignore[operator]
    ast.Mult: lambda a, b: a * b,  # type: ignore[operator]
    ast.Div: lambda a, b: a / b,  # type: ignore[operator]
}


def parse(text: str) -> sp.Expr:
    """ "x*erf(x)"  ->  x*erf(x).

    Numbers become exact decimals; names are x, pi and the functions of FUNCTIONS; exponents are at most 24.

    Raises:
        UnsupportedExpr: anything outside the whitelist, with the text in the message.
    """
    if len(text) > LONGEST_TEXT:
        raise UnsupportedExpr(f"activation text of {len(text)} characters, {text[:40]!r}...: at most {LONGEST_TEXT}")
    foreign = sorted(set(text) - CHARACTERS)
    if foreign:
        raise UnsupportedExpr(f"activation {text!r}: the characters {foreign} are not allowed")
    if "__" in text:
        raise UnsupportedExpr(f"activation {text!r}: names with double underscores are not allowed")
    try:
        tree = ast.parse(text.strip().replace("^", "**"), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UnsupportedExpr(f"activation {text!r} is not an expression: {error}") from error
    expr = sp.sympify(_build(tree.body, text, 0))
    if expr.is_real is False or expr.has(sp.nan, sp.oo, -sp.oo, sp.zoo, sp.I):
        raise UnsupportedExpr(f"activation {text!r} = {expr} is not a finite real function of x")
    if _degree(expr) > HIGHEST_POWER:
        raise UnsupportedExpr(f"activation {text!r}: powers of x beyond {HIGHEST_POWER} are not supported")
    return expr


def _degree(expr: sp.Expr) -> sp.Expr:
    """An upper bound of the power of x, found without expanding; a function counts as its largest argument."""
    inner = [_degree(a) for a in expr.args]
    if not inner:
        return sp.Integer(expr == X)
    if isinstance(expr, sp.Mul):
        return sp.Add(*inner)
    if isinstance(expr, sp.Pow) and expr.exp.is_Number:
        return inner[0] * abs(expr.exp)
    return max(inner)


def _build(node: ast.expr, text: str, depth: int) -> sp.Expr:
    if depth > DEEPEST:
        raise UnsupportedExpr(f"activation {text[:60]!r}: nested deeper than {DEEPEST}")
    if isinstance(node, ast.Constant):
        return _constant(node, text)
    if isinstance(node, ast.Name):
        return _name(node, text)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        operand = _build(node.operand, text, depth + 1)
        return -operand if isinstance(node.op, ast.USub) else operand
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return _power(node, text, depth)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left, right = _build(node.left, text, depth + 1), _build(node.right, text, depth + 1)
        if isinstance(node.op, ast.Div) and right.is_zero:
            raise UnsupportedExpr(f"activation {text!r} divides by zero")
        return OPERATORS[type(node.op)](left, right)
    if isinstance(node, ast.Call):
        return _call(node, text, depth)
    raise UnsupportedExpr(f"activation {text!r}: {type(node).__name__} is not allowed; write arithmetic of x")


def _constant(node: ast.Constant, text: str) -> sp.Expr:
    value = node.value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UnsupportedExpr(f"activation {text!r}: the constant {value!r} is not a real number")
    if not math.isfinite(value) or abs(value) > LARGEST_CONSTANT:
        raise UnsupportedExpr(f"activation {text!r}: constants are finite and at most {LARGEST_CONSTANT:g}")
    return sp.Rational(repr(value))


def _name(node: ast.Name, text: str) -> sp.Expr:
    if node.id not in NAMES:
        known = ", ".join([*NAMES, *FUNCTIONS])
        raise UnsupportedExpr(f"activation {text!r}: unknown name {node.id!r}; have {known}")
    return NAMES[node.id]


def _power(node: ast.BinOp, text: str, depth: int) -> sp.Expr:
    base, exponent = _build(node.left, text, depth + 1), _build(node.right, text, depth + 1)
    if not exponent.is_Rational or abs(exponent) > HIGHEST_POWER:
        raise UnsupportedExpr(f"activation {text!r}: exponents are numbers of at most {HIGHEST_POWER}")
    if base.is_zero and exponent <= 0:
        raise UnsupportedExpr(f"activation {text!r} divides by zero")
    if base.is_Number and exponent.is_Integer and abs(base) > 1e4:
        raise UnsupportedExpr(f"activation {text!r}: the power {base}**{exponent} is too large")
    return base**exponent


def _call(node: ast.Call, text: str, depth: int) -> sp.Expr:
    if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
        name = node.func.id if isinstance(node.func, ast.Name) else type(node.func).__name__
        raise UnsupportedExpr(f"activation {text!r}: unknown function {name!r}; have {', '.join(FUNCTIONS)}")
    function, arity = FUNCTIONS[node.func.id]
    if node.keywords or len(node.args) != arity:
        raise UnsupportedExpr(f"activation {text!r}: {node.func.id} takes {arity} argument(s)")
    return sp.sympify(function(*(_build(a, text, depth + 1) for a in node.args)))
