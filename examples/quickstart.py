"""Layers -> kernels, their formula and their source."""

import numpy as np

from ntkc import compile, stax

net = stax.serial(
    stax.Dense(512, W_std=2**0.5, b_std=0.1),
    stax.Relu(),
    stax.Dense(512, W_std=2**0.5, b_std=0.1),
    stax.Relu(),
    stax.Dense(1),
)
program = compile(net)

x1 = np.random.default_rng(0).standard_normal((4, 10))
x2 = np.random.default_rng(1).standard_normal((3, 10))

print("NNGP of 4 and 3 inputs:\n", program(x1, x2, "nngp"))
print("NTK of 4 inputs with themselves:\n", program(x1, None, "ntk"))

both = program(x1, x2, ("nngp", "ntk"))
print("largest NTK / NNGP:", float((both.ntk / both.nngp).max()))

print("\nThe derivation, as LaTeX:\n", program.latex("nngp"))
print("\nThe source that ran has", len(program.source.splitlines()), "lines; program.save('kernel.py') writes it.")
