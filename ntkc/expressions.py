"""Expressions  ->  Python functions of arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import sympy as sp
from jax import lax

from ntkc import runtime
from ntkc.backends.expression import jax_text


def function_of(expr: sp.Expr, arguments: Sequence[sp.Symbol]) -> Callable[..., Any]:
    """A Python function of arrays: the expression, over jax.numpy and ntkc.runtime."""
    places = {s: f"v{i}" for i, s in enumerate(arguments)}
    text = f"function = lambda {', '.join(places.values())}: {jax_text(expr, places.__getitem__)}"
    names: dict[str, Any] = {**vars(runtime), "jax": jax, "jnp": jnp, "lax": lax, "pi": math.pi}
    exec(compile(text, "<ntkc elementwise>", "exec"), names)
    return names["function"]
