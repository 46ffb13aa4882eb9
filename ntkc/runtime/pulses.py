"""E[f(u) h(v)] of sums of pulses: densities of two noisy Gaussians, and their derivatives."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from ntkc.runtime.distributions import Distribution


class Pairs(NamedTuple):
    """What the integrand reads of two Gaussians of variances q = s^2 whose covariance has the given sign."""

    q1: Array
    q2: Array
    s1: Array
    s2: Array
    sign: Array


class Pulse(NamedTuple):
    """sum_de c[d][e] (-d/dt1)^d (-d/dt2)^e of the density of two noisy Gaussians at (t1, t2)."""

    t1: float
    t2: float
    noise1: float
    noise2: float
    c: tuple[tuple[float, ...], ...]


@functools.cache
def products_of_pulses(f: Distribution, h: Distribution) -> tuple[Pulse, ...]:
    """All pairs; (t1, t2) and (-t1, -t2) have one density."""
    found: dict[tuple[float, ...], np.ndarray] = {}
    for t1, noise1, c1 in f.pulses:
        for t2, noise2, c2 in h.pulses:
            c, place = np.outer(c1, c2), (t1, t2)
            if place < (-t1, -t2):
                c, place = c * np.fromfunction(lambda d, e: (-1.0) ** (d + e), c.shape), (-t1, -t2)
            key = (*(v + 0.0 for v in place), noise1, noise2)
            old = found.get(key, np.zeros((1, 1)))
            shape = np.maximum(old.shape, c.shape)
            first, second = (np.pad(v, [(0, n - m) for n, m in zip(shape, v.shape, strict=True)]) for v in (old, c))
            found[key] = first + second
    return tuple(Pulse(*key, tuple(map(tuple, c.tolist()))) for key, c in found.items() if c.any())  # type: ignore[arg-type]


def hermite(c: tuple[tuple[float, ...], ...], a: Array, b: Array, over: tuple[Any, Any, Any]) -> Any:
    """sum_de c[d][e] H[d, e],  H[d + 1, e] = a H[d, e] - over1 d H[d - 1, e] + cross e H[d, e - 1]."""
    over1, cross, over2 = over
    table: dict[tuple[int, int], Any] = {(0, 0): 1.0}
    for e in range(1, len(c[0])):
        table[0, e] = b * table[0, e - 1] - (over2 * (e - 1) * table[0, e - 2] if e > 1 else 0)
    for d in range(1, len(c)):
        for e in range(len(c[0])):
            table[d, e] = a * table[d - 1, e]
            table[d, e] -= over1 * (d - 1) * table[d - 2, e] if d > 1 else 0
            table[d, e] += cross * e * table[d - 1, e - 1] if e else 0
    return sum(v * table[d, e] for d, row in enumerate(c) for e, v in enumerate(row) if v)


def density_at(pulse: Pulse, of: Pairs, x: Array) -> Array:
    """What a Pulse is where the covariance is sign s1 s2 (1 - x); 0 where it is singular."""
    t1, t2, noise1, noise2, c = pulse
    scale = of.s1 * of.s2
    square = of.q1 * of.q2 * (x * (2 - x))
    if noise1 or noise2:
        square += of.q1 * noise2 + of.q2 * noise1 + noise1 * noise2
    inverse = 1 / jnp.where(square > 0, square, 1)
    total = jnp.where(square > 0, jnp.sqrt(inverse) / (2 * jnp.pi), 0)
    k = of.sign * scale * (1 - x)
    if t1 or t2:
        apart = of.s2 * t1 - of.sign * of.s1 * t2
        form = apart * apart + 2 * t1 * t2 * of.sign * scale * x + noise2 * t1 * t1 + noise1 * t2 * t2
        total *= jnp.exp(-form * inverse / 2)
    if len(c) == len(c[0]) == 1:
        return c[0][0] * total
    apart = of.s2 * t1 - of.sign * of.s1 * t2
    a = (of.s2 * apart + (of.sign * scale * t2) * x + noise2 * t1) * inverse
    b = (-of.sign * of.s1 * apart + (of.sign * scale * t1) * x + noise1 * t2) * inverse
    return total * hermite(c, a, b, ((of.q2 + noise2) * inverse, k * inverse, (of.q1 + noise1) * inverse))


def densities_at(pulses: tuple[Pulse, ...], of: Pairs, x: Array) -> Array:
    """E[f(u) h(v)] of sums of pulses."""
    return sum((density_at(p, of, x) for p in pulses), jnp.zeros_like(x))
