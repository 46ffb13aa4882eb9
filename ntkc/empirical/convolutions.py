"""Convolutions in the one layout that XLA has fast code for on a CPU: [n, pixels, c] by [pixels, c, c'].

XLA brings others, such as derivatives of convolutions, to it, but not inside loops, where they take ten times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.extend import core

from ntkc.empirical.inlining import CALLS, bound


def in_one_layout(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same function of a tree of arrays, with transposes around its convolutions where their layout is another."""

    def g(given: Any) -> Any:
        closed, shapes = jax.make_jaxpr(f, return_shape=True)(given)
        made = _evaluated(closed.jaxpr, closed.consts, jax.tree.leaves(given))
        return jax.tree.unflatten(jax.tree.structure(shapes), made)

    return g


def _evaluated(jaxpr: core.Jaxpr, consts: Sequence[Any], given: Sequence[Any]) -> list[Any]:
    known: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *given), strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, core.Literal) else known[variable]

    for eqn in jaxpr.eqns:
        known.update(zip(eqn.outvars, _equation(eqn, [read(v) for v in eqn.invars]), strict=True))
    return [read(v) for v in jaxpr.outvars]


def _equation(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    if eqn.primitive.name in CALLS and isinstance(eqn.params.get("jaxpr"), core.ClosedJaxpr):
        return _evaluated(eqn.params["jaxpr"].jaxpr, eqn.params["jaxpr"].consts, operands)
    return [_convolution(eqn, *operands)] if eqn.primitive.name == "conv_general_dilated" else bound(eqn, operands)


def _convolution(eqn: Any, x: Any, w: Any) -> Any:
    numbers: lax.ConvDimensionNumbers = eqn.params["dimension_numbers"]
    (n, c, *pixels), (column, row, *window) = numbers.lhs_spec, numbers.rhs_spec
    ndim = x.ndim
    image, kernel = (0, ndim - 1, *range(1, ndim - 1)), (ndim - 1, ndim - 2, *range(ndim - 2))
    plain = lax.ConvDimensionNumbers(image, kernel, image)
    x, w = lax.transpose(x, (n, *pixels, c)), lax.transpose(w, (*window, row, column))
    (y,) = bound(eqn.replace(params={**eqn.params, "dimension_numbers": plain}), [x, w])
    order = (numbers.out_spec[0], *numbers.out_spec[2:], numbers.out_spec[1])
    return lax.transpose(y, sorted(range(ndim), key=order.__getitem__))
