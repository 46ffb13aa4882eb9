"""Layer -> (nngp, ntk, cov1) by Neural Tangents 0.6.5 in float64, written to nonlinearities.npz (see README.md)."""

from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from neural_tangents import stax  # noqa: E402
from nonlinearities import inputs, layers, network  # noqa: E402

TARGET = Path(__file__).with_name("nonlinearities.npz")


def evaluate(name: str) -> dict[str, np.ndarray]:
    pair = network(stax, name)[2](*inputs(name))
    return {f"{name} {quantity}": np.asarray(getattr(pair, quantity)) for quantity in ("nngp", "ntk", "cov1")}


def main() -> None:
    np.savez_compressed(TARGET, **{key: v for name in layers(stax) for key, v in evaluate(name).items()})
    print(f"{len(layers(stax))} layers, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
