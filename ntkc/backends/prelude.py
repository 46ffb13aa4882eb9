"""The hand-written helpers that emitted source may call, each with the helpers it needs itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ntkc.backends.helper import Helper
from ntkc.backends.pixel_prelude import PIXEL_HELPERS
from ntkc.gaussian.tables import TABLES

DEFAULT_TOLERANCE = 'TOLERANCE = {"float32": 1e-6, "float64": 1e-10}\n'
"""The line that a program with other tolerances replaces."""

HELPERS: dict[str, Helper] = {
    "polynomial": Helper('''
def polynomial(table, t):
    """c[0] + c[1] t + c[2] t^2 + ... by pairs (Estrin), coefficients for the precision of t."""
    c = list(table[t.dtype.name])
    while len(c) > 1:
        c = [c[i] + c[i + 1] * t if i + 1 < len(c) else c[i] for i in range(0, len(c), 2)]
        t = t * t
    return c[0]
'''),
    "columns": Helper('''
def columns(vectors):
    """Vectors of the first samples, one value for each row of a matrix of pairs."""
    return [v[..., :, None] for v in vectors]
'''),
    "rows": Helper('''
def rows(vectors):
    """Vectors of the second samples, one value for each column of a matrix of pairs."""
    return [v[..., None, :] for v in vectors]
'''),
    "ratio": Helper('''
def ratio(a, b):
    """a / b, and 0 where b is 0: the share of a part in a norm of zero."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)
'''),
    "gap_of": Helper(
        '''
def gap_of(k, scale):
    """1 - k / scale in [0, 2]; a covariance within rounding of its bound means 0."""
    delta = jnp.clip(1 - ratio(k, scale), 0, 2)
    return jnp.where(delta < 8 * jnp.finfo(delta.dtype).eps, 0, delta)
''',
        ("ratio",),
    ),
    "gap_of_cosine": Helper('''
def gap_of_cosine(rho):
    """1 - rho in [0, 2]; a cosine within rounding of 1 means 1."""
    delta = 1 - rho
    return jnp.where(delta < 8 * jnp.finfo(delta.dtype).eps, 0, jnp.minimum(delta, 2))
'''),
    "safe_sqrt": Helper('''
def safe_sqrt(x):
    """sqrt(x) with derivative 0, not infinity, at 0."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0)
'''),
    "arccos_over_pi": Helper(
        '''
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
''',
        ("polynomial",),
        ("ARCCOS",),
    ),
    "arc_cosine": Helper(
        '''
def arc_cosine(delta):
    """1 - kappa1 and kappa0 of the correlation 1 - delta: the arc-cosine kernels of Cho and Saul 2009."""
    near = delta <= 1
    t = jnp.where(near, delta, 2 - delta)
    p = arccos_over_pi(t)
    return jnp.where(near, delta, 1) - p * (t * polynomial(GAP, t)), jnp.where(near, 1 - p, p)
''',
        ("arccos_over_pi", "polynomial"),
        ("GAP",),
    ),
    "arc_cosine_near": Helper(
        '''
def arc_cosine_near(delta):
    """1 - kappa1 and kappa0 of a correlation 1 - delta that is known to be at least 0."""
    p = arccos_over_pi(delta)
    return delta - p * (delta * polynomial(GAP, delta)), 1 - p
''',
        ("arccos_over_pi", "polynomial"),
        ("GAP",),
    ),
    "arc_cosine_even": Helper(
        '''
def arc_cosine_even(delta):
    """1 - E|u||v| and E[sign(u) sign(v)] of unit Gaussians of correlation 1 - delta."""
    near = delta <= 1
    t = jnp.where(near, delta, 2 - delta)
    p = arccos_over_pi(t)
    return t - 2 * p * (t * polynomial(GAP, t)), jnp.where(near, 1 - 2 * p, 2 * p - 1)
''',
        ("arccos_over_pi", "polynomial"),
        ("GAP",),
    ),
    "angle_over_pi": Helper(
        '''
def angle_over_pi(delta):
    """arccos(1 - delta) / pi for delta in [0, 2]."""
    near = delta <= 1
    p = arccos_over_pi(jnp.where(near, delta, 2 - delta))
    return jnp.where(near, p, 1 - p)
''',
        ("arccos_over_pi",),
    ),
    "exp_sinh": Helper('''
def exp_sinh(a, b):
    """exp(a) sinh(b): no cancellation near b = 0, and no overflow of one factor."""
    near = jnp.abs(b) < 1
    return jnp.where(
        near,
        jnp.exp(jnp.where(near, a, 0)) * jnp.sinh(jnp.where(near, b, 0)),
        (jnp.exp(a + b) - jnp.exp(a - b)) / 2,
    )
'''),
    "root": Helper(
        '''
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
''',
        ("exact_minor",),
    ),
    "angle": Helper(
        '''
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
''',
        ("root", "polynomial"),
        ("ARCTAN",),
    ),
    "gaussian_nodes": Helper(
        '''
TERMS, CHUNK = 1280, 32  # terms of a series at most, and terms added in one turn
PARTS = (0, 96, 320, TERMS)  # coefficients are computed in parts, as long as they are needed
TOLERANCE = {"float32": 1e-6, "float64": 1e-10}


def gaussian_nodes():
    """Nodes z, and He_n(z) / sqrt(n!) times the standard normal density and the step, n < TERMS."""
    z = np.linspace(-13, 13, 521)
    before, row = 0 * z, 0.05 / np.sqrt(2 * np.pi) * np.exp(-z * z / 2)
    rows = [row]
    for n in range(TERMS - 1):
        before, row = row, (z * row - np.sqrt(n) * before) / np.sqrt(n + 1)
        rows.append(row)
    return z, np.array(rows)


NODES, HERMITE = gaussian_nodes()
TABLES = {dtype: [HERMITE[a:b].astype(dtype) for a, b in zip(PARTS, PARTS[1:])] for dtype in TOLERANCE}


def project(weights, values):
    """Quadrature of values [nodes, samples]."""
    return jnp.matmul(weights, values, precision=lax.Precision.HIGHEST)


def at_nodes(f, q):
    """f(sqrt(q) z): [nodes, samples]."""
    x = safe_sqrt(q) * jnp.asarray(NODES, q.dtype)[:, None]
    return jnp.broadcast_to(f(x), x.shape)
''',
        ("safe_sqrt",),
    ),
    "gaussian_mean": Helper(
        '''
def gaussian_mean(f, q):
    """E[f(u)], u ~ N(0, q), for each sample."""
    return project(TABLES[q.dtype.name][0][0], at_nodes(f, q))
''',
        ("gaussian_nodes",),
    ),
    "coefficients": Helper(
        '''
def coefficients(f, q):
    """E[f(sqrt(q) z) He_n(z)] / sqrt(n!): [TERMS, samples]; 0 from where the Parseval tail is within tolerance."""
    values = at_nodes(f, q)
    tables = TABLES[q.dtype.name]
    total = rest = project(tables[0][0], values * values)
    parts = []
    for table in tables:
        is_needed = jnp.any(rest > TOLERANCE[q.dtype.name] * total)
        none = jnp.zeros((len(table), len(q)), q.dtype)
        branches = project, lambda table, values, none=none: none
        part = lax.cond(is_needed, *branches, table, values) if parts else project(table, values)
        rest -= jnp.sum(part * part, 0)
        parts.append(part)
    return jnp.concatenate(parts)
''',
        ("gaussian_nodes",),
    ),
    "cosine": Helper(
        '''
def cosine(k, q1, q2):
    """k / sqrt(q1 q2) in [-1, 1]; 0 where a variance is 0."""
    rho = ratio(k, safe_sqrt(q1) * safe_sqrt(q2))
    return rho + lax.stop_gradient(jnp.clip(rho, -1, 1) - rho)  # derivatives as if rounding had not gone beyond
''',
        ("ratio", "safe_sqrt"),
    ),
    "chunks_needed": Helper(
        '''
def chunks_needed(h):
    """How many chunks of a series each sample needs for a Parseval tail within tolerance."""
    squares = jnp.sum((h * h).reshape(TERMS // CHUNK, CHUNK, -1), 1)
    beyond = jnp.cumsum(squares[::-1], 0)[::-1]
    return lax.stop_gradient(jnp.sum(beyond > TOLERANCE[h.dtype.name] * beyond[0], 0).astype(h.dtype))
''',
        ("gaussian_nodes",),
    ),
    "hermite_sum": Helper(
        '''
def chunk_added(i, total, h1, h2, rho):
    """Horner's scheme through the i-th chunk of terms."""
    a, b = (lax.dynamic_slice_in_dim(h, i * CHUNK, CHUNK) for h in (h1, h2))
    for n in reversed(range(CHUNK)):
        total = total * rho + a[n] * b[n]
    return total


def chunks_added(chunks, h1, h2, rho):
    """sum_n h1_n h2_n rho^n over the first chunks."""
    none = jnp.zeros(jnp.broadcast_shapes(h1.shape[1:], h2.shape[1:], rho.shape), rho.dtype)
    return lax.fori_loop(0, chunks, lambda i, total: chunk_added(chunks - 1 - i, total, h1, h2, rho), none)


def chunks_added_linearly(chunks, h1, h2, rho):
    """The same in a form that can be transposed in h1 and h2."""

    def turn(total, i):
        return lax.cond(i < chunks, lambda v: chunk_added(i, v, h1, h2, rho), lambda v: v, total), None

    none = jnp.zeros(jnp.broadcast_shapes(h1.shape[1:], h2.shape[1:], rho.shape), rho.dtype)
    return lax.scan(turn, none, jnp.arange(TERMS // CHUNK), reverse=True)[0]


def most_chunks(chunks1, chunks2):
    """What every pair needs."""
    return jnp.maximum(jnp.max(chunks1), jnp.max(chunks2)).astype("int32")


@jax.custom_jvp
def hermite_sum(h1, h2, rho, chunks1, chunks2):
    """sum_n h1_n h2_n rho^n (Daniely, Frostig and Singer 2016); the error is at most TOLERANCE of its bound."""
    return chunks_added(most_chunks(chunks1, chunks2), h1, h2, rho)


@hermite_sum.defjvp
def _(primals, tangents):
    h1, h2, rho, *needed = primals
    dh1, dh2, drho, *_ = tangents
    chunks = most_chunks(*needed)
    order = jnp.arange(TERMS, dtype=h1.dtype)[:, None, None]
    below = tuple(jnp.pad(h[1:], ((0, 1), (0, 0), (0, 0))) for h in (order * h1, h2))
    slope = hermite_sum(*below, rho, *needed)
    change = chunks_added_linearly(chunks, dh1, h2, rho) + chunks_added_linearly(chunks, h1, dh2, rho)
    return hermite_sum(*primals), slope * drho + change
''',
        ("gaussian_nodes",),
    ),
    "kink": Helper('''
def kink(table, x):
    """sign(x) (p_0 + p_1 x + ...) exp(-c x^2 / 2), c, p_0, p_1, ... for the precision of x."""
    c, *p = table[x.dtype.name]
    total = p[-1]
    for v in p[-2::-1]:
        total = total * x + v
    return jnp.sign(x) * total * jnp.exp(-c / 2 * x * x)
'''),
    "split_nodes": Helper(
        '''
def split_nodes():
    """Nodes z of panels that meet at 0, and He_n(z) / sqrt(n!) times the normal density and weights, n < TERMS."""
    ends = np.array([0, 1 / 64, 1 / 16, 1 / 4, *np.linspace(0.75, 13, 18)])[:, None]
    x, w = np.polynomial.legendre.leggauss(20)
    half = np.diff(ends, axis=0) / 2
    z, w = ((ends[:-1] + half) + half * x).ravel(), (half * w).ravel()
    z, w = np.concatenate([-z, z]), np.concatenate([w, w])
    before, row = 0 * z, w / np.sqrt(2 * np.pi) * np.exp(-z * z / 2)
    rows = [row]
    for n in range(TERMS - 1):
        before, row = row, (z * row - np.sqrt(n) * before) / np.sqrt(n + 1)
        rows.append(row)
    return z, np.array(rows)


SPLIT_NODES, SPLIT_HERMITE = split_nodes()
SPLIT_TABLES = {dtype: SPLIT_HERMITE.astype(dtype) for dtype in TOLERANCE}


def at_split_nodes(f, q):
    """f(sqrt(q) z): [nodes, samples]."""
    x = safe_sqrt(q) * jnp.asarray(SPLIT_NODES, q.dtype)[:, None]
    return jnp.broadcast_to(f(x), x.shape)
''',
        ("gaussian_nodes", "safe_sqrt"),
    ),
    "split_mean": Helper(
        '''
def split_mean(f, q):
    """E[f(u)], u ~ N(0, q), of a function with a kink at 0, for each sample."""
    return project(SPLIT_TABLES[q.dtype.name][0], at_split_nodes(f, q))
''',
        ("split_nodes",),
    ),
    "kink_coefficients": Helper(
        '''
def kink_coefficients(f, table, q):
    """Hermite coefficients of f - P and of f + P, P = kink(table, x), or 0: [TERMS, 2, samples]."""
    values = at_split_nodes(f, q)
    part = at_split_nodes(lambda x: kink(table, x), q) if table else 0
    both = project(SPLIT_TABLES[q.dtype.name], jnp.concatenate([values - part, values + part], 1))
    return both.reshape(TERMS, 2, -1)
''',
        ("split_nodes", "kink"),
    ),
    "kink_tails": Helper(
        '''
def kink_tails(h):
    """What is left of the squares of f - P and f + P from each chunk on, over E[f^2]: [2, chunks, samples]."""
    squares = jnp.sum((h * h).reshape(TERMS // CHUNK, CHUNK, *h.shape[1:]), 1)
    # Beyond the last, squares fall like n^(-5.5) or faster, and n^(-1.5).
    rest = squares[-1] * (TERMS // CHUNK) * jnp.asarray([1 / 4, 2], h.dtype).reshape(2, *[1] * (h.ndim - 2))
    beyond = jnp.cumsum(squares[::-1], 0)[::-1] + rest
    return lax.stop_gradient(jnp.moveaxis(ratio(beyond, jnp.sum(jnp.mean(h, 1) ** 2, 0)), 0, 1))
''',
        ("gaussian_nodes", "ratio"),
    ),
    "kink_sum": Helper(
        '''
def chunks_of_products(tails1, tails2):
    """The least number of chunks whose remainder is within tolerance for all pairs, by Cauchy's inequality."""
    (d1, s1), (d2, s2) = (jnp.max(t.reshape(2, TERMS // CHUNK, -1), -1) for t in (tails1, tails2))
    left = (jnp.sqrt(d1) * jnp.sqrt(s2) + jnp.sqrt(s1) * jnp.sqrt(d2)) / 2
    return jnp.sum(left > TOLERANCE[left.dtype.name]).astype(left.dtype)


def kink_sum(h1, h2, rho, tails1, tails2):
    """sum_n (d1_n s2_n + s1_n d2_n) / 2 rho^n, d and s the coefficients of f - P and f + P."""
    chunks = chunks_of_products(tails1, tails2)
    (d1, s1), (d2, s2) = ((h[:, 0], h[:, 1]) for h in (h1, h2))
    return (hermite_sum(d1, s2, rho, chunks, chunks) + hermite_sum(s1, d2, rho, chunks, chunks)) / 2
''',
        ("hermite_sum",),
    ),
    "exact_minor": Helper('''
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
'''),
    "kink_moment": Helper(
        '''
def edge_moments(root, rest, count):
    """root, 2 rest root, 8 rest^2 root, ...: 2^j j! rest^j root."""
    moments = [root]
    for j in range(1, count):
        moments.append(moments[-1] * (2 * j * rest))
    return moments


def signed_moments(counts, root, angle, variances, k, slopes, rests):
    """pi / 2 E[sign(u) u^n sign(v) v^m], n + m even, by Stein's lemma.

    slopes are k over the variances, rests the variances of v where u = 0 and of u where v = 0; root^2 = q1 q2 - k^2.
    """
    (q1, q2), (slope1, slope2) = variances, slopes
    edge1, edge2 = (edge_moments(root, rest, count) for rest, count in zip(rests, reversed(counts)))
    table = {(0, 0): angle}
    for n in range(counts[0]):
        for m in range(n % 2, counts[1], 2):
            if n == 0 and m > 0:
                table[n, m] = (m - 1) * q2 * table[n, m - 2] + slope1 * edge1[m // 2 - 1]
            elif n > 0:
                mixed = m * k * table[n - 1, m - 1] if m > 0 else slope2 * edge2[n // 2 - 1]
                table[n, m] = mixed + ((n - 1) * q1 * table[n - 2, m] if n > 1 else edge1[m // 2])
    return table


def kink_moment(table1, table2, k, q1, q2):
    """E[kink(table1, u) kink(table2, v)]."""
    return tilted_moment(table1[k.dtype.name], table2[k.dtype.name], k, q1, q2)


def moment_of_signs(first, second, k, q1, q2):
    """The same of two rows of tables: the exponentials tilt the Gaussian, then moments with two signs."""
    (c1, *p), (c2, *r) = first, second
    minor = exact_minor(k, q1, q2)
    over1, over2 = q1 + c2 * minor, q2 + c1 * minor
    det = 1 + c1 * q1 + c2 * q2 + c1 * c2 * minor
    tilted1, tilted2, tilted = over1 / det, over2 / det, k / det
    root, scale = safe_sqrt(minor / det), safe_sqrt(tilted1) * safe_sqrt(tilted2)
    z = ratio(tilted, scale + root)
    angle = 2 * z * polynomial(ARCTAN, z * z)  # of the same root: the two cancel where the vectors are near
    slopes, rests = (ratio(k, over1), ratio(k, over2)), (ratio(minor, over1), ratio(minor, over2))
    table = signed_moments((len(p), len(r)), root, angle, (tilted1, tilted2), tilted, slopes, rests)
    return 2 / pi / jnp.sqrt(det) * sum(p[n] * r[m] * moment for (n, m), moment in table.items() if p[n] * r[m])


tilted_moment = jax.custom_jvp(moment_of_signs, nondiff_argnums=(0, 1))


def derivative(row):
    """c, p'_0, p'_1, ... with (p_0 + p_1 x + ...) exp(-c x^2 / 2)  ->  (p'_0 + p'_1 x + ...) exp(-c x^2 / 2)."""
    c, *p = row
    padded = [0.0, *p, 0.0, 0.0]
    return (c, *((n + 1) * padded[n + 2] - c * padded[n] for n in range(len(p) + 1)))


def mean_of_kink(row, q):
    """E[sign(w) (p_0 + p_1 w + ...) exp(-c w^2 / 2)], w ~ N(0, q)."""
    c, *p = row
    tilted = q / (1 + c * q)
    total, moment = 0, safe_sqrt(2 / pi * tilted)
    for n in range(1, len(p), 2):
        total += p[n] * moment
        moment *= (n + 1) * tilted
    return total / jnp.sqrt(1 + c * q)


def density_at_zero(q):
    """1 / sqrt(2 pi q), and 0 where q is 0."""
    return jnp.where(q > 0, lax.rsqrt(jnp.where(q > 0, 2 * pi * q, 1)), 0)


def slope_in_variance(first, second, k, q1, q2):
    """d/dq1 E[P(u) R(v)] = E[P''(u) R(v)] / 2, with what the jumps of P and P' at 0 give."""
    rest, edge = ratio(exact_minor(k, q1, q2), q1), density_at_zero(q1)
    slope = mean_of_kink(derivative(second), rest) + 2 * second[1] * density_at_zero(rest)
    at_jumps = first[2] * mean_of_kink(second, rest) - first[1] * ratio(k, q1) * slope
    return moment_of_signs(derivative(derivative(first)), second, k, q1, q2) / 2 + edge * at_jumps


def slope_in_covariance(first, second, k, q1, q2):
    """d/dk E[P(u) R(v)] = E[P'(u) R'(v)], with what the jumps of P and R at 0 give."""
    slope1, slope2, minor = derivative(first), derivative(second), exact_minor(k, q1, q2)
    at_jump1 = first[1] * density_at_zero(q1) * mean_of_kink(slope2, ratio(minor, q1))
    at_jump2 = second[1] * density_at_zero(q2) * mean_of_kink(slope1, ratio(minor, q2))
    at_both = first[1] * second[1] * density_at_zero(q1) * density_at_zero(ratio(minor, q1))
    return moment_of_signs(slope1, slope2, k, q1, q2) + 2 * (at_jump1 + at_jump2 + 2 * at_both)


@tilted_moment.defjvp
def _(first, second, primals, tangents):
    (k, q1, q2), (dk, dq1, dq2) = primals, tangents
    slope1, slope2 = slope_in_variance(first, second, k, q1, q2), slope_in_variance(second, first, k, q2, q1)
    change = slope_in_covariance(first, second, k, q1, q2) * dk + slope1 * dq1 + slope2 * dq2
    return tilted_moment(first, second, k, q1, q2), change
''',
        ("exact_minor", "safe_sqrt", "polynomial", "ratio"),
        ("ARCTAN",),
    ),
    "safe": Helper(
        '''
def safe(q):
    """A variance that may be divided by."""
    return jnp.maximum(q, jnp.asarray(1e-12 if q.dtype == jnp.float32 else 1e-30, q.dtype))
'''
    ),
    "tail": Helper(
        '''
def tail(q, c):
    """2 P(u > c), u ~ N(0, q)."""
    return lax.erfc(c * lax.rsqrt(2 * safe(q)))
''',
        ("safe",),
    ),
    "density": Helper(
        '''
def density(q, c):
    """Twice the density of N(0, q) at c."""
    return jnp.sqrt(2 / pi / safe(q)) * jnp.exp(-c * c / (2 * safe(q)))
''',
        ("safe",),
    ),
    "edge": Helper(
        '''
def spread_of(k, q1, q2):
    """S = sqrt(q1 q2 - k^2), and no less than rounding leaves of it."""
    least = 2 * jnp.sqrt(jnp.finfo(k.dtype).eps * safe(q1) * safe(q2))
    return jnp.maximum(root(k, q1, q2), least)


def turned(k, q1, q2, c1, c2):
    """(q1 c2 - k c1) / (S sqrt(2 q1)), S^2 = q1 q2 - k^2: how far v is below c2 where u = c1, over its spread."""
    # The difference of q1 and k is exact where they are near, and the only one if the thresholds are equal.
    return ((q1 - k) * c1 + q1 * (c2 - c1)) / (jnp.sqrt(2 * safe(q1)) * spread_of(k, q1, q2))


def edge(k, q1, q2, c1, c2):
    """E[2 delta(u - c1) 2 [v > c2]], (u, v) Gaussian with variances q and covariance k."""
    turn = turned(k, q1, q2, c1, c2)
    above = lax.erfc(jnp.abs(turn))  # Owen's T needs the same
    return density(q1, c1) * jnp.where(turn < 0, 2 - above, above)
''',
        ("density", "root"),
    ),
    "ridge": Helper(
        '''
def ridge(k, q1, q2, c1, c2):
    """S^2 E[2 delta(u - c1) 2 delta(v - c2)], S^2 = q1 q2 - k^2."""
    return 2 / pi * root(k, q1, q2) * jnp.exp(-c1 * c1 / (2 * safe(q1)) - turned(k, q1, q2, c1, c2) ** 2)
''',
        ("edge", "root"),
    ),
    "orthant": Helper(
        '''
LEGENDRE = {"float32": np.polynomial.legendre.leggauss(8), "float64": np.polynomial.legendre.leggauss(16)}


def owens_t(h, g):
    """Owen's T(sqrt(2) h, g / h) by Gauss-Legendre quadrature on the ratio of the smaller to the larger, to 2e-14."""
    small, large = jnp.minimum(jnp.abs(h), jnp.abs(g)), jnp.maximum(jnp.abs(h), jnp.abs(g))
    r, square = small / large, large * large
    x, w = (jnp.asarray(v, r.dtype) for v in LEGENDRE[r.dtype.name])

    def turn(i, total):
        one = 1 + (r * (x[i] + 1) / 2) ** 2
        return total + w[i] * jnp.exp(-square * one) / one

    # A loop, because XLA's compilation of the nodes written out takes minutes in deep networks.
    t = lax.fori_loop(0, len(x), turn, jnp.zeros_like(r)) * r / (4 * pi)
    above_h, above_g = lax.erfc(jnp.abs(h)), lax.erfc(jnp.abs(g))
    other = (above_h + above_g - above_h * above_g) / 4 - t
    return jnp.where(jnp.abs(g) <= jnp.abs(h), t, other) * jnp.sign(h) * jnp.sign(g)


def orthant(k, q1, q2, c1, c2):
    """4 P(u > c1, v > c2), (u, v) Gaussian with variances q and covariance k."""
    return orthant_of(k, q1, q2, *(jnp.asarray(c, k.dtype) for c in (c1, c2)))


@jax.custom_jvp
def orthant_of(k, q1, q2, c1, c2):
    """The same of arrays."""
    scale1, scale2 = jnp.sqrt(2 * safe(q1)), jnp.sqrt(2 * safe(q2))
    a1, a2 = (jnp.where(jnp.abs(c) < 1e-15 * s, 1e-15 * s, c) for c, s in ((c1, scale1), (c2, scale2)))
    h1, h2 = a1 / scale1, a2 / scale2
    turns = owens_t(h1, turned(k, q1, q2, a1, a2)) + owens_t(h2, turned(k, q2, q1, a2, a1))
    return tail(q1, c1) + tail(q2, c2) - 4 * turns - 2 * (h1 * h2 < 0)


@orthant_of.defjvp
def _(primals, tangents):
    (k, q1, q2, c1, c2), (dk, dq1, dq2, dc1, dc2) = primals, tangents
    edge1, edge2 = edge(k, q1, q2, c1, c2), edge(k, q2, q1, c2, c1)
    square = root(k, q1, q2) ** 2
    both = jnp.where(square > 0, ridge(k, q1, q2, c1, c2) / jnp.where(square > 0, square, 1), 0)
    slope1, slope2 = ((c * e - k * both) / safe(q) / 2 for c, e, q in ((c1, edge1, q1), (c2, edge2, q2)))
    return orthant_of(*primals), both * dk - edge1 * dc1 - edge2 * dc2 + slope1 * dq1 + slope2 * dq2
''',
        ("edge", "ridge", "root", "tail"),
    ),
    "steps": Helper(
        '''
def apart(function, *arguments):
    """function(*arguments); XLA fuses nothing across a conditional, and so computes nothing twice."""
    unknown = jax.tree.map(lambda v: jnp.full(v.shape, jnp.nan, v.dtype), jax.eval_shape(function, *arguments))
    is_number = jnp.isfinite(arguments[0].ravel()[0])
    return lax.cond(is_number, function, lambda *_: unknown, *arguments)


def steps(k, q1, q2, c1, c2):
    """4 P(u > c1, v > c2), with a delta function for the first step, for the second, and for both times q1 q2 - k^2."""

    def all_four(k, q1, q2):
        edges = edge(k, q1, q2, c1, c2), edge(k, q2, q1, c2, c1)
        return orthant(k, q1, q2, c1, c2), *edges, ridge(k, q1, q2, c1, c2)

    return apart(all_four, k, q1, q2)
''',
        ("edge", "orthant", "ridge"),
    ),
    "cosine_gap": Helper('''
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
'''),
    "span": Helper('''
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
'''),
    "angle_gap": Helper(
        '''
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
''',
        ("span", "polynomial"),
        ("ARCTAN",),
    ),
    "distances": Helper('''
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
'''),
    **PIXEL_HELPERS,
}
"""By name; the order is the order in the source."""


def helper_text(names: Iterable[str]) -> str:
    """Tables and functions that these helpers need, each once."""
    wanted: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in wanted:
            wanted.add(name)
            pending.extend(HELPERS[name].needs)
    chosen = [h for name, h in HELPERS.items() if name in wanted]
    tables = dict.fromkeys(t for h in chosen for t in h.tables)
    return "".join(_table_text(t) for t in tables) + "".join("\n" + h.text for h in chosen)


TABLE_MEANINGS = {
    "ARCCOS": "arccos(1 - t) / (pi sqrt(t)) on [0, 1]",
    "GAP": "(sin a - a cos a) / (a t), a = arccos(1 - t), on [0, 1]",
    "ARCTAN": "arctan(z) / z as a polynomial of z^2 on [0, 1]",
}


def _table_text(name: str) -> str:
    return table_text(name, TABLE_MEANINGS[name], {d: TABLES[name, d] for d in ("float32", "float64")})


def table_text(name: str, meaning: str, fits: Mapping[str, tuple[tuple[float, ...], float]]) -> str:
    """A table of coefficients for each precision, with their errors."""
    lines = [f"\n# {meaning}\n{name} = {{\n"]
    for dtype, (coefficients, error) in fits.items():
        lines.append(f'    "{dtype}": (  # relative error {error:.0e}\n')
        lines += [f"        {c!r},\n" for c in coefficients]
        lines.append("    ),\n")
    return "".join([*lines, "}\n"])
