"""Estimators and kernels against scikit-learn's own checks, its Gaussian process, refits, and finite differences."""

import importlib
import pickle
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.linalg
import sympy
from scipy.optimize import approx_fprime
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.datasets import load_iris, make_classification
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

import ntkc
from ntkc import stax
from ntkc.errors import (
    InvalidGraph,
    InvalidInput,
    MissingExtra,
    NotPositiveDefinite,
    SeriesNotConverged,
    ShapeMismatch,
    UnknownName,
)
from ntkc.predict.calibration import fit_temperature, smooth_labels
from ntkc.sklearn import NNGPClassifier, NNGPRegressor, NTKClassifier, NTKKernel, NTKRegressor
from ntkc.sklearn.blocks import bucket, in_chunks
from ntkc.sklearn.calibration import folds_of, held_out_scores
from ntkc.sklearn.recipes import compile_recipe, read_recipe

LINEAR = stax.Dense(1, 1.0, 0.5)
RELU = stax.serial(stax.Dense(1, 1.5, 0.2), stax.Relu(), stax.Dense(1, 1.5, 0.2))
RNG = np.random.default_rng(0)
X, X_TEST = RNG.normal(size=(30, 4)), RNG.normal(size=(20, 4))
Y = np.stack([np.sin(X[:, 0]), 3 + X[:, 1] * X[:, 2]], axis=1)
LABELS = np.arange(30) % 3


@pytest.mark.slow
@parametrize_with_checks([NNGPClassifier(LINEAR)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([NTKRegressor(), NNGPRegressor(), NTKClassifier(), NNGPClassifier(), NTKClassifier(t=1e3)])
def test_scikit_learn_checks_of_all(estimator, check):
    check(estimator)


def close(value, expected, tolerance=1e-9):
    scale = np.abs(expected).max()
    assert np.abs(np.asarray(value) - expected).max() <= tolerance * scale


def relu_kernel(get):
    """The kernel of RELU."""
    return NTKKernel(1.5, 0.2, depth=1, get=get)


@pytest.mark.parametrize("y", [Y, Y[:, 0], Y[:, :1]], ids=["two outputs", "vector", "column"])
@pytest.mark.parametrize("normalize_y", [False, True])
def test_nngp_regressor_is_a_gaussian_process(y, normalize_y):
    peer = GaussianProcessRegressor(relu_kernel("nngp"), alpha=0.1, optimizer=None, normalize_y=normalize_y).fit(X, y)
    own = NNGPRegressor(RELU, ridge=0.1, absolute_ridge=True, normalize_y=normalize_y).fit(X, y)
    own_mean, own_std = own.predict(X_TEST, return_std=True)
    mean, std = peer.predict(X_TEST, return_std=True)
    assert own_mean.shape == own_std.shape == (20, *y.shape[1:])
    close(own_mean, mean.reshape(own_mean.shape))
    close(own_std, std.reshape(own_std.shape))
    own_covariance, covariance = (model.predict(X_TEST, return_cov=True)[1] for model in (own, peer))
    assert own_covariance.shape == (20, 20, *y.shape[1:])
    close(own_covariance, covariance.reshape(own_covariance.shape))


@pytest.mark.slow
@pytest.mark.parametrize("t", [None, 40.0, np.inf, 0.0])
def test_ntk_regressor_is_an_ensemble(t):
    """A = T* (I - e^{-G tau}) G^{-1} by matrix functions of scipy, from the kernels of NTKKernel."""
    own = NTKRegressor(RELU, ridge=0.01, t=t, learning_rate=0.5, normalize_y=False).fit(X, Y)
    T, K = (relu_kernel(get)(X) for get in ("ntk", "nngp"))
    T_cross, K_cross = (relu_kernel(get)(X_TEST, X) for get in ("ntk", "nngp"))
    G = T + 0.01 * np.trace(T) / 30 * np.eye(30)
    decay = scipy.linalg.expm(-G * 0.5 * t / Y.size) if t not in (None, np.inf) else np.zeros_like(G)
    A = T_cross @ (np.eye(30) - decay) @ np.linalg.inv(G)
    mean, covariance = own.predict(X_TEST, return_cov=True)
    assert np.abs(mean - A @ Y).max() < 1e-9
    mixed = A @ K_cross.T
    exact = A @ K @ A.T - mixed - mixed.T + relu_kernel("nngp")(X_TEST)
    close(covariance, np.repeat(exact[..., None], 2, axis=-1))
    close(own.predict(X_TEST, return_std=True)[1] ** 2, np.repeat(np.diag(exact)[:, None], 2, axis=1))


def test_finite_time_nngp_covariance():
    own = NNGPRegressor(RELU, ridge=0.01, t=25.0, normalize_y=False).fit(X, Y[:, 0])
    K, cross = relu_kernel("nngp")(X), relu_kernel("nngp")(X_TEST, X)
    G = K + 0.01 * np.trace(K) / 30 * np.eye(30)
    ramp = (np.eye(30) - scipy.linalg.expm(-2 * G * 25 / 30)) @ np.linalg.inv(G)
    close(own.predict(X_TEST, return_cov=True)[1], relu_kernel("nngp")(X_TEST) - cross @ ramp @ cross.T)


@pytest.mark.slow
def test_float32():
    own, exact = (NTKRegressor(LINEAR, ridge=0.1, dtype=dtype).fit(X, Y) for dtype in ("float32", "float64"))
    assert own.posterior_.predictor.weights.dtype == np.float32
    pairs = zip(own.predict(X_TEST, return_std=True), exact.predict(X_TEST, return_std=True), strict=True)
    for (a, b), tolerance in zip(pairs, (1e-5, 1e-3), strict=True):
        assert a.dtype == np.float64
        assert 0 < np.abs(a - b).max() < tolerance * np.abs(b).max()


def test_results_do_not_depend_on_the_default_precision():
    off = NTKRegressor(LINEAR).fit(X, Y).predict(X_TEST)
    with jax.enable_x64(True):
        on = NTKRegressor(LINEAR).fit(X, Y).predict(X_TEST)
        narrow = NTKRegressor(LINEAR, dtype="float32").fit(X, Y)
        assert narrow.posterior_.factor.gram.dtype == np.float32
    assert (on == off).all()


@pytest.mark.slow
def test_ill_conditioned():
    line = np.linspace(-1, 1, 100)[:, None]
    with pytest.warns(NotPositiveDefinite, match="NNGP"):
        model = NNGPRegressor(ridge=0.0, dtype="float32").fit(line, np.sin(4 * line[:, 0]))
    mean, std = model.predict(line, return_std=True)
    assert np.isfinite(std).all()
    assert np.abs(mean - np.sin(4 * line[:, 0])).max() < 0.05


def test_singular():
    with pytest.warns(NotPositiveDefinite, match="NNGP"):
        model = NNGPRegressor(LINEAR, ridge=0.0).fit(X, X[:, 0])
    mean, std = model.predict(X_TEST, return_std=True)
    close(mean, X_TEST[:, 0], 1e-4)
    assert (std < 1e-4).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_leave_one_out_is_n_refits(dtype):
    model = NTKClassifier(LINEAR, ridge=0.05, absolute_ridge=True, dtype=dtype)
    held, targets = held_out(model, LABELS)
    for i in range(0, 30, 7):
        rest = np.arange(30) != i
        refit = NTKRegressor(LINEAR, ridge=0.05, absolute_ridge=True, normalize_y=False).fit(X[rest], targets[rest])
        close(held[i], refit.predict(X[i : i + 1])[0], 1e-9 if dtype == "float64" else 1e-4)


def test_folds_left_out_are_refits():
    model = NTKClassifier(LINEAR, t=20.0)
    held, targets = held_out(model, LABELS)
    folds = folds_of(LABELS)
    assert all(np.bincount(folds[c == LABELS], minlength=5).tolist() == [2] * 5 for c in range(3))
    for fold in range(5):
        refit = NTKRegressor(LINEAR, t=20.0, normalize_y=False).fit(X[folds != fold], targets[folds != fold])
        close(held[folds == fold], refit.predict(X[folds == fold]))


def held_out(model, labels):
    plan = model.plan()
    targets = np.eye(3)[labels] - 1 / 3
    gram = plan.gram(X.astype(plan.dtype))
    return held_out_scores(plan, gram, plan.factorise(gram), targets, labels), targets


def test_temperature_is_the_best():
    scores, labels = RNG.normal(size=(200, 3)), RNG.integers(3, size=200)
    scores[np.arange(200), labels] += 1
    targets = smooth_labels(labels, 3)
    assert np.allclose(targets.sum(axis=1), 1)

    def loss(temperature):
        return -np.mean(np.sum(targets * log_softmax(scores / temperature, axis=1), axis=1))

    best = fit_temperature(scores, labels)
    assert loss(best) < min(loss(best * 1.01), loss(best / 1.01))
    assert np.isfinite(fit_temperature(100.0 * np.eye(3)[labels], labels))


@pytest.mark.parametrize("t", [None, pytest.param(1e3, marks=pytest.mark.slow)])
def test_probabilities_are_calibrated(t):
    """Log loss on new data is that of the best temperature, and classes turn up as often as they are said to."""
    x, y = make_classification(
        2400, 6, n_informative=4, n_classes=3, n_clusters_per_class=1, flip_y=0.2, random_state=0
    )
    model = NTKClassifier(RELU, ridge=1e-2, t=t).fit(x[:400], y[:400])
    p = model.predict_proba(x[400:])
    scores = model.outputs(x[400:])
    best = min(log_loss(y[400:], np.exp(log_softmax(scores / s, axis=1))) for s in np.geomspace(0.01, 10, 200))
    assert log_loss(y[400:], p) < best + 0.02
    confidence, is_right = p.max(axis=1), model.predict(x[400:]) == y[400:]
    assert abs(confidence.mean() - is_right.mean()) < 0.05
    for low, high in ((0.3, 0.6), (0.6, 0.8), (0.8, 1.0)):
        some = (confidence > low) & (confidence <= high)
        assert abs(confidence[some].mean() - is_right[some].mean()) < 0.15


def test_classes():
    names = np.array(["setosa", "versicolor", "virginica"])
    (x, y), (x_test, y_test) = irises(0), irises(1)
    model = NTKClassifier(RELU).fit(x, names[y])
    assert model.classes_.tolist() == names.tolist()
    assert model.score(x_test, names[y_test]) > 0.93
    scores = model.decision_function(x_test)
    assert scores.shape == (30, 3)
    assert (model.predict(x_test) == names[scores.argmax(axis=1)]).all()
    assert np.allclose(scores.sum(axis=1), 0)
    binary = NTKClassifier(RELU).fit(x[:20], names[y[:20]])
    assert ((binary.decision_function(x_test) > 0) == (binary.predict(x_test) == "versicolor")).all()
    assert np.allclose(binary.predict_proba(x_test).sum(axis=1), 1)


def irises(start):
    """A fifth of them, of all three kinds."""
    x, y = load_iris(return_X_y=True)
    return x[start::5], y[start::5]


def network_forms():
    graph = ntkc.from_json(ntkc.to_json(RELU))
    return {
        "layer": RELU,
        "triple": tuple(RELU),
        "graph": graph,
        "document": ntkc.to_json(RELU),
        "program": ntkc.compile(RELU),
        "tolerance": ntkc.compile(RELU, tolerance=1e-8),
    }


@pytest.mark.parametrize("form", list(network_forms()))
def test_networks_clone_and_pickle(form):
    model = clone(NTKRegressor(network_forms()[form])).fit(X, Y)
    close(model.predict(X_TEST), NTKRegressor(RELU).fit(X, Y).predict(X_TEST))
    copy = pickle.loads(pickle.dumps(clone(model).fit(X, Y)))
    assert (copy.predict(X_TEST) == model.predict(X_TEST)).all()
    assert copy.get_params()["ridge"] == 1e-4
    clone(copy).fit(X, Y)


def test_programs_pickle_as_their_networks():
    for tolerance in (None, 1e-8):
        program = ntkc.compile(stax.serial(stax.Dense(1), stax.Tanh(), stax.Dense(1)), tolerance=tolerance)
        copy = pickle.loads(pickle.dumps(program))
        assert copy.tolerance == program.tolerance == tolerance
        assert copy.source == program.source
        assert deepcopy(program) is program


@pytest.mark.slow
def test_series_that_are_cut_are_said_everywhere():
    kernel = NTKKernel(depth=1, activation="softplus(x)")
    kernel(0.1 * X, eval_gradient=True)
    kernel.diag(0.1 * X)
    for call in (kernel, lambda x: kernel(x, eval_gradient=True), kernel.diag):
        with pytest.warns(SeriesNotConverged, match="relative error of up to"):
            call(1e4 * X)


READ = """
import pickle, sys
import numpy as np
models, x = pickle.load(open(sys.argv[1], "rb"))
means = [np.ravel(model.predict(x)) for model in models]
means += [np.ravel(model.predict_proba(x)) for model in models if hasattr(model, "predict_proba")]
deviations = [np.ravel(model.predict(x, return_std=True)[1]) for model in models if hasattr(model, "posterior_")]
np.save(sys.argv[2], np.concatenate(means + deviations))
"""


def test_pickle_in_a_new_process(tmp_path):
    models = [NTKRegressor(tuple(LINEAR)).fit(X, Y), NNGPClassifier(tuple(LINEAR), t=100.0).fit(X, LABELS)]
    (tmp_path / "models").write_bytes(pickle.dumps((models, X_TEST)))
    subprocess.run(
        [sys.executable, "-c", READ, "models", "found.npy"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(ntkc.__file__).parent.parent), "PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu"},
        check=True,
    )
    regressor, classifier = models
    expected = [regressor.predict(X_TEST), classifier.predict(X_TEST), classifier.predict_proba(X_TEST)]
    expected.append(regressor.predict(X_TEST, return_std=True)[1])
    found = np.load(tmp_path / "found.npy")
    assert np.allclose(found, np.concatenate([np.ravel(e) for e in expected]), rtol=1e-13, atol=1e-13)


def test_grid_search_in_a_pipeline():
    x, y = (np.concatenate(parts) for parts in zip(irises(0), irises(1), strict=True))
    pipeline = make_pipeline(StandardScaler(), NTKClassifier())
    grid = {"ntkclassifier__ridge": [1e-3, 1e-1], "ntkclassifier__network": [LINEAR, stax.Dense(1)]}
    compile_recipe.cache_clear()
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(x, y)
    assert search.best_score_ > 0.75
    assert search.predict_proba(x[:5]).shape == (5, 3)
    assert compile_recipe.cache_info().misses == 2


def test_feature_names_and_parameters():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    model = NTKRegressor(LINEAR).fit(frame, Y)
    assert model.feature_names_in_.tolist() == list("abcd")
    assert model.n_features_in_ == 4
    assert model.set_params(ridge=1.0).get_params()["ridge"] == 1.0


def test_chunks(monkeypatch):
    many = np.tile(X_TEST, (5, 1))
    monkeypatch.setattr("ntkc.sklearn.blocks.LARGEST_BLOCK", 40 * 30)
    assert [len(rows) for rows in in_chunks(many, 30)] == [32, 32, 32, 4]
    model = NTKRegressor(RELU).fit(X, Y)
    close(model.predict(many), np.tile(model.predict(X_TEST), (5, 1)), 1e-12)
    assert all(n <= bucket(n) <= max(1.125 * n + 1, n + 32) for n in range(1, 5000))


KERNELS = {
    "relu": NTKKernel(1.2, 0.3, depth=1),
    "network": NTKKernel(1.2, network=stax.serial(stax.Dense(1, sympy.Symbol("w")), stax.Relu(), stax.Dense(1))),
    "fixed": NTKKernel(1.2, 0.0, b_std_bounds="fixed", depth=1),
    "numbers": NTKKernel(network=RELU, get="nngp") + WhiteKernel(0.1),
    "sum": 2.0 * NTKKernel(1.3, depth=1) * RBF(0.7) + WhiteKernel(0.1),
}


SLOW_KERNELS = {
    "erf": NTKKernel(1.2, 0.3, activation="erf(x)", depth=1),
    "default": NTKKernel(),
    "nngp": NTKKernel(1.2, 0.3, get="nngp", depth=2),
    "tanh": NTKKernel(1.2, 0.3, activation="tanh(x)", depth=2),
}
ALL_KERNELS = {**KERNELS, **SLOW_KERNELS}
SERIES_TOLERANCE = 1e-9
"""A diagonal of k(X) is a quadrature, other entries, and all of k(X, Y), are series to 1e-10 a layer."""


@pytest.mark.parametrize("name", [*KERNELS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_KERNELS)])
def test_kernel_gradient(name):
    """Against central differences in theta; the diagonal, the triangle and the rectangle agree."""
    kernel, tolerance = ALL_KERNELS[name], SERIES_TOLERANCE if name == "tanh" else 1e-12
    matrix, gradient = kernel(X, eval_gradient=True)
    assert gradient.shape == (30, 30, kernel.n_dims)
    close(kernel(X), matrix, 1e-12)
    close(kernel.diag(X), np.diag(matrix), tolerance)
    for i, step in enumerate(1e-5 * np.eye(kernel.n_dims)):
        ahead, behind = (kernel.clone_with_theta(kernel.theta + s)(X) for s in (step, -step))
        close(gradient[..., i], (ahead - behind) / 2e-5, 1e-8)
    if not hasattr(kernel, "k1"):
        close(kernel(X, X.copy()), matrix, tolerance)


def test_kernel_is_that_of_the_program():
    with jax.enable_x64(True):
        program = ntkc.compile(RELU)
        for get in ("ntk", "nngp"):
            kernel = relu_kernel(get)
            close(kernel(X_TEST, X), np.asarray(program(X_TEST, X, get)), 1e-12)


def test_kernel_can_be_written_to():
    """Whatever the number of rows: scikit-learn adds noise to the diagonal in place."""
    x = RNG.normal(size=(bucket(30), 4))
    for matrix in (NTKKernel(depth=1)(x), NTKKernel(depth=1)(x, x.copy()), NTKKernel(depth=1).diag(x)):
        matrix += 1.0
    GaussianProcessRegressor(NTKKernel(depth=1), optimizer=None).fit(x, x[:, 0])


def test_gaussian_process_optimises_the_kernel():
    start = NTKKernel(3.0, 3.0, depth=1) + WhiteKernel(0.1, "fixed")
    y = Y[:, 1] + 0.5 * np.random.default_rng(1).normal(size=30)
    fixed = GaussianProcessRegressor(start, optimizer=None).fit(X, y)
    free = GaussianProcessRegressor(start, n_restarts_optimizer=1, random_state=0).fit(X, y)
    assert free.log_marginal_likelihood_value_ > fixed.log_marginal_likelihood_value_ + 1
    theta = np.array([0.1, -0.4])
    _, gradient = free.log_marginal_likelihood(theta, eval_gradient=True)
    close(gradient, approx_fprime(theta, free.log_marginal_likelihood, 1e-7), 1e-5)


def test_other_hyper_parameters_compile_nothing(caplog):
    kernel = NTKKernel(1.1, depth=1)
    kernel(X, eval_gradient=True), kernel(X_TEST, X), kernel.diag(X)
    with jax.log_compiles():
        other = kernel.clone_with_theta(kernel.theta + 0.3)
        other(X, eval_gradient=True), other(X_TEST, X), other.diag(X)
        assert not caplog.records
        jax.jit(lambda x: x + 0.123)(1.0)
        assert caplog.records


def test_support_vector_machine():
    (x, y), (x_test, y_test) = irises(0), irises(1)
    kernel = NTKKernel(depth=1)
    own = SVC(kernel=kernel).fit(x, y)
    peer = SVC(kernel="precomputed").fit(kernel(x), y)
    assert (own.predict(x_test) == peer.predict(kernel(x_test, x))).all()
    assert own.score(x_test, y_test) > 0.9
    search = GridSearchCV(SVC(kernel=kernel), {"kernel__W_std": [0.5, 1.5], "C": [1, 10]}, cv=2, error_score="raise")
    assert search.fit(x, y).best_score_ > 0.8


def test_kernel_is_a_value():
    kernel = NTKKernel(1.2, network=tuple(stax.serial(stax.Dense(1, sympy.Symbol("w")), stax.Relu(), stax.Dense(1))))
    assert kernel == clone(kernel) == pickle.loads(pickle.dumps(kernel))
    assert kernel != NTKKernel(1.3) != RBF()
    assert NTKKernel(1.3) != NTKKernel(1.3, get="nngp")
    assert kernel.hyperparameter_b_std.fixed
    assert kernel.theta.tolist() == [np.log(1.2)]
    assert not kernel.is_stationary()
    assert repr(NTKKernel()) == "NTKKernel(W_std=1.41, b_std=0.1, depth=3, get='ntk')"
    assert (ConstantKernel(2.0) + NTKKernel()).theta.shape == (3,)
    assert np.allclose(NTKKernel().bounds, np.log([[0.3, 5.0], [1e-3, 5.0]]))


def test_missing_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("ntkc.sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(MissingExtra, match=re.escape('pip install "ntkc[sklearn]"')):
        importlib.import_module("ntkc.sklearn")


OPEN = stax.Dense(1, sympy.Symbol("sigma"))
HOLED = np.where(X > 2, np.nan, X)
FITTED = NTKRegressor(LINEAR).fit(X, Y)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: NTKRegressor(ridge=-1.0).fit(X, Y), InvalidInput, "ridge is -1.0, but must be 0 or positive"),
        (lambda: NTKRegressor(ridge=np.nan).fit(X, Y), InvalidInput, "ridge is nan"),
        (lambda: NTKRegressor(ridge=np.inf).fit(X, Y), InvalidInput, "ridge holds NaN or infinities"),
        (lambda: NTKRegressor(ridge="much").fit(X, Y), InvalidInput, "ridge is 'much', but must be a number"),
        (lambda: NTKClassifier(t=-2.0).fit(X, LABELS), InvalidInput, "t is -2.0, but must be 0 or positive"),
        (lambda: NTKRegressor(learning_rate=-2.0).fit(X, Y), InvalidInput, "learning_rate is -2.0"),
        (lambda: NTKRegressor(dtype="float16").fit(X, Y), UnknownName, "no dtype 'float16'; have float32, float64"),
        (lambda: NTKRegressor(OPEN).fit(X, Y), InvalidInput, "['sigma'] open; an estimator needs numbers"),
        (lambda: NTKRegressor(3).fit(X, Y), InvalidGraph, "int is no network"),
        (lambda: NTKRegressor().fit(HOLED, Y), ValueError, "Input X contains NaN"),
        (lambda: NTKRegressor().fit(X, np.where(Y > 3, np.nan, Y)), ValueError, "NaN"),
        (lambda: NTKRegressor().fit(X, Y[:5]), ValueError, "inconsistent numbers of samples"),
        (lambda: NTKRegressor().fit(X[:0], Y[:0]), ValueError, "0 sample(s)"),
        (lambda: NTKRegressor(LINEAR).fit(1e200 * X, Y), InvalidInput, "squares overflow float64"),
        (lambda: NTKRegressor(LINEAR).fit(X, 1e300 * Y), InvalidInput, "y is so large that its square overflows"),
        (
            lambda: NTKRegressor(LINEAR, dtype="float32", normalize_y=False).fit(X, 1e60 * Y),
            InvalidInput,
            "y in float32 holds NaN or infinities",
        ),
        (lambda: NTKRegressor(t="late").fit(X, Y), InvalidInput, "t is 'late', but must be a number"),
        (lambda: NTKRegressor(ridge=True).fit(X, Y), InvalidInput, "ridge is True, but must be a number"),
        (lambda: NTKRegressor().predict(X), NotFittedError, "not fitted yet"),
        (lambda: FITTED.predict(X[:, :3]), ValueError, "X has 3 features, but NTKRegressor is expecting 4"),
        (lambda: FITTED.predict(HOLED), ValueError, "contains NaN"),
        (lambda: FITTED.predict(X, return_std=True, return_cov=True), InvalidInput, "ask for one of them"),
        (lambda: NTKClassifier().fit(X, Y[:, 0]), ValueError, "Unknown label type"),
        (lambda: NTKClassifier().fit(X, 0 * LABELS), InvalidInput, "y holds one class"),
        (lambda: NTKKernel(get="cov")(X), UnknownName, "no kernel 'cov'; have nngp, ntk"),
        (lambda: NTKKernel(W_std=-1.0)(X), InvalidInput, "W_std is -1.0, but is a standard deviation"),
        (lambda: NTKKernel(b_std=0.0)(X), InvalidInput, "b_std_bounds='fixed'"),
        (lambda: NTKKernel(depth=0)(X), InvalidInput, "depth is 0"),
        (lambda: NTKKernel(network=OPEN)(X), InvalidInput, "leaves ['sigma'] open; NTKKernel has values for"),
        (lambda: NTKKernel()(X, X_TEST, eval_gradient=True), InvalidInput, "leave Y out"),
        (lambda: NTKKernel()(X, X_TEST[:, :2]), ShapeMismatch, "X has 4 features and Y 2"),
        (lambda: NTKKernel()(HOLED), ValueError, "contains NaN"),
        (lambda: read_recipe("no/such/file.json"), InvalidGraph, "no file"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
