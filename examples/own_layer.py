"""A layer of one's own: its finite network, its law and its two kernel maps in one class; everything else follows."""

from dataclasses import dataclass

import jax
import numpy as np

import ntkc
from ntkc import stax
from ntkc.layers import Op, Value, variable


@dataclass(frozen=True)
class Bias(Op):
    """y = x + b_std b with a trained b for each feature:  K -> K + b_std^2,  T -> T + b_std^2."""

    b_std: float = 1.0

    def shape(self, operands):
        """Nothing changes."""
        return operands[0]

    def value(self, node, operands):
        """A Gaussian plus a Gaussian is one, of the fields of both."""
        (x,) = operands
        return Value(x.law, variable(node), x.fields | {node}, trained=True)

    def covariance(self, ask):
        """The bias is the same for all samples."""
        return ask.covariance(0, 0) + self.b_std**2

    def tangent(self, ask):
        """Its derivative is b_std, for every feature."""
        return ask.tangent(0, 0) + self.b_std**2

    def weights(self, operands):
        """One standard normal number a feature."""
        return (((1, operands[0][-1]), 1.0),)

    def forward(self, weights, operands, pointwise):
        """The finite layer."""
        return operands[0] + self.b_std * weights[0]


net = stax.serial(stax.Dense(2048), stax.from_op(Bias(0.5)), stax.Relu(), stax.Dense(1))
x = np.random.default_rng(0).standard_normal((3, 8))
print(ntkc.compile(net).latex("ntk"))

init_fn, apply_fn, kernel_fn = net
empirical = ntkc.empirical_ntk_fn(apply_fn, trace_axes=(), vmap_axes=0)
keys = jax.random.split(jax.random.PRNGKey(1), 8)
sampled = np.mean([empirical(x, None, init_fn(k, x.shape)[1])[..., 0, 0] for k in keys], axis=0)
print("infinite\n", np.round(kernel_fn(x, None, "ntk"), 3))
print("finite, width 2048, 8 draws\n", np.round(sampled, 3))
