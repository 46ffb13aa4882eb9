"""Empirical kernels of a finite network f(params, x), with the peer's signatures and shapes."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import random

from ntkc.empirical.axes import Axes, Pairing, axes_of, contract
from ntkc.empirical.implementations import IMPLEMENTATIONS, NtkImplementation, cheapest
from ntkc.errors import ShapeMismatch, unknown

KERNELS = ("nngp", "ntk")
Apply = Callable[..., Any]
VmapAxes = Any
"""None, one axis of samples for x and f(x), or (axes of x, axes of f(x), {keyword: axes}); pytrees of axes as well."""


@dataclass(frozen=True)
class Batch:
    """Axes along which samples are independent: of x, of f(x), and of keyword arguments by name."""

    x: Any
    output: Any
    keywords: Mapping[str, Any]

    @classmethod
    def of(cls, vmap_axes: VmapAxes) -> Batch:
        if isinstance(vmap_axes, tuple) and len(vmap_axes) == 3 and isinstance(vmap_axes[2], Mapping):
            return cls(*vmap_axes)
        return cls(vmap_axes, vmap_axes, {})


@dataclass(frozen=True, eq=False)
class Input:
    """What f gets beside its parameters."""

    x: Any
    keywords: Mapping[str, Any]

    def batched(self, batch: Batch) -> Any:
        """x and the keywords that hold one value for each sample."""
        return self.x, {name: self.keywords[name] for name in batch.keywords}


def empirical_nngp_fn(f: Apply, trace_axes: Axes = (-1,), diagonal_axes: Axes = ()) -> Callable[..., Any]:
    """nngp_fn(x1, x2, params):  f(x1) f(x2)^T, averaged over `trace_axes`.

    Outputs [n, ..., c] make a kernel [n1, n2, ...]: every axis that is neither traced nor diagonal stands twice, side
    by side, a diagonal one once. x2=None is x1. Further keywords go to f: a pair of values is one for each input, and
    `rng` is split for the two. Pytrees of outputs make pytrees of kernels.

    Raises:
        InvalidInput: axes that the outputs lack. ShapeMismatch: outputs that differ in a traced or diagonal axis.
    """

    def nngp_fn(x1: Any, x2: Any, params: Any, **kwargs: Any) -> Any:
        keywords1, keywords2 = split_keywords(kwargs, x2 is not None)
        first = f(params, x1, **keywords1)
        second = first if x2 is None and keywords1 is keywords2 else f(params, x1 if x2 is None else x2, **keywords2)

        def leaf(a: Any, b: Any) -> Any:
            return contract(a, b, paired(a.shape, b.shape, trace_axes, diagonal_axes))

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

    found: dict[Any, NtkImplementation] = {}

    def ntk_fn(x1: Any, x2: Any, params: Any, **kwargs: Any) -> Any:
        keywords1, keywords2 = split_keywords(kwargs, x2 is not None)
        second = x1 if x2 is None else x2

        def kernel(way: NtkImplementation, x: Any, y: Any, p: Any) -> Any:
            return _Ntk(f, way, trace_axes, diagonal_axes, batch)(p, Input(x, keywords1), Input(y, keywords2))

        way = chosen if chosen is not NtkImplementation.AUTO else cheapest(kernel, (x1, second, params), kwargs, found)
        return kernel(way, x1, second, params)

    return ntk_fn


@dataclass(frozen=True)
class _Ntk:
    """The kernel of two inputs by one implementation, sample by sample where `batch` says so."""

    f: Apply
    way: NtkImplementation
    trace_axes: Axes
    diagonal_axes: Axes
    batch: Batch

    def __call__(self, params: Any, one: Input, two: Input) -> Any:
        types1, types2 = (jax.eval_shape(lambda p, v=v: self.f(p, v.x, **v.keywords), params) for v in (one, two))
        leaves, structure = jax.tree.flatten(types1)
        axes = _leaf_axes(self.batch.output, types1)
        kernels = [
            self._leaf(i, paired(a.shape, b.shape, self.trace_axes, self.diagonal_axes), axis, params, one, two)
            for i, (a, b, axis) in enumerate(zip(leaves, jax.tree.leaves(types2), axes, strict=True))
        ]
        return jax.tree.unflatten(structure, kernels)

    def _leaf(self, i: int, pairing: Pairing, axis: int | None, params: Any, one: Input, two: Input) -> Any:
        """The kernel of the i-th output array."""
        if axis is None:
            return IMPLEMENTATIONS[self.way](self._output(i, one), self._output(i, two), params, pairing)
        (axis,) = axes_of(axis, pairing.ndim, "vmap_axes")

        def pair(*samples: Any) -> Any:
            outputs = [self._sample(i, axis, v, given) for v, given in zip(samples, (one, two), strict=True)]
            return IMPLEMENTATIONS[self.way](outputs[0], outputs[1], params, pairing.without(axis))

        samples = (one.batched(self.batch), two.batched(self.batch))
        along = self.batch.x, dict(self.batch.keywords)
        place = pairing.place(axis)
        if pairing.count(axis) < 2:
            kernels = jax.vmap(pair, (along, along), place if pairing.count(axis) else 0)(*samples)
            return kernels if pairing.count(axis) else jnp.mean(kernels, 0)
        rows = jax.vmap(pair, (None, along), place)
        return jax.vmap(rows, (along, None), place)(*samples)

    def _output(self, i: int, given: Input) -> Callable[[Any], Any]:
        return lambda params: jax.tree.leaves(self.f(params, given.x, **given.keywords))[i]

    def _sample(self, i: int, axis: int, sample: Any, given: Input) -> Callable[[Any], Any]:
        """Parameters -> output of one sample: f of a batch of one."""
        x, keywords = sample
        lifted = _lifted(x, self.batch.x)
        more = {k: _lifted(v, self.batch.keywords[k]) for k, v in keywords.items()}
        whole = self._output(i, Input(lifted, {**given.keywords, **more}))
        return lambda params: jnp.squeeze(whole(params), axis)


def _lifted(x: Any, axes: Any) -> Any:
    """Samples as batches of one, along the axes that hold samples."""
    leaves, structure = jax.tree.flatten(x)
    found = _leaf_axes(axes, x)
    lifted = [v if a is None else jnp.expand_dims(v, a) for v, a in zip(leaves, found, strict=True)]
    return jax.tree.unflatten(structure, lifted)


def _leaf_axes(axes: Any, tree: Any) -> list[int | None]:
    """An axis, or None, for every leaf of a tree; `axes` is a prefix of it, as in jax.vmap."""
    found: list[int | None] = []

    def add(axis: int | None, part: Any) -> None:
        found.extend([axis] * len(jax.tree.leaves(part)))

    jax.tree.map(add, axes, tree, is_leaf=lambda a: a is None)
    return found


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
    keywords1, keywords2 = split_keywords(kwargs, x2 is not None)

    def product(v: Any) -> Any:
        _, pull = jax.vjp(lambda p: f(p, x1 if x2 is None else x2, **keywords2), params)
        return jax.jvp(lambda p: f(p, x1, **keywords1), (params,), pull(v))[1]

    return product


def split_keywords(kwargs: Mapping[str, Any], are_two: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords of f for x1 and for x2: `rng` is split, a pair is one for each, all else is for both."""
    first, second = dict(kwargs), dict(kwargs)
    for name, value in kwargs.items():
        if name == "rng" and value is not None and are_two:
            first[name], second[name] = random.split(value)
        elif isinstance(value, tuple) and len(value) == 2:
            first[name], second[name] = value
    return first, second


def paired(shape1: Any, shape2: Any, trace_axes: Axes, diagonal_axes: Axes) -> Pairing:
    """The pairing of two outputs, if their shapes allow it."""
    if len(shape1) != len(shape2):
        raise ShapeMismatch(f"outputs of shapes {shape1} and {shape2}: both need the same number of axes")
    pairing = Pairing.of(len(shape1), trace_axes, diagonal_axes)
    for a in (*pairing.traced, *pairing.diagonal):
        if shape1[a] != shape2[a]:
            kind = "traced" if a in pairing.traced else "diagonal"
            raise ShapeMismatch(f"outputs of shapes {shape1} and {shape2}: axis {a} is {kind} and needs one size")
    return pairing
