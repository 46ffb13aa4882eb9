"""Gram matrices of any size: planned tiles, in memory or in a zarr store that a killed run continues."""

from ntkc.gram.stored import StoredGram
from ntkc.gram.tiled import gram

__all__ = ["StoredGram", "gram"]
