"""NNGP and NTK kernels of an infinitely wide network.

Input() -> Dense(out_dim=512, W_std=W_std) -> Activation(expr=x*erf(x)) -> Dense(out_dim=1)

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


def per_sample(q_input1, W_std):
    """Variance of the output, and what pairs need of each sample."""
    # dense1: Dense(out_dim=512, W_std=W_std)
    q_dense1 = W_std**2*q_input1
    # activation1: Activation(expr=x*erf(x))
    i_activation1 = 1/(2*q_dense1 + 1)
    q_activation1 = 8*q_dense1**2*root(q_dense1, q_dense1 + 0.5, q_dense1 + 0.5)/(pi*(2*q_dense1 + 1)**2) + 2*q_dense1**2/(pi*(2*q_dense1 + 1)**2*root(q_dense1, q_dense1 + 0.5, q_dense1 + 0.5)) + 2*q_dense1*angle(q_dense1, q_dense1 + 0.5, q_dense1 + 0.5)/pi
    # dense2: Dense(out_dim=1)
    q_dense2 = q_activation1
    return q_dense2, ([i_activation1, q_dense1],)


def pair(K_input1, stats1, stats2, W_std):
    """nngp and ntk of every pair of two sets of samples."""
    vectors1, = stats1
    [i1_activation1, q1_dense1] = columns(vectors1)
    vectors2, = stats2
    [i2_activation1, q2_dense1] = rows(vectors2)
    # dense1: Dense(out_dim=512, W_std=W_std)
    K_dense1 = K_input1*W_std**2
    T_dense1 = K_dense1
    # activation1: Activation(expr=x*erf(x))
    angle_activation1 = angle(K_dense1, q1_dense1 + 0.5, q2_dense1 + 0.5)
    root_activation1 = root(K_dense1, q1_dense1 + 0.5, q2_dense1 + 0.5)
    over_root_activation1 = 1/root_activation1
    K_activation1 = 2*K_dense1**2*i1_activation1*i2_activation1*over_root_activation1/pi + 2*K_dense1*angle_activation1/pi + 8*i1_activation1*i2_activation1*q1_dense1*q2_dense1*root_activation1/pi
    T_activation1 = T_dense1*(2*K_dense1**3*i1_activation1*i2_activation1*over_root_activation1**3/pi + 2*K_dense1*i1_activation1*i2_activation1*over_root_activation1*(2*q1_dense1 + 2*q2_dense1 + 3)/pi + 2*angle_activation1/pi)
    # dense2: Dense(out_dim=1)
    K_dense2 = K_activation1
    T_dense2 = K_dense2 + T_activation1
    return K_dense2, T_dense2


ROWS = 256  # samples compared with all others at a time


def inputs_of(x1, x2, q1, q2, same):
    """x1 . x2 / d of all pairs."""
    k = jnp.dot(x1, x2.T, precision=lax.Precision.HIGHEST) / x1.shape[-1]
    return (jnp.where(same, q1[:, None], k),)


def block(take, same, samples1, samples2, W_std):
    """What `take` makes of (nngp, ntk) for all pairs of two sets of samples."""
    # The barrier keeps the loop's slices out of the elementwise chain, which XLA then vectorises.
    (x1, q1, stats1), (x2, q2, stats2) = lax.optimization_barrier((samples1, samples2))
    k, t = pair(*inputs_of(x1, x2, q1, q2, same), stats1, stats2, W_std)
    shape = len(x1), len(x2)
    return take(*(jnp.broadcast_to(jnp.asarray(v, x1.dtype), shape) for v in (k, t)))


def samples_of(x, W_std):
    """Rows of data with their mean squares and per-sample vectors."""
    q = jnp.mean(x * x, -1)
    return x, q, per_sample(q, W_std)[1]


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


def gram(take, x1, x2, W_std):
    """`take` of all pairs, block of rows after block of rows; one triangle if x2 is None."""
    if x2 is None:
        return triangle(take, x1, W_std)
    apart = jnp.zeros((), bool)
    left = in_blocks(samples_of(padded(x1), W_std), block_size(len(x1)))
    right = samples_of(x2, W_std)
    count, size, _ = left[0].shape

    @jax.checkpoint
    def some_rows(i):
        return block(take, apart, jax.tree.map(lambda v: v[i], left), right, W_std)

    places = jnp.arange(count)
    return assemble(lambda i: (some_rows(i), (i * size, 0)), places, (count * size, len(x2)))[: len(x1)]


def triangle(take, x, W_std):
    """`take` of all pairs of rows of x: tiles on and below the diagonal, then their mirror images."""
    size = block_size(len(x))
    samples = in_blocks(samples_of(padded(x), W_std), size)
    same, below = jnp.eye(size, dtype=bool), jnp.tri(size, dtype=bool)

    @jax.checkpoint
    def tile(i, j):
        left, right = (jax.tree.map(lambda v: v[n], samples) for n in (i, j))
        return block(take, (i == j) & same, left, right, W_std)

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
def nngp(x1, x2=None, *, W_std):
    """K of every pair of rows of x1 and x2; of x1 with itself if x2 is None."""
    return gram(lambda k, t: k, x1, x2, W_std)


@jax.jit
def ntk(x1, x2=None, *, W_std):
    """T of every pair of rows of x1 and x2; of x1 with itself if x2 is None."""
    return gram(lambda k, t: t, x1, x2, W_std)


@jax.jit
def kernel(x1, x2=None, *, W_std):
    """(nngp, ntk). The two travel as one complex array: as two, XLA would compute their common part twice."""
    both = gram(lax.complex, x1, x2, W_std)
    return both.real, both.imag


@jax.jit
def variance(x, *, W_std):
    """nngp of every row of x with itself, without the pairs."""
    return jnp.broadcast_to(per_sample(jnp.mean(x * x, -1), W_std)[0], len(x))
