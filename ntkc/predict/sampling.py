"""What a posterior N(mean, covariance) says:  joint samples of the outputs, and intervals for each of them."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ntkc.errors import InvalidInput
from ntkc.predict.factor import eigh_in_double, is_concrete, matmul
from ntkc.predict.posterior import GaussianOutputs
from ntkc.predict.targets import Targets, flatten_pairs, read_gram, read_targets, require_count, require_finite

ROUNDING = 64
"""Times -eps n max(|covariance|, 1): what a difference of kernels may round below 0, their own scale unknown."""


class Interval(NamedTuple):
    lower: Array
    upper: Array


def posterior_samples(
    key: Array, gaussian: GaussianOutputs, n_samples: int = 1, trace_axes: int | Sequence[int] = (-1,)
) -> Array:
    """mean + V sqrt(lambda) z,  covariance = V diag(lambda) V^T,  z ~ N(0, I):  (n_samples,) + shape of the mean.

    Joint over test inputs and kept axes, independent along `trace_axes`, as in `gp_inference`. A singular covariance
    is no error: eigenvalues that are zero but for rounding count as 0. For a Gaussian with axes of times, `jax.vmap`.

    Raises `InvalidInput`, `ShapeMismatch`: for NaN, no test inputs, or a covariance with negative eigenvalues.
    """
    require_count("n_samples", n_samples)
    targets, covariance = read_gaussian(gaussian, trace_axes)
    values, vectors = eigh_in_double((covariance + covariance.T) / 2)
    require_covariance("eigenvalue", values[0], covariance)
    root = vectors * jnp.sqrt(jnp.maximum(values, 0))
    mean = targets.values.astype(covariance.dtype)
    normal = jax.random.normal(key, (n_samples, *mean.shape), mean.dtype)
    return targets.restore(mean + matmul(root, normal), (n_samples,), targets.kept)


def credible_interval(
    gaussian: GaussianOutputs, level: float = 0.95, trace_axes: int | Sequence[int] = (-1,)
) -> Interval:
    """mean -+ z sqrt(diag covariance),  P(|N(0, 1)| < z) = level,  in the shape of the mean.

    Of the outputs themselves; for new targets add the variance of their noise to the covariance. For a Gaussian with
    axes of times, `jax.vmap`.

    Raises `InvalidInput`, `ShapeMismatch`: for NaN, no test inputs, negative variances, or a level outside (0, 1).
    """
    require_finite("level", level)
    if not 0 < level < 1:
        raise InvalidInput(f"level is {level}, but must be between 0 and 1; say 0.95")
    targets, covariance = read_gaussian(gaussian, trace_axes)
    variance = jnp.diagonal(covariance)
    require_covariance("variance", variance.min(), covariance)
    mean = targets.values.astype(covariance.dtype)
    half = NormalDist().inv_cdf((1 + level) / 2) * jnp.sqrt(jnp.maximum(variance, 0))[:, None]
    lower, upper = (targets.restore(bound, (), targets.kept) for bound in (mean - half, mean + half))
    return Interval(lower, upper)


def read_gaussian(gaussian: Any, trace_axes: int | Sequence[int]) -> tuple[Targets, Array]:
    """The mean as targets and the covariance as a matrix (m, m)."""
    if not hasattr(gaussian, "mean") or not hasattr(gaussian, "covariance"):
        raise InvalidInput(
            f"gaussian is a {type(gaussian).__name__}; give a Gaussian, as predictions with a covariance return"
        )
    if 0 in jnp.shape(gaussian.mean):
        raise InvalidInput(f"the mean has shape {jnp.shape(gaussian.mean)}, which is empty; give at least one input")
    targets = read_targets(gaussian.mean, trace_axes, "the mean")
    block = read_gram("the covariance", gaussian.covariance, targets.kept)
    return targets, flatten_pairs(block)


def require_covariance(what: str, smallest: Array, covariance: Array) -> None:
    if not is_concrete(smallest):
        return
    floor = -ROUNDING * float(jnp.finfo(covariance.dtype).eps) * max(float(jnp.abs(covariance).max()), 1.0)
    if float(smallest) < floor * covariance.shape[0]:
        raise InvalidInput(
            f"the covariance has {what} {float(smallest):.3g} < 0; compute it in float64, or with a larger diag_reg"
        )
