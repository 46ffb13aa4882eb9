"""`leave_one_out`: what a Gaussian process says of each training sample when trained on all others, in closed form."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from ntkc.errors import InvalidInput
from ntkc.predict.factor import Cholesky, matmul
from ntkc.predict.likelihood import cholesky_of, inverse_of
from ntkc.predict.outputs import read_training_set


class LeaveOneOut(NamedTuple):
    """Of each target given the others: mean and log density, in the shape of y, and variance (n,), ridge included."""

    mean: Array
    variance: Array
    log_density: Array


def leave_one_out(
    k_train_train: Any,
    y_train: Any,
    diag_reg: Any = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: int | Sequence[int] = (-1,),
) -> LeaveOneOut:
    """mean_i = y_i - (G^{-1} y)_i / (G^{-1})_ii,  variance_i = 1 / (G^{-1})_ii,  log N(y_i; mean_i, variance_i).

    G = K + reg I, reg = diag_reg, times tr K / n of the whole training set unless `diag_reg_absolute_scale`. The
    variance is that of the target, noise of variance reg included (Rasmussen and Williams 2006, eqs. 5.10-5.12).

    Shapes: y (n, ...), k_train_train (n, n), so that `trace_axes` are all axes of y but the first; y (n,) is one
    output.

    Raises `InvalidInput`, `ShapeMismatch`; warns `NotPositiveDefinite` with the jitter it added.
    """
    train = read_training_set(k_train_train, y_train, diag_reg, diag_reg_absolute_scale, trace_axes)
    if len(train.targets.kept) != 1 or 0 in train.targets.trace_axes:
        raise InvalidInput(
            f"y_train of shape {train.targets.shape} with trace_axes {train.targets.trace_axes} has no Gram row for "
            "each sample; let trace_axes name all axes of y_train but the first"
        )
    y = train.targets.cast(train.dtype)
    mean, variance = held_out_moments(cholesky_of(train), y)
    spread = variance[:, None]
    density = -((y - mean) ** 2 / spread + jnp.log(spread) + math.log(2 * math.pi)) / 2
    kept = train.targets.kept
    return LeaveOneOut(train.targets.restore(mean, (), kept), variance, train.targets.restore(density, (), kept))


def held_out_moments(factor: Cholesky, y: Array) -> tuple[Array, Array]:
    """Means (n, c) and variances (n,) of y (n, c), each given all others."""
    inverse = inverse_of(factor)
    variance = 1 / jnp.diagonal(inverse)
    return y - matmul(inverse, y) * variance[:, None], variance
