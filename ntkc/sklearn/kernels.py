"""`NTKKernel`: the kernels of a network for scikit-learn's Gaussian processes and support vector machines."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import sympy as sp
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel
from sklearn.utils.validation import check_array

from ntkc.data import are_one_set, refuse_masked
from ntkc.errors import InvalidInput, ShapeMismatch, unknown
from ntkc.program import GETS
from ntkc.sklearn.blocks import kernel_block, pad_rows, precision, run_padded
from ntkc.sklearn.recipes import B_STD, DEPTH, W_STD, Recipe, perceptron, portable, read_recipe

SYMBOLS = {"W_std": "w", "b_std": "b"}
"""Hyper-parameters, in the order of theta, and their symbols in networks."""
Bounds = tuple[float, float] | str


class NTKKernel(Kernel):
    """k(x, x') = T(x, x') of a network whose layers have weights W_std and biases b_std; K(x, x') for get="nngp".

    theta = (log W_std, log b_std), less those that are fixed. Derivatives are exact, and no value of theta makes
    anything compile again. Kernels add and multiply as those of scikit-learn do; float64 throughout.

    Args:
        W_std, b_std: standard deviations of weights and biases.
        W_std_bounds, b_std_bounds: (least, largest) for optimisers, or "fixed".
        depth: the number of hidden layers, each with `activation`, a formula of x.
        network: in place of depth and activation; stax layers, a networkx graph, a JSON document or a KernelProgram,
            in which `sympy.Symbol("w")` stands for W_std and `sympy.Symbol("b")` for b_std. One that does not occur in
            it is fixed.
        get: "ntk" or "nngp".

    Source: Jacot et al. 2018 (1806.07572), Lee et al. 2018 (1711.00165).
    """

    def __init__(
        self,
        W_std: float = W_STD,
        b_std: float = B_STD,
        W_std_bounds: Bounds = (0.3, 5.0),
        b_std_bounds: Bounds = (1e-3, 5.0),
        depth: int = DEPTH,
        activation: str = "relu(x)",
        network: Any = None,
        get: str = "ntk",
    ) -> None:
        self.W_std = W_std
        self.b_std = b_std
        self.W_std_bounds = W_std_bounds
        self.b_std_bounds = b_std_bounds
        self.depth = depth
        self.activation = activation
        self.network = network
        self.get = get

    @property
    def hyperparameter_W_std(self) -> Hyperparameter:
        """Its name, type and bounds, as scikit-learn asks for them."""
        return self._hyperparameter("W_std", self.W_std_bounds)

    @property
    def hyperparameter_b_std(self) -> Hyperparameter:
        """Its name, type and bounds, as scikit-learn asks for them."""
        return self._hyperparameter("b_std", self.b_std_bounds)

    def __call__(self, X: Any, Y: Any = None, eval_gradient: bool = False) -> Any:
        """k [n, m]; with `eval_gradient` also its derivatives in theta, [n, n, len(theta)], for Y None."""
        if eval_gradient and Y is not None:
            raise InvalidInput("eval_gradient is True and Y is given; derivatives are those of k(X, X): leave Y out")
        x1, x2 = checked_pair(X, Y)
        recipe, values = self.recipe(), self._values()
        if not eval_gradient:
            return kernel_block(recipe.program, self.get, x1, x2, values)
        gradient = gradient_fn(recipe, self.get, tuple(SYMBOLS[h.name] for h in self.hyperparameters if not h.fixed))
        found = run_padded(lambda a, _: gradient(a, values), self.get, x1, None)
        return np.ascontiguousarray(found[..., 0]), np.ascontiguousarray(found[..., 1:])

    def diag(self, X: Any) -> Any:
        """k(x, x) of every row, [n]."""
        x, _ = checked_pair(X, None)
        recipe, values = self.recipe(), self._values()
        with precision(x.dtype):
            return np.asarray(diagonal_fn(recipe, self.get)(pad_rows(x), values))[: len(x)].copy()

    def is_stationary(self) -> bool:
        """False: k(x, x') depends on where x and x' are, not on x - x' alone."""
        return False

    def recipe(self) -> Recipe:
        """The network as text, its hyper-parameters open."""
        if self.get not in GETS:
            raise unknown("kernel", self.get, GETS)
        if self.network is None:
            return perceptron_recipe(self.depth, self.activation)
        recipe = read_recipe(self.network)
        strange = [name for name in recipe.program.parameters if name not in SYMBOLS.values()]
        if strange:
            raise InvalidInput(
                f"the network leaves {strange} open; NTKKernel has values for sympy.Symbol('w'), its W_std, and "
                "sympy.Symbol('b'), its b_std: rename them, or give numbers"
            )
        return recipe

    def _hyperparameter(self, name: str, bounds: Bounds) -> Hyperparameter:
        is_open = self.network is None or SYMBOLS[name] in self.recipe().program.parameters
        return Hyperparameter(name, "numeric", bounds if is_open else "fixed")

    def _values(self) -> dict[str, float]:
        """A value for each symbol that the network leaves open."""
        given = {"W_std": self.W_std, "b_std": self.b_std}
        for h in self.hyperparameters:
            require_in_range(h, given[h.name])
        is_open = self.recipe().program.parameters
        return {symbol: float(given[name]) for name, symbol in SYMBOLS.items() if symbol in is_open}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NTKKernel):
            return False
        plain = ("W_std", "b_std", "W_std_bounds", "b_std_bounds", "get")
        same = all(np.array_equal(getattr(self, name), getattr(other, name)) for name in plain)
        return same and self.recipe() == other.recipe()

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        shape = f"depth={self.depth}" if self.network is None else "network=..."
        return f"NTKKernel(W_std={self.W_std:.3g}, b_std={self.b_std:.3g}, {shape}, get={self.get!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "network": portable(self.network)}


@lru_cache(maxsize=64)
def perceptron_recipe(depth: int, activation: str) -> Recipe:
    if not isinstance(depth, (int, np.integer)) or depth < 1:
        raise InvalidInput(f"depth is {depth!r}, but counts hidden layers; give a whole number >= 1")
    return read_recipe(perceptron(int(depth), activation, *map(sp.Symbol, SYMBOLS.values())))


@lru_cache(maxsize=64)
def gradient_fn(recipe: Recipe, get: str, names: tuple[str, ...]) -> Callable[..., Any]:
    """(x, values) -> [n, n, 1 + len(names)]:  k, then  dk / d log v  for each name."""

    def stacked(x: Any, values: dict[str, Any]) -> Any:
        def matrix(logarithms: dict[str, Any]) -> Any:
            free = {name: jnp.exp(value) for name, value in logarithms.items()}
            given: dict[str, Any] = {**values, **free}
            k = recipe.program(x, None, get, **given)
            return k, k

        logarithms = {name: jnp.log(values[name]) for name in names}
        slopes, k = jax.jacfwd(matrix, has_aux=True)(logarithms) if names else ({}, matrix({})[0])
        return jnp.stack([k, *(slopes[name] for name in names)], axis=-1)

    return jax.jit(stacked)


@lru_cache(maxsize=64)
def diagonal_fn(recipe: Recipe, get: str) -> Callable[..., Any]:
    """(x, values) -> k(x, x) [n]."""

    def diagonal(x: Any, values: dict[str, Any]) -> Any:
        return jax.vmap(lambda row: recipe.program(row[None], None, get, **values)[0, 0])(x)

    return jax.jit(diagonal)


def checked_pair(X: Any, Y: Any) -> tuple[Any, Any]:
    """Both as float64 [n, features]."""
    refuse_masked(X=X, Y=Y)
    x1 = check_array(X, dtype=np.float64)
    if are_one_set(X, Y):
        return x1, None
    x2 = check_array(Y, dtype=np.float64)
    if x1.shape[1] != x2.shape[1]:
        raise ShapeMismatch(f"X has {x1.shape[1]} features and Y {x2.shape[1]}; give both the same features")
    return x1, x2


def require_in_range(hyperparameter: Hyperparameter, value: Any) -> None:
    """Free ones have a logarithm."""
    name, is_fixed = hyperparameter.name, hyperparameter.fixed
    if not np.isfinite(value) or value < 0:
        raise InvalidInput(f"{name} is {value}, but is a standard deviation; give a finite number >= 0")
    if value == 0 and not is_fixed:
        raise InvalidInput(f"{name} is 0, which has no logarithm; give a number > 0, or {name}_bounds='fixed'")
