"""Root and Angle of a variance in noise, in the gap delta = 1 - k / (n1 n2) of the covariance that they read.

    r = n / m,  m = sqrt(q + noise),  s = sqrt(noise / 2) / m
    Angle(k, q1 + noise, q2 + noise) = ArcSine(delta, r1, r2, s1, s2)
    Root(k, q1 + noise, q2 + noise)  = m1 m2 Across(delta, r1, r2, s1, s2)

No product of variances is made: it would overflow, and (q1 + noise) (q2 + noise) - k^2 would cancel.
"""

from __future__ import annotations

import sympy as sp

from ntkc.gaussian.erf_gap import Across, ArcSine, SineDistance, SineGap, recognise_erf
from ntkc.gaussian.functions import Angle, ProductGap, Ratio, Root
from ntkc.ir.program import Let
from ntkc.ir.streams import Kind, Stream, variance
from ntkc.passes.recognise import erf_operand, symbols


def in_noise(expr: sp.Expr, normal: set[str]) -> sp.Expr:
    """The expression with Root and Angle of noisy variances in the gaps of nodes that have one."""
    found = {atom: _in_gap(atom, normal) for atom in expr.atoms(Root, Angle)}
    return expr.xreplace({atom: new for atom, new in found.items() if new is not None})


def own_in_noise(expr: sp.Expr) -> sp.Expr:
    """The same of a sample with itself: arcsin(q / (q + noise)) is arctan(q / sqrt(noise (noise + 2 q)))."""
    values: dict[sp.Expr, sp.Expr] = {}
    for atom in expr.atoms(Root, Angle):
        q, first, second = atom.args
        if isinstance(q, Stream) and first == second and _is_noise(first - q):
            side = sp.sqrt(first - q) * sp.sqrt(first + q)
            values[atom] = side if isinstance(atom, Root) else sp.atan(q / side)
    return expr.xreplace(values)


def erf_gap(let: Let, has_kinks: bool) -> sp.Expr:
    """The gap that such an erf makes of the gap of its operand.

    Args:
        has_kinks: a kink reads it, which needs the gap of parallel rows as exactly as that of near ones.
    """
    *shares, u1, u2 = _given(let)
    if has_kinks:
        return SineGap(*shares, u1, u2)
    w1, w2 = sp.sqrt(u1), sp.sqrt(u2)
    product_gap = SineDistance(*shares, u1 + u2) - (w1 - w2) ** 2 / 2
    return ProductGap(product_gap, Ratio(sp.S.One, w1) * Ratio(sp.S.One, w2))


def erf_distance(let: Let) -> list[Let]:
    """E = scale SineDistance and K = (q1 + q2) / 2 - E, of the gap of its operand."""
    *shares, u1, u2 = _given(let)
    found = recognise_erf(let.expr, *symbols(erf_operand(let)))
    assert found is not None
    q1, q2 = (variance(let.dst.node, side) for side in (1, 2))
    distance = let.dst.of(Kind.E)
    return [
        Let(distance, found.scale * SineDistance(*shares, u1 + u2), let.layer),
        Let(let.dst, (q1 + q2) / 2 - distance, let.layer),
    ]


def _given(let: Let) -> list[sp.Expr]:
    """delta, then r, s, t, u of both samples."""
    (angle,) = let.expr.atoms(Angle)
    node = angle.args[0].node
    sides = (_of_side(node, side, angle.args[1] - variance(node, 1)) for side in (1, 2))
    return [Stream(Kind.G, node), *(e for both in zip(*sides, strict=True) for e in both)]


def _in_gap(atom: sp.Expr, normal: set[str]) -> sp.Expr | None:
    k, first, second = atom.args
    if not isinstance(k, Stream) or k.kind is not Kind.K or k.node != k.other or k.node not in normal:
        return None
    q1, q2 = (variance(k.node, side) for side in (1, 2))
    noise = first - q1
    if second - q2 != noise or not _is_noise(noise):
        return None
    (r1, s1, *_), (r2, s2, *_) = (_of_side(k.node, side, noise) for side in (1, 2))
    given = Stream(Kind.G, k.node), r1, r2, s1, s2
    if isinstance(atom, Angle):
        return ArcSine(*given)
    return sp.sqrt(first) * sp.sqrt(second) * Across(*given)


def _is_noise(expr: sp.Expr) -> bool:
    """A positive number that is the same for all samples."""
    return bool(expr.is_positive) and not any(isinstance(s, Stream) for s in expr.free_symbols)


def _of_side(node: str, side: int, noise: sp.Expr) -> tuple[sp.Expr, sp.Expr, sp.Expr, sp.Expr]:
    """r, s, t and u of one sample of the pair."""
    q, n = variance(node, side), Stream(Kind.N, node, side=side)
    total = sp.sqrt(q + noise)
    t = 2 * q / noise / (sp.sqrt(1 + 2 * q / noise) + 1)
    return n / total, sp.sqrt(noise / 2) / total, t, own_in_noise(Angle(q, q + noise, q + noise))
