"""Activation text -> sympy expression, by a whitelist: nothing in the text is ever executed."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping

import sympy as sp

from ntkc.errors import UnsupportedExpr
from ntkc.gaussian.normal_form import HIGHEST_POWER, X

LONGEST_TEXT = 500
DEEPEST = 40
LARGEST_CONSTANT = 1e50
LARGEST_EXPRESSION = 1000
"""Parts of the argument of a function: gelu doubles them."""

DEEPEST_FUNCTIONS = 8
"""Functions of functions: sympy's rewriting of nested waves takes minutes."""

LARGEST_NUMBER = 100
"""Parts of an expression without x: each is evaluated."""

LONGEST_FRACTION = 4000
"""Bits of a numerator or denominator."""

LARGEST_ROOT = 100
"""Degree of all roots of a number together: sympy seeks the minimal polynomial of what it compares."""

LONGEST_RADICAND = 64
"""Bits of a fraction under a root: sympy factors it."""

LARGEST_EXPONENT = 1000
"""A number that exp and its kin are taken of, alone or added to x."""

CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-*/().,^ \t")
CONSTANTS: dict[str, sp.Expr] = {"pi": sp.pi, "E": sp.E}
NAMES: dict[str, sp.Expr] = {"x": X, **CONSTANTS}


def _relu(x: sp.Expr) -> sp.Expr:
    return sp.Max(x, 0)


def _gelu(x: sp.Expr) -> sp.Expr:
    return x / 2 * (1 + sp.erf(x / sp.sqrt(2)))


def _sqrt(x: sp.Expr) -> sp.Expr:
    return _power(x, sp.S.Half)


def _sigmoid(x: sp.Expr) -> sp.Expr:
    return 1 / (1 + sp.exp(-x))


def _silu(x: sp.Expr) -> sp.Expr:
    return x * _sigmoid(x)


def _softplus(x: sp.Expr) -> sp.Expr:
    return sp.log(1 + sp.exp(x))


def _mish(x: sp.Expr) -> sp.Expr:
    return x * sp.tanh(_softplus(x))


def _elu(x: sp.Expr) -> sp.Expr:
    return sp.Max(x, 0) + sp.exp(sp.Min(x, 0)) - 1


def _selu(x: sp.Expr) -> sp.Expr:
    return SELU_SCALE * (sp.Max(x, 0) + SELU_ALPHA * (sp.exp(sp.Min(x, 0)) - 1))


def _relu6(x: sp.Expr) -> sp.Expr:
    return sp.Min(sp.Max(x, 0), 6)


def _hard_sigmoid(x: sp.Expr) -> sp.Expr:
    return _relu6(x + 3) / 6


SELU_ALPHA, SELU_SCALE = sp.Rational("1.6732632423543772"), sp.Rational("1.0507009873554805")
"""Klambauer et al. 2017: zero mean and unit variance are a fixed point."""

EXTREMES: dict[str, Callable[..., sp.Expr]] = {"max": sp.Max, "Max": sp.Max, "min": sp.Min, "Min": sp.Min}
"""Functions of two or more arguments."""

FUNCTIONS: dict[str, Callable[..., sp.Expr]] = {
    "relu": _relu,
    "gelu": _gelu,
    "sigmoid": _sigmoid,
    "silu": _silu,
    "swish": _silu,
    "softplus": _softplus,
    "mish": _mish,
    "elu": _elu,
    "celu": _elu,
    "selu": _selu,
    "leaky_relu": lambda x: sp.Max(x, 0) + sp.Min(x, 0) / 100,
    "relu6": _relu6,
    "hard_tanh": lambda x: sp.Max(sp.Min(x, 1), -1),
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": lambda x: x * _hard_sigmoid(x),
    "softsign": lambda x: x / (1 + sp.Abs(x)),
    "step": lambda x: (1 + sp.sign(x)) / 2,
    "abs": sp.Abs,
    **{name: getattr(sp, name) for name in ("Abs", "erf", "erfc", "exp", "sin", "cos", "sinh", "cosh", "tanh")},
    **{name: getattr(sp, name) for name in ("sign", "Heaviside", "log", "asin", "acos", "atan")},
    "sqrt": _sqrt,
    **EXTREMES,
}

EXPONENTIALS = ("exp", "sinh", "cosh", "tanh", "sigmoid", "silu", "swish", "softplus", "mish", "elu", "celu", "selu")

OPERATORS: dict[type[ast.operator], Callable[[sp.Expr, sp.Expr], sp.Expr]] = {
    ast.Add: lambda a, b: a + b,  # type: ignore[operator]
    ast.Sub: lambda a, b: a - b,  # type: ignore[operator]
    ast.Mult: lambda a, b: a * b,  # type: ignore[operator]
    ast.Div: lambda a, b: a / b,  # type: ignore[operator]
}


def parse(text: str, names: Mapping[str, sp.Expr] = NAMES) -> sp.Expr:
    """ "x*erf(x)"  ->  x*erf(x).

    Numbers become exact decimals; names are those given and the functions of FUNCTIONS; exponents are at most 24.

    Raises:
        UnsupportedExpr: anything outside the whitelist, with the text in the message.
    """
    if len(text) > LONGEST_TEXT:
        raise UnsupportedExpr(f"expression of {len(text)} characters, {text[:40]!r}...: at most {LONGEST_TEXT}")
    try:
        return _finite_real(_build(_tree(text), names, 0))
    except UnsupportedExpr as error:
        raise UnsupportedExpr(f"expression {text!r}: {_short(error)}") from error
    except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        # sympy refuses in several ways, say to compare what it cannot compare.
        raise UnsupportedExpr(f"expression {text!r} has no value: {_short(error)}") from error


def _short(error: Exception) -> str:
    message = str(error)
    return message if len(message) <= LONGEST_TEXT else f"{message[:LONGEST_TEXT]}..."


def _tree(text: str) -> ast.expr:
    foreign = sorted(set(text) - CHARACTERS)
    if foreign:
        raise UnsupportedExpr(f"the characters {foreign} are not allowed")
    if "__" in text:
        raise UnsupportedExpr("names with double underscores are not allowed")
    try:
        return ast.parse(text.strip().replace("^", "**"), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UnsupportedExpr(f"not an expression ({error})") from error


def _finite_real(expr: sp.Expr) -> sp.Expr:
    if expr.is_real is False or expr.has(sp.nan, sp.oo, -sp.oo, sp.zoo, sp.I):
        raise UnsupportedExpr(f"{expr} is not finite and real")
    if degree_bound(expr) > HIGHEST_POWER:
        raise UnsupportedExpr(f"powers of x beyond {HIGHEST_POWER} are not supported")
    return expr


def degree_bound(expr: sp.Basic) -> sp.Expr:
    """An upper bound of the power of x, found without expanding; a function counts as its largest argument."""
    inner = [degree_bound(a) for a in expr.args]
    if not inner:
        return sp.Integer(expr == X)
    if isinstance(expr, sp.Mul):
        return sp.Add(*inner)
    if isinstance(expr, sp.Pow) and expr.exp.is_Number:
        return inner[0] * abs(expr.exp)
    return max(inner)


def _build(node: ast.expr, names: Mapping[str, sp.Expr], depth: int) -> sp.Expr:
    if depth > DEEPEST:
        raise UnsupportedExpr(f"nested deeper than {DEEPEST}")
    if isinstance(node, ast.Constant):
        return _constant(node)
    if isinstance(node, ast.Name):
        return _name(node, names)
    return _bounded(_compound(node, names, depth + 1))


def _compound(node: ast.expr, names: Mapping[str, sp.Expr], depth: int) -> sp.Expr:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        operand = _build(node.operand, names, depth)
        return -operand if isinstance(node.op, ast.USub) else operand
    if isinstance(node, ast.BinOp):
        return _operation(node.op, _build(node.left, names, depth), _build(node.right, names, depth))
    if isinstance(node, ast.Call):
        return _call(node, names, depth)
    raise UnsupportedExpr(f"{type(node).__name__} is not allowed; write arithmetic of {', '.join(names)}")


def _bounded(expr: sp.Expr) -> sp.Expr:
    """The expression, if its constants are small enough to be computed in no time."""
    number = _number_part(expr, as_add=False)
    if _size(number) > LARGEST_NUMBER:
        raise UnsupportedExpr(f"a number of more than {LARGEST_NUMBER} parts")
    if number.has(sp.I) or number.is_real is False:
        raise UnsupportedExpr(f"{number} is not finite and real")
    if any(_bits(r) > LONGEST_FRACTION for r in number.atoms(sp.Rational)):
        raise UnsupportedExpr(f"a fraction of more than {LONGEST_FRACTION} bits")
    if math.prod(p.exp.q for p in number.atoms(sp.Pow) if p.exp.is_Rational) > LARGEST_ROOT:
        raise UnsupportedExpr(f"roots of a degree beyond {LARGEST_ROOT}")
    if abs(sp.N(number)) > LARGEST_CONSTANT:
        raise UnsupportedExpr(f"constants are at most {LARGEST_CONSTANT:g}")
    return expr


def _number_part(expr: sp.Expr, as_add: bool) -> sp.Expr:
    """The number that the rest of an expression is added to, or multiplied with."""
    return expr.as_independent(*expr.free_symbols, as_Add=as_add)[0] if expr.free_symbols else expr


def _bits(number: sp.Rational) -> int:
    return max(number.p.bit_length(), number.q.bit_length())


def _size(expr: sp.Expr) -> int:
    return sum(1 for _ in sp.preorder_traversal(expr))


def _nesting(expr: sp.Basic) -> int:
    """Functions around functions; max and min, which sympy flattens, do not count."""
    return max(map(_nesting, expr.args), default=0) + isinstance(expr, sp.Function)


def _constant(node: ast.Constant) -> sp.Expr:
    value = node.value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UnsupportedExpr(f"the constant {value!r} is not a real number")
    if abs(value) > LARGEST_CONSTANT or not math.isfinite(value):
        raise UnsupportedExpr(f"constants are at most {LARGEST_CONSTANT:g}")
    return sp.Rational(repr(value))


def _name(node: ast.Name, names: Mapping[str, sp.Expr]) -> sp.Expr:
    if node.id not in names:
        raise UnsupportedExpr(f"unknown name {node.id!r}; have {', '.join([*names, *FUNCTIONS])}")
    return names[node.id]


def _operation(op: ast.operator, left: sp.Expr, right: sp.Expr) -> sp.Expr:
    if isinstance(op, ast.Pow):
        return _power(left, right)
    if type(op) not in OPERATORS:
        raise UnsupportedExpr(f"the operator {type(op).__name__} is not allowed")
    if isinstance(op, ast.Div) and right.is_zero:
        raise UnsupportedExpr("division by zero")
    return OPERATORS[type(op)](left, right)


def _power(base: sp.Expr, exponent: sp.Expr) -> sp.Expr:
    if not isinstance(exponent, sp.Rational) or abs(exponent) > HIGHEST_POWER or exponent.q > LARGEST_ROOT:
        raise UnsupportedExpr(f"exponents are fractions of at most {HIGHEST_POWER}, over at most {LARGEST_ROOT}")
    if not exponent.is_Integer and _bits(base.as_coeff_Mul(rational=True)[0]) > LONGEST_RADICAND:
        raise UnsupportedExpr(f"a root of a fraction of more than {LONGEST_RADICAND} bits")
    if base.is_zero and exponent <= 0:
        raise UnsupportedExpr("division by zero")
    if base.is_negative and not exponent.is_Integer:
        raise UnsupportedExpr("a root of a negative number is not real")
    return base**exponent


def _call(node: ast.Call, names: Mapping[str, sp.Expr], depth: int) -> sp.Expr:
    if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
        name = node.func.id if isinstance(node.func, ast.Name) else type(node.func).__name__
        raise UnsupportedExpr(f"unknown function {name!r}; have {', '.join(FUNCTIONS)}")
    name = node.func.id
    if node.keywords or (len(node.args) < 2 if name in EXTREMES else len(node.args) != 1):
        raise UnsupportedExpr(f"{name} takes {'two or more arguments' if name in EXTREMES else 'one argument'}")
    arguments = [_build(a, names, depth) for a in node.args]
    if sum(_size(a) for a in arguments) > LARGEST_EXPRESSION:
        raise UnsupportedExpr(f"the argument of {name} has more than {LARGEST_EXPRESSION} parts")
    if max(map(_nesting, arguments)) >= DEEPEST_FUNCTIONS:
        raise UnsupportedExpr(f"functions nested deeper than {DEEPEST_FUNCTIONS}")
    if name in EXPONENTIALS and abs(sp.N(_number_part(arguments[0], as_add=True))) > LARGEST_EXPONENT:
        raise UnsupportedExpr(f"{name} of a number beyond {LARGEST_EXPONENT}")
    return sp.sympify(FUNCTIONS[name](*arguments))
