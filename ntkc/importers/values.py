"""What a value of a model is while it is read: constant, a weight, a function of a node, or on its way to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp

from ntkc.empirical.views import View
from ntkc.gaussian.normal_form import X
from ntkc.importers.axes import Groups


@dataclass(frozen=True, eq=False)
class Constant:
    """Numbers known now."""

    array: Any


@dataclass(frozen=True)
class Weight:
    """`factor` times entries of a parameter, plus a number."""

    view: View
    factor: sp.Expr = sp.S.One
    offset: sp.Expr = sp.S.Zero

    def scaled(self, factor: sp.Expr) -> Weight:
        """A multiple."""
        return Weight(self.view, self.factor * factor, self.offset * factor)


@dataclass(frozen=True)
class Field:
    """f(u) of each entry u of a node; moments over channels may stand in f, too."""

    node: int
    groups: Groups
    expr: sp.Expr = X


@dataclass(frozen=True)
class Gained:
    """weight * f + shift, which is a layer once f is a function of entries, not of their means alone."""

    weight: Weight
    by: Field
    place: str
    shift: Weight | None = None


@dataclass(frozen=True)
class Tokens:
    """Whole numbers of an input, each of which stands for a row of an embedding."""

    source: int
    groups: Groups


@dataclass(frozen=True)
class Logits:
    """`factor` times a sum over `size` channels of products of two independent nodes."""

    size: int
    shape: tuple[int, ...]
    factor: sp.Expr = sp.S.One


HIGHEST_MOMENT = 2


class Moment(sp.Function):
    """Moment(node, k, axes): the mean of u^k over these axes of a node."""

    nargs = 3
    is_real = True


Value = Constant | Weight | Field | Gained | Tokens | Logits
