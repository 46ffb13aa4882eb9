"""Layers that are constant, as their function is or as their weights are zero: kernels by hand, and of limits."""

import inspect

import jax
import numpy as np
import pytest
import sympy as sp

import ntkc
from ntkc import stax
from ntkc.backends.bundle import module_text

pytestmark = pytest.mark.usefixtures("x64")
D, R, GAP, FLAT = stax.Dense, stax.Relu(), stax.GlobalAvgPool(), stax.Flatten()
IMAGE, ROW = (4, 3, 2), (6,)
TINY = 1e-8
"""A weight that is nearly zero; kernels are continuous there."""


def conv(W_std=1.3, b_std=None, **more):
    return stax.Conv(4, (3, 2), padding="SAME", W_std=W_std, b_std=b_std, **more)


def residual(branch):
    return stax.serial(stax.FanOut(2), stax.parallel(stax.Identity(), branch), stax.FanInSum())


def data(shape, n=3, seed=0):
    return np.random.default_rng(seed).standard_normal((n, *shape))


def pairs_of(net, shape):
    """(nngp, ntk) of x1 and x2, and of x1 alone."""
    x1, x2 = data(shape), data(shape, 2, 1)
    made = [np.asarray(k) for second in (x2, None) for k in net[2](x1, second, ("nngp", "ntk"))]
    assert all(np.isfinite(k).all() for k in made)
    return made


def on(net, shape):
    """The same, after checks that every way to ask gives them."""
    x1, x2 = data(shape), data(shape, 2, 1)
    made = []
    for second in (x2, None):
        kernel = net[2](x1, second)
        both = net[2](x1, second, ("nngp", "ntk"))
        for get in ("nngp", "ntk"):
            alone, told = np.asarray(net[2](x1, second, get)), np.asarray(getattr(kernel, get))
            assert np.isfinite(alone).all()
            np.testing.assert_allclose(told, alone, rtol=1e-11, atol=1e-13)
            np.testing.assert_allclose(getattr(both, get), alone, rtol=1e-11, atol=1e-13)
            made.append(alone)
        if second is None and alone.ndim == 2:
            np.testing.assert_allclose(kernel.cov1, np.diag(kernel.nngp), rtol=1e-9, atol=1e-13)
        assert np.isfinite(kernel.cov1).all()
    saved = {}
    exec(module_text(ntkc.compile(net, input_shape=shape).source), saved)
    for found, right in zip(saved["kernel"](x1, x2), made, strict=False):
        np.testing.assert_allclose(found, right, rtol=1e-11, atol=1e-13)
    return made


def cosines(net, shape):
    """Of the samples of x1 with x2, and with themselves, from the kernel of what stands below."""
    x1, x2 = data(shape), data(shape, 2, 1)
    kernel, alone = net[2](x1, x2), net[2](x1)
    for k, q1, q2 in ((kernel.nngp, kernel.cov1, kernel.cov2), (alone.nngp, alone.cov1, alone.cov1)):
        yield np.clip(np.asarray(k) / np.sqrt(np.outer(q1, q2)), -1, 1)


BELOW = {
    "mean": ([conv(), R, GAP, D(4)], IMAGE),
    "flat": ([conv(), R, FLAT, D(4)], IMAGE),
    "normalised rows": ([D(4), stax.LayerNorm()], ROW),
    "rows": ([D(4, 1.2, 0.3)], ROW),
}
STEPS = {
    "sign": (stax.Sign(), lambda rho: 2 / np.pi * np.arcsin(rho)),
    "step": (stax.RectifiedMonomial(0), lambda rho: 0.25 + np.arcsin(rho) / (2 * np.pi)),
    "two": (stax.Polynomial([2.0]), lambda rho: 4 + 0 * rho),
    "one": (stax.Monomial(0), lambda rho: 1 + 0 * rho),
}
SMALLER = [("mean", "sign"), ("flat", "sign"), ("normalised rows", "sign"), ("mean", "two"), ("rows", "step")]
CASES = [(a, b) for a in BELOW for b in STEPS]


@pytest.mark.parametrize(
    ("below", "step"), [c if c in SMALLER else pytest.param(*c, marks=pytest.mark.slow) for c in CASES]
)
@pytest.mark.parametrize("ends", [False, True], ids=["dense on top", "at the end"])
def test_functions_of_constant_variance_and_no_slope(below, step, ends):
    """K of the cosine alone, and no T but that of what is on top."""
    layers, shape = BELOW[below]
    layer, dual = STEPS[step]
    made = on(stax.serial(*layers, layer, *([] if ends else [D(3, 1.5, 0.2)])), shape)
    for i, rho in enumerate(cosines(stax.serial(*layers), shape)):
        k = dual(rho) if ends else 1.5**2 * dual(rho) + 0.2**2
        # The arcsine of a cosine of 1 - 1e-16.
        np.testing.assert_allclose(made[2 * i], k, rtol=1e-7)
        np.testing.assert_allclose(made[2 * i + 1], 0 * k if ends else k, rtol=1e-7)


def filtered(k):
    """The kernel of filters of 3 x 2 pixels, of two pixels in a row: the first reads both, the second itself alone."""
    made = np.array(k)
    made[..., 0, 0] += k[..., 1, 1]
    return made / 6


HEADS = {
    "mean": ([GAP, D(1)], lambda k: k.mean((2, 3)), True),
    "flat": ([FLAT], lambda k: np.einsum("mnpp->mn", k) / 2, False),
    "filters": ([conv(), GAP], lambda k: 1.3**2 * filtered(k).mean((2, 3)), True),
}
"""Layers, the kernel that they make of all pairs of pixels, and whether they have weights."""


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("head", HEADS)
def test_constants_of_every_pixel(step, head):
    """Of images of two pixels."""
    (layer, dual), (layers, made_of, is_trained) = STEPS[step], HEADS[head]
    x = data((1, 2, 2))
    q = np.mean(x * x, -1)[:, 0]
    rho = np.einsum("mrpc,nrqc->mnpq", x, x) / 2 / np.sqrt(np.einsum("mp,nq->mnpq", q, q))
    right = made_of(dual(np.clip(rho, -1, 1)))
    made = stax.serial(D(4), layer, *layers)[2](x, None, ("nngp", "ntk"))
    np.testing.assert_allclose(made.nngp, right, rtol=1e-7)
    np.testing.assert_allclose(made.ntk, right if is_trained else 0 * right, rtol=1e-7)


@pytest.mark.parametrize(
    ("first", "branch", "head", "shape"),
    [
        (conv(1.0, 0.7), [R, conv(0.0)], [GAP, D(1)], IMAGE),
        (conv(1.0, 0.7), [R, conv(0.0)], [R, conv(1.1), R, FLAT], IMAGE),
        (D(4, 1.1, 0.7), [R, D(4, 0.0)], [D(1)], ROW),
        (D(4, 1.1, 0.7), [R, D(4, 0.0)], [R, D(1, 1.2, 0.1)], ROW),
        (D(4, 1.1), [R, D(4), stax.Erf(), D(4, 0.0)], [stax.Gelu(), D(1, 1.2, 0.1)], ROW),
    ],
    ids=["pixels", "pixels, relu", "rows", "rows, relu", "rows, gelu"],
)
def test_a_dead_branch_is_none(first, branch, head, shape):
    """In the NTK parameterization weights of scale 0 have no gradient either."""
    found = on(stax.serial(first, residual(stax.serial(*branch)), *head), shape)
    for a, b in zip(found, pairs_of(stax.serial(first, *head), shape), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def by_hand(b, layers):
    """K and T of x and any x', from K = T = b^2 on: relu halves both, w and c make w^2 K + c^2 and T + that."""
    k = t = b * b
    for w, c in layers:
        k, t = k / 2, t / 2
        k, t = w * w * k + c * c, w * w * k + c * c + w * w * t
    return k, t


@pytest.mark.parametrize("b", [None, 0.5])
@pytest.mark.parametrize("turns", [0, 1, pytest.param(6, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "before",
    [[], [D(4, 1.2, 0.1), R], [*[D(4, 1.2), R] * 3], [D(4), stax.Erf()]],
    ids=["first", "after relu", "after relus", "after erf"],
)
def test_rows_that_forget_their_data(before, turns, b):
    net = stax.serial(*before, D(4, 0.0, b), *[R, D(4, 1.4, 0.3)] * turns)
    made = (on if turns == 1 else pairs_of)(net, ROW)
    k, t = by_hand(b or 0.0, [(1.4, 0.3)] * turns)
    for i, found in enumerate(made):
        np.testing.assert_allclose(found, np.full_like(found, (k, t)[i % 2]), rtol=1e-7, atol=1e-13)


@pytest.mark.parametrize("b", [None, 0.5])
def test_weights_of_the_standard_parameterization_are_trained_at_zero(b):
    """T = x . x' of the weights, and 1 of a bias."""
    x1, x2 = data(ROW), data(ROW, 2, 1)
    kernel = D(4, 0.0, b, parameterization="standard")[2](x1, x2)
    np.testing.assert_allclose(kernel.nngp, np.full((3, 2), (b or 0) ** 2), atol=1e-15)
    np.testing.assert_allclose(kernel.ntk, x1 @ x2.T + (b is not None), rtol=1e-12)


def attention(**given):
    return stax.GlobalSelfAttention(4, 4, 4, 2, **given)


LAYERS = {
    "Dense": lambda w, b: D(4, w, b),
    "Dense, standard": lambda w, b: D(4, w, b, parameterization="standard"),
    "Conv": conv,
    "Conv, strided": lambda w, b: stax.Conv(4, (2, 2), (2, 1), "SAME", w, b),
    "Conv, standard": lambda w, b: conv(w, b, parameterization="standard"),
    "ConvTranspose": lambda w, b: stax.ConvTranspose(4, (2, 2), padding="SAME", W_std=w, b_std=b),
    "ConvLocal": lambda w, b: stax.ConvLocal(4, (2, 2), padding="SAME", W_std=w, b_std=b),
    "GlobalSelfAttention, out": lambda w, b: attention(W_out_std=w, b_std=b),
    "GlobalSelfAttention, value": lambda w, b: attention(W_value_std=w, b_std=b),
    "GlobalSelfAttention, key": lambda w, b: attention(W_key_std=w, b_std=b),
    "GlobalSelfAttention, query": lambda w, b: attention(W_query_std=w, b_std=b),
}
"""Of the scale of weights and of biases."""
OF_ROWS = ("Dense", "Dense, standard")
IMAGES = {
    "alone": lambda dead: [dead],
    "first": lambda dead: [dead, R, conv(), R, GAP, D(1)],
    "middle": lambda dead: [conv(1.2, 0.1), R, dead, R, FLAT, D(1, 1.1, 0.2)],
    "between pools": lambda dead: [conv(1.2, 0.1), stax.Erf(), stax.AvgPool((2, 2)), dead, stax.Erf(), conv(), R, GAP],
    "last": lambda dead: [conv(1.2, 0.1), R, dead],
    "last, mean": lambda dead: [conv(1.2, 0.1), R, dead, GAP],
    "branch": lambda dead: [conv(1.2, 0.1), residual(stax.serial(R, dead)), R, GAP, D(1)],
    "deep": lambda dead: [*[conv(1.2, 0.1), R] * 2, dead, *[R, conv(1.2, 0.1)] * 3, FLAT],
}
VECTORS = {
    "alone": lambda dead: [dead],
    "first": lambda dead: [dead, R, D(1)],
    "middle": lambda dead: [D(4, 1.2, 0.1), R, dead, stax.Erf(), D(1, 1.1, 0.2)],
    "last": lambda dead: [D(4, 1.2, 0.1), R, dead],
    "branch": lambda dead: [D(4, 1.2, 0.1), residual(stax.serial(R, dead)), R, D(1)],
    "deep": lambda dead: [*[D(4, 1.2), R] * 2, dead, *[R, D(4, 1.2)] * 5],
    "deep, biases": lambda dead: [*[D(4, 1.2, 0.1), R] * 2, dead, *[R, D(4, 1.2, 0.1)] * 5],
    "repeated": lambda dead: [D(4), *[R, dead] * 6, R, D(1)],
    "gelu": lambda dead: [D(4, 1.2, 0.1), stax.Gelu(), dead, stax.Gelu(), D(1, 1.1, 0.2)],
    "tanh": lambda dead: [D(4, 0.8, 0.1), stax.Tanh(), dead, stax.Tanh(), D(1, 1.1, 0.2)],
    "erf": lambda dead: [D(4, 1.2, 0.1), stax.Erf(), dead, *[stax.Erf(), D(4, 1.2, 0.1)] * 4],
    "after pixels": lambda dead: [conv(), R, GAP, D(4), dead, R, D(2)],
}
PLACES = [
    *(("image", layer, place) for layer in LAYERS for place in IMAGES if (layer, place) != ("Conv, strided", "branch")),
    *(("row", layer, place) for layer in OF_ROWS for place in VECTORS),
]


def net_of(kind, layer, place, w, b):
    """A network in which one layer has this scale of its weights, and the shape of its data."""
    layers = (IMAGES if kind == "image" else VECTORS)[place](LAYERS[layer](w, b))
    shape = IMAGE if kind == "image" or place == "after pixels" else ROW
    return stax.serial(*layers), shape


def test_every_layer_with_weights_is_here():
    makers = {n: f for n, f in vars(stax).items() if inspect.isfunction(f) and n[0].isupper()}
    arguments = {name: inspect.signature(f).parameters for name, f in makers.items()}
    weighted = {name for name, given in arguments.items() if any(p.startswith("W_") for p in given)}
    assert {name.split(",")[0] for name in LAYERS} == weighted


@pytest.mark.parametrize("b", [None, 0.5], ids=["", "bias"])
@pytest.mark.parametrize(("kind", "layer", "place"), PLACES)
def test_every_network_with_a_dead_layer_compiles(kind, layer, place, b):
    """And traces: with x2, without it, and its variances."""
    net, shape = net_of(kind, layer, place, 0.0, b)
    module = ntkc.compile(net, input_shape=shape).module
    first, second = (jax.ShapeDtypeStruct((n, *shape), "float64") for n in (3, 2))
    for given in ((first, second), (first,)):
        nngp, ntk = jax.eval_shape(module["kernel"], *given)
        assert nngp.shape == ntk.shape == jax.eval_shape(module["nngp"], *given).shape
        assert nngp.shape[:2] == ((3, 2) if len(given) == 2 else (3, 3))
    assert jax.eval_shape(module["variance"], first).shape == (3, *nngp.shape[2:])


QUICK = {("image", "Conv", "first"), ("image", "GlobalSelfAttention, out", "middle")}
QUICK |= {("row", "Dense, standard", "middle"), ("row", "Dense", "deep"), ("image", "ConvLocal", "alone")}


@pytest.mark.parametrize("b", [None, 0.5], ids=["", "bias"])
@pytest.mark.parametrize(
    ("kind", "layer", "place"),
    [
        ("image", "Conv, standard", "last, mean"),
        ("row", "Dense, standard", "middle"),
        *(pytest.param("image", layer, "middle", marks=pytest.mark.slow) for layer in LAYERS),
        *(pytest.param("row", "Dense", place, marks=pytest.mark.slow) for place in ("first", "deep")),
    ],
)
def test_an_open_scale_may_be_zero(kind, layer, place, b):
    open_net, shape = net_of(kind, layer, place, sp.Symbol("w"), b)
    closed, _ = net_of(kind, layer, place, 0.0, b)
    x1, x2 = data(shape), data(shape, 2, 1)
    for a, right in zip(open_net[2](x1, x2, ("nngp", "ntk"), w=0.0), closed[2](x1, x2, ("nngp", "ntk")), strict=True):
        np.testing.assert_allclose(a, right, rtol=1e-9, atol=1e-12)


KINKS_OF_ZERO = {
    *(("image", place) for place in ("first", "middle", "between pools", "deep")),
    *(("row", place) for place in ("first", "deep", "deep, biases", "repeated", "after pixels")),
}
"""Where a dead layer without biases hands zeros to a relu, whose slope there has no limit."""


@pytest.mark.parametrize("b", [None, 0.5], ids=["", "bias"])
@pytest.mark.parametrize(
    ("kind", "layer", "place"), [p if p in QUICK else pytest.param(*p, marks=pytest.mark.slow) for p in PLACES]
)
def test_dead_layers_are_limits(kind, layer, place, b):
    found = on(*net_of(kind, layer, place, 0.0, b))
    if layer.endswith("standard") and b is None and (kind, place) in KINKS_OF_ZERO:
        return  # weights of scale 0 are trained in the standard parameterization: T is not 0
    for a, limit in zip(found, pairs_of(*net_of(kind, layer, place, TINY, b)), strict=True):
        np.testing.assert_allclose(a, limit, rtol=1e-6, atol=1e-7)
