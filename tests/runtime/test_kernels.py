"""The walk over pairs of samples, whatever its blocks, against formulas written out; loops, ports and predictors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntkc import runtime as rt

pytestmark = pytest.mark.usefixtures("x64")
NAMES = ("self", "x", "per_sample", "t", "get", "q", "p", "pattern1", "net", "lambda_")


def data(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def per_sample(p, one, q):
    return p.self * q, {"n": rt.safe_sqrt(q)}


def pair(p, x, y, same, delta):
    k = p.self * x.n * y.n * (1 - delta)
    return k, jnp.where(same, 7.0, k + p.x)


def linear(size):
    return rt.kernels(per_sample, pair, rt.Rows(size), samples=((0, rt.mean_squares),), pairs=((0, rt.cosine_gap),))


@pytest.mark.parametrize("size", [1, 3, 256])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_rows(size, n):
    x1, x2, given = data(n, 4), data(5, 4, seed=1), {"self": 2.0, "x": 0.5}
    k = linear(size)
    cross = 2 * x1 @ x2.T / 4
    np.testing.assert_allclose(k.nngp(x1, x2, **given), cross, rtol=1e-12)
    np.testing.assert_allclose(k.ntk(x1, x2, **given), cross + 0.5, rtol=1e-12)
    own = 2 * x1 @ x1.T / 4
    nngp, ntk = k.kernel(x1, **given)
    np.testing.assert_allclose(nngp, own, rtol=1e-12)
    np.testing.assert_allclose(ntk, np.where(np.eye(n), 7, own + 0.5), rtol=1e-12)
    np.testing.assert_allclose(k.variance(x1, **given), np.diag(own), rtol=1e-12)
    assert k.unresolved is None


def of_pixels(p, one, q, w):
    return rt.total(w, "F", 0.25), {"q": q}


def pair_of_pixels(p, x, y, same, k):
    together = rt.total(k, "F", 0.25)
    return together, jnp.where(same, 0, rt.total(rt.left(x.q, "F") + rt.right(y.q, "F"), "F", 1.0) + together)


@pytest.mark.parametrize("lanes", [1, 4, 100])
@pytest.mark.parametrize("one_by_one", [False, True])
def test_tiles(lanes, one_by_one):
    x1, x2 = data(7, 2, 3), data(5, 2, 3, seed=1)
    k = rt.kernels(
        of_pixels,
        pair_of_pixels,
        rt.Tiles(lanes, lanes, 3, one_by_one),
        samples=((0, rt.mean_squares), (0, rt.covariances, "F")),
        pairs=((0, rt.pixel_products, "F"),),
    )
    means = [jnp.mean(x, 1) for x in (x1, x2)]
    np.testing.assert_allclose(k.nngp(x1, x2), means[0] @ means[1].T / 3, rtol=1e-11)
    squares = [jnp.sum(jnp.mean(x * x, -1), 1) for x in (x1, x2)]
    expected = 2 * (squares[0][:, None] + squares[1]) + means[0] @ means[1].T / 3
    np.testing.assert_allclose(k.ntk(x1, x2), expected, rtol=1e-11)
    np.testing.assert_allclose(k.nngp(x1), means[0] @ means[0].T / 3, rtol=1e-11)
    assert np.all(np.diag(k.ntk(x1)) == 0)
    np.testing.assert_allclose(k.variance(x1), np.diag(k.nngp(x1)), rtol=1e-11)


def test_pixels_of_the_output_are_mirrored():
    x = data(5, 3, 2)
    k = rt.kernels(
        lambda p, one, w: (w, {}),
        lambda p, x, y, same, k: (k, k),
        rt.Tiles(4, 4),
        samples=((0, rt.covariances, "F"),),
        pairs=((0, rt.pixel_products, "F"),),
        output="F",
        sizes=(3,),
    )
    np.testing.assert_allclose(k.nngp(x), np.einsum("mpc,nqc->mnpq", x, x) / 2, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(k.variance(x), np.einsum("npc,nqc->npq", x, x) / 2, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_may_be_a_hyper_parameter(name):
    k = rt.kernels(
        lambda p, one, q: (getattr(p, name) * q, {}),
        lambda p, x, y, same, k: (getattr(p, name) * k, k),
        rt.Rows(),
        samples=((0, rt.mean_squares),),
        pairs=((0, rt.row_products),),
    )
    x = data(3, 2)
    for made in (k.nngp(x, **{name: 2.0}), k.kernel(x, x, **{name: 2.0})[0]):
        np.testing.assert_allclose(made, x @ x.T, rtol=1e-12)
    fit = rt.predictor(k.nngp, k.ntk)
    is_own = name in ("t", "get")
    named = {"parameters": {name: 2.0}} if is_own else {name: 2.0}
    assert fit(x, jnp.ones(3), 0.1, **named)(x).shape == (3,)


def test_functions_can_be_lowered_and_refuse_a_third_set():
    k, x = linear(2), data(3, 4)
    assert k.nngp.lower(x, self=2.0, x=0.5).compile().memory_analysis() is not None
    k.nngp.clear_cache()
    assert k.ntk.__name__ == "ntk"
    with pytest.raises(TypeError, match="positional"):
        k.nngp(x, x, x)


def test_constants_and_features():
    k = rt.kernels(
        lambda p, features, one, q: (3 * one, {"c": 2.0 * one}),
        lambda p, features, x, y, same: (features, x.c + y.c),
        rt.Rows(2),
        samples=((0, rt.mean_squares),),
        pairs=(),
        reads_features=True,
    )
    x = data(3, 4).astype("float32")
    nngp, ntk = k.kernel(x)
    assert nngp.dtype == ntk.dtype == k.variance(x).dtype == np.float32
    assert np.all(nngp == 4) and np.all(ntk == 4) and np.all(k.variance(x) == 3)  # noqa: PT018


def test_several_inputs_masks_and_patterns():
    x1, x2 = (data(3, 2, 2), data(3, 4, seed=1)), (data(2, 2, 2, seed=2), data(2, 4, seed=3))
    k = rt.kernels(
        lambda p, one, q1, q2: (jnp.mean(q1, 0) + q2, {}),
        lambda p, x, y, same, a, b: (jnp.mean(a, 0) + b, b),
        rt.Tiles(4, 4),
        samples=((0, rt.mean_squares), (1, rt.mean_squares)),
        pairs=((0, rt.pixel_products, "D"), (1, rt.pixel_products, "")),
        shapes=((2, 2), (4,)),
    )
    expected = np.einsum("mpc,npc->mn", x1[0], x2[0]) / 4 + x1[1] @ x2[1].T / 4
    np.testing.assert_allclose(k.nngp(x1, x2), expected, rtol=1e-12)
    np.testing.assert_allclose(k.variance(x1), np.diag(k.nngp(x1)), rtol=1e-12)
    with pytest.raises(ValueError, match="reads none"):
        k.variance(x1, pattern=1)

    edges = jnp.asarray([[[0, 1], [1, 0]], [[0, 0], [-1, -1]]])
    dense = jnp.asarray([[[0, 1], [1, 0]], [[1, 0], [0, 0]]], float)
    x = data(2, 2, 3).at[1, 1].set(jnp.nan)
    for pattern, is_sparse in ((edges, True), (dense, False)):
        of_graph = rt.kernels(
            lambda p, one, q, seen, a: (jnp.sum(a, (0, 1)), {"q": q, "seen": seen, "a": a}),
            lambda p, x, y, same, k: (rt.total(x.a * y.a, "F", 1.0), jnp.sum(rt.left(x.seen, "D") * y.seen * k, 0)),
            rt.Tiles(4, 4),
            samples=((0, rt.mean_squares), (0, rt.present)),
            pairs=((0, rt.pixel_products, "D"),),
            shapes=((2, 3),),
            pattern=((2,), is_sparse),
            masked=True,
        )
        nngp, ntk = of_graph.kernel(x, pattern=(pattern, None))
        np.testing.assert_allclose(nngp, np.einsum("mab,nab->mn", dense, dense))
        np.testing.assert_allclose(ntk[0, 1], x[0, 0] @ x[1, 0] / 3, rtol=1e-12)
        np.testing.assert_allclose(of_graph.variance(x, pattern=pattern), [2, 1])


def turn(x, y, k, t):
    k = k * x.a * y.a + 1
    return k, t * k


def made_by_turns(walk, loop):
    def sample(p, one, q):
        (q,), block = rt.stacked(lambda q: ((q + 1,), {"a": 1 / (1 + q), "one": one}), 3, q)
        return q, {"block1": block}

    return rt.kernels(
        sample,
        lambda p, x, y, same, k: loop(turn, 3, x.block1, y.block1, k, 2 * k),
        walk,
        samples=((0, rt.mean_squares),),
        pairs=((0, rt.row_products),),
    )


def test_loops():
    x1, x2 = data(4, 3), data(3, 3, seed=1)
    made = [made_by_turns(rt.Rows(2), loop).kernel(x1, x2) for loop in (rt.unrolled, rt.scanned)]
    q1, q2 = (np.mean(np.square(x), 1) for x in (x1, x2))
    k = np.asarray(x1 @ x2.T / 3)
    t = 2 * k
    for n in range(3):
        k = k / (1 + q1 + n)[:, None] / (1 + q2 + n) + 1
        t = t * k
    for nngp, ntk in made:
        np.testing.assert_allclose(nngp, k, rtol=1e-12)
        np.testing.assert_allclose(ntk, t, rtol=1e-12)
    one = rt.scanned(lambda x, y, k: (2 * k,), 3, None, None, jnp.ones(2))
    np.testing.assert_array_equal(one[0], [8, 8])
    with pytest.raises(AttributeError, match="have"):
        _ = rt.Values({"a": 1}).b
    with pytest.raises(AttributeError, match="frozen"):
        rt.Values({"a": 1}).a = 2


def test_series_that_have_not_converged():
    def sample(p, one, q):
        lost = {name: rt.remainder(f, rt.coefficients(f, q), q) for name, f in (("step", jnp.sign), ("tanh", jnp.tanh))}
        return q, {"q": q, **lost}

    def lost(*names):
        watch = rt.Watch(tuple((name, "q", name) for name in names))
        reads = {"samples": ((0, rt.mean_squares),), "pairs": ()}
        k = rt.kernels(sample, lambda p, x, y, same: (0, 0), rt.Rows(), **reads, watch=watch)
        return float(k.unresolved(data(2, 3)).rows[:-1, 0].max())

    assert lost("tanh") < 1e-10 < 1e-5 < lost("tanh", "step")


def test_continued():
    onward = rt.continued(
        lambda p, one, q: (p.w * q, {}),
        lambda p, x, y, same, delta, tau, e, d: (p.w * (1 - delta), e + d + 0 * tau),
        samples=((0, "q"),),
        pairs=((0, "gap"), (0, "tau"), (0, "E"), (0, "D")),
    )
    x = data(3, 4)
    k, q = x @ x.T / 4, jnp.mean(x * x, 1)
    nngp, ntk, q1, q2 = onward([(k, k, q, q)], jnp.eye(3, dtype=bool), w=2.0)
    np.testing.assert_allclose(nngp, 2 * k / np.sqrt(np.outer(q, q)), rtol=1e-12)
    np.testing.assert_allclose(ntk, (q[:, None] + q) / 2 - k + q[:, None] - q, rtol=1e-10, atol=1e-14)
    assert np.all(np.diag(ntk) == 0)
    np.testing.assert_allclose((q1, q2), (2 * q, 2 * q))


def test_continued_of_pixels():
    onward = rt.continued(
        lambda p, one, q, w: (rt.total(w, "F", 1.0) + jnp.sum(q, 0), {"q": q}),
        lambda p, x, y, same, k, t, e: (rt.total(k, "F", 1.0), rt.total(t, "D", 1.0) + rt.total(e, "D", 1.0)),
        samples=((0, "q", "D"), (0, "w", "F")),
        pairs=((0, "K", "F"), (0, "T", "D"), (0, "E", "D")),
        axes=(1,),
    )
    x = data(3, 2, 4)
    k, w = np.einsum("mpc,nqc->mnpq", x, x) / 4, np.einsum("npc,nqc->npq", x, x) / 4
    nngp, ntk, q1, _ = onward([(k, 3 * k, w, w)], jnp.eye(3, dtype=bool))
    np.testing.assert_allclose(nngp, k.sum((2, 3)), rtol=1e-12)
    q = np.einsum("npp->n", w)
    np.testing.assert_allclose(ntk, 2 * np.einsum("mnpp->mn", k) + (q[:, None] + q) / 2, rtol=1e-10)
    np.testing.assert_allclose(q1, w.sum((1, 2)) + q, rtol=1e-12)


def test_derivatives():
    x1, x2 = data(4, 3), data(3, 3, seed=1)
    k = linear(2)

    def value(w, x):
        return jnp.sum(jnp.sin(k.ntk(x, x2, self=w, x=0.5)))

    slope, by_data = jax.grad(value, (0, 1))(1.5, x1)
    np.testing.assert_allclose(slope, (value(1.5 + 1e-6, x1) - value(1.5 - 1e-6, x1)) / 2e-6, rtol=1e-7)
    np.testing.assert_allclose(by_data, jax.grad(lambda x: jnp.sum(jnp.sin(1.5 * x @ x2.T / 3 + 0.5)))(x1), rtol=1e-9)


def test_predictor():
    x, y = data(6, 4), data(6, 2, seed=1)
    fit = rt.predictor(lambda a, b=None: a @ (a if b is None else b).T, lambda a, b=None: a @ (a if b is None else b).T)
    k = np.asarray(x @ x.T)
    np.testing.assert_allclose(fit(x, y, ridge=0.5)(x), k @ np.linalg.solve(k + 0.5 * np.eye(6), y), rtol=1e-9)
    np.testing.assert_allclose(fit(x, y[:, 0], t=1e-9)(x), k @ y[:, 0] * 1e-9 / 6, rtol=1e-6)
    with pytest.raises(ValueError, match="a ridge of"):
        fit(x, y)
    with pytest.raises(ValueError, match="one target a row"):
        fit(x, y[:2])
    with pytest.raises(ValueError, match="NaN or infinity"):
        fit(x.at[0, 0].set(jnp.nan), y)
    with pytest.raises(ValueError, match="neither may be negative"):
        fit(x, y, ridge=-1.0)
