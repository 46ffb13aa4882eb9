"""A kernel function  ->  one that walks over tiles of samples: bounded memory, several devices, one triangle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from itertools import cycle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ntkc.data import are_one_set, are_same_patterns, checked_patterns, refuse_masked, tiles_of_one_call
from ntkc.errors import InvalidInput
from ntkc.ir.exact import whole
from ntkc.kernel import Kernel
from ntkc.networks.graph import stated_layout
from ntkc.networks.kernel_fn import KernelFn
from ntkc.predict.progress import counting_bar
from ntkc.program import KernelProgram

MANY_TILES = 8
"""Fewer tiles need no progress bar."""
MATRICES = ("nngp", "ntk")


@dataclass(frozen=True)
class Tile:
    """Rows of x1 and rows of x2; `is_mirrored` if the transposed tile is the tile's transpose."""

    rows: slice
    columns: slice
    is_mirrored: bool = False


def batch(
    kernel_fn: Callable[..., Any],
    batch_size: int = 0,
    device_count: int = -1,
    store_on_device: bool = True,
    progress: bool | None = None,
) -> Callable[..., Any]:
    """kernel_fn(x1, x2=None, ...) in tiles of `batch_size` x `batch_size` samples; any numbers of samples.

    Args:
        kernel_fn: of `ntkc.stax`, a KernelProgram, or any function of (x1, x2, ...) that returns an array
            [n1, n2, ...], a tuple of them, or a Kernel. For x2=None a stax kernel or program is asked for tiles of one
            triangle, and the other is its mirror image.
        batch_size: samples of a side of a tile; 0 for all samples, or for an equal share of x1 for each device.
        device_count: devices that take tiles in turn: -1 for all of them, 0 or 1 for the default one.
        store_on_device: False keeps the result in host memory, as numpy arrays.
        progress: a bar on standard error; None for one on a terminal if there are many tiles.

    Raises:
        InvalidInput: sizes that are no whole numbers, more devices than there are, or inputs without samples.
    """
    if isinstance(kernel_fn, KernelFn) and stated_layout(kernel_fn.tree).samples != 0:
        raise InvalidInput("batch cuts data along their first axis; this network has samples on another: batch_axis=0")
    size = whole(batch_size, "batch_size", 0)
    devices = _devices(whole(device_count, "device_count", -1))

    @wraps(kernel_fn, updated=())
    def batched(x1: Any, x2: Any = None, *args: Any, **kwargs: Any) -> Any:
        if all(isinstance(k, Kernel) for k in _parts(x1)):
            return _continued(kernel_fn, x1, size, store_on_device, args, kwargs)
        refuse_masked(x1=x1, x2=x2)
        is_one = (
            _is_symmetric(kernel_fn) and are_one_set(x1, x2) and are_same_patterns(*kwargs.get("pattern") or (0, 0))
        )
        given, x2 = x2, None if is_one else x2
        patterns = checked_patterns(kwargs.get("pattern"), x2, True)
        if patterns is not None and patterns[1] is not None:
            x2 = x1 if x2 is None else x2
        count1, count2 = _samples("x1", x1), _samples("x2", x1 if x2 is None else x2)
        side = size or -(-count1 // len(devices))
        tiles = list(_tiles(count1, count2, side, size or count2, _is_symmetric(kernel_fn) and x2 is None))
        whole_result: Any = None
        shown = progress if progress is not None or len(tiles) >= MANY_TILES else False
        with counting_bar(shown, "kernel", len(tiles)) as tell:
            for tile, device in zip(tiles, cycle(devices), strict=False):
                left, right = _slice(x1, tile.rows, device), _slice(x1 if x2 is None else x2, tile.columns, device)
                is_same = x2 is None and tile.rows == tile.columns
                if patterns is not None:
                    kwargs["pattern"] = _of_tile(patterns, tile, device)
                with tiles_of_one_call():
                    made = kernel_fn(left, None if is_same else right, *args, **kwargs)
                if whole_result is None:
                    whole_result = _Assembly.of(made, count1, count2, x2 is None, store_on_device)
                whole_result.add(made, tile)
                tell(f"{tile.rows.stop} x {tile.columns.stop}")
        found = whole_result.result()
        return _mapped(lambda k: k.replace(cov2=k.cov1), found) if x2 is None is not given else found

    return batched


def _continued(
    kernel_fn: Callable[..., Any], kernels: Any, size: int, store_on_device: bool, args: Any, kwargs: Any
) -> Any:
    """kernel_fn of a Kernel, or of nested Kernels, tile by tile."""
    first = _parts(kernels)[0]
    count1, count2 = first.nngp.shape[:2]
    whole_result: Any = None
    for tile in _tiles(count1, count2, size or count1, size or count2, False):
        made = kernel_fn(_mapped(lambda k, t=tile: k.slice(t.rows, t.columns), kernels), *args, **kwargs)
        if whole_result is None:
            whole_result = _Assembly.of(made, count1, count2, bool(first.x1_is_x2), store_on_device)
        whole_result.add(made, tile)
    return whole_result.result()


def _is_kernel(x: Any) -> bool:
    return isinstance(x, Kernel)


def _parts(made: Any) -> list[Any]:
    """Kernels and arrays of nested results."""
    return jax.tree.leaves(made, is_leaf=_is_kernel)


def _mapped(function: Callable[[Kernel], Kernel], made: Any) -> Any:
    """A function of every Kernel; arrays stay."""
    return jax.tree.map(lambda v: function(v) if _is_kernel(v) else v, made, is_leaf=_is_kernel)


def _of_one_side(made: Any) -> Any:
    """Kernels of one set, without what the second side has of its own."""
    return _mapped(lambda k: k.replace(cov2=None, mask2=None), made)


def _devices(count: int) -> list[Any]:
    """The devices that take tiles; None is wherever the data are."""
    if count in (0, 1):
        return [None]
    found = jax.devices()
    if count > len(found):
        raise InvalidInput(f"device_count = {count}: this process has {len(found)} device(s)")
    chosen = found if count == -1 else found[:count]
    return list(chosen) if len(chosen) > 1 else [None]


def _is_symmetric(kernel_fn: Callable[..., Any]) -> bool:
    """Kernels of ntkc: T(x2, x1) is the transpose of T(x1, x2)."""
    return isinstance(kernel_fn, (KernelFn, KernelProgram))


def _samples(name: str, x: Any) -> int:
    sizes = {np.shape(v)[:1] for v in jax.tree.leaves(x)}
    if len(sizes) != 1 or sizes & {(), (0,)}:
        raise InvalidInput(f"{name} has arrays with {sorted(sizes)} samples: all need the same number, at least one")
    return sizes.pop()[0]


def _tiles(count1: int, count2: int, rows: int, columns: int, is_symmetric: bool) -> Iterator[Tile]:
    if is_symmetric:
        columns = rows
    for i in range(0, count1, rows):
        for j in range(0, i + 1 if is_symmetric else count2, columns):
            yield Tile(slice(i, min(i + rows, count1)), slice(j, min(j + columns, count2)), is_symmetric and j < i)


def _slice(x: Any, samples: slice, device: Any) -> Any:
    part = jax.tree.map(lambda v: v[samples], x)
    return part if device is None else jax.device_put(part, device)


def _of_tile(patterns: tuple[Any, Any], tile: Tile, device: Any) -> tuple[Any, Any]:
    """The graphs of the samples of a tile."""
    first, second = patterns
    return _slice(first, tile.rows, device), _slice(first if second is None else second, tile.columns, device)


@dataclass(frozen=True)
class _Assembly:
    """The whole result: arrays that tiles are written to (of JAX inside jit), and the first tile as a pattern."""

    pattern: Any
    arrays: list[Any]
    samples: tuple[int, int]
    is_same: bool
    store_on_device: bool

    @classmethod
    def of(cls, made: Any, count1: int, count2: int, is_same: bool, store_on_device: bool) -> _Assembly:
        made = _of_one_side(made) if is_same else made
        counts = [_lengths(n, count1, count2) for n in _kinds(made)]
        leaves = jax.tree.leaves(made)
        is_traced = any(isinstance(v, Tracer) for v in leaves)
        if is_traced and not store_on_device:
            raise InvalidInput("batch: jit, grad and vmap keep nothing in host memory; use store_on_device=True")
        empty = jnp.empty if is_traced else np.empty
        arrays = [
            empty((*lengths, *v.shape[len(lengths) :]), v.dtype) for v, lengths in zip(leaves, counts, strict=True)
        ]
        return cls(made, arrays, (count1, count2), is_same, store_on_device)

    def add(self, made: Any, tile: Tile) -> None:
        made = _of_one_side(made) if self.is_same else made
        for i, (value, kind) in enumerate(zip(jax.tree.leaves(made), _kinds(self.pattern), strict=True)):
            self._put(i, {"rows": tile.rows, "columns": tile.columns}.get(kind, (tile.rows, tile.columns)), value)
            if kind == "both" and tile.is_mirrored:
                self._put(i, (tile.columns, tile.rows), value.swapaxes(0, 1))

    def _put(self, i: int, place: Any, value: Any) -> None:
        if isinstance(self.arrays[i], np.ndarray):
            self.arrays[i][place] = value
        else:
            self.arrays[i] = self.arrays[i].at[place].set(value)

    def result(self) -> Any:
        arrays = [jnp.asarray(a) if self.store_on_device else a for a in self.arrays]
        found = jax.tree.unflatten(jax.tree.structure(self.pattern), arrays)
        return _mapped(self._whole, found)

    def _whole(self, kernel: Kernel) -> Kernel:
        """A Kernel with the shapes of all samples."""
        shapes = (
            s and tuple(n if a == kernel.batch_axis else w for a, w in enumerate(s))
            for s, n in zip((kernel.shape1, kernel.shape2), self.samples, strict=True)
        )
        return kernel.replace(**dict(zip(("shape1", "shape2"), shapes, strict=True)), x1_is_x2=self.is_same)


KINDS = {"nngp": "both", "ntk": "both", "cov1": "rows", "cov2": "columns", "mask1": "rows", "mask2": "columns"}
"""What the first axes of the arrays of a Kernel are of."""


def _kinds(made: Any) -> list[str]:
    """Whether each array has rows and columns, rows alone, or columns alone."""
    return [kind for part in _parts(made) for kind in _kinds_of(part)]


def _kinds_of(part: Any) -> list[str]:
    if not _is_kernel(part):
        return ["both"]
    return [kind for name, kind in KINDS.items() if getattr(part, name) is not None]


def _lengths(kind: str, count1: int, count2: int) -> tuple[int, ...]:
    return {"both": (count1, count2), "rows": (count1,), "columns": (count2,)}[kind]
