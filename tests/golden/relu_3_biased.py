"""NNGP and NTK kernels of an infinitely wide network.

Input() -> Dense(out_dim=512, W_std=1.5, b_std=0.1) -> Relu() -> Dense(out_dim=512, W_std=1.5, b_std=0.1) -> Relu() ->
Dense(out_dim=512, W_std=1.5, b_std=0.1) -> Relu() -> Dense(out_dim=1, W_std=1.5, b_std=0.1)

q: variance; n: norm sqrt(q); delta: gap 1 - K / (n1 n2); tau: T / (n1 n2); c: share of an operand, or the bias, in a
norm; a: sine of half the angle of two shares, scaled; b: its cosine, scaled. X, y: the samples of a pair. Arrays are
[samples], and [samples of x, samples of y].
"""

from ntkc.runtime import (
    Rows, arc_cosine, arc_cosine_near, kernels, ratio, safe_sqrt, smooth_cosine_gap, smooth_mean_squares,
)

W_std, b_std = 1.5, 0.1


def per_sample(p, one, q_input1):
    """Variance of the output, and what pairs read of each sample."""
    n_input1 = safe_sqrt(q_input1)
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    q_dense1 = W_std**2*q_input1 + b_std**2
    n_dense1 = safe_sqrt(q_dense1)
    c_dense1_input1 = ratio(W_std*n_input1, n_dense1)
    c_dense1_bias = ratio(0.1, n_dense1)
    b_dense1 = 0.8408964152537145*safe_sqrt(c_dense1_input1 + 1)
    a_dense1 = 0.7071067811865476*c_dense1_bias/b_dense1
    # relu1: Relu()
    q_relu1 = q_dense1/2
    n_relu1 = safe_sqrt(q_relu1)
    # dense2: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    q_dense2 = W_std**2*q_relu1 + b_std**2
    n_dense2 = safe_sqrt(q_dense2)
    c_dense2_relu1 = ratio(W_std*n_relu1, n_dense2)
    c_dense2_bias = ratio(0.1, n_dense2)
    b_dense2 = 0.8408964152537145*safe_sqrt(c_dense2_relu1 + 1)
    a_dense2 = 0.7071067811865476*c_dense2_bias/b_dense2
    # relu2: Relu()
    q_relu2 = q_dense2/2
    n_relu2 = safe_sqrt(q_relu2)
    # dense3: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    q_dense3 = W_std**2*q_relu2 + b_std**2
    n_dense3 = safe_sqrt(q_dense3)
    c_dense3_relu2 = ratio(W_std*n_relu2, n_dense3)
    c_dense3_bias = ratio(0.1, n_dense3)
    b_dense3 = 0.8408964152537145*safe_sqrt(c_dense3_relu2 + 1)
    a_dense3 = 0.7071067811865476*c_dense3_bias/b_dense3
    # relu3: Relu()
    q_relu3 = q_dense3/2
    n_relu3 = safe_sqrt(q_relu3)
    # dense4: Dense(out_dim=1, W_std=1.5, b_std=0.1)
    q_dense4 = W_std**2*q_relu3 + b_std**2
    n_dense4 = safe_sqrt(q_dense4)
    c_dense4_relu3 = ratio(W_std*n_relu3, n_dense4)
    c_dense4_bias = ratio(0.1, n_dense4)
    b_dense4 = 0.8408964152537145*safe_sqrt(c_dense4_relu3 + 1)
    a_dense4 = 0.7071067811865476*c_dense4_bias/b_dense4
    values = dict(
        a_dense1=a_dense1, b_dense1=b_dense1, c_dense1_input1=c_dense1_input1, a_dense2=a_dense2, b_dense2=b_dense2,
        c_dense2_relu1=c_dense2_relu1, a_dense3=a_dense3, b_dense3=b_dense3, c_dense3_relu2=c_dense3_relu2,
        a_dense4=a_dense4, b_dense4=b_dense4, c_dense4_relu3=c_dense4_relu3, n_dense4=n_dense4,
    )
    return q_dense4, values


def pair(p, x, y, same, delta_input1):
    """NNGP and NTK of every pair of samples."""
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    delta_dense1 = x.c_dense1_input1*y.c_dense1_input1*delta_input1 + (x.a_dense1*y.b_dense1 - y.a_dense1*x.b_dense1)**2
    tau_dense1 = 1 - delta_dense1
    # relu1: Relu()
    delta_relu1, slope_relu1 = arc_cosine(delta_dense1)
    tau_relu1 = tau_dense1*slope_relu1
    # dense2: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    delta_dense2 = x.c_dense2_relu1*y.c_dense2_relu1*delta_relu1 + (x.a_dense2*y.b_dense2 - y.a_dense2*x.b_dense2)**2
    tau_dense2 = x.c_dense2_relu1*y.c_dense2_relu1*tau_relu1 + 1 - delta_dense2
    # relu2: Relu()
    delta_relu2, slope_relu2 = arc_cosine_near(delta_dense2)
    tau_relu2 = tau_dense2*slope_relu2
    # dense3: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    delta_dense3 = x.c_dense3_relu2*y.c_dense3_relu2*delta_relu2 + (x.a_dense3*y.b_dense3 - y.a_dense3*x.b_dense3)**2
    tau_dense3 = x.c_dense3_relu2*y.c_dense3_relu2*tau_relu2 + 1 - delta_dense3
    # relu3: Relu()
    delta_relu3, slope_relu3 = arc_cosine_near(delta_dense3)
    tau_relu3 = tau_dense3*slope_relu3
    # dense4: Dense(out_dim=1, W_std=1.5, b_std=0.1)
    delta_dense4 = x.c_dense4_relu3*y.c_dense4_relu3*delta_relu3 + (x.a_dense4*y.b_dense4 - y.a_dense4*x.b_dense4)**2
    tau_dense4 = x.c_dense4_relu3*y.c_dense4_relu3*tau_relu3 + 1 - delta_dense4
    return x.n_dense4*y.n_dense4*(1 - delta_dense4), x.n_dense4*y.n_dense4*tau_dense4


nngp, ntk, kernel, variance, unresolved = kernels(
    per_sample, pair, Rows(256), samples=((0, smooth_mean_squares),), pairs=((0, smooth_cosine_gap),),
)
