"""stax as a drop-in: the calls, names, shapes and weights that users of Neural Tangents rely on."""

import dataclasses
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.make_finite_reference import SEED, network
from sklearn.datasets import load_digits

import ntkc
from ntkc import predict, stax
from ntkc.errors import InvalidGraph, InvalidInput, NoInfiniteLimit, ShapeMismatch, UnknownName

FINITE = np.load(Path(__file__).parent / "reference" / "finite.npz")
PEER_FIELDS = {
    *("nngp", "ntk", "cov1", "cov2", "x1_is_x2", "mask1", "mask2", "is_gaussian", "is_reversed", "is_input"),
    *("diagonal_batch", "diagonal_spatial", "shape1", "shape2", "batch_axis", "channel_axis"),
}
"""dataclasses.fields(nt.Kernel) of neural_tangents 0.6.5."""
KEY = jax.random.PRNGKey(0)
D, R = stax.Dense, stax.Relu


def residual(branch):
    return stax.serial(stax.FanOut(2), stax.parallel(branch, stax.Identity()), stax.FanInSum())


SPLITS = {
    "after activation, biased": ([D(4, 1.3, 0.3), R()], [D(2, 1.1, 0.2)]),
    "between activations": ([D(4, 1.3, 0.3), stax.Erf(), D(3)], [stax.Activation("x*erf(x)"), D(2)]),
    "rolled second": ([D(4, 1.3, 0.3)], [R(), D(4, 1.3, 0.3)] * 5),
    "collapsed first": ([D(4, 1.4), R()] * 7, [D(2, 1.1, 0.2)]),
    "before a sum": ([D(4, 1.3, 0.3)], [residual(stax.serial(R(), D(4))), D(1)]),
    "input first": ([stax.Identity()], [D(4, 1.3, 0.3), R(), D(1)]),
    "standard": ([D(4, 1.3, 0.3, parameterization="standard"), R()], [D(2, 1.1, 0.2, parameterization="standard")]),
}


# --- kernel_fn ---


def test_triples_unpack():
    for layer in (D(3), R(), stax.serial(D(3), R()), stax.parallel(D(3), D(3)), stax.repeat(R(), 2), stax.FanOut(2)):
        init_fn, apply_fn, kernel_fn = layer
        assert isinstance(layer, tuple)
        assert len(layer) == 3
        assert callable(init_fn)
        assert callable(apply_fn)
        assert layer[2] is kernel_fn


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (D(3), "Dense"),
        (R(), "Relu"),
        (stax.Erf(), "Erf"),
        (stax.FanOut(2), "FanOut"),
        (stax.FanInSum(), "FanInSum"),
        (stax.serial(R()), "serial"),
        (stax.parallel(R()), "parallel"),
        (stax.repeat(R(), 2), "repeat"),
    ],
    ids=str,
)
def test_names_of_the_three_functions(layer, name):
    assert [f.__name__ for f in layer] == [name] * 3


def test_kernel_has_the_peers_fields(pair):
    _, _, kernel_fn = stax.serial(D(8, 1.3), R(), D(2))
    kernel = kernel_fn(*pair)
    assert {f.name for f in dataclasses.fields(kernel)} == PEER_FIELDS
    assert set(kernel.asdict()) == PEER_FIELDS
    assert len(kernel.astuple()) == len(PEER_FIELDS)
    for name in PEER_FIELDS:
        np.testing.assert_array_equal(kernel_fn(*pair, name), getattr(kernel, name))


def test_get(pair):
    _, _, kernel_fn = stax.serial(D(8, 1.3), R(), D(2))
    kernel = kernel_fn(*pair, None)
    np.testing.assert_allclose(kernel_fn(*pair, "ntk"), kernel.ntk, rtol=1e-6)
    np.testing.assert_allclose(kernel_fn(*pair, "NNGP"), kernel.nngp, rtol=1e-6)
    chosen = kernel_fn(*pair, ("nngp", "cov1", "is_gaussian"))
    assert chosen._fields == ("nngp", "cov1", "is_gaussian")
    assert chosen.is_gaussian is True
    both = kernel_fn(*pair, ("nngp", "ntk"))
    assert both._fields == ("nngp", "ntk")
    with pytest.raises(UnknownName, match="no kernel field 'ntkgp'"):
        kernel_fn(*pair, "ntkgp")


@pytest.mark.parametrize("get", [None, "ntk", "cov1", ("nngp", "ntk"), ("cov1", "ntk")], ids=str)
def test_jit(get, pair):
    _, _, kernel_fn = stax.serial(D(8, 1.3, 0.1), stax.Monomial(2), D(2))
    compiled, plain = jax.jit(kernel_fn, static_argnames="get")(*pair, get=get), kernel_fn(*pair, get)
    assert jax.tree.structure(compiled) == jax.tree.structure(plain)
    for a, b in zip(jax.tree.leaves(compiled), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_jit_of_one_set(pair):
    _, _, kernel_fn = stax.serial(D(8, 1.3, 0.1), R(), D(2))
    compiled = jax.jit(kernel_fn, static_argnames="get")(pair[0], get="ntk")
    np.testing.assert_allclose(compiled, kernel_fn(pair[0], None, "ntk"), rtol=1e-5)


def test_kernel_fn_arguments_by_name(pair):
    _, _, kernel_fn = stax.serial(D(8), R(), D(2))
    expected = kernel_fn(*pair, "ntk")
    given = kernel_fn(pair[0], x2=pair[1], get="ntk", mask_constant=None, diagonal_batch=True, diagonal_spatial=False)
    np.testing.assert_array_equal(given, expected)
    assert kernel_fn.program(*pair, "ntk").shape == (5, 4)


ALONE = ("after activation, biased",)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("split", "is_pair"), [*((s, True) for s in SPLITS), *((s, False) for s in ALONE)])
def test_composition_equals_serial(split, is_pair, pair):
    first, second = SPLITS[split]
    x1, x2 = pair if is_pair else (pair[0], None)
    whole = stax.serial(*first, *second)[2](x1, x2)
    composed = stax.serial(*second)[2](stax.serial(*first)[2](x1, x2))
    for name in ("nngp", "ntk", "cov1", "cov2"):
        given, expected = getattr(composed, name), getattr(whole, name)
        assert (given is None) == (expected is None), name
        if given is None:
            continue
        # A kernel handed over holds K alone, so kinks see the rounding of rho of duplicates as a square root.
        np.testing.assert_allclose(given, expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max(), err_msg=name)
    for name in ("shape1", "shape2", "is_gaussian", "is_input", "x1_is_x2"):
        assert getattr(composed, name) == getattr(whole, name), name


def test_composition_layer_by_layer(pair):
    layers = [D(4, 1.3, 0.3), R(), D(4, 1.1), stax.Erf(), D(2)]
    kernel = layers[0][2](*pair)
    for _, _, kernel_fn in layers[1:]:
        kernel = kernel_fn(kernel)
    whole = stax.serial(*layers)[2](*pair)
    np.testing.assert_allclose(kernel.nngp, whole.nngp, rtol=1e-4)
    np.testing.assert_allclose(kernel.ntk, whole.ntk, rtol=1e-3)


def test_composition_takes_get_and_kernels_without_ntk(pair):
    _, _, first = stax.serial(D(4, 1.3, 0.3), R())
    _, _, second = D(2, 1.2)
    kernel = first(*pair)
    np.testing.assert_allclose(second(kernel, None, "nngp"), second(kernel).nngp, rtol=1e-6)
    assert second(kernel, get=("ntk", "cov1"))._fields == ("ntk", "cov1")
    alone = second(kernel.replace(ntk=None))
    np.testing.assert_allclose(alone.nngp, second(kernel).nngp, rtol=1e-6)


def test_kernel_that_is_not_gaussian_takes_no_nonlinearity(pair):
    """serial(Dense, Monomial, Relu) is known as a function of the Dense layer; a Kernel does not say which function."""
    kernel = stax.serial(D(4), stax.Monomial(2))[2](*pair)
    assert not kernel.is_gaussian
    # Open: a Port of law POINTWISE passes for a Gaussian, and the numbers are wrong without a word.
    with pytest.raises(NoInfiniteLimit):
        R()[2](kernel)


# --- finite networks ---


def shapes(tree):
    return jax.tree.map(lambda v: v.shape, tree)


def test_shapes_and_structure_of_weights():
    init_fn, apply_fn, _ = stax.serial(D(512, b_std=0.1), R(), D(10))
    output_shape, params = init_fn(KEY, (-1, 7))
    assert output_shape == (-1, 10)
    assert shapes(params) == [((7, 512), (1, 512)), (), ((512, 10), None)]
    assert apply_fn(params, np.ones((3, 7))).shape == (3, 10)
    assert apply_fn(params, np.ones((3, 7)), rng=KEY).shape == (3, 10)


def test_structure_of_repeat_and_parallel():
    init_fn, _, _ = stax.repeat(stax.serial(R(), D(5, 1, 0.1)), 3)
    output_shape, params = init_fn(KEY, (-1, 5))
    assert output_shape == (-1, 5)
    assert shapes(params) == [(), ((3, 5, 5), (3, 1, 5))]
    branches = stax.parallel(D(4), stax.serial(R(), D(4, 1, 1)))
    init_fn, apply_fn, _ = stax.serial(stax.FanOut(2), branches, stax.FanInSum())
    output_shape, params = init_fn(KEY, (-1, 5))
    assert output_shape == (-1, 4)
    assert apply_fn(params, np.ones((3, 5), np.float32)).shape == (3, 4)
    # Open: the peer's parallel keeps the weights of branches in a tuple, ours in a list.
    assert shapes(params) == [(), (((5, 4), None), [(), ((5, 4), (1, 4))]), ()]


def test_finite_activations_take_float64_data_without_a_warning():
    for layer in (R(), stax.Monomial(0), stax.Erf(), stax.Identity()):
        y = layer[1]((), np.ones((3, 5)))  # open: jax warns that float64 is truncated
        assert np.isfinite(y).all()


def test_finite_network_equals_the_peers():
    """The same key draws the same weights; see reference/make_finite_reference.py for jax_threefry_partitionable."""
    init_fn, apply_fn, _ = network(stax)
    _, params = init_fn(jax.random.PRNGKey(SEED), (-1, 6))
    weights = jax.tree.leaves(params)
    assert len(weights) == sum(name.startswith("weight") for name in FINITE)
    for i, w in enumerate(weights):
        np.testing.assert_allclose(w, FINITE[f"weight{i}"], rtol=1e-5, atol=1e-7, err_msg=f"weight{i}")
    np.testing.assert_allclose(apply_fn(params, FINITE["x"]), FINITE["y"], rtol=2e-5, atol=2e-6)


def test_wide_networks_have_the_kernel(pair):
    """Mean of f f^T over 400 networks of width 512 against the infinite width, 5 standard errors."""
    net = stax.serial(D(512, 1.3, 0.2), R(), residual(stax.serial(D(512, 1.1), stax.Erf(), D(512))), D(1))
    init_fn, apply_fn, kernel_fn = net
    x = np.float32(pair[0])

    def outputs(key):
        return apply_fn(init_fn(key, (-1, 6))[1], x)[:, 0]

    f = np.asarray(jax.lax.map(jax.jit(outputs), jax.random.split(KEY, 400)))
    products = f[:, :, None] * f[:, None, :]
    error = products.std(0) / len(f) ** 0.5
    assert (np.abs(products.mean(0) - kernel_fn(x, None, "nngp")) < 5 * error).all()


def test_gradients_and_jit_of_a_finite_network(pair):
    init_fn, apply_fn, _ = network(stax)
    _, params = init_fn(KEY, (-1, 6))
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(apply_fn(p, pair[0]) ** 2)))(params)
    assert jax.tree.structure(gradient) == jax.tree.structure(params)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


# --- combinators ---


def same_kernel(a, b, pair):
    np.testing.assert_allclose(a[2](*pair, "ntk"), b[2](*pair, "ntk"), rtol=1e-5, atol=1e-6)


def test_nested_serial(pair):
    flat = stax.serial(D(4, 1.3), R(), D(4), R(), D(1))
    nested = stax.serial(stax.serial(D(4, 1.3), R()), stax.serial(stax.serial(D(4)), R()), D(1))
    same_kernel(flat, nested, pair)
    assert ntkc.compile(flat).source == ntkc.compile(nested).source


def test_repeat(pair):
    block = stax.serial(R(), D(4, 1.3, 0.1))
    repeated = stax.serial(D(4), stax.repeat(block, 4), D(1))
    same_kernel(repeated, stax.serial(D(4), *[block] * 4, D(1)), pair)
    same_kernel(stax.serial(D(4), stax.repeat(block, 0)), D(4), pair)


def test_parallel_of_independent_branches_adds_kernels(pair):
    branches = [stax.serial(D(4, 1.3), R(), D(3)), stax.serial(D(4, 1.1), stax.Erf(), D(3))]
    net = stax.serial(stax.FanOut(2), stax.parallel(*branches), stax.FanInSum())
    expected = sum(b[2](*pair, "ntk") for b in branches)
    np.testing.assert_allclose(net[2](*pair, "ntk"), expected, rtol=1e-5, atol=1e-6)


def test_sum_of_a_layer_with_itself_is_twice_the_layer(pair):
    """The peer gives 2 K for x + x; its kernel is 4 K."""
    twice = stax.serial(
        D(4, 1.3), stax.FanOut(2), stax.parallel(stax.Identity(), stax.Identity()), stax.FanInSum(), R(), D(1)
    )
    same_kernel(twice, stax.serial(D(4, 2.6), R(), D(1)), pair)


def test_fan_out_of_three(pair):
    net = stax.serial(D(4), stax.FanOut(3), stax.parallel(D(3), D(3), D(3)), stax.FanInSum())
    np.testing.assert_allclose(net[2](*pair, "nngp"), 3 * stax.serial(D(4), D(3))[2](*pair, "nngp"), rtol=1e-5)


def test_layers_taken_apart_and_put_together(pair):
    init_fn, apply_fn, kernel_fn = stax.serial(D(4, 1.3), R())
    for again in ((init_fn, apply_fn, kernel_fn), [init_fn, apply_fn, kernel_fn]):
        same_kernel(stax.serial(again, D(2)), stax.serial(D(4, 1.3), R(), D(2)), pair)
    assert ntkc.compile((init_fn, apply_fn, kernel_fn)).source == ntkc.compile(stax.serial(D(4, 1.3), R())).source
    assert ntkc.compile(kernel_fn).source == ntkc.compile(stax.serial(D(4, 1.3), R())).source


def test_layers_are_values():
    layer = stax.serial(D(4, 1.3), stax.repeat(R(), 2))
    assert repr(layer) == "stax.serial(Dense(out_dim=4, W_std=1.3), repeat(Relu(), 2))"
    assert repr(pickle.loads(pickle.dumps(layer))) == repr(layer)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: stax.serial(3), InvalidGraph, ("3", "no layer", "stax.Dense(512)")),
        (lambda: stax.serial(R), InvalidGraph, ("no layer",)),
        (lambda: stax.repeat(R(), -1), InvalidInput, ("-1", "at least 0")),
        (lambda: stax.repeat(R(), 1.5), InvalidInput, ("1.5", "whole number")),
        (lambda: D(3, batch_axis=-1), InvalidInput, ("batch_axis = channel_axis = -1", "an axis each")),
        (lambda: D(3, batch_axis=1)[2](np.ones((2, 2))), ShapeMismatch, ("both axis 1", "array of 2 axes")),
        (lambda: stax.Flatten(batch_axis=0.5), InvalidInput, ("batch_axis = 0.5", "number of an axis")),
        (lambda: D(3, s=(0, 1)), InvalidInput, ("(0, 1)", "positive")),
        (lambda: D(3, parameterization="mup"), UnknownName, ("'mup'", "ntk, standard")),
        (lambda: D(3)[0](KEY, (-1,)), ShapeMismatch, ("(-1,)", "(-1, features)", "(-1, pixels ..., features)")),
        (lambda: stax.repeat(D(3), 2)[0](KEY, (-1, 5)), ShapeMismatch, ("Dense", "serial")),
        (lambda: stax.FanOut(0), InvalidInput, ("FanOut", "num", "0", "whole number")),
        (lambda: stax.Monomial(-1), InvalidInput, ("-1", "whole number")),
        (lambda: stax.Polynomial([]), InvalidInput, ("coefficients",)),
        (lambda: stax.parallel(D(3), D(3))[2](np.ones((2, 2))), InvalidGraph, ("parallel of 2", "FanOut(2)")),
    ],
)
def test_errors_say_what_was_given(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


# --- the newcomer's program ---


def test_the_newcomers_program():
    X, y = load_digits(return_X_y=True)
    _, _, kernel_fn = stax.serial(stax.Dense(1024), stax.Relu(), stax.Dense(10))
    ntk_train = kernel_fn(X, X, "ntk")
    predict_fn = predict.gradient_descent_mse_ensemble(kernel_fn=kernel_fn, x_train=X, y_train=y, learning_rate=1.0)
    y_pred = predict_fn(x_test=X, t=1.0)
    assert ntk_train.shape == (1797, 1797)
    assert y_pred.ntk.shape == y_pred.nngp.shape == (1797,)
    assert np.isfinite(y_pred.ntk).all()


def test_covariances_of_all_samples(pair):
    _, _, kernel_fn = stax.serial(D(8, 1.3, 0.1), R(), D(2))
    kernel = kernel_fn(*pair, diagonal_batch=False)
    assert not kernel.diagonal_batch
    np.testing.assert_array_equal(kernel.cov1, kernel_fn(pair[0], None, "nngp"))
    np.testing.assert_array_equal(kernel.cov2, kernel_fn(pair[1], None, "nngp"))
    assert kernel_fn(pair[0], None, "cov1", diagonal_batch=False).shape == (5, 5)


def test_masks_are_those_of_the_output():
    x = np.random.default_rng(0).standard_normal((2, 5, 3))
    x[0, 4] = np.nan
    kernel = stax.serial(D(8), R())[2](x, None, mask_constant=np.nan)
    np.testing.assert_array_equal(kernel.mask1, np.isnan(x).all(-1, keepdims=True))
    assert kernel.mask2 is None
    strided = stax.Conv(8, (1,), strides=(2,))[2](x, None, mask_constant=np.nan)
    np.testing.assert_array_equal(strided.mask1, np.isnan(x[:, ::2]).all(-1, keepdims=True))
    pooled = stax.serial(D(8), stax.GlobalAvgPool())[2](x, None, mask_constant=np.nan)
    np.testing.assert_array_equal(pooled.mask1, [[False], [False]])
