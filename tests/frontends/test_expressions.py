"""Expressions through JSON and back."""

import pytest
import sympy as sp

from ntkc.errors import InvalidInput, NtkcError, UnsupportedExpr
from ntkc.frontends.expressions import expression, expression_document, symbol_document
from ntkc.gaussian.normal_form import X
from ntkc.gaussian.parse import parse
from ntkc.ir.hyper import Parameter

W = sp.Symbol("w", real=True)
NUMBERS = [
    (sp.sqrt(2), {"expr": "sqrt(2)"}),
    (sp.Rational(1, 3), {"expr": "1/3"}),
    (sp.pi / 2, {"expr": "pi/2"}),
    (2 * W, {"expr": "2*w", "symbols": [{"symbol": "w"}]}),
    (sp.sqrt(sp.Symbol("exp", real=True)), {"expr": "sqrt(p0)", "symbols": [{"symbol": "exp", "as": "p0"}]}),
    (sp.sqrt(sp.Symbol("b__1", real=True)), {"expr": "sqrt(p0)", "symbols": [{"symbol": "b__1", "as": "p0"}]}),
    (sp.sqrt(sp.Symbol("p0", real=True)), {"expr": "sqrt(p0)", "symbols": [{"symbol": "p0", "as": "p0"}]}),
]
FORMULAS = [
    ("x*erf(x)", "x*erf(x)"),
    ("sigmoid(x)/2", "1/(1 + exp(-x))*(1/2)"),
    ("2*(x + 1)*exp(x)", None),
    ("(x + 1)*exp(x)*2", None),
    ("-(x + 1)*exp(x)/3", None),
    ("gelu(gelu(x))", None),
    ("max(x, 1, x**2)", None),
    ("0.123456789012*x", None),
    ("2**(1/3)*x + 3**-1.5*erf(x)", None),
    ("exp(1)*x + exp(-x**2/2)/sqrt(2*pi)", None),
    ("Heaviside(x)*x - sign(x)/7", None),
    ("(x**2 - x)**3/(1 + x**2)", None),
    ("1/sqrt(1 + x**2)/2", None),
]
REFUSED = [
    ({}, "a sympy expression"),
    ({"expr": 2}, "a sympy expression"),
    ({"expr": "2", "other": 1}, "a sympy expression"),
    ({"symbol": 3}, '{"symbol": "w"} is needed'),
    ({"symbol": "w", "assume": "complex"}, "no assumption"),
    ({"symbol": "w", "assume": []}, "no assumption"),
    ({"symbol": "w); import os"}, "letters, digits and underscores"),
    ({"symbol": "__class__"}, "two underscores at both ends"),
    ({"symbol": ""}, "no digit first"),
    ({"symbol": "w" * 300}, "at most 200 characters"),
    ({"expr": "w__2", "symbols": [{"symbol": "w__2"}]}, "single underscores"),
    ({"expr": "x"}, "unknown name 'x'; have pi, E"),
    ({"expr": "w"}, "unknown name 'w'"),
    ({"expr": "w", "symbols": ["w"]}, '{"symbol": "w"}'),
    ({"expr": "w", "symbols": "w"}, "a sympy expression"),
    ({"expr": "w", "symbols": [{"symbol": "w"}] * 2}, "the name of another symbol"),
    ({"expr": "erf", "symbols": [{"symbol": "erf"}]}, "the name of another symbol or function"),
    ({"expr": "x", "symbols": [{"symbol": "x"}]}, "the name of another symbol or function"),
    ({"expr": "1/0"}, "division by zero"),
]


@pytest.mark.parametrize(("expr", "document"), NUMBERS)
def test_numbers(expr, document):
    assert expression_document(expr, is_formula=False) == document
    assert expression(document) == expr


@pytest.mark.parametrize(("text", "written"), FORMULAS)
def test_formulas_come_back_identical(text, written):
    made = expression_document(parse(text), is_formula=True)
    assert isinstance(made, str)
    assert parse(made) == parse(text)
    assert written in (None, made)


def test_formula_with_symbols():
    document = expression_document(W * sp.erf(X), is_formula=True)
    assert document == {"expr": "w*erf(x)", "symbols": [{"symbol": "w"}]}
    assert expression(document, is_formula=True) == Parameter("w") * sp.erf(X)


def test_formula_whose_hyper_parameter_is_called_x():
    document = expression_document(Parameter("x") * sp.erf(X), is_formula=True)
    assert document == {"expr": "p0*erf(x)", "symbols": [{"symbol": "x", "as": "p0"}]}
    assert expression(document, is_formula=True) == Parameter("x") * sp.erf(X)


def test_factored_expressions_are_written_as_sympy_rebuilds_them():
    text = expression_document(sp.factor(2 * X + 2), is_formula=True)
    assert parse(text) == 2 * X + 2


@pytest.mark.parametrize("assumptions", [{}, {"real": True}, {"positive": True}, {"nonnegative": True}])
def test_symbols(assumptions):
    symbol = sp.Symbol("w_1", **assumptions)
    assert symbol_document(symbol) == {"symbol": "w_1"}
    assert expression(symbol_document(symbol)) == sp.Symbol("w_1", real=True)


def test_assumptions_of_old_documents_say_nothing():
    assert expression({"symbol": "w", "assume": "positive"}) == W


@pytest.mark.parametrize("symbol", [sp.Dummy("w"), sp.Symbol("w{1}"), sp.Symbol("a b"), sp.Symbol("get")])
def test_symbols_that_are_no_hyper_parameters(symbol):
    with pytest.raises(InvalidInput):
        symbol_document(symbol)


@pytest.mark.parametrize("expr", [sp.zeta(3), sp.besselj(0, X), sp.Piecewise((X, X > 1), (0, True)), X**60])
def test_expressions_that_text_cannot_hold(expr):
    with pytest.raises(UnsupportedExpr, match="cannot be written"):
        expression_document(expr, is_formula=True)


@pytest.mark.parametrize(("document", "part"), REFUSED)
def test_refused(document, part):
    with pytest.raises(NtkcError) as caught:
        expression(document)
    assert part in str(caught.value)
