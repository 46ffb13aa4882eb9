"""Expression <-> JSON:  Symbol("w") is {"symbol": "w"},  sqrt(2) is {"expr": "sqrt(2)"}."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import sympy as sp
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from ntkc.errors import InvalidGraph, UnsupportedExpr, unknown
from ntkc.frontends.fields import describe
from ntkc.gaussian.normal_form import X
from ntkc.gaussian.parse import CONSTANTS, FUNCTIONS, NAMES, parse
from ntkc.ir.exact import exact
from ntkc.ir.words import shown

LONGEST_NAME = 200
SYMBOL_NAME = re.compile(r"[A-Za-z](_?[A-Za-z0-9])*_?")
ASSUMPTIONS = ("real", "positive", "nonnegative", "nonzero", "negative", "integer")
SYMBOL_KEYS = {"symbol", "assume"}
EXPRESSION_KEYS = {"expr", "symbols"}


def symbol_document(symbol: sp.Symbol) -> dict[str, str]:
    """Symbol("w", positive=True)  ->  {"symbol": "w", "assume": "positive"}."""
    _check_symbol_name(symbol.name)
    if symbol == sp.Symbol(symbol.name):
        return {"symbol": symbol.name}
    for assumption in ASSUMPTIONS:
        if symbol == sp.Symbol(symbol.name, **{assumption: True}):
            return {"symbol": symbol.name, "assume": assumption}
    raise UnsupportedExpr(f"symbol {symbol}: a document holds one assumption of a symbol, of {', '.join(ASSUMPTIONS)}")


def expression_document(expr: sp.Expr, is_formula: bool) -> Any:
    """w*erf(x)  ->  {"expr": "w*erf(x)", "symbols": [{"symbol": "w"}]};  a formula without symbols is its text."""
    expr = exact(expr, "expr")
    symbols: list[Any] = sorted(expr.free_symbols - ({X} if is_formula else set()), key=str)
    documents = [symbol_document(s) for s in symbols]
    text = _text(expr, _names(symbols, is_formula))
    if is_formula and not symbols:
        return text
    return {"expr": text, "symbols": documents} if symbols else {"expr": text}


def _text(expr: sp.Expr, names: Mapping[str, sp.Expr]) -> str:
    """Text that `parse` reads back to the very expression."""
    rebuilt = _rebuilt(expr)
    for text in (str(expr), CarefulPrinter().doprint(expr)):
        try:
            if parse(text, names) == rebuilt:
                return text
        except UnsupportedExpr:
            continue
    raise UnsupportedExpr(f"{shown(str(expr))} cannot be written: a document holds what activation text may hold")


def _rebuilt(expr: Any) -> Any:
    """sympy keeps 2*(x + 1) after factor, but makes it 2*x + 2 when it builds it anew."""
    return expr.func(*(_rebuilt(a) for a in expr.args)) if expr.args else expr


class CarefulPrinter(StrPrinter):
    """2*(x + 1)*y  ->  (x + 1)*y*2,  since sympy turns the text 2*(x + 1) into 2*x + 2."""

    def _print_Mul(self, expr: sp.Mul) -> str:
        number, rest = expr.as_coeff_Mul()
        if not isinstance(rest, (sp.Mul, sp.Pow)):
            return super()._print_Mul(expr)
        factors = [self.parenthesize(f, PRECEDENCE["Mul"]) for f in sp.Mul.make_args(rest)]
        return "*".join([*factors, f"({number})"] if number != 1 else factors)


def expression(value: Mapping[Any, Any], is_formula: bool = False) -> sp.Expr:
    """{"expr": "sqrt(2)"}  ->  sqrt(2);  a number may not hold x.

    Raises:
        NtkcError: an object of another form, or text outside the whitelist.
    """
    if set(value) <= SYMBOL_KEYS and "symbol" in value and not is_formula:
        return _symbol(value)
    symbols = value.get("symbols", [])
    is_expression = isinstance(value.get("expr"), str) and isinstance(symbols, list) and set(value) <= EXPRESSION_KEYS
    if not is_expression:
        raise InvalidGraph(f"{shown(value)}: {describe(sp.Expr)} is needed")
    return parse(value["expr"], _names([_symbol(s) for s in symbols], is_formula))


def _names(symbols: Sequence[sp.Symbol], is_formula: bool) -> dict[str, sp.Expr]:
    """What a name in the text of an expression stands for."""
    names = {**(NAMES if is_formula else CONSTANTS), **{s.name: s for s in symbols}}
    for name, count in Counter(s.name for s in symbols).items():
        if count > 1 or name in NAMES or name in FUNCTIONS:
            raise UnsupportedExpr(f"the symbol {name!r} has the name of another symbol or function; rename it")
    return names


def _symbol(value: Any) -> sp.Symbol:
    if not isinstance(value, dict) or not isinstance(value.get("symbol"), str) or not set(value) <= SYMBOL_KEYS:
        raise InvalidGraph(f'{shown(value)}: {{"symbol": "w"}} or {{"symbol": "w", "assume": "positive"}} is needed')
    _check_symbol_name(value["symbol"])
    if "assume" not in value:
        return sp.Symbol(value["symbol"])
    if value["assume"] not in ASSUMPTIONS:
        raise unknown("assumption", shown(value["assume"]), ASSUMPTIONS)
    return sp.Symbol(value["symbol"], **{value["assume"]: True})


def _check_symbol_name(name: str) -> None:
    if len(name) > LONGEST_NAME or not SYMBOL_NAME.fullmatch(name):
        raise UnsupportedExpr(f"symbol {shown(name)}: letters, digits and single underscores, a letter first")
