"""jit and grad around kernels, masks and tiles, under any of JAX's settings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntkc
from ntkc import predict, stax
from ntkc.errors import InvalidInput
from ntkc.stax import Conv, Dense, Flatten, GlobalAvgPool, Relu, serial

X, X2 = np.random.default_rng(0).normal(size=(4, 4)), np.random.default_rng(1).normal(size=(2, 4))
IMAGES = np.random.default_rng(2).normal(size=(4, 3, 3, 2))
NET = serial(Dense(8, 1.2, 0.1), Relu(), Dense(1))
CNN = serial(Conv(8, (2, 2), b_std=0.1), Relu(), GlobalAvgPool(), Dense(1))


@pytest.mark.parametrize("constant", [9.0, np.nan])
def test_a_traced_mask_constant(constant):
    masked = np.where(IMAGES > 1, constant, IMAGES)
    traced = jax.jit(lambda x, m: CNN[2](x, None, "ntk", mask_constant=m))(masked, constant)
    np.testing.assert_allclose(traced, CNN[2](masked, None, "ntk", mask_constant=constant), rtol=1e-6)


@pytest.mark.parametrize("x2", [X2, None])
def test_tiles_inside_jit_and_grad(x2):
    tiled = ntkc.batch(NET[2], 2)
    np.testing.assert_allclose(jax.jit(lambda x: tiled(x, x2, "ntk"))(X), NET[2](X, x2, "ntk"), rtol=1e-6, atol=5e-7)
    slope = jax.grad(lambda x: tiled(x, x2, "ntk").sum())(X)
    np.testing.assert_allclose(slope, jax.grad(lambda x: NET[2](x, x2, "ntk").sum())(X), rtol=1e-4, atol=1e-5)


def test_a_tiled_kernel_object_inside_jit():
    made, expected = jax.jit(ntkc.batch(NET[2], 2))(X, X2), NET[2](X, X2)
    for field in ("nngp", "ntk", "cov1", "cov2"):
        np.testing.assert_allclose(getattr(made, field), getattr(expected, field), rtol=1e-6, atol=1e-7)


def test_host_memory_holds_no_traced_tiles():
    with pytest.raises(InvalidInput, match="store_on_device=True"):
        jax.jit(lambda x: ntkc.batch(NET[2], 2, store_on_device=False)(x, None, "ntk"))(X)


NETWORKS = {
    "dense": (NET, X),
    "erf": (serial(Dense(8, 1.2, 0.1), stax.Erf(), Dense(1)), X),
    "series": (serial(Dense(8, 1.2, 0.1), stax.Tanh(), Dense(1)), X),
    "pool": (CNN, IMAGES),
    "flat": (serial(Conv(8, (2, 2), b_std=0.1), stax.Erf(), Flatten(), Dense(1)), IMAGES),
}
SLOW = ("erf", "series", "flat")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in NETWORKS])
def test_kernels_without_rank_promotion(name):
    (init_fn, apply_fn, kernel_fn), x = NETWORKS[name]
    expected = kernel_fn(x, x[:2], "ntk")
    with jax.numpy_rank_promotion("raise"):
        np.testing.assert_allclose(kernel_fn(x, x[:2], "ntk"), expected, rtol=1e-6)
        jax.grad(lambda x: kernel_fn(x, x[:2] * 1.1, "ntk").sum())(x)
        apply_fn(init_fn(jax.random.PRNGKey(0), x.shape)[1], x)


@pytest.mark.parametrize("t", [None, 1.0, np.array([1.0, 2.0])])
def test_predictions_without_rank_promotion(t):
    y = np.sin(X[:, :2])
    with jax.numpy_rank_promotion("raise"):
        ntk, cross = NET[2](X, None, "ntk"), NET[2](X2, X, "ntk")
        train, test = predict.gradient_descent_mse(ntk, y)(t, 0.0, 0.0, cross)
        ensemble = predict.gradient_descent_mse_ensemble(NET[2], X, y)
        mean = ensemble(t=t, x_test=X2, get="ntk")
        ensemble(t=t, x_test=X2, compute_cov=True)
    assert train.shape == (*np.shape(t), 4, 2)
    np.testing.assert_allclose(test, mean, rtol=1e-3, atol=1e-4)


SETTINGS = {
    "jax_debug_nans": True,
    "jax_debug_infs": True,
    "jax_enable_checks": True,
    "jax_default_matmul_precision": "bfloat16",
    "jax_disable_jit": True,
}


@pytest.mark.parametrize("name", SETTINGS)
def test_kernels_under_other_settings(name):
    expected = NET[2](X, X2, "ntk")
    before = getattr(jax.config, name)
    jax.config.update(name, SETTINGS[name])
    try:
        made = NET[2](X, X2, "ntk")
        slope = jax.grad(lambda x: jnp.sum(NET[2](x, X2, "ntk")))(X)
    finally:
        jax.config.update(name, before)
    np.testing.assert_allclose(made, expected, rtol=1e-6, atol=5e-7)
    assert np.isfinite(slope).all()


VMAPPED = {
    "gaps": stax.serial(stax.Dense(8, 1.0, 0.1), stax.Erf(), stax.Dense(1)),
    "distances": stax.serial(stax.Dense(8, 1.0, 0.1), stax.Relu(), stax.Dropout(0.5), stax.Dense(8), stax.Relu()),
}


@pytest.mark.parametrize("name", VMAPPED)
@pytest.mark.parametrize("axes", [(0, 0), (None, 0), (0, None)], ids=str)
def test_batches_of_near_samples(name, axes):
    """vmap over one side or both, with rows so near that float64 is taken for them."""
    kernel_fn = VMAPPED[name][2]
    x = np.random.default_rng(3).normal(size=(3, 4, 5)).astype(np.float32)
    near = x[:, :2] * np.float32(1 + 1e-5)
    sides = [v if axis == 0 else v[0] for v, axis in zip((x, near), axes, strict=True)]
    found = jax.vmap(lambda a, b: kernel_fn(a, b, "ntk"), axes)(*sides)
    for i in range(3):
        one, two = (v[i] if axis == 0 else v for v, axis in zip(sides, axes, strict=True))
        np.testing.assert_allclose(found[i], kernel_fn(one, two, "ntk"), rtol=1e-5, atol=1e-6)
