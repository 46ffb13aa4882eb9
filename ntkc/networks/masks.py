"""Masked data in finite networks: which pixels are there after each layer; the others are 0."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ntkc.data import with_nan
from ntkc.ir.layout import Layout
from ntkc.ir.op import Shape


@partial(jax.tree_util.register_dataclass, data_fields=["value", "there"], meta_fields=["layout"])
@dataclass(frozen=True)
class Masked:
    """An array, 0 where a pixel is missing, and which are there, [samples, pixels ...]: 1 or 0."""

    value: Any
    there: Any
    layout: Layout

    @property
    def shape(self) -> Shape:
        """Of one sample, [pixels ..., channels]."""
        return tuple(jnp.shape(self.value)[a] for a in self.layout.order(jnp.ndim(self.value))[1:])


def hidden(value: Any, there: Any, layout: Layout) -> Masked:
    """An array with 0 where no pixel is there."""
    own = layout.on(jnp.ndim(value))
    seen = jnp.transpose(there[..., None], own.places(jnp.ndim(value)))
    return Masked(jnp.where(seen > 0, value, 0), there, own)


def masked_data(x: Any, constant: Any, layout: Layout) -> Masked:
    """Data with 0 in the place of a constant (NaN, too); pixels of which all channels are equal to it are missing."""
    array = with_nan("inputs", x, constant)
    is_hidden = jnp.isnan(array)
    plain = jnp.transpose(is_hidden, layout.order(array.ndim))
    there = 1 - plain.all(-1).astype(array.dtype)
    return hidden(jnp.where(is_hidden, 0, array), there, layout)
