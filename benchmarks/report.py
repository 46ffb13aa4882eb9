"""Times and errors of the runs  ->  one report a case, and a JSON document."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import peer
from cases import Case
from inputs import levels

OURS, PEER = "ntkc", "neural_tangents"


@dataclass(frozen=True)
class Timing:
    """Seconds of one case in one package, jitted, and direct (without jit around it); medians but for *_min_s."""

    first_s: float
    compile_s: float
    steady_min_s: float
    steady_median_s: float
    direct_first_s: float
    direct_min_s: float
    import_s: tuple[float, ...]
    steady_s: tuple[float, ...]
    direct_s: tuple[float, ...]
    device: str
    jax: str
    python: str

    @property
    def best_s(self) -> float:
        """The better of jitted and direct: deep networks of the peer run faster without jit on a CPU."""
        return min(self.steady_min_s, self.direct_min_s)


@dataclass(frozen=True)
class CaseReport:
    """One case in both packages. Errors are relative to sqrt(K_ii K_jj); a pullback's to its largest component."""

    case: Case
    product_s: float | None
    timings: dict[str, Timing]
    errors: dict[str, dict[str, list[float]]]
    failures: dict[str, str]

    def ratio(self, field: str) -> float | None:
        """peer / ntkc: above 1, ntkc is faster."""
        if self.timings.keys() != {OURS, PEER}:
            return None
        return getattr(self.timings[PEER], field) / getattr(self.timings[OURS], field)

    def product_share(self, package: str) -> float | None:
        """x1 @ x2.T  as a share of the steady time."""
        if package not in self.timings or self.product_s is None or self.case.is_vjp:
            return None
        return self.product_s / self.timings[package].steady_min_s

    def worst_error(self, package: str) -> float | None:
        found = self.errors.get(package)
        return max(max(values) for values in found.values()) if found else None


def summarise(
    case: Case,
    times: dict[str, list[dict[str, Any]]],
    errors: dict[str, dict[str, list[float]]],
    failures: dict[str, str],
) -> CaseReport:
    """The processes of one case, put together."""
    timings = {name: _timing(runs) for name, runs in times.items() if name not in failures}
    products = [second for run in times.get(OURS, []) for second in run["product_s"]]
    return CaseReport(case, min(products, default=None), timings, errors, failures)


def _timing(runs: list[dict[str, Any]]) -> Timing:
    steady = [second for run in runs for second in run["steady_s"]]
    direct = [second for run in runs for second in run["direct_s"]]
    return Timing(
        first_s=statistics.median(run["first_s"] for run in runs),
        compile_s=statistics.median(run["first_s"] - statistics.median(run["steady_s"]) for run in runs),
        steady_min_s=min(steady),
        steady_median_s=statistics.median(steady),
        direct_first_s=statistics.median(run["direct_first_s"] for run in runs),
        direct_min_s=min(direct),
        import_s=tuple(run["import_s"] for run in runs),
        steady_s=tuple(steady),
        direct_s=tuple(direct),
        device=runs[0]["device"],
        jax=runs[0]["jax"],
        python=runs[0]["python"],
    )


def environment(reports: Sequence[Any]) -> dict[str, Any]:
    """When and where this was measured, and the import times of all processes, from the timings of the reports."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": os.getloadavg(),
        "system": platform.platform(),
        "versions": {"numpy": version("numpy"), "sympy": version("sympy"), "peer": peer.PACKAGE},
        "packages": {name: _package(name, reports) for name in (OURS, PEER)},
    }


def _package(name: str, reports: Sequence[Any]) -> dict[str, Any]:
    timings = [report.timings[name] for report in reports if name in report.timings]
    if not timings:
        return {}
    imports = [second for timing in timings for second in timing.import_s]
    last = timings[-1]
    return {
        "jax": last.jax,
        "python": last.python,
        "device": last.device,
        "import_s": statistics.median(imports),
        "imports": len(imports),
    }


def cpu_name() -> str:
    """The model name that Linux knows, else what Python knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def to_json(surroundings: dict[str, Any], reports: list[CaseReport]) -> dict[str, Any]:
    """The document of results/latest.json."""
    return {
        "environment": surroundings,
        "error_is": "|value - exact| / sqrt(exact_ii exact_jj); for a vjp, relative to the row's largest component",
        "cases": [_case_json(report) for report in reports if not report.case.is_near_duplicates],
        "near_duplicates": [row for report in reports for row in near_duplicate_rows(report)],
    }


def _case_json(report: CaseReport) -> dict[str, Any]:
    return {
        **asdict(report),
        "steady_ratio": report.ratio("steady_min_s"),
        "best_ratio": report.ratio("best_s"),
        "compile_ratio": report.ratio("compile_s"),
        "first_ratio": report.ratio("first_s"),
        "product_share": {name: report.product_share(name) for name in report.timings},
    }


def near_duplicate_rows(report: CaseReport) -> list[dict[str, Any]]:
    """The largest error over the base points, for every distance and norm ratio."""
    if not report.case.is_near_duplicates:
        return []
    groups: dict[tuple[float, float], list[int]] = {}
    for entry, (distance, ratio, _) in enumerate(levels(report.case)):
        groups.setdefault((distance, ratio), []).append(entry)
    return [
        {
            "depth": report.case.depth,
            "b_std": report.case.b_std,
            "norm_ratio": ratio,
            "distance": distance,
            "error": {name: max(found["ntk"][e] for e in entries) for name, found in report.errors.items()},
            "failures": report.failures,
        }
        for (distance, ratio), entries in groups.items()
    ]
