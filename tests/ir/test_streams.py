"""Streams: one object for what a symbol stands for, whatever it is called."""

import copy
import itertools
import pickle
import subprocess
import sys

import pytest
import sympy as sp

from ntkc.ir.program import PATTERN, PATTERN1, PATTERN2, PLACES, SAME_PIXEL, SAME_SAMPLE, WIDTH
from ntkc.ir.streams import SAMPLE, Kind, Reserved, Stream, streams_in, variance

EVERY = [
    Stream(kind, node, other, side)
    for kind in Kind
    for node, other in (("dense1", None), ("dense1", "relu2"), ("relu2", "dense1"))
    for side in ((0, 1, 2) if kind.is_sample else (None,))
]


def test_a_stream_is_one_object():
    assert Stream(Kind.K, "dense1") is Stream(Kind.K, "dense1", "dense1")
    assert variance("dense1") is Stream(Kind.S, "dense1", side=SAMPLE)
    assert variance("dense1", 2) is variance("dense1").on(2) is variance("dense1", 1).on(2)
    assert all(isinstance(s, sp.Symbol) for s in EVERY)


def test_what_it_stands_for_is_its_identity():
    assert len(set(EVERY)) == len(EVERY)
    assert [(a, b) for a, b in itertools.combinations(EVERY, 2) if a == b] == []
    assert [s for s in EVERY if Stream(s.kind, s.node, s.other, s.side) != s] == []


def test_streams_of_equal_names_differ():
    a, b = Stream(Kind.C, "dense1", "bias_2", SAMPLE), Stream(Kind.C, "dense1_bias", "2", SAMPLE)
    assert a.name == b.name
    assert a != b
    assert a - b != 0
    assert (a + b).subs(a, 1) == 1 + b
    assert (a / b).xreplace({b: sp.S(2)}) == a / 2


@pytest.mark.parametrize("stream", [Stream(Kind.K, "dense1"), variance("dense1"), variance("dense1", 1)], ids=str)
def test_no_symbol_of_a_user_is_a_stream(stream):
    twins = [
        sp.Symbol(stream.name, **stream.assumptions0),
        sp.Symbol(stream.name, **stream._assumptions_orig),
        sp.Symbol(stream.name),
        Reserved(stream.name, **stream._assumptions_orig),
        sp.Dummy(stream.name, **stream._assumptions_orig),
    ]
    for twin in twins:
        assert twin != stream
        assert stream != twin
        assert stream - twin != 0
        assert {stream: 1}.get(twin) is None
        assert (stream * twin).xreplace({twin: sp.S(3)}) == 3 * stream
        assert sp.Add(stream, twin).free_symbols == {stream, twin}
        assert streams_in(stream + twin) == {stream}


@pytest.mark.parametrize("reserved", [*PLACES, WIDTH], ids=str)
def test_no_symbol_of_a_user_is_reserved(reserved):
    twin = sp.Symbol(reserved.name, **reserved._assumptions_orig)
    assert twin != reserved
    assert reserved != twin
    assert (reserved + 2 * twin).subs(twin, 1) == reserved + 2
    assert pickle.loads(pickle.dumps(reserved)) == copy.deepcopy(reserved) == reserved
    assert isinstance(pickle.loads(pickle.dumps(reserved)), Reserved)
    assert streams_in(reserved + 1) == set()


def test_the_places_differ():
    assert len({SAME_PIXEL, SAME_SAMPLE, PATTERN, PATTERN1, PATTERN2, WIDTH}) == 6


@pytest.mark.parametrize("stream", EVERY, ids=lambda s: f"{s.kind.name} {s.node} {s.other} {s.side}")
def test_copies_and_pickles_are_the_object(stream):
    for made in (copy.copy(stream), copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))):
        assert made is stream
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        expr = stream**2 + sp.Symbol(stream.name)
        again = pickle.loads(pickle.dumps(expr, protocol))
        assert again == expr
        assert streams_in(again) == {stream}


READ = """
import pickle, sys
from ntkc.ir.streams import Kind, Stream, streams_in
expr = pickle.load(sys.stdin.buffer)
assert streams_in(expr) == {Stream(Kind.C, "dense1", "bias", 2), Stream(Kind.K, "relu2")}, expr
print(sorted(s.name for s in expr.free_symbols))
"""


def test_another_process_reads_them():
    expr = Stream(Kind.C, "dense1", "bias", 2) * sp.sqrt(Stream(Kind.K, "relu2")) + sp.Symbol("K_relu2", real=True)
    done = subprocess.run([sys.executable, "-c", READ], input=pickle.dumps(expr), capture_output=True, check=True)
    assert done.stdout.decode().strip() == "['K_relu2', 'K_relu2', 'c2_dense1_bias']"


@pytest.mark.parametrize("stream", [s for s in EVERY if s.side == SAMPLE], ids=str)
def test_sides(stream):
    one, two = stream.on(1), stream.on(2)
    assert (one.side, two.side) == (1, 2)
    assert len({stream, one, two}) == 3
    assert one.sample is two.sample is stream.sample is stream
    assert {(s.kind, s.node, s.other) for s in (one, two)} == {(stream.kind, stream.node, stream.other)}
    assert one.name == f"{stream.kind.letter}1{stream.name.removeprefix(stream.kind.letter)}"


@pytest.mark.parametrize("stream", [s for s in EVERY if s.side is None], ids=str)
def test_streams_of_pairs_have_no_side(stream):
    assert stream.sample is stream


def test_other_statistics_of_the_same_nodes():
    K = Stream(Kind.K, "faninsum1", "dense2")
    assert K.of(Kind.T) is Stream(Kind.T, "faninsum1", "dense2")
    assert K.of(Kind.S) is Stream(Kind.S, "faninsum1", "dense2", SAMPLE)
    assert variance("dense1", 2).of(Kind.N) is Stream(Kind.N, "dense1", side=SAMPLE)
    assert variance("dense1", 2).of(Kind.K) is Stream(Kind.K, "dense1")


def test_the_table_of_kinds():
    """Letters and meanings of their own, in words, with LaTeX; the order is that of computation."""
    assert len({k.letter for k in Kind}) == len({k.meaning for k in Kind}) == len(Kind)
    for kind in Kind:
        assert kind.letter.isalpha()
        assert len(kind.meaning) > 5 or kind in (Kind.S,)
        assert not kind.meaning.endswith(".")
        assert kind.latex
        assert kind.value.pixels in ("none", "each", "pairs")
    assert [k.rank for k in Kind] == list(range(len(Kind)))
    assert Kind.S.rank < Kind.W.rank < Kind.K.rank < Kind.T.rank


def test_names_of_one_node_are_read_apart():
    """A letter, the side, an underscore: no letter of a kind is that of another with a digit."""
    names = [s.name for s in EVERY if s.node == s.other]
    assert len(set(names)) == len(names)


def test_what_kinds_say_of_their_streams():
    for stream in EVERY:
        assert stream.is_real
        assert stream.is_positive is (True if stream.kind.is_positive else None)
    positive = {Kind.S, Kind.N, Kind.V}
    assert {k for k in Kind if k.is_positive} == positive
    assert sp.sqrt(variance("a") ** 2) == variance("a")
    assert {k for k in Kind if k.is_paired and k.is_sample} == {Kind.W, Kind.Z, Kind.J}
    assert {k for k in Kind if not k.is_sample} >= {Kind.K, Kind.T, Kind.G, Kind.H, Kind.E, Kind.D}


def test_streams_in_an_expression():
    K, q1 = Stream(Kind.K, "a"), variance("a", 1)
    assert streams_in(K * q1 + sp.Symbol("w") * SAME_PIXEL) == {K, q1}
    assert streams_in(sp.S(3)) == set()
