"""Derivatives where samples coincide, and where one is zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntkc import stax

X = np.random.default_rng(12).normal(size=(6, 4))
WEIGHTS = np.arange(1, 13).reshape(2, 6)
KINKED = {"relu": stax.Relu(), "leaky": stax.LeakyRelu(0.1), "abs": stax.Abs(), "erf": stax.Erf()}
FIRST = [0.31981381, 0.0990426, 0.11549361, -0.02821782]
"""d/dX[0] of the weighted NTK of Dense(8, 1.2, .1), Relu, Dense(2): of X[:2] with X, of which two rows are equal."""


def kernel_of(name):
    if name == "deep":
        return stax.serial(*[stax.serial(stax.Dense(8, 1.2, 0.1), stax.Relu())] * 4, stax.Dense(2))[2]
    if name == "conv":
        layer = stax.serial(stax.Conv(8, (2,), padding="SAME", W_std=1.2, b_std=0.1), stax.Relu())
        return stax.serial(layer, layer, stax.Flatten(), stax.Dense(2))[2]
    return stax.serial(stax.Dense(8, 1.2, 0.1), KINKED[name], stax.Dense(2))[2]


@pytest.mark.parametrize("name", [*KINKED, "deep", "conv"])
def test_gradients_where_samples_coincide(name):
    """The mean of both sides, of a cone: eager and jitted, in both precisions."""
    kernel_fn, step = kernel_of(name), 1e-5

    def loss(z):
        fixed = jnp.asarray(X[:2], z.dtype)
        fixed, z = (v[..., None] for v in (fixed, z)) if name == "conv" else (fixed, z)
        return (kernel_fn(fixed, z, "ntk") * WEIGHTS).sum()

    with jax.enable_x64(True):
        steps = step * np.eye(4)
        right = [(loss(jnp.asarray(X).at[0].add(s)) - loss(jnp.asarray(X).at[0].add(-s))) / (2 * step) for s in steps]
        for gradient in (jax.grad(loss), jax.jit(jax.grad(loss))):
            for dtype, bound in ((jnp.float64, 1e-7), (jnp.float32, 2e-5)):
                found = gradient(jnp.asarray(X, dtype))[0]
                np.testing.assert_allclose(found, right, rtol=bound, atol=bound)
                if name == "relu":
                    np.testing.assert_allclose(found, FIRST, rtol=bound, atol=bound)


@pytest.mark.parametrize(("get", "right"), [("ntk", 0.27382), ("nngp", 0.13293)])
def test_gradients_at_a_sample_of_zeros(get, right):
    kernel_fn = stax.serial(stax.Dense(8, 1.0, 0.1), stax.Relu(), stax.Dense(1, 1.0, 0.1))[2]
    found = jax.grad(lambda a: kernel_fn(a, np.ones((1, 2), np.float32), get)[0, 0])(jnp.zeros((1, 2), jnp.float32))
    np.testing.assert_allclose(found[0], right, rtol=2e-5)


@pytest.mark.parametrize("activation", [stax.Relu(), stax.LeakyRelu(0.1), stax.Erf()])
def test_gradients_at_zeros_are_differences(activation):
    kernel_fn = stax.serial(stax.Dense(8, 1.3, 0.2), activation, stax.Dense(8, 1.1, 0.1), activation, stax.Dense(1))[2]
    with jax.enable_x64(True):
        for other in (np.array([[0.3, -0.7, 1.1]]), None):

            def value(a, other=other):
                return kernel_fn(a, other, "ntk")[0, 0]

            steps = 1e-6 * np.eye(3)[:, None]
            right = [float(value(jnp.asarray(s)) - value(jnp.asarray(-s))) / 2e-6 for s in steps]
            np.testing.assert_allclose(jax.grad(value)(jnp.zeros((1, 3)))[0], right, atol=1e-8)


def test_values_at_zeros_are_those_of_zeros():
    kernel_fn = stax.serial(stax.Dense(8, 1.3, 0.2), stax.Relu(), stax.Dense(1))[2]
    x = jnp.zeros((2, 3))
    np.testing.assert_allclose(kernel_fn(x, None, "nngp"), np.full((2, 2), 0.02), rtol=1e-6)
    np.testing.assert_allclose(kernel_fn(x, None, "ntk"), np.full((2, 2), 0.04), rtol=1e-6)
