"""Gram matrices of data without pixels: block of rows after block of rows, or the tiles of one triangle."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from ntkc.runtime.alarm import Concern, concern_of, judged, losses_of, worse
from ntkc.runtime.network import Network, Side, Take, made_of_pairs, samples_of, squares_of
from ntkc.runtime.together import alone


class Rows(NamedTuple):
    """Blocks of `size` samples, each compared with all others at once; tiles of one triangle of symmetric matrices."""

    size: int = 256

    def gram(
        self, net: Network, is_alone: bool, take: Take, x1: Array, x2: Array | None, p: SimpleNamespace
    ) -> tuple[Array, Concern]:
        """`take` of all pairs of samples, of x1 with itself if x2 is None, and what is lost."""
        made_of = partial(block, net, is_alone, take, p)
        if max(len(x1), len(x1 if x2 is None else x2)) <= self.size // 2:
            return at_once(net, made_of, x1, x2, p)
        side1, concern = side_of(net, padded(x1, self.size), p)
        if x2 is None:
            made = triangle(made_of, side1, len(x1), self.size)
            return made, judged(made, concern)
        side2, concern2 = side_of(net, x2, p)
        made = rectangle(made_of, side1, side2, len(x1), self.size)
        return made, judged(made, worse(concern, concern2))

    def losses(self, net: Network, whole: Array, p: SimpleNamespace) -> Concern:
        """What is lost in any samples."""
        return losses_of(net.watch, samples_of(net, whole, p)[1])


def at_once(net: Network, made_of: Take, x1: Array, x2: Array | None, p: SimpleNamespace) -> tuple[Array, Concern]:
    """All pairs of few samples: loops would take longer to compile than to run."""
    side1, concern = side_of(net, x1, p)
    if x2 is None:
        made = made_of(jnp.eye(len(x1), dtype=bool), side1, side1)
        # Alone, as XLA computes entries and their mirror images twice otherwise, and rounds them apart.
        made = alone(lambda v: jnp.where(jnp.tri(len(x1), dtype=bool), v, v.T), made)
        return made, judged(made, concern)
    side2, concern2 = side_of(net, x2, p)
    made = made_of(jnp.zeros((), bool), side1, side2)
    return made, judged(made, worse(concern, concern2))


def rectangle(made_of: Take, side1: Side, right: Side, rows: int, most: int) -> Array:
    """All pairs, block of rows after block of rows."""
    apart = jnp.zeros((), bool)
    left = in_blocks(side1, block_size(rows, most))
    count, size = left.whole.shape[:2]

    @jax.checkpoint
    def some_rows(i: Array) -> Array:
        return made_of(apart, jax.tree.map(lambda v: v[i], left), right)

    places = jnp.arange(count)
    return assemble(lambda i: (some_rows(i), (i * size, 0)), places, (count * size, len(right.whole)))[:rows]


def block(net: Network, is_alone: bool, take: Take, p: SimpleNamespace, same: Array, side1: Side, side2: Side) -> Array:
    """What `take` makes of (nngp, ntk) for all pairs of two sets of samples."""
    # The barrier keeps the loop's slices out of the elementwise chain, which XLA then vectorises.
    side1, side2 = lax.optimization_barrier((side1, side2))
    return take(*made_of_pairs(net, is_alone, side1, side2, same, p))


def side_of(net: Network, whole: Array, p: SimpleNamespace) -> tuple[Side, Concern]:
    """Samples with their mean squares and values, and what is lost in these."""
    squares, (variance, values) = squares_of(net, whole), samples_of(net, whole, p)
    others = {f"the mean square of input {i + 1}": q for i, q in enumerate(squares)}
    concern = concern_of(net.watch, values, **others, **{"the variance of the output": variance})
    return Side(whole, squares, values), concern


def in_blocks(side: Side, size: int) -> Side:
    """Samples with a first axis of blocks of `size`."""

    def piled(v: Array) -> Array:
        return jnp.moveaxis(v.reshape(*v.shape[:-1], -1, size), -2, 0)

    whole = side.whole.reshape(-1, size, *side.whole.shape[1:])
    return Side(whole, *jax.tree.map(piled, (side.squares, side.values)))


def side_of_block(blocks: Side, i: Array) -> Side:
    """Block i, its values copied: an elementwise chain is not vectorised where XLA fuses these slices with it."""
    known, structure = jax.tree.flatten((blocks.squares, blocks.values))
    made = alone(lambda *piled: tuple(v[i] for v in piled), *known)
    return Side(blocks.whole[i], *jax.tree.unflatten(structure, made))


def block_size(count: int, most: int) -> int:
    """Samples a block, two blocks at least: XLA inlines a loop of one turn, and then computes things twice."""
    return min(most, -(-count // 2))


def padded(x: Array, most: int) -> Array:
    """Rows added, copies of the last, up to a whole number of blocks."""
    size = block_size(len(x), most)
    more = max(-len(x) % size, 2 * size - len(x))
    return jnp.pad(x, [(0, more)] + [(0, 0)] * (x.ndim - 1), mode="edge")


def assemble(compute: Callable[[Any], tuple[Array, Any]], places: Any, shape: tuple[int, int]) -> Array:
    """A matrix of blocks; `compute` makes the block of a place and says where its corner goes.

    Each is stored a turn after it was made: XLA spreads an elementwise chain over the cores unless it ends in a store.
    """

    def turn(state: Any, place: Any) -> Any:
        whole, made, corner = state
        return (lax.dynamic_update_slice(whole, made, corner), *compute(place)), None

    first = jax.eval_shape(compute, jax.tree.map(lambda p: p[0], places))
    made, corner = jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), first)
    start = jnp.zeros(shape, made.dtype), made, corner
    (whole, made, corner), _ = lax.scan(turn, start, places)
    return lax.dynamic_update_slice(whole, made, corner)


def triangle(made_of: Take, side: Side, rows: int, most: int) -> Array:
    """All pairs of rows of one set: tiles on and below the diagonal, then their mirror images."""
    size = block_size(rows, most)
    side = in_blocks(side, size)
    same, below = jnp.eye(size, dtype=bool), jnp.tri(size, dtype=bool)

    @jax.checkpoint
    def tile(i: Array, j: Array) -> Array:
        return made_of((i == j) & same, side_of_block(side, i), side_of_block(side, j))

    def compute(place: Any) -> tuple[Array, Any]:
        i, j = place
        return tile(i, j), (i * size, j * size)

    def mirror(whole: Array, place: Any) -> tuple[Array, None]:
        i, j = place
        lower = lax.dynamic_slice(whole, (i * size, j * size), (size, size))
        lower = jnp.where((i == j) & below, lower, lower.T)
        return lax.dynamic_update_slice(whole, lower, (j * size, i * size)), None

    count = len(side.whole)
    below_or_on = [(i, j) for i in range(count) for j in range(i + 1)]
    places = tuple(map(jnp.array, zip(*below_or_on, strict=True)))
    whole = assemble(compute, places, (count * size, count * size))
    whole, _ = lax.scan(mirror, whole, places)  # apart from `compute`, where XLA would compute each tile twice
    return whole[:rows, :rows]
