"""float64 kernels against 40-digit recursions (oracle.py) and against two-dimensional quadrature."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from oracle import DIGITS, abrelu, dense, input_pair, kernels
from scipy.special import erf

from ntkc import stax

TOLERANCE = 1e-12
"""Relative to sqrt(K_ii K_jj) and sqrt(T_ii T_jj)."""
BOTH = ("nngp", "ntk")


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def rows():
    """Random rows, then: a duplicate, an opposite, a multiple, a near-duplicate of the first, and a zero row."""
    x = np.random.default_rng(11).standard_normal((3, 7))
    near = x[0] + 1e-2 * x[2]
    return np.concatenate([x, [x[0], -x[0], 3 * x[1], near, np.zeros(7)]])


def relative_errors(found, exact):
    """|found - exact| / sqrt(diagonal x diagonal), each [n, n]."""
    size = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    return np.abs(found - exact) / np.where(size > 0, size, 1)


def assert_equal_kernels(found, exact, tolerance=TOLERANCE):
    for get, ours, right in zip(BOTH, found, exact, strict=True):
        errors = relative_errors(np.asarray(ours), right)
        worst = np.unravel_index(np.argmax(errors), errors.shape)
        assert errors[worst] <= tolerance, f"{get} at {worst}: {np.asarray(ours)[worst]}, {right[worst]}"


def exact_matrices(of_pair, x):
    """K and T of all pairs of rows: of_pair gives both for two rows."""
    n = len(x)
    k, t = np.zeros((n, n)), np.zeros((n, n))
    with mp.workdps(DIGITS):
        for i in range(n):
            for j in range(i + 1):
                k[i, j], t[i, j] = k[j, i], t[j, i] = tuple(float(v) for v in of_pair(x[i], x[j]))
    return k, t


def through_spec(spec):
    def of_pair(a, b):
        pair = kernels(spec, a, b)
        return pair.k, pair.t

    return of_pair


# Networks with one activation, repeated.

ACTIVATIONS = {
    "relu": (stax.Relu(), ["Relu"]),
    "leaky": (stax.LeakyRelu(0.2), ["LeakyRelu", {"alpha": 0.2}]),
    "abrelu": (stax.ABRelu(-0.5, 1.5), ["ABRelu", {"a": -0.5, "b": 1.5}]),
    "abs": (stax.Abs(), ["Abs"]),
    "erf": (stax.Erf(1.1, 0.8, 0.3), ["Erf", {"a": 1.1, "b": 0.8, "c": 0.3}]),
    "sin": (stax.Sin(1.2, 0.9, 0.4), ["Sin", {"a": 1.2, "b": 0.9, "c": 0.4}]),
    "cos": (stax.Cos(), ["Cos"]),
    "exp": (stax.Exp(0.7, 0.3), ["Exp", {"a": 0.7, "b": 0.3}]),
    "cubic": (stax.Polynomial((0.2, 0.5, -0.3, 0.1)), ["Polynomial", {"coef": [0.2, 0.5, -0.3, 0.1]}]),
    "monomial": (stax.Monomial(3), ["Monomial", {"degree": 3}]),
}


def mlp(name, depth, W_std, b_std):
    """(our layer, its spec)."""
    layer, phi = ACTIVATIONS[name]
    keywords = {"out_dim": 8, "W_std": W_std, "b_std": b_std}
    block = stax.serial(stax.Dense(**keywords), layer)
    spec = ["serial", ["times", ["serial", ["Dense", keywords], phi], depth], ["Dense", keywords]]
    return stax.serial(*[block] * depth, stax.Dense(**keywords)), spec


def check_mlp(name, depth, W_std, b_std):
    network, spec = mlp(name, depth, W_std, b_std)
    x = rows()
    exact = exact_matrices(through_spec(spec), x)
    assert_equal_kernels(network[2](x, None, BOTH), exact)
    assert_equal_kernels(network[2](x, x, BOTH), exact)


def slow(*values):
    """A parameter of long tests only."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize("depth", [slow(1), 3, 10, 50])
def test_relu_without_bias(depth):
    """Depths 1 and 3 by the recursion, 10 and 50 by the collapsed polynomials."""
    program = mlp("relu", depth, 2**0.5, None)[0][2].program
    assert ("polynomial(NTK" in program.source) == (depth >= 10)
    check_mlp("relu", depth, 2**0.5, None)


@pytest.mark.parametrize("depth", [slow(1), 3, 10, slow(50)])
def test_relu_with_bias(depth):
    check_mlp("relu", depth, 2**0.5, 0.1)


@pytest.mark.parametrize(("name", "is_collapsed"), [("leaky", True), slow("abrelu", True), ("abs", False)])
def test_deep_mixtures(name, is_collapsed):
    """|x| has a pole near opposite inputs as well, so that it keeps its recursion."""
    network = mlp(name, 10, 1.0, None)[0]
    assert ("polynomial(NTK" in network[2].program.source) == is_collapsed
    check_mlp(name, 10, 1.0, None)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_three_hidden_layers(name):
    with jax.disable_jit():
        check_mlp(name, 3, 0.8, 0.3)


def test_near_duplicates():
    """Products in float64 know an angle a to 1e-16 / a, and depth L makes L times that of it."""
    depth, distances = 10, np.repeat([1e-3, 1e-4, 1e-5, 1e-6], 2)[:7]
    network, spec = mlp("relu", depth, 2**0.5, None)
    x = rows()[:7]
    moved = x + distances[:, None] * np.roll(rows(), 1, axis=0)[:7] + distances[:, None] * np.arange(7)
    found = network[2](x, moved, "ntk")
    for i, distance in enumerate(distances):
        exact = float(kernels(spec, x[i], moved[i]).t)
        assert abs(found[i, i] / exact - 1) <= 4e-16 * depth / distance


# A hidden layer of any function, against quadrature.


def quadrature(f, h, q1, q2, alpha):
    """E[f(u) h(v)] in polar coordinates, u = sqrt(q1) r cos(a), v = sqrt(q2) r cos(a - alpha), sectors end at kinks."""
    edges = np.unique(np.mod([0, np.pi / 2, -np.pi / 2, alpha + np.pi / 2, alpha - np.pi / 2], 2 * np.pi))
    edges = np.append(edges, edges[0] + 2 * np.pi)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    a = (edges[:-1, None] + np.diff(edges)[:, None] * (nodes + 1) / 2).ravel()
    wa = (np.diff(edges)[:, None] * weights / 2).ravel()
    radii = np.linspace(0, 13, 5)
    r = (radii[:-1, None] + np.diff(radii)[:, None] * (nodes + 1) / 2).ravel()
    wr = (np.diff(radii)[:, None] * weights / 2).ravel() * r * np.exp(-(r**2) / 2)
    u, v = np.sqrt(q1) * np.outer(np.cos(a), r), np.sqrt(q2) * np.outer(np.cos(a - alpha), r)
    return wa @ (f(u) * h(v)) @ wr / (2 * np.pi)


def positive(x):
    return (x > 0).astype(float)


def relu(x):
    return np.maximum(x, 0)


def bell(x):
    return 2 / np.sqrt(np.pi) * np.exp(-(x**2))


def branches(*layers):
    """sum of layers of one value."""
    return stax.serial(stax.FanOut(len(layers)), stax.parallel(*layers), stax.FanInSum())


def act(text):
    return stax.Activation(text)


ID = stax.Identity()
COMPOSED = {
    "relu of relu": (stax.serial(stax.Relu(), stax.Relu()), relu, positive),
    "x + relu": (branches(ID, stax.Relu()), lambda x: x + relu(x), lambda x: 1 + positive(x)),
    "x + x": (stax.serial(stax.FanOut(2), stax.FanInSum()), lambda x: 2 * x, lambda x: 2 + 0 * x),
    "x + x by identities": (branches(ID, ID), lambda x: 2 * x, lambda x: 2 + 0 * x),
    "relu + erf": (branches(stax.Relu(), stax.Erf()), lambda x: relu(x) + erf(x), lambda x: positive(x) + bell(x)),
    "x*erf": (act("x*erf(x)"), lambda x: x * erf(x), lambda x: erf(x) + x * bell(x)),
    "relu**2": (act("relu(x)**2"), lambda x: relu(x) ** 2, lambda x: 2 * relu(x)),
    "x**2*relu": (act("x**2*relu(x)"), lambda x: x**2 * relu(x), lambda x: 3 * x * relu(x)),
    "square of relu": (stax.serial(stax.Relu(), stax.Monomial(2)), lambda x: relu(x) ** 2, lambda x: 2 * relu(x)),
    "|x + relu|": (
        stax.serial(branches(ID, stax.Relu()), stax.Abs()),
        lambda x: np.abs(x + relu(x)),
        lambda x: (1 + positive(x)) * np.sign(x),
    ),
    "x - relu by leaky": (branches(ID, act("-relu(x)")), lambda x: np.minimum(x, 0), lambda x: 1 - positive(x)),
    "bell relu": (
        act("exp(-x**2)*relu(x)"),
        lambda x: np.exp(-(x**2)) * relu(x),
        lambda x: np.exp(-(x**2)) * (1 - 2 * x**2) * positive(x),
    ),
    "gelu": (
        act("gelu(x)"),
        lambda x: x * (1 + erf(x / 2**0.5)) / 2,
        lambda x: (1 + erf(x / 2**0.5)) / 2 + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi),
    ),
    "x sin": (act("x*sin(x)"), lambda x: x * np.sin(x), lambda x: np.sin(x) + x * np.cos(x)),
    "x + exp": (branches(ID, stax.Exp(1, 0.5)), lambda x: x + np.exp(x / 2), lambda x: 1 + np.exp(x / 2) / 2),
    "gaussian": (act("exp(-x**2)"), lambda x: np.exp(-(x**2)), lambda x: -2 * x * np.exp(-(x**2))),
    "constant + relu": (act("1 + relu(x)"), lambda x: 1 + relu(x), positive),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_composed(name):
    """Dense, f, Dense:  K' = w2 E[f f] + b2,  T' = K' + w2 T E[f' f']."""
    layer, f, df = COMPOSED[name]
    w2, b2 = 1.3**2, 0.2**2
    x = np.concatenate([rows()[:7], data(1, 9)[:, :7]])
    cosine = np.clip(x @ x.T / np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(x, axis=1)), -1, 1)
    half_chord = np.linalg.norm(unit(x)[:, None] - unit(x)[None], axis=-1) / 2
    alpha = np.where(cosine > 0, 2 * np.arcsin(np.minimum(half_chord, 1)), np.arccos(cosine))
    q = 1.1**2 * np.mean(x**2, -1)
    first = np.sqrt(np.outer(q, q)) * np.cos(alpha)
    k = w2 * duals(f, q, alpha) + b2
    t = k + w2 * first * duals(df, q, alpha)
    network = stax.serial(stax.Dense(5, 1.1), layer, stax.Dense(5, 1.3, 0.2))
    # A kink in a function that is not homogeneous is computed from K: collinear rows keep half the digits.
    tolerance = 1e-7 if name == "bell relu" else TOLERANCE
    with jax.disable_jit():
        assert_equal_kernels(network[2](x, None, BOTH), (k, t), tolerance)


def duals(f, q, alpha):
    """E[f(u) f(v)] for all pairs of rows."""
    lower = {(i, j): quadrature(f, f, q[i], q[j], alpha[i, j]) for i in range(len(q)) for j in range(i + 1)}
    return np.array([[lower[max(i, j), min(i, j)] for j in range(len(q))] for i in range(len(q))])


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


# Sums of branches, with independent and with shared parts.


def first_layer(a, b, W_std, b_std=None):
    p = dense(input_pair(a, b), 8, W_std, b_std)
    return p.q1, p.q2, p.k, p.t


RELU = abrelu(mp.mpf(0), mp.mpf(1))


def test_independent_sum_of_dense_and_relu():
    """K = K_1 + E[relu relu]: the mean of relu meets a branch of mean zero."""
    network = stax.serial(branches(stax.Dense(8, 1.2, 0.1), stax.serial(stax.Dense(8, 0.9, 0.3), stax.Relu())))

    def of_pair(a, b):
        _, _, k1, t1 = first_layer(a, b, 1.2, 0.1)
        q1, q2, k2, t2 = first_layer(a, b, 0.9, 0.3)
        return k1 + RELU[0](q1, q2, k2), t1 + t2 * RELU[1](q1, q2, k2)

    assert_equal_kernels(network[2](rows(), None, BOTH), exact_matrices(of_pair, rows()))


def test_independent_sum_of_nonzero_means():
    """relu(a) + relu(b):  the means sqrt(q / 2 pi) multiply across branches."""
    arms = [stax.serial(stax.Dense(8, w, b), stax.Relu()) for w, b in ((1.2, 0.1), (0.9, 0.3))]
    network = stax.serial(branches(*arms), stax.Dense(3, 0.7, 0.2))

    def of_pair(a, b):
        u, v = first_layer(a, b, 1.2, 0.1), first_layer(a, b, 0.9, 0.3)
        means = (mp.sqrt(u[0] * v[1]) + mp.sqrt(v[0] * u[1])) / (2 * mp.pi)
        k = mp.mpf("0.49") * (RELU[0](*u[:3]) + RELU[0](*v[:3]) + means) + mp.mpf("0.04")
        return k, k + mp.mpf("0.49") * (u[3] * RELU[1](*u[:3]) + v[3] * RELU[1](*v[:3]))

    assert_equal_kernels(network[2](rows(), None, BOTH), exact_matrices(of_pair, rows()))


def residual(w=1.1):
    """x -> x + Dense(relu(x))."""
    return branches(ID, stax.serial(stax.Relu(), stax.Dense(8, w)))


def residual_parts(a, b):
    """(d: q1, q2, k, t) and (h = d + Dense(relu(d)): the same)."""
    q1, q2, k, t = first_layer(a, b, 1.2, 0.1)
    w2 = mp.mpf("1.21")
    extra = w2 * RELU[0](q1, q2, k)
    h = (q1 + w2 * q1 / 2, q2 + w2 * q2 / 2, k + extra, t + extra + w2 * t * RELU[1](q1, q2, k))
    return (q1, q2, k, t), h


def test_pre_activation_residual():
    network = stax.serial(stax.Dense(8, 1.2, 0.1), residual())
    assert_equal_kernels(
        network[2](rows(), None, BOTH), exact_matrices(lambda a, b: residual_parts(a, b)[1][2:], rows())
    )


def test_nested_sum():
    """d + (d + Dense(relu(d))):  4 K_d + the rest."""
    network = stax.serial(stax.Dense(8, 1.2, 0.1), branches(ID, residual()))

    def of_pair(a, b):
        d, h = residual_parts(a, b)
        return 3 * d[2] + h[2], 3 * d[3] + h[3]

    assert_equal_kernels(network[2](rows(), None, BOTH), exact_matrices(of_pair, rows()))


def test_nonlinearities_of_correlated_fields():
    """relu(d) + relu(h), where h = d + Dense(relu(d)):  K[d, h] = K_d couples the two."""
    network = stax.serial(stax.Dense(8, 1.2, 0.1), branches(stax.Relu(), stax.serial(residual(), stax.Relu())))

    def of_pair(a, b):
        d, h = residual_parts(a, b)
        cross = ((d[0], h[1], d[2]), (h[0], d[1], d[2]))
        k = RELU[0](*d[:3]) + RELU[0](*h[:3]) + sum(RELU[0](*c) for c in cross)
        return k, d[3] * RELU[1](*d[:3]) + h[3] * RELU[1](*h[:3]) + d[3] * sum(RELU[1](*c) for c in cross)

    assert_equal_kernels(network[2](rows(), None, BOTH), exact_matrices(of_pair, rows()))


# Shapes and symmetry.


def arc_cosine_kernels(x1, x2):
    """Dense(2**0.5), relu, Dense(2**0.5) with bias 0.1 as arrays (Cho and Saul 2009)."""
    n1, n2 = (np.sqrt(2 * np.mean(x**2, -1) + 0.01) for x in (x1, x2))
    k = 2 * x1 @ x2.T / x1.shape[1] + 0.01
    angle = np.arccos(np.clip(k / np.outer(n1, n2), -1, 1))
    out = np.outer(n1, n2) * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi + 0.01
    return out, out + k * (1 - angle / np.pi)


SHALLOW = mlp("relu", 1, 2**0.5, 0.1)[0][2]


def data(n, seed):
    return np.random.default_rng(seed).standard_normal((n, 12))


@pytest.mark.parametrize(("n1", "n2"), [(1, 1), (1, 300), (257, 3), (300, 513)])
def test_ragged_pairs(n1, n2):
    x1, x2 = data(n1, 1), data(n2, 2)
    for found, exact in zip(SHALLOW(x1, x2, BOTH), arc_cosine_kernels(x1, x2), strict=True):
        assert found.shape == (n1, n2)
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-12 * np.max(np.abs(exact)))


@pytest.mark.parametrize("n", [1, 256, 257, 513])
def test_ragged_triangles(n):
    x = data(n, 3)
    for found, exact in zip(SHALLOW(x, None, BOTH), arc_cosine_kernels(x, x), strict=True):
        assert found.shape == (n, n)
        apart = ~np.eye(n, dtype=bool)
        assert np.all(np.asarray(found) == np.asarray(found).T)
        np.testing.assert_allclose(np.asarray(found)[apart], exact[apart], rtol=0, atol=1e-12 * np.max(exact))
        # arccos loses half its digits on the diagonal
        np.testing.assert_allclose(np.diag(found), np.diag(exact), rtol=1e-7)


SYMMETRIC = {
    "relu with bias": mlp("relu", 3, 2**0.5, 0.1)[0],
    "relu collapsed": mlp("relu", 10, 2**0.5, None)[0],
    "erf": mlp("erf", 3, 1.1, 0.1)[0],
    "cubic": mlp("cubic", 2, 1.1, 0.1)[0],
    "residual": stax.serial(stax.Dense(8, 1.2, 0.1), residual(), residual(), stax.Relu(), stax.Dense(1)),
    "erf then relu": stax.serial(stax.Dense(8, 1.2), stax.Erf(), stax.Dense(8), stax.Relu(), stax.Dense(1)),
}


SLOW = ("relu collapsed", "residual", "cubic")
"""Another compilation of paths that other networks take."""


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in SYMMETRIC])
def test_symmetric_and_equal_to_the_pair_path(name, dtype):
    x = jnp.asarray(np.concatenate([rows()[:6], data(30, 4)[:, :7]]), dtype)
    alone, both = SYMMETRIC[name][2](x, None, BOTH), SYMMETRIC[name][2](x, x, BOTH)
    eps = np.finfo(dtype).eps
    for one, two in zip(alone, both, strict=True):
        one, two = np.asarray(one), np.asarray(two)
        assert one.dtype == dtype
        assert np.isfinite(one).all()
        assert np.all(one == one.T)
        assert np.max(relative_errors(two, one)) <= 100 * eps


@pytest.mark.parametrize("dtype", [pytest.param(np.float32, marks=pytest.mark.slow), np.float64])
@pytest.mark.parametrize("name", SYMMETRIC)
def test_zero_rows_are_finite(name, dtype):
    x = jnp.asarray(rows(), dtype) * (jnp.arange(8) < 4)[:, None]
    with jax.disable_jit():
        for second in (None, x):
            assert np.isfinite(np.asarray(SYMMETRIC[name][2](x, second, BOTH))).all()


@pytest.mark.parametrize("scale", [1e-12, pytest.param(1e12, marks=pytest.mark.slow)])
def test_any_scale_of_the_data(scale):
    """K and T of bias-free ReLU networks are homogeneous of degree two."""
    x = data(4, 6)
    for depth in (2, 10):
        kernel_fn = mlp("relu", depth, 2**0.5, None)[0][2]
        for one, scaled in zip(kernel_fn(x, None, BOTH), kernel_fn(scale * x, None, BOTH), strict=True):
            np.testing.assert_allclose(scaled / scale**2, one, rtol=1e-12)
