"""ATen operations, as torch.export names them, in jax.numpy: enough to run a module, and to read it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ntkc.importers.refusals import UnsupportedModel


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """x W^T + b."""
    y = x @ weight.T
    return y if bias is None else y + bias


def _sizes(given: Any, count: int) -> tuple[int, ...]:
    sizes = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    return sizes * count if len(sizes) == 1 else sizes


def convolution(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """conv1d, conv2d, conv3d of [n, channels, pixels ...]."""
    count = weight.ndim - 2
    pads = padding.upper() if isinstance(padding, str) else [(p, p) for p in _sizes(padding, count)]
    y = lax.conv_general_dilated(
        x, weight, _sizes(stride, count), pads, rhs_dilation=_sizes(dilation, count), feature_group_count=groups
    )
    return y if bias is None else y + bias.reshape(-1, *(1,) * count)


def batch_norm(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float, *_: Any
) -> Any:
    """(x - mean) / sqrt(var + eps) g + b with running statistics."""
    if training or mean is None:
        raise UnsupportedModel("", "BatchNorm over the samples of a batch has no rule", "evaluate it: model.eval()")
    spread = (-1, *(1,) * (x.ndim - 2))
    y = (x - mean.reshape(spread)) * lax.rsqrt(var + eps).reshape(spread)
    y = y if weight is None else y * weight.reshape(spread)
    return y if bias is None else y + bias.reshape(spread)


def _normalised(x: Any, axes: tuple[int, ...], eps: float) -> Any:
    centered = x - x.mean(axes, keepdims=True)
    return centered * lax.rsqrt((centered**2).mean(axes, keepdims=True) + eps)


def layer_norm(x: Any, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any) -> Any:
    """LayerNorm over the last axes."""
    y = _normalised(x, tuple(range(-len(shape), 0)), eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def rms_norm(x: Any, shape: Sequence[int], weight: Any = None, eps: float | None = None) -> Any:
    """RMSNorm over the last axes."""
    axes = tuple(range(-len(shape), 0))
    y = x * lax.rsqrt((x**2).mean(axes, keepdims=True) + (1.1920928955078125e-07 if eps is None else eps))
    return y if weight is None else y * weight


def group_norm(x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any) -> Any:
    """GroupNorm of [n, channels, pixels ...]."""
    parts = x.reshape(x.shape[0], groups, -1, *x.shape[2:])
    y = _normalised(parts, tuple(range(2, parts.ndim)), eps).reshape(x.shape)
    spread = (-1, *(1,) * (x.ndim - 2))
    y = y if weight is None else y * weight.reshape(spread)
    return y if bias is None else y + bias.reshape(spread)


def _windows(x: Any, kernel: Any, stride: Any, padding: Any) -> tuple[Any, Any, Any]:
    count = len(kernel) if isinstance(kernel, (list, tuple)) else x.ndim - 2
    window = _sizes(kernel, count)
    steps = window if stride is None or stride == [] else _sizes(stride, count)
    lead = (1,) * (x.ndim - count)
    return (*lead, *window), (*lead, *steps), [*((0, 0) for _ in lead), *((p, p) for p in _sizes(padding, count))]


def avg_pool(
    x: Any,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Any:
    """Average pools, zeros around the image counted."""
    window, steps, pads = _windows(x, kernel, stride, padding)
    if ceil_mode or (not count_include_pad and any(low or high for low, high in pads)):
        raise UnsupportedModel("", "an average pool with ceil_mode, or that leaves out padding", "pad and pool apart")
    total = lax.reduce_window(x, 0.0, lax.add, window, steps, pads)
    return total / (divisor or math.prod(window))


def max_pool(
    x: Any, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """Max pools."""
    if ceil_mode or any(d != 1 for d in _sizes(dilation, 1)):
        raise UnsupportedModel("", "a max pool with ceil_mode or dilation", "use a plain pool")
    return lax.reduce_window(x, -jnp.inf, lax.max, *_windows(x, kernel, stride, padding))


def adaptive_avg_pool(x: Any, size: Any) -> Any:
    """Average pools to a given size, which divides the old one."""
    sizes = tuple(size) if isinstance(size, (list, tuple)) else (size,)
    axes = range(x.ndim - len(sizes), x.ndim)
    targets = {a: x.shape[a] if n is None else n for a, n in zip(axes, sizes, strict=True)}
    if all(n == 1 for n in targets.values()):
        return x.mean(tuple(axes), keepdims=True)
    if any(x.shape[a] % n for a, n in targets.items()):
        raise UnsupportedModel("", f"adaptive pool of {x.shape} to {sizes}", "pool to sizes that divide the old ones")
    if all(x.shape[a] == n for a, n in targets.items()):
        return x
    return avg_pool(x, [x.shape[a] // n for a, n in targets.items()])


def attention(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(scale q k^T + mask) v."""
    logits = jnp.einsum("...td,...sd->...ts", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        logits = jnp.where(jnp.tril(jnp.ones(logits.shape[-2:], bool)), logits, -jnp.inf)
    if mask is not None:
        logits = jnp.where(mask, logits, -jnp.inf) if mask.dtype == bool else logits + mask
    return jnp.einsum("...ts,...sd->...td", jax.nn.softmax(logits, -1), v)


def _sum(a: Any, b: Any, alpha: Any = 1) -> Any:
    return a + (b if alpha == 1 else alpha * b)


def _difference(a: Any, b: Any, alpha: Any = 1) -> Any:
    return a - (b if alpha == 1 else alpha * b)


def _mean(x: Any, axes: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    return x.mean(None if axes is None else tuple(axes), keepdims=keepdim)


def _total(x: Any, axes: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    return x.sum(None if axes is None else tuple(axes), keepdims=keepdim)


def _flat(x: Any, start: int = 0, end: int = -1) -> Any:
    start, end = start % x.ndim, end % x.ndim
    return x.reshape(*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :])


def _unflat(x: Any, axis: int, sizes: Sequence[int]) -> Any:
    axis %= x.ndim
    return x.reshape(*x.shape[:axis], *sizes, *x.shape[axis + 1 :])


def _part(x: Any, axis: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    count = x.shape[axis]
    first, last, _ = slice(start, end).indices(count)
    return lax.slice_in_dim(x, first, max(first, last), step, axis)


def _pick(x: Any, axis: int, index: int) -> Any:
    index %= x.shape[axis]
    return lax.squeeze(lax.slice_in_dim(x, index, index + 1, 1, axis), (axis % x.ndim,))


def _chunks(x: Any, chunks: int, axis: int = 0) -> Any:
    return _pieces(x, -(-x.shape[axis] // chunks), axis)


def _pieces(x: Any, size: Any, axis: int = 0) -> Any:
    count = x.shape[axis]
    sizes = list(size) if isinstance(size, (list, tuple)) else [min(size, count - i) for i in range(0, count, size)]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [lax.slice_in_dim(x, e - n, e, 1, axis) for e, n in zip(ends, sizes, strict=True)]


def _squeezed(x: Any, axes: Any = None) -> Any:
    given = range(x.ndim) if axes is None else axes if isinstance(axes, (list, tuple)) else (axes,)
    return lax.squeeze(x, tuple(a % x.ndim for a in given if x.shape[a] == 1))


def _prelu(x: Any, weight: Any) -> Any:
    raise UnsupportedModel("", "PReLU, whose slope is trained", "use LeakyReLU with a fixed slope")


def _softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    return jax.nn.softplus(x) if beta == 1 else jax.nn.softplus(beta * x) / beta


def _same(x: Any, *_: Any, **__: Any) -> Any:
    return x


def _expanded(x: Any, sizes: Sequence[int], implicit: bool = False) -> Any:
    lead = len(sizes) - x.ndim
    return jnp.broadcast_to(x, [n if n != -1 else x.shape[i - lead] for i, n in enumerate(sizes)])


def _embedding(weight: Any, indices: Any, *_: Any) -> Any:
    return jnp.take(weight, indices, axis=0, mode="clip")


def _where(condition: Any, a: Any, b: Any) -> Any:
    return jnp.where(condition, a, b)


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "linear": linear,
    "addmm": lambda b, x, w: x @ w + b,
    **dict.fromkeys(("matmul", "mm", "bmm"), lambda a, b: a @ b),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), convolution),
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": group_norm,
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), avg_pool),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d"), max_pool),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"), adaptive_avg_pool),
    "scaled_dot_product_attention": attention,
    **dict.fromkeys(("softmax", "_softmax"), lambda x, axis, dtype=None: jax.nn.softmax(x, axis)),
    "embedding": _embedding,
    **dict.fromkeys(("add", "add_"), _sum),
    **dict.fromkeys(("sub", "sub_"), _difference),
    **dict.fromkeys(("mul", "mul_"), lambda a, b: a * b),
    **dict.fromkeys(("div", "div_"), lambda a, b, rounding_mode=None: a / b),
    "rsub": lambda a, b, alpha=1: b - a,
    "neg": lambda x: -x,
    "pow": lambda x, y: x ** (int(y) if isinstance(y, float) and y.is_integer() else y),
    "square": lambda x: x**2,
    "sqrt": jnp.sqrt,
    "rsqrt": lax.rsqrt,
    **dict.fromkeys(("relu", "relu_"), jax.nn.relu),
    "gelu": lambda x, approximate="none": jax.nn.gelu(x, approximate=approximate == "tanh"),
    **dict.fromkeys(("silu", "silu_"), lambda x: x * jax.nn.sigmoid(x)),
    **dict.fromkeys(("sigmoid", "sigmoid_"), jax.nn.sigmoid),
    **dict.fromkeys(("tanh", "tanh_"), jnp.tanh),
    **dict.fromkeys(
        ("leaky_relu", "leaky_relu_"), lambda x, slope=0.01: jnp.maximum(x, 0.0) + slope * jnp.minimum(x, 0.0)
    ),
    **dict.fromkeys(("elu", "elu_"), lambda x, alpha=1.0: jax.nn.elu(x, alpha)),
    **dict.fromkeys(("selu", "selu_"), jax.nn.selu),
    **dict.fromkeys(("celu", "celu_"), lambda x, alpha=1.0: jax.nn.celu(x, alpha)),
    "softplus": _softplus,
    **dict.fromkeys(
        ("hardtanh", "hardtanh_", "clamp"), lambda x, low=-1.0, high=1.0: jnp.minimum(jnp.maximum(x, low), high)
    ),
    **dict.fromkeys(("relu6", "relu6_"), jax.nn.relu6),
    **dict.fromkeys(("hardswish", "hardswish_"), lambda x: x * jax.nn.relu6(x + 3.0) / 6.0),
    **dict.fromkeys(("hardsigmoid", "hardsigmoid_"), lambda x: jax.nn.relu6(x + 3.0) / 6.0),
    **dict.fromkeys(("mish", "mish_"), lambda x: x * jnp.tanh(jax.nn.softplus(x))),
    "prelu": _prelu,
    "softsign": jax.nn.soft_sign,
    "logsigmoid": jax.nn.log_sigmoid,
    **{name: getattr(jnp, name) for name in ("exp", "sin", "cos", "abs", "sign", "log", "log1p", "expm1", "maximum")},
    **dict.fromkeys(("erf", "erf_"), lax.erf),
    "mean": _mean,
    "sum": _total,
    "flatten": _flat,
    "unflatten": _unflat,
    **dict.fromkeys(("view", "reshape", "_unsafe_view"), lambda x, sizes: x.reshape(sizes)),
    "permute": lambda x, axes: x.transpose(axes),
    "transpose": lambda x, a, b: jnp.swapaxes(x, a, b),
    "movedim": jnp.moveaxis,
    "t": lambda x: x.T,
    "squeeze": _squeezed,
    "unsqueeze": jnp.expand_dims,
    "expand": _expanded,
    "cat": lambda xs, axis=0: jnp.concatenate(xs, axis),
    "stack": lambda xs, axis=0: jnp.stack(xs, axis),
    "chunk": _chunks,
    **dict.fromkeys(("split", "split_with_sizes"), _pieces),
    "slice": _part,
    "select": _pick,
    "unbind": lambda x, axis=0: [_pick(x, axis, i) for i in range(x.shape[axis])],
    "masked_fill": lambda x, mask, value: jnp.where(mask, value, x),
    "where": _where,
    "arange": lambda *n, **_: jnp.arange(*n),
    "ones": lambda sizes, **_: jnp.ones(sizes),
    "zeros": lambda sizes, **_: jnp.zeros(sizes),
    "full": lambda sizes, value, **_: jnp.full(sizes, value),
    **dict.fromkeys(
        (
            *("contiguous", "clone", "detach", "alias", "to", "_to_copy", "lift_fresh_copy", "dropout", "dropout_"),
            *("feature_dropout", "alpha_dropout", "type_as", "float"),
        ),
        _same,
    ),
    "tril": lambda x, diagonal=0: jnp.tril(x, diagonal),
    "triu": lambda x, diagonal=0: jnp.triu(x, diagonal),
}
"""By name, without namespace and overload."""
