"""The functions of an emitted module lower for CPU, CUDA and TPU, without those machines."""

import jax
import numpy as np
import pytest
from jax import export

import ntkc
from ntkc import stax

PLATFORMS = ("cpu", "cuda", "tpu")


def mlp(phi, depth, b_std):
    return stax.serial(*[stax.serial(stax.Dense(4, 1.2, b_std), phi)] * depth, stax.Dense(4, 1.2, b_std))


NETWORKS = {
    "relu with bias": mlp(stax.Relu(), 2, 0.1),
    "relu loop": mlp(stax.Relu(), 4, 0.1),
    "relu collapsed": mlp(stax.Relu(), 6, None),
    "erf": mlp(stax.Erf(), 2, 0.1),
    "gelu": mlp(stax.Gelu(), 1, 0.1),
    "smooth series": mlp(stax.Activation("tanh(x)"), 2, 0.1),
    "kinked series": mlp(stax.Activation("elu(x)"), 1, 0.1),
    "thresholds": mlp(stax.Activation("hard_tanh(x)"), 1, 0.1),
    "polynomial": mlp(stax.Polynomial((0.1, 0.5, 0.2)), 2, None),
    "constant": stax.serial(stax.Dense(4), stax.Monomial(0), stax.Dense(4)),
}


def exported(name, function, shapes, dtype):
    program = NETWORKS[name][2].program
    arguments = [jax.ShapeDtypeStruct(s, dtype) for s in shapes]
    return export.export(jax.jit(program.module[function]), platforms=PLATFORMS)(*arguments)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NETWORKS)
def test_export(name, dtype):
    with jax.enable_x64(dtype == np.float64):
        for function, shapes in (
            ("kernel", [(5, 3), (4, 3)]),
            ("kernel", [(300, 3), (4, 3)]),
            ("ntk", [(300, 3)]),
            ("variance", [(5, 3)]),
        ):
            found = exported(name, function, shapes, dtype)
            assert set(found.platforms) == set(PLATFORMS)
            assert {a.dtype for a in found.out_avals} == {np.dtype(dtype)}


CONV = stax.serial(stax.Conv(4, (3, 3), None, "SAME", 1.3, 0.1), stax.Relu())
IMAGES = {
    "flattened": stax.serial(stax.repeat(CONV, 3), stax.Flatten(), stax.Dense(1)),
    "pooled": stax.serial(CONV, stax.AvgPool((2, 2), (2, 2)), CONV, stax.GlobalAvgPool(), stax.Dense(1)),
    "attention": stax.serial(
        stax.Conv(4, (3, 3)), stax.LayerNorm(), stax.GlobalSelfAttention(4, 4, 4, 2), stax.Flatten()
    ),
}


@pytest.mark.parametrize("name", IMAGES)
def test_export_with_pixels(name):
    sample = (4, 6, 2)
    module = ntkc.compile(IMAGES[name], input_shape=sample).module
    for function, counts in (("ntk", (5, 3)), ("ntk", (4,)), ("kernel", (2, 3)), ("variance", (3,))):
        arguments = [jax.ShapeDtypeStruct((n, *sample), np.float32) for n in counts]
        made = export.export(jax.jit(module[function]), platforms=PLATFORMS)(*arguments)
        assert set(made.platforms) == set(PLATFORMS)
