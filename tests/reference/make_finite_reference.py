"""Writes finite.npz: weights and outputs of a finite network of Neural Tangents 0.6.5, with serial, parallel, repeat.

Run in an environment with the peer package:  python tests/reference/make_finite_reference.py
Keys: `x` [4, 6], `y` [4, 3], `weight0`, `weight1`, ... in the order of jax.tree.leaves. jax 0.5 changed the
default of jax_threefry_partitionable, and with it what a key draws; the new default is set here for old versions.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

SEED = 7


def network(stax: ModuleType) -> Any:
    """The layers, of the `stax` of either package."""
    branch = stax.serial(stax.Erf(), stax.Dense(5, 1.2, 0.3))
    return stax.serial(
        stax.Dense(5, 1.5, 0.1),
        stax.repeat(stax.serial(stax.Relu(), stax.Dense(5, 1.1)), 3),
        stax.FanOut(2),
        stax.parallel(branch, stax.serial(stax.Identity(), stax.Dense(5, 0.7, 0.2, parameterization="standard"))),
        stax.FanInSum(),
        stax.LeakyRelu(0.1),
        stax.Dense(3, 1.3, 0.4, parameterization="standard", s=(2, 1)),
    )


def main() -> None:
    """Write the file."""
    jax.config.update("jax_threefry_partitionable", True)
    import neural_tangents as nt

    x = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    init_fn, apply_fn, _ = network(nt.stax)
    _, params = init_fn(jax.random.PRNGKey(SEED), (-1, 6))
    weights = {f"weight{i}": np.asarray(w) for i, w in enumerate(jax.tree.leaves(params))}
    y = np.asarray(apply_fn(params, x))
    np.savez(Path(__file__).with_name("finite.npz"), x=x, y=y, **weights)


if __name__ == "__main__":
    main()
