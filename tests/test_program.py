"""KernelProgram: how it is called, what it returns, its formula, and the module that it saves."""

import dataclasses
import gc
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp

import ntkc
from ntkc import predict, stax
from ntkc.errors import InvalidInput, ShapeMismatch, UnknownName
from ntkc.frontends import from_json
from ntkc.gaussian.dual import K12, Q1, Q2
from ntkc.gaussian.functions import explicit
from ntkc.ir.evaluate import run, substitute
from ntkc.ir.streams import SAMPLE
from ntkc.runtime import rows

RELU = stax.serial(stax.Dense(8, 1.4, 0.2), stax.Relu(), stax.Dense(8, 1.4, 0.2), stax.Relu(), stax.Dense(3, 1.1))
DEEP = stax.serial(*[stax.Dense(8, 1.4, 0.2), stax.Relu()] * 5, stax.Dense(1))
ROLLED = stax.serial(*[stax.Dense(8, 1.4, 0.2), stax.Relu()] * 3, stax.Dense(1, 1.4, 0.2))
ZONAL = stax.serial(*[stax.Dense(8, 1.4), stax.Relu()] * 3, stax.Dense(1))
ERF = stax.serial(stax.Dense(8, 1.5, 0.1), stax.Erf(), stax.Dense(8, 1.5, 0.1), stax.Erf(), stax.Dense(1))
SUM = stax.serial(
    stax.Dense(8, 1.2), stax.FanOut(2), stax.parallel(stax.Relu(), stax.Erf()), stax.FanInSum(), stax.Dense(1, 1.1, 0.3)
)
STANDARD = stax.serial(
    stax.Dense(8, 1.2, 0.1, parameterization="standard"),
    stax.Abs(),
    stax.Dense(1, 1.1, 0.3, parameterization="standard"),
)
RESIDUAL = stax.serial(
    stax.Dense(8, 1.2, 0.1),
    stax.FanOut(2),
    stax.parallel(stax.serial(stax.Relu(), stax.Dense(8, 1.1, 0.2)), stax.Identity()),
    stax.FanInSum(),
    stax.Relu(),
    stax.Dense(1),
)
NETS = {
    "relu": RELU,
    "rolled": ROLLED,
    "zonal": ZONAL,
    "erf": ERF,
    "sum": SUM,
    "standard": STANDARD,
    "residual": RESIDUAL,
    "linear": stax.Dense(2, 1.5, 0.5),
}
W, B = sp.symbols("W_std b")
OPEN = stax.serial(stax.Dense(8, W, B), stax.Relu(), stax.Dense(1, W))


@pytest.fixture(scope="module")
def relu():
    return ntkc.compile(RELU)


@pytest.fixture(scope="module")
def open_program():
    return ntkc.compile(OPEN)


# --- calls ---


def test_get(relu, pair):
    nngp, ntk = relu(*pair, "nngp"), relu(*pair, "ntk")
    assert nngp.shape == ntk.shape == (5, 4)
    both = relu(*pair, ("ntk", "nngp"))
    assert both._fields == ("ntk", "nngp")
    np.testing.assert_allclose(both.ntk, ntk, rtol=1e-6)
    np.testing.assert_allclose(both.nngp, nngp, rtol=1e-6)
    assert relu(*pair, ("ntk",))._fields == ("ntk",)
    np.testing.assert_array_equal(relu(*pair, "NTK"), ntk)
    assert relu(*pair, ["nngp", "NTK"])._fields == ("nngp", "ntk")


def test_kernel_fields(relu, pair):
    kernel = relu(*pair)
    assert isinstance(kernel, ntkc.Kernel)
    np.testing.assert_allclose(kernel.nngp, relu(*pair, "nngp"), rtol=1e-6)
    np.testing.assert_allclose(kernel.ntk, relu(*pair, "ntk"), rtol=1e-6)
    np.testing.assert_allclose(kernel.cov1, np.diag(relu(pair[0], None, "nngp")), rtol=1e-6)
    np.testing.assert_allclose(kernel.cov2, np.diag(relu(pair[1], None, "nngp")), rtol=1e-6)
    assert (kernel.x1_is_x2, kernel.is_gaussian, kernel.is_input) == (False, True, False)
    assert (kernel.shape1, kernel.shape2) == ((5, 3), (4, 3))


def test_kernel_of_one_set(relu, pair):
    kernel = relu(pair[0])
    assert kernel.x1_is_x2
    assert kernel.cov2 is None
    assert kernel.shape1 == kernel.shape2 == (5, 3)
    assert kernel.nngp.shape == kernel.ntk.shape == (5, 5)


def test_kernel_before_a_dense_layer_is_not_gaussian(pair):
    kernel = ntkc.compile(stax.serial(stax.Dense(7), stax.Relu()))(*pair)
    assert not kernel.is_gaussian
    assert kernel.shape1 == (5, 7)
    kernel = ntkc.compile(stax.Identity())(*pair)
    assert kernel.is_input
    np.testing.assert_allclose(kernel.nngp, pair[0] @ pair[1].T / 6, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(kernel.ntk, np.zeros((5, 4)))


@pytest.mark.parametrize("get", ["variance", "ntkgp", 3, ("nngp", "cov1")])
def test_unknown_get_lists_the_kernels(relu, pair, get):
    # Open: get=3 is iterated and raises a bare TypeError.
    with pytest.raises(UnknownName, match="have nngp, ntk"):
        relu(*pair, get)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int32, np.int64, np.uint8, bool])
@pytest.mark.parametrize("is_jax", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_types(relu, kind, is_jax, wide):
    with jax.enable_x64(wide):
        x = np.array([[1, 2, 0], [1, 0, 3]]).astype(kind)
        x = jnp.asarray(x, jnp.dtype(kind) if wide else None) if is_jax else x
        expected = np.float64 if (wide and np.dtype(kind).kind != "f") or (wide and kind is np.float64) else np.float32
        kernel = relu(x)
        assert {kernel.nngp.dtype, kernel.ntk.dtype, kernel.cov1.dtype} == {np.dtype(expected)}


def test_lists_and_mixed_types(relu, pair):
    expected = relu(*pair, "ntk")
    np.testing.assert_allclose(relu(pair[0].tolist(), pair[1].tolist(), "ntk"), expected, rtol=1e-6)
    with jax.enable_x64(True):
        assert relu(np.float32(pair[0]), pair[1], "ntk").dtype == np.float64
        assert relu(np.float32(pair[0]), np.float32(pair[1]), "ntk").dtype == np.float32


def test_data_are_not_changed(relu, pair):
    copies = [x.copy() for x in pair]
    relu(*pair)
    for x, copy in zip(pair, copies, strict=True):
        np.testing.assert_array_equal(x, copy)


def test_jit_and_vmap_over_a_program(relu, pair):
    x1, x2 = (jnp.asarray(x) for x in pair)
    np.testing.assert_allclose(jax.jit(lambda a, b: relu(a, b, "ntk"))(x1, x2), relu(x1, x2, "ntk"), rtol=1e-5)


DATA = {
    "nan": (np.array([[1.0, np.nan]]), InvalidInput, ("x1", "NaN", "(0, 1)")),
    "inf": (np.array([[1.0, 2.0], [np.inf, 0.0]]), InvalidInput, ("x1", "infinity", "(1, 0)")),
    "1-D": (np.ones(3), ShapeMismatch, ("x1", "(3,)", "[samples, features]", "x[:, None]")),
    "0-D": (1.0, ShapeMismatch, ("x1", "()")),
    "3-D nan": (np.full((2, 3, 4), np.nan), InvalidInput, ("x1", "NaN", "(0, 0, 0)")),
    "no rows": (np.ones((0, 3)), InvalidInput, ("x1", "(0, 3)")),
    "no features": (np.ones((3, 0)), InvalidInput, ("x1", "(3, 0)")),
    "text": (np.array([["a", "b"]]), InvalidInput, ("x1", "real numbers")),
    "words": ("abc", InvalidInput, ("x1", "real numbers")),
    "complex": (np.ones((2, 2), complex), InvalidInput, ("x1", "complex", "real numbers")),
    "ragged": ([[1.0, 2.0], [1.0]], InvalidInput, ("x1", "list")),
    "objects": (np.array([[object()]]), InvalidInput, ("x1", "object")),
    "none": (None, InvalidInput, ("x1",)),
}


@pytest.mark.parametrize(("x", "error", "words"), DATA.values(), ids=DATA)
def test_data_errors(relu, x, error, words):
    with pytest.raises(error) as caught:
        relu(x, None, "ntk")
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_data_errors_name_the_second_set(relu):
    with pytest.raises(InvalidInput, match=r"x2 holds NaN"):
        relu(np.ones((2, 3)), np.array([[np.nan, 1, 1]]))
    with pytest.raises(ShapeMismatch, match=r"x2 has 4 features, 3 expected"):
        relu(np.ones((2, 3)), np.ones((2, 4)))


def test_features_of_the_input():
    nodes = [
        {"name": "input1", "op": "Input", "features": 3},
        {"name": "dense1", "op": "Dense", "inputs": ["input1"], "out_dim": 2},
    ]
    program = ntkc.compile({"format": "ntkc-network", "version": 1, "nodes": nodes})
    assert program(np.ones((2, 3)), None, "ntk").shape == (2, 2)
    with pytest.raises(ShapeMismatch, match=r"data with 4 features given to a network whose Input has 3"):
        program(np.ones((2, 4)))
    assert program(np.ones((2, 5, 3)), None, "ntk").shape == (2, 2, 5, 5)


# --- hyper-parameters ---


def test_open_hyper_parameters(open_program, pair):
    assert open_program.parameters == ("W_std", "b")
    closed = ntkc.compile(stax.serial(stax.Dense(8, 1.4, 0.2), stax.Relu(), stax.Dense(1, 1.4)))
    for get in ("nngp", "ntk"):
        given = open_program(*pair, get, W_std=1.4, b=0.2)
        np.testing.assert_allclose(given, closed(*pair, get), rtol=1e-5, atol=1e-6)
    kernel = open_program(pair[0], W_std=1.4, b=0.2)
    np.testing.assert_allclose(kernel.cov1, closed(pair[0]).cov1, rtol=1e-5)


def test_hyper_parameters_are_needed_and_known(open_program, relu, pair):
    with pytest.raises(InvalidInput, match=r"\['b'\] are symbols: give their values, b=1.0"):
        open_program(*pair, "ntk", W_std=1.0)
    with pytest.raises(UnknownName, match="no hyper-parameter 'w'; have W_std, b"):
        open_program(*pair, "ntk", W_std=1.0, b=1.0, w=2.0)
    with pytest.raises(UnknownName, match="no hyper-parameter 'w'; have none"):
        relu(*pair, "ntk", w=2.0)


@pytest.mark.usefixtures("x64")
def test_gradients(open_program, pair):
    def loss(w):
        return open_program(*pair, "ntk", W_std=w, b=0.2).sum()

    step = 1e-5
    numerical = (loss(1.4 + step) - loss(1.4 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(loss)(1.4), numerical, rtol=1e-7)


def test_a_new_value_traces_nothing(monkeypatch):
    """Pairs are gone through once for each trace: a trace counter without private names of jax."""
    program = ntkc.compile(OPEN)
    traces = []
    original = rows.made_of_pairs
    monkeypatch.setattr(rows, "made_of_pairs", lambda *a: traces.append(1) or original(*a))
    x = np.ones((2, 3))
    first = program(x, x, "ntk", W_std=1.0, b=0.0)
    count = len(traces)
    results = [program(x, x, "ntk", W_std=w, b=b) for w, b in ((2.0, 0.5), (np.float32(3), 1), (jnp.asarray(0.5), 0.1))]
    assert count >= 1
    assert len(traces) == count
    assert not any(np.allclose(r, first) for r in results)


# --- text ---


def test_repr(relu, open_program):
    assert repr(relu) == "<KernelProgram of 6 layers; .latex(), .source, .explain()>"
    assert "open hyper-parameters W_std, b" in repr(open_program)


def test_repr_latex(relu):
    text = relu._repr_latex_()
    assert text.startswith("$\\displaystyle \\begin{aligned}")
    assert text.endswith("$")


def evaluated(formula, x1, x2, **values):
    """A formula of k, q1, q2 on all pairs, 30 digits."""
    values = {**values, "features": x1.shape[1]}
    table = np.empty((len(x1), len(x2)))
    for i, a in enumerate(x1):
        for j, b in enumerate(x2):
            streams = {"k": a @ b / len(a), "q1": a @ a / len(a), "q2": b @ b / len(a), **values}
            numbers = {s: sp.Float(float(streams[s.name]), 30) for s in formula.free_symbols}
            table[i, j] = complex(formula.subs(numbers).evalf(30)).real
    return table


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", NETS)
def test_formula(name):
    rng = np.random.default_rng(1)
    x1, x2 = rng.standard_normal((2, 5)), rng.standard_normal((1, 5))
    program = ntkc.compile(NETS[name])
    for get, kernel in program(x1, x2, ("nngp", "ntk"))._asdict().items():
        formula = program.formula(get)
        assert {s.name for s in formula.free_symbols} <= {"k", "q1", "q2", "features"}
        np.testing.assert_allclose(kernel, evaluated(formula, x1, x2), rtol=1e-11, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_formula_with_symbols(open_program):
    rng = np.random.default_rng(1)
    x1, x2 = rng.standard_normal((2, 5)), rng.standard_normal((1, 5))
    values = {"W_std": 1.3, "b": 0.4}
    for get, kernel in open_program(x1, x2, ("nngp", "ntk"), **values)._asdict().items():
        np.testing.assert_allclose(kernel, evaluated(open_program.formula(get), x1, x2, **values), rtol=1e-11)


def test_formula_of_one_hidden_layer():
    """Against E[relu(u) relu(v)] as Cho and Saul 2009 give it."""
    formula = ntkc.compile(stax.serial(stax.Dense(1), stax.Relu(), stax.Dense(1))).formula("nngp")
    rho, norm = sp.Rational(3, 10), sp.sqrt(6)
    expected = norm / (2 * sp.pi) * (sp.sqrt(1 - rho**2) + (sp.pi - sp.acos(rho)) * rho)
    values = {s: {"k": rho * norm, "q1": 2, "q2": 3}[s.name] for s in formula.free_symbols}
    assert abs((formula.subs(values) - expected).evalf(30)) < 1e-25


@pytest.mark.parametrize("layer", [stax.Relu(), stax.Erf(), stax.Abs(), stax.LeakyRelu(0.1), stax.Sin()], ids=str)
@pytest.mark.parametrize("get", ["nngp", "ntk"])
def test_formula_is_collected(layer, get):
    """No longer than all statements put into one another as they are, and equal to them."""
    net = stax.serial(*[stax.Dense(1, 1.5, 0.1), layer] * 2, stax.Dense(1, 1.5, 0.1))
    program = ntkc.compile(net)
    lowered = program._derivation[1]
    first, second = ({k: q for k in lowered.inputs if k.side == SAMPLE} for q in (Q1, Q2))
    plain = explicit(run(lowered, first, second, {k: K12 for k in lowered.inputs if k.side is None}, substitute)[get])
    formula = program.formula(get)
    assert sp.count_ops(formula) <= sp.count_ops(plain)
    for values in ((0.3, 1.2, 0.7), (-0.6, 0.5, 0.9), (2.0, 2.0, 2.5)):
        at = {s: sp.Float(v, 40) for s, v in zip((K12, Q1, Q2), values, strict=True)}
        assert abs((formula.xreplace(at) - plain.xreplace(at)).evalf(30)) < 1e-25


def test_formula_of_five_layers_is_quick_and_short():
    net = stax.serial(*[stax.Dense(1, 1.5, 0.1), stax.Relu()] * 5, stax.Dense(1, 1.5, 0.1))
    start = time.perf_counter()
    formula = ntkc.compile(net).formula("ntk")
    assert time.perf_counter() - start < 4
    assert sp.count_ops(formula) < 15_000  # 27,844 with every term written out


def test_unknown_get_of_formula_and_latex(relu):
    for method in (relu.formula, relu.latex):
        with pytest.raises(UnknownName, match="no kernel 'ntkgp'; have nngp, ntk"):
            method("ntkgp")


# --- saved modules ---

RUN_SAVED = """
import sys
import numpy as np
import jax
jax.config.update("jax_enable_x64", True)
sys.path.insert(0, ".")
import {name} as module
data = np.load("data.npz")
x, z, y, Y = (data[n] for n in ("x", "z", "y", "Y"))
results, values = {{}}, {values!r}
results["nngp"] = module.nngp(x, z, **values)
results["ntk"] = module.ntk(x, **values)
results["kernel/0"], results["kernel/1"] = module.kernel(x, z, **values)
results["variance"] = module.variance(x, **values)
for t in (None, 3.0):
    results["fit/" + str(t)] = module.fit(x, y, ridge=0.1, t=t, **values)(z)
results["columns"] = module.fit(x, Y, ridge=0.1, get="nngp", **values)(z)
try:
    module.fit(np.ones((2, 3)), np.ones(2), **values)
    raise SystemExit("a singular Gram matrix passed")
except ValueError as error:
    assert "ridge" in str(error), error
try:
    module.fit(x, y[:-1], **values)
    raise SystemExit("unequal lengths passed")
except ValueError as error:
    assert "targets" in str(error), error
for word, wrong in (("NaN", dict(y=y * np.nan)), ("ridge", dict(ridge=-1.0)), ("t =", dict(t=-1.0))):
    try:
        module.fit(**dict(x=x, y=y, ridge=0.1) | wrong | values)
        raise SystemExit("wrong " + word + " passed")
    except ValueError as error:
        assert word in str(error), error
np.savez("results.npz", **results)
assert not any(m.split(".")[0] in ("ntkc", "sympy", "networkx", "rich") for m in sys.modules), "more than jax"
print("done")
"""


SAVED = {"closed": (DEEP, {}), "opened": (OPEN, {"W_std": 1.4, "b": 0.2})}


@pytest.fixture(scope="module", params=["closed", pytest.param("opened", marks=pytest.mark.slow)])
def saved(request, tmp_path_factory):
    """What a saved module computed in a process of its own, by function; the data; the program; its parameters."""
    folder = tmp_path_factory.mktemp("saved")
    rng = np.random.default_rng(3)
    data = {"x": rng.standard_normal((7, 4)), "z": rng.standard_normal((3, 4))}
    data |= {"y": rng.standard_normal(7), "Y": rng.standard_normal((7, 2))}
    np.savez(folder / "data.npz", **data)
    net, values = SAVED[request.param]
    program = ntkc.compile(net)
    assert program.save(folder / f"{request.param}.py") == folder / f"{request.param}.py"
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", RUN_SAVED.format(name=request.param, values=values)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
    return dict(np.load(folder / "results.npz")), data, program, values


@pytest.mark.usefixtures("x64")
def test_saved_module_equals_the_program(saved):
    results, data, program, values = saved
    x, z = data["x"], data["z"]
    kernel = program(x, z, **values)
    np.testing.assert_allclose(results["nngp"], kernel.nngp, rtol=1e-12)
    np.testing.assert_allclose(results["ntk"], program(x, None, "ntk", **values), rtol=1e-12)
    np.testing.assert_allclose(results["kernel/0"], kernel.nngp, rtol=1e-12)
    np.testing.assert_allclose(results["kernel/1"], kernel.ntk, rtol=1e-12)
    np.testing.assert_allclose(results["variance"], kernel.cov1, rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("t", [None, 3.0])
def test_saved_fit_equals_predict(saved, t):
    results, data, program, values = saved

    def kernel_fn(x1, x2=None, get=None):
        return program(x1, x2, get, **values)

    predict_fn = predict.gradient_descent_mse_ensemble(
        kernel_fn, data["x"], data["y"], diag_reg=0.1, diag_reg_absolute_scale=True
    )
    expected = predict_fn(t=t, x_test=data["z"], get="ntk")
    np.testing.assert_allclose(results[f"fit/{t}"], np.ravel(expected), rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_saved_fit_of_several_outputs(saved):
    results, data, program, values = saved
    gram = program(data["x"], None, "nngp", **values) + 0.1 * np.eye(7)
    expected = program(data["z"], data["x"], "nngp", **values) @ np.linalg.solve(gram, data["Y"])
    np.testing.assert_allclose(results["columns"], expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["lambda", "x1", "get", "two words", "__w__", "ﬁt", "mask_constant"])
def test_names_that_a_call_cannot_have_are_refused(name):
    with pytest.raises(InvalidInput, match="cannot name a hyper-parameter"):
        stax.Dense(1, sp.Symbol(name))


def test_source_names_the_layers_and_is_what_runs(relu):
    assert "relu1: Relu()" in relu.source
    assert relu.module["__name__"] == "ntkc_kernel"
    names = {"__name__": "again"}
    exec(compile(relu.source, "again", "exec"), names)
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(names["ntk"](x), relu(x, None, "ntk"))


def test_compiled_code_goes_with_the_program(pair):
    """A sweep over many networks needs no more memory than a few of them."""

    def count():
        gc.collect()
        return len(jax.devices()[0].client.live_executables())

    def call(W_std):
        program = ntkc.compile(stax.serial(stax.Dense(8, W_std), stax.Relu(), stax.Dense(1)))
        program(*pair, "ntk")
        return program

    kept = call(1.1)
    before = count()
    for n in range(3):
        call(1.2 + n)
    assert count() == before
    kept(*pair, "ntk")
    assert count() == before


def test_kernel_is_a_pytree_and_scales(relu, pair):
    kernel = relu(*pair)
    doubled = jax.jit(lambda k: k * 2)(kernel)
    np.testing.assert_allclose(doubled.nngp, 4 * kernel.nngp)
    assert doubled.shape1 == kernel.shape1
    assert dataclasses.is_dataclass(kernel)


def test_programs_of_documents_and_graphs_are_equal():
    document = ntkc.to_json(RELU)
    assert ntkc.compile(document).source == ntkc.compile(RELU).source
    assert list(from_json(document)) == list(ntkc.compile(RELU).graph)
