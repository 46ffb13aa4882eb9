"""y = x W: equations of a jaxpr that use a weight in a product or a convolution, and the x of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax

from ntkc.empirical.views import Axis, View

Key = tuple[Axis, ...]
"""The axes of a weight, in order, that one axis of x or y runs over; empty for a single entry."""


@dataclass(frozen=True)
class Use:
    """y = x W of a view of a weight, operand `side`: which axes of x, and which of y, run over axes of the weight.

    An axis of the weight that x and y share is that of a product for each entry of it.
    """

    view: View
    side: int
    of_x: tuple[tuple[int, Key], ...]
    of_y: tuple[tuple[int, Key], ...]

    @property
    def keys(self) -> frozenset[Key]:
        """The axes of the weight, without those of one entry."""
        return frozenset(key for _, key in (*self.of_x, *self.of_y) if key)

    def meets(self, other: Use) -> bool:
        """Of the same entries of a weight, along the same axes: labels say which belong together."""
        same = self.view.weight == other.view.weight and self.view.offset == other.view.offset
        return same and self.keys == other.keys

    def is_apart_from(self, other: Use) -> bool:
        """No entry of a weight is in both."""
        return self.view.weight != other.view.weight or self.view.is_apart_from(other.view)

    def stacked(self) -> Use:
        """The same use with a new first axis of x and of y."""
        of_x, of_y = (tuple((a + 1, key) for a, key in axes) for axes in (self.of_x, self.of_y))
        return Use(self.view, self.side, of_x, of_y)

    def of_all_steps(self) -> Use:
        """The use by all steps of the innermost scan: an axis of the weight where each step sees entries of its own."""
        loop, whole = self.view.loops[-1], self.stacked()
        own = () if loop is None else ((0, _key(loop)),)
        return Use(self.view.of_all_steps(), self.side, (*own, *whole.of_x), (*own, *whole.of_y))

    def labels(
        self, x_ndim: int, y_ndim: int, of_key: dict[Key, int], fresh: Iterator[int]
    ) -> tuple[list[int], list[int]]:
        """Labels of the axes of x and of y: those of the weight are given, x and y share the others in order."""
        x_keys, y_keys = dict(self.of_x), dict(self.of_y)
        y = [of_key[y_keys[a]] if y_keys.get(a) else next(fresh) for a in range(y_ndim)]
        free = iter(label for a, label in enumerate(y) if a not in y_keys)
        x = [next(free) if a not in x_keys else of_key[x_keys[a]] if x_keys[a] else next(fresh) for a in range(x_ndim)]
        return x, y


def use_of(eqn: Any, views: Sequence[View | None]) -> Use | None:
    """The use of one weight in a product or a convolution; None for anything else."""
    sides = [i for i, view in enumerate(views) if view is not None]
    reader = READERS.get(eqn.primitive.name)
    if reader is None or len(sides) != 1:
        return None
    view = views[sides[0]]
    assert view is not None
    return reader(eqn, sides[0], view)


def _key(*axes: Axis) -> Key:
    return tuple(axis for axis in axes if axis[0] != 1)


def _dot(eqn: Any, side: int, view: View) -> Use | None:
    """y [*batch, *free of lhs, *free of rhs]."""
    contracting, batch = eqn.params["dimension_numbers"]
    w_summed, x_summed, w_batch, x_batch = contracting[side], contracting[1 - side], batch[side], batch[1 - side]
    x_ndim = eqn.invars[1 - side].aval.ndim
    columns = [a for a in range(len(view.axes)) if a not in (*w_summed, *w_batch)]
    start = len(w_batch) + (x_ndim - len(x_summed) - len(x_batch) if side else 0)
    of_x = [(a, _key(view.axes[b])) for a, b in zip((*x_summed, *x_batch), (*w_summed, *w_batch), strict=True)]
    of_y = [(i, _key(view.axes[b])) for i, b in enumerate(w_batch)]
    of_y += [(start + i, _key(view.axes[b])) for i, b in enumerate(columns)]
    return Use(view, side, tuple(of_x), tuple(of_y))


def _conv(eqn: Any, side: int, view: View) -> Use | None:
    """y = patches W: the channels of patches are those of x, for each entry of the filter."""
    is_plain = eqn.params["feature_group_count"] == eqn.params["batch_group_count"] == 1
    if side != 1 or not is_plain:
        return None
    channel = eqn.params["dimension_numbers"].out_spec[1]
    column, of_channels, *of_pixels = eqn.params["dimension_numbers"].rhs_spec
    summed = _key(*(view.axes[a] for a in (*of_pixels, of_channels)))
    return Use(view, side, ((channel, summed),), ((channel, _key(view.axes[column])),))


READERS: dict[str, Callable[[Any, int, View], Use | None]] = {"dot_general": _dot, "conv_general_dilated": _conv}


def input_of(eqn: Any, values: Sequence[Any], use: Use) -> Any:
    """x of y = x W: the other operand, for a convolution its patches."""
    return values[1 - use.side] if eqn.primitive.name == "dot_general" else _patches(eqn, values[0])


def _patches(eqn: Any, x: Any) -> Any:
    """x [n, pixels, c]  ->  [n, pixels of y, filter * c],  in the layout of y.

    Slices, axis by axis: a convolution with an identity, which does the same, multiplies by zeros.
    """
    p, numbers = eqn.params, eqn.params["dimension_numbers"]
    sizes = [eqn.outvars[0].aval.shape[a] for a in numbers.out_spec[2:]]
    filters = [eqn.invars[1].aval.shape[a] for a in numbers.rhs_spec[2:]]
    x = jnp.transpose(x, (numbers.lhs_spec[0], *numbers.lhs_spec[2:], numbers.lhs_spec[1]))
    margins = [(low, high, step - 1) for (low, high), step in zip(p["padding"], p["lhs_dilation"], strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *margins, (0, 0, 0)])
    windows = zip(sizes, filters, p["window_strides"], p["rhs_dilation"], strict=True)
    for axis, (size, length, stride, dilation) in enumerate(windows, 1):
        starts = [i * dilation for i in range(length)]
        seen = [lax.slice_in_dim(x, a, a + (size - 1) * stride + 1, stride, axis) for a in starts]
        x = jnp.stack(seen, -2)
    flat = x.reshape(x.shape[0], *sizes, math.prod(filters) * x.shape[-1])
    return jnp.moveaxis(flat, range(flat.ndim), [numbers.out_spec[0], *numbers.out_spec[2:], numbers.out_spec[1]])
