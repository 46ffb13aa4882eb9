"""Maps of pixels: their sizes and paddings are those of jax.lax, and what each of them reads."""

import inspect
from itertools import product

import jax
import numpy as np
import pytest
from jax import lax

from ntkc.errors import ShapeMismatch
from ntkc.ir.maps import (
    PADDINGS,
    AxisMap,
    Level,
    Local,
    Matrix,
    Patch,
    Pick,
    Place,
    Spread,
    Take,
    Total,
    Trace,
    Window,
    centres,
    padding_of,
    patch,
    patch_transposed,
    pool,
    reach,
    spatial_size,
)

COUNTS, WINDOWS, STRIDES, SPREADS = range(1, 9), range(1, 5), range(1, 4), range(1, 4)
CASES = list(product(COUNTS, WINDOWS, STRIDES, SPREADS))


def pixels_after(count, window, stride, pads, spread):
    """Pixels that jax.lax makes, none if the window does not fit."""
    shapes = [jax.ShapeDtypeStruct(s, np.float32) for s in ((1, count, 1), (window, 1, 1))]
    made = jax.eval_shape(
        lambda x, w: lax.conv_general_dilated(
            x, w, (stride,), pads, rhs_dilation=(spread,), dimension_numbers=("NHC", "HIO", "NHC")
        ),
        *shapes,
    )
    return made.shape[1]


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_paddings_are_those_of_lax(padding):
    for count, window, stride, spread in CASES:
        reached = (window - 1) * spread + 1
        expected = lax.padtype_to_pads((count,), (reached,), (stride,), padding)
        assert [padding_of(padding, count, window, stride, spread)[:2]] == [tuple(p) for p in expected]


def test_circular_is_same_with_the_other_end():
    for count, window, stride, spread in CASES:
        low, high, wraps = padding_of("SAME", count, window, stride, spread)
        assert not wraps
        assert padding_of("CIRCULAR", count, window, stride, spread) == (low, high, True)


@pytest.mark.parametrize("padding", PADDINGS)
def test_sizes_of_filters_are_those_of_lax(padding):
    for count, window, stride, spread in CASES:
        m = patch(padding, count, window, stride, spread)
        reached = (window - 1) * spread + 1
        if padding == "VALID" and reached > count:
            with pytest.raises(ShapeMismatch, match=f"a window of {reached} pixels does not fit into {count}"):
                m.size(count)
            continue
        assert m.size(count) == -(-(count - (reached - 1) * (padding == "VALID")) // stride)
        if (spread, count) == (2, 8):
            assert m.size(count) == pixels_after(count, window, stride, [(m.low, m.high)], spread)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("count", "window", "stride"), [(5, 3, 1), (4, 3, 2), (3, 2, 3), (4, 4, 3), (2, 1, 2), (3, 5, 2)]
)
def test_transposed_filters_are_those_of_lax(padding, count, window, stride):
    """As one filter on pixels with zeros between them."""
    rng = np.random.default_rng(0)
    x, w = np.float32(rng.standard_normal((1, count, 1))), np.float32(rng.standard_normal((window, 1, 1)))
    numbers = ("NHC", "HIO", "NHC")
    expected = lax.conv_transpose(x, w, (stride,), padding, dimension_numbers=numbers)
    m = patch_transposed(padding, count, window, stride)
    found = lax.conv_general_dilated(
        x, w, (m.stride,), [(m.low, m.high)], lhs_dilation=(m.interior,), dimension_numbers=numbers
    )
    assert m.size(count) == expected.shape[1]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(("count", "window", "stride"), [(5, 3, 1), (4, 3, 2), (3, 2, 3), (4, 4, 3)])
def test_transposed_circular_filters_multiply_pixels(count, window, stride):
    m = patch_transposed("CIRCULAR", count, window, stride)
    assert m.wraps
    assert m.size(count) == stride * count


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("normalizes", [True, False])
def test_pools_count_their_pixels(padding, normalizes):
    for count, window, stride in product(range(3, 8), range(1, 4), STRIDES):
        m = pool(padding, count, window, stride, True, normalizes)
        size = m.size(count)
        counts = np.full(size, window)
        if normalizes and padding == "SAME":
            ones = np.ones(count + m.low + m.high) * np.pad(np.ones(count), (m.low, m.high))
            counts = np.array([ones[s * stride : s * stride + window].sum() for s in range(size)])
        np.testing.assert_allclose(m.scales, 1 / counts)
        assert size == patch(padding, count, window, stride).size(count)
        assert pool(padding, count, window, stride, False, normalizes).scales == (1.0,) * size


def test_sizes():
    for m, size in {
        Window(2, 2, 0, 1, False, (0.5,) * 3): 3,
        Local(3, 1, 0, 0): 3,
        Matrix(((0.5, 0.5, 0, 0, 0), (0, 0, 1, 0, 0))): 2,
        Spread(((1.0,) * 5,) * 4): 4,
        Take((4, 0)): 2,
        Place(2, 9): 9,
        Level(): 5,
    }.items():
        assert m.size(5) == size
        assert m.keeps_axis
    for m in (Pick(2), Total(0.2), Trace(0.2)):
        assert (m.size(5), m.keeps_axis) == (1, False)
    assert spatial_size((Patch(3), Pick(1), Take((0, 1))), (5, 4, 7)) == (3, 2)
    assert spatial_size((Total(1.0), Trace(1.0)), (5, 4)) == ()


def test_only_an_idle_filter_is_the_identity():
    assert patch("SAME", 5, 1, 1).is_identity
    assert Patch().is_identity
    assert not any(m.is_identity for m in (Patch(2), Local(), Take((0,)), Total(1.0), Level(), Place(0, 5)))


def test_what_maps_read():
    """A map reads all pairs, equal pixels, or the pairs that are asked of it."""
    kinds = [k for k in AxisMap.__subclasses__() + Patch.__subclasses__() if not inspect.isabstract(k)]
    assert {k.__name__ for k in kinds if k.reads_all_pairs} == {"Window", "Matrix", "Total"}
    assert {k.__name__ for k in kinds if k.reads_diagonal} == {"Local", "Spread", "Pick", "Trace", "Level"}
    assert {k.__name__ for k in kinds if not k.reads_all_pairs and not k.reads_diagonal} == {"Patch", "Take", "Place"}


def test_centres():
    """The middle of each window, of the left one of two."""
    assert centres(3, 1, 1, 5) == Take((0, 1, 2, 3, 4))
    assert centres(3, 2, 0, 2) == Take((1, 3))
    assert centres(2, 1, 0, 3) == Take((0, 1, 2))
    assert centres(4, 2, 1, 2) == Take((0, 2))


def test_reach():
    """Pixels that a window reads; one that lies between pixels reads less."""
    assert reach(Patch(2), 3).rows == ((1, 1, 0), (0, 1, 1))
    assert reach(Patch(3, 1, 1, 1), 3).rows == ((1, 1, 0), (1, 1, 1), (0, 1, 1))
    assert reach(patch_transposed("VALID", 2, 2, 2), 2).rows == ((1, 0), (1, 0), (0, 1), (0, 1))
