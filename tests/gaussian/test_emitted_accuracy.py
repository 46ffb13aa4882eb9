"""Emitted closed forms against 60 digits at the very floats given: rho -> +-1, tiny, large and unequal variances."""

from fractions import Fraction
from functools import cache

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from test_closed_forms import CASES, JUMPS

from ntkc.gaussian.dual import K12, Q1, Q2, dual, dual_of_derivatives
from ntkc.gaussian.functions import Edge, Orthant, Ridge, explicit
from ntkc.gaussian.parse import parse
from ntkc.networks.arrays import function_of

BOUNDS = {np.float32: 4e-7, np.float64: 1e-14}
COSINES = (0, 0.3, -0.3, 0.9, -0.9, 0.99, -0.99, 1 - 1e-4, -1 + 1e-4, 1 - 2e-6, -1 + 2e-6, 1, -1)
VARIANCES = ((1, 1), (0.3, 5), (7, 7), (40, 0.01), (1e-4, 1e-4), (1e-12, 1), (1e3, 1e3), (1e6, 1e6), (1e6, 1e-4))
# x sin(x): terms of order q^2.
NAMES = [n for n, c in CASES.items() if set(c.kinks) <= {0} and not n.startswith("shifted")]
# The sum of a variance and 8 / pi rounds: an error of sqrt(q) eps.
LARGEST = {"x sin": 1, "sigmoid-like": 1e3}
SMALLEST = {"relu^4": 1e-5, "monomial": 1e-5}
"""Where x^8 and x^10 leave the range of float32."""


def places(name, dtype):
    """(k, q1, q2), k^2 <= q1 q2 for the floats themselves."""
    found = []
    for a, b in VARIANCES:
        if max(a, b) > LARGEST.get(name, float(CASES[name].largest)) or min(a, b) < SMALLEST.get(name, 0):
            continue
        q1, q2 = dtype(a), dtype(b)
        for rho in COSINES:
            k = dtype(rho * np.sqrt(float(q1) * float(q2)))
            while Fraction(float(k)) ** 2 > Fraction(float(q1)) * Fraction(float(q2)):
                k = np.nextafter(k, dtype(0))
            found.append((k, q1, q2))
    return np.array(found, dtype)


@cache
def emitted(name, is_slope):
    """The formula, 60-digit numbers of it, and its JAX function of (k, q1, q2)."""
    f = parse(CASES[name].text)
    expr = dual_of_derivatives(f) if is_slope else dual(f)
    value = function_of(expr + 0 * K12, (K12, Q1, Q2))
    steps = {f.__name__: f.number for f in (Orthant, Edge, Ridge)}
    return sp.lambdify((K12, Q1, Q2), explicit(expr), [steps, "mpmath"]), value


def misses(name, is_slope, where, got):
    """|V - exact| / sqrt(V(q1, q1, q1) V(q2, q2, q2)) at each place."""
    exact, _ = emitted(name, is_slope)
    with mp.workdps(60):
        own = {q: mp.re(exact(q, q, q)) for q in map(mp.mpf, {float(v) for v in where[:, 1:].ravel()})}
        rows = [tuple(map(mp.mpf, map(float, row))) for row in where]
        pairs = zip(rows, map(float, np.broadcast_to(got, len(rows))), strict=True)
        return np.array([float(abs(v - mp.re(exact(*r))) / mp.sqrt(own[r[1]] * own[r[2]])) for r, v in pairs])


def is_snapped(where):
    """k is within rounding of +-sqrt(q1 q2), and taken to be equal to it."""
    eps = np.finfo(where.dtype).eps
    rows = [[Fraction(float(v)) for v in row] for row in where]
    return np.array([q1 * q2 - k * k <= 5 * Fraction(float(eps)) * q1 * q2 for k, q1, q2 in rows])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", BOUNDS)
def test_value(name, dtype, x64):
    where = places(name, dtype)
    if name in JUMPS:
        where = where[~is_snapped(where)]
    got = jax.jit(emitted(name, False)[1])(*where.T)
    assert np.asarray(got).dtype == dtype or name == "constant"
    assert misses(name, False, where, got).max() <= BOUNDS[dtype]


# Pieces that grow like q cancel to what is bounded: an error of q eps. relu(x - 1) of a small q is all tail.
RANGES = {
    "shifted erf": (0, 1e3),
    "shifted gelu": (0, 1e3),
    "affine": (0, 10),
    "shifted relu": (0.1, 1e3),
    "hard tanh": (0, 5),
    "relu6": (0, 40),
}
THRESHOLD_BOUNDS = {np.float32: 1e-6, np.float64: 1e-14}


@pytest.mark.parametrize("name", [n if n == "hard tanh" else pytest.param(n, marks=pytest.mark.slow) for n in RANGES])
@pytest.mark.parametrize("dtype", BOUNDS)
def test_value_of_thresholds(name, dtype, x64):
    low, high = RANGES[name]
    where = places(name, dtype)
    where = where[((where[:, 1:] >= low) & (where[:, 1:] <= high)).all(1)]
    got = jax.jit(emitted(name, False)[1])(*where.T)
    assert misses(name, False, where, got).max() <= THRESHOLD_BOUNDS[dtype]


def test_every_case_is_measured():
    assert {*NAMES, *RANGES} == set(CASES)


@pytest.mark.parametrize("name", sorted(JUMPS))
@pytest.mark.parametrize("dtype", BOUNDS)
def test_jumps_at_equal_inputs(name, dtype, x64):
    """arcsin has an infinite slope at 1: a k within 4 eps of its bound stands for the bound."""
    where = places(name, dtype)
    error = misses(name, False, where, emitted(name, False)[1](*where.T))
    assert error[is_snapped(where)].max() <= 2 * np.sqrt(5 * np.finfo(dtype).eps) / np.pi


LONG = {"gaussian exp", "gaussian erf", "gabor", "cut gaussian", "relu + gelu", "x gaussian", "x sin", "x^2 erf"}


def slow_where(is_long):
    return [pytest.param(n, marks=pytest.mark.slow) if is_long(n) else n for n in NAMES]


@pytest.mark.parametrize("name", slow_where(LONG.__contains__))
def test_finite_gradients(name, x64):
    for dtype in BOUNDS:
        edges = [[0, 0, 0], [0, 0, 1], [0, 1, 0], [1e-12, 1e-12, 1e-12], [-1e-12, 1e-12, 1e-12]]
        where = np.concatenate([places(name, dtype), np.array(edges, dtype)])
        for is_slope in (False, True):
            value = emitted(name, is_slope)[1]
            slopes = jax.jit(jax.vmap(jax.grad(lambda k, q1, q2, f=value: f(k, q1, q2) + 0 * k, (0, 1, 2))))(*where.T)
            bad = where[~np.isfinite(np.array(slopes)).all(0)]
            assert not len(bad), (is_slope, dtype, bad)


@pytest.mark.parametrize("name", slow_where(lambda n: n not in ("gelu", "x^2 erf", "sign", "relu^2", "gaussian erf")))
def test_jit_equals_eager(name, x64):
    for dtype in BOUNDS:
        where = places(name, dtype)
        value = emitted(name, False)[1]
        fast, plain = (np.asarray(f(*map(jnp.asarray, where.T))) for f in (jax.jit(value), value))
        own = [np.asarray(value(*map(jnp.asarray, where.T[[i, i, i]]))) for i in (1, 2)]
        scale = np.sqrt(own[0]) * np.sqrt(own[1])
        assert np.all(np.abs(fast - plain) <= 10 * np.finfo(dtype).eps * scale)
