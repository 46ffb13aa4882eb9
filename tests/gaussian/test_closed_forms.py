"""Closed forms  =  two-dimensional quadrature to 1e-20 in 30 digits, each derived from its expression."""

import random
from math import log10
from typing import NamedTuple

import mpmath as mp
import pytest
import sympy as sp
from quadrature import Table, expectation

from ntkc.gaussian.dual import K12, Q1, Q2, dual, dual_of_derivatives
from ntkc.gaussian.normal_form import X
from ntkc.gaussian.parse import parse

DIGITS = 30
BOUND = mp.mpf("1e-20")


class Case(NamedTuple):
    """A function; its kinks, the scale on which it is smooth at 0, the largest variance that the panels hold."""

    text: str
    kinks: tuple[float, ...] = ()
    scale: str = "1"
    largest: str = "1e6"
    smallest: str = "1e-12"
    panels: int = 4


CASES = {
    "constant": Case("2 + 0*x", largest="100"),
    "cubic": Case("1/2 - x + x**2/4 + x**3/10", panels=5),
    "hermite": Case("x**4 - 6*x**2 + 3", panels=5),
    "monomial": Case("x**5", panels=5),
    "exp": Case("exp(x/2)", largest="1", panels=5),
    "sin": Case("2*sin(x + 3/10)", largest="9"),
    "cos": Case("cos(4*x/5)", largest="9"),
    "rbf": Case("sqrt(2)*sin(sqrt(2)*x + pi/4)", largest="9"),
    "gaussian": Case("exp(-x**2/2)", scale="0.5"),
    "x gaussian": Case("x*exp(-x**2)", scale="0.5"),
    "gabor": Case("exp(-x**2)*sin(x)", scale="0.5"),
    "gaussian exp": Case("x**2*exp(-x**2 + x/2)", scale="0.5"),
    "x sin": Case("x*sin(x)", largest="4"),
    "swell": Case("x*exp(x/3)", largest="1", panels=5),
    "erf": Case("erf(x)"),
    "probit": Case("(1 + erf(x/sqrt(2)))/2"),
    "sigmoid-like": Case("(1 + erf(sqrt(pi)/4*x))/2"),
    "gelu": Case("gelu(x)"),
    "small gelu": Case("3*gelu(6*x/5)/10"),
    "shifted erf": Case("2*erf(3*x/2 - 1) + 1", scale="0.25"),
    "shifted gelu": Case("gelu(x + 1/2)", scale="0.25"),
    "x erf": Case("x*erf(x)"),
    "x^2 erf": Case("x**2*erf(x)", panels=5),
    "gaussian erf": Case("exp(-x**2/2)*erf(x)", scale="0.5"),
    "relu": Case("relu(x)", (0,)),
    "leaky relu": Case("max(x, 0) + min(x, 0)/5", (0,)),
    "abrelu": Case("3*max(x, 0)/2 - min(x, 0)/4", (0,)),
    "abs": Case("abs(x)", (0,)),
    "sign": Case("sign(x)", (0,)),
    "step": Case("(1 + sign(x))/2", (0,)),
    "relu^2": Case("relu(x)**2", (0,)),
    "relu^3": Case("relu(x)**3", (0,), panels=5),
    "relu^4": Case("relu(x)**4", (0,), panels=5),
    "x + relu": Case("x + relu(x)", (0,)),
    "relu + gelu": Case("relu(x) + gelu(x)", (0,)),
    "x relu": Case("(1 + x)*relu(x) - x", (0,)),
    "cut gaussian": Case("exp(-x**2/2)*relu(x)", (0,), "0.5"),
    "shifted relu": Case("relu(x - 1)", (1,), smallest="0.05"),
    "hard tanh": Case("min(max(x, -1), 1)", (-1, 1)),
    "relu6": Case("min(max(x, 0), 6)", (0, 6)),
    "affine": Case("2*relu(3*x/2 + 1) - abs(1 - x)/3", (-2 / 3, 1)),
}
JUMPS = {"sign", "step"}


def table(f, case):
    return Table(f, [sp.Rational(c).limit_denominator(100) for c in case.kinks], scale=case.scale)


def random_points(case, count):
    """q1 and q2 log-uniform, rho uniform."""
    draw = random.Random(case.text)
    high = min(float(case.largest), 100.0)
    low = max(-4.0, log10(float(case.smallest) / high))
    for _ in range(count):
        q1, q2 = (sp.Rational(str(round(high * 10 ** draw.uniform(low, 0), 9))) for _ in range(2))
        yield q1, q2, sp.Rational(str(round(draw.uniform(-1, 1) * float(sp.sqrt(q1 * q2)), 9)))


def edge_points(case):
    """rho -> +-1, equal and opposite, independent, tiny, large and very unequal."""
    one, top, tiny = sp.Rational("0.7"), sp.Rational(case.largest), sp.Rational(case.smallest)
    for rho in ("1e-2", "1e-4", "1e-6", "1e-12"):
        yield one, one, one * (1 - sp.Rational(rho))
        yield one, 4 * one, -2 * one * (1 - sp.Rational(rho))
    yield from ((one, one, one), (one, one, -one), (4 * one, one, 2 * one), (one, 4 * one, -2 * one))
    yield from ((one, one, sp.S.Zero), (tiny, tiny, tiny / 2), (tiny, one, tiny / 10), (one, tiny, -tiny / 10))
    yield from (
        (top, top, top * (1 - sp.Rational("1e-12"))),
        (top, top / 2, -top / 2),
        (top, tiny, tiny),
        (tiny, top, -tiny),
    )


def value(expr, q1, q2, k):
    number = sp.N(expr.xreplace({Q1: q1, Q2: q2, K12: k}), DIGITS)
    # At rho = 1 the argument of an arc sine may round to 1 + 1e-40.
    return mp.mpf(str(sp.re(number)))


def miss(expr, tables, case, place):
    """|V - quadrature| / sqrt(V(q1, q1, q1) V(q2, q2, q2))."""
    with mp.workdps(DIGITS):
        scale = mp.sqrt(value(expr, *place[:1] * 3) * value(expr, *place[1:2] * 3))
        numbers = (mp.mpf(p.p) / p.q for p in place)
        return abs(value(expr, *place) - expectation(*tables, *numbers, case.panels)) / scale


def worst(name, places, is_slope):
    case = CASES[name]
    f = parse(case.text)
    expr = dual_of_derivatives(f) if is_slope else dual(f)
    if expr == 0:
        return 0
    found = table(sp.diff(f, X) if is_slope else f, case)
    return max(miss(expr, (found, found), case, p) for p in places)


@pytest.mark.parametrize("name", CASES)
def test_value_at_one_point(name):
    assert worst(name, random_points(CASES[name], 1), False) <= BOUND


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_value_at_random_points(name):
    assert worst(name, random_points(CASES[name], 50), False) <= BOUND


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_value_at_edges(name):
    assert worst(name, edge_points(CASES[name]), False) <= BOUND


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_slope(name):
    """E[f'(u) f'(v)]."""
    places = [*random_points(CASES[name], 10), *edge_points(CASES[name])]
    assert worst(name, places, True) <= BOUND


@pytest.mark.parametrize("name", sorted(set(CASES) - JUMPS))
def test_price(name):
    """E[f'(u) f'(v)] = dV/dk."""
    f = parse(CASES[name].text)
    ((q1, q2, k),) = random_points(CASES[name], 1)
    step = sp.Rational(1, 10**15)
    with mp.workdps(50):
        ends = (dual(f).xreplace({Q1: q1, Q2: q2, K12: k + s * step}) for s in (1, -1))
        high, low = (mp.mpf(str(sp.N(e, 50))) for e in ends)
        slope = value(dual_of_derivatives(f), q1, q2, k)
        assert abs((high - low) / (2 * mp.mpf(step.p) / step.q) - slope) <= BOUND * (1 + abs(slope)) * 100


def test_quadrature_against_arc_sines():
    """E[sign(u) sign(v)] = 2/pi arcsin(rho), and Williams 1997 for erf."""
    sign, erf = Table(sp.sign(X), [0]), Table(sp.erf(X))
    for q1, q2, k in (("100", "0.01", "0.3"), (3, 3, "2.999999999997")):
        with mp.workdps(DIGITS):
            q1, q2, k = map(mp.mpf, (q1, q2, k))
            assert abs(expectation(sign, sign, q1, q2, k) - 2 / mp.pi * mp.asin(k / mp.sqrt(q1 * q2))) < 1e-22
            expected = 2 / mp.pi * mp.asin(2 * k / mp.sqrt((1 + 2 * q1) * (1 + 2 * q2)))
            assert abs(expectation(erf, erf, q1, q2, k) - expected) < 1e-22
