"""Kernel: everything a kernel function knows of two sets of samples, with Neural Tangents' field names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ntkc.errors import InvalidInput, NoKernel

ARRAYS = ("nngp", "ntk", "cov1", "cov2", "mask1", "mask2")
"""Fields that hold arrays; all others are static."""


@dataclass(frozen=True)
class Kernel:
    """Covariances of the output of a network for samples x1 and x2, in the infinite-width limit.

    Attributes:
        nngp: [n1, n2] covariance across samples (Lee et al. 2018), or [n1, n2, h, h, w, w] of all pairs of pixels.
        ntk: [n1, n2] neural tangent kernel (Jacot et al. 2018); None if it was not asked for.
        cov1: [n1] variance of each sample of x1; cov2 [n2] that of x2, None if x1_is_x2.
        x1_is_x2: the two sets are one.
        is_gaussian: the output is Gaussian: a nonlinearity may follow.
        is_reversed: covariances have pixels in the opposite order, [n1, n2, w, w, h, h]; shapes and masks do not.
        is_input: the kernel of raw data.
        diagonal_batch: variances are those of each sample alone; otherwise cov1 is [n1, n1], cov2 [n2, n2].
        diagonal_spatial: of pixels, only pairs of equal ones are kept, [n1, n2, h, w].
        shape1, shape2: shapes of the outputs of a finite network.
        mask1, mask2: True where the output is masked, of shape1 and shape2 with one channel; None without masks.
    """

    nngp: Any
    ntk: Any
    cov1: Any
    cov2: Any = None
    x1_is_x2: Any = False
    is_gaussian: bool = True
    is_reversed: bool = False
    is_input: bool = False
    diagonal_batch: bool = True
    diagonal_spatial: bool = False
    shape1: tuple[int, ...] | None = None
    shape2: tuple[int, ...] | None = None
    batch_axis: int = 0
    channel_axis: int = 1
    mask1: Any = None
    mask2: Any = None

    def replace(self, **changes: Any) -> Kernel:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def asdict(self) -> dict[str, Any]:
        """Fields by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def astuple(self) -> tuple[Any, ...]:
        """Fields in order."""
        return tuple(self.asdict().values())

    def slice(self, rows: slice, columns: slice) -> Kernel:
        """The kernel of some samples of x1 and some of x2."""
        is_same = self.x1_is_x2 and rows == columns
        second = self.cov1 if self.cov2 is None else self.cov2
        masks = self.mask1, self.mask1 if self.cov2 is None else self.mask2
        cov1, cov2 = (v if self.diagonal_batch else v[:, s] for v, s in ((self.cov1, rows), (second, columns)))
        shapes = [
            None if s is None else tuple(n if a == self.batch_axis else w for a, w in enumerate(s))
            for s, n in ((self.shape1, len(cov1[rows])), (self.shape2, len(cov2[columns])))
        ]
        return self.replace(
            nngp=self.nngp[rows, columns],
            ntk=None if self.ntk is None else self.ntk[rows, columns],
            cov1=cov1[rows],
            cov2=None if is_same else cov2[columns],
            mask1=self._mask_of(masks[0], rows),
            mask2=None if is_same else self._mask_of(masks[1], columns),
            x1_is_x2=is_same,
            shape1=shapes[0],
            shape2=shapes[1],
        )

    def _mask_of(self, mask: Any, samples: slice) -> Any:
        return None if mask is None else mask[(slice(None),) * self.batch_axis + (samples,)]

    def reverse(self) -> Kernel:
        """The kernel with its spatial axes in the opposite order; shapes and masks stay."""
        turned = {name: self._permuted(name, tuple(range(self.pixel_axes))[::-1]) for name in ARRAYS[:4]}
        return self.replace(**turned, is_reversed=not self.is_reversed)

    def transpose(self, axes: Sequence[int] | None = None) -> Kernel:
        """The kernel with its spatial axes in another order, numbers from 0; None leaves them as they are."""
        count = self.pixel_axes
        order = tuple(range(count)) if axes is None else tuple(a % count for a in axes)
        if sorted(order) != list(range(count)):
            raise InvalidInput(f"transpose({axes}): each of the {count} spatial axes is needed once")
        inside = tuple(count - 1 - a for a in order[::-1]) if self.is_reversed else order
        arrays = {name: self._permuted(name, inside) for name in ARRAYS[:4]}
        pixels = [a for a in range(count + 2) if a not in (self.batch_axis, self.channel_axis)]
        axes_out = list(range(count + 2))
        for place, a in zip(pixels, order, strict=True):
            axes_out[place] = pixels[a]
        shapes = {n: s and tuple(s[a] for a in axes_out) for n, s in (("shape1", self.shape1), ("shape2", self.shape2))}
        masks = {n: None if m is None else jnp.transpose(m, axes_out) for n, m in self._masks}
        return self.replace(**arrays, **shapes, **masks)

    @property
    def _masks(self) -> tuple[tuple[str, Any], tuple[str, Any]]:
        return ("mask1", self.mask1), ("mask2", self.mask2)

    @property
    def pixel_axes(self) -> int:
        """Spatial axes of the output."""
        return (self.nngp.ndim - 2) // (1 if self.diagonal_spatial else 2)

    def _samples_of(self, name: str) -> int:
        """Leading axes of an array that are of samples."""
        return 1 if name in ("cov1", "cov2") and self.diagonal_batch else 2

    def _permuted(self, name: str, order: Sequence[int]) -> Any:
        """[samples ..., h, h, w, w] with pixels in another order."""
        array = getattr(self, name)
        if array is None:
            return None
        first, step = self._samples_of(name), 1 if self.diagonal_spatial else 2
        return jnp.transpose(array, (*range(first), *(first + step * a + i for a in order for i in range(step))))

    def mask(self, mask1: Any, mask2: Any) -> Kernel:
        """Covariances with 0 where either side is masked; masks are True there, of shape1 and shape2 with one channel.

        mask2 None is mask1 where the two sets are one, and no mask elsewhere.
        """
        second = mask1 if mask2 is None and self.cov2 is None else mask2
        sides = {"nngp": (mask1, second), "ntk": (mask1, second), "cov1": (mask1, mask1), "cov2": (second, second)}
        hidden = {name: self._hidden(name, *pair) for name, pair in sides.items()}
        return self.replace(**hidden, mask1=mask1, mask2=mask2)

    def _hidden(self, name: str, first: Any, second: Any) -> Any:
        array = getattr(self, name)
        if array is None or (first is None and second is None):
            return array
        seen = self._side(name, first, True) | self._side(name, second, False)
        return jnp.where(seen, 0, array)

    def _side(self, name: str, mask: Any, is_first: bool) -> Any:
        """A mask on the axes of one side of an array."""
        if mask is None:
            return jnp.zeros((), bool)
        if mask.shape[self.channel_axis] != 1:
            raise InvalidInput(f"a mask of shape {mask.shape}: one channel is needed, as all are masked or none")
        pixels = jnp.squeeze(jnp.moveaxis(mask, (self.batch_axis, self.channel_axis), (0, -1)), -1)
        if self.is_reversed:
            pixels = jnp.transpose(pixels, (0, *range(1, pixels.ndim)[::-1]))
        shape: list[int] = [] if self._samples_of(name) == 1 else [1]
        shape.insert(0 if is_first else len(shape), pixels.shape[0])
        for n in pixels.shape[1:]:
            shape += [n] if self.diagonal_spatial else [n, 1] if is_first else [1, n]
        return pixels.reshape(shape)

    def dot_general(self, other1: Any, other2: Any, is_lhs: bool, dimension_numbers: Any) -> Kernel:
        """Covariances of jax.lax.dot_general of x1 with other1, and of x2 with other2, on the left if `is_lhs`.

        Raises:
            InvalidInput: a factor on one side only, channels that meet it, or samples that are summed where only
                variances of single samples are kept.
        """
        if other1 is None and other2 is None:
            return self
        if other1 is None or other2 is None:
            raise InvalidInput("dot_general: both sides need a factor, or none")
        plain = self.reverse() if self.is_reversed else self
        product = _Product.of(plain, jnp.ndim(other1), is_lhs, dimension_numbers)
        if plain.diagonal_batch and plain.batch_axis in product.summed:
            raise InvalidInput("dot_general sums over samples: the Kernel needs diagonal_batch=False")
        pairs = {"nngp": (other1, other2), "ntk": (other1, other2), "cov1": (other1,) * 2, "cov2": (other2,) * 2}
        made = {n: product.of_array(getattr(plain, n), plain._samples_of(n), *pair) for n, pair in pairs.items()}
        places = [product.out.index(a) for a in (plain.batch_axis, plain.channel_axis) if a in product.out]
        if len(places) < 2:
            raise InvalidInput("dot_general: the samples are summed away; keep an axis of them")
        shapes = {
            n: s and product.shape(s, o)
            for n, s, o in (("shape1", plain.shape1, other1), ("shape2", plain.shape2, other2))
        }
        return plain.replace(**made, **shapes, batch_axis=places[0], channel_axis=places[1])

    def _mapped(self, function: Callable[[Any], Any], names: Sequence[str]) -> Kernel:
        given = {n: getattr(self, n) for n in names}
        return self.replace(**{n: function(v) for n, v in given.items() if v is not None})

    def __mul__(self, factor: Any) -> Kernel:
        """The kernel of factor f:  K -> factor^2 K,  T -> factor^2 T."""
        return self._mapped(lambda v: factor**2 * v, ARRAYS[:4])

    __rmul__ = __mul__

    def __truediv__(self, factor: Any) -> Kernel:
        return self * (1.0 / factor)

    def __add__(self, number: Any) -> Kernel:
        """The kernel of f and a Gaussian bias of standard deviation `number`:  K -> K + number^2,  T stays."""
        return self._mapped(lambda v: v + number**2, ("nngp", "cov1", "cov2"))

    __radd__ = __sub__ = __add__

    def __neg__(self) -> Kernel:
        return self

    __pos__ = __neg__

    def __getitem__(self, idx: Any) -> Kernel:
        """The kernel of f[idx]:  whole numbers and slices of axes of the output; channels stay whole.

        Raises:
            NoKernel: channels or single samples are picked. InvalidInput: something that is no whole number or slice.
        """
        if self.shape1 is None:
            raise InvalidInput("a Kernel without shapes cannot be indexed: say shape1 and shape2")
        parts = parts_of(idx, len(self.shape1))
        if parts[self.channel_axis] != slice(None) or not isinstance(parts[self.batch_axis], slice):
            raise NoKernel(f"Kernel[{idx}]: all channels stay, and samples are picked by a slice")
        pixels = [p for a, p in enumerate(parts) if a not in (self.batch_axis, self.channel_axis)]
        pixels = pixels[::-1] if self.is_reversed else pixels
        doubled = [p for p in pixels for _ in range(1 if self.diagonal_spatial else 2)]
        samples = parts[self.batch_axis]
        arrays = {n: (*[samples] * self._samples_of(n), *doubled) for n in ARRAYS[:4]}
        picked = {n: None if getattr(self, n) is None else getattr(self, n)[i] for n, i in arrays.items()}
        shapes = {
            n: s and jax.eval_shape(lambda x: x[parts], jax.ShapeDtypeStruct(s, bool)).shape for n, s in self._shapes
        }
        masks = {n: None if m is None else _indexed_mask(m, parts) for n, m in self._masks}
        gone = [a for a, p in enumerate(parts) if isinstance(p, int)]
        axes = {
            n: a - sum(g < a for g in gone)
            for n, a in (("batch_axis", self.batch_axis), ("channel_axis", self.channel_axis))
        }
        return self.replace(**picked, **shapes, **masks, **axes)

    @property
    def _shapes(self) -> tuple[tuple[str, Any], tuple[str, Any]]:
        return ("shape1", self.shape1), ("shape2", self.shape2)


def parts_of(idx: Any, rank: int) -> tuple[Any, ...]:
    """An index for each axis of an array: whole numbers and slices."""
    given = idx if isinstance(idx, tuple) else (idx,)
    if given.count(Ellipsis) > 1 or len(given) - given.count(Ellipsis) > rank:
        raise InvalidInput(f"Kernel[{idx}]: more parts than the {rank} axes of the output")
    if any(not isinstance(p, (int, slice)) and p is not Ellipsis for p in given):
        raise InvalidInput(f"Kernel[{idx}]: whole numbers and slices of axes are supported")
    place = given.index(Ellipsis) if Ellipsis in given else len(given)
    rest = given[place + 1 :]
    return (*given[:place], *[slice(None)] * (rank - place - len(rest)), *rest)


def _indexed_mask(mask: Any, parts: Sequence[Any]) -> Any:
    """A mask at the same places; an axis of one pixel stands for all of them."""
    of_one = (0 if isinstance(p, int) else slice(None) for p in parts)
    return mask[tuple(o if n == 1 else p for n, p, o in zip(mask.shape, parts, of_one, strict=True))]


@dataclass(frozen=True)
class _Product:
    """dot_general of x and another array, by labels of axes: those of x, then those that the other array has alone."""

    others: tuple[int, ...]
    out: tuple[int, ...]
    summed: tuple[int, ...]
    batch: int
    channel: int
    pixels: tuple[int, ...]
    is_diagonal: bool
    operation: Callable[[Any, Any], Any]

    @classmethod
    def of(cls, kernel: Kernel, other_rank: int, is_lhs: bool, dimension_numbers: Any) -> _Product:
        """The product for data of a Kernel."""
        (lhs_summed, rhs_summed), (lhs_shared, rhs_shared) = dimension_numbers
        sides = ((lhs_summed, lhs_shared), (rhs_summed, rhs_shared))
        (other_summed, other_shared), (summed, shared) = sides if is_lhs else sides[::-1]
        pixels = tuple(range(kernel.pixel_axes + 2))
        rank = len(pixels)
        summed, shared = ([a % rank for a in axes] for axes in (summed, shared))
        other_summed, other_shared = ([a % other_rank for a in axes] for axes in (other_summed, other_shared))
        own, channel = [*summed, *shared], kernel.channel_axis
        if channel in own:
            raise InvalidInput(f"dot_general over axis {channel}, that of the channels, which are infinitely many")
        if kernel.diagonal_spatial and set(summed) - {kernel.batch_axis}:
            raise InvalidInput("dot_general sums over pixels: the Kernel needs diagonal_spatial=False")
        others = [rank + i for i in range(other_rank)]
        for axis, other in zip(own, [*other_summed, *other_shared], strict=True):
            others[other] = axis
        free = [a for a in range(rank) if a not in own], [a for a in others if a >= rank]
        out = (*shared, *free[is_lhs], *free[not is_lhs])
        spatial = tuple(a for a in pixels if a not in (kernel.batch_axis, channel))

        def operation(x: Any, other: Any) -> Any:
            pairs: Any = (summed, other_summed), (shared, other_shared)
            numbers: Any = [p[::-1] if is_lhs else p for p in pairs]
            return lax.dot_general(*((other, x) if is_lhs else (x, other)), numbers)

        axes = (tuple(others), out, tuple(summed), kernel.batch_axis, channel, spatial)
        return cls(*axes, kernel.diagonal_spatial, operation)

    def of_array(self, array: Any, samples: int, other1: Any, other2: Any) -> Any:
        """An array [samples ..., pixels ...], with both factors."""
        if array is None:
            return None
        both = partial(self._both, samples=samples)
        inside = [*both([self.batch]), *both(self.pixels)]
        out = [*both([a for a in self.out if a == self.batch]), *both([a for a in self.out if self._is_pixel(a)])]
        first, second = ([self._label(a, samples, side) for a in self.others] for side in (0, 1))
        operands = (other1, first, array, inside, other2, second)
        return jnp.einsum(*operands, out, precision=lax.Precision.HIGHEST)

    def _is_pixel(self, axis: int) -> bool:
        return axis not in (self.batch, self.channel)

    def _label(self, axis: int, samples: int, side: int) -> int:
        is_single = samples == 1 if axis == self.batch else self.is_diagonal
        return 2 * axis + (0 if is_single else side)

    def _both(self, axes: Sequence[int], samples: int) -> Iterator[int]:
        yield from dict.fromkeys(self._label(a, samples, side) for a in axes for side in (0, 1))

    def shape(self, shape: tuple[int, ...], other: Any) -> tuple[int, ...]:
        """Shape of the product."""
        arrays = jax.ShapeDtypeStruct(shape, float), jax.ShapeDtypeStruct(jnp.shape(other), float)
        return jax.eval_shape(self.operation, *arrays).shape


_STATIC = tuple(f.name for f in dataclasses.fields(Kernel) if f.name not in ARRAYS)
jax.tree_util.register_dataclass(Kernel, data_fields=list(ARRAYS), meta_fields=list(_STATIC))
