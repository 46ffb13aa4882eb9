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
    "float32": (  # relative error 3e-08
        0.9899066670495892,
        -0.005583786468215378,
        0.004164919559736006,
        -0.0017353154939233853,
        0.0007824871524033645,
        -2.981709015356907e-05,
        -0.00021732899687500993,
        0.00011957836228936047,
        -0.0001537597004604563,
        0.001153622305341368,
        -0.0008894826336495157,
        -0.0017242652204575526,
        0.0012100788460522253,
        0.0026801612771253287,
        -0.0018670509516656437,
        -0.0017864483838482131,
        0.001254153849486536,
        0.0006258710898565398,
        -0.000471081055315833,
    ),
    "float64": (  # relative error 2e-14
        0.9899066667067353,
        -0.00558381567018697,
        0.004164987408211509,
        -0.0017336355112092105,
        0.0007802785812833353,
        -5.7918693495367133e-05,
        -0.00018956554511885838,
        0.00033066957209788996,
        -0.00032986121629600387,
        0.0003096808944782036,
        -0.0002539746237882158,
        0.0002032963172483534,
        -0.00016741647533957698,
        0.00015827109652948138,
        -3.964270010498855e-05,
        -0.00013761947902997363,
        -0.0003155891509698508,
        0.0008584340887147484,
        0.000980065123410747,
        -0.0024886097191272184,
        -0.002897230335956034,
        0.005724004068500129,
        0.006264927998738035,
        -0.009853156770813897,
        -0.010391178464865088,
        0.012752646578081601,
        0.01299713667540483,
        -0.01219046239474036,
        -0.012095683159448966,
        0.008355431397133265,
        0.008113067855501505,
        -0.0038818215590255413,
        -0.00371033889630725,
        0.001095143213644879,
        0.0010361297481499626,
        -0.0001409346721995466,
        -0.00013317677264094104,
    ),
}

# NTK over the norms, a polynomial of u
NTK = {
    "float32": (  # relative error 3e-08
        16.102436390388668,
        -4.592964861615311,
        5.098048617715274,
        -4.489277316663064,
        4.086422760858951,
        -3.452438957572829,
        2.9290173069913936,
        -2.3800547033057025,
        1.72032161739854,
        -1.3001808421148922,
        2.0860457806508452,
        -1.732446048241049,
        -2.512493305864289,
        2.1085406202607193,
        7.352232736751,
        -5.525828435110999,
        -9.775355222078181,
        6.851365766279929,
        9.099660390217714,
        -6.046867429585946,
        -4.666075277146952,
        2.964094143646253,
        1.1584202457841037,
        -0.7252597544743095,
    ),
    "float64": (  # relative error 3e-14
        16.10243646941538,
        -4.592965421848315,
        5.09802639956971,
        -4.489220452677509,
        4.087452616803852,
        -3.454141920528031,
        2.910415553002595,
        -2.3565106439875128,
        1.892780343314736,
        -1.4813602883885915,
        1.1508229536331183,
        -0.8774559386226355,
        0.6643138562039683,
        -0.4985000623031991,
        0.37080156821323573,
        -0.26501512500673,
        0.18780380373199249,
        -0.1786128907165241,
        0.13184740963508954,
        0.030867498752571044,
        0.0020753600428361266,
        -0.2872017826897034,
        0.03441213433783389,
        0.36739502863451307,
        0.2328958567800924,
        -0.3332885592364469,
        -0.6919902403850491,
        -0.13532121841830114,
        1.237961245572571,
        0.8316350988156225,
        -1.4446176472295698,
        -1.2987746590749392,
        1.149780873656146,
        1.174997819889426,
        -0.5983941679068422,
        -0.6641672867111234,
        0.1852786997212843,
        0.21889397168798025,
        -0.025420938322357006,
        -0.03257101777988774,
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
    u_input1 = 2.8*theta_input1/(theta_input1 + 0.4) - 1
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
