"""Fixed points, critical lines and depth scales against published and elementary values."""

import math

import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import sympy as sp

import ntkc
from ntkc import stax
from ntkc.errors import InvalidInput, UnsupportedExpr
from ntkc.mean_field import B, C, Q, W


def test_relu_is_critical_at_the_he_point():
    relu = ntkc.meanfield(stax.Relu())
    assert sp.simplify(relu.variance_map - (W**2 * Q / 2 + B**2)) == 0
    assert relu.chi_1 == W**2 / 2
    assert relu.critical_line == (sp.sqrt(2), 0)
    assert relu.critical_W_std(0.0) == pytest.approx(math.sqrt(2), rel=1e-12)
    assert relu.phase(math.sqrt(2)) == "critical"
    assert math.isnan(relu.fixed_variances(math.sqrt(2))[0].value)
    with pytest.raises(InvalidInput, match="no critical point"):
        relu.critical_W_std(0.3)


def test_relu_below_the_he_point():
    relu = ntkc.meanfield("relu(x)")
    (point,) = relu.fixed_variances(1.0, 0.5)
    assert point.value == pytest.approx(0.5, rel=1e-12)  # b^2 / (1 - w^2 / 2)
    assert point.slope == pytest.approx(0.5, rel=1e-6)
    xi_q, xi_c = relu.depth_scales(1.0, 0.5)
    assert xi_q == pytest.approx(1 / math.log(2), rel=1e-6)
    assert xi_c == pytest.approx(1 / math.log(2), rel=1e-6)


def test_erf_critical_line_in_closed_form():
    erf = ntkc.meanfield(stax.Erf())
    w, b = erf.critical_line
    assert sp.simplify(w - sp.sqrt(sp.pi * sp.sqrt(4 * Q + 1)) / 2) == 0
    for b_std in (0.05, 0.3, 1.0):
        found = erf.critical_W_std(b_std)
        q = mp.findroot(lambda v, wanted=b_std: mp.mpf(str(b.subs(Q, v).evalf(20))) - wanted, 0.1 + b_std**2)
        assert found == pytest.approx(float(w.subs(Q, float(q))), rel=1e-9)
        assert erf.phase(found, b_std) == "critical"
        assert erf.phase(found * 0.9, b_std) == "ordered"
        assert erf.phase(found * 1.1, b_std) == "chaotic"
    assert erf.critical_W_std(0.0) == pytest.approx(math.sqrt(math.pi) / 2, rel=1e-12)


def test_tanh_critical_point_of_the_literature():
    """Pennington, Schoenholz and Ganguli 2017: tanh is critical at sigma_w = 1 without biases."""
    tanh = ntkc.meanfield(jnp.tanh)
    assert tanh.critical_W_std(0.0) == pytest.approx(1.0, abs=1e-6)
    assert tanh.chi(0.9) < 1 < tanh.chi(1.1)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["erf(x)", "tanh(x)"])
def test_maps_are_what_deep_kernels_do(text, x64):
    """The diagonal of a deep NNGP goes to q*, its cosines to c*, and the rate is the depth scale."""
    w, b = 1.5, 0.1
    mean_field = ntkc.meanfield(text)
    x = np.array([[1.0, 0.0, 0.3], [0.8, 0.9, 0.0]])
    (variance,) = (p for p in mean_field.fixed_variances(w, b) if p.is_stable)
    cosine = next(p for p in mean_field.fixed_correlations(w, b) if p.is_stable)
    deep = []
    for depth in (40, 41):
        net = stax.serial(*[stax.Dense(1, w, b), stax.Activation(text)] * depth, stax.Dense(1, w, b))
        k = np.asarray(ntkc.compile(net)(x, get="nngp"))
        deep.append(k[0, 1] / math.sqrt(k[0, 0] * k[1, 1]) - cosine.value)
    assert k[0, 0] == pytest.approx(variance.value, rel=1e-6)
    assert abs(deep[1]) < 0.05
    assert deep[1] / deep[0] == pytest.approx(cosine.slope, rel=2e-2)


def test_slopes_are_derivatives_of_the_maps():
    gelu = ntkc.meanfield("gelu(x)")
    at = {Q: sp.Float(0.7), W: sp.Float(1.3), B: sp.Float(0.2)}
    slope = sp.diff(gelu.correlation_map, C).subs({C: sp.Float(1 - 1e-9), **at})
    assert float(gelu.chi_1.subs(at)) == pytest.approx(float(slope), rel=1e-4)


def test_monomials_and_several_fixed_points():
    square = ntkc.meanfield("x^2")
    assert square.second_moment == 3 * Q**2
    values = [p.value for p in square.fixed_variances(1.0, 0.2)]
    expected = sorted((1 + s * math.sqrt(1 - 12 * 0.04)) / 6 for s in (-1, 1))
    assert values == pytest.approx(expected, rel=1e-9)
    with pytest.raises(InvalidInput, match="grow without bound"):
        square.depth_scales(3.0, 1.0)


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_standard_deviations_are_checked(wrong):
    with pytest.raises(InvalidInput, match="W_std"):
        ntkc.meanfield("erf(x)").fixed_variances(wrong)


def test_what_is_no_nonlinearity():
    with pytest.raises(UnsupportedExpr, match="no nonlinearity"):
        ntkc.meanfield(stax.Dense(3))


def test_representations():
    assert "MeanField of erf(x)" in repr(ntkc.meanfield("erf(x)"))
    assert "chi_1" in ntkc.meanfield("erf(x)")._repr_latex_()


def test_tanh_critical_line_of_the_literature():
    """Schoenholz et al. 2017: sigma_w^2 = 1.76 at sigma_b^2 = 0.05."""
    tanh = ntkc.meanfield("tanh(x)")
    assert tanh.critical_W_std(math.sqrt(0.05)) ** 2 == pytest.approx(1.76, abs=5e-3)


def test_kinks_away_from_zero():
    """hard_tanh: closed forms of thresholds, against quadrature of the function itself, and its phases."""
    hard = ntkc.meanfield("hard_tanh(x)")
    for q in (0.1, 0.7, 5.0):
        f = lambda u, q=q: max(min(u, 1), -1) ** 2 * mp.npdf(u, 0, mp.sqrt(q))  # noqa: E731
        moment = mp.quad(f, [-12 * math.sqrt(q), -1, 1, 12 * math.sqrt(q)])
        assert hard._moment(q) == pytest.approx(float(moment), rel=1e-9)
        assert hard._slope_moment(q) == pytest.approx(math.erf(1 / math.sqrt(2 * q)), rel=1e-12)
    w = hard.critical_W_std(0.2)
    assert [hard.phase(s * w, 0.2) for s in (0.95, 1, 1.05)] == ["ordered", "critical", "chaotic"]


@pytest.mark.parametrize("text", ["relu(x)", "erf(x)", "gelu(x)", "sin(x)"])
def test_maps_are_formulas_where_closed(text):
    """V(q), the correlation map and chi_1 as sympy expressions, equal to the numbers at one place."""
    field = ntkc.meanfield(text)
    at = {Q: sp.Rational(7, 10), C: sp.Rational(3, 10), W: sp.Rational(13, 10), B: sp.Rational(1, 5)}
    for expr, symbols in ((field.variance_map, {Q, W, B}), (field.correlation_map, {Q, C, W, B})):
        assert expr.free_symbols <= symbols
    w2, b2, q = 1.3**2, 0.2**2, 0.7
    assert float(field.variance_map.xreplace(at)) == pytest.approx(w2 * field._moment(q) + b2, rel=1e-12)
    assert float(field.correlation_map.xreplace(at)) == pytest.approx((w2 * field._pair(q, 0.3) + b2) / q, rel=1e-12)
    assert float(field.chi_1.xreplace(at)) == pytest.approx(w2 * field._slope_moment(q), rel=1e-12)


TANH = ntkc.meanfield("tanh(x)")


@pytest.mark.parametrize(
    ("W_std", "b_std", "q", "chi"),
    [(10.0, 0.0, 91.705131195288704, 5.5448544877525146), (100.0, 0.5, 9920.1443658058171, 53.40510185909154)],
)
def test_saturated_tanh(W_std, b_std, q, chi):
    """Quadrature on intervals that double from 0 on, where a series would have to go on for ever."""
    assert TANH.fixed_variances(W_std, b_std)[-1].value == pytest.approx(q, rel=1e-12)
    assert TANH.chi(W_std, b_std) == pytest.approx(chi, rel=1e-12)


def test_critical_tanh_of_a_tiny_bias():
    assert TANH.critical_W_std(1e-7) == pytest.approx(1.0000195743382, rel=1e-10)


def test_zero_is_a_fixed_variance_however_steep():
    assert [round(p.value, 6) for p in TANH.fixed_variances(40.0)] == [0.0, 1567.766649]


def test_jumps_make_chaos():
    """dV/dk of 2/pi asin(k/q) has a pole at k = q."""
    sign = ntkc.meanfield("sign(x)")
    inner, one = sign.fixed_correlations(1.5, 0.1)
    assert inner.value == pytest.approx(0.0120835604501617, rel=1e-8)
    assert inner.slope == pytest.approx(0.633849147, rel=1e-8)
    assert (one.value, one.slope, sign.phase(1.5, 0.1)) == (1.0, math.inf, "chaotic")
    assert sign.depth_scales(1.5, 0.1) == pytest.approx((0.0, 2.19325040395), rel=1e-8)
    steps = ntkc.meanfield("x + sign(x)")
    assert steps.phase(0.5, 0.1) == "chaotic"
    assert steps.fixed_correlations(0.5, 0.1)[-1].slope == math.inf


def test_large_fixed_variances():
    erf = ntkc.meanfield("erf(x)")
    assert erf.fixed_variances(2000.0)[-1].value == pytest.approx(3998726.557798584, rel=1e-9)
    assert erf.phase(2000.0) == "chaotic"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ntkc.meanfield("sign(x)").critical_W_std(0.1), "jumps"),
        (lambda: ntkc.meanfield(stax.Monomial(0)).critical_W_std(), "is constant"),
        (lambda: TANH.fixed_correlations(1.0, 0.1, q=-1.0), "q = -1.0: a variance is finite and positive"),
        (lambda: TANH.fixed_correlations(1.0, 0.1, q=math.nan), "finite and positive"),
    ],
)
def test_points_that_are_not_there(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
