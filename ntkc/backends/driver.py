"""The part of emitted modules that walks over samples and pairs."""

from __future__ import annotations

from collections.abc import Sequence

DRIVER = '''
ROWS = {rows}  # samples compared with all others at a time


def inputs_of(x1, x2, q1, q2, same):
    """{inputs_doc}"""
    {inputs_code}


def block(take, same, samples1, samples2{parameters}):
    """What `take` makes of (nngp, ntk) for all pairs of two sets of samples."""
    # The barrier keeps the loop's slices out of the elementwise chain, which XLA then vectorises.
    (x1, q1, stats1), (x2, q2, stats2) = lax.optimization_barrier((samples1, samples2))
    {features1}k, t = pair(*inputs_of(x1, x2, q1, q2, same), stats1, stats2{arguments})
    shape = len(x1), len(x2)
    return take(*(jnp.broadcast_to(jnp.asarray(v, x1.dtype), shape) for v in (k, t)))


def samples_of(x{parameters}):
    """Rows of data with their mean squares and per-sample vectors."""
    q = jnp.mean(x * x, -1)
    {features}return x, q, per_sample(q{arguments})[1]


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


def gram(take, x1, x2{parameters}):
    """`take` of all pairs, block of rows after block of rows; one triangle if x2 is None."""
    if x2 is None:
        return triangle(take, x1{parameters})
    apart = jnp.zeros((), bool)
    left = in_blocks(samples_of(padded(x1){parameters}), block_size(len(x1)))
    right = samples_of(x2{parameters})
    count, size, _ = left[0].shape

    @jax.checkpoint
    def some_rows(i):
        return block(take, apart, jax.tree.map(lambda v: v[i], left), right{parameters})

    places = jnp.arange(count)
    return assemble(lambda i: (some_rows(i), (i * size, 0)), places, (count * size, len(x2)))[: len(x1)]


def triangle(take, x{parameters}):
    """`take` of all pairs of rows of x: tiles on and below the diagonal, then their mirror images."""
    size = block_size(len(x))
    samples = in_blocks(samples_of(padded(x){parameters}), size)
    same, below = jnp.eye(size, dtype=bool), jnp.tri(size, dtype=bool)

    @jax.checkpoint
    def tile(i, j):
        left, right = (jax.tree.map(lambda v: v[n], samples) for n in (i, j))
        return block(take, (i == j) & same, left, right{parameters})

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
def nngp(x1, x2=None{keywords}):
    """K of every pair of rows of x1 and x2; of x1 with itself if x2 is None."""
    return gram(lambda k, t: k, x1, x2{parameters})


@jax.jit
def ntk(x1, x2=None{keywords}):
    """T of every pair of rows of x1 and x2; of x1 with itself if x2 is None."""
    return gram(lambda k, t: t, x1, x2{parameters})


@jax.jit
def kernel(x1, x2=None{keywords}):
    """(nngp, ntk). The two travel as one complex array: as two, XLA would compute their common part twice."""
    both = gram(lax.complex, x1, x2{parameters})
    return both.real, both.imag


@jax.jit
def variance(x{keywords}):
    """nngp of every row of x with itself, without the pairs."""
    {features}return jnp.broadcast_to(per_sample(jnp.mean(x * x, -1){arguments})[0], len(x))
'''

UNRESOLVED = '''

@jax.jit
def unresolved(x{keywords}):
    """The largest share that the last terms have in the squares of a series: 0 where all have converged."""
    stats = jax.tree.leaves(samples_of(x{parameters})[2])
    series = [jnp.moveaxis(v, -2, 0) for v in stats if v.ndim > 1 and v.shape[-2] == TERMS]
    shares = [ratio(jnp.sum(h[-CHUNK:] ** 2, 0), jnp.sum(h * h, 0)) for h in series]
    {kinks}return jnp.max(jnp.stack([jnp.max(s) for s in shares]))
'''

INPUTS = {
    "G": ("The cosine gap of all pairs.", "return (cosine_gap(x1, x2, q1, q2, same),)"),
    "K": (
        "x1 . x2 / d of all pairs.",
        "k = jnp.dot(x1, x2.T, precision=lax.Precision.HIGHEST) / x1.shape[-1]\n"
        "    return (jnp.where(same, q1[:, None], k),)",
    ),
    "ED": (
        "Half the mean square of x1 - x2 of all pairs, and the difference of their mean squares.",
        "return distances(x1, x2, q1, q2, same)",
    ),
    "": ("Nothing: the network is a constant.", "return ()"),
}
"""For each stream that pairs start from: what it is, and how data make it."""

PORT_DRIVER = '''
@jax.jit
def onward(nngp, ntk, variance1, variance2{keywords}):
    """(nngp, ntk, variance1, variance2) after this network, from those before it."""
    (out1, stats1), (out2, stats2) = per_sample(variance1{parameters}), per_sample(variance2{parameters})
    out1, out2 = jnp.broadcast_to(out1, len(variance1)), jnp.broadcast_to(out2, len(variance2))
    {port_code}
    k, t = pair({port_inputs}stats1, stats2{parameters})
    return *(jnp.broadcast_to(jnp.asarray(v, nngp.dtype), nngp.shape) for v in (k, t)), out1, out2
'''

PORT_NORMAL = """scale = safe_sqrt(variance1)[:, None] * safe_sqrt(variance2)
    delta, tau = gap_of(nngp, scale), ratio(ntk, scale)"""


def driver_text(streams: Sequence[str], parameters: Sequence[str], rows: int, is_port: bool) -> str:
    """The driver for pairs that start from the given streams (K, T or G, H), with open hyper-parameters."""
    names = argument_texts(parameters)
    if is_port:
        given = {"K": "nngp, ", "T": "ntk, ", "G": "delta, ", "H": "tau, "}
        port_code = PORT_NORMAL if "G" in streams or "H" in streams else ""
        text = PORT_DRIVER.format(port_code=port_code, port_inputs="".join(given[s] for s in streams), **names)
        return text.replace("    \n", "")
    doc, code = INPUTS["".join(streams)]
    features = {"features": _features("x", parameters), "features1": _features("x1", parameters)}
    return DRIVER.format(rows=rows, inputs_doc=doc, inputs_code=code, **features, **names)


KINKS_UNRESOLVED = """kinked = [jnp.moveaxis(v, (-3, -2), (0, 1)) for v in stats if v.ndim > 2 and v.shape[-3] == TERMS]
    shares += [jnp.sqrt(jnp.prod(kink_tails(h)[:, -1], 0)) for h in kinked]
    """
"""What `unresolved` adds for functions with a kink: the series left are those of f - part times f + part."""


def unresolved_text(parameters: Sequence[str], has_kinks: bool = False) -> str:
    """The function that says how far the series of a program have converged."""
    names = argument_texts(parameters)
    kinks = KINKS_UNRESOLVED if has_kinks else ""
    return UNRESOLVED.format(parameters=names["parameters"], keywords=names["keywords"], kinks=kinks)


def argument_texts(parameters: Sequence[str]) -> dict[str, str]:
    """How functions take and hand on the open hyper-parameters."""
    own = [p for p in parameters if p != "features"]
    return {
        "parameters": "".join(f", {p}" for p in own),
        "arguments": "".join(f", {p}" for p in parameters),
        "keywords": ", *, " + ", ".join(own) if own else "",
    }


def _features(data: str, parameters: Sequence[str]) -> str:
    return f"features = {data}.shape[-1]\n    " if "features" in parameters else ""
