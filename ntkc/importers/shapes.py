"""Equations that move axes: transposes, reshapes, new axes, parts and joins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ntkc.empirical.views import View, view_of
from ntkc.gaussian.normal_form import X
from ntkc.importers.axes import Atom, Group, Groups, axes_of, is_complete, renumbered, reshaped, size_of
from ntkc.importers.net import Use
from ntkc.importers.reader import Reader, shape_of
from ntkc.importers.values import Field, Tokens, Value, Weight
from ntkc.layers.branching import FanInConcat
from ntkc.layers.conv import Conv
from ntkc.layers.dense import Dense
from ntkc.layers.resampling import REST, Index


def moved(reader: Reader, eqn: Any, operands: Sequence[Value]) -> Value:
    """transpose, reshape, squeeze, broadcast_in_dim of a layer, of tokens or of a weight."""
    (value,) = operands
    name, parameters = eqn.primitive.name, eqn.params
    if isinstance(value, Weight):
        view = _expanded(value.view, eqn) if name == "broadcast_in_dim" else view_of(name, parameters, value.view)
        if view is None:
            raise reader.net.refusal(f"a weight goes through {name} before it is used", "use weights as they are")
        return replace(value, view=view)
    assert isinstance(value, (Field, Tokens))
    made = _groups(name, parameters, value.groups, shape_of(eqn))
    if made is None and name == "broadcast_in_dim" and isinstance(value, Field) and X not in value.expr.free_symbols:
        made = _repeated(parameters, value.groups, net_channel(reader, value), shape_of(eqn))
    if made is None:
        raise reader.net.refusal(
            f"{name} makes axes of {shape_of(eqn)} of parts of others",
            "split and merge axes in the order that they have",
        )
    return replace(value, groups=made)


def _groups(name: str, parameters: Any, groups: Groups, shape: tuple[int, ...]) -> Groups | None:
    if name == "transpose":
        return tuple(groups[i] for i in parameters["permutation"])
    if name == "squeeze":
        return tuple(g for i, g in enumerate(groups) if i not in parameters["dimensions"])
    if name == "reshape":
        return reshaped(groups, shape) if parameters.get("dimensions") is None else None
    made: list[Group] = [()] * len(shape)
    for place, group in zip(parameters["broadcast_dimensions"], groups, strict=True):
        made[place] = group
    return tuple(made) if all(size_of(g) == n for g, n in zip(made, shape, strict=True)) else None


def net_channel(reader: Reader, value: Field) -> Atom:
    """All channels of the node that a value is of."""
    return Atom(reader.net.channel_axis(value.node), 1, reader.net.channels(value.node))


def _repeated(parameters: Any, groups: Groups, channels: Atom, shape: tuple[int, ...]) -> Groups | None:
    """Means of groups of channels, once more for each channel of a group."""
    made: list[Group] = [()] * len(shape)
    for place, group in zip(parameters["broadcast_dimensions"], groups, strict=True):
        made[place] = group
    present = [a for g in groups for a in g if a.axis == channels.axis]
    left = channels if not present else Atom(channels.axis, 1, present[0].stride)
    wanted = [i for i, (g, n) in enumerate(zip(made, shape, strict=True)) if size_of(g) != n]
    if len(present) > 1 or len(wanted) != 1 or shape[wanted[0]] != left.size:
        return None
    made[wanted[0]] = (left,)
    return tuple(made)


def _expanded(view: View, eqn: Any) -> View | None:
    """New axes, those of more than one entry repeated."""
    shape, places = eqn.params["shape"], eqn.params["broadcast_dimensions"]
    axes = [(n, 0) for n in shape]
    for place, (size, stride) in zip(places, view.axes, strict=True):
        axes[place] = (shape[place], stride if size == shape[place] else 0)
    return replace(view, axes=tuple(axes))


def sliced(reader: Reader, eqn: Any, operands: Sequence[Value]) -> Value:
    """Parts of a weight, of pixels, or of the channels of a layer with weights."""
    (value,) = operands
    starts, ends = eqn.params["start_indices"], eqn.params["limit_indices"]
    steps = eqn.params["strides"] or (1,) * len(starts)
    if isinstance(value, Weight):
        return moved(reader, eqn, operands)
    assert isinstance(value, Field)
    made = value
    for axis, (start, end, step) in enumerate(zip(starts, ends, steps, strict=True)):
        if (start, end, step) != (0, size_of(value.groups[axis]), 1):
            made = part(reader, made, axis, slice(start, end, step))
    return made


def split(reader: Reader, eqn: Any, operands: Sequence[Value]) -> list[Value]:
    """Consecutive parts along an axis."""
    (value,) = operands
    axis, sizes = eqn.params["axis"], eqn.params["sizes"]
    ends = np.cumsum(sizes).tolist()
    cuts = [slice(end - size, end, 1) for end, size in zip(ends, sizes, strict=True)]
    if isinstance(value, Weight):
        return [replace(value, view=_cut(value.view, axis, cut)) for cut in cuts]
    assert isinstance(value, Field)
    return [part(reader, value, axis, cut) for cut in cuts]


def part(reader: Reader, value: Field, axis: int, cut: slice) -> Field:
    """x[..., cut, ...]."""
    net = reader.net
    group = value.groups[axis]
    if len(group) != 1:
        raise net.refusal("a part of several axes at once", "take parts of one axis at a time")
    (atom,) = group
    if atom.axis == 0:
        raise net.refusal("some of the samples are taken apart", "let samples go through the model alike")
    if atom.axis == net.channel_axis(value.node):
        return _part_of_channels(reader, value, axis, atom, cut)
    if not is_complete([group], atom.axis, net.nodes[value.node].shape[atom.axis - 1]):
        raise net.refusal("a part of a part of the pixels", "take parts of whole axes")
    below = net.materialised(value)
    whole = (None, None, None)
    indices = [whole] * len(net.pixels(below.node))
    count = len(range(cut.start, cut.stop, cut.step))
    if count > 1:
        indices[atom.axis - 1] = (cut.start, cut.stop, cut.step)
        made = net.add(Index((*indices, REST)), [below.node])
        return Field(made, _with(below.groups, axis, (Atom(atom.axis, 1, count),)))
    made = net.add(Index((*indices[: atom.axis - 1], cut.start, *indices[atom.axis :], REST)), [below.node])
    renamed = {a: a - (a > atom.axis) for a in range(net.channel_axis(below.node) + 1)}
    return Field(made, tuple(renumbered(g, renamed) for g in _with(below.groups, axis, ())))


def _with(groups: Groups, axis: int, group: Group) -> Groups:
    return (*groups[:axis], group, *groups[axis + 1 :])


def _part_of_channels(reader: Reader, value: Field, axis: int, atom: Atom, cut: slice) -> Field:
    """Some of the outputs of a layer are a layer with some of its weights."""
    net = reader.net
    node = net.nodes[value.node]
    use, op = node.use, node.op
    top = atom.stride * atom.size == net.channels(value.node)
    if not (top and cut.step == 1 and value.expr == X and isinstance(op, (Dense, Conv)) and use and use.kernel):
        raise net.refusal(
            "a part of the channels of what has no weights of its own", "take it behind a layer with weights"
        )
    start, stop = cut.start * atom.stride, cut.stop * atom.stride
    count = stop - start
    kernel = _channels(use.kernel, use.outputs, start, stop)
    bias = None if use.bias is None else _channels(use.bias, tuple(range(len(use.bias.view.axes))), start, stop)
    if kernel is None or (use.bias is not None and bias is None):
        raise net.refusal("channels are taken apart across axes of their weights", "take consecutive channels")
    changed = replace(op, out_dim=count) if isinstance(op, Dense) else replace(op, out_chan=count)
    made = net.add(changed, node.operands, Use(kernel, bias, use.outputs, use.fan_in, use.fan_out))
    size = cut.stop - cut.start
    new: Group = (Atom(atom.axis, atom.stride, size),) if size > 1 else ()
    return Field(made, _with(value.groups, axis, new))


def _channels(weight: Weight, outputs: tuple[int, ...], start: int, stop: int) -> Weight | None:
    """The entries of outputs from start to stop; they lie along these axes of the weight, the first outermost."""
    if not outputs:
        return None
    inner = int(np.prod([weight.view.axes[a][0] for a in outputs[1:]]))
    if start % inner or stop % inner:
        return None
    cut = slice(start // inner, stop // inner, 1)
    return replace(weight, view=_cut(weight.view, outputs[0], cut))


def _cut(view: View, axis: int, cut: slice) -> View:
    count = len(view.axes)
    starts, ends = [0] * count, [size for size, _ in view.axes]
    starts[axis], ends[axis] = cut.start, cut.stop
    made = view_of("slice", {"start_indices": starts, "limit_indices": ends, "strides": None}, view)
    assert made is not None
    return made


def joined(reader: Reader, eqn: Any, operands: Sequence[Value]) -> Value:
    """concatenate."""
    net, axis = reader.net, eqn.params["dimension"]
    fields = [net.materialised(v) for v in operands if isinstance(v, Field)]
    if len(fields) < len(operands):
        raise net.refusal("a layer is joined with numbers or weights", "join layers with layers")
    axes = {frozenset(axes_of([f.groups[axis]])) for f in fields}
    if len(axes) != 1 or len(next(iter(axes))) != 1:
        raise net.refusal("several axes are joined at once", "join along pixels or channels")
    (place,) = next(iter(axes))
    sizes = [net.groups(f.node)[place] for f in fields]
    if place == 0 or any(f.groups[axis] != g for f, g in zip(fields, sizes, strict=True)):
        raise net.refusal("samples, or parts of axes, are joined", "join whole axes of pixels or channels")
    is_last = len({net.channel_axis(f.node) for f in fields} - {place}) == 0
    made = net.add(FanInConcat(-1 if is_last else place), [f.node for f in fields])
    total = sum(size_of(g) for g in sizes)
    return Field(made, _with(fields[0].groups, axis, (Atom(place, 1, total),)))


def turned(reader: Reader, eqn: Any, operands: Sequence[Value]) -> Value:
    """gather: rows of an embedding, by tokens."""
    net = reader.net
    table, indices = operands[:2]
    if not (isinstance(table, Weight) and isinstance(indices, Tokens)):
        raise net.refusal("entries are looked up (gather) by something other than tokens", "use slices")
    numbers = eqn.params["dimension_numbers"]
    rows, width = (size for size, _ in table.view.axes[:2])
    is_lookup = (
        len(table.view.axes) == 2
        and tuple(numbers.collapsed_slice_dims) == (0,)
        and tuple(eqn.params["slice_sizes"]) == (1, width)
    )
    if not is_lookup:
        raise net.refusal("a gather that is no look-up of rows", "look tokens up along the first axis of an embedding")
    net.set_tokens(indices.source, rows)
    made = net.add(Dense(width), [indices.source], Use(table, None, (1,), rows, width))
    last: Group = (Atom(net.channel_axis(made), 1, width),) if width > 1 else ()
    return Field(made, (*indices.groups[: len(shape_of(eqn)) - 1], last))
