"""What finite layers compute with: expressions on arrays, JAX itself, random numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import sympy as sp
from jax import lax, random

from ntkc.errors import InvalidInput
from ntkc.expressions import function_of
from ntkc.gaussian.series import stable
from ntkc.ir.exact import exact
from ntkc.ir.op import Scalar


@dataclass(frozen=True)
class Arrays:
    """What finite layers compute with: expressions on arrays, JAX, and a key for random layers.

    `there` [samples, pixels ...]: 1 for pixels of the operand that are there, 0 for masked ones; None: all are.
    `values` has what JAX traces in the place of hyper-parameters.
    """

    rng: Any = None
    pattern: Any = None
    there: Any = None
    values: Mapping[sp.Symbol, Any] = field(default_factory=dict[sp.Symbol, Any])
    jnp: Any = jnp
    lax: Any = lax

    def __call__(self, expr: sp.Expr, arrays: dict[sp.Symbol, Any]) -> Any:
        function = _array_function(expr, (*arrays, *self.values))
        values = [jnp.asarray(v) for v in arrays.values()]
        first = values[0]
        values += [jnp.asarray(v, first.dtype) for v in self.values.values()]
        return jnp.broadcast_to(jnp.asarray(function(*values), first.dtype), first.shape)

    def number(self, value: Scalar, name: str) -> Any:
        """The number that a finite network needs in the place of a hyper-parameter.

        Raises:
            InvalidInput: it is a symbol.
        """
        number = exact(value, name)
        if not number.free_symbols:
            return float(number)
        if not number.free_symbols <= self.values.keys():
            raise InvalidInput(f"{name} = {value}: a finite network needs numbers; a symbol serves the kernel only")
        return _array_function(number, tuple(self.values))(*self.values.values())

    def kept(self, x: Any, rate: Any) -> Any:
        """Entries kept with probability `rate` and divided by it; the others are 0."""
        if self.rng is None:
            raise InvalidInput("Dropout draws random numbers: give apply_fn a key, rng=jax.random.PRNGKey(0)")
        return jnp.where(random.bernoulli(self.rng, rate, x.shape), x / rate, 0)


@lru_cache(maxsize=1024)
def _array_function(expr: sp.Expr, symbols: tuple[sp.Symbol, ...]) -> Callable[..., Any]:
    return function_of(stable(expr), symbols)
