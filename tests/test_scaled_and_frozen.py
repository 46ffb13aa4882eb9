"""Multiples of what layers give, and layers whose weights are not trained."""

import jax
import numpy as np
import pytest

import ntkc
from ntkc import stax
from ntkc.stax import Activation, Dense, FanInSum, FanOut, Frozen, Identity, Relu, Scale, parallel, serial

X, X2 = np.random.default_rng(0).normal(size=(3, 4)), np.random.default_rng(1).normal(size=(2, 4))
IMAGES = np.random.default_rng(2).normal(size=(2, 4, 4, 2))
BOTH = ("nngp", "ntk")


@pytest.fixture(autouse=True)
def _x64():
    with jax.enable_x64(True):
        yield


def assert_same(one, two):
    for made, expected in zip(one[2](X, X2, BOTH), two[2](X, X2, BOTH), strict=True):
        np.testing.assert_allclose(made, expected, rtol=1e-12)


def test_a_scaled_branch_before_a_sum_and_relu():
    branch = serial(Relu(), Dense(8, 1.0), Activation("0.1*x"))
    net = serial(Dense(8, 1.2, 0.1), FanOut(2), parallel(Identity(), branch), FanInSum(), Relu(), Dense(1))
    expected = [0.0720764798, 0.0196130358, 0.0571644842]
    np.testing.assert_allclose(np.ravel(net[2](X, X2, "ntk"))[:3], expected, atol=1e-10)


def test_scaled_data_are_scaled_weights():
    assert_same(serial(Scale(0.5), Dense(8, 1.2, 0.1), Relu(), Dense(1)), serial(Dense(8, 0.6, 0.1), Relu(), Dense(1)))


@pytest.mark.parametrize("scale", [0.5, -0.5])
def test_a_sum_with_a_multiple_of_itself(scale):
    head = (Relu(), Dense(1))
    total = serial(FanOut(2), parallel(Identity(), Scale(scale)), FanInSum())
    assert_same(serial(total, Dense(8), *head), serial(Dense(8, 1 + scale), *head))
    assert_same(serial(Dense(8), total, *head), serial(Dense(8, 1.0), Scale(1 + scale), *head))


def test_a_scaled_pool():
    def kernel(*layers):
        net = serial(stax.Conv(8, (2, 2), b_std=0.1), Relu(), stax.AvgPool((2, 2)), *layers, stax.Flatten(), Dense(1))
        return net[2](IMAGES, None, "ntk")

    np.testing.assert_allclose(kernel(Scale(0.5)), 0.25 * kernel(), rtol=1e-12)


def test_a_frozen_first_layer_leaves_the_last_one():
    net = serial(Frozen(Dense(8, 1.2, 0.1)), Relu(), Dense(1))
    nngp, ntk = net[2](X, X2, BOTH)
    np.testing.assert_allclose(ntk, nngp, rtol=1e-13)


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
def test_trained_and_frozen_parts_make_the_whole(parameterization):
    """T is the sum over layers of what their weights add: each trained alone, the others frozen."""

    def net(trained):
        dense = [Dense(6, 1.2, 0.1, parameterization=parameterization) for _ in range(3)]
        made = [layer if i in trained else Frozen(layer) for i, layer in enumerate(dense)]
        return serial(made[0], Relu(), made[1], Relu(), made[2])[2](X, X2, "ntk")

    np.testing.assert_allclose(net({0}) + net({1}) + net({2}), net({0, 1, 2}), rtol=1e-12)


def test_frozen_finite_networks_have_no_derivative():
    init_fn, apply_fn, _ = serial(Frozen(Dense(5, 1.2, 0.1)), Relu(), Dense(1))
    params = init_fn(jax.random.PRNGKey(0), X.shape)[1]
    first, _, last = jax.grad(lambda p: apply_fn(p, X).sum())(params)
    assert all(not np.any(w) for w in first)
    assert np.any(last[0])


def test_nothing_trained_has_no_tangent_kernel():
    assert not np.any(Frozen(serial(Dense(8), Relu(), Dense(1)))[2](X, X2, "ntk"))
    assert not np.any(serial(Identity())[2](X, X2, "ntk"))


def test_frozen_layers_survive_json():
    net = serial(Frozen(Dense(8, 1.2, 0.1)), Relu(), Scale(0.5), Dense(1))
    again = ntkc.compile(ntkc.to_json(net))
    np.testing.assert_array_equal(again(X, X2, "ntk"), net[2](X, X2, "ntk"))
