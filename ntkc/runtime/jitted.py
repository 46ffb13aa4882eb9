"""Functions of data and hyper-parameters, jitted."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import jax


class Jitted:
    """A function jitted with all hyper-parameters as one argument: jit would take one called x1 for the data."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.jitted: Any = jax.jit(function)
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        self.__signature__ = signature(self.arguments)

    def arguments(self, *given: Any, **named: Any) -> tuple[Any, ...]:
        """Those of the jitted function."""
        return (*given, named)

    def __call__(self, /, *given: Any, **named: Any) -> Any:
        return self.jitted(*self.arguments(*given, **named))

    def lower(self, /, *given: Any, **named: Any) -> Any:
        """What jax.jit's `lower` gives."""
        return self.jitted.lower(*self.arguments(*given, **named))

    def clear_cache(self) -> None:
        """Forget what was compiled."""
        self.jitted.clear_cache()


class OfPairs(Jitted):
    """f(x1, x2=None, pattern=(pattern1, pattern2), **parameters)."""

    def arguments(
        self, /, x1: Any, x2: Any = None, *, pattern: Any = (None, None), **parameters: Any
    ) -> tuple[Any, ...]:
        """(x1, x2, pattern, parameters)."""
        return x1, x2, pattern, parameters


class OfSamples(Jitted):
    """f(x, pattern=None, **parameters)."""

    def arguments(self, x: Any, /, *, pattern: Any = None, **parameters: Any) -> tuple[Any, ...]:
        """(x, pattern, parameters)."""
        return x, pattern, parameters


class OfKernels(Jitted):
    """f(nngp, ntk, variance1, variance2, same, **parameters)."""
