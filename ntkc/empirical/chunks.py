"""Samples a few at a time, so that what is made of them stays small, on a CPU in its cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core

from ntkc.empirical.convolutions import in_one_layout

WORKING_BYTES = {"cpu": 2**22}
"""What the values that are alive at a time may take, by platform; the chunks of accelerators have to keep them busy."""
OTHERWISE = 2**30

RENAMES = ("reshape", "squeeze")
"""Operations that move nothing."""


def in_chunks(f: Callable[[Any], Any], stacked: Any, size: int) -> Any:
    """f(stacked), for an f whose arguments have samples first, from `size` samples at a time.

    Results are put together along their first axis, which is that of samples or one of parts.
    """
    samples = jax.tree.leaves(stacked)[0].shape[0]
    if size >= samples:
        return f(stacked)
    loops, left = divmod(samples, size)
    whole = jax.tree.map(lambda v: v[: loops * size].reshape(loops, size, *v.shape[1:]), stacked)
    made = lax.map(in_one_layout(f) if jax.default_backend() == "cpu" else f, whole)
    made = jax.tree.map(lambda v: v.reshape(v.shape[0] * v.shape[1], *v.shape[2:]), made)
    if not left:
        return made
    last = f(jax.tree.map(lambda v: v[loops * size :], stacked))
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), made, last)


def chunk_size(f: Callable[..., Any], types: Sequence[Any], samples: int, kept: int) -> int:
    """How many samples at a time; `f` makes of one what is needed, from arguments of these types.

    What is alive then may take a quarter of the bytes that are kept for all samples, as each chunk reads these again.
    Chunks are as equal in size as they can be, and without rest where a divisor is near.
    """
    limit = max(WORKING_BYTES.get(jax.default_backend(), OTHERWISE), kept // 4)
    most = max(1, min(samples, limit // max(1, peak_bytes(jax.make_jaxpr(f)(*types).jaxpr))))
    divisor = max(d for d in range(1, most + 1) if samples % d == 0)
    return divisor if 2 * divisor > most else -(-samples // -(-samples // most))


def peak_bytes(jaxpr: core.Jaxpr) -> int:
    """The most that is alive at a time if equations run one after the other, without what is given and constants."""
    last = {v: i for i, eqn in enumerate(jaxpr.eqns) for v in eqn.invars if isinstance(v, core.Var)}
    last.update({v: len(jaxpr.eqns) for v in jaxpr.outvars if isinstance(v, core.Var)})
    alive, peak = 0, 0
    ending: dict[int, int] = {}
    for i, eqn in enumerate(jaxpr.eqns):
        inner = [peak_bytes(body) for body in core.jaxprs_in_params(eqn.params)]
        for v in eqn.outvars if eqn.primitive.name not in RENAMES else ():
            alive += _bytes(v)
            ending[last.get(v, i)] = ending.get(last.get(v, i), 0) + _bytes(v)
        peak = max(peak, alive + max(inner, default=0))
        alive -= ending.pop(i, 0)
    return peak


def _bytes(v: Any) -> int:
    return v.aval.size * v.aval.dtype.itemsize
