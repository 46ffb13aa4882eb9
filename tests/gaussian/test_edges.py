"""Kinks away from 0 and erf(a x + b): closed forms against quadrature split at the kinks, formulas against source."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from quadrature import Table, expectation

import ntkc
from ntkc import runtime, stax
from ntkc.errors import NoClosedForm
from ntkc.gaussian.dual import K12, Q1, Q2, dual, dual_of_derivatives
from ntkc.gaussian.functions import Edge, Orthant, Ridge
from ntkc.gaussian.normal_form import pieces
from ntkc.gaussian.parse import parse

FUNCTIONS = {
    "shifted relu": ("relu(x - 1)", [1]),
    "hard tanh": ("min(max(x, -1), 1)", [-1, 1]),
    "relu6": ("min(max(x, 0), 6)", [0, 6]),
    "hard swish": ("x*min(max(x + 3, 0), 6)/6", [-3, 3]),
    "soft shrink": ("relu(x - 1/2) - relu(-x - 1/2)", [-0.5, 0.5]),
    "two roots": ("abs(x**2 - 1)", [-1, 1]),
    "shifted step": ("Heaviside(x - 1)", [1]),
    "clipped square": ("max(min(x**2, 2), x)", [-(2**0.5), 0, 1, 2**0.5, 2]),
    "shifted erf": ("erf(x + 1)", []),
    "shifted gelu": ("gelu(x + 1/2)", []),
    "several": ("relu(x) + x*erf(2*x - 1) + relu(x + 2)", [-2, 0]),
}
POINTS = [(1.5, 2.0, 0.7), (0.3, 4.0, -1.0), (10.0, 0.1, 0.99)]


def at(expr, q1, q2, k, digits=25):
    return sp.N(expr.xreplace({Q1: sp.Rational(str(q1)), Q2: sp.Rational(str(q2)), K12: sp.Rational(str(k))}), digits)


def misses(name, places):
    """|V - quadrature| / sqrt(V(q1, q1, q1) V(q2, q2, q2)) in 30 digits."""
    text, kinks = FUNCTIONS[name]
    f = parse(text)
    table = Table(f, [sp.nsimplify(c, [sp.sqrt(2)]) for c in kinks], scale=0.25)
    with mp.workdps(30):
        for q1, q2, k in places:
            scale = mp.sqrt(number(at(dual(f), q1, q1, q1, 30)) * number(at(dual(f), q2, q2, q2, 30)))
            yield abs(number(at(dual(f), q1, q2, k, 30)) - expectation(table, table, str(q1), str(q2), str(k))) / scale


def number(value):
    return mp.mpf(str(value))


LONG = {"clipped square", "several"}
QUICK = [*sorted(set(FUNCTIONS) - LONG), *(pytest.param(n, marks=pytest.mark.slow) for n in sorted(LONG))]


@pytest.mark.parametrize("name", QUICK)
def test_against_quadrature(name):
    assert max(misses(name, POINTS[:1])) <= 1e-20


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_against_quadrature_at_more_points(name):
    assert max(misses(name, POINTS)) <= 1e-20


@pytest.mark.parametrize("name", [n for n in QUICK if n != "shifted step"])
def test_slope_is_the_derivative_in_k(name):
    f = parse(FUNCTIONS[name][0])
    assert pieces(f).is_continuous
    for q1, q2, k in POINTS:
        h = sp.Rational(1, 10**8)
        ends = [at(dual(f), q1, q2, sp.Rational(str(k)) + s * h, 40) for s in (1, -1)]
        assert float(at(dual_of_derivatives(f), q1, q2, k)) == pytest.approx(
            float((ends[0] - ends[1]) / (2 * h)), rel=1e-9
        )


def test_jumps_have_no_slope():
    assert dual_of_derivatives(parse("Heaviside(x - 1)")) == 0


@pytest.fixture
def emitted(x64):
    return vars(runtime)


COSINES = (0.0, 0.5, -0.5, 0.999, -0.999, 1 - 1e-6, 1.0, -1.0)
THRESHOLDS = ((0, 0), (1, 1), (1, -1), (-1, 2), (0, 1.5), (-3, 0), (6, -0.5))


FINE = [((1.0, 1.0, 0.0), m) for m in THRESHOLDS]
FINE += [((0.25, 4.0, rho), m) for rho in COSINES for m in THRESHOLDS[1:6:2]]
FINE += [((3.0, 3.5, rho), m) for rho in (*COSINES[3:5], *COSINES[6:]) for m in THRESHOLDS[::2]]


@pytest.mark.parametrize(("name", "function"), [("orthant", Orthant), ("edge", Edge), ("ridge", Ridge)])
def test_emitted_functions(name, function, emitted):
    places = np.array([(rho * np.sqrt(q1 * q2), q1, q2, *m) for (q1, q2, rho), m in FINE], float)
    with mp.workdps(18):
        expected = np.array([float(function.number(*map(mp.mpf, place))) for place in places])
    arguments = tuple(map(jnp.asarray, places.T))
    # At rho = 1 rounding of k alone moves S, the unit of all three, by its square root.
    bound = np.where(np.abs(places[:, 0]) < 0.9999 * np.sqrt(places[:, 1] * places[:, 2]), 1e-13, 3e-8)
    assert (np.abs(emitted[name](*arguments) - expected) <= bound).all()
    slopes = jax.vmap(jax.grad(emitted[name], range(5)))(*arguments)
    assert np.isfinite(slopes).all()


def test_emitted_slopes(emitted):
    place = np.array([0.7, 1.5, 2.0, 1.0, 0.5])
    slopes = jax.grad(emitted["orthant"], range(5))(*map(jnp.asarray, place))
    for i, slope in enumerate(slopes):
        step = 1e-6 * (np.arange(5) == i)
        ends = [emitted["orthant"](*map(jnp.asarray, place + s * step)) for s in (1, -1)]
        assert float(slope) == pytest.approx(float(ends[0] - ends[1]) / 2e-6, abs=1e-8)


MORE = [pytest.param(n, marks=pytest.mark.slow) for n in ("relu6", "shifted gelu", "hard tanh")]


@pytest.mark.parametrize("name", ["shifted step", *MORE])
def test_source_equals_formula(name, pair, x64):
    f = FUNCTIONS[name][0]
    program = ntkc.compile(stax.serial(stax.Dense(9, 1.3, 0.2), stax.Activation(f), stax.Dense(1)))
    x1, x2 = pair
    got = program(x1, x2, ("nngp", "ntk"))
    for i, j in ((0, 1), (2, 3), (4, 2)):
        symbols = {"q1": x1[i] @ x1[i] / 6, "q2": x2[j] @ x2[j] / 6, "k": x1[i] @ x2[j] / 6}
        for get in ("nngp", "ntk"):
            formula = program.formula(get)
            exact = formula.xreplace({s: sp.Float(symbols[s.name], 30) for s in formula.free_symbols})
            assert float(getattr(got, get)[i, j]) == pytest.approx(float(sp.N(exact, 20)), rel=1e-12)
    zeros = program(np.zeros((2, 6)), x2)
    assert np.isfinite(zeros.nngp).all()
    gradient = jax.grad(lambda x: program(x, x2, "ntk").sum())(jnp.asarray(np.vstack([x1, np.zeros(6)])))
    assert np.isfinite(gradient).all()


def test_wide_finite_network_of_hard_tanh(pair):
    x1, x2 = (np.float32(x) for x in pair)
    init, apply, kernel_fn = stax.serial(stax.Dense(100_000, 1.5, 0.3), stax.Activation(jax.nn.hard_tanh))
    hidden = [apply(init(jax.random.key(3), (-1, 6))[1], x) for x in (x1, x2)]
    estimate = hidden[0] @ hidden[1].T / 100_000
    np.testing.assert_allclose(estimate, kernel_fn(x1, x2, "nngp"), atol=5 / np.sqrt(100_000))


@pytest.mark.parametrize("text", ["relu(exp(x) - 2)", "relu(x - 1)*exp(x)", "relu(sin(x))"])
def test_what_stays_refused(text):
    with pytest.raises(NoClosedForm):
        dual(parse(text))
