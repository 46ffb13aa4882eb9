"""Special functions of the runtime against mpmath, at random points and at their edges, with derivatives."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from ntkc import runtime as rt

mp.mp.dps = 30
pytestmark = pytest.mark.usefixtures("x64")
GAPS = [0.0, 1e-12, 1e-3, 0.5, 1.0, 1.7, 2 - 1e-9, 2.0]
PAIRS = [(0.3, 1.0, 2.0), (-0.9, 1.0, 1.0), (0.999999, 1.0, 1.0), (0.0, 0.5, 3.0), (1.2, 1.5, 1.1)]


def kappa0(delta):
    return 1 - mp.acos(1 - mp.mpf(delta)) / mp.pi


def kappa1(delta):
    rho = 1 - mp.mpf(delta)
    return (mp.sqrt(1 - rho**2) + (mp.pi - mp.acos(rho)) * rho) / mp.pi


@pytest.mark.parametrize("delta", GAPS)
def test_arc_cosine(delta):
    gap, slope = rt.arc_cosine(jnp.asarray(delta))
    np.testing.assert_allclose(gap, float(1 - kappa1(delta)), rtol=1e-14, atol=1e-300)
    np.testing.assert_allclose(slope, float(kappa0(delta)), rtol=1e-14, atol=1e-16)
    np.testing.assert_allclose(rt.angle_over_pi(jnp.asarray(delta)), float(1 - kappa0(delta)), rtol=1e-14, atol=1e-300)
    even, sign = rt.arc_cosine_even(jnp.asarray(delta))
    np.testing.assert_allclose(even, float(1 - kappa1(delta) - kappa1(2 - mp.mpf(delta))), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(sign, float(2 * kappa0(delta) - 1), rtol=1e-13, atol=1e-15)
    if delta <= 1:
        assert rt.arc_cosine_near(jnp.asarray(delta)) == (gap, slope)


def test_the_derivative_of_an_angle_is_finite_at_its_end():
    slope = jax.vmap(jax.grad(rt.arccos_over_pi))(jnp.asarray([0.0, 1e-6, 0.5, 1.0]))
    expected = [0] + [float(mp.diff(lambda t: mp.acos(1 - t) / mp.pi, t)) for t in (1e-6, 0.5)] + [1 / np.pi]
    np.testing.assert_allclose(slope, expected, rtol=1e-12)


@pytest.mark.parametrize(("k", "q1", "q2"), PAIRS)
def test_root_and_angle(k, q1, q2):
    minor = mp.mpf(q1) * q2 - mp.mpf(k) ** 2
    arguments = [jnp.asarray(v) for v in (k, q1, q2)]
    np.testing.assert_allclose(rt.exact_minor(*arguments), float(minor), rtol=1e-12)
    np.testing.assert_allclose(rt.root(*arguments), float(mp.sqrt(minor)), rtol=1e-12)
    np.testing.assert_allclose(rt.angle(*arguments), float(mp.asin(k / mp.sqrt(mp.mpf(q1) * q2))), rtol=1e-14)
    slopes = jax.grad(rt.angle, (0, 1, 2))(*arguments)
    exact = [
        mp.diff(lambda *a: mp.asin(a[0] / mp.sqrt(a[1] * a[2])), (k, q1, q2), n) for n in np.eye(3, dtype=int).tolist()
    ]
    np.testing.assert_allclose(slopes, [float(e) for e in exact], rtol=1e-9)


def test_roots_of_nothing():
    zero = jnp.zeros(())
    assert rt.ratio(zero, zero) == 0
    assert rt.safe_sqrt(zero) == jax.grad(rt.safe_sqrt)(zero) == 0
    assert rt.root(jnp.asarray(1.0), jnp.asarray(1.0), jnp.asarray(1.0)) == 0
    assert rt.cosine(zero, zero, zero) == 0
    assert rt.gap_of(jnp.asarray(1 - 1e-16), jnp.asarray(1.0)) == rt.gap_of_cosine(jnp.asarray(1 + 1e-16)) == 0


@pytest.mark.parametrize("b", [1e-9, 0.5, 3.0, -2.0])
def test_exp_sinh(b):
    np.testing.assert_allclose(
        rt.exp_sinh(jnp.asarray(-1.5), jnp.asarray(b)), float(mp.exp(-1.5) * mp.sinh(b)), rtol=1e-14
    )


@pytest.mark.parametrize("near", [1e-14, 1e-3, 1.0, 1.9])
def test_the_angles_of_erf(near):
    q1, q2 = mp.mpf("1.3"), mp.mpf("1.3") * (1 + mp.mpf(near) / 7)
    eta, d = near * (q1 + q2) / 2, q1 - q2
    k = (q1 + q2) / 2 - eta
    angle = mp.acos(k / mp.sqrt((1 + q1) * (1 + q2))) - sum(mp.acos(q / (1 + q)) for q in (q1, q2)) / 2
    total = mp.pi - sum(mp.acos(q / (1 + q)) for q in (q1, q2))
    r1, r2 = (mp.sqrt(1 + 2 * q) - 1 for q in (q1, q2))
    given = [jnp.asarray(float(v)) for v in (eta, d, q1, q2, r1, r2, total)]
    np.testing.assert_allclose(rt.angle_gap(*given), float(angle), rtol=1e-13)
    np.testing.assert_allclose(rt.span(*given[:4]), float(mp.sqrt((1 + q1) * (1 + q2) - k**2)), rtol=1e-14)


def orthant(k, q1, q2, c1, c2):
    """4 P(u > c1, v > c2) by quadrature over u."""
    spread = mp.sqrt(q2 - k**2 / q1)

    def above(u):
        density = mp.exp(-u * u / (2 * q1)) / mp.sqrt(2 * mp.pi * q1)
        return density * mp.erfc((c2 - k * u / q1) / spread / mp.sqrt(2)) / 2

    return 4 * mp.quad(above, [c1, c1 + 1, c1 + 4, c1 + 20])


@pytest.mark.parametrize("c", [(0.0, 0.0), (0.7, -0.4), (-1.5, 2.0)])
@pytest.mark.parametrize(("k", "q1", "q2"), [(0.3, 1.0, 2.0), (-0.7, 1.1, 0.8)])
def test_steps(k, q1, q2, c):
    given = [jnp.asarray(v) for v in (k, q1, q2)]
    np.testing.assert_allclose(rt.orthant(*given, *c), float(orthant(k, q1, q2, *map(mp.mpf, c))), rtol=1e-10)
    value, edge1, _, ridge = rt.steps(*given, *c)
    np.testing.assert_allclose(value, rt.orthant(*given, *c), rtol=1e-14)
    slope = jax.grad(rt.orthant)(*given, *c)
    np.testing.assert_allclose(slope, ridge / (q1 * q2 - k * k), rtol=1e-12)
    np.testing.assert_allclose(jax.grad(rt.orthant, 3)(*given, *map(jnp.asarray, c)), -edge1, rtol=1e-12)


def test_series_of_tanh():
    q = jnp.asarray([0.5, 2.0])
    h = rt.coefficients(jnp.tanh, q)
    chunks = rt.chunks_needed(h)
    made = rt.hermite_sum(h[:, :, None], h[:, None, :], jnp.full((2, 2), 0.6), chunks, chunks)
    second = float(mp.quad(lambda z: mp.tanh(mp.sqrt(2) * z) ** 2 * mp.npdf(z), [-12, -3, 0, 3, 12]))
    np.testing.assert_allclose(rt.gaussian_mean(lambda x: jnp.tanh(x) ** 2, q)[1], second, rtol=1e-12)
    np.testing.assert_allclose(jnp.sum(h * h, 0)[1], second, rtol=1e-9)
    x = np.random.default_rng(0).standard_normal((2, 400_000))
    u, v = np.sqrt(0.5) * x[0], np.sqrt(2) * (0.6 * x[0] + 0.8 * x[1])
    np.testing.assert_allclose(made[0, 1], np.mean(np.tanh(u) * np.tanh(v)), atol=3e-3)


def test_a_tolerance_shortens_a_series():
    q = jnp.asarray([30.0])
    short, long = (rt.coefficients(jnp.tanh, q, {"float32": t, "float64": t}) for t in (1e-2, 1e-12))
    assert np.count_nonzero(short) < np.count_nonzero(long)
    assert rt.chunks_needed(long, {"float64": 1e-2}) < rt.chunks_needed(long)


def test_the_derivative_of_a_series_has_pixels_too():
    h = rt.of_pixels(rt.coefficients, jnp.tanh, jnp.asarray([[0.5, 1.0], [0.7, 2.0]]))
    chunks = rt.of_pixels(rt.chunks_needed, h)
    h1, h2, c = h[..., :, None], h[..., None, :], chunks[..., :, None]

    def value(rho):
        return jnp.sum(rt.hermite_sum(h1, h2, rho, c, c))

    rho = jnp.full((2, 2, 2), 0.4)
    step = (value(rho + 1e-6) - value(rho - 1e-6)) / 2e-6
    np.testing.assert_allclose(jnp.sum(jax.grad(value)(rho)), step, rtol=1e-7)
