"""NNGP and NTK kernels of an infinitely wide network.

Input(features=3, spatial=(8,)) -> Dense(out_dim=512, W_std=1.5, b_std=0.1) -> LayerNorm(axis=(-1,)) ->
GlobalSelfAttention(n_chan_out=512, n_chan_key=512, n_chan_val=512, n_heads=8) -> Flatten() -> Dense(out_dim=1)

v: what layer u makes of each pixel of a sample; z: what layer u makes of each pair of pixels of a sample; q: variance;
w: covariance of two pixels of one sample; K: covariance (NNGP); T: tangent kernel (NTK); i: what pairs read of one
sample, made once a sample. X, y: the samples of a pair. Arrays are [pixels ..., samples], and [pixels ..., samples of
x, samples of y].
"""

from ntkc.runtime import (
    Tiles, as_one, between, covariances, kernels, left, mean_squares, narrowed, pixel_products, right, safe_sqrt,
    softmax_of_keys, total,
)

W_std, b_std, eps = 1.5, 0.1, 1e-12


def per_sample(p, one, q_input1, w_input1):
    """Variance of the output, and what pairs read of each sample."""
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    q_dense1 = W_std**2*q_input1 + b_std**2
    w_dense1 = W_std**2*w_input1 + b_std**2
    # layernorm1: LayerNorm(axis=(-1,))
    v_layernorm1 = q_dense1
    i_layernorm1 = 1/safe_sqrt(v_layernorm1 + eps)
    w_layernorm1 = w_dense1/(safe_sqrt(left(v_layernorm1, "F") + eps)*safe_sqrt(right(v_layernorm1, "F") + eps))
    # globalselfattention1: GlobalSelfAttention(n_chan_out=512, n_chan_key=512, n_chan_val=512, n_heads=8)
    z_globalselfattention1 = softmax_of_keys(w_layernorm1)
    q_globalselfattention1 = narrowed(between(z_globalselfattention1, w_layernorm1, z_globalselfattention1), "F", "D")
    # flatten1: Flatten()
    q_flatten1 = total(q_globalselfattention1, "D", 0.125)
    return q_flatten1, dict(i_layernorm1=i_layernorm1, z_globalselfattention1=z_globalselfattention1)


def pair(p, x, y, same, K_input1):
    """NNGP and NTK of every pair of samples."""
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    K_dense1 = W_std**2*K_input1 + b_std**2
    T_dense1 = K_dense1
    # layernorm1: LayerNorm(axis=(-1,))
    K_layernorm1 = K_dense1*left(x.i_layernorm1, "F")*right(y.i_layernorm1, "F")
    T_layernorm1 = T_dense1*left(x.i_layernorm1, "F")*right(y.i_layernorm1, "F")
    # globalselfattention1: GlobalSelfAttention(n_chan_out=512, n_chan_key=512, n_chan_val=512, n_heads=8)
    K_globalselfattention1 = (
        narrowed(between(x.z_globalselfattention1, K_layernorm1, y.z_globalselfattention1), "F", "D")
    )
    T_globalselfattention1 = (
        2*K_globalselfattention1
        + narrowed(between(x.z_globalselfattention1, T_layernorm1, y.z_globalselfattention1), "F", "D")
    )
    # flatten1: Flatten()
    K_flatten1, T_flatten1 = as_one(lambda k: total(k, "D", 0.125), K_globalselfattention1, T_globalselfattention1)
    # dense2: Dense(out_dim=1)
    T_dense2 = K_flatten1 + T_flatten1
    return K_flatten1, T_dense2


nngp, ntk, kernel, variance, unresolved = kernels(
    per_sample,
    pair,
    Tiles(2048, 65536, 128),
    samples=((0, mean_squares), (0, covariances, "F")),
    pairs=((0, pixel_products, "F"),),
)
