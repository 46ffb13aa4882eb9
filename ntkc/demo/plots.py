"""Small SVG line plots and PNG images, for a page that stands alone."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from ntkc.program import KernelProgram

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 340, 230, 34, 18, 34, 26
POINTS = 91


def angle_curves(program: KernelProgram) -> tuple[Any, Any, Any]:
    """(angle in degrees, K(angle) / K(0), T(angle) / T(0)) of two inputs with mean square 1."""
    angles = np.linspace(0, np.pi, POINTS)
    points = np.sqrt(2) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    both = program(points, points[:1], ("nngp", "ntk"))
    nngp, ntk = (np.asarray(k, float)[:, 0] for k in both)
    return np.degrees(angles), nngp / nngp[0], ntk / ntk[0]


def line_plot(title: str, x: Any, curves: Mapping[str, Any], classes: Mapping[str, str]) -> str:
    """Curves in [low, 1] over degrees 0 ... 180; `classes` names the CSS class of each curve."""
    low = min(0.0, *(float(np.min(y)) for y in curves.values()))
    paths = [_curve(name, x, y, low, classes[name]) for name, y in curves.items()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" role="img" aria-label="{escape(title)}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}">{_axes(title, low)}{"".join(paths)}</svg>'
    )


def _across(degrees: float) -> float:
    return LEFT + degrees / 180 * (WIDTH - LEFT - RIGHT)


def _up(value: float, low: float) -> float:
    return HEIGHT - BOTTOM - (value - low) / (1 - low) * (HEIGHT - BOTTOM - TOP)


def _curve(name: str, x: Any, y: Any, low: float, kind: str) -> str:
    points = " ".join(f"{_across(a):.1f},{_up(b, low):.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline class="curve {kind}" points="{points}"><title>{escape(name)}</title></polyline>'


def _axes(title: str, low: float) -> str:
    parts = [f'<text class="name" x="{WIDTH / 2}" y="14">{escape(title)}</text>']
    for degrees in (0, 45, 90, 135, 180):
        x = _across(degrees)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 14}">{degrees}°</text>')
    for value in (v for v in (-0.5, 0, 0.5, 1) if v >= low):
        y = _up(value, low)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 14}" y="{y + 3.5:.1f}">{value:g}</text>')
    parts.append(f'<text class="tick" x="{_across(90):.1f}" y="{HEIGHT - 4}">angle between the inputs</text>')
    return "".join(parts)


def png(image: Any) -> str:
    """A matrix, 0 white to 1 black, as a data address  data:image/png;base64,..."""
    grey = np.round(255 * (1 - np.clip(image, 0, 1))).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in grey)
    header = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows, 9)), _chunk(b"IEND", b""))
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def square_side(shape: Sequence[int]) -> int | None:
    """[n, 64] -> 8; None for rows that are no square image of at most 64 x 64 pixels."""
    side = round(shape[1] ** 0.5)
    return side if side * side == shape[1] and 4 <= side <= 64 else None
