"""Averages over random finite networks are the infinite-width kernels, within sampling error and a 1/width bias.

Each average over SEEDS networks lies within 5 standard errors of the kernel, plus BIAS / width of the diagonal;
`test_bias_shrinks_like_one_over_width` measures that bias. Seeds are fixed, so that a test passes always or never.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntkc import stax

SEEDS = 150
WIDTH = 256
SIGMAS = 5
BIAS = 4
X = np.random.default_rng(8).standard_normal((3, 4)).astype(np.float32)
X[2] = 0.8 * X[0] + 0.3 * X[2]


def residual(branch):
    return stax.serial(stax.FanOut(2), stax.parallel(stax.Identity(), branch), stax.FanInSum())


def ntk(width, phi, depth=1):
    block = stax.serial(stax.Dense(width, 1.3, 0.2), phi)
    return stax.serial(*[block] * depth)


def standard(width, s):
    wide = {"parameterization": "standard"}
    return stax.serial(
        stax.Dense(width, 1.3, 0.2, s=(1, s), **wide),
        stax.Relu(),
        stax.Dense(width, 1.2, None, s=(s, s), **wide),
        stax.Erf(),
    )


def arms(width):
    """Two Dense on one hidden layer: independent branches whose relus have non-zero means."""
    arm = stax.serial(stax.Dense(width, 1.1, 0.3), stax.Relu())
    other = stax.serial(stax.Dense(width, 0.8), stax.Abs())
    return stax.serial(
        stax.Dense(width, 1.2, 0.1), stax.Relu(), stax.FanOut(2), stax.parallel(arm, other), stax.FanInSum()
    )


NETWORKS = {
    "relu": lambda w: ntk(w, stax.Relu(), 2),
    "leaky without bias": lambda w: stax.serial(stax.Dense(w), stax.LeakyRelu(0.3)),
    "erf with shift": lambda w: ntk(w, stax.Erf(1.2, 0.8, 0.3), 2),
    "sin": lambda w: ntk(w, stax.Sin(1.0, 0.9, 0.4)),
    "x*erf": lambda w: ntk(w, stax.Activation("x*erf(x)")),
    "relu squared": lambda w: ntk(w, stax.Activation("relu(x)**2/2")),
    "gelu": lambda w: ntk(w, stax.Activation("gelu(x)")),
    "x + relu": lambda w: ntk(w, residual(stax.Relu())),
    "relu of relu": lambda w: ntk(w, stax.serial(stax.Relu(), stax.Relu())),
    "doubled": lambda w: ntk(w, stax.serial(stax.FanOut(2), stax.FanInSum(), stax.Relu())),
    "standard": lambda w: standard(w, 1),
    "standard with s": lambda w: standard(w // 2, 2),
    "pre-activation residual": lambda w: stax.serial(
        stax.Dense(w, 1.2, 0.1), residual(stax.serial(stax.Relu(), stax.Dense(w, 1.1, 0.2))), stax.Relu()
    ),
    "correlated fields": lambda w: stax.serial(
        stax.Dense(w, 1.2, 0.1),
        stax.FanOut(2),
        stax.parallel(stax.Relu(), stax.serial(residual(stax.serial(stax.Erf(), stax.Dense(w, 0.9))), stax.Abs())),
        stax.FanInSum(),
    ),
    "independent branches": arms,
    "repeat": lambda w: stax.serial(stax.Dense(w), stax.repeat(stax.serial(stax.Relu(), stax.Dense(w, 1.3, 0.1)), 3)),
}
"""Hidden layers of a width."""
LONG = (
    "sin",
    "gelu",
    "relu of relu",
    "standard",
    "leaky without bias",
    "erf with shift",
    "x*erf",
    "doubled",
    "repeat",
    "relu squared",
)


def whole(hidden, name):
    """The hidden layers with an output of width 1."""
    wide = (
        {"parameterization": "standard", "s": (2 if name == "standard with s" else 1, 1)} if "standard" in name else {}
    )
    return stax.serial(hidden, stax.Dense(1, 0.9, 0.3, **wide))


def samples(hidden, network, seeds):
    """Of every seed: the NNGP of the hidden layers, averaged over their width, and the NTK of the network."""

    @jax.jit
    def of_all(keys):
        return jax.lax.map(of_seed, keys, batch_size=25)

    def of_seed(key):
        _, params = network[0](key, (-1, X.shape[1]))
        outputs = hidden[1](params[0], X)
        jacobian = jax.jacrev(lambda p: network[1](p, X)[:, 0])(params)
        flat = jnp.concatenate([leaf.reshape(len(X), -1) for leaf in jax.tree.leaves(jacobian)], axis=1)
        return outputs @ outputs.T / outputs.shape[1], flat @ flat.T

    return [np.asarray(v, np.float64) for v in of_all(jax.random.split(jax.random.PRNGKey(1), seeds))]


def deviations(name, width, seeds=SEEDS):
    """(mean - kernel) and its standard error, in units of sqrt(K_ii K_jj), for the NNGP and for the NTK."""
    hidden = NETWORKS[name](width)
    network = whole(hidden, name)
    with jax.disable_jit():
        kernels = hidden[2](X, None, "nngp"), network[2](X, None, "ntk")
    for kernel, values in zip(kernels, samples(hidden, network, seeds), strict=True):
        kernel = np.asarray(kernel, np.float64)
        relative = (values - kernel) / np.sqrt(np.outer(np.diag(kernel), np.diag(kernel)))
        yield relative.mean(0), relative.std(0, ddof=1) / np.sqrt(seeds)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in NETWORKS])
def test_average_kernels(name):
    for deviation, error in deviations(name, WIDTH):
        assert np.all(np.abs(deviation) <= SIGMAS * error + BIAS / WIDTH)
        # What is allowed is small: a kernel wrong by a factor does not pass.
        assert np.max(SIGMAS * error + BIAS / WIDTH) < 0.15


def test_bias_shrinks_like_one_over_width():
    """E[kernel of width w] = K + c / w + O(1 / w^2):  2 mean(2w) - mean(w) loses the first bias, and |c| < BIAS."""
    width, seeds = 32, 500
    for (at_w, error_w), (at_2w, error_2w) in zip(
        deviations("relu", width, seeds), deviations("relu", 2 * width, seeds), strict=True
    ):
        assert np.all(np.abs(2 * at_2w - at_w) <= SIGMAS * np.sqrt(4 * error_2w**2 + error_w**2) + 10 / width**2)
        assert np.all(np.abs(at_w) * width <= BIAS)


def test_outputs_of_wide_networks_are_gaussian_processes():
    """The kernel is the covariance across seeds of one output, not only the average over channels."""
    network = whole(ntk(512, stax.Relu()), "relu")

    def one(key):
        _, params = network[0](key, (-1, X.shape[1]))
        return network[1](params, X)[:, 0]

    outputs = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.PRNGKey(2), 1000)), np.float64)
    products = outputs[:, :, None] * outputs[:, None, :]
    mean, error = products.mean(0), products.std(0) / np.sqrt(len(products))
    kernel = np.asarray(network[2](X, None, "nngp"))
    assert np.all(np.abs(mean - kernel) <= SIGMAS * error)
    assert np.all(np.abs(outputs.mean(0)) <= SIGMAS * np.sqrt(np.diag(kernel) / len(outputs)))
