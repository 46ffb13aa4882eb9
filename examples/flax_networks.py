"""Empirical kernels and the linearisation of Flax networks, linen and NNX:  pip install flax."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from ntkc import NtkImplementation, empirical_ntk_fn, linearize

try:
    from flax import linen, nnx
except ImportError:
    print("this example needs the package flax: pip install flax")
    raise SystemExit from None

WIDTH, OUTPUTS = 256, 3


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.gelu(linen.Dense(WIDTH)(x))
        x = linen.gelu(linen.Dense(WIDTH)(x))
        return linen.Dense(OUTPUTS)(x)


class Nnx(nnx.Module):
    def __init__(self, features: int, rngs: nnx.Rngs) -> None:
        sizes = [features, WIDTH, WIDTH, OUTPUTS]
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in pairwise(sizes)])

    def __call__(self, x: jax.Array) -> jax.Array:
        *hidden, last = self.layers
        for layer in hidden:
            x = nnx.gelu(layer(x))
        return last(x)


def report(name: str, f, params) -> None:
    """f(params, x) of any origin: its NTK by two implementations, and a step beside that of its linearisation."""
    ways = NtkImplementation.STRUCTURED_DERIVATIVES, NtkImplementation.JACOBIAN_CONTRACTION
    one, two = (jax.jit(empirical_ntk_fn(f, (), vmap_axes=0, implementation=way))(x, None, params) for way in ways)
    moved = jax.tree.map(lambda p: p + 1e-3 * jnp.sign(p), params)
    change, linear = (jnp.linalg.norm(g(moved, x) - f(params, x)) for g in (f, linearize(f, params)))
    print(
        f"{name:6} NTK {one.shape}, implementations agree to {jnp.abs(one - two).max() / jnp.abs(two).max():.0e};",
        end="",
    )
    print(f" a step changes outputs by {change:.4f}, the linear model by {linear:.4f}")


x = np.random.default_rng(0).standard_normal((4, 8)).astype("float32")
model = Linen()
report("linen", model.apply, model.init(jax.random.key(0), x))
graph, weights = nnx.split(Nnx(8, nnx.Rngs(0)))
report("NNX", lambda p, x: nnx.merge(graph, p)(x), weights)
