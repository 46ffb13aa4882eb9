"""Activations in distances:  r = n1 - n2,  delta = (E_v - r^2 / 2) / (n1 n2).

Relu, ...   E_u = total (r^2 / 2 + n1 n2 gap(delta)),    T_u = T_v slope(delta)
erf         E_u = scale AngleGap(E_v, D_v, ...),         T_u = T_v scale / (noise Span(E_v, D_v, ...))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import sympy as sp

from ntkc.gaussian.arc_cosine import Mixture
from ntkc.gaussian.erf_gap import AngleGap, ErfLike, Span
from ntkc.gaussian.functions import ProductGap, Ratio
from ntkc.ir.streams import SAMPLE, Kind, Stream, variance
from ntkc.passes.gaps.parts import both_variances, distance_of, norms


@dataclass(frozen=True)
class Bends:
    """How activations read distances.

    Attributes:
        nonnegative: covariances that cannot be negative.
        difference: q1 - q2 of a covariance's node, as exact as it is known.
        noises: what each pair of streams r, phi is made of: (operand, noise), by r.
    """

    nonnegative: set[Stream]
    difference: Callable[[Stream], sp.Expr]
    noises: dict[Stream, tuple[str, sp.Expr]] = field(default_factory=dict[Stream, tuple[str, sp.Expr]])

    def gap(self, v: Stream) -> sp.Expr:
        """1 - rho of an operand."""
        n1, n2 = norms(v.node)
        return ProductGap(product_gap(v), Ratio(sp.S.One, n1) * Ratio(sp.S.One, n2))

    def covariance(self, form: Mixture, v: Stream) -> sp.Expr:
        """total n1 n2 (1 - gap)."""
        n1, n2 = norms(v.node)
        return form.total * n1 * n2 * (1 - form.gap(self.gap(v), v in self.nonnegative))

    def distance(self, form: Mixture | ErfLike, v: Stream, u: Stream) -> sp.Expr:
        """Half the squared distance that an activation of v adds to u."""
        if isinstance(form, Mixture):
            n1, n2 = norms(v.node)
            gap = form.gap(self.gap(v), v in self.nonnegative)
            return form.total * ((n1 - n2) ** 2 / 2 + n1 * n2 * gap)
        r, phi = self.of_sample(form, v, u)
        first, second = ((s.on(1), s.on(2)) for s in (r, phi))
        return form.scale * AngleGap(*self._over_noise(form, v), *first, second[0] + second[1])

    def slope(self, form: Mixture | ErfLike, v: Stream) -> sp.Expr:
        """dV/dk."""
        if isinstance(form, Mixture):
            return form.slope(self.gap(v), v in self.nonnegative)
        return form.scale / form.noise / Span(*self._over_noise(form, v))

    def _over_noise(self, form: ErfLike, v: Stream) -> tuple[sp.Expr, ...]:
        return tuple(e / form.noise for e in (distance_of(v), self.difference(v), *both_variances(v.node)))

    def of_sample(self, form: ErfLike, v: Stream, u: Stream) -> tuple[Stream, Stream]:
        """r and phi of an erf of v in u."""
        taken = {key for key in self.noises if key.node == u.node and self.noises[key] != (v.node, form.noise)}
        other = u.node if not taken else v.node
        r = Stream(Kind.R, u.node, other, SAMPLE)
        self.noises[r] = (v.node, form.noise)
        return r, r.of(Kind.F)


def product_gap(v: Stream) -> sp.Expr:
    """n1 n2 - K = E - (n1 - n2)^2 / 2."""
    n1, n2 = norms(v.node)
    return distance_of(v) - (n1 - n2) ** 2 / 2


def norm_of(key: Stream) -> sp.Expr:
    """What a stream n is."""
    return sp.sqrt(variance(key.node))
