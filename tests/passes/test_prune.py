"""Statements that no output needs are gone, and nothing else."""

from dataclasses import replace

import sympy as sp

import ntkc
from ntkc import stax
from ntkc.backends.formula import formula_of
from ntkc.ir.program import SAMPLE, Carry, Let, Loop, Program, Stream
from ntkc.passes.prune import prune

NET = stax.serial(stax.Dense(4, 2, 0.5), *[stax.Relu(), stax.Dense(4, 2, 0.5)] * 4, stax.Erf(), stax.Dense(1))


def key(stream, node):
    return Stream(stream, node, node, SAMPLE if stream == "S" else None)


def symbol(stream, node):
    return key(stream, node)


def only(program, *names):
    return prune(replace(program, outputs={n: program.outputs[n] for n in names}))


def hand_made():
    q, K, T = (lambda n, s=s: symbol(s, n) for s in "SKT")
    carry = tuple(Carry(*(key(s, n) for n in ("a1", "before1", "b1", "block1"))) for s in "KT")
    body = (
        Let(key("K", "b1"), K("before1") / 2),
        Let(key("T", "b1"), K("b1") + T("before1")),
        Let(key("K", "dead1"), K("b1")),
    )
    return Program(
        (Let(key("S", "a1"), q("input1")), Let(key("S", "dead1"), q("a1"))),
        (
            Let(key("K", "a1"), K("input1")),
            Let(key("T", "a1"), K("a1")),
            Loop(body, 3, carry),
            Let(key("T", "dead1"), T("a1")),
        ),
        (key("S", "input1"), key("K", "input1")),
        {"nngp": K("block1"), "ntk": T("block1"), "variance": q("a1")},
    )


def test_dead_statements_are_gone():
    program = prune(hand_made())
    assert "dead1" in hand_made().text()
    assert "dead1" not in program.text()
    assert "T_block1 = T_b1" in program.text()


def test_dead_carries_are_gone():
    program = only(hand_made(), "nngp", "variance")
    assert program.text() == "\n".join(
        [
            "per sample:",
            "    q_a1 = q_input1",
            "per pair:",
            "    K_a1 = K_input1",
            "    repeat 3 times: K_before1 = K_a1",
            "        K_b1 = K_before1/2",
            "        next K_before1 = K_b1",
            "    then K_block1 = K_b1",
        ]
    )


def test_a_carry_that_another_carry_reads_stays():
    program = only(hand_made(), "ntk")
    assert "next K_before1 = K_b1, T_before1 = T_b1" in program.text()


def test_a_loop_that_nothing_reads_is_gone():
    program = only(hand_made(), "variance")
    assert program.per_pair == ()
    assert [k.name for k in program.inputs] == ["q_input1"]


def test_prune_twice_is_prune():
    for program in (hand_made(), ntkc.compile(NET, until="lower"), ntkc.compile(NET, until="collapse")):
        assert prune(prune(program)) == prune(program)


def test_nngp_alone_reads_no_tangents():
    program = only(ntkc.compile(NET, until="lower"), "nngp", "variance")
    assert "T_" not in program.text()
    assert program.count_statements() < ntkc.compile(NET, until="lower").count_statements()


def test_variances_stay_where_pairs_read_them():
    program = only(ntkc.compile(NET, until="lower"), "nngp")
    assert "q_dense1" in program.text()
    assert "q_dense6" not in program.text()


def test_formulas_are_the_same():
    net = stax.serial(stax.Dense(4, 2), *[stax.Erf(), stax.Dense(4, 2, 0.5)] * 3)
    program = ntkc.compile(net, until="lower")
    for get in ("nngp", "ntk"):
        assert sp.simplify(formula_of(only(program, get), get) - formula_of(program, get)) == 0
