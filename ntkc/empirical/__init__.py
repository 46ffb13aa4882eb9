"""Finite networks: empirical kernels, linearisation and Taylor expansion of any JAX function f(params, x)."""

from ntkc.empirical.implementations import NtkImplementation
from ntkc.empirical.kernels import empirical_kernel_fn, empirical_nngp_fn, empirical_ntk_fn, empirical_ntk_vp_fn
from ntkc.empirical.taylor import linearize, taylor_expand

__all__ = [
    "NtkImplementation",
    "empirical_kernel_fn",
    "empirical_nngp_fn",
    "empirical_ntk_fn",
    "empirical_ntk_vp_fn",
    "linearize",
    "taylor_expand",
]
