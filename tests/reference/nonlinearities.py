"""name -> layer, of `neural_tangents.stax` or of `ntkc.stax`: those that plain numbers do not describe."""

import jax
import jax.numpy as jnp
import numpy as np


def erf_kernel(cov12, var1, var2):
    return jnp.arcsin(2 * cov12 / jnp.sqrt((1 + 2 * var1) * (1 + 2 * var2))) * 2 / jnp.pi


def relu_kernel(cov12, var1, var2):
    root = jnp.sqrt(var1 * var2 - cov12**2)
    return (root + (jnp.pi - jnp.arctan2(root, cov12)) * cov12) / (2 * jnp.pi)


def relu_slope(cov12, var1, var2):
    return (jnp.pi - jnp.arccos(cov12 / jnp.sqrt(var1 * var2))) / (2 * jnp.pi)


def square_kernel(cov12, var1, var2):
    return var1 * var2 + 2 * cov12**2


def exp_kernel(cov12, var1, var2):
    return jnp.exp((var1 + var2) / 2 + cov12)


def layers(stax):
    """One layer each; unit variance is 1 before the layers named unit_..."""
    return {
        "elementwise_erf": stax.Elementwise(jax.scipy.special.erf, erf_kernel),
        "elementwise_relu": stax.Elementwise(jax.nn.relu, relu_kernel, relu_slope),
        "elementwise_square": stax.Elementwise(nngp_fn=square_kernel),
        "elementwise_exp": stax.Elementwise(jnp.exp, nngp_fn=exp_kernel),
        "exp_normalized": stax.ExpNormalized(),
        "exp_normalized_1.5": stax.ExpNormalized(gamma=1.5, shift=0.25, do_clip=True),
        "rectified_0": stax.RectifiedMonomial(0),
        "rectified_1": stax.RectifiedMonomial(1),
        "rectified_2": stax.RectifiedMonomial(2),
        "rectified_3": stax.RectifiedMonomial(3),
        "sign": stax.Sign(),
        "sigmoid_like": stax.Sigmoid_like(),
        "unit_hermite_0": stax.Hermite(0),
        "unit_hermite_1": stax.Hermite(1),
        "unit_hermite_2": stax.Hermite(2),
        "unit_hermite_5": stax.Hermite(5),
        "numerical_tanh": stax.ElementwiseNumerical(jnp.tanh, deg=60),
        "numerical_silu": stax.ElementwiseNumerical(jax.nn.silu, deg=60),
        "numerical_sin": stax.ElementwiseNumerical(jnp.sin, deg=60),
    }


def network(stax, name):
    """Dense, layer, Dense."""
    first = stax.Dense(16) if name.startswith("unit_") else stax.Dense(16, 1.3, 0.1)
    return stax.serial(first, layers(stax)[name], stax.Dense(16, 1.1, 0.2))


def inputs(name):
    """x1 (5, 6) and x2 (4, 6), none collinear; rows of length sqrt(6) before the layers named unit_..."""
    rng = np.random.default_rng(20240608)
    x1, x2 = rng.standard_normal((5, 6)), rng.standard_normal((4, 6))
    if name.startswith("unit_"):
        return tuple(x * np.sqrt(6 / np.sum(x**2, 1, keepdims=True)) for x in (x1, x2))
    return x1, x2
