"""Gaussian-process tools against scikit-learn, finite differences, refits, quadrature and direct maximisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from scipy.integrate import quad
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logsumexp
from scipy.stats import multivariate_normal, norm, t
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

import ntkc
from ntkc import predict, stax
from ntkc.errors import InvalidInput, NotPositiveDefinite, ShapeMismatch, SolverNotConverged, UnknownName
from ntkc.predict import Gaussian
from ntkc.predict.laplace import find_mode, log_volume, logistic_average
from ntkc.sklearn import NTKKernel

RNG = np.random.default_rng(0)
X, X_TEST = RNG.normal(size=(24, 3)), RNG.normal(size=(7, 3))
Y = np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]], axis=1)
BOTH = (X[:, 0] + 0.3 * RNG.normal(size=24) > 0).astype(int)
THREE = np.digitize(X[:, 0] + 0.3 * RNG.normal(size=24), [-0.5, 0.5])
SK_RBF = ConstantKernel(4.0, "fixed") * RBF(1.3, "fixed")
GRAM, CROSS, PRIOR = SK_RBF(X), SK_RBF(X_TEST, X), SK_RBF(X_TEST)
W, B = sympy.symbols("w b")
OPEN = stax.serial(stax.Dense(1, W, B), stax.Relu(), stax.Dense(1, W, B))
RIDGE = 0.3
A, ARGUMENT = sympy.symbols("a x")
SLOPES = {
    "sin": (sympy.sin(A * ARGUMENT), "nngp"),
    "erf": (sympy.erf(A * ARGUMENT), "ntk"),
    "leaky": (sympy.Max(ARGUMENT, 0) + A * sympy.Min(ARGUMENT, 0), "ntk"),
    "series": (sympy.tanh(A * ARGUMENT), "ntk"),
}
"""Activations with a hyper-parameter of their own, and the kernel to differentiate."""


@pytest.fixture(scope="module")
def program():
    return ntkc.compile(OPEN)


def close(actual, desired, tolerance=1e-9):
    np.testing.assert_allclose(actual, desired, rtol=tolerance, atol=tolerance)


def rbf(x1, x2=None, get="nngp", width=1.3):
    """A kernel_fn of JAX with a hyper-parameter."""
    x2 = x1 if x2 is None else x2
    scale = {"nngp": 4.0, "ntk": 8.0}[get]
    return scale * jnp.exp(-((x1[:, None] - x2[None]) ** 2).sum(-1) / (2 * width**2))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("get", "y"), [("nngp", Y), ("ntk", Y[:, 0])], ids=["outputs", "vector"])
def test_log_marginal_likelihood_of_scikit_learn(program, get, y):
    kernel = NTKKernel(1.4, 0.3, network=OPEN, get=get)
    desired = GaussianProcessRegressor(kernel, alpha=RIDGE, optimizer=None).fit(X, y).log_marginal_likelihood()
    values = {"w": 1.4, "b": 0.3}
    close(predict.log_marginal_likelihood(program, X, y, get, RIDGE, True, values), desired)
    gram = program(X, None, get, **values)
    close(predict.gram_log_marginal_likelihood(gram, y, RIDGE, True), desired)
    relative = RIDGE / np.trace(gram) * len(X)
    close(predict.gram_log_marginal_likelihood(gram, y, relative), desired)


@pytest.mark.usefixtures("x64")
def test_log_marginal_likelihood_of_correlated_outputs():
    root = RNG.normal(size=(6, 6))
    matrix = root @ root.T + np.eye(6)
    block = matrix.reshape(3, 2, 3, 2).transpose(0, 2, 1, 3)
    y = RNG.normal(size=(3, 2))
    desired = multivariate_normal(np.zeros(6), matrix + 0.1 * np.eye(6)).logpdf(y.ravel())
    close(predict.gram_log_marginal_likelihood(block, y, 0.1, True, ()), desired)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_gradients_are_finite_differences(program):
    def value(theta):
        w, b, ridge = theta
        return predict.log_marginal_likelihood(program, X, Y, "nngp", ridge, False, {"w": w, "b": b})

    theta = np.array([1.4, 0.3, 0.1])
    close(jax.grad(value)(jnp.asarray(theta)), differences(value, theta), 1e-7)


def differences(value, theta, step=1e-4):
    """The gradient to fourth order of the step."""
    around = [[float(value(theta + k * unit)) for k in (-2, -1, 1, 2)] for unit in step * np.eye(len(theta))]
    return [(a - 8 * b + 8 * c - d) / (12 * step) for a, b, c, d in around]


def bent(activation):
    """A hidden layer whose activation has the hyper-parameter a."""
    layers = stax.Dense(1, 1.4, 0.3), stax.Activation(activation), stax.Dense(1)
    return ntkc.compile(stax.serial(*layers))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["sin", *(pytest.param(n, marks=pytest.mark.slow) for n in SLOPES if n != "sin")])
def test_gradients_in_a_parameter_of_the_activation(name):
    activation, get = SLOPES[name]
    program = bent(activation)

    @jax.jit
    def value(theta):
        return predict.log_marginal_likelihood(program, X, Y, get, 0.1, parameters={"a": theta[0]})

    assert program.parameters == ("a",)
    slope = jax.grad(value)(jnp.asarray([0.7]))
    assert abs(slope[0]) > 1
    close(slope, differences(value, np.array([0.7])), 1e-8)


@pytest.mark.slow
def test_fit_of_a_parameter_of_the_activation():
    """K = e^{-a^2 (q1 + q2) / 2} sinh(a^2 k)  for sin(a x), its likelihood by scipy."""
    k = 1.4**2 * X @ X.T / 3 + 0.3**2
    q = np.diag(k)

    def loss(a):
        gram = np.exp(-(a**2) * (q[:, None] + q) / 2) * np.sinh(a**2 * k)
        return -multivariate_normal(np.zeros(24), gram + 0.01 * np.eye(24)).logpdf(Y.T).sum()

    fitted = predict.fit_hyperparameters(
        bent(SLOPES["sin"][0]), X, Y, {"a": (0.1, 2.0)}, diag_reg=0.01, diag_reg_absolute_scale=True, starts=2
    )
    best = minimize_scalar(loss, bounds=(0.1, 2.0), method="bounded", options={"xatol": 1e-9})
    assert fitted.is_converged
    assert 0.11 < fitted.parameters["a"] < 1.9
    close(fitted.log_marginal_likelihood, -best.fun, 1e-7)
    close(fitted.parameters["a"], best.x, 1e-4)


@pytest.mark.usefixtures("x64")
def test_second_derivative():
    def value(width):
        return predict.log_marginal_likelihood(rbf, X, Y, "nngp", RIDGE, parameters={"width": width})

    slope = jax.jit(jax.grad(value))
    difference = (slope(1.3 + 1e-5) - slope(1.3 - 1e-5)) / 2e-5
    close(jax.grad(slope)(1.3), difference, 1e-6)


def test_float32_is_near_float64():
    with jax.enable_x64(True):
        desired = float(predict.gram_log_marginal_likelihood(GRAM, Y, 0.1))
    actual = predict.gram_log_marginal_likelihood(GRAM.astype(np.float32), Y.astype(np.float32), 0.1)
    assert actual.dtype == jnp.float32
    close(actual, desired, 1e-4)


def test_fit_finds_the_optimum_of_scikit_learn():
    reference = GaussianProcessRegressor(ConstantKernel(4.0, "fixed") * RBF(1.0, (0.2, 8.0)), alpha=0.05).fit(X, Y)
    fitted = predict.fit_hyperparameters(
        rbf, X, Y, {"width": (0.2, 8.0)}, diag_reg=0.05, diag_reg_absolute_scale=True, starts=2, progress=False
    )
    assert fitted.is_converged
    assert len(fitted.starts) == 2
    assert fitted.diag_reg == 0.05
    close(fitted.log_marginal_likelihood, reference.log_marginal_likelihood_value_, 1e-7)
    close(fitted.parameters["width"], reference.kernel_.k2.length_scale, 1e-3)


@pytest.mark.slow
def test_fit_of_weights_biases_and_ridge(program):
    bounds = {"w": (0.5, 4.0), "b": (0.05, 4.0)}
    fitted = predict.fit_hyperparameters(program, X, Y, bounds, starts=2, seed=3, progress=False)
    again = predict.fit_hyperparameters(program, X, Y, bounds, starts=2, seed=3, progress=False)
    assert fitted == again
    assert 1e-6 <= fitted.diag_reg <= 1
    with jax.enable_x64(True):
        best = float(predict.log_marginal_likelihood(program, X, Y, "nngp", fitted.diag_reg, False, fitted.parameters))
        for name, (low, high) in bounds.items():
            for factor in (0.97, 1.03):
                value = np.clip(factor * fitted.parameters[name], low, high)
                moved = {**fitted.parameters, name: value}
                near = predict.log_marginal_likelihood(program, X, Y, "nngp", fitted.diag_reg, False, moved)
                assert float(near) <= best + 1e-9
    assert best == pytest.approx(max(s.log_marginal_likelihood for s in fitted.starts), abs=1e-8)


def test_fit_warns_when_it_stops_early():
    with pytest.warns(SolverNotConverged, match="did not converge"):
        fitted = predict.fit_hyperparameters(rbf, X, Y, {"width": (0.2, 8.0)}, starts=1, max_steps=1, progress=False)
    assert not fitted.is_converged


def test_fit_steps_back_from_kernels_that_are_not_finite():
    def partial_rbf(x1, x2=None, get="nngp", width=1.3):
        return jnp.where(width > 4, jnp.nan, rbf(x1, x2, get, width))

    fitted = predict.fit_hyperparameters(partial_rbf, X, Y, {"width": (0.2, 100.0)}, diag_reg=0.05, starts=4)
    assert [s.is_converged for s in fitted.starts] == [s.begin["width"] < 4 for s in fitted.starts]
    assert not all(s.is_converged for s in fitted.starts)
    whole = predict.fit_hyperparameters(rbf, X, Y, {"width": (0.2, 8.0)}, diag_reg=0.05, starts=1)
    close(fitted.parameters["width"], whole.parameters["width"], 1e-3)
    with pytest.raises(InvalidInput, match="finite at no start"):
        predict.fit_hyperparameters(partial_rbf, X, Y, {"width": (5.0, 8.0)}, starts=2)


def test_fit_of_repeated_rows_warns_of_its_jitter():
    twice = np.repeat(X[:12], 2, axis=0)
    with pytest.warns(NotPositiveDefinite, match="smallest eigenvalue") as told:
        fitted = predict.fit_hyperparameters(rbf, twice, Y, {"width": (0.2, 8.0)}, diag_reg=0.0, starts=2, max_steps=9)
    assert sum(w.category is NotPositiveDefinite for w in told) == 1
    assert np.isfinite(fitted.log_marginal_likelihood)


def test_fit_shows_a_bar(capfd):
    bounds = {"width": (0.2, 8.0)}
    predict.fit_hyperparameters(rbf, X, Y, bounds, diag_reg=0.1, starts=1, progress=True)
    assert "1/1" in capfd.readouterr().err


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("y", [Y, Y[:, 0]], ids=["outputs", "vector"])
def test_leave_one_out_is_n_refits(y):
    found = predict.leave_one_out(GRAM, y, RIDGE, True)
    for i in range(len(X)):
        rest = np.arange(len(X)) != i
        posterior = predict.gp_inference(GRAM[np.ix_(rest, rest)], y[rest], RIDGE, True)
        mean, covariance = posterior("nngp", GRAM[i : i + 1, rest], GRAM[i : i + 1, i : i + 1])
        variance = covariance[0, 0] + RIDGE
        close(found.mean[i], mean[0])
        close(found.variance[i], variance)
        close(found.log_density[i], norm(mean[0], np.sqrt(variance)).logpdf(y[i]))


@pytest.mark.usefixtures("x64")
def test_samples_have_the_moments_of_the_posterior():
    """Each of the moments within 5 standard errors, so that all hold but with probability below 1e-4."""
    gaussian = predict.gp_inference(GRAM, Y, 0.1)("nngp", CROSS, PRIOR)
    n = 20_000
    samples = predict.posterior_samples(jax.random.key(0), gaussian, n)
    assert samples.shape == (n, 7, 2)
    variance = np.diag(gaussian.covariance)
    centred = np.asarray(samples - gaussian.mean)
    assert (np.abs(centred.mean(0)) < 5 * np.sqrt(variance / n)[:, None]).all()
    both = np.einsum("sic,sjc->ijc", centred, centred) / n
    error = np.sqrt((np.outer(variance, variance) + np.asarray(gaussian.covariance) ** 2) / n)
    assert (np.abs(both - gaussian.covariance[..., None]) < 5 * error[..., None]).all()
    mixed = np.einsum("si,sj->ij", centred[..., 0], centred[..., 1]) / n
    assert (np.abs(mixed) < 5 * np.sqrt(np.outer(variance, variance) / n)).all()


@pytest.mark.usefixtures("x64")
def test_samples_of_a_singular_covariance():
    ones = Gaussian(jnp.zeros(4), jnp.ones((4, 4)))
    samples = predict.posterior_samples(jax.random.key(1), ones, 50)
    assert samples.shape == (50, 4)
    close(samples, np.repeat(samples[:, :1], 4, axis=1), 1e-7)
    assert np.std(samples) > 0.5


@pytest.mark.usefixtures("x64")
def test_samples_of_correlated_outputs():
    root = RNG.normal(size=(4, 4))
    block = (root @ root.T).reshape(2, 2, 2, 2).transpose(0, 2, 1, 3)
    samples = predict.posterior_samples(jax.random.key(2), Gaussian(jnp.ones((2, 2)), jnp.asarray(block)), 40_000, ())
    flat = np.asarray(samples).reshape(-1, 4) - 1
    scale = np.diag(root @ root.T)
    error = np.sqrt((np.outer(scale, scale) + (root @ root.T) ** 2) / len(flat))
    assert (np.abs(flat.T @ flat / len(flat) - root @ root.T) < 5 * error).all()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_credible_interval(level):
    gaussian = predict.gp_inference(GRAM, Y, 0.1)("nngp", CROSS, PRIOR)
    lower, upper = predict.credible_interval(gaussian, level)
    deviation = np.sqrt(np.diag(gaussian.covariance))[:, None]
    low, high = norm(np.asarray(gaussian.mean), deviation).interval(level)
    close(lower, low)
    close(upper, high)


@pytest.mark.usefixtures("x64")
def test_laplace_of_two_classes_is_that_of_scikit_learn():
    reference = GaussianProcessClassifier(SK_RBF, optimizer=None, max_iter_predict=1000).fit(X, BOTH)
    found = predict.laplace_classification(GRAM, BOTH)
    assert found.is_converged
    mean, variance = reference.latent_mean_and_variance(X_TEST)
    latent, covariance = found.latent_fn(CROSS, np.diag(PRIOR))
    close(latent[:, 0], mean, 1e-6)
    close(covariance[:, 0, 0], variance, 1e-6)
    close(found.log_marginal_likelihood, reference.log_marginal_likelihood_value_, 1e-6)
    p = found.predict_fn(CROSS, PRIOR)
    # Theirs approximates the integral by five error functions.
    close(p, reference.predict_proba(X_TEST), 5e-3)
    for i in range(len(X_TEST)):
        m, s = latent[i, 0], np.sqrt(covariance[i, 0, 0])
        desired = quad(lambda z, m=m, s=s: expit(m + s * z) * norm.pdf(z), -12, 12, epsabs=1e-12)[0]
        close(p[i], [1 - desired, desired], 1e-7)


@pytest.mark.parametrize("deviation", [0.0, 0.1, 0.999, 1.0, 5.0, 1e3])
@pytest.mark.parametrize("mean", [-3.0, 0.4, 50.0])
def test_logistic_average(mean, deviation):
    def integrand(z):
        return expit(mean + deviation * z) * norm.pdf(z)

    points = [-mean / max(deviation, 1)]
    desired = quad(integrand, -12, 12, epsabs=1e-13, epsrel=1e-13, points=points, limit=500)[0]
    close(logistic_average(np.array([mean]), np.array([deviation**2])), [[1 - desired, desired]], 1e-9)


@pytest.mark.usefixtures("x64")
def test_softmax_of_two_classes_is_logistic_of_twice_the_kernel():
    """f_2 - f_1 ~ N(0, 2 K): the softmax code on two classes, one of them doubled, knows it."""
    onehot = np.eye(2)[BOTH]
    mode = find_mode(GRAM, onehot, 1e-13, 100)
    single = predict.laplace_classification(2 * GRAM, BOTH)
    close(mode.latent[:, 1] - mode.latent[:, 0], single.mode.latent[:, 0], 1e-6)
    close(mode.objective - log_volume(GRAM, mode.latent) / 2, single.log_marginal_likelihood, 1e-8)


@pytest.mark.usefixtures("x64")
def test_laplace_of_three_classes_is_the_dense_formula():
    gram = GRAM + 0.1 * np.eye(24)
    found = predict.laplace_classification(GRAM, THREE, 0.1, True)
    onehot, root = np.eye(3)[THREE], np.linalg.cholesky(gram)

    def loss(z):
        f = root @ z.reshape(24, 3)
        p = np.exp(f - logsumexp(f, axis=1, keepdims=True))
        value = np.sum(logsumexp(f, axis=1)) - np.sum(onehot * f) + z @ z / 2
        return value, (root.T @ (p - onehot)).ravel() + z

    done = minimize(loss, np.zeros(72), jac=True, method="BFGS", options={"gtol": 1e-9})
    latent = root @ done.x.reshape(24, 3)
    close(found.mode.latent, latent, 1e-6)
    p = np.exp(latent - logsumexp(latent, axis=1, keepdims=True))
    curvature = np.zeros((24, 3, 24, 3))
    for i in range(24):
        curvature[i, :, i] = np.diag(p[i]) - np.outer(p[i], p[i])
    curvature = curvature.reshape(72, 72)
    prior = np.kron(gram, np.eye(3))
    volume = np.linalg.slogdet(np.eye(72) + prior @ curvature)[1]
    close(found.log_marginal_likelihood, -done.fun - volume / 2, 1e-6)
    mean, covariance = found.latent_fn(CROSS, PRIOR)
    close(mean, CROSS @ (onehot - p), 1e-6)
    inner = np.linalg.solve(np.eye(72) + curvature @ prior, curvature)
    wide = np.kron(CROSS, np.eye(3))
    dense = (np.kron(PRIOR, np.eye(3)) - wide @ inner @ wide.T).reshape(7, 3, 7, 3)
    close(covariance, np.stack([dense[i, :, i] for i in range(7)]), 1e-6)
    probability = found.predict_fn(CROSS, PRIOR, n_samples=4000)
    close(probability.sum(axis=1), 1)
    other = found.predict_fn(CROSS, PRIOR, n_samples=4000, seed=1)
    assert np.abs(probability - other).max() < 5 * np.sqrt(2) / (2 * np.sqrt(4000))


@pytest.mark.usefixtures("x64")
def test_laplace_of_confident_classes_is_finite():
    found = predict.laplace_classification(1e6 * (GRAM + np.eye(24)), THREE)
    assert found.is_converged
    assert np.isfinite(found.log_marginal_likelihood)
    assert (found.classes[found.mode.latent.argmax(axis=1)] == THREE).all()


@pytest.mark.usefixtures("x64")
def test_calibrated_probabilities():
    names = np.array(["low", "middle", "high"])[THREE]
    model = predict.calibrated_classification(GRAM, names, 0.1)
    assert list(model.classes) == ["high", "low", "middle"]
    p = np.asarray(model.predict_fn(CROSS))
    close(p.sum(axis=1), 1)
    targets = (names[:, None] == model.classes) - 1 / 3
    scores = np.asarray(predict.gp_inference(GRAM, targets, 0.1)("nngp", CROSS))
    close(model.scores_fn(CROSS), scores)
    close(p, np.exp(scores / model.temperature - logsumexp(scores / model.temperature, axis=1, keepdims=True)))
    held_out = np.asarray(predict.leave_one_out(GRAM, targets, 0.1).mean)
    counts = np.array([(names == c).sum() for c in model.classes])
    smooth = np.where(targets > 0, 1 - 1 / (counts + 2), 1 / (counts @ (targets > 0).T + 2)[:, None] / 2)
    grid = model.temperature * np.array([0.98, 1, 1.02])
    losses = [-np.sum(smooth * (held_out / g - logsumexp(held_out / g, axis=1, keepdims=True))) for g in grid]
    assert np.argmin(losses) == 1


@pytest.mark.usefixtures("x64")
def test_eigenspectrum():
    found = predict.eigenspectrum(GRAM, Y)
    values, vectors = np.linalg.eigh(GRAM)
    close(found.values, values[::-1])
    close(found.participation_ratio, np.trace(GRAM) ** 2 / np.sum(GRAM**2))
    close(found.alignment, [np.sum((vectors[:, -k:].T @ Y) ** 2) / np.sum(Y**2) for k in range(1, 25)])
    assert predict.eigenspectrum(np.eye(5)).participation_ratio == pytest.approx(5)
    assert predict.eigenspectrum(GRAM).alignment is None


@pytest.mark.usefixtures("x64")
def test_learning_curve():
    y, y_test = X[:, 0], X_TEST[:, 0]
    curve = predict.learning_curve(rbf, X, y, X_TEST, y_test, (4, 24), diag_reg=0.01, repeats=5, progress=False)
    assert curve.errors.shape == (2, 5)
    rows = np.random.default_rng(0).permutation(24)[:4]
    model = GaussianProcessRegressor(SK_RBF, alpha=0.04, optimizer=None).fit(X[rows], y[rows])
    close(curve.errors[0, 0], np.mean((model.predict(X_TEST) - y_test) ** 2))
    assert np.ptp(curve.errors[1]) < 1e-12
    assert curve.mean[1] < curve.mean[0]
    low, high = t.interval(0.95, 4, curve.mean[0], curve.errors[0].std(ddof=1) / np.sqrt(5))
    close((curve.lower[0], curve.upper[0]), (low, high))


def fit(**changes):
    return predict.fit_hyperparameters(rbf, X, Y, **{"bounds": {"width": (0.2, 8.0)}, "progress": False, **changes})


def curve(**changes):
    given = {"x_test": X_TEST, "y_test": X_TEST[:, :2], "sizes": (4,), "progress": False, **changes}
    return predict.learning_curve(rbf, X, Y, **given)


NAN = np.where(np.arange(24)[:, None] == 3, np.nan, Y)
HOLED = np.where(np.eye(24) > 0, np.nan, GRAM)
EMPTY = Gaussian(np.zeros((0, 2)), np.zeros((0, 0)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: predict.log_marginal_likelihood(rbf, X, NAN), InvalidInput, "y_train holds NaN"),
        (lambda: predict.log_marginal_likelihood(rbf, X, Y[:5]), ShapeMismatch, "one target"),
        (lambda: predict.log_marginal_likelihood(rbf, X, Y, "nnpg"), UnknownName, "no kernel 'nnpg'"),
        (lambda: predict.log_marginal_likelihood(rbf, X, Y, "nngp", -1.0), InvalidInput, "diag_reg is -1"),
        (
            lambda: predict.log_marginal_likelihood(rbf, X, Y, parameters={"width": np.nan}),
            InvalidInput,
            "parameter 'width' holds NaN",
        ),
        (lambda: predict.gram_log_marginal_likelihood(HOLED, Y), InvalidInput, "k_train_train holds NaN"),
        (lambda: predict.gram_log_marginal_likelihood(GRAM[:5], Y), ShapeMismatch, "k_train_train has shape"),
        (lambda: predict.gram_log_marginal_likelihood(GRAM, Y, np.ones(2)), InvalidInput, "give one number"),
        (lambda: fit(bounds={}, diag_reg=0.1), InvalidInput, "nothing to fit"),
        (lambda: fit(bounds={"width": (2.0, 1.0)}), InvalidInput, "the bounds of width"),
        (lambda: fit(bounds={"width": (0.0, np.inf)}), InvalidInput, "the bounds of width"),
        (lambda: fit(diag_reg=(-1.0, 1.0)), InvalidInput, "diag_reg is"),
        (lambda: fit(diag_reg=-1.0), InvalidInput, "diag_reg is -1"),
        (lambda: fit(fixed={"width": 1.0}), InvalidInput, "bounds and a fixed value"),
        (lambda: fit(starts=0), InvalidInput, "starts is 0"),
        (lambda: fit(starts=1.5), InvalidInput, "starts is 1.5, but must be a whole number"),
        (lambda: fit(seed=-1), InvalidInput, "seed is -1"),
        (lambda: fit(bounds=None), InvalidInput, "bounds is None, but must be a mapping"),
        (lambda: fit(bounds={"width": ("a", "b")}), InvalidInput, "the bounds of width is a tuple of dtype <U1"),
        (lambda: fit(diag_reg=np.array([1.0, 0.1])), InvalidInput, "the bounds of diag_reg"),
        (lambda: fit(fixed={"depth": "x"}), InvalidInput, "fixed 'depth' is 'x'"),
        (lambda: predict.leave_one_out(GRAM, NAN), InvalidInput, "y_train holds NaN"),
        (lambda: predict.leave_one_out(GRAM, Y, -0.1), InvalidInput, "diag_reg is -0.1"),
        (lambda: predict.leave_one_out(GRAM, Y[:4]), ShapeMismatch, "k_train_train has shape"),
        (lambda: predict.leave_one_out(np.eye(2), Y, trace_axes=(0,)), InvalidInput, "all axes of y_train but"),
        (lambda: predict.posterior_samples(jax.random.key(0), EMPTY), InvalidInput, "which is empty"),
        (
            lambda: predict.posterior_samples(jax.random.key(0), Gaussian(Y, GRAM), 1.5),
            InvalidInput,
            "n_samples is 1.5",
        ),
        (lambda: predict.credible_interval(EMPTY), InvalidInput, "which is empty"),
        (lambda: predict.credible_interval(Gaussian(Y, GRAM), "0.9"), InvalidInput, "level is '0.9' of dtype"),
        (lambda: predict.credible_interval(Y), InvalidInput, "give a Gaussian"),
        (lambda: predict.credible_interval(Gaussian(Y, GRAM), 95), InvalidInput, "between 0 and 1"),
        (lambda: predict.credible_interval(Gaussian(Y, -GRAM)), InvalidInput, "variance -4 < 0"),
        (lambda: predict.credible_interval(Gaussian(NAN, GRAM)), InvalidInput, "the mean holds NaN"),
        (lambda: predict.credible_interval(Gaussian(Y, GRAM[:3])), ShapeMismatch, "the covariance has shape"),
        (
            lambda: predict.posterior_samples(jax.random.key(0), Gaussian(Y, GRAM - np.eye(24))),
            InvalidInput,
            "the covariance has eigenvalue -",
        ),
        (lambda: predict.posterior_samples(jax.random.key(0), Gaussian(Y, GRAM), 0), InvalidInput, "n_samples is 0"),
        (lambda: predict.laplace_classification(GRAM, np.zeros(24)), InvalidInput, "1 class"),
        (lambda: predict.laplace_classification(GRAM, THREE[:4]), ShapeMismatch, "k_train_train has shape"),
        (lambda: predict.laplace_classification(HOLED, THREE), InvalidInput, "k_train_train holds NaN"),
        (lambda: predict.laplace_classification(GRAM, THREE, -1.0), InvalidInput, "diag_reg is -1"),
        (lambda: predict.laplace_classification(GRAM, NAN[:, 0]), InvalidInput, "labels hold NaN"),
        (lambda: predict.laplace_classification(GRAM, THREE, max_steps=0), InvalidInput, "max_steps is 0"),
        (lambda: predict.laplace_classification(GRAM, [None, "a"] * 12), InvalidInput, "labels hold None"),
        (lambda: predict.laplace_classification(GRAM, THREE, tolerance=np.nan), InvalidInput, "tolerance holds NaN"),
        (lambda: predict.laplace_classification(GRAM + 0j, THREE), InvalidInput, "k_train_train is a ndarray of dtype"),
        (
            lambda: predict.laplace_classification(GRAM, THREE).predict_fn(CROSS, -PRIOR),
            InvalidInput,
            "the least variance in k_test_test is -4",
        ),
        (
            lambda: predict.laplace_classification(GRAM, THREE).predict_fn(CROSS, PRIOR, "all"),
            InvalidInput,
            "n_samples is 'all'",
        ),
        (
            lambda: predict.laplace_classification(GRAM, THREE).predict_fn(CROSS[:0], PRIOR[:0, :0]),
            InvalidInput,
            "which is empty",
        ),
        (
            lambda: predict.laplace_classification(GRAM, BOTH).predict_fn(CROSS, PRIOR[:3]),
            ShapeMismatch,
            "its diagonal",
        ),
        (lambda: predict.calibrated_classification(GRAM, Y), ShapeMismatch, "one label a sample"),
        (lambda: predict.calibrated_classification(GRAM, THREE[:3]), ShapeMismatch, "k_train_train has shape"),
        (lambda: predict.calibrated_classification(GRAM, THREE).predict_fn(CROSS[:0]), InvalidInput, "which is empty"),
        (lambda: predict.eigenspectrum(HOLED), InvalidInput, "k_train_train holds NaN"),
        (lambda: predict.eigenspectrum(CROSS), ShapeMismatch, "square"),
        (lambda: predict.eigenspectrum(GRAM, Y[:3]), ShapeMismatch, "a target a row"),
        (lambda: predict.eigenspectrum(0 * GRAM), InvalidInput, "is zero"),
        (lambda: predict.eigenspectrum(GRAM, 0 * Y), InvalidInput, "y_train is zero"),
        (lambda: predict.eigenspectrum("gram"), InvalidInput, "k_train_train is 'gram'"),
        (lambda: curve(sizes=(2.5,)), InvalidInput, "from 1 to 24"),
        (lambda: curve(error=lambda a, b: np.nan), InvalidInput, "error of n = 4 holds NaN"),
        (lambda: curve(level=np.nan), InvalidInput, "level holds NaN"),
        (lambda: curve(x_test=X_TEST[:0]), InvalidInput, "which is empty"),
        (lambda: curve(y_test=X_TEST), ShapeMismatch, "y_test has shape"),
        (lambda: curve(sizes=(25,)), InvalidInput, "from 1 to 24"),
        (lambda: curve(repeats=1), InvalidInput, "repeats is 1"),
        (lambda: curve(diag_reg=-1.0), InvalidInput, "diag_reg is -1"),
    ],
)
@pytest.mark.usefixtures("x64")
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


REPEATED = np.kron(np.eye(12), np.ones((2, 2)))


@pytest.mark.parametrize(
    "call",
    [
        lambda: predict.gram_log_marginal_likelihood(REPEATED, Y),
        lambda: predict.leave_one_out(REPEATED, Y).log_density,
        lambda: predict.calibrated_classification(REPEATED, BOTH).predict_fn(REPEATED),
        lambda: predict.laplace_classification(REPEATED, BOTH).predict_fn(REPEATED, REPEATED),
    ],
)
@pytest.mark.usefixtures("x64")
def test_singular_kernels_warn_and_are_finite(call):
    with pytest.warns(NotPositiveDefinite, match="smallest eigenvalue"):
        assert np.isfinite(np.asarray(call())).all()
