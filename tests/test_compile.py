"""The pipeline: what each stage makes, where it stops, and what it reports."""

import networkx as nx
import pytest
import sympy as sp
from rich.console import Console
from rich.table import Table

import ntkc
from ntkc import stax
from ntkc.compile import OPEN, PASSES, STAGES, compile_graph
from ntkc.errors import InvalidInput, UnknownName
from ntkc.frontends import to_graph
from ntkc.ir.program import Program
from ntkc.ir.value import Value
from ntkc.passes.forms import Forms
from ntkc.passes.roll import Block
from ntkc.passes.schedule import Schedule
from ntkc.passes.settle import on_data

LAYERS = [stax.Dense(8, 1.4, 0.1), stax.Relu()]
NET = stax.serial(*LAYERS * 4, stax.Dense(1))
WITHOUT_BIASES = stax.serial(*[stax.Dense(8, 1.4), stax.Relu()] * 6, stax.Dense(1))
CNN = stax.serial(stax.Conv(4, (3,)), stax.Relu(), stax.Flatten(), stax.Dense(1))
SHAPE = (5, 2)
MAKES = {
    "settle": nx.MultiDiGraph,
    "commute": nx.MultiDiGraph,
    "analyse": dict,
    "fuse": nx.MultiDiGraph,
    "roll": nx.MultiDiGraph,
    "demand": dict,
    "lower": Program,
    "carry_gap": Program,
    "collapse": Program,
    "series": Program,
    "hoist": Program,
    "prune": Program,
    "forms": Forms,
    "schedule": Schedule,
    "emit": str,
}
KINDS = {"features": (NET, None, STAGES), "pixels": (CNN, SHAPE, STAGES), "shape unknown": (CNN, None, OPEN)}


def test_the_table_of_artifacts_is_complete():
    assert tuple(MAKES) == STAGES == tuple(p.name for p in PASSES)


def test_every_pass_reads_what_is_given_or_made_before():
    made = {"graph", "tolerances", "diagonal"}
    for stage in PASSES:
        assert set(stage.reads) <= made
        made.add(stage.name)


@pytest.mark.parametrize(("net", "shape", "stages"), KINDS.values(), ids=KINDS)
def test_until_stops_at_the_stage(net, shape, stages):
    graph = to_graph(net) if shape is None else on_data(to_graph(net), [shape])
    for i, stage in enumerate(stages):
        assert isinstance(ntkc.compile(net, until=stage, input_shape=shape), MAKES[stage])
        done = compile_graph(graph, stage)
        assert tuple(done.made) == stages[: i + 1]
        assert [r.stage for r in done.reports] == list(done.made)


@pytest.mark.parametrize("stage", [s for s in STAGES if s not in OPEN])
def test_a_network_whose_shape_is_unknown_stops_where_it_is_needed(stage):
    with pytest.raises(InvalidInput, match=f"no stage '{stage}', its stages are .*analyse.*input_shape"):
        ntkc.compile(CNN, until=stage)
    assert tuple(compile_graph(to_graph(CNN), stage).made) == OPEN


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
    rows = {r.stage: r.what for r in ntkc.compile(stax.serial(stax.Dense(4), stax.Monomial(2))).stages}
    assert {rows[s] for s in ("commute", "carry_gap", "collapse", "hoist")} == {"unchanged"}
    assert rows["series"] == "unchanged: every expectation has a closed form"
    rows = {r.stage: r.what for r in ntkc.compile(stax.serial(stax.Dense(4), stax.Erf(), stax.Dense(1))).stages}
    assert rows["collapse"] == "unchanged"
    assert rows["carry_gap"] != "unchanged"
    rows = {r.stage: r.what for r in ntkc.compile(WITHOUT_BIASES).stages}
    assert "unchanged" not in (rows["carry_gap"], rows["collapse"])
    rows = {r.stage: r.what for r in ntkc.compile(stax.serial(stax.Dense(4), stax.Gelu(), stax.Dense(1))).stages}
    assert rows["hoist"] != "unchanged"
    rows = {r.stage: r.what for r in ntkc.compile(stax.serial(stax.Dense(4), stax.Activation("tanh(x)"))).stages}
    assert not rows["series"].startswith("unchanged")


def test_reports_count_statements_and_operations():
    for report in ntkc.compile(NET).stages:
        is_program = MAKES[report.stage] is Program
        assert (report.statements is not None) == (report.operations is not None) == is_program
        assert report.milliseconds >= 0
        assert report.what
    by_stage = {r.stage: r for r in ntkc.compile(WITHOUT_BIASES).stages}
    assert by_stage["prune"].operations < by_stage["carry_gap"].operations


def test_explain_is_a_table_of_all_stages():
    table = ntkc.compile(NET).explain()
    assert isinstance(table, Table)
    assert all(stage in str(table) for stage in STAGES)
    assert repr(table) == str(table)
    assert table.row_count == len(STAGES)
    assert all(stage in str(ntkc.compile(CNN, input_shape=SHAPE).explain()) for stage in STAGES)
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    text = capture.get()
    assert all(word in text for word in (*STAGES, "statements", "operations", "ms", "what it did"))


def listed(net):
    """The layers, as the docstring of a source lists them."""
    return " ".join(ntkc.compile(net).source.split('"""')[1].split("\n\n")[1].split())


def test_the_list_of_layers_shortens_long_chains():
    assert listed(NET).count("Relu()") == 4
    assert "more ..." not in listed(NET)
    deep = listed(stax.serial(*LAYERS * 20, stax.Dense(1)))
    assert "more ..." in deep
    assert len(deep) < 400


def test_the_graph_given_is_not_changed():
    graph = to_graph(NET)
    before = (list(graph.nodes(data="op")), list(graph.edges(keys=True)))
    compile_graph(graph)
    assert before == (list(graph.nodes(data="op")), list(graph.edges(keys=True)))


def test_equal_networks_make_equal_source():
    symbol = sp.Symbol("w")
    nets = [stax.serial(stax.Dense(4, symbol), stax.Erf(), stax.Dense(1)) for _ in range(2)]
    assert ntkc.compile(nets[0]).source == ntkc.compile(nets[1]).source
