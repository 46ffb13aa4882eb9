"""The hand-written helpers that emitted source may call, each with the helpers it needs itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ntkc.gaussian.tables import TABLES


class Helper(NamedTuple):
    """Text of a function, the helpers it calls, and the coefficient tables it reads."""

    text: str
    needs: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()


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
    "root": Helper('''
@jax.custom_jvp
def root(k, q1, q2):
    """sqrt(q1 q2 - k^2), zero where rounding alone decides its sign."""
    d = q1 * q2 - k * k
    return jnp.sqrt(jnp.where(d > 4 * jnp.finfo(d.dtype).eps * q1 * q2, d, 0))


@root.defjvp
def _(primals, tangents):
    (k, q1, q2), (dk, dq1, dq2) = primals, tangents
    r = root(k, q1, q2)
    slope = (q2 * dq1 + q1 * dq2) / 2 - k * dk
    return r, jnp.where(r > 0, slope / jnp.where(r > 0, r, 1), 0)
'''),
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
LEVELS = (32, 96, 320, 1280)  # numbers of terms of a series: the first that suffices is taken
TOLERANCE = {"float32": 1e-6, "float64": 1e-10}


def gaussian_nodes():
    """Nodes z, and He_n(z) / sqrt(n!) times the standard normal density and the step, n < LEVELS[-1]."""
    z = np.linspace(-13, 13, 521)
    before, row = 0 * z, 0.05 / np.sqrt(2 * np.pi) * np.exp(-z * z / 2)
    rows = [row]
    for n in range(LEVELS[-1] - 1):
        before, row = row, (z * row - np.sqrt(n) * before) / np.sqrt(n + 1)
        rows.append(row)
    return z, np.array(rows)


NODES, HERMITE = gaussian_nodes()
DENSITY, FIRST, OTHERS = HERMITE[0], HERMITE[: LEVELS[1]], HERMITE[LEVELS[1] :]


def project(weights, values):
    """Quadrature of values [nodes, samples]."""
    return jnp.matmul(jnp.asarray(weights, values.dtype), values, precision=lax.Precision.HIGHEST)


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
    return project(DENSITY, at_nodes(f, q))
''',
        ("gaussian_nodes",),
    ),
    "coefficients": Helper(
        '''
def coefficients(f, q):
    """E[f(sqrt(q) z) He_n(z)] / sqrt(n!): [terms, samples]; those beyond LEVELS[1] are 0 if none is needed."""
    values = at_nodes(f, q)

    first, total = project(FIRST, values), project(DENSITY, values * values)
    is_short = jnp.all(total - jnp.sum(first * first, 0) <= TOLERANCE[q.dtype.name] * total)
    none = jnp.zeros((LEVELS[-1] - LEVELS[1], values.shape[1]), q.dtype)
    return jnp.concatenate([first, lax.cond(is_short, lambda v: none, lambda v: project(OTHERS, v), values)])
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
    "hermite_sum": Helper('''
def level_of(h):
    """The first level of terms whose Parseval tail is within tolerance for all samples."""
    squares = (h * h).reshape(len(h), -1)
    allowed = TOLERANCE[h.dtype.name] * jnp.sum(squares, 0)
    return sum(jnp.any(jnp.sum(squares[n:], 0) > allowed).astype("int32") for n in LEVELS[:-1])


def horner(h1, h2, rho, terms):
    """sum_{n < terms} h1_n h2_n rho^n, in turns of LEVELS[0] terms."""
    size = LEVELS[0]

    def turn(total, chunk):
        for a, b in reversed(list(zip(*chunk))):
            total = total * rho + a * b
        return total, None

    parts = tuple(h[:terms].reshape(-1, size, *h.shape[1:]) for h in (h1, h2))
    if terms == size:
        return turn(jnp.zeros_like(rho), tuple(p[0] for p in parts))[0]
    return lax.scan(turn, jnp.zeros_like(rho), parts, reverse=True)[0]


def sum_at_level(level, h1, h2, rho):
    """The series with as many terms as the level says."""
    return lax.switch(level, [lambda h1, h2, rho, n=n: horner(h1, h2, rho, n) for n in LEVELS], h1, h2, rho)


@jax.custom_jvp
def hermite_sum(h1, h2, rho):
    """sum_n h1_n h2_n rho^n (Daniely, Frostig and Singer 2016); the error is at most TOLERANCE of its bound."""
    return sum_at_level(jnp.maximum(level_of(h1), level_of(h2)), h1, h2, rho)


@hermite_sum.defjvp
def _(primals, tangents):
    (h1, h2, rho), (dh1, dh2, drho) = primals, tangents
    level = jnp.maximum(level_of(h1), level_of(h2))
    order = jnp.arange(len(h1), dtype=h1.dtype)[:, None, None]
    below = tuple(jnp.pad(h[1:], ((0, 1), (0, 0), (0, 0))) for h in (order * h1, h2))
    slope = sum_at_level(level, *below, rho)
    change = sum_at_level(level, dh1, h2, rho) + sum_at_level(level, h1, dh2, rho)
    return hermite_sum(h1, h2, rho), slope * drho + change
'''),
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
