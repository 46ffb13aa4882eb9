"""Hyper-parameters become exact numbers."""

from fractions import Fraction

import numpy as np
import pytest
import sympy as sp

from ntkc.errors import InvalidInput
from ntkc.ir.exact import exact

W = sp.Symbol("w")
R = sp.Rational


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2, sp.Integer(2)),
        (0.1, R(1, 10)),
        (-0.25, R(-1, 4)),
        (1.5, R(3, 2)),
        (0.0, sp.Integer(0)),
        (1e-12, R(1, 10**12)),
        (1e30, sp.Integer(10**30)),
        (2**0.5, sp.sqrt(2)),
        (-(2**0.5), -sp.sqrt(2)),
        (0.5**0.5, sp.sqrt(2) / 2),
        (1.76**0.5, sp.sqrt(R(44, 25))),
        (np.float32(0.5), R(1, 2)),
        (np.float64(0.1), R(1, 10)),
        (np.int64(3), sp.Integer(3)),
        (np.array(0.1), R(1, 10)),
        (Fraction(1, 4), R(1, 4)),
        (W, W),
        (sp.sqrt(3), sp.sqrt(3)),
        (W * sp.Float(0.1), W / 10),
        (sp.Float(2**0.5), sp.sqrt(2)),
    ],
    ids=repr,
)
def test_exact(value, expected):
    assert exact(value) == expected


@pytest.mark.parametrize("value", [np.pi, 1 / 3, 2**0.5 + 1e-9, 1.23456789012345, 5e-324, 1.7976931348623157e308])
def test_other_floats_are_kept_to_the_bit(value):
    assert exact(value).is_Rational or exact(value).is_Pow
    assert float(exact(value)) == value


def test_every_short_decimal_and_root_reads_back():
    rng = np.random.default_rng(0)
    for value in [*np.round(rng.normal(size=50), 6), *np.sqrt(rng.integers(1, 1000, 50) / rng.integers(1, 30, 50))]:
        assert float(exact(float(value))) == value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "W_std = nan: hyper-parameters must be finite"),
        (float("inf"), "W_std = inf: hyper-parameters must be finite"),
        (np.float32("nan"), "must be finite"),
        (sp.nan, "must be finite and real"),
        (sp.oo * W, "must be finite and real"),
        (sp.I, "must be finite and real"),
        (True, "a real number or a sympy expression is needed"),
        ("1.0", "W_std = '1.0': a real number or a sympy expression is needed"),
        (None, "a real number or a sympy expression is needed"),
        (1j, "a real number or a sympy expression is needed"),
        ([1.0], "a real number or a sympy expression is needed"),
    ],
    ids=repr,
)
def test_errors(value, words):
    with pytest.raises(InvalidInput) as caught:
        exact(value, "W_std")
    assert words in str(caught.value)
