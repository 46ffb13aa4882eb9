"""make_op and labels: layers by name."""

import dataclasses
import inspect

import pytest
import sympy as sp

from ntkc.errors import InvalidGraph, UnknownName
from ntkc.ir.op import OPS, make_op, public_ops
from ntkc.layers.activations import Erf, Polynomial, Relu
from ntkc.layers.dense import Dense


def test_registry():
    assert public_ops()["Dense"] is Dense
    assert "Pointwise" in OPS
    assert "Port" in OPS
    assert not {"Pointwise", "Port", "Block"} & set(public_ops())
    assert not [name for name in OPS if name.startswith("_")]
    assert not [name for name, op in public_ops().items() if inspect.isabstract(op)]


def test_layers_are_frozen_values():
    assert Dense(3, 1.5) == Dense(3, 1.5)
    assert hash(Dense(3, 1.5)) == hash(Dense(3, 1.5))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Dense(3).out_dim = 4


@pytest.mark.parametrize(
    ("op", "label"),
    [
        (Dense(3), "Dense(out_dim=3)"),
        (Dense(3, 1.5, 0.0), "Dense(out_dim=3, W_std=1.5, b_std=0.0)"),
        (Dense(3, sp.Symbol("w")), "Dense(out_dim=3, W_std=w)"),
        (Relu(), "Relu()"),
        (Erf(b=2.0), "Erf(b=2.0)"),
        (Polynomial((1.0, 2.0)), "Polynomial(coef=(1.0, 2.0))"),
    ],
)
def test_labels_show_what_differs_from_the_defaults(op, label):
    assert op.label() == label


def test_make_op():
    assert make_op("Dense", {"out_dim": 3, "W_std": 1.5}) == Dense(3, 1.5)
    with pytest.raises(UnknownName, match=r"no layer 'Dens'; have .*Dense, "):
        make_op("Dens", {})
    with pytest.raises(UnknownName, match="no layer 'Pointwise'"):
        make_op("Pointwise", {})
    with pytest.raises(UnknownName, match=r"no field of Dense 'width'; have W_std, b_std, out_dim"):
        make_op("Dense", {"width": 3})
    with pytest.raises(UnknownName, match="no field of Relu 'a'; have no fields"):
        make_op("Relu", {"a": 3})
    with pytest.raises(InvalidGraph, match="its fields are out_dim, W_std"):
        make_op("Dense", {})


def test_equal_rules_have_equal_identities():
    assert Dense(3, 1.5).kernel_identity([7]) == Dense(9, sp.Rational(3, 2), 0.0).kernel_identity([8])
    assert Dense(3, 1.5).kernel_identity([7]) != Dense(3, 1.4).kernel_identity([7])
    standard = [Dense(3, parameterization="standard").kernel_identity([n]) for n in (7, 8)]
    assert standard[0] != standard[1]
