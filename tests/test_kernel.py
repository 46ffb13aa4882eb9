"""Kernel: a frozen record of arrays that jax can see through."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntkc
from ntkc import Kernel, stax


@pytest.fixture
def kernel():
    rng = np.random.default_rng(0)
    nngp, ntk, cov1, cov2 = (jnp.asarray(rng.random(shape)) for shape in ((3, 2), (3, 2), (3,), (2,)))
    return Kernel(nngp, ntk, cov1, cov2, shape1=(3, 5), shape2=(2, 5))


@pytest.fixture
def own(kernel):
    """The kernel of one set of samples."""
    return kernel.replace(nngp=jnp.eye(3), ntk=jnp.eye(3), cov2=None, x1_is_x2=True, shape2=(3, 5))


def test_replace_makes_a_copy(kernel):
    changed = kernel.replace(is_gaussian=False)
    assert (kernel.is_gaussian, changed.is_gaussian) == (True, False)
    assert changed.nngp is kernel.nngp
    with pytest.raises(dataclasses.FrozenInstanceError):
        kernel.ntk = None


def test_asdict_and_astuple(kernel):
    names = [f.name for f in dataclasses.fields(kernel)]
    assert list(kernel.asdict()) == names
    assert kernel.asdict()["nngp"] is kernel.nngp
    assert kernel.astuple() == tuple(kernel.asdict().values())


def test_transpose(kernel, own):
    flipped = kernel.transpose()
    np.testing.assert_array_equal(flipped.nngp, kernel.nngp.T)
    np.testing.assert_array_equal(flipped.ntk, kernel.ntk.T)
    assert flipped.cov1 is kernel.cov2
    assert flipped.cov2 is kernel.cov1
    assert (flipped.shape1, flipped.shape2) == (kernel.shape2, kernel.shape1)
    assert own.transpose() is own
    assert kernel.replace(ntk=None).transpose().ntk is None


@pytest.mark.parametrize(
    ("scaled", "factor"),
    [(lambda k: k * 3, 3), (lambda k: 3 * k, 3), (lambda k: k / 4, 0.25), (lambda k: k * jnp.asarray(2.0), 2)],
)
def test_scaling(scaled, factor, kernel, own):
    for given in (kernel, own):
        result = scaled(given)
        for name in ("nngp", "ntk", "cov1", "cov2"):
            value = getattr(given, name)
            if value is None:
                assert getattr(result, name) is None
            else:
                np.testing.assert_allclose(getattr(result, name), factor * value)
        assert result.shape1 == given.shape1


def test_jax_sees_the_arrays_and_keeps_the_rest(kernel, own):
    assert len(jax.tree.leaves(kernel)) == 4
    assert len(jax.tree.leaves(own)) == 3
    again = jax.jit(lambda k: k.replace(ntk=k.ntk + 1))(kernel)
    np.testing.assert_allclose(again.ntk, kernel.ntk + 1)
    assert (again.shape1, again.is_gaussian, again.x1_is_x2) == (kernel.shape1, True, False)
    gradient = jax.grad(lambda k: jnp.sum(k.nngp**2))(kernel)
    np.testing.assert_allclose(gradient.nngp, 2 * kernel.nngp)


def test_continuing_tile_by_tile():
    x, x2 = np.random.default_rng(0).normal(size=(4, 3)), np.random.default_rng(1).normal(size=(2, 3))
    head = stax.serial(stax.Relu(), stax.Dense(1))[2]
    for other in (x2, None):
        below = stax.Dense(8, 1.2, 0.1)[2](x, other)
        made, expected = ntkc.batch(head, 2)(below), head(below)
        np.testing.assert_allclose(made.nngp, expected.nngp, rtol=1e-6)
        np.testing.assert_allclose(made.ntk, expected.ntk, rtol=1e-5, atol=1e-6)
        assert (made.shape1, made.shape2, made.x1_is_x2) == (expected.shape1, expected.shape2, expected.x1_is_x2)


def test_samples_of_a_kernel():
    x = np.random.default_rng(0).normal(size=(4, 3))
    some = stax.Dense(8)[2](x, None).slice(slice(0, 2), slice(1, 4))
    expected = stax.Dense(8)[2](x[:2], x[1:4])
    assert (some.shape1, some.shape2, some.x1_is_x2) == (expected.shape1, expected.shape2, False)
    for name in ("nngp", "ntk", "cov1", "cov2"):
        np.testing.assert_allclose(getattr(some, name), getattr(expected, name), rtol=1e-6)


def test_axes_in_the_opposite_order():
    x = np.random.default_rng(0).normal(size=(2, 3, 2, 4))
    made, expected = stax.Identity()[2](x).reverse(), stax.Identity()[2](x.swapaxes(1, 2))
    np.testing.assert_allclose(made.nngp, expected.nngp, rtol=1e-6)
    np.testing.assert_allclose(made.cov1, expected.cov1, rtol=1e-6)
    assert made.is_reversed


def test_numbers_are_added_to_all_covariances():
    kernel = stax.Dense(8)[2](np.eye(3))
    more, less = 1.0 + kernel, kernel - 0.5
    np.testing.assert_allclose(more.nngp - less.nngp, 1.5, rtol=1e-6)
    np.testing.assert_allclose(more.cov1 - less.cov1, 1.5, rtol=1e-6)


def test_nested_nothing_is_one_set():
    x = np.random.default_rng(0).normal(size=(3, 2))
    fn = stax.serial(stax.parallel(stax.Dense(8), stax.Dense(8, 2.0)), stax.FanInSum())[2]
    np.testing.assert_array_equal(fn((x, x), (None, None), "ntk"), fn((x, x), None, "ntk"))
