"""ONNX operations in jax.numpy: op(attributes, *inputs)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ntkc.importers.refusals import UnsupportedModel
from ntkc.importers.torch_ops import batch_norm, group_norm

Attributes = Mapping[str, Any]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _whole(values: Any) -> list[int]:
    return [int(v) for v in np.asarray(values).reshape(-1)]


def _pads(a: Attributes, shape: Sequence[int], window: Sequence[int], steps: Sequence[int], spread: Any) -> Any:
    auto = _text(a.get("auto_pad", "NOTSET"))
    if auto in ("NOTSET", ""):
        pads = a.get("pads") or [0] * 2 * len(window)
        return [(int(low), int(high)) for low, high in zip(pads[: len(window)], pads[len(window) :], strict=True)]
    if auto == "VALID":
        return [(0, 0)] * len(window)
    reach = [(w - 1) * d + 1 for w, d in zip(window, spread, strict=True)]
    totals = [max((-(-n // s) - 1) * s + r - n, 0) for n, s, r in zip(shape, steps, reach, strict=True)]
    halves = [(t // 2, t - t // 2) for t in totals]
    return halves if auto == "SAME_UPPER" else [(high, low) for low, high in halves]


def _conv(a: Attributes, x: Any, weight: Any, bias: Any = None) -> Any:
    count = weight.ndim - 2
    steps, spread = list(a.get("strides") or [1] * count), list(a.get("dilations") or [1] * count)
    pads = _pads(a, x.shape[2:], weight.shape[2:], steps, spread)
    y = lax.conv_general_dilated(
        x, weight, steps, pads, rhs_dilation=spread, feature_group_count=int(a.get("group", 1))
    )
    return y if bias is None else y + bias.reshape(-1, *(1,) * count)


def _gemm(a: Attributes, x: Any, weight: Any, bias: Any = None) -> Any:
    x = x.T if a.get("transA") else x
    y = x @ (weight.T if a.get("transB") else weight)
    y = y if float(a.get("alpha", 1.0)) == 1 else float(a["alpha"]) * y
    if bias is None:
        return y
    return y + (bias if float(a.get("beta", 1.0)) == 1 else float(a["beta"]) * bias)


def _windows(a: Attributes, x: Any) -> tuple[Any, Any, Any]:
    window = list(a["kernel_shape"])
    steps = list(a.get("strides") or [1] * len(window))
    if a.get("ceil_mode") or any(d != 1 for d in a.get("dilations") or []):
        raise UnsupportedModel("", "a pool with ceil_mode or dilations", "use a plain pool")
    pads = _pads(a, x.shape[2:], window, steps, [1] * len(window))
    return (1, 1, *window), (1, 1, *steps), [(0, 0), (0, 0), *pads]


def _average(a: Attributes, x: Any) -> Any:
    window, steps, pads = _windows(a, x)
    if any(low or high for low, high in pads) and not a.get("count_include_pad"):
        raise UnsupportedModel("", "an average pool that leaves out padding", "count it, or pad apart")
    return lax.reduce_window(x, 0.0, lax.add, window, steps, pads) / math.prod(window)


def _maximum(a: Attributes, x: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, *_windows(a, x))


def _layer_norm(a: Attributes, x: Any, weight: Any, bias: Any = None) -> Any:
    axes = tuple(range(int(a.get("axis", -1)) % x.ndim, x.ndim))
    centered = x - x.mean(axes, keepdims=True)
    y = centered * lax.rsqrt((centered**2).mean(axes, keepdims=True) + _short(a.get("epsilon", 1e-5))) * weight
    return y if bias is None else y + bias


def _short(value: Any) -> float:
    """Attributes are float32: 1e-5 is meant where 9.99999974e-06 stands."""
    return float(str(np.float32(value)))


def _batch_norm(a: Attributes, x: Any, weight: Any, bias: Any, mean: Any, var: Any) -> Any:
    return batch_norm(x, weight, bias, mean, var, bool(a.get("training_mode", 0)), 0.1, _short(a.get("epsilon", 1e-5)))


def _group_norm(a: Attributes, x: Any, weight: Any, bias: Any) -> Any:
    return group_norm(x, int(a["num_groups"]), weight, bias, _short(a.get("epsilon", 1e-5)))


def _reshape(a: Attributes, x: Any, shape: Any) -> Any:
    sizes = _whole(shape)
    kept = [x.shape[i] if n == 0 and not a.get("allowzero") else n for i, n in enumerate(sizes)]
    return x.reshape(kept)


def _flatten(a: Attributes, x: Any) -> Any:
    axis = int(a.get("axis", 1))
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _axes(a: Attributes, given: Any, default: Any = None) -> Any:
    axes = a.get("axes") if given is None else _whole(given)
    return default if axes is None else tuple(int(i) for i in axes)


def _mean(a: Attributes, x: Any, axes: Any = None) -> Any:
    return x.mean(_axes(a, axes), keepdims=bool(a.get("keepdims", 1)))


def _sum(a: Attributes, x: Any, axes: Any = None) -> Any:
    return x.sum(_axes(a, axes), keepdims=bool(a.get("keepdims", 1)))


def _unsqueeze(a: Attributes, x: Any, axes: Any = None) -> Any:
    return jnp.expand_dims(x, _axes(a, axes))


def _squeeze(a: Attributes, x: Any, axes: Any = None) -> Any:
    return jnp.squeeze(x, _axes(a, axes))


def _transpose(a: Attributes, x: Any) -> Any:
    return x.transpose(a.get("perm") or tuple(range(x.ndim))[::-1])


def _slice(a: Attributes, x: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None) -> Any:
    first = _whole(a["starts"] if starts is None else starts)
    last = _whole(a["ends"] if ends is None else ends)
    places = _axes(a, axes, tuple(range(len(first))))
    by = [1] * len(first) if steps is None else _whole(steps)
    for start, end, axis, step in zip(first, last, places, by, strict=True):
        low, high, _ = slice(start, end).indices(x.shape[axis])
        if step < 1:
            raise UnsupportedModel("", "a slice that runs backwards", "reverse the data")
        x = lax.slice_in_dim(x, low, max(low, high), step, axis)
    return x


def _split(a: Attributes, x: Any, sizes: Any = None) -> Any:
    axis = int(a.get("axis", 0))
    given = a.get("split") if sizes is None else _whole(sizes)
    count = int(a.get("num_outputs", 2))
    parts = [x.shape[axis] // count] * count if given is None else list(given)
    ends = np.cumsum(parts).tolist()
    return [lax.slice_in_dim(x, e - n, e, 1, axis) for e, n in zip(ends, parts, strict=True)]


def _gather(a: Attributes, x: Any, indices: Any) -> Any:
    axis = int(a.get("axis", 0))
    if isinstance(indices, np.ndarray) and indices.ndim == 0:
        index = int(indices) % x.shape[axis]
        return jnp.squeeze(lax.slice_in_dim(x, index, index + 1, 1, axis), axis)
    return jnp.take(x, indices, axis=axis, mode="clip")


def _clip(a: Attributes, x: Any, low: Any = None, high: Any = None) -> Any:
    low, high = a.get("min") if low is None else low, a.get("max") if high is None else high
    x = x if low is None else jnp.maximum(x, low)
    return x if high is None else jnp.minimum(x, high)


def _gelu(a: Attributes, x: Any) -> Any:
    return jax.nn.gelu(x, approximate=_text(a.get("approximate", "none")) == "tanh")


def _power(a: Attributes, x: Any, y: Any) -> Any:
    number = float(y.reshape(-1)[0]) if isinstance(y, np.ndarray) and y.size == 1 else None
    if number is None:
        return x**y
    return x ** (int(number) if number.is_integer() else number)


def _leaky(a: Attributes, x: Any) -> Any:
    return jnp.maximum(x, 0.0) + _short(a.get("alpha", 0.01)) * jnp.minimum(x, 0.0)


def _first(a: Attributes, x: Any, *_: Any) -> Any:
    return x


def _of(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, *xs: f(*xs)


def _hard_sigmoid(a: Attributes, x: Any) -> Any:
    alpha, beta = _short(a.get("alpha", 0.2)), _short(a.get("beta", 0.5))
    return jnp.minimum(jnp.maximum(alpha * x + beta, 0.0), 1.0)


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _of(lambda x, y: x @ y),
    "AveragePool": _average,
    "MaxPool": _maximum,
    "GlobalAveragePool": _of(lambda x: x.mean(tuple(range(2, x.ndim)), keepdims=True)),
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Concat": lambda a, *xs: jnp.concatenate(xs, int(a["axis"])),
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "Shape": _of(lambda x: np.asarray(x.shape, np.int64)),
    "Cast": _first,
    "Identity": _first,
    "Dropout": _first,
    "ReduceMean": _mean,
    "ReduceSum": _sum,
    "Softmax": lambda a, x: jax.nn.softmax(x, int(a.get("axis", -1))),
    "Where": _of(jnp.where),
    "Clip": _clip,
    "Relu": _of(jax.nn.relu),
    "LeakyRelu": _leaky,
    "Elu": lambda a, x: jax.nn.elu(x, _short(a.get("alpha", 1.0))),
    "Selu": _of(jax.nn.selu),
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _of(lambda x: x * jax.nn.relu6(x + 3.0) / 6.0),
    "Softplus": _of(jax.nn.softplus),
    "Mish": _of(lambda x: x * jnp.tanh(jax.nn.softplus(x))),
    "Sigmoid": _of(jax.nn.sigmoid),
    "Tanh": _of(jnp.tanh),
    "Erf": _of(lax.erf),
    "Exp": _of(jnp.exp),
    "Sin": _of(jnp.sin),
    "Cos": _of(jnp.cos),
    "Abs": _of(jnp.abs),
    "Neg": _of(lambda x: -x),
    "Sqrt": _of(jnp.sqrt),
    "Pow": _power,
    "Add": _of(lambda x, y: x + y),
    "Sub": _of(lambda x, y: x - y),
    "Mul": _of(lambda x, y: x * y),
    "Div": _of(lambda x, y: x / y),
    "Sum": lambda a, *xs: sum(xs[1:], xs[0]),
}
"""By op_type."""
