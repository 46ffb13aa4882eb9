"""A pytest plugin: the tests of the checkout at $PEER run on ntkc, and their outcomes go to $PEER_OUTCOMES."""

import json
import os
from pathlib import Path

import alias

alias.install(os.environ["PEER"])
OUTCOMES = Path(os.environ["PEER_OUTCOMES"])


def pytest_runtest_logreport(report):
    """One line of JSON for a test, or for a part of it that failed."""
    if report.when != "call" and report.outcome == "passed":
        return
    text = "" if report.passed else str(getattr(report, "longreprtext", report.longrepr))
    line = {"test": report.nodeid, "outcome": report.outcome, "seconds": report.duration, "text": text[-4000:]}
    with OUTCOMES.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
