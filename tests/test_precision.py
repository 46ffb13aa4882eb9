"""Every result is within its bound, or the user is told: series, what is not finite, on every path."""

import importlib
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import ntkc
from ntkc import predict, stax
from ntkc.backends.bundle import module_text
from ntkc.errors import PrecisionLost, SeriesNotConverged

ROWS = np.array([[1.0, 0.5], [-0.5, 2.0], [0.25, 1.0]])
LARGE = 300 * ROWS
SOFTPLUS = stax.serial(stax.Dense(9), stax.Softplus(), stax.Dense(1))
GELU = stax.serial(stax.Dense(9), stax.Gelu(), stax.Dense(1))


def pair(q, rho, dtype):
    scale = np.sqrt(2 * q)
    return scale * np.array([[1, 0]], dtype), (scale * np.array([[rho, np.sqrt(1 - rho * rho)]])).astype(dtype)


@pytest.fixture(scope="module")
def saved():
    names = {"__name__": "saved"}
    exec(compile(module_text(SOFTPLUS[2].program.source), "saved", "exec"), names)
    return names


def run(function):
    """Its result, when all that it says is said."""
    made = jax.block_until_ready(function())
    jax.effects_barrier()
    return made


PATHS = {
    "eager": lambda x, saved: SOFTPLUS[2](x, None, "ntk"),
    "kernel": lambda x, saved: SOFTPLUS[2](x).ntk,
    "jit": lambda x, saved: jax.jit(lambda x: SOFTPLUS[2](x, None, "ntk"))(x),
    "grad": lambda x, saved: jax.grad(lambda x: SOFTPLUS[2](x, None, "ntk").sum())(x),
    "jit of grad": lambda x, saved: jax.jit(jax.grad(lambda x: SOFTPLUS[2](x, None, "ntk").sum()))(x),
    "vmap": lambda x, saved: jax.vmap(lambda x: SOFTPLUS[2](x[None], None, "ntk"))(x),
    "saved": lambda x, saved: saved["ntk"](x),
    "jit of saved": lambda x, saved: jax.jit(saved["ntk"])(x),
    "continued": lambda x, saved: stax.serial(stax.Softplus(), stax.Dense(1))[2](stax.Dense(9)[2](x)).ntk,
    "jit of continued": lambda x, saved: jax.jit(
        lambda x: stax.serial(stax.Softplus(), stax.Dense(1))[2](stax.Dense(9)[2](x)).ntk
    )(x),
    "gram": lambda x, saved: ntkc.gram(SOFTPLUS, x, get="ntk", progress=False),
    "batch": lambda x, saved: ntkc.batch(SOFTPLUS[2], 3)(x, None, "ntk"),
    "predict": lambda x, saved: predict.gradient_descent_mse_ensemble(SOFTPLUS[2], x, x[:, :1], diag_reg=1e-2)(
        x_test=x, get="ntk"
    ),
}
"""What computes a kernel of data."""


LONG = ("grad", "jit of grad", "jit of continued", "predict", "vmap")


@pytest.mark.parametrize("path", [pytest.param(p, marks=pytest.mark.slow) if p in LONG else p for p in PATHS])
def test_a_series_that_is_cut_is_told_of_on_every_path(path, saved):
    x = jnp.asarray(LARGE, "float32")
    with pytest.warns(match=r"after \w+: a series.* relative error of up to .* at the variance") as caught:
        run(lambda: PATHS[path](x, saved))
    told = SeriesNotConverged if "saved" not in path else saved["PrecisionLost"]
    assert any(issubclass(w.category, told) for w in caught)
    assert issubclass(SeriesNotConverged, PrecisionLost)
    PATHS[path](jnp.asarray(ROWS / 4, "float32"), saved)  # warnings are errors
    jax.effects_barrier()


def test_a_batch_is_told_of_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        jax.jit(jax.vmap(lambda x: SOFTPLUS[2](x[None], None, "ntk")))(jnp.asarray(LARGE)).block_until_ready()
        jax.effects_barrier()
    assert len(caught) == 1


@pytest.mark.parametrize("transformed", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_a_result_that_is_not_finite_is_told_of(transformed):
    for net, x in ((GELU, 1e8 * ROWS), (stax.serial(stax.Dense(1, 1e15), stax.Relu(), stax.Dense(1, 1e15)), ROWS)):
        with pytest.warns(PrecisionLost, match="reaches .* beyond what float32 can hold; rescale the data"):
            made = run(lambda net=net, x=x: transformed(lambda x: net[2](x, None, "ntk"))(jnp.asarray(x, "float32")))
        assert not np.isfinite(made).all()


def test_pixels_that_are_not_finite_are_told_of():
    net = stax.serial(stax.Conv(4, (2, 2), W_std=1e15), stax.Relu(), stax.Conv(4, (2, 2), W_std=1e15), stax.Flatten())
    with pytest.warns(PrecisionLost, match="NaN or infinities"):
        net[2](np.ones((2, 4, 4, 1), "float32"), None, "nngp")


def test_finite_results_of_large_data_are_not():
    net = stax.serial(stax.Dense(9), stax.Relu(), stax.Dense(1))
    made = net[2](np.float32(1e12) * ROWS.astype("float32"), None, ("nngp", "ntk"))
    assert np.isfinite(made.ntk).all()


def test_kernels_are_exported_without_warnings():
    shapes = (jax.ShapeDtypeStruct((5, 3), "float32"),)
    with ntkc.exportable():
        made = export.export(jax.jit(lambda x: SOFTPLUS[2](x, None, "ntk")), platforms=("cpu", "cuda", "tpu"))(*shapes)
    assert set(made.platforms) == {"cpu", "cuda", "tpu"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("q", [1e-12, 1e-10, 1e-8])
def test_leading_terms_that_cancel(q, dtype, x64):
    """log(1 + x^2) = x^2 - x^4 / 2 + ...:  K = q^2 (1 + 2 rho^2) + O(q^3), and x f' gives 4 rho^2 q^2 more."""
    got = LOG(*pair(q, 0.5, dtype), ("nngp", "ntk"))
    mean = 1.5 * (1 - 5.0 * q)  # the next term of both factors, to first order in q
    tolerance = 1e-6 if dtype == "float32" else 1e-7 if q > 1e-9 else 1e-9 + 20 * q
    assert float(got.nngp[0, 0]) / q**2 == pytest.approx(mean, rel=tolerance)
    assert float(got.ntk[0, 0]) / q**2 == pytest.approx(2.5, rel=max(tolerance, 20 * q))


LOG = ntkc.compile(stax.serial(stax.Dense(1), stax.Activation("log(1+x^2)"), stax.Dense(1)))
TANH = ntkc.compile(stax.serial(stax.Dense(1), stax.Tanh(), stax.Dense(1)))
EXACT = {
    (0.5, 1e4): (0.3333031070727917, 7.350245931853582e-05),
    (0.999, 1e4): (0.9703845824605101, 0.00136925369302568),
    (1.0, 1e4): (0.9920214824805133, 0.005319144644014623),
    (0.5, 1.0): (0.18632441320344817, 0.3847470284410391),
}
"""E[f(u) f(v)] and E[f'(u) f'(v)] of tanh by graded quadrature in 80 bits (benchmarks/gaussian_quadrature.py)."""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rho", "q"), EXACT)
def test_tanh_at_all_variances(rho, q, dtype, x64):
    value, slope = EXACT[rho, q]
    got = TANH(*pair(q, rho, dtype), ("nngp", "ntk"))
    tolerance = 1e-6 if dtype == "float32" else 1e-10
    assert float(got.nngp[0, 0]) == pytest.approx(value, abs=tolerance)
    size = q * EXACT[1.0, q][1] if (1.0, q) in EXACT else 1.0
    assert float(got.ntk[0, 0]) == pytest.approx(value + q * rho * slope, abs=tolerance * size)


@pytest.mark.slow
def test_gradients_of_tanh_where_series_and_mixtures_meet(x64):
    for q in (9.0, 11.0, 400.0):
        x1, x2 = (jnp.asarray(v) for v in pair(q, 0.7, "float64"))

        def k(x, x2=x2):
            return TANH(x, x2, "ntk")[0, 0]

        step = jnp.asarray([[1e-4, 2e-4]])
        slope = jnp.sum(jax.grad(k)(x1) * step)
        np.testing.assert_allclose(slope, (k(x1 + step) - k(x1 - step)) / 2, rtol=1e-6)


@pytest.mark.parametrize("cosines", [(0.9, 1 - 1e-12), pytest.param(None, marks=pytest.mark.slow)], ids=["few", "all"])
def test_the_page_of_accuracy(cosines, monkeypatch):
    """One function of each kind, in both precisions: nothing above its bound without a word."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    accuracy = importlib.import_module("accuracy")
    if cosines:
        monkeypatch.setattr(accuracy, "COSINES", cosines)
        monkeypatch.setattr(accuracy, "QUICK", ("tanh(x)", "log(1+x^2)", "relu(x)"))
    with jax.enable_x64(True):
        rows = list(accuracy.all_rows(is_quick=True))
    assert {r.dtype for r in rows} == set(accuracy.BOUNDS)
    assert any(r.is_warned for r in rows)
    assert [r for r in rows if r.is_wrong] == []
    assert "**0 above their bound" in accuracy.page(rows, 0.0)


def test_an_error_above_its_bound_is_noticed(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    accuracy = importlib.import_module("accuracy")
    assert accuracy.Row("f", "float64", 1.0, 1e-15, 1e-9, False).is_wrong
    assert accuracy.Row("f", "float64", 1.0, float("inf"), 0.0, False).is_wrong
    assert not accuracy.Row("f", "float64", 1.0, 1e-15, 1e-9, True).is_wrong
