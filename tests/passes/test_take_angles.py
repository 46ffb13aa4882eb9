"""Arc-cosines of gaps on pixels: the text that becomes of each activation, and equal numbers."""

import mpmath as mp
import pytest
import sympy as sp

import ntkc
from ntkc import stax
from ntkc.gaussian.arc_cosine import ArcGap, ArcSlope, NearGap, NearSlope
from ntkc.gaussian.functions import CosineGap, Ratio
from ntkc.ir.program import Loop, lets

SHAPE = (4, 2)
MEAN = stax.GlobalAvgPool()
DOT = (((1,), (0,)), ((), ()))


def conv(b_std=None):
    return stax.Conv(4, (3,), None, "SAME", 1.2, b_std)


def stages(*layers):
    return [ntkc.compile(stax.serial(*layers), until=until, input_shape=SHAPE) for until in ("lower", "angles")]


def exprs(program):
    return {let.dst.name: let.expr for let in (*lets(program.per_sample), *lets(program.per_pair))}


def shown(expr):
    """The cosine of the one operand is written rho, its gap delta."""
    cosines = {a.args[0]: sp.Symbol("rho") for a in expr.atoms(CosineGap)}
    expr = expr.xreplace(cosines).xreplace({CosineGap(sp.Symbol("rho")): sp.Symbol("delta")})
    return str(expr).replace("sqrt(q1_conv1)*sqrt(q2_conv1)", "n1*n2")


@pytest.mark.parametrize(
    ("activation", "covariance", "tangent"),
    [
        (stax.Relu(), "n1*n2*(1 - ArcGap(delta))/2", "T_conv1*ArcSlope(delta)/2"),
        (stax.Abs(), "n1*n2*(1 - EvenGap(delta))", "T_conv1*EvenSlope(delta)"),
        (
            stax.LeakyRelu(0.5),
            "5*n1*n2*(-4*delta/5 - ArcGap(delta)/5 + 1)/8",
            "T_conv1*(ArcSlope(delta)/8 + 1/2)",
        ),
        (
            stax.ABRelu(-1, 2),
            "5*n1*n2*(4*delta/5 - 9*ArcGap(delta)/5 + 1)/2",
            "T_conv1*(9*ArcSlope(delta)/2 - 2)",
        ),
    ],
    ids=str,
)
def test_text(activation, covariance, tangent):
    _, after = stages(conv(0.1), activation, MEAN)
    found = {
        name: expr for name, expr in exprs(after).items() if name.split("_")[1].startswith(("relu", "abs", "l", "a"))
    }
    (w,) = (e for name, e in found.items() if name.startswith("w_"))
    (k,) = (e for name, e in found.items() if name.startswith("K_"))
    (t,) = (e for name, e in found.items() if name.startswith("T_"))
    assert (shown(w), shown(k), shown(t)) == (covariance, covariance, tangent)


def test_the_operand_is_one_cosine():
    _, after = stages(conv(0.1), stax.Relu(), MEAN)
    (gap,) = exprs(after)["K_relu1"].atoms(CosineGap)
    K, q1, q2 = sp.Symbol("K_conv1", real=True), *sp.symbols("q1_conv1 q2_conv1", positive=True)
    assert gap == CosineGap(K * Ratio(1, sp.sqrt(q1)) * Ratio(1, sp.sqrt(q2)))


@pytest.mark.parametrize(
    "layers",
    [
        [conv(), stax.Erf(), conv(), MEAN],
        [conv(), conv(), MEAN],
        [conv(), stax.Activation("max(x, 0) + sin(x)"), MEAN],
        [conv(), stax.Activation("max(x - 1, 0)"), MEAN],
        [conv(), stax.RectifiedMonomial(2), MEAN],
        [conv(), stax.Sign(), MEAN],
    ],
    ids=["erf", "linear", "a sum", "a shift", "degree two", "degree zero"],
)
def test_other_programs_stay(layers):
    before, after = stages(*layers)
    assert after is before or not any(e.has(CosineGap) for e in exprs(after).values())
    assert after.text() == before.text()


# What a second activation reads is not negative after the first one, or may be.
SECOND = {
    "relu": ([stax.Relu(), conv(0.1)], True),
    "abs": ([stax.Abs(), conv()], True),
    "a mixture that is not negative": ([stax.ABRelu(-1, 2), conv()], True),
    "a pool between": ([stax.Relu(), stax.AvgPool((2,)), conv()], True),
    "leaky": ([stax.LeakyRelu(0.5), conv()], False),
    "erf": ([stax.Erf(), conv()], False),
    "a sum with what may be negative": (
        [stax.FanOut(2), stax.parallel(stax.serial(stax.Relu(), conv()), stax.Identity()), stax.FanInSum()],
        False,
    ),
    "a bias alone": ([conv(0.3)], False),
}


@pytest.mark.parametrize(("between", "is_near"), SECOND.values(), ids=SECOND)
def test_a_correlation_known_to_be_nonnegative(between, is_near):
    _, after = stages(conv(0.1), *between, stax.Relu(), MEAN)
    last = max((n for n in exprs(after) if n.startswith("K_relu")), key=lambda n: int(n.removeprefix("K_relu")))
    kinds = [{type(a) for a in exprs(after)[last.replace("K", s)].atoms(ArcGap, ArcSlope)} for s in "KwT"]
    assert kinds == ([{NearGap}, {NearGap}, {NearSlope}] if is_near else [{ArcGap}, {ArcGap}, {ArcSlope}])


@pytest.mark.parametrize(
    ("first", "is_near"), [([stax.Relu()], True), ([stax.LeakyRelu(0.3)], False)], ids=["relu", "leaky"]
)
def test_loops_know_it_of_every_turn(first, is_near):
    _, after = stages(conv(0.1), *first, *[conv(), stax.Relu()] * 4, MEAN)
    (loop,) = (s for s in after.per_pair if isinstance(s, Loop))
    in_loop = {let.dst.kind: let.expr for let in loop.body if let.dst.node.startswith("relu")}
    if is_near:
        assert in_loop["K"].has(NearGap)
        assert in_loop["T"].has(NearSlope)
    # The loop's first turn reads what comes before it, so one of them may be negative.
    assert is_near or loop.count == 3 or not in_loop["K"].has(NearGap)


POINTS = [(1, 1, 1), (-1, 1, 1), (0, 1, 1), (0.999999, 1, 1), (-0.999999, 1, 1), (1e-12, 1e-6, 1e-6), (3e5, 1e8, 1e4)]


@pytest.mark.parametrize("activation", [stax.Relu(), stax.Abs(), stax.LeakyRelu(0.3), stax.ABRelu(-1, 2)], ids=str)
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_equal_numbers(activation, point):
    """To 30 digits, at the ends of the cosine, for small and for large variances."""
    k, q1, q2 = point
    values = {"K_conv1": k, "w_conv1": k, "q1_conv1": q1, "q2_conv1": q2, "T_conv1": 0.7}
    before, after = ({n: numbers(e, values) for n, e in exprs(p).items()} for p in stages(conv(), activation, MEAN))
    compared = [n for n in before if n[0] in "KTw" and before[n] is not None]
    assert len(compared) >= 3
    for name in compared:
        assert abs(before[name] - after[name]) <= mp.mpf(10) ** -30 * mp.sqrt(q1 * q2), name


def numbers(expr, values):
    """The value of an expression of the first activation, else None."""
    if not {s.name for s in expr.free_symbols} <= set(values) or not expr.free_symbols:
        return None
    exact = {s: sp.Rational(str(values[s.name])) for s in expr.free_symbols}
    plain = expr
    while any(hasattr(a, "explicit") for a in sp.preorder_traversal(plain)):
        plain = plain.replace(lambda e: hasattr(e, "explicit"), lambda e: e.explicit())
    with mp.workdps(50):
        return mp.mpf(sp.re(plain.xreplace(exact).evalf(45)))


@pytest.mark.parametrize(
    ("layer", "is_near"),
    [
        (stax.DotGeneral(rhs=[[1.0, 0.5], [2.0, 0.0], [0.0, 1.0], [3.0, 0.0]], dimension_numbers=DOT), True),
        (stax.DotGeneral(rhs=[[1.0, 0.5], [-2.0, 0.0], [0.0, 1.0], [3.0, 0.0]], dimension_numbers=DOT), False),
        (stax.ImageResize((-1, 7, -1), "linear"), True),
        (stax.ImageResize((-1, 7, -1), "cubic"), False),
    ],
    ids=["product", "product with a difference", "linear", "cubic"],
)
def test_correlations_after_a_map(layer, is_near):
    """Sums of nonnegative covariances are nonnegative; differences need not be."""
    _, after = stages(conv(), stax.Relu(), layer, stax.Dense(4), stax.Relu(), MEAN)
    second = next(expr for name, expr in exprs(after).items() if name == "K_relu2")
    assert second.has(NearGap) is is_near
