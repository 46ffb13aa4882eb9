"""Any description of a network  ->  a recipe, text that pickles;  equal recipes share one compiled program."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ntkc import stax
from ntkc.errors import InvalidInput
from ntkc.frontends import compile, to_graph
from ntkc.frontends.documents import document_of
from ntkc.program import KernelProgram

DEPTH, W_STD, B_STD = 3, 2**0.5, 0.1
"""The network where none is given: hidden layers of ReLU, at the edge of chaos but for the biases."""


@dataclass(frozen=True)
class Recipe:
    """The JSON document of a network, and the error allowed in its series (None: that of `ntkc.compile`)."""

    document: str
    tolerance: float | None = None

    @property
    def program(self) -> KernelProgram:
        """The compiled network; clones and copies in one process share it, and what XLA compiled for it."""
        return compile_recipe(self)


@lru_cache(maxsize=64)
def compile_recipe(recipe: Recipe) -> KernelProgram:
    return compile(json.loads(recipe.document), tolerance=recipe.tolerance)


def read_recipe(network: Any) -> Recipe:
    """Stax layers, a networkx graph, a JSON document (a dict, text or a path), a KernelProgram, or None for ReLU.

    Raises:
        InvalidGraph, UnsupportedExpr: it describes no network, or one that text cannot hold.
    """
    if network is None:
        return read_recipe(perceptron(DEPTH, "relu(x)", W_STD, B_STD))
    if isinstance(network, KernelProgram):
        return Recipe(json.dumps(document_of(network.graph)), network.tolerance)
    return Recipe(json.dumps(document_of(to_graph(network))))


def read_closed_recipe(network: Any) -> Recipe:
    """The recipe of a network whose hyper-parameters are all numbers."""
    recipe = read_recipe(network)
    if recipe.program.parameters:
        raise InvalidInput(
            f"the network leaves the hyper-parameters {list(recipe.program.parameters)} open; an estimator needs "
            "numbers in their place, or choose them by GaussianProcessRegressor(NTKKernel(...))"
        )
    return recipe


def perceptron(depth: int, activation: Any, W_std: Any, b_std: Any) -> Any:
    """`depth` hidden layers, each Dense and activation, and a Dense for the output; widths do not matter."""
    hidden = (stax.Dense(1, W_std, b_std), stax.Activation(activation))
    return stax.serial(*hidden * depth, stax.Dense(1, W_std, b_std))


def portable(network: Any) -> Any:
    """What pickles in place of a network: layers hold closures and programs compiled code, documents neither."""
    if isinstance(network, KernelProgram) and network.tolerance is not None:
        return network
    if isinstance(network, (KernelProgram, tuple, list)):
        return json.loads(read_recipe(network).document)
    return network
