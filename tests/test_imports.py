"""Imports point one way, jax stays out of the compiler, and no text is executed but what ntkc itself emitted."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ntkc
from ntkc import stax

ROOT = Path(ntkc.__file__).parent
GROUPS = (
    ("errors", "runtime"),
    ("ir",),
    ("gaussian",),
    ("layers",),
    ("passes",),
    ("backends",),
    ("compile",),
    ("costs",),
    ("stage_table",),
    ("kernel",),
    ("data",),
    ("host",),
    ("expressions",),
    ("presence",),
    ("variants",),
    ("program",),
    ("tracing",),
    ("networks",),
    ("stax",),
    ("mean_field",),
    ("empirical",),
    ("importers",),
    ("frontends",),
    ("predict",),
    ("sklearn",),
    ("batching",),
    ("gram",),
    ("monte_carlo",),
    ("checking",),
    ("__init__",),
    ("demo",),
    ("cli",),
    ("__main__",),
)
"""A module imports from its own group and those above."""
RANK = {name: rank for rank, group in enumerate(GROUPS) for name in group}
RUNS_JAX = {
    "runtime",
    "costs",
    "data",
    "expressions",
    "host",
    "kernel",
    "presence",
    "program",
    "tracing",
    "networks",
    "stax",
    "empirical",
    "importers",
    "predict",
    "sklearn",
    "batching",
    "gram",
    "monte_carlo",
    "checking",
    "demo",
    "cli",
}
READS_RUNTIME = {"backends", "errors", *RUNS_JAX}
"""Emitters, which read its names, what runs arrays, and warnings, which saved modules have too."""
COMPILER = ("ir", "gaussian", "layers", "passes", "backends", "compile")
"""From first to last; the data that networks take and what they are used for come after."""
RUNS_SOURCE = {"host/loaded.py", "expressions.py"}
MAKES_NUMBERS = {"passes/collapse.py"}
"""Files that run what sympy.lambdify writes: of streams and numbers, no text of users."""
FORBIDDEN_CALLS = {"eval", "__import__", "parse_expr", "import_module", "getoutput", "system"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "subprocess", "ctypes"}
FILES = sorted(ROOT.rglob("*.py"))
RUNTIME_MODULES = {"ntkc.runtime", *(f"ntkc.runtime.{f.stem}" for f in (ROOT / "runtime").glob("*.py"))}


def tree_of(file):
    return ast.parse(file.read_text(encoding="utf-8"))


def group_of(file):
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree):
    """Every module that a file imports, functions included: `from a import b` is a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ntkc_group(module):
    """`ntkc.ir.op.Op` -> ir,  `ntkc.stax` -> stax,  `ntkc.Kernel` -> __init__."""
    parts = module.split(".")
    is_part = len(parts) > 1 and ((ROOT / parts[1]).is_dir() or (ROOT / f"{parts[1]}.py").is_file())
    return parts[1] if is_part else "__init__"


def called(tree):
    """The last name of everything that a file calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            yield function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", ""), node


def is_allowed(module, group):
    """The run-time library imports nothing of ntkc but itself, and of the compiler only backends know it."""
    other = ntkc_group(module)
    if "runtime" in (group, other) and group != other:
        return group in READS_RUNTIME and other == "runtime"
    return RANK[other] <= RANK[group]


def violations(tree, group):
    modules = [m for m in imported(tree) if m.split(".")[0] == "ntkc"]
    return [m for m in modules if not is_allowed(m, group)]


def test_every_file_has_a_group_and_every_group_files():
    assert {group_of(f) for f in FILES} == set(RANK)


def test_the_order_of_the_compiler():
    order = (*COMPILER, "program", "networks", "stax", "predict")
    assert sorted(order, key=RANK.__getitem__) == list(order)
    assert len({RANK[group] for group in order}) == len(order)
    assert not set(COMPILER) & RUNS_JAX


LIBRARIES = {"jax", "numpy", "ntkc", *sys.stdlib_module_names}


@pytest.mark.parametrize("file", sorted((ROOT / "runtime").glob("*.py")), ids=lambda f: f.stem)
def test_the_run_time_library_needs_jax_and_numpy_alone(file):
    assert {m.split(".")[0] for m in imported(tree_of(file))} <= LIBRARIES
    assert {m.rpartition(".")[0] for m in imported(tree_of(file)) if m.startswith("ntkc")} <= RUNTIME_MODULES


ALONE = """
import sys, types
sys.modules["ntkc"] = types.ModuleType("ntkc")
sys.modules["ntkc"].__path__ = [sys.argv[1]]
import ntkc.runtime
print(sorted(m for m in sys.modules if m.startswith("ntkc.") and not m.startswith("ntkc.runtime")))
print([m for m in ("sympy", "networkx", "rich") if m in sys.modules])
"""


def test_the_run_time_library_loads_without_the_compiler():
    done = subprocess.run([sys.executable, "-c", ALONE, str(ROOT)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_file(file):
    tree, group = tree_of(file), group_of(file)
    modules = list(imported(tree))
    assert violations(tree, group) == []
    jax_modules = [m for m in modules if m.split(".")[0] in ("jax", "jaxlib")]
    assert group in RUNS_JAX or not jax_modules
    assert not [m for m in modules if any(part.startswith("_") for part in m.split(".")[:-1] if part != "__future__")]
    assert not [m for m in jax_modules if m.split(".")[-1].startswith("_")]
    assert not {m.split(".")[0] for m in modules} & FORBIDDEN_MODULES
    names = {name for name, _ in called(tree)}
    assert not names & FORBIDDEN_CALLS
    place = file.relative_to(ROOT).as_posix()
    assert "exec" not in names or place in RUNS_SOURCE
    assert "lambdify" not in names or place in MAKES_NUMBERS


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_sympify_gets_no_text(file):
    for name, node in called(tree_of(file)):
        is_text = any(isinstance(getattr(a, "value", None), str) or isinstance(a, ast.JoinedStr) for a in node.args)
        assert not (name in ("sympify", "S") and is_text), ast.unparse(node)


def test_private_attributes_of_jax_are_not_used():
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        assert "jax._src" not in text
        assert "jax._" not in text


@pytest.mark.parametrize(
    ("text", "group", "found"),
    [
        ("from ntkc.ir.op import Op", "ir", []),
        ("from ntkc.layers import dense", "ir", ["ntkc.layers.dense"]),
        ("def f():\n    import ntkc.stax", "passes", ["ntkc.stax"]),
        ("from ntkc import Kernel", "ir", ["ntkc.Kernel"]),
        ("from ntkc.runtime.data import cleaned", "runtime", []),
        ("from ntkc import runtime", "backends", []),
        ("from ntkc.runtime import kernels", "passes", ["ntkc.runtime.kernels"]),
        ("from ntkc.errors import NtkcError", "runtime", ["ntkc.errors.NtkcError"]),
        ("from ntkc.program import KernelProgram", "compile", ["ntkc.program.KernelProgram"]),
        ("from ntkc.networks.tree import Tree", "program", ["ntkc.networks.tree.Tree"]),
    ],
)
def test_violations_are_found(text, group, found):
    assert violations(ast.parse(text), group) == found


def test_no_text_reaches_sympy(monkeypatch):
    """Compiling, running and reading back a network never parses text with sympy, which would evaluate it."""

    def refused(*args, **kwargs):
        raise AssertionError(f"sympy parses {args}")

    monkeypatch.setattr("sympy.parsing.sympy_parser.parse_expr", refused)
    assert "sympy.parsing.sympy_parser" in sys.modules
    net = stax.serial(stax.Dense(3, 0.3), stax.Activation("x*erf(x) + 1/3"), stax.Dense(2), stax.Abs(), stax.Dense(1))
    program = ntkc.compile(ntkc.to_json(net))
    program(np.ones((2, 3)))
    program.formula()
    program.latex()
