"""Means and covariances at a scaled time tau, from kernel blocks and factors; what every predictor shares.

On the training set K* = K, where K ramp(G) = I - R with R = `residual` needs no product with K, which would cancel.
"""

import functools
from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ntkc.errors import InvalidInput, unknown
from ntkc.predict.factor import Factor, cholesky_factor, is_concrete, matmul, residual, spectral_factor
from ntkc.predict.targets import Shape, Targets, flatten_pairs, restore_pairs

Get = str | Sequence[str] | None
Block = Callable[[str], Array]

# Mode of prediction: the kernel it trains with, and the kernel of the outputs before training.
MODES = {"nngp": ("nngp", "nngp"), "ntk": ("ntk", "nngp"), "ntkgp": ("ntk", "ntk")}
DEFAULT_GET = ("nngp", "ntk")


class GaussianOutputs(NamedTuple):
    """N(mean, covariance): the mean has the shape of the outputs, the covariance that of the kernel."""

    mean: Array
    covariance: Array


@dataclass(frozen=True, eq=False)
class Blocks:
    """Kernel blocks by name: K, K* (None on the training set) and K** (None without covariance)."""

    train: Block
    cross: Block | None
    prior: Block | None


@dataclass(frozen=True, eq=False)
class Times:
    """Scaled times tau (n_times,), their shape in the results, and whether all are infinite."""

    tau: Array
    shape: Shape
    is_infinite: bool


@dataclass(frozen=True, eq=False)
class Factors:
    """Factorisations by kernel name and kind, each made once; those with traced numbers are not kept."""

    diag_reg: float
    is_absolute: bool
    made: dict[tuple[str, bool], Factor] = field(default_factory=dict[tuple[str, bool], Factor])

    def factorise(self, name: str, block: Array, is_infinite: bool) -> Factor:
        """A Cholesky factor for infinite time, a spectrum for any time."""
        if (name, is_infinite) in self.made:
            return self.made[name, is_infinite]
        # A known matrix is factorised now even under jit, so that later calls, jitted or not, share the result.
        with jax.ensure_compile_time_eval():
            gram = flatten_pairs(block)
            ridge = jnp.asarray(self.diag_reg, gram.dtype)
            ridge = ridge if self.is_absolute else ridge * jnp.trace(gram) / gram.shape[0]
            factor = (cholesky_factor if is_infinite else spectral_factor)(name.upper(), gram, ridge)
        if is_concrete(factor.gram):
            self.made[name, is_infinite] = factor
        return factor


def predict_modes(
    get: Get, known: Sequence[str], targets: Targets, factors: Factors, times: Times, blocks: Blocks
) -> Any:
    """The prediction for a name, a namedtuple of predictions for a tuple of names or None."""
    modes = read_get(get, known)
    predictions = [predict_mode(mode, targets, factors, times, blocks) for mode in modes]
    return predictions[0] if isinstance(get, str) else gaussians_type(modes)(*predictions)


def predict_mode(
    mode: str, targets: Targets, factors: Factors, times: Times, blocks: Blocks
) -> Array | GaussianOutputs:
    trained, initial = MODES[mode]
    factor = factors.factorise(trained, blocks.train(trained), times.is_infinite)
    block = blocks.cross(trained) if blocks.cross else blocks.train(trained)
    kept = block.shape[::2]
    cross = flatten_pairs(block) if blocks.cross else None
    tau = bound_time(times.tau, block.dtype)
    mean = targets.restore(mean_at(factor, targets.cast(block.dtype), tau, cross), times.shape, kept)
    if blocks.prior is None:
        return mean
    prior = flatten_pairs(blocks.prior(initial))
    if trained == initial:
        covariance = process_covariance(factor, tau, cross, prior)
    else:
        before = flatten_pairs(blocks.cross(initial)) if blocks.cross else None
        covariance = ensemble_covariance(factor, tau, cross, before, flatten_pairs(blocks.train(initial)), prior)
    return GaussianOutputs(mean, restore_pairs(covariance, times.shape, kept))


def bound_time(tau: Array, dtype: Any) -> Array:
    """Infinity -> a number so large that e^{-lambda tau} = 0, free of 0 * infinity."""
    return jnp.minimum(tau.astype(dtype), jnp.finfo(dtype).max ** 0.5)


def mean_at(factor: Factor, y: Array, tau: Array, cross: Array | None) -> Array:
    """K* ramp(G) y;  y - R y on the training set:  (n_times, m*, c)."""
    if cross is None:
        return y - residual(factor, y, tau)
    return matmul(cross, factor.ramp(y, tau))


def process_covariance(factor: Factor, tau: Array, cross: Array | None, prior: Array) -> Array:
    """K** - K* ramp(G, 2 tau) K*^T;  R(2 tau) K on the training set:  (n_times, m*, m*)."""
    if cross is None:
        return residual(factor, prior, 2 * tau)
    return prior - matmul(cross, factor.ramp(cross.T, 2 * tau))


def ensemble_covariance(
    factor: Factor, tau: Array, cross: Array | None, before: Array | None, train: Array, prior: Array
) -> Array:
    """A K A^T - (A K*^T + K* A^T) + K**,  A = T* ramp(G);  R K R on the training set:  (n_times, m*, m*)."""
    if cross is None or before is None:
        return residual(factor, transpose(residual(factor, train, tau)), tau)
    weights = factor.ramp(cross.T, tau)
    mixed = matmul(before, weights)
    return prior + matmul(transpose(weights), matmul(train, weights)) - mixed - transpose(mixed)


def transpose(matrices: Array) -> Array:
    return jnp.swapaxes(matrices, -1, -2)


def read_get(get: Get, known: Sequence[str]) -> tuple[str, ...]:
    """None -> nngp and ntk, a name -> (name,); lower case."""
    given = DEFAULT_GET if get is None else get if isinstance(get, Sequence) and not isinstance(get, str) else (get,)
    names = tuple(str(name).lower() for name in given)
    for name in names:
        if name not in known:
            raise unknown("prediction", name, known)
    if not names or len(set(names)) < len(names):
        raise InvalidInput(f"get is {get!r}, but must name one prediction or several different ones of {sorted(known)}")
    return names


@functools.cache
def gaussians_type(names: tuple[str, ...]) -> Any:
    return namedtuple("Gaussians", names)  # pyright: ignore[reportUntypedNamedTuple]
