"""Every layer family; importing this package registers all of them. A layer of your own is a subclass of `Op`."""

from ntkc.ir.op import Op, Requests
from ntkc.ir.value import Law, Value, variable
from ntkc.layers import (
    activations,
    aggregate,
    attention,
    branching,
    channels,
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
    "Law",
    "Op",
    "Pointwise",
    "Requests",
    "Value",
    "activations",
    "aggregate",
    "attention",
    "branching",
    "channels",
    "conv",
    "dense",
    "inputs",
    "linear_maps",
    "norm",
    "pooling",
    "resampling",
    "reshape",
    "variable",
]
