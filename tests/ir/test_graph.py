"""GraphBuilder: names, slots, and what it refuses."""

import networkx as nx
import pytest

from ntkc.errors import InvalidGraph, ShapeMismatch
from ntkc.ir.graph import GraphBuilder, feature_shapes, inputs_of, op_of, operands, ordered
from ntkc.layers.activations import Relu
from ntkc.layers.branching import FanInSum
from ntkc.layers.dense import Dense
from ntkc.layers.inputs import Input


def build(*layers):
    """A chain on top of an Input."""
    builder = GraphBuilder()
    node = builder.add(Input())
    for op in layers:
        node = builder.add(op, [node])
    return builder.finish(node)


def test_names_count_the_layers_of_a_kind():
    assert list(build(Dense(3), Relu(), Dense(2))) == ["input1", "dense1", "relu1", "dense2"]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("h3", "h3"),
        ("dense1", "dense1"),
        ("Hidden", "dense1"),
        ("a_1", "dense1"),
        ("", "dense1"),
        ("x", "dense1"),
        ("input1", "dense1"),
    ],
)
def test_names_are_letters_then_digits_and_stand_once(given, name):
    builder = GraphBuilder()
    source = builder.add(Input())
    assert builder.add(Dense(3), [source], given) == name
    assert name in builder


def test_counting_passes_over_names_that_were_given():
    builder = GraphBuilder()
    node = builder.add(Dense(3), [builder.add(Input())], "dense1")
    assert builder.add(Dense(3), [node]) == "dense2"
    assert builder.add(Dense(3), [node]) == "dense3"


def test_twice_the_same_operand_is_two_edges():
    builder = GraphBuilder()
    a = builder.add(Dense(3), [builder.add(Input())])
    b = builder.add(Dense(3), [a])
    graph = builder.finish(builder.add(FanInSum(), [a, b, a]))
    assert operands(graph, "faninsum1") == ("dense1", "dense2", "dense1")
    assert sorted(graph.in_edges("faninsum1", keys=True)) == [
        ("dense1", "faninsum1", 0),
        ("dense1", "faninsum1", 2),
        ("dense2", "faninsum1", 1),
    ]


OPERANDS = {"input1": (), "dense1": ("input1",)}


def test_finished_graphs_are_frozen():
    graph = build(Dense(3))
    given = {"input": "input1", "inputs": ("input1",), "output": "dense1", "operands": OPERANDS}
    assert given.items() <= graph.graph.items()
    assert set(graph.graph) - set(given) <= {"ordered", "shapes"}  # computed once
    assert op_of(graph, "dense1") == Dense(3)
    with pytest.raises(nx.NetworkXError):
        graph.add_node("more")


def test_order_follows_the_edges_then_the_insertion():
    builder = GraphBuilder()
    source = builder.add(Input())
    b, a = (builder.add(Dense(3), [source], name) for name in ("b1", "a1"))
    graph = builder.finish(builder.add(FanInSum(), [a, b]))
    assert ordered(graph) == ["input1", "b1", "a1", "faninsum1"]


def test_feature_shapes():
    assert feature_shapes(build(Dense(3), Relu(), Dense(2))) == {
        "input1": (None,),
        "dense1": (3,),
        "relu1": (3,),
        "dense2": (2,),
    }


def test_inputs_keep_the_order_of_the_data():
    builder = GraphBuilder()
    first, second = builder.add(Input()), builder.add(Input())
    graph = builder.finish(builder.add(FanInSum(), [second, first]))
    assert inputs_of(graph) == (first, second)
    assert graph.graph["input"] == first


def two_outputs():
    builder = GraphBuilder()
    source = builder.add(Input())
    builder.add(Dense(3), [source])
    return builder, builder.add(Dense(3), [source])


def two_operands():
    builder = GraphBuilder()
    source = builder.add(Input())
    return builder, builder.add(Relu(), [source, source])


def an_operand_that_was_not_added():
    builder = GraphBuilder()
    return builder, builder.add(FanInSum(), [builder.add(Input()), "dense1"])


def wrong_widths():
    builder = GraphBuilder()
    source = builder.add(Input())
    return builder, builder.add(FanInSum(), [builder.add(Dense(n), [source]) for n in (2, 3)])


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (two_outputs, InvalidGraph, "several outputs"),
        (two_operands, InvalidGraph, r"relu1: Relu takes 1 operand\(s\), got 2"),
        (an_operand_that_was_not_added, InvalidGraph, "'dense1'.* no layers of the graph"),
        (wrong_widths, ShapeMismatch, "faninsum1: .*one shape"),
    ],
)
def test_what_is_no_network(make, error, words):
    builder, output = make()
    with pytest.raises(error, match=words):
        builder.finish(output)
