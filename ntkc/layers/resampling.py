"""Parts of images, and images of another size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sympy as sp

from ntkc.errors import InvalidInput, NoInfiniteLimit, ShapeMismatch, unknown
from ntkc.ir.maps import AxisMap, Maps, Matrix, Patch, Pick, Spread, Take
from ntkc.ir.op import Op, Requests
from ntkc.layers.pooling import Mapped

Part = int | str | tuple[int | None, int | None, int | None]
"""One index, start, stop and step of a slice, or "..." for all axes that no other part is for."""
WHOLE: Part = (None, None, None)
REST = "..."

METHODS = {
    "linear": lambda x: np.maximum(0, 1 - x),
    "cubic": lambda x: np.where(x < 1, ((1.5 * x - 2.5) * x) * x + 1, np.where(x < 2, _outer_cubic(x), 0)),
    "lanczos3": lambda x: _lanczos(x, 3),
    "lanczos5": lambda x: _lanczos(x, 5),
}
"""Interpolation kernels of jax.image, as functions of the distance in pixels."""
ALIASES = {
    **dict.fromkeys(("bilinear", "trilinear", "triangle"), "linear"),
    **dict.fromkeys(("bicubic", "tricubic"), "cubic"),
}
NEAREST = "nearest"


@dataclass(frozen=True)
class Index(Mapped):
    """K[p, p'] -> K[i_p, i_p']:  slices keep an axis, whole numbers take one pixel of it.

    `idx` has one entry for each spatial axis, a whole number or (start, stop, step); "..." stands for those not named.
    """

    idx: tuple[Part, ...]

    def check_fields(self) -> None:
        parts = tuple(tuple(p) if isinstance(p, (list, tuple)) else p for p in self.idx)
        known = [p for p in parts if p == REST or isinstance(p, int) or (isinstance(p, tuple) and len(p) == 3)]
        if len(known) < len(parts) or parts.count(REST) > 1:
            raise InvalidInput(f"Index(idx={self.idx!r}): a whole number or (start, stop, step) for each spatial axis")
        object.__setattr__(self, "idx", parts)

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Index(((0, 3, None), (None, None, 2))), Index((1, (None, None, -1))), Index((0, -1)))

    def maps(self, spatial: Sequence[int]) -> Maps:
        given = self.idx if REST in self.idx else (*self.idx, REST)
        place, missing = given.index(REST), len(spatial) - len(given) + 1
        if missing < 0:
            raise ShapeMismatch(f"{self.label()} of {len(spatial)} spatial axes")
        parts = (*given[:place], *(WHOLE,) * missing, *given[place + 1 :])
        return tuple(self._axis_map(p, n) for p, n in zip(parts, spatial, strict=True))

    def presence(self, ask: Requests) -> sp.Expr:
        return ask.presence(0, None, self.maps(ask.spatial(0)))

    def _axis_map(self, part: Part, count: int) -> AxisMap:
        assert not isinstance(part, str)
        if isinstance(part, int):
            if not -count <= part < count:
                raise ShapeMismatch(f"{self.label()}: there is no pixel {part} among {count}")
            return Pick(part % count)
        places = tuple(range(count)[slice(*part)])
        if not places:
            raise ShapeMismatch(f"{self.label()} takes no pixel of {count}")
        return Patch() if places == tuple(range(count)) else Take(places)

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        (x,) = operands
        for axis, m in list(enumerate(self.maps(x.shape[1:-1])))[::-1]:
            if isinstance(m, (Pick, Take)):
                places = m.place if isinstance(m, Pick) else np.array(m.places)
                x = pointwise.jnp.take(x, places, axis=axis + 1)
        return x


@dataclass(frozen=True)
class ImageResize(Mapped):
    """K -> A K A^T,  A the interpolation of jax.image.resize along each axis:  an image of another size.

    `shape` is that of the output, samples and channels included; -1 keeps a size. `method`: nearest, linear, cubic,
    lanczos3, lanczos5.
    """

    remasks: ClassVar[bool] = True

    output_shape: tuple[int, ...]
    method: str = "linear"
    antialias: bool = True

    def check_fields(self) -> None:
        name = str(getattr(self.method, "name", self.method)).lower()
        name = ALIASES.get(name, name)
        if name != NEAREST and name not in METHODS:
            raise unknown("method", self.method, [NEAREST, *METHODS])
        object.__setattr__(self, "method", name)
        object.__setattr__(self, "output_shape", tuple(int(n) for n in self.output_shape))
        if self.output_shape[0] != -1 or self.output_shape[-1] != -1:
            raise NoInfiniteLimit(f"ImageResize(shape={self.output_shape}): samples and channels keep their number, -1")

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (
            ImageResize((-1, 5, -1, -1)),
            ImageResize((-1, 2, 3, -1), "linear", False),
            ImageResize((-1, 3, 7, -1), "nearest"),
            ImageResize((-1, 6, 6, -1), "cubic"),
        )

    def maps(self, spatial: Sequence[int]) -> Maps:
        sizes = self.output_shape[1:-1]
        if len(sizes) != len(spatial):
            raise ShapeMismatch(f"{self.label()} of {len(spatial)} spatial axes")
        return tuple(self._axis_map(n, m) for n, m in zip(spatial, sizes, strict=True))

    def presence(self, ask: Requests) -> sp.Expr:
        """A pixel is masked where all that it is made of are."""
        maps = self.maps(ask.spatial(0))
        read = tuple(Spread(_nonzero(m.rows)) if isinstance(m, Matrix) else m for m in maps)
        return sp.Min(ask.presence(0, None, read), 1)

    def _axis_map(self, count: int, size: int) -> AxisMap:
        if size in (-1, count):
            return Patch()
        if self.method == NEAREST:
            places = np.floor((np.arange(size) + 0.5) * count / size).astype(int)
            return Take(tuple(int(p) for p in places))
        return Matrix(tuple(map(tuple, interpolation(count, size, self.method, self.antialias).tolist())))

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        (x,) = operands
        for axis, m in enumerate(self.maps(x.shape[1:-1])):
            if isinstance(m, Take):
                x = pointwise.jnp.take(x, np.array(m.places), axis=axis + 1)
            elif isinstance(m, Matrix):
                rows = pointwise.jnp.asarray(m.rows, x.dtype)
                x = pointwise.jnp.moveaxis(pointwise.jnp.tensordot(rows, x, (1, axis + 1)), 0, axis + 1)
        return x


def matrix(count: int, size: int, method: str, antialias: bool) -> np.ndarray:
    """The matrix [size, count] of jax.image.resize along one axis, for any method."""
    if method != NEAREST:
        return interpolation(count, size, method, antialias)
    places = np.floor((np.arange(size) + 0.5) * count / size).astype(int)
    return np.eye(count)[places]


def interpolation(count: int, size: int, method: str, antialias: bool) -> np.ndarray:
    """The matrix [size, count] of jax.image.resize along one axis; its rows sum to 1."""
    step = count / size
    places = (np.arange(size) + 0.5) * step - 0.5
    distance = np.abs(places[:, None] - np.arange(count)) / (max(step, 1.0) if antialias else 1.0)
    weights = METHODS[method](distance)
    return weights / weights.sum(1, keepdims=True)


def _nonzero(rows: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(v != 0) for v in row) for row in rows)


def _outer_cubic(x: np.ndarray) -> np.ndarray:
    return ((-0.5 * x + 2.5) * x - 4) * x + 2


def _lanczos(x: np.ndarray, radius: int) -> np.ndarray:
    return np.where(x < radius, np.sinc(x) * np.sinc(x / radius), 0)
