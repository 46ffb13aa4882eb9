"""The pipeline: graph -> law -> fused graph -> blocks -> demand -> program -> passes -> schedule -> source."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ntkc.backends.jax import emit
from ntkc.backends.pixels import emit_pixels
from ntkc.errors import InvalidInput, unknown
from ntkc.gaussian.certificates import TOLERANCES
from ntkc.ir.graph import Graph, feature_shapes, op_of, ordered
from ntkc.ir.program import Program
from ntkc.ir.value import Law
from ntkc.passes.analyse import analyse
from ntkc.passes.carry_distance import carry_distance
from ntkc.passes.collapse import collapse
from ntkc.passes.commute import commute
from ntkc.passes.demand import demand
from ntkc.passes.expand_series import describe_series, expand_series
from ntkc.passes.forms import describe_forms, find_forms
from ntkc.passes.fuse import fuse
from ntkc.passes.hoist import hoist
from ntkc.passes.lower import ALL_PAIRS, OUTPUTS, lower
from ntkc.passes.normalise import normalise
from ntkc.passes.prune import prune
from ntkc.passes.roll import roll
from ntkc.passes.schedule import schedule, schedule_pixels
from ntkc.passes.settle import has_pixels, is_open, settle
from ntkc.passes.take_angles import take_angles

STAGES = (
    *("settle", "analyse", "fuse", "roll", "demand", "lower", "peel", "normalise", "collapse", "distance", "angles"),
    *("series", "hoist", "prune", "forms", "schedule", "emit"),
)
"""In order; `until=` takes any of them."""


@dataclass(frozen=True)
class StageReport:
    """One row of `explain()`."""

    stage: str
    statements: int | None
    operations: int | None
    milliseconds: float
    what: str


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
        sizes = (result.count_statements(), result.count_operations()) if isinstance(result, Program) else (None, None)
        self.made[stage] = result
        self.reports.append(StageReport(stage, *sizes, (now - self.clock) * 1e3, what))
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
    for stage, result, what in _stages(graph, done.tolerances, diagonal):
        done.add(stage, result, what)
        if stage == until:
            break
    return done


def _tolerances(tolerance: float | None) -> Mapping[str, float]:
    if tolerance is None:
        return TOLERANCES
    if not 1e-13 <= tolerance < 1:
        raise InvalidInput(f"tolerance = {tolerance!r}: a relative error from 1e-13 to 1 is needed")
    return dict.fromkeys(TOLERANCES, float(tolerance))


def _stages(graph: Graph, tolerances: Mapping[str, float], diagonal: bool) -> Any:
    if is_open(graph):
        yield "analyse", analyse(graph), "law of each layer; the rest needs the shape of the data"
        return
    if has_pixels(graph):
        yield from _pixel_stages(graph, tolerances, diagonal)
        return
    values = analyse(graph)
    yield "analyse", values, f"law of {len(graph)} layers: {_laws(values)}"
    fused = fuse(graph, values)
    yield "fuse", fused, f"{len(graph)} layers -> {len(fused)} nodes"
    rolled = roll(fused, analyse(fused))
    yield "roll", rolled, f"{len(fused)} nodes -> {len(rolled)}"
    rolled_values = analyse(rolled)
    demanded = demand(rolled, rolled_values)
    yield "demand", demanded, f"{sum(map(len, demanded.values()))} streams asked for"
    derivation = lower(rolled, rolled_values, demanded)
    yield "lower", derivation, "each layer's rule"
    peeled = _lowered(roll(fused, analyse(fused), keep_first=True))
    yield "peel", peeled, "the first nonlinearity apart from the blocks"
    normal = normalise(peeled)
    yield "normalise", normal, "unchanged" if normal is peeled else "gap and tau instead of K and T"
    collapsed = collapse(normal)
    yield "collapse", collapsed, "unchanged" if collapsed is normal else "all layers in one function of the angle"
    distant = carry_distance(collapsed)
    yield "distance", distant, "unchanged" if distant is collapsed else "half the squared distance instead of K"
    expanded = expand_series(distant)
    yield "series", expanded, describe_series(distant, tolerances) or "unchanged: every expectation has a closed form"
    hoisted = hoist(expanded)
    yield "hoist", hoisted, "unchanged" if hoisted is expanded else "what pairs need of one sample, once per sample"
    pruned = prune(hoisted)
    yield "prune", pruned, "statements that no output reads are gone"
    plan = schedule(pruned)
    yield "schedule", plan, plan.text()
    yield "emit", emit(pruned, plan, describe(graph), tolerances), "JAX source"


def _pixel_stages(graph: Graph, tolerances: Mapping[str, float], diagonal: bool) -> Any:
    """With pixels, K itself is what filters mix: no gap is carried, and forms say which pairs of pixels are kept."""
    settled = commute(settle(graph))
    yield "settle", settled, "layers as they act on data of this shape"
    values = analyse(settled)
    yield "analyse", values, f"law of {len(graph)} layers: {_laws(values)}"
    fused = fuse(settled, values)
    yield "fuse", fused, f"{len(graph)} layers -> {len(fused)} nodes"
    rolled = roll(fused, analyse(fused), last_law=Law.POINTWISE, fewest=2)
    yield "roll", rolled, f"{len(fused)} nodes -> {len(rolled)}"
    rolled_values = analyse(rolled)
    has_pixels_left = len(feature_shapes(rolled)[rolled.graph["output"]]) > 1 and not diagonal
    wanted = ALL_PAIRS if has_pixels_left else OUTPUTS
    demanded = demand(rolled, rolled_values, wanted.values())
    yield "demand", demanded, f"{sum(map(len, demanded.values()))} streams asked for"
    program = lower(rolled, rolled_values, demanded, wanted)
    yield "lower", program, "each layer's rule"
    angles = take_angles(program)
    yield "angles", angles, "unchanged" if angles is program else "the gap of cosines under homogeneous activations"
    expanded = expand_series(angles)
    yield "series", expanded, describe_series(angles, tolerances) or "unchanged: every expectation has a closed form"
    hoisted = hoist(expanded)
    yield "hoist", hoisted, "unchanged" if hoisted is expanded else "what pairs need of one sample, once per sample"
    pruned = prune(hoisted)
    yield "prune", pruned, "statements that no output reads are gone"
    forms = find_forms(pruned, not diagonal)
    yield "forms", forms, describe_forms(pruned, forms)
    plan = schedule_pixels(pruned, forms)
    yield "schedule", plan, plan.text()
    yield "emit", emit_pixels(pruned, forms, plan, describe(graph), tolerances), "JAX source"


def _lowered(graph: Graph) -> Program:
    values = analyse(graph)
    return lower(graph, values, demand(graph, values))


def _laws(values: Any) -> str:
    names = [v.law.value for v in values.values()]
    return ", ".join(f"{names.count(n)} {n}" for n in dict.fromkeys(names))


def describe(graph: Graph) -> str:
    """The layers in words, those of a long chain shortened."""
    labels = [op_of(graph, n).label() for n in ordered(graph)]
    shown = labels if len(labels) <= 12 else [*labels[:5], f"... {len(labels) - 8} more ...", *labels[-3:]]
    return " -> ".join(shown)
