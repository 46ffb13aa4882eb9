"""Sums of many edges: their covariances are asked for once for each pair of different operands."""

import numpy as np
import pytest

import ntkc
from ntkc.ir.graph import operands
from ntkc.layers.branching import FanInSum

MANY = 2000
ACTIVATIONS = ("Relu", "Erf", "Abs", "Sign")


def document(middle, last="dense2"):
    """Input, Dense, what stands in the middle, Dense."""
    nodes = [{"name": "input1", "op": "Input"}, {"name": "dense1", "op": "Dense", "inputs": ["input1"], "out_dim": 4}]
    end = {"name": last, "op": "Dense", "inputs": [middle[-1]["name"]], "out_dim": 1}
    return {"format": "ntkc-network", "version": 1, "nodes": [*nodes, *middle, end], "output": last}


@pytest.fixture
def terms(monkeypatch):
    """How many covariances the rule of FanInSum asks for."""
    counts = []
    plain = FanInSum._bilinear

    def counted(self, stream, ask):
        return plain(self, lambda i, j: counts.append((i, j)) or stream(i, j), ask)

    monkeypatch.setattr(FanInSum, "_bilinear", counted)
    return counts


def kernels(net):
    x = np.random.default_rng(0).standard_normal((3, 5))
    return np.stack(ntkc.compile(net)(x, None, ("nngp", "ntk")))


def test_one_operand_many_times(terms):
    def net(count):
        return document(
            [
                {"name": "sum1", "op": "FanInSum", "inputs": ["dense1"] * count},
                {"name": "relu1", "op": "Relu", "inputs": ["sum1"]},
            ]
        )

    assert operands(ntkc.from_json(net(MANY)), "sum1") == ("dense1",) * MANY
    found = kernels(net(MANY))
    assert 0 < len(terms) <= 30 * MANY
    np.testing.assert_allclose(found, MANY**2 * kernels(net(1)), rtol=1e-5)


def test_few_branches_many_times(terms):
    branches = [{"name": f"{a.lower()}1", "op": a, "inputs": ["dense1"]} for a in ACTIVATIONS]

    def net(count):
        sources = [branches[i % len(branches)]["name"] for i in range(count)]
        return document([*branches, {"name": "sum1", "op": "FanInSum", "inputs": sources}])

    found = kernels(net(MANY))
    assert len(terms) <= 30 * MANY
    np.testing.assert_allclose(found, (MANY / len(ACTIVATIONS)) ** 2 * kernels(net(len(ACTIVATIONS))), rtol=1e-5)


@pytest.mark.parametrize("weights", [(2, 1), (3, 2)])
def test_operands_of_different_numbers(weights):
    """m a + n b, b of its own weights:  m^2 K_a + n^2 K_b."""
    a, b = ("dense1",) * weights[0], ("dense3",) * weights[1]
    dense = {"name": "dense3", "op": "Dense", "inputs": ["input1"], "out_dim": 4, "W_std": 1.5}
    sum1 = {"name": "sum1", "op": "FanInSum", "inputs": [*a, *b]}
    scale = weights[0] ** 2 + weights[1] ** 2 * 1.5**2
    alone = {"name": "sum1", "op": "FanInSum", "inputs": ["dense1"]}
    np.testing.assert_allclose(kernels(document([dense, sum1]))[0], scale * kernels(document([alone]))[0], rtol=1e-5)


def test_many_branches_of_one_layer():
    count = 100
    branches = [
        {"name": f"leakyrelu{i}", "op": "LeakyRelu", "alpha": i / 128, "inputs": ["dense1"]} for i in range(count)
    ]
    sum1 = {"name": "sum1", "op": "FanInSum", "inputs": [b["name"] for b in branches]}
    one = [
        {"name": "leaky1", "op": "ABRelu", "a": sum(i / 128 for i in range(count)), "b": count, "inputs": ["dense1"]}
    ]
    np.testing.assert_allclose(kernels(document([*branches, sum1])), kernels(document(one)), rtol=1e-5)
