"""Maps of pixels in distances:  E -> A E, and what both sides do not share.

filter             A E,   E = (q1 + q2) / 2 where one pixel is outside of the image, whose q is 0
pool               A E - (s1 + s2) / 2,   s the same of a sample with itself at one place
others             A E
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import sympy as sp
from sympy.core.symbol import Str

from ntkc.gaussian.functions import Excess
from ntkc.ir.maps import (
    AxisMap,
    Framed,
    Local,
    Maps,
    Matrix,
    Mixed,
    Patch,
    Permuted,
    Pick,
    Place,
    Take,
    Total,
    Trace,
    Window,
    joint_map,
)
from ntkc.ir.program import SAME_PIXEL, SAME_SAMPLE
from ntkc.ir.streams import SAMPLE, Kind, Stream, streams_in
from ntkc.passes.gaps.parts import Unknown, is_covariance, on_side

ALIKE = (Patch, Pick, Place, Permuted, Take, Trace)
"""Both sides of an entry move together."""
APART = (Total, Window, Matrix)
"""They do not."""
HALVES = (sp.S.Half, sp.S.Half)
"""Of both variances, in a distance of which one side is 0."""
ROUNDING = 1e-9
"""Sums of weights that are equal may differ by this much."""


@dataclass(frozen=True)
class Mixes:
    """How maps act.

    Attributes:
        spreads: the covariance within a sample whose distance a stream s is made of, by that stream.
    """

    maps: dict[str, Maps]
    sizes: dict[str, tuple[int, ...]]
    spreads: dict[Stream, Mixed] = field(default_factory=dict[Stream, Mixed])

    def distance(self, expr: Mixed, inner: sp.Expr, u: Stream) -> sp.Expr:
        """E of maps applied to a covariance whose E is `inner`.

        Raises:
            Unknown: no rule is known.
        """
        name = str(expr.args[1])
        maps = self.maps[name]
        if all(isinstance(m, ALIKE) for m in maps):
            return Mixed(self._framed(expr, inner, HALVES), expr.args[1])
        if joint_map(maps) or not all(isinstance(m, APART) or m.is_identity for m in maps):
            raise Unknown
        if not all(m.is_identity or _is_even(m, n) for m, n in zip(maps, self.sizes[name], strict=True)):
            raise Unknown
        if any(not is_covariance(s) for s in streams_in(expr)):
            raise Unknown
        made = Mixed(inner, expr.args[1])
        if all(map(_is_of_one, maps)):
            return made
        return self._apart(expr, made, u)

    def _framed(self, expr: Mixed, inner: sp.Expr, weights: tuple[sp.Expr, sp.Expr]) -> sp.Expr:
        """`inner`, and a sum of q1 and q2 outside of an image if taps of the maps are there."""
        name = str(expr.args[1])
        pairs = list(zip(self.maps[name], self.sizes[name], strict=False))
        if not any(isinstance(m, Patch) and not isinstance(m, Local) and _has_outside(m, n) for m, n in pairs):
            return inner
        first, second = (w * q for w, q in zip(weights, self._variances(expr), strict=True))
        return Framed(inner, first, second)

    def _variances(self, expr: Mixed) -> list[sp.Expr]:
        found = [on_side(expr.args[0], side) for side in (1, 2)]
        if None in found:
            raise Unknown
        return found  # type: ignore[return-value]

    def _apart(self, expr: Mixed, made: sp.Expr, u: Stream) -> sp.Expr:
        taken = [s for s, e in self.spreads.items() if s.node == u.node and e.args[1] != expr.args[1]]
        s = Stream(Kind.Q, u.node, str(expr.args[1]) if taken else u.node, SAMPLE)
        within = {k: k.of(Kind.W) for k in streams_in(expr) if is_covariance(k)}
        self.spreads[s] = expr.xreplace(within)
        spread = (s.on(1) + s.on(2)) / 2
        together = self._together(str(expr.args[1]))
        if together:
            # |mean of x - y| <= mean of |x - y|: where pixels differ more than samples, rounding must not decide.
            return Excess(made, spread, Mixed(sp.sqrt(made.args[0]), Str(together)) ** 2)
        one = SAME_PIXEL * (SAME_SAMPLE if u.kind is Kind.K else 1)
        return Excess(made, spread) * (1 - one)

    def _together(self, name: str) -> str:
        """The name of maps that take means over the same pixels on both sides; none where their weights differ."""
        made = [_same_pixels(m, n) for m, n in zip(self.maps[name], self.sizes[name], strict=True)]
        if any(m is None for m in made):
            return ""
        self.maps[f"{name}_same"], self.sizes[f"{name}_same"] = tuple(m for m in made if m), self.sizes[name]
        return f"{name}_same"

    def difference(self, expr: Mixed, inner: sp.Expr) -> sp.Expr | None:
        """q1 - q2 of maps applied to what has the difference `inner`; None if it is not theirs alone."""
        if not all(isinstance(m, ALIKE) and not isinstance(m, (Local, Place)) for m in self.maps[str(expr.args[1])]):
            return None
        return Mixed(self._framed(expr, inner, (sp.S.One, sp.S.NegativeOne)), expr.args[1])


def _has_outside(m: Patch, count: int) -> bool:
    return not all(map(all, m.is_inside(count)))


def _same_pixels(m: AxisMap, count: int) -> AxisMap | None:
    """The mean over the pixels that a pool reads, which moves on both sides at once."""
    if isinstance(m, Total):
        return Trace(m.scale)
    if not isinstance(m, Window):
        return m if m.is_identity else None
    made = Patch(m.window, m.stride, m.low, m.high, m.wraps)
    return made if {c * m.window for c in m.scales} == {1.0} and not _has_outside(made, count) else None


def _is_of_one(m: AxisMap) -> bool:
    """Each pixel of the result is one of the operand."""
    return m.is_identity or (isinstance(m, Window) and m.window == 1)


def _is_even(m: AxisMap, count: int) -> bool:
    """All places have the same sum of weights."""
    if isinstance(m, Total):
        return True
    if isinstance(m, Window):
        inside = Patch(m.window, m.stride, m.low, m.high, m.wraps).is_inside(count)
        sums = [c * sum(row) for c, row in zip(m.scales, inside, strict=True)]
    else:
        assert isinstance(m, Matrix)
        sums = [sum(row) for row in m.rows]
    return max(sums) - min(sums) <= ROUNDING * max(map(abs, sums))


def reads_local(expr: sp.Expr, maps: Mapping[str, Maps]) -> bool:
    """Some filter has weights of its own at each place."""
    return any(isinstance(m, Local) for a in expr.atoms(Mixed) for m in maps[str(a.args[1])])


def of_places(expr: sp.Expr, maps: Mapping[str, Maps]) -> list[Mixed]:
    """The parts that are put next to each other."""
    found = [a for a in expr.atoms(Mixed) if any(isinstance(m, Place) for m in maps[str(a.args[1])])]
    return sorted(found, key=str)
