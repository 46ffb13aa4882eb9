"""python benchmarks/large_n.py  ->  n = 50,000 rows by conjugate gradients on tiles: time, peak memory, residual.

One run at the smaller `--check` first, whose mean is also that of a Cholesky factorisation. Each in a process of its
own, so that the peak resident memory is that of the prediction alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

FEATURES, OUTPUTS, N_TEST = 32, 4, 1000
NOISE = 0.1
"""Standard deviation of the noise in the targets, whose own is near 1."""
PROBES = 200
"""Training rows whose residual is computed again, from float64 kernels."""
RESULTS = Path(__file__).parent / "results" / "large_n.json"
LIMIT_GB = 8


@dataclass(frozen=True)
class Setting:
    """One run: what `iterative_inference` is given."""

    n: int
    depth: int
    get: str
    diag_reg: float
    landmarks: int
    tolerance: float
    memory: str
    is_checked: bool


@dataclass(frozen=True)
class Run:
    """What came of it; `agreement` is the largest |mean - direct mean| over the largest |direct mean|."""

    setting: Setting
    steps: int
    residual: float
    probed: float
    r2: float
    fit_s: float
    predict_s: float
    before_gb: float
    peak_gb: float
    agreement: float | None
    load_average: float


def draw(n: int) -> tuple[Any, Any, Any, Any]:
    """x ~ N(0, I), y = sqrt 2 sin(W x) + noise with |W_i| = 1:  for training, noisy, and for testing."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((FEATURES, OUTPUTS))
    directions /= np.linalg.norm(directions, axis=0)
    x = rng.standard_normal((N_TEST + n, FEATURES))
    y = np.sqrt(2) * np.sin(x @ directions)
    noisy = y[N_TEST:] + NOISE * rng.standard_normal((n, OUTPUTS))
    return np.float32(x[N_TEST:]), np.float32(noisy), np.float32(x[:N_TEST]), y[:N_TEST]


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def run(setting: Setting) -> Run:
    """Draws the data, trains, predicts, and only then checks."""
    from ntkc import compile, predict, stax

    hidden = (stax.Dense(1, 2**0.5), stax.Relu())
    program = compile(stax.serial(*hidden * setting.depth, stax.Dense(1)))
    x, y, x_test, y_test = draw(setting.n)
    before, start = peak_gb(), time.perf_counter()
    found = predict.iterative_inference(
        program,
        x,
        y,
        setting.get,
        setting.diag_reg,
        tolerance=setting.tolerance,
        landmarks=setting.landmarks,
        memory=setting.memory,
    )
    fitted = time.perf_counter()
    mean = np.asarray(found.predict_fn(x_test), np.float64)
    predicted, peak = time.perf_counter(), peak_gb()
    return Run(
        setting,
        len(found.residuals) - 1,
        found.residuals[-1],
        probed_residual(program, found, x, y),
        1 - float(np.mean((mean - y_test) ** 2) / np.var(y_test)),
        fitted - start,
        predicted - fitted,
        before,
        peak,
        agreement(program, setting, x, y, x_test, mean) if setting.is_checked else None,
        os.getloadavg()[1],
    )


def probed_residual(program: Any, found: Any, x: Any, y: Any) -> float:
    """|y - (K + ridge I) alpha| / |y| over a few rows, with K in float64."""
    import jax

    rows = np.random.default_rng(1).choice(len(x), PROBES, replace=False)
    with jax.enable_x64(True):
        x = np.float64(x)
        parts = [np.asarray(program(x[some], x, found.kernel.get)) @ found.weights for some in np.split(rows, 10)]
    rest = y[rows] - np.concatenate(parts) - found.ridge * found.weights[rows]
    return float((np.linalg.norm(rest, axis=0) / np.linalg.norm(y[rows], axis=0)).max())


def agreement(program: Any, setting: Setting, x: Any, y: Any, x_test: Any, mean: Any) -> float:
    """With `gp_inference` in float64."""
    import jax

    from ntkc import predict

    with jax.enable_x64(True):
        x, x_test = np.float64(x), np.float64(x_test)
        gram, cross = program(x, None, setting.get), program(x_test, x, setting.get)
        # The kernel is given as it is, so that its name plays no part.
        exact = np.asarray(predict.gp_inference(gram, y, setting.diag_reg)("nngp", cross))
    return float(np.abs(mean - exact).max() / np.abs(exact).max())


def run_alone(setting: Setting) -> dict[str, Any]:
    """The same in a new process."""
    command = [sys.executable, __file__, "--one", json.dumps(asdict(setting))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def show(found: dict[str, Any]) -> str:
    agreed = found["agreement"]
    return (
        f"n {found['setting']['n']:,}, {found['setting']['get']}, depth {found['setting']['depth']}: "
        f"fit {found['fit_s']:.0f} s, {found['steps']} steps, predict {found['predict_s']:.1f} s, "
        f"peak memory {found['peak_gb']:.2f} GB ({found['before_gb']:.2f} before), residual {found['residual']:.1e} "
        f"({found['probed']:.1e} on {PROBES} rows in float64), R2 {found['r2']:.4f}"
        + ("" if agreed is None else f", mean off the direct solution's by {agreed:.1e}")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=50_000)
    parser.add_argument("--check", type=int, default=5_000, help="rows of the run beside a factorisation; 0 for none")
    parser.add_argument("--depth", type=int, default=3, help="hidden layers of ReLU")
    parser.add_argument("--get", default="ntk", choices=("nngp", "ntk"))
    parser.add_argument("--diag-reg", type=float, default=1e-2)
    parser.add_argument("--landmarks", type=int, default=1000)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--memory", default="1GB", help="of the tiles")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(asdict(run(Setting(**json.loads(options.one))))))
        return
    common = (options.depth, options.get, options.diag_reg, options.landmarks, options.tolerance, options.memory)
    sizes = ((options.check, True), (options.n, False))
    runs: list[dict[str, Any]] = []
    for n, is_checked in sizes:
        if n > 0:
            runs.append(run_alone(Setting(n, *common, is_checked)))
            print(show(runs[-1]), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(runs, indent=1), encoding="utf-8")
    if max(found["peak_gb"] for found in runs) > LIMIT_GB:
        raise SystemExit(f"a run took more than {LIMIT_GB} GB")


if __name__ == "__main__":
    main()
