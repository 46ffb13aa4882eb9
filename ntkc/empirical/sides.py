"""Theta(x1, x2) = J1 J2^T in two steps: what each sample makes on its own, and the kernel of pairs of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ntkc.empirical.axes import Pairing

Function = Callable[[Any, Any], Any]
"""Parameters and a sample -> one array."""


@dataclass(frozen=True, eq=False)
class Pair:
    """f1 and f2 at the same parameters, and the types of a sample of each."""

    f1: Function
    f2: Function
    params: Any
    sample1: Any
    sample2: Any


@dataclass(frozen=True, eq=False)
class Sides:
    """`left` and `right` make something of a sample, `product` makes the kernel of that.

    The kernel of many samples is that of stacked results, with a pairing whose first axis is that of samples.
    """

    left: Callable[[Any], Any]
    right: Callable[[Any], Any]
    product: Callable[[Any, Any, Pairing], Any]
