"""The gap forms are the arc-cosine kernels, and mixtures of x and |x| are recognised."""

import mpmath as mp
import pytest
import sympy as sp

from ntkc.gaussian.arc_cosine import ArcGap, ArcSlope, EvenGap, EvenSlope, Mixture, NearGap, recognise, recognise_slope
from ntkc.gaussian.dual import K12, Q1, Q2, dual, dual_of_derivatives
from ntkc.gaussian.functions import explicit
from ntkc.gaussian.parse import parse

DELTA = sp.Symbol("delta", positive=True)
GAPS = (sp.Rational(1, 10), sp.Rational(7, 10), sp.Integer(1), sp.Rational(8, 5), sp.Rational(39, 20))

MIXTURES = [
    ("relu(x)", "1/4", "1/4"),
    ("abs(x)", "0", "1"),
    ("0.2*min(x, 0) + max(x, 0)", "9/25", "4/25"),
    ("-relu(-x)", "1/4", "1/4"),
    ("3*abs(x) + x", "1", "9"),
    ("x + relu(x)", "9/4", "1/4"),
]
OTHERS = ["x", "erf(x)", "x**2", "relu(x)**2", "relu(x) + 1", "sign(x)", "relu(x) + erf(x)", "x*erf(x)"]


@pytest.mark.parametrize(("text", "linear", "bent"), MIXTURES)
def test_recognised(text, linear, bent):
    f = parse(text)
    found = recognise(dual(f), K12, Q1, Q2)
    assert found == Mixture(sp.sympify(linear), sp.sympify(bent))
    assert recognise_slope(dual_of_derivatives(f), K12, Q1, Q2) == found


@pytest.mark.parametrize("text", OTHERS)
def test_not_recognised(text):
    assert recognise(dual(parse(text)), K12, Q1, Q2) is None


@pytest.mark.parametrize("text", ["erf(x)", "x**2", "relu(x)**2", "x*erf(x)"])
def test_slopes_not_recognised(text):
    assert recognise_slope(dual_of_derivatives(parse(text)), K12, Q1, Q2) is None


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("text", [m[0] for m in MIXTURES])
def test_gap_and_slope_are_the_dual(text, gap):
    """1 - V / sqrt(V11 V22) and the dual of the derivatives, at any norms."""
    f, rho = parse(text), 1 - gap
    q1, q2 = sp.Rational(3, 2), sp.Rational(2, 5)
    mixture = recognise(dual(f), K12, Q1, Q2)
    values = {Q1: q1, Q2: q2, K12: rho * sp.sqrt(q1 * q2)}
    v = explicit(dual(f)).xreplace(values) / (mixture.total * sp.sqrt(q1 * q2))
    slope = explicit(dual_of_derivatives(f)).xreplace(values)
    nears = (False, True) if gap <= 1 else (False,)
    for near in nears:
        assert abs(sp.N(written_out(mixture.gap(gap, near)) - (1 - v), 25)) < 1e-20
        assert abs(sp.N(written_out(mixture.slope(gap, near)) - slope, 25)) < 1e-20


def written_out(expr):
    return expr.replace(lambda e: hasattr(e, "explicit"), lambda e: e.explicit())


@pytest.mark.parametrize(
    ("linear", "bent", "answer"), [("1/4", "1/4", True), ("0", "1", True), ("9/25", "4/25", False)]
)
def test_is_nonnegative(linear, bent, answer):
    assert Mixture(sp.sympify(linear), sp.sympify(bent)).is_nonnegative is answer


def test_derivative_of_the_gap_is_the_slope():
    assert sp.diff(ArcGap(DELTA), DELTA) == ArcSlope(DELTA)
    assert sp.simplify(sp.diff(ArcGap(DELTA).explicit(), DELTA) - ArcSlope(DELTA).explicit()) == 0
    assert isinstance(NearGap(DELTA), ArcGap)


@pytest.mark.parametrize("gap", GAPS)
def test_even_forms(gap):
    """E|u||v| and E[sign sign] of unit Gaussians."""
    rho = mp.mpf(1) - mp.mpf(gap.p) / gap.q
    mean = 2 / mp.pi * (mp.sqrt(1 - rho**2) + rho * mp.asin(rho))
    assert mp.almosteq(mp.mpf(sp.N(EvenGap(gap).explicit(), 30)), 1 - mean, 1e-13)
    assert mp.almosteq(mp.mpf(sp.N(EvenSlope(gap).explicit(), 30)), 2 / mp.pi * mp.asin(rho), 1e-13, 1e-13)
