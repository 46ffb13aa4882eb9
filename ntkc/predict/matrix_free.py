"""`iterative_inference`: predictions from a Gram matrix that is never whole in memory, by conjugate gradients."""

import math
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from ntkc.data import are_one_set
from ntkc.errors import InvalidInput, ShapeMismatch, SolverNotConverged, unknown
from ntkc.predict.factor import matmul
from ntkc.predict.targets import (
    Targets,
    read_numbers,
    read_targets,
    require_alike,
    require_count,
    require_finite,
    require_number,
)

Floats = npt.NDArray[np.floating[Any]]
KernelFn = Callable[..., Any]
KERNELS = ("nngp", "ntk")
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
LANDMARKS = 1000
"""Rows of the preconditioner unless asked for."""


@dataclass(frozen=True, eq=False)
class IterativePosterior:
    """alpha = (K + ridge I)^{-1} y: `predict_fn` gives K* alpha, the rest says how alpha was found."""

    kernel: "TiledKernel"
    targets: Targets
    weights: Floats = field(repr=False)
    ridge: float
    residuals: tuple[float, ...]
    """|y - (K + ridge I) alpha| / |y| after each step, the largest over the outputs; the last one computed afresh."""
    tolerance: float

    @property
    def is_converged(self) -> bool:
        return self.residuals[-1] <= self.tolerance

    def predict_fn(self, x_test: Any = None) -> jax.Array:
        """K(x_test, x_train) alpha, tile by tile; None stands for x_train."""
        is_train = are_one_set(self.kernel.x, x_test)
        x_test = self.kernel.x if x_test is None else x_test
        require_alike(self.kernel.x, x_test)
        require_finite("x_test", x_test)
        x_test = np.asarray(x_test)
        made = self.kernel.gram_times(self.weights) if is_train else self.kernel.rows_times(x_test, self.weights)
        mean = jnp.asarray(made, self.kernel.x.dtype)
        require_finite(f"the {self.kernel.get} of (x_test, x_train)", mean)
        return self.targets.restore(mean, (), (len(x_test),))

    def __repr__(self) -> str:
        n, outputs = self.weights.shape
        state = "converged" if self.is_converged else "NOT converged"
        return (
            f"IterativePosterior({self.kernel.get}, n={n}, outputs={outputs}, ridge={self.ridge:.3g}, {state} after "
            f"{len(self.residuals) - 1} steps, residual {self.residuals[-1]:.2g})"
        )


def iterative_inference(
    kernel_fn: KernelFn,
    x_train: Any,
    y_train: Any,
    get: str = "nngp",
    diag_reg: float = 1e-3,
    diag_reg_absolute_scale: bool = False,
    *,
    tolerance: float = 1e-4,
    max_steps: int = 500,
    landmarks: int | None = None,
    memory: str | float = "2GB",
    progress: bool | None = None,
) -> IterativePosterior:
    """The mean of `gp_inference` or of a fully trained ensemble at any n:  K* alpha,  (K + reg I) alpha = y.

    Preconditioned conjugate gradients on all outputs at once; each step computes K anew in tiles, so that memory is of
    order n (landmarks + outputs) beside `memory` bytes of tiles. The preconditioner is a Nystroem approximation through
    `landmarks` rows, evenly spread over x_train (1000, or n if fewer): P = K_nm K_mm^{-1} K_mn + reg I by Woodbury
    (Frangella, Tropp and Udell 2023, arXiv:2110.02820, sec. 1.3). reg = diag_reg, times tr K / n unless
    `diag_reg_absolute_scale`; it must be positive.

    Shapes: x (n, features), y (n,) or (n, outputs). Stops at |residual| <= tolerance |y| for every output, warns
    `SolverNotConverged` after `max_steps`. In float32 the tiles themselves limit the residual to about 1e-6 over (reg
    relative to the largest eigenvalue of K); float64 x gives float64 tiles. `progress` None shows a bar on a terminal.

    Returns an object with `predict_fn(x_test=None)`, `weights`, `residuals`, `is_converged`.

    Raises `InvalidInput`, `ShapeMismatch`, `UnknownName`.
    """
    if get not in KERNELS:
        raise unknown("kernel", get, KERNELS)
    require_finite("x_train", x_train)
    x = np.asarray(read_numbers("x_train", x_train))
    x = x.astype(jax.dtypes.canonicalize_dtype(x.dtype if np.issubdtype(x.dtype, np.floating) else float))
    if x.ndim != 2 or 0 in x.shape:
        raise InvalidInput(f"x_train has shape {x.shape}; give (n, features) with at least one row")
    targets = read_targets(y_train, (-1,))
    if targets.values.shape[0] != len(x) or len(targets.shape) != 2:
        raise ShapeMismatch(f"y_train has shape {np.shape(y_train)}, x_train {x.shape}; give one target a row")
    count = LANDMARKS if landmarks is None else landmarks
    require_count("landmarks", count)
    require_count("max_steps", max_steps)
    for name, value in {"diag_reg": diag_reg, "tolerance": tolerance}.items():
        require_number(name, value)
        if not value > 0:
            raise InvalidInput(f"{name} is {value}, but must be positive: an iteration needs a well-posed system")
    if tolerance >= 1:
        raise InvalidInput(f"tolerance is {tolerance}, which holds before the first step; give one below 1, say 1e-4")
    kernel = TiledKernel(kernel_fn, x, get, read_memory(memory))
    diagonal = kernel.diagonal()
    require_finite(f"the {get} of x_train", diagonal)
    if not diagonal.mean() > 0:
        raise InvalidInput(f"the {get} of x_train has the mean variance {diagonal.mean():.3g}; give a kernel above 0")
    ridge = float(diag_reg * (1 if diag_reg_absolute_scale else diagonal.mean()))
    precondition = nystroem(kernel, ridge, min(len(x), count))
    y = np.asarray(targets.values, np.float64)
    with progress_bar(progress, "conjugate gradients", tolerance) as tell:
        weights, residuals = conjugate_gradients(
            lambda v: kernel.gram_times(v) + ridge * v, y, precondition, tolerance, max_steps, tell
        )
    require_finite(f"the {get} of x_train, times a vector,", residuals)
    posterior = IterativePosterior(kernel, targets, weights, ridge, residuals, tolerance)
    if not posterior.is_converged:
        warnings.warn(
            f"{posterior!r}: asked for {tolerance:.2g}; allow more steps, raise diag_reg or landmarks, or give float64",
            SolverNotConverged,
            stacklevel=2,
        )
    return posterior


@dataclass(frozen=True, eq=False)
class TiledKernel:
    """K(x, x) and K(x1, x) as products with matrices, tile by tile; no more than `memory` bytes of tiles at a time."""

    kernel_fn: KernelFn
    x: Floats = field(repr=False)
    get: str
    memory: float

    COPIES = 6
    """Arrays of the size of a tile that a kernel program may hold at once."""

    def side(self) -> int:
        """Rows of a square tile, so that equal tiles cover x."""
        largest = max(1, int(math.sqrt(self.memory / (self.COPIES * self.x.itemsize))))
        return math.ceil(len(self.x) / math.ceil(len(self.x) / largest))

    def tiles(self, values: Floats, rows: int) -> list[Floats]:
        """Blocks of equal shape, the last one filled up with rows of zeros."""
        filled = np.pad(values, ((0, -len(values) % rows), (0, 0)))
        return list(filled.reshape(-1, rows, values.shape[1]))

    def gram_times(self, v: Floats) -> Floats:
        """K v, each pair of tiles computed once:  K_ij v_j and K_ij^T v_i."""
        side = self.side()
        x, v_tiles = self.tiles(self.x, side), self.tiles(v.astype(self.x.dtype), side)
        total = np.zeros((len(x), side, v.shape[1]))
        for i in range(len(x)):
            total[i] += self.square(x[i], v_tiles[i])
            for j in range(i):
                upper, lower = self.oblong(x[i], x[j], v_tiles[i], v_tiles[j])
                total[i] += upper
                total[j] += lower
        return total.reshape(-1, v.shape[1])[: len(v)]

    def rows_times(self, x1: Floats, v: Floats) -> Floats:
        """K(x1, x) v."""
        x1, side = x1.astype(self.x.dtype), min(self.side(), len(x1))
        tiles = list(zip(self.tiles(self.x, self.side()), self.tiles(v.astype(self.x.dtype), self.side()), strict=True))
        zeros = np.zeros((side, v.shape[1]), self.x.dtype)
        rows = [sum(np.float64(self.oblong(some, x2, zeros, w)[0]) for x2, w in tiles) for some in self.tiles(x1, side)]
        return np.concatenate(rows)[: len(x1)]

    def rows(self, x1: Floats) -> Floats:
        """K(x1, x) itself, for a few rows x1."""
        wide = [np.asarray(self.kernel_fn(x1, some, self.get)) for some in self.tiles(self.x, self.side())]
        return np.concatenate(wide, axis=1)[:, : len(self.x)]

    def diagonal(self) -> Floats:
        """K(x_i, x_i)."""
        few = min(256, len(self.x))
        found = [np.diagonal(self.kernel_fn(some, None, self.get)) for some in self.tiles(self.x, few)]
        return np.concatenate(found)[: len(self.x)]

    @property
    def square(self) -> Callable[[Floats, Floats], jax.Array]:
        return partial(_square, self.kernel_fn, self.get)

    @property
    def oblong(self) -> Callable[[Floats, Floats, Floats, Floats], tuple[jax.Array, jax.Array]]:
        return partial(_oblong, self.kernel_fn, self.get)


@partial(jax.jit, static_argnums=(0, 1))
def _square(kernel_fn: KernelFn, get: str, x: jax.Array, v: jax.Array) -> jax.Array:
    return matmul(kernel_fn(x, None, get), v)


@partial(jax.jit, static_argnums=(0, 1))
def _oblong(
    kernel_fn: KernelFn, get: str, x1: jax.Array, x2: jax.Array, v1: jax.Array, v2: jax.Array
) -> tuple[jax.Array, jax.Array]:
    gram = kernel_fn(x1, x2, get)
    return matmul(gram, v2), matmul(gram.T, v1)


def nystroem(kernel: TiledKernel, ridge: float, count: int) -> Callable[[Floats], Floats]:
    """v -> (V^T V + ridge I)^{-1} v = (v - V^T (ridge I + V V^T)^{-1} V v) / ridge,  V = L^{-1} K_mn, L L^T = K_mm."""
    chosen = np.unique(np.linspace(0, len(kernel.x) - 1, count).round().astype(int))
    wide = kernel.rows(kernel.x[chosen])
    require_finite(f"the {kernel.get} of x_train", wide)
    corner = np.asarray(wide[:, chosen], np.float64)
    values, vectors = np.linalg.eigh((corner + corner.T) / 2)
    # Directions that rounding alone fills are left out; a preconditioner needs no more than the large ones.
    is_sound = values > values[-1] * len(values) * np.finfo(kernel.x.dtype).eps
    root = vectors[:, is_sound] / np.sqrt(values[is_sound])
    reduced = root.T @ wide
    inner = reduced @ reduced.T
    factor = np.linalg.cholesky(inner + ridge * np.eye(len(inner)))
    inverse = np.linalg.inv(factor)
    return lambda v: (v - reduced.T @ (inverse.T @ (inverse @ (reduced @ v)))) / ridge


def conjugate_gradients(
    product: Callable[[Floats], Floats],
    y: Floats,
    precondition: Callable[[Floats], Floats],
    tolerance: float,
    max_steps: int,
    tell: Callable[[float], None],
) -> tuple[Floats, tuple[float, ...]]:
    """A alpha = y for every column at once, and the largest relative residual after each step.

    Ends when the residual computed afresh, not the recursion's, is below `tolerance`, or no longer falls: then the
    rounding of `product` is all that is left (Hestenes and Stiefel 1952).
    """
    scale = np.linalg.norm(y, axis=0)
    scale = np.where(scale > 0, scale, 1)
    solution, rest = np.zeros_like(y), y
    residuals = [float((np.linalg.norm(rest, axis=0) / scale).max())]
    while residuals[-1] > tolerance and len(residuals) <= max_steps:
        before = residuals[-1]
        direction = turned = precondition(rest)
        weight = np.sum(rest * turned, axis=0)
        while residuals[-1] > tolerance and len(residuals) <= max_steps:
            image = product(direction)
            curvature = np.sum(direction * image, axis=0)
            length = np.where(curvature > 0, weight / np.where(curvature > 0, curvature, 1), 0)
            solution, rest = solution + length * direction, rest - length * image
            turned = precondition(rest)
            weight, old = np.sum(rest * turned, axis=0), weight
            direction = turned + np.where(old > 0, weight / np.where(old > 0, old, 1), 0) * direction
            residuals.append(float((np.linalg.norm(rest, axis=0) / scale).max()))
            tell(residuals[-1])
        rest = y - product(solution)
        residuals[-1] = float((np.linalg.norm(rest, axis=0) / scale).max())
        tell(residuals[-1])
        if residuals[-1] > before / 2:
            break
    return solution, tuple(residuals)


def read_memory(memory: str | float) -> float:
    """Bytes:  "2GB" -> 2e9."""
    if not isinstance(memory, str):
        require_number("memory", memory)
        value = float(memory)
    else:
        text = memory.strip().upper().removesuffix("B")
        unit = text[-1:] if text[-1:] in UNITS else ""
        try:
            value = float(text.removesuffix(unit)) * UNITS[unit]
        except ValueError:
            raise InvalidInput(f"memory is {memory!r}; give bytes, or text such as '500MB' or '2GB'") from None
    if not 1e6 <= value < math.inf:
        raise InvalidInput(f"memory is {memory!r}; a tile needs at least 1MB, and a bound")
    return value


@contextmanager
def progress_bar(wanted: bool | None, title: str, tolerance: float) -> Generator[Callable[[float], None]]:
    """Tells how far a residual has fallen, on a scale of its logarithm; None: on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True, force_terminal=wanted or None)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal or wanted is False) as bar:
        task = bar.add_task(title, total=-math.log(tolerance))

        def tell(residual: float) -> None:
            done = max(0.0, -math.log(max(residual, 1e-300)))
            bar.update(task, completed=done, description=f"{title}, residual {residual:.1e}")

        yield tell
