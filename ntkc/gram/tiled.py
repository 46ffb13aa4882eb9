"""`gram`: a Gram matrix tile by tile, in memory or in a store."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntkc.batching import MANY_TILES, Tile
from ntkc.data import are_one_set, arrays_of, refuse_masked
from ntkc.errors import InvalidInput, InvalidStore, ShapeMismatch, StoreChanged, unknown
from ntkc.gram.files import Floats, checksum, one_writer
from ntkc.gram.maker import TileMaker, versions
from ntkc.gram.store import Header, Store, read_header
from ntkc.gram.stored import StoredGram
from ntkc.networks.kernel_fn import KernelFn, tree_of
from ntkc.predict.matrix_free import read_memory
from ntkc.predict.progress import counting_bar
from ntkc.program import GETS, KernelProgram


def gram(
    program: Any,
    x1: Any,
    x2: Any = None,
    get: str | tuple[str, ...] = "ntk",
    out: str | os.PathLike[str] | None = None,
    memory: str | float = "4GB",
    resume: bool = True,
    progress: bool | None = None,
    **parameters: Any,
) -> Any:
    """K[i, j] = K(x1[i], x2[j]) of any numbers of samples, in tiles of bounded memory, on disk if `out` is given.

    Killed at any moment, the same call goes on where it was: a tile is on disk whole or not at all, and the tiles that
    are there, if their checksums agree, are the ones that are done. The result is the uninterrupted one bit for bit.

    Args:
        program: a KernelProgram, or stax layers or their kernel_fn.
        x1: [n1, ..., features]; x2: [n2, ..., features], or None for x1 with itself: then one triangle is computed and
            stored.
        get: "nngp" or "ntk" for one matrix [n1, n2], a tuple of both for a named tuple of two.
        out: None for a numpy array; a folder for a `StoredGram`, read as K[rows, columns]. The folder is a zarr v3
            group with an array for each kernel; a symmetric one holds NaN above the diagonal tiles.
        memory: bound on what a tile needs while it is computed, beside the data, a copy of them, the result, and up
            to 100 MB that XLA's compiler and the allocator keep; bytes, or text such as "500MB". A store keeps its
            tiles when a later call gives another bound.
        resume: False refuses a folder that holds a store already.
        progress: a bar on standard error; None for one on a terminal if there are many tiles.
        parameters: a value for each open hyper-parameter.

    Raises:
        ShapeMismatch, InvalidInput, UnknownName: as the program does; a kernel that has pixels left; or `memory` too
            small for one pair of samples.
        InvalidStore: `out` holds other files, or a store of another program, hyper-parameters, data or `get`.
        StoreBusy: another process writes to it.
        StoreUnwritable: a full disk or a read-only folder; tiles that are there stay valid.
        MissingExtra: zarr is not installed.

    Warns:
        StoreChanged: a tile failed its checksum and is computed anew, or the store was begun by another JAX.
        SeriesNotConverged: once, as the program does for all data.
        PrecisionLost: a tile holds NaN or infinities.
    """
    refuse_masked(x1=x1, x2=x2)
    first, second = program_of(program).checked_pair(x1, None if are_one_set(x1, x2) else x2)
    compiled, names = program_of(program).on(*(x.shape[1:] for x in arrays_of(first))), _names(get)
    result = jax.eval_shape(lambda a, b: compiled(a, b, names, **parameters), first, second)[0]
    if result.ndim != 2:
        raise ShapeMismatch(
            f"the kernel has shape {result.shape}, one value for each pair of samples and of pixels; "
            "end the network with stax.Flatten or stax.GlobalAvgPool"
        )
    first, second = jax.tree.map(lambda x: x.astype(result.dtype), (first, second))
    values = {name: jnp.asarray(value, float) for name, value in parameters.items()}
    compiled.check_series(first, second, values)
    maker = TileMaker.of(compiled, names, first, second, values)
    bound = read_memory(memory)
    made = in_memory(maker, bound, progress) if out is None else stored(maker, _folder(out), bound, resume, progress)
    return made[names[0]] if isinstance(get, str) else KernelProgram.named_result(names)(*(made[n] for n in names))


def program_of(network: Any) -> KernelProgram:
    """The compiled network of a program, of stax layers, or of their kernel_fn."""
    if isinstance(network, KernelProgram):
        return network
    kernel_fn = network[2] if isinstance(network, tuple) and len(network) == 3 else network
    return kernel_fn.program if isinstance(kernel_fn, KernelFn) else KernelFn(tree_of(network)).program


def _names(get: Any) -> tuple[str, ...]:
    names = tuple(get) if isinstance(get, (tuple, list)) else (get,)
    if not names:
        raise unknown("kernel", get, GETS)
    return tuple(name.lower() if isinstance(name, str) else name for name in names)


def _folder(out: str | os.PathLike[str]) -> Path:
    if "://" in os.fspath(out):
        raise InvalidInput(f"out is {out!r}: a store is a folder of this machine's file system, not a URL")
    return Path(out)


def in_memory(maker: TileMaker, memory: float, progress: bool | None) -> dict[str, Floats]:
    """The matrices, by kernel."""
    plan = maker.plan(memory)
    arrays = [np.empty(plan.shape, maker.dtype) for _ in maker.kernels]

    def keep(tile: Tile, values: tuple[Floats, ...]) -> None:
        for array, value in zip(arrays, values, strict=True):
            array[tile.rows, tile.columns] = value
            if tile.is_mirrored:
                array[tile.columns, tile.rows] = value.T

    _fill(maker, plan.tiles(), keep, progress)
    return dict(zip(maker.kernels, arrays, strict=True))


def stored(maker: TileMaker, folder: Path, memory: float, resume: bool, progress: bool | None) -> dict[str, StoredGram]:
    """The matrices on disk, by kernel, after computing the tiles that are missing."""
    checksum()
    source = maker.source()
    _agreed(maker, folder, source, resume)  # before the lock, which is a file in the folder
    with one_writer(folder):
        header = _agreed(maker, folder, source, resume)
        if header is None:
            header = Header(maker.plan(memory), maker.dtype.name, maker.kernels, source, versions())
        store = Store(folder, header)
        store.prepare()
        missing = _missing_tiles(store, progress)
        if missing and header.made_with != versions():
            warnings.warn(
                f"{folder} was begun with {header.made_with} and goes on with {versions()}: "
                f"the {len(missing)} tiles to come may differ from it in their last bits",
                StoreChanged,
                stacklevel=3,
            )
        _fill(maker, missing, store.write, progress)
    return {kernel: StoredGram(folder, kernel, header) for kernel in header.kernels}


def _agreed(maker: TileMaker, folder: Path, source: dict[str, Any], resume: bool) -> Header | None:
    """The header of a store that this call may go on with; None for a new folder."""
    found = read_header(folder)
    if found is None:
        return None
    if not resume:
        raise InvalidStore(f"{folder} holds a store already: give another folder, or resume=True to go on with it")
    names = [name for name in source if source[name] != found.source.get(name)]
    names += ["get"] if found.kernels != maker.kernels else []
    if names:
        raise InvalidStore(f"{folder} is the store of another {', '.join(names)}: give another folder")
    return found


def _missing_tiles(store: Store, progress: bool | None) -> list[Tile]:
    """Tiles to compute: those that are not on disk, and, after a warning, those that fail their checksum."""
    there, missing, corrupted = list[Tile](), list[Tile](), list[Tile]()
    for tile in store.header.plan.tiles():
        (there if store.is_there(tile) else missing).append(tile)
    with counting_bar(_is_shown(progress, there), "checksums", len(there)) as tell:
        for tile in there:
            corrupted += [] if store.is_sound(tile) else [tile]
            tell(_note(tile))
    if corrupted:
        places = ", ".join(str(store.header.plan.place(tile)) for tile in corrupted)
        warnings.warn(
            f"{len(corrupted)} tile(s) of {store.folder} fail their checksum and are computed anew: {places}",
            StoreChanged,
            stacklevel=4,
        )
    return missing + corrupted


def _fill(
    maker: TileMaker, tiles: list[Tile], keep: Callable[[Tile, tuple[Floats, ...]], None], progress: bool | None
) -> None:
    with counting_bar(_is_shown(progress, tiles), "gram", len(tiles)) as tell:
        for tile in tiles:
            keep(tile, maker.tile(tile))  # no name holds a tile while the next one is computed
            tell(_note(tile))


def _is_shown(progress: bool | None, tiles: list[Tile]) -> bool | None:
    return progress if progress is not None or len(tiles) >= MANY_TILES else False


def _note(tile: Tile) -> str:
    return f"{tile.rows.stop} x {tile.columns.stop}"
