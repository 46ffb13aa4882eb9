"""Text of strangers, as an activation, in a document and as a hyper-parameter: refused at once, and nothing runs."""

import numpy as np
import pytest

import ntkc
from ntkc import stax
from ntkc.errors import InvalidGraph, InvalidInput, NoClosedForm, UnsupportedExpr

CANARY = []
"""What an attack would write to."""

ATTACKS = {
    "attribute": "().__class__.__bases__[0].__subclasses__()",
    "import": "__import__('os').system('touch pwned')",
    "import written apart": "importlib.import_module('os').system('touch pwned')",
    "file": "open('pwned', 'w')",
    "canary": "CANARY.append(x)",
    "lambda": "(lambda y: y)(x)",
    "comprehension": "[y for y in (x,)]",
    "power of powers": "9**9**9*x",
    "large power": "x**999999",
    "parentheses": "(" * 240 + "x" + ")" * 240,
    "nested functions": "gelu(" * 40 + "x" + ")" * 40,
    "nested waves": "sin(" * 40 + "x" + ")" * 40,
    "long": "x+" * 500_000 + "x",
    "long number": "1" * 1_000_000,
    "look-alike": "ехр(x)",
    "wide letter": "ｅxp(x)",
    "format string": "f'{open(1)}'",
    "walrus": "(y := x)",
    "statement": "import os",
    "beyond floats": "1e999*x",
    "division by zero": "x/0",
    "no value": "0/0",
    "power of a power": "((x+1)**24)**24",
}
WITHOUT_X = {name: text.replace("x+", "2+").replace("x", "2") for name, text in ATTACKS.items()}
LONGEST_MESSAGE = 1500


def document(activation, W_std=1.0):
    """Input, Dense, Activation, Dense."""
    nodes = [
        {"name": "x", "op": "Input", "inputs": []},
        {"name": "dense1", "op": "Dense", "inputs": ["x"], "out_dim": 4, "W_std": W_std},
        {"name": "bend", "op": "Activation", "inputs": ["dense1"], "expr": activation},
        {"name": "dense2", "op": "Dense", "inputs": ["bend"], "out_dim": 1},
    ]
    return {"format": "ntkc-network", "version": 1, "nodes": nodes, "output": "dense2"}


READERS = {
    "activation": lambda name: stax.Activation(ATTACKS[name]),
    "mean field": lambda name: ntkc.meanfield(ATTACKS[name]),
    "document": lambda name: ntkc.from_json(document(ATTACKS[name])),
    "formula in a document": lambda name: ntkc.from_json(document({"expr": ATTACKS[name]})),
    "hyper-parameter": lambda name: ntkc.from_json(document("relu(x)", {"expr": WITHOUT_X[name]})),
    "number as text": lambda name: ntkc.from_json(document("relu(x)", WITHOUT_X[name])),
    "symbol": lambda name: ntkc.from_json(document("relu(x)", {"symbol": ATTACKS[name]})),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("reader", READERS)
def test_attack(reader, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UnsupportedExpr, InvalidGraph, InvalidInput)) as caught:
        READERS[reader](name)
    assert len(str(caught.value)) < LONGEST_MESSAGE
    assert not CANARY
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["1/x", "(x + sin(x) + exp(x))**8", "tanh(exp(exp(x)))"])
def test_what_is_read_but_has_no_kernel_says_so(text):
    with np.errstate(over="ignore"), pytest.raises(NoClosedForm):
        ntkc.compile(stax.serial(stax.Dense(2), stax.Activation(text), stax.Dense(1)))


@pytest.mark.parametrize("text", ["exp(exp(exp(x)))", "exp(x**24)", "erf(1e50*x)"])
def test_what_float32_cannot_hold_says_so(text):
    with np.errstate(over="ignore"), pytest.raises(UnsupportedExpr, match="float32"):
        stax.Activation(text)


@pytest.mark.parametrize("text", ["relu(" * 39 + "x" + ")" * 39, "gelu(gelu(x))", "(x + 1)**8"])
def test_large_text_that_has_a_kernel(text):
    assert ntkc.compile(stax.serial(stax.Dense(2), stax.Activation(text), stax.Dense(1))).source
