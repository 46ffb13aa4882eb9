"""Reports of imports, as they are printed; `pytest --rewrite-golden` writes them anew."""

from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntkc

FOLDER = Path(__file__).parent / "reports"
ROWS = np.ones((2, 20))
TOKENS = np.zeros((2, 5), int)


def rng():
    return np.random.default_rng(7)


def deep(p, x):
    for w, b in zip(p["weights"], p["biases"], strict=True):
        x = jnp.tanh(x @ w + b)
    return x @ p["last"]


def deep_weights(r):
    widths = [20, 128, 128]
    pairs = list(pairwise(widths))
    weights = [r.uniform(-1, 1, pair) / pair[0] ** 0.5 for pair in pairs]
    biases = [r.uniform(-1, 1, b) / a**0.5 for a, b in pairs]
    return {"weights": weights, "biases": biases, "last": r.uniform(-1, 1, (128, 1)) / 128**0.5}


def trained_weights(r):
    made = deep_weights(r)
    made["weights"][1] = made["weights"][1] + 0.2 * np.outer(*r.standard_normal((2, 128)))
    made["biases"][0] = made["biases"][0] + 0.3
    return made


def narrow_weights(r):
    sizes = {"weights": [(20, 16)], "last": (16, 1)}
    weights = [r.standard_normal(s) * 0.3 for s in sizes["weights"]]
    return {"weights": weights, "biases": [np.full(16, 0.1)], "last": r.standard_normal(sizes["last"]) / 4}


def normed(p, x):
    h = x @ p["w"]
    h = (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-5) * p["gain"] + p["shift"]
    return jax.nn.gelu(h) @ p["v"]


def normed_weights(r):
    he = {"w": r.standard_normal((20, 96)) * (2 / 20) ** 0.5, "v": r.standard_normal((96, 8)) * (2 / 96) ** 0.5}
    return {**he, "gain": np.ones(96), "shift": np.zeros(96)}


def attention(p, x):
    h = p["embedding"][x] + p["positions"]
    logits = jnp.einsum("ntd,nsd->nts", h @ p["q"], h @ p["k"]) / 64
    return (jax.nn.softmax(logits) @ (h @ p["v"])).mean(1) @ p["head"]


def attention_weights(r):
    square = {name: r.standard_normal((64, 64)) / 8 for name in ("q", "k", "v")}
    embedding = {"embedding": r.standard_normal((30, 64)) * 0.02, "positions": r.standard_normal((5, 64)) * 0.02}
    return {**embedding, **square, "head": r.standard_normal((64, 1)) / 8}


CASES = {
    "default_of_torch": (deep, deep_weights, ROWS),
    "trained": (deep, trained_weights, ROWS),
    "narrow": (deep, narrow_weights, ROWS),
    "norm": (normed, normed_weights, ROWS),
    "attention": (attention, attention_weights, TOKENS),
}


@pytest.mark.parametrize("name", CASES)
def test_report(name, request):
    f, weights, x = CASES[name]
    text = str(ntkc.from_jax(f, weights(rng()), x).report)
    file = FOLDER / f"{name}.txt"
    if request.config.getoption("--rewrite-golden"):
        FOLDER.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
