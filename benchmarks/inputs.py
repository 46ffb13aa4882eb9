"""case -> {x1, x2, rows, cols}: the inputs, and the entries (rows[e], cols[e]) whose accuracy is checked."""

import zlib

import numpy as np
from cases import DISTANCES, NORM_RATIOS, Case

ENTRIES = 8
VJP_ROWS = 2


def make_inputs(case: Case) -> dict[str, np.ndarray]:
    """Deterministic float32 arrays; x2 is absent for a kernel of x1 with itself, `cotangent` present for a pullback."""
    # A hash of the name that does not change between processes.
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    if case.is_near_duplicates:
        return _near_duplicates(rng, case)
    arrays = {"x1": _normal(rng, case.n, case.width), "rows": rng.integers(case.n, size=ENTRIES)}
    if case.is_vjp:
        arrays["rows"] = arrays["rows"][:VJP_ROWS]
        return {**arrays, "x2": _normal(rng, case.n, case.width), "cotangent": _normal(rng, case.n, case.n)}
    cols = rng.integers(case.n, size=ENTRIES)
    if case.has_x2:
        return {**arrays, "x2": _normal(rng, case.n, case.width), "cols": cols}
    # Two of the entries are on the diagonal.
    return {**arrays, "cols": np.concatenate([arrays["rows"][:2], cols[2:]])}


def levels(case: Case) -> list[tuple[float, float, int]]:
    """(distance, norm ratio, base) of each row of x2, in order."""
    return [(distance, ratio, base) for distance in DISTANCES for ratio in NORM_RATIOS for base in range(case.n)]


def _near_duplicates(rng: np.random.Generator, case: Case) -> dict[str, np.ndarray]:
    x1 = _normal(rng, case.n, case.width)
    x2 = [ratio * _neighbour(rng, x1[base], distance) for distance, ratio, base in levels(case)]
    rows = np.array([base for _, _, base in levels(case)])
    return {"x1": x1, "x2": np.array(x2, np.float32), "rows": rows, "cols": np.arange(len(x2))}


def _neighbour(rng: np.random.Generator, x: np.ndarray, distance: float) -> np.ndarray:
    """x'  with  |x' - x| = distance |x|  and  |x'| = |x|: x turned towards a random orthogonal direction."""
    direction = rng.standard_normal(x.shape)
    direction -= (direction @ x) / (x @ x) * x
    direction *= np.linalg.norm(x) / np.linalg.norm(direction)
    angle = 2 * np.arcsin(distance / 2)
    return np.cos(angle) * x + np.sin(angle) * direction


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)
