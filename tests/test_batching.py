"""Kernels in tiles are the kernels at once, for any numbers of samples."""

import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import ntkc
from ntkc import batch, stax
from ntkc.errors import InvalidInput
from ntkc.kernel import Kernel

NET = stax.serial(stax.Dense(16, 1.2, 0.1), stax.Relu(), stax.Dense(1, 1.1))
KERNEL_FN = NET[2]
RNG = np.random.default_rng(0)
X1, X2 = (np.float32(RNG.standard_normal((n, 5))) for n in (7, 5))


def close(ours, expected):
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6 * np.max(np.abs(expected)))


@pytest.mark.parametrize("x2", [X2, None], ids=["pair", "own"])
@pytest.mark.parametrize("batch_size", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 7, 100))])
def test_any_number_of_samples(batch_size, x2):
    tiled = batch(KERNEL_FN, batch_size)
    for get in ("nngp", "ntk"):
        close(tiled(X1, x2, get), KERNEL_FN(X1, x2, get))
    both = tiled(X1, x2, ("ntk", "nngp"))
    close(both.ntk, KERNEL_FN(X1, x2, "ntk"))
    close(both.nngp, KERNEL_FN(X1, x2, "nngp"))


@pytest.mark.parametrize("x2", [X2, None], ids=["pair", "own"])
def test_a_kernel_keeps_its_fields(x2):
    ours, expected = batch(KERNEL_FN, 3)(X1, x2), KERNEL_FN(X1, x2)
    for name in ("nngp", "ntk", "cov1", "cov2"):
        if getattr(expected, name) is None:
            assert x2 is None
            continue
        close(getattr(ours, name), getattr(expected, name))
    assert isinstance(ours, Kernel)
    assert (ours.shape1, ours.shape2, ours.x1_is_x2) == (expected.shape1, expected.shape2, expected.x1_is_x2)


def test_one_triangle_of_a_symmetric_kernel():
    """Seven samples in tiles of two: four rows of tiles, ten tiles; the other triangle is the mirror image."""
    program, shapes = ntkc.compile(NET), []

    class Counted(type(KERNEL_FN)):
        def __call__(self, x1, x2=None, *args, **kwargs):
            shapes.append((len(x1), x2 is None))
            return program(x1, x2, *args, **kwargs)

    gram = batch(Counted(KERNEL_FN.tree), 2)(X1, None, "ntk")
    assert len(shapes) == 10
    assert sum(own for _, own in shapes) == 4
    np.testing.assert_array_equal(gram, gram.T)
    close(gram, program(X1, None, "ntk"))


def test_any_function_and_more_axes():
    def kernel_fn(x1, x2=None, scale=1.0):
        y = x1 if x2 is None else x2
        return jnp.einsum("id,je->ijde", x1, y) * scale

    ours = batch(kernel_fn, 3)(X1, None, scale=2.0)
    close(ours, kernel_fn(X1, None, 2.0))


def test_host_memory():
    gram = batch(KERNEL_FN, 4, store_on_device=False)(X1, X2, "ntk")
    assert type(gram) is np.ndarray
    close(gram, KERNEL_FN(X1, X2, "ntk"))


def test_a_bar_is_shown_when_asked_for(capfd):
    batch(KERNEL_FN, 2, progress=True)(X1, X2, "nngp")
    assert "kernel" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: batch(KERNEL_FN, -1), "batch_size"),
        (lambda: batch(KERNEL_FN, 2, 99), "device"),
        (lambda: batch(KERNEL_FN, 2)(X1[:0], X2, "ntk"), "x1"),
        (lambda: batch(KERNEL_FN, 2)({"a": X1, "b": X2}, None, "ntk"), "same number"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()


FOUR = """
import jax, numpy as np
from ntkc import batch, stax
assert jax.device_count() == 4
kernel_fn = stax.serial(stax.Dense(16, 1.2, 0.1), stax.Relu(), stax.Dense(1, 1.1))[2]
x = np.float32(np.random.default_rng(0).standard_normal((11, 5)))
for size in (0, 3):
    for x2 in (None, x[:6]):
        ours, expected = batch(kernel_fn, size)(x, x2, "ntk"), kernel_fn(x, x2, "ntk")
        np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6 * np.max(expected))
seen = set()
def where(x1, x2=None):
    seen.update(x1.devices())
    return x1 @ x2.T if x2 is not None else x1 @ x1.T
np.testing.assert_allclose(batch(where)(x, x[:6]), x @ x[:6].T, rtol=1e-6, atol=1e-6)
assert len(seen) == 4, seen
"""


@pytest.mark.slow
def test_four_devices():
    path = str(Path(ntkc.__file__).parent.parent)
    variables = {**os.environ, "PYTHONPATH": path, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run([sys.executable, "-c", FOUR], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
