"""Kernels against sampled networks of growing width: right ones agree, ones that are wrong by 3 % do not."""

import jax
import numpy as np
import pytest

from ntkc import stax
from ntkc.checking import at_infinity, check, ops_of, student, widened
from ntkc.errors import InvalidGraph, InvalidInput, NoFiniteNetwork, ShapeMismatch, UnknownName
from ntkc.networks.kernel_fn import KernelFn

X = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
PIXELS = np.random.default_rng(1).standard_normal((2, 3, 3, 2)).astype(np.float32)
SHALLOW = stax.serial(stax.Dense(512, 1.2, 0.1), stax.Erf(), stax.Dense(10))
QUICK = {"widths": (32, 128), "n_samples": 1000, "progress": False}
WIDE = {"parameterization": "standard"}


def residual(branch):
    return stax.serial(stax.FanOut(2), stax.parallel(stax.Identity(), branch), stax.FanInSum())


RIGHT = {
    "two relus": (stax.serial(*[stax.Dense(512, 1.4, 0.1), stax.Relu()] * 2, stax.Dense(1)), X),
    "residual, repeated": (
        stax.serial(stax.Dense(8), stax.repeat(residual(stax.serial(stax.Erf(), stax.Dense(8, 1.2))), 2)),
        X,
    ),
    "standard parameterization": (stax.serial(stax.Dense(8, 1.2, 0.1, **WIDE), stax.Erf(), stax.Dense(3, **WIDE)), X),
    "dropout": (stax.serial(stax.Dense(8, 1.2), stax.Relu(), stax.Dropout(0.8), stax.Dense(2)), X),
    "channels side by side": (
        stax.serial(stax.FanOut(2), stax.parallel(stax.Dense(8), stax.Identity()), stax.FanInConcat(), stax.Dense(1)),
        X,
    ),
    "convolution": (
        stax.serial(stax.Conv(8, (2, 2), padding="SAME"), stax.Relu(), stax.Flatten(), stax.Dense(2)),
        PIXELS,
    ),
}
LONG = (
    "two relus",
    "standard parameterization",
    "residual, repeated",
    "convolution",
    "dropout",
    "channels side by side",
)


class Scaled(KernelFn):
    """A kernel that is wrong by 3 %."""

    def __call__(self, x1, x2=None, get=None, **kwargs):
        return 1.03 * super().__call__(x1, x2, get, **kwargs)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in RIGHT])
def test_right_kernels_agree(name):
    net, x = RIGHT[name]
    found = check(net, x, **QUICK)
    assert found, str(found)
    assert found.resolution < 0.3


def test_an_error_of_three_per_cent_is_found():
    right, wrong = (check((*SHALLOW[:2], kernel), X, **QUICK) for kernel in (SHALLOW[2], Scaled(SHALLOW.tree)))
    assert right, str(right)
    assert right.resolution < 0.03
    assert [c.name for c in right.comparisons] == ["nngp", "ntk"]
    assert [c.agrees for c in wrong.comparisons] == [False, False], str(wrong)
    assert not wrong
    assert "nngp and ntk DISAGREE" in str(wrong)
    assert "DISAGREE" in repr(wrong)


@pytest.mark.slow
def test_a_function_of_the_width_and_two_inputs():
    """Networks and kernels of any origin: here a wrong bias in the kernel of another network."""

    def right(width):
        return stax.serial(stax.Dense(width, 1.2), stax.Erf(), stax.Dense(width, 1.1, 0.3))

    def wrong(width):
        other = stax.serial(stax.Dense(width, 1.2), stax.Erf(), stax.Dense(width, 1.1, 0.5))
        return *right(width)[:2], other[2]

    assert check(right, X, X[:1], "nngp", **QUICK)
    assert not check(wrong, X, X[:1], "nngp", **QUICK)


def test_every_width_grows():
    net = RIGHT["residual, repeated"][0]
    assert {op.out_dim for op in ops_of(widened(net.tree, 32)) if isinstance(op, type(SHALLOW.tree.parts[0].op))} == {
        32
    }
    kept = [type(op) for op in ops_of(net.tree)]
    assert [type(op) for op in ops_of(widened(net.tree, 32))] == kept


def test_the_fit_is_that_of_a_line():
    """Exact values of a + c / w give a and no other; the error is that of the least-squares line, d / w^2 aside."""
    widths, a, c = (10**4, 2 * 10**4, 4 * 10**4), np.array([[0.1, -0.2], [0.0, 3.0]]), 5.0
    values = np.stack([a + c / w for w in widths])
    errors = np.full_like(values, 0.01)
    limit, limit_error = at_infinity(widths, values, errors)
    np.testing.assert_allclose(limit, a, atol=1e-10)
    columns = np.stack([np.ones(3), 1 / np.array(widths)], 1)
    expected = 0.01 * np.sqrt(np.linalg.inv(columns.T @ columns)[0, 0])
    np.testing.assert_allclose(limit_error, expected, rtol=1e-3)


def test_small_widths_count_less():
    """At widths where d / w^2 matters the allowed error is larger."""
    values = np.zeros((3, 1))
    small, large = (at_infinity(w, values, values + 1e-3)[1] for w in ((4, 8, 16), (64, 128, 256)))
    assert small > 2 * large


@pytest.mark.parametrize(("p", "n", "t"), [(0.975, 30, 2.0423), (0.9995, 99, 3.3915), (0.99999, 199, 4.3657)])
def test_student(p, n, t):
    """Against tables, and scipy."""
    stats = pytest.importorskip("scipy.stats")
    assert student(p, n) == pytest.approx(stats.t.ppf(p, n), rel=1e-3)
    assert student(p, n) == pytest.approx(t, rel=1e-2)


@pytest.mark.slow
def test_the_same_key_gives_the_same_verdict():
    options = {**QUICK, "n_samples": 5, "widths": (4, 8), "get": ("nngp",)}
    one, two = (check(SHALLOW, X, **options, key=jax.random.PRNGKey(3)) for _ in range(2))
    np.testing.assert_array_equal(one.comparisons[0].differences, two.comparisons[0].differences)
    assert "networks of each width" in str(one)


def shorter(width):
    init_fn, apply_fn, kernel_fn = stax.serial(stax.Dense(width))
    return init_fn, apply_fn, lambda x1, x2, get: kernel_fn(x1[:1], x2, get)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: check(SHALLOW, X, widths=(8, 8)), InvalidInput, "two or more"),
        (lambda: check(SHALLOW, X, n_samples=1), InvalidInput, "n_samples"),
        (lambda: check(SHALLOW, X, confidence=1.0), InvalidInput, "between 0 and 1"),
        (lambda: check(SHALLOW, X, get="gram"), UnknownName, "nngp"),
        (lambda: check(SHALLOW, X, get=()), InvalidInput, "get is empty"),
        (lambda: check((1, 2, 3), X), InvalidGraph, "no layer"),
        (lambda: check(stax.serial(stax.Dense(4), stax.ExpNormalized()), X), NoFiniteNetwork, "ExpNormalized"),
        (lambda: check(shorter, X, **QUICK), ShapeMismatch, "sampled networks"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
