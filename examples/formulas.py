"""Kernels in closed form: an activation of one's own, and hyper-parameters left open."""

import numpy as np
import sympy as sp

from ntkc import compile, stax

sigma = sp.Symbol("sigma", positive=True)


def shallow(activation: stax.Layer) -> stax.Layer:
    """Dense -> activation -> Dense."""
    return stax.serial(stax.Dense(512), activation, stax.Dense(1))


activations = {
    "relu": stax.Relu(),
    "erf": stax.Erf(),
    "sin": stax.Sin(),
    "x exp(x)": stax.Activation("x*exp(x)"),
    "x^2 + cos(x)": stax.Activation("x**2 + cos(x)"),
}
for name, activation in activations.items():
    print(f"{name:>13}:  K = {compile(shallow(activation)).formula('nngp')}")

print("\nweights of standard deviation sigma, an argument of the call:")
program = compile(stax.serial(stax.Dense(512, W_std=sigma), stax.Erf(), stax.Dense(1)))
print(f"              K = {program.formula('nngp')}")

x = np.array([[1.0, 0.0], [1.0, 1.0]])
for value in (0.5, 1.0, 2.0):
    ntk = program(x, None, "ntk", sigma=value)
    print(f"sigma = {value}:  NTK of (1, 0) and (1, 1) = {float(ntk[0, 1]):.4f}")
