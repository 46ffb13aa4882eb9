"""What the example scripts of Neural Tangents call, with the import changed, on data made here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from jax.example_libraries import optimizers

import ntkc as nt
from ntkc import stax

KEY = random.PRNGKey(0)


def clusters(n, features=12, classes=3):
    """Samples of a few kinds, normalised, and one-hot labels."""
    rng = np.random.default_rng(n)
    kind = np.arange(n) % classes
    x = np.random.default_rng(0).normal(size=(classes, features))[kind] + 0.3 * rng.normal(size=(n, features))
    x = (x - x.mean()) / x.std()
    return x.astype(np.float32), np.eye(classes, dtype=np.float32)[kind] - np.float32(1 / classes)


def accuracy(outputs, labels):
    return float(np.mean(np.argmax(outputs, 1) == np.argmax(labels, 1)))


def erf_network():
    return stax.serial(stax.Dense(256, 1.0, 0.05), stax.Erf(), stax.Dense(3, 1.0, 0.05))


def test_infinite_fcn():
    """Both predictions of a batched kernel, against the linear systems that define them."""
    (x, y), (x_test, y_test) = clusters(30), clusters(18)
    plain = stax.serial(stax.Dense(1, 2.0, 0.05), stax.Relu(), stax.Dense(1, 2.0, 0.05))[2]
    predict_fn = nt.predict.gradient_descent_mse_ensemble(
        nt.batch(plain, device_count=0, batch_size=0), x, y, diag_reg=1e-3
    )
    found = predict_fn(x_test=x_test)
    for get, outputs in zip(("nngp", "ntk"), found, strict=True):
        gram = np.asarray(plain(x, None, get), np.float64)
        ridge = 1e-3 * np.trace(gram) / len(x) * np.eye(len(x))
        expected = np.asarray(plain(x_test, x, get), np.float64) @ np.linalg.solve(gram + ridge, y)
        np.testing.assert_allclose(outputs, expected, atol=1e-3)
        assert accuracy(outputs, y_test) > 0.9


def test_elementwise():
    def nngp_fn(cov12, var1, var2):
        norm = jnp.sqrt(var1 * var2)
        return norm * jnp.exp(cov12 / norm - 1)

    x1, x2 = random.normal(KEY, (10, 2)), random.normal(random.PRNGKey(1), (20, 2))
    derived = stax.serial(stax.Dense(1), stax.Elementwise(nngp_fn=nngp_fn))[2](x1, x2, "ntk")
    given = stax.serial(stax.Dense(1), stax.ExpNormalized())[2](x1, x2, "ntk")
    np.testing.assert_allclose(derived, given, atol=1e-6)


def test_elementwise_numerical():
    x1, x2 = random.normal(KEY, (10, 3)), random.normal(random.PRNGKey(1), (20, 3))
    closed = stax.serial(stax.Dense(1), stax.Gelu(), stax.Dense(1))[2](x1, x2)
    numerical = stax.serial(stax.Dense(1), stax.ElementwiseNumerical(jax.nn.gelu, deg=25), stax.Dense(1))[2](x1, x2)
    for name in ("nngp", "ntk"):
        np.testing.assert_allclose(getattr(closed, name), getattr(numerical, name), atol=1e-3)


def trained(optimizer, loss, f, params, x, y, steps):
    start, update, current = optimizer
    slope = jax.grad(lambda p: loss(f(p, x), y))

    def step(state, i):
        return update(i, slope(current(state)), state), None

    return current(jax.jit(lambda s: jax.lax.scan(step, s, jnp.arange(steps)))(start(params))[0])


def mean_square(outputs, labels):
    return 0.5 * jnp.mean((outputs - labels) ** 2)


def test_function_space():
    """A trained network, and what its empirical kernel says of it."""
    (x, y), (x_test, _) = clusters(24), clusters(12)
    init_fn, apply_fn, _ = erf_network()
    params = init_fn(KEY, (-1, x.shape[1]))[1]
    ntk = nt.batch(nt.empirical_ntk_fn(apply_fn, vmap_axes=0), batch_size=12, device_count=0)
    predictor = nt.predict.gradient_descent_mse(ntk(x, None, params), y)
    cross = ntk(x_test, x, params)
    end = trained(optimizers.sgd(0.5), mean_square, apply_fn, params, x, y, 100)
    linear = predictor(50.0, apply_fn(params, x), apply_fn(params, x_test), cross)
    for outputs, data in zip(linear, (x, x_test), strict=True):
        own = apply_fn(end, data)
        assert float(jnp.sqrt(jnp.mean((outputs - own) ** 2))) < 0.1 * float(jnp.sqrt(jnp.mean(own**2))) + 0.02


def test_weight_space():
    """A network and its linearisation, both trained with momentum on a classification loss."""
    x, y = clusters(24)
    init_fn, f, _ = erf_network()
    params = init_fn(KEY, (-1, x.shape[1]))[1]
    labels = (y > 0).astype(np.float32)

    def cross_entropy(outputs, labels):
        return -jnp.mean(jax.nn.log_softmax(outputs) * labels)

    ends = [
        (g, trained(optimizers.momentum(0.3, 0.9), cross_entropy, g, params, x, labels, 60))
        for g in (f, nt.linearize(f, params))
    ]
    losses = [float(cross_entropy(g(end, x), labels)) for g, end in ends]
    assert max(losses) < 0.3 * float(cross_entropy(f(params, x), labels))
    assert abs(losses[0] - losses[1]) < 0.02


@pytest.mark.slow
def test_empirical_ntk():
    layers = [stax.Conv(8, (3, 3)), stax.Relu()] * 2
    init_fn, f, _ = stax.serial(*layers, stax.Conv(8, (3, 3)), stax.Flatten(), stax.Dense(10))
    x1, x2 = random.normal(KEY, (2, 8, 8, 3)), random.normal(random.PRNGKey(1), (3, 8, 8, 3))
    params = init_fn(random.PRNGKey(2), x1.shape)[1]
    found = [
        nt.empirical_ntk_fn(f=f, trace_axes=(), vmap_axes=0, implementation=way)(x2, x1, params)
        for way in nt.NtkImplementation
    ]
    for ntk in found:
        assert ntk.shape == (3, 2, 10, 10)
        np.testing.assert_allclose(ntk, found[0], atol=1e-4)


def test_imdb():
    """Sentences of masked words through attention, in tiles; padding with more masked words changes nothing."""
    mask = 100.0
    rng = np.random.default_rng(0)

    def sentences(n):
        x = rng.normal(size=(n, 14, 5)).astype(np.float32)
        there = np.arange(14) < rng.integers(9, 14, size=(n, 1))
        return np.where(there[..., None], x, mask), np.where(x[:, :9].sum((1, 2)) > 0, 0.5, -0.5)[:, None]

    (x, y), (x_test, _) = sentences(6), sentences(4)
    attention = stax.GlobalSelfAttention(
        n_chan_out=1,
        n_chan_key=1,
        n_chan_val=1,
        pos_emb_type="SUM",
        W_pos_emb_std=1.0,
        pos_emb_decay_fn=lambda d: 1 / (1 + d**2),
        n_heads=1,
    )
    conv = stax.Conv(out_chan=1, filter_shape=(3,), strides=(1,), padding="VALID")
    net = stax.serial(conv, stax.Relu(), attention, stax.Relu(), stax.GlobalAvgPool(), stax.Dense(out_dim=1))
    kernel_fn = nt.batch(net[2], device_count=-1, batch_size=2)
    predict = nt.predict.gradient_descent_mse_ensemble(
        kernel_fn=kernel_fn, x_train=x, y_train=y, diag_reg=1e-6, mask_constant=mask
    )
    nngp, ntk = predict(x_test=x_test, get=("nngp", "ntk"))
    assert nngp.shape == ntk.shape == (4, 1)
    for get, outputs in (("nngp", nngp), ("ntk", ntk)):
        gram, cross = (
            np.asarray(net[2](a, b, get, mask_constant=mask), np.float64) for a, b in ((x, None), (x_test, x))
        )
        ridge = 1e-6 * np.trace(gram) / len(x) * np.eye(len(x))
        np.testing.assert_allclose(outputs, cross @ np.linalg.solve(gram + ridge, y), atol=2e-2)
