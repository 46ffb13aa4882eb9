"""Linear maps of pixels, one a spatial axis, as they act on covariances of pairs of pixels (p, p').

K -> sum_o A_o K A_o^T: a filter has one operator a tap, a pool has one, a trace one a pixel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import sympy as sp

from ntkc.errors import ShapeMismatch

PADDINGS = ("VALID", "SAME", "CIRCULAR")


@dataclass(frozen=True)
class AxisMap(ABC):
    """A map along one spatial axis."""

    reads_all_pairs: ClassVar[bool] = False
    """Entries (p, p) of the result depend on entries (p, p') of the operand."""
    reads_diagonal: ClassVar[bool] = False
    """Only entries (p, p) of the operand are read."""
    keeps_axis: ClassVar[bool] = True
    """The result has this axis."""

    @abstractmethod
    def size(self, count: int) -> int:
        """Pixels of the result."""

    @property
    def is_identity(self) -> bool:
        """Nothing changes."""
        return False

    @property
    def is_nonnegative(self) -> bool:
        """No coefficient is negative."""
        return True


@dataclass(frozen=True)
class Patch(AxisMap):
    """K'[p, p'] = 1/w sum_t K[s p + d t - low, s p' + d t - low]:  a filter, which moves on both sides at once.

    `low` and `high` pixels of zeros stand before and after the axis (or, if it `wraps`, its other end); before that
    `interior` - 1 zeros are put between pixels (transposed convolutions).
    """

    window: int = 1
    stride: int = 1
    low: int = 0
    high: int = 0
    wraps: bool = False
    spread: int = 1
    interior: int = 1

    def size(self, count: int) -> int:
        padded = (count - 1) * self.interior + 1 + self.low + self.high + self.trailing
        reach = (self.window - 1) * self.spread + 1
        if padded < reach:
            raise ShapeMismatch(f"a window of {reach} pixels does not fit into {padded}; use padding='SAME'")
        return (padded - reach) // self.stride + 1

    @property
    def trailing(self) -> int:
        """Zeros after the last pixel, so that an axis which wraps has a period of `interior` times its pixels."""
        return self.interior - 1 if self.wraps else 0

    @property
    def is_identity(self) -> bool:
        return self == Patch()

    def is_inside(self, count: int) -> tuple[tuple[bool, ...], ...]:
        """For each pixel of the result, which taps read a pixel of the operand."""
        taps = range(self.window)
        places = [[p * self.stride + t * self.spread - self.low for t in taps] for p in range(self.size(count))]
        total = count * self.interior
        return tuple(tuple(i % self.interior == 0 and (self.wraps or 0 <= i < total) for i in row) for row in places)


@dataclass(frozen=True)
class Local(Patch):
    """A filter of its own at each place:  as Patch where p = p', and 0 elsewhere."""

    reads_diagonal: ClassVar[bool] = True

    @property
    def is_identity(self) -> bool:
        return False


@dataclass(frozen=True)
class Window(AxisMap):
    """K'[p, p'] = c_p c_p' sum_t sum_t' K[s p + t - low, s p' + t' - low]:  a pool, whose two sides move apart."""

    reads_all_pairs: ClassVar[bool] = True

    window: int
    stride: int
    low: int
    high: int
    wraps: bool
    scales: tuple[float, ...]

    def size(self, count: int) -> int:
        return Patch(self.window, self.stride, self.low, self.high).size(count)


@dataclass(frozen=True)
class Matrix(AxisMap):
    """K' = A K A^T:  any linear map, `rows` its matrix."""

    reads_all_pairs: ClassVar[bool] = True

    rows: tuple[tuple[float, ...], ...]

    def size(self, count: int) -> int:
        return len(self.rows)

    @property
    def is_nonnegative(self) -> bool:
        return _is_nonnegative(self.rows)


@dataclass(frozen=True)
class Spread(AxisMap):
    """v' = A v:  a linear map of one value a pixel."""

    reads_diagonal: ClassVar[bool] = True

    rows: tuple[tuple[float, ...], ...]

    def size(self, count: int) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Take(AxisMap):
    """K'[p, p'] = K[i_p, i_p']:  the pixels at these places."""

    places: tuple[int, ...]

    def size(self, count: int) -> int:
        return len(self.places)


@dataclass(frozen=True)
class Pick(AxisMap):
    """K' = K[i, i]:  one pixel of an axis, which then is gone."""

    reads_diagonal: ClassVar[bool] = True
    keeps_axis: ClassVar[bool] = False

    place: int

    def size(self, count: int) -> int:
        return 1


@dataclass(frozen=True)
class Total(AxisMap):
    """K' = c^2 sum_p sum_p' K[p, p']:  a global pool."""

    reads_all_pairs: ClassVar[bool] = True
    keeps_axis: ClassVar[bool] = False

    scale: float

    def size(self, count: int) -> int:
        return 1


@dataclass(frozen=True)
class Trace(AxisMap):
    """K' = c sum_p K[p, p]:  what a dense layer makes of flattened pixels."""

    reads_diagonal: ClassVar[bool] = True
    keeps_axis: ClassVar[bool] = False

    scale: float

    def size(self, count: int) -> int:
        return 1


@dataclass(frozen=True)
class Level(AxisMap):
    """v'[p] = mean_p v[p]:  the mean of a per-sample quantity over an axis, at each of its pixels."""

    reads_diagonal: ClassVar[bool] = True

    def size(self, count: int) -> int:
        return count


@dataclass(frozen=True)
class Place(AxisMap):
    """K'[p + start, p' + start] = K[p, p'], 0 elsewhere:  one part of an axis of `total` pixels."""

    start: int
    total: int

    def size(self, count: int) -> int:
        return self.total


@dataclass(frozen=True)
class JointMap(AxisMap):
    """A map of all spatial axes at once, alone in its Maps; axes of operand and result have labels a, b, ..."""

    reads: str
    made: str

    @abstractmethod
    def sizes(self, spatial: tuple[int, ...]) -> tuple[int, ...]:
        """Pixels of the result along each axis."""

    @abstractmethod
    def inner_form(self, form: str) -> str:
        """The form of the operand from which a result of this form is made."""

    @abstractmethod
    def outer_form(self, form: str) -> str:
        """The form that is made of it: the one asked for, or a larger one."""

    def size(self, count: int) -> int:
        raise AssertionError("the sizes of a joint map are those of all axes")


@dataclass(frozen=True)
class Permuted(JointMap):
    """K'[p_i, p_j, ...] = K[p_a, p_b, ...]:  the same pixels, their axes in another order."""

    @property
    def is_identity(self) -> bool:
        return self.reads == self.made

    @property
    def order(self) -> tuple[int, ...]:
        """Axes of the operand, in the order of the result."""
        return tuple(self.reads.index(a) for a in self.made)

    def sizes(self, spatial: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(spatial[i] for i in self.order)

    def inner_form(self, form: str) -> str:
        return "".join(form[self.made.index(a)] for a in self.reads)

    def outer_form(self, form: str) -> str:
        return form


Nested = float | tuple["Nested", ...]
"""An array as tuples of tuples of numbers."""


@dataclass(frozen=True)
class Product(JointMap):
    """K' = A K A^T,  A an array with axes of labels `own`: those that the result lacks are summed over."""

    reads_all_pairs: ClassVar[bool] = True

    own: str
    array: Nested
    array_shape: tuple[int, ...]

    @property
    def is_nonnegative(self) -> bool:
        return _is_nonnegative(self.array)

    def sizes(self, spatial: tuple[int, ...]) -> tuple[int, ...]:
        known = {**dict(zip(self.reads, spatial, strict=True)), **dict(zip(self.own, self.array_shape, strict=True))}
        return tuple(known[a] for a in self.made)

    def inner_form(self, form: str) -> str:
        asked = dict(zip(self.made, self.outer_form(form), strict=True))
        return "".join(asked.get(a, "F") for a in self.reads)

    def outer_form(self, form: str) -> str:
        return "".join(f if f == "D" or a not in self.own else "F" for a, f in zip(self.made, form, strict=True))


@dataclass(frozen=True)
class ProductOfValues(Product):
    """v' = A v:  the same of one value a pixel."""

    reads_all_pairs: ClassVar[bool] = False
    reads_diagonal: ClassVar[bool] = True

    def inner_form(self, form: str) -> str:
        return "D" * len(self.reads)

    def outer_form(self, form: str) -> str:
        return form


def _is_nonnegative(array: Nested) -> bool:
    return all(map(_is_nonnegative, array)) if isinstance(array, tuple) else array >= 0


Maps = tuple[AxisMap, ...]
"""One a spatial axis, or one JointMap."""


class Mixed(sp.Function):
    """Mixed(K, name): the maps that the program keeps under this name, applied to K."""

    nargs = 2
    is_extended_real = True


class Framed(sp.Function):
    """Framed(E, a, b): E, and a[p] + b[p'] for a pair of pixels of which one is outside of the image, 0 there itself.

    What filters read of half a squared distance: zeros around an image are as far from a pixel as its variance says.
    """

    nargs = 3
    is_extended_real = True


Padding = str | tuple[int, int]
"""A name, or so many zeros before and after an axis."""


def padding_of(padding: Padding, count: int, window: int, stride: int, spread: int = 1) -> tuple[int, int, bool]:
    """Pixels before and after an axis, and whether they are those of its other end, as in jax.lax."""
    if isinstance(padding, tuple):
        return *padding, False
    reach = (window - 1) * spread + 1
    if padding == "VALID":
        return 0, 0, False
    total = max((-(-count // stride) - 1) * stride + reach - count, 0)
    return total // 2, total - total // 2, padding == "CIRCULAR"


def patch(padding: Padding, count: int, window: int, stride: int, spread: int = 1) -> Patch:
    """The filter of a convolution along an axis of `count` pixels."""
    low, high, wraps = padding_of(padding, count, window, stride, spread)
    return Patch(window, stride, low, high, wraps, spread)


def patch_transposed(padding: str, count: int, window: int, stride: int) -> Patch:
    """The filter of a transposed convolution, with the padding of jax.lax.conv_transpose."""
    if padding == "CIRCULAR":
        overflow = max(window - stride, 0)
        low = window - 1 - overflow // 2
        return Patch(window, 1, low, window - 1 - low, True, interior=stride)
    total = window + stride - 2 + (max(window - stride, 0) if padding == "VALID" else 0)
    low = window - 1 if padding == "VALID" or stride > window - 1 else -(-total // 2)
    return Patch(window, 1, low, total - low, interior=stride)


def pool(padding: Padding, count: int, window: int, stride: int, is_mean: bool, normalizes_edges: bool) -> Window:
    """The window of a pool along an axis of `count` pixels."""
    low, high, wraps = padding_of(padding, count, window, stride)
    size = Patch(window, stride, low, high).size(count)
    counts = [window] * size
    if normalizes_edges and not wraps:
        starts = [stride * p - low for p in range(size)]
        counts = [min(s + window, count) - max(s, 0) for s in starts]
    return Window(window, stride, low, high, wraps, tuple(1 / n if is_mean else 1.0 for n in counts))


def centres(window: int, stride: int, low: int, size: int) -> Take:
    """The pixel in the middle of each window."""
    start = (window - 1) // 2 - low
    return Take(tuple(range(start, start + (size - 1) * stride + 1, stride)))


def reach(m: Patch, count: int) -> Spread:
    """1 for each pixel of the operand that a pixel of the result reads."""
    size = m.size(count)
    taps = [{(p * m.stride + t * m.spread - m.low) for t in range(m.window)} for p in range(size)]
    return Spread(tuple(tuple(float(a * m.interior in t) for a in range(count)) for t in taps))


def spatial_size(maps: Maps, spatial: tuple[int, ...]) -> tuple[int, ...]:
    """Pixels of the result of maps on pixels of this shape."""
    joint = joint_map(maps)
    if joint is not None:
        return joint.sizes(spatial)
    return tuple(m.size(n) for m, n in zip(maps, spatial, strict=True) if m.keeps_axis)


def joint_map(maps: Maps) -> JointMap | None:
    """The one map of all axes, if it is one."""
    return maps[0] if maps and isinstance(maps[0], JointMap) else None
