"""Layout: which axes of an array hold samples and channels. Layers compute on [samples, pixels ..., channels]."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ntkc.errors import InvalidInput, ShapeMismatch


@dataclass(frozen=True)
class Layout:
    """Axes of samples and channels; all others are pixels, in their order.

    Negative axes count from the last. `channels` None: any axis (layers that flatten). `rank`: number of axes, where
    the layer states it.
    """

    samples: int = 0
    channels: int | None = -1
    rank: int | None = None

    def __post_init__(self) -> None:
        for name, axis in (("batch_axis", self.samples), ("channel_axis", self.channels)):
            if axis is not None and (isinstance(axis, bool) or not isinstance(axis, int)):
                raise InvalidInput(f"{name} = {axis!r}: the number of an axis is needed")
        if self.samples == self.channels:
            raise InvalidInput(f"batch_axis = channel_axis = {self.samples}: samples and channels have an axis each")

    def on(self, rank: int) -> Layout:
        """The same with axes from 0 to rank - 1.

        Raises:
            ShapeMismatch: arrays of this rank have no such axes.
        """
        if self.rank not in (None, rank):
            raise ShapeMismatch(f"an array of {rank} axes, where {self.rank} are needed")
        last = rank - 2 if self.samples in (-1, rank - 1) else -1
        given = self.samples, last if self.channels is None else self.channels
        if not all(-rank <= a < rank for a in given):
            raise ShapeMismatch(f"batch_axis = {given[0]} and channel_axis = {given[1]} of an array of {rank} axes")
        samples, channels = (a % rank for a in given)
        if samples == channels:
            raise ShapeMismatch(f"batch_axis and channel_axis are both axis {samples} of an array of {rank} axes")
        return Layout(samples, channels, rank)

    def order(self, rank: int) -> tuple[int, ...]:
        """Axes of an array in the order [samples, pixels ..., channels]."""
        own = self.on(rank)
        assert own.channels is not None
        pixels = (a for a in range(rank) if a not in (own.samples, own.channels))
        return (own.samples, *pixels, own.channels)

    def places(self, rank: int) -> tuple[int, ...]:
        """Axes of an array [samples, pixels ..., channels] in the order of this layout."""
        return inverse(self.order(rank))

    def is_plain(self, rank: int | None = None) -> bool:
        """Samples first, channels last."""
        if rank is None and self.rank is None:
            return self.samples == 0 and self.channels in (None, -1)
        rank = rank or self.rank or 0
        return self.order(rank) == tuple(range(rank))

    def plain_axis(self, axis: int) -> int:
        """An axis of this layout as an axis of [samples, pixels ..., channels]: 0, 1, 2, ... or ..., -2, -1.

        Where the rank is not known, axes counted from the last come after those counted from the first.
        """
        own = self if self.rank is None else self.on(self.rank)
        if self.rank is not None and not -self.rank <= axis < self.rank:
            raise ShapeMismatch(f"axis {axis} of an array of {self.rank} axes")
        axis = axis if self.rank is None else axis % self.rank
        if axis == own.samples:
            return 0
        if axis == own.channels:
            return -1
        others = [a for a in (own.samples, own.channels) if a is not None]
        if axis >= 0:
            return axis + 1 - sum(0 <= a < axis for a in others)
        return axis - 1 + sum(axis < a < 0 for a in others)

    def without(self, pixels: Iterable[int]) -> Layout:
        """The layout after some spatial axes, by their number among those, are gone; its rank is known."""
        assert self.rank is not None
        order = self.order(self.rank)
        gone = {order[1 + i] for i in pixels}
        kept = [a for a in range(self.rank) if a not in gone]
        return Layout(kept.index(order[0]), kept.index(order[-1]), len(kept))


def inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes another."""
    return tuple(order.index(i) for i in range(len(order)))


PLAIN = Layout()
"""[samples, pixels ..., channels]."""
