"""Nonlinearities of the peer by name, and layers that are given by their covariance map."""

import importlib.util
import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp

import ntkc
from ntkc import stax
from ntkc.errors import InvalidInput, NoFiniteNetwork, NoInfiniteLimit, UnsupportedExpr
from ntkc.gaussian.dual import K12, Q1, Q2
from ntkc.gaussian.functions import Angle, Root
from ntkc.layers.given import in_angles

FOLDER = Path(__file__).parent / "reference"
REFERENCE = np.load(FOLDER / "nonlinearities.npz")
TOLERANCE = 1e-13
"""Relative to the largest entry, but where the peer integrates by quadrature of degree 60:"""
OF_QUADRATURE = {"numerical_tanh": 5e-5, "numerical_silu": 1e-9}

PEER_DEFAULTS = {
    "ABRelu": {"a": "-", "b": "-", "do_stabilize": False},
    "Abs": {"do_stabilize": False},
    "Cos": {"a": 1.0, "b": 1.0, "c": 0.0},
    "Elementwise": {"fn": None, "nngp_fn": None, "d_nngp_fn": None},
    "ElementwiseNumerical": {"fn": "-", "deg": "-", "df": None},
    "Erf": {"a": 1.0, "b": 1.0, "c": 0.0},
    "Exp": {"a": 1.0, "b": 1.0},
    "ExpNormalized": {"gamma": 1, "shift": -1, "do_clip": False},
    "Gabor": {},
    "Gaussian": {"a": 1.0, "b": -1.0},
    "Gelu": {"approximate": False},
    "Hermite": {"degree": "-"},
    "LeakyRelu": {"alpha": "-", "do_stabilize": False},
    "Monomial": {"degree": "-"},
    "Polynomial": {"coef": "-"},
    "Rbf": {"gamma": 1.0},
    "RectifiedMonomial": {"degree": "-"},
    "Relu": {"do_stabilize": False},
    "Sigmoid_like": {},
    "Sign": {},
    "Sin": {"a": 1.0, "b": 1.0, "c": 0.0},
}
"""Every nonlinearity of neural_tangents.stax 0.6.5 with its arguments and their defaults ("-": none)."""


def load_nonlinearities():
    spec = importlib.util.spec_from_file_location("reference_nonlinearities", FOLDER / "nonlinearities.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


peer = load_nonlinearities()


def around(layer, b_std=0.1):
    """Dense, layer, Dense, layer, Dense."""
    return stax.serial(stax.Dense(4, 1.3, b_std), layer, stax.Dense(4, 1.1, b_std), layer, stax.Dense(1))


@pytest.mark.parametrize("name", PEER_DEFAULTS)
def test_arguments_are_the_peers(name):
    parameters = inspect.signature(getattr(stax, name)).parameters
    assert {n: "-" if p.default is p.empty else p.default for n, p in parameters.items()} == PEER_DEFAULTS[name]


SLOW = {"numerical_silu", "numerical_tanh"}
NAMES = sorted({key.split()[0] for key in REFERENCE.files})


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in NAMES])
def test_peer_values(name, x64):
    with jax.disable_jit():
        kernel = peer.network(stax, name)[2](*peer.inputs(name))
    for quantity in ("nngp", "ntk", "cov1"):
        expected = REFERENCE[f"{name} {quantity}"]
        if quantity == "cov1" and name.startswith("rectified"):
            assert np.isnan(expected).all()  # the peer's own diagonal
            continue
        tolerance = OF_QUADRATURE.get(name, TOLERANCE) * np.abs(expected).max()
        np.testing.assert_allclose(getattr(kernel, quantity), expected, rtol=0, atol=tolerance, err_msg=quantity)


@pytest.mark.parametrize("b_std", [0.1, None])
def test_given_relu_is_relu(b_std, pair, x64):
    """Square roots and inverse cosines of rounded numbers become angles: equal, opposite and zero rows are exact."""
    x1 = np.concatenate([pair[0], np.zeros((1, 6))])
    given = around(stax.Elementwise(None, peer.relu_kernel), b_std)[2](x1, pair[1], ("nngp", "ntk"))
    derived = around(stax.Relu(), b_std)[2](x1, pair[1], ("nngp", "ntk"))
    for a, b in zip(given, derived, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (sp.asin(K12 / sp.sqrt(Q1 * Q2)), Angle(K12, Q1, Q2)),
        (sp.acos(K12 / sp.sqrt(Q1 * Q2)), sp.pi / 2 - Angle(K12, Q1, Q2)),
        (sp.acos(sp.Max(sp.Min(K12 / sp.sqrt(Q1 * Q2), 1), -1)), sp.pi / 2 - Angle(K12, Q1, Q2)),
        (sp.asin(2 * K12 / sp.sqrt((1 + 2 * Q1) * (1 + 2 * Q2))), Angle(2 * K12, 1 + 2 * Q1, 1 + 2 * Q2)),
        (sp.asin(K12 / (1 + Q1 * Q2)), Angle(K12 / (1 + Q1 * Q2), 1, 1)),
        (sp.sqrt(Q1 * Q2 - K12**2), Root(K12, Q1, Q2)),
        (sp.sqrt(1 - K12**2 / (Q1 * Q2)), Root(K12, Q1, Q2) / sp.sqrt(Q1) / sp.sqrt(Q2)),
        ((Q1 * Q2 - K12**2) ** sp.Rational(3, 2), Root(K12, Q1, Q2) ** 3),
        (sp.atan2(sp.sqrt(Q1 * Q2 - K12**2), K12), sp.pi / 2 - Angle(K12, Q1, Q2)),
        (sp.sqrt(1 + K12**2), sp.sqrt(1 + K12**2)),
    ],
)
def test_angles_are_recognised(expr, expected):
    found = in_angles(expr)
    assert sp.simplify(found - expected) == 0
    at = {Q1: sp.Rational(7, 5), Q2: sp.Rational(3, 5), K12: sp.Rational(-2, 5)}
    assert float(found.xreplace(at)) == pytest.approx(float(expr.xreplace(at)), rel=1e-14)


def test_given_layers_have_formulas_documents_and_finite_networks():
    net = stax.serial(stax.Dense(4, 1.3), stax.Elementwise(jax.lax.erf, peer.erf_kernel), stax.Dense(2))
    program = ntkc.compile(net)
    again = ntkc.compile(ntkc.from_json(ntkc.to_json(net)))
    assert again.source == program.source
    assert r"\arcsin" in program.latex("nngp")
    assert program.formula("nngp").has(sp.asin)
    init_fn, apply_fn, _ = net
    _, params = init_fn(jax.random.key(0), (-1, 3))
    assert apply_fn(params, jnp.ones((2, 3))).shape == (2, 2)


def test_hyper_parameters_stay_open(pair):
    c = sp.Symbol("c", positive=True)
    layer = stax.Elementwise(None, c * sp.Symbol("k") ** 2, 2 * c * sp.Symbol("k"))
    program = ntkc.compile(stax.serial(stax.Dense(4), layer, stax.Dense(2)))
    doubled = program(*pair, ("nngp", "ntk"), c=2.0)
    plain = program(*pair, ("nngp", "ntk"), c=1.0)
    for a, b in zip(doubled, plain, strict=True):
        np.testing.assert_allclose(a, 2 * b, rtol=1e-6)


@pytest.mark.parametrize("layer", [stax.ExpNormalized(), stax.Elementwise(None, peer.erf_kernel)], ids=repr)
def test_kernel_only(layer):
    init_fn, apply_fn, _ = stax.serial(stax.Dense(4), layer)
    _, params = init_fn(jax.random.key(0), (-1, 3))
    with pytest.raises(NoFiniteNetwork, match="kernel only") as caught:
        apply_fn(params, jnp.ones((2, 3)))
    assert isinstance(caught.value, NotImplementedError)


@pytest.mark.parametrize("given", [stax.ExpNormalized(), stax.Elementwise(jnp.exp, peer.exp_kernel)], ids=repr)
def test_given_layers_need_gaussian_inputs_and_make_none(given):
    dense, relu = stax.Dense(4), stax.Relu()
    residual = stax.serial(stax.FanOut(2), stax.parallel(given, stax.Identity()), stax.FanInSum())
    for layers in [(given,), (dense, relu, given), (dense, given, relu), (dense, given, given), (dense, residual)]:
        with pytest.raises(NoInfiniteLimit, match="Gaussian"):
            ntkc.compile(stax.serial(*layers))
    with pytest.raises(NoInfiniteLimit, match="Gaussian"):
        relu[2](given[2](dense[2](np.ones((2, 3)))))


def test_elementwise_of_a_function_alone_is_derived(pair):
    derived = around(stax.Elementwise(jax.lax.erf))[2](*pair, "ntk")
    np.testing.assert_array_equal(derived, around(stax.Erf())[2](*pair, "ntk"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: stax.Elementwise(jnp.tanh, lambda k, q1, q2: jax.scipy.special.gammaln(k)), "lgamma"),
        (lambda: stax.Elementwise(jnp.tanh, lambda k: k), "cannot be traced"),
        (lambda: stax.Elementwise(jnp.tanh, lambda k, q1, q2: (k, q1)), "3 numbers"),
        (lambda: stax.Elementwise(np.tanh, peer.erf_kernel), "jax.numpy"),
        (lambda: stax.Activation(jnp.arcsin), "asin"),
        (lambda: stax.Activation("acos(x)"), "acos"),
    ],
)
def test_what_cannot_be_traced(make, words):
    with pytest.raises(UnsupportedExpr, match=words):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: stax.Elementwise(),
        lambda: stax.Elementwise(jnp.tanh, None, peer.erf_kernel),
        lambda: stax.ExpNormalized(float("nan")),
        lambda: stax.ExpNormalized(do_clip=1),
    ],
)
def test_invalid_arguments(make):
    with pytest.raises(InvalidInput):
        make()


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (stax.Tanh(), jnp.tanh),
        (stax.Sigmoid(), jax.nn.sigmoid),
        (stax.Softplus(), jax.nn.softplus),
        (stax.Silu(), jax.nn.silu),
        (stax.Elu(), jax.nn.elu),
    ],
    ids=["tanh", "sigmoid", "softplus", "silu", "elu"],
)
def test_layers_by_name(layer, function):
    x = jnp.asarray([[-100.0, -2.0, 0.0, 0.5, 100.0]])
    np.testing.assert_allclose(layer[1]((), x), function(x), rtol=1e-5, atol=1e-6)
    assert layer.tree == stax.Activation(function).tree
