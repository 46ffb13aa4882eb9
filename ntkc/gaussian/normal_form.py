"""f(x)  ->  sum of atoms  c x^n exp(a x^2 + b x) s(x),  s one of 1, sign(x), erf(alpha x)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import sympy as sp

from ntkc.errors import NoClosedForm, NoInfiniteLimit

X = sp.Symbol("x", real=True)
"""The argument of every activation."""

HIGHEST_POWER = 24
_POSITIVE = sp.Dummy("p", positive=True)
_KINKS = (sp.Max, sp.Min, sp.Abs, sp.sign, sp.Heaviside, sp.Piecewise)


@dataclass(frozen=True)
class Atom:
    """x^n exp(a x^2 + b x) s(x):  noise None for s = 1, 0 for sign(x), t for erf(x / sqrt(2 t))."""

    n: int
    a: sp.Expr
    b: sp.Expr
    noise: sp.Expr | None


@dataclass(frozen=True)
class Pieces:
    """f on x > 0 and on x < 0, both as smooth expressions of X."""

    plus: sp.Expr
    minus: sp.Expr

    def derivative(self) -> Pieces:
        """f' almost everywhere: what back-propagation multiplies with, jumps left out."""
        return Pieces(sp.diff(self.plus, X), sp.diff(self.minus, X))

    @property
    def is_continuous(self) -> bool:
        """No jump at 0."""
        return sp.simplify(self.plus.xreplace({X: sp.S.Zero}) - self.minus.xreplace({X: sp.S.Zero})) == 0

    def atoms(self) -> dict[Atom, sp.Expr]:
        """The normal form: coefficient of each atom."""
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
    """Max, Min, Abs, sign, Heaviside, Piecewise  ->  two smooth pieces that meet at x = 0.

    Raises:
        NoClosedForm: a kink stands elsewhere than at 0.
    """
    plus = _resolve(f.xreplace({X: _POSITIVE}), f).xreplace({_POSITIVE: X})
    minus = _resolve(f.xreplace({X: -_POSITIVE}), f).xreplace({_POSITIVE: -X})
    return Pieces(plus, minus)


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
        atom, c = _atom(term, f)
        _add(total, atom, c)
    return total


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
