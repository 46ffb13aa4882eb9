"""Dual activations against mpmath quadrature in polar coordinates, and their derivatives against Price's theorem."""

import itertools
from functools import cache

import mpmath as mp
import pytest
import sympy as sp

from ntkc.errors import NoClosedForm, NoInfiniteLimit
from ntkc.gaussian.dual import K12, Q1, Q2, dual, dual_of_derivatives, evaluate
from ntkc.gaussian.functions import explicit
from ntkc.gaussian.normal_form import X
from ntkc.gaussian.parse import parse

DIGITS = 20
ANGULAR, RADIAL, RADIUS = 32, 48, 10
TOLERANCE = 1e-10
# q1, q2 and the angle whose cosine is the correlation.
POINTS = [(0.7, 1.4, 1.1), (0.3, 2.0, 0.02), (1.2, 0.5, 3.12)]
# f, and f' where it is not sympy's own.
FUNCTIONS = {
    "relu": ("relu(x)", "Heaviside(x)"),
    "abs": ("abs(x)", "sign(x)"),
    "leaky": ("0.2*min(x, 0) + max(x, 0)", "0.6 + 0.4*sign(x)"),
    "erf": ("erf(x)", None),
    "x*erf": ("x*erf(x/2)", None),
    "gelu": ("gelu(x)", None),
    "exp": ("exp(0.4*x)", None),
    "sin": ("sin(x + 0.3)", None),
    "cos": ("cos(0.8*x)", None),
    "cubic": ("0.5 - x + x**2/4 + x**3/10", None),
    "gaussian": ("exp(-x**2)", None),
    "sign": ("sign(x)", "0*x"),
    "relu squared": ("relu(x)**2", "2*relu(x)"),
    "x + relu": ("x + relu(x)/2", "1 + Heaviside(x)/2"),
    "relu + erf": ("relu(x) + erf(x)", "Heaviside(x) + 2*exp(-x**2)/sqrt(pi)"),
    "cut gaussian": ("exp(-x**2/2)*relu(x)", "exp(-x**2/2)*(1 - x**2)*Heaviside(x)"),
    "gaussian erf": ("exp(-x**2/2)*erf(x)", None),
    "x sin": ("x*sin(x)", None),
    "gabor": ("exp(-x**2)*sin(x)", None),
    "swell": ("x*exp(0.3*x)", None),
}


@cache
def nodes(count):
    """Gauss-Legendre on [0, 1], by Newton's method."""
    with mp.workdps(DIGITS):
        found = []
        for i in range(count):
            x = mp.cos(mp.pi * (i + mp.mpf(3) / 4) / (count + mp.mpf(1) / 2))
            for _ in range(6):
                slope = count * (x * mp.legendre(count, x) - mp.legendre(count - 1, x)) / (x * x - 1)
                x -= mp.legendre(count, x) / slope
            found.append(((1 + x) / 2, 1 / ((1 - x * x) * slope**2)))
        return tuple(found)


@cache
def radii():
    """Radii and their weights with the density r exp(-r^2 / 2)."""
    return tuple((RADIUS * t, RADIUS * w * RADIUS * t * mp.exp(-((RADIUS * t) ** 2) / 2)) for t, w in nodes(RADIAL))


def expectation(f, h, q1, q2, alpha):
    """E[f(u) h(v)],  u = sqrt(q1) r cos(a),  v = sqrt(q2) r cos(a - alpha); sectors end where u or v is 0."""
    with mp.workdps(DIGITS):
        s1, s2, half = mp.sqrt(q1), mp.sqrt(q2), mp.pi / 2
        edges = [-half, alpha - half, half, alpha + half, 3 * half]
        total = mp.mpf(0)
        for low, high in itertools.pairwise(edges):
            for a, wa in nodes(ANGULAR):
                angle = low + (high - low) * a
                c1, c2 = s1 * mp.cos(angle), s2 * mp.cos(angle - alpha)
                for r, wr in radii():
                    total += (high - low) * wa * wr * f(c1 * r) * h(c2 * r)
        return total / (2 * mp.pi)


def numeric(text):
    return sp.lambdify(X, parse(text), ["mpmath", {"Heaviside": lambda x, at_zero=0: mp.mpf(x > 0), "sign": mp.sign}])


def derivative(name):
    text, slope = FUNCTIONS[name]
    return numeric(slope) if slope else sp.lambdify(X, sp.diff(parse(text), X), "mpmath")


def at(expr, q1, q2, k):
    """A dual activation as a number."""
    numbers = (sp.Float(v, 40) for v in (mp.mpf(q1), mp.mpf(q2), k))
    return mp.mpf(sp.N(explicit(evaluate(expr, *numbers)), 25))


def covariance(q1, q2, alpha):
    with mp.workdps(40):
        return mp.sqrt(mp.mpf(q1) * mp.mpf(q2)) * mp.cos(mp.mpf(alpha))


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_value(name, point):
    f = numeric(FUNCTIONS[name][0])
    found = at(dual(parse(FUNCTIONS[name][0])), *point[:2], covariance(*point))
    assert abs(found - expectation(f, f, *point)) <= TOLERANCE


@pytest.mark.parametrize("point", [POINTS[0], pytest.param(POINTS[2], marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives(name, point):
    df = derivative(name)
    found = at(dual_of_derivatives(parse(FUNCTIONS[name][0])), *point[:2], covariance(*point))
    assert abs(found - expectation(df, df, *point)) <= TOLERANCE * 10


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n != "sign"])
def test_price(name):
    """E[f' f'] = dV/dk wherever f does not jump."""
    f = parse(FUNCTIONS[name][0])
    value, slope = explicit(dual(f)), explicit(dual_of_derivatives(f))
    for q1, q2, k in [(0.7, 1.4, 0.4), (1.1, 0.6, -0.3), (0.5, 0.9, 0.05)]:
        numbers = {Q1: sp.Float(q1, 40), Q2: sp.Float(q2, 40)}
        by_price = sp.diff(value.xreplace(numbers), K12).xreplace({K12: sp.Float(k, 40)})
        difference = by_price - slope.xreplace({**numbers, K12: sp.Float(k, 40)})
        assert abs(sp.N(difference, 25)) < 1e-20


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slope_is_finite_on_the_diagonal(name):
    """E[f'^2] at k = q1 = q2 is what the diagonal of a Gram matrix holds."""
    df = derivative(name)
    slope = dual_of_derivatives(parse(FUNCTIONS[name][0])).xreplace({Q1: Q2, K12: Q2})
    found = mp.mpf(sp.N(explicit(slope).xreplace({Q2: sp.Rational(3, 4)}), 25))
    line = mp.quad(lambda x: df(x) ** 2 * mp.npdf(x, 0, mp.sqrt(0.75)), [-12, -1, 0, 1, 12])
    assert abs(found - line) <= TOLERANCE


MIXED = [("relu", "erf"), ("abs", "x*erf"), ("sin", "exp"), ("cubic", "relu"), ("gaussian", "cos"), ("sign", "leaky")]


@pytest.mark.parametrize(("left", "right"), MIXED)
def test_two_functions(left, right):
    texts = FUNCTIONS[left][0], FUNCTIONS[right][0]
    for q1, q2, alpha in POINTS:
        found = at(dual(*map(parse, texts)), q1, q2, covariance(q1, q2, alpha))
        assert abs(found - expectation(*map(numeric, texts), q1, q2, alpha)) <= TOLERANCE
        swapped = at(dual(*map(parse, texts[::-1])), q2, q1, covariance(q1, q2, alpha))
        assert abs(found - swapped) < 1e-20


REFUSED = [
    ("relu(exp(x) - 2)", NoClosedForm, r"which is no quadratic of x"),
    ("tanh(x)", NoClosedForm, r"no closed form is known for its factor tanh\(x\)"),
    ("erf(x)*erf(x)", NoClosedForm, r"erf\(x\)\*\*2"),
    ("exp(x)*relu(x)", NoClosedForm, r"times a kink or erf"),
    ("sin(x)*relu(x)", NoClosedForm, r"times a kink or erf"),
    ("sign(x)*erf(x)", NoClosedForm, r"sign times erf"),
    ("erf(x**2)", NoClosedForm, r"is not erf\(alpha x\)"),
    ("exp(x**3)", NoClosedForm, r"is not a quadratic"),
    ("1/(1 + x**2)", NoClosedForm, r"no closed form"),
    ("exp(x**2)", NoInfiniteLimit, r"second moment is infinite"),
    ("log(x)", NoClosedForm, r"no closed form"),
]


@pytest.mark.parametrize(("text", "error", "message"), REFUSED)
def test_refused(text, error, message):
    with pytest.raises(error, match=message):
        dual(parse(text))
