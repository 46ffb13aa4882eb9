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
from ntkc.ir.hyper import checked_number, in_parameters, parameter
from ntkc.ir.words import shown

LONGEST_NAME = 200
TEXT_NAME = re.compile(r"[A-Za-z](_?[A-Za-z0-9])*_?")
"""Names that the text of an expression may have."""
ALIAS = re.compile(r"p[0-9]+")
"""Names that stand in text for others."""
ASSUMPTIONS = ("real", "positive", "nonnegative", "nonzero", "negative", "integer")
"""What documents of old say of symbols; every hyper-parameter is real, and no more is assumed."""
SYMBOL_KEYS = {"symbol", "assume", "as"}
EXPRESSION_KEYS = {"expr", "symbols"}


def symbol_document(symbol: sp.Symbol) -> dict[str, str]:
    """Parameter("w")  ->  {"symbol": "w"}."""
    return {"symbol": checked_number(symbol, "symbol").name}


def expression_document(expr: sp.Expr, is_formula: bool) -> Any:
    """w*erf(x)  ->  {"expr": "w*erf(x)", "symbols": [{"symbol": "w"}]};  a formula without symbols is its text."""
    expr = in_parameters(exact(expr, "expr"), "expr", {X} if is_formula else ())
    symbols: list[Any] = sorted(expr.free_symbols - ({X} if is_formula else set()), key=str)
    documents = [_named_document(s, f"p{i}") for i, s in enumerate(symbols)]
    written = {s: sp.Symbol(_text_name(d), real=True) for s, d in zip(symbols, documents, strict=True)}
    names = {**(NAMES if is_formula else CONSTANTS), **{s.name: s for s in written.values()}}
    text = _text(expr.xreplace(written), names)
    if is_formula and not symbols:
        return text
    return {"expr": text, "symbols": documents} if symbols else {"expr": text}


def _named_document(symbol: sp.Symbol, other_name: str) -> dict[str, str]:
    """{"symbol": "w"};  {"symbol": "exp", "as": "p0"} where the text cannot have the name."""
    return symbol_document(symbol) | ({} if _is_plain(symbol.name) else {"as": other_name})


def _is_plain(name: str) -> bool:
    """Text can have the name, and it means nothing else there."""
    is_short = len(name) <= LONGEST_NAME and TEXT_NAME.fullmatch(name) is not None
    return is_short and name not in NAMES and name not in FUNCTIONS and not ALIAS.fullmatch(name)


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
        return _symbol(value, is_formula)
    symbols = value.get("symbols", [])
    is_expression = isinstance(value.get("expr"), str) and isinstance(symbols, list) and set(value) <= EXPRESSION_KEYS
    if not is_expression:
        raise InvalidGraph(f"{shown(value)}: {describe(sp.Expr)} is needed")
    return parse(value["expr"], _names(symbols, is_formula))


def _names(symbols: Sequence[Any], is_formula: bool) -> dict[str, sp.Expr]:
    """What a name in the text of an expression stands for."""
    given = [(_text_name(s), _symbol(s, is_formula)) for s in symbols]
    for name, count in Counter(name for name, _ in given).items():
        if count > 1 or name in NAMES or name in FUNCTIONS:
            raise UnsupportedExpr(
                f"the symbol {name!r} has the name of another symbol or function; "
                f'give it another in the text, {{"symbol": "{name}", "as": "p0"}}'
            )
    return {**(NAMES if is_formula else CONSTANTS), **dict(given)}


def _text_name(value: Any) -> str:
    """What the text calls a symbol."""
    name = value.get("as", value.get("symbol")) if isinstance(value, dict) else None
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not TEXT_NAME.fullmatch(name):
        raise UnsupportedExpr(
            f'symbol {shown(value)}: {{"symbol": "w"}} is needed, in text of letters, digits and single underscores; '
            'call others {"symbol": "b__std", "as": "p0"}'
        )
    return name


def _symbol(value: Any, is_formula: bool) -> sp.Symbol:
    """A Parameter beside x in a formula; else a symbol: the layer makes it a Parameter, or a variable such as k."""
    keys = set(value) if isinstance(value, dict) else set[str]()
    if not isinstance(value, dict) or not isinstance(value.get("symbol"), str) or not keys <= SYMBOL_KEYS:
        raise InvalidGraph(f'{shown(value)}: {{"symbol": "w"}} is needed')
    if "assume" in value and value["assume"] not in ASSUMPTIONS:
        raise unknown("assumption", shown(value["assume"]), ASSUMPTIONS)
    if len(value["symbol"]) > LONGEST_NAME:
        raise InvalidGraph(f"symbol {shown(value['symbol'])}: names have at most {LONGEST_NAME} characters")
    made = parameter(value["symbol"])
    return made if is_formula else sp.Symbol(made.name, real=True)
