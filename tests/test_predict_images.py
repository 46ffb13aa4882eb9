"""Predictions from kernels of images, in every form in which a kernel may come, against dense formulas."""

import jax
import numpy as np
import pytest
from scipy.linalg import expm

import ntkc
from ntkc import predict, stax

RNG = np.random.default_rng(0)
X, X_TEST, Y = RNG.normal(size=(6, 4, 4, 2)), RNG.normal(size=(3, 4, 4, 2)), RNG.normal(size=(6, 2))
ENDS = {"flatten": stax.Flatten(), "pool": stax.GlobalAvgPool()}
RIDGE = 0.1


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["flatten", "pool"])
def program(request):
    conv = stax.Conv(1, (3, 3), W_std=1.3, b_std=0.2, padding="SAME")
    return ntkc.compile(stax.serial(conv, stax.Relu(), ENDS[request.param], stax.Dense(1)))


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def close(actual, desired, tolerance=1e-9):
    np.testing.assert_allclose(actual, desired, rtol=tolerance, atol=tolerance)


def weights(gram, cross, tau):
    """A = T* (I - e^{-G tau}) G^{-1}."""
    G = gram + RIDGE * np.eye(6)
    decay = np.zeros_like(G) if tau is None else expm(-G * tau)
    return cross @ (np.eye(6) - decay) @ np.linalg.inv(G)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("t", [None, 30.0])
def test_ensemble(program, t):
    predict_fn = predict.gradient_descent_mse_ensemble(program, X, Y, 1.0, RIDGE, True)
    found = predict_fn(t, X_TEST, compute_cov=True)
    K, T = (np.asarray(program(X, None, get)) for get in ("nngp", "ntk"))
    K_cross, T_cross = (np.asarray(program(X_TEST, X, get)) for get in ("nngp", "ntk"))
    prior = np.asarray(program(X_TEST, None, "nngp"))
    tau = None if t is None else t / Y.size
    A = weights(T, T_cross, tau)
    close(found.ntk.mean, A @ Y)
    close(found.ntk.covariance, A @ K @ A.T - A @ K_cross.T - K_cross @ A.T + prior)
    close(found.nngp.mean, weights(K, K_cross, tau) @ Y)
    double = None if tau is None else 2 * tau
    close(found.nngp.covariance, prior - weights(K, K_cross, double) @ K_cross.T)
    trained = predict_fn(t, None, "ntk")
    close(trained, predict_fn(t, X, "ntk"), 1e-8)


def named(kernel):
    return kernel


def mapping(kernel):
    return {"nngp": kernel.nngp, "ntk": kernel.ntk}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("get", [None, ("nngp", "ntk")], ids=["Kernel", "namedtuple"])
@pytest.mark.parametrize("form", [named, mapping])
def test_inference(program, get, form):
    """From a Kernel, a namedtuple and dicts of both:  an ensemble that trained for ever."""
    kernels = [form(program(*x, get)) for x in ((X, None), (X_TEST, X), (X_TEST, None))]
    train, cross, prior = kernels
    found = predict.gp_inference(train, Y, RIDGE, True)(None, cross, prior)
    desired = predict.gradient_descent_mse_ensemble(program, X, Y, 1.0, RIDGE, True)(None, X_TEST, None, True)
    for name in ("nngp", "ntk"):
        close(getattr(found, name).mean, getattr(desired, name).mean)
        close(getattr(found, name).covariance, getattr(desired, name).covariance)


@pytest.mark.usefixtures("x64")
def test_kernel_function_that_gives_a_mapping(program):
    def kernel_fn(x1, x2, get):
        found = program(x1, x2, get)
        return found if isinstance(get, str) else mapping(found)

    found, desired = (
        predict.gradient_descent_mse_ensemble(fn, X, Y, diag_reg=RIDGE)(2.0, X_TEST) for fn in (kernel_fn, program)
    )
    close(found.ntk, desired.ntk)
    close(found.nngp, desired.nngp)
