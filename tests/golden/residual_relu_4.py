"""NNGP and NTK kernels of an infinitely wide network.

Input() -> Dense(out_dim=512, W_std=1.2, b_std=0.1) -> FanOut() -> Relu() -> Dense(out_dim=512, W_std=1.1) -> ... 16
more ... -> FanInSum() -> Relu() -> Dense(out_dim=1)

q: variance; n: norm sqrt(q); delta: gap 1 - K / (n1 n2); tau: T / (n1 n2); c: share of an operand, or the bias, in a
norm; a: sine of half the angle of two shares, scaled; b: its cosine, scaled. X, y: the samples of a pair. Arrays are
[samples], and [samples of x, samples of y].
"""

from ntkc.runtime import (
    Rows, arc_cosine, kernels, ratio, safe_sqrt, smooth_cosine_gap, smooth_mean_squares, stacked, unrolled,
)

W_std, b_std, W_std_2 = 1.2, 0.1, 1.1


def per_sample(p, one, q_input1):
    """Variance of the output, and what pairs read of each sample."""
    n_input1 = safe_sqrt(q_input1)
    # dense1: Dense(out_dim=512, W_std=1.2, b_std=0.1)
    q_dense1 = W_std**2*q_input1 + b_std**2
    n_dense1 = safe_sqrt(q_dense1)
    c_dense1_input1 = ratio(W_std*n_input1, n_dense1)
    c_dense1_bias = ratio(0.1, n_dense1)
    b_dense1 = 0.8408964152537145*safe_sqrt(c_dense1_input1 + 1)
    a_dense1 = 0.7071067811865476*c_dense1_bias/b_dense1
    # relu1: Relu()
    q_relu1 = q_dense1/2
    # dense2: Dense(out_dim=512, W_std=1.1)
    q_dense2 = W_std_2**2*q_relu1
    # faninsum1: FanInSum()
    q_faninsum1 = q_dense1 + q_dense2
    # block1: 3 times [Relu() -> Dense(out_dim=512, W_std=1.1) -> FanInSum()]
    def turn_block1(q_beforerelu2):
        # relu2: Relu()
        q_relu2 = q_beforerelu2/2
        # dense3: Dense(out_dim=512, W_std=1.1)
        q_dense3 = W_std_2**2*q_relu2
        # faninsum2: FanInSum()
        q_faninsum2 = q_beforerelu2 + q_dense3
        return (q_faninsum2,), dict()

    (q_block1,), _ = stacked(turn_block1, 3, q_faninsum1)
    # relu5: Relu()
    q_relu5 = q_block1/2
    # dense6: Dense(out_dim=1)
    n_dense6 = safe_sqrt(q_relu5)
    return q_relu5, dict(a_dense1=a_dense1, b_dense1=b_dense1, c_dense1_input1=c_dense1_input1, n_dense6=n_dense6)


def pair(p, x, y, same, delta_input1):
    """NNGP and NTK of every pair of samples."""
    # dense1: Dense(out_dim=512, W_std=1.2, b_std=0.1)
    delta_dense1 = x.c_dense1_input1*y.c_dense1_input1*delta_input1 + (x.a_dense1*y.b_dense1 - y.a_dense1*x.b_dense1)**2
    tau_dense1 = 1 - delta_dense1
    # relu1: Relu()
    delta_relu1, slope_relu1 = arc_cosine(delta_dense1)
    tau_relu1 = tau_dense1*slope_relu1
    # dense2: Dense(out_dim=512, W_std=1.1)
    tau_dense2 = tau_relu1 + 1 - delta_relu1
    # faninsum1: FanInSum()
    delta_faninsum1 = 200*delta_dense1/321 + 121*delta_relu1/321
    tau_faninsum1 = 200*tau_dense1/321 + 121*tau_dense2/321
    # block1: 3 times [Relu() -> Dense(out_dim=512, W_std=1.1) -> FanInSum()]
    def turn_block1(x, y, delta_beforerelu2, tau_beforerelu2):
        # relu2: Relu()
        delta_relu2, slope_relu2 = arc_cosine(delta_beforerelu2)
        tau_relu2 = tau_beforerelu2*slope_relu2
        # dense3: Dense(out_dim=512, W_std=1.1)
        tau_dense3 = tau_relu2 + 1 - delta_relu2
        # faninsum2: FanInSum()
        delta_faninsum2 = 200*delta_beforerelu2/321 + 121*delta_relu2/321
        tau_faninsum2 = 200*tau_beforerelu2/321 + 121*tau_dense3/321
        return delta_faninsum2, tau_faninsum2

    delta_block1, tau_block1 = unrolled(turn_block1, 3, None, None, delta_faninsum1, tau_faninsum1)
    # relu5: Relu()
    delta_relu5, slope_relu5 = arc_cosine(delta_block1)
    tau_relu5 = tau_block1*slope_relu5
    # dense6: Dense(out_dim=1)
    tau_dense6 = tau_relu5 + 1 - delta_relu5
    return x.n_dense6*y.n_dense6*(1 - delta_relu5), x.n_dense6*y.n_dense6*tau_dense6


nngp, ntk, kernel, variance, unresolved = kernels(
    per_sample, pair, Rows(256), samples=((0, smooth_mean_squares),), pairs=((0, smooth_cosine_gap),),
)
