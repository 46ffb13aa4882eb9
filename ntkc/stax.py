"""Layers with the names, arguments and results of `neural_tangents.stax`.

    init_fn, apply_fn, kernel_fn = stax.serial(stax.Dense(512), stax.Relu(), stax.Dense(10))

A layer is also what `ntkc.compile` takes. Finite networks draw the same weights as the peer for the same key.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import sympy as sp
from jax import lax, random

from ntkc.backends.expression import function_text
from ntkc.errors import InvalidGraph, InvalidInput, ShapeMismatch, unknown
from ntkc.gaussian.series import stable
from ntkc.ir.exact import whole
from ntkc.ir.graph import Graph, GraphBuilder
from ntkc.ir.layout import PLAIN, Layout, inverse
from ntkc.ir.op import Op, Scalar, Shape
from ntkc.ir.value import Law
from ntkc.kernel import Kernel
from ntkc.layers import (
    activations,
    aggregate,
    attention,
    branching,
    conv,
    dense,
    given,
    linear_maps,
    norm,
    pooling,
    resampling,
    reshape,
)
from ntkc.layers.inputs import Input, Port, open_inputs
from ntkc.passes.settle import has_patterns, without_patterns
from ntkc.program import KernelProgram, build
from ntkc.tracing import expression_of


@dataclass(frozen=True)
class Wire:
    """A node of the graph, and where samples and channels of its arrays are (None: no layer has said it)."""

    node: str
    layout: Layout | None = None


Wires = Any
"""A Wire, or a list with one for each branch."""

KEPT_PROGRAMS = 64
"""Compiled programs that kernel functions keep: each takes some 200 memory maps, of the 65,530 that Linux allows."""

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
        shapes = [_picked(s, layout.order(len(s))) for s in _branch_shapes(input_shape, self)]
        features = [s[1:] for s in shapes]
        made = self.op.shape(features)
        axes = self._axes_out(features[0], made)
        specs = self.op.weights(features)
        keys = random.split(rng, len(specs)) if specs else ()
        orders = [() if spec is None else self._axes_of_weight(i, spec[0], axes) for i, spec in enumerate(specs)]
        params = tuple(
            None if spec is None else spec[1] * random.normal(key, _picked(spec[0], order))
            for spec, key, order in zip(specs, keys, orders, strict=True)
        )
        output = _picked((shapes[0][0], *made), axes)
        return [output] * self.op.num if isinstance(self.op, reshape.FanOut) else output, params

    def _axes_of_weight(self, i: int, weight: Sequence[int], axes: tuple[int, ...]) -> tuple[int, ...]:
        """Axes of a weight array of the layer, in the order that the user sees."""
        if i == 0 and self.filters is not None:
            return self.filters
        return axes if i in self.op.like_data else tuple(range(len(weight)))

    def apply(self, params: Any, inputs: Any, **kwargs: Any) -> Any:
        branches = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        layout = self.layout or PLAIN
        branches = [_moved(x, layout.order(jnp.ndim(x))) for x in branches]
        features = [x.shape[1:] for x in branches]
        axes = self._axes_out(features[0], self.op.shape(features))
        params = [
            None if w is None else _moved(w, inverse(self._axes_of_weight(i, jnp.shape(w), axes)))
            for i, w in enumerate(params)
        ]
        pattern = kwargs.get("pattern")
        pattern = pattern if pattern is None or self.to_dense is None else self.to_dense(pattern)
        output = _moved(self.op.forward(params, branches, _Arrays(kwargs.get("rng"), pattern)), axes)
        return [output] * self.op.num if isinstance(self.op, reshape.FanOut) else output

    def text(self) -> str:
        return self.op.label()


def _on_plain_axes(op: Op, layout: Layout | None) -> Op:
    """FanInConcat counts axes as its input has them: the same on [samples, pixels ..., channels]."""
    if layout is None or not isinstance(op, branching.FanInConcat):
        return op
    return replace(op, axis=layout.plain_axis(op.axis))


def _picked(shape: Sequence[Any], axes: Sequence[int]) -> tuple[Any, ...]:
    return tuple(shape[a] for a in axes)


def _moved(x: Any, axes: tuple[int, ...]) -> Any:
    """Axes in another order."""
    return x if axes == tuple(range(len(axes))) else jnp.transpose(x, axes)


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
        if isinstance(branches, (Wire, Spot)) or len(branches) != len(self.parts):
            got = 1 if isinstance(branches, (Wire, Spot)) else len(branches)
            raise InvalidGraph(
                f"parallel of {len(self.parts)} layers got {got} branches; FanOut({len(self.parts)}) first"
            )
        return list(zip(self.parts, branches, strict=True))

    def leaves(self) -> Iterator[Leaf]:
        for part in self.parts:
            yield from part.leaves()

    def place(self, spots: Any) -> Any:
        return [part.place(spot) for part, spot in self._matched(spots)]

    def attach(self, builder: GraphBuilder, wires: Wires) -> Wires:
        return [part.attach(builder, wire) for part, wire in self._matched(wires)]

    def init(self, rng: Any, input_shape: Any) -> tuple[Any, Any]:
        matched = self._matched(input_shape)
        keys = random.split(rng, len(matched))
        made = [part.init(key, shape) for key, (part, shape) in zip(keys, matched, strict=True)]
        return [shape for shape, _ in made], tuple(param for _, param in made)

    def apply(self, params: Any, inputs: Any, **kwargs: Any) -> Any:
        matched = zip(params, self._matched(inputs), _split_keys(kwargs, len(self.parts)), strict=True)
        return [part.apply(p, x, **own) for p, (part, x), own in matched]

    def text(self) -> str:
        return f"parallel({', '.join(p.text() for p in self.parts)})"


@dataclass(frozen=True)
class Repeat(Tree):
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

    def text(self) -> str:
        return f"repeat({self.part.text()}, {self.count})"


def _split_keys(kwargs: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """A key of its own for each part."""
    rng = kwargs.get("rng")
    if rng is None:
        return [kwargs] * count
    return [{**kwargs, "rng": key} for key in random.split(rng, count)] if count else []


class Layer(tuple[Any, Any, "KernelFn"]):
    """(init_fn, apply_fn, kernel_fn), made from a Tree."""

    tree: Tree

    def __new__(cls, tree: Tree) -> Layer:
        init_fn, apply_fn = _named(tree.init, tree.name), _named(tree.apply, tree.name)
        layer = super().__new__(cls, (init_fn, apply_fn, KernelFn(tree)))
        layer.tree = tree
        return layer

    def __repr__(self) -> str:
        return f"stax.{self.tree.text()}"

    def __getnewargs__(self) -> tuple[Tree]:
        return (self.tree,)


def _named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def named(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    named.__name__ = named.__qualname__ = name
    named.__doc__ = function.__doc__
    return named


class KernelFn:
    """kernel_fn(x1, x2=None, get=None): the kernel of a layer, on data or on the Kernel of the layers before it."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.__name__ = self.__qualname__ = tree.name

    def __reduce__(self) -> tuple[Any, ...]:
        return KernelFn, (self.tree,)

    def __deepcopy__(self, memo: Any) -> KernelFn:
        return self

    @cached_property
    def program(self) -> KernelProgram:
        """The compiled network, of data [samples, pixels ..., channels].

        Raises:
            InvalidInput: the network reads data with other axes.
        """
        check_plain_data(self.tree)
        return self._program

    @cached_property
    def _program(self) -> KernelProgram:
        return build(graph_of(self.tree))

    def _program_of(self, inputs: Inputs) -> KernelProgram:
        """The program for data of this structure."""
        return self._program if inputs == self.tree.inputs else _input_program(self.tree, inputs)

    @cached_property
    def _is_plain(self) -> bool:
        return all(_is_plain(leaf) for leaf in self.tree.leaves())

    def _plain(self, x: Any, layouts: Any) -> Any:
        """Data as [samples, pixels ..., channels]."""
        if x is None:
            return None
        if not isinstance(layouts, Layout):
            return tuple(self._plain(*pair) for pair in zip(x, layouts, strict=True))
        if layouts.is_plain():
            return x
        return _moved(jnp.asarray(x), layouts.order(jnp.ndim(x)))

    def _dense(self, pattern: Any) -> Any:
        """A pair of patterns as the layers read them."""
        if pattern is None:
            return None
        first, second = pattern
        made = {leaf.to_dense for leaf in self.tree.leaves() if isinstance(leaf.op, aggregate.Aggregate)}
        if len(made) > 1:
            raise InvalidInput("Aggregate layers of one network with several to_dense are not supported")
        to_dense = next(iter(made), None)
        if to_dense is None:
            return first, second
        dense = None if first is None else to_dense(first)
        return dense, dense if second is first else None if second is None else to_dense(second)

    def _in_own_layout(self, kernel: Kernel, shape: Shape) -> Kernel:
        """The Kernel with the shapes and axes of a network that has samples and channels anywhere."""
        if self._is_plain:
            return kernel
        return _in_layout(kernel, _place_of(self.tree, shape).layout)

    def __call__(
        self,
        x1_or_kernel: Any,
        x2: Any = None,
        get: str | Iterable[str] | None = None,
        *,
        pattern: Any = None,
        mask_constant: float | None = None,
        diagonal_batch: bool | None = None,
        diagonal_spatial: bool | None = None,
        **parameters: Any,
    ) -> Any:
        """K and T of data [n1, features] and [n2, features], or of a Kernel.

        `get` is None for a Kernel, the name of one of its fields, or a tuple of names for a named tuple.
        """
        pattern = self._dense(pattern)
        if isinstance(x1_or_kernel, Kernel):
            if pattern is not None and any(p is not None for p in pattern):
                raise InvalidInput("pattern with a Kernel is not supported: give data to the whole network")
            return _selected(self._onward(x1_or_kernel, parameters), get)
        if isinstance(x1_or_kernel, (list, tuple)) and any(isinstance(x, Kernel) for x in x1_or_kernel):
            raise InvalidGraph(f"{self.__name__} got {len(x1_or_kernel)} Kernels; one can be continued")
        names = (get,) if isinstance(get, str) else get
        inputs = inputs_of_data(x1_or_kernel)
        if x2 is not None and inputs_of_data(x2) != inputs:
            raise InvalidInput("x1 and x2 are different nested tuples of arrays")
        layouts, program = stated_layouts(self.tree, inputs), self._program_of(inputs)
        x1, x2 = self._plain(x1_or_kernel, layouts), self._plain(x2, layouts)
        shape = _shape_of(x1)
        if not self._is_plain:
            _place_of(self.tree, shape)
        options = {"mask_constant": mask_constant, "diagonal_spatial": diagonal_spatial, "pattern": pattern}
        if names is not None and {str(n).lower() for n in names} <= {"nngp", "ntk"}:
            gets = get if isinstance(get, str) else tuple(names)
            return program(x1, x2, gets, **options, **parameters)
        kernel = program(x1, x2, None, **options, **parameters)
        if diagonal_batch is False:

            def nngp(x: Any, own: Any) -> Any:
                return program(x, None, "nngp", **{**options, "pattern": own}, **parameters)

            kernel = _with_all_pairs(kernel, nngp, (x1, x2), pattern)
        return _selected(self._in_own_layout(kernel, shape), get)

    def _onward(self, kernel: Kernel, parameters: dict[str, Any]) -> Kernel:
        law = Law.GAUSSIAN if kernel.is_gaussian else Law.GIVEN if kernel.is_input else Law.POINTWISE
        width = None if kernel.shape1 is None else kernel.shape1[kernel.channel_axis]
        if kernel.diagonal_spatial:
            raise InvalidInput("a Kernel of equal pixels only (diagonal_spatial=True) cannot be continued")
        if kernel.mask1 is not None:
            raise InvalidInput("a Kernel of masked pixels cannot be continued: give data to the whole network")
        if not kernel.diagonal_batch:
            raise InvalidInput("a Kernel with covariances of all samples (diagonal_batch=False) cannot be continued")
        spatial = tuple(kernel.nngp.shape[2::2])
        layout = Layout(kernel.batch_axis, kernel.channel_axis, len(spatial) + 2)
        program = _port_program(self.tree, law, kernel.ntk is not None, width, spatial, layout)
        if kernel.shape1 is None or (layout.is_plain() and self._is_plain):
            return program.onward(kernel, parameters)
        order = layout.order(len(spatial) + 2)
        shape1, shape2 = _picked(kernel.shape1, order), kernel.shape2 and _picked(kernel.shape2, order)
        spot = self.tree.place(Spot(shape1[1:], layout))
        return _in_layout(program.onward(kernel.replace(shape1=shape1, shape2=shape2), parameters), spot.layout)


@lru_cache(maxsize=KEPT_PROGRAMS)
def _port_program(
    tree: Tree, law: Law, has_ntk: bool, width: int | None, spatial: tuple[int, ...], layout: Layout
) -> KernelProgram:
    graph = port_graph(tree, Port(law, has_ntk, width, spatial), layout)
    return build(without_patterns(graph) if has_patterns(graph) else graph)


def _with_all_pairs(kernel: Kernel, nngp: Callable[[Any, Any], Any], inputs: tuple[Any, Any], pattern: Any) -> Kernel:
    """The Kernel with covariances of all pairs of samples in the place of variances."""
    patterns = (None, None) if pattern is None else pattern
    full = [
        None if x is None else nngp(x, None if p is None else (p, p)) for x, p in zip(inputs, patterns, strict=True)
    ]
    return kernel.replace(cov1=full[0], cov2=full[1], diagonal_batch=False)


def _in_layout(kernel: Kernel, layout: Layout) -> Kernel:
    """A Kernel of arrays [samples, pixels ..., channels], with the shapes and axes that the user sees."""
    shapes = (s and _picked(s, layout.places(len(s))) for s in (kernel.shape1, kernel.shape2))
    names = ("shape1", "shape2", "batch_axis", "channel_axis")
    return kernel.replace(**dict(zip(names, (*shapes, layout.samples, layout.channels), strict=True)))


def _selected(kernel: Kernel, get: str | Iterable[str] | None) -> Any:
    if get is None:
        return kernel
    names = tuple(n.lower() for n in ((get,) if isinstance(get, str) else get))
    for name in names:
        if name not in kernel.asdict():
            raise unknown("kernel field", name, kernel.asdict())
    if isinstance(get, str):
        return getattr(kernel, names[0])
    return KernelProgram.named_result(names)(*(getattr(kernel, n) for n in names))


def graph_of(tree: Tree, inputs: Inputs = None) -> Graph:
    """The network of a tree on top of data, [samples, pixels ..., channels]; of several, as nested in `inputs`."""
    builder = GraphBuilder()
    layouts = stated_layouts(tree, tree.inputs if inputs is None else inputs)
    return _finished(tree, builder, jax.tree.map(lambda layout: Wire(builder.add(Input()), layout), layouts))


def port_graph(tree: Tree, port: Port, layout: Layout) -> Graph:
    """The network of a tree on top of a given kernel."""
    builder = GraphBuilder()
    return _finished(tree, builder, Wire(builder.add(port), layout))


def _finished(tree: Tree, builder: GraphBuilder, wires: Wires) -> Graph:
    output = tree.attach(builder, wires)
    if not isinstance(output, Wire):
        raise InvalidGraph(f"{tree.text()} has several outputs ({len(output)}): join them with FanInSum")
    open_inputs(builder)
    return builder.finish(output.node)


@lru_cache(maxsize=KEPT_PROGRAMS)
def _input_program(tree: Tree, inputs: Inputs) -> KernelProgram:
    return build(graph_of(tree, inputs))


def inputs_of_data(x: Any) -> Inputs:
    """ONE for one array, nested tuples for nested tuples or lists of arrays; lists of numbers are arrays."""
    is_many = isinstance(x, (tuple, list)) and len(x) > 0 and all(_is_data(part) for part in x)
    return tuple(inputs_of_data(part) for part in x) if is_many else ONE


def _is_data(x: Any) -> bool:
    """An array of samples, or a tuple of them."""
    if isinstance(x, (tuple, list)):
        return len(x) > 0 and all(_is_data(part) for part in x)
    return getattr(x, "ndim", 0) > 1


def _shape_of(x: Any) -> Any:
    """Shape of one sample, or nested tuples of shapes."""
    return tuple(map(_shape_of, x)) if isinstance(x, tuple) else tuple(jnp.shape(x)[1:])


def stated_layouts(tree: Tree, inputs: Inputs) -> Any:
    """Where each input has samples and channels."""
    if inputs == ONE:
        return stated_layout(tree)
    first = tree
    while isinstance(first, Serial) and first.parts:
        first = first.parts[0]
    if isinstance(first, Parallel) and len(first.parts) == len(inputs):
        return tuple(stated_layouts(*pair) for pair in zip(first.parts, inputs, strict=True))
    return jax.tree.map(lambda _: stated_layout(tree), inputs)


def data_graph(tree: Tree) -> Graph:
    """The network of a tree on top of data [samples, pixels ..., channels].

    Raises:
        InvalidInput: it reads data with other axes.
    """
    check_plain_data(tree)
    return graph_of(tree)


def check_plain_data(tree: Tree) -> None:
    """Refuse a network that reads data with other axes than [samples, pixels ..., channels].

    Raises:
        InvalidInput: it does.
    """
    rank = None if any(leaf.op.acts_on_pixels for leaf in tree.leaves()) else 2
    layout = next((v for v in jax.tree.leaves(stated_layouts(tree, tree.inputs)) if not v.is_plain(rank)), None)
    if layout is not None:
        raise InvalidInput(
            f"{tree.text()} reads data with samples on axis {layout.samples} and channels on axis {layout.channels}; "
            "programs and documents are of data [samples, pixels ..., channels]. Call its kernel_fn, or give layers "
            "batch_axis=0, channel_axis=-1 and dimension_numbers such as ('NHWC', 'HWIO', 'NHWC')"
        )


@lru_cache(maxsize=1024)
def stated_layout(tree: Tree) -> Layout:
    """Where data have samples and channels: what the first layer that is not indifferent says."""
    return next((leaf.layout for leaf in tree.leaves() if leaf.layout is not None), PLAIN)


def _is_plain(leaf: Leaf) -> bool:
    return all(layout is None or layout.is_plain() for layout in (leaf.layout, leaf.layout_out))


@lru_cache(maxsize=256)
def _place_of(tree: Tree, shape: Any) -> Spot:
    """Where the output has its axes, for data of this shape, [pixels ..., channels], or nested tuples of shapes."""
    return tree.place(_spots(shape, stated_layouts(tree, _structure(shape))))


def _structure(shape: Any) -> Inputs:
    are_many = any(isinstance(part, tuple) for part in shape)
    return tuple(_structure(part) for part in shape) if are_many else ONE


def _spots(shape: Any, layouts: Any) -> Any:
    if isinstance(layouts, tuple):
        return tuple(_spots(*pair) for pair in zip(shape, layouts, strict=True))
    return Spot(shape, layouts.on(len(shape) + 1))


def tree_of(layer: Any) -> Tree:
    """The tree of a Layer, of its kernel_fn, or of the triple taken apart and put together again."""
    if isinstance(layer, (Layer, KernelFn)):
        return layer.tree
    if isinstance(layer, (tuple, list)) and len(layer) == 3 and isinstance(layer[2], KernelFn):
        return layer[2].tree
    raise InvalidGraph(f"{layer!r} is no layer: layers are made by ntkc.stax, as stax.Dense(512)")


def _branch_shapes(input_shape: Any, leaf: Leaf) -> list[tuple[Any, ...]]:
    is_one = not input_shape or not isinstance(input_shape[0], (tuple, list))
    shapes = [tuple(input_shape)] if is_one else [tuple(s) for s in input_shape]
    for shape in shapes:
        if len(shape) < 2:
            raise ShapeMismatch(
                f"{leaf.text()}: input shape {shape}; (-1, features) or (-1, pixels ..., features) is needed"
            )
    return shapes


@dataclass(frozen=True)
class _Arrays:
    """What finite layers compute with: expressions on arrays, JAX, and a key for random layers."""

    rng: Any = None
    pattern: Any = None
    jnp: Any = jnp
    lax: Any = lax

    def __call__(self, expr: sp.Expr, arrays: dict[sp.Symbol, Any]) -> Any:
        function = _array_function(expr, tuple(arrays))
        values = [jnp.asarray(v) for v in arrays.values()]
        first = values[0]
        return jnp.broadcast_to(jnp.asarray(function(*values), first.dtype), first.shape)

    def kept(self, x: Any, rate: float) -> Any:
        """Entries kept with probability `rate` and divided by it; the others are 0."""
        if self.rng is None:
            raise InvalidInput("Dropout draws random numbers: give apply_fn a key, rng=jax.random.PRNGKey(0)")
        return jnp.where(random.bernoulli(self.rng, rate, x.shape), x / rate, 0)


_pointwise = _Arrays()


@lru_cache(maxsize=1024)
def _array_function(expr: sp.Expr, symbols: tuple[sp.Symbol, ...]) -> Callable[..., Any]:
    names: dict[str, Any] = {"jax": jax, "jnp": jnp, "lax": lax, "pi": math.pi}
    exec(compile(function_text("elementwise", stable(expr), symbols), "<ntkc elementwise>", "exec"), names)
    return names["elementwise"]


def from_op(op: Op) -> Layer:
    """(init_fn, apply_fn, kernel_fn) of any `ntkc.layers.Op`: the way to a layer of one's own."""
    return Layer(Leaf(type(op).__name__, op))


def serial(*layers: Any) -> Layer:
    """Layers one after another."""
    return Layer(Serial("serial", tuple(tree_of(layer) for layer in layers)))


def parallel(*layers: Any) -> Layer:
    """Layers side by side, each on one branch of a FanOut."""
    return Layer(Parallel("parallel", tuple(tree_of(layer) for layer in layers)))


def repeat(layer: Any, n: int) -> Layer:
    """One layer n times, each with weights of its own; outputs need the shape of inputs."""
    return Layer(Repeat("repeat", tree_of(layer), whole(n, "repeat n", 0)))


def _layer(op: Op, layout: Layout | None = None, layout_out: Layout | None = None) -> Layer:
    return Layer(Leaf(type(op).__name__, op, layout, layout_out))


def Dense(
    out_dim: int,
    W_std: Scalar = 1.0,
    b_std: Scalar | None = None,
    batch_axis: int = 0,
    channel_axis: int = -1,
    parameterization: str = "ntk",
    s: tuple[int, int] = (1, 1),
) -> Layer:
    """K -> W_std^2 K + b_std^2,  T -> K' + W_std^2 T:  a fully connected layer."""
    return _layer(dense.Dense(out_dim, W_std, b_std, parameterization, s), Layout(batch_axis, channel_axis))


def Conv(
    out_chan: int,
    filter_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
    W_std: Scalar = 1.0,
    b_std: Scalar | None = None,
    dimension_numbers: tuple[str, str, str] | None = None,
    parameterization: str = "ntk",
    s: tuple[int, int] = (1, 1),
    dilation: Sequence[int] | None = None,
    groups: int = 1,
) -> Layer:
    """K[p, p'] -> W_std^2 / w sum_d K[s p + d, s p' + d] + b_std^2:  a convolution over any number of spatial axes."""
    axes = _filter_axes(filter_shape, dimension_numbers)
    sizes = (axes.ordered(filter_shape), axes.ordered(strides))
    own = (out_chan, *sizes, padding, W_std, b_std, parameterization, s)
    return axes.layer(conv.Conv(*own, axes.ordered(dilation), groups))


def ConvTranspose(
    out_chan: int,
    filter_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
    W_std: Scalar = 1.0,
    b_std: Scalar | None = None,
    dimension_numbers: tuple[str, str, str] | None = None,
    parameterization: str = "ntk",
    s: tuple[int, int] = (1, 1),
) -> Layer:
    """K[p, p'] -> W_std^2 / w sum_d K[(p - d) / s, (p' - d) / s] + b_std^2:  a transposed convolution."""
    axes = _filter_axes(filter_shape, dimension_numbers)
    sizes = (axes.ordered(filter_shape), axes.ordered(strides))
    return axes.layer(conv.ConvTranspose(out_chan, *sizes, padding, W_std, b_std, parameterization, s))


def ConvLocal(
    out_chan: int,
    filter_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
    W_std: Scalar = 1.0,
    b_std: Scalar | None = None,
    dimension_numbers: tuple[str, str, str] | None = None,
    parameterization: str = "ntk",
    s: tuple[int, int] = (1, 1),
) -> Layer:
    """K[p, p] as in Conv, K[p, p'] = 0:  a convolution with a filter of its own at each place."""
    axes = _filter_axes(filter_shape, dimension_numbers)
    if list(axes.lhs) != [c for c in axes.rhs if c in axes.lhs]:
        raise InvalidInput(f"ConvLocal(dimension_numbers={dimension_numbers}): pixels of data and filters in one order")
    sizes = (axes.ordered(filter_shape), axes.ordered(strides))
    return axes.layer(conv.ConvLocal(out_chan, *sizes, padding, W_std, b_std, parameterization, s))


def _tuple(given: Sequence[int] | None) -> Any:
    return tuple(given) if isinstance(given, (list, tuple)) else given


@dataclass(frozen=True)
class _FilterAxes:
    """Dimension numbers of a convolution: letters of the pixels of data, of filters with I and O, of outputs."""

    lhs: str
    rhs: str
    out: str
    layout: Layout
    layout_out: Layout

    def ordered(self, given: Any) -> Any:
        """What is given for each axis of the filter, in the order of the pixels of the data."""
        own = [c for c in self.rhs if c not in "IO"]
        if not isinstance(given, (list, tuple)) or len(given) != len(own):
            return _tuple(given)
        return tuple(given[own.index(c)] for c in self.lhs)

    def layer(self, op: Op) -> Layer:
        """The layer, whose pixels are those of the data, and then turned."""
        order = tuple(self.lhs.index(c) for c in self.out)
        turn = None if order == tuple(range(len(order))) else linear_maps.Permute(order)
        filters = tuple((self.lhs + "IO").index(c) for c in self.rhs)
        return Layer(Leaf(type(op).__name__, op, self.layout, self.layout_out, turn, filters))


def _filter_axes(filter_shape: Any, given: Sequence[str] | None) -> _FilterAxes:
    """What dimension numbers say; None is samples first and channels last, filters [..., in, out]."""
    count = len(filter_shape) if isinstance(filter_shape, (list, tuple)) else 0
    lhs, rhs, out = (str(part) for part in given) if given is not None else conv.channels_last(count)
    pixels, pixels_out = ("".join(c for c in spec if c not in "NC") for spec in (lhs, out))
    letters = set(pixels)
    wanted = {lhs: letters | set("NC"), rhs: letters | set("IO"), out: letters | set("NC")}
    if any(set(spec) != known or len(spec) != count + 2 for spec, known in wanted.items()) or len(letters) != count:
        raise InvalidInput(
            f"dimension_numbers={given} with a filter of {count} axes: data and output need N, C and a letter for each "
            "axis, the filter I, O and the same letters, as ('NHWC', 'HWIO', 'NHWC')"
        )
    places = (Layout(spec.index("N"), spec.index("C"), count + 2) for spec in (lhs, out))
    return _FilterAxes(pixels, rhs, pixels_out, *places)


def AvgPool(
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
    normalize_edges: bool = False,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> Layer:
    """K[p, p'] -> 1/w^2 sum_d sum_d' K[s p + d, s p' + d']:  the mean of a window."""
    op = pooling.AvgPool(_tuple(window_shape), _tuple(strides), padding, normalize_edges)
    return _layer(op, Layout(batch_axis, channel_axis, len(op.window_shape) + 2))


def SumPool(
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> Layer:
    """K[p, p'] -> sum_d sum_d' K[s p + d, s p' + d']:  the sum of a window."""
    op = pooling.SumPool(_tuple(window_shape), _tuple(strides), padding)
    return _layer(op, Layout(batch_axis, channel_axis, len(op.window_shape) + 2))


def GlobalAvgPool(batch_axis: int = 0, channel_axis: int = -1) -> Layer:
    """K -> 1/P^2 sum_p sum_p' K[p, p']:  the mean of all pixels."""
    return _layer(pooling.GlobalAvgPool(), Layout(batch_axis, channel_axis))


def GlobalSumPool(batch_axis: int = 0, channel_axis: int = -1) -> Layer:
    """K -> sum_p sum_p' K[p, p']:  the sum of all pixels."""
    return _layer(pooling.GlobalSumPool(), Layout(batch_axis, channel_axis))


def LayerNorm(
    axis: int | Sequence[int] = -1, eps: Scalar = 1e-12, batch_axis: int = 0, channel_axis: int = -1
) -> Layer:
    """K -> K / sqrt((v1 + eps) (v2 + eps)):  normalisation over channels, and spatial axes if `axis` has them."""
    layout = Layout(batch_axis, channel_axis)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    return _layer(norm.LayerNorm(tuple(layout.plain_axis(a) for a in axes), eps), layout)


def RMSNorm(eps: Scalar = 1e-12) -> Layer:
    """K -> K / sqrt((q1 + eps) (q2 + eps)):  each pixel divided by the root mean square of its channels."""
    return _layer(norm.RMSNorm(eps), PLAIN)


def GroupNorm(groups: int = 1, eps: Scalar = 1e-5) -> Layer:
    """K -> K / sqrt((v1 + eps) (v2 + eps)),  v averaged over all pixels:  normalisation of groups of channels."""
    return _layer(norm.GroupNorm(groups, eps), PLAIN)


def Dropout(rate: float, mode: str = "train") -> Layer:
    """K -> K / rate where both sides are one pixel of one sample; `rate` is the probability to KEEP an entry."""
    return _layer(norm.Dropout(rate, mode))


def GlobalSelfAttention(
    n_chan_out: int,
    n_chan_key: int,
    n_chan_val: int,
    n_heads: int,
    linear_scaling: bool = True,
    W_key_std: Scalar = 1.0,
    W_value_std: Scalar = 1.0,
    W_query_std: Scalar = 1.0,
    W_out_std: Scalar = 1.0,
    b_std: Scalar | None = None,
    attention_mechanism: Any = "SOFTMAX",
    pos_emb_type: Any = "NONE",
    pos_emb_p_norm: Scalar = 2,
    pos_emb_decay_fn: Callable[[Any], Any] | str | sp.Expr | None = None,
    n_chan_pos_emb: int | None = None,
    W_pos_emb_std: Scalar = 1.0,
    val_pos_emb: bool = False,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> Layer:
    """K -> O^2 G1 K G2^T + b_std^2,  G = zeta(W_q W_k K~):  attention of all positions to all; see layers.attention."""
    decay = expression_of(pos_emb_decay_fn) if callable(pos_emb_decay_fn) else pos_emb_decay_fn
    scales = (W_key_std, W_value_std, W_query_std, W_out_std, b_std)
    embedding = (pos_emb_type, pos_emb_p_norm, decay, n_chan_pos_emb, W_pos_emb_std, val_pos_emb)
    sizes = (n_chan_out, n_chan_key, n_chan_val, n_heads, linear_scaling)
    op = attention.GlobalSelfAttention(*sizes, *scales, attention_mechanism, *embedding)
    return _layer(op, Layout(batch_axis, channel_axis))


def Index(idx: Any, batch_axis: int = 0, channel_axis: int = -1) -> Layer:
    """K[p, p'] -> K[i_p, i_p']:  `idx` as in numpy, `stax.Slice[:, 1:5, ::2]`; samples and channels stay whole."""
    layout = Layout(batch_axis, channel_axis)
    parts = idx if isinstance(idx, tuple) else (idx,)
    return _layer(resampling.Index(_spatial_parts(parts, layout)), layout)


def _spatial_parts(parts: tuple[Any, ...], layout: Layout) -> tuple[Any, ...]:
    """The parts of spatial axes: without those of samples and channels, which stay whole."""
    whole_axis = slice(None)
    if parts.count(Ellipsis) > 1:
        raise InvalidInput(f"Index({parts}): one Ellipsis at most")
    if Ellipsis not in parts:
        while parts and parts[-1] == whole_axis:
            parts = parts[:-1]
    place = parts.index(Ellipsis) if Ellipsis in parts else len(parts)
    found: list[Any] = []
    for i, part in enumerate(parts):
        axis = layout.plain_axis(i if i <= place else i - len(parts))
        if part is Ellipsis:
            found.append(part)
        elif axis in (0, -1):
            if part != whole_axis:
                raise InvalidInput(f"Index({parts}): all samples and all channels stay; index the data instead")
        elif isinstance(part, (int, slice)):
            found.append(part)
        else:
            raise InvalidInput(f"Index({parts}): whole numbers and slices of spatial axes are supported")
    return tuple(_plain_part(p) for p in found)


def _plain_part(part: Any) -> Any:
    if part is Ellipsis:
        return resampling.REST
    return (part.start, part.stop, part.step) if isinstance(part, slice) else part


class _Slice:
    """Slice[:, 1:5]: the index itself."""

    def __getitem__(self, idx: Any) -> Any:
        return idx


Slice = _Slice()


def ImageResize(
    shape: Sequence[int],
    method: Any,
    antialias: bool = True,
    precision: Any = lax.Precision.HIGHEST,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> Layer:
    """K -> A K A^T,  A the interpolation along each axis; -1 keeps a size. `precision` is always the highest."""
    layout = Layout(batch_axis, channel_axis, len(shape))
    return _layer(resampling.ImageResize(_picked(shape, layout.order(len(shape))), method, antialias), layout)


def Permute(order: Sequence[int]) -> Layer:
    """y[p_a, p_b, ...] = x[p_1, p_2, ...]:  spatial axes in another order, 0 the first; channels are last."""
    return _layer(linear_maps.Permute(_tuple(order)), PLAIN)


def DotGeneral(
    *,
    lhs: Any = None,
    rhs: Any = None,
    dimension_numbers: Any = (((), ()), ((), ())),
    precision: Any = None,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> Layer:
    """K -> A K A^T:  jax.lax.dot_general of the input with a constant array, `rhs` or `lhs`; samples stay apart.

    `precision` is accepted for compatibility, and always the highest.
    """
    layout = Layout(batch_axis, channel_axis)
    if lhs is not None and rhs is not None:
        raise InvalidInput("DotGeneral: one of lhs and rhs is the input; give the other only")
    if lhs is None and rhs is None:
        return _layer(reshape.Identity(), layout)
    array = np.asarray(rhs if lhs is None else lhs, float)
    sides = (tuple(pair) if lhs is None else tuple(pair)[::-1] for pair in dimension_numbers)
    (summed, array_summed), (shared, array_shared) = sides
    axes = [[layout.plain_axis(int(a)) for a in own] for own in (summed, shared)]
    if any(a <= 0 for own in axes for a in own):
        raise InvalidInput(
            f"DotGeneral(dimension_numbers={dimension_numbers}): only spatial axes meet the array; products over "
            "samples or channels are not supported"
        )
    pixels = [tuple(a - 1 for a in own) for own in axes]
    own = (tuple(array.ravel().tolist()), array.shape, pixels[0], tuple(array_summed), pixels[1], tuple(array_shared))
    return _layer(linear_maps.DotGeneral(*own, is_left=lhs is not None), layout)


def _as_given(pattern: Any) -> Any:
    return pattern


def Aggregate(
    aggregate_axis: int | Sequence[int] | None = None,
    batch_axis: int = 0,
    channel_axis: int = -1,
    to_dense: Callable[[Any], Any] | None = _as_given,
    implementation: Any = "DENSE",
) -> Layer:
    """K -> A1^T K A2:  sums over the edges of a graph for each sample, the `pattern` of apply_fn and kernel_fn.

    apply_fn takes `pattern`, kernel_fn a pair of them, for x1 and x2; None is the identity. "DENSE": weights of edges
    [samples, tails ..., heads ...] over the aggregated axes, made of the pattern by `to_dense`. "SPARSE": whole numbers
    [samples, edges, axes, 2], tails and heads of edges; negative ones stand for none.
    """
    name = str(getattr(implementation, "value", implementation)).upper()
    if name not in ("DENSE", "SPARSE"):
        raise unknown("implementation", implementation, ("DENSE", "SPARSE"))
    layout = Layout(batch_axis, channel_axis)
    axes = (aggregate_axis,) if isinstance(aggregate_axis, int) else aggregate_axis
    plain = None if axes is None else tuple(layout.plain_axis(a) for a in axes)
    function = None if name == "SPARSE" or to_dense is _as_given else to_dense
    return Layer(Leaf("Aggregate", aggregate.Aggregate(plain, name == "SPARSE"), layout, to_dense=function))


def Identity() -> Layer:
    """y = x."""
    return _layer(reshape.Identity())


def Flatten(batch_axis: int = 0, batch_axis_out: int = 0) -> Layer:
    """K -> 1/P sum_p K[p, p] over P pixels; y = x on [samples, features]."""
    if batch_axis_out not in (-2, -1, 0, 1):
        raise InvalidInput(f"Flatten(batch_axis_out={batch_axis_out}): the output has two axes")
    samples = batch_axis_out % 2
    return _layer(reshape.Flatten(), Layout(batch_axis, None), Layout(samples, 1 - samples, 2))


def FanOut(num: int) -> Layer:
    """x -> [x, ..., x]."""
    return _layer(reshape.FanOut(num))


def FanInSum() -> Layer:
    """[x_1, ..., x_m] -> x_1 + ... + x_m; correlated branches are exact."""
    return _layer(branching.FanInSum())


def FanInProd() -> Layer:
    """[x_1, ..., x_m] -> x_1 ... x_m, of independent branches."""
    return _layer(branching.FanInProd())


def FanInConcat(axis: int = -1) -> Layer:
    """[x_1, ..., x_m] -> concatenated along the channels (-1) or a spatial axis, of independent branches."""
    return _layer(branching.FanInConcat(axis))


def Relu(do_stabilize: bool = False) -> Layer:
    """max(x, 0). Kernels are stable for all norms; `do_stabilize` is accepted for compatibility."""
    return _layer(activations.Relu())


def LeakyRelu(alpha: Scalar, do_stabilize: bool = False) -> Layer:
    """alpha min(x, 0) + max(x, 0)."""
    return _layer(activations.LeakyRelu(alpha))


def ABRelu(a: Scalar, b: Scalar, do_stabilize: bool = False) -> Layer:
    """a min(x, 0) + b max(x, 0)."""
    return _layer(activations.ABRelu(a, b))


def Abs(do_stabilize: bool = False) -> Layer:
    """|x|."""
    return _layer(activations.Abs())


def Erf(a: Scalar = 1.0, b: Scalar = 1.0, c: Scalar = 0.0) -> Layer:
    """a erf(b x) + c."""
    return _layer(activations.Erf(a, b, c))


def Sin(a: Scalar = 1.0, b: Scalar = 1.0, c: Scalar = 0.0) -> Layer:
    """a sin(b x + c)."""
    return _layer(activations.Sin(a, b, c))


def Cos(a: Scalar = 1.0, b: Scalar = 1.0, c: Scalar = 0.0) -> Layer:
    """a cos(b x + c)."""
    return _layer(activations.Cos(a, b, c))


def Exp(a: Scalar = 1.0, b: Scalar = 1.0) -> Layer:
    """a exp(b x)."""
    return _layer(activations.Exp(a, b))


def Monomial(degree: int) -> Layer:
    """x^degree."""
    return _layer(activations.Monomial(degree))


def Polynomial(coef: Sequence[Scalar]) -> Layer:
    """coef[0] + coef[1] x + coef[2] x^2 + ..."""
    return _layer(activations.Polynomial(tuple(coef)))


def RectifiedMonomial(degree: int) -> Layer:
    """max(x, 0)^degree; the unit step for degree 0."""
    return _layer(activations.RectifiedMonomial(degree))


def Hermite(degree: int) -> Layer:
    """The Hermite polynomial He_degree(x) / sqrt(degree!), exact for every variance (the peer assumes 1)."""
    return _layer(activations.Hermite(degree))


def Sign() -> Layer:
    """sign(x), with derivative 0."""
    return _layer(activations.Sign())


def Gaussian(a: Scalar = 1.0, b: Scalar = -1.0) -> Layer:
    """a exp(b x^2)."""
    return _layer(activations.Gaussian(a, b))


def Gabor() -> Layer:
    """exp(-x^2) sin(x)."""
    return _layer(activations.Gabor())


def Rbf(gamma: Scalar = 1.0) -> Layer:
    """sqrt(2) sin(sqrt(2 gamma) x + pi / 4): random Fourier features of the kernel exp(-gamma |x - x'|^2)."""
    return _layer(activations.Rbf(gamma))


def Gelu(approximate: bool = False) -> Layer:
    """x Phi(x), or its approximation by tanh (whose kernels are then those of that function, as a series)."""
    return _layer(activations.Gelu(approximate))


def Sigmoid_like() -> Layer:
    """erf(x / 2.4020563531719796) / 2 + 1 / 2: close to the logistic sigmoid, with a closed form."""
    return Erf(0.5, 1 / 2.4020563531719796, 0.5)


def Activation(expr: str | sp.Expr | Callable[[Any], Any]) -> Layer:
    """Any nonlinearity: text such as "x*erf(x)", a sympy expression, or a jax.numpy function of one number.

    Its kernels are closed forms where they exist, else series with a certified error (see `explain()`).
    """
    return _layer(activations.Activation(expression_of(expr) if callable(expr) else expr))


def Tanh() -> Layer:
    """tanh(x)."""
    return Activation("tanh(x)")


def Sigmoid() -> Layer:
    """1 / (1 + exp(-x))."""
    return Activation("sigmoid(x)")


def Softplus() -> Layer:
    """log(1 + exp(x))."""
    return Activation("softplus(x)")


def Silu() -> Layer:
    """x / (1 + exp(-x))."""
    return Activation("silu(x)")


def Elu() -> Layer:
    """max(x, 0) + exp(min(x, 0)) - 1."""
    return Activation("elu(x)")


def ElementwiseNumerical(fn: Callable[[Any], Any], deg: int, df: Callable[[Any], Any] | None = None) -> Layer:
    """fn(x) of any jax.numpy function, derived from the expression that tracing it gives.

    `deg` (the peer's quadrature degree) and `df` are accepted for compatibility: the derivative is derived, and the
    error is that of `ntkc.compile(..., tolerance=...)`, whatever the degree.
    """
    whole(deg, "deg")
    return Activation(fn)


def Elementwise(
    fn: Callable[[Any], Any] | str | sp.Expr | None = None,
    nngp_fn: Callable[[Any, Any, Any], Any] | sp.Expr | None = None,
    d_nngp_fn: Callable[[Any, Any, Any], Any] | sp.Expr | None = None,
) -> Layer:
    """fn(x) with K = nngp_fn(cov12, var1, var2) and T = d_nngp_fn(cov12, var1, var2) T, jax.numpy functions.

    They are traced once into expressions of k, q1 and q2, which may be given as well: kernels have formulas, LaTeX and
    JSON. Without `d_nngp_fn` it is the exact derivative in k; without `nngp_fn` both are derived from `fn` (the peer
    then has no kernel); without `fn` there is no finite network.

    Raises:
        UnsupportedExpr: a function that uses what has no expression. InvalidInput: neither fn nor nngp_fn is given.
    """
    if nngp_fn is None:
        if fn is None or d_nngp_fn is not None:
            raise InvalidInput("Elementwise: nngp_fn is needed, or fn alone, from which both kernels are derived")
        return Activation(fn)
    function = expression_of(fn) if callable(fn) else fn
    return _layer(given.Elementwise(function, _of_covariances(nngp_fn), d_nngp_fn and _of_covariances(d_nngp_fn)))


def _of_covariances(fn: Callable[[Any, Any, Any], Any] | sp.Expr) -> sp.Expr:
    return fn if isinstance(fn, sp.Expr) else expression_of(fn, tuple(given.KERNEL_VARIABLES.values()))


def ExpNormalized(gamma: Scalar = 1, shift: Scalar = -1, do_clip: bool = False) -> Layer:
    """K -> sqrt(p) exp(gamma (K / sqrt(p) + shift)),  p = q1 q2:  a kernel only; its finite network does not exist."""
    return _layer(given.ExpNormalized(gamma, shift, do_clip))
