"""What emitted source says of a network, and what its functions read of data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from math import prod
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jax import Array

from ntkc.runtime.alarm import Concern, Watch
from ntkc.runtime.data import cleaned, present
from ntkc.runtime.graphs import adjacency
from ntkc.runtime.loops import Values, left_lanes, right_lanes
from ntkc.runtime.reads import mean_squares
from ntkc.runtime.together import nngp_alone

Read = Sequence[Any]
"""(number of the input, function) or (number of the input, function, form): what a network reads of its data."""


class Network(NamedTuple):
    """What emitted source says of a network; see `kernels`."""

    per_sample: Callable[..., Any]
    pair: Callable[..., Any]
    samples: Sequence[Read]
    pairs: Sequence[Read]
    output: str
    sizes: Sequence[int]
    shapes: Sequence[tuple[int, ...]] | None
    reads_features: bool
    pattern: tuple[Sequence[int], bool] | None
    masked: bool
    watch: Watch


def shown(net: Network) -> tuple[int, ...]:
    """The pixel axes of an output."""
    return tuple(
        n for f, size in zip(net.output, net.sizes, strict=True) for n in ((size, size) if f == "F" else (size,))
    )


# Data as one array, a sample a row.


def joined(net: Network, x: Any, pattern: Any) -> Array:
    """The inputs of each sample, and its pattern, as one row."""
    if net.pattern is None and pattern is not None:
        raise ValueError("a pattern was given to a network that reads none")
    if net.shapes is None:
        return x
    inputs = x if len(net.shapes) > 1 else (x,)
    given = inputs if net.pattern is None else (*inputs, jnp.asarray(pattern, inputs[0].dtype))
    return jnp.concatenate([v.reshape(len(v), -1) for v in given], 1) if len(given) > 1 else x


def both_joined(net: Network, x1: Any, x2: Any, patterns: Any) -> tuple[Array, Array | None]:
    """Both sides; None stays."""
    pattern1, pattern2 = (None, None) if patterns is None else patterns
    return joined(net, x1, pattern1), None if x2 is None else joined(net, x2, pattern2)


def parts(net: Network, whole: Array) -> tuple[Sequence[Array], Array | None]:
    """Every input [n, pixels ..., channels], and patterns [tails ..., heads ..., n]."""
    if net.shapes is None or (len(net.shapes) == 1 and net.pattern is None):
        return (whole,), None
    places = list(accumulate(prod(shape) for shape in net.shapes))
    cuts = jnp.split(whole, places, axis=1)  # the last holds patterns, or nothing
    inputs = [x.reshape(-1, *shape) for x, shape in zip(cuts[:-1], net.shapes, strict=True)]
    if net.pattern is None:
        return inputs, None
    sizes, is_sparse = net.pattern
    if is_sparse:
        edges = cuts[-1].reshape(len(whole), -1, len(sizes), 2).astype(int)
        return inputs, jnp.moveaxis(adjacency(edges, sizes, whole.dtype), 0, -1)
    return inputs, jnp.moveaxis(cuts[-1].reshape(-1, *sizes, *sizes), 0, -1)


# What per_sample and pair are given.


def arguments(net: Network, inputs: Sequence[Array], p: SimpleNamespace) -> tuple[Any, ...]:
    """The first arguments of both functions."""
    return (p, inputs[0].shape[-1]) if net.reads_features else (p,)


def samples_of(net: Network, whole: Array, p: SimpleNamespace) -> tuple[Any, Values]:
    """Variance of the output, and what pairs need, of each sample: arrays [pixels ..., n]."""
    inputs, pattern = parts(net, whole)
    read = [
        of_sample(inputs[i] if of_sample is present else clean(net, inputs[i]), *form)
        for i, of_sample, *form in net.samples
    ]
    read += [] if pattern is None else [pattern]
    made, values = net.per_sample(*arguments(net, inputs, p), jnp.ones(len(whole), whole.dtype), *read)
    return made, Values(values)


def clean(net: Network, x: Array) -> Array:
    """Data with 0 for what is masked, if anything may be."""
    return cleaned(x) if net.masked else x


Take = Callable[..., Array]
"""What is wanted of (nngp, ntk)."""


class Walk(Protocol):
    """How all pairs of samples are gone through."""

    def gram(
        self, net: Network, is_alone: bool, take: Take, x1: Array, x2: Array | None, p: SimpleNamespace
    ) -> tuple[Array, Concern]:
        """`take` of all pairs of samples, of x1 with itself if x2 is None, and what is lost."""
        ...

    def losses(self, net: Network, whole: Array, p: SimpleNamespace) -> Concern:
        """What is lost in any samples."""
        ...


class Side(NamedTuple):
    """Samples, the mean squares of each input (or none: they are computed where they are read), and their values."""

    whole: Array
    squares: tuple[Array, ...]
    values: Values


def squares_of(net: Network, whole: Array) -> tuple[Array, ...]:
    """Mean squares of every input."""
    return tuple(mean_squares(clean(net, x)) for x in parts(net, whole)[0])


def given_to_pair(net: Network, side1: Side, side2: Side, same: Array, p: SimpleNamespace) -> tuple[Any, ...]:
    """The arguments of pair for all pairs of two sets of samples."""
    inputs1, inputs2 = parts(net, side1.whole)[0], parts(net, side2.whole)[0]
    squares1, squares2 = (s.squares or squares_of(net, s.whole) for s in (side1, side2))
    read: list[Array] = []
    for i, of_pairs, *form in net.pairs:
        x1, x2 = clean(net, inputs1[i]), clean(net, inputs2[i])
        made = of_pairs(x1, x2, squares1[i], squares2[i], same, *form)
        read += made if isinstance(made, tuple) else (made,)
    lanes = jnp.broadcast_to(same, (len(side1.whole), len(side2.whole))).astype(side1.whole.dtype)
    sides = left_lanes(side1.values), right_lanes(side2.values)
    return (*arguments(net, inputs1, p), *sides, lanes, *read)


def made_of_pairs(
    net: Network, is_alone: bool, side1: Side, side2: Side, same: Array, p: SimpleNamespace
) -> list[Array]:
    """(nngp, ntk) of all pairs of two sets of samples [pixels ..., n1, n2]; T is 0 where it is not wanted."""
    given = given_to_pair(net, side1, side2, same, p)
    with nngp_alone(is_alone):
        made = net.pair(*given)
    shape = (*shown(net), len(side1.whole), len(side2.whole))
    return [jnp.broadcast_to(jnp.asarray(v, side1.whole.dtype), shape) for v in made]
