"""Random finite networks with pixels: their average kernels approach the compiled ones as 1 / width.

Each average over DRAWS networks lies within SIGMAS standard errors of the kernel, plus BIAS / width of its largest
entry. Seeds are fixed, so that a test passes always or never.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from ntkc import empirical_nngp_fn, empirical_ntk_fn, stax

DRAWS = 100
WIDTHS = (32, 128, 512)
SIGMAS, BIAS = 4, 4
IMAGE, SEQUENCE = (4, 3, 2), (5, 2)


class Case(NamedTuple):
    """A network of a width, ending in the features that are compared, and the shape of one sample."""

    build: Callable[[int], Any]
    shape: tuple[int, ...] = IMAGE
    has_ntk: bool = False


def conv(width, filter_shape=(2, 2), strides=None, padding="SAME", **options):
    return stax.Conv(width, filter_shape, strides, padding, 1.3, 0.2, **options)


def sum_of(*branches):
    return joined(stax.FanInSum(), *branches)


def joined(join, *branches):
    return stax.serial(stax.FanOut(len(branches)), stax.parallel(*branches), join)


def after_conv(*layers):
    return lambda w: stax.serial(conv(w), *layers)


def relu_conv(width, *layers):
    return stax.serial(conv(width), stax.Relu(), *layers)


RELU, MEAN, FLAT = stax.Relu(), stax.GlobalAvgPool(), stax.Flatten()
WIDE = {"parameterization": "standard"}
CASES = {
    "conv, flatten": Case(
        lambda w: relu_conv(w, stax.Conv(w, (3, 2), (2, 1), "VALID"), stax.Erf(), FLAT), has_ntk=True
    ),
    "circular, pixels left": Case(lambda w: stax.serial(conv(w, (3, 2), (1, 2), "CIRCULAR"), stax.Sin())),
    "sequence": Case(
        lambda w: stax.serial(conv(w, (3,)), RELU, conv(w, (2,), (2,)), stax.Gelu(), MEAN), SEQUENCE, True
    ),
    "dilation and groups": Case(
        lambda w: relu_conv(w, stax.Conv(w, (2, 2), None, "SAME", 1.3, 0.2, dilation=(2, 1), groups=4), RELU, MEAN),
        IMAGE,
        True,
    ),
    "standard": Case(lambda w: stax.serial(conv(w, s=(1, 1), **WIDE), RELU, conv(w, **WIDE), RELU, MEAN)),
    "transposed": Case(lambda w: stax.serial(stax.ConvTranspose(w, (3, 2), (2, 1), "SAME", 1.3, 0.1), RELU, MEAN)),
    "transposed, valid": Case(
        lambda w: stax.serial(stax.ConvTranspose(w, (2, 3), (1, 2), "VALID", 1.3, 0.1), stax.Erf())
    ),
    "transposed, circular": Case(lambda w: stax.serial(stax.ConvTranspose(w, (3, 2), (2, 1), "CIRCULAR", 1.3), RELU)),
    "local, mean": Case(
        lambda w: stax.serial(stax.ConvLocal(w, (2, 2), None, "SAME", 1.3, 0.2), RELU, MEAN), IMAGE, True
    ),
    "local twice": Case(
        lambda w: stax.serial(*[stax.ConvLocal(w, (2,), None, "CIRCULAR", 1.3, 0.2), RELU] * 2), SEQUENCE
    ),
    "pools": Case(
        lambda w: relu_conv(w, stax.AvgPool((3, 2), None, "SAME", True), conv(w), RELU, stax.SumPool((2, 2), (2, 1)))
    ),
    "circular pool": Case(after_conv(stax.AvgPool((3, 2), (2, 1), "CIRCULAR"), RELU, stax.GlobalSumPool())),
    "sign before a pool": Case(after_conv(stax.Sign(), stax.AvgPool((2, 2)))),
    "sign before a mean": Case(lambda w: stax.serial(conv(w), stax.Sign(), MEAN, stax.Dense(w), RELU)),
    "relu squared": Case(after_conv(stax.RectifiedMonomial(2))),
    "x + relu(x)": Case(
        lambda w: stax.serial(conv(w), sum_of(stax.Identity(), RELU), conv(w), RELU, MEAN), IMAGE, True
    ),
    "x + x": Case(lambda w: stax.serial(conv(w), sum_of(stax.Identity(), stax.Identity()), stax.Abs(), FLAT)),
    "pre-activation residual": Case(
        lambda w: stax.serial(conv(w), sum_of(stax.Identity(), stax.serial(RELU, conv(w))), RELU, MEAN), IMAGE, True
    ),
    "layer norm over channels": Case(after_conv(stax.LayerNorm(), RELU, MEAN)),
    "layer norm over pixels": Case(lambda w: relu_conv(w, conv(w), stax.LayerNorm((1, 2, -1)), RELU), has_ntk=True),
    "layer norm over rows": Case(after_conv(stax.LayerNorm((1, -1)), RELU)),
    "group norm": Case(lambda w: relu_conv(w, conv(w), stax.GroupNorm(2), RELU, MEAN), IMAGE, True),
    "rms norm": Case(lambda w: relu_conv(w, conv(w), stax.RMSNorm(0.1), stax.Erf(), MEAN)),
    "dropout before a pool": Case(after_conv(RELU, stax.Dropout(0.6), stax.AvgPool((2, 2)))),
    "dropout, flatten": Case(lambda w: relu_conv(w, stax.Dropout(0.6), conv(w), RELU, FLAT)),
    "product": Case(lambda w: joined(stax.FanInProd(), relu_conv(w), stax.serial(conv(w), stax.Cos()))),
    "concatenated channels": Case(
        lambda w: stax.serial(
            joined(stax.FanInConcat(), relu_conv(w), stax.serial(conv(3 * w), stax.Erf())), conv(w), RELU
        )
    ),
    "concatenated pixels": Case(
        lambda w: stax.serial(joined(stax.FanInConcat(1), conv(w), conv(w, (1, 2))), RELU, conv(w), MEAN)
    ),
    "dense on pixels": Case(lambda w: relu_conv(w, stax.Dense(w, 1.2, 0.3), RELU, MEAN), IMAGE, True),
    "pooled independent branches": Case(
        lambda w: sum_of(relu_conv(w, stax.AvgPool((2, 2))), relu_conv(w, stax.AvgPool((2, 2))))
    ),
    "flattened independent branches": Case(lambda w: sum_of(relu_conv(w, FLAT), relu_conv(w, FLAT))),
    "pooled branches of one field": Case(
        after_conv(
            sum_of(stax.serial(RELU, stax.AvgPool((2, 2))), stax.AvgPool((2, 2))), stax.Conv(128, (1, 1)), RELU, MEAN
        )
    ),
    "means of one field": Case(
        after_conv(sum_of(stax.serial(RELU, MEAN), stax.serial(stax.Erf(), MEAN), MEAN)), has_ntk=True
    ),
    "groups, standard": Case(lambda w: stax.serial(conv(w), conv(w, groups=2, **WIDE)), IMAGE, True),
}
"""Networks by what they test."""
QUICK = (
    "local, mean",
    "sign before a pool",
    "relu squared",
    "x + relu(x)",
    "dropout before a pool",
    "pooled independent branches",
)
"""Cases of the default run."""


def marked(names, quick):
    """The others are slow."""
    return [n if n in quick else pytest.param(n, marks=pytest.mark.slow) for n in names]


def images(shape):
    """Three samples, two of them alike."""
    x = np.random.default_rng(5).standard_normal((3, *shape)).astype(np.float32)
    x[2] = 0.8 * x[0] + 0.4 * x[2]
    return x


def draws(net, kernel_fn, x, count):
    """kernel_fn(x, None, params) of `count` random networks, in float64."""

    def one(key):
        first, second = jax.random.split(key)
        return kernel_fn(x, None, net[0](first, (-1, *x.shape[1:]))[1], rng=second)

    # This generator takes a third of the time to compile.
    keys = jax.random.split(jax.random.key(7, impl="unsafe_rbg"), count)
    return np.asarray(jax.jit(lambda k: jax.lax.map(one, k))(keys), np.float64)


def check(kernel, values, width):
    """Mean of draws = kernel, up to sampling error and a bias."""
    kernel = np.asarray(kernel, np.float64)
    assert values.shape[1:] == kernel.shape
    scale = np.abs(kernel).max()
    deviation = np.abs(values.mean(0) - kernel)
    allowed = SIGMAS * values.std(0, ddof=1) / np.sqrt(len(values)) + BIAS / width * scale
    excess = float((deviation / allowed).max())
    assert excess <= 1, f"off by {deviation.max() / scale:.3f} of the largest entry, {excess:.1f} times what is allowed"


@pytest.mark.parametrize("name", marked(CASES, QUICK))
def test_nngp(name):
    case, x, width = CASES[name], images(CASES[name].shape), WIDTHS[1]
    net = case.build(width)
    check(net[2](x, None, "nngp"), draws(net, empirical_nngp_fn(net[1]), x, DRAWS), width)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_nngp_of_growing_width(name):
    case, x = CASES[name], images(CASES[name].shape)
    kernel = case.build(WIDTHS[0])[2](x, None, "nngp")
    for width in WIDTHS:
        net = case.build(width)
        check(kernel, draws(net, empirical_nngp_fn(net[1]), x, DRAWS * WIDTHS[0] // width + 20), width)


@pytest.mark.parametrize("name", marked([n for n in CASES if CASES[n].has_ntk], ["groups, standard"]))
def test_ntk(name):
    case, x, width = CASES[name], images(CASES[name].shape), WIDTHS[1]
    net = stax.serial(case.build(width), stax.Dense(1, 1.1, 0.2))
    check(net[2](x, None, "ntk"), draws(net, empirical_ntk_fn(net[1], vmap_axes=0), x, DRAWS // 2), width)
