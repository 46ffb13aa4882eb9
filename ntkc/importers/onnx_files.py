"""Files of strangers: an ONNX model, its tensors, and data beside it. Nothing is executed, sizes are checked first."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ntkc.errors import InvalidGraph, MissingExtra
from ntkc.ir.words import quoted, shown

LARGEST_TENSOR = 2**33
"""Bytes."""
LARGEST_FILE = 2**34


def onnx_module() -> Any:
    """onnx, once it is needed.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import onnx  # pyright: ignore[reportMissingImports]
        from onnx import helper, numpy_helper  # pyright: ignore  # noqa: F401  # submodules that are used
    except ImportError as error:
        raise MissingExtra('ONNX models need onnx: pip install "ntkc[onnx]"') from error
    return onnx


def read_model(path: Path) -> Any:
    """The ModelProto of a file, whose external data are not read yet.

    Raises:
        InvalidGraph: no file, or one that is truncated or no ONNX model.
    """
    onnx = onnx_module()
    if not path.is_file():
        raise InvalidGraph(f"no file {quoted(str(path))}: the path of an ONNX model is needed")
    if path.stat().st_size > LARGEST_FILE:
        raise InvalidGraph(f"{quoted(str(path))} has {path.stat().st_size} bytes: at most {LARGEST_FILE}")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:  # protobuf has errors of its own, and no public base
        raise InvalidGraph(f"{quoted(str(path))} is no ONNX model, or is truncated ({type(error).__name__})") from error
    if not model.graph.node:
        raise InvalidGraph(f"{quoted(str(path))} is no ONNX model: its graph has no nodes")
    return model


def array_of(tensor: Any, folder: Path | None) -> np.ndarray:
    """The numbers of a tensor, after its size has been checked.

    Raises:
        InvalidGraph: sizes that do not fit, or data outside of the folder of the model.
    """
    onnx = onnx_module()
    name = quoted(tensor.name)
    dims = tuple(int(n) for n in tensor.dims)
    if any(n < 0 for n in dims) or math.prod(dims) * 8 > LARGEST_TENSOR:
        raise InvalidGraph(f"tensor {name} has shape {shown(dims)}: at most {LARGEST_TENSOR} bytes")
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidGraph(f"tensor {name} has the unknown type {tensor.data_type}") from error
    if dtype.kind not in "fiub":
        raise InvalidGraph(f"tensor {name} holds {dtype}: real numbers are needed")
    size = math.prod(dims) * dtype.itemsize
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return _external(tensor, folder, dtype, dims, size)
    if tensor.HasField("raw_data") and len(tensor.raw_data) != size:
        raise InvalidGraph(
            f"tensor {name} of shape {shown(dims)} needs {size} bytes, its data have {len(tensor.raw_data)}"
        )
    try:
        return onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InvalidGraph(f"tensor {name} of shape {shown(dims)}: {error}") from error


def _external(tensor: Any, folder: Path | None, dtype: Any, dims: tuple[int, ...], size: int) -> np.ndarray:
    """Data of a file in the folder of the model, mapped, not copied."""
    name = quoted(tensor.name)
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise InvalidGraph(f"tensor {name} has external data: give the path of the model, not the model")
    home = folder.resolve()
    file = (home / location).resolve()
    if not location or Path(location).is_absolute() or not file.is_relative_to(home) or not file.is_file():
        raise InvalidGraph(f"tensor {name}: its data {quoted(location)} are no file in the folder of the model")
    offset, length = (_whole(entries.get(key, default)) for key, default in (("offset", "0"), ("length", str(size))))
    if offset is None or length != size or offset + size > file.stat().st_size:
        raise InvalidGraph(f"tensor {name} of shape {shown(dims)} needs {size} bytes that {quoted(location)} has not")
    if size == 0:
        return np.zeros(dims, dtype)
    return np.memmap(file, dtype, "r", offset, dims or (1,)).reshape(dims)


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() else None
