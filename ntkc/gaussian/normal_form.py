"""f(x)  ->  sum of atoms  c y^n exp(a y^2 + b y) s(y),  y = x - edge,  s one of 1, sign(y), erf(alpha y)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import sympy as sp

from ntkc.errors import NoClosedForm, NoInfiniteLimit
from ntkc.ir.streams import Reserved

X = Reserved("x", real=True)
"""The argument of every activation."""

HIGHEST_POWER = 24
_POSITIVE = sp.Dummy("p", positive=True)
_KINKS = (sp.Max, sp.Min, sp.Abs, sp.sign, sp.Heaviside, sp.Piecewise)


@dataclass(frozen=True)
class Atom:
    """y^n exp(a y^2 + b y) s(y), y = x - edge:  noise None for s = 1, 0 for sign(y), t for erf(y / sqrt(2 t))."""

    n: int
    a: sp.Expr
    b: sp.Expr
    noise: sp.Expr | None
    edge: sp.Expr = sp.S.Zero


@dataclass(frozen=True)
class OuterPiece:
    """`change` is added where x lies beyond `edge`, away from 0."""

    edge: sp.Expr
    change: sp.Expr


@dataclass(frozen=True)
class Pieces:
    """f just above and just below 0, as smooth expressions of X, and how it changes further out."""

    plus: sp.Expr
    minus: sp.Expr
    tails: tuple[OuterPiece, ...] = ()

    def derivative(self) -> Pieces:
        """f' almost everywhere: what back-propagation multiplies with, jumps left out."""
        tails = tuple(OuterPiece(t.edge, sp.diff(t.change, X)) for t in self.tails)
        return Pieces(sp.diff(self.plus, X), sp.diff(self.minus, X), tails)

    @property
    def is_polynomial(self) -> bool:
        """One polynomial of X everywhere."""
        return self.plus == self.minus and not self.tails and bool(self.plus.is_polynomial(X))

    @property
    def is_continuous(self) -> bool:
        """No jumps."""
        jumps = [(sp.S.Zero, self.plus - self.minus), *((t.edge, t.change) for t in self.tails)]
        return all(sp.simplify(change.xreplace({X: edge})) == 0 for edge, change in jumps)

    def atoms(self) -> dict[Atom, sp.Expr]:
        """The normal form: coefficient of each atom."""
        total = self._inner_atoms()
        for tail in self.tails:
            for atom, c in _smooth_atoms(tail.change).items():
                _add(total, atom, c / 2)
            side = sp.sign(tail.edge)
            for atom, c in _smooth_atoms(tail.change.xreplace({X: X + tail.edge})).items():
                if atom.noise is not None:
                    raise NoClosedForm(f"{tail.change} beyond x = {tail.edge}: a kink times erf has no closed form")
                _add(total, Atom(atom.n, atom.a, atom.b, sp.S.Zero, tail.edge), side * c / 2)
        return total

    def _inner_atoms(self) -> dict[Atom, sp.Expr]:
        if sp.expand(self.plus - self.minus) == 0:
            return _smooth_atoms(self.plus)
        total: dict[Atom, sp.Expr] = dict(_smooth_atoms((self.plus + self.minus) / 2))
        for atom, c in _smooth_atoms((self.plus - self.minus) / 2).items():
            if atom.noise is not None:
                raise NoClosedForm(f"{self.plus} for x > 0, {self.minus} for x < 0: sign times erf has no closed form")
            _add(total, Atom(atom.n, atom.a, atom.b, sp.S.Zero), c)
        return total


@lru_cache(maxsize=4096)
def pieces(f: sp.Expr) -> Pieces:
    """Max, Min, Abs, sign, Heaviside  ->  smooth pieces: two that meet at x = 0, and the tails beyond other kinks.

    Raises:
        NoClosedForm: a kink stands where a transcendental function has a root, or where a hyper-parameter decides.
    """
    try:
        plus = _resolve(f.xreplace({X: _POSITIVE}), f).xreplace({_POSITIVE: X})
        minus = _resolve(f.xreplace({X: -_POSITIVE}), f).xreplace({_POSITIVE: -X})
    except NoClosedForm:
        if f.free_symbols != {X} or f.has(sp.Piecewise):
            raise
        return _outward(*_intervals(f))
    return Pieces(plus, minus)


def _outward(edges: list[sp.Expr], parts: list[sp.Expr]) -> Pieces:
    """Pieces from the smooth parts between ascending edges."""
    above = [i for i, e in enumerate(edges) if e > 0]
    below = [i for i, e in enumerate(edges) if e < 0]
    tails = [OuterPiece(edges[i], parts[i + 1] - parts[i]) for i in above]
    tails += [OuterPiece(edges[i], parts[i] - parts[i + 1]) for i in below]
    plus = parts[above[0]] if above else parts[-1]
    minus = parts[below[-1] + 1] if below else parts[0]
    return Pieces(plus, minus, tuple(t for t in tails if sp.expand(t.change) != 0))


def _intervals(f: sp.Expr) -> tuple[list[sp.Expr], list[sp.Expr]]:
    """Ascending edges, and the smooth expression of X on each of the intervals between them."""
    if not f.has(*_KINKS):
        return [], [f]
    inner = [_intervals(a) for a in f.args]
    edges = sorted({e for found, _ in inner for e in found})
    all_edges, parts = list[sp.Expr](), list[sp.Expr]()
    for low, high in zip([None, *edges], [*edges, None], strict=True):
        arguments = [_part_between(found, low, high) for found in inner]
        cuts = _cuts(f, arguments, low, high)
        for left, right in zip([low, *cuts], [*cuts, high], strict=True):
            parts.append(_chosen(f, arguments, _inside(left, right)))
            if right is not None:
                all_edges.append(right)
    return all_edges, parts


def _part_between(found: tuple[list[sp.Expr], list[sp.Expr]], low: sp.Expr | None, high: sp.Expr | None) -> sp.Expr:
    edges, parts = found
    place = _inside(low, high)
    return parts[sum(1 for e in edges if e < place)]


def _inside(low: sp.Expr | None, high: sp.Expr | None) -> sp.Expr:
    """A point of an interval."""
    if low is None:
        return sp.S.Zero if high is None else high - 1
    return low + 1 if high is None else (low + high) / 2


def _cuts(f: sp.Expr, arguments: list[sp.Expr], low: sp.Expr | None, high: sp.Expr | None) -> list[sp.Expr]:
    """Where the choice that a kinked function makes changes, inside an interval."""
    if isinstance(f, (sp.Max, sp.Min)):
        switches = [a - b for i, a in enumerate(arguments) for b in arguments[:i]]
    else:
        switches = arguments[:1] if isinstance(f, _KINKS) else []
    roots: set[sp.Expr] = set()
    for switch in switches:
        polynomial = sp.expand(switch)
        if X not in polynomial.free_symbols:
            continue
        if not polynomial.is_polynomial(X) or sp.degree(polynomial, X) > 2:
            raise NoClosedForm(f"{f}: a kink where {switch} = 0, which is no quadratic of x; no closed form is known")
        roots |= set(sp.real_roots(sp.Poly(polynomial, X)))
    return sorted(r for r in roots if (low is None or r > low) and (high is None or r < high))


def _chosen(f: sp.Expr, arguments: list[sp.Expr], place: sp.Expr) -> sp.Expr:
    """A function whose arguments are smooth near `place`, without kinks of its own."""
    here = [a.xreplace({X: place}) for a in arguments]
    if isinstance(f, sp.Max):
        return max(zip(here, arguments, strict=True), key=lambda pair: pair[0])[1]
    if isinstance(f, sp.Min):
        return min(zip(here, arguments, strict=True), key=lambda pair: pair[0])[1]
    if isinstance(f, sp.Abs):
        return sp.sign(here[0]) * arguments[0]
    if isinstance(f, sp.sign):
        return sp.sign(here[0])
    if isinstance(f, sp.Heaviside):
        return (1 + sp.sign(here[0])) / 2
    return f.func(*arguments)


def _resolve(expr: sp.Expr, f: sp.Expr) -> sp.Expr:
    """Remove the kinks of an expression of a positive variable, innermost first."""
    if not expr.has(*_KINKS):
        return expr
    arguments = [_resolve(a, f) if isinstance(a, sp.Expr) else a for a in expr.args]
    expr = expr.func(*arguments)
    if isinstance(expr, (sp.Max, sp.Min)):
        return _choose(list(expr.args), isinstance(expr, sp.Max), f)
    if isinstance(expr, sp.Abs):
        return expr.args[0] * _sign(expr.args[0], f)
    if isinstance(expr, sp.sign):
        return _sign(expr.args[0], f)
    if isinstance(expr, sp.Heaviside):
        return (1 + _sign(expr.args[0], f)) / 2
    if isinstance(expr, sp.Piecewise):
        raise NoClosedForm(f"{f}: write Piecewise with Max, Min, Abs or sign, whose kinks lie at 0")
    return expr


def _choose(candidates: list[sp.Expr], largest: bool, f: sp.Expr) -> sp.Expr:
    best = candidates[0]
    for other in candidates[1:]:
        is_greater = _sign(other - best, f) > 0
        best = other if is_greater == largest else best
    return best


def _sign(expr: sp.Expr, f: sp.Expr) -> sp.Expr:
    """Sign of an expression that does not change sign on p > 0."""
    terms = sp.Add.make_args(sp.expand(expr))
    signs = {_term_sign(t) for t in terms}
    if len(signs) == 1 and None not in signs:
        return sp.Integer(signs.pop())  # type: ignore[arg-type]
    raise NoClosedForm(
        f"{f}: a kink where {expr.xreplace({_POSITIVE: X})} = 0 is not at x = 0; no closed form is known"
    )


def _term_sign(term: sp.Expr) -> int | None:
    sign = 1
    for factor in sp.Mul.make_args(term):
        if isinstance(factor, sp.erf):
            factor = factor.args[0]
        if factor.is_positive:
            continue
        if factor.is_zero:
            return 0
        if not factor.is_negative:
            return None
        sign = -sign
    return sign


def _add(total: dict[Atom, sp.Expr], atom: Atom, c: sp.Expr) -> None:
    total[atom] = total.get(atom, sp.S.Zero) + c
    if sp.expand(total[atom]) == 0:
        del total[atom]


def _smooth_atoms(f: sp.Expr) -> dict[Atom, sp.Expr]:
    exponential = f.rewrite([sp.sin, sp.cos, sp.sinh, sp.cosh], sp.exp).replace(sp.erfc, lambda z: 1 - sp.erf(z))
    expanded = sp.expand(exponential, power_exp=False, power_base=True, log=False, complex=False)
    total: dict[Atom, sp.Expr] = {}
    for term in sp.Add.make_args(expanded):
        edge = _edge_of(term)
        for part in sp.Add.make_args(sp.expand(_moved(term, edge)) if edge != 0 else term):
            atom, c = _atom(part, f)
            _add(total, replace(atom, edge=edge), c)
    return total


def _edge_of(term: sp.Expr) -> sp.Expr:
    """Where the one erf(alpha x + beta) of a term is 0."""
    factors = [e for e in sp.Mul.make_args(term) if isinstance(e, sp.erf)]
    if len(factors) != 1:
        return sp.S.Zero
    argument = sp.expand(factors[0].args[0])
    slope, offset = argument.coeff(X, 1), argument.coeff(X, 0)
    is_affine = slope != 0 and sp.expand(argument - slope * X - offset) == 0
    return -offset / slope if is_affine else sp.S.Zero


def _moved(term: sp.Expr, edge: sp.Expr) -> sp.Expr:
    """The term in y = x - edge, written X."""
    moved = (e.xreplace({X: X + edge}) for e in sp.Mul.make_args(term))
    return sp.Mul(*(sp.erf(sp.expand(e.args[0])) if isinstance(e, sp.erf) else e for e in moved))


def _atom(term: sp.Expr, f: sp.Expr) -> tuple[Atom, sp.Expr]:
    c, rest = term.as_independent(X, as_Add=False)
    n, exponent, noise = 0, sp.S.Zero, None
    for factor in sp.Mul.make_args(rest):
        base, power = factor.as_base_exp()
        if factor.is_Number:
            c *= factor
        elif base == X and power.is_Integer and 0 < power <= HIGHEST_POWER:
            n += int(power)
        elif isinstance(factor, sp.exp) or base == sp.E:
            exponent += power
        elif isinstance(factor, sp.erf) and noise is None:
            slope = _slope(factor, f)
            c, noise = c * sp.sign(slope), 1 / (2 * slope**2)
        else:
            raise NoClosedForm(f"{f}: no closed form is known for its factor {factor}")
    a, b, shift = _quadratic(exponent, f)
    return Atom(n, a, b, noise), c * sp.exp(shift)


def _slope(factor: sp.Expr, f: sp.Expr) -> sp.Expr:
    slope = sp.diff(factor.args[0], X)
    if slope.has(X) or sp.expand(factor.args[0] - slope * X) != 0:
        raise NoClosedForm(f"{f}: {factor} is not erf(alpha x)")
    return slope


def _quadratic(exponent: sp.Expr, f: sp.Expr) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    expanded = sp.expand(exponent)
    if not expanded.is_polynomial(X) or sp.degree(expanded, X) > 2:
        raise NoClosedForm(f"{f}: the exponent {exponent} is not a quadratic of x")
    a, b, shift = (expanded.coeff(X, i) for i in (2, 1, 0))
    if a.is_positive:
        raise NoInfiniteLimit(f"{f} grows like exp({a} x^2): its second moment is infinite for large variances")
    return a, b, shift
