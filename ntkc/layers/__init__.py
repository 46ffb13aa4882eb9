"""Every layer family; importing this package registers all of them."""

from ntkc.layers import activations, branching, dense, inputs, reshape
from ntkc.layers.pointwise import Pointwise

__all__ = ["Pointwise", "activations", "branching", "dense", "inputs", "reshape"]
