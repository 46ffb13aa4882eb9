"""Tree  ->  graph, on top of data or of a given kernel, and where their arrays have samples and channels."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax

from ntkc.errors import InvalidGraph, InvalidInput
from ntkc.ir.graph import Graph, GraphBuilder
from ntkc.ir.layout import PLAIN, Layout
from ntkc.ir.op import TRACED
from ntkc.layers.inputs import Input, open_inputs
from ntkc.networks.tree import ONE, Inputs, Parallel, Serial, Spot, Tree, Wire


class SeveralOutputs(InvalidGraph):
    """A network of several outputs where one is needed."""


def graph_of(tree: Tree, inputs: Inputs = None) -> Graph:
    """The network of a tree on top of data, [samples, pixels ..., channels]; of several, as nested in `inputs`."""
    builder = GraphBuilder()
    layouts = stated_layouts(tree, tree.inputs if inputs is None else inputs)
    output = tree.attach(builder, jax.tree.map(lambda layout: Wire(builder.add(Input()), layout), layouts))
    if not isinstance(output, Wire):
        raise SeveralOutputs(
            f"{tree.text()} has several outputs ({len(output)}): its kernel_fn gives a kernel of each; a program, "
            "graph or document is of one output: join them with FanInSum"
        )
    open_inputs(builder)
    return builder.finish(output.node)


def data_graph(tree: Tree) -> Graph:
    """The network of a tree on top of data [samples, pixels ..., channels].

    Raises:
        InvalidInput: it reads data with other axes, or JAX traces its hyper-parameters.
    """
    if any(leaf.op.traced for leaf in tree.leaves()):
        raise InvalidInput(TRACED)
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


@lru_cache(maxsize=1024)
def stated_layout(tree: Tree) -> Layout:
    """Where data have samples and channels: what the first layer that is not indifferent says."""
    return next((leaf.layout for leaf in tree.leaves() if leaf.layout is not None), PLAIN)


@lru_cache(maxsize=256)
def place_of(tree: Tree, shape: Any) -> Spot:
    """Where the output has its axes, for data of this shape, [pixels ..., channels], or nested tuples of shapes."""
    return tree.place(_spots(shape, stated_layouts(tree, _structure(shape))))


def _structure(shape: Any) -> Inputs:
    are_many = any(isinstance(part, tuple) for part in shape)
    return tuple(_structure(part) for part in shape) if are_many else ONE


def _spots(shape: Any, layouts: Any) -> Any:
    if isinstance(layouts, tuple):
        return tuple(_spots(*pair) for pair in zip(shape, layouts, strict=True))
    return Spot(shape, layouts.on(len(shape) + 1))
