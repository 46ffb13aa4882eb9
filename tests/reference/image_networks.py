"""name -> small network on images, sequences or volumes, of `neural_tangents.stax` or `ntkc.stax`, and its inputs."""

# ruff: noqa: E731 -- a network is a lambda, for it is built only when asked for

# Left out, the peer refuses them: LayerNorm or a spatial FanInConcat of what is not Gaussian, FanInSum of inputs, ReLU
# after Flatten or after a channel FanInConcat, repeat of one Conv, a masked input straight into a global pool or a
# resize, a masked pool with CIRCULAR, Aggregate over axes (2, 1), a DotGeneral that batches samples with n1 != n2.
# Left out, the peer is wrong: ImageResize and sparse Aggregate over two axes after an odd number of Convs,
# RectifiedMonomial on its own diagonal.

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax.numpy as jnp
import numpy as np

WIDTH = 16
N1, N2 = 3, 2
IMAGE, TINY, SQUARE = (6, 5, 2), (3, 2, 2), (8, 8, 3)
SEQUENCE, VOLUME, FLAT = (7, 3), (4, 3, 5, 2), (6,)


@dataclass(frozen=True)
class Case:
    """One network and the shape of one sample; a tuple of shapes for a network of several inputs."""

    build: Callable[[], object]
    shape: tuple = IMAGE
    batch_axis: int = 0
    channel_axis: int = -1  # among the axes of one sample
    mask_constant: float | None = None
    pattern: Callable[[np.random.Generator, int], np.ndarray] | None = None
    diagonal_spatial: bool | None = None
    diagonal_batch: bool | None = None
    symmetric: bool = True  # False: the peer has no kernel_fn(x1, None)


def calls(name: str, case: Case) -> dict[str, tuple]:
    """Suffix of the key -> (x1, x2, keywords) of kernel_fn."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    x1, x2 = (sample(rng, case, case.shape, n) for n in (N1, N2))
    options = {
        key: value
        for key in ("mask_constant", "diagonal_spatial", "diagonal_batch")
        if (value := getattr(case, key)) is not None
    }
    if case.pattern is None:
        patterns = {"": {}, "_self": {}}
    else:
        p1, p2 = case.pattern(rng, N1), case.pattern(rng, N2)
        patterns = {"": {"pattern": (p1, p2)}, "_self": {"pattern": (p1, p1)}}
    found = {"": (x1, x2, options | patterns[""])}
    return found | ({"_self": (x1, None, options | patterns["_self"])} if case.symmetric else {})


def sample(rng, case, shape, n):
    """Normal numbers; a quarter of the pixels is masked if the case has a mask constant."""
    if isinstance(shape[0], tuple):
        return tuple(sample(rng, case, part, n) for part in shape)
    x = rng.standard_normal((n, *shape))
    if case.mask_constant is not None:
        pixels = np.expand_dims(x.take(0, case.channel_axis % len(shape) + 1), case.channel_axis % len(shape) + 1)
        x = np.where(rng.random(pixels.shape) < 0.25, case.mask_constant, x)
    return np.moveaxis(x, 0, case.batch_axis)


def first(stax):
    """Conv, ReLU: what most networks begin with."""
    return stax.serial(conv(stax), stax.Relu())


def conv(stax, filter_shape=(3, 3), padding="SAME", **options):
    return stax.Conv(WIDTH, filter_shape, padding=padding, W_std=1.4, b_std=0.1, **options)


def flat(stax, *layers):
    return stax.serial(*layers, stax.Flatten(), stax.Dense(WIDTH, 1.2, 0.2))


def mean(stax, *layers):
    return stax.serial(*layers, stax.GlobalAvgPool(), stax.Dense(WIDTH, 1.2, 0.2))


def conv_networks(stax):
    """Conv under test, ReLU, Flatten, Dense."""

    def case(*args, shape=IMAGE, **options):
        return Case(lambda: flat(stax, stax.Conv(WIDTH, *args, **options), stax.Relu()), shape)

    return {
        "conv_valid_relu_flatten": case((3, 3)),
        "conv_same_relu_flatten": case((3, 3), padding="SAME"),
        "conv_circular_relu_flatten": case((3, 3), padding="CIRCULAR"),
        "conv_same_stride2_relu_flatten": case((3, 3), (2, 2), "SAME"),
        "conv_valid_stride2_relu_flatten": case((3, 3), (2, 2), "VALID"),
        "conv_circular_stride2_relu_flatten": case((3, 3), (2, 2), "CIRCULAR"),
        "conv_same_stride21_relu_flatten": case((3, 2), (2, 1), "SAME"),
        "conv_same_stride3_relu_flatten": case((3, 3), (3, 3), "SAME", shape=SQUARE),
        "conv_1x1_relu_flatten": case((1, 1), None, "VALID", 1.5, 0.3),
        "conv_1x1_stride2_relu_flatten": case((1, 1), (2, 2), "VALID", 1.5, 0.3),
        "conv_2x2_same_relu_flatten": case((2, 2), None, "SAME", 1.3, 0.3),
        "conv_2x2_circular_relu_flatten": case((2, 2), None, "CIRCULAR", 1.3, 0.3),
        "conv_4x4_same_stride2_relu_flatten": case((4, 4), (2, 2), "SAME", 1.3, 0.0),
        "conv_4x4_circular_stride3_relu_flatten": case((4, 4), (3, 3), "CIRCULAR", 1.3),
        "conv_5x5_same_relu_flatten": case((5, 5), None, "SAME", 1.3, 0.0),
        "conv_5x5_circular_relu_flatten": case((5, 5), None, "CIRCULAR", 1.3, 0.3),
        "conv_1x3_same_relu_flatten": case((1, 3), None, "SAME", 0.7, 0.3),
        "conv_standard_relu_flatten": case((3, 2), None, "SAME", 1.3, None, parameterization="standard"),
        "conv_standard_bias_relu_flatten": case((3, 2), None, "SAME", 1.3, 0.1, parameterization="standard"),
        "conv_standard_s12_relu_flatten": case((2, 2), None, "SAME", 1.3, 0.1, None, "standard", (1, 2)),
        "conv_standard_s23_relu_flatten": case((2, 2), None, "SAME", 1.3, None, None, "standard", (2, 3)),
        "conv_sequence_same_relu_flatten": case((3,), None, "SAME", 1.3, 0.1, shape=SEQUENCE),
        "conv_sequence_stride2_circular_relu_flatten": case((4,), (2,), "CIRCULAR", 1.3, 0.1, shape=SEQUENCE),
        "conv_sequence_stride3_valid_relu_flatten": case((2,), (3,), "VALID", 1.3, 0.1, shape=SEQUENCE),
        "conv_volume_same_relu_flatten": case((3, 2, 3), None, "SAME", 1.3, 0.1, shape=VOLUME),
        "conv_volume_stride212_valid_relu_flatten": case((2, 2, 2), (2, 1, 2), "VALID", 1.3, 0.1, shape=VOLUME),
        "conv_volume_circular_relu_flatten": case((2, 2, 3), (1, 2, 2), "CIRCULAR", 1.3, 0.1, shape=VOLUME),
        "conv_no_axes_relu_flatten": case((), None, "SAME", 1.3, 0.1, shape=FLAT),
    }


def deep_conv_networks(stax):
    """Chains of an odd and an even number of convolutions, with strides, and a mean over pixels at the end."""

    def chain(shape, *convs, head=mean):
        layers = lambda: [layer for c in convs for layer in (conv(stax, *c[:2], strides=c[2]), stax.Relu())]
        return Case(lambda: head(stax, *layers()), shape)

    same, valid, wrap = "SAME", "VALID", "CIRCULAR"
    a, b = ((3, 3), same, None), ((2, 3), valid, (2, 1))
    return {
        "convs_2_mean": chain(IMAGE, a, a),
        "convs_3_mean": chain(IMAGE, a, b, ((3, 2), same, (1, 2))),
        "convs_4_mean": chain(SQUARE, a, b, a, ((3, 3), wrap, (2, 2))),
        "convs_5_flatten": chain(SQUARE, a, b, a, ((2, 2), wrap, (2, 2)), ((1, 2), same, None), head=flat),
        "convs_same_stride2_even_even": chain(SQUARE, ((3, 3), same, (2, 2)), ((3, 3), same, (2, 2))),
        "convs_same_stride2_odd": chain((7, 5, 2), ((3, 3), same, (2, 2)), ((3, 3), same, (2, 2))),
        "convs_same_stride3_even_filter": chain((7, 8, 2), ((2, 4), same, (3, 2)), ((2, 2), same, (2, 2))),
        "convs_circular_stride2_odd": chain((7, 5, 2), ((3, 3), wrap, (2, 2)), ((2, 2), wrap, (2, 1))),
        "convs_valid_stride2": chain(SQUARE, ((3, 2), valid, (2, 1)), ((2, 3), valid, (1, 2))),
        "convs_sequence_3": chain(SEQUENCE, ((3,), same, (2,)), ((2,), same, None), ((3,), wrap, None)),
        "convs_sequence_2_flatten": chain(SEQUENCE, ((3,), same, (2,)), ((2,), wrap, (2,)), head=flat),
        "convs_volume_2": chain(VOLUME, ((2, 3, 3), same, None), ((2, 2, 2), wrap, (1, 1, 2))),
        "convs_linear_3": Case(lambda: mean(stax, *(conv(stax, (2, 3)) for _ in range(3)))),
        "convs_standard_2_mean": Case(
            lambda: mean(stax, first(stax), conv(stax, (2, 2), parameterization="standard", s=(2, 1)), stax.Relu())
        ),
    }


def transpose_networks(stax):
    """Conv, ReLU, ConvTranspose or ConvLocal under test, ReLU, head."""

    def up(head, *args, shape=IMAGE):
        layers = lambda: (conv(stax, (3, 3, 2)[: len(shape) - 1]), stax.Relu(), stax.ConvTranspose(WIDTH, *args))
        return Case(lambda: head(stax, *layers(), stax.Relu()), shape)

    return {
        "transpose_valid_mean": up(mean, (3, 3), None, "VALID", 1.3, 0.1),
        "transpose_same_mean": up(mean, (3, 3), None, "SAME", 1.3, 0.1),
        "transpose_circular_mean": up(mean, (3, 3), None, "CIRCULAR", 1.3, 0.1),
        "transpose_valid_stride2_mean": up(mean, (3, 3), (2, 2), "VALID", 1.3, 0.1),
        "transpose_same_stride2_flatten": up(flat, (3, 3), (2, 2), "SAME", 1.3, 0.1),
        "transpose_circular_stride2_mean": up(mean, (3, 3), (2, 2), "CIRCULAR", 1.3, 0.1),
        "transpose_same_2x2_stride2_mean": up(mean, (2, 2), (2, 2), "SAME", 1.3, None),
        "transpose_valid_2x2_stride2_flatten": up(flat, (2, 2), (2, 2), "VALID", 1.3, 0.0),
        "transpose_circular_2x2_mean": up(mean, (2, 2), None, "CIRCULAR", 1.3, 0.1),
        "transpose_same_4x2_stride21_mean": up(mean, (4, 2), (2, 1), "SAME", 1.3, 0.1),
        "transpose_valid_stride3_mean": up(mean, (2, 2), (3, 3), "VALID", 1.3, 0.1, shape=(4, 3, 2)),
        "transpose_same_stride3_flatten": up(flat, (4, 4), (3, 3), "SAME", 1.3, 0.1, shape=(4, 3, 2)),
        "transpose_circular_stride3_mean": up(mean, (4, 4), (3, 3), "CIRCULAR", 1.3, 0.1, shape=(4, 3, 2)),
        "transpose_sequence_stride2_mean": up(mean, (3,), (2,), "SAME", 1.3, 0.1, shape=SEQUENCE),
        "transpose_sequence_circular_mean": up(mean, (4,), (2,), "CIRCULAR", 1.3, 0.1, shape=SEQUENCE),
        "transpose_standard_mean": up(mean, (2, 3), (2, 1), "SAME", 1.3, 0.1, None, "standard"),
    }


def local_networks(stax):
    def local(head, *args, shape=IMAGE):
        layers = lambda: (conv(stax, (3, 3, 2)[: len(shape) - 1]), stax.Relu(), stax.ConvLocal(WIDTH, *args))
        return Case(lambda: head(stax, *layers(), stax.Relu()), shape)

    return {
        "local_same_flatten": local(flat, (3, 3), None, "SAME", 1.3, 0.1),
        "local_same_mean": local(mean, (3, 3), None, "SAME", 1.3, 0.1),
        "local_valid_mean": local(mean, (2, 3), None, "VALID", 1.3, 0.1),
        "local_valid_no_bias_flatten": local(flat, (2, 3), None, "VALID", 1.3),
        "local_circular_mean": local(mean, (3, 2), None, "CIRCULAR", 1.3, 0.1),
        "local_same_stride2_mean": local(mean, (3, 3), (2, 2), "SAME", 1.3, 0.1),
        "local_circular_stride21_flatten": local(flat, (3, 3), (2, 1), "CIRCULAR", 1.3, 0.1),
        "local_sequence_stride2_mean": local(mean, (3,), (2,), "SAME", 1.3, 0.1, shape=SEQUENCE),
        "local_standard_mean": local(mean, (2, 2), None, "SAME", 1.3, 0.1, None, "standard"),
        "local_first_mean": Case(
            lambda: mean(stax, stax.ConvLocal(WIDTH, (2, 2), None, "SAME", 1.3, 0.1), stax.Relu())
        ),
        "local_then_conv_mean": Case(
            lambda: mean(stax, stax.ConvLocal(WIDTH, (3, 2), None, "SAME", 1.3, 0.1), stax.Relu(), first(stax))
        ),
    }


def pool_networks(stax):
    """Conv, ReLU, pool under test, Conv, ReLU, head; the other orders by hand."""

    def pool(head, kind, *args, shape=IMAGE):
        layers = lambda: (conv(stax, (3, 3, 2)[: len(shape) - 1]), stax.Relu(), getattr(stax, kind)(*args))
        return Case(lambda: head(stax, *layers(), conv(stax, (2, 2, 2)[: len(shape) - 1]), stax.Relu()), shape)

    return {
        "avg_pool_2x2_mean": pool(mean, "AvgPool", (2, 2)),
        "avg_pool_2x2_stride2_flatten": pool(flat, "AvgPool", (2, 2), (2, 2)),
        "avg_pool_3x3_same_mean": pool(mean, "AvgPool", (3, 3), None, "SAME"),
        "avg_pool_3x3_same_edges_mean": pool(mean, "AvgPool", (3, 3), None, "SAME", True),
        "avg_pool_2x3_same_stride2_edges_flatten": pool(flat, "AvgPool", (2, 3), (2, 2), "SAME", True),
        "avg_pool_2x3_same_stride32_mean": pool(mean, "AvgPool", (2, 3), (3, 2), "SAME"),
        "avg_pool_circular_flatten": pool(flat, "AvgPool", (2, 3), None, "CIRCULAR"),
        "avg_pool_circular_stride32_mean": pool(mean, "AvgPool", (3, 3), (3, 2), "CIRCULAR"),
        "avg_pool_2x2_circular_stride2_mean": pool(mean, "AvgPool", (2, 2), (2, 2), "CIRCULAR"),
        "avg_pool_valid_stride32_flatten": pool(flat, "AvgPool", (2, 3), (3, 2), "VALID", True),
        "sum_pool_2x2_mean": pool(mean, "SumPool", (2, 2)),
        "sum_pool_3x3_same_stride2_flatten": pool(flat, "SumPool", (3, 3), (2, 2), "SAME"),
        "sum_pool_2x3_circular_mean": pool(mean, "SumPool", (2, 3), (3, 2), "CIRCULAR"),
        "avg_pool_sequence_mean": pool(mean, "AvgPool", (2,), (2,), "SAME", True, shape=SEQUENCE),
        "avg_pool_volume_mean": pool(mean, "AvgPool", (2, 2, 2), (1, 1, 2), "SAME", shape=VOLUME),
        "sum_pool_sequence_flatten": pool(flat, "SumPool", (3,), None, "CIRCULAR", shape=SEQUENCE),
    }


def pool_order_networks(stax):
    avg, total = (lambda *args: stax.AvgPool(*args)), (lambda *args: stax.SumPool(*args))
    return {
        "conv_avg_pool_relu_flatten": Case(lambda: flat(stax, conv(stax), avg((2, 2)), stax.Relu())),
        "conv_avg_pool_same_edges_relu_mean": Case(
            lambda: mean(stax, conv(stax), avg((3, 3), (2, 2), "SAME", True), stax.Relu())
        ),
        "conv_sum_pool_relu_mean": Case(lambda: mean(stax, conv(stax), total((2, 3), None, "SAME"), stax.Relu())),
        "conv_avg_pool_circular_erf_flatten": Case(
            lambda: flat(stax, conv(stax), avg((2, 2), (2, 1), "CIRCULAR"), stax.Erf())
        ),
        "two_avg_pools_flatten": Case(lambda: flat(stax, first(stax), avg((2, 2)), avg((2, 3), (2, 1)))),
        "two_pools_relu_mean": Case(
            lambda: mean(stax, conv(stax), avg((2, 2), None, "SAME"), total((2, 2), (2, 2)), stax.Relu()), SQUARE
        ),
        "pool_on_input_conv_relu_flatten": Case(lambda: flat(stax, avg((2, 2)), first(stax))),
        "global_sum_pool": Case(lambda: stax.serial(first(stax), stax.GlobalSumPool(), stax.Dense(WIDTH, 1.2, 0.2))),
        "global_sum_pool_relu": Case(
            lambda: stax.serial(conv(stax), stax.GlobalSumPool(), stax.Relu(), stax.Dense(WIDTH, 1.2, 0.2))
        ),
        "global_avg_pool_relu": Case(
            lambda: stax.serial(conv(stax), stax.GlobalAvgPool(), stax.Relu(), stax.Dense(WIDTH, 1.2, 0.2))
        ),
        "global_avg_pool_no_dense": Case(lambda: stax.serial(first(stax), stax.GlobalAvgPool())),
        "global_avg_pool_dense_relu": Case(
            lambda: stax.serial(mean(stax, first(stax)), stax.Relu(), stax.Dense(WIDTH, 1.1, 0.1))
        ),
        "global_avg_pool_sequence": Case(lambda: mean(stax, conv(stax, (3,)), stax.Relu()), SEQUENCE),
        "global_sum_pool_volume": Case(
            lambda: stax.serial(conv(stax, (2, 2, 2)), stax.Relu(), stax.GlobalSumPool()), VOLUME
        ),
        "global_avg_pool_input": Case(lambda: mean(stax)),
    }


def flatten_networks(stax):
    def standard(b_std, s=(1, 1)):
        return stax.Dense(WIDTH, 1.2, b_std, parameterization="standard", s=s)

    return {
        "flatten_no_dense": Case(lambda: stax.serial(first(stax), stax.Flatten())),
        "flatten_twice": Case(lambda: flat(stax, first(stax), stax.Flatten())),
        "flatten_input_dense_relu": Case(lambda: stax.serial(flat(stax), stax.Relu(), stax.Dense(WIDTH, 1.3, 0.1))),
        "flatten_dense_relu_dense": Case(
            lambda: stax.serial(flat(stax, first(stax)), stax.Relu(), stax.Dense(WIDTH, 1.3, 0.1))
        ),
        "dense_on_pixels_flatten": Case(lambda: flat(stax, first(stax), stax.Dense(WIDTH, 1.3, 0.1), stax.Relu())),
        "dense_on_pixels_mean": Case(lambda: mean(stax, first(stax), stax.Dense(WIDTH, 1.3, 0.1), stax.Relu())),
        "dense_on_input_pixels_mean": Case(lambda: mean(stax, stax.Dense(WIDTH, 1.3, 0.1), stax.Relu(), first(stax))),
        "dense_standard_on_pixels_mean": Case(lambda: mean(stax, first(stax), standard(0.1), stax.Relu())),
        "flatten_dense_standard": Case(lambda: stax.serial(first(stax), stax.Flatten(), standard(None))),
        "flatten_dense_standard_bias": Case(lambda: stax.serial(first(stax), stax.Flatten(), standard(0.3))),
        "flatten_dense_standard_zero_bias": Case(lambda: stax.serial(first(stax), stax.Flatten(), standard(0.0))),
        "flatten_dense_standard_s21": Case(lambda: stax.serial(first(stax), stax.Flatten(), standard(0.1, (2, 1)))),
        "mean_dense_standard": Case(lambda: stax.serial(first(stax), stax.GlobalAvgPool(), standard(None))),
        "mean_dense_standard_bias": Case(lambda: stax.serial(first(stax), stax.GlobalAvgPool(), standard(0.3))),
        "flatten_sequence": Case(lambda: flat(stax, conv(stax, (2,)), stax.Relu()), SEQUENCE),
        "identity_on_pixels": Case(lambda: flat(stax, stax.Identity(), first(stax), stax.Identity())),
    }


def activation_networks(stax):
    """Conv, activation, Conv, activation, head."""

    def act(head, *args, shape=(5, 4, 2), **options):
        kind, *rest = args
        layer = lambda: getattr(stax, kind)(*rest, **options)
        return Case(lambda: head(stax, conv(stax), layer(), conv(stax, (2, 2)), layer()), shape)

    return {
        "act_relu_stabilized_mean": act(mean, "Relu", do_stabilize=True),
        "act_leaky_relu_mean": act(mean, "LeakyRelu", 0.2),
        "act_abs_mean": act(mean, "Abs"),
        "act_abrelu_flatten": act(flat, "ABRelu", -0.5, 1.5),
        "act_erf_mean": act(mean, "Erf"),
        "act_erf_abc_flatten": act(flat, "Erf", 1.5, 0.7, 0.3),
        "act_gelu_mean": act(mean, "Gelu"),
        "act_gelu_flatten": act(flat, "Gelu"),
        "act_sin_mean": act(mean, "Sin"),
        "act_sin_abc_flatten": act(flat, "Sin", 1.5, 0.7, 0.3),
        "act_cos_mean": act(mean, "Cos", 1.2, 0.8, 0.1),
        "act_exp_mean": act(mean, "Exp", 0.5, 0.5),
        "act_gaussian_flatten": act(flat, "Gaussian"),
        "act_gaussian_ab_mean": act(mean, "Gaussian", 1.5, -0.5),
        "act_gabor_mean": act(mean, "Gabor"),
        "act_rbf_mean": act(mean, "Rbf", 0.5),
        "act_monomial_2_mean": act(mean, "Monomial", 2),
        "act_monomial_3_flatten": act(flat, "Monomial", 3),
        "act_polynomial_mean": act(mean, "Polynomial", [0.5, 1.0, -0.3, 0.2]),
        "act_rectified_monomial_2_mean": Case(
            lambda: mean(stax, conv(stax), stax.RectifiedMonomial(2)), (5, 4, 2), symmetric=False
        ),
        "act_sigmoid_like_mean": act(mean, "Sigmoid_like"),
        "act_exp_normalized_mean": act(mean, "ExpNormalized", 1.5, 0.25),
        "act_numerical_tanh_flatten": act(flat, "ElementwiseNumerical", jnp.tanh, 25),
        "act_numerical_tanh_mean": act(mean, "ElementwiseNumerical", jnp.tanh, 25),
        "act_sign_flatten": Case(lambda: flat(stax, conv(stax), stax.Sign())),
        "act_relu_sequence_mean": Case(lambda: mean(stax, conv(stax, (3,)), stax.Gelu(), conv(stax, (3,))), SEQUENCE),
        "act_erf_volume_mean": Case(
            lambda: mean(stax, conv(stax, (2, 2, 2)), stax.Erf(), conv(stax, (1, 2, 1))), VOLUME
        ),
    }


def branch_networks(stax):
    """FanOut, branches that each end in a layer of their own, FanIn, head."""

    def branches(head, fan_in, *parts, shape=IMAGE, after=lambda: [stax.Relu()]):
        inner = lambda: stax.parallel(*(part() for part in parts))
        return Case(lambda: head(stax, conv(stax), stax.FanOut(len(parts)), inner(), fan_in(), *after()), shape)

    identity = lambda: stax.Identity()
    block = lambda: stax.serial(stax.Relu(), conv(stax, (2, 3)))
    deep = lambda: stax.serial(stax.Relu(), conv(stax), stax.Relu(), conv(stax))
    wide = lambda: stax.serial(stax.Relu(), stax.Conv(2 * WIDTH, (3, 3), padding="CIRCULAR", b_std=0.1))
    dense = lambda: stax.serial(stax.Erf(), stax.Dense(WIDTH, 1.3, 0.1))
    bare = lambda: stax.serial(stax.Relu(), conv(stax, (1, 2)), stax.Erf())
    short = lambda: conv(stax, (1, 1), strides=(2, 2))
    down = lambda: stax.serial(stax.Relu(), conv(stax, strides=(2, 2)))
    total, product = (lambda: stax.FanInSum()), (lambda: stax.FanInProd())
    channels, rows, columns = (lambda a=a: stax.FanInConcat(a) for a in (-1, 1, 2))
    return {
        "sum_identity_conv_mean": branches(mean, total, identity, deep),
        "sum_identity_one_conv_mean": branches(mean, total, identity, block),
        "sum_odd_even_convs_mean": branches(mean, total, block, deep),
        "sum_dense_conv_flatten": branches(flat, total, dense, block),
        "sum_three_flatten": branches(flat, total, identity, deep, dense),
        "sum_strided_mean": branches(mean, total, short, down),
        "sum_no_relu_mean": branches(mean, total, identity, deep, after=list),
        "sum_sizes_odd_even": branches(mean, total, down, short, shape=(5, 4, 2)),
        "prod_conv_dense_mean": branches(mean, product, block, dense, after=lambda: [conv(stax), stax.Relu()]),
        "prod_three_flatten": branches(flat, product, deep, dense, bare, after=lambda: [conv(stax), stax.Relu()]),
        "prod_odd_even_convs_mean": branches(mean, product, block, deep, after=list),
        "concat_channels_mean": branches(mean, channels, block, wide, after=lambda: [conv(stax), stax.Relu()]),
        "concat_channels_odd_even_flatten": branches(
            flat, channels, deep, wide, after=lambda: [conv(stax), stax.Relu()]
        ),
        "concat_rows_mean": branches(mean, rows, block, dense),
        "concat_rows_odd_even_flatten": branches(flat, rows, block, deep, dense),
        "concat_columns_mean": branches(
            mean, columns, deep, dense, after=lambda: [stax.Relu(), conv(stax), stax.Relu()]
        ),
        "concat_columns_negative_axis_mean": branches(mean, lambda: stax.FanInConcat(-2), deep, dense),
    }


def input_networks(stax):
    """Networks of two inputs, and one layer repeated."""
    two = (IMAGE, (6, 5, 3))
    pair = lambda a, b: stax.parallel(stax.serial(conv(stax), a), stax.serial(conv(stax, (2, 2)), b))
    plain = lambda: pair(stax.Identity(), stax.Identity())
    relus = lambda: pair(stax.Relu(), stax.Relu())
    blocks = lambda: stax.serial(first(stax), first(stax))
    fans = lambda: stax.parallel(stax.serial(conv(stax), stax.Relu(), conv(stax)), conv(stax))
    nested = lambda: stax.parallel(stax.serial(plain(), stax.FanInSum()), conv(stax))
    return {
        "two_inputs_sum_mean": Case(lambda: mean(stax, plain(), stax.FanInSum(), stax.Relu()), two),
        "two_inputs_sum_reversed_flatten": Case(lambda: flat(stax, fans(), stax.FanInSum(), stax.Relu()), two),
        "two_inputs_prod_mean": Case(lambda: mean(stax, relus(), stax.FanInProd(), first(stax)), two),
        "two_inputs_concat_channels_mean": Case(lambda: mean(stax, relus(), stax.FanInConcat(-1), first(stax)), two),
        "two_inputs_concat_rows_mean": Case(lambda: mean(stax, plain(), stax.FanInConcat(1), stax.Relu()), two),
        "two_inputs_concat_input_channels": Case(lambda: mean(stax, stax.FanInConcat(-1), first(stax)), two),
        "three_inputs_nested_mean": Case(lambda: mean(stax, nested(), stax.FanInSum(), stax.Relu()), (two, (6, 5, 1))),
        "flat_and_image_concat": Case(
            lambda: stax.serial(
                stax.parallel(flat(stax, first(stax)), stax.Dense(2 * WIDTH, 1.3, 0.1)),
                stax.FanInConcat(-1),
                stax.Dense(WIDTH, 1.3, 0.1),
                stax.Relu(),
                stax.Dense(WIDTH, 1.3, 0.1),
            ),
            (IMAGE, FLAT),
        ),
        "repeat_two_convs_mean": Case(lambda: mean(stax, first(stax), stax.repeat(blocks(), 3))),
        "repeat_dense_flatten": Case(
            lambda: flat(stax, first(stax), stax.repeat(stax.serial(stax.Dense(WIDTH, 1.2, 0.1), stax.Relu()), 3))
        ),
    }


def known_networks(stax):
    """Small versions of published architectures."""

    def wide_block(strides, project):
        main = stax.serial(stax.Relu(), conv(stax, strides=strides), stax.Relu(), conv(stax))
        return stax.serial(
            stax.FanOut(2),
            stax.parallel(main, conv(stax, strides=strides) if project else stax.Identity()),
            stax.FanInSum(),
        )

    def myrtle(strides=(2, 2)):
        parts = [first(stax), first(stax), stax.AvgPool((2, 2), strides)]
        return [*parts, first(stax), stax.AvgPool((2, 2), strides), first(stax), stax.AvgPool((2, 2), strides)]

    def norm_block():
        main = stax.serial(stax.LayerNorm(-1), stax.Relu(), conv(stax), stax.LayerNorm(-1), stax.Relu(), conv(stax))
        return stax.serial(stax.FanOut(2), stax.parallel(main, stax.Identity()), stax.FanInSum())

    blocks = lambda: (wide_block((1, 1), True), wide_block((1, 1), False), wide_block((2, 2), True))
    return {
        "wide_resnet_mean": Case(
            lambda: mean(stax, conv(stax), *blocks(), wide_block((1, 1), False), stax.Relu()), SQUARE
        ),
        "wide_resnet_odd_flatten": Case(lambda: flat(stax, conv(stax), *blocks(), stax.Relu()), (5, 7, 2)),
        "myrtle": Case(lambda: flat(stax, *myrtle()), SQUARE),
        "resnet_avg_pool_layer_norm": Case(
            lambda: flat(stax, conv(stax), norm_block(), stax.AvgPool((2, 2), (2, 2)), norm_block(), stax.Relu()),
            SQUARE,
        ),
        "vanilla_cnn_erf": Case(lambda: flat(stax, *[conv(stax), stax.Erf()] * 3), (5, 5, 1)),
    }


def norm_networks(stax):
    """Conv, LayerNorm under test, ReLU, Conv, ReLU, head."""

    def norm(head, *args, shape=IMAGE):
        return Case(lambda: head(stax, conv(stax), stax.LayerNorm(*args), stax.Relu(), first(stax)), shape)

    def dense(*layers):
        return stax.serial(stax.Dense(WIDTH, 1.3, 0.1), *layers, stax.Dense(WIDTH, 1.2, 0.2))

    return {
        "norm_channels_mean": norm(mean, -1),
        "norm_channels_eps_mean": norm(mean, -1, 0.1),
        "norm_channels_tuple_flatten": norm(flat, (3,), 0.1),
        "norm_all_mean": norm(mean, (1, 2, 3)),
        "norm_all_eps_flatten": norm(flat, (1, 2, 3), 0.1),
        "norm_rows_mean": norm(mean, (1, 3)),
        "norm_rows_eps_mean": norm(mean, (1, 3), 0.1),
        "norm_columns_mean": norm(mean, (2, 3)),
        "norm_columns_negative_flatten": norm(flat, (-2, -1), 0.1),
        "norm_gaussian_relu_mean": Case(lambda: mean(stax, conv(stax), stax.LayerNorm((2, 3), 0.1), stax.Relu())),
        "norm_gaussian_relu_flatten": Case(lambda: flat(stax, conv(stax), stax.LayerNorm(-1), stax.Relu())),
        "norm_sequence_mean": Case(
            lambda: mean(
                stax, conv(stax, (3,)), stax.LayerNorm((1, 2), 0.1), stax.Relu(), conv(stax, (2,)), stax.Relu()
            ),
            SEQUENCE,
        ),
        "norm_after_mean": Case(lambda: stax.serial(mean(stax, first(stax)), stax.LayerNorm(-1, 0.1), stax.Relu())),
        "norm_two_convs_mean": Case(
            lambda: mean(stax, first(stax), conv(stax), stax.LayerNorm((1, 3), 0.1), stax.Relu())
        ),
        "norm_dense_on_pixels_mean": Case(
            lambda: mean(
                stax, first(stax), stax.Dense(WIDTH, 1.3, 0.1), stax.LayerNorm((2, 3)), stax.Relu(), first(stax)
            )
        ),
        "norm_conv_norm_flatten": Case(
            lambda: flat(
                stax, conv(stax), stax.LayerNorm((1, 3)), conv(stax, (2, 2)), stax.LayerNorm(3, 0.1), stax.Relu()
            )
        ),
        "norm_dense_axis_1_eps": Case(lambda: dense(stax.LayerNorm(1, 0.1), stax.Relu()), FLAT),
        "norm_dense_batch": Case(lambda: dense(stax.LayerNorm((0, 1), 0.1), stax.Relu()), FLAT),
        "norm_dense": Case(lambda: dense(stax.LayerNorm(-1), stax.Relu()), FLAT),
        "norm_batch_mean": norm(mean, (0, 3), 0.1),
    }


def dropout_networks(stax):
    def drop(head, *args):
        return Case(lambda: head(stax, first(stax), stax.Dropout(*args), conv(stax, (2, 2)), stax.Relu()))

    def dense(*layers):
        return stax.serial(stax.Dense(WIDTH, 1.3, 0.1), stax.Relu(), *layers, stax.Dense(WIDTH, 1.2, 0.2), stax.Relu())

    return {
        "dropout_half_mean": drop(mean, 0.5),
        "dropout_half_flatten": drop(flat, 0.5, "train"),
        "dropout_test_mean": drop(mean, 0.5, "test"),
        "dropout_keep_09_flatten": drop(flat, 0.9),
        "dropout_before_flatten": Case(lambda: flat(stax, first(stax), stax.Dropout(0.5))),
        "dropout_before_mean": Case(lambda: mean(stax, first(stax), stax.Dropout(0.5))),
        "dropout_after_mean": Case(lambda: stax.serial(mean(stax, first(stax)), stax.Relu(), stax.Dropout(0.7))),
        "dropout_gaussian_mean": Case(lambda: mean(stax, conv(stax), stax.Dropout(0.8), first(stax))),
        "dropout_twice_mean": Case(lambda: mean(stax, *[first(stax), stax.Dropout(0.8)] * 2)),
        "dropout_dense": Case(lambda: dense(stax.Dropout(0.5)), FLAT),
        "dropout_dense_test": Case(lambda: dense(stax.Dropout(0.5, "test")), FLAT),
        "dropout_dense_keep_09": Case(lambda: dense(stax.Dropout(0.9, "train")), FLAT),
    }


def attention_networks(stax):
    """Conv, ReLU, attention under test, head; the sizes of keys and values change nothing in the limit."""

    def attend(head, *scales, shape=(4, 3, 2), after=list, **options):
        layers = lambda: (conv(stax, (2, 2, 2)[: len(shape) - 1]), stax.Relu(), attention(stax, *scales, **options))
        return Case(lambda: head(stax, *layers(), *after()), shape)

    softer = lambda d: jnp.exp(-0.4 * d)
    power = lambda d: 1 / (1 + d)
    relu = lambda: [stax.Relu()]
    half, word = (1.0, 1.2, 0.8, 1.1), {"pos_emb_type": "SUM"}
    tail = {"pos_emb_type": "CONCAT"}
    untied = {"linear_scaling": False, "attention_mechanism": "IDENTITY"}
    return {
        "attention_softmax_flatten": attend(flat, *half),
        "attention_softmax_mean": attend(mean, 1.3, 0.9, 1.2, 1.1, 0.1),
        "attention_softmax_relu_mean": attend(mean, *half, 0.2, after=relu),
        "attention_identity_mean": attend(mean, *half, 0.1, attention_mechanism="IDENTITY"),
        "attention_abs_mean": attend(mean, *half, 0.1, attention_mechanism="ABS"),
        "attention_relu_flatten": attend(flat, *half, attention_mechanism="RELU"),
        "attention_sequence_mean": attend(mean, *half, shape=SEQUENCE),
        "attention_sequence_relu_flatten": attend(flat, *half, 0.1, shape=SEQUENCE, after=relu),
        "attention_sum_mean": attend(mean, *half, **word),
        "attention_sum_value_mean": attend(mean, *half, 0.1, **word, val_pos_emb=True),
        "attention_sum_decay_p1_mean": attend(mean, *half, **word, pos_emb_p_norm=1, pos_emb_decay_fn=softer),
        "attention_sum_decay_p2_value_flatten": attend(
            flat, *half, **word, pos_emb_decay_fn=softer, W_pos_emb_std=0.7, val_pos_emb=True
        ),
        "attention_concat_mean": attend(mean, *half, **tail),
        "attention_concat_channels_mean": attend(mean, *half, 0.1, **tail, n_chan_pos_emb=8, W_pos_emb_std=1.3),
        "attention_concat_value_flatten": attend(flat, *half, **tail, n_chan_pos_emb=24, val_pos_emb=True),
        "attention_concat_decay_sequence_mean": attend(
            mean, *half, shape=SEQUENCE, **tail, pos_emb_p_norm=1, pos_emb_decay_fn=power, val_pos_emb=True
        ),
        "attention_concat_relu_mechanism_mean": attend(
            mean, *half, **tail, attention_mechanism="RELU", pos_emb_decay_fn=power, n_chan_pos_emb=4
        ),
        "attention_sum_abs_mechanism_relu_mean": attend(
            mean, *half, 0.1, after=relu, **word, attention_mechanism="ABS", pos_emb_decay_fn=softer
        ),
        "attention_untied_mean": attend(mean, *half, **untied),
        "attention_untied_bias_relu_flatten": attend(flat, *half, 0.1, after=relu, **untied),
        "attention_untied_sequence_mean": attend(mean, *half, shape=SEQUENCE, **untied),
        "attention_untied_sum_mean": attend(mean, *half, **untied, **word, val_pos_emb=True, pos_emb_decay_fn=softer),
        "attention_untied_sum_keys_mean": attend(mean, *half, **untied, **word, W_pos_emb_std=0.6),
        "attention_untied_concat_mean": attend(mean, *half, 0.1, **untied, **tail, n_chan_pos_emb=8, val_pos_emb=True),
    }


def attention(stax, W_key=1.0, W_value=1.0, W_query=1.0, W_out=1.0, b_std=None, linear_scaling=True, **options):
    return stax.GlobalSelfAttention(
        WIDTH, WIDTH, WIDTH, 4, linear_scaling, W_key, W_value, W_query, W_out, b_std, **options
    )


def more_attention_networks(stax):
    """Attention on the input, twice, after an even number of convolutions, in a residual block."""

    def block(b_std=0.1, **options):
        main = stax.serial(attention(stax, 1.0, 1.2, 0.8, 1.1, b_std, **options))
        return stax.serial(stax.FanOut(2), stax.parallel(main, stax.Identity()), stax.FanInSum())

    def encoder():
        feed = stax.serial(stax.Dense(WIDTH, 1.3, 0.1), stax.Relu(), stax.Dense(WIDTH, 1.3, 0.1))
        add = stax.serial(stax.FanOut(2), stax.parallel(feed, stax.Identity()), stax.FanInSum())
        return stax.serial(block(pos_emb_type="SUM", pos_emb_decay_fn=lambda d: jnp.exp(-d)), stax.LayerNorm(-1), add)

    two = lambda: (first(stax), conv(stax, (2, 2)), stax.Relu())
    return {
        "attention_on_input_mean": Case(lambda: mean(stax, attention(stax), stax.Relu()), SEQUENCE),
        "attention_twice_mean": Case(
            lambda: mean(stax, conv(stax, (3,)), stax.Relu(), attention(stax), attention(stax)), SEQUENCE
        ),
        "attention_two_convs_mean": Case(lambda: mean(stax, *two(), attention(stax, 1.2), first(stax)), (4, 3, 2)),
        "attention_two_convs_sum_mean": Case(
            lambda: mean(stax, *two(), attention(stax, pos_emb_type="SUM", pos_emb_decay_fn=lambda d: jnp.exp(-d))),
            (4, 3, 2),
        ),
        "attention_residual_mean": Case(lambda: mean(stax, conv(stax, (2,)), block(), stax.Relu()), SEQUENCE),
        "attention_encoder_mean": Case(lambda: mean(stax, conv(stax, (1,)), encoder()), SEQUENCE),
    }


def resize_networks(stax):
    """0 or 2 convolutions, resize, Conv, ReLU, head: the peer is wrong after an odd number."""

    def resize(head, convs, *args, shape=IMAGE):
        layers = lambda: [
            layer for _ in range(convs) for layer in (conv(stax, (3, 2, 2)[: len(shape) - 1]), stax.Relu())
        ]
        last = lambda: (conv(stax, (2, 2, 2)[: len(shape) - 1]), stax.Relu())
        return Case(lambda: head(stax, *layers(), stax.ImageResize(*args), *last()), shape)

    return {
        "resize_linear_up_mean": resize(mean, 0, (-1, 8, 7, -1), "linear"),
        "resize_linear_down_mean": resize(mean, 0, (-1, 4, 3, -1), "linear"),
        "resize_linear_down_no_antialias_mean": resize(mean, 0, (-1, 3, 3, -1), "linear", False),
        "resize_linear_mixed_two_convs_flatten": resize(flat, 2, (-1, 4, 7, -1), "linear"),
        "resize_linear_no_antialias_two_convs_mean": resize(mean, 2, (-1, 4, 2, -1), "bilinear", False),
        "resize_nearest_up_mean": resize(mean, 0, (-1, 8, 10, -1), "nearest"),
        "resize_nearest_down_two_convs_mean": resize(mean, 2, (-1, 4, 3, -1), "nearest"),
        "resize_nearest_two_convs_flatten": resize(flat, 2, (-1, 9, -1, -1), "nearest"),
        "resize_one_axis_mean": resize(mean, 2, (-1, -1, 3, -1), "linear"),
        "resize_sequence_mean": resize(mean, 2, (-1, 4, -1), "linear", shape=SEQUENCE),
        "resize_linear_gaussian_relu_mean": Case(
            lambda: mean(stax, first(stax), conv(stax), stax.ImageResize((-1, 4, 7, -1), "linear"), stax.Relu())
        ),
        "resize_batch_flatten": resize(flat, 0, (2, 4, 4, -1), "nearest"),
    }


def index_networks(stax):
    """Conv, ReLU, index under test, ReLU-Conv of the axes that are left, head."""

    def index(head, idx, *after, convs=1, shape=IMAGE):
        layers = lambda: [
            layer for _ in range(convs) for layer in (conv(stax, (3, 2, 2)[: len(shape) - 1]), stax.Relu())
        ]
        return Case(lambda: head(stax, *layers(), stax.Index(stax.Slice[idx]), *(build() for build in after)), shape)

    image = lambda: stax.serial(conv(stax, (2, 2)), stax.Relu())
    line = lambda: stax.serial(conv(stax, (2,)), stax.Relu())
    point = lambda: stax.serial(stax.Dense(WIDTH, 1.3, 0.1), stax.Relu(), stax.Dense(WIDTH, 1.3, 0.1))
    only = lambda stax, *layers: stax.serial(*layers)
    return {
        "slice_rows_columns_mean": index(mean, np.s_[:, 1:5, ::2], image),
        "slice_even_convs_flatten": index(flat, np.s_[:, 1:5, ::2], image, convs=2),
        "slice_input_mean": index(mean, np.s_[:, 2:, 1:4], image, convs=0),
        "slice_reversed_rows_mean": index(mean, np.s_[:, ::-1], image),
        "slice_reversed_columns_flatten": index(flat, np.s_[:, :, 4:0:-2], image, convs=2),
        "slice_negative_mean": index(mean, np.s_[..., -4:-1, :], image),
        "slice_batch_mean": index(mean, np.s_[::-1, :4], image),
        "slice_batch_part_flatten": index(flat, np.s_[1:, :, ::-1], image, convs=2),
        "index_row_mean": index(mean, np.s_[:, 2], line),
        "index_column_mean": index(mean, np.s_[:, :, 3], line),
        "index_last_row_even_convs_flatten": index(flat, np.s_[:, -1], line, convs=2),
        "index_ellipsis_column_mean": index(mean, np.s_[..., 1, :], line, convs=2),
        "index_pixel": index(only, np.s_[:, 2, 3], point),
        "index_row_slice_column_mean": index(mean, np.s_[:, 1, 1:4], line),
        "index_token": index(only, np.s_[:, 0], point, shape=SEQUENCE),
        "index_volume_mean": index(mean, np.s_[:, 1, :, ::2], image, shape=VOLUME),
    } | {
        "slice_gaussian_relu_mean": Case(
            lambda: mean(stax, conv(stax), stax.Index(stax.Slice[:, :4, 1:]), stax.Relu())
        ),
    }


def linear_map_networks(stax):
    """Conv, ReLU, one DotGeneral, head."""

    def dot(head, side, numbers, *sizes, convs=1, shape=IMAGE, after=list, **axes):
        array = np.random.default_rng(len(sizes) + sum(sizes)).standard_normal(sizes)
        layers = lambda: [
            layer for _ in range(convs) for layer in (conv(stax, (3, 2, 2)[: len(shape) - 1]), stax.Relu())
        ]
        product = lambda: stax.DotGeneral(**{side: array}, dimension_numbers=numbers, **axes)
        return Case(lambda: head(stax, *layers(), product(), *after()), shape)

    none = ((), ())
    end = lambda *layers: stax.serial(*layers, stax.Dense(WIDTH, 1.2, 0.2))
    pooled = lambda batch, channel: lambda stax, *layers: end(*layers, stax.GlobalAvgPool(batch, channel))
    flattened = lambda batch: lambda stax, *layers: end(*layers, stax.Flatten(batch))
    dense = lambda: [stax.Dense(WIDTH, 1.3, 0.1), stax.Relu()]
    line = lambda: [conv(stax, (2,)), stax.Relu()]
    return {
        "dot_scalar_mean": dot(mean, "rhs", (none, none), after=dense),
        "dot_rows_vector_mean": dot(mean, "rhs", (((1,), (0,)), none), 6, after=line),
        "dot_columns_vector_flatten": dot(flat, "rhs", (((2,), (0,)), none), 5, after=line),
        "dot_columns_vector_two_convs_mean": dot(mean, "rhs", (((2,), (0,)), none), 5, convs=2, after=line),
        "dot_pixels_matrix_vector": dot(
            lambda stax, *layers: stax.serial(*layers), "rhs", (((1, 2), (0, 1)), none), 6, 5, after=dense
        ),
        "dot_sequence_vector": dot(
            lambda stax, *layers: stax.serial(*layers), "rhs", (((1,), (0,)), none), 7, after=dense, shape=SEQUENCE
        ),
        "dot_lhs_vector_mean": dot(mean, "lhs", (((0,), (1,)), none), 6, after=line),
        "dot_lhs_columns_vector_flatten": dot(flat, "lhs", (((0,), (2,)), none), 5, convs=2, after=line),
        "dot_rows_matrix_mean": dot(pooled(0, 2), "rhs", (((1,), (0,)), none), 6, 4),
        "dot_rows_matrix_two_convs_mean": dot(pooled(0, 2), "rhs", (((1,), (0,)), none), 6, 4, convs=2),
        "dot_lhs_rows_matrix_mean": dot(pooled(1, 3), "lhs", (((1,), (1,)), none), 4, 6),
        "dot_lhs_columns_matrix_mean": dot(pooled(1, 3), "lhs", (((0,), (2,)), none), 5, 4, convs=2),
        "dot_rows_batched_mean": dot(pooled(1, 2), "rhs", (((2,), (1,)), ((1,), (0,))), 6, 5, 4),
        "dot_lhs_rows_batched_mean": dot(pooled(2, 3), "lhs", (((1,), (2,)), ((0,), (1,))), 6, 5, 4, convs=2),
        "dot_columns_batched_vector_flatten": dot(flattened(1), "rhs", (((1,), (0,)), ((2,), (1,))), 6, 5),
        "dot_input_rows_vector_mean": dot(mean, "rhs", (((1,), (0,)), none), 6, convs=0, after=line),
    }


def aggregate_networks(stax):
    """Conv or Dense, ReLU, Aggregate under test, Dense, ReLU, head; random graphs per sample."""

    def graph(head, nodes, axis=None, sparse=False, shape=IMAGE, convs=1, after=None):
        kind = "SPARSE" if sparse else "DENSE"
        layers = lambda: [
            layer for _ in range(convs) for layer in (conv(stax, (3, 2, 2)[: len(shape) - 1]), stax.Relu())
        ]
        pool = lambda: stax.Aggregate(axis, implementation=kind)
        last = after or (lambda: [stax.Dense(WIDTH, 1.3, 0.1), stax.Relu()])
        pattern = partial(edges if sparse else adjacency, nodes)
        return Case(lambda: head(stax, *layers(), pool(), *last()), shape, pattern=pattern)

    again = lambda: [stax.Dense(WIDTH, 1.3, 0.1), stax.Relu(), stax.Aggregate(), stax.Dense(WIDTH)]
    image = lambda: [conv(stax, (2, 2)), stax.Relu()]
    return {
        "aggregate_sequence_mean": graph(mean, (7,), shape=SEQUENCE, convs=0),
        "aggregate_sequence_conv_flatten": graph(flat, (7,), shape=SEQUENCE),
        "aggregate_sequence_twice_mean": graph(mean, (7,), shape=SEQUENCE, after=again),
        "aggregate_sparse_sequence_mean": graph(mean, (7,), 1, True, shape=SEQUENCE, convs=0),
        "aggregate_sparse_sequence_conv_flatten": graph(flat, (7,), 1, True, shape=SEQUENCE),
        "aggregate_rows_mean": graph(mean, (6,), 1),
        "aggregate_columns_mean": graph(mean, (5,), 2, after=image),
        "aggregate_columns_two_convs_flatten": graph(flat, (5,), (2,), convs=2, after=image),
        "aggregate_pixels_mean": graph(mean, (4, 3), (1, 2), shape=(4, 3, 2)),
        "aggregate_pixels_two_convs_flatten": graph(flat, (4, 3), (1, 2), shape=(4, 3, 2), convs=2),
        "aggregate_default_axes_mean": graph(mean, (4, 3), shape=(4, 3, 2), after=image),
        "aggregate_sparse_pixels_mean": graph(mean, (4, 3), (1, 2), True, shape=(4, 3, 2), convs=2),
        "aggregate_sparse_rows_mean": graph(mean, (6,), 1, True, convs=2, after=image),
        "aggregate_no_pattern_mean": replace(graph(mean, (6,), 1), pattern=no_graph),
        "aggregate_to_dense_mean": Case(
            lambda: mean(stax, stax.Dense(WIDTH, 1.3), stax.Relu(), stax.Aggregate(to_dense=doubled), *image_1d(stax)),
            SEQUENCE,
            pattern=partial(adjacency, (7,)),
        ),
        "aggregate_gaussian_relu_mean": Case(
            lambda: mean(stax, conv(stax, (3,)), stax.Aggregate(), stax.Relu()),
            SEQUENCE,
            pattern=partial(adjacency, (7,)),
        ),
    }


def image_1d(stax):
    return conv(stax, (2,)), stax.Relu()


def no_graph(rng, n):
    return None


def doubled(pattern):
    return 2 * pattern


def adjacency(nodes, rng, n):
    """Weighted, directed: (n, nodes, nodes); weights are zero for half of the edges."""
    weights = rng.standard_normal((n, *nodes, *nodes))
    return np.where(rng.random(weights.shape) < 0.5, weights, 0.0)


def edges(nodes, rng, n):
    """(n, 9, len(nodes), 2) tails and heads, the last two edges of every sample padded with -1."""
    found = np.stack([rng.integers(0, size, (n, 9, 2)) for size in nodes], axis=2)
    return np.where(np.arange(9)[None, :, None, None] < 7, found, -1)


def masked(head, *layers, shape=IMAGE, constant=10.0):
    """`layers` are built when the network is."""
    return Case(lambda: head(*(build() for build in layers)), shape, mask_constant=constant)


def mask_networks(stax):
    """A quarter of the pixels masked."""
    to_mean, to_flat = partial(mean, stax), partial(flat, stax)
    one = lambda: first(stax)
    strided = lambda: stax.serial(conv(stax, strides=(2, 2)), stax.Relu())
    valid = lambda: stax.serial(conv(stax, (2, 3), "VALID"), stax.Relu())
    wrap = lambda: stax.serial(conv(stax, (2, 2), "CIRCULAR"), stax.Relu())
    erf = lambda: stax.serial(conv(stax), stax.Erf())
    up = lambda: stax.serial(stax.ConvTranspose(WIDTH, (3, 3), (2, 2), "SAME", 1.3, 0.1), stax.Relu())
    local = lambda: stax.serial(stax.ConvLocal(WIDTH, (3, 2), None, "SAME", 1.3, 0.1), stax.Relu())
    dense = lambda: stax.serial(stax.Dense(WIDTH, 1.3, 0.1), stax.Relu())
    line = lambda: stax.serial(conv(stax, (3,)), stax.Relu())
    total = lambda *layers: stax.serial(*layers, stax.GlobalSumPool(), stax.Dense(WIDTH, 1.2, 0.2))
    pool = lambda kind, *args: lambda: getattr(stax, kind)(*args)
    return {
        "mask_conv_mean": masked(to_mean, one),
        "mask_conv_flatten": masked(to_flat, one),
        "mask_nan_conv_mean": masked(to_mean, one, constant=float("nan")),
        "mask_nan_two_convs_flatten": masked(to_flat, one, wrap, constant=float("nan")),
        "mask_sum": masked(total, one),
        "mask_stride2_mean": masked(to_mean, strided, one),
        "mask_valid_mean": masked(to_mean, valid, one),
        "mask_circular_mean": masked(to_mean, wrap, wrap, one),
        "mask_erf_mean": masked(to_mean, erf, erf),
        "mask_dense_mean": masked(to_mean, dense, one),
        "mask_transpose_mean": masked(to_mean, one, up),
        "mask_local_mean": masked(to_mean, one, local),
        "mask_sequence_mean": masked(to_mean, line, line, shape=SEQUENCE),
        "mask_avg_pool_mean": masked(to_mean, one, pool("AvgPool", (2, 2)), one),
        "mask_avg_pool_same_edges_mean": masked(to_mean, one, pool("AvgPool", (3, 3), (2, 2), "SAME", True), one),
        "mask_sum_pool_flatten": masked(to_flat, one, pool("SumPool", (2, 3), (2, 2), "SAME"), one),
        "mask_input_flatten_relu": masked(to_flat, pool("Flatten"), dense),
    }


def mask_more_networks(stax):
    """Masks through LayerNorm, FanIn, Index, ImageResize, attention."""
    to_mean, to_flat = partial(mean, stax), partial(flat, stax)
    one, plain, last = (lambda: first(stax)), (lambda: conv(stax)), (lambda: stax.serial(stax.Relu(), conv(stax)))
    line, last_line = (lambda: stax.serial(conv(stax, (3,)), stax.Relu())), (lambda: conv(stax, (3,)))
    norm = lambda *args: lambda: stax.LayerNorm(*args)
    size = lambda method: lambda: stax.ImageResize((-1, 4, 7, -1), method)
    attend = lambda **options: lambda: attention(stax, **options)
    other = lambda: stax.serial(stax.Relu(), conv(stax, (2, 2)))
    fan = lambda kind, *args: (
        lambda: stax.serial(stax.FanOut(2), stax.parallel(last(), other()), getattr(stax, kind)(*args))
    )
    two = lambda: stax.serial(stax.parallel(plain(), plain()), stax.FanInSum(), stax.Relu())
    return {
        "mask_norm_channels_mean": masked(to_mean, plain, norm(-1, 0.1), last),
        "mask_norm_rows_mean": masked(to_mean, plain, norm((1, 3), 0.1), last),
        "mask_norm_all_flatten": masked(to_flat, plain, norm((1, 2, 3), 0.1), last),
        "mask_norm_all_two_convs_mean": masked(to_mean, one, plain, norm((1, 2, 3)), last),
        "mask_fan_in_sum_mean": masked(to_mean, plain, fan("FanInSum"), last),
        "mask_fan_in_prod_mean": masked(to_mean, plain, fan("FanInProd"), one),
        "mask_fan_in_concat_rows_mean": masked(to_mean, plain, fan("FanInConcat", 1), last),
        "mask_fan_in_concat_channels_mean": masked(to_mean, plain, fan("FanInConcat", -1), one),
        "mask_dropout_mean": masked(to_mean, one, lambda: stax.Dropout(0.7), one),
        "mask_slice_mean": masked(to_mean, one, lambda: stax.Index(stax.Slice[:, 1:5, ::-1]), one),
        "mask_resize_mean": masked(to_mean, one, one, size("linear"), one),
        "mask_resize_nearest_flatten": masked(to_flat, one, one, size("nearest"), one),
        "mask_attention_mean": masked(to_mean, one, attend(W_key=1.2, b_std=0.1), shape=(4, 3, 2)),
        "mask_attention_sequence_flatten": masked(to_flat, line, attend(), last_line, shape=SEQUENCE),
        "mask_attention_identity_mean": masked(
            to_mean, line, attend(attention_mechanism="IDENTITY"), last_line, shape=SEQUENCE
        ),
        "mask_attention_untied_mean": masked(
            to_mean, line, attend(b_std=0.1, linear_scaling=False, attention_mechanism="IDENTITY"), shape=SEQUENCE
        ),
        "mask_two_inputs_sum_mean": masked(to_mean, two, shape=(IMAGE, IMAGE)),
    }


def channels_first_networks(stax):
    """Data [N, C, H, W]."""
    data = {"shape": (2, 6, 5), "channel_axis": 0}
    numbers = ("NCHW", "OIHW", "NCHW")
    line = lambda **options: conv(stax, dimension_numbers=numbers, **options)
    cnn = lambda **options: stax.serial(line(**options), stax.Relu())
    after = lambda layer: stax.serial(line(), layer, stax.Relu())
    pool = lambda: stax.AvgPool((2, 3), (2, 1), "SAME", channel_axis=1)
    norm = lambda axis: stax.LayerNorm(axis, 0.1, channel_axis=1)
    wide = lambda: stax.serial(stax.Dense(WIDTH, 1.3, 0.1, channel_axis=1), stax.Relu())
    index = lambda: stax.Index(stax.Slice[:, :, 1:5, ::-1], channel_axis=1)
    size = lambda: stax.ImageResize((-1, -1, 4, 7), "linear", channel_axis=1)
    turn = lambda: stax.serial(conv(stax, dimension_numbers=("NCHW", "OIHW", "NHWC")), stax.Relu())
    fan = lambda axis, a, b: stax.serial(stax.FanOut(2), stax.parallel(a, b), stax.FanInConcat(axis))

    def to_mean(*layers):
        return stax.serial(*layers, stax.GlobalAvgPool(channel_axis=1), stax.Dense(WIDTH, 1.2, 0.2))

    return {
        "nchw_mean": Case(lambda: to_mean(cnn(), cnn(strides=(2, 1))), **data),
        "nchw_flatten": Case(lambda: flat(stax, cnn(), cnn(strides=(1, 2))), **data),
        "nchw_pool_mean": Case(lambda: to_mean(cnn(), pool(), cnn()), **data),
        "nchw_norm_mean": Case(lambda: to_mean(after(norm((1, 3))), cnn()), **data),
        "nchw_norm_channels_mean": Case(lambda: to_mean(after(norm(1)), cnn()), **data),
        "nchw_dense_mean": Case(lambda: to_mean(cnn(), wide(), cnn()), **data),
        "nchw_to_nhwc_mean": Case(lambda: mean(stax, turn(), first(stax)), **data),
        "nchw_mask_mean": Case(lambda: to_mean(cnn(), cnn()), **data, mask_constant=10.0),
        "nchw_attention_mean": Case(lambda: to_mean(cnn(), attention(stax, channel_axis=1)), (2, 4, 3), channel_axis=0),
        "nchw_resize_mean": Case(lambda: to_mean(size(), cnn()), **data),
        "nchw_slice_mean": Case(lambda: to_mean(cnn(), index(), cnn()), **data),
        "nchw_concat_channels_mean": Case(lambda: to_mean(fan(1, cnn(), cnn()), cnn()), **data),
        "nchw_concat_rows_mean": Case(lambda: to_mean(fan(2, line(), line()), cnn()), **data),
        "nchw_concat_columns_mean": Case(lambda: to_mean(fan(-1, line(), line()), stax.Relu(), cnn()), **data),
    }


def axis_networks(stax):
    """Batch axis last, spatial axes swapped by a convolution."""
    data = {"shape": (2, 6, 5), "channel_axis": 0, "batch_axis": 3}
    rolled = lambda: stax.serial(conv(stax, dimension_numbers=("CHWN", "HWIO", "CHWN")), stax.Relu())
    dense = lambda: stax.Dense(WIDTH, 1.2, 0.2, batch_axis=1, channel_axis=0)
    pooled = lambda: stax.serial(stax.GlobalAvgPool(batch_axis=3, channel_axis=0), dense())
    turned = lambda **options: conv(stax, (3, 2), dimension_numbers=("NHWC", "HWIO", "NWHC"), **options)
    given = lambda padding, *numbers: conv(stax, (3, 2), padding, dimension_numbers=numbers)
    last = lambda: stax.serial(stax.Relu(), conv(stax, (3, 2)), stax.Relu())
    pool = lambda: stax.serial(stax.Relu(), stax.AvgPool((3, 2), (2, 1)), first(stax))
    normed = lambda: stax.serial(dense(), stax.LayerNorm(0, 0.1, batch_axis=1, channel_axis=0), stax.Relu(), dense())
    return {
        "chwn_mean": Case(lambda: stax.serial(rolled(), rolled(), pooled()), **data),
        "chwn_flatten": Case(lambda: stax.serial(rolled(), stax.Flatten(3), stax.Dense(WIDTH, 1.2, 0.2)), **data),
        "chwn_flatten_batch_last": Case(lambda: stax.serial(rolled(), stax.Flatten(3, 1), dense()), **data),
        "dense_batch_last": Case(normed, FLAT, batch_axis=1, channel_axis=0),
        "conv_nwhc_flatten": Case(lambda: flat(stax, turned(), stax.Relu())),
        "conv_nwhc_strided_mean": Case(lambda: mean(stax, turned(strides=(2, 1)), last())),
        "conv_nwhc_twice_mean": Case(lambda: mean(stax, turned(), turned(), stax.Relu())),
        "conv_nwhc_pool_mean": Case(lambda: mean(stax, turned(), pool())),
        "conv_dimension_numbers_default": Case(lambda: mean(stax, given("SAME", "NHWC", "HWIO", "NHWC"), stax.Relu())),
        "conv_kernel_iohw_mean": Case(lambda: mean(stax, given("VALID", "NHWC", "IOHW", "NHWC"), stax.Relu())),
        "conv_kernel_owhi_mean": Case(lambda: mean(stax, given("VALID", "NHWC", "OWHI", "NHWC"), last())),
    }


def pixels(*layers, shape=TINY, **options):
    return Case(lambda: layers[0].serial(*(build() for build in layers[1:])), shape, **options)


def pixel_output_networks(stax):
    """Kernels (n1, n2, H, H, W, W): nothing reduces the pixels."""
    one = lambda: stax.serial(conv(stax, (2, 2)), stax.Relu())
    line = lambda: stax.serial(conv(stax, (2,)), stax.Relu())
    dense = lambda: stax.serial(stax.Dense(WIDTH, 1.3, 0.1), stax.Relu())
    local = lambda: stax.serial(stax.ConvLocal(WIDTH, (2, 2), None, "SAME", 1.3, 0.1), stax.Relu())
    up = lambda: stax.ConvTranspose(WIDTH, (2, 2), (1, 2), "SAME", 1.3, 0.1)
    turned = lambda: conv(stax, (2, 1), dimension_numbers=("NHWC", "HWIO", "NWHC"))
    rolled = lambda: conv(stax, (2, 2), dimension_numbers=("NCHW", "OIHW", "NCHW"))
    return {
        "pixels_conv": pixels(stax, one),
        "pixels_two_convs": pixels(stax, one, one),
        "pixels_dense": pixels(stax, dense),
        "pixels_gaussian": pixels(stax, lambda: conv(stax, (2, 2))),
        "pixels_pool": pixels(stax, one, lambda: stax.AvgPool((2, 1))),
        "pixels_norm": pixels(stax, lambda: conv(stax, (2, 2)), lambda: stax.LayerNorm((1, 3), 0.1)),
        "pixels_local": pixels(stax, one, local),
        "pixels_transpose": pixels(stax, one, up, shape=(2, 2, 1)),
        "pixels_turned": pixels(stax, turned),
        "pixels_index": pixels(stax, one, lambda: stax.Index(stax.Slice[:, ::-1, 1])),
        "pixels_sequence": pixels(stax, line, shape=(4, 2)),
        "pixels_sequence_twice": pixels(stax, line, line, shape=(4, 2)),
        "pixels_attention": pixels(stax, one, lambda: attention(stax)),
        "pixels_mask": pixels(stax, one, mask_constant=10.0),
        "pixels_nchw": pixels(stax, rolled, shape=(2, 3, 2), channel_axis=0),
    }


def diagonal_networks(stax):
    """diagonal_spatial keeps (n1, n2, H, W); diagonal_batch=False changes only cov1."""
    one = lambda: stax.serial(conv(stax, (2, 2)), stax.Relu())
    point = lambda: stax.serial(conv(stax, (1, 1)), stax.Relu())
    dense = lambda: stax.serial(stax.Dense(WIDTH, 1.3, 0.1), stax.Relu())
    two = lambda head: lambda: head(stax, first(stax), first(stax))
    return {
        "pixels_full": pixels(stax, dense, diagonal_spatial=False),
        "pixels_diagonal": pixels(stax, one, dense, shape=IMAGE, diagonal_spatial=True),
        "pixels_diagonal_1x1": pixels(stax, point, point, shape=IMAGE, diagonal_spatial=True),
        "pixels_diagonal_batch_false": pixels(stax, dense, dense, diagonal_spatial=False, diagonal_batch=False),
        "diagonal_spatial_flatten": Case(two(flat), diagonal_spatial=True),
        "diagonal_spatial_false_flatten": Case(two(flat), diagonal_spatial=False),
        "diagonal_batch_false_mean": Case(two(mean), (4, 3, 2), diagonal_batch=False),
    }


FAMILIES = (
    conv_networks,
    deep_conv_networks,
    transpose_networks,
    local_networks,
    pool_networks,
    pool_order_networks,
    flatten_networks,
    activation_networks,
    branch_networks,
    input_networks,
    known_networks,
    norm_networks,
    dropout_networks,
    attention_networks,
    more_attention_networks,
    resize_networks,
    index_networks,
    linear_map_networks,
    aggregate_networks,
    mask_networks,
    mask_more_networks,
    channels_first_networks,
    axis_networks,
    pixel_output_networks,
    diagonal_networks,
)


def networks(stax) -> dict[str, Case]:
    """Every network of every family; a network is built when its `build` is called."""
    return {name: case for family in FAMILIES for name, case in family(stax).items()}
