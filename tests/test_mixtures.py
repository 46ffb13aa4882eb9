"""Networks that mix erf and kinks, on data of every size, near-duplicates and parallel rows among them."""

import jax
import mpmath as mp
import numpy as np
import pytest
import sympy as sp

from ntkc import stax
from ntkc.gaussian.erf_gap import Across, ArcSine, SineDistance, SineGap
from ntkc.runtime import across, arc_sine, sine_distance, sine_gap

pytestmark = pytest.mark.usefixtures("x64")


def dense(w=1.0, b=None):
    return stax.Dense(8, w, b)


NETS = {
    "relu, erf": (dense(1.5, 0.1), stax.Relu(), dense(), stax.Erf()),
    "erf, relu": (dense(1.5, 0.1), stax.Erf(), dense(), stax.Relu()),
    "erf, leaky, biases": (dense(1.5, 0.1), stax.Erf(), dense(1.0, 0.2), stax.LeakyRelu(0.1)),
    "erf, relu, erf": (dense(1.5), stax.Erf(), dense(1.2, 0.2), stax.Relu(), dense(2.0, 0.3), stax.Erf()),
    "erf": (dense(1.5, 0.1), stax.Erf(), dense(1.2), stax.Erf()),
    "rolled": (stax.serial(*[stax.serial(dense(1.5, 0.1), stax.Relu(), dense(1.2, 0.05), stax.Erf())] * 5),),
}


def rows():
    base = np.random.default_rng(0).normal(size=(3, 5))
    near = base[:2] + 1e-4 * np.random.default_rng(1).normal(size=(2, 5))
    return np.concatenate([base, near, 3 * base[:1], (1 + 1e-4) * base[:1]])


@pytest.mark.parametrize("name", NETS)
def test_float32_is_right_on_data_of_any_size(name):
    kernel_fn = stax.serial(*NETS[name], dense(1.0))[2]
    for size in (1e-5, 1.0, 255.0, 1e4, 1e9):
        x = (size * rows()).astype(np.float32)
        wide = kernel_fn(x.astype(np.float64), None, ("nngp", "ntk"))
        for ours, right in zip(kernel_fn(x, None, ("nngp", "ntk")), wide, strict=True):
            norm = np.sqrt(np.diag(right))
            assert np.all(np.isfinite(right))
            np.testing.assert_array_less(np.abs(ours - right) / np.outer(norm, norm), 2e-6)


def angles_of_mixture(x1, x2):
    """NNGP and NTK of Dense(1.5, .1), Relu, Dense, Erf, Dense in 50 digits."""
    with mp.workdps(50):
        w, b = mp.mpf(1.5) ** 2, mp.mpf(0.1) ** 2
        k, q1, q2 = (
            w * mp.fsum(mp.mpf(float(a)) * mp.mpf(float(c)) for a, c in zip(u, v, strict=True)) / len(u) + b
            for u, v in ((x1, x2), (x1, x1), (x2, x2))
        )
        angle = mp.acos(max(-1, min(1, k / mp.sqrt(q1 * q2))))
        slope = (mp.pi - angle) / (2 * mp.pi)
        relu = (mp.sqrt(q1 * q2) * mp.sin(angle) + (mp.pi - angle) * k) / (2 * mp.pi)
        tangent = relu + k * slope
        across = mp.sqrt((1 + q1) * (1 + q2) - 4 * relu**2)
        nngp = 2 / mp.pi * mp.asin(2 * relu / mp.sqrt((1 + q1) * (1 + q2)))
        return float(nngp), float(nngp + 4 / mp.pi / across * tangent)


@pytest.mark.parametrize("size", [1.0, 30.0, 255.0, 1e4, 1e10])
def test_a_mixture_against_fifty_digits(size):
    kernel_fn = stax.serial(*NETS["relu, erf"], dense(1.0))[2]
    x = (size * rows()[:4]).astype(np.float32)
    for dtype, bound in ((np.float32, 1e-6), (np.float64, 1e-12)):
        found = np.asarray(kernel_fn(x.astype(dtype), None, ("nngp", "ntk")))
        right = np.array([[angles_of_mixture(a, b) for b in x] for a in x]).transpose(2, 0, 1)
        norm = np.sqrt(np.diagonal(right, axis1=1, axis2=2))
        np.testing.assert_array_less(np.abs(found - right) / (norm[:, :, None] * norm[:, None]), bound)


def shares(q):
    """r, s, t, u of a variance over its noise."""
    return mp.sqrt(q / (1 + q)), 1 / mp.sqrt(2 * (1 + q)), mp.sqrt(1 + 2 * q) - 1, mp.asin(q / (1 + q))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_erf_in_gaps_loses_no_digits(dtype):
    """Errors of a gap count where a kink reads it, by its root; norms differ by up to 100 times."""
    draw, eps = np.random.default_rng(0), np.finfo(dtype).eps
    q1 = 10 ** draw.uniform(-8, 8, 200)
    q2 = q1 * np.where(draw.random(200) < 0.5, 1 + 10 ** draw.uniform(-7, 0, 200), 10 ** draw.uniform(-4, 4, 200))
    delta = np.where(draw.random(200) < 0.3, 0, 10 ** draw.uniform(-14, 0.3, 200)).astype(dtype)
    with mp.workdps(50):
        first, second = ([shares(mp.mpf(float(v))) for v in q] for q in (q1, q2))
        (r1, s1, t1, u1), (r2, s2, t2, u2) = (
            (np.array([[float(e) for e in row] for row in side]).T.astype(dtype)) for side in (first, second)
        )
        own = delta, r1, r2, s1, s2
        found = (
            across(*own),
            arc_sine(*own),
            sine_distance(*own, t1, t2, u1 + u2),
            sine_gap(*own, t1, t2, u1, u2),
        )
        for i, d in enumerate(mp.mpf(float(v)) for v in delta):
            # Of the shares as they were rounded: z is theirs.
            z = first[i][0] * second[i][0] * (1 - d)
            own1, own2 = first[i][3], second[i][3]
            a, norm = mp.asin(z), mp.sqrt(own1 * own2)
            right = mp.sqrt(1 - z * z), a, (own1 + own2) / 2 - a, 1 - a / norm
            scales = right[0], norm, own1 + own2, 1
            for made, value, scale in zip(found[:3], right, scales, strict=False):
                assert abs(mp.mpf(float(made[i])) - value) <= 8 * eps * scale
            assert abs(mp.sqrt(mp.mpf(float(found[3][i]))) - mp.sqrt(abs(right[3]))) <= 100 * eps


def test_functions_of_gaps_say_what_they_are():
    delta, r1, r2 = sp.Rational(1, 3), sp.Rational(1, 2), sp.Rational(2, 3)
    z = r1 * r2 * (1 - delta)
    own = delta, r1, r2, sp.S.Zero, sp.S.Zero
    assert Across(*own).evalf() == pytest.approx(float(sp.sqrt(1 - z**2)))
    assert ArcSine(*own).evalf() == pytest.approx(float(sp.asin(z)))
    assert SineDistance(*own, 0, 0, 1).evalf() == pytest.approx(float(0.5 - sp.asin(z)))
    assert SineGap(*own, 0, 0, 1, 4).evalf() == pytest.approx(float(1 - sp.asin(z) / 2))


def test_gradients_of_a_mixture_are_differences():
    kernel_fn = stax.serial(*NETS["erf, relu"], dense(1.0))[2]
    x1, x2 = (np.random.default_rng(i).normal(size=(1, 3)) for i in (1, 2))
    step = 1e-6 * np.eye(3)
    found = jax.grad(lambda a: kernel_fn(a, x2, "ntk")[0, 0])(x1)
    right = [(kernel_fn(x1 + s, x2, "ntk") - kernel_fn(x1 - s, x2, "ntk"))[0, 0] / 2e-6 for s in step]
    np.testing.assert_allclose(found[0], right, rtol=1e-6)
