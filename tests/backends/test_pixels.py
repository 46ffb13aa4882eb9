"""Emitted modules for data with pixels: they run alone, in tiles of any size, with derivatives, in both precisions."""

import ast
import subprocess
import sys
from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pytest
import sympy as sp

import ntkc
from ntkc import stax
from ntkc.backends.bundle import module_text
from ntkc.backends.jax import emit
from ntkc.compile import compile_graph
from ntkc.errors import SeriesNotConverged
from ntkc.frontends import to_graph
from ntkc.gaussian.certificates import TOLERANCES
from ntkc.passes.settle import on_data

SHAPE = (5, 4, 3)
COUNTS = ((7, 5), (7, None), (1, 1), (1, None), (16, None))
W = sp.Symbol("w")


def conv(W_std=1.3, filter_shape=(3, 2), strides=None):
    return stax.Conv(4, filter_shape, strides, "SAME", W_std, 0.2)


NETS = {
    "flatten": stax.serial(conv(), stax.Relu(), conv(), stax.Relu(), stax.Flatten(), stax.Dense(1, 1.1, 0.1)),
    "mean": stax.serial(conv(), stax.Relu(), conv(), stax.Erf(), stax.GlobalAvgPool(), stax.Dense(1, 1.1, 0.1)),
    "pool": stax.serial(conv(), stax.Relu(), stax.AvgPool((2, 2), (2, 2)), conv(), stax.Relu(), stax.Flatten()),
    "pixels left": stax.serial(conv(1.2, (2, 2), (2, 2)), stax.Relu()),
    "loop": stax.serial(*[conv(), stax.Relu()] * 5, stax.GlobalAvgPool()),
    "norm": stax.serial(conv(), stax.LayerNorm((1, 3), 0.1), stax.Relu(), stax.GlobalAvgPool()),
    "series": stax.serial(conv(0.7), stax.Tanh(), stax.GlobalAvgPool()),
    "attention": stax.serial(conv(), stax.GlobalSelfAttention(4, 4, 4, 2), stax.Relu(), stax.Flatten()),
}


def data(n=4, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal((n, *SHAPE)).astype(dtype)


def names_of(source):
    names = {"__name__": "alone"}
    exec(compile(source, "alone", "exec"), names)
    return names


@cache
def in_tiles(name, lanes, block):
    """The module of a network, walking over tiles of this size."""
    made = compile_graph(on_data(to_graph(NETS[name]), [SHAPE])).made
    plan = replace(made["schedule"], lanes=lanes, block=block)
    return names_of(emit(made["prune"], made["forms"], plan, on_data(to_graph(NETS[name]), [SHAPE]), TOLERANCES))


ALONE = """
import sys
sys.path = [p for p in sys.path if not p.endswith("main")]
import numpy as np
import kernel
for name in ("nngp", "ntk"):
    x1, x2 = np.load("x.npz")["x1"], np.load("x.npz")["x2"]
    np.save(f"{name}.npy", np.stack([getattr(kernel, name)(x1, x2), getattr(kernel, name)(x1)[:, :2]]))
assert "ntkc" not in sys.modules and "sympy" not in sys.modules
"""


def test_a_saved_module_runs_alone(tmp_path):
    x1, x2 = data(3, dtype=np.float32), data(2, 1, np.float32)
    program = ntkc.compile(NETS["pool"])
    program(x1)
    program.save(tmp_path / "kernel.py")
    np.savez(tmp_path / "x.npz", x1=x1, x2=x2)
    subprocess.run([sys.executable, "-c", ALONE], cwd=tmp_path, check=True)
    for name in ("nngp", "ntk"):
        found = np.load(tmp_path / f"{name}.npy")
        compiled = program.on(x1.shape[1:]).module[name]
        np.testing.assert_array_equal(found, np.stack([compiled(x1, x2), compiled(x1)[:, :2]]))


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("net", [NETS["pool"], NETS["attention"]], ids=["pool", "attention"])
def test_jit_equals_eager(net):
    x1, x2 = data(3), data(2, 1)
    program = ntkc.compile(net)
    jitted = program(x1, x2, ("nngp", "ntk"))
    with jax.disable_jit():
        eager = program(x1, x2, ("nngp", "ntk"))
    for a, b in zip(jitted, eager, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


TILES = [(name, *tile, *n) for name in ("pool", "pixels left") for tile in ((6, 4), (1, 1), (4, 128)) for n in COUNTS]
QUICK = (("pool", 6, 4, 7, 5), ("pool", 6, 4, 7, None), ("pixels left", 6, 4, 7, None))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("name", "lanes", "block", "n1", "n2"),
    [t if t in QUICK else pytest.param(*t, marks=pytest.mark.slow) for t in TILES],
)
def test_tiles_of_any_size(name, lanes, block, n1, n2):
    """Samples that tiles do not divide, one triangle and its mirror image: the kernel of one large tile."""
    x1, x2 = data(n1), None if n2 is None else data(n2, 1)
    whole = in_tiles(name, 4096, 128)["kernel"](x1, x1 if x2 is None else x2)
    tiled = in_tiles(name, lanes, block)["kernel"](x1, x2)
    for found, expected in zip(tiled, whole, strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-7 if x2 is None else 1e-12)
        if x2 is None:
            pixels = range(2, expected.ndim, 2)
            mirrored = np.transpose(found, (1, 0, *(a for p in pixels for a in (p + 1, p))))
            np.testing.assert_allclose(found, mirrored, rtol=1e-14)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("n1", "n2"), [(7, 5), (7, None)])
def test_each_function_has_the_kernel(n1, n2):
    """nngp and ntk alone, and both at once."""
    x1, x2 = data(n1), None if n2 is None else data(n2, 1)
    module = in_tiles("mean", 6, 4)
    for found, expected in zip(module["kernel"](x1, x2), (module["nngp"](x1, x2), module["ntk"](x1, x2)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.usefixtures("x64")
def test_variance_is_the_diagonal():
    x = data(5)
    program = ntkc.compile(NETS["pool"])
    kernel = program(x)
    np.testing.assert_allclose(kernel.cov1, np.diag(kernel.nngp), rtol=1e-13)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("between", "is_pair"),
    [
        ([], True),
        pytest.param([stax.AvgPool((2, 2)), conv(W), stax.Relu()], True, marks=pytest.mark.slow),
        pytest.param([stax.AvgPool((2, 2)), conv(W), stax.Relu()], False, marks=pytest.mark.slow),
    ],
    ids=["one filter", "two and a pool", "x1 alone"],
)
def test_gradients_are_finite_differences(between, is_pair):
    """In the inputs, and in a hyper-parameter that is open."""
    net = stax.serial(conv(W), stax.Relu(), *between, stax.Flatten(), stax.Dense(1, W))
    program = ntkc.compile(net, input_shape=SHAPE)
    x1, x2 = data(3), data(2, 1) if is_pair else None
    weights = np.random.default_rng(2).standard_normal((3, 2 if is_pair else 3))

    def loss(x, w):
        return (program(x, x2, "ntk", w=w) * weights).sum()

    in_x, in_w = jax.grad(loss, (0, 1))(x1, 1.3)
    step, direction = 1e-5, np.random.default_rng(3).standard_normal(x1.shape)
    along_x = (loss(x1 + step * direction, 1.3) - loss(x1 - step * direction, 1.3)) / (2 * step)
    along_w = (loss(x1, 1.3 + step) - loss(x1, 1.3 - step)) / (2 * step)
    np.testing.assert_allclose((in_x * direction).sum(), along_x, rtol=1e-7)
    np.testing.assert_allclose(in_w, along_w, rtol=1e-8)
    assert np.isfinite(in_x).all()


@pytest.mark.slow
def test_gradients_are_finite_where_samples_are_equal_or_zero():
    x = data(3, dtype=np.float32)
    x[1], x[2] = x[0], 0
    program = ntkc.compile(NETS["pool"])
    for second in (None, x):
        gradient = jax.grad(lambda x, second=second: program(x, second, "ntk").sum())(x)
        assert np.isfinite(gradient).all()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", [n if n == "flatten" else pytest.param(n, marks=pytest.mark.slow) for n in NETS])
def test_float32_is_close_to_float64(name):
    """Relative to the largest entry."""
    program = ntkc.compile(NETS[name])
    x = data(4)
    for get in ("nngp", "ntk"):
        exact, rough = program(x, None, get), program(np.float32(x), None, get)
        assert rough.dtype == np.float32
        np.testing.assert_allclose(rough, exact, rtol=0, atol=1e-5 * np.abs(exact).max())


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["flatten", "pool", "norm"])
def test_near_duplicates_in_float32(name):
    """Pixels carry K, so that 1 - cos of close samples has half the digits; the NTK of a kink takes its square root."""
    program = ntkc.compile(NETS[name])
    x = data(4)
    x[1] = x[0] + 1e-3 * x[1]
    for get, bound in (("nngp", 1e-5), ("ntk", 1e-3)):
        exact, rough = program(x, None, get), program(np.float32(x), None, get)
        np.testing.assert_allclose(rough, exact, rtol=0, atol=bound * np.abs(exact).max())


def functions_of(text):
    """The text of per_sample and pair."""
    found = [n for n in ast.parse(text).body if getattr(n, "name", "") in ("per_sample", "pair")]
    return [ast.get_source_segment(text, n) for n in found]


@pytest.mark.parametrize("name", NETS)
def test_text_is_tidy(name):
    text = ntkc.compile(NETS[name], input_shape=SHAPE).source
    assert text.startswith('"""NNGP and NTK kernels of an infinitely wide network.\n')
    assert "\nfrom ntkc.runtime import (\n    Tiles, " in text
    assert not [line for line in text.splitlines() if line != line.rstrip() or "\t" in line]
    assert "\n\n\n\n" not in text
    assert text.count("ntkc") == 1
    saved = module_text(text)
    assert "ntkc" not in saved
    assert saved.endswith("\n\nfit = predictor(nngp, ntk)\n")
    assert [f for f in functions_of(text) if f not in functions_of(saved)] == []


def of_series(text, make, *between):
    phi = stax.Activation(text)
    return stax.serial(make(), phi, make(), phi, *between, stax.Dense(1))


@pytest.mark.parametrize("text", ["tanh(x)", "elu(x)"])
def test_series_are_written_for_pixels(text):
    net = of_series(text, lambda: stax.Conv(4, (2, 2), None, "SAME"), stax.Flatten())
    source = ntkc.compile(net, input_shape=SHAPE).source
    assert ("kink_remainder(" in source) == ("kink_sum(left_terms(" in source) == (text == "elu(x)")
    assert ("sigmoid_mean" in source) == ("sigmoid_sum(" in source) == (text == "tanh(x)")
    assert ("    watch=Watch(WATCHED),\n" in source) == (text == "elu(x)")
    assert ("left_terms(" in source) == (text == "elu(x)")


@pytest.mark.slow
@pytest.mark.parametrize("text", ["tanh(x)", "elu(x)", "relu(x)*sin(x)"])
def test_series_on_one_pixel_are_those_of_rows(text, x64):
    x = np.random.default_rng(0).standard_normal((4, 6))
    rows = of_series(text, lambda: stax.Dense(4, 1.4, 0.1))[2](x, None, ("nngp", "ntk"))
    pixel = of_series(text, lambda: stax.Conv(4, (1, 1), W_std=1.4, b_std=0.1), stax.Flatten())[2]
    for a, b in zip(rows, pixel(x[:, None, None], None, ("nngp", "ntk")), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7 if text == "tanh(x)" else 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 4])
def test_a_series_that_has_not_converged_is_said(depth):
    conv = stax.Conv(4, (2, 2), None, "SAME", 1.4, 0.1)
    net = stax.serial(conv, *[stax.Activation("softplus(x)"), conv] * depth, stax.Flatten(), stax.Dense(1))
    x = np.random.default_rng(0).standard_normal((2, 3, 3, 1))
    net[2](0.1 * x, None, "ntk")
    with pytest.warns(SeriesNotConverged, match="variances of these data are too large"):
        net[2](1000 * x, None, "ntk")
