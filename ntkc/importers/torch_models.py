"""torch.nn.Module  ->  f(params, x) in JAX, by torch.export:  from_torch(model, example)."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntkc.errors import InvalidInput, MissingExtra
from ntkc.importers.assemble import Parameters
from ntkc.importers.functions import imported, options
from ntkc.importers.imported import Imported
from ntkc.importers.net import SAMPLES_SIZE
from ntkc.importers.refusals import UnsupportedModel
from ntkc.importers.torch_ops import OPERATIONS

PLACEMENT = ("device", "pin_memory", "layout", "dtype")
"""Arguments that say where and how arrays are kept."""


@dataclass(frozen=True)
class Exported:
    """A module as a list of operations, its parameters as numpy arrays that share its memory."""

    nodes: Sequence[Any]
    parameters: Mapping[str, int]
    constants: Mapping[str, Any]
    inputs: Sequence[str]
    names: Sequence[str]
    arrays: Sequence[Any]
    trained: frozenset[str]

    def __call__(self, weights: Sequence[Any], data: Sequence[Any]) -> Any:
        """f(params, x)."""
        known: dict[str, Any] = {name: weights[i] for name, i in self.parameters.items()}
        known |= dict(zip(self.inputs, data, strict=True))
        known |= {name: jnp.asarray(v) for name, v in self.constants.items()}
        for node in self.nodes:
            if node.op == "call_function":
                known[node.name] = _run(node, known)
            elif node.op == "output":
                (made,) = _known(node.args[0], known)
                return made
        raise AssertionError("an exported graph ends in its output")

    def of_data(self, weights: Sequence[Any], x: Any) -> Any:
        """f(params, x), x an array or a tuple of them."""
        return self(weights, x if isinstance(x, tuple) else (x,))


def from_torch(
    model: Any,
    example: Any,
    *,
    parameterization: str = "standard",
    attention: str = "refuse",
    replace: Mapping[str, str] | None = None,
    trainable: Any = None,
    batchnorm: str = "eval",
) -> Imported:
    """torch.nn.Module  ->  the infinite network of random modules like it.

    Args:
        model: read in evaluation mode; parameters with requires_grad=False are frozen.
        example: data as the model takes them, a tensor or numpy array [samples, ...], or a tuple of them.
        parameterization, attention, replace, trainable: as in `from_jax`.
        batchnorm: "eval", with running statistics.

    Raises:
        MissingExtra: torch is not installed.
        UnsupportedModel: naming the module, the rule, and the remedy.
    """
    if batchnorm != "eval":
        raise UnsupportedModel(
            "", f'batchnorm="{batchnorm}": BatchNorm over a batch has no rule', 'use batchnorm="eval"'
        )
    exported = exported_of(model, example)
    chosen = options(parameterization, attention, replace, exported.trained if trainable is None else trainable)
    shapes = [_example(v) for v in _inputs(example)]
    made = imported(exported, Parameters(exported.names, exported.arrays), shapes, chosen)
    return replaced(made, function=exported.of_data, params=list(exported.arrays))


def _inputs(example: Any) -> tuple[Any, ...]:
    return tuple(example) if isinstance(example, (tuple, list)) else (example,)


def _example(x: Any) -> jax.ShapeDtypeStruct:
    shape, kind = tuple(x.shape), np.float64 if _is_real(x) else np.int64
    return jax.ShapeDtypeStruct((SAMPLES_SIZE, *shape[1:]), kind)


def _is_real(x: Any) -> bool:
    return bool(x.is_floating_point()) if hasattr(x, "is_floating_point") else np.asarray(x).dtype.kind == "f"


def exported_of(model: Any, example: Any) -> Exported:
    """The operations of a module on data like the example."""
    torch = torch_module()
    examples = _inputs(example)
    if any(not hasattr(x, "shape") or not tuple(x.shape) for x in examples):
        raise InvalidInput("the example is a tensor or array [samples, ...], or a tuple of them")
    given = tuple(
        torch.zeros(
            (SAMPLES_SIZE, *tuple(x.shape)[1:]), dtype=torch.get_default_dtype() if _is_real(x) else torch.int64
        )
        for x in examples
    )
    with _evaluated(model):
        try:
            program = torch.export.export(model, given)
        except Exception as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UnsupportedModel(
                type(model).__name__,
                f"torch.export cannot trace it ({first})",
                "let no control flow depend on data, and give an example of the right shape",
            ) from error
    return _exported(program)


def torch_module() -> Any:
    """torch, once it is needed.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import torch  # pyright: ignore[reportMissingImports]
        from torch import export  # pyright: ignore  # noqa: F401  # a submodule that is used
    except ImportError as error:
        raise MissingExtra('torch models need torch: pip install "ntkc[torch]"') from error
    return torch


@contextmanager
def _evaluated(model: Any) -> Any:
    """The model in evaluation mode, and then as it was."""
    modes = [(m, m.training) for m in model.modules()]
    model.train(False)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _exported(program: Any) -> Exported:
    signature = program.graph_signature
    places: dict[Any, int] = {}
    names: list[str] = []
    arrays: list[Any] = []
    parameters: dict[str, int] = {}
    trained: set[str] = set()
    for placeholder, name in signature.inputs_to_parameters.items():
        tensor = program.state_dict[name]
        key = (tensor.data_ptr(), tuple(tensor.shape)) if tensor.numel() else name
        if key not in places:
            places[key] = len(names)
            names.append(name)
            arrays.append(_array(tensor, name))
            trained |= {name} if tensor.requires_grad else set()
        parameters[placeholder] = places[key]
    constants: dict[str, Any] = {}
    for placeholder, name in {**signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}.items():
        tensor = program.state_dict.get(name, program.constants.get(name))
        array = _array(tensor, name)
        constants[placeholder] = array.astype(np.float64) if array.dtype.kind == "f" else array
    return Exported(
        list(program.graph.nodes), parameters, constants, signature.user_inputs, names, arrays, frozenset(trained)
    )


def _array(tensor: Any, name: str) -> np.ndarray:
    if tensor is None or tensor.is_meta:
        raise InvalidInput(f"{name} holds no numbers (a meta tensor): load the parameters first")
    plain = tensor.detach().cpu()
    return (plain if plain.dtype.itemsize > 2 or not plain.is_floating_point() else plain.float()).numpy()


def _known(value: Any, known: Mapping[str, Any]) -> Any:
    """Arguments with what nodes made in the place of nodes."""
    if isinstance(value, (list, tuple)):
        return [_known(v, known) for v in value]
    return known[value.name] if hasattr(value, "meta") and hasattr(value, "op") else value


def _run(node: Any, known: Mapping[str, Any]) -> Any:
    """One operation, under the name of the module that it stands in."""
    if node.target is operator.getitem:
        return _known(node.args[0], known)[node.args[1]]
    name, place = _name(node.target), _place(node)
    run = OPERATIONS.get(name)
    if run is None:
        raise UnsupportedModel(place, f"the operation {name} has no rule", "leave it out, or write it with known ones")
    keywords = {k: _known(v, known) for k, v in node.kwargs.items() if k not in PLACEMENT}
    try:
        with jax.named_scope(place):
            return run(*_known(list(node.args), known), **keywords)
    except UnsupportedModel as error:
        raise UnsupportedModel(place, str(error)) from error


def _name(target: Any) -> str:
    """aten.linear.default  ->  linear."""
    parts = str(target).split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def _place(node: Any) -> str:
    """features.0 (Conv2d)."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    if not stack:
        return str(node.name)
    path, kind = stack[-1]
    name = kind if isinstance(kind, str) else kind.__name__
    return f"{path or 'model'} ({name.rpartition('.')[2]})"
