"""python benchmarks/first_call.py  ->  a table: CPU seconds of first calls, ntkc beside Neural Tangents.

Every call in a fresh process. The peer's kernels are jitted, ntkc's are called as they are; compilation of the network
and of XLA counts, import does not. The last columns are of other calls in the same process.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from first_calls import CASES
from run import WorkerFailed, packages, run_process

RESULTS = Path(__file__).resolve().parent / "results" / "first_call.json"
OTHERS = ("get", "n", "x2", "again")
LIMIT_S = 600.0


def measured(device: str, rounds: int, names: list[str]) -> dict[str, dict[str, Any]]:
    """{case: {package: medians of its processes}}."""
    both = packages(device)
    made: dict[str, dict[str, Any]] = {}
    for name in names:
        made[name] = {}
        for package in both:
            if package.name != "ntkc" and not CASES[name].has_peer:
                continue
            try:
                times = [run_process(package, LIMIT_S, "first_calls.py", package.name, name) for _ in range(rounds)]
            except WorkerFailed as failure:
                made[name][package.name] = {"failed": str(failure)}
                continue
            made[name][package.name] = {key: statistics.median(t[key] for t in times) for key in times[0]}
        print(row(name, made[name]), flush=True)
    return made


def row(name: str, both: dict[str, Any]) -> str:
    ours, peer = both["ntkc"], both.get("neural_tangents", {})
    first, other = ours.get("first"), peer.get("first")
    ratio = f"{first / other:.2f}" if first is not None and other is not None else ""
    cells = [f"{ours[key]:.2f}" if key in ours else "" for key in ("first", *OTHERS)]
    return f"| {name} | {' | '.join(cells)} | {'' if other is None else f'{other:.2f}'} | {ratio} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="where ntkc runs")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each case, of which the median counts")
    parser.add_argument("--only", nargs="*", default=list(CASES), help="names of cases")
    given = parser.parse_args()
    print("| CPU seconds | first call | another get | another n | x2 | built again | Neural Tangents | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    made = measured(given.device, given.rounds, given.only)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"python": sys.version, "cases": made}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
