"""Finite networks as plain JAX functions f(params, x), for the peer and for ntkc: no package but jax is used.

Outputs are [samples, ..., channels]; samples do not see each other.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

SAMPLES = (3, 2)
"""Rows of x1 and of x2."""


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal(s) / np.sqrt(max(np.prod(s[:-1]), 1)) for s in shapes)


def dense(params, x):
    w1, b1, w2 = params
    return jnp.tanh(x @ w1 + b1) @ w2


def conv(params, x):
    w1, w2 = params
    numbers = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(x, w1, (1, 1), "SAME", dimension_numbers=numbers)
    return lax.conv_general_dilated(jax.nn.gelu(y), w2, (2, 2), "VALID", dimension_numbers=numbers)


def residual(params, x):
    w1, w2, w3 = params
    x = x @ w1
    x = x + jnp.maximum(x, 0) @ w2
    return (x + jnp.sin(x)) @ w3


def attention(params, x):
    query, key, value = params
    scores = jax.nn.softmax(jnp.einsum("npc,cd,de,nqe->npq", x, query, key, x), -1)
    return scores @ (x @ value)


def scan(params, x):
    weights, last = params
    y, _ = lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, weights)
    return y @ last


def layer_norm(params, x):
    w1, gain, shift, w2 = params
    y = x @ w1
    y = (y - y.mean(-1, keepdims=True)) / jnp.sqrt(y.var(-1, keepdims=True) + 1e-5)
    return jnp.tanh(y * gain + shift) @ w2


def shared(params, x):
    (w,) = params
    return jnp.tanh(jnp.tanh(x @ w) @ w) @ w.T


def recurrent(params, x):
    """One weight at every step of a sequence."""
    w, u, last = params
    h = jnp.zeros((x.shape[0], w.shape[0]))
    for t in range(x.shape[1]):
        h = jnp.tanh(h @ w + x[:, t] @ u)
    return h @ last


def scaled(params, x):
    scale, bias = params
    return jnp.exp(-((x * scale) ** 2)) + bias


def pixels(params, x):
    """Outputs with an axis between samples and channels, and a global mean inside."""
    w1, w2 = params
    y = jnp.tanh(x @ w1)
    return (y - y.mean(1, keepdims=True)) @ w2


NETWORKS = {
    "dense": (dense, draw(0, (4, 6), (1, 6), (6, 3)), (4,)),
    "conv": (conv, draw(1, (3, 3, 2, 4), (2, 2, 4, 3)), (4, 4, 2)),
    "residual": (residual, draw(2, (4, 5), (5, 5), (5, 3)), (4,)),
    "attention": (attention, draw(3, (4, 3), (3, 4), (4, 3)), (3, 4)),
    "scan": (scan, draw(4, (3, 4, 4), (4, 3)), (4,)),
    "layer_norm": (layer_norm, draw(5, (4, 6), (1, 6), (1, 6), (6, 3)), (4,)),
    "shared": (shared, draw(6, (4, 4)), (4,)),
    "recurrent": (recurrent, draw(7, (5, 5), (2, 5), (5, 3)), (3, 2)),
    "scaled": (scaled, draw(8, (1, 4), (1, 4)), (4,)),
    "pixels": (pixels, draw(9, (2, 5), (5, 3)), (3, 2)),
}
"""Name -> (f, params, shape of one sample)."""

OPTIONS = {
    "traced": {"trace_axes": (-1,), "diagonal_axes": (), "vmap_axes": None},
    "traced by sample": {"trace_axes": (-1,), "diagonal_axes": (), "vmap_axes": 0},
    "whole": {"trace_axes": (), "diagonal_axes": (), "vmap_axes": 0},
    "diagonal": {"trace_axes": (), "diagonal_axes": (-1,), "vmap_axes": 0},
}
PIXEL_OPTIONS = {
    "pixels diagonal": {"trace_axes": (-1,), "diagonal_axes": (1,), "vmap_axes": 0},
    "pixels traced": {"trace_axes": (1,), "diagonal_axes": (), "vmap_axes": None},
}
SAME_OPTIONS = {
    "samples diagonal": {"trace_axes": (-1,), "diagonal_axes": (0,), "vmap_axes": 0},
    "samples traced": {"trace_axes": (0, -1), "diagonal_axes": (), "vmap_axes": 0},
}
"""Of x1 with itself."""


def inputs(name):
    """x1 and x2."""
    shape = NETWORKS[name][2]
    rng = np.random.default_rng(len(name))
    return tuple(rng.standard_normal((n, *shape)) for n in SAMPLES)


def cases():
    """(name, options, x2 given)."""
    for name in NETWORKS:
        options = {**OPTIONS, **(PIXEL_OPTIONS if name in ("conv", "pixels", "attention") else {})}
        for option in options:
            yield name, option, True
        for option in SAME_OPTIONS:
            yield name, option, False


ALL_OPTIONS = {**OPTIONS, **PIXEL_OPTIONS, **SAME_OPTIONS}
