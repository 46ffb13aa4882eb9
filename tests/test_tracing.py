"""Functions of jax.numpy become expressions, and their networks the kernels of those."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp

import ntkc
from ntkc import stax
from ntkc.errors import UnsupportedExpr
from ntkc.gaussian.normal_form import X
from ntkc.gaussian.numbers import on_array
from ntkc.tracing import expression_of

FUNCTIONS = {
    "tanh": jnp.tanh,
    "softplus": jax.nn.softplus,
    "silu": jax.nn.silu,
    "gelu": jax.nn.gelu,
    "exact gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "celu": jax.nn.celu,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "leaky relu": jax.nn.leaky_relu,
    "hard tanh": jax.nn.hard_tanh,
    "hard silu": jax.nn.hard_silu,
    "mish": jax.nn.mish,
    "sigmoid": jax.nn.sigmoid,
    "soft sign": jax.nn.soft_sign,
    "squareplus": jax.nn.squareplus,
    "where": lambda x: jnp.where(x > 1, x, 0.5),
    "clip": lambda x: jnp.clip(2 * x, -1, 3),
    "power": lambda x: x**3 - x / 2 + jnp.sqrt(1 + x * x),
    "jit": jax.jit(lambda x: jnp.exp(-(x**2)) * jnp.sin(x)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name, x64):
    x = np.array([-7.3, -2.5, -0.5, -1e-3, 1e-3, 0.3, 1.7, 4.0, 8.0])
    expected = jax.vmap(FUNCTIONS[name])(jnp.asarray(x))
    np.testing.assert_allclose(on_array(expression_of(FUNCTIONS[name]), x), expected, rtol=1e-12, atol=1e-14)


def test_known_functions_keep_their_form():
    assert expression_of(jax.nn.softplus) == sp.log(1 + sp.exp(X))
    assert expression_of(jax.nn.relu) == sp.Max(X, 0)
    assert expression_of(lambda x: 0.1 * x) == X / 10


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (np.tanh, "jax.numpy"),
        (lambda x: jnp.sum(jnp.ones(3) * x, keepdims=True), "one number"),
        (lambda x: (x, x), "one number"),
        (jax.scipy.special.gammaln, "lgamma"),
        (lambda x: x if x > 0 else 0.0, "cannot be traced"),
        ("x", "not a function"),
        (lambda x: x * jnp.inf, "not finite"),
    ],
)
def test_refused(fn, words):
    with pytest.raises(UnsupportedExpr, match=words):
        expression_of(fn)


@pytest.mark.slow
def test_elementwise_numerical_is_the_function(pair, x64):
    def net(layer):
        return stax.serial(stax.Dense(7, 1.5, 0.1), layer, stax.Dense(1))[2](*pair, "ntk")

    np.testing.assert_allclose(net(stax.ElementwiseNumerical(jax.lax.erf, 25)), net(stax.Erf()), rtol=1e-12)
    np.testing.assert_allclose(
        net(stax.ElementwiseNumerical(jnp.tanh, deg=25)), net(stax.Activation("tanh(x)")), rtol=1e-12
    )
    np.testing.assert_allclose(net(stax.Activation(jax.nn.relu)), net(stax.Relu()), rtol=1e-12)


def test_finite_network_of_a_traced_function():
    init, apply, _ = stax.serial(stax.Dense(5), stax.Activation(jax.nn.silu))
    _, params = init(jax.random.key(0), (-1, 3))
    x = jnp.asarray([[100.0, -100.0, 300.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(apply(params, x), jax.nn.silu(stax.Dense(5)[1](params[0], x)), rtol=1e-5)
    assert np.isfinite(jax.jacobian(lambda x: apply(params, 100 * x))(x)).all()


def test_json_holds_the_expression():
    net = stax.serial(stax.Dense(5), stax.Activation(jax.nn.silu))
    again = ntkc.from_json(ntkc.to_json(net))
    assert ntkc.compile(again).source == ntkc.compile(net).source
