"""Empirical kernels against Neural Tangents and explicit Jacobians, Taylor expansions against differences."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntkc
from ntkc.empirical import (
    NtkImplementation,
    batches,
    choice,
    chunks,
    empirical_kernel_fn,
    empirical_nngp_fn,
    empirical_ntk_fn,
    empirical_ntk_vp_fn,
    linearize,
    taylor_expand,
)
from ntkc.empirical.axes import Pairing, contract
from ntkc.empirical.choice import Trial
from ntkc.empirical.convolutions import in_one_layout
from ntkc.empirical.plans import JaxprPlan
from ntkc.empirical.views import View, view_of
from ntkc.errors import InvalidInput, ShapeMismatch, UnknownName

FOLDER = Path(__file__).parent / "reference"
REFERENCE = np.load(FOLDER / "empirical.npz")
WAYS = [i for i in NtkImplementation if i is not NtkImplementation.AUTO]

pytestmark = pytest.mark.usefixtures("x64")


def load_networks():
    spec = importlib.util.spec_from_file_location("finite_networks", FOLDER / "finite_networks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


finite = load_networks()
CASES = list(finite.cases())
F, PARAMS, _ = finite.NETWORKS["dense"]


def close(ours, expected, tolerance):
    scale = np.max(np.abs(expected), initial=1e-300)
    assert np.shape(ours) == np.shape(expected)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * scale)


def explicit(f, params, x1, x2):
    """J J^T with every axis kept, from the whole Jacobians as matrices."""

    def flat(x):
        jacobian = jax.jacrev(lambda p: f(p, x))(params)
        shape = jax.eval_shape(f, params, x).shape
        return shape, np.concatenate([np.reshape(j, (np.prod(shape), -1)) for j in jax.tree.leaves(jacobian)], 1)

    (shape1, j1), (shape2, j2) = flat(x1), flat(x2)
    return (j1 @ j2.T).reshape(*shape1, *shape2)


def peer_cases():
    """Every network by every implementation; the quick ones are those of `dense` and one of each other network."""
    for i, (name, option, is_pair) in enumerate(CASES):
        for way in WAYS:
            quick = name == "dense" or (option == "traced by sample" and i % 2 == way % 2)
            label = f"{name}-{option}-{way.name.lower()}".replace(" ", "_")
            yield pytest.param(name, option, is_pair, way, id=label, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(("name", "option", "is_pair", "way"), [*peer_cases()])
def test_peer_values(name, option, is_pair, way):
    f, params, _ = finite.NETWORKS[name]
    x1, x2 = finite.inputs(name)
    kernel_fn = empirical_kernel_fn(f, **finite.ALL_OPTIONS[option], implementation=way)
    kernels = jax.jit(kernel_fn, static_argnums=2)(x1, x2 if is_pair else None, ("nngp", "ntk"), params)
    for get in ("nngp", "ntk"):
        close(getattr(kernels, get), REFERENCE[f"{name} {option} {get}"], 1e-12)


@pytest.mark.parametrize("way", WAYS, ids=lambda i: i.name.lower())
@pytest.mark.parametrize("vmap_axes", [pytest.param(None, marks=pytest.mark.slow), 0])
def test_explicit_jacobian(way, vmap_axes):
    f, params, _ = finite.NETWORKS["attention"]
    x1, x2 = finite.inputs("attention")
    ours = jax.jit(empirical_ntk_fn(f, (), (), vmap_axes, way))(x1, x2, params)
    close(ours, np.einsum("npcmqd->nmpqcd", explicit(f, params, x1, x2)), 1e-12)
    traced = jax.jit(empirical_ntk_fn(f, (1,), (2,), vmap_axes, way))(x1, x2, params)
    close(traced, np.einsum("npcmpc->nmc", explicit(f, params, x1, x2)) / 3, 1e-12)


@pytest.mark.parametrize(
    ("name", "structured"),
    [
        ("dense", {0, 2}),
        ("conv", {0, 1}),
        ("recurrent", {0, 1, 2}),
        ("scan", {0, 1}),
        ("shared", {0}),
        ("scaled", set()),
    ],
)
def test_weights_whose_jacobians_are_never_made(name, structured):
    f, params, _ = finite.NETWORKS[name]
    x = finite.inputs(name)[0]
    assert JaxprPlan.of(jax.make_jaxpr(lambda *p: f(p, x))(*params)).weights == structured


def steps(body, x, count=4, **options):
    return jax.lax.scan(body, x, None, count, **options)


def over_time(p, x):
    """Weights closed over by a scan, whose inputs and outputs are read too."""
    sequence = jnp.stack([x, jnp.sin(x), x**2])
    h, seen = jax.lax.scan(lambda h, z: (jnp.tanh(h @ p[0] + z @ p[1]), h * z), x, sequence, reverse=True)
    return h + seen.sum(0) @ p[2]


def nested(p, x):
    return jax.lax.scan(lambda h, w: (steps(lambda g, _: (jnp.tanh(g @ w), None), h, 2)[0], None), x, p[0])[0]


def heads(p, x):
    q, k = (jnp.einsum("nd,dhk->nhk", x, w.reshape(4, 2, 3)) for w in p[:2])
    return (jnp.tanh(q) * k).reshape(-1, 6) @ jnp.squeeze(p[2][None], 0).T


def fused(p, x):
    """Columns of one weight for several products, and rows of another."""
    return jnp.tanh(x @ p[0][:, :4]) * (x @ p[0][:, 4:8]) + jnp.sin(x @ p[1][2]) @ p[1][0]


def overlapping(p, x):
    return jnp.tanh(x @ p[0]) @ p[0][:, :2] + (x[:, :2] @ p[1][:2] * (x @ p[1]))[:, :2]


def pointwise_convolution(p, x):
    y = jnp.tanh(jax.lax.conv_general_dilated(x[:, None], p[0], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")))
    return y[:, 0] @ p[0][0]


def strided(p, x):
    """Strides, dilations, margins that cut, and channels first."""
    images = jnp.stack([x, x**2, jnp.sin(x)], 1).reshape(-1, 2, 6, 1) * jnp.arange(1.0, 6)
    y = jnp.tanh(jax.lax.conv_general_dilated(images, p[0], (2, 1), ((-1, 2), (1, 0)), (1, 2), (2, 1)))
    return jax.lax.conv_general_dilated(y, p[1], (1, 2), "VALID").sum((2, 3))


def rearranged(p, x):
    """Axes merged in another order than they lie in memory: no view."""
    return x @ p[0].T.reshape(4, 6)


def untouched(p, x):
    return jnp.tanh(x @ p[0]) @ jax.nn.relu(p[1])


SHAPES = {
    over_time: ((4, 4), (4, 4), (4, 4)),
    nested: ((3, 4, 4),),
    heads: ((4, 6), (4, 6), (3, 6)),
    fused: ((4, 12), (3, 4, 4)),
    overlapping: ((4, 4), (4, 4)),
    pointwise_convolution: ((1, 4, 4),),
    strided: ((3, 2, 2, 3), (2, 3, 1, 2)),
    rearranged: ((4, 6),),
    untouched: ((4, 4), (4, 2)),
}


def with_shapes(f, *shapes):
    SHAPES[f] = shapes
    return f


USES = {
    "scan, closed over": (over_time, {0, 1, 2}),
    "scan in scan": (nested, {0}),
    "fori_loop": (
        with_shapes(lambda p, x: jax.lax.fori_loop(0, 3, lambda i, h: jnp.tanh(h @ p[0]), x), (4, 4)),
        {0},
    ),
    "carried unchanged": (
        with_shapes(lambda p, x: steps(lambda c, _: ((c[0], c[1] @ c[0]), None), (p[0], x))[0][1], (4, 4)),
        {0},
    ),
    "start of a scan": (
        with_shapes(
            lambda p, x: steps(lambda h, _: (jnp.tanh(h @ p[1]), None), x @ p[0] + p[2])[0], (4, 4), (4, 4), (4,)
        ),
        {0, 1},
    ),
    "changed by a scan": (
        with_shapes(lambda p, x: steps(lambda c, _: ((c[0] * 2, c[1] @ c[0]), None), (p[0], x), 3)[0][1], (4, 4)),
        set(),
    ),
    "long scan": (with_shapes(lambda p, x: steps(lambda h, _: (h @ p[0], None), x, 65)[0], (4, 4)), {0}),
    "checkpoint": (with_shapes(jax.checkpoint(lambda p, x: jnp.tanh(x @ p[0]) @ p[1]), (4, 3), (3, 2)), {0, 1}),
    "heads": (heads, {0, 1, 2}),
    "columns and rows": (fused, {0, 1}),
    "overlapping": (overlapping, set()),
    "convolution and product": (pointwise_convolution, {0}),
    "convolutions, strided and dilated": (strided, {0, 1}),
    "product for each head": (
        with_shapes(lambda p, x: jnp.einsum("nha,hab->nb", jnp.tanh(x).reshape(-1, 2, 2), p[0]), (2, 2, 3)),
        {0},
    ),
    "single entries": (
        with_shapes(lambda p, x: jnp.tanh(x[:, :1] @ p[0]) @ p[1].T @ p[2], (1, 5), (1, 5), (1, 1)),
        {0, 1, 2},
    ),
    "rearranged": (rearranged, set()),
    "through a function": (untouched, {0}),
    "no use": (with_shapes(lambda p, x: x[:, :2] * 2 + 0 * jnp.sum(p[0][:0]), (4, 4)), set()),
}
"""Ways to read weights, and the weights whose Jacobians are not made."""


@pytest.mark.parametrize("name", USES)
def test_uses_of_weights(name):
    f, structured = USES[name]
    params = [np.random.default_rng(i).standard_normal(s) / 2 for i, s in enumerate(SHAPES[f])]
    x1, x2 = finite.inputs("dense")
    assert JaxprPlan.of(jax.make_jaxpr(lambda *p: f(p, x1))(*params)).weights == structured
    for option in ({"trace_axes": (), "vmap_axes": 0}, {"trace_axes": (-1,), "vmap_axes": None}):
        ours, expected = (
            jax.jit(empirical_ntk_fn(f, **option, implementation=way))(x1, x2, params)
            for way in (NtkImplementation.STRUCTURED_DERIVATIVES, NtkImplementation.JACOBIAN_CONTRACTION)
        )
        close(ours, expected, 1e-10)


def test_different_entries_of_a_weight_share_no_tangents():
    """f(x1) reads one row, f(x2) another."""
    params = [np.ones((2, 4, 4))]
    kernel_fn = empirical_ntk_fn(lambda p, x, row=0: x @ p[0][row], implementation=3)
    x1, x2 = finite.inputs("dense")
    np.testing.assert_array_equal(kernel_fn(x1, x2, params, row=(0, 1)), np.zeros((3, 2)))
    close(kernel_fn(x1, x2, params, row=(1, 1)), x1 @ x2.T, 1e-12)


def test_weights_in_low_precision():
    """Products in bfloat16, contracted in the weights' own precision."""
    x1, x2 = (x.astype(jnp.bfloat16) for x in finite.inputs("dense"))
    params = [p.astype(np.float32) for p in PARAMS]

    def f(p, x):
        return jnp.tanh(x @ p[0].astype(jnp.bfloat16)) @ p[2].astype(jnp.bfloat16)

    ours, expected = (jax.jit(empirical_ntk_fn(f, (), implementation=way))(x1, x2, params) for way in (3, 1))
    assert ours.dtype == np.float32
    close(ours, expected, 2e-2)


VIEWS = {
    "rows": lambda w: w[1],
    "columns": lambda w: w[:, :, 2:5],
    "every other": lambda w: w[:, ::2],
    "transposed": lambda w: jnp.transpose(w, (2, 0, 1)),
    "merged": lambda w: w.reshape(2, 24),
    "split": lambda w: w.reshape(2, 2, 2, 3, 2).transpose(1, 3, 0, 2, 4),
    "flat, of some": lambda w: w[1, 1:3].reshape(12),
    "expanded": lambda w: jnp.expand_dims(w[0], (0, 2)),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views(name):
    """Offset and strides name the entries that the operations pick."""
    w = jnp.arange(48.0).reshape(2, 4, 6)
    jaxpr = jax.make_jaxpr(VIEWS[name])(w).jaxpr
    views = {jaxpr.invars[0]: View.whole(0, w.shape)}
    for eqn in jaxpr.eqns:
        views[eqn.outvars[0]] = view_of(eqn.primitive.name, eqn.params, views[eqn.invars[0]])
    view = views[jaxpr.outvars[0]]
    places = [np.arange(size) * stride for size, stride in view.axes]
    entries = view.offset + sum(np.ix_(*places))
    np.testing.assert_array_equal(entries, VIEWS[name](w))


@pytest.mark.parametrize(
    ("one", "two", "apart"),
    [
        (lambda w: w[0], lambda w: w[1], True),
        (lambda w: w[:, :, :3], lambda w: w[:, :, 3:], True),
        (lambda w: w[:, :3], lambda w: w[:, 2:], False),
        (lambda w: w[0], lambda w: w[:, 0], False),
        (lambda w: w[:, ::2], lambda w: w[:, 1::2], False),
    ],
)
def test_which_views_are_apart(one, two, apart):
    """Interleaved steps count as overlapping: their weight's Jacobian is made."""
    w = jnp.arange(48.0).reshape(2, 4, 6)
    views = []
    for f in (one, two):
        view = View.whole(0, w.shape)
        for eqn in jax.make_jaxpr(f)(w).jaxpr.eqns:
            view = view_of(eqn.primitive.name, eqn.params, view)
        views.append(view)
    assert views[0].is_apart_from(views[1]) == views[1].is_apart_from(views[0]) == apart


@pytest.mark.parametrize("in_scan", [False, True], ids=["once", "in a scan"])
def test_structured_derivatives_keep_a_jacobian_out_of_memory(in_scan):
    width, x = 256, np.ones((2, 8))
    params = [np.ones((8, width)), np.ones((width, width)), np.ones((width, 4))]

    def f(p, x):
        h = jnp.tanh(x @ p[0])
        h = steps(lambda h, _: (jnp.tanh(h @ p[1]), None), h, 3)[0] if in_scan else jnp.tanh(h @ p[1])
        return h @ p[2]

    def temporary(way):
        compiled = jax.jit(empirical_ntk_fn(f, (), vmap_axes=0, implementation=way)).lower(x, x, params).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    jacobian = 8 * 2 * 4 * width * width
    assert temporary(NtkImplementation.STRUCTURED_DERIVATIVES) < jacobian / 10
    assert temporary(NtkImplementation.JACOBIAN_CONTRACTION) > jacobian


def test_vector_products():
    x1, x2 = finite.inputs("dense")
    kernel = jax.jit(empirical_ntk_fn(F, ()))(x1, x2, PARAMS)
    v = np.random.default_rng(0).standard_normal((2, 3))
    close(empirical_ntk_vp_fn(F, x1, x2, PARAMS)(v), np.einsum("nmcd,md->nc", kernel, v), 1e-12)
    own = jax.jit(empirical_ntk_fn(F, ()))(x1, x1, PARAMS)
    w = np.random.default_rng(1).standard_normal((3, 3))
    close(empirical_ntk_vp_fn(F, x1, None, PARAMS)(w), np.einsum("nmcd,md->nc", own, w), 1e-12)


def test_auto_takes_one_of_the_implementations():
    x1, x2 = finite.inputs("scaled")
    f, params, _ = finite.NETWORKS["scaled"]
    auto = empirical_ntk_fn(f, vmap_axes=0, implementation=NtkImplementation.AUTO)
    expected = empirical_ntk_fn(f)(x1, x2, params)
    close(auto(x1, x2, params), expected, 1e-12)
    close(jax.jit(auto)(x1, x2, params), expected, 1e-12)


def counted(monkeypatch):
    """The trials that AUTO makes from now on."""
    made = []
    monkeypatch.setattr(choice, "chosen", lambda trials, old=choice.chosen: made.append(trials) or old(trials))
    return made


def test_auto_remembers_for_a_function_and_shapes(monkeypatch):
    made = counted(monkeypatch)

    def f(p, x, scale=1.0):
        return jnp.tanh(x @ p) * scale

    x, w = np.ones((3, 4)), np.ones((4, 2))
    for _ in range(2):
        jax.jit(empirical_ntk_fn(f, implementation=0))(x, None, w)
    assert len(made) == 1
    empirical_ntk_fn(f, implementation=0)(x[:2], None, w)
    empirical_ntk_fn(f, (), implementation=0)(x, None, w)
    empirical_ntk_fn(f, implementation=0)(x, None, w, scale=2.0)
    assert len(made) == 4


def test_auto_leaves_out_what_fails(monkeypatch):
    """Backwards derivatives only, which fail nowhere; values not known, closed over by f; then no memory for any."""
    made = counted(monkeypatch)
    square = jax.custom_vjp(lambda x: x * x)
    square.defvjp(lambda x: (x * x, x), lambda x, g: (2 * x * g,))
    x, w = np.ones((3, 4)), np.ones((4, 2))
    close(empirical_ntk_fn(lambda p, x: square(x @ p), implementation=0)(x, None, w), np.full((3, 3), 256.0), 1e-12)
    assert set(made[0]) == set(WAYS)
    inner = jax.jit(lambda v: empirical_ntk_fn(lambda p, x: (x @ p) @ v, implementation=0)(x, None, w))
    assert inner(np.ones((2, 1))).shape == (3, 3)
    monkeypatch.setattr(choice, "free_bytes", lambda: -1)
    with pytest.raises(MemoryError, match="JACOBIAN_CONTRACTION needs"):
        empirical_ntk_fn(lambda p, x: x @ p, implementation=0)(x, None, w)


@pytest.mark.parametrize(
    ("trials", "chosen"),
    [
        ({1: (1.0, 9), 2: (3.0, 1), 3: (1.2, 1)}, 1),
        ({1: (1.0, 9), 2: (3.0, 1), 3: (1.05, 8)}, 3),
        ({2: (3.0, 1)}, 2),
    ],
)
def test_auto_looks_at_time_then_at_memory(trials, chosen):
    assert choice.chosen({i: Trial(*trial) for i, trial in trials.items()}) == chosen


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("way", WAYS, ids=lambda i: i.name.lower())
@pytest.mark.parametrize("option", ["whole", "diagonal", "samples diagonal", "samples traced"])
def test_samples_a_few_at_a_time(option, way, size, monkeypatch):
    """Three samples by ones, and by twos with one left, are what they are together."""
    monkeypatch.setattr(batches, "chunk_size", lambda *_: size)
    f, params, _ = finite.NETWORKS["conv"]
    x1, x2 = finite.inputs("conv")
    ntk_fn = jax.jit(empirical_ntk_fn(f, **finite.ALL_OPTIONS[option], implementation=way))
    ours = ntk_fn(x1, None if "samples" in option else x2, params)
    close(ours, REFERENCE[f"conv {option} ntk"], 1e-12)


@pytest.mark.parametrize("way", WAYS, ids=lambda i: i.name.lower())
def test_one_input_is_that_input_twice(way, monkeypatch):
    monkeypatch.setattr(batches, "chunk_size", lambda *_: 2)
    x, _ = finite.inputs("dense")
    ntk_fn = jax.jit(empirical_ntk_fn(F, (), vmap_axes=0, implementation=way))
    close(ntk_fn(x, None, PARAMS), ntk_fn(x, x, PARAMS), 1e-14)


def test_bytes_alive_at_a_time():
    """Of a chain two arrays, of a sum what is kept for it; views of all axes take none."""

    def peak(f):
        return chunks.peak_bytes(jax.make_jaxpr(f)(np.ones((10, 10))).jaxpr)

    assert peak(lambda x: jnp.sin(jnp.sin(jnp.sin(x)))) == 1600
    assert peak(lambda x: jnp.sin(x) + jnp.sin(jnp.sin(x))) == 2400
    assert peak(lambda x: jnp.sin(x).reshape(-1)) == 800
    assert peak(lambda x: jax.jit(lambda y: jnp.sin(jnp.sin(y)))(x)) == 2400


@pytest.mark.parametrize(("samples", "most", "size"), [(16, 5, 4), (16, 100, 16), (17, 4, 4), (17, 9, 9), (12, 0, 1)])
def test_chunk_sizes(samples, most, size, monkeypatch):
    monkeypatch.setattr(chunks, "WORKING_BYTES", {jax.default_backend(): 8 * most})
    assert chunks.chunk_size(jnp.sin, (np.ones(()),), samples, 0) == size


def test_convolutions_in_one_layout():
    """Derivatives of convolutions as well, in the inputs and in the filters."""

    def f(given):
        x, w = given
        y = jax.lax.conv_general_dilated(x, w, (2, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NHWC"))
        return jnp.sum(jnp.sin(y))

    rng = np.random.default_rng(0)
    given = rng.standard_normal((2, 3, 5, 4)), rng.standard_normal((6, 3, 3, 2))
    slopes = jax.grad(in_one_layout(f))(given), in_one_layout(jax.grad(f))(given)
    for ours in slopes:
        jax.tree.map(lambda a, b: close(a, b, 1e-13), ours, jax.grad(f)(given))
    found = jax.make_jaxpr(in_one_layout(jax.grad(f)))(given).eqns
    layouts = {e.params["dimension_numbers"] for e in found if e.primitive.name == "conv_general_dilated"}
    assert layouts == {jax.lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))}


@pytest.mark.parametrize(
    ("traced", "diagonal", "spec"),
    [
        ((), (), "abcuv,ABCuv->aAbBcC"),
        ((1,), (), "abcuv,AbCuv->aAcC"),
        ((0, 2), (1,), "abcuv,abcuv->b"),
        ((), (0, 2), "abcuv,aBcuv->abBc"),
        ((2,), (0,), "abcuv,aBcuv->abB"),
    ],
)
def test_contraction(traced, diagonal, spec):
    rng = np.random.default_rng(0)
    left = rng.standard_normal((2, 3, 4, 2, 3))
    sizes = [n if a in (*traced, *diagonal) else n + 1 for a, n in enumerate(left.shape[:3])]
    right = rng.standard_normal((*sizes, 2, 3))
    expected = np.einsum(spec, left, right) / np.prod([left.shape[a] for a in traced])
    close(contract(left, right, Pairing(3, traced, diagonal)), expected, 1e-14)


def scale_of(params, x, rate=1.0, rng=None):
    y = x["a"] @ params["w"] * jnp.reshape(rate, (-1, 1))
    noise = 0 if rng is None else jax.random.normal(rng, (1, 3))
    return {"sum": y + x["b"], "wave": jnp.sin(y + noise)}


def test_pytrees_and_keywords():
    """Axes by argument, keywords with a value for each input and for each sample, and outputs of several arrays."""
    rng = np.random.default_rng(0)
    params = {"w": rng.standard_normal((4, 3))}
    x1, x2 = ({"a": rng.standard_normal((n, 4)), "b": rng.standard_normal((1, 3))} for n in (3, 2))
    rates = rng.uniform(1, 2, 3), rng.uniform(1, 2, 2)
    axes = ({"a": 0, "b": None}, 0, {"rate": 0})
    by_sample = empirical_ntk_fn(scale_of, (), vmap_axes=axes)(x1, x2, params, rate=rates)
    whole = empirical_ntk_fn(scale_of, ())(x1, x2, params, rate=rates)
    assert set(whole) == {"sum", "wave"}
    for name in whole:
        close(by_sample[name], whole[name], 1e-12)
        full = explicit(lambda p, z, n=name: scale_of(p, z[0], z[1])[n], params, (x1, rates[0]), (x2, rates[1]))
        close(whole[name], np.einsum("ncmd->nmcd", full), 1e-12)


def test_rng_is_split_for_two_inputs():
    rng = np.random.default_rng(0)
    params = {"w": rng.standard_normal((4, 3))}
    x = {"a": rng.standard_normal((3, 4)), "b": np.zeros((1, 3))}
    key = jax.random.PRNGKey(3)
    one, two = jax.random.split(key)
    other = {**x, "a": x["a"][::-1]}
    ours = empirical_nngp_fn(scale_of)(x, other, params, rng=key)["wave"]
    first, second = (scale_of(params, z, rng=k)["wave"] for z, k in ((x, one), (other, two)))
    close(ours, first @ second.T / 3, 1e-12)
    whole = scale_of(params, x, rng=key)["wave"]
    for second in (None, x, dict(x)):
        same = empirical_nngp_fn(scale_of)(x, second, params, rng=key)["wave"]
        close(same, whole @ whole.T / 3, 1e-12)


def test_what_get_returns():
    x1, x2 = finite.inputs("dense")
    kernel_fn = empirical_kernel_fn(F)
    assert kernel_fn(x1, x2, None, PARAMS)._fields == ("nngp", "ntk")
    assert kernel_fn(x1, x2, ("ntk",), PARAMS)._fields == ("ntk",)
    assert kernel_fn(x1, x2, "ntk", PARAMS).shape == (3, 2)


def test_width_tends_to_the_infinite_kernel():
    """The empirical NTK of a wide stax network is that of its kernel_fn, within five widths to the power of -1/2."""
    width = 2048
    init_fn, apply_fn, kernel_fn = ntkc.stax.serial(
        ntkc.stax.Dense(width, 1.2, 0.1), ntkc.stax.Relu(), ntkc.stax.Dense(1, 1.1)
    )
    x = np.random.default_rng(0).standard_normal((4, 5))
    _, params = init_fn(jax.random.PRNGKey(0), x.shape)
    exact = kernel_fn(x, None, "ntk")
    close(jax.jit(empirical_ntk_fn(apply_fn, vmap_axes=0))(x, x, params), exact, 5 / np.sqrt(width))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_taylor_expansion(degree):
    """The remainder shrinks like the next power of the step, and the polynomial is one."""
    x, _ = finite.inputs("dense")
    expanded = taylor_expand(F, PARAMS, degree)
    direction = jax.tree.map(lambda p: np.random.default_rng(5).standard_normal(p.shape), PARAMS)
    moved = [jax.tree.map(lambda p, d, s=s: p + s * d, PARAMS, direction) for s in (0.02, 0.01)]
    errors = [np.max(np.abs(expanded(p, x) - F(p, x))) for p in moved]
    assert 2**degree * 1.3 < errors[0] / errors[1] < 2 ** (degree + 1) * 1.6
    steps = [jax.tree.map(lambda p, d, s=s: p + s * d, PARAMS, direction) for s in range(degree + 2)]
    values = np.stack([expanded(p, x) for p in steps])
    assert np.max(np.abs(np.diff(values, degree + 1, axis=0))) < 1e-9 * np.max(np.abs(values))


def test_linearize():
    x, _ = finite.inputs("dense")
    moved = jax.tree.map(lambda p: p + 0.1, PARAMS)
    jacobian = jax.jacfwd(F)(PARAMS, x)
    change = sum(np.tensordot(j, m - p, p.ndim) for j, m, p in zip(jacobian, moved, PARAMS, strict=True))
    close(linearize(F, PARAMS)(moved, x), F(PARAMS, x) + change, 1e-13)
    close(taylor_expand(F, PARAMS, 1)(moved, x), F(PARAMS, x) + change, 1e-13)
    tree = linearize(lambda p, x: {"y": F(p, x), "n": x}, PARAMS)(moved, x)
    assert set(tree) == {"y", "n"}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, y: empirical_ntk_fn(F, (2,))(x, y, PARAMS), InvalidInput, "from -2 to 1"),
        (lambda x, y: empirical_nngp_fn(F, (1,), (-1,))(x, y, PARAMS), InvalidInput, "one of the two"),
        (lambda x, y: empirical_ntk_fn(F, (0,))(x, y, PARAMS), ShapeMismatch, "axis 0 is traced"),
        (lambda x, y: empirical_nngp_fn(F, (), (0,))(x, y, PARAMS), ShapeMismatch, "axis 0 is diagonal"),
        (lambda x, y: empirical_ntk_fn(F, implementation=7), UnknownName, "JACOBIAN_CONTRACTION = 1"),
        (lambda x, y: empirical_kernel_fn(F)(x, y, "gram", PARAMS), UnknownName, "nngp"),
        (lambda x, y: taylor_expand(F, PARAMS, -1), InvalidInput, "degree"),
        (lambda x, y: taylor_expand(F, PARAMS, 1.5), InvalidInput, "degree"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(*finite.inputs("dense"))
