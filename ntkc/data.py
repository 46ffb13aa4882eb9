"""What users give as data: arrays of samples, tuples of them, graphs; checked, with errors that say what is wrong."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ntkc.errors import InvalidInput, ShapeMismatch
from ntkc.ir.exact import whole
from ntkc.ir.words import one_line


def arrays_of(x: Any) -> tuple[Any, ...]:
    """Data of every input."""
    return x if isinstance(x, tuple) else (x,)


def flat_inputs(name: str, x: Any, count: int) -> list[Any]:
    """The arrays of nested tuples, one for each input of the network.

    Raises:
        InvalidInput: another number of them.
    """
    found = _flat(x)
    if len(found) != count:
        given = f"{len(found)} arrays" if isinstance(x, (tuple, list)) else f"one {type(x).__name__}"
        raise InvalidInput(
            f"{name} is {given}: this network has {count} inputs, and takes a tuple of an array for each"
        )
    return found


def _flat(x: Any) -> list[Any]:
    return [v for part in x for v in _flat(part)] if isinstance(x, (tuple, list)) else [x]


def shapes_of(shape: Any, count: int) -> list[tuple[int, ...]]:
    """Shapes of one sample of each of `count` inputs, from nested tuples of them.

    Raises:
        InvalidInput: another number of them, or sizes that are no whole numbers from 1.
    """
    found = _flat_shapes(shape)
    if len(found) != count:
        raise InvalidInput(f"{len(found)} shape(s), {shape}, for a network of {count} input(s): one for each is needed")
    return [tuple(whole(n, "shape of a sample") for n in s) for s in found]


def _flat_shapes(shape: Any) -> list[Any]:
    if not isinstance(shape, (tuple, list)):
        raise InvalidInput(f"shape of a sample {shape!r}: pixels, then features are needed, as (32, 32, 3) or (784,)")
    are_parts = any(isinstance(part, (tuple, list)) for part in shape)
    return [s for part in shape for s in _flat_shapes(part)] if are_parts else [shape]


def pair_of(pattern: Any, x2: Any) -> tuple[Any, Any] | None:
    """The graphs of x1 and of x2; those of one set alone are (pattern, None).

    Raises:
        InvalidInput: another number of them.
    """
    if pattern is None:
        return None
    if not isinstance(pattern, (tuple, list)):
        if x2 is not None:
            raise InvalidInput("pattern has the graphs of one side only: give both, pattern=(pattern1, pattern2)")
        return dense_pattern(pattern), None
    if len(pattern) != 2:
        raise InvalidInput(
            f"pattern is {len(pattern)} things: the graphs of x1 and those of x2 are needed, (pattern1, pattern2)"
        )
    first, second = pattern
    made = dense_pattern(first)
    return made, made if second is first else dense_pattern(second)


def dense_pattern(pattern: Any) -> Any:
    """Arrays of graphs [samples, ...] as they are; sparse matrices, of scipy or BCOO, as dense ones."""
    if isinstance(pattern, (tuple, list)):
        return np.stack([np.asarray(p.todense() if hasattr(p, "todense") else p) for p in pattern])
    if not hasattr(pattern, "todense"):
        return pattern
    dense = pattern.todense()
    dense = dense if isinstance(dense, jax.Array) else np.asarray(dense)
    return dense[None] if dense.ndim == 2 else dense


def checked_patterns(pattern: Any, x2: Any, is_read: bool) -> tuple[Any, Any] | None:
    """The graphs of both sides, the second None if it is that of x1; None if there are none.

    Raises:
        InvalidInput: one side lacks its graphs, or no layer reads them.
    """
    pattern = pair_of(pattern, x2)
    if pattern is None or all(p is None for p in pattern):
        return None
    if not is_read:
        raise InvalidInput("pattern is given to a network without an Aggregate layer")
    first, second = pattern
    if first is None or (second is None and x2 is not None):
        raise InvalidInput("pattern has the graphs of one side only: give both, pattern=(pattern1, pattern2)")
    return first, None if x2 is None and are_same_patterns(first, second) else second


def are_same_patterns(first: Any, second: Any) -> bool:
    """The same graphs on both sides, as far as their values are known."""
    if second is None or second is first:
        return True
    is_traced = isinstance(first, Tracer) or isinstance(second, Tracer)
    return not is_traced and np.array_equal(np.asarray(first), np.asarray(second))


def checked_data(name: str, x: Any, axes: int | None = 2, may_miss: bool = False) -> Any:
    """Data as a float array [samples, ..., features], or an error that says what is wrong with it.

    `axes`: how many are needed; 2 allows more, which are pixels, None allows any. `may_miss` allows NaN.
    """
    refuse_masked(**{name: x})
    try:
        array = x if isinstance(x, jax.Array) else np.asarray(x)
        is_real = jnp.issubdtype(array.dtype, jnp.floating) or jnp.dtype(array.dtype).kind in "iub"
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{name} is a {type(x).__name__}, not an array [samples, features]: {error}") from error
    if not is_real:
        raise InvalidInput(f"{name} has dtype {array.dtype}: real numbers are needed")
    if array.ndim < 2 or (axes is not None and axes > 2 and array.ndim != axes):
        advice = "x[:, None] or x[None, :] makes it two-dimensional" if array.ndim == 1 else "a network fits one shape"
        needed = "[samples, features]" if axes in (2, None) else f"an array of {axes} axes"
        raise ShapeMismatch(f"{name} has shape {tuple(array.shape)}, {needed} is needed; {advice}")
    if 0 in array.shape:
        raise InvalidInput(f"{name} has shape {tuple(array.shape)}: it holds no samples or no features")
    array = jnp.asarray(array, _float_type(array.dtype))
    if not isinstance(array, Tracer) and not _has_finite_norms(array, may_miss):
        bad = np.argwhere(np.isinf(np.asarray(array)) if may_miss else ~np.isfinite(np.asarray(array)))
        if not len(bad):
            raise InvalidInput(f"{name} holds values whose squares overflow {array.dtype}: rescale the data")
        place = tuple(int(i) for i in bad[0])
        raise InvalidInput(f"{name} holds NaN or infinity, first at {place}: remove or impute it")
    return array


def refuse_masked(**data: Any) -> None:
    """Refuse numpy.ma arrays, by name, in which a mask hides entries: numpy would read the values below it.

    Raises:
        InvalidInput: there is one.
    """
    for name, value in data.items():
        if has_masked(value):
            raise InvalidInput(
                f"{name} is a numpy masked array with masked entries, whose mask would be lost: fill or drop them, or "
                "give x.filled(c) and mask_constant=c to a kernel of pixels"
            )


_ARE_TILES: ContextVar[bool] = ContextVar("are_tiles", default=False)


@contextmanager
def tiles_of_one_call() -> Generator[None]:
    """Calls inside are of tiles of samples: equal ones may stand at different places, and only x2 None is x1."""
    token = _ARE_TILES.set(True)
    try:
        yield
    finally:
        _ARE_TILES.reset(token)


def are_one_set(x1: Any, x2: Any) -> bool:
    """x2 is None, x1 itself, or equal to it in all values; values that are traced are not known."""
    if x2 is None:
        return True
    if _ARE_TILES.get():
        return False
    try:
        first, second = _arrays(x1), _arrays(x2)
    except ValueError:  # rows of different lengths, which are refused where data are read
        return False
    return len(first) == len(second) and all(map(_are_equal, first, second))


def _arrays(x: Any) -> list[Any]:
    """The arrays of a pytree; lists of numbers are one."""
    leaves = jax.tree.leaves(x)
    return [np.asarray(x)] if all(map(np.isscalar, leaves)) else leaves


def _are_equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, Tracer) or isinstance(b, Tracer) or np.shape(a) != np.shape(b):
        return False
    with jax.ensure_compile_time_eval():
        a, b = _near(a), _near(b)
        return bool(np.all((a == b) | ((a != a) & (b != b))))  # NaN may stand for what is missing


def has_masked(value: Any) -> bool:
    """A numpy.ma array, also one in a list or tuple, hides an entry."""
    return any(np.ma.is_masked(leaf) for leaf in jax.tree.leaves(value))


def checked_value(name: str, value: Any, dtype: Any) -> Any:
    """The value of a hyper-parameter in a call, as one number of JAX; those that jit, grad and vmap trace stay so.

    Raises:
        InvalidInput: it is not one real number, not finite, or its square is not finite in `dtype`.
    """
    number = _one_number(f"hyper-parameter {name}", value)
    if not isinstance(number, Tracer):
        largest, size = float(jnp.finfo(dtype).max) ** 0.5, abs(float(number))
        if not size <= largest:
            rule = f"its square must be finite in {jnp.dtype(dtype)}, so at most {largest:.2g}"
            raise InvalidInput(f"hyper-parameter {name} = {float(number)}: {rule}; give a finite, smaller number")
    return jnp.asarray(number, float)


def _one_number(name: str, value: Any) -> Any:
    if has_masked(value):
        raise InvalidInput(f"{name} is masked: give a real number")
    is_array = isinstance(value, (jax.Array, np.ndarray, np.generic))
    if (
        is_array
        and value.ndim == 0
        and (np.dtype(value.dtype).kind in "iu" or jnp.issubdtype(value.dtype, np.floating))
    ):
        return value
    if is_array or isinstance(value, bool) or not hasattr(value, "__float__"):
        given = f"an array of shape {value.shape}, {value.dtype}" if is_array else one_line(repr(value))
        raise InvalidInput(f"{name} = {given}: one real number is needed; jax.vmap goes over many")
    try:
        return float(value)
    except (TypeError, OverflowError) as error:
        raise InvalidInput(f"{name} = {one_line(repr(value))}: {error}; give a real number") from error


def with_nan(name: str, x: Any, constant: Any) -> Any:
    """Data with NaN in the place of a constant, which may be NaN.

    Raises:
        InvalidInput: the constant is not one real number, or it is one and the data hold NaN beside it.
    """
    constant = _one_number("mask_constant", constant)
    array = jnp.asarray(x)
    array = array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)
    if isinstance(constant, Tracer):
        return jnp.where(array == constant, jnp.nan, array)  # NaN equals nothing, and is NaN already
    if np.isnan(constant):
        return array
    if isinstance(array, Tracer):
        return jnp.where(array == constant, jnp.nan, array)
    values = np.asarray(array)
    if np.isnan(values).any():
        raise InvalidInput(f"{name} holds NaN, but mask_constant = {constant}: repair these entries, or put it there")
    return jnp.asarray(np.where(values == np.asarray(constant, values.dtype), np.asarray(np.nan, values.dtype), values))


def broadcasting() -> Any:
    """Broadcasting over axes that are added in front, whatever jax_numpy_rank_promotion says of the user's own code."""
    return jax.numpy_rank_promotion("allow")


def presence(x: Any) -> Any:
    """Pixels with a channel that is there."""
    return jax.tree.map(lambda v: jnp.asarray(~_library(v).isnan(_near(v)).all(-1)), x)


def _has_finite_norms(array: Any, may_miss: bool) -> bool:
    library, array = _library(array), _near(array)
    # Data that are known while others are traced are checked at once, not traced too.
    with jax.ensure_compile_time_eval(), np.errstate(over="ignore", invalid="ignore"):
        array = library.nan_to_num(array, nan=0.0, posinf=np.inf, neginf=-np.inf) if may_miss else array
        return bool(library.isfinite(library.einsum("...c,...c->...", array, array)).all())


def _is_near(array: Any) -> bool:
    """Values that numpy reads where they lie: it needs no compilation."""
    if not isinstance(array, jax.Array):
        return True
    return (
        not isinstance(array, Tracer)
        and array.is_fully_addressable
        and all(d.platform == "cpu" for d in array.devices())
    )


def _near(array: Any) -> Any:
    return np.asarray(array) if _is_near(array) else array


def _library(array: Any) -> Any:
    return np if _is_near(array) else jnp


def _float_type(dtype: Any) -> Any:
    """float32 stays, float64 too where jax_enable_x64 is on; halves become float32, whole numbers JAX's float."""
    if jnp.issubdtype(dtype, jnp.floating):
        return jnp.float32 if jnp.dtype(dtype).itemsize < 8 else jax.dtypes.canonicalize_dtype(dtype)
    return jax.dtypes.canonicalize_dtype(float)
