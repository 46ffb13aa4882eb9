"""Repeated segments: which are found, and that rolling changes no kernel."""

import numpy as np
import pytest

import ntkc
from ntkc import stax
from ntkc.ir.graph import op_of
from ntkc.ir.value import Law
from ntkc.layers.inputs import Port
from ntkc.passes import roll as roll_module
from ntkc.passes.roll import Block, Repeat, find_repeats, roll

D, R = stax.Dense, stax.Relu
C, POOL = stax.Conv(4, (2, 2), None, "SAME", 1.2, 0.1), stax.AvgPool((2, 2))
CONV_LABEL = "Conv(out_chan=4, filter_shape=(2, 2), padding='SAME', W_std=1.2, b_std=0.1)"
G, P, X = Law.GAUSSIAN, Law.POINTWISE, Law.GIVEN
LAWS = {"G": G, "P": P, "X": X}


def residual(branch):
    return stax.serial(stax.FanOut(2), stax.parallel(branch, stax.Identity()), stax.FanInSum())


@pytest.mark.parametrize(
    ("signatures", "laws", "found"),
    [
        ("aaa", "GGGG", [(0, 1, 3)]),
        ("aa", "GGG", []),
        ("abc", "GGGG", []),
        ("", "X", []),
        ("xaaay", "GGGGGG", [(1, 1, 3)]),
        ("aaaa", "XGGGG", [(1, 1, 3)]),
        ("aaaa", "XXXXX", []),
        ("xababab", "GGGGGGGG", [(1, 2, 3)]),
        ("abcabcabc", "GGGGGGGGGG", [(0, 3, 3)]),
        ("aaaaaa", "GGGGGGG", [(0, 1, 6)]),
        ("abababa", "GGGGGGGG", [(0, 2, 3)]),
        ("abababa", "PGPGPGPG", [(1, 2, 3)]),
        ("ababab", "PGPGPGP", [(0, 2, 3)]),
        ("aaaxbbb", "GGGGGGGG", [(0, 1, 3), (4, 1, 3)]),
        ("aaab" * 3, "G" * 13, [(0, 4, 3)]),
        ("abcdefgh" * 3, "G" * 25, [(0, 8, 3)]),
        ("abcdefghi" * 3, "G" * 28, []),
        ("aaaa", "GPGPG", []),
    ],
)
def test_find_repeats(signatures, laws, found):
    repeats = find_repeats(list(signatures), [LAWS[c] for c in laws])
    assert sorted((r.start, r.period, r.count) for r in repeats) == found


def test_find_repeats_from_a_place_on():
    laws = [G] * 7
    assert find_repeats(list("aaaaaa"), laws, first=2) == [Repeat(2, 1, 4)]
    assert find_repeats(list("aaaaaa"), laws, first=4) == []
    assert Repeat(2, 3, 4).saved == 9


def rolled(*layers, keep_first=None):
    """The nodes of the rolled graph, a Block as its label."""
    graph = roll(ntkc.compile(stax.serial(*layers), until="fuse"), keep_first)
    return [o.label() if isinstance(o, Block) else type(o).__name__ for _, o in graph.nodes(data="op")]


@pytest.mark.parametrize(
    ("layers", "nodes"),
    [
        ([D(4), R(), D(4), R(), D(4)], ["Input", "Dense", "Pointwise", "Dense", "Pointwise", "Dense"]),
        (
            [D(4, 1.3), *[R(), D(4, 1.3)] * 3],
            ["Input", "Dense", "3 times [Relu() -> Dense(out_dim=4, W_std=1.3)]"],
        ),
        (
            [D(4, 1.3), *[R(), D(4, 1.3)] * 3, R(), D(1, 1.1)],
            ["Input", "Dense", "3 times [Relu() -> Dense(out_dim=4, W_std=1.3)]", "Pointwise", "Dense"],
        ),
        (
            [D(4), *[R(), D(4), stax.Erf(), D(4)] * 3],
            ["Input", "Dense", "3 times [Relu() -> Dense(out_dim=4) -> Erf() -> Dense(out_dim=4)]"],
        ),
        ([D(4), D(4), D(4), D(4), D(4)], ["Input", "Dense", "4 times [Dense(out_dim=4)]"]),
        (
            [D(4), *[residual(stax.serial(R(), D(4)))] * 5, D(1)],
            ["Input", "Dense", "5 times [Relu() -> Dense(out_dim=4) -> FanInSum()]", "Dense"],
        ),
    ],
)
def test_rolled_from_the_first_layer_on(layers, nodes):
    """As derivations show them."""
    assert rolled(*layers, keep_first=False) == nodes


@pytest.mark.parametrize(
    ("layers", "nodes"),
    [
        ([D(4), *[R(), D(4)] * 3], ["Input", "Dense", *["Pointwise", "Dense"] * 3]),
        (
            [D(4, 1.3), *[R(), D(4, 1.3)] * 4],
            ["Input", "Dense", "Pointwise", "Dense", "3 times [Relu() -> Dense(out_dim=4, W_std=1.3)]"],
        ),
        (
            [D(4, 1.3), *[R(), D(4, 1.3)] * 3, R(), D(1, 1.1)],
            ["Input", "Dense", "Pointwise", "3 times [Dense(out_dim=4, W_std=1.3) -> Relu()]", "Dense"],
        ),
        (
            [D(4), *[R(), D(4), stax.Erf(), D(4)] * 4],
            [
                *("Input", "Dense", "Pointwise", "Dense"),
                "3 times [Erf() -> Dense(out_dim=4) -> Relu() -> Dense(out_dim=4)]",
                *("Pointwise", "Dense"),
            ],
        ),
        ([D(4)] * 5, ["Input", "Dense", "4 times [Dense(out_dim=4)]"]),
        (
            [D(4), *[residual(stax.serial(R(), D(4)))] * 5, D(1)],
            [
                "Input",
                *("Dense", "Pointwise", "Dense", "FanInSum"),
                "4 times [Relu() -> Dense(out_dim=4) -> FanInSum()]",
                "Dense",
            ],
        ),
    ],
)
def test_no_block_of_rows_starts_before_the_first_nonlinearity(layers, nodes):
    """Unless that stands in a branch."""
    assert rolled(*layers) == rolled(*layers, keep_first=True) == nodes


@pytest.mark.parametrize(
    ("layers", "nodes"),
    [
        ([*[C, R()] * 2, stax.Flatten()], ["Input", *["Conv", "Pointwise"] * 2, "FlattenPixels"]),
        ([*[C, R()] * 3, stax.Flatten()], ["Input", "Conv", "Pointwise", "2 times [Conv -> Relu()]", "FlattenPixels"]),
        ([*[C, R()] * 3, C], ["Input", "Conv", "3 times [Relu() -> Conv]"]),
        ([*[C, R()] * 3, POOL, C], ["Input", "Conv", "Pointwise", "2 times [Conv -> Relu()]", "AvgPool", "Conv"]),
    ],
)
def test_with_pixels_two_turns_are_enough_and_of_equal_blocks_one_ends_on_a_nonlinearity(layers, nodes):
    graph = ntkc.compile(stax.serial(*layers), until="roll", input_shape=(4, 3, 2))
    found = [o.label() if isinstance(o, Block) else type(o).__name__ for _, o in graph.nodes(data="op")]
    assert [label.replace(CONV_LABEL, "Conv") for label in found] == nodes


def test_widths_matter_in_the_standard_parameterization_only():
    def layers(parameterization):
        return [D(4), *(x for n in (3, 5, 4, 6, 7) for x in (R(), D(n, 1.3, parameterization=parameterization)))]

    assert len(rolled(*layers("ntk"))) == 5
    assert len(rolled(*layers("ntk"), keep_first=False)) == 3
    for keep_first in (None, False):
        assert len(rolled(*layers("standard"), keep_first=keep_first)) == 12


def test_a_block_knows_its_body():
    graph = ntkc.compile(stax.serial(D(4, 1.3), *[R(), D(4, 1.3)] * 7), until="roll")
    (block,) = (o for _, o in graph.nodes(data="op") if isinstance(o, Block))
    assert (block.count, block.law) == (6, G)
    assert list(block.body) == ["beforerelu2", "relu2", "dense3"]
    assert isinstance(op_of(block.body, "beforerelu2"), Port)


NETS = {
    "period 4": [D(4, 1.1, 0.1), *[R(), D(4, 1.3, 0.2), stax.Erf(), D(4, 1.1, 0.1)] * 4, D(1)],
    "zonal": [D(4, 1.1), *[stax.Abs(), D(4, 1.1)] * 4, R(), D(1)],
    "two blocks": [D(4), *[R(), D(4, 1.3)] * 4, *[stax.Erf(), D(4, 1.3)] * 3],
    "residual": [D(4), *[residual(stax.serial(R(), D(4, 1.1, 0.1)))] * 4, R(), D(1)],
    "standard": [D(4), *[R(), D(4, 1.3, parameterization="standard")] * 4],
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", NETS)
def test_rolling_changes_no_kernel(name, pair, monkeypatch):
    net, get = stax.serial(*NETS[name]), ("nngp", "ntk")
    rolled_kernels = ntkc.compile(net)(*pair, get)
    assert any(isinstance(o, Block) for _, o in ntkc.compile(net, until="roll").nodes(data="op"))
    monkeypatch.setattr(roll_module, "find_repeats", lambda *given: [])
    assert not any(isinstance(o, Block) for _, o in ntkc.compile(net, until="roll").nodes(data="op"))
    for given, expected in zip(rolled_kernels, ntkc.compile(net)(*pair, get), strict=True):
        # The branch that relu takes for duplicates differs, and with it the root of a rounding error.
        np.testing.assert_allclose(given, expected, rtol=1e-7, atol=1e-10)


def code_of(program):
    """Its source without the docstring of the module, which lists the layers."""
    return program.source.split('"""', 2)[2].splitlines()


def test_depth_costs_no_statements():
    shallow, deep = (ntkc.compile(stax.serial(D(4, 1.1, 0.1), *[R(), D(4, 1.1, 0.1)] * n)) for n in (5, 200))
    assert len(code_of(deep)) == len(code_of(shallow))
    assert len(deep.graph) == 402
    rows = [{r.stage: r.statements for r in program.stages} for program in (shallow, deep)]
    assert rows[0] == rows[1]


def test_inputs_stay_in_the_order_of_the_data():
    """Six inputs: an order of chance would be another one in 719 of 720 runs."""
    net = stax.serial(stax.parallel(*[D(4)] * 6), stax.FanInSum(), *[R(), D(4)] * 20)
    program = ntkc.compile(net, until="lower", input_shape=tuple((n,) for n in range(2, 8)))
    assert list(program.data.values()) == [(n,) for n in range(2, 8)]
    assert list(program.data) == [f"input{n}" for n in range(1, 7)]


def test_segments_follow_the_order_of_the_graph():
    """The text of a program is the same in every process."""
    wide = stax.serial(stax.FanOut(5), stax.parallel(*[stax.serial(D(4), R(), D(4))] * 5), stax.FanInSum())
    program = ntkc.compile(stax.serial(D(4), wide, *[R(), D(4), stax.Erf(), D(2, 1.3)] * 10), until="roll")
    names = [n for n in program if n.startswith("relu")]
    assert names == sorted(names, key=lambda n: int(n[4:]))
