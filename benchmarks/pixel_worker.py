"""One network with pixels in one package:  pixel_worker.py PACKAGE CASE DTYPE N FOLDER SECONDS [quick].

Takes the first N images of FOLDER/CASE.npz, writes their NTK to FOLDER/PACKAGE.DTYPE.npy and prints one line of JSON
with times and memory. Runs in both environments, each of its processes fresh.
"""

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pixel_networks import PixelCase, find_pixels, quick_pixels
from worker import seconds_of

MOST_CALLS = 30
MEMORY_LIMIT = 10e9
"""Temporary bytes above which a compiled function is not run."""
STATUS = Path("/proc/self/status")
Call = Callable[[], Any]


class TooLarge(Exception):
    """A compiled function needs more than MEMORY_LIMIT."""


def resident_bytes(name: str) -> int:
    """VmRSS (now) or VmHWM (the most so far) of this process."""
    if STATUS.exists():
        (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1]) * 1024
    # Elsewhere only the most so far is known: bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def device_peak() -> int | None:
    """The most bytes of the device's own memory so far, where it counts them."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def calls_within(call: Call, seconds: float) -> list[float]:
    """Seconds of each of 1 to MOST_CALLS calls, as many as fit into `seconds`."""
    times: list[float] = []
    while not times or (len(times) < MOST_CALLS and sum(times) < seconds):
        times.append(seconds_of(call))
    return times


def kernel_function(stax: ModuleType, case: PixelCase) -> Callable[..., Any]:
    """(x1, x2, get)  ->  the kernel."""
    return stax.serial(*case.network.layers(stax, case.side))[2]


def compiled(kernel_fn: Callable[..., Any], x1: jax.Array, x2: jax.Array) -> tuple[Callable[..., Any], int | None]:
    """(the jitted function of x1 and x2, its temporary bytes where XLA states them)."""
    function = jax.jit(kernel_fn, static_argnames="get").lower(x1, x2, get="ntk").compile()
    return function, getattr(function.memory_analysis(), "temp_size_in_bytes", None)


def first_of_ours(stax: ModuleType, case: PixelCase, x1: jax.Array, x2: jax.Array) -> tuple[Call, Any, int | None]:
    """kernel_fn as it is: it compiles its own programs. (call, first result, temporary bytes: asked for later)"""
    kernel_fn = kernel_function(stax, case)
    return lambda: kernel_fn(x1, x2, "ntk"), jax.block_until_ready(kernel_fn(x1, x2, "ntk")), None


def first_of_peer(stax: ModuleType, case: PixelCase, x1: jax.Array, x2: jax.Array) -> tuple[Call, Any, int | None]:
    """kernel_fn under jax.jit. (call, first result, temporary bytes)"""
    function, temporary = compiled(kernel_function(stax, case), x1, x2)
    if temporary is not None and temporary > MEMORY_LIMIT:
        raise TooLarge(f"needs {temporary / 1e9:.1f} GB")
    return lambda: function(x1, x2), jax.block_until_ready(function(x1, x2)), temporary


FIRST = {"ntkc": first_of_ours, "neural_tangents": first_of_peer}


def jitted(stax: ModuleType, case: PixelCase, x1: jax.Array, x2: jax.Array, seconds: float) -> dict[str, Any]:
    """Ours inside a jax.jit of the user's, whose temporary memory XLA states; {} if it cannot be compiled as one."""
    try:
        function, temporary = compiled(kernel_function(stax, case), x1, x2)
    except Exception as error:
        return {"jit_error": f"{type(error).__name__}: {error}"}
    jax.block_until_ready(function(x1, x2))
    return {"temporary_bytes": temporary, "jit_s": calls_within(lambda: function(x1, x2), seconds)}


def measure(package: str, case: PixelCase, dtype: str, n: int, folder: Path, seconds: float) -> dict[str, Any]:
    jax.config.update("jax_enable_x64", dtype == "float64")
    arrays = np.load(folder / f"{case.name}.npz")
    x1, x2 = (jnp.asarray(arrays[name][:n], dtype) for name in ("x1", "x2"))
    # The first product starts the threads of the device, which is nobody's compile time.
    jax.block_until_ready(jnp.tensordot(x1, x2, ((1, 2, 3), (1, 2, 3))))
    begin = time.perf_counter()
    stax = importlib.import_module(f"{package}.stax")
    import_s = time.perf_counter() - begin
    resident = resident_bytes("VmRSS")
    begin = time.perf_counter()
    call, result, temporary = FIRST[package](stax, case, x1, x2)
    first_s = time.perf_counter() - begin
    steady_s = calls_within(call, seconds)
    growth, on_device = resident_bytes("VmHWM") - resident, device_peak()
    np.save(folder / f"{package}.{dtype}.npy", np.asarray(result))
    return {
        "n": n,
        "import_s": import_s,
        "first_s": first_s,
        "steady_s": steady_s,
        "temporary_bytes": temporary,
        "resident_bytes": growth,
        "device_bytes": on_device,
        **(jitted(stax, case, x1, x2, seconds) if package == "ntkc" else {}),
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "python": sys.version.split()[0],
    }


def main() -> None:
    package, name, dtype, n, folder, seconds, *options = sys.argv[1:]
    case = quick_pixels(find_pixels(name)) if options else find_pixels(name)
    try:
        found = measure(package, case, dtype, int(n), Path(folder), float(seconds))
    except TooLarge as error:
        found = {"too_large": str(error)}
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        found = {"too_large": "the device's memory is exhausted"}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
