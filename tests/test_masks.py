"""Masked data: kernels are those of data whose masked entries are put to 0 by hand, after each layer, or cut out."""

from random import Random

import numpy as np
import pytest
from pixel_oracle import kernels
from test_random_pixel_networks import SERIES_TOLERANCE, TOLERANCE, random_network

from ntkc import stax
from ntkc.errors import NtkcError
from ntkc.frontends.networks import to_graph

HIDDEN = -7.0


def masked_samples(pixels, seed, count=3):
    """Samples of two channels, a quarter of whose pixels is masked, and which are there."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, *pixels, 2))
    there = rng.random((count, *pixels)) > 0.25
    return np.where(there[..., None], x, HIDDEN), there


def difference(net, pixels, seed, is_symmetric):
    """Over the largest entry; an error of ntkc, or of an oracle that does not know the network."""
    x, there = masked_samples(pixels, seed)
    x1, x2 = (x, None) if is_symmetric else (x[:2], x[2:])
    found = net[2](x1, x2, ("nngp", "ntk"), mask_constant=HIDDEN)
    clean = np.where(there[..., None], x, 0.0)
    both = (clean, None) if is_symmetric else (clean[:2], clean[2:])
    expected = kernels(to_graph(net), *both, there)
    assert [v.shape for v in found] == [v.shape for v in expected]
    return max(np.abs(a - b).max() / (np.abs(b).max() or 1) for a, b in zip(found, expected, strict=True))


def bound(number, with_maps):
    """Pixels that an array makes of one are parallel, where an angle has the square root of rounding."""
    return 2e-8 if with_maps else TOLERANCE
