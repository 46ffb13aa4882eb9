"""float32 kernels against the 40-digit recursion of the very same inputs, near-duplicates included.

Rows lie at relative distance 1 ... 1e-4 of each other, with norms of ratio 1 and 1.3. Errors are relative to
sqrt(K_ii K_jj) and sqrt(T_ii T_jj).
"""

from itertools import product

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


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "bias"), [(3, 0.1), (10, None)])
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


ERF_TOLERANCE = 1e-5
"""Of chaotic networks: with W_std = 2 the distance of near-duplicates grows by 1.5 and more in each layer."""


def erf_mlp(depth, bias):
    dense = ["Dense", {"out_dim": 1, "W_std": 2.0, "b_std": bias}]
    return ["serial", ["times", ["serial", dense, ["Erf"]], depth], dense]


def erf_network(depth, bias):
    block = stax.serial(stax.Dense(1, 2.0, bias), stax.Erf())
    return stax.serial(*[block] * depth, stax.Dense(1, 2.0, bias))


def moved(kind, x, distance, rng):
    """A row at this relative distance, in a random direction or along x itself."""
    step = x if kind == "radial" else rng.standard_normal(len(x))
    return x + distance * np.linalg.norm(x) * step / np.linalg.norm(step)


KINDS = ("normalised", "noise", "radial")


def erf_data(features):
    """The kind of each pair, and x1, x2 [40, d], row by row near each other."""
    rng = np.random.default_rng(features)
    rows = []
    for kind in KINDS:
        for x in rng.standard_normal((2, features)):
            for distance in DISTANCES:
                y = moved(kind, x, distance, rng)
                ratios = RATIOS if kind == "normalised" else [np.linalg.norm(y) / np.linalg.norm(x)]
                rows += [(kind, x, ratio * y * np.linalg.norm(x) / np.linalg.norm(y)) for ratio in ratios]
    kinds, x1, x2 = zip(*rows, strict=True)
    return kinds, np.asarray(x1, np.float32), np.asarray(x2, np.float32)


def erf_kernel(depth, bias, *data):
    found = erf_network(depth, bias)[2](*data, ("nngp", "ntk"))
    return [np.asarray(v) for v in found]


@pytest.mark.parametrize(
    ("depth", "bias", "features", "tolerance"),
    [
        (5, 0.1, 10, 2e-6),
        *(pytest.param(20, *case, ERF_TOLERANCE, marks=pytest.mark.slow) for case in product((None, 0.1), (10, 784))),
    ],
)
def test_near_duplicates_through_erf(depth, bias, features, tolerance):
    """Errors of K and T relative to sqrt(K_ii K_jj) and sqrt(T_ii T_jj)."""
    kinds, x1, x2 = erf_data(features)
    spec, found = erf_mlp(depth, bias), erf_kernel(depth, bias, x1, x2)
    k, t = map(np.diag, found)
    assert k.dtype == t.dtype == np.float32
    errors = dict.fromkeys(KINDS, 0.0)
    for i, (kind, a, b) in enumerate(zip(kinds, x1, x2, strict=True)):
        exact, own1, own2 = (kernels(spec, *rows) for rows in ((a, b), (a, a), (b, b)))
        error_k = abs(k[i] - exact.k) / (own1.k * own2.k) ** 0.5
        error_t = abs(t[i] - exact.t) / (own1.t * own2.t) ** 0.5
        errors[kind] = max(errors[kind], float(error_k), float(error_t))
    print(f"float32 erf depth {depth} bias {bias} d {features}: {errors}")
    assert max(errors.values()) <= tolerance


@pytest.mark.slow
def test_one_triangle_through_erf():
    """K(x, None) holds the same near pairs, and exact duplicates on its diagonal."""
    _, x1, x2 = erf_data(10)
    both, count = np.concatenate([x1, x2]), len(x1)
    pairs, whole = erf_kernel(20, 0.1, x1, x2), erf_kernel(20, 0.1, both, None)
    for v, block, get in zip(whole, pairs, ("k", "t"), strict=True):
        exact = [float(getattr(kernels(erf_mlp(20, 0.1), x, x), get)) for x in both]
        np.testing.assert_allclose(np.diag(v), exact, rtol=ERF_TOLERANCE)
        np.testing.assert_allclose(v[:count, count:], block, atol=ERF_TOLERANCE * max(exact))


@pytest.mark.slow
def test_x64_does_not_change_float32_results_of_erf():
    _, x1, x2 = erf_data(10)
    narrow = erf_kernel(20, 0.1, x1, x2)
    with jax.enable_x64(True):
        wide = erf_kernel(20, 0.1, jnp.asarray(x1), jnp.asarray(x2))
    for a, b in zip(wide, narrow, strict=True):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=ERF_TOLERANCE)
