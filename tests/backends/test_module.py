"""Emitted modules: plain Python of jax alone, in which every name is defined and every helper is used."""

import ast
import builtins
import inspect
import re
import sys

import numpy as np
import pytest
import sympy as sp

import ntkc
from ntkc import stax
from ntkc.backends.bundle import RULES, module_text

D, R = stax.Dense, stax.Relu
W, B = sp.symbols("w b")


def residual(branch):
    return stax.serial(stax.FanOut(2), stax.parallel(branch, stax.Identity()), stax.FanInSum())


NETS = {
    "linear": D(3, 1.5),
    "input": stax.Identity(),
    "constant": stax.serial(D(3), stax.Monomial(0), D(1)),
    "relu": stax.serial(D(3, 1.5, 0.1), R(), D(1)),
    "ends in relu": stax.serial(D(3, 1.5, 0.1), R()),
    "abs": stax.serial(*[D(3, 1.5, 0.1), stax.Abs()] * 3, D(1)),
    "rolled": stax.serial(*[D(3, 1.5, 0.1), R()] * 5, D(1)),
    "collapsed": stax.serial(*[D(3, 1.5), R()] * 9, D(1)),
    "erf": stax.serial(*[D(3, 1.5, 0.1), stax.Erf()] * 4, D(1)),
    "sin": stax.serial(D(3), stax.Sin(), D(1)),
    "residual": stax.serial(D(3, 1.1, 0.1), *[residual(stax.serial(R(), D(3)))] * 4, R(), D(1)),
    "standard": stax.serial(D(3, parameterization="standard"), R(), D(1, parameterization="standard")),
    "symbols": stax.serial(*[D(3, W, B), R()] * 4, D(1, W)),
    "standard symbols": stax.serial(D(3, W, parameterization="standard"), stax.Activation("x*erf(x)"), D(1, B)),
}
FUNCTIONS = {"nngp", "ntk", "kernel", "variance", "fit"}


@pytest.fixture(scope="module", params=NETS, ids=str)
def module(request):
    program = ntkc.compile(NETS[request.param])
    return module_text(program.source), program


def defined(tree):
    """Names that anything in the module binds."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            yield from (a.arg for a in [*node.args.args, *node.args.kwonlyargs, *node.args.posonlyargs])
            yield from (a.arg for a in (node.args.vararg, node.args.kwarg) if a)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def test_every_name_is_defined(module):
    tree = ast.parse(module[0])
    read = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    assert read - set(defined(tree)) - set(dir(builtins)) == set()


def is_rule(function):
    """It stands under the function whose rule it is: @f.defjvp."""
    return any(isinstance(d, ast.Attribute) and d.attr in RULES for d in function.decorator_list)


def test_every_function_and_table_is_used_and_stands_once(module):
    tree = ast.parse(module[0])
    top = [n.name for n in tree.body if isinstance(n, ast.FunctionDef) and not is_rule(n)]
    assigned = [t for n in tree.body if isinstance(n, ast.Assign) for t in n.targets]
    top += [t.id for target in assigned for t in ast.walk(target) if isinstance(t, ast.Name)]
    assert len(top) == len(set(top))
    read = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    assert set(top) - read - FUNCTIONS - {"unresolved"} == set()


def test_imports_are_jax_and_the_standard_library(module):
    for node in ast.walk(ast.parse(module[0])):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= {"jax"}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert node.module.split(".")[0] in {"jax", *sys.stdlib_module_names}


@pytest.fixture(scope="module")
def names(module):
    """What the saved module defines, after running it."""
    found = {"__name__": "saved"}
    exec(compile(module[0], "saved", "exec"), found)
    return found


ARGUMENTS = {"variance": ["x"], "fit": ["x", "y"]}
"""Data of a function; x1 and x2 of all others."""


def test_functions_take_data_first_and_hyper_parameters_by_name(names):
    for name in FUNCTIONS:
        given = list(inspect.signature(names[name]).parameters.values())
        data = ARGUMENTS.get(name, ["x1", "x2"])
        assert [p.name for p in given[: len(data)]] == data
        assert given[0].kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        assert given[-1].kind is inspect.Parameter.VAR_KEYWORD
        assert not [p for p in given if p.kind is p.VAR_POSITIONAL]
        assert names[name].__doc__


@pytest.mark.parametrize(
    "name", ["input", "relu", *(pytest.param(n, marks=pytest.mark.slow) for n in NETS if n not in ("input", "relu"))]
)
def test_functions_have_the_kernels_of_the_program(name):
    program, names = ntkc.compile(NETS[name]), {}
    exec(compile(module_text(program.source), "saved", "exec"), names)
    rng = np.random.default_rng(0)
    x1, x2 = rng.standard_normal((4, 3)).astype("float32"), rng.standard_normal((2, 3)).astype("float32")
    values = {name: 0.4 + i for i, name in enumerate(program.parameters)}
    for second in (x2, None):
        expected = program.module["kernel"](x1, second, **values)
        for found, right in zip(names["kernel"](x1, second, **values), expected, strict=True):
            np.testing.assert_array_equal(found, right)
    np.testing.assert_allclose(names["nngp"](x1, x2, **values), program(x1, x2, "nngp", **values), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(names["variance"](x1, **values), program(x1, **values).cov1, rtol=1e-6)
    mean = names["fit"](x1, x1[:, 0], ridge=0.1, get="nngp", **values)(x2)
    gram, between = (np.asarray(program(*x, "nngp", **values), float) for x in ((x1, None), (x2, x1)))
    np.testing.assert_allclose(mean, between @ np.linalg.solve(gram + 0.1 * np.eye(4), x1[:, 0]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("net", "shape"), [(D(3), (2,)), (stax.serial(stax.Conv(3, (1,)), stax.Flatten()), (2, 1))], ids=["rows", "pixels"]
)
def test_a_saved_module_runs_unregistered(net, shape):
    """As importlib.util.module_from_spec leaves it: its name is not in sys.modules."""
    names = {"__name__": "nowhere"}
    exec(compile(module_text(ntkc.compile(net, input_shape=shape).source), "saved", "exec"), names)
    np.testing.assert_allclose(names["nngp"](2 * np.ones((1, *shape))), [[4]], rtol=1e-6)


def test_text_is_tidy(module):
    text, _ = module
    assert text.startswith('"""NNGP and NTK kernels of an infinitely wide network.\n')
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert not re.search(r"[ \t]+$", text, re.MULTILINE)
    assert "\t" not in text
    assert "\n\n\n\n" not in text
    compile(text, "module", "exec")


def test_what_runs_is_the_end_of_what_is_saved(module):
    """But for imports, and tables that have to stand before their readers."""
    text, program = module
    imports = (ast.Import, ast.ImportFrom)
    ran = [ast.unparse(n) for n in ast.parse(program.source).body[1:] if not isinstance(n, imports)]
    saved = [ast.unparse(n) for n in ast.parse(text).body]
    assert saved[-len(ran) - 1 :] == [*ran, "fit = predictor(nngp, ntk)"]
    assert ast.get_docstring(ast.parse(text)) == ast.get_docstring(ast.parse(program.source))
