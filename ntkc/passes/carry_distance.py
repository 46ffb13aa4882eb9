"""K  ->  half the mean squared distance eta = (q1 + q2) / 2 - K, in networks of Dense, sums and erf.

    erf          eta -> c1 AngleGap(eta, d, ...),    d = q1 - q2
    Dense, sum   eta -> sum_i c_i eta_i              (biases cancel)

Near-duplicate inputs have an eta of 1e-8 q and less, which float32 keeps in eta and loses in K: chaotic networks make
it large again. Up to the first erf d is carried too, from the data; beyond, it shrinks while eta grows, and the
difference of the variances is accurate enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import sympy as sp

from ntkc.gaussian.erf_gap import AngleGap, ErfLike, Span, is_slope_of, recognise_erf
from ntkc.gaussian.functions import Angle
from ntkc.ir.program import Carry, Let, Program, Statement, lets, verify
from ntkc.ir.streams import SAMPLE, Kind, Stream, variance
from ntkc.passes.normalise import BIAS, linear_terms, operand_of


@dataclass(frozen=True)
class _Erf:
    """An erf-like node: what it makes of its operand."""

    node: str
    operand: str
    form: ErfLike

    def unit(self, key: Stream) -> sp.Expr:
        """A stream of the operand over the noise."""
        return key / self.form.noise

    @property
    def distance(self) -> tuple[sp.Expr, ...]:
        """eta, d, q1, q2 of the operand over the noise."""
        distances = (Stream(kind, self.operand) for kind in (Kind.E, Kind.D))
        keys = (*distances, *(variance(self.operand, side) for side in (1, 2)))
        return tuple(map(self.unit, keys))

    def of_sample(self, kind: Kind, side: int) -> sp.Symbol:
        """r or phi of a side."""
        return Stream(kind, self.node, side=side)

    @property
    def eta(self) -> sp.Expr:
        """eta of the node."""
        r1, r2, phi1, phi2 = (self.of_sample(kind, side) for kind in (Kind.R, Kind.F) for side in (1, 2))
        return self.form.scale * AngleGap(*self.distance, r1, r2, phi1 + phi2)

    @property
    def slope(self) -> sp.Expr:
        """dV/dk."""
        return self.form.scale / self.form.noise / Span(*self.distance)


@dataclass(frozen=True)
class _Form:
    """The erf-like nodes, and the nodes whose d is carried from the data."""

    erfs: Mapping[str, _Erf]
    carried: set[str]


def carry_distance(program: Program) -> Program:
    """The program in eta and d; unchanged unless all covariances are linear or erf-like, and one is erf-like."""
    covariances = [let for let in lets(program.per_pair) if let.dst.kind is Kind.K]
    erfs = {let.dst.node: erf for let in covariances if (erf := _erf_of(let))}
    linear = {let.dst.node for let in covariances if linear_terms(let.expr)}
    starts = [k for k in program.inputs if k.side is None]
    if (
        not erfs
        or len(erfs) + len(linear) < len(covariances)
        or [k.kind for k in starts] != [Kind.K]
        or program.is_port
    ):
        return program
    per_sample = tuple(new for s in program.per_sample for new in _with_angles(s, erfs))
    form = _Form(erfs, {starts[0].node})
    per_pair = (_covariance(starts[0]), *(new for s in program.per_pair for new in _rewritten(s, form)))
    inputs = tuple(new for k in program.inputs for new in (_distance_keys(k) if k.kind is Kind.K else (k,)))
    return verify(replace(program, per_sample=per_sample, per_pair=per_pair, inputs=inputs))


def _distance_keys(key: Stream) -> tuple[Stream, Stream]:
    return key.of(Kind.E), key.of(Kind.D)


def _covariance(key: Stream, layer: str = "") -> Let:
    """K = (q1 + q2) / 2 - eta."""
    _, q1, q2 = _stream_symbols(key.node)
    return Let(key, (q1 + q2) / 2 - Stream(Kind.E, key.node, key.other), layer)


def _difference(key: Stream, layer: str = "") -> Let:
    """d = q1 - q2."""
    _, q1, q2 = _stream_symbols(key.node)
    return Let(Stream(Kind.D, key.node, key.other), q1 - q2, layer)


def _erf_of(let: Let) -> _Erf | None:
    operand = operand_of(let)
    form = recognise_erf(let.expr, *_stream_symbols(operand)) if operand else None
    return _Erf(let.dst.node, operand, form) if form else None


def _stream_symbols(node: str) -> tuple[sp.Symbol, sp.Symbol, sp.Symbol]:
    return Stream(Kind.K, node), variance(node, 1), variance(node, 2)


def _rewritten(statement: Statement, form: _Form) -> list[Statement]:
    if isinstance(statement, Let):
        return [*_rewritten_let(statement, form)]
    carried = [c for c in statement.carry if c.start.kind is Kind.K]
    entered = [new for c in carried for new in (_covariance(c.start), _difference(c.start))]
    body = (*entered, *(new for let in statement.body for new in _rewritten_let(let, form)))
    left = [new(c.after, statement.layer) for c in carried for new in (_covariance, _difference)]
    carry = tuple(_distance_carry(c) if c in carried else c for c in statement.carry)
    return [replace(statement, body=body, carry=carry), *left]


def _distance_carry(c: Carry) -> Carry:
    return Carry(*(key.of(Kind.E) for key in (c.before, c.start, c.end, c.after)))


def _rewritten_let(let: Let, form: _Form) -> list[Let]:
    erf = form.erfs.get(let.dst.node)
    if let.dst.kind is Kind.T:
        return [replace(let, expr=_tangent(let, erf))] if erf else [let]
    eta, d = _distance_keys(let.dst)
    if erf:
        return [Let(eta, erf.eta, let.layer), _difference(let.dst, let.layer), _covariance(let.dst, let.layer)]
    weights = {u: c for u, c in (linear_terms(let.expr) or {}).items() if u != BIAS}
    difference = _difference(let.dst, let.layer)
    if form.carried.issuperset(weights):
        form.carried.add(let.dst.node)
        difference = Let(d, _weighted(weights, Kind.D), let.layer)
    return [Let(eta, _weighted(weights, Kind.E), let.layer), difference, _covariance(let.dst, let.layer)]


def _weighted(weights: Mapping[str, sp.Expr], kind: Kind) -> sp.Expr:
    return sp.Add(*(c * Stream(kind, u) for u, c in weights.items()))


def _tangent(let: Let, erf: _Erf) -> sp.Expr:
    """T_u dV/dk, the derivative by the distance; other statements read K."""
    tangent = Stream(Kind.T, erf.operand, erf.operand)
    factor = sp.cancel(let.expr / tangent) if tangent in let.expr.free_symbols else sp.S.Zero
    is_slope = factor != 0 and is_slope_of(erf.form, factor, *_stream_symbols(erf.operand))
    return tangent * erf.slope if is_slope else let.expr


def _with_angles(statement: Statement, erfs: Mapping[str, _Erf]) -> list[Statement]:
    """A per-sample statement; before an erf-like variance r = sqrt(1 + 2 q / noise) - 1 and phi = arcsin(q / Q)."""
    if isinstance(statement, Let):
        return [*_angles(statement, erfs)]
    body = tuple(new for let in statement.body for new in _angles(let, erfs))
    kept = (*statement.stacked, *(let.dst for let in body if let.dst not in statement.stacked))
    return [replace(statement, body=body, stacked=kept)]


def _angles(let: Let, erfs: Mapping[str, _Erf]) -> list[Let]:
    erf = erfs.get(let.dst.node)
    if erf is None:
        return [let]
    q = variance(erf.operand)
    r, phi = (Stream(kind, erf.node, side=SAMPLE) for kind in (Kind.R, Kind.F))
    twice = 2 * q / erf.form.noise
    own = Angle(q, q + erf.form.noise, q + erf.form.noise)
    return [
        Let(r, twice / (1 + sp.sqrt(1 + twice)), let.layer),
        Let(phi, own, let.layer),
        replace(let, expr=let.expr.xreplace({own: phi})),
    ]
