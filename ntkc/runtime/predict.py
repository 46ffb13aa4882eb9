"""Closed-form predictors from the kernels of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

Predict = Callable[[Any], Array]
"""Samples, or a tuple of the samples of several inputs  ->  what the network says of them."""


def predictor(nngp: Callable[..., Array], ntk: Callable[..., Array]) -> Callable[..., Predict]:
    """The function `fit` of a network with these kernels."""

    def fit(
        x: Any = None,
        y: Any = None,
        /,
        ridge: float = 0.0,
        t: float | None = None,
        get: str = "ntk",
        *,
        parameters: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> Predict:
        """Closed-form predictor of the infinitely wide network.

        f(x*) = K(x*, x) (K + ridge I)^-1 (I - exp(-(K + ridge I) t / n)) y,   t None: t = infinity

        is the mean of gradient flow of the mean squared error / 2 after time t (get="ntk"), or, for get="nngp" and t
        None, the posterior mean of the Gaussian process with noise variance `ridge`.

        x: [n, ..., features], or a tuple of such inputs, y: [n] or [n, outputs], ridge >= 0, t >= 0. Hyper-parameters
        by name, or in `parameters`. Returns predict(x_new) -> [m] or [m, outputs].
        Raises ValueError where data are not finite, or K + ridge I is not positive definite.
        """
        # Data may come by name; beside data by place, x and y are hyper-parameters like any others.
        x, y = (named.pop(name) if v is None else v for name, v in (("x", x), ("y", y)))
        gram_of = {"ntk": ntk, "nngp": nngp}[get]
        given = {**(parameters or {}), **named}
        dtype = jnp.result_type(*inputs_of(x), jnp.float32)
        x, y = as_data(x, dtype), jnp.asarray(y, dtype)
        count = len(inputs_of(x)[0])
        targets = y[:, None] if y.ndim == 1 else y
        check(inputs_of(x), y, count, len(targets), ridge, t)
        weights = weights_of(gram_of(x, **given), targets, ridge, t)

        def predict(x_new: Any) -> Array:
            """Predictions for samples x_new."""
            between_them = gram_of(as_data(x_new, dtype), x, **given)
            mean = jnp.matmul(between_them, weights, precision=lax.Precision.HIGHEST)
            return mean[:, 0] if y.ndim == 1 else mean

        return predict

    return fit


def weights_of(gram: Array, targets: Array, ridge: float, t: float | None) -> Array:
    """(K + ridge I)^-1 (I - exp(-(K + ridge I) t / n)) y, in float64: a ridge is lost in float32 entries."""
    count = len(gram)
    with jax.enable_x64(True):
        wide = gram.astype("float64") + ridge * jnp.eye(count, dtype="float64")
        values, vectors = jnp.linalg.eigh(wide)
        kept = filtered(values, count, t, float(jnp.finfo(gram.dtype).eps))
        return (vectors @ (kept[:, None] * (vectors.T @ targets.astype("float64")))).astype(gram.dtype)


def inputs_of(x: Any) -> tuple[Any, ...]:
    """The inputs of a network, of which there may be one."""
    return x if isinstance(x, tuple) else (x,)


def as_data(x: Any, dtype: Any) -> Any:
    """One array, or a tuple of several."""
    return tuple(jnp.asarray(v, dtype) for v in x) if isinstance(x, tuple) else jnp.asarray(x, dtype)


def check(inputs: tuple[Array, ...], y: Array, count: int, targets: int, ridge: float, t: float | None) -> None:
    """Raise ValueError where nothing can be fitted."""
    if count != targets:
        raise ValueError(f"{count} rows of x and {targets} targets: one target a row is needed")
    if not (all(jnp.isfinite(v).all() for v in inputs) and jnp.isfinite(y).all()):
        raise ValueError("x or y holds NaN or infinity: remove or impute it")
    if not ridge >= 0 or not (t is None or t >= 0):
        raise ValueError(f"ridge = {ridge}, t = {t}: neither may be negative or NaN")


def filtered(values: Array, count: int, t: float | None, eps: float) -> Array:
    """(1 - exp(-v t / n)) / v of the eigenvalues v, which is t / n in the limit v = 0."""
    floor = jnp.sum(values) * max(eps / count**0.5, 8 * float(jnp.finfo(values.dtype).eps))
    if t is None and not values[0] > floor:
        needed = 2 * floor - values[0]
        raise ValueError(f"the smallest eigenvalue is {values[0]:.2e}: a ridge of {needed:.1e} or more is needed")
    rate = 0.0 if t is None else t / count
    safe = jnp.where(values > 0, values, 1)
    return 1 / safe if t is None else jnp.where(values > 0, -jnp.expm1(-safe * rate) / safe, rate)
