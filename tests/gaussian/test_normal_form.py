"""Expressions -> pieces and atoms that are the same function."""

import mpmath as mp
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkc.errors import NoClosedForm, NoInfiniteLimit
from ntkc.gaussian.normal_form import Atom, X, pieces
from ntkc.gaussian.parse import parse

PIECES = [
    ("relu(x)", "x", "0"),
    ("abs(x)", "x", "-x"),
    ("relu(relu(x))", "x", "0"),
    ("relu(-x)", "0", "-x"),
    ("abs(relu(x) + x)", "2*x", "-x"),
    ("sign(x)", "1", "-1"),
    ("sign(-2*x)", "-1", "1"),
    ("Heaviside(x)*x**2", "x**2", "0"),
    ("max(x, 0.1*x)", "x", "x/10"),
    ("max(x, -x, 0, 3*x)", "3*x", "-x"),
    ("min(x, 2*x)", "x", "2*x"),
    ("max(x, x**3 + x)", "x**3 + x", "x"),
    ("relu(x)**2 + abs(x)**3", "x**2 + x**3", "-x**3"),
    ("relu(erf(x))", "erf(x)", "0"),
    ("x*erf(x)", "x*erf(x)", "x*erf(x)"),
    ("relu(x*exp(-x**2))", "x*exp(-x**2)", "0"),
    ("sin(x)", "sin(x)", "sin(x)"),
]


@pytest.mark.parametrize(("text", "plus", "minus"), PIECES)
def test_pieces(text, plus, minus):
    found = pieces(parse(text))
    assert sp.simplify(found.plus - parse(plus)) == 0
    assert sp.simplify(found.minus - parse(minus)) == 0


ATOMS = [
    ("x**3", {(3, "0", "0", None): "1"}),
    ("relu(x)", {(1, "0", "0", None): "1/2", (1, "0", "0", 0): "1/2"}),
    ("abs(x)", {(1, "0", "0", 0): "1"}),
    ("x*erf(x)", {(1, "0", "0", "1/2"): "1"}),
    ("erf(-2*x)", {(0, "0", "0", "1/8"): "-1"}),
    ("erf(x/2) + erf(x/2)", {(0, "0", "0", "2"): "2"}),
    ("(x + 1)**2", {(2, "0", "0", None): "1", (1, "0", "0", None): "2", (0, "0", "0", None): "1"}),
    ("exp(-x**2)", {(0, "-1", "0", None): "1"}),
    ("exp(2*x + 1)", {(0, "0", "2", None): "E"}),
    ("cosh(x)", {(0, "0", "1", None): "1/2", (0, "0", "-1", None): "1/2"}),
    ("erfc(x)", {(0, "0", "0", None): "1", (0, "0", "0", "1/2"): "-1"}),
    ("relu(x) - x/2", {(1, "0", "0", 0): "1/2"}),
    ("x - x", {}),
]


@pytest.mark.parametrize(("text", "expected"), ATOMS)
def test_atoms(text, expected):
    found = pieces(parse(text)).atoms()
    keys = {
        Atom(n, sp.sympify(a), sp.sympify(b), None if noise is None else sp.sympify(noise)): sp.sympify(c)
        for (n, a, b, noise), c in expected.items()
    }
    assert set(found) == set(keys)
    for atom, c in keys.items():
        assert sp.simplify(found[atom] - c) == 0


def evaluated(atoms, x):
    """sum c x^n exp(a x^2 + b x) s(x), in mpmath."""
    total = mp.mpc(0)
    for atom, c in atoms.items():
        sign = (
            1 if atom.noise is None else mp.sign(x) if atom.noise == 0 else mp.erf(x / mp.sqrt(2 * mp.mpf(atom.noise)))
        )
        a, b, factor = (complex(v) for v in (atom.a, atom.b, c))
        total += factor * x**atom.n * mp.exp(a * x * x + b * x) * sign
    return total


GRAMMAR = st.recursive(
    st.sampled_from(["x", "1", "-0.5", "relu(x)", "abs(x)", "sign(x)", "x**2", "max(x, 0.2*x)"]),
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda parts: f"({' '.join(parts)})"),
    max_leaves=5,
)


@given(GRAMMAR, st.floats(0.1, 3), st.sampled_from([-1, 1]))
@settings(max_examples=60, deadline=None)
def test_atoms_are_the_function(text, size, sign):
    f, x = parse(text), sign * size
    expected = float(f.xreplace({X: sp.Float(x)}))
    assert abs(evaluated(pieces(f).atoms(), x) - expected) <= 1e-9 * (1 + abs(expected))


@pytest.mark.parametrize("text", ["x*sin(x)", "exp(-x**2)*cos(2*x)", "gelu(x)", "sinh(x/2)", "relu(x)*exp(-x**2/3)"])
@pytest.mark.parametrize("x", [-1.3, 0.4])
def test_smooth_atoms_are_the_function(text, x):
    expected = complex(parse(text).xreplace({X: sp.Float(x)}))
    assert abs(evaluated(pieces(parse(text)).atoms(), x) - expected) <= 1e-12


def test_derivative_leaves_jumps_out():
    assert pieces(sp.sign(X)).derivative().atoms() == {}
    assert pieces(sp.Abs(X)).derivative().atoms() == {Atom(0, sp.S.Zero, sp.S.Zero, sp.S.Zero): 1}


@pytest.mark.parametrize(("text", "answer"), [("relu(x)", True), ("sign(x)", False), ("1 + abs(x)", True), ("x", True)])
def test_is_continuous(text, answer):
    assert pieces(parse(text)).is_continuous is answer


@pytest.mark.parametrize("text", ["relu(x - 1)", "abs(x**2 - 1)", "max(x, 1)", "min(max(x, -1), 2)*x", "relu(-x - 2)"])
def test_tails(text):
    """f = the piece next to 0, plus every change between 0 and x."""
    f, found = parse(text), pieces(parse(text))
    for x in map(sp.Rational, ("-3", "-3/2", "-1/4", "1/4", "3/2", "3")):
        changes = (t.change for t in found.tails if t.edge * x > 0 and abs(x) > abs(t.edge))
        total = (found.plus if x > 0 else found.minus) + sp.Add(*changes)
        assert sp.expand(total).xreplace({X: x}) == f.xreplace({X: x})


def test_polynomials_are_known():
    assert pieces(parse("(x + 1)**3")).is_polynomial
    assert pieces(parse("abs(x)**2")).is_polynomial
    assert not any(pieces(parse(t)).is_polynomial for t in ("abs(x)", "exp(x)", "relu(x - 1)"))


REFUSED = [
    ("relu(x**3 - 1)", NoClosedForm, "no quadratic of x"),
    ("relu(sin(x))", NoClosedForm, "no quadratic of x"),
    ("atan(x)", NoClosedForm, "no closed form is known for its factor"),
    ("sqrt(abs(x))", NoClosedForm, "no closed form"),
    ("exp(x**2/2)", NoInfiniteLimit, "infinite for large variances"),
]


@pytest.mark.parametrize(("text", "error", "message"), REFUSED)
def test_refused(text, error, message):
    with pytest.raises(error, match=message):
        pieces(parse(text)).atoms()


def test_piecewise():
    assert pieces(sp.Piecewise((X, X > 0), (0, True))) == pieces(parse("relu(x)"))
    with pytest.raises(NoClosedForm, match="write Piecewise with Max, Min, Abs or sign"):
        pieces(sp.Piecewise((X, X > 1), (0, True)))
