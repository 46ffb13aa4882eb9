"""Hermite series: true errors lie below certified bounds, and bounds below what was asked."""

import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import sympy as sp

import ntkc
from ntkc import stax
from ntkc.errors import InvalidInput, NoClosedForm, SeriesNotConverged
from ntkc.gaussian.normal_form import X
from ntkc.gaussian.numbers import on_array, on_number
from ntkc.gaussian.parse import parse
from ntkc.gaussian.series import Series, certificate, series, stable
from ntkc.layers.pointwise import dual_or_series

TEXTS = ("tanh(x)", "sigmoid(x)", "softplus(x)", "silu(x)", "mish(x)", "tanh(x)*sin(x)", "1/cosh(x)")
VARIANCES = (0.1, 1.0, 3.0, 10.0)
COSINES = (0.0, 0.5, -0.5, 0.999, -0.999, 1.0, -1.0)


def function(text):
    return stable(parse(text))


def grid_expectation(f, q1, q2, rho):
    """E[f(u) f(v)] on a square grid of trapezoids, nothing of Hermite: exponentially accurate for analytic f."""
    step = 1 / 32
    z = step * np.arange(-13 * 32, 13 * 32 + 1)
    p = step * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    u = on_array(f, np.sqrt(q1) * z)
    v = on_array(f, np.sqrt(q2) * (rho * z[:, None] + np.sqrt(1 - rho * rho) * z[None, :]))
    return math.fsum(p * u * (v @ p))


@pytest.mark.parametrize("derivative", [False, True], ids=["f", "f'"])
@pytest.mark.parametrize("text", TEXTS)
def test_error_is_below_the_bound_and_the_bound_below_the_tolerance(text, derivative):
    f = sp.diff(function(text), X) if derivative else function(text)
    known = certificate(f)
    for q in VARIANCES:
        a, scale = known.coefficients(q), known.second_moment(q)
        for tolerance in (1e-6, 1e-10):
            terms = known.terms(q, tolerance)
            assert terms is not None, f"{text} at q = {q}: {tolerance} is out of reach"
            for rho in COSINES:
                value = np.polynomial.polynomial.polyval(rho, a[:terms] ** 2)
                bound = known.bound(q, q, rho, terms)
                floor = (terms + 4) * np.finfo(float).eps * scale
                assert bound <= tolerance * scale * (1 + 1e-9)
                assert abs(value - grid_expectation(f, q, q, rho)) <= bound + floor


@pytest.mark.slow
@pytest.mark.parametrize(("text", "q1", "q2", "rho"), [("tanh(x)", 1, 3, 0.5), ("silu(x)", 0.1, 1, -0.999)])
def test_grid_against_mpmath(text, q1, q2, rho):
    f = function(text)
    with mp.workdps(20):
        q1, q2, k = mp.mpf(q1), mp.mpf(q2), mp.mpf(rho) * mp.sqrt(mp.mpf(q1) * q2)
        exact = Series(sp.Lambda(X, f), sp.Lambda(X, f), *(sp.Float(str(v), 20) for v in (q1, q2, k))).evalf(16)
    assert grid_expectation(f, float(q1), float(q2), rho) == pytest.approx(float(exact), rel=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("text", ["tanh(x)", "softplus(x)"])
def test_emitted_code(text, dtype, x64):
    """One hidden layer, W_std 1: variances of 0.1 to 10, cosines of -1 to 1, zero rows too."""
    f = function(text)
    df = sp.diff(f, X)
    norms = np.sqrt(np.repeat(VARIANCES, 7) * 2)
    angles = np.tile(np.arccos(COSINES), 4)
    x1 = np.array([[np.sqrt(2 * q), 0.0] for q in VARIANCES] + [[0.0, 0.0]])
    x2 = np.stack([norms * np.cos(angles), norms * np.sin(angles)], 1)
    program = ntkc.compile(stax.serial(stax.Dense(9), stax.Activation(text), stax.Dense(1)))
    got = program(jnp.asarray(x1, dtype), jnp.asarray(x2, dtype), ("nngp", "ntk"))
    tolerance = 2e-6 if dtype == "float32" else 2e-10
    for i, q1 in enumerate((*VARIANCES, 0.0)):
        for j in range(len(x2)):
            q2, rho = float(norms[j] ** 2 / 2), float(np.cos(angles[j])) if q1 else 0.0
            k = grid_expectation(f, q1, q2, rho)
            t = k + np.sqrt(q1 * q2) * rho * grid_expectation(df, q1, q2, rho)
            scale = np.sqrt(certificate(f).second_moment(q1) * certificate(f).second_moment(q2)) + 1e-30
            slope = np.sqrt(q1 * q2 * certificate(df).second_moment(q1) * certificate(df).second_moment(q2))
            assert abs(float(got.nngp[i, j]) - k) <= tolerance * scale
            assert abs(float(got.ntk[i, j]) - t) <= tolerance * (scale + slope)


def test_depth_in_a_loop_equals_depth_written_out(pair, x64):
    layers = [stax.Dense(9, 1.3, 0.2), stax.Activation("tanh(x)")]
    rolled = ntkc.compile(stax.serial(*layers * 5, stax.Dense(1)))
    assert "lax.scan(turn" in rolled.source
    kernel = stax.serial(*layers * 2)[2](pair[0])
    for _ in range(3):
        kernel = stax.serial(*layers)[2](kernel)
    onward = stax.Dense(1)[2](kernel)
    np.testing.assert_allclose(rolled(pair[0]).ntk, onward.ntk, rtol=1e-9)


def test_gradients_are_finite_and_right(pair, x64):
    program = ntkc.compile(stax.serial(stax.Dense(9), stax.Activation("silu(x)"), stax.Dense(1)))
    x = jnp.asarray(np.vstack([pair[0], np.zeros(6)]))
    total = jax.jit(lambda x: jnp.sum(program(x, x[:3], "ntk") ** 2))
    gradient = jax.grad(total)(x)
    assert np.isfinite(gradient).all()
    step = np.zeros(x.shape)
    step[1, 2] = 1e-5
    slope = (total(x + step) - total(x - step)) / 2e-5
    np.testing.assert_allclose(gradient[1, 2], slope, rtol=1e-7)
    forward = jax.jvp(total, (x,), (jnp.asarray(step),))[1]
    np.testing.assert_allclose(forward, slope * 1e-5, rtol=1e-7)


def test_open_hyper_parameter(pair, x64):
    w = sp.Symbol("w")
    program = ntkc.compile(stax.serial(stax.Dense(9), stax.Activation(sp.tanh(w * sp.Symbol("x"))), stax.Dense(1)))
    fixed = ntkc.compile(stax.serial(stax.Dense(9), stax.Activation("tanh(0.7*x)"), stax.Dense(1)))
    np.testing.assert_allclose(program(*pair, "ntk", w=0.7), fixed(*pair, "ntk"), rtol=1e-12)
    slope = jax.grad(lambda w: program(*pair, "ntk", w=w)[0, 0])(0.7)
    ends = (program(*pair, "ntk", w=0.7 + h)[0, 0] for h in (1e-5, -1e-5))
    np.testing.assert_allclose(slope, (next(ends) - next(ends)) / 2e-5, rtol=1e-6)


def test_tolerance_is_asked_and_reported(pair):
    net = stax.serial(stax.Dense(9), stax.Activation("tanh(x)"))
    loose = ntkc.compile(net, tolerance=1e-3)
    assert 'TOLERANCE = {"float32": 0.001, "float64": 0.001}' in loose.source
    stage = next(s for s in loose.stages if s.stage == "series")
    assert "tanh(x): 4/10/18/44 terms for 0.001 at q = 0.1/1/3/10" in stage.what
    assert "terms for 0.001" in stage.what
    exact = ntkc.compile(net)
    np.testing.assert_allclose(loose(*pair).nngp, exact(*pair).nngp, atol=1e-3)
    for wrong in (0, -1e-6, 1.5, float("nan")):
        with pytest.raises(InvalidInput, match="tolerance"):
            ntkc.compile(net, tolerance=wrong)


def test_variances_beyond_reach_are_said():
    program = ntkc.compile(stax.serial(stax.Dense(9), stax.Activation("tanh(x)"), stax.Dense(1)))
    with pytest.warns(SeriesNotConverged, match="relative error of up to"):
        program(1e4 * np.eye(3, 4), get="nngp")


@pytest.mark.parametrize("text", ["relu(x)*sin(x)", "sign(x)*tanh(x)", "x/(1+abs(x))", "log(abs(x))"])
def test_kinks_are_refused_with_the_expression(text):
    with pytest.raises(NoClosedForm, match="Hermite series"):
        series(parse(text), parse(text), *sp.symbols("q1 q2 k"))


def test_closed_forms_stay_closed():
    for text in ("x*erf(x)", "relu(x) + x", "exp(-x^2)*x", "sin(x) + cos(2*x)"):
        assert not dual_or_series(parse(text), parse(text)).has(Series)


@pytest.mark.parametrize("text", [*TEXTS, "max(x, 0) - min(x, 1)", "abs(x)*sign(x)", "exp(x)/(1 + exp(x))", "3*x**-2"])
def test_array_and_number_evaluation_agree(text):
    f = function(text)
    x = np.array([-2.5, -0.3, 0.4, 7.0])
    expected = [float(on_number(f, v)) for v in x]
    np.testing.assert_allclose(on_array(f, x), expected, rtol=1e-13)
    np.testing.assert_allclose([float(parse(text).xreplace({X: sp.Float(v, 30)})) for v in x], expected, rtol=1e-12)


def test_sigmoids_do_not_overflow():
    x = np.array([-1e4, 1e4])
    for text in ("sigmoid(x)", "exp(x)/(1+exp(x))", "silu(x)", "softplus(x)", "mish(x)"):
        assert np.isfinite(on_array(function(text), x)).all()
        assert np.isfinite(on_array(sp.diff(function(text), X), x)).all()
