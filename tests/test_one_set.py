"""x2 is None, x1 itself, or equal to it: one set of samples, whose entries drop out together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

import ntkc
from ntkc import stax

NETWORK = stax.serial(stax.Dense(8), stax.Relu(), stax.Dropout(0.5), stax.Dense(1))
KERNEL_FN = NETWORK[2]
X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
SAME = {"itself": lambda: X, "copy": lambda: X.copy(), "jax": lambda: jnp.asarray(X), "list": lambda: X.tolist()}


@pytest.mark.parametrize("second", SAME.values(), ids=SAME)
def test_equal_samples_are_one_set(second):
    for get in ("nngp", "ntk", ("nngp", "ntk")):
        expected = KERNEL_FN(X, None, get)
        for kernel_fn in (KERNEL_FN, KERNEL_FN.program, ntkc.batch(KERNEL_FN, 2)):
            jax.tree.map(np.testing.assert_array_equal, kernel_fn(X, second(), get), expected)
    np.testing.assert_array_equal(ntkc.gram(KERNEL_FN, X, second()), ntkc.gram(KERNEL_FN, X))


def test_the_diagonal_of_dropout():
    """One sample with itself has twice what it has with an equal one that is not it."""
    alone = stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))[2](X, None, "nngp")
    np.testing.assert_allclose(np.diag(KERNEL_FN(X, X, "nngp")), 2 * np.diag(alone), rtol=1e-6, atol=1e-7)
    off = ~np.eye(len(X), dtype=bool)
    np.testing.assert_allclose(
        np.asarray(KERNEL_FN(X, X.copy(), "nngp"))[off], np.asarray(alone)[off], rtol=1e-6, atol=1e-7
    )
    np.testing.assert_allclose(np.diag(KERNEL_FN(X, np.nextafter(X, 9), "nngp")), np.diag(alone), rtol=1e-5)


def test_other_sets():
    np.testing.assert_allclose(KERNEL_FN(X, Y, "nngp"), np.transpose(KERNEL_FN(Y, X, "nngp")), rtol=1e-6, atol=1e-7)
    assert KERNEL_FN(X, Y).x1_is_x2 is False
    assert KERNEL_FN(X, X[:2]).x1_is_x2 is False
    assert KERNEL_FN(X, X[::-1]).x1_is_x2 is False


def test_the_kernel_of_one_set():
    kernel, expected = KERNEL_FN(X, X.copy()), KERNEL_FN(X)
    assert kernel.x1_is_x2
    for name in ("nngp", "ntk", "cov1"):
        np.testing.assert_array_equal(getattr(kernel, name), getattr(expected, name))
    np.testing.assert_array_equal(kernel.cov2, expected.cov1)
    below, above = stax.serial(*(stax.Dense(8), stax.Relu()))[2], stax.serial(stax.Dropout(0.5), stax.Dense(1))[2]
    np.testing.assert_allclose(above(below(X, X.copy())).nngp, expected.nngp, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(above(below(X)).nngp, expected.nngp, rtol=1e-6, atol=1e-7)


def test_traced_samples_are_one_set_if_they_are_one_array():
    expected = KERNEL_FN(X, None, "ntk")
    np.testing.assert_allclose(jax.jit(lambda x: KERNEL_FN(x, x, "ntk"))(X), expected, rtol=1e-6, atol=1e-7)
    turned = stax.serial(*(stax.Dense(8, batch_axis=1, channel_axis=0), stax.Relu(), stax.Dropout(0.5)))[2]
    one, two = (jax.jit(lambda x, f=f: turned(x, f(x), "nngp"))(X.T) for f in (lambda x: None, lambda x: x))
    np.testing.assert_array_equal(one, two)
    apart = jax.jit(lambda a, b: KERNEL_FN(a, b, "nngp"))(X, X)
    np.testing.assert_allclose(2 * np.diag(apart), np.diag(KERNEL_FN(X, X, "nngp")), rtol=1e-6)


def test_repeated_samples_stay_apart_in_tiles():
    x = np.concatenate([X, X[:1]])
    expected = KERNEL_FN(x, None, "nngp")
    for size in (1, 2, 5):
        np.testing.assert_allclose(ntkc.batch(KERNEL_FN, size)(x, None, "nngp"), expected, rtol=1e-6)
        crossed = ntkc.batch(KERNEL_FN, size)(x, X[:1], "nngp")
        np.testing.assert_allclose(crossed, KERNEL_FN(x, X[:1], "nngp"), rtol=1e-6)


def test_masked_samples_of_one_set():
    x = np.where(np.arange(3) == 1, np.nan, X).reshape(4, 3, 1)
    net = stax.serial(stax.Dense(2), stax.Relu(), stax.Dropout(0.5), stax.GlobalAvgPool())[2]
    expected = net(x, None, "nngp", mask_constant=np.nan)
    np.testing.assert_array_equal(net(x, x.copy(), "nngp", mask_constant=np.nan), expected)


@pytest.mark.parametrize("second", [lambda: X, lambda: X.copy()], ids=["itself", "copy"])
def test_empirical_kernels_draw_one_mask(second):
    params = NETWORK[0](random.PRNGKey(0), X.shape)[1]
    key = random.PRNGKey(1)
    for axes in (None, 0):
        kernel_fn = ntkc.empirical_kernel_fn(NETWORK[1], vmap_axes=axes)
        for get in ("nngp", "ntk"):
            found, expected = (kernel_fn(X, x2, get, params, rng=key) for x2 in (second(), None))
            np.testing.assert_array_equal(found, expected)
            assert np.all(np.diag(found) >= 0)
    v = jnp.ones((4, 1))
    products = [ntkc.empirical_ntk_vp_fn(NETWORK[1], X, x2, params, rng=key)(v) for x2 in (second(), None)]
    np.testing.assert_array_equal(*products)
    sampled = ntkc.monte_carlo_kernel_fn(*NETWORK[:2], key, 2)
    np.testing.assert_array_equal(sampled(X, second(), "nngp"), sampled(X, None, "nngp"))


def test_iterative_predictions_on_the_training_set():
    posterior = ntkc.predict.iterative_inference(KERNEL_FN, X, np.ones(4), "nngp", diag_reg=1e-3)
    direct = np.asarray(KERNEL_FN(X, None, "nngp"), np.float64) @ posterior.weights
    for x_test in (None, X.copy()):
        np.testing.assert_allclose(posterior.predict_fn(x_test), direct[:, 0], rtol=1e-5)
