"""Which streams the outputs need: K, T and variances (q), by node."""

import pytest

import ntkc
from ntkc import stax
from ntkc.passes.analyse import analyse
from ntkc.passes.demand import carried_streams, demand, in_order
from ntkc.passes.roll import Block

D, R = stax.Dense, stax.Relu
STANDARD = {"parameterization": "standard"}


def branches(*parts):
    return stax.serial(stax.FanOut(len(parts)), stax.parallel(*parts), stax.FanInSum())


def demanded(streams, *layers):
    """{"dense1": "q K"}: names without the node."""
    graph = ntkc.compile(stax.serial(*layers), until="fuse")
    found = demand(graph, analyse(graph), streams)
    return {node: " ".join(k.name.removesuffix(f"_{node}") for k in in_order(keys)) for node, keys in found.items()}


@pytest.mark.parametrize(
    ("streams", "layers", "expected"),
    [
        ("S", [D(4)], {"input1": "q", "dense1": "q"}),
        ("K", [D(4)], {"input1": "K", "dense1": "K"}),
        ("T", [D(4)], {"input1": "K", "dense1": "K T"}),
        ("K", [D(4), R(), D(1)], {"input1": "q K", "dense1": "q K", "relu1": "K", "dense2": "K"}),
        ("T", [D(4), R(), D(1)], {"input1": "q K", "dense1": "q K T", "relu1": "K T", "dense2": "K T"}),
        ("SKT", [D(4), R(), D(1)], {"input1": "q K", "dense1": "q K T", "relu1": "q K T", "dense2": "q K T"}),
        ("T", [D(4), R()], {"input1": "q K", "dense1": "q K T", "relu1": "T"}),
        ("T", [D(4), R(), D(1, **STANDARD)], {"input1": "q K", "dense1": "q K T", "relu1": "K T", "dense2": "T"}),
        ("T", [D(4, **STANDARD), D(1, **STANDARD)], {"input1": "K", "dense1": "K T", "dense2": "T"}),
        ("K", [D(4), stax.Monomial(0), D(1)], {"input1": "", "dense1": "", "monomial1": "K", "dense2": "K"}),
        ("T", [stax.Identity()], {"input1": ""}),
    ],
)
def test_streams(streams, layers, expected):
    found = demanded(streams, *layers)
    if "monomial1" in expected:  # a constant reads no covariance, but may ask for it before it is multiplied by zero
        assert found["monomial1"] == expected["monomial1"]
        assert "T" not in " ".join(found.values())
        return
    assert found == expected


def test_independent_branches_need_no_covariance_between_them():
    found = demanded("SKT", D(4), branches(stax.serial(R(), D(4)), stax.serial(stax.Erf(), D(4))), R(), D(1))
    assert found["dense2"] == found["dense3"] == "q K T"
    assert found["faninsum1"] == "q K T"


def test_a_sum_asks_for_its_parts_only():
    found = demanded("KT", D(4), branches(stax.serial(R(), D(4)), stax.Identity()), D(1))
    assert found == {
        "input1": "q K",
        "dense1": "q K T",
        "relu1": "K T",
        "dense2": "K T",
        "faninsum1": "K T",
        "dense3": "K T",
    }


def block_of(*layers):
    graph = ntkc.compile(stax.serial(*layers), until="roll")
    return graph, next((n, o) for n, o in graph.nodes(data="op") if isinstance(o, Block))


@pytest.mark.parametrize(
    ("streams", "carried"), [("S", ("S",)), ("K", ("S", "K")), ("T", ("S", "K", "T")), ("SKT", ("S", "K", "T"))]
)
def test_a_block_carries_what_its_next_turn_reads(streams, carried):
    graph, (node, block) = block_of(D(4), *[R(), D(4)] * 5)
    keys = demand(graph, analyse(graph), streams)[node]
    assert carried_streams(block, keys) == carried


def test_a_linear_block_carries_no_variance_for_pairs():
    graph, (node, block) = block_of(*[D(4)] * 5)
    keys = demand(graph, analyse(graph), "K")[node]
    assert carried_streams(block, keys) == ("K",)
