"""Source and LaTeX of seven networks, and a saved module; `pytest tests/test_golden.py --rewrite-golden` makes them."""

from functools import cache

import pytest
import sympy as sp

import ntkc
from ntkc import stax

D, R = stax.Dense, stax.Relu
W = sp.Symbol("W_std")


def residual(branch):
    return stax.serial(stax.FanOut(2), stax.parallel(branch, stax.Identity()), stax.FanInSum())


NETS = {
    "relu_3_biased": stax.serial(*[D(512, 1.5, 0.1), R()] * 3, D(1, 1.5, 0.1)),
    "relu_50": stax.serial(*[D(512, 2**0.5), R()] * 50, D(1)),
    "erf_2": stax.serial(*[D(512, 1.5, 0.1), stax.Erf()] * 2, D(1)),
    "residual_relu_4": stax.serial(D(512, 1.2, 0.1), *[residual(stax.serial(R(), D(512, 1.1)))] * 4, R(), D(1)),
    "x_erf_symbol": stax.serial(D(512, W), stax.Activation("x*erf(x)"), D(1)),
}


PIXELS = {
    "cnn_pool": stax.serial(
        *[stax.Conv(512, (3, 3), None, "SAME", 1.5, 0.1), R()],
        stax.AvgPool((2, 2), (2, 2)),
        *[stax.Conv(512, (3, 3), (2, 1), "VALID", 1.5), R(), stax.GlobalAvgPool(), D(1)],
    ),
    "transformer": stax.serial(
        *[D(512, 1.5, 0.1), stax.LayerNorm(), stax.GlobalSelfAttention(512, 512, 512, 8), stax.Flatten(), D(1)],
    ),
}
"""Networks on images [8, 8, 3], and on sequences [8, 3]."""
SHAPES = {"cnn_pool": (8, 8, 3), "transformer": (8, 3)}


@cache
def program(name):
    return ntkc.compile({**NETS, **PIXELS}[name], input_shape=SHAPES.get(name))


@pytest.mark.parametrize("name", [*NETS, *PIXELS])
def test_source(name, golden):
    golden(f"{name}.py", program(name).source)


@pytest.mark.parametrize("name", [*NETS, *PIXELS])
def test_latex(name, golden):
    golden(f"{name}.tex", program(name).latex("ntk") + "\n")


MOST_LINES = {"relu_3_biased": 100, "relu_50": 100, "residual_relu_4": 130, "cnn_pool": 140}


@pytest.mark.parametrize("name", MOST_LINES)
def test_people_can_read_it(name):
    lines = program(name).source.splitlines()
    assert len(lines) <= MOST_LINES[name]
    assert max(map(len, lines)) <= 120


def test_saved_module(golden, tmp_path):
    golden("saved_relu_3.py", program("relu_3_biased").save(tmp_path / "saved.py").read_text("utf-8"))


def test_source_and_latex_do_not_depend_on_what_ran_before():
    for name in ("relu_3_biased", "x_erf_symbol"):
        again = ntkc.compile(NETS[name])
        assert again.source == program(name).source
        assert again.latex() == program(name).latex()
