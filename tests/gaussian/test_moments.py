"""Exact moments against direct Isserlis sums and mpmath integrals."""

from itertools import combinations

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from ntkc.gaussian import moments
from ntkc.gaussian.dual import K12, Q1, Q2, dual, dual_of_derivatives
from ntkc.gaussian.moments import PLAIN, k, moment, one_sign_moment, q1, q2, t1, t2, two_sign_moment
from ntkc.gaussian.normal_form import X

NAMES = sp.symbols("q1 q2 k t1 t2")
VARIANCES = (1.3, 0.7, 0.45)


def pairings(items):
    """All ways to split items into pairs."""
    if not items:
        yield []
        return
    first, *others = items
    for i, second in enumerate(others):
        for rest in pairings(others[:i] + others[i + 1 :]):
            yield [(first, second), *rest]


def isserlis(n, m):
    """E[u^n v^m] as the sum over pairings of the products of their covariances."""
    between = {("u", "u"): Q1, ("v", "v"): Q2, ("u", "v"): K12}
    return sp.Add(*(sp.Mul(*(between[p] for p in pairing)) for pairing in pairings(["u"] * n + ["v"] * m)))


@pytest.mark.parametrize("n", range(5))
@pytest.mark.parametrize("m", range(5))
def test_moment_is_the_sum_of_pairings(n, m):
    expected = isserlis(n, m) if (n + m) % 2 == 0 else 0
    found = moment(n, m, PLAIN).as_expr().xreplace(dict(zip(NAMES, (Q1, Q2, K12), strict=False)))
    assert sp.expand(found - expected) == 0


rationals = st.fractions(min_value=-3, max_value=3, max_denominator=12)


def as_polynomial(coefficients):
    return sp.Add(*(sp.Rational(c.numerator, c.denominator) * X**i for i, c in enumerate(coefficients)))


def bilinear(f, h):
    """E[f(u) h(v)] by pairings, term by term."""
    terms = [
        a * b * isserlis(i[0], j[0])
        for i, a in sp.Poly(f, X).terms()
        for j, b in sp.Poly(h, X).terms()
        if (i[0] + j[0]) % 2 == 0
    ]
    return sp.expand(sp.Add(*terms))


@given(st.lists(rationals, min_size=1, max_size=5), st.lists(rationals, min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_polynomials(first, second):
    f, h = as_polynomial(first), as_polynomial(second)
    assert sp.expand(dual(f, h) - bilinear(f, h)) == 0
    assert sp.expand(dual_of_derivatives(f, h) - bilinear(sp.diff(f, X), sp.diff(h, X))) == 0


def noisy_sign(x, t):
    return mp.sign(x) if t == 0 else mp.erf(x / mp.sqrt(2 * t))


def substituted(element, noise1=0, noise2=0):
    values = dict(zip(NAMES, (*VARIANCES, noise1, noise2), strict=True))
    return mp.mpf(sp.N(element.as_expr().xreplace({s: sp.Float(v, 30) for s, v in values.items()}), 20))


@pytest.mark.parametrize("noise", [0, 0.4])
@pytest.mark.parametrize(("n", "m"), [(1, 0), (3, 0), (0, 1), (2, 1), (1, 2), (4, 3)])
def test_one_sign(n, m, noise):
    """E[u^n v^m s_t(u)], with E[v^m | u] by the moments of v given u."""
    v1, v2, c = VARIANCES
    rest = v2 - c * c / v1

    def inner(u):
        even = range(0, m + 1, 2)
        return mp.fsum(mp.binomial(m, i) * (c * u / v1) ** (m - i) * mp.fac2(i - 1) * rest ** (i // 2) for i in even)

    def integrand(u):
        return u**n * inner(u) * noisy_sign(u, noise) * mp.npdf(u, 0, mp.sqrt(v1))

    element = one_sign_moment(n, m, PLAIN, moments.FIELD.zero if noise == 0 else t1)
    found = substituted(element, noise) * mp.sqrt(2 / mp.pi) / mp.sqrt(v1 + noise)
    assert mp.almosteq(found, mp.quad(integrand, [-14, 0, 14]), 1e-12, 1e-12)


@pytest.mark.parametrize(("noise1", "noise2"), [(0, 0), (0.4, 0.25), (0, 0.3)])
@pytest.mark.parametrize(("n", "m"), [(0, 0), (1, 1), (2, 0), (0, 2), (2, 2), (1, 3)])
def test_two_signs(n, m, noise1, noise2):
    """E[u^n v^m s(u) s(v)] by quadrature in polar coordinates."""
    v1, v2, c = VARIANCES
    zero = moments.FIELD.zero
    pair = two_sign_moment(n, m, PLAIN, t1 if noise1 else zero, t2 if noise2 else zero)
    total1, total2 = v1 + noise1, v2 + noise2
    angle = substituted(pair.angle, noise1, noise2) * mp.asin(c / mp.sqrt(total1 * total2))
    root = substituted(pair.root, noise1, noise2) / mp.sqrt(total1 * total2 - c * c)
    integral = polar(lambda u, v: u**n * v**m * noisy_signs(u, noise1) * noisy_signs(v, noise2))
    assert mp.almosteq(2 / mp.pi * (angle + root), integral, 1e-12, 1e-12)


def noisy_signs(x, t):
    return np.sign(x) if t == 0 else erf(x / np.sqrt(2 * t))


def polar(function):
    """E[function(u, v)], by sectors that end where u or v is zero."""
    v1, v2, c = VARIANCES
    alpha, half = np.arccos(c / np.sqrt(v1 * v2)), np.pi / 2
    edges = np.array([-half, alpha - half, half, alpha + half, 3 * half])
    nodes, weights = np.polynomial.legendre.leggauss(80)
    a = (edges[:-1, None] + np.diff(edges)[:, None] * (nodes + 1) / 2).ravel()
    wa = (np.diff(edges)[:, None] * weights / 2).ravel()
    r, wr = 6 * (nodes + 1), 6 * weights
    u, v = np.sqrt(v1) * np.outer(np.cos(a), r), np.sqrt(v2) * np.outer(np.cos(a - alpha), r)
    return wa @ function(u, v) @ (wr * r * np.exp(-(r**2) / 2)) / (2 * np.pi)


def test_odd_moments_are_zero():
    for n, m in combinations(range(5), 2):
        if (n + m) % 2:
            assert moment(n, m, PLAIN) == 0
            assert two_sign_moment(n, m, PLAIN, t1, t2) == (0, 0)
        else:
            assert one_sign_moment(n, m, PLAIN, t1) == 0


def test_known_values():
    """Sheppard 1899: E[sign sign]; the mean of |u| v^2 sign(u) u; Gaussian fourth moments."""
    assert two_sign_moment(0, 0, PLAIN, moments.FIELD.zero, moments.FIELD.zero) == (1, 0)
    assert one_sign_moment(1, 0, PLAIN, moments.FIELD.zero) == q1
    assert moment(4, 0, PLAIN) == 3 * q1**2
    assert moment(2, 2, PLAIN) == q1 * q2 + 2 * k**2
