"""Every stored network of Neural Tangents (reference/README.md), and, where rows are collinear, a 40-digit recursion.

All networks have inputs of one shape and are evaluated operation by operation (jit is compared with that in
test_gradients): XLA then compiles each operation once instead of each network.
"""

import importlib.util
import json
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
from oracle import kernels

from ntkc import stax
from ntkc.kernel import Kernel

FOLDER = Path(__file__).parent / "reference"
REFERENCE = np.load(FOLDER / "kernels.npz")
NAMES = [str(n) for n in REFERENCE["name"]]

PEER_TOLERANCE = 1e-11
"""Relative to sqrt(K_ii K_jj) or sqrt(T_ii T_jj); the README of the reference promises the peer to 1e-12."""
PEER_COLLINEAR = 1e-7
"""The peer's own error at collinear rows, from square roots of differences."""
EXACT_TOLERANCE = 1e-12


def load_build():
    spec = importlib.util.spec_from_file_location("reference_build", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build


build = load_build()


@cache
def evaluated(name: str) -> tuple[Kernel, Kernel]:
    """kernel_fn(x1, x2) and kernel_fn(x1), as numpy."""
    case = NAMES.index(name)
    x1, x2 = REFERENCE["x1"][case], REFERENCE["x2"][case]
    kernel_fn = build(stax, json.loads(str(REFERENCE["spec"][case])))[2]
    with jax.enable_x64(True), jax.disable_jit():
        # One row more, so that both calls have the same shapes.
        pair, alone = kernel_fn(x1, np.concatenate([x2, x1[4:]])), kernel_fn(x1)
        pair = pair.replace(nngp=pair.nngp[:, :4], ntk=pair.ntk[:, :4], cov2=pair.cov2[:4])
        return jax.tree.map(np.asarray, (pair, alone))


def collinear(x1, x2):
    """Pairs of rows whose angle is 0 or pi, or that hold a zero row."""
    norms = np.outer(np.linalg.norm(x1, axis=1), np.linalg.norm(x2, axis=1))
    return np.abs(x1 @ x2.T) >= norms * (1 - 1e-12)


def scales(variances1, variances2):
    """sqrt(K_ii K_jj), 1 where that is zero."""
    scale = np.sqrt(np.outer(variances1, variances2))
    return np.where(scale > 0, scale, 1)


@cache
def tangents_of_second(name):
    """T of each row of x2 with itself, which the peer's file does not hold."""
    case = NAMES.index(name)
    spec = json.loads(str(REFERENCE["spec"][case]))
    return np.array([float(kernels(spec, x, x).t) for x in REFERENCE["x2"][case]])


def both_sides(name):
    """(rows, columns, our K and T, the peer's K and T, scales of K and T) with x2 and without."""
    case = NAMES.index(name)
    stored = {key: REFERENCE[key][case] for key in REFERENCE.files}
    pair, alone = evaluated(name)
    x1, x2 = stored["x1"], stored["x2"]
    own = stored["cov1"], np.diag(stored["ntk_self"])
    columns = stored["cov2"], tangents_of_second(name)
    yield x1, x2, pair, (stored["nngp"], stored["ntk"]), [scales(a, b) for a, b in zip(own, columns, strict=True)]
    yield x1, x1, alone, (stored["nngp_self"], stored["ntk_self"]), [scales(a, a) for a in own]


def check_peer_values(name):
    for x1, x2, ours, theirs, scale in both_sides(name):
        tolerance = np.where(collinear(x1, x2), PEER_COLLINEAR, PEER_TOLERANCE)
        for get, expected, size in zip(("nngp", "ntk"), theirs, scale, strict=True):
            assert np.all(np.abs(getattr(ours, get) - expected) <= tolerance * size), get


def check_variances(name):
    case = NAMES.index(name)
    pair, alone = evaluated(name)
    for ours, key in ((pair.cov1, "cov1"), (pair.cov2, "cov2"), (alone.cov1, "cov1")):
        np.testing.assert_allclose(ours, REFERENCE[key][case], rtol=1e-12)
    assert alone.cov2 is None
    np.testing.assert_allclose(np.diag(alone.nngp), alone.cov1, rtol=1e-12)


def check_collinear_rows(name):
    spec = json.loads(str(REFERENCE["spec"][NAMES.index(name)]))
    for x1, x2, ours, _, scale in both_sides(name):
        for i, j in np.argwhere(collinear(x1, x2)):
            exact = kernels(spec, x1[i], x2[j])
            assert abs(ours.nngp[i, j] - float(exact.k)) <= EXACT_TOLERANCE * scale[0][i, j], (i, j)
            assert abs(ours.ntk[i, j] - float(exact.t)) <= EXACT_TOLERANCE * scale[1][i, j], (i, j)


def layer_names(spec):
    inner = [name for part in spec[1:] if isinstance(part, list) for name in layer_names(part)]
    return [spec[0], *inner]


QUICK_DEEP = ("erf_deep", "polynomial_cubic_deep")


def is_slow(name):
    """Every nonlinearity has a shallow network in the quick run, and a deep one in the slow."""
    return name == "relu_bias_depth_50" or (name.endswith("_deep") and name not in QUICK_DEEP)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if is_slow(n) else n for n in NAMES])
def test_network(name):
    check_peer_values(name)
    check_variances(name)
    check_collinear_rows(name)


def test_no_layer_of_the_reference_is_left_out():
    used = {name for text in REFERENCE["spec"] for name in layer_names(json.loads(str(text)))}
    assert used - {"times"} <= set(vars(stax))
    assert len(NAMES) == 123
