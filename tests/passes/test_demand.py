"""Which streams the outputs need: K, T and variances (q), by node."""

import pytest

import ntkc
from ntkc import stax
from ntkc.ir.streams import Kind
from ntkc.passes.analyse import analyse
from ntkc.passes.demand import carried_kinds, demand, demand_of, in_order, outputs_of
from ntkc.passes.roll import Block

D, R = stax.Dense, stax.Relu
STANDARD = {"parameterization": "standard"}


def branches(*parts):
    return stax.serial(stax.FanOut(len(parts)), stax.parallel(*parts), stax.FanInSum())


def kinds_of(letters):
    return tuple(Kind[letter] for letter in letters)


def letters_of(found):
    """{"dense1": "q K"}: in the order in which they are computed."""
    return {node: " ".join(k.kind.letter for k in in_order(keys)) for node, keys in found.items()}


def demanded(kinds, *layers):
    graph = ntkc.compile(stax.serial(*layers), until="fuse")
    return letters_of(demand_of(graph, analyse(graph), kinds_of(kinds)))


@pytest.mark.parametrize(
    ("kinds", "layers", "expected"),
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
def test_kinds(kinds, layers, expected):
    found = demanded(kinds, *layers)
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


@pytest.mark.parametrize(("kinds", "carried"), [("S", "S"), ("K", "SK"), ("T", "SKT"), ("SKT", "SKT")])
def test_a_block_carries_what_its_next_turn_reads(kinds, carried):
    graph, (node, block) = block_of(D(4), *[R(), D(4)] * 5)
    keys = demand_of(graph, analyse(graph), kinds_of(kinds))[node]
    assert carried_kinds(block, keys) == kinds_of(carried)


def test_a_linear_block_carries_no_variance_for_pairs():
    graph, (node, block) = block_of(*[D(4)] * 5)
    keys = demand_of(graph, analyse(graph), [Kind.K])[node]
    assert carried_kinds(block, keys) == (Kind.K,)


def test_of_rows_variance_nngp_and_ntk_are_wanted():
    graph = ntkc.compile(stax.serial(D(4), R(), D(1)), until="fuse")
    for diagonal in (False, True):
        assert outputs_of(graph, diagonal) == {"variance": Kind.S, "nngp": Kind.K, "ntk": Kind.T}
        assert letters_of(demand(graph, diagonal)) == demanded("SKT", D(4), R(), D(1))


@pytest.mark.parametrize(
    ("diagonal", "expected"),
    [
        (False, {"input1": "q w K", "conv1": "q w K T", "relu1": "w K T"}),
        (True, {"input1": "q K", "conv1": "q K T", "relu1": "q K T"}),
    ],
    ids=["all pairs", "diagonal"],
)
def test_pixels_that_are_left(diagonal, expected):
    """Of all pairs of them, the covariance within a sample is wanted, too."""
    graph = ntkc.compile(stax.serial(stax.Conv(4, (2, 2)), R()), until="fuse", input_shape=(4, 3, 2))
    assert letters_of(demand(graph, diagonal)) == expected


def test_demand_is_the_stage():
    graph = ntkc.compile(stax.serial(D(4), R(), D(1)), until="roll")
    assert ntkc.compile(stax.serial(D(4), R(), D(1)), until="demand") == demand(graph)
