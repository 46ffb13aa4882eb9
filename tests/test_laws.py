"""Laws that networks have: fan-ins that do not grow, and powers of powers."""

import time

import numpy as np
import pytest

from ntkc import stax
from ntkc.errors import NoInfiniteLimit, UnsupportedExpr

X = np.random.default_rng(0).normal(size=(2, 3, 3, 4)).astype(np.float32)
ENDS = (stax.Flatten(), stax.Dense(1))


def kernel(*layers):
    return stax.serial(*layers)[2](X, None, ("nngp", "ntk"))


def depthwise(**keywords):
    return stax.Conv(8, (1, 1), W_std=3.0), stax.Conv(8, (1, 1), groups=8, **keywords)


@pytest.mark.parametrize("more", [(stax.Erf(),), (stax.AvgPool((2, 2)), stax.Relu())], ids=str)
def test_nothing_nonlinear_follows_groups_of_one_channel(more):
    with pytest.raises(NoInfiniteLimit, match="not Gaussian"):
        kernel(*depthwise(), *more, *ENDS)


def test_a_norm_over_channels_follows_groups_of_one_channel():
    """Its variance is a mean over all channels, whatever the law of each: kernels are those without groups."""
    found = kernel(*depthwise(b_std=0.2), stax.LayerNorm(eps=0.1), *ENDS)
    expected = kernel(depthwise()[0], stax.Conv(8, (1, 1), b_std=0.2), stax.LayerNorm(eps=0.1), *ENDS)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_groups_of_the_data_have_laws_of_their_own():
    for groups in (2, 4):
        with pytest.raises(NoInfiniteLimit, match="not Gaussian"):
            kernel(stax.Conv(8, (1, 1), groups=groups), stax.Relu(), *ENDS)
        for found, expected in zip(
            kernel(stax.Conv(8, (2, 2), groups=groups), *ENDS), kernel(stax.Conv(8, (2, 2)), *ENDS), strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_linear_layers_after_groups_of_one_channel_are_exact():
    plain = kernel(stax.Conv(8, (1, 1), W_std=3.0), stax.Conv(8, (1, 1), W_std=1.1), *ENDS, stax.Relu(), stax.Dense(1))
    for found, expected in zip(kernel(*depthwise(W_std=1.1), *ENDS, stax.Relu(), stax.Dense(1)), plain, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_groups_that_grow_change_nothing():
    first = stax.Conv(8, (1, 1), W_std=3.0)
    found, expected = (kernel(first, stax.Conv(8, (1, 1), groups=g), stax.Erf(), *ENDS) for g in (2, 1))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_norms_of_one_channel_have_no_limit():
    with pytest.raises(NoInfiniteLimit, match="each of 8 channels alone"):
        kernel(stax.Conv(8, (1, 1)), stax.GroupNorm(8), stax.Relu(), *ENDS)


def test_degrees_are_checked_before_anything_is_expanded():
    start = time.perf_counter()
    many = stax.Polynomial((0.1,) * 25)
    for layers in ((many, many), (stax.Monomial(5), stax.Relu(), stax.Monomial(5)), (many, stax.Erf(), many)):
        with pytest.raises(UnsupportedExpr, match=r"powers up to .* put a Dense layer"):
            stax.serial(stax.Dense(1), *layers, stax.Dense(1))[2](np.ones((2, 3)), None, "nngp")
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("text", ["erf(1e15*x)", "sin(1e50*x)", "exp(900*x)", "exp(999 + x)", "exp(-900*x)", "1e12*x"])
def test_functions_that_float32_cannot_hold_are_refused(text):
    with pytest.raises(UnsupportedExpr):
        stax.Activation(text)


@pytest.mark.parametrize("make", [lambda: stax.Erf(b=1e15), lambda: stax.Exp(1.0, 900.0), lambda: stax.Sin(b=1e50)])
def test_so_are_layers_of_them(make):
    with pytest.raises(UnsupportedExpr, match="float32"):
        make()


def test_steep_functions_that_it_holds():
    for text in ("erf(1e6*x)", "exp(10*x)", "x**24", "1e-30*x"):
        stax.Activation(text)
