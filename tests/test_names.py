"""Hyper-parameters of any name: kernels and predictions are those of the number, whatever else has that name."""

import ast
import importlib.util
import keyword
import pkgutil
import sys
import types
from functools import cache

import numpy as np
import pytest
import sympy as sp

import ntkc
import ntkc.runtime
from ntkc import stax
from ntkc.errors import InvalidInput
from ntkc.ir.hyper import CALL_ARGUMENTS

SHAPE = (5, 4, 2)
WORDS = ["b_std", "i", "j", "ready", "rate", "floor", "len", "self", "x", "q", "max", "bool", "samples1", "CONV1"]
WORDS += ["values", "weights", "targets", "mean", "gram_of", "x_new", "c_1", "n_layers", "k", "y", "theta_1", "p", "t"]
WORDS += ["ridge", "parameters", "q1", "u_dense1", "K_dense1", "q1_dense1", "features", "port1", "w_std", "one", "same"]
FIT_OWN = ("ridge", "t", "get", "parameters")
"""Keywords of `fit` itself: hyper-parameters of these names are given in its mapping `parameters`."""


def conv(w, b=None):
    return stax.Conv(4, (3, 2), padding="SAME", W_std=w, b_std=b)


def rows(w):
    return stax.serial(stax.Dense(8, w, 0.1), stax.Erf(), stax.Dense(8, 1.2), stax.Relu(), stax.Dense(1, w))


def pixels(w):
    return stax.serial(conv(1.1, w), stax.Relu(), conv(w), stax.Erf(), stax.GlobalAvgPool(), stax.Dense(1))


NETS = {
    "erf": lambda: rows(sp.Symbol("w")),
    "relu": lambda: stax.serial(*[stax.Dense(8, sp.Symbol("w"), 0.1), stax.Relu()] * 3, stax.Dense(1)),
    "rolled": lambda: stax.serial(*[stax.Dense(8, 1.5, 0.1), stax.Relu()] * 6, stax.Dense(1, sp.Symbol("w"))),
    "collapsed": lambda: stax.serial(*[stax.Dense(8, 1.5), stax.Relu()] * 6, stax.Dense(1)),
    "gelu": lambda: stax.serial(stax.Dense(8), stax.Gelu(), stax.Dense(1)),
    "tanh": lambda: stax.serial(stax.Dense(8), stax.Tanh(), stax.Dense(1)),
    "elu": lambda: stax.serial(stax.Dense(8), stax.Elu(), stax.Dense(1)),
    "hard tanh": lambda: stax.serial(stax.Dense(8), stax.Activation("max(-1, min(x, 1))"), stax.Dense(1)),
    "cnn": lambda: pixels(sp.Symbol("w")),
    "pool": lambda: stax.serial(*[conv(1.2), stax.Relu(), stax.AvgPool((2, 2))] * 2, stax.Flatten(), stax.Dense(1)),
}
PIXELS = ("cnn", "pool")


@cache
def program_of(name):
    return ntkc.compile(NETS[name](), input_shape=SHAPE) if name in PIXELS else ntkc.compile(NETS[name]())


def identifiers(text):
    """Every name that stands in a module: variables, attributes, arguments, functions, imports, keywords of calls."""
    for node in ast.walk(ast.parse(text)):
        for attribute in ("id", "attr", "name", "arg", "asname"):
            found = getattr(node, attribute, None)
            if isinstance(found, str):
                yield from found.split(".")


def runtime_sources():
    package = ntkc.runtime
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        spec = importlib.util.find_spec(module.name)
        with open(spec.origin, encoding="utf-8") as file:
            yield file.read()


def names_there_are(tmp_path):
    texts = [program_of(name).source for name in NETS]
    texts += [program_of(name).save(tmp_path / "saved.py").read_text("utf-8") for name in ("erf", "cnn")]
    found = {name for text in (*texts, *runtime_sources()) for name in identifiers(text)}
    legal = {n for n in found if n.isidentifier() and not keyword.iskeyword(n) and not n.startswith("__")}
    return sorted((legal | set(WORDS)) - set(CALL_ARGUMENTS))


def module_of(text):
    module = types.ModuleType("saved")
    sys.modules["saved"] = module
    exec(compile(text, "saved", "exec"), vars(module))
    return module


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return {
        rows: (rng.normal(size=(4, 3)), rng.normal(size=(3, 3)), rng.normal(size=4)),
        pixels: (rng.normal(size=(3, *SHAPE)), rng.normal(size=(2, *SHAPE)), rng.normal(size=3)),
    }


def deep(values):
    """A layer for each hyper-parameter, so that names can take each other's place, too."""
    layers = [layer for w in values for layer in (stax.Dense(8, w, 0.1), stax.Erf())]
    return stax.serial(*layers, stax.Dense(1))


def deep_pixels(values):
    layers = [layer for w in values for layer in (conv(w, 0.1), stax.Relu())]
    return stax.serial(*layers, stax.GlobalAvgPool(), stax.Dense(1))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("words", [WORDS[:18], WORDS[18:]])
def test_words(words, data, tmp_path):
    check_names(deep, words, data[rows], tmp_path)


@pytest.mark.usefixtures("x64")
def test_words_on_pixels(data, tmp_path):
    check_names(deep_pixels, WORDS[::6], data[pixels], tmp_path, {"input_shape": SHAPE})


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("part", range(40))
def test_every_name_there_is(part, data, tmp_path):
    names = names_there_are(tmp_path)[part::40]
    check_names(deep, names, data[rows], tmp_path)
    check_names(deep_pixels, names[::5], data[pixels], tmp_path, {"input_shape": SHAPE})


def check_names(net, names, data, tmp_path, shape=types.MappingProxyType({})):
    x, z, y = data
    values = dict(zip(names, np.linspace(0.9, 1.4, len(names)), strict=True))
    fixed, program = ntkc.compile(net(values.values()), **shape), ntkc.compile(net(map(sp.Symbol, names)), **shape)
    assert set(program.parameters) == set(names)
    kernels = fixed(x, z, ("nngp", "ntk"))
    for made, right in zip(program(x, z, ("nngp", "ntk"), **values), kernels, strict=True):
        np.testing.assert_allclose(made, right, rtol=1e-12)
    saved = module_of(program.save(tmp_path / "saved.py").read_text("utf-8"))
    np.testing.assert_allclose(saved.ntk(x, z, **values), kernels.ntk, rtol=1e-12)
    gram = fixed(x, None, "ntk") + 0.1 * np.eye(len(x))
    expected = fixed(z, x, "ntk") @ np.linalg.solve(gram, y)
    own = {n: v for n, v in values.items() if n in FIT_OWN}
    predict = saved.fit(x, y, ridge=0.1, parameters=own, **{n: v for n, v in values.items() if n not in own})
    np.testing.assert_allclose(predict(z), expected, rtol=1e-9)


@pytest.mark.parametrize("name", [*keyword.kwlist, *CALL_ARGUMENTS, "two words", "1x", "", "a-b", "__class__", "ﬁ"])
def test_what_no_call_can_pass_is_refused_where_the_layer_is_made(name):
    for make in (lambda w: stax.Dense(3, w), lambda w: stax.LeakyRelu(w), lambda w: conv(1.0, w)):
        with pytest.raises(InvalidInput, match="hyper-parameter"):
            make(sp.Symbol(name))


def test_symbols_of_one_name_are_one_hyper_parameter():
    layers = [stax.Dense(3, sp.Symbol("w")), stax.Erf(), stax.Dense(1, sp.Symbol("w", positive=True))]
    program = ntkc.compile(stax.serial(*layers))
    x = np.eye(3)
    expected = ntkc.compile(stax.serial(stax.Dense(3, 1.5), stax.Erf(), stax.Dense(1, 1.5)))(x, None, "ntk")
    np.testing.assert_allclose(program(x, None, "ntk", w=1.5), expected, atol=1e-6)
