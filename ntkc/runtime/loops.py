"""Values by name, and loops over the turns of a repeated block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ntkc.runtime.together import is_nngp_alone


@jax.tree_util.register_pytree_node_class
class Values:
    """Arrays by name, read as attributes: a frozen pytree, so that loops take it apart."""

    __slots__ = ("_named",)
    _named: Mapping[str, Any]

    def __init__(self, named: Mapping[str, Any]) -> None:
        nested = {n: Values(v) if isinstance(v, Mapping) else v for n, v in named.items()}
        object.__setattr__(self, "_named", nested)

    def __getattr__(self, name: str) -> Any:
        named = object.__getattribute__(self, "_named")
        if name not in named:
            raise AttributeError(f"no value {name!r}; have {sorted(named)}")
        return named[name]

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"cannot set {name!r}: values are frozen")

    def map(self, function: Callable[[Any], Any]) -> Values:
        """function of every array, those of loops left as they are."""
        return Values({n: v if isinstance(v, Values) else function(v) for n, v in self._named.items()})

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[str, ...]]:
        """Arrays, then names."""
        return tuple(self._named.values()), tuple(self._named)

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], arrays: tuple[Any, ...]) -> Values:
        """The inverse of `tree_flatten`."""
        return cls(dict(zip(names, arrays, strict=True)))


def left_lanes(values: Values) -> Values:
    """[..., n]  ->  [..., n, 1]: one value for each row of a matrix of pairs; those of loops get it turn by turn."""
    return values.map(lambda v: v[..., :, None])


def right_lanes(values: Values) -> Values:
    """[..., n]  ->  [..., 1, n]: one value for each column of a matrix of pairs; those of loops get it turn by turn."""
    return values.map(lambda v: v[..., None, :])


def both_lanes(x: Values | None, y: Values | None) -> tuple[Values | None, Values | None]:
    """The values of one turn on both sides."""
    # Here, and not before the loop: XLA would copy all turns into another layout.
    return x and left_lanes(x), y and right_lanes(y)


def unrolled(turn: Callable[..., Any], count: int, x: Values | None, y: Values | None, *carried: Any) -> Any:
    """turn(x_t, y_t, *carried) for t < count, each turn written out; x, y have turns along the first axis."""
    for t in range(count):
        x_turn, y_turn = jax.tree.map(lambda v, t=t: v[t], (x, y))
        carried = turn(*both_lanes(x_turn, y_turn), *carried)
    return carried


def scanned(turn: Callable[..., Any], count: int, x: Values | None, y: Values | None, *carried: Any) -> Any:
    """The same as one loop; two real arrays of equal shape travel as one complex array."""
    start = tuple(jnp.asarray(v) for v in carried)
    if is_nngp_alone() and len(start) > 1:
        return (*_scanned_alone(turn, count, x, y, start[:-1], start[-1]), jnp.zeros_like(start[-1]))
    is_packed = len(start) == 2 and are_alike(*start)

    def body(state: Any, turns: Any) -> tuple[Any, None]:
        made = turn(*both_lanes(*turns), *((state.real, state.imag) if is_packed else state))
        return lax.complex(*made) if is_packed else tuple(made), None

    end, _ = lax.scan(body, lax.complex(*start) if is_packed else start, (x, y), length=count)
    return (end.real, end.imag) if is_packed else end


def _scanned_alone(
    turn: Callable[..., Any], count: int, x: Values | None, y: Values | None, start: Any, t: jax.Array
) -> Any:
    """The loop of all that is carried but T."""

    def body(state: Any, turns: Any) -> tuple[Any, None]:
        return tuple(turn(*both_lanes(*turns), *state, jnp.zeros_like(t))[:-1]), None

    return lax.scan(body, start, (x, y), length=count)[0]


def are_alike(a: jax.Array, b: jax.Array) -> bool:
    """Whether two arrays fit into one complex array."""
    return a.shape == b.shape and a.dtype == b.dtype and jnp.issubdtype(a.dtype, jnp.floating)


def stacked(turn: Callable[..., Any], count: int, *carried: Any) -> tuple[Any, dict[str, Any]]:
    """turn(*carried) -> (carried, values) `count` times: the last carried, and all values along a first axis."""

    def body(state: Any, _: None) -> tuple[Any, dict[str, Any]]:
        made, values = turn(*state)
        return tuple(made), values

    return lax.scan(body, tuple(carried), length=count)
