"""A kernel on a data set:  the spectrum of its Gram matrix, and the error of its predictions against n."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from ntkc.errors import InvalidInput, ShapeMismatch
from ntkc.predict.factor import eigh_in_double
from ntkc.predict.inference import gp_inference
from ntkc.predict.likelihood import NOTHING, KernelFn, gram_of
from ntkc.predict.progress import counting_bar
from ntkc.predict.targets import (
    flatten_pairs,
    read_gram,
    read_numbers,
    read_targets,
    require_alike,
    require_count,
    require_finite,
)

Floats = npt.NDArray[np.float64]


class Eigenspectrum(NamedTuple):
    """Of a Gram matrix, largest first: see `eigenspectrum`."""

    values: Floats
    participation_ratio: float
    alignment: Floats | None


class LearningCurve(NamedTuple):
    """Errors (sizes, repeats), their means (sizes,), and an interval for each mean."""

    sizes: tuple[int, ...]
    errors: Floats
    mean: Floats
    lower: Floats
    upper: Floats


def eigenspectrum(k_train_train: Any, y_train: Any = None) -> Eigenspectrum:
    """lambda_1 >= lambda_2 >= ..., (sum lambda)^2 / sum lambda^2, and  sum_{i<=k} |v_i^T Y|^2 / |Y|^2  for each k.

    The participation ratio counts directions in which the kernel has weight, 1 to n; the alignment, for targets y (n,)
    or (n, outputs), is the share of Y that the first k eigenvectors hold, which are learned first.

    Raises `InvalidInput`, `ShapeMismatch`.
    """
    given = jnp.asarray(read_numbers("k_train_train", k_train_train))
    if given.ndim != 2 or given.shape[0] != given.shape[1]:
        raise ShapeMismatch(f"k_train_train has shape {given.shape}; give a square matrix (n, n)")
    gram = np.asarray(flatten_pairs(read_gram("k_train_train", given, given.shape[1:])), np.float64)
    with jax.enable_x64(True):
        found, basis = (np.asarray(a)[..., ::-1] for a in eigh_in_double(jnp.asarray((gram + gram.T) / 2)))
    total = float(np.sum(found**2))
    if total == 0:
        raise InvalidInput("k_train_train is zero, which has no spectrum; give a kernel of the data")
    ratio = float(np.sum(found)) ** 2 / total
    return Eigenspectrum(found, ratio, None if y_train is None else alignment(basis, y_train))


def alignment(basis: Floats, y_train: Any) -> Floats:
    """Cumulative share of the squared targets along each column of `basis`."""
    targets = read_targets(y_train, (-1,))
    if targets.shape[0] != len(basis) or len(targets.shape) != 2:
        raise ShapeMismatch(f"y_train has shape {np.shape(y_train)}, k_train_train {basis.shape}; give a target a row")
    y = np.asarray(targets.values, np.float64)
    size = float(np.sum(y**2))
    if size == 0:
        raise InvalidInput("y_train is zero, which aligns with nothing; give other targets")
    return np.cumsum(np.sum((basis.T @ y) ** 2, axis=1)) / size


def mean_squared_error(predicted: Floats, y: Floats) -> float:
    return float(np.mean((predicted - y) ** 2))


def learning_curve(
    kernel_fn: KernelFn,
    x_train: Any,
    y_train: Any,
    x_test: Any,
    y_test: Any,
    sizes: Sequence[int],
    get: str = "nngp",
    diag_reg: float = 1e-6,
    diag_reg_absolute_scale: bool = False,
    parameters: Mapping[str, Any] = NOTHING,
    *,
    error: Callable[[Floats, Floats], float] = mean_squared_error,
    repeats: int = 10,
    level: float = 0.95,
    seed: int = 0,
    progress: bool | None = None,
) -> LearningCurve:
    """error(K* G^{-1} y, y*) against n:  trained on n rows of x_train drawn without replacement, `repeats` times each.

    The interval is mean -+ t s / sqrt(repeats), t of Student's distribution at `level`, for the choice of training rows
    alone (none at n = all rows). Shapes: x (n, features), y (n,) or (n, outputs). Kernels are computed once.

    Raises `InvalidInput`, `ShapeMismatch`, `UnknownName`; warns `NotPositiveDefinite` with the jitter it added.
    """
    require_finite("x_test", x_test)
    require_alike(x_train, x_test)
    require_count("repeats", repeats, 2)
    require_count("seed", seed, 0)
    require_finite("level", level)
    if not 0 < level < 1:
        raise InvalidInput(f"level is {level}, but must be between 0 and 1; say 0.95")
    gram = np.asarray(gram_of(kernel_fn, x_train, y_train, get, parameters))
    cross = np.asarray(kernel_fn(jnp.asarray(x_test), jnp.asarray(x_train), get, **parameters))
    y, y_test = np.asarray(y_train, np.float64), np.asarray(y_test, np.float64)
    require_finite("y_test", y_test)
    if y_test.shape != (len(cross), *y.shape[1:]):
        raise ShapeMismatch(f"y_test has shape {y_test.shape}, but the predictions {(len(cross), *y.shape[1:])}")
    chosen = read_sizes(sizes, len(y))
    rng = np.random.default_rng(seed)
    errors = np.empty((len(chosen), repeats))
    with counting_bar(progress, "learning curve", errors.size) as tell:
        for (i, j), _ in np.ndenumerate(errors):
            rows = rng.permutation(len(y))[: chosen[i]]
            posterior = gp_inference(gram[np.ix_(rows, rows)], y[rows], diag_reg, diag_reg_absolute_scale)
            # The kernel is given as it is, so that its name plays no part.
            errors[i, j] = error(np.asarray(posterior("nngp", cross[:, rows]), np.float64), y_test)
            require_finite(f"error of n = {chosen[i]}", errors[i, j])
            tell(f"n = {chosen[i]}")
    mean, half = errors.mean(axis=1), student(level, repeats) * errors.std(axis=1, ddof=1) / math.sqrt(repeats)
    return LearningCurve(chosen, errors, mean, mean - half, mean + half)


def student(level: float, repeats: int) -> float:
    """t with P(|t| < value) = level, repeats - 1 degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(repeats - 1, (1 + level) / 2))


def read_sizes(sizes: Sequence[int], largest: int) -> tuple[int, ...]:
    found = tuple(np.atleast_1d(read_numbers("sizes", sizes)).tolist())
    if not found or any(size not in range(1, largest + 1) for size in found):
        raise InvalidInput(f"sizes are {found}; give whole numbers from 1 to {largest}, the rows of x_train")
    return found
