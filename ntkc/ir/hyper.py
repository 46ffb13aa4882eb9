"""Hyper-parameters: what a layer's numbers and expressions may be, and what an open one may be called."""

from __future__ import annotations

import keyword
import sys
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from functools import lru_cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import sympy as sp

from ntkc.errors import InvalidInput, UnsupportedExpr
from ntkc.ir.exact import exact
from ntkc.ir.words import one_line, quoted

CALL_ARGUMENTS = (
    *("x1", "x1_or_kernel", "x2", "get", "pattern", "mask_constant", "diagonal_batch", "diagonal_spatial"),
)
"""Arguments of programs and kernel functions, which take hyper-parameters by keyword beside them."""

FUNCTIONS: tuple[Any, ...] = (
    *(sp.exp, sp.log, sp.sin, sp.cos, sp.tan, sp.sinh, sp.cosh, sp.tanh, sp.asin, sp.atan),
    *(sp.erf, sp.erfc, sp.sign, sp.Abs),
)
"""Functions of hyper-parameters: sympy's own of those that the JAX backend knows."""
FUNCTIONS_OF_X: tuple[Any, ...] = (*FUNCTIONS, sp.acos, sp.atan2, sp.Heaviside)
"""Functions in the expression of an activation or of a covariance map; those of ntkc may stand there, too."""

ARITHMETIC: tuple[Any, ...] = (sp.Add, sp.Mul, sp.Pow, sp.Max, sp.Min)
CONSTANTS = (sp.pi, sp.E)

LARGEST = sys.float_info.max**0.5
"""Of a number: its square is finite in float64."""


class Parameter(sp.Symbol):
    """An open hyper-parameter: a real number, equal to no other symbol of its name, be it a variable or a stream."""

    __slots__ = ()

    def __new__(cls, name: str, **_: Any) -> Parameter:
        return super().__new__(cls, name, real=True)

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        return (self.name,), {}

    @classmethod
    def class_key(cls) -> Any:
        """Sorted among other symbols, by its name."""
        return sp.Symbol.class_key()


def parameter(name: str, where: str = "symbol") -> Parameter:
    """The one symbol of a hyper-parameter of this name.

    Raises:
        InvalidInput: a name that a keyword of a call cannot have.
    """
    rule = _broken_rule(name)
    if rule is not None:
        raise InvalidInput(
            f"{where}: the symbol {quoted(name)} cannot name a hyper-parameter, {rule}; use a plain name such as w"
        )
    return Parameter(name)


def _broken_rule(name: str) -> str | None:
    """What a name does against the rules; None for nothing."""
    if name in CALL_ARGUMENTS:
        return f"as programs have arguments {', '.join(CALL_ARGUMENTS)} of their own"
    if not name.isidentifier() or keyword.iskeyword(name):
        return "as it is no name in Python: letters, digits and underscores, no digit first, and no keyword"
    if unicodedata.normalize("NFKC", name) != name:
        return f"as Python reads it as {quoted(unicodedata.normalize('NFKC', name))}"
    return "as Python keeps names with two underscores at both ends" if is_own_name(name) else None


def is_own_name(name: str) -> bool:
    """A name that no user gives: of the hyper-parameters that JAX traces."""
    return name.startswith("__") and name.endswith("__")


def checked_fields(op: Any) -> dict[str, Any]:
    """{"W_std": Symbol("w")} -> {"W_std": Parameter("w")}:  fields that hold numbers or expressions, once they may.

    Raises:
        InvalidInput: a number that is not finite, or whose square is not, or a symbol that no call can give a value.
        UnsupportedExpr: an expression of other functions than those known.
    """
    variables: tuple[sp.Symbol, ...] = getattr(op, "variables", ())
    return {
        name: _checked(getattr(op, name), f"{type(op).__name__} {name}", variables, is_number)
        for name, is_number in _kinds(type(op)).items()
    }


def holds_numbers(cls: type, name: str) -> bool:
    """A field of this layer is a hyper-parameter, or several."""
    return _kinds(cls).get(name, False)


@lru_cache(maxsize=1024)
def _kinds(cls: type) -> Mapping[str, bool]:
    """True for fields of numbers, False for those of expressions; other fields are left out."""
    hints = get_type_hints(cls)
    leaves = {f.name: set(_leaves(hints[f.name])) for f in fields(cls)}
    return {name: float in found for name, found in leaves.items() if found & {float, sp.Expr}}


def _leaves(hint: Any) -> Iterable[Any]:
    """tuple[int | float, ...] | None  ->  int, float, NoneType."""
    if isinstance(hint, UnionType) or get_origin(hint) is tuple:
        for part in get_args(hint):
            yield from _leaves(part)
    else:
        yield hint


def _checked(value: Any, where: str, variables: Collection[sp.Symbol], is_number: bool) -> Any:
    if isinstance(value, tuple):
        return tuple(_checked(v, f"{where}[{i}]", variables, is_number) for i, v in enumerate(value))
    if is_number:
        return value if value is None else checked_number(value, where)
    return checked_expression(value, where, variables) if isinstance(value, sp.Expr) else value


def checked_number(value: Any, where: str) -> Any:
    """A number as it is; an expression in Parameters.

    Raises:
        InvalidInput: it is not finite and real, or its square is not, or it holds what the program cannot compute.
    """
    if type(value) is float and abs(value) <= LARGEST:
        return value
    number = exact(value, where)
    _check_parts(number, where, FUNCTIONS, (), InvalidInput)
    for part in _numbers(number):
        if not _is_small(part, where):
            raise InvalidInput(
                f"{where} = {one_line(str(value))}: its square must be finite, so at most {LARGEST:.2g} in float64 "
                "(and 1.8e19 in float32, if that is computed in); give a smaller number"
            )
    return in_parameters(value, where, ()) if isinstance(value, sp.Expr) else value


def checked_expression(value: sp.Expr, where: str, variables: Collection[sp.Symbol]) -> sp.Expr:
    """An expression of variables, its other symbols Parameters.

    Raises:
        UnsupportedExpr: of functions that are not known.
        InvalidInput: of symbols that are no names.
    """
    _check_parts(value, where, FUNCTIONS_OF_X, variables, UnsupportedExpr)
    return in_parameters(exact(value, where), where, variables)


def in_parameters(expr: sp.Expr, where: str, variables: Collection[sp.Symbol]) -> sp.Expr:
    """Every symbol that is no variable becomes the Parameter of its name, whatever its assumptions were."""
    others = (s for s in expr.free_symbols - set(variables) if not isinstance(s, Parameter))
    return expr.xreplace({s: parameter(s.name, where) for s in others})


def _check_parts(
    expr: sp.Expr, where: str, functions: Collection[Any], variables: Collection[sp.Symbol], error: type[Exception]
) -> None:
    for part in sp.preorder_traversal(expr):
        kind = type(part)
        if part in variables or part in CONSTANTS or kind in functions or kind in ARITHMETIC:
            continue
        if kind in (sp.Symbol, Parameter):
            _check_assumptions(part, where)
        elif not (isinstance(part, sp.Number) or _is_own(kind)):
            raise error(
                f"{where} = {one_line(str(expr))}: {one_line(str(part), 80)} is a {one_line(kind.__name__, 40)}; "
                "write numbers, symbols as sympy.Symbol('w'), arithmetic, "
                f"Max, Min, {', '.join(f.__name__ for f in functions)}"
            )


def _is_own(kind: type) -> bool:
    """A function that ntkc defines, or what stands in one."""
    return str(kind.__module__).startswith("ntkc.")


def _check_assumptions(symbol: sp.Symbol, where: str) -> None:
    if not symbol.is_commutative or symbol.is_real is False or symbol.is_finite is False:
        raise InvalidInput(
            f"{where}: the symbol {quoted(symbol.name)} is no finite real number by its assumptions; "
            f"write sympy.Symbol({quoted(symbol.name)})"
        )


def _numbers(expr: sp.Expr) -> Iterable[sp.Expr]:
    """The largest parts without symbols."""
    if not expr.free_symbols:
        yield expr
        return
    for part in expr.args:
        yield from _numbers(part)


def _is_small(number: sp.Expr, where: str) -> bool:
    if isinstance(number, sp.Rational):
        return abs(number.p) <= abs(number.q) * int(LARGEST)
    try:
        value = sp.N(number, 20)
        size = abs(float(value))
    except (OverflowError, ValueError, MemoryError):
        return False
    except TypeError as error:
        raise InvalidInput(f"{where} = {one_line(str(number))}: hyper-parameters must be finite and real") from error
    return size <= LARGEST
