"""One case in one package, in a process of its own:  worker.py PACKAGE CASE FOLDER SECONDS.

Reads FOLDER/CASE.npz, writes the checked entries to FOLDER/CASE.PACKAGE.npz and prints one line of JSON with the times.
Runs in both environments, so it needs only jax, numpy and the package.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cases import Case, find

FEWEST_RUNS, MOST_RUNS = 3, 30
NAMED = ("Relu", "Erf", "Gelu")
NODES = 25
"""Degree of the peer's Gauss-Hermite quadrature; its cost grows with the square."""


def seconds_of(call: Callable[[], Any]) -> float:
    """Seconds until every array that call() returns is there."""
    begin = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - begin


def steady_times(call: Callable[[], Any], seconds: float) -> list[float]:
    """Seconds of each of FEWEST_RUNS to MOST_RUNS calls, as many as fit into `seconds`."""
    times: list[float] = []
    while len(times) < FEWEST_RUNS or (len(times) < MOST_RUNS and sum(times) < seconds):
        times.append(seconds_of(call))
    return times


def kernel_function(stax: ModuleType, case: Case) -> Callable[..., Any]:
    """(x1, x2)  ->  the kernels of the case."""
    layers = [stax.Dense(512, W_std=case.W_std, b_std=case.b_std), activation(stax, case)] * case.depth
    _, _, kernel_fn = stax.serial(*layers, stax.Dense(1, W_std=case.W_std, b_std=case.b_std))
    get = case.get if len(case.get) > 1 else case.get[0]
    return lambda x1, x2: kernel_fn(x1, x2, get)


def activation(stax: ModuleType, case: Case) -> Any:
    """The layer of that name; without a name in stax, of the jax.numpy function."""
    if case.activation in NAMED:
        return getattr(stax, case.activation)()
    return stax.ElementwiseNumerical(getattr(jnp, case.activation.lower()), NODES)


def bind(
    stax: ModuleType, case: Case, arrays: dict[str, jax.Array]
) -> tuple[Callable[..., Any], tuple[jax.Array | None, ...]]:
    """(function, operands) of the case; what a package does while the layers are made counts as its first call."""
    kernel = kernel_function(stax, case)
    x1, x2 = arrays["x1"], arrays.get("x2")
    if not case.is_vjp:
        return kernel, (x1, x2)

    def pullback(x1: jax.Array, x2: jax.Array, cotangent: jax.Array) -> jax.Array:
        return jax.vjp(lambda x: kernel(x, x2), x1)[1](cotangent)[0]

    return pullback, (x1, x2, arrays["cotangent"])


def checked_entries(result: Any, case: Case, arrays: dict[str, jax.Array]) -> dict[str, np.ndarray]:
    """{quantity: its values at (rows, cols)}; for a pullback, {"vjp": its rows}."""
    if case.is_vjp:
        return {"vjp": np.asarray(result[arrays["rows"]])}
    kernels = result if len(case.get) > 1 else (result,)
    entries = arrays["rows"], arrays["cols"]
    return {name: np.asarray(kernel[entries]) for name, kernel in zip(case.get, kernels, strict=True)}


def product_times(arrays: dict[str, jax.Array], seconds: float) -> list[float]:
    """x1 @ x2.T alone, what any such kernel has to pay."""
    product = jax.jit(lambda a, b: a @ b.T)
    x1, x2 = arrays["x1"], arrays.get("x2", arrays["x1"])
    jax.block_until_ready(product(x1, x2))
    return steady_times(lambda: product(x1, x2), seconds / 5)


def measure(package: str, case: Case, folder: Path, seconds: float) -> dict[str, Any]:
    arrays = {name: jnp.asarray(value) for name, value in np.load(folder / f"{case.name}.npz").items()}
    jax.block_until_ready(arrays)
    # The first product starts the threads of the device, which is nobody's compile time.
    product_s = product_times(arrays, seconds)
    begin = time.perf_counter()
    stax = importlib.import_module(f"{package}.stax")
    imported = time.perf_counter()
    function, operands = bind(stax, case, arrays)
    jitted = jax.jit(function)
    result = jax.block_until_ready(jitted(*operands))
    first_s = time.perf_counter() - imported
    steady_s = steady_times(lambda: jitted(*operands), seconds)
    direct_first_s = seconds_of(lambda: function(*operands))
    direct_s = steady_times(lambda: function(*operands), seconds)
    np.savez(folder / f"{case.name}.{package}.npz", **checked_entries(result, case, arrays))
    return {
        "import_s": imported - begin,
        "first_s": first_s,
        "steady_s": steady_s,
        "direct_first_s": direct_first_s,
        "direct_s": direct_s,
        "product_s": product_s,
        "device": str(jax.devices()[0]),
        "jax": jax.__version__,
        "python": sys.version.split()[0],
    }


def main() -> None:
    package, name, folder, seconds = sys.argv[1:]
    print(json.dumps(measure(package, find(name), Path(folder), float(seconds))))


if __name__ == "__main__":
    main()
