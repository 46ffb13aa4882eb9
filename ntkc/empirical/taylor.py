"""f(p)  ->  its Taylor polynomial at fixed parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ntkc.ir.exact import whole

Function = Callable[..., Any]


def linearize(f: Function, params: Any) -> Function:
    """f_lin(p, x) = f(params, x) + df/dp (p - params).

    Args:
        f: a function of a pytree of parameters, and of any other arguments.
        params: where to expand.

    Returns:
        A function with the arguments of f. Source: Lee et al. 2019 (1902.06720), eq. 5.
    """

    def linear(p: Any, *args: Any, **kwargs: Any) -> Any:
        value, slope = jax.jvp(lambda q: f(q, *args, **kwargs), (params,), (_difference(p, params),))
        return jax.tree.map(jnp.add, value, slope)

    return linear


def taylor_expand(f: Function, params: Any, degree: int) -> Function:
    """f_n(p, x) = sum_{k <= n} g^(k)(0) / k!,  g(t) = f(params + t (p - params), x).

    Degree 0 is f(params, x), degree 1 is `linearize`. Time and memory double with each degree.

    Raises:
        InvalidInput: a degree that is no whole number of at least 0.
    """
    degree = whole(degree, "degree", 0)

    def expanded(p: Any, *args: Any, **kwargs: Any) -> Any:
        step = _difference(p, params)

        def along(order: int, q: Any) -> Any:
            """The order-th derivative along the step, at q."""
            if order == 0:
                return f(q, *args, **kwargs)
            return jax.jvp(lambda r: along(order - 1, r), (q,), (step,))[1]

        terms = [jax.tree.map(lambda v, k=k: v / math.factorial(k), along(k, params)) for k in range(degree + 1)]
        return jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *terms)

    return expanded


def _difference(p: Any, params: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.subtract(a, b).astype(jnp.result_type(b)), p, params)
