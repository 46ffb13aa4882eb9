"""Polynomials that change at steps, and their derivatives as distributions:

    f(x) = base(x) + sum_i P_i(y) Theta_i(y) + sum_j sum_d C_jd N_j^(d)(y),   y = x - edge

Theta = P(side (y + sqrt(noise) xi) > 0), a step outwards from 0, and N the density of that noise: a delta function
where there is none. Both are closed under derivatives and multiplication by x.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from math import factorial
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

Coefficients = tuple[float, ...]
Places = tuple[tuple[float, float, Coefficients], ...]
"""(edge, noise, coefficients) of each step: of 1, y, y^2, ...; or of each pulse: of N, N', N'', ..."""


class Distribution(NamedTuple):
    """base, steps and pulses of the formula above."""

    base: Coefficients
    steps: Places = ()
    pulses: Places = ()

    @property
    def order(self) -> int:
        """How many derivatives leave pulses alone."""
        return max([len(self.base), *(len(c) for _, _, c in self.steps)])


def outward(edge: float) -> int:
    """Where a step leads: away from 0, up where it stands there."""
    return -1 if edge < 0 else 1


def plus(a: Sequence[float], b: Sequence[float]) -> Coefficients:
    """Sums of coefficients."""
    n = max(len(a), len(b))
    return tuple(x + y for x, y in zip([*a, *[0.0] * (n - len(a))], [*b, *[0.0] * (n - len(b))], strict=True))


def multiple(c: float, a: Sequence[float]) -> Coefficients:
    """c a."""
    return tuple(c * x for x in a) if c else ()


def merged(places: Sequence[tuple[float, float, Sequence[float]]]) -> Places:
    """One entry for each edge and noise; none where all is 0."""
    total: dict[tuple[float, float], Coefficients] = {}
    for edge, noise, c in places:
        total[edge, noise] = plus(total.get((edge, noise), ()), c)
    return tuple((*place, c) for place, c in total.items() if any(c))


def slope_of_powers(c: Sequence[float]) -> Coefficients:
    """P'."""
    return tuple(n * v for n, v in enumerate(c))[1:]


def times_argument(c: Sequence[float], noise: float) -> Coefficients:
    """y N^(d) = -noise N^(d + 1) - d N^(d - 1)."""
    above = (0.0, *(-noise * v for v in c)) if noise else ()
    return plus(above, [-(d + 1) * v for d, v in enumerate(c[1:])])


def pulses_of_powers(c: Sequence[float], noise: float) -> Coefficients:
    """P(y) N(y) in N, N', N'', ..."""
    total: Coefficients = ()
    for v in reversed(c):
        total = plus(times_argument(total, noise), (v,))
    return total


@functools.cache
def derivative_of(f: Distribution) -> Distribution:
    """f'."""
    steps = merged([(t, noise, slope_of_powers(c)) for t, noise, c in f.steps])
    made = [(t, noise, multiple(outward(t), pulses_of_powers(c, noise))) for t, noise, c in f.steps]
    moved = [(t, noise, (0.0, *c)) for t, noise, c in f.pulses]
    return Distribution(slope_of_powers(f.base), steps, merged([*made, *moved]))


@functools.cache
def times_x(f: Distribution) -> Distribution:
    """x f(x)."""
    base = (0.0, *f.base) if f.base else ()
    steps = [(t, noise, plus(multiple(t, c), (0.0, *c))) for t, noise, c in f.steps]
    pulses = [(t, noise, plus(multiple(t, c), times_argument(c, noise))) for t, noise, c in f.pulses]
    return Distribution(base, merged(steps), merged(pulses))


def derivatives(f: Distribution, count: int) -> list[Distribution]:
    """f, f', ..., `count` of them."""
    made = [f]
    while len(made) < count:
        made.append(derivative_of(made[-1]))
    return made


def bell(t: float, q: Array) -> Array:
    """The density of N(0, q) at t."""
    return jnp.exp(-t * t / (2 * q)) * lax.rsqrt(2 * jnp.pi * q)


def mean_of(f: Distribution, q: Array) -> Array:
    """E[f(u)], u ~ N(0, q), q > 0."""
    total = jnp.zeros_like(q)
    for n, c in enumerate(f.base):
        if c and n % 2 == 0:
            total += c * factorial(n) / (2 ** (n // 2) * factorial(n // 2)) * q ** (n // 2)
    for t, noise, c in f.steps:
        total += sum(v * moment for v, moment in zip(c, step_moments(t, noise, len(c), q), strict=True) if v)
    for t, noise, c in f.pulses:
        total += sum(v * moment for v, moment in zip(c, pulse_moments(t, q + noise, len(c)), strict=True) if v)
    return total


def step_moments(t: float, noise: float, count: int, q: Array) -> list[Array]:
    """E[y^n Theta], y = u - t, by Stein's lemma, n < count."""
    whole, side = q + noise, outward(t)
    edge = bell(t, whole)
    at_edge = [edge, -t * noise / whole * edge]  # E[y^n N(y)]
    moments = [lax.erfc(abs(t) * lax.rsqrt(2 * whole)) / 2]
    for n in range(1, count):
        at_edge.append(-t * noise / whole * at_edge[n] + n * (q * noise / whole) * at_edge[n - 1])
        below = (n - 1) * moments[n - 2] if n > 1 else 0
        moments.append(q * (below + side * at_edge[n - 1]) - t * moments[n - 1])
    return moments


def pulse_moments(t: float, whole: Array, count: int) -> list[Array]:
    """E[N^(d)(u - t)] = (-d/dt)^d of the density of u and the noise at t, d < count."""
    moments = [bell(t, whole)]
    for d in range(1, count):
        moments.append((t * moments[d - 1] - (d - 1) * (moments[d - 2] if d > 1 else 0)) / whole)
    return moments
