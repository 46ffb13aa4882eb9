"""per_sample and pair of a network  ->  its kernels of any number of samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from ntkc.runtime.jitted import OfPairs, OfSamples
from ntkc.runtime.kinks import kink_tails
from ntkc.runtime.loops import Values
from ntkc.runtime.network import Network, Read, Walk, both_joined, joined, samples_of, shown
from ntkc.runtime.roots import ratio
from ntkc.runtime.series import CHUNK

Named = Mapping[str, Any]
"""Hyper-parameters."""


class Kernels(NamedTuple):
    """The jitted functions of a network; data are one array, or a tuple of several inputs."""

    nngp: Callable[..., Array]
    ntk: Callable[..., Array]
    kernel: Callable[..., tuple[Array, Array]]
    variance: Callable[..., Array]
    unresolved: Callable[..., Array] | None


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
    series: Sequence[str] = (),
    kinked: Sequence[str] = (),
) -> Kernels:
    """K(x1, x2) and T(x1, x2) of all pairs of samples.

    per_sample(p, [features], *samples) -> variance, values;  pair(p, [features], x, y, same, *pairs) -> K, T; p has
    the hyper-parameters, x and y the values of both sides, along rows and columns of lanes [n1, n2].

    walk: Rows(256), or Tiles(lanes, ...) for data with pixels, several inputs or patterns.
    samples, pairs: (number of the input, function of reads.py or data.py, form of pixels if it has any); per_sample
    is given the pattern last, where there is one.
    output, sizes: form and sizes of the network's output.  shapes: of a sample of each input, where data are more than
    one array.  pattern: sizes of a graph's axes, and whether patterns are lists of edges.  masked: NaN is missing.
    series, kinked: names of Hermite coefficients among the values, "h_tanh1" or "block1.h_tanh2".
    """
    net = Network(per_sample, pair, samples, pairs, output, sizes, shapes, reads_features, pattern, masked)
    gram = partial(walk.gram, net)

    def nngp(x1: Any, x2: Any, patterns: Any, parameters: Named) -> Array:
        """K of every pair of samples of x1 and x2; of x1 with itself if x2 is None."""
        return gram(True, only, *both_joined(net, x1, x2, patterns), SimpleNamespace(**parameters))

    def ntk(x1: Any, x2: Any, patterns: Any, parameters: Named) -> Array:
        """T of every pair of samples of x1 and x2; of x1 with itself if x2 is None."""
        return gram(False, last, *both_joined(net, x1, x2, patterns), SimpleNamespace(**parameters))

    def kernel(x1: Any, x2: Any, patterns: Any, parameters: Named) -> tuple[Array, Array]:
        """(nngp, ntk). The two travel as one complex array: as two, XLA would compute their common part twice."""
        both = gram(False, lax.complex, *both_joined(net, x1, x2, patterns), SimpleNamespace(**parameters))
        return both.real, both.imag

    def variance(x: Any, patterns: Any, parameters: Named) -> Array:
        """nngp of every sample with itself, without the pairs: [n, pixels ...], of all pairs of pixels if nngp is."""
        whole = joined(net, x, patterns)
        made, _ = samples_of(net, whole, SimpleNamespace(**parameters))
        return jnp.moveaxis(jnp.broadcast_to(jnp.asarray(made, whole.dtype), (*shown(net), len(whole))), -1, 0)

    def unresolved(x: Any, patterns: Any, parameters: Named) -> Array:
        """The largest share that the last terms have in the squares of a series: 0 where all have converged."""
        p = SimpleNamespace(**parameters)
        return walk.largest(
            lambda some: unresolved_share(samples_of(net, some, p)[1], series, kinked), joined(net, x, patterns)
        )

    shares = OfSamples(unresolved) if series or kinked else None
    return Kernels(OfPairs(nngp), OfPairs(ntk), OfPairs(kernel), OfSamples(variance), shares)


def only(k: Array, *_: Array) -> Array:
    """(K,) or (K, T)  ->  K."""
    return k


def last(_: Array, t: Array) -> Array:
    """(K, T)  ->  T."""
    return t


def unresolved_share(values: Values, series: Sequence[str], kinked: Sequence[str]) -> Array:
    """The largest share that the last terms have in the squares of these series."""
    shares: list[Array] = []
    for h in (terms_first(values, name, 1) for name in series):
        shares.append(ratio(jnp.sum(h[-CHUNK:] ** 2, 0), jnp.sum(h * h, 0)))
    for h in (terms_first(values, name, 2) for name in kinked):
        shares.append(jnp.sqrt(jnp.prod(kink_tails(h)[:, -1], 0)))
    return jnp.max(jnp.stack([jnp.max(s) for s in shares]))


def terms_first(values: Values, name: str, axes: int) -> Array:
    """Coefficients by name, those of a loop with its turns after the first axes."""
    loop, _, inner = name.rpartition(".")
    h = getattr(getattr(values, loop) if loop else values, inner)
    return jnp.moveaxis(h, 0, axes) if loop else h
