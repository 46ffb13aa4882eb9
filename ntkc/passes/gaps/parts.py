"""What covariances and tangent kernels are made of: parts that bend one Gaussian each, and the rest.

y1 y2 (total n1 n2 (1 - gap) + 2 K_v + ...)    {K_u: Mixture},  rest 2 K_v + ...
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sympy as sp

from ntkc.gaussian.arc_cosine import Mixture, recognise, recognise_slope
from ntkc.gaussian.erf_gap import ErfLike, recognise_erf
from ntkc.gaussian.functions import Angle, Root
from ntkc.ir.maps import Mixed
from ntkc.ir.program import SAME_PIXEL, SAME_SAMPLE, Let
from ntkc.ir.streams import Kind, Stream, streams_in, variance


class Unknown(Exception):
    """No rule is known: the difference of variances and covariance must do."""


COVARIANCE = {Kind.K: Kind.E, Kind.W: Kind.J}
"""Covariances, and half the squared distances that are carried in their place."""
PLACES = {SAME_PIXEL: sp.S.One, SAME_SAMPLE: sp.S.One}
"""What stands around an entry, where it is one pixel of one sample with itself."""


def is_covariance(symbol: sp.Basic) -> bool:
    """A covariance of two pixels, of two samples or one."""
    return isinstance(symbol, Stream) and symbol.kind in COVARIANCE


def distance_of(key: Stream) -> Stream:
    """Half the squared distance of a covariance's node."""
    return key.of(COVARIANCE[key.kind])


def both_variances(node: str) -> tuple[Stream, Stream]:
    """q1 and q2."""
    return variance(node, 1), variance(node, 2)


def norms(node: str) -> tuple[Stream, Stream]:
    """n1 and n2."""
    return Stream(Kind.N, node, side=1), Stream(Kind.N, node, side=2)


def swapped(expr: sp.Expr) -> sp.Expr:
    """The same with both sides of the pair exchanged."""
    return expr.xreplace({s: s.on(3 - s.side) for s in streams_in(expr) if s.side in (1, 2)})


def on_side(expr: sp.Expr, side: int) -> sp.Expr | None:
    """The variance that a covariance is where both sides are one; None if it holds maps of pixels."""
    if expr.has(Mixed):
        return None
    values = {
        s: variance(s.node, side) if is_covariance(s) else s.on(side) for s in streams_in(expr) if s.kind is not Kind.T
    }
    return expr.xreplace({**values, **PLACES})


@dataclass(frozen=True)
class Factors:
    """constant * first * second * places * product(rest): first and second are of side 1 and 2 alone."""

    constant: sp.Expr
    first: sp.Expr
    second: sp.Expr
    places: sp.Expr
    rest: tuple[sp.Expr, ...]

    @property
    def is_mirrored(self) -> bool:
        """Both sides have the same factor."""
        return swapped(self.first) == self.second

    @property
    def is_scaled(self) -> bool:
        """A side has a factor of its own."""
        return self.first != 1 or self.second != 1


def factors_of(expr: sp.Expr) -> Factors:
    """The factors of a product, by what they read."""
    groups: dict[str, list[sp.Expr]] = {name: [] for name in ("constant", "1", "2", "places", "rest")}
    for f in sp.Mul.make_args(expr):
        groups[_group_of(f)].append(f)
    constant, first, second, places = (sp.Mul(*groups[name]) for name in ("constant", "1", "2", "places"))
    return Factors(constant, first, second, places, tuple(groups["rest"]))


def _group_of(factor: sp.Expr) -> str:
    symbols = streams_in(factor)
    if not symbols:
        return "places" if factor.free_symbols & PLACES.keys() else "constant"
    sides = {s.side if s.side in (1, 2) else 0 for s in symbols if not is_covariance(s)}
    is_sided = not any(map(is_covariance, symbols)) and sides in ({1}, {2}) and not factor.free_symbols & PLACES.keys()
    return str(sides.pop()) if is_sided else "rest"


@dataclass(frozen=True)
class Split:
    """scale1 scale2 (sum of forms of Gaussians + rest)."""

    bent: dict[Stream, Mixture | ErfLike]
    rest: sp.Expr


def split(expr: sp.Expr) -> Split | None:
    """A sum of activations of one Gaussian each, and what bends nothing; None if some part is not known."""
    if not expr.has(Root, Angle):
        return Split({}, expr)
    bent: dict[Stream, Mixture | ErfLike] = {}
    rest = sp.S.Zero
    for operands, part in _by_operand(sp.Add.make_args(sp.expand(expr))).items():
        if not part.has(Root, Angle):
            rest += part
            continue
        form = _form(part, operands)
        if form is None:
            return None
        bent[operands[0]] = form
    return Split(bent, rest)


def _by_operand(terms: Iterable[sp.Expr]) -> dict[tuple[Stream, ...], sp.Expr]:
    found: dict[tuple[Stream, ...], sp.Expr] = {}
    for term in terms:
        key = tuple(sorted((s for s in streams_in(term) if is_covariance(s)), key=str))
        found[key] = found.get(key, sp.S.Zero) + term
    return found


def _form(part: sp.Expr, operands: tuple[Stream, ...]) -> Mixture | ErfLike | None:
    if len(operands) != 1:
        return None
    q1, q2 = both_variances(operands[0].node)
    mixture = recognise(part, operands[0], q1, q2)
    return mixture if mixture is not None else recognise_erf(part, operands[0], q1, q2)


def split_of(let: Let) -> Split | None:
    """What a covariance is made of, but for factors of each side (masks)."""
    found = factors_of(let.expr)
    return split(sp.Mul(found.constant, found.places, *found.rest) if found.is_scaled else let.expr)


def bent_operands(let: Let) -> dict[Stream, Mixture | ErfLike]:
    """The activations in a covariance, by the Gaussian that each reads."""
    found = split_of(let) if let.dst.kind in COVARIANCE else None
    return found.bent if found else {}


def slopes(expr: sp.Expr) -> dict[Stream, sp.Expr] | None:
    """sum_v T_v f_v  ->  {T_v: f_v}; None for anything else."""
    tangents = [s for s in streams_in(expr) if s.kind is Kind.T]
    expanded = sp.expand(expr)
    parts = {t: expanded.coeff(t, 1) for t in sorted(tangents, key=str)}
    is_sum = sp.expand(expanded - sp.Add(*(t * f for t, f in parts.items()))) == 0
    return parts if is_sum and not any(s.kind is Kind.T for f in parts.values() for s in streams_in(f)) else None


def slope_mixture(factor: sp.Expr, operand: Stream) -> Mixture | None:
    """The slope of a degree-one activation of this Gaussian."""
    return recognise_slope(factor, operand, *both_variances(operand.node)) if factor.has(Angle) else None
