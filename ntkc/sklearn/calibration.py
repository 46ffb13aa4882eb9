"""Held-out scores of the training samples, for the temperature of `ntkc.predict.calibration`."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from ntkc.predict.factor import Cholesky, Factor
from ntkc.predict.held_out import held_out_moments
from ntkc.sklearn.blocks import precision
from ntkc.sklearn.training import TrainingPlan

FOLDS = 5


def held_out_scores(plan: TrainingPlan, gram: Any, factor: Factor, y: Any, labels: Any) -> Any:
    """What networks say of samples that they did not see: each alone, or for finite time each fold, left out."""
    if isinstance(factor, Cholesky):
        return leave_one_out(factor, y)
    return leave_fold_out(plan, gram, y, labels)


def leave_one_out(factor: Cholesky, y: Any) -> Any:
    """Means of `ntkc.predict.leave_one_out`, in float64 whatever the dtype of the kernel."""
    with precision(np.float64):
        lower = jnp.asarray(factor.lower)
        double = Cholesky(jnp.asarray(factor.gram, jnp.float64), lower, jnp.asarray(factor.shift, jnp.float64))
        return np.asarray(held_out_moments(double, jnp.asarray(y))[0])


def leave_fold_out(plan: TrainingPlan, gram: Any, y: Any, labels: Any) -> Any:
    """Scores of each fold from the network trained on the others to the same time."""
    folds = folds_of(labels)
    scores = np.empty(y.shape)
    for fold in range(min(FOLDS, len(y))):
        held, kept = folds == fold, folds != fold
        weights = plan.weights(plan.factorise(gram[np.ix_(kept, kept)]), y[kept])
        scores[held] = gram[np.ix_(held, kept)] @ weights
    return scores


def folds_of(labels: Any) -> Any:
    """A fold 0 ... FOLDS - 1 for each sample, every class spread over all."""
    folds = np.empty(len(labels), int)
    folds[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % FOLDS
    return folds
