"""ntkc under the name `neural_tangents`, for a checkout of Neural Tangents' own tests:  install("path")."""

import importlib.util
import sys
from functools import wraps
from pathlib import Path
from types import ModuleType

import jax
from absl import flags

import ntkc

NAME = "neural_tangents"
HELPERS = Path("neural_tangents/_src/utils/utils.py")
"""Functions on axes and shapes that the tests use and that are no part of what is tested."""


def install(checkout):
    """Make `import neural_tangents` give ntkc, and JAX have again what the tests need and newer versions removed."""
    restore_jax()
    sys.modules.update(modules(Path(checkout)))


def modules(checkout):
    """The modules that the tests import, by name."""
    source = ModuleType(f"{NAME}._src")
    source.batching, source.monte_carlo = batching(), monte_carlo()
    source.empirical = _module(
        "empirical", _DEFAULT_TESTING_NTK_IMPLEMENTATION=ntkc.NtkImplementation.JACOBIAN_CONTRACTION
    )
    source.predict = _module("predict", _is_on_cpu=is_on_cpu)
    source.utils = _module("utils", utils=_loaded(checkout / HELPERS))
    parts = {f"{source.__name__}.{name}": getattr(source, name) for name in vars(source) if not name.startswith("__")}
    public = {NAME: renamed(), f"{NAME}.stax": ntkc.stax, f"{NAME}.predict": ntkc.predict, source.__name__: source}
    return {**public, **parts, f"{source.utils.__name__}.utils": source.utils.utils}


def renamed():
    """ntkc, whose empirical kernels take the peer's private switches between rules of its own, and ignore them."""
    module = ModuleType(NAME)
    vars(module).update({name: value for name, value in vars(ntkc).items() if not name.startswith("__")})
    for name in ("empirical_ntk_fn", "empirical_kernel_fn", "monte_carlo_kernel_fn"):
        setattr(module, name, without_switches(getattr(ntkc, name)))
    return module


def without_switches(function):
    """The function without keywords that begin with an underscore."""

    @wraps(function)
    def called(*args, **keywords):
        return function(*args, **{name: value for name, value in keywords.items() if not name.startswith("_")})

    return called


def batching():
    """`batch`, and the two halves of it that the tests call by name."""

    def serial(kernel_fn, batch_size, store_on_device=True):
        return ntkc.batch(kernel_fn, batch_size, 0, store_on_device)

    def parallel(kernel_fn, device_count=-1):
        return ntkc.batch(kernel_fn, 0, device_count)

    return _module("batching", batch=ntkc.batch, _serial=serial, _parallel=parallel)


def monte_carlo():
    """`monte_carlo_kernel_fn`; one sample of it is that of a list of one."""
    return _module("monte_carlo", monte_carlo_kernel_fn=ntkc.monte_carlo_kernel_fn)


def is_on_cpu(tree):
    """Every array lies in the memory of the host."""
    platforms = {d.platform for v in jax.tree.leaves(tree) if isinstance(v, jax.Array) for d in v.devices()}
    return platforms <= {"cpu"}


def restore_jax():
    """What the tests call and JAX removed: names of functions that go on under others."""
    jax.tree_map = jax.tree.map
    jax.config.update("jax_threefry_partitionable", False)  # the draws that tolerances were chosen for
    type(jax.config).parse_flags_with_absl = lambda config: flags.FLAGS.is_parsed() or flags.FLAGS(["tests"])


def _module(name, **contents):
    module = ModuleType(f"{NAME}._src.{name}")
    vars(module).update(contents)
    return module


def _loaded(path):
    spec = importlib.util.spec_from_file_location(f"{NAME}._src.utils.utils", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
