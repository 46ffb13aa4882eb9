"""E[f(u) h(v)] without a closed form  ->  coefficients per sample, and one Hermite sum per pair.

per sample    h_dense1_f = Coefficients(tanh, q_dense1)
              chunks_dense1_f = Chunks(h_dense1_f)
              lost_dense1_f = Remainder(tanh, h_dense1_f, q_dense1)
per pair      K_tanh1 = HermiteSum(h1_dense1_f, h2_dense1_f, Cosine(K_dense1, q1_dense1, q2_dense1), chunks1_..., ...)

with a kink   h_dense1_f = KinkCoefficients(elu, KINK_F, q_dense1)
              chunks_dense1_f = KinkTails(h_dense1_f)
              lost_dense1_f = KinkRemainder(chunks_dense1_f)
per pair      K_elu1 = KinkMoment(KINK_F, KINK_F, K_dense1, q1_dense1, q2_dense1) + KinkSum(h1_dense1_f, ...)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import sympy as sp
from sympy.core.symbol import Str

from ntkc.errors import NoClosedForm
from ntkc.gaussian.kinks import (
    KinkCoefficients,
    KinkMoment,
    KinkRemainder,
    KinkSum,
    KinkTails,
    SplitMoment,
    is_kinked,
)
from ntkc.gaussian.near_zero import NearZero, taylor_of
from ntkc.gaussian.normal_form import X
from ntkc.gaussian.series import Chunks, Coefficients, Cosine, HermiteSum, Moment, Remainder, Series, report
from ntkc.gaussian.sigmoids import Mixture, SigmoidMean, SigmoidSum, mixture_of, square_root_of
from ntkc.ir.program import Let, Loop, Program, Statement, lets, verify
from ntkc.ir.streams import SAMPLE, Kind, Stream


@dataclass(frozen=True)
class _Expanded:
    """A function whose coefficients are made; `is_split` if a kink is taken out of it, or of its partner.

    Where it is a mixture, as its partner is, series are for small variances only, where they converge.
    """

    function: sp.Lambda
    is_split: bool
    mixture: Mixture | None = None

    def table(self, key: Stream) -> Str:
        """The name of what is taken out of it: KINK_F1 of h_dense1_f1."""
        return Str(f"KINK_{key.other.upper()}" if is_kinked(self.function.expr) else "None")

    def statements(self, key: Stream, layer: str) -> list[Let]:
        """Its coefficients, what says how many are needed, and what all of them leave."""
        variance = Stream(Kind.S, key.node, side=SAMPLE)
        if self.mixture is not None:
            made = Coefficients(self.function, sp.Min(variance, self.mixture.reach))
            return [Let(key, made, layer), Let(_chunks(key), Chunks(key), layer)]
        if not self.is_split:
            made, needed = Coefficients(self.function, variance), Chunks(key)
            lost = Remainder(self.function, key, variance)
        else:
            made = KinkCoefficients(self.function, self.table(key), variance)
            needed, lost = KinkTails(key), KinkRemainder(_chunks(key))
        return [Let(key, made, layer), Let(_chunks(key), needed, layer), Let(key.of(Kind.X), lost, layer)]


@dataclass
class _Coefficients:
    """A name for each function, and for each node the functions whose coefficients its variance must give."""

    names: dict[_Expanded, str] = field(default_factory=dict[_Expanded, str])
    wanted: dict[str, dict[_Expanded, None]] = field(default_factory=dict[str, dict[_Expanded, None]])

    def key(self, node: str, function: _Expanded) -> Stream:
        name = self.names.setdefault(function, f"f{len(self.names) + 1}")
        self.wanted.setdefault(node, {})[function] = None
        return Stream(Kind.M, node, name, SAMPLE)

    def lets(self, key: Stream, layer: str) -> list[Let]:
        """Statements that make the coefficients of a node, if `key` is its variance."""
        wanted = self.wanted.get(key.node, {}) if key.kind is Kind.S else {}
        return [let for f in wanted for let in f.statements(self.key(key.node, f), layer)]


def _chunks(key: Stream) -> Stream:
    return key.of(Kind.L).on(key.side)


def expand_series(program: Program) -> Program:
    """The program with every Series in terms of per-sample coefficients; unchanged if there is none."""
    if not series_of(program):
        return program
    made = _Coefficients()
    per_pair = tuple(_expanded(s, made) for s in program.per_pair)
    within = tuple(_expanded(s, made) for s in program.per_sample)
    sources = [let for k in program.inputs if k.side == SAMPLE for let in made.lets(k, k.node)]
    per_sample = (*sources, *(new for s in within for new in _with_coefficients(s, made)))
    return verify(_exact_near_zero(replace(program, per_sample=per_sample, per_pair=per_pair)))


OF_SAMPLES = (Coefficients, Remainder, Moment)
"""What evaluates functions at the nodes of a quadrature."""


def _exact_near_zero(program: Program) -> Program:
    """The program with functions that lose digits near 0 as their Taylor polynomials there."""
    atoms = {a for let in lets(program.per_sample) for a in let.expr.atoms(*OF_SAMPLES)}
    functions = sorted({a.args[0] for a in atoms}, key=str)
    named = {f: f"TAYLOR_{i + 1}" for i, f in enumerate(f for f in functions if taylor_of(f.expr))}
    exact = {f: sp.Lambda(X, NearZero(Str(name), f.expr, X)) for f, name in named.items()}
    if not exact:
        return program
    atoms = {a: a.func(exact[a.args[0]], *a.args[1:]) for a in atoms if a.args[0] in exact}
    return replace(program, per_sample=tuple(_with_atoms(s, atoms) for s in program.per_sample))


def _with_atoms(statement: Statement, atoms: Mapping[sp.Expr, sp.Expr]) -> Statement:
    if isinstance(statement, Let):
        return replace(statement, expr=statement.expr.xreplace(atoms))
    return replace(statement, body=tuple(replace(let, expr=let.expr.xreplace(atoms)) for let in statement.body))


def series_of(program: Program) -> list[sp.Lambda]:
    """The functions that a program holds series of."""
    atoms = [a for let in lets((*program.per_pair, *program.per_sample)) for a in let.expr.atoms(Series)]
    return sorted({f for a in atoms for f in a.args[:2]}, key=str)


def describe_series(program: Program, tolerances: Mapping[str, float]) -> str:
    """The certificates, for reports.

    Raises:
        NoClosedForm: a series does not converge; the message names the layers that ask for it.
    """
    return "; ".join(_report(f, program, tolerances) for f in series_of(program))


def _report(f: sp.Lambda, program: Program, tolerances: Mapping[str, float]) -> str:
    try:
        return report(f.expr, tolerances)
    except NoClosedForm as error:
        asking = [let.layer for let in lets(program.per_pair) if any(f in a.args[:2] for a in let.expr.atoms(Series))]
        layers = ", ".join(program.comments.get(node, node) for node in dict.fromkeys(asking))
        raise NoClosedForm(f"{layers}: {error}") from None


def _expanded(statement: Statement, made: _Coefficients) -> Statement:
    if isinstance(statement, Loop):
        return replace(statement, body=tuple(_expanded_let(let, made) for let in statement.body))
    return _expanded_let(statement, made)


def _expanded_let(let: Let, made: _Coefficients) -> Let:
    sums = {atom: _sum_of(atom, made) for atom in sorted(let.expr.atoms(Series), key=str)}
    return replace(let, expr=let.expr.xreplace(sums))


def _sum_of(atom: Series, made: _Coefficients) -> sp.Expr:
    f, h, q1, q2, k = atom.args
    is_split = is_kinked(f.expr) or is_kinked(h.expr)
    mixtures = _mixtures(f.expr, h.expr)
    functions = [_Expanded(g, is_split, mixture) for g, mixture in zip((f, h), mixtures or (None, None), strict=True)]
    keys = [made.key(q.node, g).on(side) for q, g, side in zip((q1, q2), functions, (1, 2), strict=True)]
    (first, second), (chunks1, chunks2) = keys, map(_chunks, keys)
    if mixtures:
        one, other = mixtures
        numbers = one.text(), other.text(), sp.Integer(one.is_slope)
        return SigmoidSum(*numbers, k, q1, q2, first, second, chunks1, chunks2)
    if not is_split:
        return HermiteSum(first, second, Cosine(k, q1, q2), chunks1, chunks2)
    whole = KinkSum(first, second, Cosine(k, q1, q2), chunks1, chunks2)
    if not (is_kinked(f.expr) and is_kinked(h.expr)):
        return whole
    return whole + KinkMoment(*(g.table(key) for g, key in zip(functions, keys, strict=True)), k, q1, q2)


def _mixtures(f: sp.Expr, h: sp.Expr) -> tuple[Mixture, Mixture] | None:
    """Both as mixtures of one kind."""
    one, other = mixture_of(f), mixture_of(h)
    return None if one is None or other is None or one.is_slope != other.is_slope else (one, other)


def _mean_of_square(m: Moment) -> sp.Expr:
    """The moment of a sigmoid's square, which has a closed form where quadrature ends."""
    mixture = square_root_of(m.args[0].expr)
    return m if mixture is None else SigmoidMean(mixture.text(), sp.Integer(mixture.is_slope), *m.args)


def _split(let: Let) -> Let:
    """Moments of functions with a kink by quadrature that splits there, of sigmoids by mixtures."""
    let = replace(let, expr=let.expr.xreplace({m: _mean_of_square(m) for m in let.expr.atoms(Moment)}))
    kinked = {m: SplitMoment(*m.args) for m in let.expr.atoms(Moment) if is_kinked(m.args[0].expr)}
    return replace(let, expr=let.expr.xreplace(kinked))


def _with_coefficients(statement: Statement, made: _Coefficients) -> list[Statement]:
    """A per-sample statement, followed by the coefficients at its variance."""
    if isinstance(statement, Let):
        return [_split(statement), *made.lets(statement.dst, statement.layer)]
    body = [let for c in statement.carry for let in made.lets(c.start, statement.layer)]
    for let in statement.body:
        body += [_split(let), *made.lets(let.dst, let.layer)]
    kept = (*statement.stacked, *(let.dst for let in body if let.dst not in statement.stacked))
    after = [let for c in statement.carry for let in made.lets(c.after, statement.layer)]
    return [replace(statement, body=tuple(body), stacked=kept), *after]
