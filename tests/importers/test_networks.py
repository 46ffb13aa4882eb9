"""Modules of Flax, Equinox, Haiku and Keras."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntkc
from ntkc import stax
from ntkc.ir.graph import op_of, ordered

KEY = jax.random.PRNGKey(0)
ROWS = np.float32(np.random.default_rng(0).standard_normal((3, 20)))
IMAGES = np.float32(np.random.default_rng(0).standard_normal((2, 12, 12, 1)))
STANDARD = {"parameterization": "standard"}


def same(program, net, x):
    expected = ntkc.compile(stax.serial(*net))(x, None, ("nngp", "ntk"))
    for a, b in zip(program(x, None, ("nngp", "ntk")), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6)


def labels(program):
    return [op_of(program.graph, n).label() for n in ordered(program.graph)]


def test_equinox():
    eqx = pytest.importorskip("equinox", reason="needs the extra networks")
    model = eqx.nn.MLP(20, 1, 128, 2, key=KEY)
    program = ntkc.compile(model, example=ROWS)
    wide = {"W_std": 3**-0.5, **STANDARD}
    net = [stax.Dense(128, b_std=60**-0.5, **wide), stax.Relu(), stax.Dense(128, b_std=384**-0.5, **wide)]
    same(program, [*net, stax.Relu(), stax.Dense(1, b_std=384**-0.5, **wide)], ROWS)
    assert "layers.2.bias" in str(program.imported)


def test_flax_linen():
    nn = pytest.importorskip("flax.linen", reason="needs the extra networks")

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.avg_pool(nn.relu(nn.Conv(64, (3, 3))(x)), (2, 2), (2, 2))
            x = nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(64, (3, 3))(x)))
            return nn.Dense(10)(x.reshape(len(x), -1))

    model = Network()
    variables = model.init(KEY, IMAGES)
    program = ntkc.compile(model, example=IMAGES, params=variables)
    assert [x.partition("(")[0] for x in labels(program)] == [
        *("Input", "Conv", "Relu", "AvgPool", "Conv", "Scale", "Gains", "Shifts", "Relu", "Flatten", "Dense"),
    ]
    assert program(IMAGES, None, "ntk").shape == (2, 2)
    with pytest.raises(ntkc.errors.InvalidInput, match="linen modules hold no parameters"):
        ntkc.compile(model, example=IMAGES)


def test_flax_layer_norm_and_residual():
    nn = pytest.importorskip("flax.linen", reason="needs the extra networks")

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(128)(x)
            x = x + nn.Dense(128)(nn.gelu(nn.LayerNorm()(x)))
            return nn.Dense(3)(nn.RMSNorm()(jnp.tanh(nn.Dense(64)(x))))

    model = Network()
    program = ntkc.compile(model, example=ROWS, params=model.init(KEY, ROWS))
    assert {"LayerNorm(axis=(-1,), eps=1/1000000)", "RMSNorm(eps=1/1000000)"} < set(labels(program))


def test_flax_nnx():
    nnx = pytest.importorskip("flax.nnx", reason="needs the extra networks")

    class Network(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(20, 128, rngs=rngs)
            self.drop = nnx.Dropout(0.5, rngs=rngs)
            self.last = nnx.Linear(128, 1, rngs=rngs)

        def __call__(self, x):
            return self.last(self.drop(jnp.sin(self.first(x))))

    net = [stax.Dense(128, 1.0, 0.0, **STANDARD), stax.Sin(), stax.Dense(1, 1.0, 0.0, **STANDARD)]
    same(ntkc.compile(Network(nnx.Rngs(0)), example=ROWS), net, ROWS)


def test_haiku():
    hk = pytest.importorskip("haiku", reason="dm-haiku is not installed")
    model = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([128, 1], activation=jnp.sin)(x)))
    imported = ntkc.from_jax(model.apply, model.init(KEY, ROWS), ROWS)
    assert [r.read_as for r in imported.readings if r.shape[0] > 1 and len(r.shape) > 1] == ["W_std^2 = 0.7737"] * 2


@pytest.mark.slow
def test_keras():
    os.environ["KERAS_BACKEND"] = "jax"
    keras = pytest.importorskip("keras", reason="needs the extra keras")
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((12, 12, 3)),
            layers.Conv2D(64, 3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1),
        ]
    )
    program = ntkc.compile(model, example=np.zeros((2, 12, 12, 3)))
    names = [x.partition("(")[0] for x in labels(program)]
    assert names == ["Input", "Conv", "Scale", "Gains", "Shifts", "Relu", "GlobalAvgPool", "Dense"]


@pytest.mark.slow
def test_keras_layer_norm_and_attention():
    """Its norms are written g x / s - g m / s + b."""
    os.environ["KERAS_BACKEND"] = "jax"
    keras = pytest.importorskip("keras", reason="needs the extra keras")
    layers = keras.layers
    tokens = keras.Input((5,), dtype="int32")
    x = layers.LayerNormalization()(layers.Embedding(30, 64)(tokens))
    x = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(4, 16)(x, x))
    model = keras.Model(tokens, layers.Dense(1)(x))
    example = np.zeros((2, 5), np.int32)
    program = ntkc.compile(model, example=example, attention="uniform")
    names = [x.partition("(")[0] for x in labels(program)]
    wanted = [
        "Input",
        "Dense",
        "LayerNorm",
        "Gains",
        "Shifts",
        "Dense",
        "DotGeneral",
        "Dense",
        "GlobalAvgPool",
        "Dense",
    ]
    assert names == wanted
    with pytest.raises(ntkc.errors.NtkcError, match=r"softmax of logits at 1/sqrt\(d\), d = 16"):
        ntkc.compile(model, example=example)


def test_models_need_an_example():
    eqx = pytest.importorskip("equinox", reason="needs the extra networks")
    with pytest.raises(ntkc.errors.InvalidInput, match="give data that it takes"):
        ntkc.compile(eqx.nn.MLP(3, 1, 8, 1, key=KEY))
