"""Kernels of one pair of samples through a network spec (see reference/build.py), in 40 digits, by textbook formulas.

Nothing of ntkc is used: this is what tests compare ntkc with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np

DIGITS = 40
Dual = tuple[Callable[..., Any], Callable[..., Any]]
"""(q1, q2, k) -> E[f(u) f(v)]  and  (q1, q2, k) -> E[f'(u) f'(v)]."""


class Pair(NamedTuple):
    """Variances of the two samples, their covariance, their tangent kernel, and the width of the layer."""

    q1: Any
    q2: Any
    k: Any
    t: Any
    width: Any

    def through(self, dual: Dual) -> Pair:
        """After a nonlinearity."""
        value, slope = dual
        q1, q2 = value(self.q1, self.q1, self.q1), value(self.q2, self.q2, self.q2)
        k = value(self.q1, self.q2, self.k)
        return Pair(q1, q2, k, self.t * slope(self.q1, self.q2, self.k), self.width)

    def plus(self, other: Pair) -> Pair:
        """The sum with an independent branch."""
        return Pair(*(a + b for a, b in zip(self[:4], other[:4], strict=True)), self.width)


def input_pair(x1: np.ndarray, x2: np.ndarray) -> Pair:
    """K = x1 . x2 / d of the very floats given."""
    a, b = ([mp.mpf(float(v)) for v in x] for x in (x1, x2))
    return Pair(*(mp.fdot(u, v) / len(u) for u, v in ((a, a), (b, b), (a, b))), mp.mpf(0), len(a))


def kernels(spec: list[Any], x1: np.ndarray, x2: np.ndarray) -> Pair:
    """Output of the network for two samples."""
    with mp.workdps(DIGITS):
        return forward(spec, input_pair(x1, x2))


def forward(spec: list[Any], pair: Any) -> Any:
    """A pair (or one for each branch) through a spec; branches are independent, or at most one is an identity."""
    name, *rest = spec
    if name == "serial":
        for layer in rest:
            pair = forward(layer, pair)
        return pair
    if name in ("repeat", "times"):
        for _ in range(rest[1]):
            pair = forward(rest[0], pair)
        return pair
    if name == "parallel":
        return [forward(layer, p) for layer, p in zip(rest, pair, strict=True)]
    constants = rest[0] if rest else {}
    if name == "FanOut":
        return [pair] * constants["num"]
    if name == "FanInSum":
        total = pair[0]
        for p in pair[1:]:
            total = total.plus(p)
        return total
    if name in ("Identity", "Flatten"):
        return pair
    return dense(pair, **constants) if name == "Dense" else pair.through(dual_of(name, constants))


def dense(
    p: Pair,
    out_dim: int,
    W_std: float = 1.0,
    b_std: float | None = None,
    parameterization: str = "ntk",
    s: Any = (1, 1),
) -> Pair:
    """Lee et al. 2018, Jacot et al. 2018; Sohl-Dickstein et al. 2020 for the standard parameterization."""
    # 2**0.5 means the root of 2; any other float means its decimal.
    w2 = mp.mpf(2) if W_std == 2**0.5 else mp.mpf(str(W_std)) ** 2
    b2 = mp.mpf(str(b_std or 0)) ** 2
    q1, q2, k = (w2 * v + b2 for v in p[:3])
    if parameterization == "ntk":
        return Pair(q1, q2, k, k + w2 * p.t, out_dim)
    tangent = mp.mpf(p.width) / s[0] * p.k + w2 * p.t + (b_std is not None)
    return Pair(q1, q2, k, tangent, out_dim * s[1])


def dual_of(name: str, constants: dict[str, Any]) -> Dual:
    """The dual activation of a named layer."""
    decimals = {key: mp.mpf(str(v)) if isinstance(v, float) else v for key, v in constants.items()}
    return DUALS[name](**decimals)


def root(q1: Any, q2: Any, k: Any) -> Any:
    """sqrt(q1 q2 - k^2)."""
    return mp.sqrt(max(q1 * q2 - k * k, mp.mpf(0)))


def half_line(q1: Any, q2: Any, k: Any) -> Any:
    """E[max(u, 0) max(v, 0)] (Cho and Saul 2009)."""
    r = root(q1, q2, k)
    return (r + k * (mp.pi - mp.atan2(r, k))) / (2 * mp.pi)


def both_positive(q1: Any, q2: Any, k: Any) -> Any:
    """P(u > 0, v > 0) (Sheppard 1899)."""
    return (mp.pi - mp.atan2(root(q1, q2, k), k)) / (2 * mp.pi)


def abrelu(a: Any, b: Any) -> Dual:
    """b relu(x) - a relu(-x)."""
    return (
        lambda q1, q2, k: (a * a + b * b) * half_line(q1, q2, k) - 2 * a * b * half_line(q1, q2, -k),
        lambda q1, q2, k: (a * a + b * b) * both_positive(q1, q2, k) + 2 * a * b * both_positive(q1, q2, -k),
    )


def erf(a: Any = 1, b: Any = 1, c: Any = 0) -> Dual:
    """Williams 1997."""

    def value(q1: Any, q2: Any, k: Any) -> Any:
        scale = mp.sqrt((1 + 2 * b * b * q1) * (1 + 2 * b * b * q2))
        return a * a * 2 / mp.pi * mp.asin(2 * b * b * k / scale) + c * c

    def slope(q1: Any, q2: Any, k: Any) -> Any:
        det = (1 + 2 * b * b * q1) * (1 + 2 * b * b * q2) - 4 * b**4 * k * k
        return a * a * b * b * 4 / mp.pi / mp.sqrt(det)

    return value, slope


def sine(a: Any = 1, b: Any = 1, c: Any = 0) -> Dual:
    """sin A sin B = (cos(A - B) - cos(A + B)) / 2, and E[cos w] = exp(-var / 2) cos(mean)."""

    def waves(q1: Any, q2: Any, k: Any, sign: int) -> Any:
        difference, total = (mp.exp(-b * b * (q1 + q2 + s * 2 * k) / 2) for s in (-1, 1))
        return a * a / 2 * (difference + sign * mp.cos(2 * c) * total)

    return lambda q1, q2, k: waves(q1, q2, k, -1), lambda q1, q2, k: b * b * waves(q1, q2, k, 1)


def exponential(a: Any = 1, b: Any = 1) -> Dual:
    """E[exp(b u + b v)] = exp(var / 2)."""

    def value(q1: Any, q2: Any, k: Any) -> Any:
        return a * a * mp.exp(b * b * (q1 + q2 + 2 * k) / 2)

    return value, lambda q1, q2, k: b * b * value(q1, q2, k)


def isserlis(i: int, j: int, q1: Any, q2: Any, k: Any) -> Any:
    """E[u^i v^j]: the sum over m pairs of one u and one v (Isserlis 1918)."""
    total = mp.mpf(0)
    for m in range(min(i, j) + 1):
        if (i - m) % 2 == 0 and (j - m) % 2 == 0:
            n1, n2 = (i - m) // 2, (j - m) // 2
            ways = (
                mp.factorial(i)
                * mp.factorial(j)
                / (mp.factorial(m) * mp.factorial(n1) * mp.factorial(n2) * 2 ** (n1 + n2))
            )
            total += ways * k**m * q1**n1 * q2**n2
    return total


def polynomial(coef: Any) -> Dual:
    """Sums of moments."""
    c = [mp.mpf(str(v)) for v in coef]
    derivative = [i * v for i, v in enumerate(c)][1:]

    def bilinear(weights: list[Any], q1: Any, q2: Any, k: Any) -> Any:
        pairs = [(i, j) for i, a in enumerate(weights) for j, b in enumerate(weights) if a and b]
        return mp.fsum(weights[i] * weights[j] * isserlis(i, j, q1, q2, k) for i, j in pairs)

    return lambda *args: bilinear(c, *args), lambda *args: bilinear(derivative, *args)


def gaussian(a: Any = 1, b: Any = -1) -> Dual:
    """a exp(b x^2): a Gaussian integral, and its derivative (Price 1958)."""

    def det(q1: Any, q2: Any, k: Any) -> Any:
        return (1 - 2 * b * q1) * (1 - 2 * b * q2) - 4 * b * b * k * k

    return (
        lambda *args: a * a / mp.sqrt(det(*args)),
        lambda q1, q2, k: 4 * a * a * b * b * k / mp.sqrt(det(q1, q2, k)) ** 3,
    )


def by_price(value: Callable[..., Any]) -> Dual:
    """The slope as a numerical dV/dk in twice the digits."""

    def slope(q1: Any, q2: Any, k: Any) -> Any:
        with mp.workdps(2 * DIGITS):
            return mp.diff(lambda c: value(q1, q2, c), k)

    return value, slope


def gabor() -> Dual:
    """exp(-x^2) sin(x): the Gaussian integral of two waves."""

    def value(q1: Any, q2: Any, k: Any) -> Any:
        det = (1 + 2 * q1) * (1 + 2 * q2) - 4 * k * k
        minor = q1 * q2 - k * k
        difference, total = (mp.exp(-(q1 + q2 + 4 * minor + s * 2 * k) / (2 * det)) for s in (-1, 1))
        return (difference - total) / (2 * mp.sqrt(det))

    return by_price(value)


def gelu() -> Dual:
    """x (1 + erf(x / sqrt 2)) / 2 by Stein's lemma."""

    def value(q1: Any, q2: Any, k: Any) -> Any:
        rest1, rest2 = q1 - k * k / (1 + q2), q2 - k * k / (1 + q1)
        edge1 = q1 * rest2 / mp.sqrt((1 + q1) * (1 + rest2))
        edge2 = k * k / (1 + q2) / mp.sqrt((1 + q2) * (1 + rest1))
        angle = mp.asin(k / mp.sqrt((1 + q1) * (1 + q2)))
        return k / 4 + (edge1 + edge2 + k * angle) / (2 * mp.pi)

    return by_price(value)


DUALS: dict[str, Callable[..., Dual]] = {
    "Relu": lambda: abrelu(mp.mpf(0), mp.mpf(1)),
    "LeakyRelu": lambda alpha: abrelu(alpha, mp.mpf(1)),
    "ABRelu": abrelu,
    "Abs": lambda: abrelu(mp.mpf(-1), mp.mpf(1)),
    "Erf": erf,
    "Sin": sine,
    "Cos": lambda a=1, b=1, c=0: sine(a, b, c + mp.pi / 2),
    "Exp": exponential,
    "Monomial": lambda degree: polynomial([0] * degree + [1]),
    "Polynomial": polynomial,
    "Gaussian": gaussian,
    "Rbf": lambda gamma: sine(mp.sqrt(2), mp.sqrt(2 * gamma), mp.pi / 4),
    "Gelu": gelu,
    "Gabor": gabor,
    "Sigmoid_like": lambda: erf(mp.mpf(1) / 2, 1 / mp.mpf("2.4020563531719796"), mp.mpf(1) / 2),
}
