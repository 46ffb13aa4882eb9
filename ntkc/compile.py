"""The pipeline: graph -> law -> fused graph -> blocks -> demand -> program -> passes -> schedule -> source."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ntkc.backends.jax import emit
from ntkc.errors import InvalidInput, unknown
from ntkc.gaussian.certificates import TOLERANCES
from ntkc.ir.graph import Graph
from ntkc.ir.program import Program
from ntkc.passes.analyse import Values, analyse
from ntkc.passes.carry_gap import carry_gap
from ntkc.passes.collapse import collapse
from ntkc.passes.commute import commute
from ntkc.passes.demand import Demand, demand
from ntkc.passes.expand_series import describe_series, expand_series
from ntkc.passes.forms import describe_forms, find_forms
from ntkc.passes.fuse import fuse
from ntkc.passes.hoist import hoist
from ntkc.passes.lower import lower
from ntkc.passes.prune import prune
from ntkc.passes.roll import roll
from ntkc.passes.schedule import schedule
from ntkc.passes.settle import is_open, settle

Made = Mapping[str, Any]
"""What the stages before made, by name; and the graph, the tolerances, whether pixels are wanted diagonal."""


@dataclass(frozen=True)
class Pass:
    """One stage: a function of what earlier ones made.

    Attributes:
        name: in `until=` and explain().
        run: the function.
        reads: names of its arguments.
        what: one line for explain(), from all that is there.
    """

    name: str
    run: Callable[..., Any]
    reads: tuple[str, ...]
    what: Callable[[Made], str]


def _changed(name: str, before: str, words: str) -> Callable[[Made], str]:
    return lambda made: "unchanged" if made[name] is made[before] else words


PASSES = (
    Pass("settle", settle, ("graph",), lambda made: "layers as they act on data of this shape"),
    Pass("commute", commute, ("settle",), _changed("commute", "settle", "sums of equal maps are maps of sums")),
    Pass(
        "analyse", analyse, ("commute",), lambda made: f"law of {len(made['graph'])} layers: {_laws(made['analyse'])}"
    ),
    Pass(
        "fuse", fuse, ("commute", "analyse"), lambda made: f"{len(made['graph'])} layers -> {len(made['fuse'])} nodes"
    ),
    Pass("roll", roll, ("fuse",), lambda made: f"{len(made['fuse'])} nodes -> {len(made['roll'])}"),
    Pass("demand", demand, ("roll", "diagonal"), lambda made: f"{_count(made['demand'])} streams asked for"),
    Pass("lower", lower, ("roll", "demand", "diagonal"), lambda made: "each layer's rule"),
    Pass("carry_gap", carry_gap, ("lower",), _changed("carry_gap", "lower", "gaps instead of K, which loses digits")),
    Pass(
        "collapse",
        collapse,
        ("carry_gap",),
        _changed("collapse", "carry_gap", "all layers in one function of the angle"),
    ),
    Pass(
        "series",
        expand_series,
        ("collapse",),
        lambda made: (
            describe_series(made["collapse"], made["tolerances"]) or "unchanged: every expectation has a closed form"
        ),
    ),
    Pass("hoist", hoist, ("series",), _changed("hoist", "series", "what pairs need of one sample, once per sample")),
    Pass("prune", prune, ("hoist",), lambda made: "statements that no output reads are gone"),
    Pass("forms", find_forms, ("prune", "diagonal"), lambda made: describe_forms(made["prune"], made["forms"])),
    Pass("schedule", schedule, ("prune", "forms"), lambda made: made["schedule"].text()),
    Pass("emit", emit, ("prune", "forms", "schedule", "graph", "tolerances"), lambda made: "JAX source"),
)
"""In order; `until=` takes the name of any."""
STAGES = tuple(p.name for p in PASSES)
OPEN = ("settle", "commute", "analyse")
"""Stages of a network whose data are not known yet."""


@dataclass(frozen=True)
class StageReport:
    """One row of `explain()`."""

    stage: str
    result: Any = field(repr=False)
    milliseconds: float
    what: str

    @property
    def statements(self) -> int | None:
        """Of a program, those inside loops counted once."""
        return self.result.count_statements() if isinstance(self.result, Program) else None

    @property
    def operations(self) -> int | None:
        """Arithmetic operations of one turn of everything in a program."""
        return self.result.count_operations() if isinstance(self.result, Program) else None


@dataclass
class Compilation:
    """What the stages made, by name, and what each cost."""

    graph: Graph
    made: dict[str, Any] = field(default_factory=dict[str, Any])
    reports: list[StageReport] = field(default_factory=list[StageReport])
    clock: float = field(default_factory=time.perf_counter)
    tolerances: Mapping[str, float] = field(default_factory=lambda: TOLERANCES)
    diagonal: bool = False

    def add(self, stage: str, result: Any, what: str) -> Any:
        """Keep a stage's result and report it."""
        now = time.perf_counter()
        self.made[stage] = result
        self.reports.append(StageReport(stage, result, (now - self.clock) * 1e3, what))
        self.clock = time.perf_counter()
        return result


def compile_graph(
    graph: Graph, until: str = "emit", tolerance: float | None = None, diagonal: bool = False
) -> Compilation:
    """Run the stages up to and including `until`; `tolerance` is that of series, for both precisions.

    `diagonal`: of pixels that the output has, only pairs of equal ones are wanted.

    Raises:
        UnknownName: no such stage.
        InvalidInput: a tolerance that is not between 1e-13 and 1.
        NoInfiniteLimit, NoClosedForm: the network has no kernel, or none in closed form.
    """
    if until not in STAGES:
        raise unknown("stage", until, STAGES)
    done = Compilation(graph, tolerances=_tolerances(tolerance), diagonal=diagonal)
    given = {"graph": graph, "tolerances": done.tolerances, "diagonal": diagonal}
    for stage in PASSES if not is_open(graph) else (p for p in PASSES if p.name in OPEN):
        made = {**given, **done.made}
        result = stage.run(*(made[name] for name in stage.reads))
        done.add(stage.name, result, stage.what({**made, stage.name: result}))
        if stage.name == until:
            break
    return done


def _tolerances(tolerance: float | None) -> Mapping[str, float]:
    if tolerance is None:
        return TOLERANCES
    if not 1e-13 <= tolerance < 1:
        raise InvalidInput(f"tolerance = {tolerance!r}: a relative error from 1e-13 to 1 is needed")
    return dict.fromkeys(TOLERANCES, float(tolerance))


def _laws(values: Values) -> str:
    names = [v.law.value for v in values.values()]
    return ", ".join(f"{names.count(n)} {n}" for n in dict.fromkeys(names))


def _count(demanded: Demand) -> int:
    return sum(map(len, demanded.values()))
