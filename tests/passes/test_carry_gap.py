"""Distances in place of covariances: the statements as text, and what zeros around images add."""

from itertools import product

import jax.numpy as jnp
import numpy as np
import pytest

from ntkc import stax
from ntkc.compile import compile_graph
from ntkc.frontends.networks import to_graph
from ntkc.ir.streams import Kind
from ntkc.passes.settle import on_data
from ntkc.runtime import narrowed, outside

RELU, MEAN = stax.Relu(), stax.GlobalAvgPool()
END = stax.Dense(1)


def dense(W_std=1.0, b_std=None):
    return stax.Dense(4, W_std, b_std)


def conv(padding="CIRCULAR"):
    return stax.Conv(4, (3,), None, padding, 2, 0.1)


def program_of(*layers, shape=(6,)):
    return compile_graph(on_data(to_graph(stax.serial(*layers)), [shape]), until="carry_gap").made["carry_gap"]


def statements(*layers, shape=(6,)):
    """The statements of pairs, by what they define."""
    text = program_of(*layers, shape=shape).text()
    lines = [line.strip() for line in text[text.index("per pair:") :].splitlines()[1:]]
    return dict(line.split(" = ", 1) for line in lines)


R = "(n1_{0} - n2_{0})**2"
DELTA = "ProductGap(eta_{0} - (n1_{0} - n2_{0})**2/2, Ratio(1, n1_{0})*Ratio(1, n2_{0}))"
TEXTS = {
    "erf": (
        (dense(2, 0.1), stax.Erf(), dense(3), stax.Erf(), END),
        {
            "eta_dense2": "9*eta_erf1",
            "K_erf2": "-eta_erf2 + q1_erf2/2 + q2_erf2/2",
            "T_erf2": "4*T_dense2/(pi*Span(2*eta_dense2, 2*q1_dense2 - 2*q2_dense2, 2*q1_dense2, 2*q2_dense2))",
        },
    ),
    "norm": (
        (dense(), RELU, dense(), stax.RMSNorm(0.1), RELU, END),
        {
            "eta_relu1": "n1_dense1*n2_dense1*ArcGap(" + DELTA.format("dense1") + ")/2 + " + R.format("dense1") + "/4",
            "eta_rmsnorm1": "(n1_rmsnorm1 - n2_rmsnorm1)**2/2 + Max(0, eta_dense2 - (n1_dense2 - n2_dense2)**2/2)"
            "/(sqrt(v1_rmsnorm1 + 1/10)*sqrt(v2_rmsnorm1 + 1/10))",
        },
    ),
    "dropout": (
        (dense(), RELU, stax.Dropout(0.5), dense(), RELU, END),
        {"eta_dropout1": "K_relu1*(-same_pixel*same_sample + 1) + 2*eta_relu1"},
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_rows(name):
    layers, wanted = TEXTS[name]
    found = statements(*layers)
    assert {key: found.get(key) for key in wanted} == wanted


def test_zeros_around_images_and_pools():
    found = statements(conv("SAME"), RELU, stax.AvgPool((2,), (2,)), conv(), RELU, MEAN, END, shape=(8, 3))
    assert (
        found["eta_conv1"] == "4*Mixed(eta_input1, conv1) + 4*Outside(q1_input1, conv1) + 4*Outside(q2_input1, conv1)"
    )
    assert found["eta_avgpool1"] == (
        "Excess(Mixed(eta_relu1, avgpool1), s1_avgpool1/2 + s2_avgpool1/2, Mixed(sqrt(eta_relu1), avgpool1_same)**2)"
    )
    assert found["eta_conv2"] == "4*Mixed(eta_avgpool1, conv2)"


def test_homogeneous_rows_keep_cosines():
    assert any(k.kind is Kind.G for k in program_of(dense(), RELU, END).inputs)


def test_linear_networks_are_unchanged():
    assert "eta" not in program_of(dense(), END).text()


AXES = {
    "same": (3, 1, 1, 1, False, 1, 1),
    "stride": (3, 2, 0, 1, False, 1, 1),
    "spread": (2, 1, 1, 1, False, 2, 1),
    "transposed": (3, 1, 1, 2, False, 1, 2),
    "circular": (3, 1, 1, 1, True, 1, 1),
}


@pytest.mark.parametrize(("first", "second"), list(product(AXES, repeat=2)))
@pytest.mark.parametrize("form", ["FF", "DF", "FD", "2F"])
def test_outside(first, second, form):
    """Tap by tap, as it is defined."""
    axes, sizes = (AXES[first], AXES[second]), (4, 4)
    q = np.random.default_rng(0).random((*sizes, 3))
    inside = [taps_of(axis, n) for axis, n in zip(axes, sizes, strict=True)]
    made = [len(rows) for rows in inside]
    if form[0] == "2" and made[0] % 2:
        pytest.skip("no such form")
    whole = np.zeros((made[0], made[0], made[1], made[1], 3))
    for a, b, c, d in np.ndindex(*whole.shape[:-1]):
        for t, s in np.ndindex(len(inside[0][0]), len(inside[1][0])):
            here, there = (inside[0][a][t], inside[1][c][s]), (inside[0][b][t], inside[1][d][s])
            if None not in here and None in there:
                whole[a, b, c, d] += q[here] / 2 / (axes[0][0] * axes[1][0])
    for is_left in (True, False):
        exact = whole if is_left else whole.transpose(1, 0, 3, 2, 4)
        found = outside(jnp.asarray(q, np.float32), form, axes, is_left)
        np.testing.assert_allclose(found, narrowed(jnp.asarray(exact), "FF", form), atol=1e-6)


def taps_of(axis, count):
    """For each pixel made, the pixel that each tap reads, or None."""
    taps, stride, low, high, wraps, spread, interior = axis
    total = count * interior if wraps else (count - 1) * interior + 1
    size = (total + low + high - (taps - 1) * spread - 1) // stride + 1
    rows = [[p * stride + t * spread - low for t in range(taps)] for p in range(size)]

    def read(i):
        is_there = i % interior == 0 and (wraps or 0 <= i < total)
        return (i % total if wraps else i) // interior if is_there else None

    return [[read(i) for i in row] for row in rows]
