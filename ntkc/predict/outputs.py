"""Outputs after training from outputs before:  f(0) -> f(t) on the training set, on a test set, or on both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax.numpy as jnp
from jax import Array

from ntkc.errors import InvalidInput, ShapeMismatch
from ntkc.predict.factor import Factor, Spectrum, residual
from ntkc.predict.posterior import Factors, mean_at
from ntkc.predict.targets import (
    Shape,
    Targets,
    flatten_pairs,
    read_cross,
    read_gram,
    read_numbers,
    read_targets,
    require_finite,
    require_number,
)

# The label of the factorisations in warnings.
TRAINED = "k_train_train"


class OutputsFn(Protocol):
    def __call__(
        self, t: Any = None, fx_train_0: Any = 0.0, fx_test_0: Any = None, k_test_train: Any = None
    ) -> Array | tuple[Array, Array]: ...


@dataclass(frozen=True, eq=False)
class Request:
    """What one call starts from: f(0) as (m, c), f*(0) as (m*, c), K* as (m*, m), and which results to return."""

    train: Array
    test: Array | None
    cross: Array | None
    kept: Shape
    is_train_wanted: bool


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Kernel and targets of training, checked, and the factorisations that all calls share."""

    block: Array
    targets: Targets
    factors: Factors

    @property
    def dtype(self) -> Any:
        return self.block.dtype

    def factorise(self, is_infinite: bool) -> Factor:
        return self.factors.factorise(TRAINED, self.block, is_infinite)

    @property
    def spectrum(self) -> Spectrum:
        """The eigendecomposition behind every time but infinity."""
        factor = self.factorise(is_infinite=False)
        assert isinstance(factor, Spectrum)
        return factor

    def outputs(self, factor: Factor, tau: Array, times: Shape, request: Request) -> Array | tuple[Array, Array]:
        """y - R (y - f(0)),  R = 1 - K ramp(G),  and on a test set f*(0) + K* ramp(G) (y - f(0))."""
        y = self.targets.cast(self.dtype)
        error = y - request.train
        train = y - residual(factor, error, tau) if request.is_train_wanted else None
        test = None if request.test is None else request.test + mean_at(factor, error, tau, request.cross)
        return restore_wanted(self.targets, train, test, times, request.kept)


def read_training_set(
    k_train_train: Any,
    y_train: Any,
    diag_reg: float = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: int | Sequence[int] = (-1,),
) -> TrainingSet:
    require_number("diag_reg", diag_reg)
    targets = read_targets(y_train, trace_axes)
    block = read_gram("k_train_train", k_train_train, targets.kept)
    return TrainingSet(block, targets, Factors(diag_reg, diag_reg_absolute_scale))


def read_request(train: TrainingSet, fx_train_0: Any, fx_test_0: Any, k_test_train: Any) -> Request:
    """Checks the outputs before training; `fx_train_0` None counts as 0 and is not asked for, like `fx_test_0` None."""
    if fx_train_0 is None and fx_test_0 is None:
        raise InvalidInput("fx_train_0 and fx_test_0 are both None, so there is nothing to predict; give one of them")
    if fx_test_0 is not None and k_test_train is None:
        raise InvalidInput("fx_test_0 is given without k_test_train; give the kernel of (x_test, x_train) too")
    start = read_outputs("fx_train_0", fx_train_0, train, train.targets.kept)
    if fx_test_0 is None:
        return Request(start, None, None, (), is_train_wanted=True)
    block = read_cross("k_test_train", k_test_train, train.targets.kept).astype(train.dtype)
    kept = block.shape[::2]
    test = read_outputs("fx_test_0", fx_test_0, train, kept)
    return Request(start, test, flatten_pairs(block), kept, is_train_wanted=fx_train_0 is not None)


def read_outputs(name: str, outputs: Any, train: TrainingSet, kept: Shape) -> Array:
    """A number, or an array that broadcasts to the shape of the outputs, -> (m, c); None is 0."""
    shape = train.targets.shape_of(kept)
    found = jnp.asarray(read_numbers(name, 0 if outputs is None else outputs))
    if not is_broadcast(found.shape, shape):
        raise ShapeMismatch(
            f"{name} has shape {found.shape}, but the outputs have shape {shape}; give one number, or one per output"
        )
    require_finite(name, found)
    return train.targets.flatten(jnp.broadcast_to(found.astype(train.dtype), shape))


def is_broadcast(shape: Shape, wanted: Shape) -> bool:
    """Whether an array of `shape` can be repeated to the shape `wanted`."""
    return len(shape) <= len(wanted) and all(
        size in (1, want) for size, want in zip(shape[::-1], wanted[::-1], strict=False)
    )


def restore_wanted(
    targets: Targets, train: Array | None, test: Array | None, times: Shape, kept: Shape
) -> Array | tuple[Array, Array]:
    """(n_times, m, c) in the shapes of the outputs: one array, or a pair where train and test are wanted."""
    pairs = ((train, targets.kept), (test, kept))
    wanted = [targets.restore(found, times, sizes) for found, sizes in pairs if found is not None]
    return wanted[0] if len(wanted) == 1 else (wanted[0], wanted[1])


def read_momentum(momentum: Any) -> float:
    require_number("momentum", momentum)
    value = float(momentum)
    if not 0 <= value < 1:
        raise InvalidInput(f"momentum is {value}, but must be at least 0 and below 1; usual values are 0 and 0.9")
    return value


def read_rate(learning_rate: Any) -> Any:
    require_number("learning_rate", learning_rate)
    return learning_rate
