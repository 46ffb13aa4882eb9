"""Derivatives of kernels against central differences, at duplicate rows too; jit, vmap and eager agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp

from ntkc import stax

STEP = 1e-5
TOLERANCE = 1e-6
BOTH = ("nngp", "ntk")


def dense(W_std=1.2, b_std=None):
    return stax.Dense(4, W_std, b_std)


def mlp(phi, depth=1, W_std=1.2, b_std=0.2):
    return stax.serial(*[stax.serial(dense(W_std, b_std), phi)] * depth, dense(W_std, b_std))


def residual(branch):
    return stax.serial(stax.FanOut(2), stax.parallel(stax.Identity(), branch), stax.FanInSum())


ACTIVATIONS = {
    "relu": stax.Relu(),
    "leaky": stax.LeakyRelu(0.2),
    "abs": stax.Abs(),
    "erf": stax.Erf(),
    "x*erf": stax.Activation("x*erf(x)"),
    "gelu": stax.Activation("gelu(x)"),
    "sin": stax.Sin(1.0, 1.1, 0.3),
    "exp": stax.Exp(1.0, 0.4),
    "cubic": stax.Polynomial((0.1, 0.5, -0.3, 0.2)),
    "gaussian": stax.Activation("exp(-x**2)"),
    "relu squared": stax.Activation("relu(x)**2"),
    "x + relu": residual(stax.Relu()),
    "relu + erf": stax.Activation("relu(x) + erf(x)"),
    "cut gaussian": stax.Activation("exp(-x**2)*relu(x)"),
}
NETWORKS = {
    **{name: mlp(phi) for name, phi in ACTIVATIONS.items()},
    "relu without bias": mlp(stax.Relu(), 2, 2**0.5, None),
    "relu collapsed": mlp(stax.Relu(), 6, 2**0.5, None),
    "erf, relu": stax.serial(dense(), stax.Erf(), dense(), stax.Relu(), dense()),
    "residual": stax.serial(dense(), residual(stax.serial(stax.Relu(), dense())), stax.Abs(), dense()),
    "relu loop": mlp(stax.Relu(), 5),
    "erf loop": mlp(stax.Erf(), 5, 2.0, 0.1),
    "erf residual": stax.serial(dense(), residual(stax.serial(stax.Erf(), dense())), stax.Sigmoid_like(), dense()),
}


QUICK = ("relu", "erf", "x*erf", "cubic", "gaussian", "relu collapsed", "erf, relu")


def marked(names, quick=QUICK):
    """Parameters, those outside `quick` marked slow: XLA takes seconds to compile a derivative."""
    return [n if n in quick else pytest.param(n, marks=pytest.mark.slow) for n in names]


ROWS, FEATURES = 6, 4
DIRECTION = np.cos(np.arange(24.0)).reshape(ROWS, FEATURES)


def data():
    """Random rows, and weights for K and T."""
    rng = np.random.default_rng(3)
    x1, x2 = rng.standard_normal((2, ROWS, FEATURES))
    return jnp.asarray(x1), jnp.asarray(x2), rng.standard_normal((2, ROWS, ROWS))


def with_duplicates():
    """A duplicate, an opposite and a zero row."""
    x = np.asarray(data()[0])
    return np.concatenate([x[:3], [x[0], -x[1], np.zeros(FEATURES)]])


def total(network, weights, **parameters):
    """(x1, x2) -> a weighted sum of K and T."""

    def of(x1, x2):
        kernels = network[2](x1, x2, BOTH, **parameters)
        return sum(jnp.sum(w * k) for w, k in zip(weights, kernels, strict=True))

    return of


def slope_along(function, x, direction):
    """Central difference along a direction, as a float."""
    return float(function(x + STEP * direction) - function(x - STEP * direction)) / (2 * STEP)


def close(expected, relative=TOLERANCE):
    return pytest.approx(expected, rel=relative, abs=relative)


@pytest.mark.parametrize("name", marked(NETWORKS))
def test_gradient(name, x64):
    """Against central differences at random rows, and finite where K(x, x) holds duplicate, opposite and zero rows."""
    x1, x2, weights = data()
    both = jax.jit(jax.value_and_grad(total(NETWORKS[name], weights), (0, 1)))
    by_x1, by_x2 = both(x1, x2)[1]
    assert float(jnp.sum(by_x1 * DIRECTION)) == close(slope_along(lambda x: both(x, x2)[0], x1, DIRECTION))
    assert float(jnp.sum(by_x2 * DIRECTION)) == close(slope_along(lambda x: both(x1, x)[0], x2, DIRECTION))
    same = jnp.asarray(with_duplicates())
    value, gradients = both(same, same)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("name", marked(NETWORKS, ("relu", "erf", "relu collapsed")))
def test_gradient_in_float32(name):
    x = jnp.asarray(with_duplicates(), jnp.float32)
    value, gradients = jax.jit(jax.value_and_grad(total(NETWORKS[name], np.ones((2, 1, 1))), (0, 1)))(x, x)
    assert np.isfinite(value)
    for g in gradients:
        assert g.dtype == np.float32
        assert np.isfinite(g).all()


@pytest.mark.parametrize(
    "name", marked(["relu without bias", "relu", "erf", "relu loop"], ("relu without bias", "erf"))
)
def test_gradient_of_a_gram_matrix(name, x64):
    """With x2 = None, where one triangle is computed."""
    x, _, weights = data()
    both = jax.jit(jax.value_and_grad(lambda x: total(NETWORKS[name], weights)(x, None)))
    assert float(jnp.sum(both(x)[1] * DIRECTION)) == close(slope_along(lambda x: both(x)[0], x, DIRECTION))
    assert np.isfinite(both(jnp.asarray(with_duplicates()))[1]).all()


W, B = sp.symbols("w b", positive=True)
OPEN = {
    "relu": stax.serial(stax.Dense(4, W, B), stax.Relu(), stax.Dense(4, W, B)),
    "erf": stax.serial(stax.Dense(4, W, B), stax.Erf(), stax.Dense(4, W, B)),
    "relu loop": stax.serial(*[stax.serial(stax.Dense(4, W, B), stax.Relu())] * 4, stax.Dense(4, W, B)),
    "erf(a, b)": stax.serial(stax.Dense(4, W), stax.Erf(W, B, 0.5), stax.Dense(4)),
    "slope of leaky": stax.serial(stax.Dense(4), stax.LeakyRelu(W), stax.Dense(4, 1, B)),
}


@pytest.mark.parametrize("name", marked(OPEN, ("relu", "erf")))
def test_gradient_of_hyper_parameters(name, x64):
    x1, x2, weights = data()

    def function(values):
        return total(OPEN[name], weights, w=values[0], b=values[1])(x1, x2)

    both = jax.jit(jax.value_and_grad(function))
    at = jnp.asarray([1.3, 0.4])
    gradient = both(at)[1]
    for i, direction in enumerate(np.eye(2)):
        assert float(gradient[i]) == close(slope_along(lambda v: both(v)[0], at, direction))


@pytest.mark.parametrize(
    "name", marked(["relu", "relu without bias", "relu collapsed", "erf", "sin", "cubic"], ("relu",))
)
def test_second_derivative(name, x64):
    x1, x2, weights = data()
    function = total(NETWORKS[name], weights)

    def slope(x, other):
        return jnp.sum(jax.grad(function)(x, other) * DIRECTION)

    both = jax.jit(jax.value_and_grad(slope))
    second = float(jnp.sum(both(x1, x2)[1] * DIRECTION))
    assert second == close(slope_along(lambda x: both(x, x2)[0], x1, DIRECTION), 1e-5)
    same = jnp.asarray(with_duplicates())
    assert np.isfinite(both(same, same)[1]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "name", marked(["relu", "relu collapsed", "erf, relu", "residual", "cubic"], ("relu", "erf, relu"))
)
def test_jit_equals_eager(name, dtype):
    with jax.enable_x64(dtype == np.float64):
        x1, x2 = (jnp.asarray(x, dtype) for x in data()[:2])
        fast = NETWORKS[name][2](x1, x2, BOTH)
        with jax.disable_jit():
            slow = NETWORKS[name][2](x1, x2, BOTH)
    for a, b in zip(fast, slow, strict=True):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_allclose(
            a, b, rtol=30 * np.finfo(dtype).eps, atol=30 * np.finfo(dtype).eps * np.max(np.abs(b))
        )


def batches():
    """Three data sets with near-duplicate rows."""
    x = np.random.default_rng(4).standard_normal((3, 6, 5)).astype(np.float32)
    x[:, 4] = x[:, 0] * (1 + 1e-4 * x[:, 1])
    x[:, 5] = x[:, 2]
    return jnp.asarray(x)


@pytest.mark.parametrize("get", [pytest.param("nngp", marks=pytest.mark.slow), "ntk"])
@pytest.mark.parametrize("name", marked(["relu", "relu collapsed", "erf"], ("relu",)))
def test_vmap_equals_a_loop(name, get):
    x, kernel_fn = batches(), NETWORKS[name][2]
    mapped = jax.vmap(lambda x: kernel_fn(x, None, get))(x)
    pairs = jax.vmap(lambda a, b: kernel_fn(a, b, get))(x, x[::-1])
    shared = jax.vmap(lambda a: kernel_fn(a, x[0], get))(x)
    for i in range(3):
        for found, exact in (
            (mapped[i], kernel_fn(x[i], None, get)),
            (pairs[i], kernel_fn(x[i], x[2 - i], get)),
            (shared[i], kernel_fn(x[i], x[0], get)),
        ):
            np.testing.assert_allclose(found, exact, rtol=5e-6, atol=1e-6)


@pytest.mark.slow
def test_vmap_of_grad():
    x, kernel_fn = batches(), NETWORKS["relu"][2]

    def gradient(x):
        return jax.grad(lambda x: jnp.sum(kernel_fn(x, None, "ntk")))(x)

    mapped = jax.vmap(gradient)(x)
    for i in range(3):
        np.testing.assert_allclose(mapped[i], gradient(x[i]), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_forward_mode_equals_reverse_mode(x64):
    x1, x2, weights = data()
    function = total(NETWORKS["relu loop"], weights)
    forward = jax.jit(lambda x: jax.jvp(lambda x: function(x, x2), (x,), (jnp.asarray(DIRECTION),))[1])(x1)
    reverse = jnp.sum(jax.jit(jax.grad(function))(x1, x2) * DIRECTION)
    assert float(forward) == pytest.approx(float(reverse), rel=1e-12)
