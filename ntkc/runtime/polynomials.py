"""Polynomials with coefficients for each precision."""

from __future__ import annotations

from typing import Any

from jax import Array

from ntkc.runtime.tables import Table


def polynomial(table: Table, t: Array) -> Array:
    """c[0] + c[1] t + c[2] t^2 + ... by pairs (Estrin), coefficients for the precision of t."""
    c: list[Any] = list(table[t.dtype.name])
    while len(c) > 1:
        c = [c[i] + c[i + 1] * t if i + 1 < len(c) else c[i] for i in range(0, len(c), 2)]
        t = t * t
    return c[0]
