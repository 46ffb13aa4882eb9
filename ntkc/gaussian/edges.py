"""Moments of two correlated Gaussians with means and steps: kinks at any threshold, by Stein's lemma, exactly.

(u, v) ~ N((m1, m2), [[q1, k], [k, q2]]) and a noisy step s(u) = 2 P(u + sqrt(t) xi > 0); a threshold c of x is the
mean -c of u = x - c. With Q = q + t, S^2 = Q1 Q2 - k^2, values are linear in four transcendental functions,

    orthant  E[s(u) s(v)]               edge1  E[s'(u) s(v)] = 2 phi(m1; Q1) erfc((k m1 - Q1 m2) / (S sqrt(2 Q1)))
    edge2    E[s(u) s'(v)]              ridge  S^2 E[s'(u) s'(v)] = (2 / pi) S exp(-m' C^-1 m / 2)

with coefficients in the field QQ(q1, q2, k, t1, t2, m1, m2).
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from sympy import QQ
from sympy.polys.fields import field

Element = Any
"""An element of the field below."""

FIELD, q1, q2, k, t1, t2, m1, m2 = field("q1, q2, k, t1, t2, m1, m2", QQ)
ZERO, ONE = FIELD.zero, FIELD.one


class Normal(NamedTuple):
    """Means and covariance of (u, v), and the noise of both steps."""

    m1: Element
    m2: Element
    q1: Element
    q2: Element
    k: Element
    t1: Element
    t2: Element

    def swapped(self) -> Normal:
        """u and v exchanged."""
        return Normal(self.m2, self.m1, self.q2, self.q1, self.k, self.t2, self.t1)

    def at_edge(self) -> Normal:
        """(u, v) given that u plus its noise is 0."""
        total = self.q1 + self.t1
        pull = -self.m1 / total
        return Normal(
            self.m1 + self.q1 * pull,
            self.m2 + self.k * pull,
            self.q1 * self.t1 / total,
            self.q2 - self.k**2 / total,
            self.k * self.t1 / total,
            self.t1,
            self.t2,
        )


class OneStep(NamedTuple):
    """step E[s(u)] + edge E[s'(u)]."""

    step: Element
    edge: Element


class TwoSteps(NamedTuple):
    """orthant E[s s] + edge1 E[s' s] + edge2 E[s s'] + ridge E[s' s'] (the ridge not yet over S^2)."""

    orthant: Element
    edge1: Element
    edge2: Element
    ridge: Element

    def swapped(self) -> TwoSteps:
        """u and v exchanged."""
        return TwoSteps(self.orthant, self.edge2, self.edge1, self.ridge)


def _sum(terms: Any, kind: Any) -> Any:
    """Linear combination of tuples of one kind, weights first."""
    total = [ZERO] * len(kind._fields)
    for weight, values in terms:
        if weight:
            total = [a + weight * b for a, b in zip(total, values, strict=True)]
    return kind(*total)


@cache
def moment(n: int, m: int, c: Normal) -> Element:
    """E[u^n v^m]."""
    if n == 0 and m == 0:
        return ONE
    if n == 0:
        return moment(m, 0, c.swapped())
    total = c.m1 * moment(n - 1, m, c)
    if n > 1:
        total += c.q1 * (n - 1) * moment(n - 2, m, c)
    if m:
        total += c.k * m * moment(n - 1, m - 1, c)
    return total


@cache
def one_step(n: int, m: int, c: Normal) -> OneStep:
    """E[u^n v^m s(u)]."""
    if n == 0 and m == 0:
        return OneStep(ONE, ZERO)
    if n:
        terms = [
            (c.m1, one_step(n - 1, m, c)),
            (c.q1, OneStep(ZERO, moment(n - 1, m, c.at_edge()))),
            (c.q1 * (n - 1), one_step(n - 2, m, c) if n > 1 else ()),
            (c.k * m, one_step(n - 1, m - 1, c) if m else ()),
        ]
    else:
        terms = [
            (c.m2, one_step(0, m - 1, c)),
            (c.k, OneStep(ZERO, moment(0, m - 1, c.at_edge()))),
            (c.q2 * (m - 1), one_step(0, m - 2, c) if m > 1 else ()),
        ]
    return _sum(terms, OneStep)


@cache
def two_steps(n: int, m: int, c: Normal) -> TwoSteps:
    """E[u^n v^m s(u) s(v)]."""
    if n == 0 and m == 0:
        return TwoSteps(ONE, ZERO, ZERO, ZERO)
    if n == 0:
        return two_steps(m, 0, c.swapped()).swapped()
    terms = [
        (c.m1, two_steps(n - 1, m, c)),
        (c.q1 * (n - 1), two_steps(n - 2, m, c) if n > 1 else ()),
        (c.k * m, two_steps(n - 1, m - 1, c) if m else ()),
        (c.q1, _at_edge(n - 1, m, c)),
        (c.k, _at_edge(m, n - 1, c.swapped()).swapped()),
    ]
    return _sum(terms, TwoSteps)


def _at_edge(n: int, m: int, c: Normal) -> TwoSteps:
    """E[u^n v^m s'(u) s(v)]: a one-step moment of v under the posterior."""
    step, edge = one_step(m, n, c.at_edge().swapped())
    return TwoSteps(ZERO, step, ZERO, edge)


def slope(value: TwoSteps, c: Normal) -> TwoSteps:
    """d/dk, means and noise fixed, the ridge again not over S^2."""
    Q1, Q2 = c.q1 + c.t1, c.q2 + c.t2
    square = Q1 * Q2 - c.k**2
    form = Q2 * c.m1**2 - 2 * c.k * c.m1 * c.m2 + Q1 * c.m2**2
    ridge = value.ridge.diff(k) + value.orthant
    ridge -= (value.edge1 * (Q2 * c.m1 - c.k * c.m2) + value.edge2 * (Q1 * c.m2 - c.k * c.m1)) / square
    ridge += value.ridge * ((c.k + c.m1 * c.m2) / square - c.k * form / square**2)
    return TwoSteps(value.orthant.diff(k), value.edge1.diff(k), value.edge2.diff(k), ridge)


def slope_of_one(value: OneStep) -> OneStep:
    """d/dk: neither E[s(u)] nor E[s'(u)] depends on k."""
    return OneStep(value.step.diff(k), value.edge.diff(k))
