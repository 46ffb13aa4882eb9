"""Kernels of sampled finite networks, with standard errors, against those of infinite width; a kernel checked."""

import numpy as np

from ntkc import monte_carlo_kernel_fn, stax
from ntkc.checking import check

SAMPLES = (25, 100, 400)
x = np.random.default_rng(0).standard_normal((3, 8)).astype("float32")


def network(width: int) -> stax.Layer:
    """Dense -> erf -> Dense, of a width."""
    return stax.serial(stax.Dense(width, 1.5, 0.1), stax.Erf(), stax.Dense(width, 1.2))


net = network(64)
exact = net[2](x, None, "nngp")
sampled = monte_carlo_kernel_fn(net[0], net[1], np.array([0, 1], "uint32"), SAMPLES)
print("NNGP of two inputs, infinite width:", f"{exact[0, 1]:.4f}; width 64, mean over random weights:")
for count, (mean, error) in zip(SAMPLES, sampled.with_errors(x, None, "nngp"), strict=True):
    print(f"  {count:4} networks: {mean[0, 1]:.4f} +- {error[0, 1]:.4f}")

print("\nnetworks of growing width against the kernel, of both kinds:")
options = {"widths": (32, 64, 128), "n_samples": 400, "progress": False}
print(check(net, x, **options))


def wrong(width: int) -> tuple:
    """The same networks, with a kernel that is 5 % too large."""
    init_fn, apply_fn, kernel_fn = network(width)
    return init_fn, apply_fn, lambda x1, x2, get: 1.05 * kernel_fn(x1, x2, get)


found = check(wrong, x, get="ntk", **options)
print("\na kernel that is 5 % too large:")
print(found)
