"""Entry-by-entry equations:  f(u) of one node,  sums and products of several,  gains and biases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import sympy as sp

from ntkc.gaussian.normal_form import X
from ntkc.importers.axes import Groups, aligned, axes_of, is_complete
from ntkc.importers.net import Node, Use
from ntkc.importers.numbers import exact_number
from ntkc.importers.reader import Reader, number_of, shape_of
from ntkc.importers.values import HIGHEST_MOMENT, Constant, Field, Gained, Logits, Moment, Tokens, Value, Weight
from ntkc.layers.activations import Scale
from ntkc.layers.channels import Gains, Shifts
from ntkc.layers.pooling import GlobalSumPool, SumPool
from ntkc.tracing import PRIMITIVES, WHOLE, agrees

SUMS = {"add": 1, "add_any": 1, "sub": -1}
PRODUCTS = ("mul", "div")


def elementwise(reader: Reader, eqn: Any, operands: Sequence[Value]) -> Any:
    """The value of an equation that acts on each entry."""
    name = eqn.primitive.name
    if name == "select_n" and (chosen := number_of(operands[0])) is not None:
        return operands[1 + int(chosen)]
    if any(isinstance(v, Tokens) for v in operands):
        return _of_tokens(reader, name, operands)
    if any(isinstance(v, Gained) for v in operands):
        return _with_gained(reader, eqn, operands)
    if any(isinstance(v, Weight) for v in operands):
        return _with_weight(reader, name, operands)
    if any(isinstance(v, Constant) and number_of(v) is None for v in operands):
        return _with_array(reader, name, operands)
    fields = _on_one_node(reader, [v for v in operands if isinstance(v, Field)])
    if len({f.node for f in fields}) > 1:
        return _of_several(reader, name, operands, fields)
    if _is_square(eqn, fields):
        fields = [reader.net.materialised(f) for f in fields]
    waiting = iter(fields)
    parts = [next(waiting) if isinstance(v, Field) else v for v in operands]
    made = PRIMITIVES[name](*(_part(v) for v in parts), **eqn.params)
    if isinstance(made, bool):
        return Constant(np.broadcast_to(np.asarray(made), shape_of(eqn)))
    return _mean_of_pixels(reader, Field(fields[0].node, common(reader, fields), sp.sympify(made)))


def _is_square(eqn: Any, fields: Sequence[Field]) -> bool:
    """The square of a function of a node, whose mean a norm may be of."""
    name = eqn.primitive.name
    is_twice = name == "mul" and len(fields) == 2 and fields[0].expr == fields[1].expr
    is_power = is_twice or name == "square" or (name == "integer_pow" and eqn.params["y"] == HIGHEST_MOMENT)
    return is_power and not fields[0].expr.has(Moment) and not fields[0].expr.is_polynomial(X)


def _mean_of_pixels(reader: Reader, value: Field) -> Field:
    """A sum of pixels over their number."""
    is_sum = isinstance(reader.net.nodes[value.node].op, (SumPool, GlobalSumPool))
    return reader.net.materialised(value) if is_sum and (value.expr / X).is_Rational else value


def common(reader: Reader, fields: Sequence[Field]) -> Groups:
    """The axes of an array made of several."""
    groups = fields[0].groups
    for other in fields[1:]:
        found = aligned(groups, other.groups)
        if found is None:
            raise reader.net.refusal(
                "arrays meet whose axes are different parts of pixels or channels", "keep the order of axes in branches"
            )
        groups = found
    return groups


def _part(value: Value) -> Any:
    if isinstance(value, Field):
        return value.expr
    number = number_of(value)
    return bool(number) if np.asarray(number).dtype == bool else exact_number(number)


def _on_one_node(reader: Reader, fields: Sequence[Field]) -> list[Field]:
    """Functions of a node, and what was made of them before as a node: all on the later one, where that is possible."""
    nodes = {f.node for f in fields}
    made = reader.net.made_of
    return [
        Field(made[f.node, f.expr], f.groups) if made.get((f.node, f.expr)) in nodes - {f.node} else f for f in fields
    ]


def _of_several(reader: Reader, name: str, operands: Sequence[Value], fields: Sequence[Field]) -> Value:
    net = reader.net
    groups = common(reader, fields)
    if name == "div" or (name not in SUMS and name not in PRODUCTS) or len(operands) != 2:
        raise net.refusal(
            f"{name} of two branches has no rule: sums and products of branches have", "join branches by + or *"
        )
    if any(f.expr.has(Moment) and X not in f.expr.free_symbols for f in fields):
        raise net.refusal("a mean over channels meets another branch", "normalise each branch by itself")
    if any(f.groups != groups for f in fields):
        raise net.refusal(
            "a branch without some of the pixels or channels meets one that has them", "pool both branches alike"
        )
    first, second = (net.materialised(f).node for f in fields)
    if name == "mul":
        return Field(net.product_of([first, second]), groups)
    if SUMS[name] < 0:
        second = net.add(Scale(-1), [second])
    return Field(net.sum_of([first, second]), groups)


def _with_array(reader: Reader, name: str, operands: Sequence[Value]) -> Value:
    raise reader.net.refusal(
        f"{name} with a fixed array that differs between pixels or channels has no rule",
        "pass it among the parameters, or leave it out",
    )


def _of_tokens(reader: Reader, name: str, operands: Sequence[Value]) -> Value:
    """Indices as numpy wraps them, x + size where x < 0, are the indices."""
    tokens = [v for v in operands if isinstance(v, Tokens)]
    if name in ("lt", "gt", "ge", "le"):
        is_less = name in ("lt", "le")
        return Constant(np.asarray(is_less is not isinstance(operands[0], Tokens)))
    if name in ("add", "clamp", "convert_element_type", "max", "min", "copy"):
        return tokens[0]
    raise reader.net.refusal(f"whole numbers go through {name}", "look them up in an embedding first")


def _with_weight(reader: Reader, name: str, operands: Sequence[Value]) -> Value:
    net = reader.net
    if len(operands) == 1:
        (weight,) = operands
        assert isinstance(weight, Weight)
        if name == "neg":
            return weight.scaled(-sp.S.One)
        if name in ("convert_element_type", "copy", "stop_gradient"):
            return weight
        raise net.refusal(f"a weight goes through {name} before it is used", "use weights as they are")
    first, second = operands[:2]
    if len(operands) > 2 or (isinstance(first, Weight) and isinstance(second, Weight)):
        raise net.refusal(f"{name} of two weights has no rule", "use weights as they are, each in one layer")
    weight, other = (first, second) if isinstance(first, Weight) else (second, first)
    assert isinstance(weight, Weight)
    if isinstance(other, Constant):
        return _weight_and_number(reader, name, weight, other, weight is first)
    if not isinstance(other, Field):
        raise net.refusal(f"a weight meets {type(other).__name__.lower()} in {name}", "use weights in layers")
    if name in SUMS:
        if name == "sub" and weight is first:
            other = replace(other, expr=-other.expr)
        elif name == "sub":
            weight = weight.scaled(-sp.S.One)
        return shifted(reader, other, weight)
    if name == "mul" and X not in other.expr.free_symbols:
        return Gained(weight, other, net.place)
    if name == "mul":
        return gained(reader, other, weight)
    raise net.refusal(f"{name} of a layer and a weight has no rule", "use + for biases, * for gains")


def _with_gained(reader: Reader, eqn: Any, operands: Sequence[Value]) -> Any:
    """g f h,  g f + g h,  g f + b:  as far as norms are written in them; else the layer that it is."""
    name = eqn.primitive.name
    made = _gained_sum(reader, operands) if name in ("add", "add_any") else None
    if name == "neg" and isinstance(gain := operands[0], Gained) and gain.shift is None:
        made = replace(gain, by=replace(gain.by, expr=-gain.by.expr))
    if name == "mul":
        made = _gained_product(reader, operands)
    return made or reader.again(eqn, [resolved(reader, v) if isinstance(v, Gained) else v for v in operands])


def _gained_product(reader: Reader, operands: Sequence[Value]) -> Gained | None:
    gain, other = operands if isinstance(operands[0], Gained) else operands[::-1]
    if not (isinstance(gain, Gained) and isinstance(other, Field)) or gain.shift is not None:
        return None
    first, second = _on_one_node(reader, [other, gain.by])
    if first.node != second.node or X in gain.by.expr.free_symbols:
        return None
    return replace(gain, by=Field(first.node, common(reader, [first, second]), first.expr * second.expr))


def _gained_sum(reader: Reader, operands: Sequence[Value]) -> Gained | None:
    gain, other = operands if isinstance(operands[0], Gained) else operands[::-1]
    assert isinstance(gain, Gained)
    if isinstance(other, Weight) and gain.shift is None:
        return replace(gain, shift=other)
    if not isinstance(other, Gained) or other.weight != gain.weight or (gain.shift and other.shift):
        return None
    first, second = _on_one_node(reader, [gain.by, other.by])
    if first.node != second.node:
        return None
    by = Field(first.node, common(reader, [first, second]), first.expr + second.expr)
    return replace(gain, by=by, shift=gain.shift or other.shift)


def resolved(reader: Reader, gain: Gained) -> Field:
    """The layer of gains, and that of shifts."""
    if X not in gain.by.expr.free_symbols:
        raise reader.net.refusal("a gain of means alone is used as a layer", "multiply entries by gains")
    place, reader.net.place = reader.net.place, gain.place
    made = gained(reader, gain.by, gain.weight)
    made = made if gain.shift is None else shifted(reader, made, gain.shift)
    reader.net.place = place
    return made


def _weight_and_number(reader: Reader, name: str, weight: Weight, other: Constant, is_first: bool) -> Value:
    number = number_of(other)
    if number is None:
        raise reader.net.refusal(f"a weight meets a fixed array in {name}", "use weights as they are")
    value = exact_number(number)
    if value == 0 and name == "mul":
        return Constant(np.zeros(tuple(size for size, _ in weight.view.axes)))
    if name == "mul" or (name == "div" and is_first):
        return weight.scaled(value if name == "mul" else 1 / value)
    if name in SUMS:
        made = weight.scaled(-sp.S.One) if name == "sub" and not is_first else weight
        return replace(made, offset=made.offset + (-value if name == "sub" and is_first else value))
    raise reader.net.refusal(f"a weight goes through {name} before it is used", "use weights as they are")


def covered(reader: Reader, value: Field, weight: Weight) -> set[int]:
    """The axes of the node along which a weight has entries of its own."""
    axes = [(g, size, stride) for g, (size, stride) in zip(value.groups, weight.view.axes, strict=True)]
    if any(size > 1 and stride and not group for group, size, stride in axes):
        raise reader.net.refusal("a weight adds axes to a layer", "let layers and weights have the same axes")
    groups = [group for group, size, stride in axes if size > 1 and stride]
    found = axes_of(groups)
    sizes = (2, *reader.net.nodes[value.node].shape)
    if 0 in found or not all(is_complete(groups, a, sizes[a]) for a in found):
        raise reader.net.refusal("a weight goes with a part of the channels or pixels", "give it one entry for each")
    return found


def plain(weight: Weight) -> Weight:
    """A weight without axes of one entry."""
    axes = tuple(a for a in weight.view.axes if a[0] > 1 and a[1])
    return replace(weight, view=replace(weight.view, axes=axes))


def shifted(reader: Reader, value: Field, weight: Weight) -> Field:
    """x + b:  the bias of a layer, or a layer of its own."""
    net = reader.net
    found = covered(reader, value, weight)
    node: Node = net.nodes[value.node]
    channel = net.channel_axis(value.node)
    if not found and net.channels(value.node) > 1:
        raise net.refusal("one trained number is added to all channels", "give each channel a bias of its own")
    is_local = bool(found - {channel})
    use = node.use
    is_layer = use is not None and bool(use.outputs) and use.bias is None
    if value.expr == X and use is not None and is_layer and not is_local:
        return replace(value, node=net.add(node.op, node.operands, replace(use, bias=plain(weight))))
    below = net.materialised(value)
    if is_local and found != set(range(1, channel + 1)):
        raise net.refusal("a bias for some of the axes of pixels", "give it one entry for each pixel, or for none")
    return replace(below, node=net.add(Shifts(is_local=is_local), [below.node], Use(bias=plain(weight))))


def gained(reader: Reader, value: Field, weight: Weight) -> Field:
    """g * x, an entry of g for each channel."""
    net = reader.net
    found = covered(reader, value, weight)
    below = net.materialised(value)
    if found - {net.channel_axis(value.node)}:
        raise net.refusal("a weight multiplies pixels, each by a number of its own", "give gains to channels alone")
    return replace(below, node=net.add(Gains(), [below.node], Use(kernel=plain(weight))))


def of_logits(reader: Reader, eqn: Any, operands: Sequence[Value]) -> Value | None:
    """Multiples of logits; None for what needs their values."""
    name = eqn.primitive.name
    logits = [v for v in operands if isinstance(v, Logits)]
    numbers = [number_of(v) for v in operands if not isinstance(v, Logits)]
    shape = shape_of(eqn)
    if name in ("reshape", "transpose", "squeeze", "broadcast_in_dim", "convert_element_type", "copy"):
        return replace(logits[0], shape=shape)
    is_scaled = name == "mul" or (name == "div" and isinstance(operands[0], Logits))
    if not is_scaled or len(logits) != 1 or numbers[0] is None:
        return None
    factor = exact_number(numbers[0])
    return replace(logits[0], factor=logits[0].factor * (factor if name == "mul" else 1 / factor), shape=shape)


def known_call(reader: Reader, eqn: Any, operands: Sequence[Value]) -> Value | None:
    """softplus and logaddexp, written for floating point inside, as the functions that they are."""
    form = WHOLE[eqn.params["name"]]
    body = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    fields = [v for v in operands if isinstance(v, Field)]
    is_plain = all(isinstance(v, Field) or number_of(v) is not None for v in operands)
    if not fields or not is_plain or len({f.node for f in fields}) > 1 or not agrees(form, body):
        return None
    return Field(fields[0].node, common(reader, fields), form(*(_part(v) for v in operands)))
