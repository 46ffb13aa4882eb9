"""Dual activations, derived:  V(q1, q2, k) = E[f(u) h(v)],  (u, v) ~ N(0, [[q1, k], [k, q2]])."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import sympy as sp

from ntkc.errors import NoClosedForm, NoInfiniteLimit
from ntkc.gaussian import edges, moments
from ntkc.gaussian.functions import Angle, Density, Edge, ExpSinh, Minor, Orthant, Ratio, Ridge, Root, Tail
from ntkc.gaussian.normal_form import Atom, Pieces, X, pieces
from ntkc.ir.streams import Reserved

Q1, Q2 = (Reserved(name, positive=True) for name in ("q1", "q2"))
K12 = Reserved("k", real=True)
"""The variances and the covariance that every dual activation is a function of."""

MOST_PAIRS = 1000
"""Pairs of terms whose expectations are added up."""


def dual(f: sp.Expr, h: sp.Expr | None = None) -> sp.Expr:
    """V(q1, q2, k) = E[f(u) h(v)] as an expression of Q1, Q2, K12 (h = f unless given).

    Derived from the atoms of f and h (Cho and Saul 2009 and Williams 1997 come out as special cases).

    Raises:
        NoClosedForm: no closed form is known; the message holds the expression.
        NoInfiniteLimit: the expectation is infinite.
    """
    with _named(f, h):
        return _pair(pieces(f), pieces(f if h is None else h))


def dual_of_derivatives(f: sp.Expr, h: sp.Expr | None = None) -> sp.Expr:
    """E[f'(u) h'(v)], derivatives almost everywhere: dV/dk by Price's theorem wherever f and h do not jump."""
    with _named(f, h):
        return _pair_of_derivatives(pieces(f), pieces(f if h is None else h))


@contextmanager
def _named(f: sp.Expr, h: sp.Expr | None) -> Generator[None, None, None]:
    """An error from deep inside tells which function was asked for."""
    try:
        yield
    except (NoClosedForm, NoInfiniteLimit) as error:
        asked = [str(e) for e in (f, h) if e is not None and str(e) not in str(error)]
        if not asked:
            raise
        raise type(error)(f"{', '.join(dict.fromkeys(asked))}: {error}") from None


def evaluate(expr: sp.Expr, q1: sp.Expr, q2: sp.Expr, k: sp.Expr) -> sp.Expr:
    """A dual activation at given variances and covariance."""
    return expr.xreplace({Q1: q1, Q2: q2, K12: k})


Groups = dict[sp.Expr, sp.Expr]
"""Coefficient of each of 1, Root, Angle, 1/Root, exp(...): the form that is printed and emitted."""


def _pair(f: Pieces, h: Pieces) -> sp.Expr:
    if f.is_polynomial and h.is_polynomial:
        return _of_polynomials(sp.Poly(f.plus, X), sp.Poly(h.plus, X))
    return _total(_pair_groups(f, h))


def _of_polynomials(f: sp.Poly, h: sp.Poly) -> sp.Expr:
    """E[f(u) h(v)] = sum_n k^n / n! E[f^(n)(u)] E[h^(n)(v)]: Price's theorem, n times at k = 0."""
    if f.is_zero or h.is_zero:
        return sp.S.Zero
    orders = range(min(f.degree(), h.degree()) + 1)
    return sp.Add(*(K12**n / sp.factorial(n) * _mean(f, n, Q1) * _mean(h, n, Q2) for n in orders))


def _mean(f: sp.Poly, n: int, q: sp.Symbol) -> sp.Expr:
    """E[f^(n)(u)], u ~ N(0, q)."""
    degrees = range(n, f.degree() + 1, 2)
    return sp.Add(
        *(f.nth(i) * sp.factorial(i) * (q / 2) ** ((i - n) // 2) / sp.factorial((i - n) // 2) for i in degrees)
    )


@lru_cache(maxsize=4096)
def _pair_of_derivatives(f: Pieces, h: Pieces) -> sp.Expr:
    atoms = [*f.atoms(), *h.atoms()]
    is_tilted = any(atom.a != 0 for atom in atoms)
    # Price's theorem, dV/dk, where it gives less than f' and h' do: erf' times erf, Gaussians times waves.
    if is_tilted and all(atom.noise != 0 for atom in atoms):
        return sp.diff(_pair(f, h), K12)
    has_erf = any(atom.noise not in (None, 0) for atom in atoms)
    jumps = any(atom.noise == 0 and atom.n == 0 for atom in atoms)
    if has_erf and not is_tilted and not jumps and all(atom.b == 0 for atom in atoms):
        return _total(_pair_groups(f, h, _slope_of_expectation))
    return _pair(f.derivative(), h.derivative())


def _pair_groups(f: Pieces, h: Pieces, expectation: Callable[[Atom, Atom], Groups] | None = None) -> Groups:
    parts: dict[sp.Expr, list[sp.Expr]] = {}
    left, right = f.atoms(), h.atoms()
    if len(left) * len(right) > MOST_PAIRS:
        raise NoClosedForm(f"{len(left)} times {len(right)} terms: closed forms of at most {MOST_PAIRS} are derived")
    for atom1, c1 in left.items():
        for atom2, c2 in right.items():
            for basis, c in (expectation or _expectation)(atom1, atom2).items():
                parts.setdefault(basis, []).append(c1 * c2 * c)
    groups = {basis: _collected(coefficients) for basis, coefficients in parts.items()}
    if any((basis * c).has(sp.I) for basis, c in groups.items()):
        groups = _real_groups(groups)
    return _with_sinh(groups)


def _with_sinh(groups: Groups) -> Groups:
    """c exp(A + B) + d exp(A - B)  ->  (c + d) exp(A) cosh(B) + (c - d) exp(A) sinh(B) where B is odd in k."""
    found = dict(groups)
    for basis in groups:
        mirror = basis.xreplace({K12: -K12})
        if not isinstance(basis, sp.exp) or basis == mirror or not {basis, mirror} <= found.keys():
            continue
        c, d = found.pop(basis), found.pop(mirror)
        high, low = basis.args[0], mirror.args[0]
        half, odd = (sp.expand((high + s * low) / 2) for s in (1, -1))
        found[basis + mirror] = sp.expand((c + d) / 2)
        found[ExpSinh(half, odd)] = sp.expand(c - d)
    return {basis: c for basis, c in found.items() if c != 0}


def _collected(coefficients: list[sp.Expr]) -> sp.Expr:
    """The sum, as an expanded polynomial or as one fraction."""
    total = sp.Add(*coefficients)
    if not any(sp.denom(c).free_symbols for c in coefficients):
        return sp.expand(total)
    if len(coefficients) == 1 or total.has(Minor):
        return total
    return sp.cancel(total) if sp.denom(sp.together(total)).free_symbols else sp.expand(total)


def _total(groups: Groups) -> sp.Expr:
    return sp.Add(*(c * basis for basis, c in groups.items()))


def _real_groups(groups: Groups) -> Groups:
    total = _total(groups)
    # Denominators stay whole: expanded with the rest they make thousands of terms.
    below = {p.base for p in total.atoms(sp.Pow) if p.exp.is_negative and p.base.is_Add}
    if any(base.has(sp.I) for base in below):
        raise NoClosedForm("waves of x^2 have no closed form without complex numbers")
    names = {base: sp.Dummy(real=True) for base in sorted(below, key=sp.default_sort_key)}
    bases = {name: base for base, name in names.items()}
    real_groups = _real_groups_of(sp.expand(total.xreplace(names), power_exp=False, power_base=False))
    return {basis.xreplace(bases): c.xreplace(bases) for basis, c in real_groups.items()}


def _real_groups_of(expanded: sp.Expr) -> Groups:
    real = sp.Add(*(_real_part(t) for t in sp.Add.make_args(expanded)))
    basis = sorted(real.atoms(Root, Angle, sp.exp), key=sp.default_sort_key)
    flat = sp.expand(real, power_exp=False, power_base=False)
    return sp.collect(flat, basis, evaluate=False) if basis else {sp.S.One: flat}


def _real_part(term: sp.Expr) -> sp.Expr:
    """Re(P exp(E)) = exp(Re E) (Re P cos Im E - Im P sin Im E); the sum of all terms is real."""
    exponent = sum((e.args[0] for e in sp.Mul.make_args(term) if isinstance(e, sp.exp)), sp.S.Zero)
    factor = sp.Mul(*(e for e in sp.Mul.make_args(term) if not isinstance(e, sp.exp)))
    growth, phase = _split(exponent)
    real, imaginary = _split(factor)
    return sp.exp(growth) * (real * sp.cos(phase) - imaginary * sp.sin(phase))


def _split(expr: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Real and imaginary part of a polynomial in I with real coefficients."""
    terms = sp.Add.make_args(sp.expand(expr))
    imaginary = [t for t in terms if t.has(sp.I)]
    return sp.Add(*(t for t in terms if not t.has(sp.I))), sp.expand(sp.Add(*imaginary) / sp.I)


def _expectation(f: Atom, h: Atom) -> Groups:
    """E[f(u) h(v)] of two atoms: tilt the Gaussian by the exponentials, then take moments."""
    if (f.noise is not None or h.noise is not None) and (f.b != 0 or h.b != 0):
        raise NoClosedForm(f"exp({f.b if f.b != 0 else h.b} x) times a kink or erf has no closed form that is known")
    if f.edge != 0 or h.edge != 0:
        return _edged(f, h, is_slope=False)
    factor, q1, q2, k = _tilt(f.a, h.a)
    if f.noise is None and h.noise is None:
        groups = _shifted_moment(f, h, q1, q2, k)
    elif h.noise is None:
        groups = _one_sign(f, h, q1, q2, k)
    elif f.noise is None:
        groups = _one_sign(h, f, q2, q1, k)
    else:
        groups = _two_signs(f, h, q1, q2, k)
    return {basis: factor * c for basis, c in groups.items() if c != 0}


def _slope_of_expectation(f: Atom, h: Atom) -> Groups:
    """d/dk E[f(u) h(v)] of two atoms without exponentials."""
    if f.edge != 0 or h.edge != 0:
        return _edged(f, h, is_slope=True)
    if f.noise is None or h.noise is None:
        return {basis: sp.diff(c, K12) for basis, c in _expectation(f, h).items()}
    t1, t2 = _noise(f, moments.t1), _noise(h, moments.t2)
    value = moments.two_sign_moment(f.n, h.n, moments.PLAIN, t1, t2)
    return _angle_groups(moments.slope(value, t1, t2), f, h, Q1, Q2, K12)


def _edged(f: Atom, h: Atom, is_slope: bool) -> Groups:
    """E[f(u) h(v)], or its derivative in k, of two atoms of which one at least has its edge away from 0.

    sign(x - c) = side (s - 1), s = 2 [side x > side c] a step outwards: what is exact without the tails stays exact.
    """
    if any(atom.a != 0 or atom.b != 0 for atom in (f, h)):
        raise NoClosedForm("an exponential times a kink or erf away from 0 has no closed form that is known")
    if f.noise is None:
        return {basis.xreplace(_SWAP): c.xreplace(_SWAP) for basis, c in _edged(h, f, is_slope).items()}
    side1, side2 = _side(f), _side(h)
    k, (t1, t2), (c1, c2) = side1 * side2 * K12, (f.noise, h.noise or sp.S.Zero), (side1 * f.edge, side2 * h.edge)
    means = edges.m1, edges.ZERO if h.noise is None else edges.m2
    noises = (_edge_noise(atom, i) for i, atom in ((1, f), (2, h)))
    normal = edges.Normal(*means, edges.q1, edges.q2, edges.k, *noises)
    names = sp.symbols("q1 q2 k t1 t2 m1 m2")
    values = dict(zip(names, (Q1, Q2, k, t1, t2, -c1, -c2), strict=True))
    plain = edges.moment(f.n, h.n, normal)
    plain = plain.diff(edges.k) if is_slope else plain
    one = _step(f.n, h.n, normal, Q1 + t1, c1, is_slope)
    if h.noise is None:
        terms = [*one, (sp.S.One, -plain)]
    else:
        other = _step(h.n, f.n, normal.swapped(), Q2 + t2, c2, is_slope)
        both = _steps(f.n, h.n, normal, (k, Q1 + t1, Q2 + t2, c1, c2), is_slope)
        terms = [*both, *((basis, -c) for basis, c in (*one, *other)), (sp.S.One, plain)]
    flips = side1 ** (f.n + 1) * side2 ** (h.n + (h.noise is not None)) * (side1 * side2 if is_slope else 1)
    groups: Groups = {}
    for function, element in terms:
        basis, c = _at_zero(function, flips * element.as_expr().xreplace(values))
        groups[basis] = groups.get(basis, sp.S.Zero) + c
    return {basis: c for basis, c in groups.items() if c != 0}


def _at_zero(function: sp.Expr, c: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """c Density(q, 0)  ->  what other atoms write for it, so that both cancel exactly."""
    if not (isinstance(function, Density) and function.args[1] == 0):
        return function, c
    q = function.args[0]
    whole = sp.expand(c * sp.sqrt(2 / sp.pi) / sp.sqrt(q))
    return sp.S.One, _guarded(whole, q) if q.is_Symbol else whole


def _side(atom: Atom) -> int:
    """Where the step of an atom leads away from 0: up, unless its edge lies below."""
    return -1 if atom.edge.is_negative else 1


Terms = list[tuple[sp.Expr, Any]]
"""Transcendental functions, each with a coefficient in the field of edges."""


def _step(n: int, m: int, c: edges.Normal, q: sp.Expr, edge: sp.Expr, is_slope: bool) -> Terms:
    """E[u^n v^m s(u)], or its derivative in k."""
    value = edges.one_step(n, m, c)
    value = edges.slope_of_one(value) if is_slope else value
    return [(Tail(q, edge), value.step), (Density(q, edge), value.edge)]


def _steps(n: int, m: int, c: edges.Normal, args: tuple[sp.Expr, ...], is_slope: bool) -> Terms:
    """E[u^n v^m s(u) s(v)], or its derivative in k."""
    value = edges.two_steps(n, m, c)
    value = edges.slope(value, c) if is_slope else value
    square = (c.q1 + c.t1) * (c.q2 + c.t2) - c.k**2
    k, q1, q2, c1, c2 = args
    functions = Orthant(*args), Edge(*args), Edge(k, q2, q1, c2, c1), Ridge(*args)
    return list(zip(functions, (*value[:3], value.ridge / square), strict=True))


_SWAP = {Q1: Q2, Q2: Q1}


def _edge_noise(atom: Atom, side: int) -> Any:
    """The noise variance of an atom in the field of edges: a number where it is rational."""
    if atom.noise is None:
        return edges.ZERO
    return edges.FIELD(sp.QQ.from_sympy(atom.noise)) if atom.noise.is_Rational else (edges.t1, edges.t2)[side - 1]


def _tilt(a1: sp.Expr, a2: sp.Expr) -> tuple[sp.Expr, sp.Expr, sp.Expr, sp.Expr]:
    """exp(a1 u^2 + a2 v^2) N(0, C) = det^(-1/2) N(0, (C^-1 - 2 diag(a))^-1)."""
    if a1 == 0 and a2 == 0:
        return sp.S.One, Q1, Q2, K12
    minor = Minor(K12, Q1, Q2)
    det = 1 - 2 * a1 * Q1 - 2 * a2 * Q2 + 4 * a1 * a2 * minor
    return 1 / sp.sqrt(det), (Q1 - 2 * a2 * minor) / det, (Q2 - 2 * a1 * minor) / det, K12 / det


def _shifted_moment(f: Atom, h: Atom, q1: sp.Expr, q2: sp.Expr, k: sp.Expr) -> Groups:
    """E[u^n v^m exp(b1 u + b2 v)] = exp(b'mu / 2) E[(u + mu1)^n (v + mu2)^m],  mu = C b."""
    mu1, mu2 = q1 * f.b + k * h.b, k * f.b + q2 * h.b
    total = sp.S.Zero
    for i in range(f.n + 1):
        for j in range(h.n + 1):
            if (i + j) % 2 or (mu1 == 0 and i < f.n) or (mu2 == 0 and j < h.n):
                continue
            ways = sp.binomial(f.n, i) * sp.binomial(h.n, j)
            centred = _substituted(moments.moment(i, j, moments.PLAIN), q1, q2, k)
            total += ways * mu1 ** (f.n - i) * mu2 ** (h.n - j) * centred
    return {sp.exp(sp.expand((f.b * mu1 + h.b * mu2) / 2)): total}


def _one_sign(f: Atom, h: Atom, q1: sp.Expr, q2: sp.Expr, k: sp.Expr) -> Groups:
    t = _noise(f, moments.t1)
    value = _substituted(moments.one_sign_moment(f.n, h.n, moments.PLAIN, t), q1, q2, k)
    whole = value * sp.sqrt(2 / sp.pi) / sp.sqrt(q1 + f.noise)
    return {sp.S.One: _guarded(sp.expand(whole), q1) if f.noise == 0 and q1.is_Symbol else whole}


def _guarded(expr: sp.Expr, q: sp.Expr) -> sp.Expr:
    """k / sqrt(q) is 0 where q is 0, and k with it."""

    def over(power: sp.Expr) -> sp.Expr:
        whole = power.is_Integer
        return Ratio(sp.S.One, q if whole else sp.sqrt(q)) ** (-power if whole else -2 * power)

    return expr.replace(lambda e: e.is_Pow and e.base == q and e.exp.is_negative, lambda e: over(e.exp))


def _two_signs(f: Atom, h: Atom, q1: sp.Expr, q2: sp.Expr, k: sp.Expr) -> Groups:
    t1, t2 = _noise(f, moments.t1), _noise(h, moments.t2)
    value = moments.two_sign_moment(f.n, h.n, moments.PLAIN, t1, t2)
    return _angle_groups(value, f, h, q1, q2, k)


def _angle_groups(value: moments.PairMoment, f: Atom, h: Atom, q1: sp.Expr, q2: sp.Expr, k: sp.Expr) -> Groups:
    """Coefficients of the angle and of odd powers of the root: two hard signs leave none that is negative."""
    t1, t2 = _noise(f, moments.t1), _noise(h, moments.t2)
    args = (k, q1 + f.noise, q2 + h.noise)
    square = (moments.q1 + t1) * (moments.q2 + t2) - moments.k**2
    # Where one sign is hard, S is 0 for a variance of 0, and k with it.
    over = Ratio(sp.S.One, Root(*args)) if 0 in (f.noise, h.noise) else 1 / Root(*args)
    powers = _powers(value.root, square)
    groups = {Root(*args) ** (2 * i - 1) if i > 0 else over ** (1 - 2 * i): c for i, c in powers.items()}
    groups[Angle(*args)] = _factored(value.angle.numer) / _factored(value.angle.denom)
    names = sp.symbols("q1 q2 k t1 t2")
    given = dict(zip(names, (q1, q2, k, f.noise, h.noise), strict=True))
    for noise, name in ((f.noise, names[0]), (h.noise, names[1])):
        if noise == 0:
            groups = {basis: _guarded(c, name) for basis, c in groups.items()}
    return {basis: 2 / sp.pi * c.xreplace(given) for basis, c in groups.items()}


def _powers(element: Any, square: Any) -> dict[int, sp.Expr]:
    """element = sum_i c_i square^i, divided until the terms of a numerator have one sign: little then cancels."""
    digit, scale = square.numer, square.denom.as_expr()
    rest, below, i = element.numer, element.denom, 0
    while not below.rem(digit):
        below, i = below.exquo(digit), i - 1
    found: dict[int, sp.Expr] = {}
    while rest:
        is_mixed = len({c > 0 for c in rest.coeffs()}) == 2
        (quotient,), digits = rest.div([digit]) if is_mixed else ((rest.ring.zero,), rest)
        if digits:
            found[i] = _factored(digits) * scale**i / _factored(below)
        rest, i = quotient, i + 1
    return found


def _factored(polynomial: Any) -> sp.Expr:
    """A polynomial of the field's ring as a product of irreducible factors."""
    if not polynomial:
        return sp.S.Zero
    c, factors = polynomial.factor_list()
    return sp.Mul(sp.QQ.to_sympy(c), *(factor.as_expr() ** power for factor, power in factors))


def _noise(atom: Atom, generator: Any) -> Any:
    """The noise variance of an atom in the field: the number itself, so that fractions cancel, or a generator."""
    assert atom.noise is not None
    return moments.FIELD(sp.QQ.from_sympy(atom.noise)) if atom.noise.is_Rational else generator


def _substituted(element: Any, q1: sp.Expr, q2: sp.Expr, k: sp.Expr) -> sp.Expr:
    """A field element at the given variances and covariance."""
    return element.as_expr().xreplace(dict(zip(sp.symbols("q1 q2 k"), (q1, q2, k), strict=True)))
