"""Modules of Flax, Equinox and Keras  ->  f and params of `from_jax`, in evaluation mode."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntkc.errors import InvalidInput, MissingExtra

Function = tuple[Callable[[Any, Any], Any], Any]
"""f(params, x), and params."""


def linen_function(model: Any, variables: Any) -> Function:
    """A Flax linen module and its variables, {"params": ..., "batch_stats": ...} or params alone."""
    if variables is None:
        raise InvalidInput(
            f"{type(model).__name__}: linen modules hold no parameters, give them: "
            "compile(model, example=x, params=model.init(key, x))"
        )
    known = variables if isinstance(variables, Mapping) and "params" in variables else {"params": variables}
    rest = _exact({name: v for name, v in known.items() if name != "params"})

    def f(weights: Any, x: Any) -> Any:
        return model.apply({"params": weights, **rest}, *several(x))

    return f, known["params"]


def nnx_function(model: Any) -> Function:
    """A Flax NNX module."""
    from flax import nnx  # pyright: ignore[reportMissingImports]

    copy = nnx.merge(*nnx.split(model))
    copy.set_attributes(deterministic=True, use_running_average=True, raise_if_not_found=False)
    definition, weights, rest = nnx.split(copy, nnx.Param, ...)

    def f(weights: Any, x: Any) -> Any:
        return nnx.merge(definition, nnx.restore_int_paths(weights), rest)(*several(x))

    return f, nnx.to_pure_dict(weights)


def equinox_function(model: Any) -> Function:
    """An Equinox module of one sample, mapped over samples."""
    import equinox as eqx

    weights, rest = eqx.partition(eqx.nn.inference_mode(model), eqx.is_inexact_array)

    def f(weights: Any, x: Any) -> Any:
        return jax.vmap(eqx.combine(weights, rest))(*several(x))

    return f, weights


def keras_function(model: Any, example: Any) -> Function:
    """A Keras 3 model on the JAX backend.

    Raises:
        MissingExtra: keras is not installed.
        InvalidInput: its backend is not JAX.
    """
    try:
        import keras  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra('Keras models need keras: pip install "ntkc[keras]"') from error
    if keras.backend.backend() != "jax":
        raise InvalidInput(
            f"keras runs on {keras.backend.backend()}: set KERAS_BACKEND=jax before importing keras, load again"
        )
    if not model.built:
        model(several(example)[0])
    fixed = _exact([v.value for v in model.non_trainable_variables])

    def f(weights: Any, x: Any) -> Any:
        made, _ = model.stateless_call(list(weights.values()), fixed, *several(x), training=False)
        return made

    return f, OrderedDict((v.path, v.value) for v in model.trainable_variables)


def _exact(tree: Any) -> Any:
    """Real numbers in float64: 1e-5 added to float32 is no 1e-5."""
    return jax.tree.map(lambda v: np.asarray(v, np.float64) if jnp.issubdtype(v.dtype, jnp.floating) else v, tree)


def several(x: Any) -> tuple[Any, ...]:
    """The arguments of a model."""
    return x if isinstance(x, tuple) else (x,)
