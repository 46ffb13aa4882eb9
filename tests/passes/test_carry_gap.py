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
from ntkc.runtime import narrowed, patched

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
    assert found["eta_conv1"] == "4*Mixed(Framed(eta_input1, q1_input1/2, q2_input1/2), conv1)"
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
@pytest.mark.parametrize("is_complex", [False, True])
def test_frame(first, second, form, is_complex):
    """Tap by tap, as it is defined; of a second array in the imaginary part, zeros are outside."""
    axes, sizes = (AXES[first], AXES[second]), (4, 4)
    if form[0] == "2" and first == "transposed":
        pytest.skip("no such form")
    rng = np.random.default_rng(0)
    a, b, e, t = rng.random((*sizes, 3)), rng.random((*sizes, 3)), *rng.random((2, 4, 4, 4, 4, 3))
    inside = [taps_of(axis, n) for axis, n in zip(axes, sizes, strict=True)]
    made = [len(rows) for rows in inside]
    whole = np.zeros((2, made[0], made[0], made[1], made[1], 3))
    for p, o, q, r in np.ndindex(*whole.shape[1:-1]):
        for m, n in np.ndindex(len(inside[0][0]), len(inside[1][0])):
            here, there = (inside[0][p][m], inside[1][q][n]), (inside[0][o][m], inside[1][r][n])
            if None not in here + there:
                place = here[0], there[0], here[1], there[1]
                whole[:, p, o, q, r] += e[place], t[place]
            elif None not in here:
                whole[0, p, o, q, r] += a[here]
            elif None not in there:
                whole[0, p, o, q, r] += b[there]
    inner = form.replace("2", str(2 * axes[0][1]))
    given = e + 1j * t if is_complex else e
    k = narrowed(jnp.asarray(given, np.complex64 if is_complex else np.float32), "FF", inner)
    found = patched(k, inner, axes, (jnp.asarray(a, np.float32), jnp.asarray(b, np.float32)))
    exact = (whole[0] + 1j * whole[1] if is_complex else whole[0]) / (axes[0][0] * axes[1][0])
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
