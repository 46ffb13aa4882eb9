"""Stored tables are what the fits give, and their stated errors hold."""

import random

import mpmath as mp
import pytest

from ntkc.errors import NtkcError
from ntkc.gaussian import polynomials
from ntkc.gaussian.polynomials import DIGITS, TARGETS, TOLERANCES, fit, fit_table
from ntkc.runtime import tables

TABLES = {(name, dtype): (getattr(tables, name)[dtype], error) for (name, dtype), error in tables.ERRORS.items()}
"""Coefficients and stated error of each table that runs."""

REDERIVED = [key for key in TABLES if key[1] == "float32"] + [
    ("ARCCOS", "float64"),
    pytest.param(("GAP", "float64"), marks=pytest.mark.slow),
    pytest.param(("ARCTAN", "float64"), marks=pytest.mark.slow),
]


def test_every_target_has_its_tables():
    assert set(TABLES) == set(TOLERANCES) == {(name, dtype) for name in TARGETS for dtype in ("float32", "float64")}


@pytest.mark.parametrize("key", REDERIVED)
def test_stored_table_is_the_fit(key):
    coefficients, error = TABLES[key]
    again = fit_table(*key)
    assert again.coefficients == coefficients
    assert again.error == pytest.approx(error, rel=0.1)


def elementary(name, t):
    """The targets by their formulas, at interior points."""
    angle = mp.acos(1 - t)
    if name == "ARCCOS":
        return angle / (mp.pi * mp.sqrt(t))
    if name == "GAP":
        return (mp.sin(angle) - angle * mp.cos(angle)) / (angle * t)
    if name == "OVER_SINE":
        with mp.workdps(2 * DIGITS):
            x = mp.sqrt(t)
            return (x / mp.sin(x) - 1) / t
    return mp.atan(mp.sqrt(t)) / mp.sqrt(t)


@pytest.mark.parametrize("key", TABLES)
def test_error_holds_at_random_points(key):
    """The stated error, and the rounding of the coefficients to float64."""
    coefficients, error = TABLES[key]
    assert error < TOLERANCES[key]
    draw = random.Random(7)
    with mp.workdps(DIGITS):
        points = [mp.mpf(draw.random()) for _ in range(150)] + [mp.mpf(10) ** -e for e in range(1, 12)] + [mp.mpf(1)]
        for t in points:
            value = mp.polyval([mp.mpf(c) for c in coefficients[::-1]], t)
            rounding = 2**-53 * mp.fsum(abs(c) * t**i for i, c in enumerate(coefficients)) / abs(value)
            assert abs(value / elementary(key[0], t) - 1) <= 1.2 * error + rounding


@pytest.mark.parametrize("name", TARGETS)
def test_targets_at_zero_are_limits(name):
    with mp.workdps(DIGITS):
        assert mp.almosteq(TARGETS[name](mp.mpf(0)), elementary(name, mp.mpf(10) ** -18), 1e-9)


def test_fit_finds_the_least_degree():
    found = fit(lambda t: 1 + t + t**2, 0.0, 1.0, 1e-20)
    assert len(found.coefficients) == 3
    assert found.coefficients == pytest.approx((1, 1, 1))


def test_fit_says_what_it_could_not_reach(monkeypatch):
    monkeypatch.setattr(polynomials, "HIGHEST_DEGREE", 6)
    with pytest.raises(NtkcError, match="no polynomial of degree 6 reaches the relative error"):
        fit(lambda t: abs(t - 0.3) + 0.01, 0.0, 1.0, 1e-12)
