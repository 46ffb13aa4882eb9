"""Masked data: kernels are those of data whose masked entries are put to 0 by hand, after each layer, or cut out."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from pixel_oracle import kernels
from test_random_pixel_networks import random_network

import ntkc
from ntkc import stax
from ntkc.errors import InvalidInput, NtkcError, UnknownName
from ntkc.frontends.networks import to_graph
from ntkc.ir.op import public_ops
from ntkc.ir.program import BrokenProgram
from ntkc.layers.pointwise import _Elementwise

HIDDEN = -7.0
GETS = ("nngp", "ntk")
PARALLEL = 2e-8
"""Arrays make parallel pixels of one, where an angle has the square root of rounding."""


def masked_samples(pixels, seed, count=3):
    """Samples of two channels, a quarter of whose pixels is masked, and which are there."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, *pixels, 2))
    there = rng.random((count, *pixels)) > 0.25
    return np.where(there[..., None], x, HIDDEN), there


def difference(net, pixels, seed, is_symmetric):
    """Over the largest entry; an error of ntkc, or of an oracle that does not know the network."""
    x, there = masked_samples(pixels, seed)
    x1, x2 = (x, None) if is_symmetric else (x[:2], x[2:])
    found = net[2](x1, x2, GETS, mask_constant=HIDDEN)
    clean = np.where(there[..., None], x, 0.0)
    both = (clean, None) if is_symmetric else (clean[:2], clean[2:])
    expected = kernels(to_graph(net), *both, there)
    assert [v.shape for v in found] == [v.shape for v in expected]
    return max(np.abs(a - b).max() / (np.abs(b).max() or 1) for a, b in zip(found, expected, strict=True))


def difference_or_refusal(net, pixels, seed):
    """What `difference` gives, and why there is none."""
    try:
        return difference(net, pixels, seed, seed % 2 == 0), ""
    except BrokenProgram:
        raise
    except (NtkcError, NotImplementedError) as error:
        return 0.0, str(error)


AT_THE_KINK = (192,)
"""A pixel of variance 0 with a trained bias: the slope of a kink there is a convention, the oracle has another."""


def compare_random(number):
    """Equal kernels, or a refusal with a reason, which is returned."""
    with_maps = number % 3 == 0
    net, pixels, bound = random_network(number, with_maps)
    found, why = difference_or_refusal(net, pixels, number)
    if why:
        return f"{number}: {why}"
    assert found <= max(bound, PARALLEL if with_maps else 0), f"{number}: {found} of {net}"
    return ""


@pytest.mark.parametrize("number", [3, 10, 15, 43, 130, 149])
def test_masked_random_networks(number, x64):
    assert compare_random(number) == ""


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 500, 20))
def test_many_masked_random_networks(start, x64):
    refused = [why for number in {*range(start, start + 20)} - {*AT_THE_KINK} if (why := compare_random(number))]
    assert len(refused) <= 6, refused


FLAT = [[0.56574025, -0.10945655], [-0.10945655, 1.13801232]]


@pytest.mark.parametrize(
    "layers",
    [
        (stax.Flatten(),),
        (stax.Identity(), stax.Flatten()),
        (stax.Permute((1, 0)), stax.Flatten()),
        (stax.Index(stax.Slice[:, 0:3]), stax.Flatten()),
    ],
    ids=str,
)
def test_data_that_no_layer_hides_are_masked(layers, x64):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 3))
    x[0, 1, 2] = x[1, 0, 0] = HIDDEN
    net = stax.serial(*layers)
    np.testing.assert_allclose(net[2](x, None, "nngp", mask_constant=HIDDEN), FLAT, rtol=1e-7)
    after = stax.serial(stax.Dense(1), stax.Relu())[2](net[2](x, None, mask_constant=HIDDEN))
    expected = [[0.28287012624, 0.1015292], [0.1015292, 0.56900616]]
    np.testing.assert_allclose(after.nngp, expected, rtol=1e-6)


def test_a_sum_of_masked_pixels(x64):
    x, there = masked_samples((3, 4), 0)
    total = np.where(there[..., None], x, 0).sum((1, 2))
    for layers in ((stax.GlobalSumPool(),), (stax.Identity(), stax.GlobalSumPool())):
        found = stax.serial(*layers)[2](x, None, "nngp", mask_constant=HIDDEN)
        np.testing.assert_allclose(found, total @ total.T / 2, rtol=1e-12)


def test_masked_rows(x64):
    x = np.random.default_rng(0).normal(size=(3, 4))
    x[0], x[1, 2] = HIDDEN, HIDDEN
    clean = np.where(x == HIDDEN, 0, x)
    found = stax.serial(stax.Dense(1, 1.0, 0.5))[2](x, None, "nngp", mask_constant=HIDDEN)
    expected = clean @ clean.T / 4 + 0.25 * np.outer([0, 1, 1], [0, 1, 1])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(stax.Identity()[2](x, None, "nngp", mask_constant=HIDDEN), clean @ clean.T / 4)


def test_sides_of_different_slopes(x64):
    x = np.random.default_rng(0).normal(size=(2, 2, 2, 1))
    x[0, 0, 0] = x[1, 1, 0] = HIDDEN
    net = stax.serial(stax.Conv(8, (2, 2), None, "SAME", 1.4, 0.3), stax.ABRelu(0.5, 1.0), stax.Flatten())
    expected = [[0.07745257, 0.04113105], [0.04113105, 0.29019876]]
    np.testing.assert_allclose(net[2](x, None, "nngp", mask_constant=HIDDEN), expected, rtol=1e-6)


ACTIVATIONS = [
    op.examples()[0] for name, op in sorted(public_ops().items()) if issubclass(op, _Elementwise) and op.examples()
]
QUICK = ("LeakyRelu", "Erf", "Sign")


def cut_and_masked(op, second=None):
    """Kernels of a network on pixels that are missing, and on those alone that are there."""
    more = () if second is None else (stax.Dense(3, 1.1, 0.3), stax.from_op(second))
    net = stax.serial(stax.Dense(3, 0.7, 0.2), stax.from_op(op), *more, stax.GlobalAvgPool(), stax.Dense(1))
    x = np.random.default_rng(1).standard_normal((2, 3, 2))
    masked = np.concatenate([x, np.full((2, 2, 2), HIDDEN)], 1)[:, [0, 3, 1, 4, 2]]
    return net[2](masked, None, GETS, mask_constant=HIDDEN), net[2](x, None, GETS)


@pytest.mark.parametrize(
    "op",
    [op if type(op).__name__ in QUICK else pytest.param(op, marks=pytest.mark.slow) for op in ACTIVATIONS],
    ids=lambda op: op.label(),
)
def test_every_activation_of_masked_pixels(op, x64):
    for found, expected in zip(*cut_and_masked(op), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("first", ACTIVATIONS, ids=lambda op: op.label())
def test_pairs_of_activations_of_masked_pixels(first, x64):
    for second in ACTIVATIONS:
        for found, expected in zip(*cut_and_masked(first, second), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-8, err_msg=second.label())


CONV = stax.Conv(4, (2, 2), None, "SAME", 1.2, 0.3)
LAYERS = {
    "dense": stax.Dense(4, 1.1, 0.2),
    "conv": CONV,
    "strided": stax.Conv(4, (3, 2), (2, 1), "SAME", 1.1),
    "dilated": stax.Conv(4, (2, 2), None, "SAME", dilation=(2, 2)),
    "standard": stax.Conv(4, (1, 2), None, "CIRCULAR", 1.3, 0.1, parameterization="standard"),
    "transpose": stax.ConvTranspose(4, (2, 2), (1, 2), "SAME", 1.1, 0.2),
    "local": stax.ConvLocal(4, (2, 1), None, "SAME", 1.1, 0.2),
    "average": stax.AvgPool((2, 2), None, "SAME"),
    "edges": stax.AvgPool((2, 2), (2, 1), "SAME", True),
    "sum": stax.SumPool((1, 2)),
    "norm": stax.LayerNorm((1, 2, 3), 0.1),
    "rows norm": stax.LayerNorm((2, 3), 0.1),
    "rms": stax.RMSNorm(0.1),
    "groups": stax.GroupNorm(2, 0.1),
    "dropout": stax.Dropout(0.7),
    "resize": stax.ImageResize((-1, 4, 3, -1), "linear"),
    "nearest": stax.ImageResize((-1, 2, 4, -1), "nearest"),
    "permute": stax.Permute((1, 0)),
    "index": stax.Index(stax.Slice[:, :, ::-1]),
    "product": stax.DotGeneral(rhs=np.array([[1.0, 2.0, 0.5]] * 3), dimension_numbers=(((2,), (0,)), ((), ()))),
    "residual": stax.serial(stax.FanOut(2), stax.parallel(stax.Identity(), CONV), stax.FanInSum()),
    "factors": stax.serial(stax.FanOut(2), stax.parallel(stax.Dense(4), CONV), stax.FanInProd()),
    "joined rows": stax.serial(stax.FanOut(2), stax.parallel(stax.Dense(4), CONV), stax.FanInConcat(1)),
    "joined channels": stax.serial(stax.FanOut(2), stax.parallel(stax.Dense(4), CONV), stax.FanInConcat(-1)),
    "identity": stax.Identity(),
}
ENDS = (stax.Flatten(), stax.GlobalAvgPool(), stax.GlobalSumPool(), stax.Identity())
KINDS = (stax.LeakyRelu(0.2), stax.Erf(0.7, 0.8, 0.2))


def of_layers(layers, end, activation):
    return stax.serial(CONV, *layers, stax.Dense(4, 1.1, 0.1), activation, end)


@pytest.mark.parametrize("name", [n if n == "local" else pytest.param(n, marks=pytest.mark.slow) for n in LAYERS])
def test_every_layer_of_masked_pixels(name, x64):
    for i, (end, activation) in enumerate(product(ENDS, KINDS)):
        assert difference(of_layers([LAYERS[name]], end, activation), (3, 3), 2, i % 2 == 0) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_pairs_of_layers_of_masked_pixels(name, x64):
    for i, other in enumerate(LAYERS):
        net = of_layers([LAYERS[name], KINDS[i % 2], LAYERS[other]], ENDS[i % 3], KINDS[1 - i % 2])
        assert difference_or_refusal(net, (3, 3), i)[0] < 1e-8, other


def test_masks_are_real_numbers(x64):
    x, _ = masked_samples((2,), 0)
    net = stax.serial(stax.Flatten(), stax.Dense(1))
    for constant in ("7", 1j, [1.0]):
        with pytest.raises(InvalidInput, match="mask_constant"):
            net[2](x, None, "nngp", mask_constant=constant)
    x[0, 0] = np.nan
    with pytest.raises(InvalidInput, match="holds NaN, but mask_constant = -7"):
        net[2](x, None, "nngp", mask_constant=HIDDEN)
    x[0, 1] = np.inf
    with pytest.raises(InvalidInput, match=r"infinity, first at \(0, 1, 0\)"):
        net[2](x, None, "nngp", mask_constant=np.nan)


# Finite networks.


def of_one(net, params, x, there):
    """Outputs of each sample on the pixels alone that are there."""
    return jnp.concatenate([net[1](params, x[i, there[i]][None]) for i in range(len(x))])


@pytest.mark.parametrize("norm", [stax.Identity(), stax.LayerNorm((1, 2), 0.1), stax.GroupNorm(2, 0.1)], ids=str)
@pytest.mark.parametrize("constant", [10.0, pytest.param(np.nan, marks=pytest.mark.slow)])
def test_finite_networks_see_the_pixels_that_are_there(norm, constant, x64):
    x, there = masked_samples((6,), 3)
    net = stax.serial(stax.Conv(8, (1,)), norm, stax.Relu(), stax.GlobalAvgPool(), stax.Dense(2))
    params = net[0](random.PRNGKey(1), x.shape)[1]
    masked = np.where(there[..., None], x, constant)
    expected = of_one(net, params, x, there)
    np.testing.assert_allclose(net[1](params, masked, mask_constant=constant), expected, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(net[1])(params, masked, mask_constant=constant), expected, rtol=1e-12)
    for axes in (None, 0):
        ntk_fn = ntkc.empirical_ntk_fn(net[1], vmap_axes=axes)
        jacobians = [ntkc.empirical_ntk_fn(lambda p, _: of_one(net, p, x, there))(x, None, params)]
        np.testing.assert_allclose(ntk_fn(masked, None, params, mask_constant=constant), jacobians[0], rtol=1e-10)


def test_values_of_a_finite_network(x64):
    rng = np.random.RandomState(0)
    x = rng.randn(2, 2, 3, 2)
    x[0, 1, 2] = x[1, 0, :2] = 10.0
    init_fn, apply_fn, _ = stax.serial(
        stax.Conv(16, (1, 1), padding="SAME"), stax.Relu(), stax.GlobalAvgPool(), stax.Dense(1)
    )
    with jax.threefry_partitionable(False):
        params = init_fn(random.PRNGKey(1), x.shape)[1]
    found = apply_fn(params, x, mask_constant=10.0)
    np.testing.assert_allclose(found.ravel(), [0.71282659, 0.46828036], rtol=1e-7)
    ntk = ntkc.empirical_ntk_fn(apply_fn)(x, None, params, mask_constant=10.0)
    np.testing.assert_allclose(ntk.ravel(), [0.68741461, 0.42229646, 0.42229646, 0.48387846], rtol=1e-7)


def test_finite_networks_of_other_axes(x64):
    x, _ = masked_samples((2, 3), 4)
    dims = ("NCHW", "HWIO", "NCHW")
    plain = stax.serial(CONV, stax.Relu(), stax.AvgPool((2, 2)), stax.GlobalAvgPool())
    turned = stax.serial(
        stax.Conv(4, (2, 2), None, "SAME", 1.2, 0.3, dims),
        stax.Relu(),
        stax.AvgPool((2, 2), channel_axis=1),
        stax.GlobalAvgPool(channel_axis=1),
    )
    params = plain[0](random.PRNGKey(0), x.shape)[1]
    moved = [tuple(None if w is None else w for w in p) for p in params]
    moved[0] = (params[0][0], jnp.transpose(params[0][1], (0, 3, 1, 2)))
    expected = plain[1](params, x, mask_constant=HIDDEN)
    found = turned[1](moved, np.transpose(x, (0, 3, 1, 2)), mask_constant=HIDDEN)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "name",
    [
        "conv",
        "transpose",
        *(pytest.param(n, marks=pytest.mark.slow) for n in LAYERS if n not in ("conv", "transpose", "dropout")),
    ],
)
def test_masked_entries_are_zero_after_each_finite_layer(name, x64):
    """Outputs are 0 where their variance is."""
    x, _ = masked_samples((3, 3), 5)
    net = stax.serial(CONV, LAYERS[name])
    params = net[0](random.PRNGKey(0), x.shape)[1]
    y = net[1](params, x, mask_constant=HIDDEN)
    variance = net[2](x, None, mask_constant=HIDDEN).cov1
    for _ in y.shape[1:-1]:
        variance = jnp.diagonal(variance, axis1=1, axis2=2)
    np.testing.assert_array_equal(np.abs(np.asarray(y)).max(-1) > 0, np.asarray(variance) > 1e-14)


def test_unknown_keywords_are_refused():
    net = stax.serial(stax.Dense(2), stax.Relu(), stax.Dense(1))
    x = np.ones((2, 3))
    params = net[0](random.PRNGKey(0), x.shape)[1]
    with pytest.raises(UnknownName, match="no keyword of apply_fn 'mask'"):
        net[1](params, x, mask=1.0)
    with pytest.raises(UnknownName, match="no hyper-parameter 'mask'"):
        net[2](x, None, "ntk", mask=1.0)
    with pytest.raises(InvalidInput, match="masked"):
        net[1](params, np.ma.masked_array(x, x > 0))
    kernel = net[2](x)
    for name, value in {"mask_constant": 1.0, "diagonal_spatial": True, "diagonal_batch": False, "x2": x}.items():
        with pytest.raises(InvalidInput, match=name):
            stax.Relu()[2](kernel, **{name: value})
