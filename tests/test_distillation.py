"""The distillation loop ends where the peer's does: examples/distillation.py against its losses, images and labels."""

import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

EXAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "distillation.py"))
REFERENCE = np.load(Path(__file__).parent / "reference" / "distillation.npz")


def test_the_reference_learns():
    """What is compared has moved: the loss fell by a third, and images are others than at first."""
    for dtype in ("float32", "float64"):
        losses = REFERENCE[f"{dtype} losses"]
        assert losses[-1] < 0.7 * losses[0]
        assert np.abs(REFERENCE[f"{dtype} images"] - EXAMPLE["data"](dtype)[0][:20]).max() > 0.01


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-6)])
def test_first_loss(dtype, tolerance):
    """The loss at the start is the peer's."""
    with jax.enable_x64(dtype == "float64"):
        images, labels = EXAMPLE["data"](dtype)
        kernel_fn = EXAMPLE["network"]()[2]
        value = EXAMPLE["loss"](kernel_fn, images, labels, (images[:20], labels[:20]))
        np.testing.assert_allclose(value, REFERENCE[f"{dtype} losses"][0], rtol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("float64", 1e-6)])
def test_fifty_steps(dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        (images, labels), losses = EXAMPLE["distilled"](dtype)
    np.testing.assert_allclose(losses, REFERENCE[f"{dtype} losses"], rtol=tolerance)
    np.testing.assert_allclose(images, REFERENCE[f"{dtype} images"], atol=tolerance)
    np.testing.assert_allclose(labels, REFERENCE[f"{dtype} labels"], atol=tolerance)
