"""Network on pixels -> nngp, ntk, cov1 by Neural Tangents 0.6.5 in float64, written to pixels.npz (see README.md)."""

from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from image_networks import Case, calls, networks  # noqa: E402
from neural_tangents import stax  # noqa: E402

TARGET = Path(__file__).with_name("pixels.npz")
LARGEST_COV1 = 64


def evaluate(name: str, case: Case) -> dict[str, np.ndarray]:
    """Spatial axes in the order of the network's output: the peer returns W before H after an odd number of Convs."""
    _, _, kernel_fn = case.build()
    found = {}
    for suffix, (x1, x2, options) in calls(name, case).items():
        pair = kernel_fn(x1, x2, **options)
        pair = pair.reverse() if pair.is_reversed else pair
        found |= {f"{name} nngp{suffix}": np.asarray(pair.nngp), f"{name} ntk{suffix}": np.asarray(pair.ntk)}
        if case.symmetric and suffix == "" and pair.cov1.size <= LARGEST_COV1:
            found[f"{name} cov1"] = np.asarray(pair.cov1)
    return found


def main() -> None:
    cases = networks(stax)
    values = {key: value for name, case in cases.items() for key, value in evaluate(name, case).items()}
    bad = sorted(key for key, value in values.items() if not np.all(np.isfinite(value)))
    assert not bad, bad
    np.savez_compressed(TARGET, **values)
    print(f"{len(cases)} networks, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
