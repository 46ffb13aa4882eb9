"""Polynomials that change at steps away from 0, at variances far from the squares of their edges."""

import math

import jax
import numpy as np
import pytest

import ntkc
from ntkc import stax

# (f, variance, correlation): NNGP and NTK of Dense(1), f, Dense(1), by quadrature that is graded at the edges.
VALUES = [
    ("max(0, min(x, 1))**2", 1e4, 0.999, 0.4902026195188, 4.03642053463),
    ("max(0, min(x, 1))**2", 100, 0.9, 0.40162734368447, None),
    ("min(max(x, -1), 1)", 1e4, 1, 0.994680822785, None),
    ("min(max(x, -1), 1)", 1e4, 0.9, 0.712823608873, None),
    ("min(max(x, 0), 6)", 1e4, 1, 17.425729848, None),
    ("x*erf(3*x - 2)", 1, 1, None, 2.528459570751),
    ("x*erf(3*x - 2)", 10, 1, None, 22.706948441505),
    ("x*erf(3*x - 2)", 100, 1, None, 208.971908602),
]
PROGRAMS = {}


def program_of(text):
    if text not in PROGRAMS:
        PROGRAMS[text] = ntkc.compile(stax.serial(stax.Dense(1), stax.Activation(text), stax.Dense(1)))
    return PROGRAMS[text]


def samples(q, rho, dtype):
    x = np.sqrt(2 * q) * np.array([[1, 0], [rho, np.sqrt(1 - rho**2)]])
    return x.astype("float32").astype(dtype)


def check(case, dtype, bound):
    text, q, rho, nngp, ntk = case
    x1, x2 = samples(q, rho, dtype)
    made = program_of(text)(x1[None], x2[None], ("nngp", "ntk"))
    for found, expected in ((made.nngp, nngp), (made.ntk, ntk)):
        if expected is not None:
            assert float(found[0, 0]) == pytest.approx(expected, rel=bound)


@pytest.mark.parametrize("case", VALUES, ids=lambda c: f"{c[0]}, q={c[1]:g}")
def test_values_in_float32(case):
    check(case, "float32", 1e-6)


# Cubes of variances over edges cancel in the clipped square, whose bound at 1e4 is that of rounding.
@pytest.mark.parametrize("case", VALUES, ids=lambda c: f"{c[0]}, q={c[1]:g}")
def test_values_in_float64(case, x64):
    check(case, "float64", 3e-9 if case[:2] == ("max(0, min(x, 1))**2", 1e4) else 1e-10)


def tail_moment(q, rho):
    """E[(u - 1)_+ (v - 1)_+] by nested Gauss-Legendre quadrature of the conditional expectation."""
    from math import erfc, exp, pi, sqrt

    s, w = sqrt(q), sqrt(1 - rho**2)
    a = 1 / s
    z, weights = np.polynomial.legendre.leggauss(400)
    end = sqrt(a * a + 90)
    x = a + (end - a) * (z + 1) / 2

    def inner(m):
        t = (a - m) / w
        return w * (exp(-t * t / 2) / sqrt(2 * pi) - t * erfc(t / sqrt(2)) / 2)

    values = [(v - a) * inner(rho * v) * exp(-v * v / 2) / sqrt(2 * pi) for v in x]
    return q * float(np.dot(weights, values)) * (end - a) / 2


@pytest.mark.parametrize("q", [0.03, 0.1, 1, 100])
def test_shifted_relu_at_small_variances(q):
    x = samples(q, 0.5, "float32")
    made = np.asarray(program_of("relu(x - 1)")(x, None, "nngp"))
    assert abs(made[0, 1] - tail_moment(q, 0.5)) <= 1e-6 * np.sqrt(made[0, 0] * made[1, 1])


@pytest.mark.parametrize("text", ["min(max(x, -1), 1)", "x*erf(3*x - 2)"])
def test_gradients_are_differences(text, x64):
    x1, x2 = (v[None] for v in samples(2.0, 0.7, "float64"))
    program = program_of(text)

    def ntk(x):
        return program(x, x2, "ntk")[0, 0]

    h = 1e-5 * np.array([[0.3, -0.8]])
    difference = (ntk(x1 + h) - ntk(x1 - h)) / 2
    assert float(np.sum(jax.grad(ntk)(x1) * h)) == pytest.approx(float(difference), rel=1e-7)


def test_vmap_and_equal_rows():
    x = samples(1e4, 0.9, "float32")
    program = program_of("min(max(x, -1), 1)")
    whole = np.asarray(program(x, x, "ntk"))
    each = np.asarray(jax.vmap(lambda v: program(v[None], x, "ntk")[0])(x))
    np.testing.assert_allclose(each, whole, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(program(x, None, "ntk")), whole, rtol=1e-6)


def test_jumps_beside_kinks():
    x = samples(1e-3, 1.0, "float32")[:1]
    step = program_of("sign(x - 1/100) + sign(x + 3)")(x, None, "nngp")
    tail = (1 - math.erf(0.01 / np.sqrt(2e-3))) / 2
    assert float(step[0, 0]) == pytest.approx(4 * tail, rel=1e-6)
    both = program_of("sign(x - 1/100) + relu(x)")(x, None, ("nngp", "ntk"))
    assert float(both.ntk[0, 0] - both.nngp[0, 0]) == pytest.approx(1e-3 / 2, abs=2e-7)


def test_a_saved_module_has_all_that_it_reads(tmp_path):
    program = ntkc.compile(stax.serial(stax.Dense(1), stax.Activation("min(max(x, -1), 1)"), stax.Dense(1)))
    names = {}
    exec(program.save(tmp_path / "kernel.py").read_text(), names)
    x = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    np.testing.assert_allclose(names["ntk"](x), program(x, None, "ntk"), rtol=1e-6, atol=1e-6)
