"""`gradient_descent_mse_ensemble`: an infinite ensemble of infinitely wide networks during training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from ntkc.data import broadcasting
from ntkc.errors import InvalidInput
from ntkc.predict.factor import is_concrete
from ntkc.predict.posterior import DEFAULT_GET, MODES, Blocks, Factors, Get, Times, predict_modes, read_get
from ntkc.predict.targets import (
    Targets,
    merge_keywords,
    part_of,
    read_cross,
    read_gram,
    read_targets,
    require_alike,
    require_not_negative,
    require_number,
)

KernelFn = Callable[..., Any]


class EnsembleFn(Protocol):
    def __call__(
        self,
        t: Any = None,
        x_test: Any = None,
        get: Get = None,
        compute_cov: bool = False,
        **kernel_fn_test_test_kwargs: Any,
    ) -> Any: ...


def gradient_descent_mse_ensemble(
    kernel_fn: KernelFn,
    x_train: Any,
    y_train: Any,
    learning_rate: float = 1.0,
    diag_reg: float = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: int | Sequence[int] = (-1,),
    **kernel_fn_train_train_kwargs: Any,
) -> EnsembleFn:
    """Gradient flow for a time t on the loss |f - y|^2 / (2 n), n = y.size, with tau = learning_rate t / n:

        ntk    mean A y,  covariance A K A^T - (A K*^T + K* A^T) + K**,  A = T* (I - e^{-G tau}) G^{-1},  G = T + reg I
        nngp   mean K* (I - e^{-G tau}) G^{-1} y,  covariance K** - K* (I - e^{-2 G tau}) G^{-1} K*^T,    G = K + reg I

    T is the NTK (all layers train), K the NNGP kernel (the last layer trains), * a test index; reg = diag_reg, times
    tr / m unless `diag_reg_absolute_scale` (Lee et al. 2019, arXiv:1902.06720, secs. 2.2-2.3, Corollary 1).

    Shapes: y (n, ...); kernels zip(y.shape, y.shape) less `trace_axes`. Targets (n,) are one output, predictions then
    (n_test,); integers count as floats. `kernel_fn(x1, x2, get, **keywords)` gives an array for a name and an object
    with fields, or a mapping, for a tuple; x2 None stands for x1.

    Returns f(t=None, x_test=None, get=None, compute_cov=False, **keywords). t: None for infinity, a number, or an array
    whose axes lead those of the results. x_test: None for x_train. For `get` a name: the mean, or a `Gaussian` with
    `compute_cov`; for a tuple, or None for ("nngp", "ntk"): a namedtuple of those. Test keywords replace those of
    training; pairs of arrays become (test of x_test, train of x_train) between the two sets. Works under jit and grad.

    With diag_reg > 0, x_test None still equals x_test = x_train; the peer has y - e^{-G tau} y there, and y at t None.

    Raises `InvalidInput`, `ShapeMismatch`, `UnknownName`; warns `NotPositiveDefinite` with the jitter it added.
    """
    require_number("diag_reg", diag_reg)
    require_number("learning_rate", learning_rate)
    targets = read_targets(y_train, trace_axes)
    factors = Factors(diag_reg, diag_reg_absolute_scale)
    return Ensemble(kernel_fn, x_train, targets, learning_rate, factors, kernel_fn_train_train_kwargs).predict_fn


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The training set and its kernels, computed when first needed; `predict_fn` is what the user gets."""

    kernel_fn: KernelFn
    x_train: Any
    targets: Targets
    learning_rate: float
    factors: Factors
    keywords: dict[str, Any]
    grams: dict[str, Array] = field(default_factory=dict[str, Array])

    def predict_fn(
        self,
        t: Any = None,
        x_test: Any = None,
        get: Get = None,
        compute_cov: bool = False,
        **kernel_fn_test_test_kwargs: Any,
    ) -> Any:
        """Mean, or mean and covariance, of the outputs on `x_test` at time t; see `gradient_descent_mse_ensemble`."""
        modes = read_get(get, DEFAULT_GET)
        times = read_times(t, self.learning_rate, self.targets.size)
        names = kernel_names(modes, compute_cov)
        train = self.train_blocks(names)
        blocks = Blocks(train.__getitem__, None, train.__getitem__ if compute_cov else None)
        if x_test is not None:
            require_alike(self.x_train, x_test)
            blocks = self.test_blocks(blocks, names, x_test, compute_cov, kernel_fn_test_test_kwargs)
        with broadcasting():
            return predict_modes(get, DEFAULT_GET, self.targets, self.factors, times, blocks)

    def train_blocks(self, names: tuple[str, ...]) -> dict[str, Array]:
        """Kernels of the training set; those that are numbers, not traced values, are kept for later calls."""
        missing = tuple(name for name in names if name not in self.grams)
        if not missing:
            return self.grams
        kept = self.targets.kept
        with jax.ensure_compile_time_eval():
            found = call_kernel(self.kernel_fn, self.x_train, None, missing, self.keywords)
            found = {k: read_gram(f"the {k} of x_train", v, kept) for k, v in found.items()}
        if is_concrete(found):
            self.grams.update(found)
        return {**self.grams, **found}

    def test_blocks(
        self, train: Blocks, names: tuple[str, ...], x_test: Any, compute_cov: bool, keywords: dict[str, Any]
    ) -> Blocks:
        """K* for each name, and the NNGP K** if a covariance is asked for."""
        kept = self.targets.kept
        crossed, tested = merge_keywords(self.keywords, keywords)
        found = call_kernel(self.kernel_fn, x_test, self.x_train, names, crossed)
        found = {k: read_cross(f"the {k} of (x_test, x_train)", v, kept) for k, v in found.items()}
        if not compute_cov:
            return Blocks(train.train, found.__getitem__, None)
        test = found[names[0]].shape[::2]
        prior = call_kernel(self.kernel_fn, x_test, None, ("nngp",), tested)["nngp"]
        prior = read_gram("the nngp of x_test", prior, test)
        return Blocks(train.train, found.__getitem__, lambda _: prior)


def kernel_names(modes: Sequence[str], compute_cov: bool) -> tuple[str, ...]:
    """The kernels that the modes train with and, for a covariance, start from."""
    columns = (0, 1) if compute_cov else (0,)
    needed = {MODES[mode][column] for mode in modes for column in columns}
    return tuple(name for name in DEFAULT_GET if name in needed)


def call_kernel(
    kernel_fn: KernelFn, x1: Any, x2: Any, names: tuple[str, ...], keywords: dict[str, Any]
) -> dict[str, Any]:
    if len(names) == 1:
        return {names[0]: kernel_fn(x1, x2, names[0], **keywords)}
    kernel = kernel_fn(x1, x2, names, **keywords)
    found = {name: part_of(kernel, name) for name in names}
    missing = [name for name, block in found.items() if block is None]
    if missing:
        raise InvalidInput(
            f"kernel_fn gave a {type(kernel).__name__} without {missing} for get={names!r}; it must return an object "
            "with a field, or a mapping with a key, for each name"
        )
    return found


def read_times(t: Any, learning_rate: float, size: int) -> Times:
    """tau = learning_rate t / size, flattened; None is infinity."""
    if t is None:
        return Times(jnp.full((1,), jnp.inf), (), is_infinite=True)
    require_not_negative("t", t)
    t = jnp.asarray(t, float)
    tau = jnp.minimum(t, jnp.finfo(t.dtype).max) * learning_rate / size
    return Times(tau.reshape(-1), t.shape, is_infinite=False)
