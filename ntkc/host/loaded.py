"""The functions that an emitted module defines, which small calls of run by numpy until XLA would pay."""

from __future__ import annotations

import hashlib
import linecache
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from threading import Lock
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ntkc.host.tape import Tape, tape_of
from ntkc.runtime.jitted import Watched

COMPILED_CALL_SECONDS = 5e-4
"""What XLA takes to compile one operation, roughly."""
KEPT = 16
"""Modules that stay compiled when their programs are gone: the same network is often built again."""


ASKS_FOR_XLA = ("jax_disable_jit", "jax_debug_nans", "jax_debug_infs", "jax_default_device")


class Loaded:
    """What a source defines, after running it once."""

    def __init__(self, source: str) -> None:
        filename = f"<ntkc {hashlib.sha256(source.encode()).hexdigest()[:16]}>"
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        names: dict[str, Any] = {"__name__": "ntkc_kernel"}
        exec(compile(source, filename, "exec"), names)
        for function in (f for f in names.values() if isinstance(f, Watched)):
            function.is_aloud = False  # calls of the program warn under jit; jax.export has no callbacks
        self.names = names
        self._calls: dict[Any, _Calls] = {}
        jitted = [f for f in names.values() if hasattr(f, "clear_cache")]
        weakref.finalize(self, _forget, filename, jitted).atexit = False

    def __call__(self, name: str, /, *given: Any, **named: Any) -> Any:
        """What the function of this name makes of arrays, or of tracers."""
        function = self.names[name]
        arguments = function.arguments(*given, **named)
        leaves, structure = jax.tree.flatten(arguments)
        if not (_runs_plainly() and all(map(_is_here, leaves))):
            return function.jitted(*arguments)
        key = name, structure, tuple((np.shape(v), _dtype(v)) for v in leaves), *_settings()
        if key not in self._calls:
            self._calls[key] = _Calls(function.jitted.trace(*arguments))
        calls = self._calls[key]
        return calls(leaves) if calls.is_numpy_next() else function.jitted(*arguments)


@dataclass
class _Calls:
    """Calls with arguments of one kind."""

    traced: Any
    spent: float = 0.0

    @cached_property
    def tape(self) -> Tape:
        return tape_of(self.traced.jaxpr)

    def is_numpy_next(self) -> bool:
        """Whether numpy has taken, and will have taken, less than XLA takes to compile."""
        self.spent += self.tape.seconds
        return self.spent < COMPILED_CALL_SECONDS * self.tape.length

    def __call__(self, leaves: list[Any]) -> Any:
        given = [np.asarray(v, a.dtype) for v, a in zip(leaves, self.traced.jaxpr.in_avals, strict=True)]
        with np.errstate(all="ignore"):
            made = self.tape(*given)
        return jax.tree.unflatten(jax.tree.structure(self.traced.out_info), map(jnp.asarray, made))


def _dtype(leaf: Any) -> Any:
    return getattr(leaf, "dtype", type(leaf))


def _runs_plainly() -> bool:
    """Whether nothing asks for XLA: another device, or checks of what is computed."""
    return not any(getattr(jax.config, name) for name in ASKS_FOR_XLA) and jax.default_backend() == "cpu"


def _settings() -> tuple[Any, ...]:
    """What tracing depends on."""
    return tuple(getattr(jax.config, name) for name in ("jax_enable_x64", "jax_default_matmul_precision"))


def _is_here(leaf: Any) -> bool:
    if isinstance(leaf, Tracer):
        return False
    return not isinstance(leaf, jax.Array) or (leaf.is_fully_addressable and leaf.devices() == {jax.devices()[0]})


_LOCK = Lock()
_LOADED: weakref.WeakValueDictionary[str, Loaded] = weakref.WeakValueDictionary()


@lru_cache(maxsize=KEPT)
def loaded(source: str) -> Loaded:
    """What a source defines; one for all programs of equal source, and for some time after the last of them."""
    with _LOCK:
        made = _LOADED.get(source)
        if made is None:
            made = _LOADED[source] = Loaded(source)
        return made


def _forget(filename: str, jitted: list[Callable[..., Any]]) -> None:
    """Frees compiled code: rules of derivatives refer to the whole module, and so JAX would keep it for ever."""
    linecache.cache.pop(filename, None)
    for function in jitted:
        function.clear_cache()  # pyright: ignore[reportFunctionMemberAccess]
