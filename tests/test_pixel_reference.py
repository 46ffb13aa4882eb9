"""Every stored network on pixels of Neural Tangents (reference/README.md), or why it is left out.

Relative to the largest entry of a kernel: the peer's own rounding differs by that much between its code paths.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
from pixel_oracle import kernels

from ntkc import stax
from ntkc.frontends.networks import to_graph

FOLDER = Path(__file__).parent / "reference"
sys.path.insert(0, str(FOLDER))

from image_networks import calls, networks  # noqa: E402

REFERENCE = np.load(FOLDER / "pixels.npz")
NETWORKS = networks(stax)
GETS = ("nngp", "ntk")
TOLERANCE = {"": 1e-8, "_self": 2e-8}

WRONG_LOCAL = "the peer turns a filter that is not square after an odd number of convolutions"
WRONG_NORM = "the peer averages the variance over masked pixels too: its kernel is not that of the cropped image"
QUADRATURE = "25 x 25 nodes of the peer"
PEER_IS_WRONG = {
    "local_valid_mean": WRONG_LOCAL,
    "local_circular_mean": WRONG_LOCAL,
    "mask_local_mean": WRONG_LOCAL,
    "mask_norm_rows_mean": WRONG_NORM,
    "mask_norm_all_flatten": WRONG_NORM,
}
PEER_IS_ROUGH = ("act_numerical_tanh_flatten", "act_numerical_tanh_mean")
ROUGH = {"": 1e-3, "_self": 5e-3}
"""Bounds of the errors of quadratures with 25 x 25 nodes, which are largest where both samples are equal."""
EXPECTED_DIFFERENCES = {**PEER_IS_WRONG, **dict.fromkeys(PEER_IS_ROUGH, QUADRATURE)}

QUICK = {
    "conv_circular_stride2_relu_flatten",
    "conv_standard_s12_relu_flatten",
    "convs_3_mean",
    "transpose_same_4x2_stride21_mean",
    "local_same_mean",
    "avg_pool_2x3_same_stride32_mean",
    "flatten_dense_standard_bias",
    "act_abrelu_flatten",
    "sum_identity_conv_mean",
    "concat_rows_mean",
    "norm_rows_eps_mean",
    "dropout_half_mean",
    "attention_sequence_mean",
    "resize_one_axis_mean",
    "mask_conv_mean",
    "flat_and_image_concat",
    "mask_two_inputs_sum_mean",
    "pixels_sequence",
}
"""One of each family, two seconds each; the others are slow tests."""
DOTS = [n for n in NETWORKS if n.startswith("dot_") and n != "dot_columns_vector_flatten"]
SUPPORTED = [n for n in NETWORKS if n not in EXPECTED_DIFFERENCES]


def compared(name):
    """(suffix of the key, relative difference) of each stored kernel."""
    case = NETWORKS[name]
    kernel_fn = case.build()[2]
    for suffix, (x1, x2, options) in calls(name, case).items():
        for get, found in zip(GETS, kernel_fn(x1, x2, GETS, **options), strict=True):
            expected = REFERENCE[f"{name} {get}{suffix}"]
            assert found.shape == expected.shape, f"{get}{suffix}"
            yield suffix, float(np.abs(found - expected).max() / (np.abs(expected).max() or 1))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SUPPORTED])
def test_network(name):
    for suffix, difference in compared(name):
        assert difference <= TOLERANCE[suffix], suffix


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", PEER_IS_WRONG)
def test_the_peer_is_wrong(name):
    """Of what the oracle knows, ntkc has the value; a peer that is mended, or a bound met by chance, fails this."""
    assert max(difference for _, difference in compared(name)) > 1e-4
    case = NETWORKS[name]
    if case.mask_constant is not None:
        return
    for x1, x2, _ in calls(name, case).values():
        net = case.build()
        for found, exact in zip(net[2](x1, x2, GETS), kernels(to_graph(net), x1, x2), strict=True):
            np.testing.assert_allclose(found, exact, rtol=1e-9)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "name", ["dot_columns_vector_flatten", *(pytest.param(n, marks=pytest.mark.slow) for n in DOTS)]
)
def test_products_have_the_digits_of_the_oracle(name):
    """Arrays with negative entries, after which correlations of rectified pixels may be negative."""
    case = NETWORKS[name]
    for x1, x2, _ in calls(name, case).values():
        net = case.build()
        for found, exact in zip(net[2](x1, x2, GETS), kernels(to_graph(net), x1, x2), strict=True):
            np.testing.assert_allclose(found, exact, rtol=0, atol=1e-14 * np.abs(exact).max())


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", PEER_IS_ROUGH)
def test_the_peer_is_rough(name):
    for suffix, difference in compared(name):
        assert TOLERANCE[suffix] < difference <= ROUGH[suffix]


def test_every_network_is_held_to_something():
    assert len(NETWORKS) == 379
    assert set(SUPPORTED) >= QUICK
    assert set(EXPECTED_DIFFERENCES) <= set(NETWORKS)
    stored = {key.rsplit(" ", 1)[0] for key in REFERENCE.files}
    assert stored == set(NETWORKS)
