"""Arrays as hyper-parameters: one number of numpy or JAX is that number, one that JAX traces an open hyper-parameter.

Dense(8, np.array(1.3))     ->  Dense(8, 1.3)
Dense(8, <traced by JAX>)   ->  Dense(8, __W_std__), and the traced value beside it
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import sympy as sp

from ntkc.errors import InvalidInput
from ntkc.ir.exact import as_number
from ntkc.ir.hyper import Parameter, holds_numbers


def is_traced(value: object) -> bool:
    """JAX does not know the number yet: inside grad, vmap or jit."""
    jax = sys.modules.get("jax")  # without JAX, nothing is traced
    return jax is not None and isinstance(value, jax.core.Tracer)


@dataclass
class Opened:
    """What opening the fields of a layer collects: values by the hyper-parameters in their place."""

    layer: str
    values: dict[Parameter, Any]

    def field(self, name: str, value: Any, is_open: bool) -> Any:
        """A field with numbers for arrays, and open hyper-parameters for what is traced."""
        if isinstance(value, tuple):
            return tuple(self.field(f"{name}_{i}", v, is_open) for i, v in enumerate(value))
        if not is_traced(value):
            return as_number(value)
        if not is_open or value.shape != () or value.dtype.kind not in "iuf":
            rule = (
                "one real number, without axes" if is_open else "known when the layer is made: mark it static for jit"
            )
            raise InvalidInput(
                f"{self.layer} {name} is traced by JAX as {value.dtype}{list(value.shape)}: it must be {rule}"
            )
        symbol = Parameter(f"__{name}__")
        self.values[symbol] = value
        return symbol


def opened_fields(op: Any) -> tuple[dict[str, Any], Mapping[Parameter, Any]]:
    """The fields of a layer that change, and traced values by the open hyper-parameters in their place.

    Raises:
        InvalidInput: what is traced is no single real number, or stands where none may be open.
    """
    opened = Opened(type(op).__name__, {})
    given = {f.name: getattr(op, f.name) for f in fields(op)}
    made = {name: opened.field(name, v, holds_numbers(type(op), name)) for name, v in given.items()}
    return {name: v for name, v in made.items() if v is not given[name]}, opened.values


def renamed(op: Any, names: Mapping[Parameter, Parameter]) -> Any:
    """The layer with other names for its hyper-parameters, without their values."""
    changed = {f.name: _renamed(getattr(op, f.name), names) for f in fields(op) if holds_numbers(type(op), f.name)}
    return replace(op, **changed)


def _renamed(value: Any, names: Mapping[Parameter, Parameter]) -> Any:
    if isinstance(value, tuple):
        return tuple(_renamed(v, names) for v in value)
    return value.xreplace(names) if isinstance(value, sp.Expr) else value
