"""NNGP and NTK kernels of an infinitely wide network.

Input(features=3, spatial=(8, 8)) -> Conv(out_chan=512, filter_shape=(3, 3), padding='SAME', W_std=1.5, b_std=0.1) ->
Relu() -> AvgPool(window_shape=(2, 2), strides=(2, 2)) -> Conv(out_chan=512, filter_shape=(3, 3), strides=(2, 1),
W_std=1.5) -> Relu() -> GlobalAvgPool() -> Dense(out_dim=1)

q: variance; e: half the mean squared distance of two pixels of one sample; w: covariance of two pixels of one sample;
s: half the mean squared distance of the pixels of a sample that u is the mean of; eta: half the mean squared distance,
(q1 + q2) / 2 - K; K: covariance (NNGP); T: tangent kernel (NTK); n: norm sqrt(q); i: what pairs read of one sample,
made once a sample. X, y: the samples of a pair. Arrays are [pixels ..., samples], and [pixels ..., samples of x,
samples of y].
"""

from ntkc.runtime import (
    Tiles, arc_cosine, arc_cosine_near, as_one, excess, gap_of_product, held, kernels, left, mean_squares, narrowed,
    own_distances, patched, pixel_distance, pooled, ratio, right, safe_sqrt, total,
)

W_std, b_std = 1.5, 0.1
CONV1 = ((3, 1, 1, 1, False, 1, 1), (3, 1, 1, 1, False, 1, 1))
AVGPOOL1 = ((2, 2, 0, 0, False, 0.5), (2, 2, 0, 0, False, 0.5))
CONV2 = ((3, 2, 0, 0, False, 1, 1), (3, 1, 0, 0, False, 1, 1))
AVGPOOL1_SAME = ((2, 2, 0, 0, False, 1, 1), (2, 2, 0, 0, False, 1, 1))


def per_sample(p, one, q_input1, e_input1):
    """Variance of the output, and what pairs read of each sample."""
    # conv1: Conv(out_chan=512, filter_shape=(3, 3), padding='SAME', W_std=1.5, b_std=0.1)
    q_conv1 = W_std**2*patched(q_input1, "DD", CONV1) + b_std**2
    n_conv1 = safe_sqrt(q_conv1)
    # relu1: Relu()
    i_relu1 = ratio(1, n_conv1)
    # conv1: Conv(out_chan=512, filter_shape=(3, 3), padding='SAME', W_std=1.5, b_std=0.1)
    e_conv1 = W_std**2*patched(e_input1, "FF", CONV1, (q_input1/2, q_input1/2))
    # relu1: Relu()
    q_relu1 = q_conv1/2
    def relu1(e_conv1):
        gap_relu1, slope_relu1 = arc_cosine(
            gap_of_product(
                e_conv1 - (left(n_conv1, "FF") - right(n_conv1, "FF"))**2/2,
                ratio(1, left(n_conv1, "FF"))*ratio(1, right(n_conv1, "FF")),
            ),
        )
        e_relu1 = (
            gap_relu1*left(n_conv1, "FF")*right(n_conv1, "FF")/2 + (left(n_conv1, "FF") - right(n_conv1, "FF"))**2/4
        )
        return e_relu1
    e_relu1 = held(relu1, e_conv1)
    w_relu1 = left(q_relu1, "FF")/2 + right(q_relu1, "FF")/2 - e_relu1
    # avgpool1: AvgPool(window_shape=(2, 2), strides=(2, 2))
    s_avgpool1 = narrowed(pooled(e_relu1, "FF", AVGPOOL1), "FF", "DD")
    q_avgpool1 = narrowed(pooled(w_relu1, "FF", AVGPOOL1), "FF", "DD")
    e_avgpool1 = excess(
        narrowed(pooled(e_relu1, "FF", AVGPOOL1), "FF", "2F"), left(s_avgpool1, "2F")/2 + right(s_avgpool1, "2F")/2,
        patched(safe_sqrt(narrowed(e_relu1, "FF", "4F")), "4F", AVGPOOL1_SAME)**2,
    )
    # conv2: Conv(out_chan=512, filter_shape=(3, 3), strides=(2, 1), W_std=1.5)
    q_conv2 = W_std**2*patched(q_avgpool1, "DD", CONV2)
    n_conv2 = safe_sqrt(q_conv2)
    # relu2: Relu()
    i_relu2 = ratio(1, n_conv2)
    # conv2: Conv(out_chan=512, filter_shape=(3, 3), strides=(2, 1), W_std=1.5)
    e_conv2 = W_std**2*patched(e_avgpool1, "2F", CONV2)
    # relu2: Relu()
    gap_relu2, slope_relu2 = arc_cosine_near(
        gap_of_product(
            e_conv2 - (left(n_conv2, "FF") - right(n_conv2, "FF"))**2/2,
            ratio(1, left(n_conv2, "FF"))*ratio(1, right(n_conv2, "FF")),
        ),
    )
    w_relu2 = left(n_conv2, "FF")*right(n_conv2, "FF")*(1 - gap_relu2)/2
    # globalavgpool1: GlobalAvgPool()
    q_globalavgpool1 = total(w_relu2, "FF", 0.25)
    values = dict(
        q_input1=q_input1, n_conv1=n_conv1, i_relu1=i_relu1, s_avgpool1=s_avgpool1, n_conv2=n_conv2,
        i_relu2=i_relu2,
    )
    return q_globalavgpool1, values


def pair(p, x, y, same, eta_input1):
    """NNGP and NTK of every pair of samples."""
    # conv1: Conv(out_chan=512, filter_shape=(3, 3), padding='SAME', W_std=1.5, b_std=0.1)
    eta_conv1 = W_std**2*patched(eta_input1, "FF", CONV1, (x.q_input1/2, y.q_input1/2))
    K_conv1 = (
        left(x.n_conv1, "FF")*right(y.n_conv1, "FF") + (left(x.n_conv1, "FF") - right(y.n_conv1, "FF"))**2/2 - eta_conv1
    )
    T_conv1 = K_conv1
    # relu1: Relu()
    def relu1(eta_conv1, T_conv1):
        gap_relu1, slope_relu1 = arc_cosine(
            gap_of_product(
                eta_conv1 - (left(x.n_conv1, "FF") - right(y.n_conv1, "FF"))**2/2,
                left(x.i_relu1, "FF")*right(y.i_relu1, "FF"),
            ),
        )
        eta_relu1 = (
            gap_relu1*left(x.n_conv1, "FF")*right(y.n_conv1, "FF")/2
            + (left(x.n_conv1, "FF") - right(y.n_conv1, "FF"))**2/4
        )
        T_relu1 = T_conv1*slope_relu1/2
        return eta_relu1, T_relu1
    eta_relu1, T_relu1 = held(relu1, eta_conv1, T_conv1)
    # avgpool1: AvgPool(window_shape=(2, 2), strides=(2, 2))
    Aeta_avgpool1, T_avgpool1 = as_one(lambda k: narrowed(pooled(k, "FF", AVGPOOL1), "FF", "2F"), eta_relu1, T_relu1)
    eta_avgpool1 = excess(
        Aeta_avgpool1, left(x.s_avgpool1, "2F")/2 + right(y.s_avgpool1, "2F")/2,
        patched(safe_sqrt(narrowed(eta_relu1, "FF", "4F")), "4F", AVGPOOL1_SAME)**2,
    )
    # conv2: Conv(out_chan=512, filter_shape=(3, 3), strides=(2, 1), W_std=1.5)
    Aeta_conv2, AT_conv2 = as_one(lambda k: patched(k, "2F", CONV2), eta_avgpool1, T_avgpool1)
    eta_conv2 = W_std**2*Aeta_conv2
    K_conv2 = (
        left(x.n_conv2, "FF")*right(y.n_conv2, "FF") + (left(x.n_conv2, "FF") - right(y.n_conv2, "FF"))**2/2 - eta_conv2
    )
    T_conv2 = K_conv2 + W_std**2*AT_conv2
    # relu2: Relu()
    gap_relu2, slope_relu2 = arc_cosine_near(
        gap_of_product(
            eta_conv2 - (left(x.n_conv2, "FF") - right(y.n_conv2, "FF"))**2/2,
            left(x.i_relu2, "FF")*right(y.i_relu2, "FF"),
        ),
    )
    K_relu2 = left(x.n_conv2, "FF")*right(y.n_conv2, "FF")*(1 - gap_relu2)/2
    T_relu2 = T_conv2*slope_relu2/2
    # globalavgpool1: GlobalAvgPool()
    K_globalavgpool1, T_globalavgpool1 = as_one(lambda k: total(k, "FF", 0.25), K_relu2, T_relu2)
    # dense1: Dense(out_dim=1)
    T_dense1 = K_globalavgpool1 + T_globalavgpool1
    return K_globalavgpool1, T_dense1


nngp, ntk, kernel, variance, unresolved = kernels(
    per_sample,
    pair,
    Tiles(32, 4096, 128),
    samples=((0, mean_squares), (0, own_distances, "FF")),
    pairs=((0, pixel_distance, "FF"),),
)
