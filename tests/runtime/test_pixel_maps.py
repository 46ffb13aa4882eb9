"""Forms of pixels, and distances of pixels, against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntkc import runtime as rt

pytestmark = pytest.mark.usefixtures("x64")
FORMS = ("DD", "FF", "DF", "2F", "F3", "22")
SIZES = (4, 6)


def data(n, channels, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((n, *SIZES, channels)))


def both(x1, x2, form):
    """The channels of both pixels of each entry, of all pairs of samples."""
    first, second = (jnp.moveaxis(x, 0, -2) for x in (x1, x2))
    return rt.left(first[..., :, None, :], form), rt.right(second[..., None, :, :], form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("channels", [3, 20])
def test_products_and_distances(form, channels):
    x1, x2 = data(3, channels), data(2, channels, 1)
    x2 = x2.at[0].set(x1[1])
    q1, q2, apart = jnp.zeros(()), jnp.zeros(()), jnp.zeros((), bool)
    first, second = both(x1, x2, form)
    np.testing.assert_allclose(rt.products(x1, x2, form), jnp.mean(first * second, -1), rtol=1e-12, atol=1e-14)
    e, d = rt.pixel_distances(x1, x2, q1, q2, apart, form)
    np.testing.assert_allclose(e, jnp.mean((first - second) ** 2, -1) / 2, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(d, jnp.mean(first**2, -1) - jnp.mean(second**2, -1), rtol=1e-11, atol=1e-14)
    is_same = jnp.broadcast_to(rt.same_pixels(form, SIZES, jnp.ones((3, 2))), e.shape)[..., 1, 0] > 0
    assert np.all(np.asarray(e[..., 1, 0])[np.asarray(is_same)] == 0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("channels", [3, 20])
def test_distances_within_a_sample_and_their_derivatives(form, channels):
    x, other, same = data(3, channels), data(2, channels, 1), jnp.eye(3, dtype=bool)
    other = other.at[0].set(x[1])
    own = rt.own_distances(x, form)
    pairs = rt.pixel_distance(x, x, jnp.zeros(()), jnp.zeros(()), same, form)
    np.testing.assert_allclose(own, jnp.diagonal(pairs, axis1=-2, axis2=-1), rtol=1e-12, atol=1e-14)
    weights = jnp.asarray(np.random.default_rng(2).standard_normal((*pairs.shape[:-1], 2)))

    def plain(v):
        first, second = both(v, other, form)
        return jnp.sum(weights * jnp.mean((first - second) ** 2, -1))

    def made(v):
        return 2 * jnp.sum(weights * rt.pixel_distance(v, other, None, None, jnp.zeros((), bool), form))

    np.testing.assert_allclose(jax.grad(made)(x), jax.grad(plain)(x), rtol=1e-9, atol=1e-11)


def test_near_pixels_in_float32():
    x1 = data(2, 30).astype("float32")
    x2 = x1 + np.float32(1e-4) * data(2, 30, 1).astype("float32")
    e = rt.pixel_distance(x1, x2, None, None, jnp.zeros((), bool), "DF")
    first, second = both(x1.astype("float64"), x2.astype("float64"), "DF")
    np.testing.assert_allclose(e, jnp.mean((first - second) ** 2, -1) / 2, rtol=2e-6)


@pytest.mark.parametrize("form", FORMS)
def test_terms_and_lanes(form):
    h = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, *SIZES, 5)))
    for side in (rt.left, rt.right):
        whole = side(h[..., :, None], form, 2)
        np.testing.assert_array_equal(whole[1, 2], side(h[1, 2], form)[..., None])


@pytest.mark.parametrize("lanes", [1, 2])
def test_lanes_of_positions(lanes):
    one = jnp.ones((1,) * lanes, jnp.float32)
    for made in (rt.same_pixels("FF", SIZES, one), rt.positions("FF", SIZES, 2, jnp.exp, one)):
        assert made.ndim == 4 + lanes
        assert made.dtype == jnp.float32


def test_attention_of_samples_and_of_pairs():
    rng = np.random.default_rng(0)
    s1, s2 = (jnp.asarray(rng.standard_normal((4, 4, n))) for n in (3, 2))
    k = jnp.asarray(rng.standard_normal((4, 4, 3, 2)))
    made = rt.between(s1[..., None], k, s2[..., None, :])
    np.testing.assert_allclose(made, np.einsum("pay,abyz,qbz->pqyz", s1, k, s2), rtol=1e-12)
    np.testing.assert_allclose(
        rt.between(s1, k[..., 0], s1), np.einsum("pay,aby,qby->pqy", s1, k[..., 0], s1), rtol=1e-12
    )
    np.testing.assert_allclose(jnp.sum(rt.softmax_of_keys(k), 1), np.ones((4, 3, 2)))
    np.testing.assert_allclose(jnp.sum(rt.softmax_of_keys(k[..., 0]), 1), np.ones((4, 3)))
    made = rt.gathered(s1[..., None], k, s2[..., None, :], "F", "F", (0,))
    np.testing.assert_allclose(made, np.einsum("apy,abyz,bqz->pqyz", s1, k, s2), rtol=1e-12)
