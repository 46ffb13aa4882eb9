"""Scores  ->  probabilities  softmax(scores / temperature),  the temperature fitted on held-out scores.

Source: Platt 1999 (smoothed labels), Guo et al. 2017, arXiv:1706.04599 (one temperature for all classes).
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntkc.errors import InvalidInput, ShapeMismatch
from ntkc.predict.factor import matmul
from ntkc.predict.held_out import held_out_moments
from ntkc.predict.likelihood import INFINITE, cholesky_of
from ntkc.predict.outputs import read_training_set
from ntkc.predict.targets import flatten_pairs, read_cross

LOG_TEMPERATURES = (-9.0, 5.0)
"""Bounds of log temperature, for scores between -1 and 1."""


@dataclass(frozen=True, eq=False)
class CalibratedClassifier:
    """`predict_fn` gives probabilities of `classes`, (n_test, classes)."""

    classes: Any
    temperature: float
    weights: jax.Array

    def scores_fn(self, k_test_train: Any) -> jax.Array:
        """K* G^{-1} Y."""
        block = read_cross("k_test_train", k_test_train, self.weights.shape[:1])
        return matmul(flatten_pairs(block), self.weights.astype(block.dtype))

    def predict_fn(self, k_test_train: Any) -> jax.Array:
        """softmax(K* G^{-1} Y / temperature)."""
        return jax.nn.softmax(self.scores_fn(k_test_train) / self.temperature, axis=-1)


def calibrated_classification(
    k_train_train: Any, labels: Any, diag_reg: float = 0.0, diag_reg_absolute_scale: bool = False
) -> CalibratedClassifier:
    """p(x*) = softmax(K* G^{-1} Y / temperature),  Y = one-hot - 1 / classes,  G = K + reg I.

    The temperature has the least cross-entropy on the leave-one-out scores of the training set. k_train_train (n, n),
    labels (n,) of any kind with two classes or more; K* (n_test, n). reg as in `gp_inference`.

    Raises `InvalidInput`, `ShapeMismatch`; warns `NotPositiveDefinite` with the jitter it added.
    """
    classes, index = read_labels(labels)
    targets = np.eye(len(classes))[index] - 1 / len(classes)
    train = read_training_set(k_train_train, targets, diag_reg, diag_reg_absolute_scale)
    factor = cholesky_of(train)
    y = jnp.asarray(targets, train.dtype)
    held_out = np.asarray(held_out_moments(factor, y)[0], np.float64)
    weights = factor.ramp(y, jnp.asarray(INFINITE, train.dtype))
    return CalibratedClassifier(classes, fit_temperature(held_out, index), weights)


def read_labels(labels: Any) -> tuple[Any, Any]:
    """The classes, sorted, and the place of each label among them."""
    given = np.asarray(labels)
    if given.ndim != 1:
        raise ShapeMismatch(f"labels have shape {given.shape}; give one label a sample, (n,)")
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        raise InvalidInput("labels hold NaN or infinities; drop or repair those samples")
    try:
        classes, index = np.unique(given, return_inverse=True)
    except TypeError:
        raise InvalidInput("labels hold None or values of several types; give all numbers or all text") from None
    if len(classes) < 2:
        raise InvalidInput(f"labels hold {len(classes)} class; give samples of two classes or more")
    return classes, index


def fit_temperature(scores: Any, labels: Any) -> float:
    """argmin over T of the cross-entropy of softmax(scores / T) and smoothed labels."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

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
