"""CONTRIBUTING.md to the letter: its nonlinearity and its layer compile, and are what finite networks say."""

import re
from pathlib import Path

import jax
import mpmath as mp
import numpy as np
import pytest

import ntkc
from ntkc import stax
from ntkc.ir.op import OPS

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")
X = np.random.default_rng(0).standard_normal((3, 4))


@pytest.fixture(scope="module")
def classes():
    before = dict(OPS)
    names = {"__name__": "contributed"}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(compile(block, "CONTRIBUTING.md", "exec"), names)
    yield names
    OPS.clear()
    OPS.update(before)


@pytest.mark.usefixtures("x64")
def test_the_nonlinearity(classes):
    net = stax.serial(stax.Dense(8, 1.3, 0.2), stax.from_op(classes["SquaredRelu"](0.5)), stax.Dense(1))
    nngp = ntkc.compile(net)(X, None, "nngp")
    q = 1.3**2 * np.mean(X[0] ** 2) + 0.2**2
    exact = mp.quad(lambda z: (0.5 * max(mp.sqrt(q) * z, 0) ** 2) ** 2 * mp.npdf(z), [-10, 0, 10])
    assert float(nngp[0, 0]) == pytest.approx(float(exact), rel=1e-12)


def test_the_layer(classes):
    net = stax.serial(stax.Dense(1024), stax.from_op(classes["Gain"](0.5)), stax.Dense(1))
    init_fn, apply_fn, kernel_fn = net
    empirical = ntkc.empirical_ntk_fn(apply_fn, trace_axes=(), vmap_axes=0)
    keys = jax.random.split(jax.random.PRNGKey(1), 20)
    made = [np.asarray(empirical(X, None, init_fn(k, X.shape)[1])[..., 0, 0]) for k in keys]
    error = np.std(made, axis=0) / np.sqrt(len(made))
    assert np.all(np.abs(np.mean(made, 0) - kernel_fn(X, None, "ntk")) < 5 * error)
    assert ntkc.compile(net).latex("ntk").startswith(r"\begin{aligned}")


def test_every_home_that_is_named_exists():
    root = Path(__file__).parents[1]
    for name in re.findall(r"`((?:ntkc|tests)/[\w/]+(?:\.py)?)`", TEXT):
        assert (root / name).exists(), name
