"""Empirical kernels of Equinox networks, and Gaussian-process predictions with one:  pip install equinox."""

import jax
import jax.numpy as jnp
import numpy as np

from ntkc import NtkImplementation, empirical_ntk_fn, predict

try:
    import equinox
except ImportError:
    print("this example needs the package equinox: pip install equinox")
    raise SystemExit from None

model = equinox.nn.MLP(in_size=2, out_size=1, width_size=256, depth=2, activation=jnp.tanh, key=jax.random.key(0))
weights, rest = equinox.partition(model, equinox.is_inexact_array)


def f(params, x):
    """Equinox modules take one sample: a batch is a map over them."""
    return jax.vmap(equinox.combine(params, rest))(x)


rng = np.random.default_rng(0)
x, x_test = (rng.uniform(-1, 1, (n, 2)).astype("float32") for n in (60, 200))
y, y_test = (np.sin(3 * v[:, :1]) * v[:, 1:] for v in (x, x_test))

ways = NtkImplementation.STRUCTURED_DERIVATIVES, NtkImplementation.JACOBIAN_CONTRACTION
one, two = (jax.jit(empirical_ntk_fn(f, vmap_axes=0, implementation=way)) for way in ways)
ntk = one(x, None, weights)
apart = float(jnp.abs(ntk - two(x, None, weights)).max() / jnp.abs(ntk).max())
print(f"NTK of {len(x)} samples: {ntk.shape}, implementations agree to {apart:.0e}")

posterior = predict.gp_inference(ntk, y, diag_reg=1e-4)
mean = posterior("ntk", one(x_test, x, weights))
print(f"regression with that kernel: test error {float(jnp.sqrt(jnp.mean((mean - y_test) ** 2))):.3f},", end=" ")
print(f"of the constant 0 {float(np.sqrt(np.mean(y_test**2))):.3f}")
