"""What has no kernel is refused, naming the place, the rule and the remedy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntkc
from ntkc.importers.refusals import UnsupportedModel

RNG = np.random.default_rng(0)
ROWS = np.float32(RNG.standard_normal((2, 16)))
IMAGES = np.float32(RNG.standard_normal((2, 8, 8, 3)))
TOKENS = np.float32(RNG.standard_normal((2, 5, 16)))


def weight(*shape):
    return RNG.standard_normal(shape) / shape[-2] ** 0.5


W, V, U = weight(16, 64), weight(64, 64), weight(64, 1)


def max_pool(p, x):
    h = jax.lax.conv_general_dilated(x, p["k"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def attention(scale):
    def f(p, x):
        q, k, v = (x @ p[name] for name in ("q", "k", "v"))
        return jax.nn.softmax(jnp.einsum("ntd,nsd->nts", q, k) * scale) @ v

    return f


HEADS = {name: weight(16, 64) for name in ("q", "k", "v")}
REFUSED = {
    "max pool": (
        max_pool,
        {"k": weight(3, 3, 3, 64)},
        IMAGES,
        r"test_refusals.py:\d+: a max pool .*replace={'MaxPool2d'",
    ),
    "twice": (
        lambda p, x: jax.nn.relu(jax.nn.relu(x @ p["w"] @ p["v"]) @ p["v"]),
        {"w": W, "v": V},
        ROWS,
        r"the weight v is used more than once \(first at test_refusals.py:\d+\)",
    ),
    "transpose": (
        lambda p, x: jax.nn.relu(x @ p["w"]) @ p["w"].T,
        {"w": W},
        ROWS,
        "the weight w is used more than once",
    ),
    "one array in two places": (
        lambda p, x: jax.nn.relu(jax.nn.relu(x @ p["w"] @ p["v"]) @ p["u"]),
        {"w": W, "v": V, "u": V},
        ROWS,
        "the weight u is used more than once",
    ),
    "1/sqrt(d)": (
        attention(64**-0.5),
        HEADS,
        TOKENS,
        r"softmax of logits at 1/sqrt\(d\), d = 64, .*scale logits by 1/d",
    ),
    "no scale": (attention(0.7), HEADS, TOKENS, "softmax of logits at no known scale, d = 64"),
    "mixer": (
        lambda p, x: jnp.einsum("ntc,ts->nsc", x @ p["w"], p["t"]),
        {"w": W, "t": weight(5, 5)},
        TOKENS,
        r"weights over pixels \(as in an MLP-Mixer\)",
    ),
    "scan": (
        lambda p, x: jax.lax.scan(lambda h, _: (jnp.tanh(h @ p["v"]), None), x @ p["w"], None, 3)[0],
        {"w": W, "v": V},
        ROWS,
        r"a loop \(scan\) has no rule; write its steps out",
    ),
    "cond": (
        lambda p, x: jax.lax.cond(x.sum() > 0, lambda h: h, lambda h: -h, x @ p["w"]),
        {"w": W},
        ROWS,
        "the network sees other samples|control flow that depends on data",
    ),
    "batch": (
        lambda p, x: x @ p["w"] - (x @ p["w"]).mean(0),
        {"w": W},
        ROWS,
        "a sum over samples: the network sees other samples of the batch",
    ),
    "sort": (lambda p, x: jnp.sort(x @ p["w"]), {"w": W}, ROWS, "sort over an axis of a layer has no closed form"),
    "max over an axis": (lambda p, x: (x @ p["w"]).max(1), {"w": W}, TOKENS, "reduce_max over an axis"),
    "fixed matrix": (lambda p, x: x @ p["w"] @ V, {"w": W}, ROWS, "a fixed matrix over channels; pass it among"),
    "weights multiplied": (lambda p, x: x @ (p["w"] @ p["v"]), {"w": W, "v": V}, ROWS, "weights are multiplied before"),
    "weight changed": (
        lambda p, x: x @ jnp.tanh(p["w"]),
        {"w": W},
        ROWS,
        "a weight goes through tanh before it is used",
    ),
    "constant weight": (lambda p, x: x @ p["w"], {"w": np.ones((16, 64))}, ROWS, "w: all its entries are 1"),
    "NaN": (lambda p, x: x @ p["w"], {"w": np.full((16, 64), np.nan)}, ROWS, "w: it holds NaN"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal(name):
    f, params, x, message = REFUSED[name]
    with pytest.raises(UnsupportedModel, match=message):
        ntkc.from_jax(f, params, x)


def test_errors_of_the_compiler_name_the_place():
    def f(p, x):
        return jax.nn.relu(jax.nn.relu(x @ p["w"]) + x @ p["v"]) @ p["u"]

    with pytest.raises(ntkc.errors.NoClosedForm, match=r"dense\d is test_refusals.py:\d+"):
        ntkc.compile(ntkc.from_jax(f, {"w": W, "v": weight(16, 64), "u": U}, ROWS))


def test_max_pools_are_replaced_on_demand():
    imported = ntkc.from_jax(max_pool, {"k": weight(3, 3, 3, 64)}, IMAGES, replace={"MaxPool2d": "avg"})
    assert imported.notes == ("max pools are read as average pools",)


def test_attention_as_uniform_is_told():
    imported = ntkc.from_jax(attention(64**-0.5), HEADS, TOKENS, attention="uniform")
    assert any("read as uniform" in note for note in imported.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parameterization": "mup"}, "no parameterization 'mup'; have ntk, standard"),
        ({"attention": "exact"}, "no attention 'exact'; have refuse, sample, uniform"),
        ({"replace": {"Conv2d": "avg"}}, "max pools may be replaced"),
        ({"trainable": "w"}, "trainable: a function of a parameter's name, or a list"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ntkc.errors.NtkcError, match=message):
        ntkc.from_jax(lambda p, x: x @ p["w"], {"w": W}, ROWS, **options)


def test_options_of_models_are_not_for_layers():
    with pytest.raises(ntkc.errors.InvalidInput, match="are for models of PyTorch"):
        ntkc.compile(ntkc.stax.Dense(3), example=ROWS)
