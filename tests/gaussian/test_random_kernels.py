"""Kernels of random sums and products of activations: right numbers, or an error with the expression in it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import ntkc
from ntkc import stax
from ntkc.errors import NoClosedForm, NoInfiniteLimit, UnsupportedExpr
from ntkc.gaussian.normal_form import X
from ntkc.gaussian.numbers import on_array
from ntkc.gaussian.parse import parse

TOLERANCE = 1e-8
REACH, PANELS, NODES = 10, 48, 12
POINTS = ((0.5, 0.7, 0.3), (1.0, 2.0, -0.6), (0.1, 1.5, 0.8))
"""q1, q2, correlation."""
KINKED = ("relu", "abs", "sign", "step", "elu")
HEADS = (*KINKED, "gelu", "erf", "exp", "sin", "cos", "tanh", "sigmoid", "softplus", "silu")
SCALES = ("1", "-1", "1/2", "3/2", "-0.7", "2")
SHIFTS = ("0", "0", "0", "1", "-1/2", "0.3")


@st.composite
def leaves(draw):
    """(text, where it has a kink)."""
    a, b = draw(st.sampled_from(SCALES)), draw(st.sampled_from(SHIFTS))
    argument, kink = f"({a})*x + ({b})", -sp.Rational(b) / sp.Rational(a)
    kind = draw(st.sampled_from(("x", "x**2", "1/3", "gaussian", *HEADS)))
    if kind == "gaussian":
        return "exp(-x**2)", ()
    return (f"{kind}({argument})", (float(kink),) if kind in KINKED else ()) if kind in HEADS else (kind, ())


def joined(parts):
    operator, (left, first), (right, second) = parts
    return f"({left}) {operator} ({right})", (*first, *second)


EXPRESSIONS = st.recursive(
    leaves(), lambda inner: st.tuples(st.sampled_from("+-*"), inner, inner).map(joined), max_leaves=3
)


@functools.cache
def legendre():
    return np.polynomial.legendre.leggauss(NODES)


def line(q, kinks):
    """Nodes and weights of panels that meet at the kinks."""
    reach = REACH * np.sqrt(q)
    ends = np.unique([*np.linspace(-reach, reach, PANELS + 1), *(k for k in kinks if abs(k) < reach)])
    x, w = legendre()
    half = np.diff(ends)[:, None] / 2
    return (ends[:-1, None] + half * (1 + x)).ravel(), (half * w).ravel()


def normal(x, variance):
    return np.exp(-x * x / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def pair_expectation(f, kinks, q1, q2, k):
    (u, wu), (v, wv) = line(q1, kinks), line(q2, kinks)
    given_u = normal(v - k / q1 * u[:, None], q2 - k * k / q1)
    return (on_array(f, u) * normal(u, q1) * wu) @ given_u @ (on_array(f, v) * wv)


def second_moment(f, kinks, q):
    u, w = line(q, kinks)
    return float(np.sum(on_array(f, u) ** 2 * normal(u, q) * w))


def derivative(f):
    """f' almost everywhere."""
    return sp.diff(f, X).replace(sp.DiracDelta, lambda *_: sp.S.Zero)


def kernels(program, x1, x2):
    """K and T as the source says, without XLA's compilation of the whole."""
    with jax.disable_jit():
        return [np.asarray(v) for v in program.module["kernel"](x1, x2)]


def check(text, kinks):
    f = parse(text)
    if f.free_symbols != {X}:
        return
    try:
        program = ntkc.compile(stax.serial(stax.Dense(3), stax.Activation(f), stax.Dense(1)))
    except (NoClosedForm, NoInfiniteLimit, UnsupportedExpr) as error:
        if str(f) not in str(error):
            raise
        return
    q1, q2, rho = np.array(POINTS).T
    x1 = np.sqrt(2 * q1)[:, None] * np.array([1.0, 0.0])
    x2 = np.sqrt(2 * q2)[:, None] * np.stack([rho, np.sqrt(1 - rho**2)], 1)
    found_k, found_t = (np.diag(v) for v in kernels(program, jnp.asarray(x1), jnp.asarray(x2)))
    df = derivative(f)
    for i, (v1, v2, c) in enumerate(POINTS):
        k = c * np.sqrt(v1 * v2)
        value, slope = (pair_expectation(g, kinks, v1, v2, k) for g in (f, df))
        size, size_of_slope = (np.sqrt(second_moment(g, kinks, v1) * second_moment(g, kinks, v2)) for g in (f, df))
        assert abs(found_k[i] - value) <= TOLERANCE * size + 1e-13
        assert abs(found_t[i] - value - k * slope) <= TOLERANCE * (size + abs(k) * size_of_slope) + 1e-13


SETTINGS = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@pytest.mark.usefixtures("x64")
@settings(SETTINGS, max_examples=5)
@given(EXPRESSIONS)
def test_right_or_refused(example):
    check(*example)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("text", ["exp(x)*relu(-x)", "relu(x)*relu(-x)", "cos(x**2/2)"])
def test_found_before(text):
    check(text, (0.0,))


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@seed(1)
@settings(SETTINGS, max_examples=300)
@given(EXPRESSIONS)
def test_three_hundred_are_right_or_refused(example):
    check(*example)
