"""Benchmarks of networks with pixels: they run, fall back to fewer images, and count the work of a pair."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ntkc
from ntkc import stax
from ntkc.ir.graph import op_of

FOLDER = Path(__file__).parent.parent / "benchmarks"
DTYPES = {"float32", "float64"}


@pytest.fixture
def module(monkeypatch):
    """module(name): one of the files of benchmarks/, which are scripts and no package."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def test_quick_run(tmp_path):
    output = tmp_path / "report.json"
    command = [sys.executable, "-W", "error", str(FOLDER / "pixels.py"), "--quick", "--alone", "--only", "cnn_flatten"]
    variables = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [*command, "--output", str(output)], env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "cnn_flatten" in done.stdout
    networks = json.loads(output.read_text())["networks"]
    assert {network["dtype"] for network in networks} == DTYPES
    for network in networks:
        timing = network["timings"]["ntkc"]
        assert timing["steady_s"]
        assert timing["jit_error"] is None
        assert timing["resident_bytes"] > 0
    assert networks[0]["rounding"]["ntkc"] < 1e-5


def test_counts_are_those_of_the_networks(module):
    for case in module("pixel_networks").PIXEL_CASES:
        network = stax.serial(*case.network.layers(stax, case.side))
        graph = ntkc.compile(network, input_shape=(case.side, case.side, 3)).graph
        names = [type(op_of(graph, node)).__name__ for node in graph]
        stages = case.network.stages(case.side)
        assert names.count("Conv") == sum(stage.convs for stage in stages)
        assert names.count("Relu") == sum(stage.relus for stage in stages)


def test_limits_of_an_h100(module):
    """21 layers: 30 us a pair with all offsets, 0.03 us with one, 0.1 ms through memory (counted by hand)."""
    limits, networks = module("pixel_limits"), module("pixel_networks")
    device = limits.device_of("NVIDIA H100 80GB HBM3")
    pooled, flat = (networks.Cnn(21, is_pooled).stages(32) for is_pooled in (True, False))
    assert limits.limits_of(pooled, device, "float32").arithmetic_s == pytest.approx(30e-6, rel=0.1)
    assert limits.limits_of(pooled, device, "float32").memory_s == pytest.approx(0.1e-3, rel=0.1)
    assert limits.limits_of(flat, device, "float32").arithmetic_s == pytest.approx(0.03e-6, rel=0.1)
    assert limits.device_of("TFRT CPU") is None


def test_half_the_images_when_memory_is_short(module, monkeypatch):
    pixels, run = module("pixels"), module("run")

    def answer(package, limit_s, script, name, case, dtype, n, *rest):
        return {"too_large": "needs 12.0 GB"} if int(n) > 5 else {"n": int(n)}

    monkeypatch.setattr(pixels, "run_process", answer)
    case = module("pixel_networks").find_pixels("myrtle_10")
    runs, package = pixels.Runs(case.peer_n), run.Package("neural_tangents", "python", "cpu")
    pixels.run_package(package, case, "float32", Path(), runs, pixels.Settings((package,), True, 1, 0.0, False))
    assert runs.found == [{"n": 5}]
    assert runs.notes == ["neural_tangents at n = 10: needs 12.0 GB; n = 5 instead"]


def test_an_error_is_not_tried_again(module, monkeypatch):
    pixels, run = module("pixels"), module("run")

    def fail(*given):
        raise run.WorkerFailed("ValueError: no")

    monkeypatch.setattr(pixels, "run_process", fail)
    runs, package = pixels.Runs(8), run.Package("ntkc", "python", "cpu")
    case = module("pixel_networks").find_pixels("cnn_pool")
    pixels.run_package(package, case, "float32", Path(), runs, pixels.Settings((package,), True, 1, 0.0, False))
    assert (runs.failure, runs.notes) == ("ValueError: no", [])


def test_no_speed_without_the_peer(module):
    report, networks = module("pixel_report"), module("pixel_networks")
    run = {"n": 2, "first_s": 3.0, "steady_s": [0.4, 0.8], "resident_bytes": 1, "device_bytes": None, "import_s": 1.0}
    timing = report.timing_of([{**run, "device": "cpu", "jax": "0", "python": "3"}])
    assert (timing.median_s, timing.best_s) == pytest.approx((0.15, 0.1))
    alone = report.PixelReport(networks.PIXEL_CASES[0], "float32", {"ntkc": timing}, None, {}, {}, ())
    assert alone.ratio("median_s") is None
    assert "150 ms a pair" in alone.line()
