"""Smooth functions  ->  polynomials of known error: CPUs take 10-35 ns for arccos and arctan2, and 0.5 ns for these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath as mp

from ntkc.errors import NtkcError

DIGITS = 40
CHECKS = 200
HIGHEST_DEGREE = 40


class Fit(NamedTuple):
    """Coefficients of 1, t, t^2, ..., and the largest relative error on the interval, before rounding."""

    coefficients: tuple[float, ...]
    error: float


def fit(function: Callable[[Any], Any], low: float, high: float, tolerance: float) -> Fit:
    """Interpolation at Chebyshev nodes, in 40 digits, of the least degree with relative error below the tolerance.

    The error is the largest found at points that interlace the nodes, where the interpolation error peaks.

    Raises:
        NtkcError: no degree up to HIGHEST_DEGREE is enough.
    """
    with mp.workdps(DIGITS):
        for degree in range(2, HIGHEST_DEGREE + 1):
            coefficients = _interpolation(function, low, high, degree)
            error = _largest_error(function, coefficients, low, high)
            if error < tolerance:
                return Fit(tuple(float(c) for c in coefficients), float(error))
    raise NtkcError(
        f"no polynomial of degree {HIGHEST_DEGREE} reaches the relative error {tolerance} on [{low}, {high}]"
    )


def _interpolation(function: Callable[[Any], Any], low: float, high: float, degree: int) -> list[Any]:
    n = degree + 1
    nodes = [mp.cos(mp.pi * (2 * i + 1) / (2 * n)) for i in range(n)]
    points = [low + (high - low) * (1 + x) / 2 for x in nodes]
    system = mp.matrix(n, n)
    for i, t in enumerate(points):
        for j in range(n):
            system[i, j] = t**j
    return list(mp.lu_solve(system, mp.matrix([function(t) for t in points])))


def _largest_error(function: Callable[[Any], Any], coefficients: list[Any], low: float, high: float) -> Any:
    grid = [low + (high - low) * (1 - mp.cos(mp.pi * i / CHECKS)) / 2 for i in range(CHECKS + 1)]
    return max(abs(mp.polyval(coefficients[::-1], t) / function(t) - 1) for t in grid)


def _acos_over_root(t: Any) -> Any:
    """acos(1 - t) / (pi sqrt t)."""
    return mp.acos(1 - t) / (mp.pi * mp.sqrt(t)) if t else mp.sqrt(2) / mp.pi


def _gap_over_acos(t: Any) -> Any:
    """S with 1 - kappa1(1 - t) = t - p t S,  p = acos(1 - t) / pi;  kappa1(-(1-t)) = p t S."""
    if t == 0:
        return mp.mpf(2) / 3
    theta = mp.acos(1 - t)
    return (mp.sin(theta) - theta * mp.cos(theta)) / (theta * t)


def _atan_over_z(z2: Any) -> Any:
    """atan(z) / z as a function of z^2."""
    z = mp.sqrt(z2)
    return mp.atan(z) / z if z2 else mp.mpf(1)


def _over_sine(x2: Any) -> Any:
    """(x / sin(x) - 1) / x^2 as a function of x^2."""
    with mp.workdps(2 * DIGITS):
        x = mp.sqrt(x2)
        return (x / mp.sin(x) - 1) / x2 if x2 else mp.mpf(1) / 6


TARGETS: dict[str, Callable[[Any], Any]] = {
    "ARCCOS": _acos_over_root,
    "GAP": _gap_over_acos,
    "ARCTAN": _atan_over_z,
    "OVER_SINE": _over_sine,
}
"""Each table of the emitted source, as a function on [0, 1]."""

TOLERANCES = {
    ("ARCCOS", "float32"): 3e-8,
    ("ARCCOS", "float64"): 6e-17,
    ("GAP", "float32"): 8e-8,  # it scales a term of at most a third of delta
    ("GAP", "float64"): 6e-17,
    ("ARCTAN", "float32"): 3e-8,
    ("ARCTAN", "float64"): 6e-17,
    ("OVER_SINE", "float32"): 3e-8,
    ("OVER_SINE", "float64"): 6e-17,
}
"""Largest relative error asked of each table for each working precision."""


def fit_table(name: str, dtype: str) -> Fit:
    """The polynomial of a named function for a working precision, derived anew; ntkc/runtime/tables.py stores it."""
    return fit(TARGETS[name], 0.0, 1.0, TOLERANCES[name, dtype])


def main() -> None:
    """Print the tables of ntkc/runtime/tables.py: `python -m ntkc.gaussian.polynomials`."""
    fits = {key: fit_table(*key) for key in TOLERANCES}
    for name in TARGETS:
        print(f"{name} = {{")
        for dtype in ("float32", "float64"):
            print(f'    "{dtype}": (')
            for c in fits[name, dtype].coefficients:
                print(f"        {c!r},")
            print("    ),")
        print("}")
    print("ERRORS = {")
    for (name, dtype), found in fits.items():
        print(f'    ("{name}", "{dtype}"): {found.error:.1e},')
    print("}")


if __name__ == "__main__":
    main()
