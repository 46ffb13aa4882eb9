"""Every example fits on a screen, runs without a warning, and prints its result."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))
LONGEST, SECONDS = 60, 120
SLOW = (
    "distillation",
    "empirical_kernel",
    "equinox_networks",
    "finite_training",
    "flax_networks",
    "gaussian_process",
    "imported_model",
    "monte_carlo",
    "phase_diagram",
    "scikit_learn",
    "training_dynamics",
)


def with_marks(file):
    return pytest.param(file, marks=pytest.mark.slow) if file.stem in SLOW else file


def test_there_are_examples():
    assert EXAMPLES


@pytest.mark.parametrize("file", [with_marks(f) for f in EXAMPLES], ids=lambda f: f.stem)
def test_example(file, tmp_path):
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) < LONGEST
    assert lines[0].startswith('"""')
    path = str(FOLDER.parent)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(file)],
        cwd=tmp_path,
        env={
            "PYTHONPATH": path,
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "JAX_PLATFORMS": "cpu",
            "MPLBACKEND": "agg",
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
