"""Statements that no output needs are gone, and nothing else."""

from dataclasses import replace

import sympy as sp

import ntkc
from ntkc import stax
from ntkc.backends.formula import formula_of
from ntkc.ir.program import Carry, Let, Loop, Program
from ntkc.ir.streams import SAMPLE, Kind, Stream
from ntkc.passes.prune import prune

NET = stax.serial(stax.Dense(4, 2, 0.5), *[stax.Relu(), stax.Dense(4, 2, 0.5)] * 4, stax.Erf(), stax.Dense(1))


def q(node):
    return Stream(Kind.S, node, side=SAMPLE)


def K(node):
    return Stream(Kind.K, node)


def T(node):
    return Stream(Kind.T, node)


def only(program, *names):
    return prune(replace(program, outputs={n: program.outputs[n] for n in names}))


def hand_made():
    carry = tuple(Carry(*map(of, ("a1", "before1", "b1", "block1"))) for of in (K, T))
    body = (
        Let(K("b1"), K("before1") / 2),
        Let(T("b1"), K("b1") + T("before1")),
        Let(K("dead1"), K("b1")),
    )
    return Program(
        (Let(q("a1"), 2 * q("input1")), Let(q("dead1"), q("a1"))),
        (
            Let(K("a1"), 2 * K("input1")),
            Let(T("a1"), K("a1")),
            Loop(body, 3, carry),
            Let(T("dead1"), T("a1")),
        ),
        (q("input1"), K("input1")),
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
            "    q_a1 = 2*q_input1",
            "per pair:",
            "    K_a1 = 2*K_input1",
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


def with_aliases():
    """The program by hand with each stream under a second name, before, in and after its loop."""
    loop = next(s for s in hand_made().per_pair if isinstance(s, Loop))
    carry = tuple(Carry(of("a2"), of("before1"), of("b2"), of("block1")) for of in (K, T))
    body = (
        Let(K("before2"), K("before1")),
        Let(K("b1"), K("before2") / 2 + q("a2").on(1) * q("a2").on(2)),
        Let(T("b1"), K("b1") + T("before1")),
        Let(K("b2"), K("b1")),
        Let(T("b2"), T("b1")),
    )
    return Program(
        (Let(q("a1"), 2 * q("input1")), Let(q("a2"), q("a1"))),
        (
            Let(K("a1"), 2 * K("input1")),
            Let(T("a1"), K("a1")),
            Let(K("a2"), K("a1")),
            Let(T("a2"), T("a1")),
            replace(loop, body=body, carry=carry),
            Let(K("c1"), K("block1")),
        ),
        (q("input1"), K("input1")),
        {"nngp": K("c1"), "ntk": T("block1") + K("c1"), "variance": q("a2")},
    )


def test_aliases_are_gone_and_readers_read_what_they_stand_for():
    program = prune(with_aliases())
    assert program.text() == "\n".join(
        [
            "per sample:",
            "    q_a1 = 2*q_input1",
            "per pair:",
            "    K_a1 = 2*K_input1",
            "    T_a1 = K_a1",
            "    repeat 3 times: K_before1 = K_a1, T_before1 = T_a1",
            "        K_b1 = K_before1/2 + q1_a1*q2_a1",
            "        T_b1 = K_b1 + T_before1",
            "        next K_before1 = K_b1, T_before1 = T_b1",
            "    then K_block1 = K_b1, T_block1 = T_b1",
        ]
    )
    assert program.outputs == {"nngp": K("block1"), "ntk": T("block1") + K("block1"), "variance": q("a1")}


def test_a_stream_of_another_kind_is_no_alias():
    assert "T_a1 = K_a1" in prune(hand_made()).text()


def test_aliases_of_what_a_loop_stacks():
    carry = Carry(q("input1"), q("before1"), q("b1"), q("block1"))
    body = (Let(q("a1"), q("before1")), Let(q("b1"), 2 * q("a1")))
    inside = (Let(K("b1"), K("before1") + q("a1").on(1) * q("a1").on(2)),)
    program = Program(
        (Loop(body, 3, (carry,), (q("before1"), q("a1"), q("b1")), "block1"),),
        (Loop(inside, 3, (Carry(K("input1"), K("before1"), K("b1"), K("block1")),), (), "block1"),),
        (q("input1"), K("input1")),
        {"nngp": K("block1"), "variance": q("block1")},
    )
    pruned = prune(program)
    assert "K_b1 = K_before1 + q1_before1*q2_before1" in pruned.text()
    assert pruned.per_sample[0].stacked == (q("before1"),)
    assert "q_a1" not in pruned.text()


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
