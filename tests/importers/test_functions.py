"""from_jax: functions of parameters, against the same networks written in stax, and against random finite ones."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntkc
from ntkc import stax
from ntkc.ir.graph import op_of, ordered

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((4, 20))
IMAGES = RNG.standard_normal((3, 3, 8, 8))
STANDARD = {"parameterization": "standard"}


def normal(*shape, fan_in=None, gain=1.0):
    return RNG.standard_normal(shape) * (gain / (fan_in or shape[0])) ** 0.5


def uniform(*shape, fan_in=None):
    return RNG.uniform(-1, 1, shape) / (fan_in or shape[0]) ** 0.5


def labels(imported):
    return [op_of(imported.graph, n).label() for n in ordered(imported.graph)]


def mlp(p, x):
    h = jax.nn.relu(x @ p["w1"] + p["b1"])
    return jax.lax.erf(h @ p["w2"]) @ p["w3"]


MLP = {"w1": normal(20, 256, gain=2), "b1": np.zeros(256), "w2": uniform(256, 256), "w3": normal(256, 3)}
MLP_NET = (
    stax.Dense(256, 2**0.5, 0.0, **STANDARD),
    stax.Relu(),
    stax.Dense(256, 3**-0.5, **STANDARD),
    stax.Erf(),
    stax.Dense(3, 1.0, **STANDARD),
)


def cnn(p, x):
    numbers = ("NCHW", "OIHW", "NCHW")
    h = jax.lax.conv_general_dilated(x, p["k1"], (2, 1), ((1, 1), (1, 0)), dimension_numbers=numbers)
    h = jax.nn.relu(h + p["b1"][:, None, None])
    h = jax.lax.reduce_window(h, 0.0, jax.lax.add, (1, 1, 2, 2), (1, 1, 2, 2), "VALID") / 4
    h = jax.lax.conv_general_dilated(h, p["k2"], (1, 1), "SAME", dimension_numbers=numbers)
    return jax.nn.gelu(h, approximate=False).reshape(len(h), -1) @ p["w"]


CNN = {
    "k1": uniform(64, 3, 3, 3, fan_in=27),
    "b1": uniform(64, fan_in=27),
    "k2": normal(96, 64, 3, 3, fan_in=576),
    "w": normal(96 * 6, 2),
}
ORDER = ("NCHW", "OIHW", "NCHW")
CNN_NET = (
    stax.Conv(64, (3, 3), (2, 1), ((1, 1), (1, 0)), 3**-0.5, 1 / 9, **STANDARD),
    stax.Relu(),
    stax.AvgPool((2, 2), (2, 2)),
    stax.Conv(96, (3, 3), None, "SAME", 1.0, **STANDARD),
    stax.Gelu(),
    stax.Flatten(),
    stax.Dense(2, **STANDARD),
)


def residual(p, x):
    def norm(h):
        centered = h - h.mean(-1, keepdims=True)
        return centered / jnp.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5)

    h = x @ p["w1"]
    h = h + jax.nn.silu(norm(h) @ p["w2"]) @ p["w3"]
    return norm(h) @ p["w4"]


RESIDUAL = {"w1": normal(20, 128), "w2": normal(128, 128, gain=2), "w3": normal(128, 128), "w4": normal(128, 1)}
RESIDUAL_NET = (
    stax.Dense(128, **STANDARD),
    stax.FanOut(2),
    stax.parallel(
        stax.Identity(),
        stax.serial(
            stax.LayerNorm(eps=1e-5),
            stax.Dense(128, 2**0.5, **STANDARD),
            stax.Activation("x/(1+exp(-x))"),
            stax.Dense(128, **STANDARD),
        ),
    ),
    stax.FanInSum(),
    stax.LayerNorm(eps=1e-5),
    stax.Dense(1, **STANDARD),
)


def ntk_mlp(p, x):
    h = jax.nn.relu(1.5 * x @ p["w1"] / 20**0.5 + 0.5 * p["b1"])
    return h @ p["w2"] / 256**0.5


NTK_MLP = {"w1": normal(20, 256, fan_in=1), "b1": normal(256, fan_in=1), "w2": normal(256, 1, fan_in=1)}
NTK_NET = (stax.Dense(256, 1.5, 0.5), stax.Relu(), stax.Dense(1))


def normalised_images(x):
    return np.moveaxis(x, 1, -1)


@pytest.mark.parametrize(
    ("f", "params", "x", "net", "arranged"),
    [
        pytest.param(mlp, MLP, ROWS, MLP_NET, None, id="mlp"),
        pytest.param(cnn, CNN, IMAGES, CNN_NET, normalised_images, id="cnn"),
        pytest.param(residual, RESIDUAL, ROWS, RESIDUAL_NET, None, id="residual"),
        pytest.param(ntk_mlp, NTK_MLP, ROWS, NTK_NET, None, id="ntk"),
    ],
)
@pytest.mark.usefixtures("x64")
def test_kernels_equal_those_of_stax(f, params, x, net, arranged):
    found = ntkc.compile(ntkc.from_jax(f, params, x))(x, None, ("nngp", "ntk"))
    expected = ntkc.compile(stax.serial(*net))(arranged(x) if arranged else x, None, ("nngp", "ntk"))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_in_the_ntk_parameterization_weights_are_drawn_from_the_unit_normal():
    imported = ntkc.from_jax(mlp, MLP, ROWS, parameterization="ntk")
    assert "Dense(out_dim=256, W_std=sqrt(2), b_std=0)" in labels(imported)


def test_a_last_axis_of_channels_is_found_by_the_filter():
    imported = ntkc.from_jax(cnn, CNN, IMAGES)
    assert labels(imported)[0] == "Input(features=3, spatial=(8, 8), channel_axis=1)"


def test_documents_keep_the_network():
    imported = ntkc.from_jax(cnn, CNN, IMAGES)
    again = ntkc.from_json(ntkc.to_json(imported))
    assert [op_of(again, n) for n in ordered(again)] == [op_of(imported.graph, n) for n in ordered(imported.graph)]


def test_data_of_another_layout_are_refused():
    program = ntkc.compile(ntkc.from_jax(cnn, CNN, IMAGES))
    with pytest.raises(ntkc.errors.ShapeMismatch, match="samples of shape"):
        program(normalised_images(IMAGES), None, "ntk")


def test_parameters_that_are_frozen():
    def ntk(trainable=None):
        imported = ntkc.from_jax(shallow, MLP, ROWS, trainable=trainable)
        return ntkc.compile(imported)(ROWS, None, "ntk")

    def shallow(p, x):
        return jax.nn.relu(x @ p["w1"] + p["b1"]) @ p["w3"]

    np.testing.assert_allclose(ntk(["w1"]) + ntk(lambda name: name in ("b1", "w3")), ntk(), rtol=1e-5)


def test_measured_weights_stay_open():
    params = {**MLP, "w1": MLP["w1"] * 1.7}
    program = ntkc.compile(ntkc.from_jax(mlp, params, ROWS))
    (name,) = program.parameters
    measured = program.imported.values[name]
    assert measured == pytest.approx(1.7 * 2**0.5, rel=0.05)
    default, given = (program(ROWS, None, "nngp", **v) for v in ({}, {name: measured}))
    np.testing.assert_array_equal(default, given)
    assert not np.allclose(default, program(ROWS, None, "nngp", **{name: 1.0}))


TOKENS = RNG.integers(0, 30, (3, 5))


def decoder(p, x, heads=4):
    def norm(h, g, b):
        centered = h - h.mean(-1, keepdims=True)
        return centered / jnp.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5) * g + b

    h = p["embedding"][x] + p["positions"]
    n, length, width = h.shape
    y = norm(h, p["g"], p["b"])
    q, k, v = ((y @ p[name]).reshape(n, length, heads, -1) for name in ("q", "k", "v"))
    logits = jnp.einsum("nthd,nshd->nhts", q, k) / (width // heads)
    logits = jnp.where(jnp.tril(jnp.ones((length, length), bool)), logits, -jnp.inf)
    mixed = jnp.einsum("nhts,nshd->nthd", jax.nn.softmax(logits), v).reshape(n, length, width)
    h = h + mixed @ p["o"]
    h = h + jax.nn.relu(h @ p["up"]) @ p["down"]
    return h[:, -1] @ p["head"]


def decoder_weights(width, key):
    rng = np.random.default_rng(key)
    square = {name: rng.standard_normal((width, width)) / width**0.5 for name in "qkvo"}
    return {
        "embedding": rng.standard_normal((30, width)),
        "positions": rng.standard_normal((5, width)),
        "g": np.ones(width),
        "b": np.zeros(width),
        **square,
        "up": rng.standard_normal((width, 2 * width)) * (2 / width) ** 0.5,
        "down": rng.standard_normal((2 * width, width)) / (2 * width) ** 0.5,
        "head": rng.standard_normal((width, 1)) / width**0.5,
    }


def gained(p, x):
    """Gains and shifts before a nonlinearity, where gradients in gains are no sum over channels."""
    h = jnp.tanh((x @ p["w1"]) * p["g1"] + p["b1"])
    return jax.nn.relu((h @ p["w2"]) * p["g2"] + p["b2"]) @ p["w3"]


def gained_weights(width, key):
    rng = np.random.default_rng(key)
    ones = {name: np.ones(width) for name in ("g1", "g2")}
    return {
        "w1": rng.standard_normal((20, width)) / 20**0.5,
        "w2": rng.standard_normal((width, width)) * (2 / width) ** 0.5,
        "w3": rng.standard_normal((width, 1)) / width**0.5,
        **ones,
        **{name: np.zeros(width) for name in ("b1", "b2")},
    }


def finite_ntks(f, weights, x, width, count):
    one = jax.jit(lambda p: ntkc.empirical_ntk_fn(f, trace_axes=(-1,), vmap_axes=0)(x, None, p))
    return np.stack([np.asarray(one(weights(width, key))) for key in range(count)])


@pytest.mark.parametrize(
    ("f", "weights", "x", "width"),
    [
        pytest.param(gained, gained_weights, ROWS, 1024, id="gains"),
        pytest.param(decoder, decoder_weights, TOKENS, 256, id="decoder", marks=pytest.mark.slow),
    ],
)
def test_random_finite_instances_have_the_kernel_as_mean(f, weights, x, width):
    x = x.astype(np.float32) if x.dtype.kind == "f" else x
    kernel = ntkc.compile(ntkc.from_jax(f, weights(width, 0), x))(x, None, "ntk")
    found = finite_ntks(f, weights, x, width, 30)
    size = np.linalg.norm(kernel)
    error = np.linalg.norm(found.mean(0) - kernel) / size
    noise = np.sqrt((found.var(0, ddof=1) / len(found)).sum()) / size
    assert noise < 0.03
    assert error < 3 * noise


def test_gains_alone_have_their_part_of_the_ntk():
    """Counted only for gains: E[u f'(u) u' f'(u')], not K E[f' f'], which it would be if it were one more weight."""
    weights = gained_weights(2048, 0)
    kernel = ntkc.compile(ntkc.from_jax(gained, weights, ROWS, trainable=["g2"]))(ROWS, None, "ntk")

    def f(gains, x):
        return gained({**weights, "g2": gains}, x)

    found = ntkc.empirical_ntk_fn(f, trace_axes=(-1,), vmap_axes=0)(np.float32(ROWS), None, weights["g2"])
    np.testing.assert_allclose(found, kernel, atol=0.15 * np.abs(kernel).max())


def test_a_pickle_keeps_measured_weights():
    program = ntkc.compile(ntkc.from_jax(mlp, {**MLP, "w1": MLP["w1"] * 1.7}, ROWS))
    again = pickle.loads(pickle.dumps(program))
    assert again.imported.values == program.imported.values
    assert again.imported.readings == program.imported.readings


def test_parts_of_one_weight_are_layers_of_their_own():
    def f(p, x):
        a, b = jnp.split(x @ p["w"], 2, axis=-1)
        return jnp.tanh(a + 2 * b) @ p["v"]

    imported = ntkc.from_jax(f, {"w": normal(20, 256), "v": normal(128, 1)}, ROWS)
    assert [x for x in labels(imported) if x.startswith("Dense")][:2] == [
        "Dense(out_dim=128, W_std=1, parameterization='standard')"
    ] * 2


def test_what_the_output_does_not_read_is_left_out():
    def f(p, x):
        jnp.sort(x @ p["unused"])
        return x @ p["w"]

    imported = ntkc.from_jax(f, {"w": normal(20, 64), "unused": normal(20, 64)}, ROWS)
    assert labels(imported) == ["Input(features=20)", "Dense(out_dim=64, W_std=1, parameterization='standard')"]
    assert imported.notes == ("parameters that the output does not read: unused",)


def test_several_inputs():
    def f(p, x):
        a, b = x
        return jax.nn.relu(a @ p["a"] + b @ p["b"]) @ p["w"]

    params = {"a": normal(20, 128), "b": normal(6, 128), "w": normal(128, 1)}
    x = (np.float32(ROWS), np.float32(ROWS[:, :6]))
    kernel = ntkc.compile(ntkc.from_jax(f, params, x))(x, None, "nngp")
    assert kernel.shape == (4, 4)
    assert np.linalg.eigvalsh(kernel).min() > 0
