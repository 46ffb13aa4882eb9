"""Kernel: everything a kernel function knows of two sets of samples, with Neural Tangents' field names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

ARRAYS = ("nngp", "ntk", "cov1", "cov2", "mask1", "mask2")
"""Fields that hold arrays; all others are static."""


@dataclass(frozen=True)
class Kernel:
    """Covariances of the output of a network for samples x1 and x2, in the infinite-width limit.

    Attributes:
        nngp: [n1, n2] covariance across samples (Lee et al. 2018).
        ntk: [n1, n2] neural tangent kernel (Jacot et al. 2018); None if it was not asked for.
        cov1: [n1] variance of each sample of x1; cov2 [n2] that of x2, None if x1_is_x2.
        x1_is_x2: the two sets are one.
        is_gaussian: the output is Gaussian: a nonlinearity may follow.
        is_input: the kernel of raw data.
        diagonal_batch: variances are those of each sample alone; otherwise cov1 is [n1, n1], cov2 [n2, n2].
        shape1, shape2: shapes of the outputs of a finite network.
        mask1, mask2: pixels of masked data that are there, [n1, pixels ...], while the output has pixels.
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

    def transpose(self) -> Kernel:
        """The kernel of (x2, x1)."""
        if self.x1_is_x2:
            return self
        flipped = {
            name: None if v is None else jnp.transpose(v) for name, v in (("nngp", self.nngp), ("ntk", self.ntk))
        }
        swapped = {"cov1": self.cov2, "cov2": self.cov1, "shape1": self.shape2, "shape2": self.shape1}
        return self.replace(**flipped, **swapped)

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
            mask1=None if masks[0] is None else masks[0][rows],
            mask2=None if is_same or masks[1] is None else masks[1][columns],
            x1_is_x2=is_same,
            shape1=shapes[0],
            shape2=shapes[1],
        )

    def reverse(self) -> Kernel:
        """The kernel with its spatial axes in the opposite order; shapes stay."""
        paired = {n: _reversed_axes(getattr(self, n), 2, not self.diagonal_spatial) for n in ("nngp", "ntk")}
        samples = 1 if self.diagonal_batch else 2
        own = {n: _reversed_axes(getattr(self, n), samples, not self.diagonal_spatial) for n in ("cov1", "cov2")}
        masks = {n: _reversed_axes(getattr(self, n), 1, False) for n in ("mask1", "mask2")}
        return self.replace(**paired, **own, **masks, is_reversed=not self.is_reversed)

    def _scaled(self, factor: Any) -> Kernel:
        return self._mapped(lambda v: v * factor)

    def _mapped(self, function: Callable[[Any], Any]) -> Kernel:
        given = {n: getattr(self, n) for n in ARRAYS[:4]}
        return self.replace(**{n: function(v) for n, v in given.items() if v is not None})

    def __add__(self, number: Any) -> Kernel:
        return self._mapped(lambda v: v + number)

    __radd__ = __add__

    def __sub__(self, number: Any) -> Kernel:
        return self._mapped(lambda v: v - number)

    def __mul__(self, factor: Any) -> Kernel:
        return self._scaled(factor)

    __rmul__ = __mul__

    def __truediv__(self, factor: Any) -> Kernel:
        return self._scaled(1.0 / factor)


def _reversed_axes(array: Any, samples: int, is_paired: bool) -> Any:
    """[samples ..., h, h, w, w] -> [samples ..., w, w, h, h], or with single axes."""
    if array is None:
        return None
    step = 2 if is_paired else 1
    places = range(samples, array.ndim, step)
    return jnp.transpose(array, (*range(samples), *(a + i for a in reversed(places) for i in range(step))))


_STATIC = tuple(f.name for f in dataclasses.fields(Kernel) if f.name not in ARRAYS)
jax.tree_util.register_dataclass(Kernel, data_fields=list(ARRAYS), meta_fields=list(_STATIC))
