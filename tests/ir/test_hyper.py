"""Hyper-parameters: which names, numbers and expressions a layer takes; the same for every layer and field."""

import copy
import inspect
import pickle
from dataclasses import dataclass, fields, replace

import networkx as nx
import pytest
import sympy as sp

import ntkc
from ntkc import stax
from ntkc.backends.expression import HEADS
from ntkc.errors import InvalidInput, NtkcError, UnsupportedExpr
from ntkc.gaussian.dual import K12
from ntkc.gaussian.normal_form import X
from ntkc.ir.hyper import CALL_ARGUMENTS, FUNCTIONS, LARGEST, Parameter, _kinds
from ntkc.ir.op import OPS, Op, make_op, public_ops
from ntkc.layers.activations import Activation, Polynomial, Relu
from ntkc.layers.attention import GlobalSelfAttention
from ntkc.layers.dense import Dense
from ntkc.layers.given import Elementwise
from ntkc.networks.kernel_fn import KernelFn
from ntkc.program import KernelProgram

EXAMPLES = [op for name in sorted(public_ops()) for op in public_ops()[name].examples()]
FIELDS = sorted({(type(op).__name__, name) for op in EXAMPLES for name in _kinds(type(op))})
NUMBERS_ONLY = {("DotGeneral", "array"), ("Dropout", "rate")}
"""Fields that hold numbers, and no symbols."""
OPEN = [f for f in FIELDS if f not in NUMBERS_ONLY]
ATTACK = "f\nimport os  # "
W = sp.Symbol("w")


def with_value(layer, field, value):
    """The first example of a layer with another value in a field; of a tuple, in its first place."""
    op = public_ops()[layer].examples()[0]
    hint = getattr(op, field)
    if isinstance(hint, tuple):
        return replace(op, **{field: (value, *hint[1:])})
    is_number = _kinds(type(op))[field]
    return replace(op, **{field: value if is_number else value * X * K12 if layer == "Elementwise" else value * X})


def symbols_of(op, field):
    value = getattr(op, field)
    return {s for v in (value if isinstance(value, tuple) else (value,)) for s in sp.sympify(v).free_symbols} - {X, K12}


def test_every_field_of_numbers_or_expressions_is_known():
    assert {("Dense", "W_std"), ("Dense", "b_std"), ("Polynomial", "coef"), ("Elementwise", "nngp_fn")} <= set(FIELDS)
    assert {("GlobalSelfAttention", "W_key_std"), ("ABRelu", "a"), ("Activation", "expr")} <= set(FIELDS)
    assert ("Dense", "out_dim") not in FIELDS


@pytest.mark.parametrize(("layer", "field"), OPEN, ids=lambda v: v)
def test_every_field_takes_legal_names(layer, field):
    for name in ("b_std", "self", "x", "y", "q1_dense1", "K_dense1", "theta_1", "i", "len", "match", "jnp", "λ"):
        if (layer, field) == ("Activation", "expr") and name == "x":
            continue
        op = with_value(layer, field, sp.Symbol(name, integer=True))
        if name != "x" or field not in ("fn", "nngp_fn", "d_nngp_fn", "pos_emb_decay"):
            assert symbols_of(op, field) == {Parameter(name)}
        assert replace(op) == op


@pytest.mark.parametrize(
    "value",
    [
        sp.Dummy("w"),
        sp.Symbol("x1"),
        sp.Symbol("lambda"),
        sp.Symbol(ATTACK),
        sp.Symbol("w", imaginary=True),
        sp.Function(ATTACK)(W),
        sp.gamma(W),
        sp.Wild("w"),
        sp.Symbol("w", commutative=False),
    ],
    ids=repr,
)
@pytest.mark.parametrize(("layer", "field"), OPEN, ids=lambda v: v)
def test_every_field_refuses_what_no_call_can_give(layer, field, value):
    with pytest.raises((InvalidInput, UnsupportedExpr)) as caught:
        with_value(layer, field, value)
    message = str(caught.value)
    assert layer in message
    assert field in message
    assert message.isprintable()
    assert len(message) < 500


@pytest.mark.parametrize(("layer", "field"), [f for f in FIELDS if _kinds(public_ops()[f[0]])[f[1]]], ids=lambda v: v)
def test_every_field_of_numbers_refuses_numbers_too_large(layer, field):
    for value in (1e200, float("inf"), float("nan"), -1e155):
        with pytest.raises(InvalidInput, match=r"finite|probability"):
            with_value(layer, field, value)


@pytest.mark.parametrize("value", [W * 1e200, 10**400, sp.exp(sp.exp(1000)), W + sp.Integer(10) ** 160, sp.pi**400])
def test_numbers_in_expressions_have_finite_squares_too(value):
    with pytest.raises(InvalidInput, match=r"Dense W_std = .* its square must be finite.*float32"):
        Dense(3, value)
    assert Dense(3, 0.9 * LARGEST).W_std < LARGEST


@pytest.mark.parametrize("value", [sp.sqrt(-2), sp.I * W, sp.asin(2), sp.log(-1), (-1) ** sp.Rational(1, 3)], ids=str)
def test_complex_numbers(value):
    with pytest.raises(InvalidInput, match="finite and real"):
        Dense(3, value)


@pytest.mark.parametrize(
    "value", [sp.sqrt(W), sp.exp(W) / 2 + 1, W / 2 + sp.pi, sp.Max(W, 0.5), sp.Abs(W) ** 3], ids=str
)
def test_expressions(value):
    assert Dense(3, value).W_std.free_symbols == {Parameter("w")}


@pytest.mark.parametrize(
    "value",
    [sp.MatrixSymbol("A", 2, 2), sp.Integral(W, W), sp.Piecewise((W, W > 0), (0, True)), sp.GoldenRatio],
    ids=str,
)
def test_other_expressions(value):
    with pytest.raises(InvalidInput, match=r"Dense W_std = .* is a \w+; write numbers, symbols as sympy"):
        Dense(3, value)


def test_attention_multiplies_its_numbers():
    with pytest.raises(InvalidInput, match="W_query_std W_key_std"):
        GlobalSelfAttention(2, 2, 2, 1, W_key_std=1e100, W_query_std=1e100)


def test_symbols_of_one_name_are_one_hyper_parameter():
    given = [W, sp.Symbol("w", positive=True), sp.Symbol("w", integer=True), Parameter("w")]
    assert len({Dense(3, w) for w in given}) == 1
    net = stax.serial(stax.Dense(3, given[0]), stax.Relu(), stax.Dense(1, given[1]))
    assert ntkc.compile(net).parameters == ("w",)


def test_a_hyper_parameter_is_no_variable_and_real():
    assert Parameter("x") != X
    assert hash(Parameter("x")) != hash(X)
    assert (Parameter("w") ** 2).is_nonnegative
    assert Parameter("w", positive=True) is Parameter("w")
    assert pickle.loads(pickle.dumps(Parameter("w"))) == copy.deepcopy(Parameter("w")) == Parameter("w")
    assert (Parameter("x") * X).diff(X) == Parameter("x")


def test_variables_of_a_layer_stay():
    op = Activation(sp.Symbol("x") * sp.Symbol("k"))
    assert op.expr == X * Parameter("k")
    assert Elementwise(None, sp.Symbol("c") * sp.Symbol("k")).nngp_fn == Parameter("c") * K12


def test_arguments_of_calls_are_no_names():
    signatures = (inspect.signature(KernelProgram.__call__), inspect.signature(KernelFn.__call__))
    own = {p.name for s in signatures for p in s.parameters.values() if p.kind is not p.VAR_KEYWORD} - {"self"}
    assert own == set(CALL_ARGUMENTS)
    assert len(CALL_ARGUMENTS) == len(set(CALL_ARGUMENTS))


def test_functions_are_known_to_the_backend():
    assert {f.__name__ for f in FUNCTIONS} <= set(HEADS)


@pytest.mark.parametrize("name", ["x1", "lambda", "two words"])
def test_the_door_does_not_matter(name):
    document = {"op": "Dense", "out_dim": 1, "W_std": {"symbol": name}, "name": "d1", "inputs": ["i1"]}
    nodes = [{"name": "i1", "op": "Input"}, document]
    graph = nx.DiGraph()
    graph.add_node(0, op="Input")
    doors = {
        "stax": lambda: stax.Dense(1, sp.Symbol(name)),
        "fields": lambda: make_op("Dense", {"out_dim": 1, "W_std": sp.Symbol(name)}),
        "Op": lambda: graph.add_node(1, op=Dense(1, sp.Symbol(name))),
        "json": lambda: ntkc.from_json({"format": "ntkc-network", "version": 1, "nodes": nodes, "output": "d1"}),
    }
    for door in doors.values():
        with pytest.raises(InvalidInput, match="cannot name a hyper-parameter"):
            door()


def test_a_new_layer_is_checked_by_default():
    @dataclass(frozen=True)
    class Scaled(Relu):
        scale: int | float | sp.Expr = 1.0

    try:
        assert Scaled(W).scale == Parameter("w")
        with pytest.raises(NtkcError, match="Scaled scale"):
            Scaled(sp.Dummy("w"))
    finally:
        del OPS["Scaled"]


def test_a_layer_cannot_leave_the_checks_out():
    with pytest.raises(TypeError, match="write check_fields"):

        class Unchecked(Relu):
            def __post_init__(self):
                pass

    assert "Unchecked" not in OPS


def test_internal_layers_hold_streams_and_variables():
    assert all(isinstance(op, type) and issubclass(op, Op) for op in OPS.values())
    assert {f.name for f in fields(OPS["Pointwise"])} >= {"expr", "variables"}


def test_coefficients():
    assert Polynomial([1, W, 0.5]).coef == (1, Parameter("w"), 0.5)
    with pytest.raises(InvalidInput, match=r"coef\[1\]"):
        Polynomial([1, sp.Dummy("c")])
