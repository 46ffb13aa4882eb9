"""Training dynamics against stored values of the peer, real gradient descent, matrix exponentials, and their limits."""

import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.linalg

from ntkc.errors import InvalidInput, MissingExtra, NotConverged, NotPositiveDefinite, ShapeMismatch
from ntkc.predict import (
    ODEState,
    gradient_descent,
    gradient_descent_mse,
    gradient_descent_mse_discrete,
    max_learning_rate,
)

REFERENCE = np.load(Path(__file__).parent / "reference" / "dynamics.npz")
# As in reference/make_dynamics_reference.py:  trace_axes, diag_reg, diag_reg_absolute_scale.
CASES = {
    "traced": ((-1,), 0.0, False),
    "full": ((), 0.0, False),
    "image": ((1,), 0.0, False),
    "relative": ((-1,), 0.05, False),
    "absolute": ((), 0.3, True),
}
TIMES = {"none": None, "zero": 0.0, "scalar": 3.0, "grid": np.array([[0.0, 0.3, 2.0], [10.0, 300.0, 1e4]])}
RATE = 0.7
GRID = np.array([[0.0, 0.3, 2.0], [5.0, 11.0, 30.0]])
MOMENTA = {"plain": None, "momentum": 0.8}
SLOW = pytest.mark.slow
# These share their programs with the tests of the ODE below: shapes (6, 3), 4 test points, 6 times.
QUICK = {("traced", "squares", "momentum")}
ODE_CALLS = [
    pytest.param(case, loss, momentum, marks=[] if (case, loss, momentum) in QUICK else [SLOW])
    for case in ("traced", "full", "image")
    for loss in ("squares", "entropy")
    for momentum in MOMENTA
]


def mean_squares(fx, y):
    return jnp.mean((fx - y) ** 2) / 2


def cross_entropy(fx, y):
    return -jnp.mean(jax.nn.log_softmax(fx) * y)


LOSSES = {"squares": mean_squares, "entropy": cross_entropy}


def stored(case, *names):
    return [REFERENCE[f"{case}/{name}"] for name in names]


def close(actual, desired, tolerance=1e-9):
    np.testing.assert_allclose(actual, desired, rtol=tolerance, atol=tolerance)


def draw(seed=0, n=6, n_test=4, outputs=3, weights=20):
    """Features J, J* of a linear model, so that T = J J^T and T* = J* J^T, then y, f(0), f*(0)."""
    rng = np.random.default_rng(seed)
    shapes = ((n, weights), (n_test, weights), (n, outputs), (n, outputs), (n_test, outputs))
    return [rng.normal(size=shape) for shape in shapes]


J, J_TEST, Y, F0, F0_TEST = draw()
K, K_TEST = J @ J.T, J_TEST @ J.T


def descend(jacobian, y, rate, momentum, reg, steps, start):
    """Weights after each of `steps` steps from 0 on |J w + f(0) - y|^2 / (2 n) + reg |w|^2 / (2 n), by a loop."""
    w, u, path = np.zeros((jacobian.shape[1], *y.shape[1:])), 0.0, []
    for _ in range(steps + 1):
        path.append(w)
        u = momentum * u - rate / y.size * (jacobian.T @ (jacobian @ w + start - y) + reg * w)
        w = w + u
    return np.array(path)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("time", TIMES)
def test_peer_mean_squares(case, time):
    k, k_test, y, start, start_test = stored(case, "train_train", "test_train", "y", "start", "start_test")
    trace_axes, diag_reg, is_absolute = CASES[case]
    predict_fn = gradient_descent_mse(k, y, RATE, diag_reg, is_absolute, trace_axes)
    t = TIMES[time]
    both, test = stored(f"{case}/{time}", "both/train", "both/test")
    result = predict_fn(t, start, start_test, k_test)
    assert isinstance(result, tuple)
    assert result[0].dtype == result[1].dtype == jnp.float64
    assert (result[0].shape, result[1].shape) == (both.shape, test.shape)
    close(result[0], both)
    close(result[1], test)
    close(predict_fn(t, start), both)
    close(predict_fn(t), *stored(f"{case}/{time}", "train/train"))
    close(predict_fn(t, None, start_test, k_test), *stored(f"{case}/{time}", "test/test"))
    close(predict_fn(t, 0.5, 0.25, k_test)[1], *stored(f"{case}/{time}", "numbers/test"))
    close(predict_fn(t, start, start, k)[1], both)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_peer_rate(case, momentum):
    k, y, desired = stored(case, "train_train", "y", f"max_learning_rate/{momentum}")
    close(max_learning_rate(k, y.size, momentum), desired)
    if CASES[case][0] == ():
        close(max_learning_rate(k, None, momentum), desired)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("case", "loss", "momentum"), ODE_CALLS)
def test_peer_ode(case, loss, momentum):
    k, k_test, y, start, start_test = stored(case, "train_train", "test_train", "y", "start", "start_test")
    labels = np.exp(y) / np.exp(y).sum(-1, keepdims=True)
    call = f"{case}/{loss}/{momentum}"
    predict_fn = gradient_descent(LOSSES[loss], k, labels, RATE, MOMENTA[momentum], CASES[case][0])
    result = predict_fn(GRID, start, start_test, k_test)
    assert isinstance(result, tuple)
    for actual, desired in zip(result, stored(f"{call}/grid", "train", "test"), strict=True):
        assert actual.shape == desired.shape
        close(actual, desired, 1e-6)
    states = predict_fn(np.full(GRID.shape, 3.0), ODEState(start, start_test), None, k_test)
    state = jax.tree.map(lambda leaf: leaf[1, 2], states)
    for actual, desired in zip((state.fx_train, state.fx_test), stored(f"{call}/scalar", "train", "test"), strict=True):
        close(actual, desired, 1e-6)
    resumed = predict_fn(GRID, state, None, k_test)
    for field in ("fx_train", "fx_test", "qx_train", "qx_test"):
        actual, key = getattr(resumed, field), f"{call}/resumed/{field}"
        assert (actual is None) == (key not in REFERENCE)
        if actual is not None:
            close(actual, REFERENCE[key], 1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("diag_reg", [0.0, 0.2])
def test_limits_of_flow(diag_reg):
    predict_fn = gradient_descent_mse(K, Y, 0.5, diag_reg, True)
    rate = 0.5 / Y.size
    for t, tolerance in ((np.inf, 1e-9), (1e9, 1e-7)):
        for late, never in zip(predict_fn(t, F0, F0_TEST, K_TEST), predict_fn(None, F0, F0_TEST, K_TEST), strict=True):
            close(late, never, tolerance)
    fitted = np.linalg.solve(K + diag_reg * np.eye(6), Y - F0)
    close(predict_fn(None, F0), F0 + K @ fitted)
    close(predict_fn(None, F0, F0_TEST, K_TEST)[1], F0_TEST + K_TEST @ fitted)
    start, start_test = predict_fn(0.0, F0, F0_TEST, K_TEST)
    close(start, F0)
    assert (start_test == F0_TEST).all()
    t = 1e-7
    early, early_test = predict_fn(t, F0, 0.0, K_TEST)
    close((early - F0) / t, rate * K @ (Y - F0), 1e-6)
    close(early_test / t, rate * K_TEST @ (Y - F0), 1e-6)
    if diag_reg == 0:
        assert (predict_fn(None, F0) == Y).all()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("diag_reg", [0.0, 0.2])
def test_flow_is_a_matrix_exponential(diag_reg):
    """f' = -rate (T (f - y) + reg (f - f(0))) / n on both sets at once, weights pulled to where they started."""
    n, t, rate = 6, 4.0, 0.5 / Y.size
    flow = np.zeros((11, 11))
    flow[:n, :n], flow[n:10, :n] = -rate * K, -rate * K_TEST
    flow[:10, :10] -= rate * diag_reg * np.eye(10)
    f0 = np.concatenate([F0, F0_TEST])
    for output in range(3):
        flow[:10, 10] = rate * (np.concatenate([K, K_TEST]) @ Y[:, output] + diag_reg * f0[:, output])
        exact = scipy.linalg.expm(flow * t) @ np.append(f0[:, output], 1)
        for actual, rows in zip(
            gradient_descent_mse(K, Y, 0.5, diag_reg, True)(t, F0, F0_TEST, K_TEST),
            (slice(n), slice(n, 10)),
            strict=True,
        ):
            close(actual[:, output], exact[rows])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("diag_reg", [0.0, 0.2])
def test_steps_of_a_linear_model(momentum, diag_reg):
    rate = 0.99 * float(max_learning_rate(K + diag_reg * np.eye(6), Y.size, momentum))
    path = descend(J, Y, rate, momentum, diag_reg, 64, F0)
    predict_fn = gradient_descent_mse_discrete(K, Y, rate, momentum, diag_reg, True)
    counts = np.arange(65).reshape(5, 13)
    train, test = predict_fn(counts, F0, F0_TEST, K_TEST)
    assert train.shape == (5, 13, 6, 3)
    close(train.reshape(65, 6, 3), F0 + J @ path)
    close(test.reshape(65, 4, 3), F0_TEST + J_TEST @ path)
    close(predict_fn(7, F0), F0 + J @ path[7])
    close(predict_fn(np.int32(7), F0, 0, K_TEST)[1], J_TEST @ path[7])
    assert (predict_fn(0, F0, F0_TEST, K_TEST)[1] == F0_TEST).all()


def network(weights, x):
    hidden = jnp.tanh(x @ weights["first"] / np.sqrt(3) + weights["bias"])
    return hidden @ weights["second"] / 4


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("momentum", [pytest.param(0.0, marks=pytest.mark.slow), 0.9])
def test_steps_of_a_linearised_network(momentum):
    """Gradient descent on all weights of a network, linearised by jvp, against its empirical NTK."""
    rng = np.random.default_rng(3)
    x, x_test, y = (jnp.asarray(rng.normal(size=shape)) for shape in ((5, 3), (4, 3), (5, 2)))
    shapes = {"first": (3, 16), "bias": (16,), "second": (16, 2)}
    weights = {name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}

    def linearised(move, x):
        value, change = jax.jvp(lambda w: network(w, x), (weights,), (move,))
        return value + change

    leaves = [jax.tree.leaves(jax.jit(jax.jacobian(network))(weights, rows)) for rows in (x, x_test)]
    jacobians = [np.concatenate([leaf.reshape(*leaf.shape[:2], -1) for leaf in found], -1) for found in leaves]
    k, k_test = (np.einsum("iap,jbp->ijab", left, jacobians[0]) for left in jacobians)
    rate = 0.9 * max_learning_rate(k, momentum=momentum)
    step = jax.jit(jax.grad(lambda move: jnp.sum((linearised(move, x) - y) ** 2) / (2 * y.size)))
    move = velocity = jax.tree.map(jnp.zeros_like, weights)
    for _ in range(40):
        velocity = jax.tree.map(lambda u, g: momentum * u - rate * g, velocity, step(move))
        move = jax.tree.map(jnp.add, move, velocity)
    predict_fn = gradient_descent_mse_discrete(k, y, rate, momentum, trace_axes=())
    train, test = predict_fn(40, network(weights, x), network(weights, x_test), k_test)
    close(train, linearised(move, x))
    close(test, linearised(move, x_test))


def exact_weight(h, momentum, steps):
    """(1 - e_s) / h from the roots of z^2 - (1 + momentum - h) z + momentum, in 60 digits."""
    with mpmath.workdps(60):
        h, m = mpmath.mpf(h), mpmath.mpf(momentum)
        root = mpmath.sqrt((1 + m - h) ** 2 - 4 * m)
        z1, z2 = (1 + m - h + root) / 2, (1 + m - h - root) / 2
        share = (1 - h - z2) / (z1 - z2)
        return float(mpmath.re((1 - share * z1**steps - (1 - share) * z2**steps) / h))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99])
def test_steps_against_60_digits(momentum):
    """Tiny, middling, oscillating and almost unstable eigenvalues, few and very many steps."""
    h = np.array([1e-12, 3e-9, 1e-4, 0.02, 0.5, 0.9, 1.7, 1.99 * (1 + momentum)])
    counts = [0, 1, 2, 3, 10, 1000, 10**6, 2**31 - 1, 10**12]
    predict_fn = gradient_descent_mse_discrete(np.diag(h), np.ones((8, 1)), 8.0, momentum)
    actual = predict_fn(np.array(counts), None, 0.0, np.eye(8))[..., 0]
    exact = np.array([[exact_weight(value, momentum, s) for value in h] for s in counts])
    np.testing.assert_allclose(actual, exact, rtol=1e-11 / (1 - momentum), atol=1e-30)


@pytest.mark.usefixtures("x64")
def test_equal_roots():
    """h = (1 - r)^2, momentum = r^2, where both roots are r:  e_s = r^s (1 + s (1 - r))."""
    root = 0.75
    predict_fn = gradient_descent_mse_discrete([[(1 - root) ** 2]], [[1.0]], 1.0, root**2)
    counts = np.arange(30)
    close(1 - predict_fn(counts)[:, 0, 0], root**counts * (1 + counts * (1 - root)))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_limits_of_steps(momentum):
    predict_fn = gradient_descent_mse_discrete(K, Y, 0.1, momentum, 0.1)
    for late, never, flow in zip(
        predict_fn(10**9, F0, F0_TEST, K_TEST),
        predict_fn(None, F0, F0_TEST, K_TEST),
        gradient_descent_mse(K, Y, 0.1, 0.1)(None, F0, F0_TEST, K_TEST),
        strict=True,
    ):
        close(late, never)
        close(never, flow)


@pytest.mark.usefixtures("x64")
def test_small_steps_are_the_flow():
    """At a fixed time rate s, halving the rate halves the distance to gradient flow."""
    flow = gradient_descent_mse(K, Y)(2.0, F0, F0_TEST, K_TEST)[1]
    errors = [
        np.abs(gradient_descent_mse_discrete(K, Y, 2.0 / s)(s, F0, F0_TEST, K_TEST)[1] - flow).max()
        for s in (1000, 2000, 4000)
    ]
    assert errors[0] < 1e-2
    close(np.divide(errors[:-1], errors[1:]), 2, 0.01)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("reg", [0.0, 3.0])
def test_the_largest_rate_is_sharp(momentum, reg):
    """Real steps shrink the error just below it and blow it up just above, where the closed form refuses."""
    limit = float(max_learning_rate(K + reg * np.eye(6), Y.size, momentum))
    close(limit, 2 * (1 + momentum) * Y.size / (np.linalg.eigvalsh(K)[-1] + reg))
    sizes = [np.abs(descend(J, Y, limit * f, momentum, reg, 20_000, F0)).max((1, 2)) for f in (0.999, 1.001)]
    assert sizes[0][-1] < 2 * np.abs(np.linalg.pinv(J)).max() * 20
    assert sizes[1][-1] > 1e6
    for rate in (limit, 0.999 * limit):
        assert np.isfinite(gradient_descent_mse_discrete(K, Y, rate, momentum, reg, True)(10**6, F0)).all()
    with pytest.raises(InvalidInput, match=rf"momentum {momentum:g} .* max_learning_rate, here {limit:.6g}"):
        gradient_descent_mse_discrete(K, Y, 1.001 * limit, momentum, reg, True)(3)


def test_largest_rate_in_float32():
    """A rate from `max_learning_rate` is taken, rounded or not."""
    for scale in (1, 3, 5, 7):
        rate = max_learning_rate(np.float32(scale * K), Y.size)
        assert rate.dtype == jnp.float32
        assert np.isfinite(gradient_descent_mse_discrete(np.float32(scale * K), Y, rate)(1000)).all()


@pytest.mark.usefixtures("x64")
def test_largest_rate_with_jitter():
    """The jitter of repeated points, which moves all eigenvalues, does not turn the largest rate into one too large."""
    k, y = np.kron(np.ones((2, 2)), K), np.concatenate([Y, Y])
    predict_fn = gradient_descent_mse_discrete(k, y, max_learning_rate(k, y.size))
    with pytest.warns(NotPositiveDefinite):
        result = predict_fn(np.array([1000, 10**9]))
    assert np.abs(result).max() < 2 * np.abs(Y).max()
    with pytest.warns(NotPositiveDefinite):
        assert (gradient_descent_mse_discrete(np.zeros((6, 6)), Y)(9, F0, F0_TEST, 0 * K_TEST)[1] == F0_TEST).all()


@pytest.mark.parametrize("steps", [3, None])
def test_divergence_under_jit(steps):
    run = jax.jit(lambda k, rate: gradient_descent_mse_discrete(k, Y, rate)(steps))
    with pytest.raises(jax.errors.JaxRuntimeError, match="max_learning_rate, here"):
        jax.block_until_ready(run(K, 100.0))
    assert np.isfinite(run(K, 1.0)).all()
    predict_fn = gradient_descent_mse_discrete(K, Y, 100.0)
    with pytest.raises(InvalidInput, match="max_learning_rate, here"):
        jax.jit(lambda: predict_fn(steps))()


def test_one_factorisation(monkeypatch):
    calls = []
    eigh = jnp.linalg.eigh
    monkeypatch.setattr(jnp.linalg, "eigh", lambda matrix: calls.append(matrix) or eigh(matrix))
    for predict_fn in (gradient_descent_mse(K, Y), gradient_descent_mse_discrete(K, Y, momentum=0.5)):
        calls.clear()
        jax.jit(lambda t, f=predict_fn: f(t, F0))(1)
        for t in (1, 2):
            predict_fn(t, F0, F0_TEST, K_TEST)
            predict_fn(t)
        predict_fn(None)
        assert len(calls) == 1


@pytest.mark.parametrize("function", [gradient_descent_mse, gradient_descent_mse_discrete])
def test_float32(function):
    t = np.array([[0, 3, 70]])
    compiled = jax.jit(function(K, Y))(t, F0, F0_TEST, K_TEST)
    with jax.enable_x64(True):
        exact = function(K, Y)(t, F0, F0_TEST, K_TEST)
    for row in zip(compiled, exact, strict=True):
        assert row[0].dtype == jnp.float32
        assert row[0].shape[:2] == (1, 3)
        close(*row, 1e-5)


@SLOW
@pytest.mark.parametrize("function", [gradient_descent_mse, gradient_descent_mse_discrete])
def test_jit(function):
    predict_fn = function(K, Y)
    t = np.array([[0, 3, 70]])
    direct = predict_fn(t, F0, F0_TEST, K_TEST)
    traced = jax.jit(lambda k, y, *rest: function(k, y)(*rest))(K, Y, t, F0, F0_TEST, K_TEST)
    mapped = jax.vmap(lambda t: predict_fn(t, F0, F0_TEST, K_TEST))(t[0])
    for row in zip(direct, traced, mapped, strict=True):
        close(row[0], row[1], 1e-5)
        close(row[0], row[2][None], 1e-5)


@pytest.mark.parametrize("function", [gradient_descent_mse, gradient_descent_mse_discrete])
def test_vector_targets(function):
    y = np.arange(6)
    vector = function(K, y, 0.3)(np.array([1, 20]), F0[:, 0], F0_TEST[:, 0], K_TEST)
    column = function(K, 1.0 * y[:, None], 0.3)(np.array([1, 20]), F0[:, :1], F0_TEST[:, :1], K_TEST)
    for one, other in zip(vector, column, strict=True):
        assert one.ndim == 2
        close(one, other[..., 0], 1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("function", "t"),
    [
        pytest.param(gradient_descent_mse, np.array([0.5, 20.0]), marks=SLOW),
        (gradient_descent_mse_discrete, np.array([1, 60])),
    ],
)
def test_derivatives(function, t):
    """In all numbers, against central differences, with repeated eigenvalues."""
    options = {} if function is gradient_descent_mse else {"momentum": 0.6}
    x = np.array(np.meshgrid([-1.0, 1], [-1, 1], [-1, 1])).reshape(3, 8).T
    k = jnp.asarray((1 + x @ x.T / 4) ** 2 + np.eye(8))
    rng = np.random.default_rng(0)
    y, start, start_test, k_test = (jnp.asarray(rng.normal(size=s)) for s in ((8, 2), (8, 2), (3, 2), (3, 8)))

    @jax.jit
    def loss(k, y, start, start_test, k_test, rate):
        results = function(k, y, rate, diag_reg=0.1, **options)(t, start, start_test, k_test)
        return sum((leaf**2).sum() for leaf in results)

    point = (k, y, start, start_test, k_test, jnp.asarray(1.3))
    gradient = jax.jit(jax.grad(loss, argnums=tuple(range(6))))(*point)
    for argument, slope in enumerate(gradient):
        step = rng.normal(size=slope.shape)
        step = 1e-5 * jnp.asarray(step + step.T if argument == 0 else step)
        ahead, behind = (
            loss(*point[:argument], moved, *point[argument + 1 :])
            for moved in (point[argument] + step, point[argument] - step)
        )
        close((slope * step).sum() / 1e-5, (ahead - behind) / 2e-5, 1e-6)


@pytest.mark.usefixtures("x64")
def test_ode_of_mean_squares():
    """The closed form, at times in any order and repeated, and in the limit."""
    predict_fn = gradient_descent(mean_squares, K, Y, 0.5)
    exact_fn = gradient_descent_mse(K, Y, 0.5)
    t = np.array([[20.0, 0.0], [3.0, 3.0], [1e-3, 100.0]])
    for actual, exact in zip(predict_fn(t, F0, F0_TEST, K_TEST), exact_fn(t, F0, F0_TEST, K_TEST), strict=True):
        assert actual.shape == exact.shape
        close(actual, exact, 1e-6)
    for actual, exact in zip(predict_fn(None, F0, F0_TEST, K_TEST), exact_fn(None, F0, F0_TEST, K_TEST), strict=True):
        assert actual.shape == exact.shape
        close(actual, exact, 1e-5)


@pytest.mark.usefixtures("x64")
def test_ode_with_momentum():
    """q' = -T (f - y) / n + drag q is linear: one matrix exponential; and the state resumes."""
    rate, momentum, n = 0.3, 0.7, 6
    predict_fn = gradient_descent(mean_squares, K, Y, rate, momentum)
    drag = (momentum - 1) / np.sqrt(rate)
    flow = np.block([[np.zeros((n, n)), np.eye(n)], [-K / Y.size, drag * np.eye(n)]])
    q0, q0_test = np.sin(F0), np.cos(F0_TEST)
    counts = np.array([0.0, 1.0, 10.0, 0.5, 4.0, 40.0])
    state = predict_fn(counts, ODEState(F0, F0_TEST, q0, q0_test), None, K_TEST)
    for i, t in enumerate(counts * np.sqrt(rate)):
        exact = scipy.linalg.expm(flow * t) @ np.concatenate([F0 - Y, q0])
        close(state.fx_train[i], Y + exact[:n], 1e-6)
        close(state.qx_train[i], exact[n:], 1e-6)
    early, late = (jax.tree.map(lambda leaf, i=i: leaf[i], state) for i in (1, 2))
    resumed = predict_fn(np.full(6, 9.0), early, None, K_TEST)
    jax.tree.map(lambda a, b: close(a[3], b, 1e-6), resumed, late)


@jax.jit
def euler(labels, time, steps):
    """Small steps of gradient flow on cross-entropy of both sets, in float64."""
    k = jnp.asarray(np.concatenate([K, K_TEST]))

    def step(_, f):
        return f - time / steps * k @ jax.grad(cross_entropy)(f[:6], labels)

    return jax.lax.fori_loop(0, steps, step, jnp.asarray(np.concatenate([F0, F0_TEST])))


@pytest.mark.usefixtures("x64")
def test_ode_of_cross_entropy():
    """Explicit Euler steps of a non-linear flow, extrapolated from two step sizes."""
    labels = jnp.eye(3)[np.arange(6) % 3]
    t, rate = 30.0, 0.4
    coarse, fine = (euler(labels, t * rate, steps) for steps in (10_000, 20_000))
    train, test = gradient_descent(cross_entropy, K, labels, rate)(np.full(6, t), F0, F0_TEST, K_TEST)
    exact = 2 * fine - coarse
    close(train[0], exact[:6], 1e-5)
    close(test[0], exact[6:], 1e-5)
    assert cross_entropy(train[0], labels) < 0.5 * cross_entropy(F0, labels)


def test_ode_in_float32():
    """Of a vector of targets, and one program for all numbers: the loss is traced again to check it, not to solve."""
    calls = []

    def loss(fx, y):
        calls.append(fx.shape)
        return mean_squares(fx, y)

    for scale in (1, 2):
        before = len(calls)
        result = gradient_descent(loss, scale * K, Y[:, 0], 0.5 / scale)(3.0 * scale, F0[:, 0])
        assert result.dtype == jnp.float32
        exact = Y[:, 0] + scipy.linalg.expm(-0.5 * 3 * scale * K / 6) @ (F0 - Y)[:, 0]
        close(result, exact, 1e-4)
    assert set(calls) == {(6,)}
    assert len(calls) - before <= 2


@SLOW
@pytest.mark.usefixtures("x64")
def test_ode_under_jit():
    """All numbers traced, those that the loss closes over included; too few steps are an error of the program."""

    def run(k, y, rate, t, max_steps=1000):
        def loss(fx, _):
            return mean_squares(fx, y)

        return gradient_descent(loss, k, Y, rate, max_steps=max_steps)(t, F0, F0_TEST, K_TEST)

    exact = gradient_descent_mse(K, Y + 1, 0.5)(GRID, F0, F0_TEST, K_TEST)
    for actual, desired in zip(jax.jit(run)(K, Y + 1, 0.5, GRID), exact, strict=True):
        close(actual, desired, 1e-6)
    with pytest.raises(jax.errors.JaxRuntimeError, match="maximum number of solver steps"):
        jax.block_until_ready(jax.jit(run, static_argnums=4)(K, Y + 1, 0.5, GRID, 3))


@SLOW
@pytest.mark.usefixtures("x64")
def test_ode_derivatives():
    def loss(function, k, rate):
        return jnp.sum(function(k, rate)(5.0, F0, F0_TEST, K_TEST)[1] ** 2)

    solved = jax.grad(lambda k, r: loss(lambda *a: gradient_descent(mean_squares, a[0], Y, a[1]), k, r), (0, 1))
    exact = jax.grad(lambda k, r: loss(lambda *a: gradient_descent_mse(a[0], Y, a[1]), k, r), (0, 1))
    jax.tree.map(lambda a, b: close(a, b, 1e-5), solved(jnp.asarray(K), 0.4), exact(jnp.asarray(K), 0.4))


@SLOW
@pytest.mark.usefixtures("x64")
def test_stiff_flow():
    """Rates from 1 to 1e-7: an explicit solver gives up, an implicit one takes few steps."""
    import diffrax

    rotation = np.linalg.qr(J[:, :6])[0]
    k = rotation @ np.diag(10.0 ** -np.arange(0, 12, 2)) @ rotation.T
    with pytest.raises(NotConverged, match="max_steps=500 steps; give"):
        gradient_descent(mean_squares, k, Y, 18.0, max_steps=500)(1e6)
    actual = gradient_descent(mean_squares, k, Y, 18.0, max_steps=500, solver=diffrax.Kvaerno5(), tolerance=1e-7)(1e6)
    close(actual, gradient_descent_mse(k, Y, 18.0)(1e6), 1e-5)


def test_state_is_a_pytree():
    state = ODEState(jnp.ones(2), None, jnp.zeros(2))
    doubled = jax.jit(lambda s: jax.tree.map(lambda leaf: 2 * leaf, s))(state)
    assert isinstance(doubled, ODEState)
    close(doubled.fx_train, 2)
    assert doubled.fx_test is None
    assert len(jax.tree.leaves(state)) == 2


def test_largest_rate_under_jit():
    close(jax.jit(lambda k: max_learning_rate(k, 18))(K), max_learning_rate(K, 18), 1e-6)
    assert max_learning_rate(np.zeros((2, 2))) > 1e6
    assert max_learning_rate([[2, 0], [0, 1]]) == 2


def test_missing_diffrax(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffrax", None)
    with pytest.raises(MissingExtra, match=re.escape('pip install "ntkc[ode]"')):
        gradient_descent(mean_squares, K, Y)


def mse(**changes):
    return gradient_descent_mse(**{"k_train_train": K, "y_train": Y, **changes})


def discrete(**changes):
    return gradient_descent_mse_discrete(**{"k_train_train": K, "y_train": Y, **changes})


def ode(**changes):
    return gradient_descent(**{"loss": mean_squares, "k_train_train": K, "y_train": Y, **changes})


@pytest.mark.parametrize("make", [mse, discrete, ode])
@pytest.mark.parametrize(
    ("changes", "call", "error", "message"),
    [
        ({"y_train": np.where(Y > 0, np.nan, Y)}, (), InvalidInput, "y_train holds NaN"),
        ({"y_train": Y[:0]}, (), InvalidInput, "y_train has shape (0, 3)"),
        ({"y_train": Y[:5]}, (), ShapeMismatch, "k_train_train has shape (6, 6)"),
        ({"k_train_train": K[:, :5]}, (), ShapeMismatch, "k_train_train has shape (6, 5)"),
        ({"k_train_train": K * np.nan}, (), InvalidInput, "k_train_train holds NaN"),
        ({"trace_axes": ()}, (), ShapeMismatch, "ask for (6, 6, 3, 3)"),
        ({"trace_axes": (2,)}, (), InvalidInput, "trace_axes (2,)"),
        ({"learning_rate": -1.0}, (), InvalidInput, "learning_rate is -1.0"),
        ({"learning_rate": np.nan}, (), InvalidInput, "learning_rate is nan"),
        ({"learning_rate": np.ones(2)}, (), InvalidInput, "learning_rate has shape (2,)"),
        ({"learning_rate": "fast"}, (), InvalidInput, "learning_rate is 'fast' of dtype <U4"),
        ({"k_train_train": {"ntk": K}}, (), InvalidInput, "k_train_train is a dict of dtype object"),
        ({}, (1, "nothing"), InvalidInput, "fx_train_0 is 'nothing' of dtype <U7"),
        ({}, (-1,), InvalidInput, "is -1, but must be 0 or positive"),
        ({}, (1, None), InvalidInput, "fx_train_0 and fx_test_0 are both None"),
        ({}, (1, 0.0, 0.0), InvalidInput, "fx_test_0 is given without k_test_train"),
        ({}, (1, Y[:4]), ShapeMismatch, "fx_train_0 has shape (4, 3), but the outputs have shape (6, 3)"),
        ({}, (1, Y[None]), ShapeMismatch, "fx_train_0 has shape (1, 6, 3)"),
        ({}, (1, Y * np.inf), InvalidInput, "fx_train_0 holds NaN or infinities"),
        ({}, (1, Y, F0, K_TEST), ShapeMismatch, "fx_test_0 has shape (6, 3), but the outputs have shape (4, 3)"),
        ({}, (1, Y, F0_TEST, K_TEST.T), ShapeMismatch, "k_test_train has shape (6, 4)"),
        ({}, (1, Y, F0_TEST[:0], K_TEST[:0]), InvalidInput, "k_test_train has shape (0, 6), which is empty"),
        ({}, (1, Y, F0_TEST, K_TEST * np.nan), InvalidInput, "k_test_train holds NaN"),
    ],
)
def test_errors(make, changes, call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make(**changes)(*call)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mse(diag_reg=-1e-3), InvalidInput, "diag_reg is -0.001"),
        (lambda: discrete(diag_reg=-1e-3), InvalidInput, "diag_reg is -0.001"),
        (lambda: mse()(np.nan), InvalidInput, "t is nan"),
        (lambda: mse(diag_reg=np.ones(6)), InvalidInput, "diag_reg has shape (6,); give one number"),
        (lambda: discrete()(1.5), InvalidInput, "steps is 1.5, but must count whole steps"),
        (lambda: discrete(momentum=None), InvalidInput, "momentum is None of dtype object"),
        (lambda: ode(max_steps=2.5), InvalidInput, "max_steps is 2.5, but must be a whole number"),
        (lambda: discrete()(2**31), InvalidInput, "steps is 2147483648, but must be at most 2147483647"),
        (lambda: jax.jit(discrete())(1.5), InvalidInput, "must count whole steps"),
        (lambda: discrete(momentum=1.0), InvalidInput, "momentum is 1.0, but must be at least 0 and below 1"),
        (lambda: ode(momentum=-0.1), InvalidInput, "momentum is -0.1"),
        (lambda: ode(momentum=0.5, learning_rate=0.0), InvalidInput, "learning_rate is 0, which momentum divides"),
        (lambda: ode(tolerance=0.0), InvalidInput, "tolerance is 0.0"),
        (lambda: ode(max_steps=0), InvalidInput, "max_steps is 0"),
        (lambda: ode(loss=lambda f, y: (f - y) ** 2), ShapeMismatch, "loss returns shape (6, 3)"),
        (lambda: ode(loss=lambda f, y: jnp.sum(jnp.sqrt(f - 9)))(1.0), InvalidInput, "gradient of loss is NaN"),
        (lambda: ode()(np.inf), InvalidInput, "t holds NaN or infinities"),
        (lambda: ode()(np.zeros(0)), InvalidInput, "t has shape (0,)"),
        (lambda: ode()(1.0, ODEState(F0, qx_train=F0)), InvalidInput, "velocities qx, but momentum is None"),
        (lambda: ode()(1.0, ODEState(F0), F0_TEST, K_TEST), InvalidInput, "fx_test_0 is given beside an ODEState"),
        (lambda: ode(momentum=0.5)(1.0, ODEState(F0, None, F0, F0)), InvalidInput, "qx_test without fx_test"),
        (lambda: ode(momentum=0.5)(1.0, ODEState(F0, qx_train=F0[:2])), ShapeMismatch, "qx_train has shape (2, 3)"),
        (lambda: ode(max_steps=2)(50.0), NotConverged, "not done after max_steps=2 steps"),
        (lambda: max_learning_rate(K[:4]), ShapeMismatch, "ntk_train_train has shape (4, 6), but must be square"),
        (lambda: max_learning_rate(K[0]), ShapeMismatch, "ntk_train_train has shape (6,)"),
        (lambda: max_learning_rate(K[:0, :0]), InvalidInput, "empty"),
        (lambda: max_learning_rate(K * np.nan), InvalidInput, "ntk_train_train holds NaN"),
        (lambda: max_learning_rate(K, 7), InvalidInput, "y_train_size is 7, but must be a multiple of the 6 rows"),
        (lambda: max_learning_rate(K, 6, 1.5), InvalidInput, "momentum is 1.5"),
        (lambda: max_learning_rate(K, 6, eps=-1.0), InvalidInput, "eps is -1.0"),
        (lambda: max_learning_rate(K, 6, eps=np.inf), InvalidInput, "eps holds NaN or infinities"),
        (lambda: max_learning_rate(K, 2.5), InvalidInput, "y_train_size is 2.5, but must be a whole number"),
        (lambda: max_learning_rate("K"), InvalidInput, "ntk_train_train is 'K'"),
    ],
)
def test_errors_of_one(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
