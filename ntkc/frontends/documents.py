"""Graph <-> JSON document:  {"format": "ntkc-network", "version": 1, "nodes": [...], "output": "dense2"}.

A node is {"name": "dense1", "op": "Dense", "inputs": ["input1"], "out_dim": 512, "W_std": 1.5}. A hyper-parameter is a
number, null, a list, {"symbol": "w"}, or {"expr": "sqrt(w)", "symbols": [{"symbol": "w"}]}; the formula of an
Activation is text. Documents are data: nothing in them is executed.
"""

from __future__ import annotations

import json
import numbers
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import sympy as sp

from ntkc.errors import InvalidGraph, NtkcError, UnsupportedExpr, unknown
from ntkc.frontends.expressions import expression, expression_document, symbol_document
from ntkc.frontends.fields import field_types
from ntkc.frontends.graphs import Node, assemble, layer
from ntkc.ir.graph import LARGEST_GRAPH, Graph, op_of, operands, ordered
from ntkc.ir.op import Op, public_ops
from ntkc.ir.words import quoted, shown

FORMAT = "ntkc-network"
VERSION = 1
KEYS = ("format", "version", "nodes", "output")
NODE_KEYS = ("name", "op", "inputs")
LARGEST_FILE = 10_000_000
DEEPEST = 10
LONGEST_NAME = 200


def document_of(graph: Graph) -> dict[str, Any]:
    """A graph  ->  a document for `json.dump`; `from_json` reads the same network back.

    Raises:
        UnsupportedExpr: a hyper-parameter or activation that text cannot hold.
    """
    nodes = [_node_document(graph, n) for n in ordered(graph)]
    return {"format": FORMAT, "version": VERSION, "nodes": nodes, "output": graph.graph["output"]}


def _node_document(graph: Graph, name: str) -> dict[str, Any]:
    op = op_of(graph, name)
    if type(op).__name__ not in public_ops():
        raise InvalidGraph(f"{name}: {op.label()} was made by a pass; write the network that was compiled")
    return {"name": name, "op": type(op).__name__, "inputs": list(operands(graph, name)), **_fields(name, op)}


def _fields(name: str, op: Op) -> dict[str, Any]:
    try:
        shown = (f.name for f in fields(op) if not f.kw_only or getattr(op, f.name) != f.default)
        return {field: _encoded(getattr(op, field), _takes_text(op, field)) for field in shown}
    except UnsupportedExpr as error:
        raise UnsupportedExpr(f"{name}: {error}") from error


def _takes_text(op: Op | str, field: str) -> bool:
    """The field is a formula of x, not a number."""
    hint = field_types(op if isinstance(op, str) else type(op).__name__).get(field)
    return isinstance(hint, UnionType) and str in get_args(hint)


def _encoded(value: Any, is_formula: bool = False) -> Any:
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (tuple, list)):
        return [_encoded(v) for v in value]
    if isinstance(value, sp.Float):
        return float(value)
    if isinstance(value, sp.Symbol) and not is_formula:
        return symbol_document(value)
    if isinstance(value, sp.Expr):
        return expression_document(value, is_formula)
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def from_json(document: Any) -> Graph:
    """A dict, JSON text (it starts with a brace), or the path of a file  ->  Graph.

    Raises:
        NtkcError: the document is no network; the message names the node and field.
    """
    if isinstance(document, Path) or (isinstance(document, str) and not document.lstrip().startswith("{")):
        document = _read_text(Path(document))
    if isinstance(document, str):
        document = _loaded(document)
    if not isinstance(document, dict):
        raise InvalidGraph(f"{shown(document)} is no document: a dict, JSON text, or the path of a file is needed")
    nodes = _checked_nodes(document)
    output = document.get("output")
    if output is not None and output not in [n.name for n in nodes]:
        raise InvalidGraph(f"output {shown(output)} is no node")
    return assemble(nodes, output)


def _read_text(path: Path) -> str:
    try:
        if not path.is_file():
            raise InvalidGraph(f"no file {str(path)!r}: a path is needed, or JSON text that starts with a brace")
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise InvalidGraph(f"{path}: documents have at most {LARGEST_FILE} bytes")
        return data.decode("utf-8-sig")
    except NtkcError:
        raise
    except UnicodeDecodeError as error:
        raise InvalidGraph(f"{path} is not UTF-8 text: {error}") from error
    except (OSError, ValueError) as error:
        raise InvalidGraph(f"cannot read {shown(str(path))}: {error}") from error


def _loaded(text: str) -> object:
    if len(text) > LARGEST_FILE:
        raise InvalidGraph(f"JSON text of {len(text)} characters: documents have at most {LARGEST_FILE}")
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_refused)
    except json.JSONDecodeError as error:
        raise InvalidGraph(f"not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except NtkcError:
        raise
    except RecursionError as error:
        raise InvalidGraph(f"the JSON is nested deeper than {DEEPEST}") from error
    except ValueError as error:
        raise InvalidGraph(f"not JSON: {error}") from error
    _check_depth(document)
    return document


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if repeated:
        raise InvalidGraph(f"the key {shown(repeated[0])} stands twice in one JSON object")
    return dict(pairs)


def _refused(constant: str) -> object:
    raise InvalidGraph(f"the constant {constant} is not JSON: numbers are finite")


def _check_depth(document: object) -> None:
    level = [document]
    for _ in range(DEEPEST):
        level = [v for x in level if isinstance(x, (dict, list)) for v in (x.values() if isinstance(x, dict) else x)]
    if level:
        raise InvalidGraph(f"the JSON is nested deeper than {DEEPEST}")


def _checked_nodes(document: Mapping[Any, Any]) -> list[Node]:
    for key in document:
        if key not in KEYS:
            raise unknown("field of a document", key, KEYS)
    if document.get("format") != FORMAT:
        raise InvalidGraph(f'format {shown(document.get("format"))}: a network document has "format": "{FORMAT}"')
    version = document.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version != VERSION:
        raise InvalidGraph(f"version {shown(version)} is not supported; this ntkc reads version {VERSION}")
    entries = document.get("nodes")
    if not isinstance(entries, list):
        raise InvalidGraph(f"nodes = {shown(entries)}: a list of nodes is needed")
    if len(entries) > LARGEST_GRAPH:
        raise InvalidGraph(f"{len(entries)} nodes: at most {LARGEST_GRAPH}")
    nodes = [_node(entry, place) for place, entry in enumerate(entries)]
    _check_names(nodes)
    return nodes


def _check_names(nodes: Sequence[Node]) -> None:
    counts = Counter(n.name for n in nodes)
    for node in nodes:
        if counts[node.name] > 1:
            raise InvalidGraph(f"{counts[node.name]} nodes are named {shown(node.name)}: each name stands once")
        for operand in node.operands:
            if operand not in counts:
                raise InvalidGraph(f"node {quoted(node.name)}: its input {shown(operand)} is no node")


def _node(entry: Any, place: int) -> Node:
    if not isinstance(entry, dict):
        raise InvalidGraph(
            f'nodes[{place}] = {shown(entry)}; an object like {{"name": "relu1", "op": "Relu"}} is needed'
        )
    name = entry.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        raise InvalidGraph(f"nodes[{place}]: name = {shown(name)}; text of 1 to {LONGEST_NAME} characters is needed")
    op, inputs = entry.get("op"), entry.get("inputs", [])
    if not isinstance(op, str):
        raise InvalidGraph(f'node {quoted(name)}: op = {shown(op)}; the name of a layer, such as "Dense", is needed')
    if not isinstance(inputs, list) or not all(isinstance(i, str) for i in inputs):
        raise InvalidGraph(f"node {quoted(name)}: inputs = {shown(inputs)}; a list of names of nodes is needed")
    written = {k: v for k, v in entry.items() if k not in NODE_KEYS}
    parameters = {k: _decoded(name, op, k, v) for k, v in written.items()}
    return Node(name, layer(name, op, parameters), tuple(inputs))


def _decoded(name: Hashable, op: str, field: str, value: Any) -> Any:
    """JSON -> Python: objects become expressions."""
    try:
        if isinstance(value, list):
            return tuple(expression(v) if isinstance(v, dict) else v for v in value)
        return expression(value, _takes_text(op, field)) if isinstance(value, dict) else value
    except NtkcError as error:
        raise type(error)(f"node {quoted(name)}: {field}: {error}") from error
