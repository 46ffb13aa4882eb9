"""Gram matrices of data with pixels: tile after tile of pairs of samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from ntkc.runtime.alarm import Concern, looked_at, losses_of, worse, worst
from ntkc.runtime.loops import Values
from ntkc.runtime.network import Network, Side, Take, made_of_pairs, samples_of, shown
from ntkc.runtime.together import alone


class Tiles(NamedTuple):
    """Tiles of `lanes` pairs of samples, `wide_lanes` on an accelerator, with the values of `block` samples kept.

    one_by_one: values are made for one sample at a time, where each has a covariance of all pairs of its pixels.
    """

    lanes: int
    wide_lanes: int
    block: int = 128
    one_by_one: bool = False

    def gram(
        self, net: Network, is_alone: bool, take: Take, x1: Array, x2: Array | None, p: SimpleNamespace
    ) -> tuple[Array, Concern]:
        """`take` of all pairs of samples, of x1 with itself if x2 is None, and what is lost."""
        made, concern = gram_of_tiles(self, net, partial(made_of_pairs, net, is_alone), take, x1, x2, p)
        return made, looked_at(made, concern)

    def losses(self, net: Network, whole: Array, p: SimpleNamespace) -> Concern:
        """What is lost in any sample."""
        rows = lax.map(lambda x: losses_of(net.watch, samples_of(net, x[None], p)[1]).rows, whole)
        return Concern(worst(rows))


def gram_of_tiles(
    plan: Tiles,
    net: Network,
    made_of: Callable[..., Sequence[Array]],
    take: Take,
    x1: Array,
    x2: Array | None,
    p: SimpleNamespace,
) -> tuple[Array, Concern]:
    """`take` of all pairs, tile after tile; of one triangle and its mirror image if x2 is None. And what is lost."""
    is_symmetric = x2 is None
    x2 = x1 if x2 is None else x2
    if len(x1) * len(x2) <= FEW * plan.lanes:
        return few_pairs(net, made_of, take, x1, x2, is_symmetric, p)
    rows, columns, count = sizes_of_tiles(plan, len(x1), len(x2), is_symmetric)
    left, right = piled(x1, rows * count), piled(x2, columns)

    @jax.checkpoint
    def compute(left: Array, right: Array, values1: Values, values2: Values, start: Array, stop: Array) -> Array:
        same = (start + jnp.arange(rows))[:, None] == stop + jnp.arange(columns)
        sides = Side(left, (), values1), Side(right, (), values2)
        return take(*made_of(*sides, same & is_symmetric, p))

    def nothing(*given: Any) -> Array:
        made = jax.eval_shape(compute, *given)
        return jnp.zeros(made.shape, made.dtype)

    def blocks(_: None, i: Array) -> tuple[None, tuple[Array, Array]]:
        values = values_of(plan, net, left[i], p)

        def tiles(_: None, j: Array) -> tuple[None, tuple[Array, Array]]:
            values2 = values_of(plan, net, right[j], p)

            def turn(_: None, g: Array) -> tuple[None, Array]:
                start, stop = (i * count + g) * rows, j * columns
                some_left = lax.dynamic_slice_in_dim(left[i], g * rows, rows)
                values1 = jax.tree.map(lambda v: lax.dynamic_slice_in_dim(v, g * rows, rows, -1), values)
                given = some_left, right[j], values1, values2, start, stop
                if is_symmetric:
                    return None, lax.cond(stop < start + rows, compute, nothing, *given)
                return None, compute(*given)

            lost2 = losses_of(net.watch, values2, x2.dtype).rows
            return None, (lax.scan(turn, None, jnp.arange(count))[1], lost2)

        lost = losses_of(net.watch, values, x1.dtype).rows
        made, lost2 = lax.scan(tiles, None, jnp.arange(len(right)))[1]
        return None, (made, worst(jnp.concatenate([lost[None], lost2])))

    made, lost = lax.scan(blocks, None, jnp.arange(len(left)))[1]
    concern = Concern(worst(lost))
    made = jnp.moveaxis(made, (0, 2, -2, 1, -1), (0, 1, 2, 3, 4)).reshape(-1, len(right) * columns, *shown(net))
    made = made[: len(x1), : len(x2)]
    return symmetric(net, made) if is_symmetric else made, concern


FEW = 8
"""So many tiles of pairs are not worth loops, which take longer to compile than to run."""


def few_pairs(
    net: Network,
    made_of: Callable[..., Sequence[Array]],
    take: Take,
    x1: Array,
    x2: Array,
    is_symmetric: bool,
    p: SimpleNamespace,
) -> tuple[Array, Concern]:
    """All pairs of few samples."""
    values1 = samples_of(net, x1, p)[1]
    values2 = values1 if is_symmetric else samples_of(net, x2, p)[1]
    side1, side2 = Side(x1, (), values1), Side(x2, (), values2)
    same = jnp.eye(len(x1), len(x2), dtype=bool) & is_symmetric
    made = jnp.moveaxis(take(*made_of(side1, side2, same, p)), (-2, -1), (0, 1))
    concern = worse(*(losses_of(net.watch, v, x1.dtype) for v in (values1, values2)))
    # Alone, as XLA computes entries and their mirror images twice otherwise, and rounds them apart.
    return alone(partial(symmetric, net), made) if is_symmetric else made, concern


def symmetric(net: Network, made: Array) -> Array:
    """The lower triangle and its mirror image."""
    below = jnp.tri(len(made), dtype=bool).reshape(len(made), len(made), *(1 for _ in shown(net)))
    return jnp.where(below, made, jnp.transpose(made, mirrored(net.output)))


def sizes_of_tiles(plan: Tiles, n1: int, n2: int, is_symmetric: bool) -> tuple[int, int, int]:
    """Rows and columns of a tile, and the tiles of a block."""
    columns = min(lanes_here(plan), plan.block, -(-n2 // 8) if is_symmetric else n2)
    rows = min(max(1, lanes_here(plan) // columns), plan.block, n1)
    return rows, columns, min(plan.block // rows, -(-n1 // rows))


def lanes_here(plan: Tiles) -> int:
    """Pairs a tile: an accelerator has no core's cache to stay in, and more units to fill."""
    return plan.lanes if jax.default_backend() == "cpu" else plan.wide_lanes


def piled(x: Array, size: int) -> Array:
    """Samples added, copies of the last, up to a whole number of blocks of `size`; blocks along a first axis."""
    x = jnp.pad(x, [(0, -len(x) % size)] + [(0, 0)] * (x.ndim - 1), mode="edge")
    return x.reshape(-1, size, *x.shape[1:])


def values_of(plan: Tiles, net: Network, whole: Array, p: SimpleNamespace) -> Values:
    """What pairs need of each sample, perhaps made one by one."""
    if not plan.one_by_one:
        return samples_of(net, whole, p)[1]
    made = lax.map(lambda v: samples_of(net, v[None], p)[1], whole)
    return jax.tree.map(lambda v: jnp.moveaxis(v[..., 0], 0, -1), made)


def mirrored(form: str) -> tuple[int, ...]:
    """The axes of K(x2, x1) in the order of K(x1, x2): samples, and the two pixels of each entry, change sides."""
    order, place = [1, 0], 2
    for letter in form:
        order += [place + 1, place] if letter == "F" else [place]
        place += 2 if letter == "F" else 1
    return tuple(order)
