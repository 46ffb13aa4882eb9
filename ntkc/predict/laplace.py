"""Gaussian-process classification by Laplace's method:  p(f | labels) ~ N(mode, (K^{-1} + W)^{-1}),  W = -grad^2 log p.

Two classes have one latent function and the logistic likelihood, more have one each and the softmax (Rasmussen and
Williams 2006, algorithms 3.1-3.4). Computed in float64 on the host.
"""

import math
import warnings
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from ntkc.errors import InvalidInput, ShapeMismatch, SolverNotConverged
from ntkc.predict.calibration import read_labels
from ntkc.predict.likelihood import cholesky_of
from ntkc.predict.outputs import read_training_set
from ntkc.predict.targets import (
    flatten_pairs,
    read_cross,
    read_numbers,
    require_count,
    require_finite,
    require_not_negative,
)

Floats = npt.NDArray[np.float64]
NODES = 64
"""Of the Gauss-Hermite quadrature of the logistic function."""
STEP, REACH = 0.25, 40.0
"""Of the trapezoidal rule for the logistic density, whose error is e^{-2 pi^2 / step} and e^{-reach}."""
HALVINGS = 30


@dataclass(frozen=True, eq=False)
class Mode:
    """f = K slope at the mode, slope = grad log p(labels | f), in (n, latents)."""

    latent: Floats
    slope: Floats
    log_likelihood: float
    is_converged: bool

    @property
    def objective(self) -> float:
        """log p(labels | f) - f^T K^{-1} f / 2."""
        return self.log_likelihood - float(np.sum(self.latent * self.slope)) / 2


@dataclass(frozen=True, eq=False)
class LaplaceClassifier:
    """`predict_fn` gives probabilities of `classes`; `latent_fn` the moments of the latent functions."""

    classes: Any
    gram: Floats = field(repr=False)
    targets: Floats = field(repr=False)
    mode: Mode = field(repr=False)
    log_marginal_likelihood: float
    """log q(labels), Laplace's approximation (eqs. 3.32 and 3.44)."""

    @property
    def is_converged(self) -> bool:
        return self.mode.is_converged

    def latent_fn(self, k_test_train: Any, k_test_test: Any) -> tuple[Floats, Floats]:
        """Means (n_test, latents) and covariances (n_test, latents, latents) of the latent functions at each input.

        mean K* (Y - pi),  covariance K** - K* (I + W K)^{-1} W K*^T; `k_test_test` is (n_test, n_test), or (n_test,).
        """
        cross, variance = self.read_test(k_test_train, k_test_test)
        latents = self.targets.shape[1]
        mean = cross @ self.mode.slope
        explained = precision_of(self.gram, self.mode.latent).between(cross)
        return mean, variance[:, None, None] * np.eye(latents) - explained

    def predict_fn(self, k_test_train: Any, k_test_test: Any, n_samples: int = 10_000, seed: int = 0) -> Floats:
        """E[p(class | f*)], (n_test, classes).

        Two classes by quadrature; more by the mean over `n_samples` draws of f*, with a
        standard error of at most 1 / (2 sqrt(n_samples)).
        """
        require_count("n_samples", n_samples)
        require_count("seed", seed, 0)
        mean, covariance = self.latent_fn(k_test_train, k_test_test)
        if mean.shape[1] == 1:
            return logistic_average(mean[:, 0], np.maximum(covariance[:, 0, 0], 0))
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0))[:, None, :]
        normal = np.random.default_rng(seed).standard_normal((n_samples, mean.shape[1]))
        return np.stack([softmax(m + normal @ r.T).mean(axis=0) for m, r in zip(mean, root, strict=True)])

    def read_test(self, k_test_train: Any, k_test_test: Any) -> tuple[Floats, Floats]:
        """K* (n_test, n) and the diagonal of K** (n_test,)."""
        block = flatten_pairs(read_cross("k_test_train", k_test_train, self.gram.shape[:1]))
        cross = np.asarray(block, np.float64)
        given = np.asarray(read_numbers("k_test_test", k_test_test), np.float64)
        require_finite("k_test_test", given)
        if given.shape not in ((len(cross),), (len(cross), len(cross))):
            raise ShapeMismatch(
                f"k_test_test has shape {given.shape}, k_test_train {cross.shape}; "
                "give (n_test, n_test) or its diagonal"
            )
        variance = given if given.ndim == 1 else np.diagonal(given)
        require_not_negative("the least variance in k_test_test", variance.min())
        return cross, variance


def laplace_classification(
    k_train_train: Any,
    labels: Any,
    diag_reg: float = 0.0,
    diag_reg_absolute_scale: bool = False,
    *,
    tolerance: float = 1e-12,
    max_steps: int = 100,
) -> LaplaceClassifier:
    """N(mode, (K^{-1} + W)^{-1}) of latent functions f ~ N(0, K),  labels ~ logistic(f) or softmax(f).

    The mode by Newton's method, halving steps that do not rise, until log p(labels, f) rises by less than `tolerance`
    relative to 1 + its size. k_train_train (n, n), labels (n,) of any kind; `diag_reg` as in `gp_inference`, is part of
    the prior of the training latents. Two classes take one latent function, that of the second class in sorted order.
    Costs n^3 a step for each class. Gives a `LaplaceClassifier`.

    Warns `SolverNotConverged` after `max_steps`, `NotPositiveDefinite` with the jitter it added. Raises
    `InvalidInput`, `ShapeMismatch`.
    """
    require_count("max_steps", max_steps)
    require_finite("tolerance", tolerance)
    if not 0 < tolerance < 1:
        raise InvalidInput(f"tolerance is {tolerance}, but must be between 0 and 1; say 1e-12")
    classes, index = read_labels(labels)
    onehot = np.eye(len(classes))[index]
    targets = onehot[:, 1:] if len(classes) == 2 else onehot
    with jax.enable_x64(True):
        given = np.asarray(read_numbers("k_train_train", k_train_train), np.float64)
        train = read_training_set(given, np.asarray(targets), diag_reg, diag_reg_absolute_scale)
        gram = np.asarray(cholesky_of(train).gram)
    mode = find_mode(gram, targets, tolerance, max_steps)
    if not mode.is_converged:
        warnings.warn(
            f"Newton's method did not converge in {max_steps} steps; allow more max_steps, or scale the kernel down",
            SolverNotConverged,
            stacklevel=2,
        )
    evidence = mode.objective - log_volume(gram, mode.latent) / 2
    return LaplaceClassifier(classes, gram, targets, mode, evidence)


def find_mode(gram: Floats, targets: Floats, tolerance: float, max_steps: int) -> Mode:
    """argmax of log p(labels | f) - f^T K^{-1} f / 2 by Newton:  a = (I + W K)^{-1} (W f + Y - pi),  f = K a."""
    slope = np.zeros_like(targets)
    latent = gram @ slope
    value = likelihood_of(targets, latent)
    for _ in range(max_steps):
        wanted = newton_weights(gram, targets, latent)
        slope, latent, new = line_search(gram, targets, slope, wanted, value)
        is_converged = new - value <= tolerance * (1 + abs(new))
        value = new
        if is_converged:
            return Mode(latent, slope, likelihood_of(targets, latent), is_converged=True)
    return Mode(latent, slope, likelihood_of(targets, latent), is_converged=False)


def line_search(
    gram: Floats, targets: Floats, slope: Floats, wanted: Floats, value: float
) -> tuple[Floats, Floats, float]:
    """The first of slope + 2^{-k} (wanted - slope) at which the objective does not fall."""
    for halving in range(HALVINGS):
        trial = slope + 0.5**halving * (wanted - slope)
        latent = gram @ trial
        new = likelihood_of(targets, latent) - float(np.sum(latent * trial)) / 2
        if new >= value:
            return trial, latent, new
    return slope, gram @ slope, value


def newton_weights(gram: Floats, targets: Floats, latent: Floats) -> Floats:
    """a = b - (I + W K)^{-1} W K b,  b = W f + Y - pi."""
    curved = curvature_times(latent, latent) + targets - probabilities(latent)
    return curved - precision_of(gram, latent).times(gram @ curved)


def probabilities(latent: Floats) -> Floats:
    """softmax of (n, classes); the logistic function of (n, 1)."""
    if latent.shape[1] > 1:
        return softmax(latent)
    return np.exp(-np.logaddexp(0, -latent))


def likelihood_of(targets: Floats, latent: Floats) -> float:
    """log p(labels | f)."""
    size = np.logaddexp(0, latent) if latent.shape[1] == 1 else np.logaddexp.reduce(latent, axis=1)
    return float(np.sum(targets * latent) - np.sum(size))


def curvature_times(latent: Floats, v: Floats) -> Floats:
    """W v,  W = diag(pi) - pi pi^T in the classes of each sample; pi (1 - pi) for two classes."""
    p = probabilities(latent)
    if latent.shape[1] == 1:
        return p * (1 - p) * v
    return p * (v - np.sum(p * v, axis=1, keepdims=True))


@dataclass(frozen=True, eq=False)
class Precision:
    """(I + W K)^{-1} W = E - E R (R^T E R)^{-1} R^T E,  E_c = D_c^{1/2} B_c^{-1} D_c^{1/2}, blocks (latents, n, n).

    D_c = diag(pi_c), B_c = I + D_c^{1/2} K D_c^{1/2}, R stacked identities (alg. 3.3); `lower` is the Cholesky factor
    of R^T E R = sum_c E_c, None for one latent function, which has E alone with D = diag(pi (1 - pi)).
    """

    blocks: Floats
    lower: Floats | None

    def times(self, v: Floats) -> Floats:
        """On (n, latents)."""
        inner = np.einsum("cij,jc->ic", self.blocks, v)
        if self.lower is None:
            return inner
        shared = np.linalg.solve(self.lower.T, np.linalg.solve(self.lower, inner.sum(axis=1)))
        return inner - np.einsum("cij,j->ic", self.blocks, shared)

    def between(self, cross: Floats) -> Floats:
        """k*^T (...) k* for each row k* of `cross`, (n_test, latents, latents)."""
        inner = self.blocks @ cross.T
        own = np.einsum("tj,cjt->tc", cross, inner)
        full = own[:, :, None] * np.eye(len(self.blocks))
        if self.lower is None:
            return full
        halves = np.linalg.solve(self.lower, inner)
        return full - np.einsum("akt,bkt->tab", halves, halves)


def precision_of(gram: Floats, latent: Floats) -> Precision:
    blocks = np.stack([whitened_inverse(gram, w) for w in block_weights(latent).T])
    return Precision(blocks, None if len(blocks) == 1 else np.linalg.cholesky(blocks.sum(axis=0)))


def block_weights(latent: Floats) -> Floats:
    """The diagonals D_c, (n, latents)."""
    p = probabilities(latent)
    return p * (1 - p) if latent.shape[1] == 1 else p


def whitened_inverse(gram: Floats, weights: Floats) -> Floats:
    """D^{1/2} (I + D^{1/2} K D^{1/2})^{-1} D^{1/2}."""
    root = np.sqrt(weights)
    inverse = np.asarray(np.linalg.inv(np.eye(len(gram)) + root[:, None] * gram * root), np.float64)
    return root[:, None] * inverse * root


def log_volume(gram: Floats, latent: Floats) -> float:
    """log det(I + K W):  sum_c log det B_c + log det(sum_c E_c) for the softmax, whose sum_c D_c is 1 (eq. 3.44)."""
    weights = block_weights(latent).T
    scaled = [np.eye(len(gram)) + np.sqrt(w)[:, None] * gram * np.sqrt(w) for w in weights]
    total = sum(float(np.linalg.slogdet(b)[1]) for b in scaled)
    if len(weights) == 1:
        return total
    return total + float(np.linalg.slogdet(sum(whitened_inverse(gram, w) for w in weights))[1])


def logistic_average(mean: Floats, variance: Floats) -> Floats:
    """E[logistic(m + s z)] for both classes, (n_test, 2):  by quadrature in z for s < 1, else of Phi((m - l) / s).

    The second has l distributed by the logistic density and stays smooth for large s.
    """
    from scipy.special import ndtr

    s = np.sqrt(variance)[:, None]
    m = mean[:, None]
    z, weights = np.polynomial.hermite_e.hermegauss(NODES)
    narrow = np.exp(-np.logaddexp(0, -(m + s * z))) @ weights / math.sqrt(2 * math.pi)
    points = np.arange(-REACH, REACH + STEP, STEP)
    density = STEP / (4 * np.cosh(points / 2) ** 2)
    wide = ndtr((m - points) / np.maximum(s, 1)) @ density
    second = np.where(s[:, 0] < 1, narrow, wide)
    return np.stack([1 - second, second], axis=1)


def softmax(values: Floats) -> Floats:
    return np.asarray(np.exp(values - np.logaddexp.reduce(values, axis=1, keepdims=True)), np.float64)
