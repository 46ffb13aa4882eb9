"""Kernels of several outputs, of masks, of equal pixels and of all samples go on: as the whole network on data."""

import jax
import numpy as np
import pytest

import ntkc
from ntkc import stax
from ntkc.errors import InvalidGraph, InvalidInput

D, R = stax.Dense, stax.Relu
X1, X2 = (np.random.default_rng(i).normal(size=(n, 4)) for i, n in ((0, 3), (1, 2)))
IMAGES = np.where(
    np.random.default_rng(3).random((3, 5, 4, 1)) < 0.3, 9.0, np.random.default_rng(0).normal(size=(3, 5, 4, 2))
)
CONV = stax.serial(stax.Conv(4, (2, 2), W_std=1.3, b_std=0.1), R())
POOLED = stax.serial(CONV, stax.GlobalAvgPool(), D(1))
FLAT = stax.serial(D(4, 1.3, 0.1), R(), stax.Flatten(), D(1))
BRANCHES = D(8, 1.1), stax.serial(D(8), stax.Erf(), D(8, 1.2, 0.2))
FIELDS = ("nngp", "ntk", "cov1", "cov2", "mask1", "mask2")


def same(made, expected, fields=FIELDS):
    for name in fields:
        first, second = getattr(made, name), getattr(expected, name)
        assert (first is None) == (second is None), name
        if first is not None:
            np.testing.assert_allclose(first, second, rtol=2e-5, atol=1e-6, err_msg=name)
    for name in ("shape1", "shape2", "x1_is_x2", "diagonal_batch", "batch_axis", "channel_axis"):
        assert getattr(made, name) == getattr(expected, name), name


def fork(*branches):
    return stax.serial(D(8, 1.3, 0.1), R(), stax.FanOut(len(branches)), stax.parallel(*branches))


@pytest.mark.parametrize("x2", [None, X2], ids=["one set", "two sets"])
def test_several_outputs(x2):
    """Each is the network that ends there."""
    made = fork(*BRANCHES)[2](X1, x2)
    assert isinstance(made, list)
    for kernel, branch in zip(made, BRANCHES, strict=True):
        same(kernel, stax.serial(D(8, 1.3, 0.1), R(), branch)[2](X1, x2))
    arrays = fork(*BRANCHES)[2](X1, x2, "ntk")
    np.testing.assert_array_equal(arrays[1], made[1].ntk)
    both = fork(*BRANCHES)[2](X1, x2, ("ntk", "cov1"))
    assert both[0]._fields == ("ntk", "cov1")


def test_lists_of_kernels():
    """Independent branches joined again are the whole network."""
    below, above = fork(*BRANCHES), stax.serial(stax.FanInSum(), R(), D(1))
    expected = stax.serial(below, above)[2](X1, X2)
    same(above[2](below[2](X1, X2)), expected)
    same(jax.jit(above[2])(below[2](X1, X2)), expected)
    assert np.allclose(above[2](tuple(below[2](X1, X2)), get="nngp"), expected.nngp)


def test_one_kernel_at_two_places_is_one_tensor():
    """x + x is 2 x; two Kernels of equal values are independent."""
    kernel = D(8)[2](X1)
    np.testing.assert_allclose(stax.FanInSum()[2](stax.FanOut(2)[2](kernel)).nngp, 4 * kernel.nngp, rtol=1e-6)
    np.testing.assert_allclose(stax.FanInSum()[2]([kernel, kernel.replace()]).nngp, 2 * kernel.nngp, rtol=1e-6)


@pytest.mark.parametrize("kind", [tuple, list])
def test_nested_inputs_and_outputs(kind):
    """As many kernels as inputs, nested as they are; tiles of them, too."""

    def net(n):
        return stax.parallel(D(n), stax.parallel(D(n, 1.3, 0.1), D(n + 1)))

    x1, x2 = (kind([x, kind([x[:, :2], x[:, 1:]])]) for x in (X1, X2))
    readin, readout = net(3)[2], net(1)[2]
    for second in (x2, None, (None, (None, None))):
        below = readin(x1, second)
        assert type(below) is type(below[1]) is kind
        same(below[1][0], D(3, 1.3, 0.1)[2](X1[:, :2], None if second is not x2 else X2[:, :2]))
        made = readout(below)
        same(made[1][1], stax.serial(D(4), D(2))[2](X1[:, 1:], None if second is not x2 else X2[:, 1:]))
        tiled = ntkc.batch(readout, 2)(ntkc.batch(readin, 2)(x1, None if second is not x2 else second))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), tiled, made)


def test_shapes_and_weights_have_the_type_of_the_inputs():
    init_fn, apply_fn, _ = stax.parallel(D(3), D(2))
    for kind in (tuple, list):
        shape, params = init_fn(jax.random.PRNGKey(0), kind([(3, 4), (3, 4)]))
        assert shape == kind([(3, 3), (3, 2)])
        assert type(apply_fn(params, kind([X1, X1]))) is kind


def test_programs_are_of_one_output():
    with pytest.raises(InvalidGraph, match="its kernel_fn gives a kernel of each"):
        ntkc.compile(fork(*BRANCHES))


@pytest.mark.parametrize("x2", [None, IMAGES[:2]], ids=["one set", "two sets"])
@pytest.mark.parametrize("above", [POOLED, FLAT], ids=["pool", "flatten"])
def test_masked_kernels(x2, above):
    made = above[2](CONV[2](IMAGES, x2, mask_constant=9.0))
    same(made, stax.serial(CONV, above)[2](IMAGES, x2, mask_constant=9.0))
    assert made.mask1.shape == (3, 1)


def test_masked_and_whole_kernels_together():
    """A Kernel without a mask has all of its pixels."""
    add = stax.serial(stax.FanInSum(), stax.GlobalAvgPool(), D(1))
    plain = np.random.default_rng(5).normal(size=IMAGES.shape)
    first, second = stax.Conv(4, (1, 1))[2](IMAGES, mask_constant=9.0), stax.Conv(4, (1, 1), W_std=1.2)[2](plain)
    net = stax.serial(stax.parallel(stax.Conv(4, (1, 1)), stax.Conv(4, (1, 1), W_std=1.2)), add)
    np.testing.assert_allclose(add[2]([first, second]).ntk, net[2]((IMAGES, plain), mask_constant=9.0).ntk, rtol=1e-5)


def test_kernels_of_equal_pixels():
    for x2 in (None, np.random.default_rng(7).normal(size=(2, 5, 4, 2))):
        below = CONV[2](IMAGES, x2, diagonal_spatial=True)
        same(FLAT[2](below), stax.serial(CONV, FLAT)[2](IMAGES, x2))
        kept = stax.serial(D(4), R())
        made, expected = kept[2](below), stax.serial(CONV, kept)[2](IMAGES, x2, diagonal_spatial=True)
        np.testing.assert_allclose(made.ntk, expected.ntk, rtol=1e-4, atol=1e-5)
        assert made.diagonal_spatial
    with pytest.raises(InvalidInput, match="cannot be continued by a network that reads"):
        POOLED[2](CONV[2](IMAGES, diagonal_spatial=True))


def test_kernels_of_all_samples():
    below = stax.serial(D(8, 1.3, 0.1), R())
    for x2 in (None, X2):
        made = D(8, 1.1, 0.2)[2](below[2](X1, x2, diagonal_batch=False))
        same(made, stax.serial(below, D(8, 1.1, 0.2))[2](X1, x2, diagonal_batch=False))


def test_reversed_kernels_and_other_layouts():
    below = CONV[2](IMAGES)
    same(POOLED[2](below.reverse()), POOLED[2](below))
    first = stax.Conv(4, (2, 2), dimension_numbers=("CHNW", "HWIO", "CHNW"))
    last = stax.serial(R(), stax.GlobalAvgPool(batch_axis=2, channel_axis=0))
    x = np.transpose(IMAGES, (3, 1, 0, 2))
    same(last[2](first[2](x, mask_constant=9.0)), stax.serial(first, last)[2](x, mask_constant=9.0))


def test_layers_whose_samples_are_elsewhere():
    made = D(5, batch_axis=1, channel_axis=0)[2](X1.T, X2.T)
    np.testing.assert_allclose(made.nngp, D(5)[2](X1, X2).nngp, rtol=1e-6)
    assert (made.shape1, made.batch_axis, made.channel_axis) == ((5, 3), 1, 0)


def test_networks_without_weights_have_no_tangents():
    for net in (stax.Identity(), stax.serial(stax.Scale(2.0), stax.Flatten())):
        np.testing.assert_array_equal(net[2](X1, X2, "ntk"), np.zeros((3, 2)))
        np.testing.assert_array_equal(net[2](X1).ntk, np.zeros((3, 3)))
