"""Layers  ->  statements, as text."""

import pytest
import sympy as sp

import ntkc
from ntkc import stax
from ntkc.errors import NoInfiniteLimit
from ntkc.ir.streams import SAMPLE, Kind, Stream
from ntkc.passes.demand import demand
from ntkc.passes.lower import lower
from ntkc.passes.roll import roll

D, R = stax.Dense, stax.Relu
W = sp.Symbol("w")
ARGUMENTS = "K_dense1, q1_dense1, q2_dense1"


def branches(*parts):
    return stax.serial(stax.FanOut(len(parts)), stax.parallel(*parts), stax.FanInSum())


def lowered(*layers):
    return ntkc.compile(stax.serial(*layers), until="lower")


TABLE = {
    "linear": (
        [D(4, 2, 0.5)],
        """
per sample:
    q_dense1 = 4*q_input1 + 1/4
per pair:
    K_dense1 = 4*K_input1 + 1/4
    T_dense1 = K_dense1
""",
    ),
    "relu": (
        [D(4, 2, 0.5), R(), D(1)],
        """
per sample:
    q_dense1 = 4*q_input1 + 1/4
    q_relu1 = q_dense1/2
    q_dense2 = q_relu1
per pair:
    K_dense1 = 4*K_input1 + 1/4
    T_dense1 = K_dense1
    K_relu1 = K_dense1*ANGLE/(2*pi) + K_dense1/4 + ROOT/(2*pi)
    T_relu1 = T_dense1*(ANGLE/(2*pi) + 1/4)
    K_dense2 = K_relu1
    T_dense2 = K_dense2 + T_relu1
""",
    ),
    "square, with a symbol": (
        [D(4), stax.Monomial(2), D(1, W)],
        """
per sample:
    q_dense1 = q_input1
    q_monomial1 = 3*q_dense1**2
    q_dense2 = q_monomial1*w**2
per pair:
    K_dense1 = K_input1
    T_dense1 = K_dense1
    K_monomial1 = 2*K_dense1**2 + q1_dense1*q2_dense1
    T_monomial1 = 4*K_dense1*T_dense1
    K_dense2 = K_monomial1*w**2
    T_dense2 = K_dense2 + T_monomial1*w**2
""",
    ),
    "standard parameterization": (
        [D(4, 2, 0.5, parameterization="standard"), D(1, parameterization="standard")],
        """
per sample:
    q_dense1 = 4*q_input1 + 1/4
    q_dense2 = q_dense1
per pair:
    K_dense1 = 4*K_input1 + 1/4
    T_dense1 = features*K_input1 + 1
    K_dense2 = K_dense1
    T_dense2 = 4*K_dense1 + T_dense1
""",
    ),
    "residual": (
        [D(4), branches(D(4, 2), stax.Identity())],
        """
per sample:
    q_dense1 = q_input1
    q_dense2 = 4*q_dense1
    q_faninsum1 = q_dense1 + q_dense2
per pair:
    K_dense1 = K_input1
    T_dense1 = K_dense1
    K_dense2 = 4*K_dense1
    T_dense2 = K_dense2 + 4*T_dense1
    K_faninsum1 = K_dense1 + K_dense2
    T_faninsum1 = T_dense1 + T_dense2
""",
    ),
    "twice the same": (
        [D(4), branches(stax.Identity(), stax.Identity())],
        """
per sample:
    q_dense1 = q_input1
    q_faninsum1 = 4*q_dense1
per pair:
    K_dense1 = K_input1
    T_dense1 = K_dense1
    K_faninsum1 = 4*K_dense1
    T_faninsum1 = 4*T_dense1
""",
    ),
    "block": (
        [D(4), *[stax.Monomial(2), D(4, 2, 0.5)] * 4],
        """
per sample:
    q_dense1 = q_input1
    q_monomial1 = 3*q_dense1**2
    q_dense2 = 4*q_monomial1 + 1/4
    repeat 3 times: q_beforemonomial2 = q_dense2
        q_monomial2 = 3*q_beforemonomial2**2
        q_dense3 = 4*q_monomial2 + 1/4
        next q_beforemonomial2 = q_dense3
    then q_block1 = q_dense3
per pair:
    K_dense1 = K_input1
    T_dense1 = K_dense1
    K_monomial1 = 2*K_dense1**2 + q1_dense1*q2_dense1
    T_monomial1 = 4*K_dense1*T_dense1
    K_dense2 = 4*K_monomial1 + 1/4
    T_dense2 = K_dense2 + 4*T_monomial1
    repeat 3 times: K_beforemonomial2 = K_dense2, T_beforemonomial2 = T_dense2
        K_monomial2 = 2*K_beforemonomial2**2 + q1_beforemonomial2*q2_beforemonomial2
        T_monomial2 = 4*K_beforemonomial2*T_beforemonomial2
        K_dense3 = 4*K_monomial2 + 1/4
        T_dense3 = K_dense3 + 4*T_monomial2
        next K_beforemonomial2 = K_dense3, T_beforemonomial2 = T_dense3
    then K_block1 = K_dense3, T_block1 = T_dense3
""",
    ),
}


@pytest.mark.parametrize(("layers", "text"), TABLE.values(), ids=TABLE)
def test_text(layers, text):
    shown = text.replace("ANGLE", f"Angle({ARGUMENTS})").replace("ROOT", f"Root({ARGUMENTS})")
    assert lowered(*layers).text() == shown.strip()


FROM_THE_FIRST = """
per sample:
    q_dense1 = q_input1
    repeat 3 times: q_beforemonomial1 = q_dense1
        q_monomial1 = 3*q_beforemonomial1**2
        q_dense2 = 4*q_monomial1 + 1/4
        next q_beforemonomial1 = q_dense2
    then q_block1 = q_dense2
per pair:
    K_dense1 = K_input1
    T_dense1 = K_dense1
    repeat 3 times: K_beforemonomial1 = K_dense1, T_beforemonomial1 = T_dense1
        K_monomial1 = 2*K_beforemonomial1**2 + q1_beforemonomial1*q2_beforemonomial1
        T_monomial1 = 4*K_beforemonomial1*T_beforemonomial1
        K_dense2 = 4*K_monomial1 + 1/4
        T_dense2 = K_dense2 + 4*T_monomial1
        next K_beforemonomial1 = K_dense2, T_beforemonomial1 = T_dense2
    then K_block1 = K_dense2, T_block1 = T_dense2
"""


def test_text_of_a_graph_that_is_rolled_from_its_first_layer_on():
    graph = roll(ntkc.compile(stax.serial(D(4), *[stax.Monomial(2), D(4, 2, 0.5)] * 3), until="fuse"), keep_first=False)
    assert lower(graph, demand(graph)).text() == FROM_THE_FIRST.strip()


def test_outputs_and_inputs():
    program = lowered(D(4), R(), D(1))
    assert {name: str(e) for name, e in program.outputs.items()} == {
        "nngp": "K_dense2",
        "ntk": "T_dense2",
        "variance": "q_dense2",
    }
    assert [k.name for k in program.inputs] == ["q_input1", "K_input1"]
    assert not program.is_port


def test_the_kernel_of_data_is_its_input():
    program = lowered(stax.Identity())
    assert (program.per_sample, program.per_pair) == ((), ())
    assert program.outputs["ntk"] == 0


def test_parameters_are_the_symbols_that_are_no_streams():
    a, b = sp.symbols("alpha b")
    assert [p.name for p in lowered(D(4, W), stax.LeakyRelu(a), D(1, W, b)).parameters] == ["alpha", "b", "w"]
    assert lowered(D(4), R()).parameters == ()


def test_the_number_of_features_is_no_parameter():
    program = lowered(D(4, parameterization="standard"))
    assert (program.parameters, program.reads_width) == ((), True)
    assert not lowered(D(4)).reads_width
    features = sp.Symbol("features", positive=True, integer=True)
    both = lowered(D(4, features, parameterization="standard"), D(4, sp.Symbol("K_dense1", real=True)))
    assert [p.name for p in both.parameters] == ["K_dense1", "features"]
    assert both.reads_width


def test_pixels_that_are_left_have_all_pairs_unless_diagonal():
    graph = ntkc.compile(stax.serial(stax.Conv(4, (2, 2)), R()), until="roll", input_shape=(4, 3, 2))
    for diagonal, kind in ((False, Kind.W), (True, Kind.S)):
        program = lower(graph, demand(graph, diagonal), diagonal)
        assert program.outputs == {
            "nngp": Stream(Kind.K, "relu1"),
            "ntk": Stream(Kind.T, "relu1"),
            "variance": Stream(kind, "relu1", side=SAMPLE),
        }


def test_comments_are_labels():
    program = lowered(D(4, 1.5), R(), R(), D(1))
    assert program.comments["dense1"] == "Dense(out_dim=4, W_std=1.5)"
    assert "Relu()" in program.comments.values()


def test_branches_that_are_not_jointly_gaussian():
    with pytest.raises(NoInfiniteLimit, match=r"Dense"):
        lowered(branches(stax.serial(D(4), R()), stax.Identity()), D(1))
