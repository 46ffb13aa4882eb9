"""float32 kernels of ReLU networks against the 40-digit recursion of the very same inputs, near-duplicates included.

Rows lie at relative distance 1 ... 1e-4 of each other, with norms of ratio 1 and 1.3. Errors are relative to
sqrt(K_ii K_jj) and sqrt(T_ii T_jj).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import kernels

from ntkc import stax

TOLERANCE = 5e-6
DISTANCES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
RATIOS = (1.0, 1.3)
BASES = 2
DEPTHS = [(1, None), (3, None), (10, None), (50, None), (1, 0.1), (3, 0.1), (10, 0.1), (50, 0.1)]
WIDE = [50, pytest.param(784, marks=pytest.mark.slow)]


def mlp(depth, bias):
    dense = ["Dense", {"out_dim": 1, "W_std": 2**0.5, "b_std": bias}]
    return ["serial", ["times", ["serial", dense, ["Relu"]], depth], dense]


def network(depth, bias):
    block = stax.serial(stax.Dense(1, 2**0.5, bias), stax.Relu())
    return stax.serial(*[block] * depth, stax.Dense(1, 2**0.5, bias))


def data(features):
    """x1 [2, d]; x2 [2 * 5 * 2, d], rows near the first base first."""
    rng = np.random.default_rng(features)
    bases = rng.standard_normal((BASES, features))
    near = []
    for x in bases:
        for distance in DISTANCES:
            step = rng.standard_normal(features)
            moved = x + distance * np.linalg.norm(x) * step / np.linalg.norm(step)
            near += [ratio * np.linalg.norm(x) / np.linalg.norm(moved) * moved for ratio in RATIOS]
    return np.asarray(bases, np.float32), np.asarray(near, np.float32)


def check(depth, bias, features, kernel, x1, x2):
    """The largest relative errors of K and of T over each base and the rows near it."""
    spec, (k, t) = mlp(depth, bias), kernel
    assert k.dtype == t.dtype == np.float32
    near = len(DISTANCES) * len(RATIOS)
    own1, own2 = ([kernels(spec, x, x) for x in rows] for rows in (x1, x2))
    errors = []
    for j, x in enumerate(x2):
        i = j // near
        exact = kernels(spec, x1[i], x)
        scale_k = float((own1[i].k * own2[j].k) ** 0.5)
        scale_t = float((own1[i].t * own2[j].t) ** 0.5)
        errors.append((abs(k[i, j] - exact.k) / scale_k, abs(t[i, j] - exact.t) / scale_t))
    worst = [float(max(column)) for column in zip(*errors, strict=True)]
    print(f"float32 depth {depth} bias {bias} d {features}: nngp {worst[0]:.1e} ntk {worst[1]:.1e}")
    assert max(worst) <= TOLERANCE


def pair_kernel(depth, bias, x1, x2):
    found = network(depth, bias)[2](x1, x2, ("nngp", "ntk"))
    return [np.asarray(v) for v in found]


@pytest.mark.parametrize("features", WIDE)
@pytest.mark.parametrize(("depth", "bias"), DEPTHS)
def test_near_duplicates(depth, bias, features):
    x1, x2 = data(features)
    check(depth, bias, features, pair_kernel(depth, bias, x1, x2), x1, x2)


@pytest.mark.parametrize(("depth", "bias"), [(3, 0.1), pytest.param(50, None, marks=pytest.mark.slow)])
def test_one_triangle(depth, bias):
    x1, x2 = data(50)
    both = np.concatenate([x1, x2])
    found = network(depth, bias)[2](both, None, ("nngp", "ntk"))
    blocks = [np.asarray(v)[:BASES, BASES:] for v in found]
    check(depth, bias, 50, blocks, x1, x2)
    for v, get in zip(found, ("k", "t"), strict=True):
        exact = [float(getattr(kernels(mlp(depth, bias), x, x), get)) for x in both]
        np.testing.assert_allclose(np.diag(v), exact, rtol=TOLERANCE)


@pytest.mark.parametrize(("depth", "bias"), [(3, 0.1), pytest.param(10, None, marks=pytest.mark.slow)])
def test_x64_does_not_change_float32_results(depth, bias):
    x1, x2 = data(50)
    with jax.enable_x64(True):
        wide = pair_kernel(depth, bias, jnp.asarray(x1), jnp.asarray(x2))
    check(depth, bias, 50, wide, x1, x2)
    narrow = pair_kernel(depth, bias, x1, x2)
    for a, b in zip(wide, narrow, strict=True):
        np.testing.assert_allclose(a, b, rtol=TOLERANCE)


@pytest.mark.parametrize("bias", [None, 0.1])
def test_far_rows(bias):
    """Random rows of any angle, opposite ones included: no cancellation that near rows would hide."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((6, 10)).astype(np.float32)
    x[5] = -x[0]
    x[4] = -x[1] * (1 + np.float32(1e-3) * rng.standard_normal(10).astype(np.float32))
    spec, (k, t) = mlp(3, bias), pair_kernel(3, bias, x, x)
    own = [kernels(spec, row, row) for row in x]
    for i, a in enumerate(own):
        for j, b in enumerate(own):
            exact = kernels(spec, x[i], x[j])
            assert abs(k[i, j] - exact.k) <= TOLERANCE * (a.k * b.k) ** 0.5
            assert abs(t[i, j] - exact.t) <= TOLERANCE * (a.t * b.t) ** 0.5
