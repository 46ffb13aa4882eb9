"""Which library a model is of, without importing any that is not there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ntkc.errors import InvalidInput
from ntkc.importers.functions import from_jax
from ntkc.importers.imported import Imported
from ntkc.importers.jax_models import equinox_function, keras_function, linen_function, nnx_function
from ntkc.importers.onnx_models import from_onnx
from ntkc.importers.torch_models import from_torch


def from_model(net: Any, example: Any, options: Mapping[str, Any]) -> Imported | None:
    """The import of a model of another library; None for what is none."""
    if isinstance(net, Imported):
        return net
    if is_onnx(net):
        return from_onnx(net, **options)
    door = next((door for (module, name), door in DOORS.items() if _is_a(net, module, name)), None)
    if door is None:
        if example is not None or options:
            raise InvalidInput(
                f"{type(net).__name__}: example and options {sorted(options)} are for models of PyTorch, ONNX, Flax, "
                "Equinox and Keras; for a function use ntkc.from_jax(f, params, x)"
            )
        return None
    if example is None:
        raise InvalidInput(f"{type(net).__name__}: give data that it takes, compile(model, example=x)")
    return door(net, example, options)


def from_keras(
    model: Any,
    example: Any,
    *,
    parameterization: str = "standard",
    attention: str = "refuse",
    replace: Mapping[str, str] | None = None,
    trainable: Any = None,
) -> Imported:
    """A Keras 3 model on the JAX backend, in inference mode; options as in `from_jax`.

    Raises:
        MissingExtra: keras is not installed.
        InvalidInput: its backend is not JAX.
        UnsupportedModel: naming the layer, the rule, and the remedy.
    """
    f, params = keras_function(model, example)
    chosen = {"parameterization": parameterization, "attention": attention}
    return from_jax(f, params, example, **chosen, replace=replace, trainable=trainable)


def _torch(net: Any, example: Any, options: Mapping[str, Any]) -> Imported:
    return from_torch(net, example, **options)


def _keras(net: Any, example: Any, options: Mapping[str, Any]) -> Imported:
    return from_keras(net, example, **options)


def _linen(net: Any, example: Any, options: Mapping[str, Any]) -> Imported:
    rest = {name: v for name, v in options.items() if name != "params"}
    return from_jax(*linen_function(net, options.get("params")), example, **rest)


def _nnx(net: Any, example: Any, options: Mapping[str, Any]) -> Imported:
    return from_jax(*nnx_function(net), example, **options)


def _equinox(net: Any, example: Any, options: Mapping[str, Any]) -> Imported:
    return from_jax(*equinox_function(net), example, **options)


DOORS: Mapping[tuple[str, str], Callable[[Any, Any, Mapping[str, Any]], Imported]] = {
    ("torch.nn", "Module"): _torch,
    ("flax.linen", "Module"): _linen,
    ("flax.nnx", "Module"): _nnx,
    ("equinox", "Module"): _equinox,
    ("keras", "Model"): _keras,
}
"""By the class that all models of a library have."""


def is_onnx(net: Any) -> bool:
    """An ONNX model, or the path of one."""
    return (isinstance(net, (str, Path)) and str(net).endswith(".onnx")) or _is_a(net, "onnx", "ModelProto")


def _is_a(net: Any, module: str, name: str) -> bool:
    """An instance of a class of a library that has been imported."""
    cls = getattr(sys.modules.get(module), name, None)
    return isinstance(cls, type) and isinstance(net, cls)
