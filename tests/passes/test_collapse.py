"""Bias-free networks as polynomials of the angle: when, in which form, and the same numbers as an mpmath recursion."""

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from numpy.polynomial import polynomial

from ntkc import stax
from ntkc.compile import compile_graph
from ntkc.ir.layout import PLAIN
from ntkc.ir.program import lets
from ntkc.layers.inputs import Port
from ntkc.networks.outputs import Source, outputs_on_kernels
from ntkc.passes.collapse import FEWEST_KINKS, WORST, collapse

ROOT2 = 2**0.5


def dense(W_std=1.0, b_std=None, **keywords):
    return stax.Dense(4, W_std, b_std, **keywords)


def residual(branch):
    return stax.serial(stax.FanOut(2), stax.parallel(stax.Identity(), branch), stax.FanInSum())


def mlp(depth, W_std=1.0, b_std=None, phi=None, **keywords):
    phi = phi or stax.Relu()
    block = stax.serial(dense(W_std, b_std, **keywords), phi)
    return stax.serial(*[block] * depth, dense(W_std, b_std, **keywords))


def residual_net(depth):
    return stax.serial(dense(), *[residual(stax.serial(stax.Relu(), dense()))] * depth, stax.Relu(), dense())


def made(layer, stage):
    return layer[2].program._compilation.made[stage]


COLLAPSED = {
    "depth 5": mlp(5),
    "depth 10": mlp(10, ROOT2),
    "depth 50": mlp(50, ROOT2),
    "any scale": mlp(8, 0.3),
    "leaky": mlp(10, 1.1, phi=stax.LeakyRelu(0.2)),
    "relu at the end": stax.serial(*[stax.serial(dense(), stax.Relu())] * 6),
    "residual": residual_net(6),
    "mixed": stax.serial(*[stax.serial(dense(), stax.Relu(), dense(), stax.LeakyRelu(0.3))] * 3, dense()),
}
KEPT = {
    "shallow": mlp(FEWEST_KINKS - 1),
    "bias": mlp(10, 1.0, 0.1),
    "symbol": mlp(10, sp.Symbol("w", positive=True)),
    "erf": mlp(10, phi=stax.Erf()),
    "standard": mlp(10, parameterization="standard"),
    "one bias": stax.serial(dense(1, 0.1), *[stax.serial(stax.Relu(), dense())] * 8),
    "linear": stax.serial(*[dense()] * 8),
}


@pytest.mark.parametrize("name", COLLAPSED)
def test_collapsed(name):
    program = made(COLLAPSED[name], "collapse")
    assert next(str(let.expr).split("(")[0] for let in lets(program.per_pair)) == "AngleOverPi"
    assert len(program.per_pair) == 2
    assert set(program.tables) == {"NNGP", "NTK"}
    for table in program.tables.values():
        assert all(table.errors[dtype] <= worst for dtype, worst in WORST.items())
        assert len(table.coefficients["float32"]) < len(table.coefficients["float64"]) <= 64


def test_outputs_are_norms_times_a_polynomial():
    program = made(COLLAPSED["depth 10"], "collapse")
    assert str(program.outputs["nngp"]) == "n1_block1*n2_block1*Collapsed(NNGP, u_input1)"
    assert str(program.outputs["ntk"]) == "n1_block1*n2_block1*Collapsed(NTK, u_input1)"
    theta, u = lets(program.per_pair)
    assert str(theta.expr) == "AngleOverPi(delta_input1)"
    assert u.expr.subs(theta.dst, 0) == -1
    assert u.expr.subs(theta.dst, 1) == pytest.approx(1)


@pytest.mark.parametrize("name", KEPT)
def test_kept(name):
    before = made(KEPT[name], "carry_gap")
    assert collapse(before) is before
    assert made(KEPT[name], "collapse") is before


def test_continuations_of_a_kernel_are_kept():
    tree = stax.serial(*[stax.serial(stax.Relu(), dense())] * 8).tree
    program = compile_graph(outputs_on_kernels(tree, Source(0, Port(), PLAIN), False).graph, "carry_gap").made[
        "carry_gap"
    ]
    assert collapse(program) is program


def arc_cosine(theta):
    """(kappa1, kappa0) at an angle (Cho and Saul 2009)."""
    return (mp.sin(theta) + (mp.pi - theta) * mp.cos(theta)) / mp.pi, 1 - theta / mp.pi


def mlp_of_angle(depth):
    """NNGP and NTK over the norms for W_std^2 = 2: K -> kappa1, T -> K + T kappa0."""

    def functions(theta):
        rho = mp.cos(theta)
        t = rho
        for _ in range(depth):
            value, slope = arc_cosine(mp.acos(min(rho, mp.mpf(1))))
            rho, t = value, value + t * slope
        return rho, t

    return functions


def residual_of_angle(depth):
    """x + Dense(relu(x)) depth times, then Dense(relu):  K -> K + q kappa1 / 2, q -> 3 q / 2."""

    def functions(theta):
        q, k = mp.mpf(1), mp.cos(theta)
        t = k
        for last in [False] * depth + [True]:
            value, slope = arc_cosine(mp.acos(min(k / q, mp.mpf(1))))
            branch = q * value / 2
            into = branch + t * slope / 2
            q, k, t = (q / 2, branch, into) if last else (q * 3 / 2, k + branch, t + into)
        return k, t

    return functions


REFERENCES = {
    "depth 5": (mlp(5, ROOT2), mlp_of_angle(5)),
    "depth 10": (COLLAPSED["depth 10"], mlp_of_angle(10)),
    "depth 50": (COLLAPSED["depth 50"], mlp_of_angle(50)),
    "residual": (COLLAPSED["residual"], residual_of_angle(6)),
}
ANGLES = [mp.mpf(t) for t in ("0", "1e-9", "1e-5", "1e-3", "0.03", "0.3", "1", "1.6", "2.4", "3", "3.14", "3.141592")]


@pytest.mark.parametrize("dtype", WORST)
@pytest.mark.parametrize("name", REFERENCES)
def test_polynomials(name, dtype):
    """Their certified errors, against a 40-digit recursion of K / q and T / q."""
    layer, functions = REFERENCES[name]
    program = made(layer, "collapse")
    _, u = lets(program.per_pair)
    (theta,) = u.expr.free_symbols
    with mp.workdps(40):
        variance = functions(ANGLES[0])[0]
        exact = np.array([[float(v / variance) for v in functions(angle)] for angle in ANGLES])
        places = np.array([float(u.expr.xreplace({theta: sp.Float(a / mp.pi, 30)})) for a in ANGLES])
    for table, right in zip((program.tables["NNGP"], program.tables["NTK"]), exact.T, strict=True):
        found = polynomial.polyval(places, table.coefficients[dtype])
        size = np.abs(right) + np.max(np.abs(right)) / 10
        assert np.all(np.abs(found - right) <= 3 * max(table.errors[dtype], 1e-14) * size)
