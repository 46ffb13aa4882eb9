"""Which implementation is the fastest here: each is compiled and timed once.

Operations, bytes or any other count would not tell: on two CPU cores, a gradient of a convolution took ten times as
long as another with the same count, and loops are counted once.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.errors import JaxRuntimeError
from jax.extend import core

from ntkc.empirical.implementations import IMPLEMENTATIONS, NtkImplementation

Kernel = Callable[..., Any]
"""kernel(implementation, *arguments)."""
Found = dict[Any, NtkImplementation]

NEAR = 1.1
"""Times within this ratio are equal, and memory decides."""
ROUNDS, SECONDS, FAR = 12, 3.0, 3
"""Implementations are called in turn, so often or so long; those FAR times as slow as the best, once."""

_MEMORY: weakref.WeakKeyDictionary[Any, dict[Any, Found]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Trial:
    """Seconds of the quickest call after compilation, and temporary memory."""

    seconds: float
    bytes: int


def memory_of(f: Any, options: Any) -> Found:
    """What was found for a function and options: types of arguments -> implementation. It lives as long as f."""
    try:
        return _MEMORY.setdefault(f, {}).setdefault(repr(options), {})
    except TypeError:  # f cannot be hashed, or not be referred to weakly
        return {}


def fastest(kernel: Kernel, arguments: Sequence[Any], found: Found) -> NtkImplementation:
    """The fastest of IMPLEMENTATIONS that fit in memory; of nearly equal ones, that of the least memory.

    Arguments whose values are not known, inside `jax.jit`, are tried with random numbers of their shapes. An
    implementation that cannot differentiate f is left out.
    """
    leaves, structure = jax.tree.flatten(arguments)
    types = [jax.typeof(v) if _is_array(v) else v for v in leaves]
    key = str((jax.devices()[0].device_kind, structure, types))
    if key not in found:
        with jax.ensure_compile_time_eval():
            found[key] = chosen(_trials(kernel, leaves, structure))
    return found[key]


def chosen(trials: Mapping[NtkImplementation, Trial]) -> NtkImplementation:
    """By time, then by memory."""
    limit = NEAR * min(trial.seconds for trial in trials.values())
    near = {i: trial for i, trial in trials.items() if trial.seconds <= limit}
    return min(near, key=lambda i: near[i].bytes)


def _trials(kernel: Kernel, leaves: Sequence[Any], structure: Any) -> dict[NtkImplementation, Trial]:
    calls: dict[NtkImplementation, tuple[Callable[[], Any], int]] = {}
    errors: list[Exception] = []
    for way in IMPLEMENTATIONS:
        try:
            calls[way] = _call(kernel, way, leaves, structure)
        except (TypeError, ValueError, NotImplementedError, MemoryError, JaxRuntimeError) as error:
            errors.append(error)
    if not calls:
        raise errors[0]
    times = dict.fromkeys(calls, 0.0)
    start = time.perf_counter()
    for turn in range(ROUNDS):
        if turn and time.perf_counter() - start > SECONDS:
            break
        near = [way for way in calls if times[way] <= FAR * min(times.values())]
        for way in near:
            seconds = _seconds(calls[way][0])
            times[way] = min(times[way] or seconds, seconds)
    return {way: Trial(times[way], size) for way, (_, size) in calls.items()}


def _call(
    kernel: Kernel, way: NtkImplementation, leaves: Sequence[Any], structure: Any
) -> tuple[Callable[[], Any], int]:
    """A compiled call, made once, and its temporary memory."""

    def whole(arrays: Sequence[Any]) -> Any:
        given = iter(arrays)
        return kernel(way, *jax.tree.unflatten(structure, [next(given) if _is_array(v) else v for v in leaves]))

    arrays = [v for v in leaves if _is_array(v)]
    closed = jax.make_jaxpr(whole)([jax.typeof(v) for v in arrays])
    # Constants are arguments here: f may have closed over values that are not known yet.
    given = jax.device_put([[_known(v) for v in closed.consts], [_known(v) for v in arrays]])

    def evaluated(consts: list[Any], arrays: Sequence[Any]) -> Any:
        return core.jaxpr_as_fun(core.ClosedJaxpr(closed.jaxpr, consts))(*arrays)

    compiled = jax.jit(evaluated).lower(*given).compile()
    needed = getattr(compiled.memory_analysis(), "temp_size_in_bytes", 0)
    if needed > free_bytes():
        raise MemoryError(f"{way.name} needs {needed:,} bytes of temporary memory")

    def call() -> Any:
        return jax.block_until_ready(compiled(*given))

    call()
    return call, needed


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _is_array(v: Any) -> bool:
    return isinstance(v, jax.Array | np.ndarray | np.generic)


def _known(v: Any) -> Any:
    """The array itself, or one of its type."""
    if not isinstance(v, Tracer):
        return v
    if jnp.issubdtype(v.dtype, jax.dtypes.prng_key):
        return jax.random.split(jax.random.key(0, impl=str(jax.random.key_impl(v))), v.shape)
    if jnp.issubdtype(v.dtype, jnp.floating):
        return np.random.default_rng(0).standard_normal(v.shape).astype(v.dtype)
    return np.zeros(v.shape, v.dtype)


def free_bytes() -> float:
    """Of the device; of a computer whose memory is not told, without limit."""
    stats = jax.devices()[0].memory_stats()
    if stats:
        return stats.get("bytes_limit", float("inf")) - stats.get("bytes_in_use", 0)
    is_told = "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {})
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if is_told else float("inf")
