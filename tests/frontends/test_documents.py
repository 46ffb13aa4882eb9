"""JSON documents: what is written comes back, and what strangers write is refused or read, never executed."""

import copy
import json
import time
from dataclasses import fields
from pathlib import Path

import networkx as nx
import pytest
import sympy as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ntkc
from ntkc import stax
from ntkc.errors import InvalidGraph, InvalidInput, NtkcError, UnknownName, UnsupportedExpr
from ntkc.frontends import documents, from_json, to_graph, to_json
from ntkc.frontends.documents import NODE_KEYS
from ntkc.ir.graph import GraphBuilder, op_of
from ntkc.ir.op import public_ops
from ntkc.layers.activations import Activation, Erf, Polynomial, Relu
from ntkc.layers.dense import Dense
from ntkc.layers.inputs import Input, Port

EXAMPLE = Path(__file__).parents[2] / "examples" / "network.json"

GOOD = {
    "format": "ntkc-network",
    "version": 1,
    "nodes": [
        {"name": "input1", "op": "Input", "inputs": []},
        {"name": "dense1", "op": "Dense", "inputs": ["input1"], "out_dim": 512, "W_std": 1.5},
        {"name": "act", "op": "Activation", "inputs": ["dense1"], "expr": "x*erf(x)"},
        {"name": "dense2", "op": "Dense", "inputs": ["act"], "out_dim": 1},
    ],
    "output": "dense2",
}


def changed(path, value):
    """GOOD with one entry replaced; a value of ... removes it."""
    document = copy.deepcopy(GOOD)
    *parents, last = path
    place = document
    for key in parents:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return document


def network_of(op):
    """Input -> Dense -> the layer; data of any number of axes where it acts on pixels."""
    builder = GraphBuilder()
    if isinstance(op, Input):
        return builder.finish(builder.add(op))
    dense = builder.add(Dense(4), [builder.add(Input(spatial=None if op.acts_on_pixels else ()))])
    return builder.finish(builder.add(op, [dense] * (op.arity or 2)))


def returned(net):
    """Through JSON text and back."""
    return from_json(json.dumps(to_json(net), allow_nan=False))


W, V = sp.Symbol("w"), sp.Symbol("v", positive=True)
LAYERS = [
    *(op for kind in public_ops().values() for op in kind.examples()),
    Dense(3, 2**0.5, 1e-320),
    Dense(3, 1, 0),
    Dense(3, W, V),
    Dense(3, sp.sqrt(2), sp.Rational(1, 3)),
    Dense(3, 2 * W, sp.sqrt(V + W**2)),
    Erf(W, 0.1, -0.0),
    Polynomial((1, 0.1, W, sp.sqrt(2))),
    Activation("sigmoid(x)/2 + 2*(x + 1)*exp(-x)"),
    Activation(W * sp.Max(sp.Symbol("x"), 0)),
    Activation("max(x, 1, x**2)"),
]


@pytest.mark.parametrize("op", LAYERS, ids=str)
def test_every_layer_comes_back(op):
    graph = network_of(op)
    made = returned(graph)
    assert nx.utils.graphs_equal(made, graph)
    assert list(made) == list(graph)
    before, after = op, op_of(made, made.graph["output"])
    for field in fields(op):
        assert type(getattr(before, field.name)) is type(getattr(after, field.name))


@pytest.mark.parametrize("name", public_ops())
def test_fields_do_not_hide_the_keys_of_a_node(name):
    assert not {f.name for f in fields(public_ops()[name])} & {*NODE_KEYS, "label"}


def test_networks_of_branches_come_back():
    block = stax.serial(stax.FanOut(3), stax.parallel(stax.Relu(), stax.Identity(), stax.Identity()), stax.FanInSum())
    layers = stax.serial(stax.Dense(4), block, stax.repeat(stax.serial(stax.Dense(4), block), 3), stax.Dense(1, W))
    assert nx.utils.graphs_equal(returned(layers), to_graph(layers))


def test_document():
    layers = stax.serial(stax.Dense(512, 1.5, W), stax.Activation("x*erf(x)"))
    assert to_json(layers) == {
        "format": "ntkc-network",
        "version": 1,
        "nodes": [
            {"name": "input1", "op": "Input", "inputs": [], "features": None, "spatial": [], "masked": False},
            {
                "name": "dense1",
                "op": "Dense",
                "inputs": ["input1"],
                "out_dim": 512,
                "W_std": 1.5,
                "b_std": {"symbol": "w"},
                "parameterization": "ntk",
                "s": [1, 1],
            },
            {"name": "activation1", "op": "Activation", "inputs": ["dense1"], "expr": "x*erf(x)"},
        ],
        "output": "activation1",
    }


def test_order_of_nodes_does_not_matter():
    document = changed(["nodes"], GOOD["nodes"][::-1])
    assert nx.utils.graphs_equal(from_json(document), from_json(GOOD))


def test_dict_text_path_and_name_of_file(tmp_path):
    path = tmp_path / "net.json"
    path.write_text("\ufeff" + json.dumps(GOOD), encoding="utf-8")
    graphs = [from_json(d) for d in (GOOD, json.dumps(GOOD), "\n " + json.dumps(GOOD, indent=2), path, str(path))]
    assert all(nx.utils.graphs_equal(g, graphs[0]) for g in graphs)
    assert to_json(GOOD) == to_json(path)


def test_given_dict_stays_as_it_is():
    document = copy.deepcopy(GOOD)
    from_json(document)
    assert document == GOOD


def test_output_may_be_left_out():
    assert nx.utils.graphs_equal(from_json(changed(["output"], ...)), from_json(GOOD))


def test_example_file():
    graph = from_json(EXAMPLE)
    assert {"Dense", "Activation", "FanInSum"} <= {type(op_of(graph, n)).__name__ for n in graph}
    assert "dense2" in ntkc.compile(EXAMPLE).graph


NODE = ["nodes", 1]
BAD = [
    ([], InvalidGraph, "is no document"),
    (None, InvalidGraph, "is no document"),
    (changed(["extra"], 1), UnknownName, "no field of a document 'extra'; have format, nodes, output, version"),
    (changed(["format"], ...), InvalidGraph, 'format None: a network document has "format": "ntkc-network"'),
    (changed(["format"], "onnx"), InvalidGraph, "format 'onnx'"),
    (changed(["version"], ...), InvalidGraph, "version None is not supported; this ntkc reads version 1"),
    (changed(["version"], 2), InvalidGraph, "version 2"),
    (changed(["version"], True), InvalidGraph, "version True"),
    (changed(["version"], "1"), InvalidGraph, "version '1'"),
    (changed(["nodes"], ...), InvalidGraph, "nodes = None: a list of nodes"),
    (changed(["nodes"], {}), InvalidGraph, "nodes = {}"),
    (changed(["nodes"], []), InvalidGraph, "output 'dense2' is no node"),
    (changed(["nodes", 1], "Dense"), InvalidGraph, "nodes[1] = 'Dense'; an object"),
    (changed(["output"], "dense9"), InvalidGraph, "output 'dense9' is no node"),
    (changed(["output"], ["dense2"]), InvalidGraph, "output ['dense2'] is no node"),
    (
        changed(["output"], "dense1"),
        InvalidGraph,
        "the output is stated to be 'dense1', but the edges make it 'dense2'",
    ),
    (changed([*NODE, "name"], ...), InvalidGraph, "nodes[1]: name = None"),
    (changed([*NODE, "name"], ""), InvalidGraph, "nodes[1]: name = ''"),
    (changed([*NODE, "name"], "a" * 201), InvalidGraph, "text of 1 to 200 characters"),
    (changed([*NODE, "name"], "input1"), InvalidGraph, "2 nodes are named 'input1'"),
    (changed([*NODE, "op"], ...), InvalidGraph, "node 'dense1': op = None"),
    (changed([*NODE, "op"], ["Dense"]), InvalidGraph, "op = ['Dense']"),
    (changed([*NODE, "op"], "dense"), UnknownName, "node 'dense1': no layer 'dense'; have ABRelu"),
    (changed([*NODE, "op"], "Port"), UnknownName, "no layer 'Port'"),
    (changed([*NODE, "op"], "__class__"), UnknownName, "no layer '__class__'"),
    (changed([*NODE, "inputs"], "input1"), InvalidGraph, "inputs = 'input1'; a list of names"),
    (changed([*NODE, "inputs"], [0]), InvalidGraph, "inputs = [0]; a list of names"),
    (changed([*NODE, "inputs"], ["in"]), InvalidGraph, "node 'dense1': its input 'in' is no node"),
    (changed([*NODE, "inputs"], []), InvalidGraph, "Dense takes 1 operand(s), got 0"),
    (changed([*NODE, "inputs"], ["input1"] * 2), InvalidGraph, "Dense takes 1 operand(s), got 2"),
    (changed([*NODE, "inputs"], ["act"]), InvalidGraph, "cycle, 'dense1' -> 'act' -> 'dense1'"),
    (changed(["nodes", 3, "inputs"], ["dense1"]), InvalidGraph, "2 outputs, ['act', 'dense2']"),
    (changed([*NODE, "w_std"], 1), UnknownName, "node 'dense1': no field of Dense 'w_std'; have W_std, b_std"),
    (changed([*NODE, "out_dim"], ...), InvalidGraph, "its fields are out_dim"),
    (changed([*NODE, "out_dim"], "512"), InvalidGraph, "node 'dense1': Dense(out_dim='512'): a whole number"),
    (changed([*NODE, "out_dim"], 512.0), InvalidGraph, "Dense(out_dim=512.0): a whole number"),
    (changed([*NODE, "out_dim"], {"symbol": "n"}), InvalidGraph, "Dense(out_dim=n): a whole number"),
    (changed([*NODE, "out_dim"], -1), InvalidInput, "node 'dense1': Dense out_dim = -1"),
    (changed([*NODE, "W_std"], [1]), InvalidGraph, "Dense(W_std=(1,)): a finite number or a sympy expression"),
    (changed([*NODE, "W_std"], "w"), InvalidGraph, "Dense(W_std='w')"),
    (changed([*NODE, "W_std"], None), InvalidGraph, "Dense(W_std=None)"),
    (changed([*NODE, "W_std"], 10**400), InvalidGraph, "a finite number"),
    (changed([*NODE, "W_std"], float("inf")), InvalidGraph, "Dense(W_std=inf): a finite number"),
    (changed([*NODE, "W_std"], {"sym": "w"}), InvalidGraph, "node 'dense1': W_std: {'sym': 'w'}: a sympy expression"),
    (changed([*NODE, "W_std"], {"expr": "x"}), UnsupportedExpr, "W_std: expression 'x': unknown name 'x'"),
    (changed([*NODE, "W_std"], {"expr": "sqrt(-1)"}), UnsupportedExpr, "root of a negative number"),
    (changed([*NODE, "b_std"], True), InvalidGraph, "Dense(b_std=True)"),
    (changed([*NODE, "parameterization"], "mup"), UnknownName, "no parameterization 'mup'; have ntk, standard"),
    (changed([*NODE, "s"], [1, 2, 3]), InvalidGraph, "Dense(s=(1, 2, 3)): a list of 2, each a whole number"),
    (changed(["nodes", 2, "expr"], "y"), UnsupportedExpr, "node 'act': expression 'y': unknown name 'y'"),
    (changed(["nodes", 2, "expr"], 3), InvalidGraph, "Activation(expr=3): text or a sympy expression"),
    (changed(["nodes", 2, "expr"], {"symbol": "x"}), InvalidGraph, "node 'act': expr: {'symbol': 'x'}"),
]


@pytest.mark.parametrize(("document", "kind", "part"), BAD)
def test_what_is_no_document(document, kind, part):
    with pytest.raises(kind) as caught:
        from_json(document)
    assert part in str(caught.value)


TEXT = json.dumps(GOOD)
BAD_TEXT = [
    ('{\n"format": "ntkc-network",\n"version" 1}', "not JSON: line 3, column 11"),
    ("{", "not JSON: line 1"),
    (TEXT + "}", "Extra data"),
    (TEXT.replace("1.5", "NaN"), "constant NaN is not JSON"),
    (TEXT.replace("1.5", "-Infinity"), "constant -Infinity is not JSON"),
    (TEXT.replace("1.5", "1e999"), "Dense(W_std=inf): a finite number"),
    (TEXT.replace("1.5", "1" * 5000), "not JSON"),
    (TEXT.replace('"W_std"', '"out_dim"'), "the key 'out_dim' stands twice"),
    (TEXT.replace('"output"', '"format"'), "the key 'format' stands twice"),
    (TEXT.replace("1.5", "[" * 20 + "]" * 20), "nested deeper than 10"),
    (TEXT.replace("1.5", "[" * 200_000 + "]" * 200_000), "nested deeper than 10"),
    (TEXT.replace("1.5", '{"a":' * 200_000 + "1" + "}" * 200_000), "nested deeper than 10"),
    ('{"a": "' + "b" * 10_000_000 + '"}', "at most 10000000"),
]


@pytest.mark.parametrize(("text", "part"), BAD_TEXT, ids=range(len(BAD_TEXT)))
def test_bad_text(text, part):
    start = time.perf_counter()
    with pytest.raises(InvalidGraph) as caught:
        from_json(text)
    assert part in str(caught.value)
    assert time.perf_counter() - start < 2


def test_bad_files(tmp_path):
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    (tmp_path / "list.json").write_text("[1]")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(documents.LARGEST_FILE + 1)
    cases = {"none.json": "no file", ".": "no file", "latin.json": "not UTF-8", "list.json": "is no document"}
    for name, part in {**cases, "large.json": "at most 10000000 bytes", "a\0b": "no file|cannot read"}.items():
        with pytest.raises(InvalidGraph, match=part):
            from_json(str(tmp_path / name))
    for text in ("", "[1]", "a" * 5000):
        with pytest.raises(InvalidGraph, match=r"no file|cannot read"):
            from_json(text)


def test_too_many_nodes(monkeypatch):
    monkeypatch.setattr(documents, "LARGEST_GRAPH", 3)
    with pytest.raises(InvalidGraph, match="4 nodes: at most 3"):
        from_json(GOOD)


def test_large_document_is_read():
    nodes = [{"name": "n0", "op": "Input"}]
    nodes += [{"name": f"n{i + 1}", "op": "Dense", "inputs": [f"n{i}"], "out_dim": 3} for i in range(2000)]
    assert len(from_json({**GOOD, "nodes": nodes, "output": "n2000"})) == 2001


def test_what_cannot_be_written():
    builder = GraphBuilder()
    graph = builder.finish(builder.add(Relu(), [builder.add(Port())]))
    with pytest.raises(InvalidGraph, match=r"port1: Port"):
        to_json(graph)
    with pytest.raises(UnsupportedExpr, match=r"activation1: .* cannot be written"):
        to_json(network_of(Activation(sp.Symbol("x") ** sp.Symbol("n"))))
    with pytest.raises(InvalidGraph):
        to_json(3)


ATTACKS = [
    "().__class__.__bases__[0].__subclasses__()",
    "__import__('os').system('touch pwned')",
    "x.__class__",
    "x.func",
    "lambda x: x",
    "(lambda: 0)()",
    "[x for x in (1, 2)]",
    "f'{x}'",
    "(x := 1)",
    "eval(x)",
    "getattr(x, x)",
    "9**9**9**9",
    "9999**24**24",
    "((((1/3**24)**24)**24)**24)**24",
    "((((2*exp(x))**24)**24)**24)**24",
    "exp(exp(exp(exp(100))))",
    "max(exp(exp(exp(100))), 1)",
    "gelu(" * 20 + "2" + ")" * 20,
    "(" * 240 + "2" + ")" * 240,
    "x*" * 5000 + "x",
    "-" * 450 + "1",
]
PLACES = [
    lambda text: Activation(text),
    lambda text: from_json(changed(["nodes", 2, "expr"], text)),
    lambda text: from_json(json.dumps(changed(["nodes", 2, "expr"], text))),
    lambda text: from_json(changed(["nodes", 2, "expr"], {"expr": text})),
    lambda text: from_json(changed([*NODE, "W_std"], {"expr": text})),
    lambda text: from_json(changed([*NODE, "W_std"], text)),
    lambda text: from_json(changed([*NODE, "W_std"], {"symbol": text})),
    lambda text: from_json(changed([*NODE, "W_std"], {"expr": "w", "symbols": [{"symbol": text}]})),
    lambda text: from_json(changed([*NODE, "op"], text)),
    lambda text: from_json(changed([*NODE, text], 1)),
]


@pytest.mark.parametrize("place", PLACES, ids=range(len(PLACES)))
@pytest.mark.parametrize("text", ATTACKS)
def test_attacks_are_refused_at_once(text, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = time.perf_counter()
    with pytest.raises(NtkcError):
        place(text)
    assert time.perf_counter() - start < 1
    assert not list(tmp_path.iterdir())


def test_names_of_nodes_reach_no_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = '"""; open("pwned", "w"); """'
    document = json.loads(json.dumps(GOOD).replace("dense1", json.dumps(name)[1:-1]))
    program = ntkc.compile(document)
    assert "pwned" not in program.source
    assert not list(tmp_path.iterdir())


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
WORDS = st.sampled_from(
    [*(n["name"] for n in GOOD["nodes"]), "x", "sqrt(2)", "w", "real", *public_ops(), "ntkc-network"]
)
KEYS = st.sampled_from([*GOOD, *NODE_KEYS, "out_dim", "W_std", "expr", "symbol", "symbols", "assume", "coef"])
VALUES = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
PATHS = st.sampled_from(
    [[k] for k in GOOD]
    + [["nodes", i] for i in range(4)]
    + [["nodes", i, k] for i in range(4) for k in GOOD["nodes"][i]]
)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_random_objects_raise_only_errors_of_ntkc(document):
    _read(document)


@QUICK
@given(PATHS, VALUES)
def test_random_changes_raise_only_errors_of_ntkc(path, value):
    _read(changed(path, value))


@QUICK
@given(st.sampled_from(range(1, 4)), KEYS, VALUES)
def test_random_fields_raise_only_errors_of_ntkc(node, key, value):
    _read(changed(["nodes", node, key], value))


def _read(document):
    try:
        graph = from_json(document)
    except NtkcError as error:
        message = str(error)
    else:
        message = ""
        assert nx.utils.graphs_equal(returned(graph), graph)
    assert len(message) < 3000
