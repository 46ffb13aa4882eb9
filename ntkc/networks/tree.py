"""Layers in series, side by side and repeated: weights and outputs of the finite network, nodes of the graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax, random

from ntkc.data import dense_pattern
from ntkc.errors import InvalidGraph, ShapeMismatch
from ntkc.ir.graph import GraphBuilder
from ntkc.ir.layout import PLAIN, Layout, inverse
from ntkc.ir.op import Op, Shape
from ntkc.layers import branching, linear_maps, reshape
from ntkc.networks.arrays import Arrays
from ntkc.networks.masks import Masked, hidden
from ntkc.presence import there_after


@dataclass(frozen=True)
class Wire:
    """A node of the graph, and where samples and channels of its arrays are (None: no layer has said it)."""

    node: str
    layout: Layout | None = None


Wires = Any
"""A Wire, or a list with one for each branch."""


ONE = "one"


Inputs = Any
"""ONE for a network of one input, or nested tuples of it."""


@dataclass(frozen=True)
class Spot:
    """Shape of a sample, [pixels ..., channels], and where arrays of samples have their axes."""

    shape: Shape
    layout: Layout

    @property
    def rank(self) -> int:
        """Axes of an array of samples."""
        return len(self.shape) + 1


@dataclass(frozen=True)
class Tree(ABC):
    """How layers were combined: what serial, parallel and repeat made."""

    name: str

    @abstractmethod
    def attach(self, builder: GraphBuilder, wires: Wires) -> Wires:
        """Add the layers to a graph, on top of the given nodes."""

    @abstractmethod
    def init(self, rng: Any, input_shape: Any) -> tuple[Any, Any]:
        """init_fn(rng, input_shape) -> (output_shape, params): shapes are (-1, features)."""

    @abstractmethod
    def apply(self, params: Any, inputs: Any, **kwargs: Any) -> Any:
        """apply_fn(params, inputs) -> outputs [n, features]."""

    @abstractmethod
    def place(self, spots: Any) -> Any:
        """The Spot of the output, or a list of them, from that of the input.

        Raises:
            ShapeMismatch: a layer says that samples or channels are elsewhere than they are.
        """

    @property
    def inputs(self) -> Inputs:
        """What the first layers take."""
        return ONE

    @abstractmethod
    def leaves(self) -> Iterator[Leaf]:
        """The layers, in order."""

    @abstractmethod
    def mapped(self, function: Callable[[Op], Op]) -> Tree:
        """The same with another layer in the place of each."""

    @abstractmethod
    def text(self) -> str:
        """Python text that makes the layer."""


@dataclass(frozen=True)
class Leaf(Tree):
    """One layer, which computes on [samples, pixels ..., channels]; arrays are moved there and back.

    `layout` says where samples and channels are (None: the layer acts on arrays of any layout), `layout_out` where they
    are afterwards (None: as the layer itself says). `turn` puts the pixels of the result in another order, and
    `filters` has the axes of the first weight array, as the layer knows them, in their order for the user; `to_dense`
    makes patterns of an Aggregate out of what the user gives.
    """

    op: Op
    layout: Layout | None = None
    layout_out: Layout | None = None
    turn: linear_maps.Permute | None = None
    filters: tuple[int, ...] | None = None
    to_dense: Callable[[Any], Any] | None = None

    def leaves(self) -> Iterator[Leaf]:
        yield self

    def attach(self, builder: GraphBuilder, wires: Wires) -> Wires:
        if self.op.arity == 1 and not isinstance(wires, Wire):
            raise InvalidGraph(f"{self.text()} takes one input, got {len(wires)} branches; join them with FanInSum")
        below = [wires] if isinstance(wires, Wire) else list(wires)
        node = builder.add(_on_plain_axes(self.op, below[0].layout), [w.node for w in below])
        node = node if self.turn is None else builder.add(self.turn, [node])
        wire = Wire(node, self.layout_out or self.layout or below[0].layout)
        return [wire] * self.op.num if isinstance(self.op, reshape.FanOut) else wire

    def place(self, spots: Any) -> Any:
        below = [spots] if isinstance(spots, Spot) else list(spots)
        first = below[0]
        self._check(first)
        made = _on_plain_axes(self.op, first.layout).shape([s.shape for s in below])
        made = made if self.turn is None else self.turn.shape([made])
        layout = self.layout_out or self.op.layout_after(first.layout, first.shape)
        spot = Spot(made, layout.on(len(made) + 1))
        return [spot] * self.op.num if isinstance(self.op, reshape.FanOut) else spot

    def _check(self, spot: Spot) -> None:
        if self.layout is None:
            return
        own, has = self.layout.on(spot.rank), spot.layout
        if own.samples != has.samples or (self.layout.channels is not None and own.channels != has.channels):
            raise ShapeMismatch(
                f"{self.text()} has batch_axis = {own.samples} and channel_axis = {own.channels}, its input of "
                f"{spot.rank} axes has samples on axis {has.samples} and channels on axis {has.channels}"
            )

    def _axes_out(self, operand: Shape, made: Shape) -> tuple[int, ...]:
        """Axes of what the layer makes, in the order that the user sees."""
        layout = self.layout_out or self.op.layout_after((self.layout or PLAIN).on(len(operand) + 1), operand)
        turned = (0, *(i + 1 for i in self.turn.order), len(made)) if self.turn else tuple(range(len(made) + 1))
        return tuple(turned[i] for i in layout.places(len(made) + 1))

    def init(self, rng: Any, input_shape: Any) -> tuple[Any, Any]:
        layout = self.layout or PLAIN
        shapes = [picked(s, layout.order(len(s))) for s in _branch_shapes(input_shape, self)]
        features = [s[1:] for s in shapes]
        made = self.op.shape(features)
        axes = self._axes_out(features[0], made)
        specs, numbers = self.op.weights(features), Arrays(values=self.op.traced)
        keys = random.split(rng, len(specs)) if specs else ()
        orders = [() if spec is None else self._axes_of_weight(i, spec[0], axes) for i, spec in enumerate(specs)]
        params = tuple(
            None
            if spec is None
            else numbers.number(spec[1], "the scale of weights") * random.normal(key, picked(spec[0], order))
            for spec, key, order in zip(specs, keys, orders, strict=True)
        )
        output = picked((shapes[0][0], *made), axes)
        return [output] * self.op.num if isinstance(self.op, reshape.FanOut) else output, params

    def _axes_of_weight(self, i: int, weight: Sequence[int], axes: tuple[int, ...]) -> tuple[int, ...]:
        """Axes of a weight array of the layer, in the order that the user sees."""
        if i == 0 and self.filters is not None:
            return self.filters
        return axes if i in self.op.like_data else tuple(range(len(weight)))

    def apply(self, params: Any, inputs: Any, **kwargs: Any) -> Any:
        branches = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        compute = self._of_masked if isinstance(branches[0], Masked) else self._of_arrays
        output = compute(params, branches, kwargs)
        return [output] * self.op.num if isinstance(self.op, reshape.FanOut) else output

    def _of_arrays(self, params: Any, branches: list[Any], kwargs: dict[str, Any], there: Any = None) -> Any:
        if self.layout is None and all(jnp.ndim(x) < 2 for x in branches):
            return self.op.forward(params, branches, Arrays(kwargs.get("rng"), values=self.op.traced))
        layout = self.layout or PLAIN
        branches = [moved(x, layout.order(jnp.ndim(x))) for x in branches]
        features = [x.shape[1:] for x in branches]
        axes = self._axes_out(features[0], self.op.shape(features))
        params = [
            None if _is_no_weight(w) else moved(w, inverse(self._axes_of_weight(i, jnp.shape(w), axes)))
            for i, w in enumerate(params)
        ]
        _check_weights(self.op, params, features)
        params = lax.stop_gradient(params) if self.op.frozen else params
        pattern = dense_pattern(kwargs.get("pattern"))
        pattern = pattern if pattern is None or self.to_dense is None else self.to_dense(pattern)
        return moved(self.op.forward(params, branches, Arrays(kwargs.get("rng"), pattern, there, self.op.traced)), axes)

    def _of_masked(self, params: Any, branches: list[Masked], kwargs: dict[str, Any]) -> Masked:
        """The same, and which pixels are there afterwards."""
        first, shapes = branches[0], [b.shape for b in branches]
        value = self._of_arrays(params, [b.value for b in branches], kwargs, first.there)
        op = _on_plain_axes(self.op, first.layout)
        there = there_after(op, [b.there for b in branches], shapes)
        if self.turn is not None:
            there = there_after(self.turn, [there], [op.shape(shapes)])
        return hidden(value, there, self.layout_out or self.op.layout_after(first.layout, first.shape))

    def mapped(self, function: Callable[[Op], Op]) -> Tree:
        return replace(self, op=function(self.op))

    def text(self) -> str:
        return self.op.label()


def _is_no_weight(w: Any) -> bool:
    """None, or what the peer's users write for a bias that is left out: an empty tuple, or one number."""
    return w is None or jnp.shape(w) == () or (isinstance(w, tuple) and not w)


def _check_weights(op: Op, params: Sequence[Any], features: Sequence[Shape]) -> None:
    """Weights have the shapes that the layer has for such data."""
    given = [None if w is None else tuple(jnp.shape(w)) for w in params]
    needed = [None if spec is None else tuple(spec[0]) for spec in op.weights(features)]
    if given != needed:
        channels = " and ".join(str(shape[-1]) for shape in features)
        raise ShapeMismatch(
            f"{op.label()} got data of {channels} channels and weights of shapes {given}: {needed} are needed; "
            "init_fn with the shape of the data makes them"
        )


def _on_plain_axes(op: Op, layout: Layout | None) -> Op:
    """FanInConcat counts axes as its input has them: the same on [samples, pixels ..., channels]."""
    if layout is None or not isinstance(op, branching.FanInConcat):
        return op
    return replace(op, axis=layout.plain_axis(op.axis))


@dataclass(frozen=True)
class Serial(Tree):
    """One after another."""

    parts: tuple[Tree, ...]

    @property
    def inputs(self) -> Inputs:
        return self.parts[0].inputs if self.parts else ONE

    def leaves(self) -> Iterator[Leaf]:
        for part in self.parts:
            yield from part.leaves()

    def place(self, spots: Any) -> Any:
        for part in self.parts:
            spots = part.place(spots)
        return spots

    def attach(self, builder: GraphBuilder, wires: Wires) -> Wires:
        for part in self.parts:
            wires = part.attach(builder, wires)
        return wires

    def init(self, rng: Any, input_shape: Any) -> tuple[Any, Any]:
        params: list[Any] = []
        for part in self.parts:
            rng, key = random.split(rng)
            input_shape, param = part.init(key, input_shape)
            params.append(param)
        return input_shape, params

    def apply(self, params: Any, inputs: Any, **kwargs: Any) -> Any:
        for part, param, own in zip(self.parts, params, _split_keys(kwargs, len(self.parts)), strict=True):
            inputs = part.apply(param, inputs, **own)
        return inputs

    def mapped(self, function: Callable[[Op], Op]) -> Tree:
        return replace(self, parts=tuple(part.mapped(function) for part in self.parts))

    def text(self) -> str:
        return f"serial({', '.join(p.text() for p in self.parts)})"


@dataclass(frozen=True)
class Parallel(Tree):
    """Side by side, one branch each."""

    parts: tuple[Tree, ...]

    @property
    def inputs(self) -> Inputs:
        return tuple(part.inputs for part in self.parts)

    def _matched(self, branches: Any) -> list[tuple[Tree, Any]]:
        is_one = not isinstance(branches, (list, tuple))
        if is_one or len(branches) != len(self.parts):
            got = 1 if is_one else len(branches)
            raise InvalidGraph(
                f"parallel of {len(self.parts)} layers got {got} branches; FanOut({len(self.parts)}) first"
            )
        return list(zip(self.parts, branches, strict=True))

    def leaves(self) -> Iterator[Leaf]:
        for part in self.parts:
            yield from part.leaves()

    def place(self, spots: Any) -> Any:
        return type(spots)([part.place(spot) for part, spot in self._matched(spots)])

    def attach(self, builder: GraphBuilder, wires: Wires) -> Wires:
        return type(wires)([part.attach(builder, wire) for part, wire in self._matched(wires)])

    def init(self, rng: Any, input_shape: Any) -> tuple[Any, Any]:
        matched = self._matched(input_shape)
        keys = random.split(rng, len(matched))
        made = [part.init(key, shape) for key, (part, shape) in zip(keys, matched, strict=True)]
        return type(input_shape)([shape for shape, _ in made]), tuple(param for _, param in made)

    def apply(self, params: Any, inputs: Any, **kwargs: Any) -> Any:
        matched = zip(params, self._matched(inputs), _split_keys(kwargs, len(self.parts)), strict=True)
        return type(inputs)([part.apply(p, x, **own) for p, (part, x), own in matched])

    def mapped(self, function: Callable[[Op], Op]) -> Tree:
        return replace(self, parts=tuple(part.mapped(function) for part in self.parts))

    def text(self) -> str:
        return f"parallel({', '.join(p.text() for p in self.parts)})"


@dataclass(frozen=True)
class Repeated(Tree):
    """One layer n times; its weights are stacked along a first axis."""

    part: Tree
    count: int

    @property
    def inputs(self) -> Inputs:
        return self.part.inputs

    def leaves(self) -> Iterator[Leaf]:
        yield from self.part.leaves()

    def place(self, spots: Any) -> Any:
        for _ in range(self.count):
            spots = self.part.place(spots)
        return spots

    def attach(self, builder: GraphBuilder, wires: Wires) -> Wires:
        for _ in range(self.count):
            wires = self.part.attach(builder, wires)
        return wires

    def init(self, rng: Any, input_shape: Any) -> tuple[Any, Any]:
        params: list[Any] = []
        for _ in range(self.count):
            rng, key = random.split(rng)
            shape, param = self.part.init(key, input_shape)
            if shape != input_shape:
                raise ShapeMismatch(f"repeat: {self.part.text()} turns {input_shape} into {shape}; use serial instead")
            params.append(param)
        return input_shape, jax.tree.map(lambda *v: jnp.stack(v), *params) if params else ()

    def apply(self, params: Any, inputs: Any, **kwargs: Any) -> Any:
        if self.count == 0:
            return inputs
        return lax.scan(lambda x, p: (self.part.apply(p, x, **kwargs), None), inputs, params, self.count)[0]

    def mapped(self, function: Callable[[Op], Op]) -> Tree:
        return replace(self, part=self.part.mapped(function))

    def text(self) -> str:
        return f"repeat({self.part.text()}, {self.count})"


def picked(shape: Sequence[Any], axes: Sequence[int]) -> tuple[Any, ...]:
    return tuple(shape[a] for a in axes)


def moved(x: Any, axes: tuple[int, ...]) -> Any:
    """Axes in another order."""
    return x if axes == tuple(range(len(axes))) else jnp.transpose(x, axes)


def _split_keys(kwargs: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """A key of its own for each part."""
    rng = kwargs.get("rng")
    if rng is None:
        return [kwargs] * count
    return [{**kwargs, "rng": key} for key in random.split(rng, count)] if count else []


def _branch_shapes(input_shape: Any, leaf: Leaf) -> list[tuple[Any, ...]]:
    is_one = not input_shape or not isinstance(input_shape[0], (tuple, list))
    shapes = [tuple(input_shape)] if is_one else [tuple(s) for s in input_shape]
    for shape in shapes:
        if len(shape) < 2:
            raise ShapeMismatch(
                f"{leaf.text()}: input shape {shape}; (-1, features) or (-1, pixels ..., features) is needed"
            )
    return shapes
