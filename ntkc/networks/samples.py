"""Layers over samples: what they do to Kernels, whose both sides they change by a map of each set of samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ntkc.errors import InvalidInput, NoKernel
from ntkc.ir.layout import Layout
from ntkc.kernel import Kernel, parts_of
from ntkc.networks.onward import diagonal
from ntkc.networks.requirements import requires, supports_masking
from ntkc.networks.triples import Triple

PAIRS = ("nngp", "ntk")


def index(idx: Any, layout: Layout) -> Triple:
    """f[idx]: K of the samples, and pixels, that are picked; channels and single samples have no kernel."""

    def init(rng: Any, shape: tuple[int, ...]) -> Any:
        known = tuple(1 if n < 0 else n for n in shape)
        made = list(jax.eval_shape(lambda x: x[idx], jax.ShapeDtypeStruct(known, float)).shape)
        return tuple(made), ()

    def apply(params: Any, x: Any, mask: Any = None, **_: Any) -> Any:
        return x[idx]

    def of_kernel(kernel: Kernel, **_: Any) -> Kernel:
        return kernel[idx]

    def of_mask(mask: Any, shape: Any) -> Any:
        parts = idx if mask.shape[layout.on(mask.ndim).channels or 0] > 1 else _without_channels(idx, mask.ndim, layout)
        return mask[parts]

    return _triple("Index", init, apply, of_kernel, of_mask)


def _without_channels(idx: Any, rank: int, layout: Layout) -> Any:
    """An index that keeps the one channel that a mask has."""
    parts = list(parts_of(idx, rank))
    channels = layout.on(rank).channels or 0
    parts[channels] = 0 if isinstance(parts[channels], int) else slice(None)
    return tuple(parts)


def concatenated() -> Triple:
    """Samples of branches one after another: K_i in its own block, 0 between blocks, of independent branches."""

    def init(rng: Any, shapes: Sequence[tuple[int, ...]]) -> Any:
        counts = [s[0] for s in shapes]
        return (-1 if min(counts) < 0 else sum(counts), *shapes[0][1:]), ()

    def apply(params: Any, xs: Sequence[Any], mask: Any = None, **_: Any) -> Any:
        return jnp.concatenate(xs, 0)

    def of_kernels(kernels: Sequence[Kernel], **_: Any) -> Kernel:
        if kernels[0].batch_axis != 0:
            raise NoKernel(f"FanInConcat(0) joins samples, which are on axis {kernels[0].batch_axis} of its branches")
        if any(not k.is_gaussian for k in kernels):
            raise NoKernel("FanInConcat(0) joins samples of branches that are Gaussian: end each in a Dense or Conv")
        first, samples = kernels[0], 1 if kernels[0].diagonal_batch else 2
        covs = {n: _blocks([getattr(k, n) for k in kernels], samples) for n in ("cov1", "cov2")}
        pairs = {n: _blocks([getattr(k, n) for k in kernels], 2) for n in PAIRS}
        counts = [sum(k.nngp.shape[side] for k in kernels) for side in (0, 1)]
        shapes = {
            n: s and (count, *s[1:])
            for n, s, count in (("shape1", first.shape1, counts[0]), ("shape2", first.shape2, counts[1]))
        }
        masks = {n: _joined([getattr(k, n) for k in kernels]) for n in ("mask1", "mask2")}
        return first.replace(**covs, **pairs, **shapes, **masks)

    return Triple("FanInConcat", init, apply, of_kernels, SAMPLES)


def _joined(masks: Sequence[Any]) -> Any:
    if all(m is None for m in masks):
        return None
    if any(m is None for m in masks):
        raise InvalidInput("FanInConcat(0) of branches of which some are masked: give masked data to all of them")
    return jnp.concatenate(masks, 0)


def _blocks(arrays: Sequence[Any], samples: int) -> Any:
    """[n, ...] one after another, or [n1, n2, ...] as blocks of a diagonal."""
    if any(a is None for a in arrays):
        return None
    if samples == 1:
        return jnp.concatenate(arrays, 0)
    columns = np.cumsum([0, *(a.shape[1] for a in arrays)])
    rows = [
        jnp.pad(a, [(0, 0), (int(start), int(columns[-1] - start - a.shape[1])), *[(0, 0)] * (a.ndim - 2)])
        for a, start in zip(arrays, columns[:-1], strict=True)
    ]
    return jnp.concatenate(rows, 0)


def normalised(axes: Sequence[int], eps: float, layout: Layout) -> Triple:
    """K -> K / sqrt((v1 + eps) (v2 + eps)), v the mean of the variances over the samples, and pixels, of each side."""

    def init(rng: Any, shape: Any) -> Any:
        return shape, ()

    def apply(params: Any, x: Any, **_: Any) -> Any:
        places = tuple(a % x.ndim for a in axes)
        mean, variance = jnp.mean(x, places, keepdims=True), jnp.var(x, places, keepdims=True)
        return (x - mean) / jnp.sqrt(eps + variance)

    def of_kernel(kernel: Kernel, **_: Any) -> Kernel:
        if not kernel.is_gaussian or kernel.mask1 is not None:
            raise NoKernel("LayerNorm over samples needs Gaussian data without masks: put a Dense or Conv before it")
        rank = len(kernel.shape1 or ())
        places = {a % rank for a in axes}
        if kernel.channel_axis not in places:
            raise NoKernel(f"LayerNorm{tuple(axes)} does not normalise over channels: its limit depends on the weights")
        order = Layout(kernel.batch_axis, kernel.channel_axis).order(rank)
        inside = tuple(order.index(a) for a in sorted(places) if a != kernel.channel_axis)
        kernel = kernel.reverse() if kernel.is_reversed else kernel
        v1 = _mean_variance(kernel, kernel.cov1, inside) + eps
        v2 = v1 if kernel.cov2 is None else _mean_variance(kernel, kernel.cov2, inside) + eps
        scaled = partial(_divided, is_diagonal=kernel.diagonal_spatial)
        single = 1 if kernel.diagonal_batch else 2
        return kernel.replace(
            nngp=scaled(kernel.nngp, v1, v2, 2),
            ntk=scaled(kernel.ntk, v1, v2, 2),
            cov1=scaled(kernel.cov1, v1, v1, single),
            cov2=scaled(kernel.cov2, v2, v2, single),
        )

    return Triple("LayerNorm", init, apply, of_kernel, SAMPLES)


def _mean_variance(kernel: Kernel, cov: Any, axes: Sequence[int]) -> Any:
    """Variances [1, pixels ...], averaged over axes of which 0 is that of the samples."""
    own = cov if kernel.diagonal_batch else diagonal(cov)
    count = own.ndim - 1 if kernel.diagonal_spatial else (own.ndim - 1) // 2
    for i in range(0 if kernel.diagonal_spatial else count):
        own = jnp.moveaxis(jnp.diagonal(own, axis1=1 + i, axis2=2 + i), -1, 1 + i)
    return jnp.mean(own, tuple(axes), keepdims=True)


def _divided(array: Any, v1: Any, v2: Any, samples: int, is_diagonal: bool) -> Any:
    """An array over the roots of what both sides are divided by, [1, pixels ...] each."""
    if array is None:
        return None
    sides: list[Any] = []
    for v, is_first in ((v1, True), (v2, False)):
        shape = [1] * samples
        for n in v.shape[1:]:
            shape += [n] if is_diagonal else [n, 1] if is_first else [1, n]
        sides.append(jnp.sqrt(v).reshape(shape))
    return array / (sides[0] * sides[1])


def product(array: Any, is_left: bool, numbers: Any) -> Triple:
    """lax.dot_general with a constant array that meets the samples: K -> A K A^T over them."""

    def dot(x: Any) -> Any:
        other = jnp.asarray(array, x.dtype)
        return lax.dot_general(*((other, x) if is_left else (x, other)), numbers, precision=lax.Precision.HIGHEST)

    def init(rng: Any, shape: tuple[int, ...]) -> Any:
        return jax.eval_shape(dot, jax.ShapeDtypeStruct(shape, jnp.float32)).shape, ()

    def apply(params: Any, x: Any, **_: Any) -> Any:
        return dot(x)

    @requires(diagonal_batch=False)
    def of_kernel(kernel: Kernel, **_: Any) -> Kernel:
        if kernel.mask1 is not None:
            raise NoKernel("DotGeneral over samples takes no masked data")
        other = jnp.asarray(array, kernel.nngp.dtype)
        made = kernel.dot_general(other, other, is_left, numbers)
        return made.replace(is_input=False) if kernel.is_gaussian or kernel.is_input else made

    return Triple("DotGeneral", init, apply, of_kernel, SAMPLES)


def resized(
    shape: Sequence[int], method: str, antialias: bool, matrix: Callable[[int], Any], rest: Any, layout: Layout
) -> Triple:
    """jax.image.resize of the samples, too: K -> A K A^T over them, and then over pixels, as `rest` has it."""
    size = shape[layout.on(len(shape)).samples]

    def whole(x_shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(n if s == -1 else s for n, s in zip(x_shape, shape, strict=True))

    def init(rng: Any, x_shape: tuple[int, ...]) -> Any:
        return whole(x_shape), ()

    def apply(params: Any, x: Any, **_: Any) -> Any:
        return jax.image.resize(x, whole(x.shape), method, antialias, lax.Precision.HIGHEST)

    @requires(diagonal_batch=False)
    def of_kernel(kernel: Kernel, **keywords: Any) -> Kernel:
        if kernel.mask1 is not None:
            raise NoKernel("ImageResize over samples takes no masked data")
        rows1, rows2 = (jnp.asarray(matrix(n), kernel.nngp.dtype) for n in kernel.nngp.shape[:2])
        arrays = {n: _both_sides(getattr(kernel, n), rows1, rows2) for n in PAIRS}
        covs = {"cov1": _both_sides(kernel.cov1, rows1, rows1), "cov2": _both_sides(kernel.cov2, rows2, rows2)}
        shapes = {
            n: s and tuple(size if a == kernel.batch_axis else w for a, w in enumerate(s))
            for n, s in (("shape1", kernel.shape1), ("shape2", kernel.shape2))
        }
        return rest(kernel.replace(**arrays, **covs, **shapes))

    return Triple("ImageResize", init, apply, of_kernel, SAMPLES)


def _both_sides(array: Any, rows1: Any, rows2: Any) -> Any:
    """A [n1, n2, ...] -> rows1 A rows2^T."""
    if array is None:
        return None
    return jnp.einsum("ai,ij...,bj->ab...", rows1, array, rows2, precision=lax.Precision.HIGHEST)


def _triple(name: str, init: Any, apply: Any, of_kernel: Any, of_mask: Any) -> Triple:
    """A layer on masked data, too."""
    made = supports_masking(remask_kernel=False)(lambda: (init, apply, of_kernel, of_mask))()
    return Triple(name, made[0], made[1], of_kernel, SAMPLES)


SAMPLES = (
    "{name} acts over samples, or on channels: its network has a finite form and a kernel_fn, but no program, source "
    "or LaTeX, which are of single samples and pairs of them. Call kernel_fn, or leave that axis as it is"
)
