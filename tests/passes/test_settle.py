"""What Flatten is on data of a shape, and which networks need to know that shape."""

import pytest

import ntkc
from ntkc import stax
from ntkc.errors import InvalidInput, ShapeMismatch
from ntkc.frontends import to_graph
from ntkc.ir.graph import feature_shapes, op_of, operands
from ntkc.layers.inputs import Input
from ntkc.layers.pooling import FlattenPixels
from ntkc.layers.reshape import Flatten, Identity
from ntkc.passes.settle import has_pixels, is_masked, is_open, masked, on_data, settle

CNN = stax.serial(stax.Conv(4, (3, 3)), stax.Relu(), stax.Flatten(), stax.Flatten(), stax.Dense(2))
DENSE = stax.serial(stax.Flatten(), stax.Dense(3), stax.Relu())


def settled(net, spatial, features=3):
    return settle(on_data(to_graph(net), [(*spatial, features)]))


def test_flatten_of_pixels_is_a_mean_and_that_of_features_nothing():
    graph = settled(CNN, (5, 4))
    assert op_of(graph, "flatten1") == FlattenPixels()
    assert op_of(graph, "flatten2") == Identity()
    assert op_of(settled(DENSE, ()), "flatten1") == Identity()
    assert op_of(settled(DENSE, (5,)), "flatten1") == FlattenPixels()
    assert op_of(settled(DENSE, (5, 4, 3)), "flatten1") == FlattenPixels()


def test_shapes_and_names_stay():
    before, after = on_data(to_graph(CNN), [(5, 4, 3)]), settled(CNN, (5, 4))
    assert feature_shapes(before) == feature_shapes(after)
    assert feature_shapes(after)["flatten1"] == (3 * 2 * 4,)
    assert list(before) == list(after)
    assert [operands(before, n) for n in before] == [operands(after, n) for n in after]
    assert {op_of(before, n) for n in before} >= {Flatten()}


def test_settled_twice_is_settled_once():
    graph = settled(CNN, (5, 4))
    assert [op_of(settle(graph), n) for n in graph] == [op_of(graph, n) for n in graph]


def test_the_input_of_layers_that_act_on_pixels_is_open():
    assert is_open(to_graph(CNN))
    assert not is_open(to_graph(DENSE))
    assert not is_open(on_data(to_graph(CNN), [(5, 4, 3)]))
    assert op_of(to_graph(CNN), "input1") == Input(None, None)


@pytest.mark.parametrize(
    ("net", "spatial", "expected"),
    [
        (DENSE, (), False),
        (DENSE, (5, 4), True),
        (CNN, (5, 4), True),
        (stax.serial(stax.Dense(3), stax.LayerNorm(-1)), (), True),
    ],
    ids=["dense", "dense on pixels", "conv", "a layer that pairs of one sample see"],
)
def test_has_pixels(net, spatial, expected):
    assert has_pixels(on_data(to_graph(net), [(*spatial, 3)])) is expected


def test_masks():
    graph = on_data(to_graph(DENSE), [(3,)])
    assert not is_masked(graph)
    assert is_masked(masked(graph))
    assert has_pixels(masked(graph))
    assert is_masked(on_data(masked(graph), [(5, 4, 3)]))
    assert op_of(masked(graph), "input1") == Input(3, (), True)


def test_data_that_do_not_fit():
    with pytest.raises(ShapeMismatch, match=r"filter of 2 axes, its input 1 spatial axes"):
        settled(CNN, (9,))
    with pytest.raises(ShapeMismatch, match="a window of 3 pixels does not fit into 2; use padding='SAME'"):
        settled(CNN, (2, 9))


def test_a_program_of_an_open_network_needs_the_shape():
    program = ntkc.compile(CNN)
    with pytest.raises(InvalidInput, match="depends on the shape of the data"):
        _ = program.source
    assert program.on((5, 4, 3)) is program.on((5, 4, 3))
    assert program.source == program.on((5, 4, 3)).source == ntkc.compile(CNN, input_shape=(5, 4, 3)).source
    program.on((6, 4, 3))
    with pytest.raises(InvalidInput, match="depends on the shape of the data"):
        _ = program.source
    with pytest.raises(ShapeMismatch):
        ntkc.compile(CNN, input_shape=(5, 4, 3)).on((6, 4, 3))
