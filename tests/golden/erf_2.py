"""NNGP and NTK kernels of an infinitely wide network.

Input() -> Dense(out_dim=512, W_std=1.5, b_std=0.1) -> Erf() -> Dense(out_dim=512, W_std=1.5, b_std=0.1) -> Erf() ->
Dense(out_dim=1)

q: variance; eta: half the mean squared distance, (q1 + q2) / 2 - K; d: difference q1 - q2 of variances; K: covariance
(NNGP); T: tangent kernel (NTK); r: sqrt(1 + 2 q / noise) - 1 of the variance that the erf u reads; phi: arcsin(q / (q +
noise)) of the variance that the erf u reads. X, y: the samples of a pair. Arrays are [samples], and [samples of x,
samples of y].
"""

from math import pi

from ntkc.runtime import Rows, angle, angle_gap, distances, kernels, mean_squares, safe_sqrt, span

W_std, b_std = 1.5, 0.1


def per_sample(p, one, q_input1):
    """Variance of the output, and what pairs read of each sample."""
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    q_dense1 = W_std**2*q_input1 + b_std**2
    # erf1: Erf()
    r_erf1 = 4*q_dense1/(safe_sqrt(4*q_dense1 + 1) + 1)
    phi_erf1 = angle(q_dense1, q_dense1 + 0.5, q_dense1 + 0.5)
    q_erf1 = 2*phi_erf1/pi
    # dense2: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    q_dense2 = W_std**2*q_erf1 + b_std**2
    # erf2: Erf()
    r_erf2 = 4*q_dense2/(safe_sqrt(4*q_dense2 + 1) + 1)
    phi_erf2 = angle(q_dense2, q_dense2 + 0.5, q_dense2 + 0.5)
    q_erf2 = 2*phi_erf2/pi
    values = dict(
        q_dense1=q_dense1, phi_erf1=phi_erf1, r_erf1=r_erf1, q_dense2=q_dense2, phi_erf2=phi_erf2, r_erf2=r_erf2,
        q_erf2=q_erf2,
    )
    return q_erf2, values


def pair(p, x, y, same, eta_input1, d_input1):
    """NNGP and NTK of every pair of samples."""
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    eta_dense1 = W_std**2*eta_input1
    K_dense1 = x.q_dense1/2 + y.q_dense1/2 - eta_dense1
    d_dense1 = W_std**2*d_input1
    T_dense1 = K_dense1
    # erf1: Erf()
    eta_erf1 = (
        2
        *angle_gap(2*eta_dense1, 2*d_dense1, 2*x.q_dense1, 2*y.q_dense1, x.r_erf1, y.r_erf1, x.phi_erf1 + y.phi_erf1)/pi
    )
    T_erf1 = 4*T_dense1/(pi*span(2*eta_dense1, 2*d_dense1, 2*x.q_dense1, 2*y.q_dense1))
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
    per_sample, pair, Rows(256), samples=((0, mean_squares),), pairs=((0, distances),),
)
