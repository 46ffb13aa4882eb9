"""Theta(x1, x2) = J(x1) J(x2)^T,  J = df/dparams, in ways that cost differently.

Source: Novak, Sohl-Dickstein and Schoenholz 2022 (2206.08720), section 3.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ntkc.empirical.axes import Pairing, contract, from_full
from ntkc.empirical.structured import by_structure

Function = Callable[[Any], Any]
"""Parameters -> one array."""


class NtkImplementation(enum.IntEnum):
    """How an empirical NTK is computed; the numbers are the peer's.

    AUTO takes the one of the fewest floating-point operations after compilation, found once for each shape.
    """

    AUTO = 0
    JACOBIAN_CONTRACTION = 1
    NTK_VECTOR_PRODUCTS = 2
    STRUCTURED_DERIVATIVES = 3


def by_jacobians(f1: Function, f2: Function, params: Any, pairing: Pairing) -> Any:
    """J1 J2^T with both Jacobians in memory."""
    jacobian1, jacobian2 = jax.jacobian(f1)(params), jax.jacobian(f2)(params)
    parts = [contract(a, b, pairing) for a, b in zip(*map(jax.tree.leaves, (jacobian1, jacobian2)), strict=True)]
    return sum(parts[1:], parts[0])


def by_products(f1: Function, f2: Function, params: Any, pairing: Pairing) -> Any:
    """Columns J1 (J2^T e), one for each entry of f2: no Jacobian in memory."""
    output, pull = jax.vjp(f2, params)
    basis = jnp.eye(output.size, dtype=output.dtype).reshape(output.size, *output.shape)
    shape = jax.eval_shape(f1, params).shape

    def column(e: Any) -> Any:
        return jax.jvp(f1, (params,), pull(e))[1]

    full = jnp.moveaxis(jax.vmap(column)(basis), 0, -1)
    return from_full(full.reshape(*shape, *output.shape), shape, pairing)


IMPLEMENTATIONS = {
    NtkImplementation.JACOBIAN_CONTRACTION: by_jacobians,
    NtkImplementation.NTK_VECTOR_PRODUCTS: by_products,
    NtkImplementation.STRUCTURED_DERIVATIVES: by_structure,
}


def cheapest(
    kernel: Callable[..., Any], arguments: Any, keywords: Any, found: dict[Any, NtkImplementation]
) -> NtkImplementation:
    """The implementation of the fewest operations for arguments of these types, kept in `found`."""
    types = jax.tree.map(lambda v: jax.ShapeDtypeStruct(jnp.shape(v), jnp.result_type(v)), arguments)
    key = str(types), str(jax.tree.map(lambda v: jnp.shape(v) if hasattr(v, "shape") else v, keywords))
    if key not in found:
        costs = {i: _operations(jax.jit(partial(kernel, i)), types) for i in IMPLEMENTATIONS}
        found[key] = min(costs, key=lambda i: costs[i])
    return found[key]


def _operations(jitted: Any, types: Any) -> float:
    analysis = jitted.lower(*types).compile().cost_analysis()
    return float((analysis or {}).get("flops", 0.0))
