"""Evidence of a kernel:  log p(y) = -(y^T G^{-1} y + log det G + n log 2 pi) / 2,  G = K + reg I, over outputs."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ntkc.errors import InvalidInput, ShapeMismatch, unknown
from ntkc.predict.factor import Cholesky, is_concrete
from ntkc.predict.outputs import TrainingSet, read_training_set
from ntkc.predict.targets import read_targets, require_finite

KernelFn = Callable[..., Any]
KERNELS = ("nngp", "ntk")
NOTHING: Mapping[str, Any] = MappingProxyType({})
INFINITE = (math.inf,)


def log_marginal_likelihood(
    kernel_fn: KernelFn,
    x_train: Any,
    y_train: Any,
    get: str = "nngp",
    diag_reg: Any = 0.0,
    diag_reg_absolute_scale: bool = False,
    parameters: Mapping[str, Any] = NOTHING,
) -> Array:
    """log p(y | x, parameters) of `kernel_fn(x_train, None, get, **parameters)`; see `gram_log_marginal_likelihood`.

    x (n, features), y (n,) or (n, outputs). A KernelProgram takes a value for each symbol that its network leaves open.
    Differentiable in `parameters` and `diag_reg`:

        jax.grad(lambda p: log_marginal_likelihood(program, x, y, parameters=p))({"w": 1.5, "b": 0.1})

    Raises `InvalidInput`, `ShapeMismatch`, `UnknownName`; warns `NotPositiveDefinite` with the jitter it added.
    """
    gram = gram_of(kernel_fn, x_train, y_train, get, parameters)
    return gram_log_marginal_likelihood(gram, y_train, diag_reg, diag_reg_absolute_scale)


def gram_log_marginal_likelihood(
    k_train_train: Any,
    y_train: Any,
    diag_reg: Any = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: int | Sequence[int] = (-1,),
) -> Array:
    """log p(y) = -(y^T G^{-1} y + log det G + m log 2 pi) / 2,  summed over the traced outputs;  G = K + reg I.

    reg = diag_reg, times tr K / m unless `diag_reg_absolute_scale`. Shapes as in `gp_inference`. Differentiable in K
    and diag_reg, any number of times (Rasmussen and Williams 2006, eqs. 2.30 and 5.9).

    Raises `InvalidInput`, `ShapeMismatch`; warns `NotPositiveDefinite` with the jitter it added.
    """
    train = read_training_set(k_train_train, y_train, diag_reg, diag_reg_absolute_scale, trace_axes)
    factor = cholesky_of(train)
    y = train.targets.cast(train.dtype)
    m, outputs = y.shape
    fit = jnp.sum(y * factor.ramp(y, jnp.asarray(INFINITE, train.dtype)))
    determinant = log_determinant(factor.gram, factor.lower)
    return -(fit + outputs * (determinant + m * math.log(2 * math.pi))) / 2


def gram_of(kernel_fn: KernelFn, x_train: Any, y_train: Any, get: str, parameters: Mapping[str, Any]) -> Any:
    """The kernel of the training set, with one row for each target."""
    if get not in KERNELS:
        raise unknown("kernel", get, KERNELS)
    require_finite("x_train", x_train)
    x = jnp.asarray(x_train)
    targets = read_targets(y_train, (-1,))
    if x.ndim == 0 or targets.shape[0] != len(x) or len(targets.shape) != 2:
        raise ShapeMismatch(
            f"y_train has shape {jnp.shape(y_train)}, x_train {x.shape}; give one target, or one row of targets, a row"
        )
    for name, value in parameters.items():
        require_finite(f"parameter {name!r}", value)
    return kernel_fn(x, None, get, **parameters)


def cholesky_of(train: TrainingSet) -> Cholesky:
    """The factorisation of a Gram matrix with one row for each target."""
    factor = train.factorise(is_infinite=True)
    assert isinstance(factor, Cholesky)
    if is_concrete(factor.lower) and not bool(jnp.isfinite(factor.lower).all()):
        raise InvalidInput("k_train_train has no Cholesky factor even with jitter; its entries over- or underflow")
    return factor


def inverse_of(factor: Cholesky) -> Array:
    """G^{-1}, (m, m)."""
    unit = jnp.eye(factor.gram.shape[0], dtype=factor.gram.dtype)
    return factor.ramp(unit, jnp.asarray(INFINITE, unit.dtype))


@jax.custom_jvp
def log_determinant(gram: Array, lower: Array) -> Array:
    """log det G = 2 sum log L_ii;  its derivative is that of `gram`:  tr(G^{-1} dG)."""
    with jax.enable_x64(True):
        return (2 * jnp.sum(jnp.log(jnp.diagonal(lower)))).astype(gram.dtype)


@log_determinant.defjvp
def log_determinant_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    gram, lower = primals
    inverse = inverse_of(Cholesky(gram, lower, jnp.zeros((), gram.dtype)))
    return log_determinant(gram, lower), jnp.sum(inverse * tangents[0])
