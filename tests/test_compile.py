"""The pipeline: what each stage makes, where it stops, and what it reports."""

import networkx as nx
import pytest
import sympy as sp
from rich.console import Console
from rich.table import Table

import ntkc
from ntkc import stax
from ntkc.compile import STAGES, compile_graph, describe
from ntkc.errors import InvalidInput, UnknownName
from ntkc.frontends import to_graph
from ntkc.ir.program import Program
from ntkc.ir.value import Value
from ntkc.passes.forms import Forms
from ntkc.passes.roll import Block
from ntkc.passes.schedule import PixelSchedule, Schedule
from ntkc.passes.settle import on_data

LAYERS = [stax.Dense(8, 1.4, 0.1), stax.Relu()]
NET = stax.serial(*LAYERS * 4, stax.Dense(1))
WITHOUT_BIASES = stax.serial(*[stax.Dense(8, 1.4), stax.Relu()] * 6, stax.Dense(1))
CNN = stax.serial(stax.Conv(4, (3,)), stax.Relu(), stax.Flatten(), stax.Dense(1))
SHAPE = (5, 2)
MAKES = {
    "settle": nx.MultiDiGraph,
    "analyse": dict,
    "fuse": nx.MultiDiGraph,
    "roll": nx.MultiDiGraph,
    "demand": dict,
    "lower": Program,
    "peel": Program,
    "normalise": Program,
    "collapse": Program,
    "distance": Program,
    "angles": Program,
    "series": Program,
    "hoist": Program,
    "prune": Program,
    "forms": Forms,
    "schedule": (Schedule, PixelSchedule),
    "emit": str,
}
OF_PIXELS = {"settle", "angles", "forms"}
OF_FEATURES = {"peel", "normalise", "collapse", "distance"}
KINDS = {
    "features": (NET, None, [s for s in STAGES if s not in OF_PIXELS]),
    "pixels": (CNN, SHAPE, [s for s in STAGES if s not in OF_FEATURES]),
}


def test_the_table_of_artifacts_is_complete():
    assert tuple(MAKES) == STAGES


@pytest.mark.parametrize(("net", "shape", "stages"), KINDS.values(), ids=KINDS)
def test_until_stops_at_the_stage(net, shape, stages):
    graph = to_graph(net) if shape is None else on_data(to_graph(net), [shape])
    for i, stage in enumerate(stages):
        assert isinstance(ntkc.compile(net, until=stage, input_shape=shape), MAKES[stage])
        done = compile_graph(graph, stage)
        assert list(done.made) == stages[: i + 1]
        assert [r.stage for r in done.reports] == list(done.made)


@pytest.mark.parametrize(
    ("net", "shape", "stage"),
    [(NET, None, "forms"), (CNN, SHAPE, "normalise"), (CNN, None, "lower")],
    ids=["of pixels", "of features", "shape unknown"],
)
def test_a_stage_that_the_network_does_not_have(net, shape, stage):
    with pytest.raises(InvalidInput, match=f"no stage '{stage}', its stages are .*analyse.*input_shape"):
        ntkc.compile(net, until=stage, input_shape=shape)


def test_until_without_a_stage_makes_a_program():
    assert isinstance(ntkc.compile(NET), ntkc.KernelProgram)
    assert ntkc.compile(NET, until="emit") == ntkc.compile(NET).source


def test_unknown_stage_lists_the_stages():
    with pytest.raises(UnknownName, match="no stage 'lowr'") as caught:
        ntkc.compile(NET, until="lowr")
    assert all(stage in str(caught.value) for stage in STAGES)


def test_artifacts_hold_what_they_should():
    assert all(isinstance(v, Value) for v in ntkc.compile(NET, until="analyse").values())
    assert any(isinstance(op, Block) for _, op in ntkc.compile(NET, until="roll").nodes(data="op"))
    assert set(ntkc.compile(NET, until="demand")) == set(ntkc.compile(NET, until="roll"))
    assert "def pair(" in ntkc.compile(NET, until="emit")


def test_stages_that_have_nothing_to_do_say_so():
    net = stax.serial(stax.Dense(4), stax.Erf(), stax.Dense(1))
    rows = {r.stage: r.what for r in ntkc.compile(net).stages}
    assert rows["normalise"] == rows["collapse"] == "unchanged"
    assert rows["distance"] != "unchanged"
    rows = {r.stage: r.what for r in ntkc.compile(WITHOUT_BIASES).stages}
    assert "unchanged" not in (rows["normalise"], rows["collapse"])
    assert rows["distance"] == "unchanged"


def test_reports_count_statements_and_operations():
    for report in ntkc.compile(NET).stages:
        is_program = MAKES[report.stage] is Program
        assert (report.statements is not None) == (report.operations is not None) == is_program
        assert report.milliseconds >= 0
        assert report.what
    by_stage = {r.stage: r for r in ntkc.compile(WITHOUT_BIASES).stages}
    assert by_stage["prune"].operations < by_stage["normalise"].operations


def test_explain_is_a_table_of_all_stages():
    stages = KINDS["features"][2]
    table = ntkc.compile(NET).explain()
    assert isinstance(table, Table)
    assert all(stage in str(table) for stage in stages)
    assert repr(table) == str(table)
    assert table.row_count == len(stages)
    assert all(stage in str(ntkc.compile(CNN, input_shape=SHAPE).explain()) for stage in KINDS["pixels"][2])
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    text = capture.get()
    assert all(word in text for word in (*stages, "statements", "operations", "ms", "what it did"))


def test_describe_shortens_long_chains():
    deep = stax.serial(*LAYERS * 20, stax.Dense(1))
    assert describe(to_graph(NET)).count("Relu()") == 4
    assert "more ..." in describe(to_graph(deep))
    assert len(describe(to_graph(deep))) < 400


def test_the_graph_given_is_not_changed():
    graph = to_graph(NET)
    before = (list(graph.nodes(data="op")), list(graph.edges(keys=True)))
    compile_graph(graph)
    assert before == (list(graph.nodes(data="op")), list(graph.edges(keys=True)))


def test_equal_networks_make_equal_source():
    symbol = sp.Symbol("w")
    nets = [stax.serial(stax.Dense(4, symbol), stax.Erf(), stax.Dense(1)) for _ in range(2)]
    assert ntkc.compile(nets[0]).source == ntkc.compile(nets[1]).source
