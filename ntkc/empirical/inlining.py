"""Calls that read weights  ->  their equations, in one flat jaxpr."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend import core

from ntkc.empirical.views import RULES

CALLS = ("pjit", "jit", "closed_call", "core_call", "checkpoint", "remat2")
"""Calls whose body is read as if it stood in their place."""


@dataclass(frozen=True, eq=False)
class _Bound:
    """A value, and whether it may be a view of a weight."""

    value: Any
    is_weight: bool = False


def flattened(closed: core.ClosedJaxpr, are_weights: Sequence[bool]) -> core.ClosedJaxpr:
    """The same function without calls that get weights; which of its arguments are weights is given."""

    def whole(*values: Any) -> list[Any]:
        given = [_Bound(v, is_weight) for v, is_weight in zip(values, are_weights, strict=True)]
        return [v.value for v in _inlined(closed.jaxpr, closed.consts, given)]

    types = [jax.ShapeDtypeStruct(a.shape, a.dtype, weak_type=a.weak_type) for a in closed.in_avals]
    return jax.make_jaxpr(whole)(*types)


def bound(eqn: Any, given: Sequence[Any]) -> list[Any]:
    """The results of one equation."""
    made = eqn.primitive.bind(*given, **eqn.primitive.get_bind_params(eqn.params))
    return list(made) if eqn.primitive.multiple_results else [made]


def _inlined(jaxpr: core.Jaxpr, consts: Sequence[Any], given: Sequence[_Bound]) -> list[_Bound]:
    known: dict[Any, _Bound] = dict(zip(jaxpr.constvars, map(_Bound, consts), strict=True))
    known.update(zip(jaxpr.invars, given, strict=True))

    def read(variable: Any) -> _Bound:
        return _Bound(variable.val) if isinstance(variable, core.Literal) else known[variable]

    for eqn in jaxpr.eqns:
        known.update(zip(eqn.outvars, _equation(eqn, [read(v) for v in eqn.invars]), strict=True))
    return [read(v) for v in jaxpr.outvars]


def _equation(eqn: Any, operands: Sequence[_Bound]) -> list[_Bound]:
    name = eqn.primitive.name
    if name in CALLS and "jaxpr" in eqn.params and any(v.is_weight for v in operands):
        body = eqn.params["jaxpr"]
        is_closed = isinstance(body, core.ClosedJaxpr)
        return _inlined(body.jaxpr, body.consts, operands) if is_closed else _inlined(body, (), operands)
    is_weight = name in RULES and operands[0].is_weight
    return [_Bound(v, is_weight) for v in bound(eqn, [v.value for v in operands])]
