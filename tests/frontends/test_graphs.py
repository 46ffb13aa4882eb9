"""networkx graphs that are networks, and those that are not."""

from dataclasses import fields

import networkx as nx
import pytest
import sympy as sp

import ntkc
from ntkc import stax
from ntkc.errors import InvalidGraph, NtkcError, ShapeMismatch, UnknownName
from ntkc.frontends import from_networkx, to_graph
from ntkc.ir.graph import inputs_of, op_of, operands
from ntkc.ir.op import public_ops
from ntkc.layers.activations import Relu
from ntkc.layers.dense import Dense
from ntkc.layers.inputs import Input


def chain(*ops, kind=nx.DiGraph):
    """A path of layers, named by their places from 0."""
    graph = kind()
    for place, op in enumerate(ops):
        graph.add_node(place, **op)
    nx.add_path(graph, range(len(ops)))
    return graph


INPUT, DENSE, RELU, SUM = {"op": "Input"}, {"op": "Dense", "out_dim": 3}, {"op": "Relu"}, {"op": "FanInSum"}


def residual(kind=nx.MultiDiGraph):
    """x -> Dense -> Relu -> Dense, plus the first Dense; consumers are added before what they consume."""
    graph = kind()
    graph.add_node("out", **DENSE)
    graph.add_node("join", **SUM)
    graph.add_node(("a", 1), **RELU, label="ignored")
    graph.add_node("dense7", **DENSE, W_std=1.5, b_std=sp.Symbol("b"))
    graph.add_node("dense1", **DENSE)
    graph.add_node(0, **INPUT)
    for edge in ((0, "dense7"), ("dense7", ("a", 1)), (("a", 1), "dense1"), ("dense1", "join"), ("dense7", "join")):
        graph.add_edge(*edge)
    graph.add_edge("join", "out")
    return graph


@pytest.mark.parametrize("kind", [nx.DiGraph, nx.MultiDiGraph])
def test_residual_network(kind):
    graph = from_networkx(residual(kind))
    assert list(graph) == ["input1", "dense7", "relu1", "dense1", "faninsum1", "dense2"]
    assert op_of(graph, "dense7") == Dense(3, 1.5, sp.Symbol("b"))
    assert operands(graph, "faninsum1") == ("dense1", "dense7")
    assert graph.graph.items() >= {"input": "input1", "inputs": ("input1",), "output": "dense2"}.items()
    assert nx.is_frozen(graph)


def test_same_graph_as_stax():
    layers = stax.serial(stax.Dense(3), stax.Relu(), stax.Dense(3, 1.5))
    given = chain(INPUT, DENSE, RELU, {**DENSE, "W_std": 1.5})
    made, expected = from_networkx(given), to_graph(layers)
    assert nx.utils.graphs_equal(made, expected)


@pytest.mark.parametrize("name", public_ops())
def test_every_layer_by_name_and_by_object(name):
    for op in public_ops()[name].examples():
        if isinstance(op, Input):
            continue
        given = {f.name: getattr(op, f.name) for f in fields(op)}
        by_name = from_networkx(chain(INPUT, DENSE, {"op": name, **given}, kind=nx.MultiDiGraph))
        by_object = from_networkx(chain(INPUT, DENSE, {"op": op}, kind=nx.MultiDiGraph))
        assert nx.utils.graphs_equal(by_name, by_object)
        assert op_of(by_name, by_name.graph["output"]) == op


def test_graph_of_ntkc_passes_unchanged():
    layers = stax.serial(stax.Dense(3), stax.FanOut(2), stax.parallel(stax.Relu(), stax.Identity()), stax.FanInSum())
    graph = to_graph(layers)
    assert nx.utils.graphs_equal(from_networkx(graph), graph)


SLOTS = {
    "attribute": [("b", {"slot": 0}), ("a", {"slot": 1})],
    "order": [("b", {}), ("a", {})],
}


@pytest.mark.parametrize("kind", [nx.DiGraph, nx.MultiDiGraph])
@pytest.mark.parametrize("edges", SLOTS.values(), ids=SLOTS)
def test_slots(kind, edges):
    graph = branches(kind)
    for source, attributes in edges:
        graph.add_edge(source, "sum1", **attributes)
    assert operands(from_networkx(graph), "sum1") == ("relu1", "dense1")


def test_keys_are_slots_if_they_differ():
    graph = branches(nx.MultiDiGraph)
    graph.add_edge("a", "sum1", key=1)
    graph.add_edge("b", "sum1", key=0)
    assert operands(from_networkx(graph), "sum1") == ("relu1", "dense1")


def test_x_plus_x_is_two_edges():
    graph = chain(INPUT, DENSE, SUM, kind=nx.MultiDiGraph)
    graph.add_edge(1, 2)
    assert operands(from_networkx(graph), "faninsum1") == ("dense1", "dense1")


def branches(kind):
    """Input -> a (Dense) -> b (Relu), and sum1 without operands yet."""
    graph = kind()
    for name, op in (("in", INPUT), ("a", DENSE), ("b", RELU), ("sum1", SUM)):
        graph.add_node(name, **op)
    nx.add_path(graph, ["in", "a", "b"])
    return graph


def with_edges(graph, *edges, **attributes):
    for edge in edges:
        graph.add_edge(*edge, **attributes)
    return graph


def with_attributes(graph, **attributes):
    graph.graph.update(attributes)
    return graph


BAD = {
    "list": ([1], InvalidGraph, "list: a networkx DiGraph"),
    "undirected": (nx.path_graph(2), InvalidGraph, "DiGraph or MultiDiGraph is needed"),
    "empty": (nx.DiGraph(), InvalidGraph, "the graph is empty"),
    "no op": (chain(INPUT, {"out_dim": 3}), InvalidGraph, "node 1 has no `op`"),
    "op is a number": (chain(INPUT, {"op": 3}), InvalidGraph, "node 1: op=3 is neither"),
    "op is a class": (chain(INPUT, {"op": Relu}), InvalidGraph, "is neither a layer's name"),
    "unknown layer": (chain(INPUT, {"op": "Dens"}), UnknownName, "node 1: no layer 'Dens'; have ABRelu, Abs"),
    "internal layer": (chain(INPUT, {"op": "Port"}), UnknownName, "no layer 'Port'"),
    "unknown field": (
        chain(INPUT, {**DENSE, "width": 3}),
        UnknownName,
        "node 1: no field of Dense 'width'; have W_std, b_std, out_dim",
    ),
    "no such field": (chain(INPUT, {**RELU, "a": 1}), UnknownName, "no field of Relu 'a'; have no fields"),
    "missing field": (chain(INPUT, {"op": "Dense"}), InvalidGraph, "its fields are out_dim"),
    "wrong type": (chain(INPUT, {"op": "Dense", "out_dim": "5"}), InvalidGraph, "Dense(out_dim='5'): a whole number"),
    "unhashable": (chain(INPUT, DENSE, {"op": "Erf", "a": [1]}), InvalidGraph, "node 2: Erf(a=[1])"),
    "out of range": (chain(INPUT, {"op": "Dense", "out_dim": 0}), NtkcError, "node 1: Dense out_dim = 0"),
    "object and fields": (chain(INPUT, {"op": Relu(), "a": 1}), InvalidGraph, "give one of them"),
    "cycle": (with_edges(chain(INPUT, DENSE, RELU), (2, 1)), InvalidGraph, "cycle, 1 -> 2 -> 1"),
    "self loop": (with_edges(chain(INPUT, DENSE), (1, 1)), InvalidGraph, "cycle, 1 -> 1"),
    "no input": (chain(DENSE, RELU), InvalidGraph, "node 0: Dense takes 1 operand(s), got 0; draw an edge"),
    "node made by an edge": (with_edges(chain(INPUT, DENSE), (1, "relu")), InvalidGraph, "node 'relu' has no `op`"),
    "arity": (
        with_edges(branches(nx.MultiDiGraph), ("in", "b"), ("b", "sum1")),
        InvalidGraph,
        "node 'b': Relu takes 1 operand(s), got 2; join branches with FanInSum",
    ),
    "input on top": (chain(INPUT, DENSE, INPUT), InvalidGraph, "Input takes 0 operand(s), got 1; it begins"),
    "empty sum": (branches(nx.DiGraph), InvalidGraph, "node 'sum1': FanInSum takes one operand or more, got 0"),
    "x + x": (with_edges(chain(INPUT, DENSE, SUM), (1, 2)), InvalidGraph, "for x + x use a MultiDiGraph"),
    "duplicate slot": (
        with_edges(branches(nx.DiGraph), ("a", "sum1"), ("b", "sum1"), slot=0),
        InvalidGraph,
        "slots [0, 0]; they must be 0, 1, 2",
    ),
    "missing slot": (
        with_edges(branches(nx.MultiDiGraph), ("a", "sum1", 0), ("b", "sum1", 2)),
        InvalidGraph,
        "slots [0, 2]",
    ),
    "half of the slots": (
        with_edges(with_edges(branches(nx.DiGraph), ("a", "sum1"), slot=0), ("b", "sum1")),
        InvalidGraph,
        "slots [0, None]",
    ),
    "slot is text": (
        with_edges(branches(nx.DiGraph), ("a", "sum1"), ("b", "sum1"), slot="0"),
        InvalidGraph,
        "slots ['0', '0']",
    ),
    "edge weight": (
        with_edges(branches(nx.DiGraph), ("a", "sum1"), ("b", "sum1"), weight=2.0),
        UnknownName,
        "'weight'; have label, slot",
    ),
    "other output": (with_attributes(chain(INPUT, DENSE, RELU), output=1), InvalidGraph, "output is stated to be 1"),
    "other input": (with_attributes(chain(INPUT, DENSE), input=[]), InvalidGraph, "Input is stated to be []"),
}


@pytest.mark.parametrize(("graph", "kind", "part"), BAD.values(), ids=BAD)
def test_what_is_no_network(graph, kind, part):
    with pytest.raises(kind) as caught:
        from_networkx(graph)
    assert part in str(caught.value)


def test_several_inputs():
    graph = branches(nx.DiGraph)
    graph.add_node("in2", **INPUT)
    built = from_networkx(with_edges(graph, ("a", "sum1"), ("b", "sum1"), ("in2", "sum1")))
    assert [type(op_of(built, n)) for n in inputs_of(built)] == [Input, Input]


def test_several_outputs():
    graph = with_edges(branches(nx.DiGraph), ("a", "sum1"), ("in", "sum1"))
    with pytest.raises(InvalidGraph, match=r"2 outputs, \['b', 'sum1'\].*compile each alone"):
        from_networkx(graph)


def test_shape_errors_name_the_node_of_the_user():
    graph = branches(nx.DiGraph)
    graph.add_node("wide one", op="Dense", out_dim=4)
    graph = with_edges(graph, ("b", "wide one"), ("a", "sum1"), ("wide one", "sum1"))
    graph = nx.relabel_nodes(graph, {"sum1": "my sum"})
    with pytest.raises(ShapeMismatch, match="node 'my sum': FanInSum of branches"):
        from_networkx(graph)


def test_names_that_collide():
    graph = nx.relabel_nodes(chain(INPUT, DENSE, DENSE, DENSE), {1: "First", 2: "dense1", 3: "x; import os"})
    assert list(from_networkx(graph)) == ["input1", "dense2", "dense1", "dense3"]


def test_given_graph_stays_as_it_is():
    graph = residual()
    before = graph.copy()
    from_networkx(graph)
    assert nx.utils.graphs_equal(graph, before)


def test_long_chain():
    graph = chain(INPUT, *[DENSE] * 2000)
    assert len(from_networkx(graph)) == 2001


def test_compile_takes_networkx():
    program = ntkc.compile(chain(INPUT, DENSE, RELU, DENSE))
    assert "dense2" in program.graph


@pytest.mark.parametrize("name", ["a" * 41 + "1", "relu", "1", 'x"""\n1', "класс1", "Relu1", "a_1", ("a", 1), 7])
def test_other_names_become_plain_ones(name):
    graph = nx.DiGraph()
    graph.add_node(0, **INPUT)
    graph.add_node(name, **DENSE)
    graph.add_edge(0, name)
    assert list(from_networkx(graph)) == ["input1", "dense1"]


def test_a_name_says_nothing_of_the_law():
    """`port1` is how passes call the start of a repeated block."""
    graph = chain(INPUT, DENSE, {"op": "Activation", "expr": "x"}, RELU, DENSE)
    expected = from_networkx(graph)
    named = from_networkx(nx.relabel_nodes(graph, {1: "port1"}))
    assert list(named)[1] == "port1"
    assert ntkc.compile(named).formula() == ntkc.compile(expected).formula()


def test_names_in_messages_are_short():
    graph = chain(INPUT, {"op": "Dense", "out_dim": -1})
    with pytest.raises(NtkcError) as caught:
        from_networkx(nx.relabel_nodes(graph, {1: "x" * 10_000 + "\n"}))
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()
