"""Value: what a tensor of the network is in the infinite-width limit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import sympy as sp

from ntkc.ir.streams import Reserved


class Law(Enum):
    """The four kinds of limit; a dual activation needs GAUSSIAN or POINTWISE operands."""

    GIVEN = "given"
    GAUSSIAN = "Gaussian"
    POINTWISE = "pointwise"
    OTHER = "other"


@dataclass(frozen=True)
class Value:
    """`expr` of Gaussian variables, one symbol a Gaussian node.

    Attributes:
        law: kind of limit.
        expr: the entry as a sympy expression; a node that is its own variable holds `variable(node)`.
        fields: fresh nodes (and inputs) it depends on linearly or pointwise. Disjoint fields mean independence.
        trained: has weights below it, so that its tangent kernel is not zero.
        centered: its mean is known to be 0.
        opaque: a pointwise value whose function is not known, that of a given Kernel: no function of it is, either.
        gains: parameters of each channel that stand in `expr`, and the numbers that they begin as.
        alike: all its features have one distribution, which those of flattened pixels or joined channels have not.
    """

    law: Law
    expr: sp.Expr
    fields: frozenset[str]
    trained: bool
    centered: bool = False
    alike: bool = True
    opaque: bool = False
    gains: tuple[tuple[sp.Symbol, sp.Expr], ...] = ()

    @property
    def has_mean(self) -> bool:
        """Its mean may differ from 0."""
        return not (self.centered or self.law is Law.GAUSSIAN)


def variable(node: str) -> sp.Symbol:
    """The symbol that stands for one entry of a node."""
    return Reserved(f"u_{node}", real=True)
