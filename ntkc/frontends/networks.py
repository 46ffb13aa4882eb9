"""Any description of a network  ->  a graph, or a compiled program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networkx as nx

from ntkc.data import shapes_of
from ntkc.errors import InvalidGraph, NtkcError
from ntkc.frontends.documents import document_of, from_json
from ntkc.frontends.graphs import from_networkx
from ntkc.importers.imported import Imported
from ntkc.importers.models import from_model
from ntkc.ir.graph import Graph, inputs_of
from ntkc.networks.graph import data_graph
from ntkc.networks.kernel_fn import KernelFn, Layer, tree_of
from ntkc.passes.settle import on_data
from ntkc.program import build


def to_graph(net: Any) -> Graph:
    """The graph of stax layers, an import, a networkx graph, or a JSON document (a dict, or the path of a file)."""
    if isinstance(net, Imported):
        return net.graph
    if isinstance(net, (Layer, KernelFn, tuple, list)):
        return data_graph(tree_of(net))
    if isinstance(net, (nx.Graph, nx.DiGraph)):
        return from_networkx(net)
    if isinstance(net, (dict, str, Path)):
        return from_json(net)
    raise InvalidGraph(
        f"{type(net).__name__} is no network: stax layers, a networkx graph whose nodes carry `op`, "
        "or a JSON document are needed"
    )


def to_json(net: Any) -> dict[str, Any]:
    """Whatever `compile` takes  ->  a document for `json.dump`; `from_json` reads the same network back.

    Raises:
        UnsupportedExpr: a hyper-parameter or activation that text cannot hold.
    """
    return document_of(to_graph(net))


def compile(
    net: Any,
    *,
    until: str | None = None,
    tolerance: float | None = None,
    input_shape: Sequence[Any] | None = None,
    example: Any = None,
    **options: Any,
) -> Any:
    """Network -> KernelProgram.

    Args:
        net: stax layers, a networkx graph whose nodes carry `op` and parameters, or a JSON document (dict or path); a
            model of PyTorch, ONNX, Flax, Equinox or Keras with `example`, or what `from_jax` and its like return.
        until: the name of a stage (compile.STAGES) to stop after; what it made is returned instead of a program.
        tolerance: error of each series over sqrt(V(q1) V(q2)), where an activation has no closed form;
            1e-6 in float32 and 1e-10 in float64 unless given.
        input_shape: shape of one sample, pixels first, features last, as (32, 32, 3); otherwise a network with pixels
            is compiled when it first meets data of a shape. A tuple of shapes for several inputs.
        example: data of a model of another library; `options` are those of `from_torch` and its like.

    Raises:
        InvalidGraph, ShapeMismatch: the description is no network.
        NoInfiniteLimit, NoClosedForm: the network has no infinite-width kernel, or none in closed form.
    """
    imported = from_model(net, example, options)
    if imported is not None:
        return _compiled(imported, until, tolerance)
    graph = to_graph(net)
    if input_shape is not None:
        graph = on_data(graph, shapes_of(input_shape, len(inputs_of(graph))))
    return build(graph, until, tolerance)


def _compiled(imported: Imported, until: str | None, tolerance: float | None) -> Any:
    """The program of an import; errors name places of the model."""
    try:
        made = build(imported.graph, until, tolerance)
    except NtkcError as error:
        raise imported.located(error) from error
    return made if until is not None else made.with_import(imported)
