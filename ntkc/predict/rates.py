"""`max_learning_rate`: how fast gradient descent on mean squares may go."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ntkc.errors import InvalidInput, ShapeMismatch
from ntkc.predict.outputs import read_momentum
from ntkc.predict.targets import flatten_pairs, read_numbers, require_count, require_finite, require_number


def max_learning_rate(
    ntk_train_train: Any, y_train_size: int | None = None, momentum: float = 0.0, eps: float = 1e-12
) -> Array:
    """2 (1 + momentum) n / (lambda_max + eps):  the rates below it let gradient descent converge.

    The loss is |f - y|^2 / (2 n), n = `y_train_size` = y.size, lambda_max the largest eigenvalue of the NTK of the
    training set, plus the ridge if there is one. A step multiplies an eigenvector's error by 1 - rate lambda / n, which
    must lie in (-1, 1); heavy-ball momentum widens that to (-1 - 2 momentum, 1) (Polyak 1964; Goh 2017,
    distill.pub/2017/momentum). `eps` keeps the rate for a kernel of zeros finite.

    Shapes: (n1, n1, a, a, ...), any number of pairs of axes; `y_train_size` None is the number of rows, right if the
    kernel has all axes of y, `trace_axes=()`. With traced axes give y.size. Works under jit.

    The docstring of the peer says 2 (1 + momentum) n lambda_max, its code the same as ours.

    Raises `InvalidInput`, `ShapeMismatch`.
    """
    kernel = jnp.asarray(read_numbers("ntk_train_train", ntk_train_train))
    kernel = kernel if jnp.issubdtype(kernel.dtype, jnp.floating) else kernel.astype(float)
    if kernel.ndim % 2 or kernel.ndim == 0 or kernel.shape[::2] != kernel.shape[1::2]:
        raise ShapeMismatch(
            f"ntk_train_train has shape {kernel.shape}, but must be square, (n, n) or (n, n, a, a, ...); "
            "give the kernel of the training set with itself"
        )
    if kernel.size == 0:
        raise InvalidInput(f"ntk_train_train has shape {kernel.shape}, which is empty; give at least one input")
    require_finite("ntk_train_train", kernel)
    require_number("eps", eps)
    rows = math.prod(kernel.shape[::2])
    size = rows if y_train_size is None else y_train_size
    require_count("y_train_size", size)
    if size % rows:
        raise InvalidInput(
            f"y_train_size is {y_train_size}, but must be a multiple of the {rows} rows of the kernel; "
            "give y_train.size"
        )
    return rate_limit(largest_eigenvalue(flatten_pairs(kernel)), size, read_momentum(momentum), eps)


def rate_limit(largest: Array, size: int, momentum: float, eps: float = 0.0) -> Array:
    """2 (1 + momentum) n / (lambda_max + eps)."""
    return 2 * (1 + momentum) * size / (largest + eps)


def largest_eigenvalue(gram: Array) -> Array:
    with jax.enable_x64(True):
        return jnp.linalg.eigvalsh(gram.astype(jnp.float64))[-1].astype(gram.dtype)
