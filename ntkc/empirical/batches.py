"""The kernel of two inputs by one implementation, sample by sample where these are independent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from ntkc.empirical.axes import Axes, Pairing, axes_of, paired
from ntkc.empirical.chunks import chunk_size, in_chunks
from ntkc.empirical.reals import as_pair, of_pairs
from ntkc.empirical.sides import Pair, Sides

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
class Arguments:
    """What f gets beside its parameters."""

    x: Any
    keywords: Mapping[str, Any]

    def samples(self, batch: Batch) -> list[Any]:
        """The arrays with a value for each sample, samples first."""
        leaves, axes, _ = self._batched(batch)
        return [jnp.moveaxis(v, a, 0) for v, a in zip(leaves, axes, strict=True) if a is not None]

    def of_sample(self, sample: list[Any], batch: Batch) -> Arguments:
        """A batch of one."""
        leaves, axes, structure = self._batched(batch)
        given = iter(sample)
        lifted = [v if a is None else jnp.expand_dims(next(given), a) for v, a in zip(leaves, axes, strict=True)]
        x, keywords = jax.tree.unflatten(structure, lifted)
        return Arguments(x, {**self.keywords, **keywords})

    def _batched(self, batch: Batch) -> tuple[list[Any], list[int | None], Any]:
        """Leaves of x and of the keywords that hold one value for each sample, and their axes."""
        tree = self.x, {name: self.keywords[name] for name in batch.keywords}
        leaves, structure = jax.tree.flatten(tree)
        return leaves, leaf_axes((batch.x, dict(batch.keywords)), tree), structure


@dataclass(frozen=True)
class Ntk:
    """The kernel of two inputs, or of one with itself, for each array that f returns."""

    f: Apply
    implementation: Callable[[Pair], Sides]
    trace_axes: Axes
    diagonal_axes: Axes
    batch: Batch

    def __call__(self, params: Any, one: Arguments, two: Arguments) -> Any:
        types1, types2 = (jax.eval_shape(lambda p, v=v: self.f(p, v.x, **v.keywords), params) for v in (one, two))
        leaves, structure = jax.tree.flatten(types1)
        axes = leaf_axes(self.batch.output, types1)
        kernels = [
            self._kernel(i, a, paired(a.shape, b.shape, self.trace_axes, self.diagonal_axes), axis, params, one, two)
            for i, (a, b, axis) in enumerate(zip(leaves, jax.tree.leaves(types2), axes, strict=True))
        ]
        return jax.tree.unflatten(structure, kernels)

    def _kernel(
        self, i: int, output: Any, pairing: Pairing, axis: int | None, params: Any, one: Arguments, two: Arguments
    ) -> Any:
        """J J^H of the i-th output array, a complex one as pairs of real numbers on a last axis."""
        if not jnp.issubdtype(output.dtype, jnp.complexfloating):
            return self._leaf(i, pairing, axis, params, one, two)
        pairs = replace(self, f=lambda p, x, **kw: jax.tree.map(as_pair, self.f(p, x, **kw)))
        places = axis if axis is None else axes_of(axis, pairing.ndim, "vmap_axes")[0]
        wider = replace(pairing, ndim=pairing.ndim + 1)
        return of_pairs(pairs._leaf(i, wider, places, params, one, two))

    def _leaf(self, i: int, pairing: Pairing, axis: int | None, params: Any, one: Arguments, two: Arguments) -> Any:
        """The kernel of the i-th output array."""
        if axis is None:
            sides = self.implementation(Pair(self._output(i, one), self._output(i, two), params, [], []))
            left = sides.left([])
            return sides.product(left, left if two is one else sides.right([]), pairing)
        (axis,) = axes_of(axis, pairing.ndim, "vmap_axes")
        samples1, samples2 = (v.samples(self.batch) for v in (one, two))
        f1, f2 = (self._of_sample(i, axis, v) for v in (one, two))
        sides = self.implementation(Pair(f1, f2, params, _one_of(samples1), _one_of(samples2)))
        stacked = pairing.stacked(axis)
        if pairing.count(axis) < 2:
            kernel = _of_equal_samples(sides, stacked, samples1, samples1 if two is one else samples2, two is one)
            return jnp.moveaxis(kernel, 0, pairing.place(axis)) if pairing.count(axis) else kernel
        kernel = _of_all_pairs(sides, stacked, samples1, None if two is one else samples2)
        return jnp.moveaxis(kernel, (0, 1), (pairing.place(axis), pairing.place(axis) + 1))

    def _output(self, i: int, given: Arguments) -> Callable[[Any, Any], Any]:
        return lambda params, _: jax.tree.leaves(self.f(params, given.x, **given.keywords))[i]

    def _of_sample(self, i: int, axis: int, given: Arguments) -> Callable[[Any, Any], Any]:
        """Parameters and the arrays of a sample -> its output."""

        def output(params: Any, sample: Any) -> Any:
            return jnp.squeeze(self._output(i, given.of_sample(sample, self.batch))(params, ()), axis)

        return output


def _of_all_pairs(sides: Sides, pairing: Pairing, samples1: Any, samples2: Any) -> Any:
    """[n1, n2, ...]: all that x1 needs is kept, what x2 needs is made for some samples at a time; None is x1."""
    kept = _bytes(jax.eval_shape(jax.vmap(sides.left), samples1))
    size = chunk_size(sides.left, (_one_of(samples1),), _count(samples1), kept)
    left = in_chunks(jax.vmap(sides.left), samples1, size)
    given, right = (left, _itself) if samples2 is None else (samples2, sides.right)

    def columns(some: Any) -> Any:
        return jnp.moveaxis(sides.product(left, jax.vmap(right)(some), pairing), 1, 0)

    def of_one(kept: Any, sample: Any) -> Any:
        return sides.product(kept, jax.tree.map(_as_batch, right(sample)), pairing)

    size = chunk_size(of_one, (_types(left), _one_of(given)), _count(given), kept)
    return jnp.moveaxis(in_chunks(columns, given, size), 0, 1)


def _of_equal_samples(sides: Sides, pairing: Pairing, samples1: Any, samples2: Any, is_same: bool) -> Any:
    """[n, ...], or the mean over samples where these are traced."""

    def kernel(one: Any, two: Any) -> Any:
        left = jax.vmap(sides.left)(one)
        return sides.product(left, left if is_same else jax.vmap(sides.right)(two), pairing)

    def part(some: Any) -> Any:
        return kernel(*some) if pairing.count(0) else kernel(*some)[None] * _count(some)

    def of_one(one: Any) -> Any:
        return part(jax.tree.map(_as_batch, one))

    samples = samples1, samples2
    size = chunk_size(of_one, (_one_of(samples),), _count(samples), 0)
    kernels = in_chunks(part, samples, size)
    return kernels if pairing.count(0) else kernels.sum(0) / _count(samples)


def leaf_axes(axes: Any, tree: Any) -> list[int | None]:
    """An axis, or None, for every leaf of a tree; `axes` is a prefix of it, as in jax.vmap."""
    found: list[int | None] = []

    def add(axis: int | None, part: Any) -> None:
        found.extend([axis] * len(jax.tree.leaves(part)))

    jax.tree.map(add, axes, tree, is_leaf=lambda a: a is None)
    return found


def _types(tree: Any) -> Any:
    return jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype), tree)


def _one_of(stacked: Any) -> Any:
    """The types of one sample."""
    return jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape[1:], v.dtype), stacked)


def _bytes(tree: Any) -> int:
    return sum(v.size * v.dtype.itemsize for v in jax.tree.leaves(tree))


def _count(stacked: Any) -> int:
    """How many samples."""
    return jax.tree.leaves(stacked)[0].shape[0]


def _as_batch(v: Any) -> Any:
    return v[None]


def _itself(v: Any) -> Any:
    return v
