"""An ONNX model  ->  f(params, x) in JAX:  from_onnx("model.onnx")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntkc.errors import InvalidGraph, InvalidInput
from ntkc.importers.assemble import Parameters
from ntkc.importers.functions import imported, options
from ntkc.importers.imported import Imported
from ntkc.importers.net import SAMPLES_SIZE
from ntkc.importers.onnx_files import array_of, onnx_module, read_model
from ntkc.importers.onnx_ops import OPERATIONS
from ntkc.importers.refusals import UnsupportedModel
from ntkc.ir.graph import LARGEST_GRAPH
from ntkc.ir.words import one_line, quoted

STATISTICS = {"BatchNormalization": (3, 4)}
"""Inputs that are no parameters: running means and variances."""


@dataclass(frozen=True)
class Program:
    """A model as a list of nodes, its parameters as arrays."""

    nodes: Sequence[Any]
    constants: Mapping[str, np.ndarray]
    inputs: Sequence[str]
    names: Sequence[str]
    arrays: Sequence[Any]
    output: str

    def __call__(self, weights: Sequence[Any], data: Sequence[Any]) -> Any:
        """f(params, x)."""
        known: dict[str, Any] = {**self.constants, **dict(zip(self.names, weights, strict=True))}
        known |= dict(zip(self.inputs, data, strict=True))
        for node in self.nodes:
            made = _run(node, known)
            known |= dict(zip(node.output, made if isinstance(made, list) else [made], strict=False))
        return known[self.output]

    def of_data(self, weights: Sequence[Any], x: Any) -> Any:
        """f(params, x), x an array or a tuple of them."""
        return self(weights, x if isinstance(x, tuple) else (x,))


def from_onnx(
    model: Any,
    *,
    example: Any = None,
    parameterization: str = "standard",
    attention: str = "refuse",
    replace: Mapping[str, str] | None = None,
    trainable: Any = None,
) -> Imported:
    """An ONNX file or ModelProto  ->  the infinite network of random models like it.

    Args:
        model: a path, or an onnx.ModelProto.
        example: data that it takes, where it does not say their shape itself; a tuple for several inputs.
        parameterization, attention, replace, trainable: as in `from_jax`.

    Raises:
        MissingExtra: onnx is not installed.
        InvalidGraph: a file that is truncated or malformed, or whose data are outside of its folder.
        UnsupportedModel: naming the node, the rule, and the remedy.
    """
    path = Path(model) if isinstance(model, (str, Path)) else None
    proto = model if path is None else read_model(path)
    program, stated = _program(proto, None if path is None else path.parent)
    chosen = options(parameterization, attention, replace, trainable)
    made = imported(program, Parameters(program.names, program.arrays), _examples(stated, example), chosen)
    return replaced(made, function=program.of_data, params=list(program.arrays))


def _examples(stated: Sequence[tuple[str, Any, bool]], example: Any) -> list[jax.ShapeDtypeStruct]:
    given = example if isinstance(example, tuple) else (example,) * len(stated) if example is None else (example,)
    if len(given) != len(stated):
        raise InvalidInput(f"{len(given)} examples for {len(stated)} inputs, {', '.join(n for n, *_ in stated)}")
    made: list[jax.ShapeDtypeStruct] = []
    for (name, shape, is_real), x in zip(stated, given, strict=True):
        sizes = shape[1:] if x is None else np.shape(x)[1:]
        if any(n is None or n < 1 for n in sizes):
            raise InvalidInput(f"the input {quoted(name)} has axes of no known size, {shape}: give example=x")
        made.append(jax.ShapeDtypeStruct((SAMPLES_SIZE, *sizes), np.float64 if is_real else np.int64))
    return made


def _program(proto: Any, folder: Path | None) -> tuple[Program, list[tuple[str, Any, bool]]]:
    onnx, graph = onnx_module(), proto.graph
    if len(graph.node) > LARGEST_GRAPH or len(graph.output) != 1:
        raise InvalidGraph(f"{len(graph.node)} nodes and {len(graph.output)} outputs: one output is needed")
    if graph.sparse_initializer or proto.functions:
        raise UnsupportedModel("", "sparse tensors and functions have no rule", "export the model without them")
    fixed = {n.input[i] for n in graph.node for i in STATISTICS.get(n.op_type, ()) if i < len(n.input)}
    constants: dict[str, np.ndarray] = {"": np.zeros(0)}
    names: list[str] = []
    arrays: list[Any] = []
    for tensor in graph.initializer:
        array = array_of(tensor, folder)
        if array.dtype.kind == "f" and array.size > 1 and tensor.name not in fixed:
            names.append(tensor.name)
            arrays.append(array)
        else:
            constants[tensor.name] = array.astype(np.float64) if array.dtype.kind == "f" else array
    for node in graph.node:
        if node.op_type == "Constant":
            constants |= _constant(node, folder, onnx)
    known = {*names, *constants}
    stated = [_stated(v, onnx) for v in graph.input if v.name not in known]
    nodes = [n for n in graph.node if n.op_type != "Constant"]
    return Program(nodes, constants, [n for n, *_ in stated], names, arrays, graph.output[0].name), stated


def _constant(node: Any, folder: Path | None, onnx: Any) -> dict[str, np.ndarray]:
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    value = next(iter(values.values()), None)
    array = array_of(value, folder) if "value" in values else np.asarray(value)
    return {node.output[0]: array.astype(np.float64) if array.dtype.kind == "f" else array}


def _stated(value: Any, onnx: Any) -> tuple[str, Any, bool]:
    """Name, shape and kind of an input."""
    kind = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    is_real = kind.elem_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)
    if not shape:
        raise InvalidGraph(f"the input {quoted(value.name)} is no array [samples, ...]")
    return value.name, shape, is_real


def _run(node: Any, known: Mapping[str, Any]) -> Any:
    """One node, on numbers where all that it reads are known."""
    onnx = onnx_module()
    place = one_line(f"{node.name or node.output[0]} ({node.op_type})", 80)
    run = OPERATIONS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if run is None:
        raise UnsupportedModel(place, f"the operation {one_line(node.op_type, 40)} has no rule", "export without it")
    missing = [name for name in node.input if name not in known]
    if missing:
        raise InvalidGraph(f"{place} reads {quoted(missing[0])}, which nothing before it makes")
    given = [None if name == "" else known[name] for name in node.input]
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    try:
        if all(v is None or isinstance(v, np.ndarray) for v in given):
            with jax.ensure_compile_time_eval():
                return jax.tree.map(np.asarray, run(attributes, *given))
        with jax.named_scope(place):
            return run(attributes, *(jnp.asarray(v) if _is_real(v) else v for v in given))
    except UnsupportedModel as error:
        raise UnsupportedModel(place, str(error)) from error
    except (TypeError, ValueError, IndexError, KeyError, ZeroDivisionError) as error:
        raise InvalidGraph(f"{place}: {one_line(str(error))}") from error


def _is_real(value: Any) -> bool:
    """Arrays of real numbers; single ones stay as they are, for exponents and bounds."""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size > 1
