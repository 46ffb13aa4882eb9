"""A network on top of Kernels that other networks made  ->  the Kernels of its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp

from ntkc.ir.layout import Layout
from ntkc.ir.value import Law
from ntkc.kernel import Kernel
from ntkc.layers.inputs import Port
from ntkc.networks.outputs import Output, Source, flat, on_each, outputs_on_kernels
from ntkc.networks.tree import Spot, Tree, moved, picked


def onward(tree: Tree, kernels: Any, parameters: Mapping[str, Any]) -> Any:
    """The Kernel of each output of a network, from the Kernels of its inputs, nested as the outputs are.

    Kernels do not say how they are correlated: they are taken as independent, but one that stands at several places is
    one tensor.
    """
    found = list({id(k): k for k in flat(kernels)}.values())
    layouts = [_layout(k) for k in found]
    plain = [_plain(*pair) for pair in zip(found, layouts, strict=True)]
    plain = [_with_mask(k) for k in plain] if any(k.mask1 is not None or k.mask2 is not None for k in plain) else plain
    sources = [Source(i, _port(k), layout) for i, (k, layout) in enumerate(zip(plain, layouts, strict=True))]
    numbers = {id(k): i for i, k in enumerate(found)}
    outputs = outputs_on_kernels(tree, _nested(kernels, sources, numbers), any(k.diagonal_spatial for k in plain))
    spots = tree.place(
        _nested(kernels, [Spot(_shape(k), layout) for k, layout in zip(plain, layouts, strict=True)], numbers)
    )
    made: dict[int, Kernel] = {}

    def after(output: Output, spot: Spot) -> Kernel:
        if id(output) not in made:
            made[id(output)] = in_layout(_after(output, plain, parameters), spot.layout)
        return made[id(output)]

    return on_each(after, outputs, spots)


def _nested(kernels: Any, values: list[Any], numbers: Mapping[int, int]) -> Any:
    """A value in the place of each Kernel; tuples, which are hashable, in the place of lists."""
    if isinstance(kernels, (list, tuple)):
        return tuple(_nested(part, values, numbers) for part in kernels)
    return values[numbers[id(kernels)]]


def _layout(kernel: Kernel) -> Layout:
    return Layout(kernel.batch_axis, kernel.channel_axis, len(_spatial(kernel)) + 2)


def _spatial(kernel: Kernel) -> tuple[int, ...]:
    return tuple(kernel.nngp.shape[2:]) if kernel.diagonal_spatial else tuple(kernel.nngp.shape[2::2])


def _shape(kernel: Kernel) -> tuple[int | None, ...]:
    return (*_spatial(kernel), None if kernel.shape1 is None else kernel.shape1[-1])


def _port(kernel: Kernel) -> Port:
    law = Law.GAUSSIAN if kernel.is_gaussian else Law.GIVEN if kernel.is_input else Law.POINTWISE
    *spatial, width = _shape(kernel)
    return Port(
        law, kernel.ntk is not None, width, tuple(n for n in spatial if n is not None), kernel.mask1 is not None
    )


def _plain(kernel: Kernel, layout: Layout) -> Kernel:
    """The same with shapes and masks of arrays [samples, pixels ..., channels], and pixels in this order."""
    kernel = kernel.reverse() if kernel.is_reversed else kernel
    order = layout.order(layout.rank or 0)
    shapes = {n: s and picked(s, order) for n, s in (("shape1", kernel.shape1), ("shape2", kernel.shape2))}
    masks = {n: None if m is None else moved(m, order) for n, m in (("mask1", kernel.mask1), ("mask2", kernel.mask2))}
    return kernel.replace(**shapes, **masks)


def _with_mask(kernel: Kernel) -> Kernel:
    """The same with masks for every pixel of both sides, of which one may hide nothing."""
    count1, count2 = kernel.nngp.shape[:2]
    whole1, whole2 = ((n, *_spatial(kernel), 1) for n in (count1, count2))
    mask1 = jnp.broadcast_to(False if kernel.mask1 is None else kernel.mask1, whole1)
    if kernel.mask2 is None and kernel.cov2 is None:
        return kernel.replace(mask1=mask1)
    return kernel.replace(mask1=mask1, mask2=jnp.broadcast_to(False if kernel.mask2 is None else kernel.mask2, whole2))


def _after(output: Output, kernels: list[Kernel], parameters: Mapping[str, Any]) -> Kernel:
    read = [kernels[i] for i in output.reads]
    go_on = partial(output.program.onward, parameters=parameters)
    made = go_on([of_single_samples(k) for k in read])
    if any(k.diagonal_batch for k in read):
        return made
    cov1, cov2 = (go_on([_of_one_side(k, side) for k in read]).nngp for side in (1, 2))
    return made.replace(cov1=cov1, cov2=None if made.cov2 is None else cov2, diagonal_batch=False)


def of_single_samples(kernel: Kernel) -> Kernel:
    """The same with variances in the place of covariances of all pairs of samples."""
    if kernel.diagonal_batch:
        return kernel
    covs = {n: None if v is None else diagonal(v) for n, v in (("cov1", kernel.cov1), ("cov2", kernel.cov2))}
    return kernel.replace(**covs, diagonal_batch=True)


def diagonal(cov: Any) -> Any:
    """Variances of single samples, from covariances of all pairs."""
    return jnp.moveaxis(jnp.diagonal(cov, axis1=0, axis2=1), -1, 0)


def _of_one_side(kernel: Kernel, side: int) -> Kernel:
    """The kernel of one set with itself, from the covariances of all pairs of its samples."""
    is_first = side == 1 or kernel.cov2 is None
    cov, shape, mask = (getattr(kernel, f"{name}{1 if is_first else 2}") for name in ("cov", "shape", "mask"))
    own = {"nngp": cov, "ntk": None, "cov1": diagonal(cov), "cov2": None, "x1_is_x2": True, "diagonal_batch": True}
    return kernel.replace(**own, shape1=shape, shape2=shape, mask1=mask, mask2=None)


def in_layout(kernel: Kernel, layout: Layout) -> Kernel:
    """A Kernel of arrays [samples, pixels ..., channels], with the shapes, masks and axes that the user sees."""
    own = layout.on(len(kernel.shape1)) if kernel.shape1 else layout
    if own.is_plain(own.rank):
        return kernel
    places = own.places(own.rank or 0)
    shapes = {n: s and picked(s, places) for n, s in (("shape1", kernel.shape1), ("shape2", kernel.shape2))}
    masks = {n: None if m is None else moved(m, places) for n, m in (("mask1", kernel.mask1), ("mask2", kernel.mask2))}
    return kernel.replace(**shapes, **masks, batch_axis=own.samples, channel_axis=own.channels)
