"""Graphs of samples, as users hold them."""

import numpy as np
import pytest
from jax.experimental.sparse import BCOO
from scipy import sparse

from ntkc import stax
from ntkc.errors import InvalidInput

X = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
PATTERN = np.random.default_rng(1).integers(0, 2, size=(3, 4, 4)).astype(np.float32)
INIT, APPLY, KERNEL = stax.serial(stax.Aggregate(aggregate_axis=1), stax.GlobalAvgPool(), stax.Dense(1))


def test_the_graphs_of_one_set():
    expected = KERNEL(X, None, "nngp", pattern=(PATTERN, PATTERN))
    np.testing.assert_array_equal(KERNEL(X, None, "nngp", pattern=PATTERN), expected)
    np.testing.assert_array_equal(KERNEL(X, None, "nngp", pattern=(PATTERN, None)), expected)


@pytest.mark.parametrize("kind", [BCOO.fromdense, lambda p: [sparse.csr_matrix(v) for v in p]])
def test_sparse_matrices(kind):
    expected = KERNEL(X, None, "nngp", pattern=(PATTERN, PATTERN))
    np.testing.assert_array_equal(KERNEL(X, None, "nngp", pattern=(kind(PATTERN), None)), expected)
    params = INIT(np.array([0, 0], np.uint32), X.shape)[1]
    np.testing.assert_array_equal(APPLY(params, X, pattern=kind(PATTERN)), APPLY(params, X, pattern=PATTERN))


def test_other_numbers_of_sets_are_refused():
    with pytest.raises(InvalidInput, match="pattern is 3 things"):
        KERNEL(X, None, "nngp", pattern=tuple(PATTERN))
    with pytest.raises(InvalidInput, match="give both"):
        KERNEL(X, X[:2], "nngp", pattern=PATTERN)
