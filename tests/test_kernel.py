"""Kernel: a frozen record of arrays that jax can see through."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import ntkc
from ntkc import Kernel, stax
from ntkc.errors import InvalidInput


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


def images(seed=0, samples=2):
    return np.random.default_rng(seed).normal(size=(samples, 3, 2, 4))


def test_spatial_axes_in_another_order():
    x = images()
    for given in (stax.Identity()[2](x), stax.Identity()[2](x, diagonal_spatial=True)):
        turned, expected = given.transpose((1, 0)), stax.Identity()[2](x.swapaxes(1, 2))
        kept = expected.nngp if not given.diagonal_spatial else np.einsum("ijaabb->ijab", expected.nngp)
        np.testing.assert_allclose(turned.nngp, kept, rtol=1e-6)
        assert turned.shape1 == expected.shape1
        np.testing.assert_array_equal(given.transpose().cov1, given.cov1)
        np.testing.assert_array_equal(turned.transpose((-1, 0)).nngp, given.nngp)
    with pytest.raises(InvalidInput, match="each of the 2 spatial axes is needed once"):
        given.transpose((0, 0))


@pytest.mark.parametrize(
    ("scaled", "factor"),
    [(lambda k: k * 3, 9), (lambda k: 3 * k, 9), (lambda k: k / 4, 1 / 16), (lambda k: k * jnp.asarray(2.0), 4)],
)
def test_the_kernel_of_a_multiple(scaled, factor, kernel, own):
    """Cov(c f, c f') = c^2 Cov(f, f'), as Scale has it."""
    for given in (kernel, own):
        result = scaled(given)
        for name in ("nngp", "ntk", "cov1", "cov2"):
            value = getattr(given, name)
            if value is None:
                assert getattr(result, name) is None
            else:
                np.testing.assert_allclose(getattr(result, name), factor * value, rtol=1e-6)
        assert result.shape1 == given.shape1
    x = np.random.default_rng(0).normal(size=(3, 4))
    layers = stax.Dense(8, 1.2, 0.1)
    np.testing.assert_allclose((layers[2](x) * 3).ntk, stax.serial(layers, stax.Scale(3))[2](x).ntk, rtol=1e-6)


def test_the_kernel_with_a_bias(kernel):
    """Cov(f + b, f' + b) = Cov(f, f') + b_std^2; its sign does not matter, and the tangent kernel stays."""
    for made in (kernel + 0.5, 0.5 + kernel, kernel - 0.5, -(kernel + 0.5), +(kernel - 0.5)):
        for name in ("nngp", "cov1", "cov2"):
            np.testing.assert_allclose(getattr(made, name), getattr(kernel, name) + 0.25, rtol=1e-6)
        assert made.ntk is kernel.ntk


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


def test_nested_nothing_is_one_set():
    x = np.random.default_rng(0).normal(size=(3, 2))
    fn = stax.serial(stax.parallel(stax.Dense(8), stax.Dense(8, 2.0)), stax.FanInSum())[2]
    np.testing.assert_array_equal(fn((x, x), (None, None), "ntk"), fn((x, x), None, "ntk"))


INDICES = (slice(1, None), slice(None), slice(0, 1)), (slice(None), 1), (..., slice(1, None), slice(None)), slice(0, 2)


@pytest.mark.parametrize("idx", INDICES)
@pytest.mark.parametrize("options", [{}, {"diagonal_batch": False}, {"diagonal_spatial": True}, {"mask_constant": 9.0}])
def test_parts_of_the_output(idx, options):
    """The kernel of f[idx] is that of the data x[idx]."""
    x1, x2 = (
        np.where(np.abs(x) > 1.5, 9.0, x) if "mask_constant" in options else x for x in (images(0, 3), images(1, 3))
    )
    fn = stax.Dense(8, 1.2, 0.1)[2]
    made, expected = fn(x1, x2, **options)[idx], fn(x1[idx], x2[idx], **options)
    for name in ("nngp", "ntk", "cov1", "cov2", "mask1", "mask2"):
        if getattr(expected, name) is not None:
            np.testing.assert_allclose(getattr(made, name), getattr(expected, name), rtol=1e-5)
    assert (made.shape1, made.channel_axis) == (expected.shape1, expected.channel_axis)
    reversed_one = fn(x1, x2, **options).reverse()[idx]
    np.testing.assert_allclose(reversed_one.reverse().nngp, expected.nngp, rtol=1e-5)


@pytest.mark.parametrize("idx", [(slice(None), slice(None), slice(None), slice(0, 1)), 0, (None, 0), [1]])
def test_parts_that_no_kernel_has(idx):
    with pytest.raises(InvalidInput, match="Kernel"):
        stax.Identity()[2](images())[idx]


def test_masks_hide_entries():
    """0 where either pixel is masked, as kernels of data with NaN there have it without a bias."""
    x1, x2 = images(0, 3), images(1, 2)
    hidden = [np.random.default_rng(i).random((*x.shape[:3], 1)) < 0.3 for i, x in enumerate((x1, x2))]
    fn = stax.Dense(8, 1.2)[2]
    nan1, nan2 = (np.where(m, np.nan, x) for m, x in zip(hidden, (x1, x2), strict=True))
    for options in ({}, {"diagonal_batch": False}, {"diagonal_spatial": True}):
        made, expected = fn(x1, x2, **options).mask(*hidden), fn(nan1, nan2, mask_constant=np.nan, **options)
        for name in ("nngp", "ntk", "cov1", "cov2", "mask1", "mask2"):
            np.testing.assert_allclose(getattr(made, name), getattr(expected, name), rtol=1e-5, atol=1e-7)
        again = fn(x1, x2, **options).reverse().mask(*hidden).reverse()
        np.testing.assert_array_equal(again.nngp, made.nngp)
    own = fn(x1).mask(hidden[0], None)
    np.testing.assert_allclose(own.nngp, fn(nan1, mask_constant=np.nan).nngp, rtol=1e-5, atol=1e-7)
    with pytest.raises(InvalidInput, match="one channel is needed"):
        fn(x1).mask(np.zeros(x1.shape, bool), None)


PRODUCTS = {
    "a matrix on rows": ((5, 3), False, (((1,), (1,)), ((), ()))),
    "from the left": ((5, 3), True, (((1,), (1,)), ((), ()))),
    "both axes": ((2, 3, 5), False, (((1, 2), (1, 0)), ((), ()))),
    "one array a column": ((2, 5, 3), True, (((2,), (1,)), ((0,), (2,)))),
    "negative axes": ((5, 2), False, (((-2,), (-1,)), ((), ()))),
    "more axes": ((7, 5), False, (((), ()), ((), ()))),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("batch_axis", [0, 1])
def test_products_with_arrays(name, batch_axis):
    """The kernel of dot_general(f, A) is that of dot_general(x, A)."""
    shape, is_lhs, numbers = PRODUCTS[name]
    plain1, plain2 = images(0, 3), images(1, 2)
    x1, x2 = (np.moveaxis(x, 0, batch_axis) for x in (plain1, plain2))
    sides = [
        [
            tuple(_axis(a, batch_axis) if of_x else a for a in axes)
            for axes, of_x in zip(pair, (not is_lhs, is_lhs), strict=True)
        ]
        for pair in numbers
    ]
    fn = stax.Dense(8, batch_axis=batch_axis)[2]
    array = np.random.default_rng(2).normal(size=shape)
    kernel = fn(x1, x2, diagonal_batch=False)
    made = kernel.dot_general(array, array, is_lhs, sides)

    def product(x):
        positive = [tuple(tuple(a % 4 if a < -1 else a % array.ndim for a in axes) for axes in pair) for pair in sides]
        return lax.dot_general(*((array, x) if is_lhs else (x, array)), positive)

    expected = stax.Dense(8, batch_axis=made.batch_axis, channel_axis=made.channel_axis)[2](
        *map(product, (x1, x2)), diagonal_batch=False
    )
    shape = list(product(x1).shape)
    shape[made.channel_axis] = 8
    assert made.shape1 == tuple(shape)
    for field in ("nngp", "ntk", "cov1", "cov2"):
        np.testing.assert_allclose(getattr(made, field), getattr(expected, field), rtol=1e-5, atol=1e-6)
    variances = fn(x1, x2).dot_general(array, array, is_lhs, sides)
    np.testing.assert_allclose(variances.cov1, np.einsum("ii...->i...", made.cov1), rtol=1e-5, atol=1e-6)


def _axis(axis, batch_axis):
    """An axis of [samples, h, w, channels] where samples are on another."""
    order = [1, 2, 3]
    order.insert(batch_axis, 0)
    return order.index(axis % 4) - (4 if axis < 0 else 0)


def test_products_that_no_kernel_has():
    kernel, array = stax.Dense(8)[2](images()), np.eye(2)
    for numbers, why in (
        ((((3,), (0,)), ((), ())), "infinitely many"),
        ((((0,), (0,)), ((), ())), "sums over samples"),
    ):
        with pytest.raises(InvalidInput, match=why):
            kernel.dot_general(
                np.eye(4) if "many" in why else array, np.eye(4) if "many" in why else array, False, numbers
            )
    with pytest.raises(InvalidInput, match="both sides need a factor"):
        kernel.dot_general(array, None, False, (((2,), (0,)), ((), ())))
    equal = stax.Dense(8)[2](images(), diagonal_spatial=True)
    with pytest.raises(InvalidInput, match="diagonal_spatial=False"):
        equal.dot_general(array, array, False, (((2,), (0,)), ((), ())))
    assert kernel.dot_general(None, None, False, ((), ())) is kernel
