"""Training targets and kernel blocks as matrices:  y (n, ..., c) -> (m, c),  K (n1, n2, a, a, ...) -> (m1, m2).

`trace_axes` of y have no pair of axes in the kernel: along them the covariance is K x I. Every check that needs numbers
is skipped for values that jit, grad or vmap will supply.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ntkc.data import has_masked
from ntkc.errors import InvalidInput, ShapeMismatch
from ntkc.predict.factor import is_concrete

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets (m, c) with m entries per Gram row and c along the traced axes, and the way back to their own shape."""

    values: Array
    shape: Shape
    trace_axes: Shape
    is_vector: bool

    @property
    def kept(self) -> Shape:
        """Sizes of the axes that the kernel has twice."""
        return tuple(size for axis, size in enumerate(self.shape) if axis not in self.trace_axes)

    @property
    def traced(self) -> Shape:
        return tuple(self.shape[axis] for axis in self.trace_axes)

    def cast(self, dtype: Any) -> Array:
        """The values in the precision of the kernel."""
        values = self.values.astype(dtype)
        if is_concrete(values) and not np.isfinite(np.asarray(values)).all():
            raise InvalidInput(f"y_train overflows {dtype}, the dtype of the kernel; scale it, or compute in float64")
        return values

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def restore(self, mean: Array, times: Shape, kept: Shape) -> Array:
        """(n_times, m*, c) -> times + the shape of y with `kept` for its own kept axes."""
        last = range(-len(self.trace_axes), 0)
        places = [axis - len(self.shape) for axis in self.trace_axes]
        mean = jnp.moveaxis(mean.reshape(times + kept + self.traced), last, places)
        return mean[..., 0] if self.is_vector else mean

    def shape_of(self, kept: Shape) -> Shape:
        """The shape of y with `kept` for its own kept axes: that of the outputs on another data set."""
        shape = list(kept)
        for axis in self.trace_axes:
            shape.insert(axis, self.shape[axis])
        return tuple(shape[:-1] if self.is_vector else shape)

    def flatten(self, outputs: Array) -> Array:
        """Outputs on any data set -> (m*, c)."""
        return flatten_outputs(outputs[..., None] if self.is_vector else outputs, self.trace_axes)


def read_targets(y_train: Any, trace_axes: int | Sequence[int], name: str = "y_train") -> Targets:
    """Checks y and flattens it; a vector (n,) is one output, (n, 1), whose axis the predictions drop again."""
    given = read_numbers(name, y_train)
    y = given if isinstance(given, jax.Array) else as_jax(given.astype(np.float64))
    if y.ndim == 0 or y.size == 0:
        raise InvalidInput(f"y_train has shape {y.shape}; give at least one training target per row of x_train")
    require_finite(name, y)
    is_vector = y.ndim == 1 and trace_axes != ()
    y = y[:, None] if is_vector else y
    axes = read_axes(trace_axes, y.ndim)
    return Targets(flatten_outputs(y, axes), y.shape, axes, is_vector)


def read_axes(trace_axes: int | Sequence[int], ndim: int) -> Shape:
    axes = tuple(trace_axes) if isinstance(trace_axes, Iterable) else (trace_axes,)
    if any(not isinstance(axis, int | np.integer) for axis in axes):
        raise InvalidInput(f"trace_axes is {trace_axes!r}, but must be one axis of y_train or a tuple of them")
    if any(not -ndim <= axis < ndim for axis in axes):
        raise InvalidInput(f"trace_axes {axes} name an axis that y_train with {ndim} axes lacks; give axes of y_train")
    return tuple(sorted({axis % ndim for axis in axes}))


def flatten_outputs(outputs: Array, trace_axes: Shape) -> Array:
    """Moves `trace_axes` to the end:  (m*, c)."""
    size = math.prod(outputs.shape[axis] for axis in trace_axes)
    return jnp.moveaxis(outputs, trace_axes, range(-len(trace_axes), 0)).reshape(-1, size)


def read_cross(name: str, kernel: Any, columns: Shape) -> Array:
    """A kernel (r1, c1, r2, c2, ...) of any set with one of these `columns`, checked to be finite."""
    return _read_block(name, kernel, None, columns)


def read_gram(name: str, kernel: Any, kept: Shape) -> Array:
    """A kernel (k1, k1, k2, k2, ...) of a set with itself, checked to be finite and symmetric."""
    block = _read_block(name, kernel, kept, kept)
    require_symmetric(name, block)
    return block


def _read_block(name: str, kernel: Any, rows: Shape | None, columns: Shape) -> Array:
    block = as_jax(read_numbers(name, kernel))
    block = block if jnp.issubdtype(block.dtype, jnp.floating) else block.astype(float)
    if block.ndim != 2 * len(columns) or block.shape[1::2] != columns or rows not in (None, block.shape[::2]):
        wanted = interleave(rows or ("any",) * len(columns), columns)
        raise ShapeMismatch(
            f"{name} has shape {block.shape}, but the kept axes {columns} of y_train ask for ({wanted}); "
            "let trace_axes name the axes of y_train that the kernel lacks, and give one target per training input"
        )
    if block.size == 0:
        raise InvalidInput(f"{name} has shape {block.shape}, which is empty; give at least one input")
    require_finite(name, block)
    return block


def part_of(kernel: Any, name: str) -> Any:
    """kernel[name] of a mapping, kernel.name of any other object; None where there is none."""
    return kernel.get(name) if isinstance(kernel, Mapping) else getattr(kernel, name, None)


def interleave(rows: Sequence[object], columns: Sequence[object]) -> str:
    return ", ".join(f"{row}, {column}" for row, column in zip(rows, columns, strict=True))


def flatten_pairs(block: Array) -> Array:
    """(r1, c1, r2, c2, ...) -> (r1 r2 ..., c1 c2 ...)."""
    order = (*range(0, block.ndim, 2), *range(1, block.ndim, 2))
    rows = math.prod(block.shape[::2])
    return block.transpose(order).reshape(rows, -1)


def restore_pairs(covariance: Array, times: Shape, kept: Shape) -> Array:
    """(n_times, m, m) -> times + (k1, k1, k2, k2, ...)."""
    n, k = len(times), len(kept)
    order = [axis for i in range(k) for axis in (n + i, n + k + i)]
    return covariance.reshape(times + kept + kept).transpose(*range(n), *order)


def read_numbers(name: str, value: Any) -> Any:
    """As an array of real numbers: of JAX if it is one or holds traced numbers, else of numpy."""
    try:
        found = np.asarray(value) if is_concrete(value) and not isinstance(value, jax.Array) else jnp.asarray(value)
    except ValueError:
        raise InvalidInput(f"{name} has rows of different lengths; give an array of real numbers") from None
    if has_masked(value):
        raise InvalidInput(f"{name} has masked entries; drop or fill them")
    if not is_real(found.dtype):
        raise InvalidInput(f"{name} is {summary(value)} of dtype {found.dtype}; give real numbers")
    return found


def as_jax(values: Any) -> Array:
    """In the default precision of JAX; what overflows it is infinite, and is refused as such."""
    with np.errstate(over="ignore"):
        return jnp.asarray(values)


def is_real(dtype: Any) -> bool:
    return any(jnp.issubdtype(dtype, kind) for kind in (np.floating, np.integer, np.bool_))


def summary(value: Any) -> str:
    """A scalar as it is, else the name of its type."""
    return repr(value) if np.isscalar(value) or value is None else f"a {type(value).__name__}"


def require_finite(name: str, value: Any) -> None:
    if not is_concrete(value) or bool(np.isfinite(np.asarray(read_numbers(name, value))).all()):
        return
    raise InvalidInput(f"{name} holds NaN or infinities; drop or repair those entries")


ASYMMETRY = 1e-3
"""What is larger than this, relative to the largest entry, is no rounding; but 8 eps of a shorter dtype is."""
STRIP = 512


def require_symmetric(name: str, block: Array) -> None:
    """K[i, j] = K[j, i] up to rounding; strip by strip, so that nothing of the size of K is made."""
    if not is_concrete(block):
        return
    bound = max(ASYMMETRY, 8 * float(jnp.finfo(block.dtype).eps))
    gram = np.asarray(flatten_pairs(block))
    strips = range(0, len(gram), STRIP)
    largest = max(float(np.abs(gram[i : i + STRIP]).max()) for i in strips)
    differences = (gram[i : i + STRIP] - gram[:, i : i + STRIP].T for i in strips)
    found = max(float(np.abs(d).max()) for d in differences)
    if found > bound * largest:
        raise InvalidInput(
            f"{name} is not symmetric: entries (i, j) and (j, i) differ by up to {found:.3g}; "
            "give the kernel of a set with itself, all of it"
        )


def require_not_negative(name: str, value: Any) -> None:
    """Infinity passes: time may be infinite."""
    if not is_concrete(value) or bool((np.asarray(read_numbers(name, value)) >= 0).all()):
        return
    raise InvalidInput(f"{name} is {value}, but must be 0 or positive; give a number >= 0")


def require_number(name: str, value: Any) -> None:
    """One number >= 0, and finite: a ridge, a rate."""
    require_not_negative(name, value)
    require_finite(name, value)
    if np.ndim(value) != 0:
        raise InvalidInput(f"{name} has shape {np.shape(value)}; give one number")


def require_count(name: str, value: Any, least: int = 1) -> None:
    """A whole number, at least `least`."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise InvalidInput(f"{name} is {value!r}, but must be a whole number, at least {least}")


def require_alike(x_train: Any, x_test: Any) -> None:
    """Test inputs have the shape of training inputs but for their number."""
    train, test = ([np.shape(leaf) for leaf in jax.tree.leaves(x)] for x in (x_train, x_test))
    if [shape[1:] for shape in train] != [shape[1:] for shape in test]:
        raise ShapeMismatch(
            f"x_test has shape {show(test)}, x_train {show(train)}; all axes but the first must agree; "
            "give both the same features"
        )
    if any(shape[:1] == (0,) for shape in test):
        raise InvalidInput(f"x_test has shape {show(test)}, which is empty; give an input, or None for x_train")


def show(shapes: list[Shape]) -> str:
    return ", ".join(map(str, shapes))


def merge_keywords(train: Mapping[str, Any], test: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords of kernel_fn for (test, train) and (test, test) from those for training and for testing."""
    for name in test:
        if name not in train:
            raise InvalidInput(
                f"keyword {name!r} is given for testing only; give it for training too: have {sorted(train)}"
            )
    crossed = {name: cross_keyword(name, train[name], value) for name, value in test.items()}
    return {**train, **crossed}, {**train, **test}


def cross_keyword(name: str, train: Any, test: Any) -> Any:
    """(test of x_test, train of x_train) for pairs of arrays, the test value for one array, else the common value."""
    if not is_array_tree(train) or not is_array_tree(test):
        if train != test:
            raise InvalidInput(
                f"keyword {name!r} is {train!r} for training and {test!r} for testing; they must be equal"
            )
        return test
    if isinstance(train, tuple) and isinstance(test, tuple) and len(train) == len(test) == 2:
        return test[0], train[0]
    return test


def is_array_tree(value: Any) -> bool:
    leaves = jax.tree.leaves(value)
    return bool(leaves) and all(isinstance(leaf, np.ndarray | jax.Array) for leaf in leaves)
