"""Files of a store: each is written whole or not at all, tiles with a checksum, by one process at a time."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ntkc.errors import CorruptedTile, MissingExtra, StoreBusy, StoreUnwritable

Floats = npt.NDArray[np.floating[Any]]
LOCK = ".ntkc-lock"
PARTIAL = ".partial"
"""Ending of a file that is being written; one that a killed run left is overwritten."""
CHECKSUM_BYTES = 4
BLOCK = 2**22
"""Bytes read at a time to check a tile."""
REASONS = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "the file system is read-only; give another folder, or read a finished store with StoredGram.open",
    errno.EACCES: "the folder is read-only; give another one, or read a finished store with StoredGram.open",
    errno.EPERM: "the folder is read-only; give another one, or read a finished store with StoredGram.open",
}


def write_file(path: Path, parts: Iterable[Any]) -> None:
    """Bytes -> path.partial, synced to disk -> path: a kill at any moment leaves the old file, the new one, or none.

    Raises:
        StoreUnwritable: a full disk, a read-only folder, or what else the system says.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise unwritable(path, error) from error
    # Not every file system can sync a folder; a rename that a power cut undoes is a tile to compute again.
    with suppress(OSError):
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unwritable(path: Path, error: OSError) -> StoreUnwritable:
    reason = REASONS.get(error.errno or 0, str(error))
    return StoreUnwritable(f"{path} cannot be written: {reason}. Tiles written before are valid: call again to go on")


def write_tile(path: Path, values: Floats, shape: tuple[int, int]) -> None:
    """values, filled up with zeros to `shape`  ->  little-endian bytes and their crc32c: a chunk of zarr."""
    chunk = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    if values.shape != shape:
        chunk = np.zeros(shape, chunk.dtype)
        chunk[: len(values), : values.shape[1]] = values
    raw = chunk.reshape(-1).view(np.uint8)
    write_file(path, (raw, checksum()(0, raw).to_bytes(CHECKSUM_BYTES, "little")))


def read_tile(path: Path, shape: tuple[int, int], dtype: str) -> Floats:
    """The chunk that `write_tile` wrote.

    Raises:
        FileNotFoundError: it was not written yet.
        CorruptedTile: it fails its checksum.
    """
    raw = np.fromfile(path, np.uint8)
    body = raw[:-CHECKSUM_BYTES]
    little = np.dtype(dtype).newbyteorder("<")
    if body.nbytes != np.prod(shape) * little.itemsize or not _agree(checksum()(0, body), raw):
        raise CorruptedTile(f"{path} fails its checksum: call ntkc.gram again as before, which computes this tile anew")
    return body.view(little).reshape(shape)


def is_sound(path: Path, shape: tuple[int, int], dtype: str) -> bool:
    """Whether `read_tile` can read it, found block by block."""
    left, crc, extend = int(np.prod(shape)) * np.dtype(dtype).itemsize, 0, checksum()
    if path.stat().st_size != left + CHECKSUM_BYTES:
        return False
    with open(path, "rb") as file:
        while left:
            block = file.read(min(left, BLOCK))
            if not block:
                return False
            crc, left = extend(crc, block), left - len(block)
        return _agree(crc, file.read(CHECKSUM_BYTES))


def _agree(crc: int, ending: Any) -> bool:
    return crc.to_bytes(CHECKSUM_BYTES, "little") == bytes(ending[-CHECKSUM_BYTES:])


def checksum() -> Callable[[int, Any], int]:
    """crc32c(start, bytes or an array of them)."""
    try:
        from google_crc32c import extend
    except ImportError as error:
        raise MissingExtra('stored Gram matrices need zarr: pip install "ntkc[store]"') from error
    return extend


@contextmanager
def one_writer(folder: Path) -> Generator[None]:
    """Hold the lock of a store; the system lets go of it when the process ends, however it ends.

    Raises:
        StoreBusy: another process, or another call in this one, holds it.
        StoreUnwritable: the folder is read-only, or this system has no such locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        _take_lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _take_lock(handle: int, folder: Path) -> None:
    try:
        import fcntl
    except ImportError as error:
        raise StoreUnwritable("stores need the file locks of POSIX; leave `out` away on this system") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    except BlockingIOError as error:
        holder = os.pread(handle, 1000, 0).decode(errors="replace") or "another process"
        raise StoreBusy(f"{folder} is being written by {holder}: wait for it, or end it and call again") from error
    except OSError as error:
        raise unwritable(folder, error) from error
