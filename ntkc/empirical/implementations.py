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
from ntkc.empirical.sides import Function, Pair, Sides
from ntkc.empirical.structured import by_structure


class NtkImplementation(enum.IntEnum):
    """How an empirical NTK is computed; the numbers are the peer's.

    AUTO compiles and times all of them on this device and takes the fastest, or the one of the least memory if times
    are within 10 %; those that do not fit in free memory or cannot differentiate f are left out. The choice is
    remembered for f, the axes, and the shapes and dtypes of the arguments, as long as f lives: the first call costs
    three compilations and a few calls of each. Inside `jax.jit`, where values are not known, random numbers stand in.
    """

    AUTO = 0
    JACOBIAN_CONTRACTION = 1
    NTK_VECTOR_PRODUCTS = 2
    STRUCTURED_DERIVATIVES = 3


def by_jacobians(pair: Pair) -> Sides:
    """J1 J2^T with the Jacobians of all x1 in memory."""

    ranks = [jnp.ndim(w) for w in jax.tree.leaves(pair.params)]

    def jacobians(f: Function, sample: Any) -> list[Any]:
        found = jax.tree.leaves(jax.jacobian(f)(pair.params, sample))
        return [_as_made(j, ndim) for j, ndim in zip(found, ranks, strict=True)]

    def product(left: Any, right: Any, pairing: Pairing) -> Any:
        parts = [contract(a, b, pairing) for a, b in zip(left, right, strict=True)]
        return sum(parts[1:], parts[0])

    return Sides(partial(jacobians, pair.f1), partial(jacobians, pair.f2), product)


def _as_made(jacobian: Any, ndim: int) -> Any:
    """That of a matrix transposed: of x W, JAX transposes dF/dy x^T, and XLA would copy it for a product."""
    return jnp.swapaxes(jacobian, -1, -2) if ndim == 2 else jacobian


def by_products(pair: Pair) -> Sides:
    """Columns J1 (J2^T e), one for each entry of f2: no Jacobian in memory."""

    def kernel(sample1: Any, sample2: Any, pairing: Pairing) -> Any:
        output, pull = jax.vjp(lambda p: pair.f2(p, sample2), pair.params)
        basis = jnp.eye(output.size, dtype=output.dtype).reshape(output.size, *output.shape)
        shape = jax.eval_shape(pair.f1, pair.params, sample1).shape

        def column(e: Any) -> Any:
            return along(lambda p: pair.f1(p, sample1), pair.params, pull(e)[0])

        full = jnp.moveaxis(jax.vmap(column)(basis), 0, -1)
        return from_full(full.reshape(*shape, *output.shape), shape, pairing)

    def product(left: Any, right: Any, pairing: Pairing) -> Any:
        if not pairing.of_samples:
            return kernel(left, right, pairing)
        inner = pairing.without(0)
        if pairing.count(0) == 2:
            rows = jax.vmap(lambda a, b: kernel(a, b, inner), (None, 0))
            return jax.vmap(rows, (0, None))(left, right)
        kernels = jax.vmap(lambda a, b: kernel(a, b, inner))(left, right)
        return kernels if pairing.count(0) else jnp.mean(kernels, 0)

    return Sides(_itself, _itself, product)


def along(f: Callable[[Any], Any], params: Any, tangent: Any) -> Any:
    """J v; by transposing v -> J^T v where f has a derivative of its own backwards only."""
    try:
        return jax.jvp(f, (params,), (tangent,))[1]
    except TypeError as error:
        if "custom_vjp" not in str(error):
            raise
    output, pull = jax.vjp(f, params)
    return jax.linear_transpose(lambda v: pull(v)[0], output)(tangent)[0]


def _itself(sample: Any) -> Any:
    return sample


IMPLEMENTATIONS: dict[NtkImplementation, Callable[[Pair], Sides]] = {
    NtkImplementation.JACOBIAN_CONTRACTION: by_jacobians,
    NtkImplementation.NTK_VECTOR_PRODUCTS: by_products,
    NtkImplementation.STRUCTURED_DERIVATIVES: by_structure,
}
