"""Values held against the types that layers declare."""

from dataclasses import fields
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp

from ntkc.errors import InvalidGraph
from ntkc.frontends.fields import checked_fields, describe, field_types, shown
from ntkc.ir.op import public_ops

CYCLE: list = []
CYCLE.append(CYCLE)

GOOD = [
    ("Dense", {"out_dim": np.int64(5)}, {"out_dim": 5}),
    ("Dense", {"W_std": np.float32(0.5)}, {"W_std": 0.5}),
    ("Dense", {"W_std": Fraction(1, 4)}, {"W_std": 0.25}),
    ("Dense", {"W_std": sp.sqrt(2), "b_std": None}, {"W_std": sp.sqrt(2), "b_std": None}),
    ("Dense", {"s": [1, 2]}, {"s": (1, 2)}),
    ("Polynomial", {"coef": [1, 2.0, sp.Symbol("c")]}, {"coef": (1, 2.0, sp.Symbol("c"))}),
    ("Activation", {"expr": "x"}, {"expr": "x"}),
]

BAD = [
    ("Dense", "out_dim", "512", "a whole number is needed"),
    ("Dense", "out_dim", 512.0, "a whole number is needed"),
    ("Dense", "out_dim", True, "a whole number is needed"),
    ("Dense", "out_dim", 2**70, "a whole number is needed"),
    ("Dense", "W_std", [1], "Dense(W_std=[1]): a finite number or a sympy expression"),
    ("Dense", "W_std", "w", "a finite number"),
    ("Dense", "W_std", None, "a finite number"),
    ("Dense", "W_std", float("nan"), "a finite number"),
    ("Dense", "W_std", np.array([1.0]), "a finite number"),
    ("Dense", "b_std", True, "or None is needed"),
    ("Dense", "parameterization", 1, "text is needed"),
    ("Dense", "s", [1], "a list of 2, each a whole number"),
    ("Dense", "s", (1, 2.5), "a list of 2"),
    ("Polynomial", "coef", 1, "a list of a finite number"),
    ("Polynomial", "coef", CYCLE, "a list of a finite number"),
    ("Polynomial", "coef", [False], "a list of a finite number"),
    ("Erf", "a", {}, "a finite number"),
    ("Activation", "expr", 3, "text or a sympy expression"),
]


@pytest.mark.parametrize(("op", "given", "made"), GOOD)
def test_values_that_fit_become_plain(op, given, made):
    checked = checked_fields(op, given)
    assert checked == made
    assert {k: type(v) for k, v in checked.items()} == {k: type(v) for k, v in made.items()}


@pytest.mark.parametrize(("op", "field", "value", "part"), BAD)
def test_values_that_do_not_fit(op, field, value, part):
    with pytest.raises(InvalidGraph) as caught:
        checked_fields(op, {field: value})
    assert part in str(caught.value)


@pytest.mark.parametrize("name", public_ops())
def test_types_of_every_layer_are_understood(name):
    for op in public_ops()[name].examples():
        given = {f.name: getattr(op, f.name) for f in fields(op)}
        assert checked_fields(name, given) == given
    for hint in field_types(name).values():
        assert "typing" not in describe(hint)
        assert "class" not in describe(hint)


def test_shown_is_short_for_every_value():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for value in (CYCLE, deep, 10**5000, "a" * 10**6):
        assert len(shown(value)) < 200
