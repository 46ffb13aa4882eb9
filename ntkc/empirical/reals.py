"""Complex weights as pairs of real ones, and weights that nothing differentiates, such as counters, left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Apply = Callable[..., Any]


def in_reals(f: Apply, params: Any) -> tuple[Apply, Any]:
    """f(params, x) as a function of its real weights alone, and these: w = (u + i v) / sqrt(2) is the pair (u, v).

    The sum of J J^H of u and v is then that of the complex derivative, x x^H for f = w x; where f is not holomorphic,
    it is the sum over both Wirtinger derivatives.
    """
    leaves, structure = jax.tree.flatten(params)
    if all(jnp.issubdtype(jnp.result_type(v), jnp.floating) for v in leaves):
        return f, params

    def of_reals(reals: Any, x: Any, **keywords: Any) -> Any:
        whole = [_whole(v, r) for v, r in zip(leaves, reals, strict=True)]
        return f(jax.tree.unflatten(structure, whole), x, **keywords)

    return of_reals, [_parts(v) for v in leaves]


def _parts(v: Any) -> tuple[Any, ...]:
    """w -> (w,),  (u + i v) / sqrt(2) -> (u, v),  whole numbers -> ()."""
    kind = jnp.result_type(v)
    if jnp.issubdtype(kind, jnp.floating):
        return (v,)
    root = 2**0.5
    return (root * jnp.real(v), root * jnp.imag(v)) if jnp.issubdtype(kind, jnp.complexfloating) else ()


def _whole(v: Any, parts: tuple[Any, ...]) -> Any:
    """The inverse; v itself where it has no parts."""
    if not parts:
        return v
    return parts[0] if len(parts) == 1 else (parts[0] + 1j * parts[1]) / 2**0.5


def as_pair(y: Any) -> Any:
    """u + i v -> [..., (u, v)]."""
    return jnp.stack([jnp.real(y), jnp.imag(y)], -1)


def of_pairs(kernel: Any) -> Any:
    """J J^H = (J_u + i J_v) (J_u - i J_v)^T  from the kernels [..., 2, 2] of the pairs (u, v) of outputs."""
    real = kernel[..., 0, 0] + kernel[..., 1, 1]
    return real + 1j * (kernel[..., 1, 0] - kernel[..., 0, 1])
