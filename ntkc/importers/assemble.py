"""Nodes and parameters  ->  a graph:  each weight is read as the W_std and b_std of its layer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import sympy as sp

from ntkc.empirical.views import View
from ntkc.gaussian.normal_form import X
from ntkc.importers.imported import Imported, Reading
from ntkc.importers.initialisers import (
    ERRORS,
    MOST_SINGULAR,
    ORTHOGONAL,
    TRAINED,
    UNIFORM_ONLY,
    Fans,
    Moments,
    law_fits,
    matches,
    top_singular,
)
from ntkc.importers.net import Net, Node, Use
from ntkc.importers.refusals import UnsupportedModel
from ntkc.importers.values import Weight
from ntkc.ir.graph import GraphBuilder
from ntkc.ir.hyper import Parameter
from ntkc.ir.op import Op
from ntkc.layers.activations import Activation, Scale
from ntkc.layers.channels import Gains, Shifts
from ntkc.layers.conv import Conv
from ntkc.layers.dense import Dense
from ntkc.layers.inputs import Input

NARROW = 64
UNIT = "N(0, 1)"


@dataclass(frozen=True)
class Parameters:
    """What a model's parameters are called, and their arrays."""

    names: Sequence[str]
    arrays: Sequence[Any]

    def entries(self, view: View) -> np.ndarray:
        """The array of a view; a part of a weight is cut out of it without a copy."""
        array = np.asarray(self.arrays[view.weight])
        if math.prod(size for size, _ in view.axes) == array.size:
            return array
        flat = np.ascontiguousarray(array).reshape(-1)[view.offset :]
        sizes, strides = zip(*view.axes, strict=True)
        return np.lib.stride_tricks.as_strided(flat, sizes, [s * flat.itemsize for s in strides], writeable=False)


@dataclass
class Assembly:
    """A graph on its way, and what is told of it."""

    net: Net
    parameters: Parameters
    parameterization: str
    is_trained: Callable[[str], bool]
    builder: GraphBuilder = field(default_factory=GraphBuilder)
    made: dict[int, str] = field(default_factory=dict[int, str])
    readings: dict[tuple[int, int], Reading] = field(default_factory=dict[tuple[int, int], Reading])
    warnings: dict[str, None] = field(default_factory=dict[str, None])
    notes: dict[str, None] = field(default_factory=dict[str, None])
    values: dict[str, float] = field(default_factory=dict[str, float])
    places: dict[str, str] = field(default_factory=dict[str, str])
    moments: dict[View, Moments] = field(default_factory=dict[View, Moments])
    votes: Counter[str] = field(default_factory=Counter[str])

    def name(self, weight: Weight) -> str:
        """Of its parameter."""
        return self.parameters.names[weight.view.weight]

    def moments_of(self, weight: Weight) -> Moments:
        """What is read of its entries."""
        if weight.view not in self.moments:
            self.moments[weight.view] = Moments.of(self.parameters.entries(weight.view))
        return self.moments[weight.view]

    def add(self, op: Op, operands: Sequence[str], place: str) -> str:
        """A layer of the graph."""
        name = self.builder.add(op, operands)
        self.places[name] = place
        return name

    def trains(self, weight: Weight | None) -> bool:
        """The NTK counts its gradient."""
        return weight is not None and self.is_trained(self.name(weight))

    def tell(self, weight: Weight, initialiser: str, read_as: str, notes: Sequence[str] = ()) -> None:
        """A row of the report."""
        view = weight.view
        row = Reading(self.name(weight), tuple(view.shape), initialiser, read_as, tuple(notes))
        self.readings[view.weight, view.offset] = row

    def opened(self, stem: str, value: float) -> Parameter:
        """A measured number, which stays a hyper-parameter."""
        symbol = Parameter(f"{stem}_{sum(name.startswith(stem) for name in self.values) + 1}")
        self.values[symbol.name] = float(f"{value:.6g}")
        return symbol


def assembled(
    net: Net,
    output: int,
    parameters: Parameters,
    parameterization: str,
    is_trained: Callable[[str], bool],
    notes: Mapping[str, None],
) -> Imported:
    """The graph of all that the output reads."""
    live = _live(net, output)
    _check_inputs(net, live)
    a = Assembly(net, parameters, parameterization, is_trained, notes=dict(notes))
    _check_apart(a, live)
    a.votes.update(name for i in live for name in _sure(a, net.nodes[i].use))
    for i in live:
        a.made[i] = _layer(a, net.nodes[i])
    _warn_of_widths(a, live)
    unused = [n for i, n in enumerate(parameters.names) if i not in {v for v, _ in a.readings}]
    if unused:
        a.notes[f"parameters that the output does not read: {', '.join(unused)}"] = None
    rows = tuple(a.readings[key] for key in sorted(a.readings))
    graph = a.builder.finish(a.made[output])
    return Imported(graph, rows, tuple(a.notes), tuple(a.warnings), a.values, a.places)


def _live(net: Net, output: int) -> list[int]:
    wanted = {output}
    for i in range(output, -1, -1):
        if i in wanted:
            wanted.update(net.nodes[i].operands)
    return sorted(wanted)


def _check_inputs(net: Net, live: Sequence[int]) -> None:
    unread = [i for i, node in enumerate(net.nodes) if isinstance(node.op, Input) and i not in live]
    if unread:
        raise UnsupportedModel("", f"the output does not read input {unread[0]}", "leave that input out")


def _weights(use: Use | None) -> list[Weight]:
    return [] if use is None else [w for w in (use.kernel, use.bias) if w is not None]


def _check_apart(a: Assembly, live: Sequence[int]) -> None:
    """A weight that is used twice is never read as two."""
    uses = [(w, a.net.nodes[i].place) for i in live for w in _weights(a.net.nodes[i].use)]
    by_weight: dict[int, list[tuple[Weight, str]]] = {}
    for weight, place in uses:
        by_weight.setdefault(weight.view.weight, []).append((weight, place))
    for group in by_weight.values():
        for (one, place1), (two, place2) in combinations(group, 2):
            if not one.view.is_apart_from(two.view):
                raise UnsupportedModel(
                    place2,
                    f"the weight {a.name(one)} is used more than once (first at {place1 or 'another layer'}), and the "
                    "same weight is not two independent ones",
                    "give each use weights of its own",
                )


def _sure(a: Assembly, use: Use | None) -> list[str]:
    """Initialisers of a kernel that none of another variance is as near to."""
    if use is None or use.kernel is None or not use.outputs:
        return []
    found = matches(a.moments_of(use.kernel), Fans(use.fan_in, use.fan_out))
    return [name for name, _ in found] if len({v for _, v in found}) == 1 else []


def _layer(a: Assembly, node: Node) -> str:
    operands = [a.made[i] for i in node.operands]
    if isinstance(node.op, Gains):
        return _gains(a, node, operands)
    if isinstance(node.op, Shifts):
        assert node.use is not None
        assert node.use.bias is not None
        return _shifts(a, operands, node.use.bias, node.place, None, node.op.is_local)
    if node.use is not None:
        return _weighted(a, node, node.use, operands)
    return a.add(node.op, operands, node.place)


def _weighted(a: Assembly, node: Node, use: Use, operands: Sequence[str]) -> str:
    """Dense or Conv; where one rate of learning does not serve both weights and bias, with a Scale and Shifts."""
    assert use.kernel is not None
    assert isinstance(node.op, (Dense, Conv))
    kernel, bias = use.kernel, use.bias
    deviation, is_unit = _kernel(a, use)
    factor = sp.Abs(kernel.factor)
    is_ntk = a.parameterization == "ntk" or (factor != 1 and is_unit)
    W_std = deviation * factor * sp.sqrt(use.fan_in) if is_ntk or factor == 1 else deviation * sp.sqrt(use.fan_in)
    name = "ntk" if is_ntk else "standard"
    frozen = not a.trains(kernel)
    is_scaled = factor != 1 and not is_ntk
    b_std = None
    if bias is not None and not is_scaled and a.trains(bias) == a.trains(kernel):
        b_std = _inner_bias(a, bias, use.fan_in, is_ntk)
    op = replace(node.op, W_std=sp.sqrt(sp.simplify(W_std**2)) if W_std.is_number else W_std, b_std=b_std)
    made = a.add(replace(op, parameterization=name, frozen=frozen), operands, node.place)
    if is_scaled:
        made = a.add(Scale(factor), [made], node.place)
    if bias is not None and b_std is None:
        made = _shifts(a, [made], bias, node.place, use.fan_in, False)
    return made


def _kernel(a: Assembly, use: Use) -> tuple[sp.Expr, bool]:
    """Standard deviation of the entries, and whether they are of N(0, 1)."""
    kernel = use.kernel
    assert kernel is not None
    moments, fans = a.moments_of(kernel), Fans(use.fan_in, use.fan_out)
    _check_finite(a, kernel, moments)
    if moments.is_constant:
        raise UnsupportedModel(
            a.name(kernel),
            f"all its entries are {moments.mean:.6g}, so that its layer is not random",
            "draw it at random, or leave the layer out",
        )
    notes = _doubts(a, kernel, moments)
    found = matches(moments, fans)
    if not found:
        value = math.sqrt(moments.variance)
        symbol = a.opened("W_std", value * math.sqrt(use.fan_in) * abs(float(kernel.factor)))
        a.tell(kernel, f"measured ({moments.law})", f"{symbol}^2 = {a.values[symbol.name] ** 2:.4g}", notes)
        return symbol / sp.sqrt(use.fan_in) / sp.Abs(kernel.factor), False
    label, variance = max(found, key=lambda f: a.votes[f[0]])
    if variance != found[0][1]:
        notes.append("few entries, read as other layers are")
    same = [name for name, v in found if v == variance]
    other = [name for name, v in found if v != variance]
    if other and not any(a.votes[name] for name in (label, *other)):
        notes.append(f"or {', or '.join(other)}")
        a.warnings[f"{a.name(kernel)} is too small to tell its initialiser: {label}, or {', or '.join(other)}"] = None
    read = _shown(variance * use.fan_in * kernel.factor**2)
    label = ", or ".join([label, *(s for s in same if s != label)])
    a.tell(kernel, f"{label} ({moments.law})", f"W_std^2 = {read}", notes)
    return sp.sqrt(variance), variance == 1


def _check_finite(a: Assembly, weight: Weight, moments: Moments) -> None:
    if not math.isfinite(moments.variance + moments.mean):
        raise UnsupportedModel(a.name(weight), "it holds NaN or infinities", "give finite parameters")


def _doubts(a: Assembly, kernel: Weight, moments: Moments) -> list[str]:
    """What speaks against independent entries of mean 0."""
    notes: list[str] = []
    name = a.name(kernel)
    if moments.has_mean:
        notes.append(f"mean {moments.mean:.3g}")
        a.warnings[f"{name} has mean {moments.mean:.3g}: it is read as if it had mean 0"] = None
    entries = a.parameters.entries(kernel.view)
    part = entries[:MOST_SINGULAR]
    matrix = part.reshape(len(part), -1) if part.ndim > 1 else part.reshape(1, -1)
    top = top_singular(matrix, moments.variance)
    if top is not None and top > TRAINED:
        notes.append(f"top singular value {top:.2f} times that of independent entries")
        a.warnings[
            f"{name} is no matrix of independent entries (trained, or of low rank): top singular value {top:.2f}"
        ] = None
    if top is not None and top < ORTHOGONAL:
        notes.append(f"top singular value {top:.2f} times that of independent entries")
        a.warnings[f"{name} looks orthogonal, which the limit does not see in its NNGP at large widths"] = None
    return notes


def _bias(a: Assembly, bias: Weight, fan_in: int | None) -> tuple[sp.Expr, sp.Expr, bool]:
    """Standard deviation of the entries, the number that they are shifted by, and whether they are of N(0, 1)."""
    moments = a.moments_of(bias)
    _check_finite(a, bias, moments)
    if moments.count == 1 and moments.mean != 0:
        return _single(a, bias, moments, fan_in)
    if moments.is_constant:
        start = bias.factor * _decimal(moments.mean) + bias.offset
        a.tell(bias, f"constant {_decimal(moments.mean)}", "b_std^2 = 0" + ("" if start == 0 else f", shift {start}"))
        return sp.S.Zero, start, False
    known = {"N(0, 1)": sp.S.One, "N(0, 0.02^2)": sp.Rational(1, 2500), "N(0, 0.01^2)": sp.Rational(1, 10000)}
    if fan_in is not None:
        known = {UNIFORM_ONLY: sp.Rational(1, 3 * fan_in), **known}
    width = ERRORS * moments.relative_error
    near = [
        (name, v)
        for name, v in known.items()
        if abs(moments.variance / float(v) - 1) <= width and law_fits(name, moments)
    ]
    notes = [f"mean {moments.mean:.3g}"] if moments.has_mean else []
    if moments.has_mean:
        a.warnings[f"{a.name(bias)} has mean {moments.mean:.3g}: it is read as if it had mean 0"] = None
    if near:
        label, variance = max(near, key=lambda f: a.votes[f[0]])
        a.tell(bias, f"{label} ({moments.law})", f"b_std^2 = {_shown(variance * bias.factor**2)}", notes)
        return sp.sqrt(variance), bias.offset, variance == 1
    symbol = a.opened("b_std", math.sqrt(moments.variance) * abs(float(bias.factor)))
    a.tell(bias, f"measured ({moments.law})", f"{symbol}^2 = {a.values[symbol.name] ** 2:.4g}", notes)
    return symbol / sp.Abs(bias.factor), bias.offset, False


def _single(a: Assembly, bias: Weight, moments: Moments, fan_in: int | None) -> tuple[sp.Expr, sp.Expr, bool]:
    """One entry tells no law: that of the other layers, if it may be, else its own size."""
    if fan_in is not None and a.votes[UNIFORM_ONLY] and moments.mean**2 * fan_in <= 1:
        read = _shown(bias.factor**2 / (3 * fan_in))
        a.tell(bias, f"{UNIFORM_ONLY} (as other layers)", f"b_std^2 = {read}", ["one entry"])
        return 1 / sp.sqrt(3 * fan_in), bias.offset, False
    symbol = a.opened("b_std", abs(moments.mean * float(bias.factor)))
    a.tell(bias, "measured", f"{symbol}^2 = {a.values[symbol.name] ** 2:.4g}", ["one entry"])
    return symbol / sp.Abs(bias.factor), bias.offset, False


def _shown(value: sp.Expr) -> str:
    """A fraction, or four digits."""
    number = sp.simplify(value)
    return str(number) if isinstance(number, sp.Rational) and number.q < 10**6 else f"{float(number):.4g}"


def _decimal(value: float) -> sp.Expr:
    return sp.nsimplify(float(f"{value:.7g}"), rational=True)


def _inner_bias(a: Assembly, bias: Weight, fan_in: int, is_ntk: bool) -> sp.Expr | None:
    """b_std of a bias that is trained as the weights are; None where it is a layer of its own."""
    values, opened = dict(a.values), dict(a.readings)
    deviation, start, is_unit = _bias(a, bias, fan_in)
    factor = sp.Abs(bias.factor)
    fits = (factor == 1 and not is_ntk) or (is_ntk and (a.parameterization == "ntk" or is_unit))
    if start == 0 and fits:
        return deviation * factor
    a.values, a.readings = values, opened
    return None


def _shifts(a: Assembly, operands: Sequence[str], bias: Weight, place: str, fan_in: int | None, is_local: bool) -> str:
    """x + factor b + offset."""
    deviation, start, _ = _bias(a, bias, fan_in)
    factor = sp.Abs(bias.factor)
    (made,) = operands
    if factor != 1:
        made = a.add(Scale(1 / factor), [made], place)
    made = a.add(Shifts(deviation, is_local, frozen=not a.trains(bias)), [made], place)
    if factor != 1:
        made = a.add(Scale(factor), [made], place)
    return made if start == 0 else a.add(Activation(X + start), [made], place)


def _gains(a: Assembly, node: Node, operands: Sequence[str]) -> str:
    """(factor g + offset) x."""
    assert node.use is not None
    assert node.use.kernel is not None
    gain = node.use.kernel
    moments = a.moments_of(gain)
    _check_finite(a, gain, moments)
    notes: list[str] = []
    if not moments.is_constant:
        if abs(moments.mean) < 2 * math.sqrt(moments.variance):
            raise UnsupportedModel(node.place, f"the gains {a.name(gain)} are random", "start gains at one number")
        notes.append("differ between channels")
        a.warnings[f"{a.name(gain)} differs between channels (trained): it is read as its mean"] = None
    value = gain.factor * _decimal(moments.mean) + gain.offset
    a.tell(gain, f"constant {_decimal(moments.mean)}" if moments.is_constant else "measured", f"gain {value}", notes)
    (made,) = operands
    if not gain.view.axes:
        a.notes[f"{a.name(gain)} multiplies all channels: its own part of the NTK has no limit and is left out"] = None
        return a.add(Scale(value), [made], node.place)
    if gain.factor != 1:
        made = a.add(Scale(gain.factor), [made], node.place)
    return a.add(Gains(value / gain.factor, frozen=not a.trains(gain)), [made], node.place)


def _warn_of_widths(a: Assembly, live: Sequence[int]) -> None:
    hidden: set[int] = set()
    for i in reversed(live):
        if i in hidden or isinstance(a.net.nodes[i].op, (Dense, Conv)):
            hidden.update(a.net.nodes[i].operands)
    nodes = [a.net.nodes[i] for i in live if i in hidden]
    narrow = [n for n in nodes if isinstance(n.op, (Dense, Conv)) and n.shape[-1] < NARROW]
    if narrow:
        places = ", ".join(dict.fromkeys(f"{n.place or n.op.label()} ({n.shape[-1]})" for n in narrow))
        a.warnings[f"fewer than {NARROW} channels, where finite and infinite kernels differ: {places}"] = None
