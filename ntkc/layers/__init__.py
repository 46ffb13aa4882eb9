"""Every layer family; importing this package registers all of them."""

from ntkc.layers import activations, branching, conv, dense, inputs, norm, pooling, reshape
from ntkc.layers.pointwise import Pointwise

__all__ = ["Pointwise", "activations", "branching", "conv", "dense", "inputs", "norm", "pooling", "reshape"]
