"""Elementwise layers in a row become one expression."""

import numpy as np
import pytest
import sympy as sp

import ntkc
from ntkc import stax
from ntkc.ir.graph import op_of, operands, ordered
from ntkc.ir.value import variable
from ntkc.layers.pointwise import Pointwise

D, R = stax.Dense, stax.Relu
U = variable("dense1")
RELU = sp.Max(U, 0)


def branches(*parts):
    return stax.serial(stax.FanOut(len(parts)), stax.parallel(*parts), stax.FanInSum())


def fused(*layers):
    return ntkc.compile(stax.serial(*layers), until="fuse")


def kinds(graph):
    return [type(op_of(graph, n)).__name__ for n in ordered(graph)]


def expressions(graph):
    return [op_of(graph, n).expr for n in ordered(graph) if isinstance(op_of(graph, n), Pointwise)]


@pytest.mark.parametrize(
    ("layers", "expr"),
    [
        ([R()], RELU),
        ([R(), R()], RELU),
        ([R(), stax.Identity(), R(), stax.Flatten()], RELU),
        ([R(), stax.Monomial(2)], RELU**2),
        ([stax.Monomial(2), R()], U**2),
        ([stax.Erf(), stax.Erf(b=2.0)], sp.erf(2 * sp.erf(U))),
        ([stax.Sin(), stax.Monomial(1)], sp.sin(U)),
        ([stax.Monomial(2), stax.Monomial(2)], U**4),
        ([stax.LeakyRelu(0.5), stax.Polynomial((1, 2))], 2 * RELU + sp.Min(U, 0) + 1),
        ([branches(R(), stax.Identity())], RELU + U),
        ([branches(R(), R())], 2 * RELU),
        ([branches(R(), stax.Monomial(3)), stax.Monomial(2)], (RELU + U**3) ** 2),
        ([stax.Monomial(0)], sp.Integer(1)),
    ],
    ids=str,
)
def test_one_expression(layers, expr):
    graph = fused(D(4), *layers, D(1))
    assert kinds(graph) == ["Input", "Dense", "Pointwise", "Dense"]
    (found,) = expressions(graph)
    assert sp.expand(found - expr) == 0


@pytest.mark.parametrize(
    ("layers", "left"),
    [
        ([D(4), stax.Identity(), D(1)], ["Input", "Dense", "Dense"]),
        ([stax.Identity(), D(4), stax.Flatten(), stax.Identity()], ["Input", "Dense"]),
        ([stax.Identity()], ["Input"]),
        ([D(4), stax.Monomial(1), D(1)], ["Input", "Dense", "Dense"]),
        ([D(4), R()], ["Input", "Dense", "Pointwise"]),
        (
            [D(4), branches(D(4), D(4)), R(), D(1)],
            ["Input", "Dense", "Dense", "Dense", "FanInSum", "Pointwise", "Dense"],
        ),
        ([D(4), branches(stax.Identity(), stax.Identity()), D(1)], ["Input", "Dense", "FanInSum", "Dense"]),
        ([D(4), branches(D(4), R()), D(1)], ["Input", "Dense", "Dense", "Pointwise", "Dense"]),
    ],
    ids=str,
)
def test_what_is_left(layers, left):
    assert kinds(fused(*layers)) == left


def test_two_fields_are_two_variables():
    graph = fused(D(4), branches(stax.serial(D(4), R()), R()), D(1))
    (node,) = (n for n in ordered(graph) if isinstance(op_of(graph, n), Pointwise))
    op = op_of(graph, node)
    assert operands(graph, node) == ("dense2", "dense1")
    assert op.variables == (variable("dense2"), variable("dense1"))
    assert op.expr == sp.Max(variable("dense2"), 0) + sp.Max(variable("dense1"), 0)


def test_a_node_used_twice_is_made_once():
    graph = fused(D(4), R(), branches(D(4), D(4)))
    assert kinds(graph) == ["Input", "Dense", "Pointwise", "Dense", "Dense", "FanInSum"]


def test_layers_are_named_in_the_label():
    graph = fused(D(4), R(), stax.Identity(), stax.Monomial(2), D(1))
    (op,) = (o for _, o in graph.nodes(data="op") if isinstance(o, Pointwise))
    assert op.label() == "Relu() -> Monomial(degree=2)"


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("layers", "same"),
    [
        ([R(), R()], [R()]),
        ([branches(R(), stax.Identity())], [stax.ABRelu(1.0, 2.0)]),
        ([branches(stax.Monomial(2), stax.Monomial(1))], [stax.Polynomial((0, 1, 1))]),
    ],
    ids=str,
)
def test_fused_layers_have_the_kernel_of_the_one_layer(layers, same, pair):
    get = ("nngp", "ntk")
    given, expected = (stax.serial(D(4, 1.2, 0.1), *middle, D(1))[2](*pair, get) for middle in (layers, same))
    np.testing.assert_allclose(given, expected, rtol=1e-10, atol=1e-12)


def test_the_order_of_relus_of_opposite_signs():
    """min(x, 0) of max(x, 0) is zero: sympy sees it in the expression."""
    graph = fused(D(4), R(), stax.ABRelu(1.0, 0.0), D(1))
    value = expressions(graph)[0].subs(U, 2)
    assert value == 0
