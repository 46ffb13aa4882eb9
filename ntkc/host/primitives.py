"""JAX primitives by numpy: a primitive's parameters  ->  the function of arrays that it is.

Arrays come in the dtypes that jax has given them, and go out in them; what a primitive leaves undefined (a sum's order)
may differ by rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

Compute = Callable[..., Any]
Build = Callable[..., "Compute | None"]


def _plain(function: Compute) -> Build:
    return lambda **_: function


def _signed_power(x: Any, y: int) -> Any:
    """x^y by repeated squares, as XLA computes it."""
    if y < 0:
        return np.reciprocal(_signed_power(x, -y))
    made, base = None, x
    while y:
        if y & 1:
            made = base if made is None else made * base
        y >>= 1
        base = base * base if y else base
    return np.ones_like(x) if made is None else made


def _divide(a: Any, b: Any) -> Any:
    """Whole numbers are rounded towards 0."""
    if np.issubdtype(np.asarray(a).dtype, np.integer):
        return np.trunc(np.true_divide(a, b)).astype(np.asarray(a).dtype)
    return np.divide(a, b)


def _rsqrt(x: Any) -> Any:
    return np.reciprocal(np.sqrt(x))


def _special(name: str) -> Compute:
    """A function of scipy, which is imported when it is first needed."""

    def function(x: Any) -> Any:
        from scipy import special

        return getattr(special, name)(x)

    return function


def _select(which: Any, *cases: Any) -> Any:
    if which.dtype == bool:
        return np.where(which, cases[1], cases[0])
    return np.choose(which, cases)


def _broadcast(*, shape: Sequence[int], broadcast_dimensions: Sequence[int], **_: Any) -> Compute:
    axes = [1] * len(shape)

    def function(x: Any) -> Any:
        kept = list(axes)
        for place, size in zip(broadcast_dimensions, np.shape(x), strict=True):
            kept[place] = size
        return np.broadcast_to(np.reshape(x, kept), shape)

    return function


def _slice(*, start_indices: Any, limit_indices: Any, strides: Any, **_: Any) -> Compute:
    steps = strides or (None,) * len(start_indices)
    where = tuple(map(slice, start_indices, limit_indices, steps))
    return lambda x: x[where]


def _corner(starts: Sequence[Any], shape: Sequence[int], sizes: Sequence[int]) -> tuple[slice, ...]:
    """A block that is moved into the array where it would leave it."""
    places = [min(max(int(s), 0), n - size) for s, n, size in zip(starts, shape, sizes, strict=True)]
    return tuple(slice(p, p + size) for p, size in zip(places, sizes, strict=True))


def _dynamic_slice(*, slice_sizes: Sequence[int], **_: Any) -> Compute:
    return lambda x, *starts: x[_corner(starts, x.shape, slice_sizes)]


def _dynamic_update(x: Any, update: Any, *starts: Any) -> Any:
    made = np.array(x)
    made[_corner(starts, x.shape, np.shape(update))] = update
    return made


def _gather(*, dimension_numbers: Any, slice_sizes: Sequence[int], mode: Any, **_: Any) -> Compute | None:
    """Blocks of an array from where rows of indices say; where these may lie outside, numpy has nothing like it."""
    if dimension_numbers.operand_batching_dims or getattr(mode, "name", "") not in ("PROMISE_IN_BOUNDS", "CLIP"):
        return None
    starts, collapsed = dimension_numbers.start_index_map, dimension_numbers.collapsed_slice_dims
    kept = [size for axis, size in enumerate(slice_sizes) if axis not in collapsed]

    def function(x: Any, indices: Any) -> Any:
        rows = np.reshape(indices, (-1, len(starts)))
        where: list[Any] = []
        for axis, size in enumerate(slice_sizes):
            first = np.zeros(len(rows), int)
            if axis in starts:
                first = np.clip(rows[:, starts.index(axis)], 0, x.shape[axis] - size)
            along = [1] * len(slice_sizes)
            along[axis] = size
            where.append(first.reshape(-1, *[1] * len(slice_sizes)) + np.arange(size).reshape(along))
        made = x[tuple(where)].reshape(*np.shape(indices)[:-1], *kept)
        return np.moveaxis(made, range(made.ndim - len(kept), made.ndim), dimension_numbers.offset_dims)

    return function


def _pad(*, padding_config: Sequence[tuple[int, int, int]], **_: Any) -> Compute:
    """Entries around and between; what a negative number cuts off goes last."""
    low, high, between = zip(*padding_config, strict=True) if padding_config else ((), (), ())

    def function(x: Any, value: Any) -> Any:
        spread = [n + max(n - 1, 0) * b for n, b in zip(x.shape, between, strict=True)]
        outer = [n + max(lo, 0) + max(hi, 0) for n, lo, hi in zip(spread, low, high, strict=True)]
        made = np.full(outer, value, x.dtype)
        inner = zip(low, spread, between, strict=True)
        made[tuple(slice(max(lo, 0), max(lo, 0) + n, b + 1) for lo, n, b in inner)] = x
        cut = zip(low, high, outer, strict=True)
        return made[tuple(slice(max(-lo, 0), n - max(-hi, 0)) for lo, hi, n in cut)]

    return function


def _iota(*, dtype: Any, shape: Sequence[int], dimension: int, **_: Any) -> Compute:
    along = [1] * len(shape)
    along[dimension] = shape[dimension]
    made = np.broadcast_to(np.arange(shape[dimension]).astype(dtype).reshape(along), shape)
    return lambda: made


def _dot(*, dimension_numbers: Any, preferred_element_type: Any = None, **_: Any) -> Compute:
    (contract1, contract2), (batch1, batch2) = dimension_numbers

    def function(a: Any, b: Any) -> Any:
        free1 = [i for i in range(a.ndim) if i not in (*contract1, *batch1)]
        free2 = [i for i in range(b.ndim) if i not in (*contract2, *batch2)]
        batch = [a.shape[i] for i in batch1]
        inner = prod(a.shape[i] for i in contract1)
        left = a.transpose(*batch1, *free1, *contract1).reshape(*batch, -1 if a.size else 0, inner)
        right = b.transpose(*batch2, *contract2, *free2).reshape(*batch, inner, -1 if b.size else 0)
        shape = (*batch, *(a.shape[i] for i in free1), *(b.shape[i] for i in free2))
        made = np.matmul(left, right).reshape(shape)
        return made if preferred_element_type is None else made.astype(preferred_element_type)

    return function


def _reduced(function: Compute) -> Build:
    def build(*, axes: Sequence[int], **_: Any) -> Compute:
        return lambda x: function(x, axis=tuple(axes))

    return build


def _sum(x: Any, axis: tuple[int, ...]) -> Any:
    return np.sum(x, axis=axis, dtype=x.dtype)


def _product(x: Any, axis: tuple[int, ...]) -> Any:
    return np.prod(x, axis=axis, dtype=x.dtype)


def _place_of(function: Compute) -> Build:
    def build(*, axes: Sequence[int], index_dtype: Any, **_: Any) -> Compute:
        return lambda x: function(x, axis=axes[0]).astype(index_dtype)

    return build


def _accumulated(function: Compute) -> Build:
    def build(*, axis: int, reverse: bool, **_: Any) -> Compute:
        def compute(x: Any) -> Any:
            turned = np.flip(x, axis) if reverse else x
            made = function(turned, axis=axis, dtype=x.dtype)
            return np.flip(made, axis) if reverse else made

        return compute

    return build


def _converted(*, new_dtype: Any, **_: Any) -> Compute:
    def function(x: Any) -> Any:
        is_real_part = np.iscomplexobj(x) and not np.issubdtype(new_dtype, np.complexfloating)
        return np.asarray(x.real if is_real_part else x).astype(new_dtype, copy=False)

    return function


def _complex(a: Any, b: Any) -> Any:
    made = np.empty(np.shape(a), np.result_type(a, np.complex64))
    made.real, made.imag = a, b
    return made


def _barrier(*given: Any) -> list[Any]:
    return list(given)


TABLE: dict[str, Build] = {
    name: _plain(function)
    for name, function in {
        "add": np.add,
        "add_any": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "div": _divide,
        "rem": np.fmod,
        "max": np.maximum,
        "min": np.minimum,
        "neg": np.negative,
        "abs": np.abs,
        "sign": np.sign,
        "floor": np.floor,
        "ceil": np.ceil,
        "pow": np.power,
        "sqrt": np.sqrt,
        "rsqrt": _rsqrt,
        "square": np.square,
        "exp": np.exp,
        "expm1": np.expm1,
        "log": np.log,
        "log1p": np.log1p,
        "sin": np.sin,
        "cos": np.cos,
        "tan": np.tan,
        "asin": np.arcsin,
        "acos": np.arccos,
        "atan": np.arctan,
        "atan2": np.arctan2,
        "sinh": np.sinh,
        "cosh": np.cosh,
        "tanh": np.tanh,
        "logistic": _special("expit"),
        "erf": _special("erf"),
        "erfc": _special("erfc"),
        "erf_inv": _special("erfinv"),
        "lgamma": _special("gammaln"),
        "is_finite": np.isfinite,
        "eq": np.equal,
        "ne": np.not_equal,
        "lt": np.less,
        "le": np.less_equal,
        "gt": np.greater,
        "ge": np.greater_equal,
        "and": np.bitwise_and,
        "or": np.bitwise_or,
        "xor": np.bitwise_xor,
        "not": np.invert,
        "real": np.real,
        "imag": np.imag,
        "conj": np.conj,
        "complex": _complex,
        "select_n": _select,
        "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
        "dynamic_update_slice": _dynamic_update,
        "optimization_barrier": _barrier,
        "stop_gradient": lambda x: x,
        "copy": lambda x: x,
        "copy_p": lambda x: x,
    }.items()
} | {
    "integer_pow": lambda *, y, **_: partial(_signed_power, y=y),
    "convert_element_type": _converted,
    "broadcast_in_dim": _broadcast,
    "reshape": lambda *, new_sizes, **_: lambda x: np.reshape(x, new_sizes),
    "transpose": lambda *, permutation, **_: partial(np.transpose, axes=permutation),
    "squeeze": lambda *, dimensions, **_: partial(np.squeeze, axis=tuple(dimensions)),
    "rev": lambda *, dimensions, **_: partial(np.flip, axis=tuple(dimensions)),
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "concatenate": lambda *, dimension, **_: lambda *parts: np.concatenate(parts, dimension),
    "stack": lambda *, axis, **_: lambda *parts: np.stack(parts, axis),
    "gather": _gather,
    "pad": _pad,
    "iota": _iota,
    "dot_general": _dot,
    "reduce_sum": _reduced(_sum),
    "reduce_prod": _reduced(_product),
    "reduce_max": _reduced(np.max),
    "reduce_min": _reduced(np.min),
    "reduce_and": _reduced(np.all),
    "reduce_or": _reduced(np.any),
    "argmax": _place_of(np.argmax),
    "argmin": _place_of(np.argmin),
    "cumsum": _accumulated(np.cumsum),
    "cumprod": _accumulated(np.cumprod),
}
"""Primitives without programs inside."""
