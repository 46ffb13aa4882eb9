"""What goes wrong for users: the class of the error, and that its message names what was given and a remedy."""

import inspect
import math

import networkx as nx
import numpy as np
import pytest
import sympy as sp

import ntkc
from ntkc import errors, stax
from ntkc.errors import (
    InvalidGraph,
    InvalidInput,
    NoClosedForm,
    NoInfiniteLimit,
    NtkcError,
    ShapeMismatch,
    UnknownName,
    UnsupportedExpr,
    unknown,
)

D, R = stax.Dense, stax.Relu
X = np.ones((2, 3))


def graph(*edges, **nodes):
    """graph("a b", "b c", a="Input", b=dict(op="Dense", out_dim=2)): compiled."""
    network = nx.MultiDiGraph()
    for name, op in nodes.items():
        network.add_node(name, **({"op": op} if isinstance(op, str) else op))
    network.add_edges_from(edge.split() for edge in edges)
    return ntkc.compile(network)


def dense(**fields):
    return {"op": "Dense", "out_dim": 2, **fields}


def of_activation(text):
    return ntkc.compile(stax.serial(D(3), stax.Activation(text), D(1)))


def of_symbol(name):
    return ntkc.compile(stax.serial(D(3), R(), D(1, sp.Symbol(name))))


def kernel_fn(*layers):
    return stax.serial(*layers)[2]


def two():
    return kernel_fn(stax.parallel(D(2), D(2)), stax.FanInSum())


def branches(left, right):
    return stax.serial(D(3), stax.FanOut(2), stax.parallel(left, right), stax.FanInSum())


TABLE = {
    "cycle": (
        lambda: graph("a b", "b c", "c b", a="Input", b="FanInSum", c=dense()),
        InvalidGraph,
        ("cycle", "'b'", "'c'", "recurrence"),
    ),
    "several outputs": (
        lambda: graph("a b", "a c", a="Input", b=dense(), c=dense()),
        InvalidGraph,
        ("2 outputs", "'b'", "'c'", "FanInSum"),
    ),
    "several inputs": (
        lambda: graph("a c", "b c", a="Input", b="Input", c="FanInSum")((X, X)),
        NtkcError,
        ("input1", "input2", "not derived", "Dense"),
    ),
    "several outputs of layers": (
        lambda: ntkc.compile(stax.serial(D(3), stax.FanOut(2))),
        InvalidGraph,
        ("several outputs", "FanInSum"),
    ),
    "relu on the input": (
        lambda: ntkc.compile(stax.serial(R(), D(1))),
        NoInfiniteLimit,
        ("Relu", "not Gaussian", "put a Dense layer before it"),
    ),
    "raw input added to a nonlinearity": (
        lambda: ntkc.compile(
            stax.serial(stax.FanOut(2), stax.parallel(stax.serial(D(3), R()), stax.Identity()), stax.FanInSum())
        ),
        NoInfiniteLimit,
        ("faninsum1", "raw input", "Dense"),
    ),
    "relu(exp(x) - 2)": (lambda: of_activation("relu(exp(x) - 2)"), NoClosedForm, ("exp(x) - 2",)),
    "slow series": (lambda: of_activation("tanh(x)*relu(x - 1)"), NoClosedForm, ("tanh(x)*Max(0, x - 1)", "series")),
    "unknown function": (lambda: of_activation("foo(x)"), UnsupportedExpr, ("unknown function 'foo'", "erf", "relu")),
    "unknown name": (lambda: of_activation("y*x"), UnsupportedExpr, ("'y'", "have x")),
    "unknown layer": (lambda: graph("a b", a="Input", b="Dens"), UnknownName, ("'Dens'", "Dense, ")),
    "unknown field": (
        lambda: graph("a b", a="Input", b=dense(w_std=1.0)),
        UnknownName,
        ("'w_std'", "W_std", "out_dim", "node 'b'"),
    ),
    "missing field": (lambda: graph("a b", a="Input", b="Dense"), InvalidGraph, ("node 'b'", "out_dim")),
    "Dense(0)": (lambda: D(0), InvalidInput, ("Dense", "out_dim", "0")),
    "Dense(1.5)": (lambda: D(1.5), InvalidInput, ("Dense", "1.5", "whole number")),
    "W_std nan": (lambda: ntkc.compile(D(2, math.nan)), InvalidInput, ("W_std", "nan", "finite")),
    "b_std infinity": (lambda: ntkc.compile(D(2, 1.0, math.inf)), InvalidInput, ("b_std", "inf", "finite")),
    "W_std text": (lambda: ntkc.compile(D(2, "1.0")), InvalidInput, ("W_std", "'1.0'", "real number")),
    "alpha nan": (lambda: ntkc.compile(stax.serial(D(2), stax.LeakyRelu(math.nan))), InvalidInput, ("alpha", "nan")),
    "widths of a sum": (
        lambda: ntkc.compile(branches(D(3), D(4))),
        ShapeMismatch,
        ("faninsum1", "(3,)", "(4,)", "one shape"),
    ),
    "parallel without FanOut": (
        lambda: ntkc.compile(stax.serial(D(3), stax.parallel(D(3), D(3)), stax.FanInSum())),
        InvalidGraph,
        ("parallel of 2", "got 1", "FanOut(2)"),
    ),
    "parallel of another number": (
        lambda: ntkc.compile(stax.serial(D(3), stax.FanOut(3), stax.parallel(D(3), D(3)), stax.FanInSum())),
        InvalidGraph,
        ("parallel of 2", "got 3", "FanOut(2)"),
    ),
    "branches into one layer": (
        lambda: ntkc.compile(stax.serial(D(3), stax.FanOut(2), R(), stax.FanInSum())),
        InvalidGraph,
        ("Relu", "one input", "2 branches", "FanInSum"),
    ),
    "until": (lambda: ntkc.compile(D(2), until="optimise"), UnknownName, ("'optimise'", "lower", "emit")),
    "get": (lambda: ntkc.compile(D(2))(X, None, "ntkk"), UnknownName, ("'ntkk'", "nngp, ntk")),
    "get of kernel_fn": (lambda: kernel_fn(D(2))(X, None, "cov3"), UnknownName, ("'cov3'", "cov1, cov2")),
    "symbol lambda": (lambda: of_symbol("lambda"), InvalidInput, ("'lambda'", "such as w")),
    "symbol x1": (lambda: of_symbol("x1"), InvalidInput, ("'x1'", "such as w")),
    "pattern": (lambda: kernel_fn(D(2))(X, pattern=X), InvalidInput, ("pattern", "without an Aggregate layer")),
    "list of inputs": (lambda: kernel_fn(D(2))([X] * 2), InvalidGraph, ("Dense", "one input", "got 2")),
    "one array for two inputs": (lambda: two()(X), InvalidGraph, ("parallel of 2", "got 1")),
    "three arrays for two inputs": (lambda: two()((X, X, X)), InvalidGraph, ("parallel of 2", "got 3")),
    "another array as x2": (lambda: two()((X, X), X), InvalidInput, ("x1 and x2", "nested")),
    "other numbers of samples": (lambda: two()((X, X[:1])), ShapeMismatch, ("[2, 1] samples", "same number")),
    "a second input of other features": (
        lambda: two()((X, X), (X, X[:, :2])),
        ShapeMismatch,
        ("x2[1] has 2 features", "3 expected"),
    ),
    "one shape for two inputs": (
        lambda: ntkc.compile(two(), input_shape=(3,)),
        InvalidInput,
        ("1 shape(s)", "2 input(s)"),
    ),
    "no network": (lambda: ntkc.compile(3), InvalidGraph, ("int", "stax layers", "networkx", "JSON")),
    "an undirected graph": (lambda: ntkc.compile(nx.Graph()), InvalidGraph, ("Graph", "DiGraph")),
    "an empty graph": (lambda: ntkc.compile(nx.DiGraph()), InvalidGraph, ("empty", "Input")),
    "a node without op": (lambda: graph("a b", a="Input", b={}), InvalidGraph, ("node 'b'", "`op`", "Relu")),
    "a finite network of symbols": (
        lambda: stax.serial(D(2, sp.Symbol("w")))[1]([((X.T @ X)[:, :2], None)], X),
        InvalidInput,
        ("W_std = w", "numbers"),
    ),
    "an infinite expectation": (lambda: of_activation("exp(x**2)"), NtkcError, ("exp",)),
}  # fmt: skip


@pytest.mark.parametrize(("action", "error", "words"), TABLE.values(), ids=TABLE)
def test_message(action, error, words):
    with pytest.raises(error) as caught:
        action()
    message = str(caught.value)
    assert isinstance(caught.value, NtkcError)
    assert [word for word in words if word not in message] == [], message
    assert len(message) < 700
    assert "\n" not in message


def test_every_error_is_an_ntkc_error_and_a_builtin_one():
    for name, value in vars(errors).items():
        is_own = inspect.isclass(value) and value.__module__ == errors.__name__
        if is_own and value is not NtkcError and not issubclass(value, Warning):
            assert issubclass(value, NtkcError), name
            assert issubclass(value, (ValueError, ImportError, NotImplementedError, RuntimeError)), name
            assert inspect.getdoc(value), name


def test_unknown_lists_the_known_names_in_order():
    assert str(unknown("layer", "Dens", ["Relu", "Abs", "Dense"])) == "no layer 'Dens'; have Abs, Dense, Relu"
