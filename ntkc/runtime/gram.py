"""per_sample and pair of a network  ->  its kernels of any number of samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from ntkc.runtime.kinks import kink_tails
from ntkc.runtime.loops import Values
from ntkc.runtime.network import Network, Read, both_joined, joined, samples_of, shown
from ntkc.runtime.roots import ratio
from ntkc.runtime.rows import gram_of_rows
from ntkc.runtime.series import CHUNK
from ntkc.runtime.tiles import gram_of_tiles


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
    *,
    samples: Sequence[Read],
    pairs: Sequence[Read],
    output: str = "",
    sizes: Sequence[int] = (),
    shapes: Sequence[tuple[int, ...]] | None = None,
    rows: int = 256,
    lanes: int = 0,
    wide_lanes: int = 0,
    block: int = 128,
    one_by_one: bool = False,
    reads_features: bool = False,
    pattern: tuple[Sequence[int], bool] | None = None,
    masked: bool = False,
    series: Sequence[str] = (),
    kinked: Sequence[str] = (),
) -> Kernels:
    """K(x1, x2) and T(x1, x2) of all pairs of samples.

    per_sample(p, [features], *samples) -> variance, values;  pair(p, [features], x, y, same, *pairs) -> K, T; p has
    the hyper-parameters, x and y the values of both sides, along rows and columns of lanes [n1, n2].

    samples: of kind "q" (mean squares [pixels ..., n]), "w" (covariances of pixels), "w_distance" (half the mean
    square of their differences), "present" (1, and 0 where masked) and "pattern".
    pairs: of kind "K" (covariances), "gap" (1 - cosine), "distance" (half the mean square of the difference) and
    "distances" (that, and the difference of mean squares), with a form for data with pixels.
    output, sizes: form and sizes of the network's output.  shapes: of a sample of each input, where data are more than
    one array of any shape.  pattern: sizes of a graph's axes, and whether patterns are lists of edges.
    rows: samples of a block without pixels.  lanes: pairs a tile of networks with pixels (wide_lanes on an
    accelerator), block: samples whose values are kept, one_by_one: whether those are made for one sample at a time.
    series, kinked: names of Hermite coefficients among the values, "h_tanh1" or "block1.h_tanh2".
    """
    net = Network(
        per_sample,
        pair,
        samples,
        pairs,
        output,
        sizes,
        shapes,
        rows,
        lanes,
        wide_lanes,
        block,
        one_by_one,
        reads_features,
        pattern,
        masked,
    )
    gram = gram_of_tiles if lanes else gram_of_rows

    def nngp(x1: Any, x2: Any = None, /, *, patterns: Any = (None, None), **parameters: Any) -> Array:
        """K of every pair of samples of x1 and x2; of x1 with itself if x2 is None."""
        p = SimpleNamespace(**parameters)
        return gram(net, True, only, *both_joined(net, x1, x2, patterns), p)

    def ntk(x1: Any, x2: Any = None, /, *, patterns: Any = (None, None), **parameters: Any) -> Array:
        """T of every pair of samples of x1 and x2; of x1 with itself if x2 is None."""
        p = SimpleNamespace(**parameters)
        return gram(net, False, last, *both_joined(net, x1, x2, patterns), p)

    def kernel(x1: Any, x2: Any = None, /, *, patterns: Any = (None, None), **parameters: Any) -> tuple[Array, Array]:
        """(nngp, ntk). The two travel as one complex array: as two, XLA would compute their common part twice."""
        p = SimpleNamespace(**parameters)
        both = gram(net, False, lax.complex, *both_joined(net, x1, x2, patterns), p)
        return both.real, both.imag

    def variance(x: Any, /, *, patterns: Any = None, **parameters: Any) -> Array:
        """nngp of every sample with itself, without the pairs: [n, pixels ...], of all pairs of pixels if nngp is."""
        whole = joined(net, x, patterns)
        made, _ = samples_of(net, whole, SimpleNamespace(**parameters))
        return jnp.moveaxis(jnp.broadcast_to(jnp.asarray(made, whole.dtype), (*shown(net), len(whole))), -1, 0)

    def unresolved(x: Any, /, *, patterns: Any = None, **parameters: Any) -> Array:
        """The largest share that the last terms have in the squares of a series: 0 where all have converged."""
        whole, p = joined(net, x, patterns), SimpleNamespace(**parameters)
        if not lanes:
            return unresolved_share(samples_of(net, whole, p)[1], series, kinked)
        return jnp.max(lax.map(lambda v: unresolved_share(samples_of(net, v[None], p)[1], series, kinked), whole))

    has_series = bool(series or kinked)
    return Kernels(*map(jax.jit, (nngp, ntk, kernel, variance)), jax.jit(unresolved) if has_series else None)


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
