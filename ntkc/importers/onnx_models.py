"""ONNX."""

from __future__ import annotations

from typing import Any

from ntkc.importers.imported import Imported


def from_onnx(model: Any) -> Imported:
    raise NotImplementedError
