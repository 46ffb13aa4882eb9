"""NNGP and NTK kernels of an infinitely wide network.

Input(features=3, spatial=(8,)) -> Dense(out_dim=512, W_std=1.5, b_std=0.1) -> LayerNorm(axis=(-1,)) -> GlobalSelfAttention(n_chan_out=512, n_chan_key=512, n_chan_val=512, n_heads=8) -> Flatten() -> Dense(out_dim=1)

Written by ntkc; needs jax only. Arrays of data are [samples, pixels ..., channels].
"""

import jax
import jax.numpy as jnp
from jax import lax


def safe_sqrt(x):
    """sqrt(x) with derivative 0, not infinity, at 0."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0)


def groups(form):
    """The array axes of each spatial axis: one for equal pixels (D), two for all pairs (F), three for pairs mod s."""
    counts = [{"D": 1, "F": 2}.get(f, 3) for f in form]
    return [tuple(range(sum(counts[:i]), sum(counts[: i + 1]))) for i in range(len(form))]


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


def softmax_of_keys(a):
    """Softmax over the second pixel of all pairs [p, p', ..., samples]."""
    return jax.nn.softmax(a, tuple(range(1, a.ndim, 2)))


def between(s1, k, s2):
    """sum_a sum_b s1[p, a] k[a, b] s2[p', b] of all pairs of pixels; s1, s2 [..., n], k [..., n1, n2] or [..., n]."""
    count = s1.ndim // 2
    a, b, c, d = (letters[:count] for letters in ("abcde", "fghij", "klmno", "pqrst"))
    first, second, third, made = ("".join(x + y for x, y in zip(*pair)) for pair in ((a, b), (b, c), (d, c), (a, d)))
    n1, n2 = ("y", "z") if k.ndim > s1.ndim else ("y", "y")
    lanes = n1 + n2 if k.ndim > s1.ndim else n1
    spec = f"{first}{n1},{second}{lanes},{third}{n2}->{made}{lanes}"
    return jnp.einsum(spec, s1, k, s2, precision=lax.Precision.HIGHEST)


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



def per_sample(q_input1, w_input1):
    """Variance of the output, and what pairs need of each sample: arrays [pixels ..., samples]."""
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    q_dense1 = 9*q_input1/4 + 0.01
    w_dense1 = 9*w_input1/4 + 0.01
    # layernorm1: LayerNorm(axis=(-1,))
    v_layernorm1 = q_dense1
    i_layernorm1 = 1/safe_sqrt(v_layernorm1 + 1e-12)
    w_layernorm1 = w_dense1/(safe_sqrt(left(v_layernorm1, "F") + 1e-12)*safe_sqrt(right(v_layernorm1, "F") + 1e-12))
    # globalselfattention1: GlobalSelfAttention(n_chan_out=512, n_chan_key=512, n_chan_val=512, n_heads=8)
    z_globalselfattention1 = softmax_of_keys(w_layernorm1)
    q_globalselfattention1 = narrowed(between(z_globalselfattention1, w_layernorm1, z_globalselfattention1), "F", "D")
    # flatten1: Flatten()
    q_flatten1 = total(q_globalselfattention1, "D", 0.125)
    # dense2: Dense(out_dim=1)
    q_dense2 = q_flatten1
    return q_dense2, ([i_layernorm1, z_globalselfattention1],)


def pair(K_input1, stats1, stats2, same):
    """nngp and ntk of every pair of two sets of samples: arrays [pixels ..., n1, n2]."""
    vectors1, = stats1
    [i1_layernorm1, z1_globalselfattention1] = vectors1
    vectors2, = stats2
    [i2_layernorm1, z2_globalselfattention1] = vectors2
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    K_dense1 = 9*K_input1/4 + 0.01
    T_dense1 = K_dense1
    # layernorm1: LayerNorm(axis=(-1,))
    K_layernorm1 = K_dense1*left(i1_layernorm1, "F")[..., None]*right(i2_layernorm1, "F")[..., None, :]
    T_layernorm1 = T_dense1*left(i1_layernorm1, "F")[..., None]*right(i2_layernorm1, "F")[..., None, :]
    # globalselfattention1: GlobalSelfAttention(n_chan_out=512, n_chan_key=512, n_chan_val=512, n_heads=8)
    K_globalselfattention1 = narrowed(between(z1_globalselfattention1, K_layernorm1, z2_globalselfattention1), "F", "D")
    T_globalselfattention1 = 2*K_globalselfattention1 + narrowed(between(z1_globalselfattention1, T_layernorm1, z2_globalselfattention1), "F", "D")
    # flatten1: Flatten()
    both_flatten1 = total(lax.complex(K_globalselfattention1, T_globalselfattention1), "D", 0.125)
    K_flatten1 = both_flatten1.real
    T_flatten1 = both_flatten1.imag
    # dense2: Dense(out_dim=1)
    K_dense2 = K_flatten1
    T_dense2 = K_dense2 + T_flatten1
    return K_dense2, T_dense2


def nngp_of_pair(K_input1, stats1, stats2, same):
    """nngp of every pair of two sets of samples: arrays [pixels ..., n1, n2]."""
    vectors1, = stats1
    [i1_layernorm1, z1_globalselfattention1] = vectors1
    vectors2, = stats2
    [i2_layernorm1, z2_globalselfattention1] = vectors2
    # dense1: Dense(out_dim=512, W_std=1.5, b_std=0.1)
    K_dense1 = 9*K_input1/4 + 0.01
    # layernorm1: LayerNorm(axis=(-1,))
    K_layernorm1 = K_dense1*left(i1_layernorm1, "F")[..., None]*right(i2_layernorm1, "F")[..., None, :]
    # globalselfattention1: GlobalSelfAttention(n_chan_out=512, n_chan_key=512, n_chan_val=512, n_heads=8)
    K_globalselfattention1 = narrowed(between(z1_globalselfattention1, K_layernorm1, z2_globalselfattention1), "F", "D")
    # flatten1: Flatten()
    K_flatten1 = total(K_globalselfattention1, "D", 0.125)
    # dense2: Dense(out_dim=1)
    K_dense2 = K_flatten1
    return K_dense2


LANES, BLOCK = 2048, 128  # pairs of samples a tile; samples whose per-sample values are kept
if jax.default_backend() != "cpu":
    LANES = 65536  # an accelerator has no core's cache to stay in, and more units to fill


def samples_of(x):
    """Variance of the output, and what pairs need, of each sample: arrays [pixels ..., samples]."""
    return per_sample(jnp.moveaxis(jnp.mean(x ** 2, -1), 0, -1), products(x, x, "F", True))


def stats_of(x):
    """What pairs need of each sample."""
    return samples_of(x)[1]


def tile(x1, x2, stats1, stats2, same):
    """nngp and ntk of all pairs of two sets of samples: arrays [pixels ..., n1, n2]."""
    return pair(products(x1, x2, "F"), stats1, stats2, same)


def nngp_tile(x1, x2, stats1, stats2, same):
    """nngp alone."""
    return (nngp_of_pair(products(x1, x2, "F"), stats1, stats2, same),)


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
