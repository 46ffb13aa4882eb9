"""Bundles: emitted source and what it imports from the runtime, in one module that runs with jax alone."""

import ast
import builtins
import subprocess
import sys

import jax
import numpy as np
import pytest

from ntkc import runtime
from ntkc.backends import bundle as bundles
from ntkc.backends.bundle import bundle, module_text

MLP = '''"""NNGP and NTK kernels of an infinitely wide network."""

from ntkc.runtime import Rows, arc_cosine, arc_cosine_near, cosine_gap, kernels, mean_squares, ratio, safe_sqrt


def per_sample(p, one, q_input1):
    """Variance of the output, and what pairs need of each sample."""
    values, q, n = {}, q_input1, safe_sqrt(q_input1)
    for i in (1, 2, 3):
        # dense: Dense(out_dim=512, W_std=1.5, b_std=0.1)
        q = 9*q/4 + p.b**2
        c, n = ratio(3*n/2, safe_sqrt(q)), safe_sqrt(q)
        b = 0.8408964152537145*safe_sqrt(c + 1)
        values |= {f"c_{i}": c, f"b_{i}": b, f"a_{i}": 0.7071067811865476*ratio(p.b, n)/b}
        q = q/2
        n = safe_sqrt(q)
    return q, {**values, "n": n}


def pair(p, x, y, same, delta):
    """nngp and ntk of every pair."""
    tau = 0
    for a1, a2, b1, b2, c in (
        (x.a_1, y.a_1, x.b_1, y.b_1, x.c_1*y.c_1),
        (x.a_2, y.a_2, x.b_2, y.b_2, x.c_2*y.c_2),
        (x.a_3, y.a_3, x.b_3, y.b_3, x.c_3*y.c_3),
    ):
        delta = c*delta + (a1*b2 - a2*b1)**2
        tau = c*tau + 1 - delta
        delta, slope = arc_cosine(delta)
        tau = slope*tau
    return x.n*y.n*(1 - delta), x.n*y.n*tau + 0*arc_cosine_near(delta)[0]


nngp, ntk, kernel, variance, _ = kernels(
    per_sample, pair, Rows(256), samples=((0, mean_squares),), pairs=((0, cosine_gap),)
)
'''
CNN = '''"""NNGP and NTK kernels of an infinitely wide network."""

from jax import lax

from ntkc.runtime import (
    Tiles, arc_cosine, covariances, gap_of_cosine, kernels, left, mean_squares, patched, pixel_products, ratio, right,
    safe_sqrt, total,
)

CONV1 = ((3, 1, 1, 1, False, 1, 1),)
GAP = 2.0


def per_sample(p, one, q_input1, w_input1):
    """Variance of the output, and what pairs need of each sample."""
    q = GAP*patched(q_input1, "D", CONV1) + p.b
    w = GAP*patched(w_input1, "F", CONV1) + p.b
    i, n = ratio(1, safe_sqrt(q)), safe_sqrt(q)
    gap, _ = arc_cosine(gap_of_cosine(w*left(i, "F")*right(i, "F")))
    return total(left(n, "F")*right(n, "F")*(1 - gap)/2, "F", 0.0625), {"i": i, "n": n}


def pair(p, x, y, same, k):
    """nngp and ntk of every pair."""
    k = GAP*patched(k, "F", CONV1) + p.b
    gap, slope = arc_cosine(gap_of_cosine(k*left(x.i, "F")*right(y.i, "F")))
    both = total(lax.complex(left(x.n, "F")*right(y.n, "F")*(1 - gap)/2, k*slope/2), "F", 0.0625)
    return both.real, both.real + both.imag


nngp, ntk, kernel, variance, _ = kernels(
    per_sample,
    pair,
    Tiles(8, 64),
    samples=((0, mean_squares), (0, covariances, "F")),
    pairs=((0, pixel_products, "F"),),
)
'''
SOURCES = {"mlp": (MLP, (7, 5)), "cnn": (CNN, (7, 4, 3))}
FUNCTIONS = {"nngp", "ntk", "kernel", "variance", "fit", "_"}
ALONE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "ntkc":
            raise ImportError("ntkc is not here")

sys.meta_path.insert(0, Blocked())
import jax
import numpy as np
jax.config.update("jax_enable_x64", True)
module = {"__name__": "alone"}
exec(compile(open(sys.argv[1]).read(), "alone", "exec"), module)
x = np.load(sys.argv[2])
k, t = module["kernel"](x, b=0.1)
np.savez(sys.argv[3], k=k, t=t, v=module["variance"](x, b=0.1), f=module["fit"](x, x[:, 0].ravel()[:7], 0.1, b=0.1)(x))
assert "ntkc" not in sys.modules
"""


def top_names(tree):
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (n.id for n in ast.walk(node.targets[0]) if isinstance(n, ast.Name))


@pytest.mark.parametrize("name", SOURCES)
def test_a_bundle_runs_without_ntkc_and_gives_the_same_bits(name, tmp_path):
    source, shape = SOURCES[name]
    x = np.random.default_rng(0).standard_normal(shape)
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "alone.py").write_text(module_text(source), encoding="utf-8")
    files = [str(tmp_path / f) for f in ("alone.py", "x.npy", "made.npz")]
    subprocess.run([sys.executable, "-I", "-c", ALONE, *files], check=True)
    module = {"__name__": "imported"}
    exec(compile(source, "imported", "exec"), module)
    with jax.enable_x64(True), np.load(tmp_path / "made.npz") as made:
        k, t = module["kernel"](x, b=0.1)
        fit = runtime.predictor(module["nngp"], module["ntk"])
        f = fit(x, x[:, 0].ravel()[:7], 0.1, b=0.1)(x)
        for key, value in {"k": k, "t": t, "v": module["variance"](x, b=0.1), "f": f}.items():
            np.testing.assert_array_equal(made[key], value)


@pytest.mark.parametrize("name", SOURCES)
def test_every_name_is_defined_once_and_used(name):
    text = module_text(SOURCES[name][0])
    tree = ast.parse(text)
    names = list(top_names(tree))
    assert len(names) == len(set(names))
    imported = {(a.asname or a.name) for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names}
    read = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    rules = {n for n in names if n.endswith(("_jvp", "_vmap"))}
    assert set(names) - read - rules - FUNCTIONS == set()
    assert imported - read - {"annotations"} == set()
    bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {a.arg for a in ast.walk(tree) if isinstance(a, ast.arg)}
    bound |= {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    assert read - bound - imported - set(dir(builtins)) == set()
    assert "ntkc" not in text.replace("ntkc.runtime", "")


def test_all_that_the_runtime_exports_can_be_bundled():
    names = sorted(set(runtime.__all__) - {"annotations"})
    tree = ast.parse(bundle(f"from ntkc.runtime import {', '.join(names)}\n\nall_of_it = ({', '.join(names)})\n"))
    imported = {(a.asname or a.name) for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names}
    read = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {a.arg for a in ast.walk(tree) if isinstance(a, ast.arg)}
    bound |= {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    assert read - bound - imported - set(dir(builtins)) == set()


def test_a_statement_of_several_names_is_refused():
    with pytest.raises(ValueError, match="give each name a statement of its own"):
        list(bundles._definitions("A, B = 1, 2", ast.parse("A, B = 1, 2")))


def test_only_what_is_called_is_there():
    names = set(top_names(ast.parse(module_text(MLP))))
    assert {"cosine_gap", "arccos_over_pi_jvp", "ARCCOS", "predictor"} <= names
    assert not {"distances", "products", "Tiles", "ARCTAN", "hermite_sum", "patched"} & names


def test_tables_of_the_source_keep_apart_from_those_of_the_runtime():
    text = bundle(CNN)
    assert "GAP_ = 2.0" in text
    assert "q = GAP_*patched" in text
    assert text.count("\nGAP = {") == 1


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match=r"has no \['arc_cosin'\]; it has \['ARCCOS'"):
        bundle("from ntkc.runtime import arc_cosin\n")


def test_names_of_scopes_are_not_reads():
    tree = ast.parse("def f(a, b=c):\n    total = [x for x in a]\n    def g(y): return total + y + h\n    return g")
    assert bundles._read(tree) == {"c", "h"}
