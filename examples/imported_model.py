"""The kernel of a model that exists, read off its parameters, beside the model's own NTK at three widths.

PyTorch, Flax, Equinox and Keras modules go the same way:  ntkc.compile(model, example=x).
"""

import jax
import jax.numpy as jnp
import numpy as np

import ntkc


def model(params, x):
    """A residual network with a norm."""
    h = x @ params["first"]
    centered = h - h.mean(-1, keepdims=True)
    normed = centered / jnp.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5)
    h = h + jax.nn.relu(normed @ params["up"]) @ params["down"]
    return h @ params["last"]


def parameters(key, width, features=10):
    sizes = {"first": (features, width), "up": (width, width), "down": (width, width), "last": (width, 1)}
    keys = jax.random.split(key, len(sizes))
    return {n: jax.random.normal(k, s) / s[0] ** 0.5 for k, (n, s) in zip(keys, sizes.items(), strict=True)}


def main():
    x = np.random.default_rng(0).standard_normal((6, 10)).astype(np.float32)
    for width in (64, 256, 1024):
        params = parameters(jax.random.PRNGKey(width), width)
        program = ntkc.compile(ntkc.from_jax(model, params, x))
        limit = program(x, None, "ntk")
        own = ntkc.empirical_ntk_fn(model, vmap_axes=0)(x, None, params)
        difference = np.linalg.norm(own - limit) / np.linalg.norm(limit)
        print(f"width {width:5d}: NTK of the model and of the limit differ by {difference:.3f}")
    print(program.imported)


if __name__ == "__main__":
    main()
