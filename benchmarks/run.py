"""python benchmarks/run.py  ->  tables and benchmarks/results/latest.json: ntkc beside Neural Tangents.

Every case runs in a fresh process for each package in turn, `--rounds` times over, on the same inputs.
"""

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cases import CASES, Case, quick
from exact_values import entry_errors
from inputs import make_inputs
from peer import ensure_peer
from report import CaseReport, environment, summarise, to_json
from tables import print_report

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results" / "latest.json"
PLATFORMS = {"cpu": "cpu", "gpu": "cuda"}
LIMIT_S = 1800.0


@dataclass(frozen=True)
class Package:
    """An import name, the Python that has it, and the JAX platform it may use (None: what it finds)."""

    name: str
    python: str
    platform: str | None


class WorkerFailed(Exception):
    """A worker process ended without a result."""


class OutOfReach(WorkerFailed):
    """It took too long, or was killed, as by a system without memory."""


def packages(device: str) -> tuple[Package, Package]:
    ours = Package("ntkc", sys.executable, PLATFORMS[device])
    return ours, Package("neural_tangents", str(ensure_peer()), "cpu" if device == "cpu" else None)


def run_worker(package: Package, case: Case, folder: Path, seconds: float) -> dict[str, Any]:
    """One process, one case: the times it measured."""
    return run_process(package, LIMIT_S, "worker.py", package.name, case.name, str(folder), str(seconds))


def run_process(package: Package, limit_s: float, script: str, *arguments: str) -> dict[str, Any]:
    """The JSON of the last line that a script of this folder prints in the package's environment."""
    variables = {key: value for key, value in os.environ.items() if key != "JAX_COMPILATION_CACHE_DIR"}
    # With its frames filtered, JAX's last line of an error is not the error.
    variables["JAX_TRACEBACK_FILTERING"] = "off"
    if package.platform is not None:
        variables["JAX_PLATFORMS"] = package.platform
    command = [package.python, str(FOLDER / script), *arguments]
    try:
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        raise OutOfReach(f"no result within {limit_s:.0f} s") from None
    if done.returncode < 0:
        raise OutOfReach(f"killed by signal {-done.returncode}")
    if done.returncode != 0:
        raise WorkerFailed((done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])


def run_rounds(
    case: Case, both: tuple[Package, Package], folder: Path, rounds: int, seconds: float
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """({package: the times of each process}, {package: why it failed}); what failed once is not asked again."""
    times: dict[str, list[dict[str, Any]]] = {package.name: [] for package in both}
    failures: dict[str, str] = {}
    for package in both * rounds:
        if package.name in failures:
            continue
        try:
            times[package.name].append(run_worker(package, case, folder, seconds))
        except WorkerFailed as failure:
            failures[package.name] = str(failure)
    return times, failures


def run_case(case: Case, both: tuple[Package, Package], rounds: int, seconds: float) -> CaseReport:
    """The case in both packages, in turn, on the same inputs."""
    arrays = make_inputs(case)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / f"{case.name}.npz", **arrays)
        times, failures = run_rounds(case, both, folder, rounds, seconds)
        errors = {
            package.name: entry_errors(case, arrays, dict(np.load(folder / f"{case.name}.{package.name}.npz")))
            for package in both
            if package.name not in failures
        }
    return summarise(case, times, errors, failures)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=sorted(PLATFORMS), default="cpu", help="where ntkc runs")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="cases to run, such as 'depth_50*'")
    parser.add_argument("--quick", action="store_true", help="fewer rows, one round")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each case and package")
    parser.add_argument("--seconds", type=float, default=5.0, help="steady time of one process, at least three runs")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the JSON goes")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    cases = [case for case in CASES if fnmatch.fnmatch(case.name, arguments.only)]
    if not cases:
        raise SystemExit(f"no case matches {arguments.only!r}; have {[case.name for case in CASES]}")
    both = packages(arguments.device)
    reports: list[CaseReport] = []
    for case in cases:
        print(f"running {case.name}", file=sys.stderr, flush=True)
        rounds = 1 if arguments.quick or case.is_near_duplicates else arguments.rounds
        reports.append(run_case(quick(case) if arguments.quick else case, both, rounds, arguments.seconds))
    surroundings = environment(reports)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(to_json(surroundings, reports), indent=1) + "\n")
    print_report(surroundings, reports)
    print(f"written to {arguments.output}")
    return 1 if any(report.failures for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
