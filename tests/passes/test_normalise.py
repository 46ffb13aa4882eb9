"""K, T -> delta, tau: the statements as text, and equal numbers before and after, at zero and collinear rows too."""

import mpmath as mp
import pytest
import sympy as sp

from ntkc import stax
from ntkc.ir.program import Loop
from ntkc.passes.normalise import normalise

ROOT2 = 2**0.5


def dense(W_std=1.0, b_std=None, **keywords):
    return stax.Dense(4, W_std, b_std, **keywords)


def residual(branch):
    return stax.serial(stax.FanOut(2), stax.parallel(stax.Identity(), branch), stax.FanInSum())


def made(layer, stage):
    return layer[2].program._compilation.made[stage]


def pair_text(layer):
    text = made(layer, "carry_gap").text()
    return [line.strip() for line in text[text.index("per pair:") :].splitlines()[1:]]


TEXTS = {
    "relu": (
        stax.serial(dense(ROOT2), stax.Relu(), dense(ROOT2)),
        [
            "delta_dense1 = delta_input1",
            "tau_dense1 = 1 - delta_dense1",
            "delta_relu1 = ArcGap(delta_dense1)",
            "tau_relu1 = tau_dense1*ArcSlope(delta_dense1)",
            "delta_dense2 = delta_relu1",
            "tau_dense2 = -delta_dense2 + tau_relu1 + 1",
        ],
    ),
    "bias": (
        stax.serial(dense(ROOT2, 0.1), stax.Relu(), dense(ROOT2, 0.1)),
        [
            "delta_dense1 = c1_dense1_input1*c2_dense1_input1*delta_input1"
            " + (a1_dense1*b2_dense1 - a2_dense1*b1_dense1)**2",
            "tau_dense1 = 1 - delta_dense1",
            "delta_relu1 = ArcGap(delta_dense1)",
            "tau_relu1 = tau_dense1*ArcSlope(delta_dense1)",
            "delta_dense2 = c1_dense2_relu1*c2_dense2_relu1*delta_relu1"
            " + (a1_dense2*b2_dense2 - a2_dense2*b1_dense2)**2",
            "tau_dense2 = c1_dense2_relu1*c2_dense2_relu1*tau_relu1 - delta_dense2 + 1",
        ],
    ),
    "leaky, abs": (
        stax.serial(dense(), stax.LeakyRelu(0.2), dense(), stax.Abs()),
        [
            "delta_dense1 = delta_input1",
            "tau_dense1 = 1 - delta_dense1",
            "delta_leakyrelu1 = 5*delta_dense1/13 + 8*ArcGap(delta_dense1)/13",
            "tau_leakyrelu1 = 25*tau_dense1*(8*ArcSlope(delta_dense1)/25 + 1/5)/13",
            "delta_dense2 = delta_leakyrelu1",
            "tau_dense2 = -delta_dense2 + tau_leakyrelu1 + 1",
            "delta_abs1 = EvenGap(delta_dense2)",
            "tau_abs1 = tau_dense2*EvenSlope(delta_dense2)",
        ],
    ),
    "residual": (
        stax.serial(dense(), residual(stax.serial(stax.Relu(), dense()))),
        [
            "delta_dense1 = delta_input1",
            "tau_dense1 = 1 - delta_dense1",
            "delta_relu1 = ArcGap(delta_dense1)",
            "tau_relu1 = tau_dense1*ArcSlope(delta_dense1)",
            "delta_dense2 = delta_relu1",
            "tau_dense2 = -delta_dense2 + tau_relu1 + 1",
            "delta_faninsum1 = 2*delta_dense1/3 + delta_dense2/3",
            "tau_faninsum1 = 2*tau_dense1/3 + tau_dense2/3",
        ],
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_form(name):
    layer, lines = TEXTS[name]
    assert pair_text(layer) == lines


def test_second_relu_is_known_to_see_positive_correlations():
    layer = stax.serial(*[stax.serial(dense(), stax.Relu())] * 2)
    assert "delta_relu2 = NearGap(delta_dense2)" in pair_text(layer)


def test_no_positive_correlations_after_leaky_relu():
    """min V is bent - linear < 0."""
    assert "Near" not in " ".join(pair_text(stax.serial(*[stax.serial(dense(), stax.LeakyRelu(0.2))] * 2)))


@pytest.mark.parametrize("phi", [stax.Sin(), stax.Monomial(2), stax.Activation("relu(x)**2")])
def test_programs_without_homogeneous_activations_or_erfs_are_unchanged(phi):
    before = made(stax.serial(dense(), phi, dense()), "lower")
    assert normalise(before) is before


SAME = {
    **{name: layer for name, (layer, _) in TEXTS.items()},
    "deep": stax.serial(*[stax.serial(dense(ROOT2), stax.Relu())] * 6, dense()),
    "deep with bias": stax.serial(*[stax.serial(dense(ROOT2, 0.3), stax.Relu())] * 6, dense()),
    "standard": stax.serial(
        dense(1.2, 0.1, parameterization="standard"), stax.Relu(), dense(1.1, parameterization="standard")
    ),
    "standard without bias": stax.serial(
        dense(1.2, parameterization="standard"), stax.LeakyRelu(0.1), dense(1.1, 0.0, parameterization="standard")
    ),
    "erf, relu": stax.serial(dense(1.1, 0.2), stax.Erf(), dense(1.2), stax.Relu(), dense()),
    "relu, erf, abs": stax.serial(dense(), stax.Relu(), dense(1, 0.1), stax.Erf(), dense(), stax.Abs(), dense()),
    "relu + erf": stax.serial(
        dense(),
        stax.FanOut(2),
        stax.parallel(stax.serial(stax.Relu(), dense()), stax.serial(stax.Erf(), dense())),
        stax.FanInSum(),
        stax.Relu(),
        dense(0.8, 0.1),
    ),
    "x + relu": stax.serial(dense(1.1, 0.1), residual(stax.Relu()), dense(1.2)),
    "erf before a loop of relu": stax.serial(
        dense(), stax.Erf(), *[stax.serial(dense(1.1, 0.1), stax.Relu())] * 5, dense()
    ),
    "loop of residuals": stax.serial(
        dense(), *[residual(stax.serial(stax.Relu(), dense(1, 0.2)))] * 4, stax.Relu(), dense()
    ),
    "loop of erf after relu": stax.serial(dense(), stax.Relu(), *[stax.serial(dense(), stax.Erf())] * 4, dense()),
    "sum of two inputs": stax.serial(
        stax.FanOut(2),
        stax.parallel(stax.serial(dense(1.2, 0.1), stax.Relu(), dense()), dense(0.7, 0.3)),
        stax.FanInSum(),
        stax.Relu(),
        dense(),
    ),
}


def value(expr, known):
    """A number in 30 digits."""
    names = {s: known[s.name] for s in expr.free_symbols}
    plain = expr.replace(lambda e: hasattr(e, "explicit"), lambda e: e.explicit())
    return sp.N(plain.xreplace(names), 30)


def run(statements, known):
    """Add the values of statements to `known`; returns (loop, the names known at the end of each turn)."""
    stacks = []
    for s in statements:
        if not isinstance(s, Loop):
            known[s.dst.name] = value(s.expr, known)
            continue
        known.update({c.start.name: known[c.before.name] for c in s.carry})
        turns = []
        for turn in range(s.count):
            known.update(known.get(("turn", s.layer, turn), {}))
            for let in s.body:
                known[let.dst.name] = value(let.expr, known)
            turns.append(dict(known))
            known.update({c.start.name: known[c.end.name] for c in s.carry})
        known.update({c.after.name: known[c.start.name] for c in s.carry})
        stacks.append((s.layer, turns))
    return stacks


def sided(known, side):
    """`q_dense1` -> `q1_dense1`."""
    return {
        f"{n.split('_', 1)[0]}{side}_{n.split('_', 1)[1]}": v
        for n, v in known.items()
        if isinstance(n, str) and "_" in n
    }


def outputs(program, q1, q2, k):
    """K and T of a program for a pair with these variances and covariance."""
    known = {"features": sp.Integer(5)}
    for side, q in ((1, q1), (2, q2)):
        sample = {"q_input1": q, "features": sp.Integer(5)}
        stacks = run(program.per_sample, sample)
        known.update(sided(sample, side))
        for layer, turns in stacks:
            for i, names in enumerate(turns):
                known.setdefault(("turn", layer, i), {}).update(sided(names, side))
    starts = {"K_input1": k, "delta_input1": 1 - k / sp.sqrt(q1 * q2)}
    known.update({key.name: sp.N(starts[key.name], 30) for key in program.inputs if key.side is None})
    run(program.per_pair, known)
    return [value(sp.sympify(program.outputs[get]), known) for get in ("nngp", "ntk")]


PAIRS = [("0.7", "1.9", "0.4"), ("1.1", "0.2", "-0.35"), ("0.5", "0.5", "0.4999")]


@pytest.mark.parametrize("name", SAME)
def test_same_numbers(name):
    before, after = made(SAME[name], "lower"), made(SAME[name], "carry_gap")
    assert after is not before
    for pair in PAIRS:
        numbers = [sp.Float(v, 40) for v in pair]
        for old, new in zip(outputs(before, *numbers), outputs(after, *numbers), strict=True):
            assert mp.almosteq(mp.mpf(old), mp.mpf(new), 1e-20)
