"""The runner of the peer's tests: what it counts, and the table of reasons."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import run_peer

TABLE = [("a_test.py::A::test_x*", run_peer.INTERNAL, "why"), ("a_test.py::A::test_y0", "peer bug", "why")]


def line(test, outcome, text=""):
    return json.dumps({"test": f"tests/stax/{test}", "outcome": outcome, "seconds": 0.1, "text": text})


def test_counts():
    """A test fails if any part of it does; internals do not count as public; what has no reason is named."""
    lines = [line("a_test.py::A::test_x1", "failed", "E  no"), line("a_test.py::A::test_y0", "failed")]
    lines += [line("a_test.py::A::test_z", "passed"), line("a_test.py::A::test_z", "failed", "E  part")]
    lines += [line(f"a_test.py::A::test_{i}", "passed") for i in range(18)] + [line("a_test.py::A::test_s", "skipped")]
    counts, unknown = run_peer.counted(run_peer.outcomes_of(lines), TABLE)
    assert counts == {"internal": 1, "peer bug": 1, "without a reason": 1, "passed": 18, "skipped": 1}
    assert unknown == ["a_test.py::A::test_z"]
    assert run_peer.public_share(counts) == pytest.approx(18 / 20)


def test_every_row_of_the_table_has_a_reason():
    rows = run_peer.reasons()
    assert rows
    for pattern, kind, why in rows:
        assert kind in run_peer.KINDS
        assert pattern.partition("::")[0].removesuffix("_test.py") in {m.rpartition("/")[2] for m in run_peer.MODULES}
        assert len(why) > 20
