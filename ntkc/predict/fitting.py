"""`fit_hyperparameters`: the hyper-parameters and the ridge of the largest log marginal likelihood."""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from ntkc.errors import InvalidInput, NotPositiveDefinite, SolverNotConverged
from ntkc.predict.likelihood import NOTHING, KernelFn, gram_of, log_marginal_likelihood
from ntkc.predict.progress import counting_bar
from ntkc.predict.targets import read_numbers, require_count, require_finite, require_not_negative, require_number

Floats = npt.NDArray[np.float64]
Bounds = tuple[float, float]
RIDGE = "diag_reg"
REFUSED = 1e25
"""Objective where the kernel is not finite: the line search steps back."""


@dataclass(frozen=True)
class Start:
    """Where one search began and ended."""

    begin: Mapping[str, float]
    end: Mapping[str, float]
    log_marginal_likelihood: float
    is_converged: bool
    message: str


@dataclass(frozen=True)
class FittedHyperparameters:
    """The best end of all starts; `parameters` are keyword arguments of the kernel."""

    parameters: Mapping[str, float]
    diag_reg: float
    log_marginal_likelihood: float
    starts: tuple[Start, ...]
    is_converged: bool


@dataclass(frozen=True, eq=False)
class Search:
    """The box of a search:  theta = log value where the lower bound is positive, else the value."""

    bounds: Mapping[str, Bounds]
    fixed: Mapping[str, float]

    @property
    def box(self) -> Floats:
        """(lower, upper) of theta, a row each."""
        rows = [[math.log(v) if low > 0 else v for v in (low, high)] for low, high in self.bounds.values()]
        return np.array(rows, np.float64).reshape(-1, 2)

    def values(self, theta: Any) -> dict[str, Any]:
        """theta -> a value for each hyper-parameter, the fixed ones too."""
        found = {
            name: jnp.exp(v) if self.bounds[name][0] > 0 else v for name, v in zip(self.bounds, theta, strict=True)
        }
        return {**self.fixed, **found}

    def numbers(self, theta: Floats) -> dict[str, float]:
        """As floats within the bounds, which exp(log) may leave by rounding."""
        found = {name: float(value) for name, value in self.values(theta).items()}
        return {n: float(np.clip(v, *self.bounds[n])) if n in self.bounds else v for n, v in found.items()}

    def begins(self, starts: int, seed: int) -> Floats:
        """The middle of the box, then uniform draws from it: (starts, parameters)."""
        low, high = self.box.T
        draws = np.random.default_rng(seed).uniform(low, high, (starts - 1, len(low)))
        return np.concatenate([(low + high)[None] / 2, draws])


def fit_hyperparameters(
    kernel_fn: KernelFn,
    x_train: Any,
    y_train: Any,
    bounds: Mapping[str, Bounds],
    get: str = "nngp",
    diag_reg: float | Bounds = (1e-6, 1.0),
    diag_reg_absolute_scale: bool = False,
    *,
    fixed: Mapping[str, float] = NOTHING,
    starts: int = 4,
    seed: int = 0,
    max_steps: int = 200,
    progress: bool | None = None,
) -> FittedHyperparameters:
    """argmax over the bounds of log p(y | x, parameters, diag_reg), by L-BFGS-B from several starts, in float64.

    `bounds` has (least, largest) for each open hyper-parameter of `kernel_fn` that is sought, `fixed` a value for each
    other one; a pair for `diag_reg` seeks the ridge too, a number keeps it. Those whose least value is positive are
    sought by their logarithm. The first start is the middle of the bounds, the others are drawn by `seed`. Arguments
    else as in `log_marginal_likelihood`. `progress` None shows a bar on a terminal.

    Warns `SolverNotConverged` if the best start did not converge in `max_steps`, `NotPositiveDefinite` if the Gram
    matrix found needs jitter. Raises `InvalidInput`, `ShapeMismatch`, `UnknownName`.
    """
    search = read_search(bounds, fixed, diag_reg)
    require_count("starts", starts)
    require_count("max_steps", max_steps)
    require_count("seed", seed, 0)
    with jax.enable_x64(True):
        require_finite("x_train", x_train)
        x, y = jnp.asarray(x_train, jnp.float64), jnp.asarray(np.asarray(y_train, np.float64))
        evidence = Evidence(search, kernel_fn, x, y, get, diag_reg_absolute_scale)
        gram_of(kernel_fn, x, y, get, without_ridge(search.numbers(search.begins(1, seed)[0])))
        loss = jax.jit(jax.value_and_grad(evidence.loss))
        found: list[Start] = []
        with quiet_jitter(), counting_bar(progress, "log marginal likelihood", starts) as tell:
            for begin in search.begins(starts, seed):
                found.append(climb(loss, search, begin, max_steps))
                tell(f"best {max(start.log_marginal_likelihood for start in found):.6g}")
            jax.effects_barrier()
        best = max(found, key=lambda start: start.log_marginal_likelihood)
        if best.log_marginal_likelihood <= -REFUSED:
            raise InvalidInput("the log marginal likelihood is finite at no start; give narrower bounds")
        value = float(evidence.at(best.end))
    if not best.is_converged:
        warnings.warn(
            f"the best of {starts} searches for hyper-parameters did not converge: {best.message}; allow more "
            "max_steps or starts, or give narrower bounds",
            SolverNotConverged,
            stacklevel=2,
        )
    return FittedHyperparameters(without_ridge(best.end), best.end[RIDGE], value, tuple(found), best.is_converged)


@dataclass(frozen=True, eq=False)
class Evidence:
    """The log marginal likelihood as a function of hyper-parameters alone."""

    search: Search
    kernel_fn: KernelFn
    x: Any
    y: Any
    get: str
    is_absolute: bool

    def at(self, values: Mapping[str, Any]) -> jax.Array:
        ridge = values[RIDGE]
        return log_marginal_likelihood(
            self.kernel_fn, self.x, self.y, self.get, ridge, self.is_absolute, without_ridge(values)
        )

    def loss(self, theta: Any) -> jax.Array:
        return -self.at(self.search.values(theta))


def climb(loss: Callable[[Any], tuple[Any, Any]], search: Search, begin: Floats, max_steps: int) -> Start:
    """One search by L-BFGS-B."""
    from scipy.optimize import minimize  # of no use to any other prediction

    options = {"maxiter": max_steps}
    done = minimize(partial(guarded, loss), begin, jac=True, method="L-BFGS-B", bounds=search.box, options=options)
    is_converged = bool(done.success) and float(done.fun) < REFUSED
    return Start(search.numbers(begin), search.numbers(done.x), -float(done.fun), is_converged, str(done.message))


def guarded(loss: Callable[[Any], tuple[Any, Any]], theta: Floats) -> tuple[float, Floats]:
    """Loss and slope as numpy float64; a large number with slope 0 where either is not finite."""
    value, slope = loss(theta)
    slopes = np.asarray(slope, np.float64)
    if not np.isfinite(value) or not np.isfinite(slopes).all():
        return REFUSED, np.zeros_like(slopes)
    return float(value), slopes


def read_search(bounds: Mapping[str, Any], fixed: Mapping[str, float], diag_reg: Any) -> Search:
    if not isinstance(bounds, Mapping):
        raise InvalidInput(f"bounds is {bounds!r}, but must be a mapping from names to (least, largest)")
    if RIDGE in bounds or RIDGE in fixed:
        raise InvalidInput("diag_reg is among the hyper-parameters; give it, or a pair of its bounds, as diag_reg")
    both = sorted(set(bounds) & set(fixed))
    if both:
        raise InvalidInput(f"{both} have bounds and a fixed value; give one of them")
    for name, value in fixed.items():
        require_finite(f"fixed {name!r}", value)
    if np.ndim(diag_reg) > 0:
        require_bounds(RIDGE, diag_reg)
        require_not_negative(RIDGE, diag_reg)
        bounds = {**bounds, RIDGE: diag_reg}
    else:
        require_number(RIDGE, diag_reg)
        fixed = {**fixed, RIDGE: float(diag_reg)}
    if not bounds:
        raise InvalidInput("bounds are empty, so there is nothing to fit; give (least, largest) for a hyper-parameter")
    for name, pair in bounds.items():
        require_bounds(name, pair)
    return Search(dict(bounds), dict(fixed))


def require_bounds(name: str, pair: Any) -> None:
    given = np.asarray(read_numbers(f"the bounds of {name}", pair), np.float64)
    if given.shape != (2,) or not np.isfinite(given).all() or not given[0] < given[1]:
        raise InvalidInput(f"the bounds of {name} are {pair}; give two finite numbers, (least, largest)")


def without_ridge(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != RIDGE}


def quiet_jitter() -> warnings.catch_warnings:
    """Jitter on the way to the best values is no news; that of the best values is reported."""
    return warnings.catch_warnings(action="ignore", category=NotPositiveDefinite)
