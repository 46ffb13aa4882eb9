"""What emitted source says of a network, and what its functions read of data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from ntkc.runtime.data import cleaned, cosine_gap, distances, present, products, products_of_rows
from ntkc.runtime.graphs import adjacency
from ntkc.runtime.loops import Values, left_lanes, right_lanes
from ntkc.runtime.pixel_data import pixel_distances
from ntkc.runtime.together import nngp_alone

Read = Sequence[Any]
"""(number of the input, kind) or (number of the input, kind, form): what a network reads of its data."""


@dataclass(frozen=True)
class Network:
    """What emitted source says of a network; see `kernels`."""

    per_sample: Callable[..., Any]
    pair: Callable[..., Any]
    samples: Sequence[Read]
    pairs: Sequence[Read]
    output: str
    sizes: Sequence[int]
    shapes: Sequence[tuple[int, ...]] | None
    rows: int
    lanes: int
    wide_lanes: int
    block: int
    one_by_one: bool
    reads_features: bool
    pattern: tuple[Sequence[int], bool] | None
    masked: bool


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
    flat = [v.reshape(len(v), -1) for v in (x if len(net.shapes) > 1 else (x,))]
    if net.pattern is not None:
        flat.append(jnp.asarray(pattern, flat[0].dtype).reshape(len(flat[0]), -1))
    return jnp.concatenate(flat, 1) if len(flat) > 1 else x


def both_joined(net: Network, x1: Any, x2: Any, patterns: Any) -> tuple[Array, Array | None]:
    """Both sides; None stays."""
    pattern1, pattern2 = patterns
    return joined(net, x1, pattern1), None if x2 is None else joined(net, x2, pattern2)


def parts(net: Network, whole: Array) -> tuple[Sequence[Array], Array | None]:
    """Every input [n, pixels ..., channels], and patterns [tails ..., heads ..., n]."""
    if net.shapes is None or (len(net.shapes) == 1 and net.pattern is None):
        return (whole,), None
    places = list(accumulate(prod(shape) for shape in net.shapes))
    cuts = jnp.split(whole, places, axis=1) if net.pattern is not None else jnp.split(whole, places[:-1], axis=1)
    inputs = [x.reshape(-1, *shape) for x, shape in zip(cuts, net.shapes, strict=False)]
    if net.pattern is None:
        return inputs, None
    sizes, is_sparse = net.pattern
    if is_sparse:
        edges = cuts[-1].reshape(len(whole), -1, len(sizes), 2).astype(int)
        return inputs, jnp.moveaxis(adjacency(edges, sizes, whole.dtype), 0, -1)
    return inputs, jnp.moveaxis(cuts[-1].reshape(-1, *sizes, *sizes), 0, -1)


def mean_squares(x: Array) -> Array:
    """mean_c x[c]^2: [pixels ..., n]."""
    return jnp.moveaxis(jnp.mean(x * x, -1), 0, -1)


# What per_sample and pair are given.


def arguments(net: Network, inputs: Sequence[Array], p: SimpleNamespace) -> tuple[Any, ...]:
    """The first arguments of both functions."""
    return (p, inputs[0].shape[-1]) if net.reads_features else (p,)


def samples_of(net: Network, whole: Array, p: SimpleNamespace) -> tuple[Any, Values]:
    """Variance of the output, and what pairs need, of each sample: arrays [pixels ..., n]."""
    inputs, pattern = parts(net, whole)
    read = [read_of_samples(net, inputs, pattern, *of) for of in net.samples]
    made, values = net.per_sample(*arguments(net, inputs, p), jnp.ones(len(whole), whole.dtype), *read)
    return made, Values(values)


def read_of_samples(
    net: Network, inputs: Sequence[Array], pattern: Array | None, number: int, kind: str, form: str = ""
) -> Any:
    """One argument of per_sample."""
    if kind == "pattern":
        return pattern
    if kind == "present":
        return present(inputs[number])
    x = cleaned(inputs[number]) if net.masked else inputs[number]
    if kind == "w":
        return products(x, x, form, True)
    if kind == "w_distance":
        return pixel_distances(x, x, form, jnp.ones((), bool), True)[0]
    return mean_squares(x)


class Side(NamedTuple):
    """Samples, the mean squares of each input (or none: they are computed where they are read), and their values."""

    whole: Array
    squares: tuple[Array, ...]
    values: Values


def squares_of(net: Network, whole: Array) -> tuple[Array, ...]:
    """Mean squares of every input."""
    return tuple(mean_squares(cleaned(x) if net.masked else x) for x in parts(net, whole)[0])


def read_of_pairs(
    net: Network, inputs: tuple[Array, Array], squares: tuple[Array, Array], same: Array, of: Read
) -> tuple[Array, ...]:
    """One argument of pair, or two."""
    (_, kind, *forms), (x1, x2) = of, (cleaned(x) if net.masked else x for x in inputs)
    form = "".join(forms)
    if kind == "K":
        return (products(x1, x2, form) if forms else products_of_rows(x1, x2, squares[0], same),)
    if kind == "gap":
        return (cosine_gap(x1, x2, *squares, same),)
    made = pixel_distances(x1, x2, form, same) if form else distances(x1, x2, *squares, same)
    return made if kind == "distances" else made[:1]


def given_to_pair(net: Network, side1: Side, side2: Side, same: Array, p: SimpleNamespace) -> tuple[Any, ...]:
    """The arguments of pair for all pairs of two sets of samples."""
    inputs1, inputs2 = parts(net, side1.whole)[0], parts(net, side2.whole)[0]
    squares1, squares2 = (s.squares or squares_of(net, s.whole) for s in (side1, side2))
    read: list[Array] = []
    for of in net.pairs:
        i = of[0]
        read += read_of_pairs(net, (inputs1[i], inputs2[i]), (squares1[i], squares2[i]), same, of)
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
