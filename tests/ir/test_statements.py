"""Program: names of streams, text, and the check that every symbol is defined once, and before it is read."""

from dataclasses import replace

import pytest
import sympy as sp

from ntkc.ir.program import BrokenProgram, Carry, Let, Loop, Program, lets, verify
from ntkc.ir.streams import SAMPLE, Kind, Stream


def K(u, v=None):
    return Stream(Kind.K, u, v)


def q(u):
    return Stream(Kind.S, u, side=SAMPLE)


LOOP = Loop(
    (Let(K("b1"), K("before1") / 2, "b1"), Let(K("c1"), K("b1") + 1, "c1")),
    5,
    (Carry(K("a1"), K("before1"), K("c1"), K("block1")),),
    (),
    "block1",
)
PROGRAM = Program(
    (Let(q("a1"), 2 * q("input1"), "a1"),),
    (Let(K("a1"), 2 * K("input1") + sp.Rational(1, 100), "a1"), LOOP),
    (q("input1"), K("input1")),
    {"nngp": K("block1"), "ntk": sp.S.Zero, "variance": q("a1")},
)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (K("dense1"), "K_dense1"),
        (Stream(Kind.T, "sum1", "dense1"), "T_sum1_dense1"),
        (q("dense1"), "q_dense1"),
        (q("dense1").on(1), "q1_dense1"),
        (q("dense1").on(2), "q2_dense1"),
        (Stream(Kind.N, "relu1", "relu1", SAMPLE), "n_relu1"),
        (Stream(Kind.C, "dense1", "bias", 2), "c2_dense1_bias"),
        (Stream(Kind.G, "relu1", "relu1"), "delta_relu1"),
        (Stream(Kind.H, "relu1", "relu1"), "tau_relu1"),
    ],
)
def test_names(key, name):
    assert key.name == str(key) == name
    assert key.is_real


def test_variances_are_positive():
    assert q("dense1").is_positive
    assert K("dense1").is_positive is None


def test_text():
    assert PROGRAM.text() == "\n".join(
        [
            "per sample:",
            "    q_a1 = 2*q_input1",
            "per pair:",
            "    K_a1 = 2*K_input1 + 1/100",
            "    repeat 5 times: K_before1 = K_a1",
            "        K_b1 = K_before1/2",
            "        K_c1 = K_b1 + 1",
            "        next K_before1 = K_c1",
            "    then K_block1 = K_c1",
        ]
    )


def test_counts():
    assert [let.dst.name for let in lets(PROGRAM.per_pair)] == ["K_a1", "K_b1", "K_c1"]
    assert PROGRAM.count_statements() == 4
    assert PROGRAM.count_operations() == 1 + 3 + 1 + 1  # sympy counts 1/100 as a division


def test_a_sound_program_passes():
    assert verify(PROGRAM) is PROGRAM
    both = Let(K("a1"), q("a1").on(1) * q("a1").on(2), "a1")
    assert verify(replace(PROGRAM, per_pair=(both, LOOP)))
    w = sp.Symbol("w")
    assert verify(replace(PROGRAM, per_pair=(Let(K("a1"), w * K("input1")), LOOP), parameters=(w,)))


LATE = Let(K("d1"), K("block1"))
BROKEN = {
    "reads what is defined later": (
        replace(PROGRAM, per_pair=(LATE, *PROGRAM.per_pair)),
        "K_d1 reads undefined {K_block1}",
    ),
    "defined twice": (replace(PROGRAM, per_pair=(PROGRAM.per_pair[0], *PROGRAM.per_pair)), "K_a1 is defined twice"),
    "defined twice in a loop": (
        replace(PROGRAM, per_pair=(PROGRAM.per_pair[0], replace(LOOP, body=(*LOOP.body, LOOP.body[0])))),
        "K_b1 is defined twice",
    ),
    "a loop's inside is read outside": (
        replace(PROGRAM, per_pair=(*PROGRAM.per_pair, Let(K("d1"), K("b1")))),
        "K_d1 reads undefined {K_b1}",
    ),
    "a loop carries what is not there": (replace(PROGRAM, per_pair=(LOOP,)), "loop block1 carries undefined {K_a1}"),
    "an unknown hyper-parameter": (
        replace(PROGRAM, per_pair=(Let(K("a1"), sp.Symbol("w") * K("input1")), LOOP)),
        "K_a1 reads undefined {w}",
    ),
    "a pair reads a sample without a side": (
        replace(PROGRAM, per_pair=(Let(K("a1"), q("a1")), LOOP)),
        "K_a1 reads undefined {q_a1}",
    ),
    "a sample reads a pair": (
        replace(PROGRAM, per_sample=(Let(q("a1"), K("input1")),)),
        "q_a1 reads undefined {K_input1}",
    ),
    "an output is not there": (
        replace(PROGRAM, outputs={"nngp": K("z1")}),
        "output nngp reads {K_z1}",
    ),
}


@pytest.mark.parametrize(("program", "words"), BROKEN.values(), ids=BROKEN)
def test_broken_programs(program, words):
    with pytest.raises(BrokenProgram) as caught:
        verify(program)
    assert words in str(caught.value)
    assert "per pair:" in str(caught.value)
