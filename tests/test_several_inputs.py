"""Networks of several inputs: kernels against those of one input, finite networks, and all ways to call them."""

import json

import jax
import numpy as np
import pytest

import ntkc
from ntkc import stax
from ntkc.errors import NoInfiniteLimit

D, R = stax.Dense, stax.Relu
RNG = np.random.default_rng(0)
IMAGES, ROWS = (4, 5, 2), (3,)


def samples(n):
    return tuple(RNG.standard_normal((n, *shape)).astype(np.float32) for shape in (IMAGES, ROWS))


def joined(width=8):
    images = stax.serial(stax.Conv(width, (2, 2), W_std=1.3, b_std=0.1), R(), stax.Flatten(), D(width))
    layers = [D(width, 1.3, 0.1), R()] * 3
    return stax.serial(stax.parallel(images, D(width, 1.2)), stax.FanInSum(), R(), *layers, D(1))


X1, X2 = samples(5), samples(3)
NET = joined()
PROGRAM = ntkc.compile(NET, input_shape=(IMAGES, ROWS))


@pytest.fixture(scope="module")
def kernels():
    return PROGRAM(X1, X2)


def test_one_of_two_inputs_alone():
    """With b = 0, the branch of an input that is 0 adds nothing."""
    two = stax.serial(stax.parallel(D(8, 1.4), D(8, 1.2)), stax.FanInSum(), R(), D(1))[2]
    one = stax.serial(D(8, 1.2), R(), D(1))[2]
    x, zeros = X1[1], np.zeros((5, 4), np.float32)
    for get in ("nngp", "ntk"):
        np.testing.assert_allclose(two((zeros, x), None, get), one(x, None, get), rtol=1e-5, atol=1e-6)


def test_features_cut_in_two():
    """One Dense layer over joined features, or one each for the parts: sums with the shares as weights."""
    whole = stax.serial(D(8, 1.3), R(), D(1))[2]
    parts = stax.serial(stax.FanInConcat(), D(8, 1.3), R(), D(1))[2]
    x = RNG.standard_normal((4, 7)).astype(np.float32)
    np.testing.assert_allclose(parts((x[:, :3], x[:, 3:]), None, "ntk"), whole(x, None, "ntk"), rtol=1e-5)


def test_finite_networks_approach_the_kernel():
    agreement = ntkc.check(NET, samples(2), widths=(64, 128), n_samples=150)
    assert agreement, str(agreement)


def test_nested_tuples_and_lists(kernels):
    nested = stax.serial(
        stax.parallel(stax.parallel(D(8), D(8)), D(8)),
        stax.parallel(stax.FanInSum(), stax.Identity()),
        *[stax.FanInSum(), R(), D(1)],
    )[2]
    flat = stax.serial(stax.parallel(D(8), D(8), D(8)), stax.FanInSum(), R(), D(1))[2]
    a, b, c = (RNG.standard_normal((4, n)) for n in (2, 3, 4))
    np.testing.assert_allclose(nested(((a, b), c), None, "ntk"), flat([a, b, c], None, "ntk"), rtol=1e-6)
    np.testing.assert_array_equal(NET[2](list(X1), X2, "ntk"), kernels.ntk)


def test_kernel(kernels):
    assert kernels.nngp.shape == kernels.ntk.shape == (5, 3)
    assert (kernels.shape1, kernels.shape2) == ((5, 1), (3, 1))
    own = PROGRAM(X1, None, ("nngp", "ntk"))
    np.testing.assert_allclose(own.ntk, PROGRAM(X1, X1, "ntk"), rtol=1e-5)
    np.testing.assert_allclose(np.diag(own.nngp), kernels.cov1, rtol=1e-5)


def test_blocks_behind_the_join():
    """The layers after the sum are one loop."""
    assert "3 times" in str(PROGRAM.explain()) or any("3 times" in c for c in PROGRAM.source.splitlines())


def test_documents_and_graphs(kernels):
    document = json.loads(json.dumps(ntkc.to_json(NET)))
    assert [n["name"] for n in document["nodes"] if n["op"] == "Input"] == ["input1", "input2"]
    for again in (ntkc.from_json(document), PROGRAM.graph):
        program = ntkc.compile(document) if again is not PROGRAM.graph else ntkc.compile(ntkc.to_json(PROGRAM.graph))
        np.testing.assert_allclose(program(X1, X2).ntk, kernels.ntk, rtol=1e-6, atol=1e-7)


def test_latex_names_the_inputs():
    text = PROGRAM.latex()
    assert r"K_{0,\mathrm{input1}} &= \frac{1}{d^{(1)}} x^{(1)}_{p} \cdot x'^{(1)}_{p'}" in text
    assert r"x^{(2)}" in text


def test_tiles_and_stores(kernels, tmp_path):
    np.testing.assert_allclose(ntkc.batch(PROGRAM, 2)(X1, X2, "ntk"), kernels.ntk, rtol=1e-5)
    np.testing.assert_array_equal(ntkc.gram(PROGRAM, X1, X2, get="ntk"), kernels.ntk)
    stored = ntkc.gram(PROGRAM, X1, get="ntk", out=tmp_path / "store")
    np.testing.assert_allclose(np.asarray(stored[:, :]), PROGRAM(X1, None, "ntk"), rtol=1e-5)


def test_saved_module_predicts(tmp_path):
    names: dict = {}
    exec(PROGRAM.save(tmp_path / "two.py").read_text(), names)
    y = RNG.standard_normal(5)
    gram = np.asarray(PROGRAM(X1, None, "ntk"), np.float64)
    expected = np.asarray(PROGRAM(X2, X1, "ntk"), np.float64) @ np.linalg.solve(gram + 0.1 * np.eye(5), y)
    np.testing.assert_allclose(names["fit"](X1, y, ridge=0.1)(X2), expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="5 rows of x and 4 targets"):
        names["fit"](X1, y[:4])


def test_cost():
    cost = PROGRAM.cost(100, 50)
    assert cost.flops > 100 * 50 * (2 * 4 * 5 * 2 + 2 * 3)
    assert cost.peak_memory >= 4 * 150 * (4 * 5 * 2 + 3)


def test_gradients():
    x1 = tuple(map(jax.numpy.asarray, X1))
    grads = jax.grad(lambda x: PROGRAM(x, X2, "ntk").sum())(x1)
    step = 1e-2
    for i, grad in enumerate(grads):
        direction = RNG.standard_normal(grad.shape).astype(np.float32)
        ends = [
            PROGRAM(tuple(x + s * step * direction if j == i else x for j, x in enumerate(x1)), X2, "ntk").sum()
            for s in (1, -1)
        ]
        assert float((grad * direction).sum()) == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=2e-2)


def test_masks_of_every_input():
    """Pixels that are missing in both inputs are missing in their sum: the same as images without them."""
    net = stax.serial(stax.parallel(D(8, 1.2), D(8, 1.3)), stax.FanInSum(), R(), stax.GlobalAvgPool(), D(1))
    a, b = (RNG.standard_normal((3, 5, 2)).astype(np.float32) for _ in range(2))
    masked = tuple(np.concatenate([x, np.full((3, 2, 2), 9, np.float32)], 1) for x in (a, b))
    np.testing.assert_allclose(
        net[2](masked, None, "ntk", mask_constant=9.0), net[2]((a, b), None, "ntk"), rtol=1e-5, atol=1e-6
    )


def test_raw_data_are_not_added():
    with pytest.raises(NoInfiniteLimit, match="product of the data of input1 and input2"):
        stax.FanInSum()[2]((X1[1], X1[1]))
