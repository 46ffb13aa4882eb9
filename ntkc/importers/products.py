"""Products that sum over axes: layers of weights, filters, attention, pools and means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import sympy as sp

from ntkc.gaussian.normal_form import X
from ntkc.importers.attention import Side, free_axes, logits_of, mapped
from ntkc.importers.axes import Atom, Group, Groups, axes_of, is_complete, renumbered, size_of
from ntkc.importers.net import SAMPLES_SIZE, Use
from ntkc.importers.reader import Reader, shape_of
from ntkc.importers.values import HIGHEST_MOMENT, Constant, Field, Moment, Value, Weight
from ntkc.ir.maps import padding_of
from ntkc.layers.conv import Conv
from ntkc.layers.dense import Dense
from ntkc.layers.inputs import Input
from ntkc.layers.linear_maps import DotGeneral
from ntkc.layers.pooling import AvgPool, GlobalSumPool, SumPool
from ntkc.layers.reshape import Flatten


class ChannelAxis(Exception):  # no error: the reader begins again
    """The features of an input are on another axis than was thought."""

    def __init__(self, source: int, axis: int) -> None:
        super().__init__(source, axis)
        self.source = source
        self.axis = axis


def product(reader: Reader, eqn: Any, operands: Sequence[Value]) -> Value:
    """dot_general, by what its operands are."""
    (of_left, of_right), (batch_left, batch_right) = eqn.params["dimension_numbers"]
    left, right = operands
    sides = ((left, tuple(of_left), tuple(batch_left)), (right, tuple(of_right), tuple(batch_right)))
    kinds = {type(left), type(right)}
    if kinds == {Field, Weight}:
        return _weighted(reader, *sides)
    if kinds == {Field}:
        return logits_of(reader, *sides, shape_of(eqn))
    if kinds == {Field, Constant}:
        return mapped(reader, *sides)
    if kinds <= {Weight, Constant}:
        raise reader.net.refusal("weights are multiplied before they are used", "use weights as they are, one a layer")
    raise reader.net.refusal(f"a product of {' and '.join(sorted(k.__name__.lower() for k in kinds))}", "use layers")


def _weighted(reader: Reader, left: Side, right: Side) -> Value:
    """x W  ->  Dense, after Flatten if pixels are summed over, too."""
    net = reader.net
    is_left = isinstance(left[0], Field)
    (value, summed, shared), (weight, weight_summed, _) = (left, right) if is_left else (right, left)
    if shared:
        raise net.refusal("weights that differ between heads, groups or pixels", "let one matrix serve all of them")
    _check_plain(reader, weight)
    below = net.materialised(value)
    groups = [below.groups[i] for i in summed]
    node = _summed_node(reader, below.node, groups)
    outputs = tuple(free_axes((weight, weight_summed, ()), len(weight.view.axes)))
    sizes = [weight.view.axes[i][0] for i in outputs]
    fan_in = math.prod(weight.view.axes[i][0] for i in weight_summed)
    made = net.add(Dense(math.prod(sizes)), [node], Use(weight, None, outputs, fan_in, math.prod(sizes)))
    kept = [below.groups[i] for i in range(len(below.groups)) if i not in summed]
    if node != below.node and axes_of(kept) - {0}:
        raise net.refusal("weights over some of the pixels", "flatten all pixels, or use a convolution")
    channel = net.channel_axis(made)
    own = [(Atom(channel, math.prod(sizes[i + 1 :]), n),) if n > 1 else () for i, n in enumerate(sizes)]
    return Field(made, (*kept, *own) if is_left else (*own, *kept))


def _check_plain(reader: Reader, weight: Weight) -> None:
    if weight.offset != 0:
        raise reader.net.refusal("a number is added to a weight before it is used", "use weights as they are")
    if any(stride == 0 and size > 1 for size, stride in weight.view.axes):
        raise reader.net.refusal("a weight is repeated along an axis", "use weights as they are")


def _summed_node(reader: Reader, node: int, groups: Sequence[Group]) -> int:
    """The node whose channels are summed over: the very one, or its pixels flattened."""
    net = reader.net
    channel, shape = net.channel_axis(node), (SAMPLES_SIZE, *net.nodes[node].shape)
    found = axes_of(groups)
    complete = {a for a in range(1, channel + 1) if is_complete(groups, a, shape[a])}
    if channel in complete and found <= {channel}:
        return node
    if complete == set(range(1, channel + 1)) and 0 not in found:
        return net.add(Flatten(), [node])
    if isinstance(net.nodes[node].op, Input) and len(found) == 1 and found <= complete:
        raise ChannelAxis(node, raw_axis(net.nodes[node].op, next(iter(found)), channel))
    if found & {0}:
        raise net.refusal("samples are summed over", "let samples go through the model alike")
    if channel not in found:
        raise net.refusal("weights over pixels (as in an MLP-Mixer) have no rule", "use convolutions or attention")
    raise net.refusal(
        "weights over a part of the channels or pixels", "use one matrix for all channels, or Conv(groups)"
    )


def raw_axis(op: Any, axis: int, channel: int) -> int:
    """The axis of the data that is a pixel axis of an Input."""
    place = channel if op.channel_axis == -1 else op.channel_axis
    return axis if axis < place else axis + 1


def convolved(reader: Reader, eqn: Any, operands: Sequence[Value]) -> Value:
    """conv_general_dilated."""
    net, p = reader.net, eqn.params
    value, kernel = operands
    if not (isinstance(value, Field) and isinstance(kernel, Weight)):
        raise net.refusal("a convolution with a fixed filter", "pass the filter among the parameters")
    _check_plain(reader, kernel)
    numbers = p["dimension_numbers"]
    below = net.materialised(value)
    _check_layout(reader, below, numbers.lhs_spec)
    if any(d != 1 for d in p["lhs_dilation"]) or p["batch_group_count"] != 1:
        raise net.refusal("a transposed convolution has no rule here", "use a resize and a convolution")
    taps = tuple(kernel.view.axes[i][0] for i in numbers.rhs_spec[2:])
    out, channels = kernel.view.axes[numbers.rhs_spec[0]][0], kernel.view.axes[numbers.rhs_spec[1]][0]
    pixels = net.pixels(below.node)
    padding = named_padding(p["padding"], pixels, taps, p["window_strides"], p["rhs_dilation"])
    dilation = None if all(d == 1 for d in p["rhs_dilation"]) else tuple(p["rhs_dilation"])
    strides = tuple(p["window_strides"])
    op = Conv(out, taps, strides, padding, dilation=dilation, groups=p["feature_group_count"])
    fans = channels * math.prod(taps), out * math.prod(taps)
    made = net.add(op, [below.node], Use(kernel, None, (numbers.rhs_spec[0],), *fans))
    return Field(made, _placed(net.groups(made), numbers.out_spec))


def _placed(groups: Groups, spec: Sequence[int]) -> Groups:
    """Samples, channels and pixels on the axes that a convolution puts them on."""
    placed: list[Group] = [()] * len(groups)
    for axis, group in zip(spec, (groups[0], groups[-1], *groups[1:-1]), strict=True):
        placed[axis] = group
    return tuple(placed)


def _check_layout(reader: Reader, value: Field, spec: Sequence[int]) -> None:
    """Samples, channels and pixels are on the axes that the convolution says."""
    net = reader.net
    if value.groups == _placed(net.groups(value.node), spec):
        return
    op, channel = net.nodes[value.node].op, net.channel_axis(value.node)
    own = axes_of([value.groups[spec[1]]])
    if isinstance(op, Input) and len(own) == 1 and not own & {0, channel}:
        raise ChannelAxis(value.node, raw_axis(op, next(iter(own)), channel))
    raise net.refusal("a convolution over axes that are not the pixels in their order", "keep the order of axes")


def named_padding(
    pairs: Sequence[Sequence[int]],
    pixels: Sequence[int],
    taps: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> Any:
    """((0, 0), (0, 0)) -> VALID,  those of SAME for these pixels -> SAME,  others as they are."""
    found = tuple((int(low), int(high)) for low, high in pairs)
    if all(p == (0, 0) for p in found):
        return "VALID"
    sizes = zip(pixels, taps, strides, dilation, strict=True)
    return "SAME" if found == tuple(padding_of("SAME", *s)[:2] for s in sizes) else found


def pooled(reader: Reader, eqn: Any, operands: Sequence[Value]) -> Value:
    """reduce_window_sum and reduce_window_max."""
    net, p = reader.net, eqn.params
    is_max = eqn.primitive.name == "reduce_window_max"
    if is_max and not reader.replace_max:
        raise net.refusal(
            "a max pool has no closed form", 'average instead: replace={"MaxPool2d": "avg"}, or pool by AvgPool'
        )
    if any(d != 1 for d in (*p["base_dilation"], *p["window_dilation"])):
        raise net.refusal("a dilated pool", "pool neighbouring pixels")
    (value,) = operands
    assert isinstance(value, Field)
    below = net.materialised(value)
    if any(g and g not in net.groups(below.node) for g in below.groups):
        raise net.refusal("a pool over merged or split axes", "pool before axes are reshaped")
    windows = zip(p["window_dimensions"], p["window_strides"], p["padding"], strict=True)
    moving = [(below.groups[i], w) for i, w in enumerate(windows) if w != (1, 1, (0, 0))]
    channel = net.channel_axis(below.node)
    by_axis = {next(iter(axes_of([g])), 0): w for g, w in moving if size_of(g) > 1}
    if channel in by_axis and isinstance(net.nodes[below.node].op, Input):
        still = next((a for a in range(1, channel) if a not in by_axis), None)
        if still is not None:
            raise ChannelAxis(below.node, raw_axis(net.nodes[below.node].op, still, channel))
    if by_axis.keys() & {0, channel}:
        raise net.refusal("a pool over samples or channels", "pool over pixels")
    pixels = net.pixels(below.node)
    windows = [by_axis.get(i + 1, (1, 1, (0, 0))) for i in range(len(pixels))]
    shape, strides = tuple(w for w, _, _ in windows), tuple(s for _, s, _ in windows)
    padding = named_padding([pad for *_, pad in windows], pixels, shape, strides, (1,) * len(pixels))
    if is_max:
        reader.notes["max pools are read as average pools"] = None
        op = AvgPool(shape, strides, padding, normalize_edges=padding != "VALID")
    else:
        op = SumPool(shape, strides, padding)
    made = net.add(op, [below.node])
    return Field(made, tuple(_resized(g, (SAMPLES_SIZE, *net.nodes[made].shape)) for g in below.groups))


def _resized(group: Group, sizes: Sequence[int]) -> Group:
    """A whole axis of a node, of the size that it has become."""
    found = axes_of([group])
    if len(found) != 1:
        return group
    (axis,) = found
    return (Atom(axis, 1, sizes[axis]),) if sizes[axis] > 1 else ()


def summed(reader: Reader, eqn: Any, operands: Sequence[Value]) -> Value:
    """reduce_sum:  a moment over channels, or a sum over pixels."""
    net, axes = reader.net, eqn.params["axes"]
    (value,) = operands
    if not isinstance(value, Field):
        raise net.refusal("a weight is summed before it is used", "use weights as they are")
    groups = [value.groups[i] for i in axes]
    found, channel = axes_of(groups), net.channel_axis(value.node)
    shape = (SAMPLES_SIZE, *net.nodes[value.node].shape)
    kept = tuple(g for i, g in enumerate(value.groups) if i not in axes)
    if 0 in found:
        raise net.refusal(
            "a sum over samples: the network sees other samples of the batch",
            'evaluate BatchNorm with its running statistics (batchnorm="eval")',
        )
    if not found:
        return Field(value.node, kept, value.expr)
    if channel not in found:
        return _sum_of_pixels(reader, value, axes, groups)
    if isinstance(net.nodes[value.node].op, Input):
        raise net.refusal("the data themselves are normalised", "normalise data before they are given to the model")
    parts = shape[channel] // math.prod(a.size for g in groups for a in g if a.axis == channel)
    pixels = found - {channel}
    if not all(is_complete(groups, a, shape[a]) for a in pixels):
        raise net.refusal("a mean over a part of the pixels", "normalise over whole axes")
    return _moment(reader, value, kept, sp.Tuple(*sorted(found), parts), math.prod(size_of(g) for g in groups))


def _moment(reader: Reader, value: Field, kept: Groups, tag: sp.Tuple, count: int) -> Field:
    """sum c_k u^k  ->  count sum c_k E[u^k]."""
    expr = sp.expand(value.expr)
    if not expr.is_polynomial(X) or sp.degree(expr, X) > HIGHEST_MOMENT:
        below = reader.net.materialised(value)
        return _moment(reader, below, kept, tag, count)
    terms = sp.Poly(expr, X).terms()
    made = sp.Add(*(c * (Moment(value.node, k, tag) if k else 1) for (k,), c in terms))
    return Field(value.node, kept, count * made)


def _sum_of_pixels(reader: Reader, value: Field, axes: Sequence[int], groups: Sequence[Group]) -> Field:
    net = reader.net
    below = net.materialised(value)
    groups = [below.groups[i] for i in axes]
    channel, shape = net.channel_axis(below.node), (SAMPLES_SIZE, *net.nodes[below.node].shape)
    found = axes_of(groups)
    if not all(is_complete(groups, a, shape[a]) for a in found):
        raise net.refusal("a sum over a part of the pixels", "sum over whole axes")
    rest = [a for a in range(1, channel) if a not in found]
    if rest:
        sizes = tuple(shape[a] for a in sorted(found))
        ones = (1.0,) * math.prod(sizes)
        made = net.add(
            DotGeneral(ones, sizes, tuple(a - 1 for a in sorted(found)), tuple(range(len(sizes)))), [below.node]
        )
    else:
        made = net.add(GlobalSumPool(), [below.node])
    renamed = {0: 0, channel: net.channel_axis(made), **{a: i + 1 for i, a in enumerate(rest)}}
    kept = tuple(renumbered(g, renamed) for i, g in enumerate(below.groups) if i not in axes)
    return Field(made, kept)


def largest(reader: Reader, eqn: Any, operands: Sequence[Value]) -> Value:
    """reduce_max, reduce_min, argmax, sort."""
    raise reader.net.refusal(
        f"{eqn.primitive.name} over an axis of a layer has no closed form", "average instead, or leave it out"
    )
