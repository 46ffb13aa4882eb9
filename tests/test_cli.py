"""The command `ntkc`: each subcommand, its errors and exit codes."""

import importlib.util
import json
import runpy
import sys

import numpy as np
import pytest
import sympy as sp

import ntkc
from ntkc import cli, stax
from ntkc.program import KernelProgram

NET = stax.serial(stax.Dense(16, 1.5, 0.1), stax.Relu(), stax.Dense(1))


def write(folder, net=NET):
    file = folder / "net.json"
    file.write_text(json.dumps(ntkc.to_json(net)), encoding="utf-8")
    return str(file)


def error_line(capsys):
    """What stderr got, which must be one line and no traceback."""
    text = capsys.readouterr().err
    assert text.startswith("ntkc: ")
    assert text.count("\n") == 1
    return text


@pytest.mark.parametrize("get", ["nngp", "ntk"])
def test_derive_prints_the_latex_of_the_program(tmp_path, capsys, get):
    assert cli.main(["derive", write(tmp_path), "--get", get]) == 0
    assert capsys.readouterr().out == ntkc.compile(NET).latex(get) + "\n"


def test_derive_plain_leaves_out_what_the_kernel_does_not_read(tmp_path, capsys):
    assert cli.main(["derive", write(tmp_path), "--get", "nngp", "--plain"]) == 0
    nngp = capsys.readouterr().out
    assert cli.main(["derive", write(tmp_path), "--plain"]) == 0
    ntk = capsys.readouterr().out
    assert "K_dense1 = 9*K_input1/4 + 1/100" in nngp
    assert "T_relu1" not in nngp
    assert "T_relu1" in ntk
    assert nngp.splitlines()[-1].startswith("nngp = ")


def test_compile_writes_a_module_with_the_same_kernels(tmp_path, capsys):
    target = tmp_path / "kernel.py"
    assert cli.main(["compile", write(tmp_path), "-o", str(target)]) == 0
    assert f"wrote {target}" in capsys.readouterr().out
    spec = importlib.util.spec_from_file_location("kernel", target)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_array_equal(module.ntk(x), ntkc.compile(NET).module["ntk"](x))


def test_compile_overwrites_only_with_force(tmp_path, capsys):
    target = tmp_path / "kernel.py"
    target.write_text("mine")
    assert cli.main(["compile", write(tmp_path), "-o", str(target)]) == 2
    assert "--force" in error_line(capsys)
    assert target.read_text() == "mine"
    assert cli.main(["compile", write(tmp_path), "-o", str(target), "--force"]) == 0
    assert "def ntk" in target.read_text()


def test_bench_times_all_three(tmp_path, capsys):
    assert cli.main(["bench", write(tmp_path), "--n", "20", "--features", "3", "--repeats", "2"]) == 0
    text = capsys.readouterr().out
    assert "20 x 20 pairs, 3 features" in " ".join(text.split())
    assert all(name in text for name in ("nngp", "ntk", "both", "pairs per second"))


def test_bench_sets_open_hyper_parameters_to_one_and_says_so(tmp_path, capsys):
    net = stax.serial(stax.Dense(16, sp.Symbol("w", positive=True)), stax.Relu(), stax.Dense(1))
    assert cli.main(["bench", write(tmp_path, net), "--n", "4", "--repeats", "1"]) == 0
    assert "set to 1: w" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", [["derive"], ["bench"], ["compile", "-o", "kernel.py"]])
@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "is no file"),
        ("{", "JSON"),
        ('{"format": "ntkc-network", "version": 1, "nodes": [{"name": "a", "op": "Dens", "inputs": []}]}', "Dens"),
    ],
)
def test_bad_documents_are_one_line_and_code_2(tmp_path, monkeypatch, capsys, command, document, message):
    monkeypatch.chdir(tmp_path)
    if document is not None:
        (tmp_path / "net.json").write_text(document)
    assert cli.main([command[0], "net.json", *command[1:]]) == 2
    assert message in error_line(capsys)
    assert not (tmp_path / "kernel.py").exists()


def test_a_network_without_a_limit_is_named(tmp_path, capsys):
    net = stax.serial(stax.Relu(), stax.Dense(1))
    assert cli.main(["derive", write(tmp_path, net)]) == 2
    assert "relu1" in error_line(capsys)


def test_an_output_in_no_folder_is_code_2(tmp_path, capsys):
    assert cli.main(["compile", write(tmp_path), "-o", str(tmp_path / "no" / "kernel.py")]) == 2
    assert "No such file" in error_line(capsys)


def test_interrupt_is_code_130(tmp_path, monkeypatch, capsys):
    def interrupted(self, get):
        raise KeyboardInterrupt

    monkeypatch.setattr(KernelProgram, "latex", interrupted)
    assert cli.main(["derive", write(tmp_path)]) == 130
    assert "interrupted" in error_line(capsys)


def test_without_scikit_learn_the_demo_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert cli.main(["demo"]) == 2
    assert "pip install ntkc[demo]" in error_line(capsys)


@pytest.mark.parametrize(
    "arguments",
    [[], ["draw"], ["bench", "net.json", "--n", "0"], ["demo", "--seed", "-1"], ["derive", "net.json", "--get", "cov"]],
)
def test_bad_usage_is_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "usage: ntkc" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--help"], *([name, "--help"] for name in ("demo", "derive", "compile", "bench"))]
)
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 0
    assert "usage: ntkc" in capsys.readouterr().out


def test_python_m_ntkc(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ntkc", "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("ntkc", run_name="__main__")
    assert stop.value.code == 0
    assert "derive" in capsys.readouterr().out
