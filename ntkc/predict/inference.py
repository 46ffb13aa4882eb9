"""`gp_inference`: posteriors at infinite time from kernels that the caller has computed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ntkc.errors import InvalidInput
from ntkc.predict.posterior import MODES, Block, Blocks, Factors, Get, Times, predict_modes, read_get
from ntkc.predict.targets import Shape, Targets, part_of, read_cross, read_gram, read_targets, require_number


class PosteriorFn(Protocol):
    def __call__(self, get: Get = None, k_test_train: Any = None, k_test_test: Any = None) -> Any: ...


def gp_inference(
    k_train_train: Any,
    y_train: Any,
    diag_reg: float = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: int | Sequence[int] = (-1,),
) -> PosteriorFn:
    """Posterior of a Gaussian process or of a fully trained ensemble, with G = K + reg I:

        nngp   mean K* G^{-1} y,  covariance K** - K* G^{-1} K*^T
        ntkgp  the same with T in place of K
        ntk    mean A y,          covariance A K A^T - (A K*^T + K* A^T) + K**,  A = T* (T + reg I)^{-1}

    K is the NNGP kernel, T the NTK, * a test index; reg = diag_reg, times tr / m unless `diag_reg_absolute_scale`
    (Lee et al. 2019, arXiv:1902.06720, sec. 2.3; ntkgp: He et al. 2020, arXiv:2007.05864).

    Shapes: y (n, ...); kernels zip(y.shape, y.shape) less `trace_axes`, as arrays, or as objects or mappings that have
    `nngp` and `ntk`. Targets (n,) are one output, predictions then (n_test,); integers count as floats.

    Returns f(get=None, k_test_train=None, k_test_test=None). For `get` a name: the mean, or a `Gaussian` if
    `k_test_test` is given; for a tuple, or None for ("nngp", "ntk"): a namedtuple of those. Without `k_test_train` it
    predicts the training set, as k_test_train = k_train_train would, and any `k_test_test` asks for the covariance.
    The peer returns y with covariance 0 there, as if diag_reg were 0.

    Raises `InvalidInput`, `ShapeMismatch`, `UnknownName`; warns `NotPositiveDefinite` with the jitter it added.
    """
    require_number("diag_reg", diag_reg)
    targets = read_targets(y_train, trace_axes)
    return Posterior(k_train_train, targets, Factors(diag_reg, diag_reg_absolute_scale)).predict_fn


@dataclass(frozen=True, eq=False)
class Posterior:
    """The training set of `gp_inference`; `predict_fn` is what the user gets."""

    k_train_train: Any
    targets: Targets
    factors: Factors

    def predict_fn(self, get: Get = None, k_test_train: Any = None, k_test_test: Any = None) -> Any:
        if k_test_test is not None:
            require_initial_kernel(get, k_train_train=self.k_train_train, k_test_train=k_test_train)
        kept = self.targets.kept
        train = partial(pick_block, read_gram, "k_train_train", self.k_train_train, kept)
        cross = None if k_test_train is None else partial(pick_block, read_cross, "k_test_train", k_test_train, kept)
        prior = None if k_test_test is None else train
        if prior and cross:
            prior = partial(pick_prior, k_test_test, cross)
        never = Times(jnp.full((1,), jnp.inf), (), is_infinite=True)
        return predict_modes(get, tuple(MODES), self.targets, self.factors, never, Blocks(train, cross, prior))


def pick_block(
    read: Callable[[str, Any, Shape], jax.Array], owner: str, kernel: Any, columns: Shape, name: str
) -> jax.Array:
    """The checked kernel `name` of an object that has it, or an array as it is."""
    block = kernel if is_array(kernel) else part_of(kernel, name)
    if block is None:
        raise InvalidInput(
            f"{owner} has no {name}, which this prediction needs; compute it with get={name!r} or a tuple"
        )
    return read(f"{owner}.{name}", block, columns)


def pick_prior(k_test_test: Any, cross: Block, name: str) -> jax.Array:
    test = cross(name).shape[::2]
    return pick_block(read_gram, "k_test_test", k_test_test, test, name)


def require_initial_kernel(get: Get, **kernels: Any) -> None:
    """The covariance of a trained ensemble needs two kernels, which no single array holds."""
    if "ntk" not in read_get(get, tuple(MODES)):
        return
    for owner, kernel in kernels.items():
        if is_array(kernel):
            raise InvalidInput(
                f"{owner} is one array, but the ntk covariance needs nngp and ntk; pass an object with both"
            )


def is_array(kernel: Any) -> bool:
    return isinstance(kernel, np.ndarray | jax.Array | list)
