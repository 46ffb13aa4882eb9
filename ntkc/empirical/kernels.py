"""Empirical kernels of a finite network f(params, x), with the peer's signatures and shapes."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import random

from ntkc.data import are_one_set
from ntkc.empirical.axes import Axes, contract, paired
from ntkc.empirical.batches import Apply, Arguments, Batch, Ntk, VmapAxes
from ntkc.empirical.choice import fastest, memory_of
from ntkc.empirical.implementations import IMPLEMENTATIONS, NtkImplementation
from ntkc.empirical.reals import in_reals
from ntkc.errors import unknown

KERNELS = ("nngp", "ntk")


def empirical_nngp_fn(f: Apply, trace_axes: Axes = (-1,), diagonal_axes: Axes = ()) -> Callable[..., Any]:
    """nngp_fn(x1, x2, params):  f(x1) f(x2)^T, averaged over `trace_axes`.

    Outputs [n, ..., c] make a kernel [n1, n2, ...]: every axis that is neither traced nor diagonal stands twice, side
    by side, a diagonal one once. x2=None is x1, and so are x1 itself and arrays of equal values.
    Further keywords go to f: a pair of values is one for each input, and `rng` is split for the two. Pytrees of outputs
    make pytrees of kernels.

    Raises:
        InvalidInput: axes that the outputs lack. ShapeMismatch: outputs that differ in a traced or diagonal axis.
    """

    def nngp_fn(x1: Any, x2: Any, params: Any, **kwargs: Any) -> Any:
        x2 = None if are_one_set(x1, x2) else x2
        keywords1, keywords2 = split_keywords(kwargs, x2 is not None)
        first = f(params, x1, **keywords1)
        second = first if x2 is None and keywords1 is keywords2 else f(params, x1 if x2 is None else x2, **keywords2)

        def leaf(a: Any, b: Any) -> Any:
            return contract(a, jnp.conj(b), paired(a.shape, b.shape, trace_axes, diagonal_axes))

        return jax.tree.map(leaf, first, second)

    return nngp_fn


def empirical_ntk_fn(
    f: Apply,
    trace_axes: Axes = (-1,),
    diagonal_axes: Axes = (),
    vmap_axes: VmapAxes = None,
    implementation: int = NtkImplementation.JACOBIAN_CONTRACTION,
) -> Callable[..., Any]:
    """ntk_fn(x1, x2, params):  (df/dparams)(x1) (df/dparams)(x2)^T, averaged over `trace_axes`.

    Args:
        f: f(params, x, **keywords) -> array or pytree of arrays.
        trace_axes, diagonal_axes: of the output, as in `empirical_nngp_fn`. The average over the last axis tends to
            the NTK of wide networks; trace_axes=() keeps all.
        vmap_axes: the batch axis of x and f(x), if samples do not see each other (no batch normalisation); far
            cheaper. Or (axes of x, axes of f(x), {keyword: axes}).
        implementation: a NtkImplementation, or its number.

    Shapes, keywords and errors as in `empirical_nngp_fn`.
    """
    if implementation not in list(NtkImplementation):
        raise unknown("implementation", implementation, [f"{i.name} = {i.value}" for i in NtkImplementation])
    chosen = NtkImplementation(implementation)
    batch = Batch.of(vmap_axes)
    found = memory_of(f, (trace_axes, diagonal_axes, vmap_axes))

    def kernel(way: NtkImplementation, x1: Any, x2: Any, params: Any, keywords: Mapping[str, Any]) -> Any:
        keywords1, keywords2 = split_keywords(keywords, x2 is not None)
        one = Arguments(x1, keywords1)
        two = one if x2 is None and keywords2 is keywords1 else Arguments(x1 if x2 is None else x2, keywords2)
        function, reals = in_reals(f, params)
        return Ntk(function, IMPLEMENTATIONS[way], trace_axes, diagonal_axes, batch)(reals, one, two)

    def ntk_fn(x1: Any, x2: Any, params: Any, **kwargs: Any) -> Any:
        x2 = None if are_one_set(x1, x2) else x2
        arguments = x1, x2, params, kwargs
        way = chosen if chosen is not NtkImplementation.AUTO else fastest(kernel, arguments, found)
        return kernel(way, *arguments)

    return ntk_fn


def empirical_kernel_fn(
    f: Apply,
    trace_axes: Axes = (-1,),
    diagonal_axes: Axes = (),
    vmap_axes: VmapAxes = None,
    implementation: int = NtkImplementation.JACOBIAN_CONTRACTION,
) -> Callable[..., Any]:
    """kernel_fn(x1, x2, get, params):  `get` is "nngp" or "ntk", or a tuple of them (None: both) for a named tuple.

    Arguments as in `empirical_ntk_fn`.
    """
    functions = {
        "nngp": empirical_nngp_fn(f, trace_axes, diagonal_axes),
        "ntk": empirical_ntk_fn(f, trace_axes, diagonal_axes, vmap_axes, implementation),
    }

    def kernel_fn(x1: Any, x2: Any, get: str | Iterable[str] | None, params: Any, **kwargs: Any) -> Any:
        names = KERNELS if get is None else (get,) if isinstance(get, str) else tuple(get)
        for name in names:
            if name not in functions:
                raise unknown("kernel", name, KERNELS)
        kernels = [functions[name](x1, x2, params, **kwargs) for name in names]
        if isinstance(get, str):
            return kernels[0]
        return namedtuple("EmpiricalKernel", names)(*kernels)  # pyright: ignore[reportUntypedNamedTuple]

    return kernel_fn


def empirical_ntk_vp_fn(f: Apply, x1: Any, x2: Any, params: Any, **kwargs: Any) -> Callable[[Any], Any]:
    """v -> Theta(x1, x2) v,  v of the shape of f(params, x2): no kernel in memory.

    The result has the shape of f(params, x1).
    """
    x2 = None if are_one_set(x1, x2) else x2
    keywords1, keywords2 = split_keywords(kwargs, x2 is not None)

    def product(v: Any) -> Any:
        _, pull = jax.vjp(lambda p: f(p, x1 if x2 is None else x2, **keywords2), params)
        return jax.jvp(lambda p: f(p, x1, **keywords1), (params,), pull(v))[1]

    return product


def split_keywords(kwargs: Mapping[str, Any], are_two: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords of f for x1 and for x2: `rng` is split, a pair is one for each, all else is for both.

    One dictionary if none differ.
    """
    first, second = dict(kwargs), dict(kwargs)
    for name, value in kwargs.items():
        if name == "rng" and value is not None and are_two:
            first[name], second[name] = random.split(value)
        elif isinstance(value, tuple) and len(value) == 2:
            first[name], second[name] = value
    is_same = all(second[name] is value for name, value in first.items())
    return first, first if is_same else second
