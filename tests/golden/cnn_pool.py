"""NNGP and NTK kernels of an infinitely wide network.

Input(features=3, spatial=(8, 8)) -> Conv(out_chan=512, filter_shape=(3, 3), padding='SAME', W_std=1.5, b_std=0.1) -> Relu() -> AvgPool(window_shape=(2, 2), strides=(2, 2)) -> Conv(out_chan=512, filter_shape=(3, 3), strides=(2, 1), W_std=1.5) -> Relu() -> GlobalAvgPool() -> Dense(out_dim=1)

Written by ntkc; needs jax only. Arrays of data are [samples, pixels ..., channels].
"""

from math import pi

import jax
import jax.numpy as jnp
from jax import lax

# arccos(1 - t) / (pi sqrt(t)) on [0, 1]
ARCCOS = {
    "float32": (  # relative error 2e-08
        0.45015815299680595,
        0.03751382807875198,
        0.008427089511530378,
        0.0026154666975202706,
        0.00047073570200239085,
        0.0010626511388224292,
        -0.0006336413341060533,
        0.000385708111593065,
    ),
    "float64": (  # relative error 2e-17
        0.45015815807855303,
        0.03751317983987564,
        0.00844046546442507,
        0.0025120432714529307,
        0.0008547930425932389,
        0.00031471098117365757,
        0.00012213551482788204,
        4.8544795153372625e-05,
        2.3195458675430442e-05,
        -2.2873114960199797e-06,
        3.460419989822555e-05,
        -6.525326994907856e-05,
        0.00011080327258598078,
        -0.00013687625959514212,
        0.00012754304139369471,
        -8.557648187341667e-05,
        3.955053770370357e-05,
        -1.1261280138402475e-05,
        1.527104740182858e-06,
    ),
}

# (sin a - a cos a) / (a t), a = arccos(1 - t), on [0, 1]
GAP = {
    "float32": (  # relative error 7e-08
        0.6666666419837777,
        -0.02221981394419445,
        -0.005328669498104973,
        -0.0014065956096815202,
        -0.0011326628022954395,
        0.0005180923287934538,
        -0.0004771763647513016,
    ),
    "float64": (  # relative error 1e-17
        0.6666666666666666,
        -0.022222222222219583,
        -0.005291005291320786,
        -0.001622574940980564,
        -0.0005622364898093341,
        -0.00020952341949964323,
        -8.202249621257854e-05,
        -3.280014952456704e-05,
        -1.5810336558324903e-05,
        1.7293421983294904e-06,
        -2.4092012616056382e-05,
        4.5540376273763904e-05,
        -7.728983429366994e-05,
        9.548521798779673e-05,
        -8.896757754723667e-05,
        5.969211576207787e-05,
        -2.7585632113397762e-05,
        7.853912875890783e-06,
        -1.064861487429076e-06,
    ),
}


def polynomial(table, t):
    """c[0] + c[1] t + c[2] t^2 + ... by pairs (Estrin), coefficients for the precision of t."""
    c = list(table[t.dtype.name])
    while len(c) > 1:
        c = [c[i] + c[i + 1] * t if i + 1 < len(c) else c[i] for i in range(0, len(c), 2)]
        t = t * t
    return c[0]


def ratio(a, b):
    """a / b, and 0 where b is 0: the share of a part in a norm of zero."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)


def gap_of_cosine(rho):
    """1 - rho in [0, 2]; a cosine within rounding of 1 means 1."""
    delta = 1 - rho
    return jnp.where(delta < 8 * jnp.finfo(delta.dtype).eps, 0, jnp.minimum(delta, 2))


def safe_sqrt(x):
    """sqrt(x) with derivative 0, not infinity, at 0."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0)


@jax.custom_jvp
def arccos_over_pi(t):
    """arccos(1 - t) / pi for t in [0, 1]."""
    return jnp.sqrt(t) * polynomial(ARCCOS, t)


@arccos_over_pi.defjvp
def _(primals, tangents):
    (t,), (dt,) = primals, tangents
    variance = t * (2 - t)
    slope = jnp.where(variance > 0, lax.rsqrt(jnp.where(variance > 0, variance, 1)) / pi, 0)
    return arccos_over_pi(t), slope * dt


def arc_cosine(delta):
    """1 - kappa1 and kappa0 of the correlation 1 - delta: the arc-cosine kernels of Cho and Saul 2009."""
    near = delta <= 1
    t = jnp.where(near, delta, 2 - delta)
    p = arccos_over_pi(t)
    return jnp.where(near, delta, 1) - p * (t * polynomial(GAP, t)), jnp.where(near, 1 - p, p)


def arc_cosine_near(delta):
    """1 - kappa1 and kappa0 of a correlation 1 - delta that is known to be at least 0."""
    p = arccos_over_pi(delta)
    return delta - p * (delta * polynomial(GAP, delta)), 1 - p


def groups(form):
    """The array axes of each spatial axis: one for equal pixels (D), two for all pairs (F), three for pairs mod s."""
    counts = [{"D": 1, "F": 2}.get(f, 3) for f in form]
    return [tuple(range(sum(counts[:i]), sum(counts[: i + 1]))) for i in range(len(form))]


def widened(k, form, axes):
    """Margins of zeros, or of the other end of the image, and zeros between pixels, for filters and pools."""
    for wraps in (False, True):
        ends, sides = [(0, 0, 0)] * k.ndim, [(0, 0)] * k.ndim
        for group, (low, high, is_wrapped, interior) in zip(groups(form), axes):
            for a in group if is_wrapped == wraps else ():
                ends[a] = (0, interior - 1, interior - 1) if wraps else (low, high, interior - 1)
                sides[a] = (low, high)
        if any(e != (0, 0, 0) for e in ends):
            k = lax.pad(k, jnp.zeros((), k.dtype), ends)
        if wraps and any(s != (0, 0) for s in sides):
            k = jnp.pad(k, sides, mode="wrap")
    return k


def cut(k, group, start, stride, size):
    """Every `stride`-th pixel from `start` on, along all array axes of a spatial axis at once."""
    for a in group:
        k = lax.slice_in_dim(k, start, start + (size - 1) * stride + 1, stride, a)
    return k


def patched(k, form, axes):
    """Mean over the taps of a filter, which moves on both sides of a pair at once.

    axes: (taps, stride, low, high, wraps, spread, interior) of each spatial axis.
    """
    places, count = list(zip(groups(form), axes)), 1
    k = widened(k, form, [(0, 0, False, 1) if len(g) == 3 else (a[2], a[3], a[4], a[6]) for g, a in places])
    for group, axis in places[::-1]:
        taps, stride, _, _, _, spread, _ = axis
        count *= taps
        if len(group) == 3:
            k = patched_mod(k, group, axis)
        elif taps > 1 or stride > 1:
            size = (k.shape[group[0]] - (taps - 1) * spread - 1) // stride + 1
            parts = [cut(k, group, t * spread, stride, size) for t in range(taps)]
            k = sum(parts[1:], parts[0])
    # XLA would multiply two complex numbers.
    scale = 1 / count
    return lax.complex(k.real * scale, k.imag * scale) if jnp.iscomplexobj(k) else k * scale


def patched_mod(k, group, axis):
    """Sum over the taps of a filter along axes r, a, a' of pixels s a + r, s a' + r: tap by tap another r, or a + 1."""
    (taps, stride, low, high, wraps, spread, _), (r, a, b) = axis, group
    step, count = k.shape[r], k.shape[a]
    size = (step * count + low + high - (taps - 1) * spread - 1) // stride + 1
    places = [[divmod(stride * i + t * spread - low, step) for t in range(taps)] for i in range(step // stride)]
    far = max(abs(q) for row in places for q, _ in row)
    ends = [(far, far) if i in (a, b) else (0, 0) for i in range(k.ndim)]
    k = jnp.pad(k, ends, mode="wrap" if wraps else "constant") if far else k
    rows = []
    for row in places:
        parts = [cut(cut(k, (a, b), far + q, 1, size // len(places)), (r,), i, 1, 1) for q, i in row]
        rows.append(sum(parts[1:], parts[0]))
    return jnp.concatenate(rows, r) if len(rows) > 1 else jnp.squeeze(rows[0], r)


def pooled(k, form, axes):
    """Sum over a window, which moves on each side of a pair by itself, times a number for each place.

    axes: (window, stride, low, high, wraps, scales) of each spatial axis.
    """
    k = widened(k, form, [(low, high, wraps, 1) for _, _, low, high, wraps, _ in axes])
    for group, (window, stride, _, _, _, scales) in zip(groups(form), axes):
        for a in group:
            size = (k.shape[a] - window) // stride + 1
            parts = [cut(k, (a,), t, stride, size) for t in range(window)]
            k = sum(parts[1:], parts[0])
            k = k * jnp.asarray(scales, k.real.dtype).reshape((-1,) + (1,) * (k.ndim - a - 1))
    return k


def total(k, form, scale):
    """Sum over all pixels, or pairs of pixels, times a number."""
    return jnp.sum(k, tuple(range(len(form) + form.count("F")))) * scale


def narrowed(k, form, to):
    """The entries of `form` that `to` keeps: of F or pairs mod s, those mod a multiple of s, or of equal pixels (D)."""
    for group, before, after in list(zip(groups(form), form, to))[::-1]:
        if before == after:
            continue
        k = jnp.expand_dims(k, group[0]) if before == "F" else k
        first, (step, count) = group[0], k.shape[group[0] : group[0] + 2]
        factor = count if after == "D" else int(after) // step
        k = k.reshape(*k.shape[: first + 1], *(count // factor, factor) * 2, *k.shape[first + 3 :])
        k = jnp.moveaxis(jnp.diagonal(k, axis1=first + 2, axis2=first + 4), -1, first)
        shape = (step * factor,) if after == "D" else (step * factor, *k.shape[first + 2 : first + 4])
        k = k.reshape(*k.shape[:first], *shape, *k.shape[first + 4 :])
    return k


def sides(v, form, is_left):
    """One value a pixel (and sample), for the first or the second pixel of each entry of a form."""
    for i, f in list(enumerate(form))[::-1]:
        count = v.shape[i]
        step = count if f == "D" else 1 if f == "F" else int(f)
        if f not in "DF":
            v = jnp.moveaxis(v.reshape(*v.shape[:i], count // step, step, *v.shape[i + 1 :]), i + 1, i)
        if f != "D":
            v = jnp.expand_dims(v, i + (f != "F") + (1 if is_left else 0))
    return v


def left(v, form):
    """One value a pixel (and sample), for the first pixel of each entry of a form."""
    return sides(v, form, True)


def right(v, form):
    """One value a pixel (and sample), for the second pixel of each entry of a form."""
    return sides(v, form, False)


LETTERS = "abcdefghijklmnopqrstuvwxyz"


def products(x1, x2, form, is_within=False):
    """x1[p] . x2[p'] / channels for the entries of a form, of all pairs of samples, or of each with itself."""
    if not form.strip("D") and not is_within and x1.shape[-1] <= 16:
        x1, x2 = (jnp.moveaxis(x, 0, -2) for x in (x1, x2))
        return sum(x1[..., :, None, c] * x2[..., None, :, c] for c in range(x1.shape[-1])) / x1.shape[-1]
    first = second = pixels = ""
    for i, f in list(enumerate(form))[::-1]:
        a, b, r = LETTERS[i], LETTERS[8 + i], LETTERS[16 + i]
        if f not in "DF":
            x1, x2 = (x.reshape(*x.shape[: i + 1], -1, int(f), *x.shape[i + 2 :]) for x in (x1, x2))
        one, two, both = {"D": (a, a, a), "F": (a, b, a + b)}.get(f, (a + r, b + r, r + a + b))
        first, second, pixels = one + first, two + second, both + pixels
    samples = "yy" if is_within else "yz"
    spec = f"y{first}x,{samples[1]}{second}x->{pixels}{'y' if is_within else samples}"
    return jnp.einsum(spec, x1, x2, precision=lax.Precision.HIGHEST) / x1.shape[-1]

CONV1 = ((3, 1, 1, 1, False, 1, 1), (3, 1, 1, 1, False, 1, 1))
AVGPOOL1 = ((2, 2, 0, 0, False, 0.5), (2, 2, 0, 0, False, 0.5))
CONV2 = ((3, 2, 0, 0, False, 1, 1), (3, 1, 0, 0, False, 1, 1))


def per_sample(q_input1, w_input1):
    """Variance of the output, and what pairs need of each sample: arrays [pixels ..., samples]."""
    # conv1: Conv(out_chan=512, filter_shape=(3, 3), padding='SAME', W_std=1.5, b_std=0.1)
    q_conv1 = 9*patched(q_input1, "DD", CONV1)/4 + 0.01
    # relu1: Relu()
    i_relu1 = safe_sqrt(q_conv1)
    i_relu1_2 = ratio(1, safe_sqrt(q_conv1))
    # conv1: Conv(out_chan=512, filter_shape=(3, 3), padding='SAME', W_std=1.5, b_std=0.1)
    w_conv1 = 9*patched(w_input1, "FF", CONV1)/4 + 0.01
    # relu1: Relu()
    gap_relu1, slope_relu1 = arc_cosine(gap_of_cosine(w_conv1*ratio(1, safe_sqrt(left(q_conv1, "FF")))*ratio(1, safe_sqrt(right(q_conv1, "FF")))))
    w_relu1 = safe_sqrt(left(q_conv1, "FF"))*safe_sqrt(right(q_conv1, "FF"))*(1 - gap_relu1)/2
    # avgpool1: AvgPool(window_shape=(2, 2), strides=(2, 2))
    q_avgpool1 = narrowed(pooled(w_relu1, "FF", AVGPOOL1), "FF", "DD")
    w_avgpool1 = narrowed(pooled(w_relu1, "FF", AVGPOOL1), "FF", "2F")
    # conv2: Conv(out_chan=512, filter_shape=(3, 3), strides=(2, 1), W_std=1.5)
    q_conv2 = 9*patched(q_avgpool1, "DD", CONV2)/4
    # relu2: Relu()
    i_relu2 = safe_sqrt(q_conv2)
    i_relu2_2 = ratio(1, safe_sqrt(q_conv2))
    # conv2: Conv(out_chan=512, filter_shape=(3, 3), strides=(2, 1), W_std=1.5)
    w_conv2 = 9*patched(w_avgpool1, "2F", CONV2)/4
    # relu2: Relu()
    gap_relu2, slope_relu2 = arc_cosine_near(gap_of_cosine(w_conv2*ratio(1, safe_sqrt(left(q_conv2, "FF")))*ratio(1, safe_sqrt(right(q_conv2, "FF")))))
    w_relu2 = safe_sqrt(left(q_conv2, "FF"))*safe_sqrt(right(q_conv2, "FF"))*(1 - gap_relu2)/2
    # globalavgpool1: GlobalAvgPool()
    q_globalavgpool1 = total(w_relu2, "FF", 0.25)
    # dense1: Dense(out_dim=1)
    q_dense1 = q_globalavgpool1
    return q_dense1, ([i_relu1, i_relu1_2, i_relu2, i_relu2_2],)


def pair(K_input1, stats1, stats2, same):
    """nngp and ntk of every pair of two sets of samples: arrays [pixels ..., n1, n2]."""
    vectors1, = stats1
    [i1_relu1, i1_relu1_2, i1_relu2, i1_relu2_2] = vectors1
    vectors2, = stats2
    [i2_relu1, i2_relu1_2, i2_relu2, i2_relu2_2] = vectors2
    # conv1: Conv(out_chan=512, filter_shape=(3, 3), padding='SAME', W_std=1.5, b_std=0.1)
    K_conv1 = 9*patched(K_input1, "FF", CONV1)/4 + 0.01
    T_conv1 = K_conv1
    # relu1: Relu()
    gap_relu1, slope_relu1 = arc_cosine(gap_of_cosine(K_conv1*left(i1_relu1_2, "FF")[..., None]*right(i2_relu1_2, "FF")[..., None, :]))
    K_relu1 = left(i1_relu1, "FF")[..., None]*right(i2_relu1, "FF")[..., None, :]*(1 - gap_relu1)/2
    T_relu1 = T_conv1*slope_relu1/2
    # avgpool1: AvgPool(window_shape=(2, 2), strides=(2, 2))
    both_avgpool1 = narrowed(pooled(lax.complex(K_relu1, T_relu1), "FF", AVGPOOL1), "FF", "2F")
    K_avgpool1 = both_avgpool1.real
    T_avgpool1 = both_avgpool1.imag
    # conv2: Conv(out_chan=512, filter_shape=(3, 3), strides=(2, 1), W_std=1.5)
    both_conv2 = patched(lax.complex(K_avgpool1, T_avgpool1), "2F", CONV2)
    K_conv2 = 9*both_conv2.real/4
    T_conv2 = K_conv2 + 9*both_conv2.imag/4
    # relu2: Relu()
    gap_relu2, slope_relu2 = arc_cosine_near(gap_of_cosine(K_conv2*left(i1_relu2_2, "FF")[..., None]*right(i2_relu2_2, "FF")[..., None, :]))
    K_relu2 = left(i1_relu2, "FF")[..., None]*right(i2_relu2, "FF")[..., None, :]*(1 - gap_relu2)/2
    T_relu2 = T_conv2*slope_relu2/2
    # globalavgpool1: GlobalAvgPool()
    both_globalavgpool1 = total(lax.complex(K_relu2, T_relu2), "FF", 0.25)
    K_globalavgpool1 = both_globalavgpool1.real
    T_globalavgpool1 = both_globalavgpool1.imag
    # dense1: Dense(out_dim=1)
    K_dense1 = K_globalavgpool1
    T_dense1 = K_dense1 + T_globalavgpool1
    return K_dense1, T_dense1


def nngp_of_pair(K_input1, stats1, stats2, same):
    """nngp of every pair of two sets of samples: arrays [pixels ..., n1, n2]."""
    vectors1, = stats1
    [i1_relu1, i1_relu1_2, i1_relu2, i1_relu2_2] = vectors1
    vectors2, = stats2
    [i2_relu1, i2_relu1_2, i2_relu2, i2_relu2_2] = vectors2
    # conv1: Conv(out_chan=512, filter_shape=(3, 3), padding='SAME', W_std=1.5, b_std=0.1)
    K_conv1 = 9*patched(K_input1, "FF", CONV1)/4 + 0.01
    # relu1: Relu()
    gap_relu1, slope_relu1 = arc_cosine(gap_of_cosine(K_conv1*left(i1_relu1_2, "FF")[..., None]*right(i2_relu1_2, "FF")[..., None, :]))
    K_relu1 = left(i1_relu1, "FF")[..., None]*right(i2_relu1, "FF")[..., None, :]*(1 - gap_relu1)/2
    # avgpool1: AvgPool(window_shape=(2, 2), strides=(2, 2))
    K_avgpool1 = narrowed(pooled(K_relu1, "FF", AVGPOOL1), "FF", "2F")
    # conv2: Conv(out_chan=512, filter_shape=(3, 3), strides=(2, 1), W_std=1.5)
    K_conv2 = 9*patched(K_avgpool1, "2F", CONV2)/4
    # relu2: Relu()
    gap_relu2, slope_relu2 = arc_cosine_near(gap_of_cosine(K_conv2*left(i1_relu2_2, "FF")[..., None]*right(i2_relu2_2, "FF")[..., None, :]))
    K_relu2 = left(i1_relu2, "FF")[..., None]*right(i2_relu2, "FF")[..., None, :]*(1 - gap_relu2)/2
    # globalavgpool1: GlobalAvgPool()
    K_globalavgpool1 = total(K_relu2, "FF", 0.25)
    # dense1: Dense(out_dim=1)
    K_dense1 = K_globalavgpool1
    return K_dense1


LANES, BLOCK = 32, 128  # pairs of samples a tile; samples whose per-sample values are kept
if jax.default_backend() != "cpu":
    LANES = 4096  # an accelerator has no core's cache to stay in, and more units to fill


def samples_of(x):
    """Variance of the output, and what pairs need, of each sample: arrays [pixels ..., samples]."""
    return per_sample(jnp.moveaxis(jnp.mean(x ** 2, -1), 0, -1), products(x, x, "FF", True))


def stats_of(x):
    """What pairs need of each sample."""
    return samples_of(x)[1]


def tile(x1, x2, stats1, stats2, same):
    """nngp and ntk of all pairs of two sets of samples: arrays [pixels ..., n1, n2]."""
    return pair(products(x1, x2, "FF"), stats1, stats2, same)


def nngp_tile(x1, x2, stats1, stats2, same):
    """nngp alone."""
    return (nngp_of_pair(products(x1, x2, "FF"), stats1, stats2, same),)


def padded(x, size):
    """Samples added, copies of the last, up to a whole number of blocks of `size`; blocks along a first axis."""
    x = jnp.pad(x, [(0, -len(x) % size)] + [(0, 0)] * (x.ndim - 1), mode="edge")
    return x.reshape(-1, size, *x.shape[1:])


def gram(take, some, x1, x2):
    """`take` of all pairs, tile after tile; of one triangle and its mirror image if x2 is None."""
    is_symmetric = x2 is None
    x2 = x1 if is_symmetric else x2
    columns = min(LANES, BLOCK, -(-len(x2) // 8) if is_symmetric else len(x2))
    rows = min(max(1, LANES // columns), BLOCK, len(x1))
    count = min(BLOCK // rows, -(-len(x1) // rows))
    left, right = padded(x1, rows * count), padded(x2, columns)
    size = ()

    @jax.checkpoint
    def compute(left, right, stats1, stats2, start, stop):
        same = (start + jnp.arange(rows))[:, None] == stop + jnp.arange(columns)
        made = take(*some(left, right, stats1, stats2, same & is_symmetric))
        return jnp.broadcast_to(made, (*size, rows, columns))

    def nothing(*given):
        made = jax.eval_shape(compute, *given)
        return jnp.zeros(made.shape, made.dtype)

    def blocks(_, i):
        stats = stats_of(left[i])

        def tiles(_, j):
            stats2 = stats_of(right[j])

            def turn(_, g):
                start, stop = (i * count + g) * rows, j * columns
                some_left = lax.dynamic_slice_in_dim(left[i], g * rows, rows)
                stats1 = jax.tree.map(lambda v: lax.dynamic_slice_in_dim(v, g * rows, rows, -1), stats)
                given = some_left, right[j], stats1, stats2, start, stop
                if is_symmetric:
                    return None, lax.cond(stop < start + rows, compute, nothing, *given)
                return None, compute(*given)

            return None, lax.scan(turn, None, jnp.arange(count))[1]

        return None, lax.scan(tiles, None, jnp.arange(len(right)))[1]

    made = lax.scan(blocks, None, jnp.arange(len(left)))[1]
    made = jnp.moveaxis(made, (0, 2, -2, 1, -1), (0, 1, 2, 3, 4)).reshape(-1, len(right) * columns, *size)
    made = made[: len(x1), : len(x2)]
    if not is_symmetric:
        return made
    below = jnp.tri(len(x1), dtype=bool).reshape(len(x1), len(x1), *(1 for _ in size))
    return jnp.where(below, made, jnp.transpose(made, (1, 0)))


@jax.jit
def nngp(x1, x2=None):
    """K of every pair of samples of x1 and x2; of x1 with itself if x2 is None."""
    return gram(lambda k: k, nngp_tile, x1, x2)


@jax.jit
def ntk(x1, x2=None):
    """T of every pair of samples of x1 and x2; of x1 with itself if x2 is None."""
    return gram(lambda k, t: t, tile, x1, x2)


@jax.jit
def kernel(x1, x2=None):
    """(nngp, ntk), which travel as one complex array."""
    both = gram(lambda k, t: lax.complex(*(jnp.asarray(v, x1.dtype) for v in (k, t))), tile, x1, x2)
    return both.real, both.imag


@jax.jit
def variance(x):
    """nngp of every sample with itself: [samples, pixels ...], of all pairs of pixels if nngp is."""
    made = samples_of(x)[0]
    return jnp.moveaxis(jnp.broadcast_to(made, (len(x))), -1, 0)
