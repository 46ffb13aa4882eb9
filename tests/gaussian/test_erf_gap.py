"""erf-like kernels in half the squared distance: recognition, the helpers at edges, and their derivatives."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import sympy as sp

from ntkc.gaussian.dual import K12, Q1, Q2, dual, dual_of_derivatives
from ntkc.gaussian.erf_gap import AngleGap, ErfLike, Span, is_slope_of, recognise_erf
from ntkc.gaussian.parse import parse
from ntkc.runtime import angle_gap, span

GAP, SPAN = jax.jit(angle_gap), jax.jit(span)
SLOPES = {"gap": jax.jit(jax.grad(GAP, range(7))), "span": jax.jit(jax.grad(SPAN, range(4)))}


def test_only_one_angle_of_equal_noise_is_recognised():
    erf, slope = dual(parse("2*erf(3*x) + 1")), dual_of_derivatives(parse("2*erf(3*x) + 1"))
    found = recognise_erf(erf, K12, Q1, Q2)
    assert found == ErfLike(sp.S.One, 8 / sp.pi, sp.Rational(1, 18))
    assert is_slope_of(found, slope, K12, Q1, Q2)
    assert not is_slope_of(found, 2 * slope, K12, Q1, Q2)
    for text in ("sign(x)", "erf(x) + erf(2*x)", "x", "relu(x)", "x*erf(x)", "erf(x) + x"):
        assert recognise_erf(dual(parse(text)), K12, Q1, Q2) is None


def arguments(eta, q1, q2):
    """All seven of angle_gap from the three that matter, in mpmath's precision."""
    r1, r2 = (2 * q / (1 + mp.sqrt(1 + 2 * q)) for q in (q1, q2))
    return eta, q1 - q2, q1, q2, r1, r2, mp.asin(q1 / (1 + q1)) + mp.asin(q2 / (1 + q2))


def exact_gap(eta, q1, q2):
    k, alphas = (q1 + q2) / 2 - eta, [mp.acos(q / (1 + q)) for q in (q1, q2)]
    return mp.acos(k / mp.sqrt((1 + q1) * (1 + q2))) - mp.fsum(alphas) / 2


def exact_span(eta, q1, q2):
    return mp.sqrt((1 + q1) * (1 + q2) - ((q1 + q2) / 2 - eta) ** 2)


SIZES = ("1e-10", "1e-6", "1e-3", "1", "30", "1e4")
SHARES = ("0", "1e-14", "1e-7", "1e-3", "0.3", "0.9", "1", "1.4")
EDGES = [(share, q, ratio) for share in SHARES for q in SIZES for ratio in ("1", "1.0001", "1.5", "1e-6")]


def points():
    """(eta, q1, q2) with |k| <= sqrt(q1 q2): eta from the least that the norms allow to k < 0."""
    for share, size, ratio in EDGES:
        q1, q2 = mp.mpf(size), mp.mpf(size) * mp.mpf(ratio)
        least = (mp.sqrt(q1) - mp.sqrt(q2)) ** 2 / 2
        yield least + mp.mpf(share) * mp.sqrt(q1 * q2), q1, q2


def as_arrays(columns, dtype):
    return [jnp.asarray([float(v) for v in column], dtype) for column in zip(*columns, strict=True)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_at_edges(dtype):
    """Relative to the value itself: near-duplicates of any norms keep their digits."""
    with mp.workdps(60), jax.enable_x64(dtype == np.float64):
        exact = list(points())
        args = as_arrays([arguments(*p) for p in exact], dtype)
        gaps, spans = np.asarray(GAP(*args)), np.asarray(SPAN(*args[:4]))
        assert gaps.dtype == spans.dtype == dtype
        for (eta, q1, q2), gap, s in zip(exact, gaps, spans, strict=True):
            # A collinear pair of different norms has a determinant of zero, all of it rounding: sizes multiply that.
            rounding = 20 * np.finfo(dtype).eps * max(1, float(max(q1, q2)))
            assert abs(float(s) - exact_span(eta, q1, q2)) <= rounding * exact_span(eta, q1, q2)
            assert abs(float(gap) - exact_gap(eta, q1, q2)) <= rounding * exact_gap(eta, q1, q2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("q", [0.0, 1e-35, 1e-12, 1.0, 1e6, 1e15])
def test_duplicates_and_opposites(q, dtype):
    """eta = 0 gives 0, and eta = 2 q the sum of both own angles, whatever the size; all derivatives are finite."""
    with jax.enable_x64(dtype == np.float64):
        args = [jnp.asarray(float(v), dtype) for v in arguments(mp.mpf(0), mp.mpf(q), mp.mpf(q))]
        assert GAP(*args) == 0
        opposite = [2 * args[2], *args[1:]]
        assert float(GAP(*opposite)) == pytest.approx(float(args[-1]), rel=1e-6, abs=1e-30)
        for point in (args, opposite):
            assert np.isfinite(SLOPES["gap"](*point)).all()
            assert np.isfinite(SLOPES["span"](*point[:4])).all()


@pytest.mark.parametrize("eta", ["1e-23", "1e-22", "9e-22", "19e-22"])
def test_variances_whose_product_underflows(eta):
    """erf is linear there: eta -> eta."""
    args = as_arrays([arguments(mp.mpf(eta), mp.mpf("1e-21"), mp.mpf("1e-21"))], np.float32)
    assert float(GAP(*args)[0]) == pytest.approx(float(eta), rel=1e-5)


def test_one_zero_row():
    """u = 0: the angle is a right angle."""
    args = as_arrays([arguments(mp.mpf(q) / 2, mp.mpf(0), mp.mpf(q)) for q in SIZES], np.float32)
    for q, found in zip(SIZES, GAP(*args), strict=True):
        assert float(found) == pytest.approx(float(exact_gap(mp.mpf(q) / 2, mp.mpf(0), mp.mpf(q))), rel=1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("point", [(0, 0.4, 0.4), (0.1, 0, 0.2), (0.2, 0.5, 1.3), (1e-6, 2, 2), (2.4, 1.5, 1)])
def test_derivatives(point):
    """Of eta, q1 and q2 with all that depends on them."""
    args = [jnp.asarray(float(v)) for v in arguments(*map(mp.mpf, point))]
    for name, exact, count in (("gap", exact_gap, 7), ("span", exact_span, 4)):
        found = SLOPES[name](*args[:count])
        for place, order in ((0, (1, 0, 0)), (2, (0, 1, 0)), (3, (0, 0, 1))):
            derivative = mp.diff(exact, point, order) if min(point) > 0 else one_sided(exact, point, order)
            assert float(found[place]) == pytest.approx(float(derivative), rel=1e-10, abs=1e-10)


def one_sided(function, point, order):
    """mp.diff from above, for points at the end of the domain."""
    place = order.index(1)
    with mp.workdps(60):
        return mp.diff(lambda v: function(*[v if i == place else mp.mpf(p) for i, p in enumerate(point)]), point[place])


def test_opaque_functions_are_what_they_say():
    eta, d, q1, q2, r1, r2, total = map(sp.Float, ("0.2", "-0.8", "0.5", "1.3", "0.4", "0.9", "0.9"))
    point = (mp.mpf("0.2"), mp.mpf("0.5"), mp.mpf("1.3"))
    assert float(sp.N(AngleGap(eta, d, q1, q2, r1, r2, total))) == pytest.approx(float(exact_gap(*point)), rel=1e-14)
    assert float(sp.N(Span(eta, d, q1, q2))) == pytest.approx(float(exact_span(*point)), rel=1e-14)
