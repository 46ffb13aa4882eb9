"""The tangent kernel of a finite network, in plain JAX, and how far its training leaves the linear regime.

f(params, x) may be any JAX function; the weights here are a list of matrices.
"""

import time

import jax
import jax.numpy as jnp

from ntkc import NtkImplementation, empirical_ntk_fn, linearize

WIDTH, SAMPLES, OUTPUTS = 512, 16, 10


def network(params, x):
    *hidden, last = params
    for w in hidden:
        x = jnp.maximum(x @ w, 0) * (2 / w.shape[1]) ** 0.5
    return x @ last


keys = jax.random.split(jax.random.PRNGKey(0), 5)
sizes = [(64, WIDTH), (WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH, OUTPUTS)]
params = [jax.random.normal(k, s) for k, s in zip(keys, sizes, strict=False)]
x = jax.random.normal(keys[4], (SAMPLES, 64)) / 8

kernels = {}
for way in list(NtkImplementation)[1:]:
    ntk_fn = jax.jit(empirical_ntk_fn(network, trace_axes=(), vmap_axes=0, implementation=way))
    kernels[way] = jax.block_until_ready(ntk_fn(x, x, params))
    start = time.perf_counter()
    jax.block_until_ready(ntk_fn(x, x, params))
    print(f"{way.name:24} {1e3 * (time.perf_counter() - start):8.1f} ms")
theta = kernels[NtkImplementation.JACOBIAN_CONTRACTION]
apart = max(float(jnp.abs(k - theta).max() / jnp.abs(theta).max()) for k in kernels.values())
print(f"NTK of {SAMPLES} samples and {OUTPUTS} outputs: {theta.shape}, implementations agree to {apart:.0e}")

moved = [p + 0.01 * jax.random.normal(k, p.shape) for p, k in zip(params, keys, strict=False)]
change = network(moved, x) - network(params, x)
linear = linearize(network, params)(moved, x) - network(params, x)
print(f"a step of 1 % changes outputs by {float(jnp.linalg.norm(change)):.3f}; the linear model says", end=" ")
print(f"{float(jnp.linalg.norm(linear)):.3f}")
