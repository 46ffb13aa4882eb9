"""Times, memory and kernels of the processes  ->  a report of each network and precision, JSON, tables."""

import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pixel_limits import Limits, device_of, limits_of
from pixel_networks import PixelCase
from report import OURS, PEER
from rich.console import Console
from rich.table import Table

SIDES = (OURS, PEER)
MEGABYTE = 1e6


@dataclass(frozen=True)
class PixelTiming:
    """Seconds and bytes of n x n pairs in one package; steady_s and jit_s of every call of all processes."""

    n: int
    first_s: float
    steady_s: tuple[float, ...]
    jit_s: tuple[float, ...]
    jit_error: str | None
    temporary_bytes: int | None
    resident_bytes: int
    device_bytes: int | None
    import_s: tuple[float, ...]
    device: str
    jax: str
    python: str

    @property
    def median_s(self) -> float:
        """Of a pair."""
        return statistics.median(self.steady_s) / self.n**2

    @property
    def best_s(self) -> float:
        """Of a pair."""
        return min(self.steady_s) / self.n**2


@dataclass(frozen=True)
class PixelReport:
    """One network at one precision.

    difference: the largest |ours - peer's| / |peer's|, both in float64. rounding: likewise, of each package's kernel at
    this precision from its own in float64.
    """

    case: PixelCase
    dtype: str
    timings: dict[str, PixelTiming]
    difference: float | None
    rounding: dict[str, float]
    failures: dict[str, str]
    notes: tuple[str, ...]

    def ratio(self, field: str) -> float | None:
        """Peer / ntkc: above 1, ntkc is faster, or smaller."""
        ours, peer = (getattr(self.timings.get(name), field, None) for name in SIDES)
        return peer / ours if ours and peer else None

    @property
    def limits(self) -> Limits | None:
        """Of our device, where its figures are known."""
        device = device_of(self.timings[OURS].device) if OURS in self.timings else None
        return limits_of(self.case.network.stages(self.case.side), device, self.dtype) if device else None

    def line(self) -> str:
        """One line of progress."""
        times = [f"{name} {_seconds(timing.median_s)} a pair" for name, timing in self.timings.items()]
        ratio = self.ratio("median_s")
        target = [] if ratio is None else [f"{ratio:.3g}x (target {self.case.target(self.dtype):g}x)"]
        difference = [] if self.difference is None else [f"difference {self.difference:.1e}"]
        failed = [f"{name} failed: {why}" for name, why in self.failures.items()]
        return f"{self.case.name} {self.dtype}: " + ", ".join([*times, *target, *difference, *failed, *self.notes])


def timing_of(runs: Sequence[dict[str, Any]]) -> PixelTiming:
    """The processes of one package put together: medians of what each has once, the most memory."""
    last = runs[-1]
    return PixelTiming(
        n=last["n"],
        first_s=statistics.median(run["first_s"] for run in runs),
        steady_s=tuple(second for run in runs for second in run["steady_s"]),
        jit_s=tuple(second for run in runs for second in run.get("jit_s", ())),
        jit_error=last.get("jit_error"),
        temporary_bytes=last.get("temporary_bytes"),
        resident_bytes=max(run["resident_bytes"] for run in runs),
        device_bytes=max((run["device_bytes"] for run in runs if run["device_bytes"]), default=None),
        import_s=tuple(run["import_s"] for run in runs),
        device=last["device"],
        jax=last["jax"],
        python=last["python"],
    )


def relative_difference(kernel: np.ndarray | None, reference: np.ndarray | None) -> float | None:
    """max |kernel - reference| / |reference|  over the pairs that both have; nan if one has no number."""
    if kernel is None or reference is None:
        return None
    n = min(len(kernel), len(reference))
    kernel, reference = (np.asarray(k[:n, :n], np.float64) for k in (kernel, reference))
    return float(np.max(np.abs(kernel - reference) / np.abs(reference)))


def to_json(surroundings: dict[str, Any], reports: Sequence[PixelReport]) -> dict[str, Any]:
    """The document of results/pixels.json."""
    return {
        "environment": surroundings,
        "difference_is": "max |ntkc - peer| / |peer|, both float64; rounding: of each package from its own float64",
        "networks": [_report_json(report) for report in reports],
    }


def _report_json(report: PixelReport) -> dict[str, Any]:
    return {
        **asdict(report),
        "network_class": type(report.case.network).__name__,
        "median_s_of_a_pair": {name: timing.median_s for name, timing in report.timings.items()},
        "best_s_of_a_pair": {name: timing.best_s for name, timing in report.timings.items()},
        "median_ratio": report.ratio("median_s"),
        "best_ratio": report.ratio("best_s"),
        "target_ratio": report.case.target(report.dtype),
        "limits": None if report.limits is None else asdict(report.limits),
    }


def print_pixels(surroundings: dict[str, Any], reports: Sequence[PixelReport]) -> None:
    """Speed; memory and accuracy; on a GPU also how near its limits."""
    console = Console(width=None if os.isatty(1) else 150)
    console.print(f"{surroundings['cpu']}, {surroundings['cores']} cores, {surroundings['date']}")
    for name, facts in surroundings["packages"].items():
        if facts:
            console.print(f"{name}: jax {facts['jax']}, Python {facts['python']}, {facts['device']}")
    console.print(_speed_table(reports))
    console.print(_memory_table(reports))
    if any(report.limits for report in reports):
        console.print(_limits_table([report for report in reports if report.limits]))
    for report in reports:
        for text in (*(f"{name} failed: {why}" for name, why in report.failures.items()), *report.notes):
            console.print(f"{report.case.name} {report.dtype}: {text}", markup=False)


def _speed_table(reports: Sequence[PixelReport]) -> Table:
    title = "NTK, time of a pair: medians, and bests of all calls; ratio = peer / ntkc. First call in seconds"
    times = ("ntkc", "peer", "ratio", "target", "best ntkc", "peer", "ratio", "first ntkc", "peer", "target")
    table = _table(title, times, "n, peer's")
    for report in reports:
        sizes = "/".join(str(report.timings[name].n) if name in report.timings else "-" for name in SIDES)
        medians, bests = (_pair_cells(report, field) for field in ("median_s", "best_s"))
        firsts = [_value(report, name, "first_s", "{:.2f}") for name in SIDES]
        target_s = report.case.target_first_s
        is_soon = OURS in report.timings and report.timings[OURS].first_s <= target_s
        ratio, target = report.ratio("median_s"), report.case.target(report.dtype)
        medians[2] = _judged(medians[2], ratio is not None and ratio >= target)
        firsts[0] = _judged(firsts[0], is_soon)
        table.add_row(report.case.name, report.dtype, sizes, *medians, f"{target:g}", *bests, *firsts, f"{target_s:g}")
    return table


def _memory_table(reports: Sequence[PixelReport]) -> Table:
    title = (
        "memory of a call, MB: temporary as XLA states it, growth of the process at its peak, the device's own peak; "
        "largest relative differences"
    )
    columns = ("temporary ntkc", "peer", "growth ntkc", "peer", "device ntkc", "peer")
    table = _table(title, (*columns, "ntkc - peer", "rounding ntkc", "peer"))
    for report in reports:
        memory = [
            _value(report, name, f"{field}_bytes", "{:.1f}", MEGABYTE)
            for field in ("temporary", "resident", "device")
            for name in SIDES
        ]
        errors = [report.difference, *(report.rounding.get(name) for name in SIDES)]
        table.add_row(report.case.name, report.dtype, *memory, *(_number(error, "{:.1e}") for error in errors))
    return table


def _limits_table(reports: Sequence[PixelReport]) -> Table:
    title = "ntkc beside its device: least times of a pair, and their shares of the measured median"
    columns = ("measured", "instructions", "share", "every layer through memory", "share")
    table = _table(title, columns)
    for report in reports:
        limits, measured = report.limits, report.timings[OURS].median_s
        cells = [
            cell
            for limit in (limits.arithmetic_s, limits.memory_s)
            for cell in (_seconds(limit), f"{limit / measured:.2%}")
        ]
        table.add_row(report.case.name, report.dtype, _seconds(measured), *cells)
    return table


def _table(title: str, numbers: Sequence[str], *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in ("network", "dtype", *headings):
        table.add_column(heading, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def _pair_cells(report: PixelReport, field: str) -> list[str]:
    """ntkc, peer, peer / ntkc."""
    times = [getattr(report.timings.get(name), field, None) for name in SIDES]
    return [*("-" if t is None else _seconds(t) for t in times), _number(report.ratio(field))]


def _value(report: PixelReport, name: str, field: str, pattern: str, unit: float = 1.0) -> str:
    found = getattr(report.timings.get(name), field, None)
    return _number(None if found is None else found / unit, pattern)


def _number(value: float | None, pattern: str = "{:.3g}") -> str:
    return "-" if value is None else pattern.format(value)


def _judged(text: str, is_met: bool) -> str:
    return text if text == "-" else f"[{'green' if is_met else 'red'}]{text}[/]"


def _seconds(value: float) -> str:
    """Three digits, in s, ms or us."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3g} us"
