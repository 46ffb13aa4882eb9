"""What holds for each layer, checked on the examples that the layer itself gives."""

import inspect
import json
import re
from dataclasses import dataclass, fields

import jax
import numpy as np
import pytest

import ntkc
from ntkc import stax
from ntkc.frontends import to_graph
from ntkc.ir.graph import op_of, ordered
from ntkc.ir.layout import Layout
from ntkc.ir.op import OPS, Op, public_ops
from ntkc.layers.activations import Relu
from ntkc.layers.inputs import Input
from ntkc.layers.norm import Dropout, LayerNorm
from ntkc.layers.pooling import GlobalAvgPool
from ntkc.layers.resampling import ImageResize, Index
from ntkc.networks.arrays import Arrays

LAYOUT = ("batch_axis", "channel_axis")
CONV = (
    *("out_chan", "filter_shape", "strides", "padding", "W_std", "b_std"),
    *("dimension_numbers", "parameterization", "s"),
)
PEER_ARGUMENTS = {
    "Dense": ("out_dim", "W_std", "b_std", "batch_axis", "channel_axis", "parameterization", "s"),
    "Identity": (),
    "Flatten": ("batch_axis", "batch_axis_out"),
    "FanOut": ("num",),
    "FanInSum": (),
    "Relu": ("do_stabilize",),
    "LeakyRelu": ("alpha", "do_stabilize"),
    "ABRelu": ("a", "b", "do_stabilize"),
    "Abs": ("do_stabilize",),
    "Erf": ("a", "b", "c"),
    "Sin": ("a", "b", "c"),
    "Cos": ("a", "b", "c"),
    "Exp": ("a", "b"),
    "Monomial": ("degree",),
    "Polynomial": ("coef",),
    "RectifiedMonomial": ("degree",),
    "Hermite": ("degree",),
    "Sign": (),
    "Gaussian": ("a", "b"),
    "Gabor": (),
    "Rbf": ("gamma",),
    "Gelu": ("approximate",),
    "Elementwise": ("fn", "nngp_fn", "d_nngp_fn"),
    "ExpNormalized": ("gamma", "shift", "do_clip"),
    "Conv": (*CONV, "dilation", "groups"),
    "ConvTranspose": CONV,
    "ConvLocal": CONV,
    "AvgPool": ("window_shape", "strides", "padding", "normalize_edges", *LAYOUT),
    "SumPool": ("window_shape", "strides", "padding", *LAYOUT),
    "GlobalAvgPool": LAYOUT,
    "GlobalSumPool": LAYOUT,
    "LayerNorm": ("axis", "eps", *LAYOUT),
    "Dropout": ("rate", "mode"),
    "GlobalSelfAttention": (
        *("n_chan_out", "n_chan_key", "n_chan_val", "n_heads", "linear_scaling", "W_key_std", "W_value_std"),
        *("W_query_std", "W_out_std", "b_std", "attention_mechanism", "pos_emb_type", "pos_emb_p_norm"),
        *("pos_emb_decay_fn", "n_chan_pos_emb", "W_pos_emb_std", "val_pos_emb", *LAYOUT),
    ),
    "Index": ("idx", *LAYOUT),
    "ImageResize": ("shape", "method", "antialias", "precision", *LAYOUT),
    "DotGeneral": ("lhs", "rhs", "dimension_numbers", "precision", *LAYOUT),
    "Aggregate": ("aggregate_axis", *LAYOUT, "to_dense", "implementation"),
    "FanInProd": (),
    "FanInConcat": ("axis",),
}
"""Argument names of neural_tangents.stax 0.6.5, from inspect.signature; Conv has two more."""
OWN_ARGUMENTS = {
    "Activation": ("expr",),
    "RMSNorm": ("eps",),
    "GroupNorm": ("groups", "eps"),
    "Permute": ("order",),
    "Scale": ("by",),
    "Gains": ("gain",),
    "Shifts": ("b_std", "is_local"),
}
"""Layers that the peer does not have."""
IN_GRAPHS_ONLY = {"Input"}
"""Written in graphs and documents; stax puts it there by itself."""
KEY = jax.random.PRNGKey(0)
KERNELS_ONLY = {"ExpNormalized"}
"""Without a finite network."""
PIXELS = (3, 4)
EXAMPLES = [op for name in sorted(public_ops()) for op in public_ops()[name].examples()]


def without_examples():
    """Public layers that the tests below would pass over."""
    return [name for name, op in public_ops().items() if not op.examples()]


def layer_of(op):
    """The layer of `stax` with the fields of an Op; those on pixels have other arguments than fields."""
    if op.acts_on_pixels:
        return stax.Layer(stax.Leaf(type(op).__name__, op))
    return getattr(stax, type(op).__name__)(**{f.name: getattr(op, f.name) for f in fields(op) if not f.kw_only})


def network(op):
    """Dense -> layer -> Dense, with a mean over pixels before the last."""
    first, last = stax.Dense(4, 1.1, 0.3), stax.Dense(2, 1.2, 0.1)
    name = type(op).__name__
    if op.acts_on_pixels:
        made = op.layout_after(Layout().on(4), (*PIXELS, 4))
        last = stax.serial(stax.GlobalAvgPool(made.samples, made.channels), last)
    if name in ("FanInProd", "FanInConcat"):
        branches = stax.parallel(stax.serial(stax.Relu(), stax.Dense(4)), stax.serial(stax.Erf(), stax.Dense(4)))
        return stax.serial(first, stax.FanOut(2), branches, layer_of(op), last)
    if name == "Input":
        return stax.serial(first, last)
    if name == "FanOut":
        return stax.serial(first, layer_of(op), stax.FanInSum(), last)
    if name == "FanInSum":
        branches = stax.parallel(stax.Relu(), stax.serial(stax.Erf(), stax.Dense(4)))
        return stax.serial(first, stax.FanOut(2), branches, layer_of(op), last)
    return stax.serial(first, layer_of(op), last)


def samples_shape(op):
    """Shape of a sample: pixels, too, for layers that act on them."""
    return (*PIXELS, 6) if op.acts_on_pixels else (6,)


def of_examples(test):
    return pytest.mark.parametrize("op", EXAMPLES, ids=lambda op: op.label())(test)


def of_first_examples(test):
    """Further examples of a layer that acts on pixels are slow."""
    marked = [op if first_of_its_kind(op) else pytest.param(op, marks=pytest.mark.slow) for op in EXAMPLES]
    return pytest.mark.parametrize("op", marked, ids=[op.label() for op in EXAMPLES])(test)


def first_of_its_kind(op):
    return not op.acts_on_pixels or op == type(op).examples()[0]


def test_every_layer_has_examples():
    assert without_examples() == []


def test_a_layer_without_examples_is_found():
    @dataclass(frozen=True)
    class Forgotten(Relu):
        examples = Op.examples

    try:
        assert without_examples() == ["Forgotten"]
    finally:
        del OPS["Forgotten"]
    assert "Forgotten" not in public_ops()


@pytest.mark.parametrize("name", sorted(public_ops()))
def test_docstring_starts_with_a_formula(name):
    first = (inspect.getdoc(public_ops()[name]) or "").split("\n")[0]
    assert any(mark in first for mark in ("=", "->", "x", "(", "^")), first
    assert first != inspect.getdoc(Op)


@pytest.mark.parametrize("name", sorted(set(public_ops()) - IN_GRAPHS_ONLY))
def test_stax_has_the_layer_with_the_peers_arguments(name):
    expected = {**PEER_ARGUMENTS, **OWN_ARGUMENTS}[name]
    assert tuple(inspect.signature(getattr(stax, name)).parameters) == expected
    assert inspect.getdoc(getattr(stax, name))


def refuses_finite(op):
    """A finite network is asked for in vain."""
    if type(op).__name__ not in KERNELS_ONLY:
        return False
    with pytest.raises(NotImplementedError, match="kernel only"):
        op.forward((), [np.ones((3, 4))], Arrays())
    return True


@of_examples
def test_finite_network(op):
    if refuses_finite(op):
        return
    rng = np.random.default_rng(0)
    shape, arity = (3, *samples_shape(op)[:-1], 4), 2 if op.arity is None else 1
    operands = [np.float32(rng.standard_normal(shape)) for _ in range(arity)]
    specs = op.weights([shape[1:]] * arity)
    weights = [None if s is None else np.float32(s[1] * rng.standard_normal(s[0])) for s in specs]
    output = op.forward(weights, operands, Arrays(KEY))
    expected = op.shape([shape[1:]] * arity) if not isinstance(op, Input) else (4,)
    assert output.shape == (3, *expected)
    assert np.isfinite(output).all()


@of_first_examples
def test_stax_layer_runs(op):
    init_fn, apply_fn, _ = network(op)
    output_shape, params = init_fn(KEY, (-1, *samples_shape(op)))
    if refuses_finite(op):
        return
    y = apply_fn(params, np.ones((3, *samples_shape(op)), np.float32), rng=KEY)
    assert output_shape == (-1, 2)
    assert y.shape == (3, 2)
    assert np.isfinite(y).all()


FIRST = [public_ops()[name].examples()[0] for name in sorted(public_ops()) if name not in KERNELS_ONLY]
QUICK_TO_SAMPLE = ("Relu",)


@pytest.mark.parametrize(
    "op",
    [op if type(op).__name__ in QUICK_TO_SAMPLE else pytest.param(op, marks=pytest.mark.slow) for op in FIRST],
    ids=[op.label() for op in FIRST],
)
def test_networks_of_growing_width_approach_the_kernel(op):
    """M_w = K + c / w + d / w^2 + noise, at a confidence of 0.999; the seed is fixed."""
    x = np.random.default_rng(0).standard_normal((2, *samples_shape(op))).astype(np.float32)
    x[1] = 0.6 * x[0] + 0.8 * x[1]
    agreement = ntkc.check(network(op), x, widths=(64, 128, 256), n_samples=200)
    assert agreement, str(agreement)


@of_examples
def test_json_round_trip(op):
    graph = to_graph(network(op))
    document = json.loads(json.dumps(ntkc.to_json(network(op)), allow_nan=False))
    again = ntkc.from_json(document)
    assert list(again.edges(keys=True)) == list(graph.edges(keys=True))
    assert [op_of(again, n) for n in ordered(again)] == [op_of(graph, n) for n in ordered(graph)]
    assert isinstance(op, Input) or op in [op_of(again, n) for n in again]


def data_of(op, pair):
    """Five rows; or three images, two of them close."""
    if not op.acts_on_pixels:
        return pair[0]
    x = np.random.default_rng(0).standard_normal((3, *samples_shape(op)))
    x[1] = x[0] + 0.01 * x[1]
    return x


@of_first_examples
@pytest.mark.usefixtures("x64")
def test_kernel(op, pair):
    x = data_of(op, pair)
    program = ntkc.compile(network(op))
    for gram, apart in zip(program(x, None, ("nngp", "ntk")), program(x, x, ("nngp", "ntk")), strict=True):
        scale = np.abs(np.diag(gram)).max()
        assert np.isfinite(gram).all()
        np.testing.assert_allclose(gram, gram.T, rtol=1e-12)
        assert np.linalg.eigvalsh(gram).min() > -1e-12 * scale
        # Without x2 the diagonal is known to be of equal samples; with x2 rho rounds, and kinks take its square root.
        if not is_random(op):
            np.testing.assert_allclose(gram, apart, rtol=0, atol=1e-7 * scale)
        off = ~np.eye(len(x), dtype=bool)
        np.testing.assert_allclose(np.asarray(gram)[off], np.asarray(apart)[off], rtol=1e-12)


def is_random(op):
    """x2 equal to x1 are other draws."""
    return isinstance(op, Dropout) and op.mode == "train"


EDGES = "windows over the edge are none of the cropped image"
NOT_CROPPED = {
    "Conv(out_chan=3, filter_shape=(3, 2), strides=(2, 1), W_std=1.3, b_std=0.2)": EDGES,
    "AvgPool(window_shape=(2, 2), strides=(2, 2))": EDGES,
    "AvgPool(window_shape=(3, 3), strides=(2, 1), padding='SAME', normalize_edges=True)": EDGES,
    "SumPool(window_shape=(2, 2), strides=(2, 2))": EDGES,
    "ConvLocal(out_chan=3, filter_shape=(3, 2), strides=(1, 2), W_std=1.1)": EDGES,
}
"""Layers after which masked columns at the end are not columns that never were."""
CROPPED = [
    *(
        op
        for op in EXAMPLES
        if op.acts_on_pixels
        and op.label() not in NOT_CROPPED
        and "CIRCULAR" not in op.label()
        and type(op).__name__ not in ("ConvTranspose", "ImageResize", "DotGeneral")
        and op != Index((0, -1))
    ),
    LayerNorm((1, 2, 3), 0.1),
    LayerNorm((2, 3), 0.1),
    ImageResize((-1, 5, -1, -1)),
    ImageResize((-1, 5, -1, -1), "nearest"),
]
QUICK = ("Conv", "GlobalAvgPool", "GroupNorm", "GlobalSelfAttention")


@pytest.mark.parametrize(
    "op",
    [
        op if type(op).__name__ in QUICK and first_of_its_kind(op) else pytest.param(op, marks=pytest.mark.slow)
        for op in CROPPED
    ],
    ids=[op.label() for op in CROPPED],
)
@pytest.mark.usefixtures("x64")
def test_masked_columns_are_cropped_ones(op):
    """Pixels that are NaN, at the end of an axis that is padded with zeros, are pixels that are not there."""
    x = np.random.default_rng(1).standard_normal((3, *samples_shape(op)))
    masked = x.copy()
    masked[:, :, -1] = np.nan
    net = stax.serial(stax.Dense(4, 1.1), layer_of(op), stax.Relu(), stax.GlobalAvgPool(), stax.Dense(2, 1.2, 0.1))
    if type(op).__name__ in ("FanInProd", "FanInConcat", "GlobalAvgPool", "GlobalSumPool") or is_random(op):
        net = network(op)
    if isinstance(op, GlobalAvgPool):
        net = stax.serial(stax.Dense(4, 1.1, 0.3), stax.Relu(), stax.Dense(4), layer_of(op), stax.Relu())
    kernel_fn = net[2]
    found = kernel_fn(masked, None, ("nngp", "ntk"), mask_constant=np.nan)
    for a, b in zip(found, kernel_fn(x[:, :, :-1], None, ("nngp", "ntk")), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


@pytest.mark.parametrize("get", ["ntk", ("nngp", "ntk")], ids=str)
@pytest.mark.parametrize("samples", [5, 300])
def test_gram_is_exactly_symmetric(samples, get):
    """The upper triangle is the mirror image of the lower, to the last bit."""
    x = np.random.default_rng(0).standard_normal((samples, 6))
    result = ntkc.compile(network(Relu()))(x, None, get)
    for gram in [result] if isinstance(get, str) else result:
        np.testing.assert_array_equal(gram, gram.T)


@of_examples
def test_latex(op):
    program = ntkc.compile(network(op), input_shape=samples_shape(op))
    for get in ("nngp", "ntk"):
        text = program.latex(get)
        assert text.startswith("\\begin{aligned}\n")
        assert text.endswith("\n\\end{aligned}")
        assert text.count("{") == text.count("}")
        assert text.count("\\left") == text.count("\\right")
        assert not re.findall(r"operatorname{[A-Z]\w+}|same_|pattern", text)
        used, defined = (
            set(re.findall(rf"mathcal{{A}}_{{\\mathrm{{(\w+)}}}}{end}", text)) for end in (r"\\!", r"\(K\)")
        )
        assert used == defined
