"""The losses of examples/distillation.py with Neural Tangents 0.6.5 in the place of ntkc, written to distillation.npz.

Run in the peer's environment (see README.md): the example runs as it stands, with its import changed.
"""

import runpy
import sys
from pathlib import Path

import jax
import neural_tangents
import numpy as np

EXAMPLE = Path(__file__).parents[2] / "examples" / "distillation.py"
TARGET = Path(__file__).with_name("distillation.npz")


def main():
    neural_tangents.stax.Layer = tuple
    sys.modules["ntkc"] = neural_tangents
    distilled = runpy.run_path(str(EXAMPLE))["distilled"]
    found = {}
    for dtype in ("float32", "float64"):
        jax.config.update("jax_enable_x64", dtype == "float64")
        (images, labels), losses = distilled(dtype)
        found |= {f"{dtype} losses": losses, f"{dtype} images": images, f"{dtype} labels": labels}
    np.savez_compressed(TARGET, **{name: np.asarray(value) for name, value in found.items()})


if __name__ == "__main__":
    main()
