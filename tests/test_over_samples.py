"""Layers over samples: kernels are those of the data that the layer makes, of blocks, or of normalised samples."""

import jax
import numpy as np
import pytest
from jax import random

import ntkc
from ntkc import stax
from ntkc.errors import InvalidGraph, InvalidInput, NoKernel

D, KEY = stax.Dense, random.PRNGKey(0)
ROWS1, ROWS2 = (np.random.default_rng(i).normal(size=(n, 4)).astype(np.float32) for i, n in ((0, 6), (1, 5)))
IMAGES1, IMAGES2 = (np.random.default_rng(i).normal(size=(n, 3, 2, 4)).astype(np.float32) for i, n in ((0, 6), (1, 5)))
MATRIX = np.random.default_rng(2).normal(size=(2, 6)).astype(np.float32)
GETS = ("nngp", "ntk", "cov1", "cov2")


def resize(x):
    return jax.image.resize(x, (4, 3, 5, 4), "linear")


LINEAR = {
    "samples picked": (stax.Index(stax.Slice[1::2]), lambda x: x[1::2]),
    "samples and pixels": (stax.Index(stax.Slice[:3, 1, ::-1]), lambda x: x[:3, 1, ::-1]),
    "resized": (stax.ImageResize((4, -1, 5, -1), "linear"), resize),
}


@pytest.mark.parametrize("name", LINEAR)
def test_maps_of_gaussian_data(name):
    """A linear map of all samples, of a Gaussian: the kernel of the mapped data, as Dense commutes with it."""
    layer, function = LINEAR[name]
    above, below = stax.serial(D(8, 1.3), layer), stax.serial(D(8, 1.3))
    made, expected = above[2](IMAGES1, IMAGES2), below[2](function(IMAGES1), function(IMAGES2))
    for get in GETS:
        np.testing.assert_allclose(getattr(made, get), getattr(expected, get), rtol=1e-4, atol=1e-5)
    assert made.shape1 == expected.shape1
    own = above[2](IMAGES1, None, "ntk")
    np.testing.assert_allclose(own, below[2](function(IMAGES1), None, "ntk"), rtol=1e-4, atol=1e-5)


def test_products_over_samples():
    """y[n, a, c] = A[n, a] x[n, c]: as a diagonal matrix of each a, between two layers."""
    layer = stax.DotGeneral(lhs=MATRIX.T, dimension_numbers=(((), ()), ((0,), (0,))))
    net, below = stax.serial(D(8, 1.2, 0.1), layer), D(8, 1.2, 0.1)
    params = net[0](KEY, ROWS1.shape)[1]
    expected = MATRIX.T[:, :, None] * below[1](params[0], ROWS1)[:, None]
    np.testing.assert_allclose(net[1](params, ROWS1), expected, rtol=1e-5)
    kernel, made = below[2](ROWS1), net[2](ROWS1)
    for get in ("nngp", "ntk"):
        pairs = np.einsum("ij,ai,bj->ijab", getattr(kernel, get), MATRIX, MATRIX)
        np.testing.assert_allclose(getattr(made, get), pairs, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(made.cov1, np.einsum("iiab->iab", made.nngp), rtol=1e-5)
    assert made.shape1 == (6, 2, 8)
    relu = stax.serial(net, stax.Relu(), stax.GlobalAvgPool(), D(1))[2](ROWS1, None, "nngp")
    wide = stax.serial(D(4096, 1.2, 0.1), layer, stax.Relu(), stax.GlobalAvgPool(), D(4096))
    f = wide[1](wide[0](KEY, ROWS1.shape)[1], ROWS1)
    np.testing.assert_allclose(f @ f.T / 4096, relu, atol=0.05 * float(np.max(relu)))


def test_samples_that_are_mixed():
    """y[a, c] = sum_n A[a, n] x[n, c] commutes with Dense: the kernel of A x."""
    layer = stax.DotGeneral(lhs=MATRIX, dimension_numbers=(((1,), (0,)), ((), ())))
    with pytest.raises(InvalidInput, match="samples are summed away"):
        stax.serial(D(8), layer)[2](ROWS1)


def test_branches_one_after_another():
    """K_1 and K_2 in blocks: branches are independent, and each is what it is alone."""
    first, second = stax.serial(D(8, 1.3), stax.Erf(), D(8, 1.1)), D(8, 0.7, 0.2)
    net = stax.serial(stax.FanOut(2), stax.parallel(first, second), stax.FanInConcat(0), stax.Relu(), D(1))
    for diagonal_batch in (True, False):
        made = net[2](ROWS1, ROWS2, diagonal_batch=diagonal_batch)
        for i, branch in enumerate((first, second)):
            expected = stax.serial(branch, stax.Relu(), D(1))[2](ROWS1, ROWS2, diagonal_batch=diagonal_batch)
            for get in ("nngp", "ntk"):
                block = getattr(made, get)[6 * i : 6 * i + 6, 5 * i : 5 * i + 5]
                np.testing.assert_allclose(block, getattr(expected, get), rtol=1e-4, atol=1e-5)
        assert made.shape1 == (12, 1)
    joined = stax.serial(stax.FanOut(2), stax.parallel(first, second), stax.FanInConcat(0))
    kernel = joined[2](ROWS1, ROWS2)
    assert np.all(kernel.nngp[:6, 5:] == 0)
    shape, params = joined[0](KEY, ROWS1.shape)
    assert shape == joined[1](params, ROWS1).shape == (12, 8)
    with pytest.raises(NoKernel, match="Gaussian"):
        stax.serial(stax.FanOut(2), stax.parallel(stax.serial(D(8), stax.Erf()), D(8)), stax.FanInConcat(0))[2](ROWS1)


@pytest.mark.parametrize("axes", [(0, -1), (0, 1, 3), (0, 1, 2, 3)])
def test_normalised_over_samples(axes):
    """K / sqrt(v1 v2), v the mean of variances over samples and the pixels that are normalised."""
    below = stax.serial(D(8, 1.3, 0.2))[2]
    kernel = below(IMAGES1, IMAGES2)
    made = stax.serial(D(8, 1.3, 0.2), stax.LayerNorm(axes, eps=0.1))[2](IMAGES1, IMAGES2)
    pixels = tuple(a for a in axes if a in (0, 1, 2))
    v1, v2 = (np.einsum("iaabb->iab", c).mean(pixels, keepdims=True)[0] + 0.1 for c in (kernel.cov1, kernel.cov2))
    v1, v2 = (np.broadcast_to(v, (3, 2)) for v in (v1, v2))
    roots = np.sqrt(np.einsum("ab,cd->acbd", v1, v2))
    np.testing.assert_allclose(made.nngp, kernel.nngp / roots, rtol=1e-5)
    np.testing.assert_allclose(made.ntk, kernel.ntk / roots, rtol=1e-5)
    np.testing.assert_allclose(made.cov1, kernel.cov1 / np.sqrt(np.einsum("ab,cd->acbd", v1, v1)), rtol=1e-5)


def test_wide_networks_that_are_normalised_over_samples():
    net = stax.serial(D(4096, 1.3, 0.2), stax.LayerNorm((0, -1)), stax.Relu(), D(4096, 1.1))
    params = net[0](KEY, ROWS1.shape)[1]
    f = net[1](params, ROWS1)
    np.testing.assert_allclose(f @ f.T / 4096, net[2](ROWS1, None, "nngp"), atol=0.06)


def test_layer_norm_of_pixels_in_finite_networks():
    x = IMAGES1
    made = stax.LayerNorm((1, -1))[1]((), x)
    np.testing.assert_allclose(np.mean(made, (1, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(np.var(made, (1, 3)), 1, rtol=1e-5)


def test_channels_and_single_samples_have_no_kernel():
    """Finite networks may pick them; the error is the peer's kind, too."""
    for idx in (stax.Slice[..., 1], stax.Slice[0], stax.Slice[..., ::2]):
        net = stax.serial(D(8), stax.Index(idx))
        params = net[0](KEY, IMAGES1.shape)[1]
        whole = D(8)[1](params[0], IMAGES1)
        np.testing.assert_array_equal(net[1](params, IMAGES1), whole[idx])
        with pytest.raises(NotImplementedError, match="channels stay"):
            net[2](IMAGES1)


def test_masked_samples():
    x = np.where(np.random.default_rng(0).random((6, 3, 2, 1)) < 0.3, 9.0, IMAGES1)
    net = stax.serial(D(8, 1.3), stax.Index(stax.Slice[:3, ::2]), stax.Relu(), stax.GlobalAvgPool(), D(1))
    plain = stax.serial(D(8, 1.3), stax.Relu(), stax.GlobalAvgPool(), D(1))
    expected = plain[2](x[:3, ::2], None, "ntk", mask_constant=9.0)
    np.testing.assert_allclose(net[2](x, None, "ntk", mask_constant=9.0), expected, rtol=1e-5, atol=1e-6)
    params = net[0](KEY, x.shape)[1]
    made = net[1](params, x, mask_constant=9.0)
    np.testing.assert_allclose(made, plain[1](params[:1] + params[2:], x[:3, ::2], mask_constant=9.0), rtol=1e-5)


def test_programs_are_of_pairs_of_samples():
    with pytest.raises(InvalidGraph, match="acts over samples"):
        ntkc.compile(stax.serial(D(8), stax.LayerNorm((0, -1))))


def attentions():
    """Every scaling and mechanism."""
    common = {"n_chan_out": 8, "n_chan_key": 8, "n_chan_val": 8, "n_heads": 2, "W_value_std": 1.2, "b_std": 0.3}
    for mechanism in ("SOFTMAX", "IDENTITY", "RELU"):
        yield stax.GlobalSelfAttention(**common, attention_mechanism=mechanism)
    yield stax.GlobalSelfAttention(**common, linear_scaling=False, attention_mechanism="IDENTITY")
    yield stax.GlobalSelfAttention(**common, pos_emb_type="SUM", pos_emb_decay_fn=lambda d: 1 / (1 + d))


@pytest.mark.parametrize("layer", list(attentions()), ids=str)
def test_attention_of_rows_is_of_one_position(layer):
    """[n, c] is [n, 1, c], in kernels and in finite networks."""
    net = stax.serial(D(8, 1.3), layer)
    made, expected = net[2](ROWS1, ROWS2), stax.serial(net, stax.Flatten())[2](ROWS1[:, None], ROWS2[:, None])
    for get in GETS:
        np.testing.assert_allclose(getattr(made, get), getattr(expected, get), rtol=1e-5)
    params = net[0](KEY, (6, 1, 4))[1]
    rows = net[0](KEY, (6, 4))[1]
    assert jax.tree.structure(rows) == jax.tree.structure(params)
    assert net[1](rows, ROWS1).shape == (6, 8)
    if layer[2].tree.op.pos_emb_type == "NONE":
        params = jax.tree.map(
            lambda v, of: v.reshape(of.shape[:1] + of.shape[1:] if v.ndim == of.ndim else (1, -1)), params, rows
        )
        position = jax.tree.map(lambda v, of: v.reshape((1, 1, -1)) if of.shape[:1] == (1,) else v, params, params)
        np.testing.assert_allclose(net[1](position, ROWS1[:, None])[:, 0], net[1](params, ROWS1), rtol=1e-4, atol=1e-5)
