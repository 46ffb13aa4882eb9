"""Predictions against stored values of the peer package, explicit Euler steps, limits, and the messages they raise."""

import re
import warnings
from collections import namedtuple
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntkc.errors import InvalidInput, NotPositiveDefinite, ShapeMismatch, UnknownName
from ntkc.predict import Gaussian, gp_inference, gradient_descent_mse_ensemble

REFERENCE = np.load(Path(__file__).parent / "reference" / "predict.npz")
RATE = 0.7
N_TEST = 4
# As in reference/make_predict_reference.py:  trace_axes, diag_reg, diag_reg_absolute_scale.
CASES = {
    "traced": ((-1,), 0.0, False),
    "full": ((), 0.0, False),
    "image": ((1,), 0.0, False),
    "relative": ((-1,), 0.05, False),
    "absolute": ((), 0.3, True),
    "image absolute": ((1,), 0.2, True),
    "two traced": ((1, -1), 0.1, False),
}
GRID = np.array([[0.0, 0.3, 2.0], [10.0, 300.0, 1e4]])
TIMES = {"none": None, "zero": 0.0, "scalar": 3.0, "grid": GRID}
# With a ridge the peer differs on the training set; see test_training_set_is_a_test_set.
PEER_CASES = [(case, "test") for case in CASES] + [(case, "train") for case in CASES if CASES[case][1] == 0]
Kernel = namedtuple("Kernel", "nngp ntk")


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def named(get, value):
    """What a kernel_fn returns: value(name) for a name, a namedtuple for a tuple."""
    return value(get) if isinstance(get, str) else namedtuple("Blocks", get)(*map(value, get))


def stored_kernel(case):
    def kernel_fn(x1, x2, get):
        block = "train_train" if len(x1) != N_TEST else "test_test" if x2 is None else "test_train"
        return named(get, lambda name: REFERENCE[f"{case}/{name}/{block}"])

    return kernel_fn


def stored_ensemble(case):
    y = REFERENCE[f"{case}/y"]
    trace_axes, diag_reg, is_absolute = CASES[case]
    x = np.zeros((len(y), 2))
    return gradient_descent_mse_ensemble(stored_kernel(case), x, y, RATE, diag_reg, is_absolute, trace_axes)


def rbf(x1, x2=None, get=None, width=1.0):
    """Two kernels that are functions of x: a Gaussian bump, and twice that plus a line."""
    x2 = x1 if x2 is None else x2
    x1, x2 = jnp.asarray(x1), jnp.asarray(x2)
    nngp = jnp.exp(-((x1[:, None] - x2[None]) ** 2).sum(-1) / (2 * width**2))
    blocks = {"nngp": nngp, "ntk": 2 * nngp + x1 @ x2.T}
    return named(get or ("nngp", "ntk"), blocks.__getitem__)


def deep_relu(x1, x2=None, get=None, depth=3):
    """Fully-connected ReLU network, weight variance 2 and bias variance 0.1, in the dtype of x."""
    x2 = x1 if x2 is None else x2
    k, q1, q2 = x1 @ x2.T + 0.1, (x1**2).sum(-1) + 0.1, (x2**2).sum(-1) + 0.1
    ntk = k
    for _ in range(depth):
        scale = jnp.sqrt(q1[:, None] * q2[None])
        angle = jnp.arctan2(jnp.sqrt(jnp.maximum(scale**2 - k**2, 0)), k)
        new = (scale * jnp.sin(angle) + (np.pi - angle) * k) / np.pi + 0.1
        ntk = new + ntk * (np.pi - angle) / np.pi
        k, q1, q2 = new, q1 + 0.1, q2 + 0.1
    return named(get, {"nngp": k, "ntk": ntk}.__getitem__)


def draw(n=8, n_test=5, outputs=2, features=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, features)), rng.normal(size=(n, outputs)), rng.normal(size=(n_test, features))


def close(actual, desired, tolerance=1e-9):
    np.testing.assert_allclose(actual, desired, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("case", "inputs"), PEER_CASES)
@pytest.mark.parametrize("time", TIMES)
def test_peer_ensemble(case, time, inputs):
    x_test = np.ones((N_TEST, 2)) if inputs == "test" else None
    result = stored_ensemble(case)(TIMES[time], x_test, compute_cov=True)
    for mode in ("nngp", "ntk"):
        for field in ("mean", "covariance"):
            desired = REFERENCE[f"{case}/{time}/{inputs}/{mode}/{field}"]
            actual = getattr(getattr(result, mode), field)
            assert actual.shape == desired.shape
            assert actual.dtype == jnp.float64
            close(actual, desired)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", CASES)
def test_peer_posterior(case):
    trace_axes, diag_reg, is_absolute = CASES[case]
    blocks = [
        Kernel(*(REFERENCE[f"{case}/{kernel}/{block}"] for kernel in Kernel._fields))
        for block in ("train_train", "test_train", "test_test")
    ]
    posterior = gp_inference(blocks[0], REFERENCE[f"{case}/y"], diag_reg, is_absolute, trace_axes)
    result = posterior(("nngp", "ntk", "ntkgp"), *blocks[1:])
    assert result._fields == ("nngp", "ntk", "ntkgp")
    for mode, gaussian in result._asdict().items():
        close(gaussian.mean, REFERENCE[f"{case}/posterior/test/{mode}/mean"])
        close(gaussian.covariance, REFERENCE[f"{case}/posterior/test/{mode}/covariance"])
        close(posterior(mode, blocks[1]), REFERENCE[f"{case}/means/test/{mode}"])
        close(getattr(posterior(("nngp", "ntk", "ntkgp"), blocks[1]), mode), REFERENCE[f"{case}/means/test/{mode}"])
        if mode != "ntk":
            arrays = [block.nngp if mode == "nngp" else block.ntk for block in blocks]
            single = gp_inference(arrays[0], REFERENCE[f"{case}/y"], diag_reg, is_absolute, trace_axes)
            close(single(mode, *arrays[1:]).covariance, gaussian.covariance)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("compute_cov", [False, True])
def test_get(compute_cov):
    predict_fn = stored_ensemble("traced")
    both = predict_fn(1.0, compute_cov=compute_cov)
    assert both._fields == ("nngp", "ntk")
    assert predict_fn(1.0, get=("ntk", "nngp"), compute_cov=compute_cov)._fields == ("ntk", "nngp")
    assert predict_fn(1.0, get=("ntk",), compute_cov=compute_cov)._fields == ("ntk",)
    alone = predict_fn(1.0, get="NTK", compute_cov=compute_cov)
    assert isinstance(alone, Gaussian if compute_cov else jax.Array)
    jax.tree.map(close, alone, both.ntk)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("get", ["nngp", "ntk"])
@pytest.mark.parametrize("is_train", [False, True])
def test_limits(get, is_train):
    x, y, x_test = draw()
    predict_fn = gradient_descent_mse_ensemble(rbf, x, y, 0.5, diag_reg=1e-3)
    x_test = None if is_train else x_test
    never = predict_fn(None, x_test, get, compute_cov=True)
    jax.tree.map(close, predict_fn(jnp.inf, x_test, get, compute_cov=True), never)
    jax.tree.map(lambda a, b: close(a, b, 1e-7), predict_fn(1e9, x_test, get, compute_cov=True), never)
    start = predict_fn(0.0, x_test, get, compute_cov=True)
    close(start.mean, 0)
    close(start.covariance, rbf(x if is_train else x_test, None, "nngp"))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("get", ["nngp", "ntk"])
def test_slope_at_start(get):
    x, y, x_test = draw()
    t = 1e-7
    slope = gradient_descent_mse_ensemble(rbf, x, y, 0.5)(t, x_test, get) / t
    close(slope, 0.5 / y.size * rbf(x_test, x, get) @ y, 1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("diag_reg", [0.0, 0.2])
def test_euler_steps(diag_reg):
    """f' = -(T (f - y) + reg f) / n for the mean, and the same flow of many random initial functions."""
    x, y, x_test = draw()
    everything = np.concatenate([x, x_test])
    k, ntk = (np.asarray(rbf(everything, None, name)) for name in ("nngp", "ntk"))
    flow = np.zeros((13, 13))
    flow[:, :8] = ntk[:, :8]
    steps, t, rate = 40_000, 6.0, 0.5
    mean, spread = np.zeros((13, 2)), np.eye(13)
    for _ in range(steps):
        step = rate * t / steps / y.size
        mean -= step * (flow[:, :8] @ (mean[:8] - y) + diag_reg * mean)
        spread -= step * flow @ spread
    predict_fn = gradient_descent_mse_ensemble(rbf, x, y, rate, diag_reg, diag_reg_absolute_scale=True)
    for x_new, rows in ((None, slice(8)), (x_test, slice(8, 13))):
        result = predict_fn(t, x_new, "ntk", compute_cov=True)
        close(result.mean, mean[rows], 1e-4)
        if diag_reg == 0:
            close(result.covariance, (spread @ k @ spread.T)[rows, rows], 1e-4)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("t", [None, 0.0, 5.0, [1.0, 1e3]])
def test_training_set_is_a_test_set(t):
    """x_test None means x_train also with a ridge, unlike in the peer."""
    x, y, _ = draw()
    predict_fn = gradient_descent_mse_ensemble(rbf, x, y, diag_reg=0.1)
    t = t if t is None else jnp.asarray(t)
    jax.tree.map(close, predict_fn(t, None, compute_cov=True), predict_fn(t, x, compute_cov=True))


@pytest.mark.usefixtures("x64")
def test_posterior_of_training_set():
    x, y, _ = draw()
    kernel = rbf(x)
    modes = ("nngp", "ntk", "ntkgp")
    posterior = gp_inference(kernel, y, diag_reg=0.1)
    jax.tree.map(close, posterior(modes, None, True), posterior(modes, kernel, kernel))
    exact = gp_inference(kernel, y)(modes, None, True)
    for gaussian in exact:
        assert (gaussian.mean == y).all()
        assert (gaussian.covariance == 0).all()


@pytest.mark.parametrize(("kind", "t"), [(np.int64, None), (np.int32, 1.0), (np.float64, GRID), (list, 1.0)])
def test_vector_targets(kind, t):
    x, _, x_test = draw(n=12)
    labels = np.arange(12) % 3
    y = labels.tolist() if kind is list else labels.astype(kind)
    shape = np.shape(t) if t is not None else ()
    vector = gradient_descent_mse_ensemble(rbf, x, y)(t, x_test, compute_cov=True)
    column = gradient_descent_mse_ensemble(rbf, x, labels[:, None] * 1.0)(t, x_test, compute_cov=True)
    for one, other in zip(vector, column, strict=True):
        assert one.mean.shape == (*shape, 5)
        assert one.mean.dtype == jnp.float32
        close(one.mean, other.mean[..., 0], 1e-6)
        close(one.covariance, other.covariance, 1e-6)
    untraced = gradient_descent_mse_ensemble(rbf, x, y, trace_axes=())(t, x_test)
    close(untraced.ntk, vector.ntk.mean, 1e-6)
    assert gp_inference(rbf(x), y)("ntk", rbf(x_test, x)).shape == (5,)


def test_vector_targets_count_rows():
    """n in exp(-T t / n) is the number of targets: T = 2 for far points, so f = (1 - e^{-2 t / n}) y there."""
    x = 100 * np.arange(4.0)[:, None] - 150

    def far(x1, x2, get):
        return 2 * jnp.asarray(x1 == (x1 if x2 is None else x2).T, jnp.float32)

    predict_fn = gradient_descent_mse_ensemble(far, x, np.array([1, 2, 3, 4]))
    close(predict_fn(3.0, None, "ntk"), (1 - np.exp(-2 * 3 / 4)) * np.arange(1, 5), 1e-6)


@pytest.mark.parametrize("t", [None, np.array([0.0, 1.0, 1e6, 1e20, np.inf])])
@pytest.mark.parametrize("jitted", [False, True])
def test_ill_conditioned_float32(t, jitted):
    """100 points on a line: the NNGP matrix has eigenvalues below the rounding of float32, and is repaired."""
    x = jnp.linspace(-1, 1, 100)[:, None]
    y = jnp.sin(4 * x)
    x_test = jnp.linspace(-0.99, 0.99, 37)[:, None]

    def predict(x, t):
        return gradient_descent_mse_ensemble(deep_relu, x, y)(t, x_test, compute_cov=True)

    def run():
        result = jax.block_until_ready((jax.jit(predict) if jitted else predict)(x, t))
        jax.effects_barrier()
        return result

    with pytest.warns(NotPositiveDefinite, match=r"NNGP .* eigenvalue -?\d.*jitter \d"):
        result = run()
    assert all(np.isfinite(leaf).all() and leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(result))
    if t is None:
        close(result.nngp.mean, np.sin(4 * x_test), 0.02)
        close(result.ntk.mean, np.sin(4 * x_test), 0.02)


def test_float32_against_float64():
    """Factorising in float64 keeps float32 predictions as good as the kernel's own rounding."""
    x, y, x_test = draw(n=300, n_test=20, features=2)
    with jax.enable_x64(True):
        blocks = [np.asarray(deep_relu(*map(jnp.asarray, pair), get="ntk")) for pair in ((x, x), (x_test, x))]
        exact = np.linalg.solve(blocks[0], y)
    predict_fn = gp_inference(jnp.float32(blocks[0]), y)
    error = np.abs(predict_fn("ntk", jnp.float32(blocks[1])) - blocks[1] @ exact).max()
    assert error < 2e-4 * np.abs(y).max()


def test_repeated_points():
    x, y, x_test = draw()
    x, y = np.concatenate([x, x]), np.concatenate([y, y])
    predict_fn = gradient_descent_mse_ensemble(rbf, x, y)
    with pytest.warns(NotPositiveDefinite, match="repeated"):
        never = predict_fn(None, x_test, "ntk")
    with pytest.warns(NotPositiveDefinite, match="NTK"):
        late = predict_fn(jnp.inf, x_test, "ntk")
    close(never, late, 1e-2)
    with pytest.warns(NotPositiveDefinite):
        zero = gp_inference(jnp.zeros((2, 2)), jnp.ones((2, 1)))("nngp", jnp.zeros((1, 2)))
    close(zero, 0)


def test_indefinite_matrix():
    message = "smallest eigenvalue -1, .*jitter 1 "
    with pytest.warns(NotPositiveDefinite, match=message):
        mean = gp_inference(jnp.diag(jnp.array([2.0, -1.0])), jnp.ones((2, 1)))("ntk", jnp.ones((1, 2)))
    assert np.isfinite(mean).all()


def test_ridge_silences_the_warning():
    x = jnp.linspace(-1, 1, 100)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = gradient_descent_mse_ensemble(deep_relu, x, jnp.sin(x), diag_reg=1e-3)(None, x, compute_cov=True)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))


@pytest.mark.parametrize("is_train", [pytest.param(False, marks=pytest.mark.slow), True])
def test_jit(is_train):
    x, y, x_test = draw()
    x_test = None if is_train else x_test
    predict_fn = gradient_descent_mse_ensemble(rbf, x, y)
    jitted = jax.jit(lambda t, x: predict_fn(t, x, compute_cov=True))
    for t in (0.0, 2.0, GRID):
        compiled = jitted(t, x_test)
        jax.tree.map(lambda a, b: close(a, b, 1e-5), compiled, predict_fn(t, x_test, compute_cov=True))
    every = jax.jit(lambda x, y, x_test: gradient_descent_mse_ensemble(rbf, x, y)(None, x_test))
    jax.tree.map(lambda a, b: close(a, b, 1e-4), every(x, y, x_test), predict_fn(None, x_test))
    static = jax.jit(predict_fn, static_argnames=("get", "compute_cov"))
    close(static(2.0, x_test, get="ntk"), predict_fn(2.0, x_test, "ntk"), 1e-5)
    times = jax.vmap(lambda t: predict_fn(t, x_test, "ntk"))(jnp.arange(3.0))
    close(times, predict_fn(jnp.arange(3.0), x_test, "ntk"), 1e-5)


def test_one_factorisation(monkeypatch):
    calls = []
    eigh = jnp.linalg.eigh
    monkeypatch.setattr(jnp.linalg, "eigh", lambda matrix: calls.append(matrix) or eigh(matrix))
    x, y, x_test = draw()
    predict_fn = gradient_descent_mse_ensemble(rbf, x, y)
    jax.jit(lambda t: predict_fn(t, x_test, "ntk"))(1.0)
    for t in (1.0, 2.0):
        predict_fn(t, x_test, "ntk", compute_cov=True)
        predict_fn(t, None, "ntk")
        predict_fn(None, x_test, "ntk")
    assert len(calls) == 1


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("t", [None, np.array([0.1, 3.0, 50.0, np.inf])])
def test_derivatives(t):
    """In all inputs, against central differences; the eight corners of a cube have repeated eigenvalues."""
    x = np.array(np.meshgrid([-1.0, 1], [-1, 1], [-1, 1])).reshape(3, 8).T.copy()
    _, y, x_test = draw()

    @jax.jit
    def loss(x, y, x_test, scale):
        predict_fn = gradient_descent_mse_ensemble(rbf, x, y, scale, 0.1 * scale)
        results = [predict_fn(t, inputs, "ntk", compute_cov=True) for inputs in (x_test, None)]
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(results))

    point = tuple(map(jnp.asarray, (x, y, x_test, 1.0)))
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3)))(*point)
    rng = np.random.default_rng(1)
    for argument, slope in enumerate(gradient):
        step = 1e-5 * jnp.asarray(rng.normal(size=np.shape(slope)))
        ahead, behind = (
            loss(*point[:argument], moved, *point[argument + 1 :])
            for moved in (point[argument] + step, point[argument] - step)
        )
        close((slope * step).sum() / 1e-5, (ahead - behind) / 2e-5, 1e-5)
    forward = jax.jit(lambda x: jax.jvp(lambda x: loss(x, *point[1:]), (x,), (jnp.ones_like(x),))[1])(point[0])
    close(forward, gradient[0].sum())


@pytest.mark.parametrize("t", [None, 3.0])
def test_float32_derivative_in_test_inputs(t):
    x, y, x_test = draw()
    predict_fn = gradient_descent_mse_ensemble(rbf, x, y)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(predict_fn(t, x, "ntk"))))(jnp.float32(x_test))
    assert gradient.dtype == jnp.float32
    with jax.enable_x64(True):
        predict_fn = gradient_descent_mse_ensemble(rbf, x, y)
        exact = jax.grad(lambda x: jnp.sum(predict_fn(t, x, "ntk")))(jnp.asarray(x_test))
    close(gradient, exact, 1e-3)


def test_keywords():
    """Train keywords reach every block, test keywords replace them, pairs of arrays split between the sets."""
    seen = {}

    def kernel_fn(x1, x2, get, **keywords):
        seen["train_train" if len(x1) == 8 else "test_test" if x2 is None else "test_train"] = keywords
        return rbf(x1, x2, get)

    x, y, x_test = draw()
    one, two, three = (np.full(2, i) for i in range(3))
    predict_fn = gradient_descent_mse_ensemble(kernel_fn, x, y, pattern=(one, one), scale=2, mask=one)
    predict_fn(None, x_test, "ntk", compute_cov=True, pattern=(two, three), scale=2)
    assert seen["train_train"]["pattern"] == (one, one)
    assert seen["test_test"] == {"pattern": (two, three), "scale": 2, "mask": one}
    assert seen["test_train"] == {"pattern": (two, one), "scale": 2, "mask": one}
    with pytest.raises(InvalidInput, match="'scale' is 2 for training and 3"):
        predict_fn(None, x_test, scale=3)
    with pytest.raises(InvalidInput, match=r"'extra' is given for testing only.*\['mask', 'pattern', 'scale'\]"):
        predict_fn(None, x_test, extra=3)


X, Y, X_TEST = draw()
K = rbf(X)


@pytest.mark.usefixtures("x64")
def test_kernels_in_mappings_and_lists():
    train, cross, prior = rbf(X), rbf(X_TEST, X), rbf(X_TEST)
    desired = gp_inference(train, Y, 0.1)(None, cross, prior)
    found = gp_inference(train._asdict(), Y, 0.1)(None, cross._asdict(), prior._asdict())
    lists = gp_inference(train.ntk.tolist(), Y.tolist(), 0.1)("ntkgp", cross.ntk.tolist(), prior.ntk.tolist())
    alone = gp_inference(train, Y, 0.1)("ntkgp", cross, prior)
    for a, b in ((found.ntk, desired.ntk), (found.nngp, desired.nngp), (lists, alone)):
        close(a.mean, b.mean)
        close(a.covariance, b.covariance)


@pytest.mark.usefixtures("x64")
def test_targets_that_overflow_the_kernel():
    with pytest.raises(InvalidInput, match="y_train overflows float32, the dtype of the kernel"):
        gp_inference(K.ntk.astype(np.float32), Y + 1e39)("ntkgp")


def test_kernel_function_without_a_kernel():
    with pytest.raises(InvalidInput, match=re.escape("kernel_fn gave a dict without ['ntk'] for get=('nngp', 'ntk')")):
        ensemble(kernel_fn=lambda x1, x2, get: {"nngp": K.nngp})()


def lopsided(*args):
    return jax.tree.map(lambda k: k * jnp.arange(1, len(k) + 1), rbf(*args))


def ensemble(**changes):
    arguments = {"kernel_fn": rbf, "x_train": X, "y_train": Y, **changes}
    return gradient_descent_mse_ensemble(**arguments)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ensemble(y_train=np.where(Y > 0, np.nan, Y)), InvalidInput, "y_train holds NaN"),
        (lambda: ensemble(y_train=Y * np.inf), InvalidInput, "y_train holds NaN or infinities; drop"),
        (lambda: ensemble(y_train=Y[:0]), InvalidInput, "y_train has shape (0, 2)"),
        (lambda: ensemble(y_train=1.0), InvalidInput, "y_train has shape ()"),
        (lambda: ensemble(diag_reg=-1e-3), InvalidInput, "diag_reg is -0.001"),
        (lambda: ensemble(diag_reg=np.nan), InvalidInput, "diag_reg is nan"),
        (lambda: ensemble(learning_rate=-1.0), InvalidInput, "learning_rate is -1.0"),
        (lambda: ensemble(learning_rate=np.ones(2)), InvalidInput, "learning_rate has shape (2,); give one number"),
        (lambda: ensemble(diag_reg="little"), InvalidInput, "diag_reg is 'little' of dtype <U6; give real numbers"),
        (lambda: ensemble(diag_reg=np.ones(8)), InvalidInput, "diag_reg has shape (8,); give one number"),
        (lambda: ensemble(y_train=Y + 1j), InvalidInput, "y_train is a ndarray of dtype complex128; give real"),
        (lambda: ensemble(y_train=[[1.0], [1.0, 2.0]]), InvalidInput, "y_train has rows of different lengths"),
        (lambda: ensemble(y_train=np.ma.masked_less(Y, 0)), InvalidInput, "y_train has masked entries"),
        (lambda: ensemble(trace_axes=(2,)), InvalidInput, "trace_axes (2,)"),
        (lambda: ensemble(trace_axes=1.0), InvalidInput, "trace_axes is 1.0, but must be one axis"),
        (lambda: ensemble()("late"), InvalidInput, "t is 'late' of dtype <U4"),
        (lambda: ensemble()(-np.inf), InvalidInput, "t is -inf"),
        (lambda: ensemble()(-1.0), InvalidInput, "t is -1.0"),
        (lambda: ensemble()(np.array([1.0, np.nan])), InvalidInput, "t is [ 1. nan]"),
        (lambda: ensemble()(1.0, X_TEST[:, :2]), ShapeMismatch, "x_test has shape (5, 2), x_train (8, 3)"),
        (lambda: ensemble()(1.0, X_TEST[:0]), InvalidInput, "x_test has shape (0, 3)"),
        (lambda: ensemble()(1.0, X_TEST * np.nan), InvalidInput, "the nngp of (x_test, x_train) holds NaN"),
        (lambda: ensemble(x_train=X * np.nan)(), InvalidInput, "the nngp of x_train holds NaN"),
        (lambda: ensemble(y_train=Y[:5])(), ShapeMismatch, "has shape (8, 8), but the kept axes (5,) of y_train ask"),
        (lambda: ensemble(trace_axes=())(), ShapeMismatch, "ask for (8, 8, 2, 2)"),
        (lambda: ensemble()(get="ntkgp"), UnknownName, "no prediction 'ntkgp'; have nngp, ntk"),
        (lambda: ensemble()(get=3), UnknownName, "no prediction '3'; have nngp, ntk"),
        (lambda: ensemble()(get=()), InvalidInput, "get is ()"),
        (lambda: ensemble()(get=("ntk", "NTK")), InvalidInput, "several different"),
        (lambda: gp_inference(K, Y)("cov"), UnknownName, "have nngp, ntk, ntkgp"),
        (lambda: gp_inference(K, Y[:3])("ntk"), ShapeMismatch, "k_train_train.ntk has shape (8, 8)"),
        (lambda: gp_inference(K, Y)("ntk", np.ones((2, 7))), ShapeMismatch, "k_test_train.ntk has shape (2, 7)"),
        (lambda: gp_inference(K, Y)("nngp", K, K.nngp[:3, :3]), ShapeMismatch, "k_test_test.nngp has shape (3, 3)"),
        (lambda: gp_inference(K, Y)("nngp", np.ones((0, 8))), InvalidInput, "empty"),
        (lambda: gp_inference(K.ntk, Y)("ntk", K, K), InvalidInput, "k_train_train is one array"),
        (lambda: gp_inference(K._replace(nngp=None), Y)("nngp"), InvalidInput, "k_train_train has no nngp"),
        (lambda: gp_inference(K, Y, diag_reg=-1.0), InvalidInput, "diag_reg is -1.0"),
        (lambda: gp_inference(K, Y, diag_reg=1j), InvalidInput, "diag_reg is 1j of dtype complex128"),
        (lambda: gp_inference({"nngp": K.nngp}, Y)("ntk"), InvalidInput, "k_train_train has no ntk"),
        (lambda: gp_inference(jnp.triu(K.ntk), Y)("ntk"), InvalidInput, "k_train_train.ntk is not symmetric"),
        (lambda: ensemble(kernel_fn=lopsided)(), InvalidInput, "x_train is not symmetric"),
        (lambda: gp_inference("gram", Y)("ntk"), InvalidInput, "k_train_train has no ntk"),
        (lambda: gp_inference(K.ntk + 0j, Y)("ntkgp"), InvalidInput, "k_train_train.ntk is a"),
        (lambda: gp_inference(K, Y + 1e39)("ntkgp"), InvalidInput, "y_train holds NaN or infinities"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
