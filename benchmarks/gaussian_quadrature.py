"""E[f(u) f(v)] by graded panels of Gauss-Legendre nodes in 80-bit arithmetic: nothing of ntkc.

Panels meet at the kinks of f, are of the size of its features near 0, and grow outwards where f is plain.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mpmath as mp
import numpy as np
import sympy as sp
from scipy.special import erf, erfc

X = sp.Symbol("x", real=True)
WIDE = np.longdouble
REACH = 11.0
"""Standard deviations."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(14)
STEPS = np.array([*np.arange(0, 4, 0.5), *np.arange(4, 8, 1.0)])
OWN = {"erf": lambda x: erf(np.asarray(x, float)), "erfc": lambda x: erfc(np.asarray(x, float))}


def panels(ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights between ends, [..., panels + 1]."""
    half = np.diff(ends, axis=-1)[..., None] / 2
    z = ends[..., :-1, None] + half * (1 + NODES.astype(WIDE))
    return z.reshape(*z.shape[:-2], -1), (half * WEIGHTS.astype(WIDE)).reshape(*z.shape[:-2], -1)


def density(z: np.ndarray) -> np.ndarray:
    return np.exp(-z * z / 2) / np.sqrt(2 * WIDE(np.pi))


@dataclass(frozen=True)
class Function:
    """A function of X; it has features at scale `grain` everywhere, if it has one, else near 0 alone."""

    f: sp.Expr
    kinks: tuple[float, ...] = ()
    grain: float | None = None

    @cached_property
    def of(self) -> Any:
        """Entry by entry, in 80 bits where numpy has the functions in them."""
        return np.vectorize(lambda v: self._plain(v), otypes=[WIDE]) if self.f.is_number else self._plain

    @cached_property
    def _plain(self) -> Any:
        return sp.lambdify(X, self.f, modules=[OWN, "numpy"])

    @property
    def slope(self) -> "Function":
        """f' almost everywhere."""
        found = sp.diff(self.f, X).replace(sp.DiracDelta, lambda *_: sp.S.Zero)
        return Function(sp.simplify(found) if not found.has(sp.Heaviside, sp.sign) else found, self.kinks, self.grain)

    def at(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.broadcast_to(np.asarray(self.of(np.asarray(x, WIDE)), WIDE), np.shape(x))

    def ends(self, most: float) -> np.ndarray:
        """Where panels meet, up to most."""
        if self.grain is not None:
            outer = np.arange(0, most + self.grain, self.grain)
        else:
            outer = np.concatenate([STEPS, 8 * 1.5 ** np.arange(0, 60)])
        outer = outer[outer < most]
        return np.unique(np.concatenate([-outer, outer, [k for k in self.kinks if abs(k) < most], [-most, most]]))

    def mean_square(self, q: Any) -> float:
        """E[f(u)^2]."""
        z, w = self._outer(float(q), WIDE(1e9))
        return float(np.sum(w * self.at(np.sqrt(WIDE(q)) * z) ** 2))

    def _outer(self, q: float, spread: np.longdouble) -> tuple[np.ndarray, np.ndarray]:
        """Panels that become small towards kinks, which the other variable's spread smooths."""
        root = np.sqrt(WIDE(q))
        near = spread * 1.7 ** np.arange(-1, 55, dtype=WIDE) if spread < 0.3 * root else np.array([], WIDE)
        most = REACH * root
        ends = np.concatenate([self.ends(float(most)), *(c + s * near for c in self.kinks for s in (1, -1))])
        ends = np.clip(ends, -most, most) / root
        z, w = panels(np.unique(np.concatenate([ends, np.arange(-REACH, REACH + 1)])))
        return z, w * density(z)

    def product(self, q1: Any, q2: Any, k: Any) -> float:
        """E[f(u) f(v)]; numbers of mpmath, whose differences count."""
        mean, spread = WIDE(mp.nstr(k / q1, 25)), WIDE(mp.nstr(mp.sqrt(max(q2 - k * k / q1, mp.mpf(0))), 25))
        z, w = self._outer(float(q1), spread if self.kinks and spread > 0 else WIDE(1e9))
        u = np.sqrt(WIDE(mp.nstr(q1, 25))) * z
        if spread == 0:
            return float(np.sum(w * self.at(u) * self.at(mean * u)))
        most = REACH * float(np.sqrt(q2))
        cuts = np.clip((self.ends(most)[None] - mean * u[:, None]) / spread, -REACH, REACH)
        own = np.broadcast_to(np.linspace(-REACH, REACH, 16, dtype=WIDE), (len(u), 16))
        y, inner = panels(np.sort(np.concatenate([cuts, own], 1), -1))
        values = self.at(mean * u[:, None] + spread * y)
        return float(np.sum(w * self.at(u) * np.sum(inner * density(y) * values, 1)))
