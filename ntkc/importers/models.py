"""Which library a model is of, without importing any that is not there."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ntkc.errors import InvalidInput
from ntkc.importers.imported import Imported


def from_model(net: Any, example: Any, options: Mapping[str, Any]) -> Imported | None:
    """The import of a model of another library; None for what is none."""
    if isinstance(net, Imported):
        return net
    door = door_of(net)
    if door is None:
        if example is not None or options:
            raise InvalidInput(
                f"{type(net).__name__}: example and {sorted(options)} are for models of PyTorch, ONNX, Flax, Equinox "
                "and Keras; for a function use ntkc.from_jax(f, params, x)"
            )
        return None
    if example is None and not _is_onnx(net):
        raise InvalidInput(f"{type(net).__name__}: give data that it takes, compile(model, example=x)")
    return door(net, example, **options)


def door_of(net: Any) -> Any:
    """The function that imports such a model."""
    if _is_a(net, "torch.nn", "Module"):
        from ntkc.importers.torch_models import from_torch

        return from_torch
    return None


def _is_onnx(net: Any) -> bool:
    return (isinstance(net, (str, Path)) and str(net).endswith(".onnx")) or _is_a(net, "onnx", "ModelProto")


def _is_a(net: Any, module: str, name: str) -> bool:
    """An instance of a class of a library that has been imported."""
    loaded = sys.modules.get(module)
    cls = getattr(loaded, name, None)
    return isinstance(cls, type) and isinstance(net, cls)
