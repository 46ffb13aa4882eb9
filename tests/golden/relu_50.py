"""NNGP and NTK kernels of an infinitely wide network.

Input() -> Dense(out_dim=512, W_std=1.4142135623730951) -> Relu() -> Dense(out_dim=512, W_std=1.4142135623730951) -> Relu() -> ... 94 more ... -> Dense(out_dim=512, W_std=1.4142135623730951) -> Relu() -> Dense(out_dim=1)

Written by ntkc; needs jax only. Arrays of data are [samples, features].
"""

from math import pi

import jax
import jax.numpy as jnp
from jax import lax

# NNGP over the norms, a polynomial of u
NNGP = {
    "float32": (  # relative error 3e-09
        0.9903933278023718,
        -0.006260901518888912,
        0.004048094600989811,
        -0.0012460951799797785,
        0.0003578586040431728,
        0.0002827478145084328,
        -0.00028594650797871484,
        0.00033800073593165956,
        -0.0007081139837112052,
        0.0005018736069743914,
        0.0008298599840594557,
        -0.00021500688746315215,
        -0.0016844266551099758,
        0.00035857053740893333,
        0.0012676756683405615,
        -3.958605568269502e-05,
        -0.0004987254211215223,
    ),
    "float64": (  # relative error 1e-14
        0.9903933295948154,
        -0.006260921032489943,
        0.004047806699908476,
        -0.0012451741905895519,
        0.00036542689348664477,
        0.00027025488171158205,
        -0.00036189010003474537,
        0.000412344892831532,
        -0.00033144728279366036,
        0.0002765384142405115,
        -0.00019610094426661314,
        0.00013801339000129285,
        -0.00011803328051913551,
        0.00017607346368612715,
        0.00010208487654186663,
        -0.0006888082243578166,
        -0.0009732021827607508,
        0.003718923287227118,
        0.004527564075380694,
        -0.014403156350181592,
        -0.016570816888782293,
        0.0429950935482431,
        0.046829293837997193,
        -0.09928028376546609,
        -0.10323715660238222,
        0.17784784365106238,
        0.17768848216937405,
        -0.24638838561576604,
        -0.2378646897168904,
        0.2613637224747454,
        0.24503243570028316,
        -0.20830264829898273,
        -0.19049885426708663,
        0.12069328586369388,
        0.1081138792489644,
        -0.04799299029208141,
        -0.04226938467074296,
        0.011710865004609314,
        0.010177748580584775,
        -0.0013209883455478672,
        -0.001136872984475032,
    ),
}

# NTK over the norms, a polynomial of u
NTK = {
    "float32": (  # relative error 8e-09
        16.51583120122737,
        -5.4918968364026055,
        5.852208079203607,
        -4.979360723536287,
        4.347012860913787,
        -3.4699967801897795,
        2.7797171199911452,
        -2.113389612674305,
        1.4925016871076675,
        -1.057727086825296,
        1.312462816432971,
        -0.9131855112964631,
        -1.1550223144638405,
        0.3855886449582858,
        3.5386473037049835,
        -0.9746361334212849,
        -4.475815760153655,
        0.501286919414851,
        3.934695770392377,
        -0.1597608285579976,
        -1.8721216137185106,
        -0.048239980711693255,
        0.4085649270176629,
    ),
    "float64": (  # relative error 2e-14
        16.51583124515516,
        -5.491897602940076,
        5.852195888166595,
        -4.979298124141824,
        4.347569643416527,
        -3.4714863307670605,
        2.7698299838942257,
        -2.097328473663975,
        1.5823710278987941,
        -1.1515790342327683,
        0.8362783667734032,
        -0.5893084611569946,
        0.41925129681208373,
        -0.30292570196076063,
        0.1807041490733053,
        -0.017951047742536086,
        0.22515008893000318,
        -0.7567396284442726,
        -0.6917193817028258,
        3.1000983838237683,
        3.105711465414163,
        -10.912290456632237,
        -10.173757576887109,
        29.668333084011394,
        26.448115160997204,
        -63.45548513543828,
        -54.368368175140674,
        106.58042553402015,
        88.40867243354334,
        -139.9368771878538,
        -113.07002287370992,
        141.98755440471473,
        112.38843571528315,
        -109.12367830524036,
        -85.04800709637786,
        61.414024325130164,
        47.3490425801587,
        -23.875767801520528,
        -18.2867939446719,
        5.730291194844601,
        4.377020695916806,
        -0.6394314850189226,
        -0.4888285431526235,
    ),
}

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


def angle_over_pi(delta):
    """arccos(1 - delta) / pi for delta in [0, 2]."""
    near = delta <= 1
    p = arccos_over_pi(jnp.where(near, delta, 2 - delta))
    return jnp.where(near, p, 1 - p)


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
    # dense1: Dense(out_dim=512, W_std=1.4142135623730951)
    q_dense1 = 2*q_input1
    # relu1: Relu()
    q_relu1 = q_dense1/2
    # block1: 49 times [Dense(out_dim=512, W_std=1.4142135623730951) -> Relu()]
    def turn(q_beforedense2, _):
        q_dense2 = 2*q_beforedense2
        q_relu2 = q_dense2/2
        return q_relu2, None

    q_block1, _ = lax.scan(turn, q_relu1, length=49)
    # dense51: Dense(out_dim=1)
    q_dense51 = q_block1
    n_dense51 = safe_sqrt(q_dense51)
    return q_dense51, ([n_dense51],)


def pair(delta_input1, stats1, stats2):
    """nngp and ntk of every pair of two sets of samples."""
    vectors1, = stats1
    [n1_dense51] = columns(vectors1)
    vectors2, = stats2
    [n2_dense51] = rows(vectors2)
    # collapsed: without biases every layer is a function of the angle alone, and so are all of them together
    theta_input1 = angle_over_pi(delta_input1)
    u_input1 = 2.64*theta_input1/(theta_input1 + 0.32) - 1
    return n1_dense51*n2_dense51*polynomial(NNGP, u_input1), n1_dense51*n2_dense51*polynomial(NTK, u_input1)


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

    def cut(v):
        return jnp.moveaxis(v.reshape(*v.shape[:-1], -1, size), -2, 0)

    return x.reshape(-1, size, x.shape[-1]), cut(q), jax.tree.map(cut, stats)


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
