"""K -> half the squared distance: the statements as text, equal numbers before and after, and the helpers at edges."""

import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from jax import lax
from ntkc.backends.prelude import helper_text
from ntkc.passes.carry_distance import carry_distance
from test_normalise import run, sided, value

from ntkc import stax
from ntkc.gaussian.dual import K12, Q1, Q2, dual, dual_of_derivatives
from ntkc.gaussian.erf_gap import AngleGap, ErfLike, Span, is_slope_of, recognise_erf
from ntkc.gaussian.parse import parse
from ntkc.ir.program import Loop


def dense(W_std=1.0, b_std=None, **keywords):
    return stax.Dense(4, W_std, b_std, **keywords)


def residual(branch):
    return stax.serial(stax.FanOut(2), stax.parallel(stax.Identity(), branch), stax.FanInSum())


def made(layer, stage):
    return layer[2].program._compilation.made[stage]


def pair_lines(layer):
    text = made(layer, "prune").text()
    return [line.strip() for line in text[text.index("per pair:") :].splitlines()[1:]]


TEXTS = {
    "erf": (
        stax.serial(dense(2, 0.1), stax.Erf(), dense(3)),
        [
            "eta_dense1 = 4*eta_input1",
            "d_dense1 = 4*d_input1",
            "K_dense1 = -eta_dense1 + q1_dense1/2 + q2_dense1/2",
            "T_dense1 = K_dense1",
            "eta_erf1 = 2*AngleGap(2*eta_dense1, 2*d_dense1, 2*q1_dense1, 2*q2_dense1, r1_erf1, r2_erf1, "
            "phi1_erf1 + phi2_erf1)/pi",
            "T_erf1 = 4*T_dense1/(pi*Span(2*eta_dense1, 2*d_dense1, 2*q1_dense1, 2*q2_dense1))",
            "eta_dense2 = 9*eta_erf1",
            "K_dense2 = -eta_dense2 + q1_dense2/2 + q2_dense2/2",
            "T_dense2 = K_dense2 + 9*T_erf1",
        ],
    ),
    "erf(a, b, c), standard": (
        stax.serial(dense(), stax.Erf(3, 2, 1), dense(2, 0.5, parameterization="standard")),
        [
            "eta_dense1 = eta_input1",
            "d_dense1 = d_input1",
            "K_dense1 = -eta_dense1 + q1_dense1/2 + q2_dense1/2",
            "T_dense1 = K_dense1",
            "eta_erf1 = 18*AngleGap(8*eta_dense1, 8*d_dense1, 8*q1_dense1, 8*q2_dense1, r1_erf1, r2_erf1, "
            "phi1_erf1 + phi2_erf1)/pi",
            "K_erf1 = -eta_erf1 + q1_erf1/2 + q2_erf1/2",
            "T_erf1 = 144*T_dense1/(pi*Span(8*eta_dense1, 8*d_dense1, 8*q1_dense1, 8*q2_dense1))",
            "eta_dense2 = 4*eta_erf1",
            "K_dense2 = -eta_dense2 + q1_dense2/2 + q2_dense2/2",
            "T_dense2 = 4*K_erf1 + 4*T_erf1 + 1",
        ],
    ),
    "sum": (
        stax.serial(dense(), residual(stax.serial(stax.Erf(), dense(2, 1))), stax.Erf()),
        [
            "eta_dense1 = eta_input1",
            "d_dense1 = d_input1",
            "K_dense1 = -eta_dense1 + q1_dense1/2 + q2_dense1/2",
            "T_dense1 = K_dense1",
            "eta_erf1 = 2*AngleGap(2*eta_dense1, 2*d_dense1, 2*q1_dense1, 2*q2_dense1, r1_erf1, r2_erf1, "
            "phi1_erf1 + phi2_erf1)/pi",
            "T_erf1 = 4*T_dense1/(pi*Span(2*eta_dense1, 2*d_dense1, 2*q1_dense1, 2*q2_dense1))",
            "eta_dense2 = 4*eta_erf1",
            "K_dense2 = -eta_dense2 + q1_dense2/2 + q2_dense2/2",
            "T_dense2 = K_dense2 + 4*T_erf1",
            "eta_faninsum1 = eta_dense1 + eta_dense2",
            "d_faninsum1 = q1_faninsum1 - q2_faninsum1",
            "T_faninsum1 = T_dense1 + T_dense2",
            "eta_erf2 = 2*AngleGap(2*eta_faninsum1, 2*d_faninsum1, 2*q1_faninsum1, 2*q2_faninsum1, r1_erf2, r2_erf2, "
            "phi1_erf2 + phi2_erf2)/pi",
            "K_erf2 = -eta_erf2 + q1_erf2/2 + q2_erf2/2",
            "T_erf2 = 4*T_faninsum1/(pi*Span(2*eta_faninsum1, 2*d_faninsum1, 2*q1_faninsum1, 2*q2_faninsum1))",
        ],
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_form(name):
    layer, lines = TEXTS[name]
    assert pair_lines(layer) == lines


def test_per_sample():
    text = made(TEXTS["erf"][0], "prune").text()
    assert [line.strip() for line in text[: text.index("per pair:")].splitlines()[1:]] == [
        "q_dense1 = 4*q_input1 + 1/100",
        "r_erf1 = 4*q_dense1/(sqrt(4*q_dense1 + 1) + 1)",
        "phi_erf1 = Angle(q_dense1, q_dense1 + 1/2, q_dense1 + 1/2)",
        "q_erf1 = 2*phi_erf1/pi",
        "q_dense2 = 9*q_erf1",
    ]


def test_a_loop_carries_eta_and_reads_d_from_the_variances():
    program = made(stax.serial(*[stax.serial(dense(2, 0.1), stax.Erf())] * 6, dense()), "prune")
    (loop,) = (s for s in program.per_pair if isinstance(s, Loop))
    assert [c.start.kind for c in loop.carry] == ["E", "T"]
    (d,) = (let for let in loop.body if let.dst.kind is Kind.D)
    assert str(d.expr) == f"q1_{d.dst.node} - q2_{d.dst.node}"


UNCHANGED = {
    "relu": stax.serial(dense(), stax.Relu(), dense()),
    "erf, relu": stax.serial(dense(), stax.Erf(), dense(), stax.Relu(), dense()),
    "erf, sin": stax.serial(dense(), stax.Erf(), dense(), stax.Sin(), dense()),
    "x erf": stax.serial(dense(), stax.Activation("x*erf(x)"), dense()),
    "x + erf, cross covariances": stax.serial(dense(), residual(stax.Erf()), dense()),
    "linear": stax.serial(dense(), dense(2, 0.1)),
    "series": stax.serial(dense(), stax.Activation("tanh(x)"), dense()),
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_other_programs_are_unchanged(name):
    before = made(UNCHANGED[name], "collapse")
    assert carry_distance(before) is before


def test_only_one_angle_of_equal_noise_is_recognised():
    erf, slope = dual(parse("2*erf(3*x) + 1")), dual_of_derivatives(parse("2*erf(3*x) + 1"))
    found = recognise_erf(erf, K12, Q1, Q2)
    assert found == ErfLike(sp.S.One, 8 / sp.pi, sp.Rational(1, 18))
    assert is_slope_of(found, slope, K12, Q1, Q2)
    assert not is_slope_of(found, 2 * slope, K12, Q1, Q2)
    for text in ("sign(x)", "erf(x) + erf(2*x)", "x", "relu(x)", "x*erf(x)", "erf(x) + x"):
        assert recognise_erf(dual(parse(text)), K12, Q1, Q2) is None


SAME = {
    **{name: layer for name, (layer, _) in TEXTS.items()},
    "sigmoid": stax.serial(dense(1.2, 0.3), stax.Sigmoid_like(), dense(), stax.Erf(2, 0.3, 1), dense()),
    "loop": stax.serial(*[stax.serial(dense(2, 0.1), stax.Erf())] * 5, dense()),
    "loop of residuals": stax.serial(
        dense(), *[residual(stax.serial(stax.Erf(), dense(1.3, 0.2)))] * 4, stax.Erf(), dense()
    ),
    "sum of two": stax.serial(
        dense(),
        stax.FanOut(2),
        stax.parallel(stax.serial(stax.Erf(), dense()), stax.serial(stax.Erf(1, 2), dense(0.7, 0.3))),
        stax.FanInSum(),
        stax.Erf(),
        dense(),
    ),
}


def outputs(program, q1, q2, k):
    """K and T of a program for a pair with these variances and covariance."""
    known = {"features": sp.Integer(5)}
    for side, q in ((1, q1), (2, q2)):
        sample = {"q_input1": q, "features": sp.Integer(5)}
        stacks = run(program.per_sample, sample)
        known.update(sided(sample, side))
        for layer, turns in stacks:
            for i, names in enumerate(turns):
                known.setdefault(("turn", layer, i), {}).update(sided(names, side))
    starts = {"K_input1": k, "eta_input1": (q1 + q2) / 2 - k, "d_input1": q1 - q2}
    known.update({key.name: sp.N(starts[key.name], 30) for key in program.inputs if key.side is None})
    run(program.per_pair, known)
    return [value(sp.sympify(program.outputs[get]), known) for get in ("nngp", "ntk")]


PAIRS = [("0.7", "1.9", "0.4"), ("1.1", "0.2", "-0.35"), ("0.5", "0.5", "0.4999")]


@pytest.mark.parametrize("name", SAME)
def test_same_numbers(name):
    before, after = made(SAME[name], "collapse"), made(SAME[name], "distance")
    assert after is not before
    for pair in PAIRS:
        numbers = [sp.Float(v, 40) for v in pair]
        for old, new in zip(outputs(before, *numbers), outputs(after, *numbers), strict=True):
            assert mp.almosteq(mp.mpf(old), mp.mpf(new), 1e-20)


def helpers():
    names = {"jax": jax, "jnp": jnp, "lax": lax, "np": np, "pi": math.pi}
    exec(helper_text(["angle_gap", "span"]), names)
    return names["angle_gap"], names["span"]


GAP, SPAN = map(jax.jit, helpers())
SLOPES = {"gap": jax.jit(jax.grad(GAP, range(7))), "span": jax.jit(jax.grad(SPAN, range(4)))}


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
