"""Means over random networks by Neural Tangents 0.6.5 in float64, written to monte_carlo.npz.

Run in the peer's environment (see README.md). The network and the calls stand in tests/test_monte_carlo.py.
"""

from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_threefry_partitionable", True)  # the draws of today's JAX

import neural_tangents as nt  # noqa: E402
from neural_tangents import stax  # noqa: E402

TARGET = Path(__file__).with_name("monte_carlo.npz")
COUNTS = (1, 3, 5)


def main():
    init_fn, apply_fn, _ = stax.serial(stax.Dense(8, 1.2, 0.1), stax.Relu(), stax.Dense(3, 1.1))
    rng = np.random.default_rng(0)
    x1, x2 = rng.standard_normal((3, 4)), rng.standard_normal((2, 4))
    kernel_fn = nt.monte_carlo_kernel_fn(init_fn, apply_fn, jax.random.PRNGKey(7), COUNTS, vmap_axes=0)
    found = {"x1": x1, "x2": x2}
    for name, second in (("pair", x2), ("own", None)):
        for n, kernels in zip(COUNTS, kernel_fn(x1, second, ("nngp", "ntk")), strict=True):
            found |= {f"{name} {n} {get}": np.asarray(value) for get, value in kernels._asdict().items()}
    np.savez_compressed(TARGET, **found)


if __name__ == "__main__":
    main()
