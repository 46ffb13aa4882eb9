"""python benchmarks/pixels.py  ->  tables and benchmarks/results/pixels.json: NTKs of images, beside Neural Tangents.

Each network and precision runs in a fresh process for each package in turn, `--rounds` times over, on the same images.
"""

import argparse
import fnmatch
import json
import subprocess
import sys
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from peer import ensure_peer
from pixel_networks import CHANNELS, DTYPES, PIXEL_CASES, PixelCase, quick_pixels, with_n
from pixel_report import PixelReport, print_pixels, relative_difference, timing_of, to_json
from report import OURS, PEER, environment
from run import PLATFORMS, OutOfReach, Package, WorkerFailed, run_process

RESULTS = Path(__file__).resolve().parent / "results" / "pixels.json"
LIMIT_S = 600.0
CHECKED_N = 2
"""Images a side of a peer that is asked for values alone."""


@dataclass(frozen=True)
class Settings:
    """What is compared, and for how long."""

    packages: tuple[Package, ...]
    is_peer_timed: bool
    rounds: int
    seconds: float
    is_quick: bool


@dataclass
class Runs:
    """Of one package at one precision: the images a side it could take, what its processes measured, why it failed."""

    n: int
    found: list[dict[str, Any]] = field(default_factory=list)
    failure: str | None = None
    notes: list[str] = field(default_factory=list)


def find_packages(device: str, is_alone: bool) -> tuple[tuple[Package, ...], bool]:
    """(ours and, if it can be had, the peer; whether both run on that device: else the peer gives values, no times)."""
    ours = Package(OURS, sys.executable, PLATFORMS[device])
    if is_alone:
        return (ours,), False
    try:
        python = str(ensure_peer())
    except (SystemExit, subprocess.CalledProcessError, OSError) as error:
        print(f"without the peer: {error}", file=sys.stderr)
        return (ours,), False
    is_same = device == "cpu" or _has_gpu(python)
    return (ours, Package(PEER, python, PLATFORMS[device] if is_same else "cpu")), is_same


def _has_gpu(python: str) -> bool:
    """Whether that environment's JAX finds a GPU by itself."""
    asked = [python, "-W", "ignore", "-c", "import jax; print(jax.default_backend())"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip() == "gpu"


def make_images(case: PixelCase) -> dict[str, np.ndarray]:
    """Deterministic normal x1, x2 [n, side, side, channels], numbers of float32."""
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    shape = (max(case.n, case.peer_n), case.side, case.side, CHANNELS)
    return {name: rng.standard_normal(shape, dtype=np.float32) for name in ("x1", "x2")}


def run_package(package: Package, case: PixelCase, dtype: str, folder: Path, runs: Runs, settings: Settings) -> None:
    """One more process; on what does not fit in memory or time, with half the images, down to one."""
    options = ["quick"] if settings.is_quick else []
    while runs.failure is None:
        arguments = (package.name, case.name, dtype, str(runs.n), str(folder), str(settings.seconds), *options)
        try:
            result = run_process(package, LIMIT_S, "pixel_worker.py", *arguments)
        except WorkerFailed as failure:
            why, is_failed = str(failure), runs.n == 1 or not isinstance(failure, OutOfReach)
        else:
            if "too_large" not in result:
                runs.found.append(result)
                return
            why, is_failed = result["too_large"], runs.n == 1
        if is_failed:
            runs.failure = why
            return
        runs.notes.append(f"{package.name} at n = {runs.n}: {why}; n = {runs.n // 2} instead")
        runs.n //= 2


def run_network(case: PixelCase, settings: Settings) -> list[PixelReport]:
    """A report for each precision."""
    sizes = {OURS: case.n, PEER: case.peer_n if settings.is_peer_timed else min(case.peer_n, CHECKED_N)}
    found = {(package.name, dtype): Runs(sizes[package.name]) for dtype in DTYPES for package in settings.packages}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / f"{case.name}.npz", **make_images(case))
        for dtype in DTYPES:
            for turn in range(settings.rounds):
                for package in settings.packages:
                    if package.name == OURS or settings.is_peer_timed or (turn == 0 and dtype == "float64"):
                        run_package(package, case, dtype, folder, found[package.name, dtype], settings)
        kernels = {key: np.load(folder / ".".join((*key, "npy"))) for key, runs in found.items() if runs.found}
    return [_report(case, dtype, found, kernels, settings) for dtype in DTYPES]


def _report(
    case: PixelCase,
    dtype: str,
    found: dict[tuple[str, str], Runs],
    kernels: dict[tuple[str, str], np.ndarray],
    settings: Settings,
) -> PixelReport:
    names = [package.name for package in settings.packages]
    exact = {name: kernels.get((name, "float64")) for name in names}
    rounding = {name: relative_difference(kernels.get((name, dtype)), exact[name]) for name in names}
    timed = [name for name in names if found[name, dtype].found and (name == OURS or settings.is_peer_timed)]
    return PixelReport(
        case=case,
        dtype=dtype,
        timings={name: timing_of(found[name, dtype].found) for name in timed},
        difference=relative_difference(exact.get(OURS), exact.get(PEER)),
        rounding={} if dtype == "float64" else {name: e for name, e in rounding.items() if e is not None},
        failures={name: runs.failure for name in names if (runs := found[name, dtype]).failure is not None},
        notes=tuple(note for name in names for note in found[name, dtype].notes),
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=sorted(PLATFORMS), default="cpu", help="where ntkc runs")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="networks to run, such as 'myrtle_*'")
    parser.add_argument("--quick", action="store_true", help="8 x 8 pixels, shallow networks, one round: no speeds")
    parser.add_argument("--alone", action="store_true", help="ntkc without the peer")
    parser.add_argument("--n", type=int, help="images a side for both packages, in place of each network's own")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each network, precision and package")
    parser.add_argument("--seconds", type=float, default=5.0, help="steady time of one process, at least one call")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the JSON goes")
    return parser.parse_args()


def chosen_cases(arguments: argparse.Namespace) -> list[PixelCase]:
    """The networks asked for, at the size asked for."""
    cases = [case for case in PIXEL_CASES if fnmatch.fnmatch(case.name, arguments.only)]
    if not cases:
        raise SystemExit(f"no network matches {arguments.only!r}; have {[case.name for case in PIXEL_CASES]}")
    cases = [quick_pixels(case) for case in cases] if arguments.quick else cases
    return [with_n(case, arguments.n) for case in cases] if arguments.n else cases


def main() -> int:
    """0 if ntkc computed every kernel, whatever the targets and the peer did."""
    arguments = parse_arguments()
    cases = chosen_cases(arguments)
    packages, is_peer_timed = find_packages(arguments.device, arguments.alone)
    rounds = 1 if arguments.quick else arguments.rounds
    settings = Settings(packages, is_peer_timed, rounds, 0.0 if arguments.quick else arguments.seconds, arguments.quick)
    reports: list[PixelReport] = []
    for case in cases:
        print(f"running {case.name}", file=sys.stderr, flush=True)
        made = run_network(case, settings)
        for report in made:
            print(report.line(), file=sys.stderr, flush=True)
        reports += made
    surroundings = environment(reports)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(to_json(surroundings, reports), indent=1) + "\n")
    print_pixels(surroundings, reports)
    print(f"written to {arguments.output}")
    return 1 if any(OURS in report.failures for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
