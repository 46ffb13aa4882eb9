"""(x, y)  ->  a trained network of infinite width:  f(x*) = K(x*, x) (I - e^{-G tau}) G^{-1} y,  G = K + ridge I.

Arrays are kept in numpy, whose pickles keep float64 whatever JAX's default in the process that reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from ntkc.errors import InvalidInput, unknown
from ntkc.predict.factor import Cholesky, Factor, Spectrum, cholesky_factor, spectral_factor
from ntkc.predict.posterior import MODES, ensemble_covariance, process_covariance
from ntkc.predict.targets import require_finite, require_not_negative
from ntkc.sklearn.blocks import in_chunks, kernel_block, precision
from ntkc.sklearn.recipes import Recipe, read_closed_recipe

DTYPES = ("float32", "float64")
ROWS_OF_COVARIANCE = 256
"""Rows whose covariance is computed for its diagonal."""


@dataclass(frozen=True)
class TrainingPlan:
    """What to train and how: the kernel `get` of a network, ridge, time (learning rate times t) and precision."""

    recipe: Recipe
    get: str
    ridge: float
    is_absolute: bool
    time: float
    dtype: str

    def gram(self, x: Any) -> Any:
        """The kernel of the training set."""
        return kernel_block(self.recipe.program, self.get, x)

    def factorise(self, gram: Any) -> Factor:
        """Cholesky's for infinite time, the spectrum for finite."""
        ridge = self.ridge if self.is_absolute else self.ridge * np.trace(gram) / len(gram)
        factorise = cholesky_factor if np.isinf(self.time) else spectral_factor
        with precision(self.dtype):
            return in_numpy(factorise(self.get.upper(), jnp.asarray(gram), jnp.asarray(ridge, gram.dtype)))

    def tau(self, size: int) -> Any:
        """time / size, (1,), so bounded that e^{-lambda tau} has no 0 * infinity."""
        return np.minimum([self.time / size], np.finfo(self.dtype).max ** 0.5).astype(self.dtype)

    def weights(self, factor: Factor, y: Any) -> Any:
        """(I - e^{-G tau}) G^{-1} y:  (n, outputs)."""
        with np.errstate(over="ignore"):
            y = np.asarray(y, self.dtype)
        require_finite(f"y in {self.dtype}", y)
        with precision(self.dtype):
            found = np.asarray(factor.ramp(jnp.asarray(y), self.tau(y.size)))
        return found.reshape(y.shape)


def read_plan(
    network: Any, get: str, ridge: Any, is_absolute: bool, t: Any, learning_rate: Any, dtype: Any
) -> TrainingPlan:
    """The checked parameters of an estimator.

    Raises:
        InvalidInput, UnknownName, InvalidGraph: which says what is wrong with them.
    """
    given = {"ridge": ridge, "t": np.inf if t is None else t, "learning_rate": learning_rate}
    for name, value in given.items():
        if not isinstance(value, (int, float, np.number)) or isinstance(value, bool):
            raise InvalidInput(f"{name} is {value!r}, but must be a number; give one >= 0")
        require_not_negative(name, value)
    require_finite("ridge", ridge)
    require_finite("learning_rate", learning_rate)
    time = np.inf if np.isinf(given["t"]) else float(given["t"]) * float(learning_rate)
    return TrainingPlan(read_closed_recipe(network), get, float(ridge), bool(is_absolute), time, read_dtype(dtype))


def read_dtype(dtype: Any) -> str:
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = repr(dtype)
    if name not in DTYPES:
        raise unknown("dtype", name, DTYPES)
    return name


@dataclass(frozen=True, eq=False)
class Predictor:
    """x* -> K(x*, x) weights:  the mean of the trained network, and all that a prediction of it needs."""

    plan: TrainingPlan
    x: Any
    weights: Any

    def cross(self, x: Any, get: str) -> Any:
        """The kernel between rows of x and the training set."""
        return kernel_block(self.plan.recipe.program, get, x, self.x)

    def mean(self, x: Any) -> Any:
        """[n*, outputs], in float64."""
        x = x.astype(self.plan.dtype)
        parts = [self.cross(rows, self.plan.get) @ self.weights for rows in in_chunks(x, len(self.x))]
        return np.concatenate(parts).astype(np.float64)


@dataclass(frozen=True, eq=False)
class NetworkPosterior:
    """The covariance of trained networks over their random initialisations (of a Gaussian process, given data)."""

    predictor: Predictor
    factor: Factor
    tau: Any

    def covariance(self, x: Any) -> Any:
        """[n*, n*], of each output."""
        return self._covariance_fn()(x.astype(self.predictor.plan.dtype))

    def std(self, x: Any) -> Any:
        """Square roots of the variances [n*]; those that rounding makes negative count as 0."""
        covariance = self._covariance_fn()
        x = x.astype(self.predictor.plan.dtype)
        starts = range(0, len(x), ROWS_OF_COVARIANCE)
        variances = [np.diagonal(covariance(x[i : i + ROWS_OF_COVARIANCE])) for i in starts]
        return np.sqrt(np.maximum(np.concatenate(variances), 0))

    def _covariance_fn(self) -> Callable[[Any], Any]:
        plan = self.predictor.plan
        trained, initial = MODES[plan.get]
        if trained == initial:
            return self._process_covariance
        train = kernel_block(plan.recipe.program, initial, self.predictor.x)
        return lambda x: self._ensemble_covariance(x, initial, train)

    def _process_covariance(self, x: Any) -> Any:
        plan = self.predictor.plan
        cross, prior = self.predictor.cross(x, plan.get), kernel_block(plan.recipe.program, plan.get, x)
        with precision(plan.dtype):
            found = process_covariance(self.factor, self.tau, jnp.asarray(cross), jnp.asarray(prior))
            return np.asarray(found.reshape(prior.shape), np.float64)

    def _ensemble_covariance(self, x: Any, initial: str, train: Any) -> Any:
        plan = self.predictor.plan
        cross, before = self.predictor.cross(x, plan.get), self.predictor.cross(x, initial)
        prior = kernel_block(plan.recipe.program, initial, x)
        with precision(plan.dtype):
            blocks = map(jnp.asarray, (cross, before, train, prior))
            found = ensemble_covariance(self.factor, self.tau, *blocks)
            return np.asarray(found.reshape(prior.shape), np.float64)


def train(plan: TrainingPlan, x: Any, y: Any) -> NetworkPosterior:
    """Train on x [n, features] and y [n, outputs].

    Warns:
        NotPositiveDefinite: the kernel needed a jitter.
    """
    x = np.asarray(x, plan.dtype)
    factor = plan.factorise(plan.gram(x))
    return NetworkPosterior(Predictor(plan, x, plan.weights(factor, y)), factor, plan.tau(y.size))


def in_numpy(factor: Factor) -> Factor:
    """The same factor, its arrays in numpy."""
    assert isinstance(factor, (Spectrum, Cholesky))
    return replace(factor, **{f.name: np.asarray(getattr(factor, f.name)) for f in fields(factor)})
