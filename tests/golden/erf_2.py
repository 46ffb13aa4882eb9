"""NNGP and NTK kernels of an infinitely wide network.

Input() -> Dense(out_dim=512, W_std=1.5, b_std=0.1) -> Erf() -> Dense(out_dim=512, W_std=1.5, b_std=0.1) -> Erf() -> Dense(out_dim=1)

Written by ntkc; needs jax only. Arrays of data are [samples, features].
"""

from math import pi

import jax
import jax.numpy as jnp
from jax import lax

# arctan(z) / z as a polynomial of z^2 on [0, 1]
ARCTAN = {
    "float32": (  # relative error 2e-08
        0.9999999817886557,
        -0.33333036709286273,
        0.19991872029109073,
        -0.14197797794085124,
        0.10618370636953849,
        -0.07456854826004547,
        0.04213762358919304,
        -0.01573124912218365,
        0.002766283501762026,
    ),
    "float64": (  # relative error 3e-17
        1.0,
        -0.333333333333307,
        0.1999999999964796,
        -0.14285714266926733,
        0.11111110578002083,
        -0.09090899793217341,
        0.07692198997458294,
        -0.06665764910689723,
        0.058768281144872724,
        -0.052374234719188166,
        0.04668745304848529,
        -0.040811247503178855,
        0.03387126702700675,
        -0.02556862364437174,
        0.01671959606350739,
        -0.00899108054265826,
        0.003751138483965141,
        -0.0011252544302234645,
        0.00021423810738603946,
        -1.93423475928923e-05,
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
def root(k, q1, q2):
    """sqrt(q1 q2 - k^2), zero where rounding alone decides its sign."""
    return jnp.sqrt(exact_minor(k, q1, q2))


@root.defjvp
def _(primals, tangents):
    (k, q1, q2), (dk, dq1, dq2) = primals, tangents
    r = root(k, q1, q2)
    slope = (q2 * dq1 + q1 * dq2) / 2 - k * dk
    return r, jnp.where(r > 0, slope / jnp.where(r > 0, r, 1), 0)


@jax.custom_jvp
def angle(k, q1, q2):
    """arcsin(k / sqrt(q1 q2)) by half the angle: no branch, no cancellation."""
    scale = jnp.sqrt(q1 * q2) + root(k, q1, q2)
    z = k / jnp.where(scale > 0, scale, 1)
    return 2 * z * polynomial(ARCTAN, z * z)


@angle.defjvp
def _(primals, tangents):
    (k, q1, q2), (dk, dq1, dq2) = primals, tangents
    r = root(k, q1, q2)
    inverse = jnp.where(r > 0, 1 / jnp.where(r > 0, r, 1), 0)
    relative = dq1 / jnp.where(q1 > 0, q1, 1) + dq2 / jnp.where(q2 > 0, q2, 1)
    return angle(k, q1, q2), inverse * (dk - k / 2 * relative)


def halves(x):
    """x as the sum of two numbers of half the digits (Dekker 1971)."""
    big = x * (2.0 ** (12 if x.dtype == jnp.float32 else 27) + 1)
    high = big - (big - x)
    return high, x - high


@jax.custom_jvp
def exact_minor(k, q1, q2):
    """q1 q2 - k^2 from exact products of halves; zero where the rounding of k alone decides its sign."""
    (a1, a2), (b1, b2), (c1, c2) = (halves(jnp.asarray(v, jnp.result_type(k, q1, q2, 1.0))) for v in (q1, q2, k))
    minor = (a1 * b1 - c1 * c1) + ((a1 * b2 - c1 * c2) + (a2 * b1 - c1 * c2)) + (a2 * b2 - c2 * c2)
    return jnp.where(minor > 4 * jnp.finfo(minor.dtype).eps * q1 * q2, minor, 0)


@exact_minor.defjvp
def _(primals, tangents):
    (k, q1, q2), (dk, dq1, dq2) = primals, tangents
    return exact_minor(k, q1, q2), q2 * dq1 + q1 * dq2 - 2 * k * dk


def gram_determinant(eta, d, q1, q2):
    """q1 q2 - k^2 of the covariance k = (q1 + q2) / 2 - eta, d = q1 - q2."""
    return jnp.maximum(eta * (q1 + q2 - eta) - d * d / 4, 0)


@jax.custom_jvp
def span(eta, d, q1, q2):
    """sqrt((1 + q1) (1 + q2) - k^2)."""
    return jnp.sqrt(gram_determinant(eta, d, q1, q2) + q1 + q2 + 1)


@span.defjvp
def _(primals, tangents):
    (eta, _, q1, q2), (deta, _, dq1, dq2) = primals, tangents
    s, k = span(*primals), (q1 + q2) / 2 - eta
    return s, ((1 + q2 - k) * dq1 + (1 + q1 - k) * dq2 + 2 * k * deta) / (2 * s)


@jax.custom_jvp
def angle_gap(eta, d, q1, q2, r1, r2, total):
    """alpha - (alpha1 + alpha2) / 2, cos alpha = k / sqrt((1 + q1) (1 + q2)), k = (q1 + q2) / 2 - eta, d = q1 - q2.

    alpha1, alpha2 are the alpha of k = q1 = q2: 1 + r = sqrt(1 + 2 q) is the cotangent of their half, total is pi less
    their sum. Exact where eta and d are small; a negative k is read as -k, then turned back.
    """
    k, s = jnp.abs(q1 + q2 - 2 * eta) / 2, span(eta, d, q1, q2)
    square = (1 + q1) * (1 + q2)
    c, w = r1 + r2 + r1 * r2, 2 + r1 + r2  # cosine and sine of (alpha1 + alpha2) / 2, times 2 sqrt(square)
    # For small q the sine is eta: a little of that keeps it where q1 q2 underflows, and 0 / 0 away.
    little = jnp.finfo(s.dtype).eps ** 2
    least = little * jnp.minimum(eta, q1 + q2 - eta)
    sine = 2 * (gram_determinant(eta, d, q1, q2) + d * d / (w * w) + least) / (s * c + k * w + 2 * little)
    z = sine * (2 * square / (2 * square + k * c + s * w))
    gap = 2 * z * polynomial(ARCTAN, z * z)
    return jnp.where(2 * eta <= q1 + q2, gap, total - gap)


@angle_gap.defjvp
def _(primals, tangents):
    (eta, d, q1, q2, r1, r2, _), (deta, _, dq1, dq2, *_) = primals, tangents
    s, k = span(eta, d, q1, q2), (q1 + q2) / 2 - eta
    slope1, slope2 = (((k / s + 1 / (1 + r)) / (1 + q) - 1 / s) / 2 for q, r in ((q1, r1), (q2, r2)))
    return angle_gap(*primals), deta / s + slope1 * dq1 + slope2 * dq2


NEAR = 0.02  # closer pairs than this part of their mean squares need more digits than a float32 product has


def distances_of_products(x1, x2, q1, q2):
    """(q1 + q2) / 2 - x1 . x2 / d and q1 - q2 of all pairs of rows, from mean squares q."""
    q1, q2 = q1[..., :, None], q2[..., None, :]
    products = jnp.matmul(x1, x2.mT, precision=lax.Precision.HIGHEST) / x1.shape[-1]
    return (q1 + q2) / 2 - products, q1 - q2


@jax.custom_batching.custom_vmap
def distances_in_float64(x1, x2):
    """The same from float64 products, also where jax_enable_x64 is off; one part in 1e15 is a duplicate."""
    with jax.enable_x64(True):
        wide = [x.astype("float64") for x in (x1, x2)]
        q1, q2 = (jnp.mean(x * x, -1) for x in wide)
        eta, d = distances_of_products(*wide, q1, q2)
        eta = jnp.where(eta < 2e-15 * (q1[..., :, None] + q2[..., None, :]), 0, eta)
        return eta.astype(x1.dtype), d.astype(x1.dtype)


@distances_in_float64.def_vmap
def _(size, batched, *data):
    # Batched by JAX itself, the product would leave the float64 context.
    data = (x if b else jnp.broadcast_to(x, (size, *x.shape)) for x, b in zip(data, batched, strict=True))
    return distances_in_float64(*data), (True, True)


@jax.custom_jvp
def distances(x1, x2, q1, q2, same):
    """Half the mean square of x1 - x2 and the difference of mean squares of all pairs of rows; 0 where `same`."""
    # Derivatives, of any order, come from the rule below alone.
    fixed = lax.stop_gradient(x1), lax.stop_gradient(x2)
    if x1.dtype == jnp.float64:
        eta, d = distances_in_float64(*fixed)
    else:
        eta, d = distances_of_products(x1, x2, q1, q2)
        is_near = ~same & (eta < NEAR / 2 * (q1[:, None] + q2))
        eta, d = lax.cond(jnp.any(is_near), distances_in_float64, lambda x1, x2: (eta, d), *fixed)
    return jnp.where(same, 0, eta), jnp.where(same, 0, d)


@distances.defjvp
def _(primals, tangents):
    *data, same = primals
    slopes = jax.jvp(distances_of_products, tuple(data), tuple(tangents[:4]))[1]
    return distances(*primals), tuple(jnp.where(same, 0, s) for s in slopes)


def per_sample(q_input1):
    """Variance of the output, and what pairs need of each sample."""
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    q_dense1 = 9*q_input1/4 + 0.01
    # erf1: Erf()
    r_erf1 = 4*q_dense1/(safe_sqrt(4*q_dense1 + 1) + 1)
    phi_erf1 = angle(q_dense1, q_dense1 + 0.5, q_dense1 + 0.5)
    q_erf1 = 2*phi_erf1/pi
    # dense2: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    q_dense2 = 9*q_erf1/4 + 0.01
    # erf2: Erf()
    r_erf2 = 4*q_dense2/(safe_sqrt(4*q_dense2 + 1) + 1)
    phi_erf2 = angle(q_dense2, q_dense2 + 0.5, q_dense2 + 0.5)
    q_erf2 = 2*phi_erf2/pi
    # dense3: Dense(out_dim=1)
    q_dense3 = q_erf2
    return q_dense3, ([q_dense1, phi_erf1, r_erf1, q_dense2, phi_erf2, r_erf2, q_dense3],)


def pair(eta_input1, d_input1, stats1, stats2):
    """nngp and ntk of every pair of two sets of samples."""
    vectors1, = stats1
    [q1_dense1, phi1_erf1, r1_erf1, q1_dense2, phi1_erf2, r1_erf2, q1_dense3] = columns(vectors1)
    vectors2, = stats2
    [q2_dense1, phi2_erf1, r2_erf1, q2_dense2, phi2_erf2, r2_erf2, q2_dense3] = rows(vectors2)
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    eta_dense1 = 9*eta_input1/4
    d_dense1 = 9*d_input1/4
    K_dense1 = q1_dense1/2 + q2_dense1/2 - eta_dense1
    T_dense1 = K_dense1
    # erf1: Erf()
    eta_erf1 = 2*angle_gap(2*eta_dense1, 2*d_dense1, 2*q1_dense1, 2*q2_dense1, r1_erf1, r2_erf1, phi1_erf1 + phi2_erf1)/pi
    T_erf1 = 4*T_dense1/(pi*span(2*eta_dense1, 2*d_dense1, 2*q1_dense1, 2*q2_dense1))
    # dense2: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    eta_dense2 = 9*eta_erf1/4
    d_dense2 = q1_dense2 - q2_dense2
    K_dense2 = q1_dense2/2 + q2_dense2/2 - eta_dense2
    T_dense2 = K_dense2 + 9*T_erf1/4
    # erf2: Erf()
    eta_erf2 = 2*angle_gap(2*eta_dense2, 2*d_dense2, 2*q1_dense2, 2*q2_dense2, r1_erf2, r2_erf2, phi1_erf2 + phi2_erf2)/pi
    T_erf2 = 4*T_dense2/(pi*span(2*eta_dense2, 2*d_dense2, 2*q1_dense2, 2*q2_dense2))
    # dense3: Dense(out_dim=1)
    eta_dense3 = eta_erf2
    K_dense3 = q1_dense3/2 + q2_dense3/2 - eta_dense3
    T_dense3 = K_dense3 + T_erf2
    return K_dense3, T_dense3


ROWS = 256  # samples compared with all others at a time


def inputs_of(x1, x2, q1, q2, same):
    """Half the mean square of x1 - x2 of all pairs, and the difference of their mean squares."""
    return distances(x1, x2, q1, q2, same)


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
