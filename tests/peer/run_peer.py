"""Neural Tangents' own tests on ntkc:  python tests/peer/run_peer.py PATH_OF_A_CHECKOUT [module ...] [--cases 4]

Each module runs in a process of its own, on two devices of the CPU, under an alias package (alias.py). A test that
fails stands in reasons.toml with its reason; those of the peer's internals do not count as public behaviour.
"""

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
MODULES = [*(f"stax/{name}" for name in ("stax", "linear", "elementwise", "requirements", "branching", "combinators"))]
MODULES += ["batching", "predict", "empirical", "monte_carlo"]
PUBLIC_SHARE = 0.95
INTERNAL = "internal"
KINDS = (INTERNAL, "peer bug", "different", "chance")


@dataclass
class Outcome:
    """What became of a test: its parts that failed, and whether it was skipped."""

    failures: list[str] = field(default_factory=list)
    is_skipped: bool = False


def reasons(path=HERE / "reasons.toml"):
    """(pattern of tests, kind, why), from the table."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))["reason"]
    return [(pattern, row["kind"], row["why"]) for row in table for pattern in row["tests"]]


def reason_of(test, table):
    """(kind, why) of the first row whose pattern is that of a test, or None."""
    return next(((kind, why) for pattern, kind, why in table if fnmatch.fnmatch(test, pattern)), None)


def outcomes_of(lines):
    """Outcomes by test, `linear_test.py::IndexTest::test_index0`, from the lines that the plugin wrote."""
    found = {}
    for line in lines:
        report = json.loads(line)
        outcome = found.setdefault(report["test"].rpartition("/")[2], Outcome())
        if report["outcome"] == "failed":
            outcome.failures.append(report["text"])
        outcome.is_skipped |= report["outcome"] == "skipped"
    return found


def environment(peer, outcomes, cases):
    """Variables of a run: paths of the alias and of ntkc, two devices, how many cases of each test."""
    paths = [str(HERE), str(HERE.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(paths), "PEER": str(peer), "PEER_OUTCOMES": str(outcomes)}
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2".strip()
    return {**os.environ, **own, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "NT_NUM_GENERATED_CASES": str(cases)}


def run_module(module, peer, cases, only=""):
    """Outcomes of one module."""
    with tempfile.TemporaryDirectory() as folder:
        outcomes = Path(folder) / "outcomes.jsonl"
        outcomes.touch()
        options = ["-p", "plugin", "-p", "no:cacheprovider", "-q", "--tb=short", *(["-k", only] if only else [])]
        command = [sys.executable, "-W", "ignore", "-m", "pytest", *options, f"tests/{module}_test.py"]
        done = subprocess.run(command, cwd=peer, env=environment(peer, outcomes, cases), capture_output=True, text=True)
        found = outcomes_of(outcomes.read_text(encoding="utf-8").splitlines())
        if done.returncode not in (0, 1, 5):
            found[f"{module}_test.py::collection"] = Outcome([done.stdout[-4000:] + done.stderr[-4000:]])
        return found


def counted(outcomes, table):
    """How many tests passed, were skipped, or failed, by kind of reason; those without one are named."""
    counts, unknown = Counter(), []
    for test, outcome in outcomes.items():
        if not outcome.failures:
            counts["skipped" if outcome.is_skipped else "passed"] += 1
            continue
        reason = reason_of(test, table)
        counts[reason[0] if reason else "without a reason"] += 1
        unknown += [] if reason else [test]
    return counts, unknown


def public_share(counts):
    """Passed among all that ran and test public behaviour."""
    failed = sum(n for kind, n in counts.items() if kind not in (INTERNAL, "passed", "skipped"))
    return counts["passed"] / max(1, counts["passed"] + failed)


def report(name, counts):
    """One line."""
    listed = ", ".join(
        f"{counts[kind]} {kind}" for kind in ("passed", "skipped", *KINDS, "without a reason") if counts[kind]
    )
    print(f"{name:20} {listed}", flush=True)


def main():
    """Run, print counts; 1 if a test fails without a reason or too few of public behaviour pass."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("peer", type=Path, help="a checkout of github.com/google/neural-tangents, v0.6.5")
    parser.add_argument("modules", nargs="*", default=MODULES, help=f"of {', '.join(MODULES)}")
    parser.add_argument("--cases", type=int, default=4, help="cases of each parameterised test (default: %(default)s)")
    parser.add_argument("-k", default="", help="as pytest's: only tests of these names")
    given = parser.parse_args()
    table, total, unknown = reasons(), Counter(), []
    for module in given.modules:
        found = run_module(module, given.peer.resolve(), given.cases, given.k)
        counts, without = counted(found, table)
        report(module, counts)
        for test in without:
            last = [line for line in found[test].failures[0].splitlines() if line.startswith("E ")][:1]
            print(f"    {test}: {last[0][2:].strip() if last else found[test].failures[0][-300:]}", flush=True)
        total += counts
        unknown += without
    report("all", total)
    print(f"{public_share(total):.1%} of {total['passed']} + failed tests of public behaviour pass")
    return 1 if unknown or public_share(total) < PUBLIC_SHARE else 0


if __name__ == "__main__":
    sys.exit(main())
