"""ntkc: a symbolic compiler from neural-network graphs to infinite-width kernel programs (NNGP and NTK).

program = ntkc.compile(stax.serial(stax.Dense(512), stax.Relu(), stax.Dense(1)))
program(x1, x2, "ntk");  program.latex();  program.source;  program.explain();  program.save("relu.py")
"""

from ntkc import empirical, errors, predict, stax
from ntkc.batching import batch
from ntkc.checking import Agreement, check
from ntkc.empirical import (
    NtkImplementation,
    empirical_kernel_fn,
    empirical_nngp_fn,
    empirical_ntk_fn,
    empirical_ntk_vp_fn,
    linearize,
    taylor_expand,
)
from ntkc.frontends import compile, from_json, from_networkx, to_json
from ntkc.gram import StoredGram, gram
from ntkc.importers import Imported, from_jax, from_keras, from_onnx, from_torch
from ntkc.kernel import Kernel
from ntkc.layers.activations import Activation
from ntkc.mean_field import meanfield
from ntkc.monte_carlo import monte_carlo_kernel_fn
from ntkc.program import KernelProgram, exportable

__version__ = "0.1.0"

__all__ = [
    "Activation",
    "Agreement",
    "Imported",
    "Kernel",
    "KernelProgram",
    "NtkImplementation",
    "StoredGram",
    "batch",
    "check",
    "compile",
    "empirical",
    "empirical_kernel_fn",
    "empirical_nngp_fn",
    "empirical_ntk_fn",
    "empirical_ntk_vp_fn",
    "errors",
    "exportable",
    "from_jax",
    "from_json",
    "from_keras",
    "from_networkx",
    "from_onnx",
    "from_torch",
    "gram",
    "linearize",
    "meanfield",
    "monte_carlo_kernel_fn",
    "predict",
    "stax",
    "taylor_expand",
    "to_json",
]
