"""Sampled kernels: the peer's draws, standard errors, and the infinite-width limit."""

from pathlib import Path

import jax
import numpy as np
import pytest

from ntkc import monte_carlo_kernel_fn, stax
from ntkc.errors import InvalidInput

REFERENCE = np.load(Path(__file__).parent / "reference" / "monte_carlo.npz")
KEY = jax.random.PRNGKey(7)
COUNTS = (1, 3, 5)
NET = stax.serial(stax.Dense(8, 1.2, 0.1), stax.Relu(), stax.Dense(3, 1.1))

pytestmark = pytest.mark.usefixtures("x64")


def sampled(counts, **options):
    return monte_carlo_kernel_fn(NET[0], NET[1], KEY, counts, vmap_axes=0, **options)


@pytest.mark.parametrize("batch_size", [0, 2])
@pytest.mark.parametrize("name", ["pair", "own"])
def test_running_means_of_the_peer(name, batch_size):
    x1, x2 = REFERENCE["x1"], REFERENCE["x2"] if name == "pair" else None
    means = sampled(COUNTS, batch_size=batch_size)(x1, x2, ("nngp", "ntk"))
    for n, kernels in zip(COUNTS, means, strict=True):
        for get in ("nngp", "ntk"):
            np.testing.assert_allclose(getattr(kernels, get), REFERENCE[f"{name} {n} {get}"], rtol=1e-12, atol=1e-13)


def test_a_number_of_samples_gives_one_kernel():
    x1, x2 = REFERENCE["x1"], REFERENCE["x2"]
    np.testing.assert_allclose(sampled(3)(x1, x2, "ntk"), REFERENCE["pair 3 ntk"], rtol=1e-12)


def test_standard_errors():
    """Of the draws themselves: the means after 1, 2, 3, 4 samples give back each of them."""
    x1, x2 = REFERENCE["x1"], REFERENCE["x2"]
    means = np.stack(list(sampled((1, 2, 3, 4))(x1, x2, "nngp")))
    draws = np.diff(means * np.arange(1, 5)[:, None, None], axis=0, prepend=0)
    mean, error = sampled(4).with_errors(x1, x2, "nngp")
    np.testing.assert_allclose(mean, draws.mean(0), rtol=1e-12)
    np.testing.assert_allclose(error, draws.std(0, ddof=1) / 2, rtol=1e-10)
    assert np.isinf(sampled(1).with_errors(x1, x2, "nngp")[1]).all()


@pytest.mark.slow
def test_wide_networks_tend_to_the_kernel():
    """Within 5 standard errors and a bias of 4 / width of the diagonal."""
    width = 64
    init_fn, apply_fn, kernel_fn = stax.serial(stax.Dense(width, 1.2, 0.1), stax.Relu(), stax.Dense(width, 1.1))
    x = REFERENCE["x1"]
    means, errors = monte_carlo_kernel_fn(init_fn, apply_fn, KEY, 60, vmap_axes=0).with_errors(x, None, ("nngp", "ntk"))
    for get in ("nngp", "ntk"):
        exact = kernel_fn(x, None, get)
        bound = 5 * getattr(errors, get) + 4 / width * np.max(np.diag(exact))
        assert (np.abs(getattr(means, get) - exact) < bound).all()


@pytest.mark.parametrize("counts", [0, -1, (), (3, 0), 1.5])
def test_bad_numbers_of_samples(counts):
    with pytest.raises((InvalidInput, TypeError)):
        sampled(counts)
