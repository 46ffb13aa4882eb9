"""Emitted modules: plain Python of jax alone, in which every name is defined and every helper is used."""

import ast
import builtins
import re

import pytest
import sympy as sp

import ntkc
from ntkc import stax
from ntkc.backends.module import module_text

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
    return module_text(program.source, program.parameters), program


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


def test_every_function_and_table_is_used_and_stands_once(module):
    tree = ast.parse(module[0])
    top = [n.name for n in tree.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
    top += [t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets]
    assert len(top) == len(set(top))
    read = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    assert set(top) - read - FUNCTIONS == set()


def test_imports_are_jax_and_math(module):
    for node in ast.walk(ast.parse(module[0])):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= {"jax"}
        if isinstance(node, ast.ImportFrom):
            assert node.module in ("jax", "math")


def test_functions_and_keywords(module):
    text, program = module
    functions = {n.name: n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)}
    assert set(functions) >= FUNCTIONS
    for name in FUNCTIONS:
        assert tuple(a.arg for a in functions[name].args.kwonlyargs) == program.parameters
        assert ast.get_docstring(functions[name])


def test_text_is_tidy(module):
    text, _ = module
    assert text.startswith('"""NNGP and NTK kernels of an infinitely wide network.\n')
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert not re.search(r"[ \t]+$", text, re.MULTILINE)
    assert "\t" not in text
    assert "\n\n\n\n" not in text
    compile(text, "module", "exec")


def test_what_runs_is_the_start_of_what_is_saved(module):
    text, program = module
    assert text.startswith(program.source)
