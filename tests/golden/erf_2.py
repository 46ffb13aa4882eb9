"""NNGP and NTK kernels of an infinitely wide network.

Input() -> Dense(out_dim=512, W_std=1.5, b_std=0.1) -> Erf() -> Dense(out_dim=512, W_std=1.5, b_std=0.1) -> Erf() ->
Dense(out_dim=1)

q: variance; eta: half the mean squared distance, (q1 + q2) / 2 - K; K: covariance (NNGP); T: tangent kernel (NTK); n:
norm sqrt(q); delta: gap 1 - K / (n1 n2); tau: T / (n1 n2); c: share of an operand, or the bias, in a norm; a: sine of
half the angle of two shares, scaled; b: its cosine, scaled; r: sqrt(1 + 2 q / noise) - 1 of the variance that the erf u
reads; phi: arcsin(q / (q + noise)) of the variance that the erf u reads; i: what pairs read of one sample, made once a
sample. X, y: the samples of a pair. Arrays are [samples], and [samples of x, samples of y].
"""

from math import pi

import jax.numpy as jnp

from ntkc.runtime import (
    Rows, across, angle_gap, kernels, ratio, safe_sqrt, sine_distance, smooth_cosine_gap, smooth_mean_squares, span,
)

W_std, b_std = 1.5, 0.1


def per_sample(p, one, q_input1):
    """Variance of the output, and what pairs read of each sample."""
    n_input1 = safe_sqrt(q_input1)
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    q_dense1 = W_std**2*q_input1 + b_std**2
    # erf1: Erf()
    i_erf1_2 = 1/safe_sqrt(q_dense1 + 0.5)
    i_erf1_3 = q_dense1/(safe_sqrt(4*q_dense1 + 1) + 1)
    i_erf1_4 = jnp.arctan(1.4142135623730951*q_dense1/safe_sqrt(2*q_dense1 + 0.5))
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    n_dense1 = safe_sqrt(q_dense1)
    # erf1: Erf()
    i_erf1 = n_dense1/safe_sqrt(q_dense1 + 0.5)
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    c_dense1_input1 = ratio(W_std*n_input1, n_dense1)
    c_dense1_bias = ratio(0.1, n_dense1)
    b_dense1 = 0.8408964152537145*safe_sqrt(c_dense1_input1 + 1)
    a_dense1 = 0.7071067811865476*c_dense1_bias/b_dense1
    # erf1: Erf()
    q_erf1 = 2*jnp.arctan(1.4142135623730951*q_dense1/safe_sqrt(2*q_dense1 + 0.5))/pi
    # dense2: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    q_dense2 = W_std**2*q_erf1 + b_std**2
    # erf2: Erf()
    r_erf2 = 4*q_dense2/(safe_sqrt(4*q_dense2 + 1) + 1)
    phi_erf2 = jnp.arctan(1.4142135623730951*q_dense2/safe_sqrt(2*q_dense2 + 0.5))
    q_erf2 = 2*phi_erf2/pi
    values = dict(
        a_dense1=a_dense1, b_dense1=b_dense1, c_dense1_input1=c_dense1_input1, i_erf1=i_erf1, i_erf1_2=i_erf1_2,
        i_erf1_3=i_erf1_3, i_erf1_4=i_erf1_4, n_dense1=n_dense1, q_dense2=q_dense2, phi_erf2=phi_erf2,
        r_erf2=r_erf2, q_erf2=q_erf2,
    )
    return q_erf2, values


def pair(p, x, y, same, delta_input1):
    """NNGP and NTK of every pair of samples."""
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    delta_dense1 = x.c_dense1_input1*y.c_dense1_input1*delta_input1 + (x.a_dense1*y.b_dense1 - y.a_dense1*x.b_dense1)**2
    tau_dense1 = 1 - delta_dense1
    # erf1: Erf()
    eta_erf1 = (
        2*sine_distance(
            delta_dense1, x.i_erf1, y.i_erf1, x.i_erf1_2/2, y.i_erf1_2/2, 4*x.i_erf1_3, 4*y.i_erf1_3,
            x.i_erf1_4 + y.i_erf1_4,
        )
        /pi
    )
    T_erf1 = (
        2*x.i_erf1_2*y.i_erf1_2*x.n_dense1*y.n_dense1
        *tau_dense1/(pi*across(delta_dense1, x.i_erf1, y.i_erf1, x.i_erf1_2/2, y.i_erf1_2/2))
    )
    # dense2: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    eta_dense2 = W_std**2*eta_erf1
    K_dense2 = x.q_dense2/2 + y.q_dense2/2 - eta_dense2
    T_dense2 = K_dense2 + W_std**2*T_erf1
    # erf2: Erf()
    eta_erf2 = (
        2*angle_gap(
            2*eta_dense2, 2*x.q_dense2 - 2*y.q_dense2, 2*x.q_dense2, 2*y.q_dense2, x.r_erf2, y.r_erf2,
            x.phi_erf2 + y.phi_erf2,
        )
        /pi
    )
    K_erf2 = x.q_erf2/2 + y.q_erf2/2 - eta_erf2
    T_erf2 = 4*T_dense2/(pi*span(2*eta_dense2, 2*x.q_dense2 - 2*y.q_dense2, 2*x.q_dense2, 2*y.q_dense2))
    # dense3: Dense(out_dim=1)
    T_dense3 = K_erf2 + T_erf2
    return K_erf2, T_dense3


nngp, ntk, kernel, variance, unresolved = kernels(
    per_sample, pair, Rows(256), samples=((0, smooth_mean_squares),), pairs=((0, smooth_cosine_gap),),
)
