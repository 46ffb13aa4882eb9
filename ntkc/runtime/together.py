"""K and T of a layer: one complex array wherever XLA would otherwise compute their common part twice."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

_NNGP_ALONE: ContextVar[bool] = ContextVar("nngp_alone", default=False)
"""T is not wanted: it is 0 from the next layer on, and what made it is dead code."""


@contextmanager
def nngp_alone(is_alone: bool) -> Generator[None]:
    """Trace a network for its NNGP only."""
    token = _NNGP_ALONE.set(is_alone)
    try:
        yield
    finally:
        _NNGP_ALONE.reset(token)


def is_nngp_alone() -> bool:
    """T is not wanted."""
    return _NNGP_ALONE.get()


def filled(value: ArrayLike, sizes: Sequence[int], like: Array) -> Array:
    """A constant for all pixels, and all samples or pairs that `like` has."""
    return jnp.full((*sizes, *like.shape), value, like.dtype)


def as_one(function: Callable[[Array], Array], k: Array, t: Array) -> tuple[Array, Array]:
    """A linear map of K and of T."""
    if is_nngp_alone():
        made = function(k)
        return made, jnp.zeros_like(made)
    both = function(lax.complex(*jnp.broadcast_arrays(k, t)))
    return both.real, both.imag


def held(function: Callable[..., Any], *given: Any) -> Any:
    """function(*given), made before what reads it: XLA would compute it entry by entry inside margins and pools.

    The last of several arrays, and of several results, is T.
    """
    if len(given) == 1:
        return alone(function, *given)
    if is_nngp_alone():
        *first, t = given
        made = alone(lambda *some: function(*some, jnp.zeros_like(t))[:-1], *first)
        return (*made, jnp.zeros_like(t))
    if len(given) > 2:
        return alone(function, *given)

    def packed(both: Array) -> Array:
        return lax.complex(*function(both.real, both.imag))

    both = alone(packed, lax.complex(*given))
    return both.real, both.imag


def alone(function: Callable[..., Any], *given: Any) -> Any:
    """function(*given), fused with nothing before or after it."""
    first: Array = given[0].real
    # Always true, which XLA does not know.
    is_ready = ~(first[(0,) * first.ndim] > jnp.inf)
    made = jax.eval_shape(function, *given)

    def other(*given: Array) -> Any:
        alike = given[0] if len(given) == 1 else given
        if jax.tree.map(lambda v: (v.shape, v.dtype), made) == jax.tree.map(lambda v: (v.shape, v.dtype), alike):
            return alike  # which costs least
        return jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), made)

    return lax.cond(is_ready, function, other, *given)
