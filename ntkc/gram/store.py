"""A zarr v3 group with one array for each kernel; what its files say, and nothing else, is what is done."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ntkc.batching import Tile
from ntkc.errors import InvalidStore, MissingExtra
from ntkc.gram.files import LOCK, PARTIAL, Floats, is_sound, read_tile, write_file, write_tile
from ntkc.gram.plan import TilePlan

METADATA = "zarr.json"
KEY = "ntkc_gram"
"""Attribute of the group that holds a Header."""
FORMAT = 1


@dataclass(frozen=True)
class Header:
    """What a store says of itself."""

    plan: TilePlan
    dtype: str
    kernels: tuple[str, ...]
    source: dict[str, Any]
    """Hashes of the program and the data, and the hyper-parameters: equal for a call that may go on with the store."""
    made_with: dict[str, str]
    """Versions that may change the last bits of a tile."""

    def document(self) -> dict[str, Any]:
        return {"format": FORMAT, "stored_tiles": "lower triangle" if self.plan.is_triangle else "all", **asdict(self)}

    @classmethod
    def of(cls, document: dict[str, Any]) -> Header:
        plan = document["plan"]
        return cls(
            TilePlan(tuple(plan["shape"]), tuple(plan["tile"]), plan["is_triangle"]),
            document["dtype"],
            tuple(document["kernels"]),
            document["source"],
            document["made_with"],
        )


@dataclass(frozen=True)
class Store:
    """Tiles in a folder:  <folder>/<kernel>/c/<row>/<column>."""

    folder: Path
    header: Header

    def file(self, kernel: str, place: tuple[int, int]) -> Path:
        return self.folder / kernel / "c" / str(place[0]) / str(place[1])

    def files(self, tile: Tile) -> list[Path]:
        """One for each kernel."""
        return [self.file(kernel, self.header.plan.place(tile)) for kernel in self.header.kernels]

    def prepare(self) -> None:
        """Write the metadata that zarr reads, where they are not there."""
        for key, text in _metadata(self.header).items():
            if not (self.folder / key).exists():
                write_file(self.folder / key, (text,))

    def write(self, tile: Tile, values: tuple[Floats, ...]) -> None:
        for file, value in zip(self.files(tile), values, strict=True):
            write_tile(file, value, self.header.plan.tile)

    def read(self, kernel: str, place: tuple[int, int]) -> Floats:
        """A tile, filled up with zeros; raises CorruptedTile, or InvalidStore if it is not there yet."""
        try:
            return read_tile(self.file(kernel, place), self.header.plan.tile, self.header.dtype)
        except FileNotFoundError as error:
            raise InvalidStore(
                f"tile {place} of {kernel} in {self.folder} is not there: call ntkc.gram again as before, "
                "which computes the tiles that are missing"
            ) from error

    def is_there(self, tile: Tile) -> bool:
        return all(file.exists() for file in self.files(tile))

    def is_sound(self, tile: Tile) -> bool:
        return all(is_sound(file, self.header.plan.tile, self.header.dtype) for file in self.files(tile))


def read_header(folder: Path) -> Header | None:
    """What the store in a folder says of itself; None if there is no folder, or nothing in it.

    Raises:
        InvalidStore: a file, a folder with other files in it, or another zarr store.
    """
    if not folder.exists():
        return None
    names = {file.name for file in folder.iterdir()} if folder.is_dir() else {folder.name}
    if METADATA not in names:
        foreign = sorted(names - {LOCK, METADATA + PARTIAL})
        if foreign:
            raise InvalidStore(f"{folder} is no store of ntkc.gram, it holds {foreign[0]!r}; give an empty folder")
        return None
    try:
        document = json.loads((folder / METADATA).read_text(encoding="utf-8"))["attributes"][KEY]
        known = document["format"]
        header = Header.of(document) if known == FORMAT else None
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidStore(f"{folder} is no store of ntkc.gram: its {METADATA} is another one's") from error
    if header is None:
        raise InvalidStore(f"{folder} has format {known} of ntkc.gram, this version reads {FORMAT}; give a new folder")
    return header


def _metadata(header: Header) -> dict[str, bytes]:
    """Keys and texts of the group, which is first, and its arrays."""
    try:
        import zarr
        from zarr.codecs import BytesCodec, Crc32cCodec
        from zarr.storage import MemoryStore
    except ImportError as error:
        raise MissingExtra('stored Gram matrices need zarr: pip install "ntkc[store]"') from error
    made: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(made), attributes={KEY: header.document()}, zarr_format=3)
    for kernel in header.kernels:
        group.create_array(
            kernel,
            shape=header.plan.shape,
            chunks=header.plan.tile,
            dtype=header.dtype,
            serializer=BytesCodec(endian="little"),
            compressors=(Crc32cCodec(),),
            fill_value=float("nan"),
        )
    return {key: made[key].to_bytes() for key in (METADATA, *(f"{kernel}/{METADATA}" for kernel in header.kernels))}
