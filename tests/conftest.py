"""Options and fixtures of all tests."""

from pathlib import Path

import jax
import numpy as np
import pytest
from mpmath import mp

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser):
    parser.addoption("--rewrite-golden", action="store_true", help="write tests/golden anew instead of comparing")


@pytest.fixture
def golden(request):
    """check(name, text): text equals the golden file, or becomes it under --rewrite-golden."""

    def check(name, text):
        file = GOLDEN / name
        if request.config.getoption("--rewrite-golden"):
            file.write_text(text, encoding="utf-8")
        assert file.exists(), f"no {file}; write it with pytest --rewrite-golden"
        assert text == file.read_text(encoding="utf-8"), f"{name} changed; on purpose? pytest --rewrite-golden"

    return check


@pytest.fixture(autouse=True)
def digits():
    """What one test imports or runs leaves mpmath's precision as it was for the others."""
    before = mp.dps
    yield
    assert mp.dps == before, f"mpmath was left at {mp.dps} digits"


@pytest.fixture
def x64():
    """Everything in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def pair():
    """Rows x1 [5, 6] and x2 [4, 6], with a duplicate and an opposite pair among them."""
    rng = np.random.default_rng(0)
    x1, x2 = rng.standard_normal((5, 6)), rng.standard_normal((4, 6))
    x2[0], x2[1] = x1[0], -x1[1]
    return x1, x2


SLOW = frozenset((Path(__file__).parent / "slow_cases.txt").read_text(encoding="utf-8").splitlines())
"""Tests of some seconds on one core, most of it compilation, beside quicker ones like them: for make test-all."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        case = item.path.name + "::" + item.nodeid.partition("::")[2]
        if not SLOW.isdisjoint((case, case.partition("[")[0])):
            item.add_marker(pytest.mark.slow)
