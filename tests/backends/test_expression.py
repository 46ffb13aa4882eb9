"""sympy  ->  text that JAX runs: the text, and equal numbers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp
from jax import lax

from ntkc import runtime
from ntkc.backends.expression import HEADS, jax_text, number, written
from ntkc.errors import UnsupportedExpr
from ntkc.gaussian.functions import Angle, Root
from ntkc.networks.arrays import function_of

a, b = sp.symbols("a b", positive=True)
k = sp.Symbol("k", real=True)
R = sp.Rational

TABLE = [
    (a, "a"),
    (sp.Integer(2), "2"),
    (R(1, 4), "0.25"),
    (R(1, 3), "1/3"),
    (R(-2, 3), "-2/3"),
    (R(123456789, 1000000007), repr(123456789 / 1000000007)),
    (sp.pi, "pi"),
    (sp.E, repr(math.e)),
    (sp.Float("0.1"), "0.1"),
    (sp.sqrt(2), repr(2**0.5)),
    (a + b, "a + b"),
    (a - b, "a - b"),
    (1 - a, "1 - a"),
    (a / 2, "a/2"),
    (3 * a / 4, "3*a/4"),
    (a / b, "a/b"),
    (1 / a, "1/a"),
    (1 / (a + b), "1/(a + b)"),
    (a**2, "a**2"),
    (a**-2, "1/(a**2)"),
    (sp.sqrt(a), "safe_sqrt(a)"),
    (1 / sp.sqrt(a), "1/safe_sqrt(a)"),
    (a / sp.pi, "a/pi"),
    (2 * a / sp.pi, "2*a/pi"),
    (sp.sqrt(2) * a, f"{2**0.5!r}*a"),
    (sp.erf(a), "lax.erf(a)"),
    (sp.exp(-a), "jnp.exp(-a)"),
    (sp.sin(a) * sp.cos(b), "jnp.sin(a)*jnp.cos(b)"),
    (sp.Max(k, 0), "jnp.maximum(k, 0)"),
    (sp.Min(k, 0), "jnp.minimum(k, 0)"),
    (sp.Abs(k), "jnp.abs(k)"),
    (sp.sign(k), "jnp.sign(k)"),
    (Root(k, a, b), "root(k, a, b)"),
    (Angle(k, a, b), "angle(k, a, b)"),
    (sp.erf(sp.S(1) / 2), repr(math.erf(0.5))),
]

HARD = [
    a * b / (a + b) - k / 3,
    (a + b) ** 3 / (k**2 + 1),
    -(a - b) / (a + 2 * b),
    sp.sqrt(2) * a / (3 * sp.pi * b),
    sp.sqrt(3) / (a * (b + 1)),
    a ** R(3, 2) * b ** R(-3, 2),
    a**b / b**a,
    (-k) ** 2 - k**3,
    -(k**2),
    sp.exp(-a / 2) * sp.cosh(k) * sp.sinh(k) - sp.tanh(a) * sp.tan(k / 4),
    sp.asin(k / 5) + sp.atan(k) + sp.log(a + b) + sp.erfc(k),
    2 * sp.Max(k, 0, a - 2) - sp.Min(k, b, 1),
    sp.sqrt(4 * a * b - k**2 + 7) / (a - b / 7),
    a - (b - (k - a * (b - k))),
    (a / b) / (k + 5) / (a + R(1, 7)),
    R(2, 3) * sp.sqrt(5) ** 3 * (a + b) / sp.sqrt(a),
    sp.sign(k) * sp.Abs(k) ** 3,
    1 / (a * b) - 1 / (sp.pi * a**2),
    sp.Float("1e-20") * a + sp.Float("1e20") * b,
    R(10**12 + 1, 7) * a - R(1, 3) ** 20 * b,
]


def evaluate(expr, **values):
    names = {**vars(runtime), "jnp": jnp, "lax": lax, "jax": jax, "np": np, "pi": math.pi}
    return float(eval(jax_text(expr), names, {n: jnp.asarray(v) for n, v in values.items()}))


@pytest.mark.parametrize(("expr", "text"), TABLE, ids=[text for _, text in TABLE])
def test_text(expr, text):
    assert jax_text(expr) == text


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("expr", [*(e for e, _ in TABLE), *HARD], ids=str)
def test_values(expr):
    rng = np.random.default_rng(0)
    for _ in range(3):
        values = {"a": rng.uniform(1, 3), "b": rng.uniform(1, 3), "k": rng.uniform(-1, 1)}
        exact = expr.subs({s: sp.Float(values[s.name], 30) for s in expr.free_symbols}).evalf(30)
        np.testing.assert_allclose(evaluate(expr, **values), float(exact), rtol=1e-13)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (R(1, 2), "0.5"),
        (R(1, 3), "1/3"),
        (R(-1, 3), "-1/3"),
        (sp.Integer(-4), "-4"),
        (R(1, 10), "0.1"),
        (R(1, 1024), "0.0009765625"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


def test_numbers_read_back_as_the_nearest_float():
    rng = np.random.default_rng(0)
    for p, q in rng.integers(1, 10**6, (200, 2)):
        assert float(eval(number(R(int(p), int(q))))) == int(p) / int(q)


def test_parts_that_have_a_text_already():
    gap = Root(k, a, b)
    assert jax_text((gap * a + gap**2).xreplace({gap: written("r")})) == "a*r + r**2"


def test_symbols_and_numbers_by_name():
    text = jax_text(R(9, 4) * k + R(1, 100) - a, lambda s: f"p.{s}", {R(9, 4): "W_std**2", R(1, 100): "b_std**2"})
    assert text == "W_std**2*p.k + b_std**2 - p.a"


@pytest.mark.parametrize(
    "expr",
    [sp.gamma(a), sp.Function("f")(a), sp.Integral(a, (a, 0, 1)), sp.Piecewise((a, k > 0), (b, True)), sp.oo, sp.I * a],
)
def test_what_jax_does_not_know_is_refused(expr):
    with pytest.raises(UnsupportedExpr, match="JAX backend"):
        jax_text(expr)


def test_unknown_functions_list_the_known_ones():
    with pytest.raises(UnsupportedExpr, match="does not know gamma; it knows exp, Expm1, sin") as caught:
        jax_text(sp.gamma(a) + 1)
    assert all(head in str(caught.value) for head in HEADS)


@pytest.mark.usefixtures("x64")
def test_a_function_of_arrays():
    value = function_of(sp.sqrt(a) * Angle(k, a, b), (k, a, b))
    x = np.linspace(-1, 1, 5)
    np.testing.assert_allclose(value(x, 2.0, 3.0), 2**0.5 * np.arcsin(x / 6**0.5), rtol=1e-14, atol=1e-16)


def test_arguments_may_have_any_name():
    odd = sp.Symbol("two words"), sp.Symbol("jnp"), sp.Symbol("lambda")
    assert function_of(odd[0] + 2 * odd[1] * odd[2], odd)(1, 2, 3) == 13
