"""Conjugate gradients on tiles against the factorised predictions, and what they say where they cannot succeed."""

import re

import numpy as np
import pytest

import ntkc
from ntkc import predict, stax
from ntkc.errors import InvalidInput, NtkcError, ShapeMismatch, SolverNotConverged
from ntkc.predict.matrix_free import TiledKernel, read_memory

NET = stax.serial(stax.Dense(9, 1.4, 0.2), stax.Relu(), stax.Dense(1))
KERNEL_FN = NET[2]
SMALL = 1e6
"""Bytes for which 300 rows of float64 make three tiles a side."""


@pytest.fixture
def data():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((310, 7))
    return x[:300], np.stack([np.sin(x[:300, 0]), x[:300, 1] * x[:300, 2]], 1), x[300:]


@pytest.mark.parametrize("get", [pytest.param("nngp", marks=pytest.mark.slow), "ntk"])
def test_equals_the_factorised_prediction(get, data, x64):
    x, y, x_test = data
    found = predict.iterative_inference(KERNEL_FN, x, y, get, 1e-3, tolerance=1e-11, memory=SMALL)
    assert found.is_converged
    assert len(found.kernel.tiles(x, found.kernel.side())) == 3
    exact = predict.gp_inference(KERNEL_FN(x, None, get), y, diag_reg=1e-3)
    for x_new in (x_test, None):
        block = KERNEL_FN(x if x_new is None else x_new, x, get)
        np.testing.assert_allclose(found.predict_fn(x_new), exact(get, block), rtol=1e-8, atol=1e-8)


@pytest.mark.slow
def test_one_output_and_a_compiled_program(data):
    x, y, x_test = (np.float32(v) for v in data)
    program = ntkc.compile(NET)
    found = predict.iterative_inference(program, x, y[:, 0], "ntk", 1e-2, memory="1MB", landmarks=40)
    exact = predict.gp_inference(program(x, None, "ntk"), y[:, 0], diag_reg=1e-2)
    assert found.predict_fn(x_test).shape == (10,)
    assert found.predict_fn(x_test).dtype == np.float32
    np.testing.assert_allclose(found.predict_fn(x_test), exact("ntk", program(x_test, x, "ntk")), atol=2e-3)


@pytest.mark.slow
def test_absolute_ridge(data, x64):
    x, y, x_test = data
    found = predict.iterative_inference(KERNEL_FN, x, y, "nngp", 0.3, True, tolerance=1e-11)
    assert found.ridge == 0.3
    exact = predict.gp_inference(KERNEL_FN(x, None, "nngp"), y, 0.3, True)
    np.testing.assert_allclose(found.predict_fn(x_test), exact("nngp", KERNEL_FN(x_test, x, "nngp")), rtol=1e-8)


@pytest.mark.parametrize("memory", [1e6, "2GB"])
def test_products(memory, data, x64):
    x, y, x_test = data
    kernel = TiledKernel(KERNEL_FN, x, "ntk", read_memory(memory))
    gram = np.asarray(KERNEL_FN(x, None, "ntk"))
    np.testing.assert_allclose(kernel.gram_times(y), gram @ y, rtol=1e-11, atol=1e-9)
    np.testing.assert_allclose(kernel.rows_times(x_test, y), KERNEL_FN(x_test, x, "ntk") @ y, rtol=1e-11, atol=1e-9)
    np.testing.assert_allclose(kernel.rows(x[:4]), gram[:4], rtol=1e-12, atol=1e-15)  # entries near 0, of terms of 1
    np.testing.assert_allclose(kernel.diagonal(), np.diag(gram), rtol=1e-12)


@pytest.mark.slow
def test_landmarks_save_steps(data, x64):
    x, y, _ = data
    steps = [
        len(predict.iterative_inference(KERNEL_FN, x, y, "ntk", 1e-5, tolerance=1e-8, landmarks=m).residuals)
        for m in (1, 100)
    ]
    assert steps[1] < steps[0] / 2


def test_repeated_rows_and_zero_targets(data):
    x, y, x_test = (np.float32(v) for v in data)
    found = predict.iterative_inference(KERNEL_FN, np.vstack([x, x[:50]]), np.vstack([y, y[:50]]), "nngp", 1e-2)
    assert found.is_converged
    assert np.isfinite(found.predict_fn(x_test)).all()
    zeros = predict.iterative_inference(KERNEL_FN, x, 0 * y)
    assert zeros.residuals == (0.0,)
    np.testing.assert_array_equal(zeros.predict_fn(x_test), np.zeros((10, 2)))


def test_what_is_not_reached_is_said(data):
    x, y, _ = (np.float32(v) for v in data)
    with pytest.warns(SolverNotConverged, match=r"n=300, outputs=2, .* NOT converged after 2 steps, residual"):
        found = predict.iterative_inference(KERNEL_FN, x, y, "nngp", 1e-6, landmarks=1, max_steps=2)
    assert not found.is_converged
    # Tiles in float32 cannot give ten digits: the residual is the true one, and the iteration ends.
    with pytest.warns(SolverNotConverged, match="float64"):
        found = predict.iterative_inference(KERNEL_FN, x, y, "nngp", 1e-4, tolerance=1e-10)
    gram = np.asarray(KERNEL_FN(x.astype(float), None, "nngp"), float)
    rest = y - (gram + found.ridge * np.eye(300)) @ found.weights
    assert found.residuals[-1] == pytest.approx((np.linalg.norm(rest, axis=0) / np.linalg.norm(y, axis=0)).max(), rel=1)


def test_progress_bar(data, capsys):
    x, y, _ = (np.float32(v) for v in data)
    predict.iterative_inference(KERNEL_FN, x, y)
    assert not capsys.readouterr().err
    predict.iterative_inference(KERNEL_FN, x, y, progress=True)
    assert "conjugate gradients, residual" in capsys.readouterr().err


X, Y = np.eye(4, 3, dtype=np.float32) + 1, np.arange(4.0)


def scaled(factor):
    return lambda x1, x2=None, get="nngp": factor * KERNEL_FN(x1, x2, get)


def holed(x1, x2=None, get="nngp"):
    """NaN off the diagonal alone, for rows that are no landmark."""
    gram = KERNEL_FN(x1, x2, get)
    return gram.at[-1, 0].set(np.nan) if x2 is None and len(x1) == 4 else gram


WRONG = {
    "kernel": (lambda: predict.iterative_inference(KERNEL_FN, X, Y, "ntkgp"), NtkcError, "nngp, ntk"),
    "rows": (lambda: predict.iterative_inference(KERNEL_FN, X, Y[:3]), ShapeMismatch, "one target a row"),
    "axes": (lambda: predict.iterative_inference(KERNEL_FN, X[0], Y), InvalidInput, "(n, features)"),
    "empty": (lambda: predict.iterative_inference(KERNEL_FN, X[:0], Y), InvalidInput, "at least one row"),
    "nan": (lambda: predict.iterative_inference(KERNEL_FN, X * np.nan, Y), InvalidInput, "x_train holds NaN"),
    "nan y": (lambda: predict.iterative_inference(KERNEL_FN, X, Y * np.nan), InvalidInput, "y_train holds NaN"),
    "ridge": (lambda: predict.iterative_inference(KERNEL_FN, X, Y, diag_reg=0), InvalidInput, "diag_reg is 0"),
    "negative": (lambda: predict.iterative_inference(KERNEL_FN, X, Y, diag_reg=-1), InvalidInput, "positive"),
    "tolerance": (lambda: predict.iterative_inference(KERNEL_FN, X, Y, tolerance=0), InvalidInput, "tolerance"),
    "landmarks": (lambda: predict.iterative_inference(KERNEL_FN, X, Y, landmarks=0), InvalidInput, "landmarks"),
    "loose": (lambda: predict.iterative_inference(KERNEL_FN, X, Y, tolerance=1.0), InvalidInput, "below 1"),
    "half a row": (
        lambda: predict.iterative_inference(KERNEL_FN, X, Y, landmarks=2.5),
        InvalidInput,
        "landmarks is 2.5",
    ),
    "text": (lambda: predict.iterative_inference(KERNEL_FN, X, Y, diag_reg="x"), InvalidInput, "diag_reg is 'x'"),
    "complex": (lambda: predict.iterative_inference(KERNEL_FN, X + 0j, Y), InvalidInput, "x_train is a ndarray"),
    "kernel of nan": (
        lambda: predict.iterative_inference(scaled(np.nan), X, Y),
        InvalidInput,
        "the nngp of x_train holds",
    ),
    "kernel of zero": (lambda: predict.iterative_inference(scaled(0.0), X, Y), InvalidInput, "mean variance 0"),
    "kernel below 0": (lambda: predict.iterative_inference(scaled(-1.0), X, Y), InvalidInput, "mean variance -"),
    "hole": (lambda: predict.iterative_inference(holed, X, Y, landmarks=1), InvalidInput, "the nngp of x_train"),
    "nan test": (
        lambda: predict.iterative_inference(KERNEL_FN, X, Y).predict_fn(X * np.nan),
        InvalidInput,
        "x_test holds",
    ),
    "memory": (lambda: predict.iterative_inference(KERNEL_FN, X, Y, memory="2 gibis"), InvalidInput, "'500MB'"),
    "no memory": (lambda: predict.iterative_inference(KERNEL_FN, X, Y, memory=10), InvalidInput, "at least 1MB"),
    "test": (lambda: predict.iterative_inference(KERNEL_FN, X, Y).predict_fn(X[:, :2]), ShapeMismatch, "x_test"),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors(name):
    call, error, part = WRONG[name]
    with pytest.raises(error, match=re.escape(part)):
        call()


@pytest.mark.parametrize(
    ("text", "value"), [("2GB", 2e9), ("500 mb", 5e8), (1.5e7, 1.5e7), ("3e6", 3e6), ("1.5G", 1.5e9)]
)
def test_memory(text, value):
    assert read_memory(text) == value
