"""float32 kernels of near-duplicates, rows and images alike, against float64 of the very same numbers.

Samples lie at relative distance 1 ... 1e-4 of the first one; smooth images have a contrast of 1e-3, so that pixels of
one image are near-duplicates too. Errors are relative to sqrt(K_ii K_jj) and sqrt(T_ii T_jj).
"""

import numpy as np
import pytest

from ntkc import stax

TOLERANCE = 1e-5
DISTANCES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
CONTRAST = 1e-3
ROW, IMAGE, LARGE = (50,), (8, 8, 3), (24, 24, 3)
WIDTH = 4
STEPS = (np.sqrt(2), None), (np.sqrt(2), 0.1)
ENDS = {"flat": stax.Flatten(), "mean": stax.GlobalAvgPool()}
RELU = stax.Relu()


def dense(W_std=2**0.5, b_std=None):
    return stax.Dense(WIDTH, W_std, b_std)


def conv(W_std=2**0.5, b_std=None, padding="SAME", strides=None):
    return stax.Conv(WIDTH, (3, 3), strides, padding, W_std, b_std)


def branches(join, *layers):
    return stax.serial(stax.FanOut(len(layers)), stax.parallel(*layers), join)


def residual(*layers):
    return branches(stax.FanInSum(), stax.Identity(), stax.serial(*layers))


def rows(b, *between):
    """20 layers, with something in the middle of them."""
    return stax.serial(*[dense(2**0.5, b), RELU] * 10, *between, *[dense(2**0.5, b), RELU] * 10, dense(1.0, b))


def images(end, *layers):
    return stax.serial(*layers, ENDS[end], dense(1.0))


def row_networks(b):
    w = 2**0.5
    two = branches(stax.FanInProd(), stax.serial(dense(w, b), RELU, dense(1.0, b)), dense(1.0, b))
    return {
        "plain": rows(b),
        "dropout test": rows(b, stax.Dropout(0.5, "test")),
        "dropout train": rows(b, stax.Dropout(0.5)),
        "layernorm": rows(b, dense(w, b), stax.LayerNorm(), RELU),
        "rmsnorm": rows(b, dense(w, b), stax.RMSNorm(), RELU),
        "product": rows(b, two),
        "channels": rows(b, branches(stax.FanInConcat(-1), stax.serial(dense(w, b), RELU), dense(1.0, b))),
        "mixed": rows(b, dense(1.5, b), stax.Erf()),
        "residual": rows(b, dense(w, b), residual(RELU, dense(w, b))),
    }


def image_networks(b, end):
    relu, w = [conv(2**0.5, b), RELU], 2**0.5
    strided = [conv(w, b, "SAME", (2, 2)), RELU]
    return {
        "same": images(end, *relu * 10),
        "valid": images(end, *[conv(w, b, "VALID"), RELU] * 10),
        "circular": images(end, *[conv(w, b, "CIRCULAR"), RELU] * 10),
        "strides": images(end, *relu * 3, *strided, *relu * 3, conv(w, b, "CIRCULAR", (2, 2)), RELU, *relu * 2),
        "residual": images(end, conv(w, b), *[residual(RELU, conv(w, b))] * 4, RELU),
        "leaky": images(end, *[conv(1.0, b), stax.LeakyRelu(0.3)] * 10),
        "abs": images(end, *[conv(1.0, b), stax.Abs()] * 10),
        "mixed": images(end, *[conv(w, b), RELU, conv(1.5, b), stax.Erf()] * 5),
        "layernorm": images(end, *[*relu, conv(w, b), stax.LayerNorm((1, 2, -1)), RELU] * 3),
        "erf": images(end, *[conv(2.0, b), stax.Erf()] * 10),
    }


NETS = {
    **{("rows", b, name): net for b in (None, 0.1) for name, net in row_networks(b).items()},
    **{(end, b, name): net for end in ENDS for b in (None, 0.1) for name, net in image_networks(b, end).items()},
}
QUICK = {("rows", 0.1, "layernorm"), ("rows", None, "dropout train"), ("flat", 0.1, "same"), ("flat", None, "erf")}
CASES = [pytest.param(k, id=str(k), marks=[] if k in QUICK else pytest.mark.slow) for k in NETS]


def shape_of(case):
    return ROW if case[0] == "rows" else LARGE if case[2] == "valid" else IMAGE


def near(rng, shape):
    """One sample, and others at the distances from it."""
    x = rng.standard_normal(shape)
    steps = [rng.standard_normal(shape) for _ in DISTANCES]
    moved = [x + d * np.linalg.norm(x) * s / np.linalg.norm(s) for d, s in zip(DISTANCES, steps, strict=True)]
    return np.asarray([x, *moved], np.float32)


def smooth(rng, shape):
    """Waves on one colour."""
    height, width, channels = shape
    grid = np.stack(np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij"), -1)
    waves = [np.sin(2 * grid @ rng.standard_normal((2, channels)) + rng.random(channels)) for _ in range(4)]
    images = [1 + CONTRAST * wave for wave in waves[:3]]
    return np.asarray([*images, images[0] + CONTRAST / 10 * waves[3]], np.float32)


def worst_error(net, x):
    found, exact = (net[2](v, None, ("nngp", "ntk")) for v in (x, x.astype(np.float64)))
    assert found.ntk.dtype == np.float32
    errors = []
    for a, b in zip(found, exact, strict=True):
        own = np.sqrt(np.diag(b))
        errors.append(np.max(np.abs(np.asarray(a) - b) / np.outer(own, own)))
    return max(errors)


@pytest.mark.parametrize("case", CASES)
def test_near_duplicates(case, x64):
    rng, shape = np.random.default_rng(0), shape_of(case)
    errors = [worst_error(NETS[case], near(rng, shape))]
    if len(shape) > 1:
        errors.append(worst_error(NETS[case], smooth(rng, shape)))
    print(f"{case}: {', '.join(f'{e:.1e}' for e in errors)}")
    assert max(errors) <= TOLERANCE


POOLED = [
    stax.serial(*[conv(b_std=0.1), RELU] * 3, pool, *[conv(b_std=0.1), RELU] * 3, stax.Flatten(), dense())
    for pool in (stax.AvgPool((2, 2), (2, 2)), stax.AvgPool((3, 3), (2, 2), "SAME", normalize_edges=True))
]


@pytest.mark.slow
@pytest.mark.parametrize("net", POOLED)
def test_pools(net, x64):
    """Half of the digits are lost where both sides of a pool move apart: its distance is a difference of others."""
    rng = np.random.default_rng(0)
    assert worst_error(net, near(rng, IMAGE)) <= 5e-4
    assert worst_error(net, smooth(rng, IMAGE)) <= 1e-4
