"""Moments of two correlated Gaussians with signs, by Stein's lemma, exactly.

(u, v) ~ N(0, [[q1, k], [k, q2]]), and a noisy sign s_t(u) = E sign(u + sqrt(t) xi), xi ~ N(0, 1), of threshold zero:
t = 0 is sign(u), and erf(alpha u) = s_t(u) with t = 1 / (2 alpha^2). All values lie in the field QQ(q1, q2, k, t1, t2).
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from sympy import QQ
from sympy.polys.fields import field

Element = Any
"""An element of the field below (sympy gives it no public type)."""

FIELD, q1, q2, k, t1, t2 = field("q1, q2, k, t1, t2", QQ)


class Covariance(NamedTuple):
    """[[q1, k], [k, q2]] with entries in the field."""

    q1: Element
    q2: Element
    k: Element

    def given_sign_edge(self, t: Element) -> Covariance:
        """Covariance of (u, v) given that u plus noise of variance t is zero."""
        total = self.q1 + t
        return Covariance(self.q1 * t / total, self.q2 - self.k**2 / total, self.k * t / total)

    def swapped(self) -> Covariance:
        """The same with u and v exchanged."""
        return Covariance(self.q2, self.q1, self.k)


PLAIN = Covariance(q1, q2, k)


class PairMoment(NamedTuple):
    """(2/pi) (angle * arcsin(k/sqrt((q1+t1)(q2+t2))) + root / S),  S^2 = (q1+t1)(q2+t2) - k^2."""

    angle: Element
    root: Element


@cache
def moment(n: int, m: int, c: Covariance) -> Element:
    """E[u^n v^m]:  q1 (n-1) E[u^(n-2) v^m] + k m E[u^(n-1) v^(m-1)]."""
    if (n + m) % 2:
        return FIELD.zero
    if n == 0 and m == 0:
        return FIELD.one
    if n == 0:
        return c.q2 * (m - 1) * moment(0, m - 2, c)
    first = c.q1 * (n - 1) * moment(n - 2, m, c) if n > 1 else FIELD.zero
    return first + (c.k * m * moment(n - 1, m - 1, c) if m else FIELD.zero)


@cache
def one_sign_moment(n: int, m: int, c: Covariance, t: Element) -> Element:
    """C in E[u^n v^m s_t(u)] = C sqrt(2/pi) / sqrt(q1 + t); zero unless n + m is odd."""
    if (n + m) % 2 == 0:
        return FIELD.zero
    edge = c.given_sign_edge(t)
    if m == 0:
        lower = c.q1 * (n - 1) * one_sign_moment(n - 2, 0, c, t) if n > 1 else FIELD.zero
        return lower + c.q1 * moment(n - 1, 0, edge)
    lower = c.q2 * (m - 1) * one_sign_moment(n, m - 2, c, t) if m > 1 else FIELD.zero
    mixed = n * one_sign_moment(n - 1, m - 1, c, t) if n else FIELD.zero
    return lower + c.k * (mixed + moment(n, m - 1, edge))


@cache
def two_sign_moment(n: int, m: int, c: Covariance, s1: Element, s2: Element) -> PairMoment:
    """E[u^n v^m s_s1(u) s_s2(v)] as a PairMoment; zero unless n + m is even."""
    if (n + m) % 2:
        return PairMoment(FIELD.zero, FIELD.zero)
    if n == 0 and m == 0:
        return PairMoment(FIELD.one, FIELD.zero)
    if n == 0:
        return two_sign_moment(m, 0, c.swapped(), s2, s1)
    angle, root = FIELD.zero, c.q1 * _edge_u(n - 1, m, c, s1, s2) + c.k * _edge_v(n - 1, m, c, s1, s2)
    for weight, i, j in ((c.q1 * (n - 1), n - 2, m), (c.k * m, n - 1, m - 1)):
        if weight:
            lower = two_sign_moment(i, j, c, s1, s2)
            angle, root = angle + weight * lower.angle, root + weight * lower.root
    return PairMoment(angle, root)


def slope(moment: PairMoment, s1: Element, s2: Element) -> PairMoment:
    """d/dk of a PairMoment of PLAIN:  A' arcsin + (A + B' + B k / S^2) / S."""
    determinant = (q1 + s1) * (q2 + s2) - k**2
    root = moment.angle + moment.root.diff(k) + moment.root * k / determinant
    return PairMoment(moment.angle.diff(k), root)


def _edge_u(n: int, m: int, c: Covariance, s1: Element, s2: Element) -> Element:
    """E[u^n v^m s1'(u) s2(v)] in units of (2/pi) / S."""
    return one_sign_moment(m, n, c.given_sign_edge(s1).swapped(), s2)


def _edge_v(n: int, m: int, c: Covariance, s1: Element, s2: Element) -> Element:
    """E[u^n v^m s1(u) s2'(v)] in units of (2/pi) / S."""
    return one_sign_moment(n, m, c.swapped().given_sign_edge(s2).swapped(), s1)
