"""per_sample and pair of a network  ->  its kernels of any number of samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from ntkc.runtime.alarm import NOTHING_LOST, Concern, Watch
from ntkc.runtime.jitted import OfPairs, OfSamples
from ntkc.runtime.network import Network, Read, Walk, both_joined, joined, samples_of, shown

Named = Mapping[str, Any]
"""Hyper-parameters."""


class Kernels(NamedTuple):
    """The jitted functions of a network; data are one array, or a tuple of several inputs."""

    nngp: Callable[..., Array]
    ntk: Callable[..., Array]
    kernel: Callable[..., tuple[Array, Array]]
    variance: Callable[..., Array]
    unresolved: Callable[..., Concern] | None


def kernels(
    per_sample: Callable[..., Any],
    pair: Callable[..., Any],
    walk: Walk,
    *,
    samples: Sequence[Read],
    pairs: Sequence[Read],
    output: str = "",
    sizes: Sequence[int] = (),
    shapes: Sequence[tuple[int, ...]] | None = None,
    reads_features: bool = False,
    pattern: tuple[Sequence[int], bool] | None = None,
    masked: bool = False,
    watch: Watch = NOTHING_LOST,
) -> Kernels:
    """K(x1, x2) and T(x1, x2) of all pairs of samples.

    per_sample(p, [features], *samples) -> variance, values;  pair(p, [features], x, y, same, *pairs) -> K, T; p has
    the hyper-parameters, x and y the values of both sides, along rows and columns of lanes [n1, n2].

    walk: Rows(256), or Tiles(lanes, ...) for data with pixels, several inputs or patterns.
    samples, pairs: (number of the input, function of reads.py or data.py, form of pixels if it has any); per_sample
    is given the pattern last, where there is one.
    output, sizes: form and sizes of the network's output.  shapes: of a sample of each input, where data are more than
    one array.  pattern: sizes of a graph's axes, and whether patterns are lists of edges.  masked: NaN is missing.
    watch: the relative errors among the values, "lost_tanh1" or "block1.lost_tanh2", and what they may be.
    """
    net = Network(per_sample, pair, samples, pairs, output, sizes, shapes, reads_features, pattern, masked, watch)
    gram = partial(walk.gram, net)

    def nngp(x1: Any, x2: Any, patterns: Any, parameters: Named) -> tuple[Array, Concern]:
        """K of every pair of samples of x1 and x2; of x1 with itself if x2 is None."""
        return gram(True, only, *both_joined(net, x1, x2, patterns), SimpleNamespace(**parameters))

    def ntk(x1: Any, x2: Any, patterns: Any, parameters: Named) -> tuple[Array, Concern]:
        """T of every pair of samples of x1 and x2; of x1 with itself if x2 is None."""
        return gram(False, last, *both_joined(net, x1, x2, patterns), SimpleNamespace(**parameters))

    def kernel(x1: Any, x2: Any, patterns: Any, parameters: Named) -> tuple[tuple[Array, Array], Concern]:
        """(nngp, ntk). The two travel as one complex array: as two, XLA would compute their common part twice."""
        both, concern = gram(False, lax.complex, *both_joined(net, x1, x2, patterns), SimpleNamespace(**parameters))
        return (both.real, both.imag), concern

    def variance(x: Any, patterns: Any, parameters: Named) -> Array:
        """nngp of every sample with itself, without the pairs: [n, pixels ...], of all pairs of pixels if nngp is."""
        whole = joined(net, x, patterns)
        made, _ = samples_of(net, whole, SimpleNamespace(**parameters))
        return jnp.moveaxis(jnp.broadcast_to(jnp.asarray(made, whole.dtype), (*shown(net), len(whole))), -1, 0)

    def unresolved(x: Any, patterns: Any, parameters: Named) -> Concern:
        """The largest relative errors that are watched, of any sample."""
        return walk.losses(net, joined(net, x, patterns), SimpleNamespace(**parameters))

    errors = OfSamples(unresolved) if watch.losses else None
    first, second, both = (OfPairs(f, watch) for f in (nngp, ntk, kernel))
    return Kernels(first, second, both, OfSamples(variance), errors)


def only(k: Array, *_: Array) -> Array:
    """(K,) or (K, T)  ->  K."""
    return k


def last(_: Array, t: Array) -> Array:
    """(K, T)  ->  T."""
    return t
