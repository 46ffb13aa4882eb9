"""What users give to a call: values of hyper-parameters, masked arrays."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp

import ntkc
from ntkc import stax
from ntkc.errors import InvalidInput

X = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
OPEN = stax.serial(stax.Dense(1, sp.Symbol("w")), stax.Relu(), stax.Dense(1))[2]
"""K = w^2 times that of w = 1."""
MASKED = np.ma.masked_array(X, [[0, 1], [0, 0], [0, 0]])
NETWORK = stax.serial(stax.Dense(1), stax.Relu(), stax.Dense(1))
PLAIN = NETWORK[2]
PIXELS = stax.serial(stax.Flatten(), stax.Dense(1))[2]


BAD_VALUES = {
    "NaN": float("nan"),
    "infinity": float("inf"),
    "large": 1e30,
    "array NaN": jnp.nan,
    "text": "1",
    "bytes": b"1",
    "none": None,
    "complex": 1 + 0j,
    "complex array": np.complex64(1),
    "list": [1.0],
    "vector": np.ones(1),
    "matrix": jnp.ones((2, 2)),
    "bool": True,
    "symbol": sp.Symbol("v"),
    "huge": 10**400,
    "masked": np.ma.masked,
    "object": object(),
}


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES)
def test_a_hyper_parameter_is_one_finite_real_number(value):
    calls = (
        lambda: OPEN(X, None, "ntk", w=value),
        lambda: OPEN(X, None, None, w=value),
        lambda: ntkc.gram(OPEN, X, w=value),
        lambda: ntkc.batch(OPEN, 2)(X, None, "nngp", w=value),
        lambda: OPEN(stax.serial(stax.Dense(1), stax.Relu())[2](X), None, "nngp", w=value),
    )
    for call in calls:
        with pytest.raises(InvalidInput, match="hyper-parameter w"):
            call()


@pytest.mark.parametrize(
    "value", [2, 2.0, np.float32(2), np.int64(2), np.array(2.0), jnp.array(2.0), Fraction(2), sp.Integer(2)]
)
def test_numbers_of_any_kind_are_hyper_parameters(value):
    np.testing.assert_allclose(OPEN(X, None, "nngp", w=value), 4 * PLAIN(X, None, "nngp"), rtol=1e-6)


def test_traced_hyper_parameters_stay_traced():
    expected = 4 * PLAIN(X, None, "nngp")
    np.testing.assert_allclose(jax.jit(lambda w: OPEN(X, None, "nngp", w=w))(2.0), expected, rtol=1e-6)
    np.testing.assert_allclose(
        jax.vmap(lambda w: OPEN(X, None, "nngp", w=w))(jnp.array([2.0, 1.0]))[0], expected, rtol=1e-6
    )
    with pytest.raises(InvalidInput, match="one real number"):
        jax.jit(lambda w: OPEN(X, None, "nngp", w=w))(jnp.ones(2))


def test_what_float64_can_square_is_a_hyper_parameter_there():
    with jax.enable_x64(True):
        x = X.astype(np.float64)
        np.testing.assert_allclose(OPEN(x, None, "nngp", w=1e30), 1e60 * PLAIN(x, None, "nngp"), rtol=1e-12)
        with pytest.raises(InvalidInput, match="square must be finite in float32"):
            OPEN(X, None, "nngp", w=1e30)


MASKED_CALLS = {
    "kernel_fn": lambda x: PLAIN(x),
    "second": lambda x: PLAIN(X, x, "ntk"),
    "parts": lambda x: PLAIN(list(x), None, "ntk"),
    "program": lambda x: PLAIN.program(x, None, "nngp"),
    "masks": lambda x: PIXELS(x[:, None, :], None, "nngp", mask_constant=9.0),
    "axes": lambda x: stax.serial(stax.Dense(1, batch_axis=1, channel_axis=0))[2](x.T, None, "nngp"),
    "gram": lambda x: ntkc.gram(PLAIN, x),
    "batch": lambda x: ntkc.batch(PLAIN, 1)(x),
    "ensemble": lambda x: ntkc.predict.gradient_descent_mse_ensemble(PLAIN, x, np.ones((3, 1)))(),
    "ensemble test": lambda x: ntkc.predict.gradient_descent_mse_ensemble(PLAIN, X, np.ones((3, 1)))(None, x),
    "likelihood": lambda x: ntkc.predict.log_marginal_likelihood(PLAIN, x, np.ones(3)),
    "iterations": lambda x: ntkc.predict.iterative_inference(PLAIN, x, np.ones(3), diag_reg=1e-3),
    "check": lambda x: ntkc.check(NETWORK, x),
}


@pytest.mark.parametrize("call", MASKED_CALLS.values(), ids=MASKED_CALLS)
def test_masked_arrays_are_refused(call):
    with pytest.raises(InvalidInput, match="masked"):
        call(MASKED)


def test_a_mask_that_hides_nothing_is_no_mask():
    np.testing.assert_array_equal(PLAIN(np.ma.masked_array(X), None, "ntk"), PLAIN(X, None, "ntk"))


@pytest.mark.parametrize("name", ["NTKRegressor", "NNGPClassifier"])
def test_estimators_refuse_masked_arrays(name):
    estimators = pytest.importorskip("ntkc.sklearn")
    estimator, y = getattr(estimators, name)(), np.array([0, 1, 1])
    with pytest.raises(InvalidInput, match="X is a numpy masked array"):
        estimator.fit(MASKED, y)
    with pytest.raises(InvalidInput, match="y is a numpy masked array"):
        estimator.fit(X, np.ma.masked_array(y, [0, 0, 1]))
    with pytest.raises(InvalidInput, match="X is a numpy masked array"):
        estimator.fit(X, y).predict(MASKED)
    with pytest.raises(InvalidInput, match="X is a numpy masked array"):
        estimators.NTKKernel()(MASKED)
