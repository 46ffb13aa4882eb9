"""Kernel: everything a kernel function knows of two sets of samples, with Neural Tangents' field names."""

from __future__ import annotations

import dataclasses
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

    def _scaled(self, factor: Any) -> Kernel:
        return self.replace(**{n: getattr(self, n) * factor for n in ARRAYS[:4] if getattr(self, n) is not None})

    def __mul__(self, factor: Any) -> Kernel:
        return self._scaled(factor)

    __rmul__ = __mul__

    def __truediv__(self, factor: Any) -> Kernel:
        return self._scaled(1.0 / factor)


_STATIC = tuple(f.name for f in dataclasses.fields(Kernel) if f.name not in ARRAYS)
jax.tree_util.register_dataclass(Kernel, data_fields=list(ARRAYS), meta_fields=list(_STATIC))
