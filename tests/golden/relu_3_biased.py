"""NNGP and NTK kernels of an infinitely wide network.

Input() -> Dense(out_dim=512, W_std=1.5, b_std=0.1) -> Relu() -> Dense(out_dim=512, W_std=1.5, b_std=0.1) -> Relu() -> Dense(out_dim=512, W_std=1.5, b_std=0.1) -> Relu() -> Dense(out_dim=1, W_std=1.5, b_std=0.1)

Written by ntkc; needs jax only. Arrays of data are [samples, features].
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


def columns(vectors):
    """Vectors of the first samples, one value for each row of a matrix of pairs."""
    return [v[..., :, None] for v in vectors]


def rows(vectors):
    """Vectors of the second samples, one value for each column of a matrix of pairs."""
    return [v[..., None, :] for v in vectors]


def ratio(a, b):
    """a / b, and 0 where b is 0: the share of a part in a norm of zero."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)


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


NEAR = 0.02  # closer pairs than this (or nearly opposite ones) need more digits than a float32 product has


def gap_of_products(x1, x2, q1, q2):
    """1 - x1 . x2 / (|x1| |x2|) from mean squares q; 1 where a row is zero."""
    inverse1, inverse2 = (jnp.where(q > 0, lax.rsqrt(jnp.where(q > 0, q, 1)), 0) for q in (q1, q2))
    products = jnp.matmul(x1, x2.mT, precision=lax.Precision.HIGHEST) / x1.shape[-1]
    return 1 - products * inverse1[..., :, None] * inverse2[..., None, :]


def unit(x):
    """Rows over their norms, and half the square of what that makes: 1/2 but for rounding, which cancels in a gap."""
    norm = jnp.sqrt(jnp.sum(x * x, -1, keepdims=True))
    u = x / jnp.where(norm > 0, norm, 1)
    return u, jnp.where(norm[..., 0] > 0, jnp.sum(u * u, -1) / 2, 0.5)


@jax.custom_batching.custom_vmap
def gap_in_float64(x1, x2):
    """The gap from float64 products, also where jax_enable_x64 is off; one part in 1e15 is a duplicate."""
    with jax.enable_x64(True):
        (u1, half1), (u2, half2) = (unit(x.astype("float64")) for x in (x1, x2))
        delta = half1[..., :, None] + half2[..., None, :] - jnp.matmul(u1, u2.mT, precision=lax.Precision.HIGHEST)
        delta = jnp.where(delta < 2e-15, 0, jnp.where(delta > 2 - 2e-15, 2, delta))
        return delta.astype(x1.dtype)


@gap_in_float64.def_vmap
def _(size, batched, *data):
    # Batched by JAX itself, the product would leave the float64 context.
    data = (x if b else jnp.broadcast_to(x, (size, *x.shape)) for x, b in zip(data, batched, strict=True))
    return gap_in_float64(*data), True


@jax.custom_jvp
def cosine_gap(x1, x2, q1, q2, same):
    """1 - cos(x1, x2) of all pairs of rows; exactly 0 where `same`, and 1 where a row is zero."""
    same = same & (q1 > 0)[:, None]
    # Derivatives, of any order, come from the rule below alone.
    fixed = lax.stop_gradient(x1), lax.stop_gradient(x2)
    if x1.dtype == jnp.float64:
        return jnp.where(same, 0, gap_in_float64(*fixed))
    delta = jnp.where(same, 0, gap_of_products(x1, x2, q1, q2))
    farthest = jnp.max(jnp.where(same, 0, jnp.abs(1 - delta)))
    exact = lax.cond(farthest > 1 - NEAR, gap_in_float64, lambda x1, x2: delta, *fixed)
    return jnp.where(same, 0, exact)


@cosine_gap.defjvp
def _(primals, tangents):
    *data, same = primals
    slope = jax.jvp(gap_of_products, tuple(data), tuple(tangents[:4]))[1]
    return cosine_gap(*primals), jnp.where(same, 0, slope)


def per_sample(q_input1):
    """Variance of the output, and what pairs need of each sample."""
    n_input1 = safe_sqrt(q_input1)
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    q_dense1 = 9*q_input1/4 + 0.01
    n_dense1 = safe_sqrt(q_dense1)
    c_dense1_input1 = ratio(3*n_input1/2, n_dense1)
    c_dense1_bias = ratio(0.1, n_dense1)
    b_dense1 = 0.8408964152537145*safe_sqrt(c_dense1_input1 + 1)
    a_dense1 = 0.7071067811865476*c_dense1_bias/b_dense1
    # relu1: Relu()
    q_relu1 = q_dense1/2
    n_relu1 = safe_sqrt(q_relu1)
    # dense2: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    q_dense2 = 9*q_relu1/4 + 0.01
    n_dense2 = safe_sqrt(q_dense2)
    c_dense2_relu1 = ratio(3*n_relu1/2, n_dense2)
    c_dense2_bias = ratio(0.1, n_dense2)
    b_dense2 = 0.8408964152537145*safe_sqrt(c_dense2_relu1 + 1)
    a_dense2 = 0.7071067811865476*c_dense2_bias/b_dense2
    # relu2: Relu()
    q_relu2 = q_dense2/2
    n_relu2 = safe_sqrt(q_relu2)
    # dense3: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    q_dense3 = 9*q_relu2/4 + 0.01
    n_dense3 = safe_sqrt(q_dense3)
    c_dense3_relu2 = ratio(3*n_relu2/2, n_dense3)
    c_dense3_bias = ratio(0.1, n_dense3)
    b_dense3 = 0.8408964152537145*safe_sqrt(c_dense3_relu2 + 1)
    a_dense3 = 0.7071067811865476*c_dense3_bias/b_dense3
    # relu3: Relu()
    q_relu3 = q_dense3/2
    n_relu3 = safe_sqrt(q_relu3)
    # dense4: Dense(out_dim=1, W_std=1.5, b_std=0.1)
    q_dense4 = 9*q_relu3/4 + 0.01
    n_dense4 = safe_sqrt(q_dense4)
    c_dense4_relu3 = ratio(3*n_relu3/2, n_dense4)
    c_dense4_bias = ratio(0.1, n_dense4)
    b_dense4 = 0.8408964152537145*safe_sqrt(c_dense4_relu3 + 1)
    a_dense4 = 0.7071067811865476*c_dense4_bias/b_dense4
    return q_dense4, ([a_dense1, b_dense1, c_dense1_input1, a_dense2, b_dense2, c_dense2_relu1, a_dense3, b_dense3, c_dense3_relu2, a_dense4, b_dense4, c_dense4_relu3, n_dense4],)


def pair(delta_input1, stats1, stats2):
    """nngp and ntk of every pair of two sets of samples."""
    vectors1, = stats1
    [a1_dense1, b1_dense1, c1_dense1_input1, a1_dense2, b1_dense2, c1_dense2_relu1, a1_dense3, b1_dense3, c1_dense3_relu2, a1_dense4, b1_dense4, c1_dense4_relu3, n1_dense4] = columns(vectors1)
    vectors2, = stats2
    [a2_dense1, b2_dense1, c2_dense1_input1, a2_dense2, b2_dense2, c2_dense2_relu1, a2_dense3, b2_dense3, c2_dense3_relu2, a2_dense4, b2_dense4, c2_dense4_relu3, n2_dense4] = rows(vectors2)
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    delta_dense1 = c1_dense1_input1*c2_dense1_input1*delta_input1 + (a1_dense1*b2_dense1 - a2_dense1*b1_dense1)**2
    tau_dense1 = 1 - delta_dense1
    # relu1: Relu()
    gap_relu1, slope_relu1 = arc_cosine(delta_dense1)
    delta_relu1 = gap_relu1
    tau_relu1 = slope_relu1*tau_dense1
    # dense2: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    delta_dense2 = c1_dense2_relu1*c2_dense2_relu1*delta_relu1 + (a1_dense2*b2_dense2 - a2_dense2*b1_dense2)**2
    tau_dense2 = c1_dense2_relu1*c2_dense2_relu1*tau_relu1 + 1 - delta_dense2
    # relu2: Relu()
    gap_relu2, slope_relu2 = arc_cosine_near(delta_dense2)
    delta_relu2 = gap_relu2
    tau_relu2 = slope_relu2*tau_dense2
    # dense3: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    delta_dense3 = c1_dense3_relu2*c2_dense3_relu2*delta_relu2 + (a1_dense3*b2_dense3 - a2_dense3*b1_dense3)**2
    tau_dense3 = c1_dense3_relu2*c2_dense3_relu2*tau_relu2 + 1 - delta_dense3
    # relu3: Relu()
    gap_relu3, slope_relu3 = arc_cosine_near(delta_dense3)
    delta_relu3 = gap_relu3
    tau_relu3 = slope_relu3*tau_dense3
    # dense4: Dense(out_dim=1, W_std=1.5, b_std=0.1)
    delta_dense4 = c1_dense4_relu3*c2_dense4_relu3*delta_relu3 + (a1_dense4*b2_dense4 - a2_dense4*b1_dense4)**2
    tau_dense4 = c1_dense4_relu3*c2_dense4_relu3*tau_relu3 + 1 - delta_dense4
    return n1_dense4*n2_dense4*(1 - delta_dense4), n1_dense4*n2_dense4*tau_dense4


ROWS = 256  # samples compared with all others at a time


def inputs_of(x1, x2, q1, q2, same):
    """The cosine gap of all pairs."""
    return (cosine_gap(x1, x2, q1, q2, same),)


def block(take, same, samples1, samples2):
    """What `take` makes of (nngp, ntk) for all pairs of two sets of samples."""
    # The barrier keeps the loop's slices out of the elementwise chain, which XLA then vectorises.
    (x1, q1, stats1), (x2, q2, stats2) = lax.optimization_barrier((samples1, samples2))
    k, t = pair(*inputs_of(x1, x2, q1, q2, same), stats1, stats2)
    shape = len(x1), len(x2)
    return take(*(jnp.broadcast_to(jnp.asarray(v, x1.dtype), shape) for v in (k, t)))


def samples_of(x):
    """Rows of data with their mean squares and per-sample vectors."""
    q = jnp.mean(x * x, -1)
    return x, q, per_sample(q)[1]


def in_blocks(samples, size):
    """Samples with a first axis of blocks of `size`."""
    x, q, stats = samples

    def piled(v):
        return jnp.moveaxis(v.reshape(*v.shape[:-1], -1, size), -2, 0)

    return x.reshape(-1, size, x.shape[-1]), piled(q), jax.tree.map(piled, stats)


def block_size(count):
    """Samples a block, two blocks at least: XLA inlines a loop of one turn, and then computes things twice."""
    return min(ROWS, -(-count // 2))


def padded(x):
    """Rows added, copies of the last, up to a whole number of blocks."""
    size = block_size(len(x))
    return jnp.pad(x, ((0, max(-len(x) % size, 2 * size - len(x))), (0, 0)), mode="edge")


def assemble(compute, places, shape):
    """A matrix of blocks; `compute` makes the block of a place and says where its corner goes.

    Each is stored a turn after it was made: XLA spreads an elementwise chain over the cores unless it ends in a store.
    """

    def turn(state, place):
        whole, made, corner = state
        return (lax.dynamic_update_slice(whole, made, corner), *compute(place)), None

    first = jax.eval_shape(compute, jax.tree.map(lambda p: p[0], places))
    made, corner = jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), first)
    start = jnp.zeros(shape, made.dtype), made, corner
    (whole, made, corner), _ = lax.scan(turn, start, places)
    return lax.dynamic_update_slice(whole, made, corner)


def gram(take, x1, x2):
    """`take` of all pairs, block of rows after block of rows; one triangle if x2 is None."""
    if x2 is None:
        return triangle(take, x1)
    apart = jnp.zeros((), bool)
    left = in_blocks(samples_of(padded(x1)), block_size(len(x1)))
    right = samples_of(x2)
    count, size, _ = left[0].shape

    @jax.checkpoint
    def some_rows(i):
        return block(take, apart, jax.tree.map(lambda v: v[i], left), right)

    places = jnp.arange(count)
    return assemble(lambda i: (some_rows(i), (i * size, 0)), places, (count * size, len(x2)))[: len(x1)]


def triangle(take, x):
    """`take` of all pairs of rows of x: tiles on and below the diagonal, then their mirror images."""
    size = block_size(len(x))
    samples = in_blocks(samples_of(padded(x)), size)
    same, below = jnp.eye(size, dtype=bool), jnp.tri(size, dtype=bool)

    @jax.checkpoint
    def tile(i, j):
        left, right = (jax.tree.map(lambda v: v[n], samples) for n in (i, j))
        return block(take, (i == j) & same, left, right)

    def compute(place):
        i, j = place
        return tile(i, j), (i * size, j * size)

    def mirror(whole, place):
        i, j = place
        lower = lax.dynamic_slice(whole, (i * size, j * size), (size, size))
        lower = jnp.where((i == j) & below, lower, lower.T)
        return lax.dynamic_update_slice(whole, lower, (j * size, i * size)), None

    count = len(samples[0])
    places = jnp.tril_indices(count)
    whole = assemble(compute, places, (count * size, count * size))
    whole, _ = lax.scan(mirror, whole, places)  # apart from `compute`, where XLA would compute each tile twice
    return whole[: len(x), : len(x)]


@jax.jit
def nngp(x1, x2=None):
    """K of every pair of rows of x1 and x2; of x1 with itself if x2 is None."""
    return gram(lambda k, t: k, x1, x2)


@jax.jit
def ntk(x1, x2=None):
    """T of every pair of rows of x1 and x2; of x1 with itself if x2 is None."""
    return gram(lambda k, t: t, x1, x2)


@jax.jit
def kernel(x1, x2=None):
    """(nngp, ntk). The two travel as one complex array: as two, XLA would compute their common part twice."""
    both = gram(lax.complex, x1, x2)
    return both.real, both.imag


@jax.jit
def variance(x):
    """nngp of every row of x with itself, without the pairs."""
    return jnp.broadcast_to(per_sample(jnp.mean(x * x, -1))[0], len(x))
