"""Empirical kernels of complex networks, of counters among parameters, and of derivatives that go backwards only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntkc import empirical_nngp_fn, empirical_ntk_fn, monte_carlo_kernel_fn, predict, stax
from ntkc.errors import ShapeMismatch

RNG = np.random.default_rng(0)
X, X2, W = (RNG.normal(size=shape).astype(np.float32) for shape in ((3, 2), (2, 2), (2,)))
WAYS = (1, 2, 3)


def waves(w, x):
    return jnp.exp(1j * (x @ w))[:, None]


def linear(w, x):
    return (x @ w)[:, None]


@jax.custom_vjp
def squared(z):
    return z * z


squared.defvjp(lambda z: (z * z, z), lambda z, c: (2 * z * c,))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("vmap_axes", [None, 0])
def test_complex_outputs_have_hermitian_kernels(way, vmap_axes):
    made = empirical_ntk_fn(waves, vmap_axes=vmap_axes, implementation=way)(X, None, W)
    y = np.exp(1j * X @ W)
    np.testing.assert_allclose(made, np.outer(y, y.conj()) * (X @ X.T), atol=1e-6)
    np.testing.assert_allclose(np.diag(made).imag, 0, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("vmap_axes", [None, 0])
def test_complex_weights_have_complex_derivatives(way, vmap_axes):
    made = empirical_ntk_fn(linear, vmap_axes=vmap_axes, implementation=way)(X, X2, W + 1j * W[::-1])
    np.testing.assert_allclose(made, X @ X2.T, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_complex_weights_and_outputs(way):
    """J = (x, i x) for f = x w0 + i x w1, in both columns of w."""
    made = empirical_ntk_fn(lambda w, x: x @ w[:, :1] + 1j * x @ w[:, 1:], implementation=way)(
        X, X2, np.stack([W, W[::-1]], 1) * (1 + 2j)
    )
    np.testing.assert_allclose(made, 2 * X @ X2.T, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_products_of_complex_numbers(way):
    made = empirical_ntk_fn(lambda w, x: jnp.exp((1j * x) @ w)[:, None], implementation=way)(X, None, W)
    y = np.exp(1j * X @ W)
    np.testing.assert_allclose(made, np.outer(y, y.conj()) * (X @ X.T), atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_counters_are_no_weights(way):
    params = {"w": W, "steps": np.int32(2)}
    made = empirical_ntk_fn(lambda p, x: p["steps"] * linear(p["w"], x), implementation=way)(X, X2, params)
    np.testing.assert_allclose(made, 4 * X @ X2.T, rtol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_derivatives_that_go_backwards_only(way):
    made = empirical_ntk_fn(lambda w, x: squared(linear(w, x)), implementation=way)(X, X2, W)
    np.testing.assert_allclose(made, 4 * np.outer(X @ W, X2 @ W) * (X @ X2.T), atol=1e-6)


def test_the_nngp_of_complex_outputs_is_hermitian():
    y, y2 = np.exp(1j * X @ W), np.exp(1j * X2 @ W)
    np.testing.assert_allclose(empirical_nngp_fn(waves)(X, X2, W), np.outer(y, y2.conj()), atol=1e-6)


def test_numpy_counts_of_samples():
    init_fn, apply_fn, _ = stax.Dense(4)
    made = monte_carlo_kernel_fn(init_fn, apply_fn, jax.random.PRNGKey(0), np.int64(2))(X, None, "nngp")
    expected = monte_carlo_kernel_fn(init_fn, apply_fn, jax.random.PRNGKey(0), 2)(X, None, "nngp")
    np.testing.assert_array_equal(made, expected)


def test_states_of_flows_are_read_and_changed_by_name():
    state = predict.ODEState(1.0, 2.0)
    assert state.replace(fx_test=3.0).astuple() == (1.0, 3.0, None, None)
    assert state.asdict() == {"fx_train": 1.0, "fx_test": 2.0, "qx_train": None, "qx_test": None}


@pytest.mark.parametrize("kernel", [empirical_ntk_fn, empirical_nngp_fn])
def test_one_number_a_sample_is_explained(kernel):
    def vector(w, x):
        return x @ w

    with pytest.raises(ShapeMismatch, match=r"one number a sample.*y\[:, None\]"):
        kernel(vector)(X, X2, W)
    assert kernel(vector, trace_axes=())(X, X2, W).shape == (3, 2)


def test_weights_of_other_widths_are_named():
    init_fn, apply_fn, _ = stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))
    _, params = init_fn(jax.random.PRNGKey(0), (-1, 1))
    with pytest.raises(ShapeMismatch, match=r"Dense\(out_dim=8\) got data of 2 channels.*\(2, 8\)"):
        apply_fn(params, X)
