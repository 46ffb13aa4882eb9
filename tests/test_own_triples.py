"""Layers written as (init_fn, apply_fn, kernel_fn), among others: kernels are those of the layer that is an Op."""

import itertools

import jax
import numpy as np
import pytest

import ntkc
from ntkc import stax
from ntkc.errors import InvalidGraph, InvalidInput

D, KEY = stax.Dense, jax.random.PRNGKey(0)
X1, X2 = (np.random.default_rng(i).normal(size=(n, 4)).astype(np.float32) for i, n in ((0, 3), (1, 2)))
SENTENCES = np.where(
    np.arange(5)[:, None] < np.array([3, 5, 4])[:, None, None], np.random.default_rng(0).normal(size=(3, 5, 2)), 7.0
)


@stax.layer
def Times(factor):
    @stax.requires(batch_axis=0, channel_axis=-1, diagonal_spatial=stax.Diagonal(input=stax.Bool.YES))
    def kernel_fn(kernel, **kwargs):
        """K -> factor^2 K."""
        return kernel * kwargs.get("times", factor)

    return (lambda rng, shape: (shape, ())), (lambda params, x, **kwargs: factor * x), kernel_fn


@stax.layer
@stax.supports_masking(remask_kernel=False)
def MaskedTimes(factor):
    return (
        (lambda rng, shape: (shape, ())),
        (lambda params, x, mask=None, **kwargs: factor * x),
        (lambda kernel, **kwargs: kernel * factor),
    )


def network(times):
    return stax.serial(D(8, 1.3, 0.1), stax.Relu(), times, D(8, 1.1, 0.2), stax.Erf(), D(1))


@pytest.mark.parametrize("x2", [None, X2], ids=["one set", "two sets"])
def test_among_other_layers(x2):
    own, known = network(Times(0.5)), network(stax.Scale(0.5))
    for get in ("nngp", "ntk"):
        np.testing.assert_allclose(own[2](X1, x2, get), known[2](X1, x2, get), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(own[2](X1, x2).shape1, (3, 1))
    params = own[0](KEY, X1.shape)[1]
    np.testing.assert_allclose(own[1](params, X1), known[1](params, X1), rtol=1e-6)
    assert own[0](KEY, X1.shape)[0] == (3, 1)


def test_in_branches_and_alone():
    own, known = (
        stax.serial(D(8), stax.FanOut(2), stax.parallel(t, stax.serial(stax.Erf(), D(8), t)), stax.FanInSum(), D(1))
        for t in (Times(2.0), stax.Scale(2.0))
    )
    np.testing.assert_allclose(own[2](X1, X2, "ntk"), known[2](X1, X2, "ntk"), rtol=1e-5)
    single = Times(3.0)
    np.testing.assert_allclose(single[2](X1, None, "nngp"), 9 * stax.Identity()[2](X1, None, "nngp"), rtol=1e-6)
    assert [f.__name__ for f in single] == ["Times"] * 3
    repeated = stax.repeat(stax.serial(Times(2.0), D(4)), 2)[2](X1, X2, "ntk")
    np.testing.assert_allclose(
        repeated, stax.repeat(stax.serial(stax.Scale(2.0), D(4)), 2)[2](X1, X2, "ntk"), rtol=1e-5
    )


def test_raw_triples_keywords_and_kernels():
    raw = tuple(Times(0.5)[2].made_of.__dict__[name] for name in ("init_fn", "apply_fn", "kernel_fn"))
    np.testing.assert_allclose(network(raw)[2](X1, X2, "ntk"), network(Times(0.5))[2](X1, X2, "ntk"))
    np.testing.assert_allclose(
        network(raw)[2](X1, X2, "ntk", times=2.0), network(Times(2.0))[2](X1, X2, "ntk"), rtol=1e-6
    )
    below = D(8, 1.3, 0.1)[2](X1, X2)
    head = stax.serial(Times(0.5), D(2))
    np.testing.assert_allclose(head[2](below).ntk, stax.serial(stax.Scale(0.5), D(2))[2](below).ntk, rtol=1e-5)
    assert head[2](below, get="nngp").shape == (3, 2)


def test_masks():
    tail = (stax.GlobalAvgPool(), D(1))
    own, known = (stax.serial(stax.Conv(4, (2,)), stax.Relu(), t, *tail) for t in (MaskedTimes(2.0), stax.Scale(2.0)))
    found, expected = (n[2](SENTENCES, None, "ntk", mask_constant=7.0) for n in (own, known))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    params = own[0](KEY, SENTENCES.shape)[1]
    found, expected = (n[1](params, SENTENCES, mask_constant=7.0) for n in (own, known))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    unaware = stax.serial(Times(2.0), stax.GlobalAvgPool())
    with pytest.raises((InvalidInput, TypeError)):
        unaware[1](unaware[0](KEY, SENTENCES.shape)[1], SENTENCES, mask_constant=7.0)


def test_masked_arrays():
    array = stax.MaskedArray(np.array([1.0, 2.0]), np.array([False, True]))
    np.testing.assert_array_equal(stax.unmask_fn(lambda: array)(), [1.0, 0.0])
    np.testing.assert_array_equal(stax.unmask_fn(lambda x: x)(X1), X1)
    assert jax.tree.map(lambda v: v, array).masked_value is not None


def test_what_a_triple_requires():
    @stax.requires(diagonal_batch=False)
    def all_samples(kernel, **kwargs):
        assert kernel.cov1.shape[:2] == (3, 3)
        return kernel

    triple = (lambda rng, shape: (shape, ()), lambda params, x, **kwargs: x, all_samples)
    net = stax.serial(D(8), triple, D(1))
    np.testing.assert_allclose(net[2](X1, X2).cov1, stax.serial(D(8), D(1))[2](X1, X2).cov1, rtol=1e-6)
    with pytest.raises(InvalidInput, match="requires diagonal_batch=False"):
        all_samples(D(8)[2](X1))
    with pytest.raises(InvalidInput, match="requires batch_axis=1"):
        stax.requires(batch_axis=1)(all_samples)(D(8)[2](X1))


def test_no_program_has_a_triple():
    with pytest.raises(InvalidGraph, match=r"def covariance\(self, ask\)") as caught:
        ntkc.compile(network(Times(0.5)))
    assert "def tangent(self, ask)" in str(caught.value)


def test_needs_compose():
    """>> is associative, & is commutative and idempotent; their truth is that of both parts."""
    needs = [stax.Diagonal(*pair) for pair in itertools.product(stax.Bool, repeat=2)]
    for a, b, c in itertools.product(needs, repeat=3):
        assert (a >> b) >> c == a >> (b >> c) == c << (b << a)
        assert a & b == b & a
        assert a & a == a
    assert bool(stax.Diagonal(stax.Bool.YES, stax.Bool.MAYBE))
    assert not bool(stax.Diagonal(stax.Bool.YES, stax.Bool.NO))


def test_words_of_arguments():
    """Enums and the words that layers take are one list."""
    assert {p.value for p in stax.Padding} == {"CIRCULAR", "SAME", "VALID"}
    assert {m.name for m in stax.AttentionMechanism} == {"SOFTMAX", "IDENTITY", "ABS", "RELU"}
    for kind in stax.AttentionMechanism:
        layer = stax.GlobalSelfAttention(
            2, 2, 2, 1, attention_mechanism=kind, pos_emb_type=stax.PositionalEmbedding.NONE
        )
        assert layer[2].tree.op.attention_mechanism == kind.value
    assert stax.Aggregate(implementation=stax.AggregateImplementation.SPARSE)[2].tree.op.is_sparse
