"""Scores  ->  probabilities  softmax(scores / temperature),  the temperature fitted on held-out scores.

Source: Platt 1999 (smoothed labels), Guo et al. 2017, arXiv:1706.04599 (one temperature for all classes).
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from ntkc.predict.factor import Cholesky, Factor
from ntkc.sklearn.blocks import precision
from ntkc.sklearn.training import Plan

FOLDS = 5
LOG_TEMPERATURES = (-9.0, 5.0)
"""Bounds of log temperature, for scores between -1 and 1."""


def fit_temperature(scores: Any, labels: Any) -> float:
    """argmin over T of the cross-entropy of softmax(scores / T) and smoothed labels."""
    targets = smooth_labels(labels, scores.shape[1])

    def loss(log_temperature: float) -> float:
        return -float(np.mean(np.sum(targets * log_softmax(scores / np.exp(log_temperature), axis=1), axis=1)))

    return float(np.exp(minimize_scalar(loss, bounds=LOG_TEMPERATURES, method="bounded").x))


def smooth_labels(labels: Any, n_classes: int) -> Any:
    """1 -> (N + 1) / (N + 2) for a class of N samples, the rest to the others: no temperature falls to 0."""
    counts = np.bincount(labels, minlength=n_classes)
    rest = 1 / (counts[labels] + 2)
    targets = np.repeat(rest[:, None] / (n_classes - 1), n_classes, axis=1)
    targets[np.arange(len(labels)), labels] = 1 - rest
    return targets


def held_out_scores(plan: Plan, gram: Any, factor: Factor, y: Any, labels: Any) -> Any:
    """What networks say of samples that they did not see: each alone, or for finite time each fold, left out."""
    if isinstance(factor, Cholesky):
        return leave_one_out(factor, y)
    return leave_fold_out(plan, gram, y, labels)


def leave_one_out(factor: Cholesky, y: Any) -> Any:
    """y_i - (G^{-1} y)_i / (G^{-1})_ii  (Rasmussen and Williams 2006, eq. 5.12)."""
    with precision(np.float64):
        lower = jnp.asarray(factor.lower)
        inverse = np.asarray(jax.scipy.linalg.solve_triangular(lower, jnp.eye(len(lower)), lower=True))
    return y - inverse.T @ (inverse @ y) / np.sum(inverse**2, axis=0)[:, None]


def leave_fold_out(plan: Plan, gram: Any, y: Any, labels: Any) -> Any:
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
