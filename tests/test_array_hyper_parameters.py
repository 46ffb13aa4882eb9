"""Hyper-parameters given as arrays of numpy and JAX, and as numbers that JAX traces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntkc
from ntkc import stax
from ntkc.errors import InvalidInput
from ntkc.ir.op import OPS
from ntkc.networks import kernel_fn as networks
from ntkc.stax import Dense, Relu, serial

X, X2 = np.random.default_rng(0).normal(size=(3, 4)), np.random.default_rng(1).normal(size=(2, 4))
KEY = jax.random.PRNGKey(0)


@pytest.fixture(autouse=True)
def _x64():
    with jax.enable_x64(True):
        yield


def total(layers, get="ntk"):
    return serial(*layers)[2](X, X2, get).sum()


def relu_network(w):
    return total((Dense(8, w, 0.1), Relu(), Dense(1)))


@pytest.mark.parametrize("kind", [np.array, np.float64, jnp.asarray, lambda v: np.array(v, object)])
def test_an_array_of_one_number_is_that_number(kind):
    assert repr(Dense(8, kind(1.3), kind(0.1))) == repr(Dense(8, 1.3, 0.1))
    assert repr(stax.LeakyRelu(kind(0.1))) == repr(stax.LeakyRelu(0.1))
    assert repr(stax.Dropout(kind(0.5))) == repr(stax.Dropout(0.5))
    assert repr(stax.Polynomial((kind(0.5), 1.0))) == repr(stax.Polynomial((0.5, 1.0)))


def test_arrays_stand_for_whole_numbers_too():
    layer = stax.Conv(jnp.asarray(8), (np.array(3), np.int64(3)), s=(np.array(1), 2))
    assert repr(layer) == repr(stax.Conv(8, (3, 3), s=(1, 2)))
    assert repr(stax.repeat(Relu(), np.array(2))) == repr(stax.repeat(Relu(), 2))


def test_single_precision_keeps_its_value():
    w = jnp.sqrt(jnp.float32(2))
    np.testing.assert_allclose(relu_network(w), relu_network(float(w)), rtol=1e-14)


@pytest.mark.parametrize("value", [np.array([1.3]), np.ones((1, 1)), np.array("w"), np.array(1j), np.array(np.nan)])
def test_other_arrays_are_refused_by_name(value):
    with pytest.raises(InvalidInput, match="W_std"):
        Dense(8, value)


def test_gradient_in_a_weight_scale():
    assert jax.grad(relu_network)(1.3) == pytest.approx(0.2309146078, abs=1e-9)


def test_no_value_is_compiled_anew(monkeypatch):
    built = []
    monkeypatch.setattr(networks, "build", lambda *a: built.append(a) or ntkc.program.build(*a))
    networks._input_program.cache_clear()
    slope = jax.grad(relu_network)
    slopes = [slope(w) for w in (0.7, 1.1, 1.5)]
    assert len(built) == 1
    values = jax.jit(relu_network)
    np.testing.assert_allclose(slopes, [_difference(values, w) for w in (0.7, 1.1, 1.5)], rtol=1e-6)


def _difference(f, at, step=1e-5):
    return (f(at + step) - f(at - step)) / (2 * step)


def test_vmap_and_jit_have_the_values_of_numbers():
    scales = jnp.array([0.7, 1.3])
    expected = [relu_network(0.7), relu_network(1.3)]
    np.testing.assert_allclose(jax.vmap(relu_network)(scales), expected, rtol=1e-13)
    np.testing.assert_allclose([jax.jit(relu_network)(w) for w in scales], expected, rtol=1e-13)


def test_layers_share_a_value_and_blocks_stay_rolled():
    def deep(w, b):
        return serial(*[Dense(8, w, b), Relu()] * 6, Dense(1, b))

    names = []
    jax.make_jaxpr(lambda w, b: names.append(deep(w, b)[2].tree) or w)(1.0, 2.0)
    again = []
    jax.make_jaxpr(lambda w, b: again.append(deep(w, b)[2].tree) or w)(3.0, 4.0)
    assert names == again
    assert {leaf.op.W_std for leaf in names[0].leaves() if hasattr(leaf.op, "W_std")} == {
        *(leaf.op.W_std for leaf in list(names[0].leaves())[:1]),
        list(names[0].leaves())[-1].op.W_std,
    }


ELEMENTWISE = {
    "LeakyRelu": lambda a: stax.LeakyRelu(a),
    "ABRelu": lambda a: stax.ABRelu(a, 2 * a),
    "Erf": lambda a: stax.Erf(a, 2 * a, a),
    "Sin": lambda a: stax.Sin(a, 2 * a, a),
    "Cos": lambda a: stax.Cos(a, 2 * a, a),
    "Exp": lambda a: stax.Exp(a, 2 * a),
    "Gaussian": lambda a: stax.Gaussian(a, -2 * a),
    "Rbf": lambda a: stax.Rbf(a),
    "Polynomial": lambda a: stax.Polynomial((a, 1.0, 2 * a)),
    "LayerNorm": lambda a: stax.LayerNorm(-1, a),
    "RMSNorm": lambda a: stax.RMSNorm(a),
    "GroupNorm": lambda a: stax.GroupNorm(1, a),
    "Dropout": lambda a: stax.Dropout(a),
    "ExpNormalized": lambda a: stax.ExpNormalized(a, -a),
}


def _some_slow(names, fast):
    return [pytest.param(n, marks=() if n in fast else pytest.mark.slow) for n in names]


@pytest.mark.parametrize("name", _some_slow(ELEMENTWISE, ("LeakyRelu",)))
def test_gradients_in_the_numbers_of_layers(name):
    layer = ELEMENTWISE[name]

    def kernel(a):
        return serial(Dense(8, 1.1, 0.1), layer(a), Dense(1))[2](X, None, "ntk").sum()

    value, slope = jax.value_and_grad(kernel)(0.3)
    np.testing.assert_allclose([value, slope], [kernel(0.3), _difference(jax.jit(kernel), 0.3, 1e-4)], rtol=3e-6)


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if n != "ExpNormalized"])
def test_gradients_of_finite_networks(name):
    layer = ELEMENTWISE[name]
    _, params = serial(Dense(8, 1.1, 0.1), layer(0.3), Dense(1))[0](KEY, X.shape)

    def output(a):
        return serial(Dense(8, a, a), layer(a), Dense(1, a))[1](params, X, rng=KEY).sum()

    value, slope = jax.value_and_grad(output)(0.3)
    np.testing.assert_allclose([value, slope], [output(0.3), _difference(output, 0.3, 1e-4)], rtol=3e-6)


IMAGES = np.random.default_rng(2).normal(size=(2, 3, 3, 2))
ATTENTION = ("W_key_std", "W_value_std", "W_query_std", "W_out_std", "b_std", "W_pos_emb_std")
PIXELS = {
    "Conv": lambda a: stax.Conv(8, (2, 2), W_std=a, b_std=a),
    "standard Conv": lambda a: stax.Conv(8, (2, 2), W_std=a, b_std=a, parameterization="standard"),
    "ConvTranspose": lambda a: stax.ConvTranspose(8, (2, 2), W_std=a, b_std=a),
    "ConvLocal": lambda a: stax.ConvLocal(8, (2, 2), W_std=a, b_std=a),
    "attention": lambda a: stax.GlobalSelfAttention(4, 3, 3, 2, pos_emb_type="SUM", **dict.fromkeys(ATTENTION, a)),
}


@pytest.mark.parametrize("name", _some_slow(PIXELS, ()))
def test_gradients_in_the_scales_of_layers_of_pixels(name):
    def layers(a):
        return serial(PIXELS[name](a), stax.Relu(), stax.Flatten(), Dense(1))

    def kernel(a):
        return layers(a)[2](IMAGES, None, "ntk").sum()

    value, slope = jax.value_and_grad(kernel)(0.8)
    np.testing.assert_allclose([value, slope], [kernel(0.8), _difference(jax.jit(kernel), 0.8)], rtol=1e-6)

    def output(a):
        init_fn, apply_fn, _ = layers(a)
        return apply_fn(init_fn(KEY, IMAGES.shape)[1], IMAGES).sum()

    value, slope = jax.value_and_grad(output)(0.8)
    np.testing.assert_allclose([value, slope], [output(0.8), _difference(output, 0.8)], rtol=1e-6)


def test_kernels_continue_with_traced_numbers():
    kernel = Dense(8, 1.2, 0.1)[2](X, X2)

    def continued(w):
        return serial(Relu(), Dense(1, w))[2](kernel).ntk.sum()

    value, slope = jax.value_and_grad(continued)(1.3)
    whole = float(total((Dense(8, 1.2, 0.1), Relu(), Dense(1))))
    np.testing.assert_allclose([value, slope], [1.3**2 * whole, 2 * 1.3 * whole], rtol=1e-12)


def test_traces_leave_nothing_behind():
    with jax.checking_leaks():
        assert jax.jit(jax.grad(relu_network))(1.3) == pytest.approx(0.2309146078, abs=1e-9)


def test_what_cannot_be_traced_says_so():
    with pytest.raises(InvalidInput, match=r"Dense out_dim is traced by JAX.*known when the layer is made"):
        jax.jit(lambda n: Dense(n)[2](X, None, "nngp"))(3)
    with pytest.raises(InvalidInput, match=r"Dense W_std is traced by JAX.*one real number"):
        jax.jit(lambda w: Dense(8, w)[2](X, None, "nngp"))(jnp.ones(2))
    with pytest.raises(InvalidInput, match="hyper-parameters that JAX traces"):
        jax.jit(lambda w: ntkc.compile(serial(Dense(8, w)))(X, None, "nngp"))(1.3)
    with pytest.raises(InvalidInput, match="hyper-parameters that JAX traces"):
        jax.jit(lambda w: Dense(8, w)[2].program(X, None, "nngp"))(1.3)


def test_every_layer_takes_arrays_for_its_numbers():
    for op in (example for cls in OPS.values() for example in cls.examples()):
        given = {n: np.array(v) if isinstance(v, float) else v for n, v in vars(op).items()}
        assert type(op)(**given) == op
