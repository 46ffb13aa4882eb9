"""NNGP and NTK kernels of an infinitely wide network.

Input() -> Dense(out_dim=512, W_std=W_std) -> Activation(expr=x*erf(x)) -> Dense(out_dim=1)

q: variance; K: covariance (NNGP); T: tangent kernel (NTK); i: what pairs read of one sample, made once a sample. X, y:
the samples of a pair, p: hyper-parameters. Arrays are [samples], and [samples of x, samples of y].
"""

from math import pi

from ntkc.runtime import Rows, angle, kernels, mean_squares, root, row_products


def per_sample(p, one, q_input1):
    """Variance of the output, and what pairs read of each sample."""
    # dense1: Dense(out_dim=512, W_std=W_std)
    q_dense1 = q_input1*p.W_std**2
    # activation1: Activation(expr=x*erf(x))
    i_activation1 = 1/(2*q_dense1 + 1)
    root_activation1 = root(q_dense1, q_dense1 + 0.5, q_dense1 + 0.5)
    q_activation1 = (
        8*q_dense1**2*root_activation1/(pi*(2*q_dense1 + 1)**2)
        + 2*q_dense1**2/(pi*root_activation1*(2*q_dense1 + 1)**2)
        + 2*q_dense1*angle(q_dense1, q_dense1 + 0.5, q_dense1 + 0.5)/pi
    )
    return q_activation1, dict(i_activation1=i_activation1, q_dense1=q_dense1)


def pair(p, x, y, same, K_input1):
    """NNGP and NTK of every pair of samples."""
    # dense1: Dense(out_dim=512, W_std=W_std)
    K_dense1 = K_input1*p.W_std**2
    T_dense1 = K_dense1
    # activation1: Activation(expr=x*erf(x))
    angle_activation1 = angle(K_dense1, x.q_dense1 + 0.5, y.q_dense1 + 0.5)
    root_activation1 = root(K_dense1, x.q_dense1 + 0.5, y.q_dense1 + 0.5)
    over_root_activation1 = 1/root_activation1
    K_activation1 = (
        2*K_dense1**2*x.i_activation1*y.i_activation1*over_root_activation1/pi
        + 2*K_dense1*angle_activation1/pi
        + 8*x.i_activation1*y.i_activation1*x.q_dense1*y.q_dense1*root_activation1/pi
    )
    T_activation1 = T_dense1*(
        2*K_dense1**3*x.i_activation1*y.i_activation1*over_root_activation1**3/pi
        + 2*K_dense1*x.i_activation1*y.i_activation1*over_root_activation1*(2*x.q_dense1 + 2*y.q_dense1 + 3)/pi
        + 2*angle_activation1/pi
    )
    # dense2: Dense(out_dim=1)
    T_dense2 = K_activation1 + T_activation1
    return K_activation1, T_dense2


nngp, ntk, kernel, variance, unresolved = kernels(
    per_sample, pair, Rows(256), samples=((0, mean_squares),), pairs=((0, row_products),),
)
