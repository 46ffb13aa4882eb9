"""Layers written as (init_fn, apply_fn, kernel_fn), kernel_fn a function of Kernels: run one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import jax.numpy as jnp
from jax import random

from ntkc.errors import InvalidGraph, InvalidInput
from ntkc.ir.graph import GraphBuilder
from ntkc.ir.layout import PLAIN
from ntkc.ir.op import Op
from ntkc.networks.masks import Masked, hidden
from ntkc.networks.onward import onward
from ntkc.networks.requirements import MaskedArray, forbids
from ntkc.networks.tree import Leaf, Parallel, Repeated, Serial, Spot, Tree, Wires, picked

NO_FORMULA = (
    "{name} is a triple (init_fn, apply_fn, kernel_fn), whose kernel_fn runs on Kernels and has no formula: its "
    "network has a kernel_fn, but no program, source or LaTeX. As an Op it has all of them; two lines are its rule:\n"
    "    def covariance(self, ask): return ...ask.covariance(0, 0)  # K of the output\n"
    "    def tangent(self, ask): return ...ask.tangent(0, 0)  # T of the output\n"
    "in a dataclass of ntkc.layers.Op, as examples/own_layer.py has it; or stax.Activation('x*erf(x)')"
)


@dataclass(frozen=True)
class Triple(Tree):
    """A layer of the user's own: a finite network, and what it does to Kernels."""

    init_fn: Callable[..., Any]
    apply_fn: Callable[..., Any]
    kernel_fn: Callable[..., Any]
    why: str = NO_FORMULA
    """What an error says where a formula is needed."""

    def leaves(self) -> Iterator[Leaf]:
        yield from ()

    def attach(self, builder: GraphBuilder, wires: Wires) -> Wires:
        raise InvalidGraph(self.why.format(name=self.name))

    def place(self, spots: Any) -> Any:
        def after(spot: Spot) -> Spot:
            shape = picked((1, *spot.shape), spot.layout.places(spot.rank))
            made = self.init_fn(random.PRNGKey(0), shape)[0]
            layout = spot.layout.on(spot.rank) if len(made) == spot.rank else PLAIN.on(len(made))
            return Spot(picked(made, layout.order(len(made)))[1:], layout)

        return after(spots) if isinstance(spots, Spot) else [after(s) for s in spots]

    def init(self, rng: Any, input_shape: Any) -> tuple[Any, Any]:
        return self.init_fn(rng, input_shape)

    def apply(self, params: Any, inputs: Any, **kwargs: Any) -> Any:
        given = {name: value for name, value in kwargs.items() if value is not None}
        if not isinstance(inputs, Masked):
            return self.apply_fn(params, inputs, **given)
        own = inputs.layout.on(jnp.ndim(inputs.value))
        mask = jnp.transpose(inputs.there[..., None], own.places(own.rank or 0)) == 0
        made = self.apply_fn(params, MaskedArray(inputs.value, mask), **given)
        if not isinstance(made, MaskedArray):
            raise InvalidInput(f"{self.name} takes no masked data: decorate it with stax.supports_masking")
        order = own.on(jnp.ndim(made.masked_value)).order(jnp.ndim(made.masked_value))
        there = 1 - jnp.all(jnp.transpose(made.mask, order), -1).astype(made.masked_value.dtype)
        return hidden(made.masked_value, there, own.on(jnp.ndim(made.masked_value)))

    def mapped(self, function: Callable[[Op], Op]) -> Tree:
        return self

    def text(self) -> str:
        return f"{self.name}()"


def triples(tree: Tree) -> Iterator[Triple]:
    """The layers of the user's own in a network."""
    if isinstance(tree, Triple):
        yield tree
    parts = tree.parts if isinstance(tree, (Serial, Parallel)) else (tree.part,) if isinstance(tree, Repeated) else ()
    for part in parts:
        yield from triples(part)


def has_triples(tree: Tree) -> bool:
    """Some layer is of the user's own."""
    return any(True for _ in triples(tree))


def needs_all_samples(tree: Tree) -> bool:
    """Some layer of the user's own reads covariances of all pairs of samples."""
    return any(forbids(getattr(t.kernel_fn, "requirements", {}).get("diagonal_batch")) for t in triples(tree))


def split(tree: Tree) -> tuple[Tree | None, Tree]:
    """What comes before the first part with a layer of the user's own, and the rest."""
    if not isinstance(tree, Serial):
        return None, tree
    count = next(i for i, part in enumerate(tree.parts) if has_triples(part))
    rest = Serial(tree.name, tree.parts[count:])
    return (Serial(tree.name, tree.parts[:count]) if count else None), rest


def stepwise(tree: Tree, kernels: Any, parameters: Mapping[str, Any], keywords: Mapping[str, Any]) -> Any:
    """Kernels after a network, layer by layer where it has some of the user's own."""
    go_on = partial(stepwise, parameters=parameters, keywords=keywords)
    if isinstance(tree, Triple):
        return tree.kernel_fn(kernels, **keywords)
    if not has_triples(tree):
        return onward(tree, kernels, parameters)
    if isinstance(tree, Parallel):
        return type(kernels)([go_on(*pair) for pair in zip(tree.parts, kernels, strict=True)])
    if isinstance(tree, Repeated):
        for _ in range(tree.count):
            kernels = go_on(tree.part, kernels)
        return kernels
    assert isinstance(tree, Serial)
    for is_own, parts in groupby(tree.parts, has_triples):
        for part in parts if is_own else (Serial(tree.name, tuple(parts)),):
            kernels = go_on(part, kernels)
    return kernels
