"""Kernels of networks with pixels, by covariances between all pixels of all samples:  C[n, p, m, q], in long doubles.

Of ntkc only the graph and the numbers in its layers are used: this is what tests compare ntkc with. Every node is

    y_c[n, p] = sum_t A_t f_t(u_t)[n, p]        (one such sum for each group of channels of one law)

with constant matrices A_t of pixels and Gaussian fields u_t = sum_b M_b[n] g_b, linear in the outputs g_b of the layers
with weights. So any two nodes have an exact covariance  sum_tt' A_t E[f_t(u_t) f_t'(u_t')] A_t'^T,  and the tangent
kernel is the same sum with f' in place of f, times T[u_t, u_t'].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, reduce
from itertools import pairwise, product
from math import prod

import jax
import numpy as np
from scipy.special import erf

from ntkc.ir.graph import Graph, op_of, operands, ordered

Array = np.ndarray
EXACT = np.longdouble
"""sqrt(q1 q2 - k^2) loses half of the digits where u = v."""


# Functions of one Gaussian number, and E[f(u) g(v)].


@dataclass(frozen=True)
class Function:
    """f and f': `ends` = (a, b) if it is a min(x, 0) + b max(x, 0), `step` if it is a 1[x < 0] + b 1[x > 0]."""

    of: Callable[[Array], Array]
    slope: Function | None = None
    is_smooth: bool = True
    ends: tuple[float, float] | None = None
    step: tuple[float, float] | None = None


def abrelu(a: float, b: float) -> Function:
    slope = Function(lambda x: np.where(x > 0, b, a), None, a == b, step=(a, b))
    return Function(lambda x: np.where(x > 0, b * x, a * x), slope, a == b, ends=(a, b))


def smooth(value: Callable[[Array], Array], slope: Callable[[Array], Array]) -> Function:
    return Function(value, Function(slope))


def polynomial(coef: tuple[float, ...]) -> Function:
    p = np.polynomial.Polynomial(coef)
    return smooth(p, p.deriv())


def wave(a: float, b: float, c: float) -> Function:
    return smooth(lambda x: a * np.sin(b * x + c), lambda x: a * b * np.cos(b * x + c))


def rectified(degree: int) -> Function:
    def value(x: Array) -> Array:
        return np.where(x > 0, x, 0.0) ** degree

    def slope(x: Array) -> Array:
        return degree * np.where(x > 0, x, 0.0) ** (degree - 1)

    return Function(value, Function(slope, is_smooth=False), is_smooth=False)


def bell(x: Array) -> Array:
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def below(x: Array) -> Array:
    return (1 + erf(x / np.sqrt(2))) / 2


IDENTITY = abrelu(1.0, 1.0)
FUNCTIONS: dict[str, Callable[..., Function]] = {
    "Relu": lambda op: abrelu(0.0, 1.0),
    "LeakyRelu": lambda op: abrelu(float(op.alpha), 1.0),
    "ABRelu": lambda op: abrelu(float(op.a), float(op.b)),
    "Abs": lambda op: abrelu(-1.0, 1.0),
    "Sign": lambda op: Function(
        np.sign, Function(lambda x: 0 * x, None, True, step=(0.0, 0.0)), False, step=(-1.0, 1.0)
    ),
    "RectifiedMonomial": lambda op: rectified(op.degree),
    "Erf": lambda op: smooth(
        lambda x: op.a * erf(op.b * x) + op.c, lambda x: op.a * op.b * 2 / np.sqrt(np.pi) * np.exp(-((op.b * x) ** 2))
    ),
    "Sin": lambda op: wave(op.a, op.b, op.c),
    "Cos": lambda op: wave(op.a, op.b, op.c + np.pi / 2),
    "Exp": lambda op: smooth(lambda x: op.a * np.exp(op.b * x), lambda x: op.a * op.b * np.exp(op.b * x)),
    "Gaussian": lambda op: smooth(
        lambda x: op.a * np.exp(op.b * x**2), lambda x: 2 * op.a * op.b * x * np.exp(op.b * x**2)
    ),
    "Gelu": lambda op: smooth(lambda x: x * below(x), lambda x: below(x) + x * bell(x)),
    "Polynomial": lambda op: polynomial(op.coef),
    "Monomial": lambda op: polynomial((0,) * op.degree + (1,)),
}


def composed(outer: Function, inner: Function) -> Function:
    """outer(inner(x)), of functions that have their kinks at 0."""
    if outer.ends is not None and inner.ends is not None:
        return abrelu(*(side * outer.ends[int(side * x > 0)] for side, x in zip(inner.ends, (-1, 1), strict=True)))
    if not outer.is_smooth and inner.ends is None:
        raise NotImplementedError("kinks away from 0")
    slope = Function(lambda x: outer.slope.of(inner.of(x)) * inner.slope.of(x), None, inner.is_smooth)
    return Function(lambda x: outer.of(inner.of(x)), slope, outer.is_smooth and inner.is_smooth)


def added(f: Function, g: Function) -> Function:
    """f + g."""
    if f.ends is not None and g.ends is not None:
        return abrelu(f.ends[0] + g.ends[0], f.ends[1] + g.ends[1])
    is_smooth = f.is_smooth and g.is_smooth
    slope = Function(lambda x: f.slope.of(x) + g.slope.of(x), None, is_smooth)
    return Function(lambda x: f.of(x) + g.of(x), slope, is_smooth)


def expectation(f: Function, g: Function, q1: Array, q2: Array, k: Array) -> Array:
    """E[f(u) g(v)] of entries k [i, j] with variances q1 [i], q2 [j]."""
    if f.ends == g.ends == (1.0, 1.0):
        return k
    if f.ends and g.ends:
        return of_sides(ramps, f.ends, g.ends, -1, q1, q2, k)
    if f.step and g.step:
        return of_sides(orthant, f.step, g.step, 1, q1, q2, k)
    if f.is_smooth or g.is_smooth:
        return by_hermite(f, g, q1, q2, k)
    return by_sectors(f, g, q1, q2, k)


def of_sides(both: Callable, f: tuple, g: tuple, sign: int, q1: Array, q2: Array, k: Array) -> Array:
    """E over the four signs of u and v; `sign` is that of f(-x) where f(x) is for x > 0."""
    (a, b), (c, d) = f, g
    return (b * d + a * c) * both(q1, q2, k) + sign * (a * d + b * c) * both(q1, q2, -k)


def root_and_angle(q1: Array, q2: Array, k: Array) -> tuple[Array, Array]:
    root = np.sqrt(np.maximum(np.multiply.outer(q1, q2) - k * k, 0))
    return root, np.arctan2(root, k)


def ramps(q1: Array, q2: Array, k: Array) -> Array:
    """E[max(u, 0) max(v, 0)] (Cho and Saul 2009)."""
    root, angle = root_and_angle(q1, q2, k)
    return (root + k * (EXACT(np.pi) - angle)) / (2 * EXACT(np.pi))


def orthant(q1: Array, q2: Array, k: Array) -> Array:
    """P(u > 0, v > 0) (Sheppard 1899)."""
    return 0.5 - root_and_angle(q1, q2, k)[1] / (2 * PI)


PI = EXACT("3.14159265358979323846264338327950288")
NODES, PANELS, REACH, TERMS = 40, 40, 13.0, 1200


@cache
def hermite_functions() -> tuple[Array, Array]:
    """x_i, and w_i h_n(x_i) phi(x_i) for n < TERMS:  f -> E[f(z) h_n(z)], h_n orthonormal; 0 is between two panels."""
    x, w = np.polynomial.legendre.leggauss(NODES)
    x = (np.arange(1 - PANELS, PANELS, 2)[:, None] + x).ravel() * REACH / PANELS
    w = np.tile(w, PANELS) * REACH / PANELS
    rows = [np.sqrt(bell(x)), x * np.sqrt(bell(x))]
    for n in range(2, TERMS):
        rows.append((x * rows[-1] - np.sqrt(n - 1) * rows[-2]) / np.sqrt(n))
    return x, np.stack(rows) * np.sqrt(bell(x)) * w


def by_hermite(f: Function, g: Function, q1: Array, q2: Array, k: Array) -> Array:
    """sum_n E[f(u) h_n(u / s)] E[g(v) h_n(v / s')] rho^n (Mehler 1866)."""
    s1, s2 = (np.sqrt(q.astype(float)) for q in (q1, q2))
    x, rows = hermite_functions()
    a, b = (h.of(np.multiply.outer(s, x)) @ rows.T for h, s in ((f, s1), (g, s2)))
    if np.abs(a[:, -20:]).max() * np.abs(b[:, -20:]).max() > 1e-13 * np.abs(a).max() * np.abs(b).max():
        raise NotImplementedError(f"{TERMS} terms are too few")
    scale = np.multiply.outer(s1, s2)
    rho = np.clip(np.divide(k.astype(float), scale, out=np.zeros_like(scale), where=scale > 0), -1, 1)
    total = np.zeros_like(rho)
    for n in reversed(range(TERMS)):
        total = total * rho + np.multiply.outer(a[:, n], b[:, n])
    return total.astype(EXACT)


def by_sectors(f: Function, g: Function, q1: Array, q2: Array, k: Array) -> Array:
    """In polar coordinates, between the four lines u = 0 and v = 0."""
    scale = np.multiply.outer(*(np.sqrt(q) for q in (q1, q2)))
    start = np.arccos(np.clip(k / np.where(scale > 0, scale, 1), -1, 1)).astype(float)
    r, w = (REACH / 2 * v for v in np.polynomial.legendre.leggauss(60))
    r = r + REACH / 2
    w = w * r * np.exp(-(r**2) / 2) / (2 * np.pi)
    t, v = np.polynomial.legendre.leggauss(24)
    s1, s2 = np.sqrt(q1).astype(float)[:, None, None, None], np.sqrt(q2).astype(float)[None, :, None, None]
    total = np.zeros(k.shape)
    ends = [
        -np.pi / 2 + 0 * start,
        start - np.pi / 2,
        np.pi / 2 + 0 * start,
        start + np.pi / 2,
        3 * np.pi / 2 + 0 * start,
    ]
    for low, high in pairwise(ends):
        angle = ((high + low)[..., None] + (high - low)[..., None] * t) / 2
        cos1, cos2 = np.cos(angle)[..., None], np.cos(angle - start[..., None])[..., None]
        values = f.of(s1 * cos1 * r) * g.of(s2 * cos2 * r)
        total += np.einsum("ijtr,t,r->ij", values, v, w, optimize=True) * (high - low) / 2
    return total.astype(EXACT)


# Nodes.


@dataclass(frozen=True)
class Base:
    """A field of which nothing but its covariance and mean is known, unless it is Gaussian.

    `fields`: Gaussian bases it depends on; `is_noise`: of mean 0, and uncorrelated with everything else.
    """

    name: str
    C: Array
    T: Array
    fields: frozenset[str]
    is_gaussian: bool = True
    is_noise: bool = False
    mean: Array | None = None


Form = dict[str, Array]
"""sum_b M_b[n] g_b:  a matrix [n, p, p_b] for each base."""


@dataclass(frozen=True)
class Term:
    """A f(u):  A [p, p_u], or [n, p, p_u]."""

    A: Array
    f: Function
    u: Form


@dataclass(frozen=True)
class Part:
    """`width` channels of one law:  a linear form and terms that are not linear."""

    width: int
    linear: Form
    terms: tuple[Term, ...] = ()


@dataclass(frozen=True)
class Node:
    """`is_flat`: channels times pixels are features; pixels stay apart here until a layer with weights sums them.

    `there` [n, p]: pixels that are not masked; None if nothing is.
    """

    spatial: tuple[int, ...]
    parts: tuple[Part, ...]
    is_flat: bool = False
    there: Array | None = None

    @property
    def pixels(self) -> int:
        return prod(self.spatial)

    @property
    def width(self) -> int:
        return sum(p.width for p in self.parts) * (self.pixels if self.is_flat else 1)

    def mapped(self, matrix: Array, spatial: tuple[int, ...]) -> Node:
        """Pixels through a matrix."""
        return Node(spatial, tuple(part_through(p, matrix) for p in self.parts))


def hidden(node: Node, there: Array) -> Node:
    """0 where pixels are masked."""

    def masked(A: Array) -> Array:
        return there[:, :, None] * A

    parts = tuple(
        replace(
            p,
            linear={b: masked(M) for b, M in p.linear.items()},
            terms=tuple(replace(t, A=masked(t.A)) for t in p.terms),
        )
        for p in node.parts
    )
    return replace(node, parts=parts, there=there)


def part_through(part: Part, matrix: Array) -> Part:
    linear = {b: np.einsum("pq,nqr->npr", matrix, M) for b, M in part.linear.items()}
    return Part(part.width, linear, tuple(replace(t, A=matrix @ t.A) for t in part.terms))


def sum_of_forms(*forms: Form) -> Form:
    total: Form = {}
    for form in forms:
        for b, M in form.items():
            total[b] = total[b] + M if b in total else M
    return total


def aligned(nodes: list[Node]) -> list[tuple[int, tuple[Part, ...]]]:
    """The widths, and the parts of each node, of the finest division of the channels."""
    ends = [np.cumsum([p.width for p in n.parts]) for n in nodes]
    cuts = sorted({int(e) for some in ends for e in some})
    found = []
    for start, stop in zip([0, *cuts[:-1]], cuts, strict=True):
        places = [int(np.searchsorted(e, start, "right")) for e in ends]
        found.append((stop - start, tuple(n.parts[i] for n, i in zip(nodes, places, strict=True))))
    return found


@dataclass
class Walk:
    """The bases made so far, on n samples of which the first n1 are x1."""

    samples: int
    bases: dict[str, Base] = field(default_factory=dict)

    # Covariances.

    def add(self, name: str, C: Array, T: Array, **facts: object) -> Form:
        self.bases[name] = Base(name, C, T, **{"fields": frozenset({name}), **facts})
        return {name: self.unit(C.shape[1])}

    def unit(self, pixels: int) -> Array:
        return np.broadcast_to(np.eye(pixels, dtype=EXACT), (self.samples, pixels, pixels))

    def fields(self, form: Form) -> frozenset[str]:
        return frozenset().union(*(self.bases[b].fields for b in form))

    def of_forms(self, u: Form, v: Form, stream: str) -> Array:
        """C or T of two linear forms."""
        pixels = [next(iter(f.values())).shape[1] for f in (u, v)]
        total = np.zeros((self.samples, pixels[0], self.samples, pixels[1]), EXACT)
        for a, b in product(u, v):
            C = self.of_bases(self.bases[a], self.bases[b], stream)
            if C is not None:
                total += np.einsum("npa,namb,mqb->npmq", u[a], C, v[b], optimize=True)
        return total

    def of_bases(self, a: Base, b: Base, stream: str) -> Array | None:
        if a.name == b.name:
            return getattr(a, stream)
        if a.is_noise or b.is_noise or (a.is_gaussian and b.is_gaussian):
            return None
        if a.fields & b.fields:
            raise NotImplementedError("products that share a field")
        if stream == "T" or a.mean is None or b.mean is None:
            return None
        return np.multiply.outer(a.mean, b.mean)

    def of_parts(self, a: Part, b: Part, stream: str) -> Array | float:
        """C or T of two parts."""
        found = [self.of_forms(a.linear, b.linear, stream)] if a.linear and b.linear else []
        found += [self.of_form_and_term(a.linear, t, stream) for t in b.terms if a.linear]
        found += [self.of_form_and_term(b.linear, t, stream).transpose(2, 3, 0, 1) for t in a.terms if b.linear]
        found += [self.of_terms(s, t, stream) for s, t in product(a.terms, b.terms)]
        return sum(found)

    def of_form_and_term(self, u: Form, term: Term, stream: str) -> Array:
        gaussian = {b: M for b, M in u.items() if self.bases[b].is_gaussian}
        pixels = next(iter(u.values())).shape[1]
        total = np.zeros((self.samples, pixels, self.samples, term.A.shape[-2]), EXACT)
        if gaussian:
            total += self.of_terms(Term(np.eye(pixels, dtype=EXACT), IDENTITY, gaussian), term, stream)
        for b, M in u.items():
            base = self.bases[b]
            if base.is_gaussian or base.is_noise:
                continue
            if base.fields & self.fields(term.u):
                raise NotImplementedError("a product, and a function of one of its factors")
            if stream == "C" and base.mean is not None:
                total += np.multiply.outer(np.einsum("npa,na->np", M, base.mean), self.mean_of_term(term))
        return total

    def of_terms(self, s: Term, t: Term, stream: str) -> Array:
        k = self.of_forms(s.u, t.u, "C")
        shape = k.shape
        q1, q2 = (np.einsum("npnp->np", self.of_forms(x.u, x.u, "C")).ravel() for x in (s, t))
        flat = k.reshape(len(q1), len(q2))
        if s.u is t.u:
            flat[np.diag_indices(len(q1))] = q1
        f, g = (s.f, t.f) if stream == "C" else (s.f.slope, t.f.slope)
        values = expectation(f, g, q1, q2, flat).reshape(shape)
        if stream == "T":
            values = values * self.of_forms(s.u, t.u, "T")
        return np.einsum("npa,namb,mqb->npmq", self.of_samples(s.A), values, self.of_samples(t.A), optimize=True)

    def of_samples(self, A: Array) -> Array:
        """A matrix for each sample."""
        return np.broadcast_to(A, (self.samples, *A.shape[-2:]))

    def mean_of_term(self, term: Term) -> Array:
        q = np.einsum("npnp->np", self.of_forms(term.u, term.u, "C"))
        values = (
            term.f.of(np.multiply.outer(np.sqrt(q.astype(float)), hermite_functions()[0])) @ hermite_functions()[1][0]
        )
        return np.einsum("npa,na->np", self.of_samples(term.A), values)

    def mean(self, part: Part) -> Array | None:
        found = [self.mean_of_term(t) for t in part.terms]
        found += [
            np.einsum("npa,na->np", M, self.bases[b].mean)
            for b, M in part.linear.items()
            if self.bases[b].mean is not None
        ]
        return sum(found) if found else None

    def of_nodes(self, a: Node, b: Node, stream: str) -> Array:
        """C or T, averaged over channels."""
        divided = aligned([a, b])
        total = sum(width for width, _ in divided)
        return sum(width / EXACT(total) * self.of_parts(p, q, stream) for width, (p, q) in divided)

    def below(self, node: Node) -> tuple[Array, Array]:
        """C and T as a layer with weights sees them:  a flat node is one pixel, the mean over its pixels."""
        C, T = (self.of_nodes(node, node, s) for s in "CT")
        if not node.is_flat:
            return C, T
        return tuple(np.einsum("npmp->nm", v)[:, None, :, None] / node.pixels for v in (C, T))


# Layers:  (walk, name, op, nodes below) -> node.


def source(walk: Walk, name: str, x: Array) -> Node:
    """C = x x' / channels."""
    *spatial, channels = x.shape[1:]
    rows = x.reshape(len(x), prod(spatial), channels).astype(EXACT)
    C = np.einsum("npc,mqc->npmq", rows, rows) / channels
    return Node(tuple(spatial), (Part(channels, walk.add(name, C, 0 * C)),))


def dense(walk: Walk, name: str, op: object, nodes: list[Node]) -> Node:
    (x,) = nodes
    spatial = () if x.is_flat else x.spatial
    eye = np.eye(prod(spatial), dtype=EXACT)
    return with_weights(walk, name, op, op.out_dim, x, spatial, [eye])


def conv(walk: Walk, name: str, op: object, nodes: list[Node]) -> Node:
    (x,) = nodes
    if len(x.spatial) != len(op.filter_shape):
        raise NotImplementedError("axes")
    axes = [taps(op, n, i) for i, n in enumerate(x.spatial)]
    spatial = tuple(len(t[0]) for t in axes)
    return with_weights(walk, name, op, op.out_chan, x, spatial, kronecker_all(axes), type(op).__name__ == "ConvLocal")


def kronecker_all(axes: list[list[Array]]) -> list[Array]:
    return [reduce(np.kron, some, np.eye(1, dtype=EXACT)) for some in product(*axes)]


def with_weights(
    walk: Walk, name: str, op: object, width: int, x: Node, spatial: tuple, taps: list, is_local: bool = False
):
    """C = W^2 A(C) + b^2,  T = C + W^2 A(T)  or  n C / s + W^2 A(T) + 1:  A(C) = 1/w sum_t S_t C S_t^T."""
    w2, b2 = EXACT(float(op.W_std)) ** 2, EXACT(float(op.b_std or 0)) ** 2
    C, T = (sum(np.einsum("pa,namb,qb->npmq", S, v, S, optimize=True) for S in taps) / len(taps) for v in walk.below(x))
    is_standard = op.parameterization == "standard"
    there = np.eye(C.shape[1], dtype=EXACT)[None, :, None, :] if is_local else EXACT(1)
    own = there * (w2 * C + b2)
    fan_in = EXACT(x.width * len(taps)) / (getattr(op, "groups", 1) * op.s[0])
    first = there * (fan_in * C + (op.b_std is not None)) if is_standard else own
    form = walk.add(name, own, first + there * w2 * T)
    return Node(spatial, (Part(width * op.s[1] if is_standard else width, form),))


def taps(op: object, count: int, axis: int) -> list[Array]:
    """S_t [p, q] of a filter along one axis: 1 where tap t of place p is pixel q."""
    window, stride = op.filter_shape[axis], (op.strides or (1,) * len(op.filter_shape))[axis]
    if type(op).__name__ == "ConvTranspose":
        return transposed_taps(op.padding, count, window, stride)
    dilation = (getattr(op, "dilation", None) or (1,) * len(op.filter_shape))[axis]
    return moving_taps(op.padding, count, window, stride, dilation)


def moving_taps(padding: str, count: int, window: int, stride: int, dilation: int = 1) -> list[Array]:
    reach = (window - 1) * dilation + 1
    ((low, high),) = jax.lax.padtype_to_pads((count,), (reach,), (stride,), "VALID" if padding == "VALID" else "SAME")
    size = (count + low + high - reach) // stride + 1
    if size < 1:
        raise NotImplementedError("no place for the window")
    found = []
    for t in range(window):
        S = np.zeros((size, count), EXACT)
        for p in range(size):
            q = stride * p + dilation * t - low
            if padding == "CIRCULAR" or 0 <= q < count:
                S[p, q % count] = 1
        found.append(S)
    return found


def transposed_taps(padding: str, count: int, window: int, stride: int) -> list[Array]:
    """jax.lax.conv_transpose of unit vectors;  CIRCULAR is VALID with its overflow folded onto the other end."""
    mode = "VALID" if padding == "CIRCULAR" else padding
    eye = np.eye(count, dtype=np.float32)[:, :, None]
    found = []
    for t in range(window):
        tap = np.eye(window, dtype=np.float32)[t][:, None, None]
        y = jax.lax.conv_transpose(eye, tap, (stride,), mode, dimension_numbers=("NHC", "HIO", "NHC"))
        found.append(np.asarray(y)[:, :, 0].T.astype(EXACT))
    return [folded(S, count * stride) for S in found] if padding == "CIRCULAR" else found


def folded(S: Array, period: int) -> Array:
    found = np.zeros((period, S.shape[1]), EXACT)
    for p, row in enumerate(S):
        found[(p - (len(S) - period) // 2) % period] += row
    return found


def pool(walk: Walk, name: str, op: object, nodes: list[Node]) -> Node:
    (x,) = nodes
    if x.is_flat or len(x.spatial) != len(op.window_shape):
        raise NotImplementedError("axes")
    strides = op.strides or (1,) * len(op.window_shape)
    axes = [sum(moving_taps(op.padding, *some)) for some in zip(x.spatial, op.window_shape, strides, strict=True)]
    matrix = reduce(np.kron, axes, np.eye(1, dtype=EXACT))
    if type(op).__name__ == "AvgPool":
        is_true_count = op.normalize_edges and op.padding == "SAME"
        matrix = matrix / (matrix.sum(1, keepdims=True) if is_true_count else prod(op.window_shape))
    return x.mapped(matrix, tuple(len(a) for a in axes))


def dot_general(walk: Walk, name: str, op: object, nodes: list[Node]) -> Node:
    (x,) = nodes
    array = np.array(op.array, EXACT).reshape(op.array_shape)
    own, other = "abcdefgh"[: len(x.spatial)], list("ABCDEFGH"[: array.ndim])
    for mine, theirs in ((op.contracted, op.array_contracted), (op.shared, op.array_shared)):
        for i, j in zip(mine, theirs, strict=True):
            other[j] = own[i]
    shared = "".join(own[i] for i in op.shared)
    free = "".join(c for i, c in enumerate(own) if i not in {*op.shared, *op.contracted})
    added = "".join(c for c in other if c.isupper())
    ends = added + free if op.is_left else free + added
    basis = np.eye(x.pixels, dtype=EXACT).reshape(-1, *x.spatial)
    made = np.einsum(f"z{own},{''.join(other)}->z{shared}{ends}", basis, array)
    return x.mapped(made.reshape(x.pixels, -1).T, made.shape[1:])


def resized(walk: Walk, name: str, op: object, nodes: list[Node]) -> Node:
    (x,) = nodes
    shape = tuple(n if s == -1 else s for s, n in zip(op.output_shape[1:-1], x.spatial, strict=True))
    basis = np.eye(x.pixels).reshape(-1, *x.spatial)
    with jax.enable_x64(True):
        made = jax.image.resize(basis, (x.pixels, *shape), op.method, op.antialias)
    return x.mapped(np.asarray(made, EXACT).reshape(x.pixels, -1).T, shape)


def indexed(walk: Walk, name: str, op: object, nodes: list[Node]) -> Node:
    (x,) = nodes
    index = tuple(... if p == "..." else slice(*p) if isinstance(p, tuple) else p for p in op.idx)
    made = np.eye(x.pixels, dtype=EXACT).reshape(-1, *x.spatial)[(slice(None), *index)]
    return x.mapped(made.reshape(x.pixels, -1).T, made.shape[1:])


def permuted(walk: Walk, name: str, op: object, nodes: list[Node]) -> Node:
    (x,) = nodes
    made = np.eye(x.pixels, dtype=EXACT).reshape(-1, *x.spatial).transpose(0, *(1 + i for i in op.order))
    return x.mapped(made.reshape(x.pixels, -1).T, made.shape[1:])


def global_pool(walk: Walk, name: str, op: object, nodes: list[Node]) -> Node:
    (x,) = nodes
    if x.is_flat:
        raise NotImplementedError("no pixels")
    total = x.mapped(np.ones((1, x.pixels), EXACT), ())
    if type(op).__name__ == "GlobalSumPool":
        return total
    count = np.full((walk.samples, 1), EXACT(x.pixels)) if x.there is None else x.there.sum(1, keepdims=True)
    return hidden(total, 1 / np.maximum(count, 1))


def flatten(walk: Walk, name: str, op: object, nodes: list[Node]) -> Node:
    (x,) = nodes
    return replace(x, is_flat=bool(x.spatial))


def passed_on(walk: Walk, name: str, op: object, nodes: list[Node]) -> Node:
    return nodes[0]


def same_places(nodes: list[Node]) -> list[Node]:
    """Flat nodes and others have one pixel for each feature of the same kind."""
    if len({(n.spatial, n.is_flat) for n in nodes}) > 1:
        raise NotImplementedError("a flattened branch meets one that is not")
    return nodes


def fan_in_sum(walk: Walk, name: str, op: object, nodes: list[Node]) -> Node:
    parts = tuple(
        Part(width, sum_of_forms(*(p.linear for p in some)), tuple(t for p in some for t in p.terms))
        for width, some in aligned(same_places(nodes))
    )
    return replace(nodes[0], parts=parts)


def fan_in_prod(walk: Walk, name: str, op: object, nodes: list[Node]) -> Node:
    """C = prod_i C_i,  T = sum_i T_i prod_{j != i} C_j, of independent factors."""
    parts = []
    for i, (width, some) in enumerate(aligned(same_places(nodes))):
        fields = [walk.fields(sum_of_forms(p.linear, *(t.u for t in p.terms))) for p in some]
        if sum(map(len, fields)) > len(frozenset().union(*fields)):
            raise NotImplementedError("factors share a field")
        C, T = ([walk.of_parts(p, p, s) for p in some] for s in "CT")
        tangent = sum(t * prod(c for j, c in enumerate(C) if j != i) for i, t in enumerate(T))
        means = [walk.mean(p) for p in some]
        mean = None if any(m is None for m in means) else prod(means)
        form = walk.add(
            f"{name}/{i}", prod(C), tangent, fields=frozenset().union(*fields), is_gaussian=False, mean=mean
        )
        parts.append(Part(width, form))
    return replace(nodes[0], parts=tuple(parts))


def fan_in_concat(walk: Walk, name: str, op: object, nodes: list[Node]) -> Node:
    rank = 1 if nodes[0].is_flat else len(nodes[0].spatial) + 1
    place = op.axis - 1 if op.axis > 0 else op.axis + rank
    if place == rank - 1 and nodes[0].is_flat and len({n.pixels for n in nodes}) > 1:
        raise NotImplementedError("flattened branches of different pixels")
    if place == rank - 1:
        return replace(nodes[0], parts=tuple(p for n in same_places(nodes) for p in n.parts))
    total = sum(n.spatial[place] for n in nodes)
    placed, start = [], 0
    for n in nodes:
        axes = [np.eye(c, dtype=EXACT) for c in n.spatial]
        axes[place] = np.eye(total, n.spatial[place], -start, dtype=EXACT)
        spatial = (*n.spatial[:place], total, *n.spatial[place + 1 :])
        placed.append(n.mapped(reduce(np.kron, axes), spatial))
        start += n.spatial[place]
    return fan_in_sum(walk, name, op, placed)


def norm(walk: Walk, name: str, op: object, nodes: list[Node]) -> Node:
    """u / sqrt(v + eps):  v the variance averaged over channels, and over the pixels that are normalised."""
    (x,) = nodes
    if x.is_flat or any(p.terms or not all(walk.bases[b].is_gaussian for b in p.linear) for p in x.parts):
        raise NotImplementedError("the norm of what is not Gaussian")
    if type(op).__name__ == "GroupNorm" and op.groups > 1 and len(x.parts) > 1:
        raise NotImplementedError("groups of different laws")
    v = np.einsum("npnp->np", walk.of_nodes(x, x, "C")).reshape(walk.samples, *x.spatial)
    axes = normalised_axes(op, len(x.spatial))
    if axes:
        there = np.ones_like(v) if x.there is None else x.there.reshape(v.shape)
        counts = np.maximum(there.sum(axes, keepdims=True), 1)
        v = np.broadcast_to(v.sum(axes, keepdims=True) / counts, v.shape)
    v = v.reshape(walk.samples, -1)
    scale = 1 / np.sqrt(v + EXACT(float(op.eps)))
    return replace(
        x, parts=tuple(Part(p.width, {b: scale[:, :, None] * M for b, M in p.linear.items()}) for p in x.parts)
    )


def normalised_axes(op: object, axes: int) -> tuple[int, ...]:
    if type(op).__name__ == "RMSNorm":
        return ()
    if type(op).__name__ == "GroupNorm":
        return tuple(range(1, axes + 1))
    given = op.axis if isinstance(op.axis, tuple) else (op.axis,)
    return tuple(a for a in (g % (axes + 2) for g in given) if a <= axes)


def dropout(walk: Walk, name: str, op: object, nodes: list[Node]) -> Node:
    """y + e:  e is new, and has  (1 / rate - 1) C[n, p, n, p]."""
    (x,) = nodes
    if op.mode == "test":
        return x
    parts = []
    for i, part in enumerate(x.parts):
        C, T = (np.asarray(walk.of_parts(part, part, s)) for s in "CT")
        same = np.eye(C.shape[0] * C.shape[1], dtype=EXACT).reshape(C.shape) * (1 / EXACT(op.rate) - 1)
        noise = walk.add(f"{name}/{i}", same * C, same * T, is_gaussian=False, is_noise=True)
        parts.append(replace(part, linear=sum_of_forms(part.linear, noise)))
    return replace(x, parts=tuple(parts))


def pointwise(walk: Walk, name: str, op: object, nodes: list[Node]) -> Node:
    (x,) = nodes
    outer = FUNCTIONS[type(op).__name__](op)
    return replace(x, parts=tuple(part_through_function(walk, p, outer, x.there) for p in x.parts))


def part_through_function(walk: Walk, part: Part, outer: Function, there: Array | None) -> Part:
    """g(u), or g(c u + f(u) + ...) as another function of u."""
    u = part.terms[0].u if part.terms else part.linear
    if any(not walk.bases[b].is_gaussian or walk.bases[b].name == "source" for b in part.linear):
        raise NotImplementedError("a function of what is not Gaussian")
    pixels = next(iter(u.values())).shape[1]
    eye = np.eye(pixels, dtype=EXACT)
    if not part.terms:
        return Part(part.width, {}, (Term(eye, outer, u),))
    inner = [t.f for t in part.terms]
    own = eye if there is None else there[:, :, None] * eye
    if not all(is_multiple(t.u, u, 1.0) and np.array_equal(t.A, own) for t in part.terms):
        raise NotImplementedError("a function of what is not Gaussian")
    if part.linear:
        inner.append(affine(part.linear, u))
    return Part(part.width, {}, (Term(eye, composed(outer, reduce(added, inner)), u),))


def is_multiple(form: Form, of: Form, factor: float) -> bool:
    return form.keys() == of.keys() and all(np.array_equal(form[b], factor * of[b]) for b in of)


def affine(form: Form, u: Form) -> Function:
    for factor in (1.0, 2.0, 3.0):
        if is_multiple(form, u, factor):
            return abrelu(factor, factor)
    raise NotImplementedError("a function of several Gaussian fields")


LAYERS: dict[str, Callable[[Walk, str, object, list[Node]], Node]] = {
    "Dense": dense,
    "Conv": conv,
    "ConvTranspose": conv,
    "ConvLocal": conv,
    "AvgPool": pool,
    "SumPool": pool,
    "DotGeneral": dot_general,
    "ImageResize": resized,
    "Index": indexed,
    "Permute": permuted,
    "GlobalAvgPool": global_pool,
    "GlobalSumPool": global_pool,
    "Flatten": flatten,
    "Identity": passed_on,
    "FanOut": passed_on,
    "FanInSum": fan_in_sum,
    "FanInProd": fan_in_prod,
    "FanInConcat": fan_in_concat,
    "LayerNorm": norm,
    "RMSNorm": norm,
    "GroupNorm": norm,
    "Dropout": dropout,
    **dict.fromkeys(FUNCTIONS, pointwise),
}


# Masks.


def there_after(walk: Walk, op: object, made: Node, nodes: list[Node]) -> Array:
    """The pixels [n, p] of a node that are there."""
    name, shown = type(op).__name__, [n.there for n in nodes]
    if made.is_flat or name.startswith("Global") or (nodes[0].is_flat and name == "Dense"):
        return np.broadcast_to(shown[0].any(1, keepdims=True), (walk.samples, made.pixels)).astype(EXACT)
    if name == "FanInConcat" and made.pixels > nodes[0].pixels:
        joined = [t.reshape(-1, *n.spatial) for t, n in zip(shown, nodes, strict=True)]
        return np.concatenate(joined, op.axis if op.axis > 0 else op.axis + len(made.spatial) + 2).reshape(
            len(shown[0]), -1
        )
    if name in ("Conv", "ConvLocal", "AvgPool", "SumPool"):
        return shown[0] @ middles(op, nodes[0].spatial).T
    if name == "ConvTranspose":
        padding = "SAME" if op.padding == "CIRCULAR" else op.padding
        sizes = zip(nodes[0].spatial, op.filter_shape, op.strides or (1,) * len(op.filter_shape), strict=True)
        read = sum(kronecker_all([transposed_taps(padding, *some) for some in sizes]))
        return ((1 - shown[0]) @ read.T == 0).astype(EXACT)
    if name in ("DotGeneral", "ImageResize", "Index", "Permute"):
        matrix = LAYERS[name](walk, "", op, [Node(nodes[0].spatial, (Part(1, {"": walk.unit(nodes[0].pixels)}),))])
        return (shown[0] @ (matrix.parts[0].linear[""][0] != 0).T > 0).astype(EXACT)
    return np.max(shown, 0)


def middles(op: object, spatial: tuple[int, ...]) -> Array:
    """The pixel in the middle of each window."""
    windows = op.window_shape if hasattr(op, "window_shape") else op.filter_shape
    ones = (1,) * len(windows)
    spreads = getattr(op, "dilation", None) or ones
    axes = []
    for n, w, s, d in zip(spatial, windows, op.strides or ones, spreads, strict=True):
        reach = (w - 1) * d + 1
        axes.append(moving_taps(op.padding, n, reach, s)[(reach - 1) // 2])
    return reduce(np.kron, axes, np.eye(1, dtype=EXACT))


def kernels(graph: Graph, x1: Array, x2: Array | None, there: Array | None = None) -> tuple[Array, Array]:
    """nngp and ntk [n1, n2, h, h', w, w', ...] of samples [n, h, w, ..., channels]; x2 = None is x1, its noise too.

    `there` [n, h, w, ...]: pixels that are not masked, of x1 and then of x2.

    Raises:
        NotImplementedError: the oracle cannot do this network.
    """
    x = x1 if x2 is None else np.concatenate([x1, x2])
    walk = Walk(len(x))
    nodes: dict[str, Node] = {}
    for name in ordered(graph):
        op, nodes_below = op_of(graph, name), [nodes[u] for u in operands(graph, name)]
        made = LAYERS[type(op).__name__](walk, name, op, nodes_below) if nodes_below else source(walk, "source", x)
        if there is not None:
            below = there_after(walk, op, made, nodes_below) if nodes_below else there.reshape(len(x), -1).astype(EXACT)
            made = hidden(made, below)
        nodes[name] = made
    output = nodes[graph.graph["output"]]
    left, right = slice(len(x1)), slice(0 if x2 is None else len(x1), None)
    return tuple(shown(v[left, :, right], () if output.is_flat else output.spatial) for v in walk.below(output))


def shown(values: Array, spatial: tuple[int, ...]) -> Array:
    """[n, p, m, q] -> [n, m, h, h', w, w', ...]."""
    axes = len(spatial)
    values = values.reshape(len(values), *spatial, values.shape[2], *spatial)
    pairs = [place for i in range(axes) for place in (1 + i, 2 + axes + i)]
    return values.transpose(0, 1 + axes, *pairs).astype(float)
