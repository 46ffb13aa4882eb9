"""Calls and short scans that read weights  ->  their equations, in one flat jaxpr."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core

from ntkc.empirical.views import RULES

CALLS = ("pjit", "jit", "closed_call", "core_call", "checkpoint", "remat2")
"""Calls whose body is read as if it stood in their place."""
LONGEST_SCAN, LARGEST_SCAN = 64, 4096
"""Steps, and equations of all steps, of a scan that is unrolled."""


@dataclass(frozen=True, eq=False)
class _Known:
    """A value, and whether it may be a view of a weight."""

    value: Any
    is_weight: bool = False


def flattened(closed: core.ClosedJaxpr) -> core.ClosedJaxpr:
    """The same function, whose arguments are weights, without calls and short scans of them."""

    def whole(*values: Any) -> list[Any]:
        return [v.value for v in _inlined(closed.jaxpr, closed.consts, [_Known(v, True) for v in values])]

    types = [jax.ShapeDtypeStruct(a.shape, a.dtype, weak_type=a.weak_type) for a in closed.in_avals]
    return jax.make_jaxpr(whole)(*types)


def bound(eqn: Any, given: Sequence[Any]) -> list[Any]:
    """The results of one equation."""
    made = eqn.primitive.bind(*given, **eqn.primitive.get_bind_params(eqn.params))
    return list(made) if eqn.primitive.multiple_results else [made]


def _inlined(jaxpr: core.Jaxpr, consts: Sequence[Any], given: Sequence[_Known]) -> list[_Known]:
    known: dict[Any, _Known] = dict(zip(jaxpr.constvars, map(_Known, consts), strict=True))
    known.update(zip(jaxpr.invars, given, strict=True))

    def read(variable: Any) -> _Known:
        return _Known(variable.val) if isinstance(variable, core.Literal) else known[variable]

    for eqn in jaxpr.eqns:
        known.update(zip(eqn.outvars, _equation(eqn, [read(v) for v in eqn.invars]), strict=True))
    return [read(v) for v in jaxpr.outvars]


def _equation(eqn: Any, operands: Sequence[_Known]) -> list[_Known]:
    name = eqn.primitive.name
    reads_weights = any(v.is_weight for v in operands)
    if reads_weights and name in CALLS and "jaxpr" in eqn.params:
        return _inlined(*_body(eqn), operands)
    if reads_weights and name == "scan" and _is_short(eqn):
        return _unrolled(eqn, operands)
    is_weight = name in RULES and operands[0].is_weight
    return [_Known(v, is_weight) for v in bound(eqn, [v.value for v in operands])]


def _body(eqn: Any) -> tuple[Any, Sequence[Any]]:
    """The jaxpr of a call, and its constants."""
    body = eqn.params["jaxpr"]
    return (body.jaxpr, body.consts) if isinstance(body, core.ClosedJaxpr) else (body, ())


def _is_short(eqn: Any) -> bool:
    length = eqn.params["length"]
    return 0 < length <= LONGEST_SCAN and length * len(_body(eqn)[0].eqns) <= LARGEST_SCAN


def _unrolled(eqn: Any, operands: Sequence[_Known]) -> list[_Known]:
    """(constants, carry, xs) -> (carry, ys), step by step."""
    jaxpr, consts = _body(eqn)
    start, length = eqn.params["num_consts"], eqn.params["length"]
    end = start + eqn.params["num_carry"]
    fixed, carry, xs = operands[:start], list(operands[start:end]), operands[end:]
    steps = range(length)
    order = reversed(steps) if eqn.params["reverse"] else steps
    made: dict[int, list[_Known]] = {}
    for i in order:
        step = [_Known(lax.index_in_dim(x.value, i, 0, keepdims=False), x.is_weight) for x in xs]
        results = _inlined(jaxpr, consts, [*fixed, *carry, *step])
        carry, made[i] = results[: len(carry)], results[len(carry) :]
    columns = zip(*(made[i] for i in steps), strict=True)
    return [*carry, *(_Known(jnp.stack([y.value for y in column])) for column in columns)]
