"""Every layer family; importing this package registers all of them."""

from ntkc.layers import (
    activations,
    attention,
    branching,
    conv,
    dense,
    inputs,
    linear_maps,
    norm,
    pooling,
    resampling,
    reshape,
)
from ntkc.layers.pointwise import Pointwise

__all__ = [
    "Pointwise",
    "activations",
    "attention",
    "branching",
    "conv",
    "dense",
    "inputs",
    "linear_maps",
    "norm",
    "pooling",
    "resampling",
    "reshape",
]
