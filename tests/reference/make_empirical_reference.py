"""Empirical kernels of finite_networks.py by Neural Tangents 0.6.5 in float64, written to empirical.npz.

Run in the peer's environment (see README.md). Keys are "<network> <options> nngp" and "... ntk".
"""

from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

import neural_tangents as nt  # noqa: E402
from finite_networks import ALL_OPTIONS, NETWORKS, cases, inputs  # noqa: E402

TARGET = Path(__file__).with_name("empirical.npz")


def main():
    found = {}
    for name, option, is_pair in cases():
        f, params, _ = NETWORKS[name]
        x1, x2 = inputs(name)
        kernel_fn = nt.empirical_kernel_fn(f, **ALL_OPTIONS[option], implementation=1)
        kernels = jax.jit(kernel_fn, static_argnums=2)(x1, x2 if is_pair else None, ("nngp", "ntk"), params)
        for get, value in kernels._asdict().items():
            found[f"{name} {option} {get}"] = np.asarray(value)
    np.savez_compressed(TARGET, **found)


if __name__ == "__main__":
    main()
