"""The interpreter of programs, and every pass of programs by it: the same outputs at the same numbers."""

import itertools

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

from ntkc import stax
from ntkc.compile import PASSES, compile_graph
from ntkc.frontends import to_graph
from ntkc.gaussian.dual import K12, Q1, Q2
from ntkc.gaussian.numbers import on_array
from ntkc.gaussian.series import Coefficients, Cosine, HermiteSum, Moment, Series
from ntkc.gaussian.sigmoids import SigmoidMean, SigmoidSum
from ntkc.ir.evaluate import run, substitute, walk
from ntkc.ir.program import SAME_SAMPLE, WIDTH, Carry, Let, Loop, Program
from ntkc.ir.streams import SAMPLE, Kind, Stream
from ntkc.passes.collapse import WORST, AngleOverPi, Collapsed

DIGITS = 40
D, R = stax.Dense, stax.Relu
OF_PROGRAMS = ("lower", "carry_gap", "collapse", "series", "hoist", "prune")
"""Stages that make programs, in order."""
PARAMETERS = {"w": sp.Float("0.7", DIGITS), "b": sp.Float("-0.3", DIGITS)}


def residual(branch):
    return stax.serial(stax.FanOut(2), stax.parallel(branch, stax.Identity()), stax.FanInSum())


NETS = {
    "linear": [D(4, 1.5, 0.2), D(4)],
    "relu": [D(4, 1.2, 0.3), R(), D(1, 1.1, 0.2)],
    "relus": [D(4, 1.2, 0.3), *[R(), D(4, 1.3, 0.1)] * 6, R()],
    "relus without biases": [*[D(4, 1.3), R()] * 7, D(1, 0.8)],
    "leaky without biases": [*[D(4, 1.3), stax.LeakyRelu(0.2)] * 6, D(1, 0.8)],
    "absolute values": [D(4, 1.1, 0.1), *[stax.Abs(), D(4, 1.1)] * 5],
    "residual": [D(4, 1.1), *[residual(stax.serial(R(), D(4, 0.9, 0.1)))] * 5, R(), D(1)],
    "residual without biases": [D(4), *[residual(stax.serial(R(), D(4, 0.9)))] * 6, R(), D(1)],
    "erf": [D(4, 1.2, 0.1), stax.Erf(), D(1)],
    "erfs": [D(4, 1.2, 0.1), *[stax.Erf(), D(4, 1.2, 0.1)] * 5],
    "erf of another width": [D(4, 1.2), stax.Erf(0.8, 1.3, 0.2), D(4, 1.1, 0.1), stax.Erf(), D(1)],
    "both": [D(4, 1.2, 0.1), *[R(), D(4, 1.1, 0.1), stax.Erf(), D(4, 1.2, 0.1)] * 4],
    "sin": [D(4, 0.8, 0.1), stax.Sin(), D(4), stax.Sin(1.2, 0.7, 0.3)],
    "gelu": [D(4, 1.2, 0.1), *[stax.Gelu(), D(4, 1.1)] * 5],
    "polynomials": [D(4, 0.7, 0.1), stax.Polynomial((0.1, 0.5, 0.2)), D(4, 0.6), stax.Monomial(3), D(1)],
    "thresholds": [D(4, 1.2), stax.Activation("min(max(x, -1), 1)"), D(1)],
    "bells": [D(4, 1.2), stax.Gaussian(), D(4), stax.Rbf(0.8)],
    "symbols": [D(4, sp.Symbol("w"), sp.Symbol("b")), *[R(), D(4, sp.Symbol("w"))] * 5],
    "standard": [D(4, parameterization="standard"), *[stax.Erf(), D(4, 1.2, 0.1, parameterization="standard")] * 2],
    "constant": [D(4), stax.Monomial(0), D(1, 1.3, 0.2)],
    "tanh": [D(4, 0.8), stax.Tanh(), D(1)],
}
POINTS = {"near": ("0.9", "1.1", "0.99498743"), "far": ("0.3", "1.7", "-0.61"), "apart": ("2.3", "0.8", "0.05")}
"""q1, q2 and k of the data."""
READ = {
    Kind.K: lambda q1, q2, k: k,
    Kind.G: lambda q1, q2, k: 1 - k / sp.sqrt(q1 * q2),
    Kind.E: lambda q1, q2, k: (q1 + q2) / 2 - k,
    Kind.D: lambda q1, q2, k: q1 - q2,
}
"""What a pair reads of its data."""


NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(150)


def mean(f, q):
    return sp.Float(WEIGHTS @ on_array(f.expr, float(sp.sqrt(q)) * NODES) / WEIGHTS.sum())


def mean_of_pair(f, h, q1, q2, k):
    """E[f(u) h(v)] of smooth functions, by the product of two rules."""
    root1, root2, rho = float(sp.sqrt(q1)), float(sp.sqrt(q2)), float(k / sp.sqrt(q1 * q2))
    v = root2 * (rho * NODES[:, None] + np.sqrt(1 - rho**2) * NODES)
    return sp.Float((WEIGHTS * on_array(f.expr, root1 * NODES)) @ on_array(h.expr, v) @ WEIGHTS / WEIGHTS.sum() ** 2)


def sum_of_series(a, b, rho, *_):
    """Of coefficients that stand as a function and a variance: the expectation that they are the series of."""
    (f, q1), (h, q2) = a.args, b.args
    return mean_of_pair(f, h, q1, q2, rho * sp.sqrt(q1 * q2))


def polynomial(tables):
    def at(name, u):
        coefficients = tables[str(name)].coefficients["float64"]
        return sum(sp.Float(c, DIGITS) * u**n for n, c in enumerate(coefficients))

    return at


def value_in(program):
    """How an expression becomes a number of many digits."""
    functions = {
        AngleOverPi: lambda delta: sp.acos(1 - delta) / sp.pi,
        Collapsed: polynomial(program.tables),
        Cosine: lambda k, q1, q2: k / sp.sqrt(q1 * q2),
        HermiteSum: sum_of_series,
        Series: mean_of_pair,
        SigmoidSum: lambda *given: sum_of_series(*given[6:8], given[3] / sp.sqrt(given[4] * given[5])),
        SigmoidMean: lambda text, is_slope, square, q: mean(square, q),
        Moment: mean,
    }

    def value(expr, known):
        whole = sp.sympify(expr).xreplace(known)
        for head, function in functions.items():
            whole = whole.replace(head, function)
        if whole.has(Coefficients):
            return whole
        assert not whole.free_symbols
        return whole.evalf(DIGITS)

    return value


def outputs_of(program, q1, q2, k):
    others = {**{s: PARAMETERS[s.name] for s in program.parameters}, WIDTH: sp.Integer(3), SAME_SAMPLE: sp.S.Zero}
    sides = [{s: q for s in program.inputs if s.side == SAMPLE} | others for q in (q1, q2)]
    pair = {s: READ[s.kind](q1, q2, k).evalf(DIGITS) for s in program.inputs if s.side is None} | others
    return run(program, *sides, pair, value_in(program))


def test_the_passes_are_those_that_map_programs():
    names = [p.name for p in PASSES]
    first, last = names.index("lower"), names.index("prune")
    assert tuple(names[first : last + 1]) == OF_PROGRAMS
    for name, before in zip(OF_PROGRAMS[1:], OF_PROGRAMS, strict=False):
        (stage,) = (p for p in PASSES if p.name == name)
        assert stage.reads == (before,)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", NETS)
def test_every_pass_keeps_the_outputs(name, point):
    made = compile_graph(to_graph(stax.serial(*NETS[name])), "prune").made
    numbers = [sp.Float(v, DIGITS) for v in POINTS[point]]
    expected = outputs_of(made["lower"], *numbers)
    for stage in OF_PROGRAMS[1:]:
        found = outputs_of(made[stage], *numbers)
        assert set(found) == set(expected) == {"nngp", "ntk", "variance"}
        for get, right in expected.items():
            # Polynomials have their certified error, series that of the quadrature.
            bound = WORST["float64"] if made[stage].tables else 1e-12 if name == "tanh" else 1e-24
            assert abs(found[get] - right) <= bound * abs(right), (stage, get)


def test_passes_do_something_on_these_networks():
    """Each of them changes some network, or there would be nothing to test."""
    changed = set()
    for layers in NETS.values():
        made = compile_graph(to_graph(stax.serial(*layers)), "prune").made
        changed |= {b for a, b in itertools.pairwise(OF_PROGRAMS) if made[a] is not made[b]}
    assert changed == set(OF_PROGRAMS[1:])


def K(node):
    return Stream(Kind.K, node)


def q(node):
    return Stream(Kind.S, node, side=SAMPLE)


PROGRAM = Program(
    (
        Let(q("a"), 2 * q("input")),
        Loop((Let(q("b"), q("before") + 1),), 3, (Carry(q("a"), q("before"), q("b"), q("c")),), (q("before"),), "c"),
    ),
    (
        Let(K("a"), K("input") / 2),
        Loop(
            (Let(K("b"), K("before") + q("before").on(1) * q("before").on(2)),),
            3,
            (Carry(K("a"), K("before"), K("b"), K("c")),),
            (),
            "c",
        ),
    ),
    (q("input"), K("input")),
    {"nngp": K("c") * q("c").on(2), "ntk": sp.S.Zero, "variance": q("c")},
)


def test_loops_read_what_samples_keep_of_the_same_turn():
    found = run(PROGRAM, {q("input"): Q1}, {q("input"): Q2}, {K("input"): K12}, substitute)
    sums = sum((2 * Q1 + n) * (2 * Q2 + n) for n in range(3))
    assert sp.expand(found["nngp"] - (K12 / 2 + sums) * (2 * Q2 + 3)) == 0
    assert found["ntk"] == 0
    assert sp.expand(found["variance"] - (2 * Q1 + 3)) == 0


def test_any_kind_of_numbers():
    def value(expr, known):
        return sp.lambdify(list(known), expr, "mpmath")(*known.values())

    found = run(PROGRAM, {q("input"): mp.mpf(1)}, {q("input"): mp.mpf(2)}, {K("input"): mp.mpf(3)}, value)
    assert found["nngp"] == (mp.mpf(3) / 2 + 2 * 4 + 3 * 5 + 4 * 6) * 7
    assert found["variance"] == 5


def test_walk_adds_what_statements_define():
    known = {q("input"): Q1}
    kept = walk(PROGRAM.per_sample, known, substitute)
    assert {s: sp.expand(v) for s, v in known.items()} == {q("input"): Q1, q("a"): 2 * Q1, q("c"): 2 * Q1 + 3}
    assert kept == {"c": [{q("before"): 2 * Q1 + n} for n in range(3)]}
