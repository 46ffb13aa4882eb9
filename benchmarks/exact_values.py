"""K' = W^2 K + b^2,  T' = K' + W^2 T;  relu: K' = (r + (pi - theta) K) / 2 pi,  T' = (pi - theta) / 2 pi T.

r = sqrt(q1 q2 - K^2), theta = atan2(r, K) (Cho & Saul 2009; Jacot et al. 2018), with 40 digits; smooth activations by a
grid of trapezoids in float64 (1e-13). Written here and used by no package, so that it can judge both. Errors are
relative to sqrt(K_ii K_jj), the size of the entry if i and j were parallel: an entry itself may be near zero by
cancellation.
"""

from collections.abc import Callable
from functools import lru_cache
from math import erf, pi

import numpy as np
from cases import Case
from mpmath import mp, mpf

DIGITS = 40
Dual = Callable[[mpf, mpf, mpf], tuple[mpf, mpf]]
"""(K, q1, q2) of the input  ->  (K of the output, what T is multiplied with)."""


def relu(K: mpf, q1: mpf, q2: mpf) -> tuple[mpf, mpf]:
    """(E relu(u) relu(v), E relu'(u) relu'(v)) for Gaussian u, v with variances q1, q2 and covariance K."""
    # Rounding to 40 digits can leave q1 q2 - K^2 = -1e-40 for parallel inputs.
    r = mp.sqrt(max(q1 * q2 - K * K, mpf(0)))
    derivative = (mp.pi - mp.atan2(r, K)) / (2 * mp.pi)
    return r / (2 * mp.pi) + derivative * K, derivative


@lru_cache(maxsize=1)
def grid() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of a standard normal variable: exponentially accurate for analytic functions."""
    z = np.arange(-384, 385) / 32
    return z, np.exp(-z * z / 2) / np.sqrt(2 * pi) / 32


def smooth(f: Callable[[np.ndarray], np.ndarray], df: Callable[[np.ndarray], np.ndarray]) -> Dual:
    """(E f(u) f(v), E f'(u) f'(v)) by quadrature in two dimensions."""

    def dual(K: mpf, q1: mpf, q2: mpf) -> tuple[mpf, mpf]:
        z, p = grid()
        rho = K / mp.sqrt(q1 * q2)
        sine = float(mp.sqrt(max(1 - rho * rho, mpf(0))))
        u = float(mp.sqrt(q1)) * z
        v = float(mp.sqrt(q2)) * (float(rho) * z[:, None] + sine * z)
        return mpf(float(p * f(u) @ (f(v) @ p))), mpf(float(p * df(u) @ (df(v) @ p)))

    return dual


_erf = np.vectorize(erf, [float])


def normal(x: np.ndarray) -> np.ndarray:
    return np.exp(-x * x / 2) / np.sqrt(2 * pi)


def normal_cdf(x: np.ndarray) -> np.ndarray:
    return (1 + _erf(x / np.sqrt(2))) / 2


DUALS: dict[str, Dual] = {
    "Relu": relu,
    "Erf": smooth(_erf, lambda x: 2 / np.sqrt(pi) * np.exp(-x * x)),
    "Gelu": smooth(lambda x: x * normal_cdf(x), lambda x: normal_cdf(x) + x * normal(x)),
    "Tanh": smooth(np.tanh, lambda x: 1 - np.tanh(x) ** 2),
}


def mlp(K: mpf, q1: mpf, q2: mpf, case: Case) -> dict[str, mpf]:
    """{"nngp", "ntk"} of the network of `case` at inputs with K = x1.x2/d, q1 = |x1|^2/d, q2 = |x2|^2/d."""
    W2, b2 = mpf(case.W_std) ** 2, mpf(case.b_std or 0) ** 2
    K, q1, q2 = (W2 * value + b2 for value in (K, q1, q2))
    T, dual = K, DUALS[case.activation]
    for _ in range(case.depth):
        K, derivative = dual(K, q1, q2)
        K, q1, q2 = (W2 * value + b2 for value in (K, dual(q1, q1, q1)[0], dual(q2, q2, q2)[0]))
        T = K + W2 * derivative * T
    return {"nngp": K, "ntk": T}


def dot(x: np.ndarray, y: np.ndarray) -> mpf:
    """x.y / d, exactly what float32 rows stand for."""
    return mp.fsum(mpf(float(a)) * mpf(float(b)) for a, b in zip(x, y, strict=True)) / len(x)


@mp.workdps(DIGITS)
def entry_errors(case: Case, arrays: dict[str, np.ndarray], values: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """{quantity: |value - K_ij| / sqrt(K_ii K_jj) for every checked entry}, or the errors of the rows of a pullback."""
    if case.is_vjp:
        return {"vjp": [_vjp_error(case, arrays, row, values["vjp"][e]) for e, row in enumerate(arrays["rows"])]}
    x1, x2 = arrays["x1"], arrays.get("x2", arrays["x1"])
    entries = [_entry(case, x1[row], x2[col]) for row, col in zip(arrays["rows"], arrays["cols"], strict=True)]
    return {
        name: [
            float(abs(mpf(float(value)) - exact[name]) / scale[name])
            for value, (exact, scale) in zip(found, entries, strict=True)
        ]
        for name, found in values.items()
    }


def _entry(case: Case, x: np.ndarray, y: np.ndarray) -> tuple[dict[str, mpf], dict[str, mpf]]:
    """(K_ij, sqrt(K_ii K_jj)) of each kernel."""
    K, q1, q2 = dot(x, y), dot(x, x), dot(y, y)
    exact, left, right = mlp(K, q1, q2, case), mlp(q1, q1, q1, case), mlp(q2, q2, q2, case)
    return exact, {name: mp.sqrt(left[name] * right[name]) for name in exact}


def _vjp_error(case: Case, arrays: dict[str, np.ndarray], row: int, found: np.ndarray) -> float:
    """max |g - found| / max |g|  with  g = sum_j C_ij (dT_ij/dK x2_j + 2 dT_ij/dq1 x1_i) / d."""
    x = arrays["x1"][row].astype(np.float64)
    exact = np.zeros(len(x))
    for y, weight in zip(arrays["x2"].astype(np.float64), arrays["cotangent"][row], strict=True):
        K, q1, q2 = dot(x, y), dot(x, x), dot(y, y)
        slope_K = mp.diff(lambda t, q1=q1, q2=q2: mlp(t, q1, q2, case)[case.get[0]], K)
        slope_q1 = mp.diff(lambda t, K=K, q2=q2: mlp(K, t, q2, case)[case.get[0]], q1)
        exact += float(weight) * (float(slope_K) * y + 2 * float(slope_q1) * x) / len(x)
    return float(np.abs(exact - found).max() / np.abs(exact).max())
