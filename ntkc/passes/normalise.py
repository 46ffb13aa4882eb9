"""K, T  ->  the gap delta = 1 - K / (n1 n2) and tau = T / (n1 n2), n = sqrt(q), wherever activations are homogeneous.

    Relu           delta -> (delta + gap(delta)) / 2,              tau -> tau (1 + slope(delta)) / 2
    Dense, sum     delta -> sum_i c1_i c2_i delta_i + sum_i (c1_i - c2_i)^2 / 2,   c_i the share of operand i in n

Near-duplicate inputs have 1 - rho of 1e-8 and less, which float32 keeps in delta and loses in K. Shares are numbers
where there are no biases: then delta is a function of delta alone, whatever the depth (see `collapse`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import sympy as sp

from ntkc.gaussian.arc_cosine import ArcSlope, NearSlope, recognise_slope
from ntkc.gaussian.functions import Angle, Gap, Ratio
from ntkc.gaussian.stepped import OF_GAP, Stepped
from ntkc.ir.program import Carry, Let, Loop, Program, Statement, lets, verify
from ntkc.ir.streams import SAMPLE, Kind, Stream, streams_in, variance
from ntkc.passes.noisy import erf_distance, erf_gap, in_noise, own_in_noise
from ntkc.passes.recognise import (
    BIAS,
    erf_operand,
    has_bend,
    has_kink,
    linear_terms,
    mixture_of,
    operand_of,
    read_by,
    symbols,
)


@dataclass(frozen=True)
class _Form:
    """Nodes whose K, whose T are normalised; the shares of each linear node; per-sample statements to add, by node."""

    covariances: set[str] = field(default_factory=set[str])
    tangents: set[str] = field(default_factory=set[str])
    shares: dict[str, dict[str, sp.Expr]] = field(default_factory=dict[str, dict[str, sp.Expr]])
    added: dict[str, list[Let]] = field(default_factory=dict[str, list[Let]])
    linear: dict[str, dict[str, sp.Expr]] = field(default_factory=dict[str, dict[str, sp.Expr]])
    nonnegative: set[str] = field(default_factory=set[str])
    ratios: Mapping[str, tuple[str, sp.Expr]] = field(default_factory=dict[str, tuple[str, sp.Expr]])
    wanted: frozenset[str] = frozenset()
    kinked: frozenset[str] = frozenset()

    @property
    def is_smooth(self) -> bool:
        """There are no kinks: distances serve after the first activation, and take half the vectors that gaps take."""
        return not self.kinked


def normalise(program: Program) -> Program:
    """The program in delta and tau; unchanged if no activation is homogeneous of degree one, or an erf."""
    if not any(_reads_gap(let) for let in lets(program.per_pair) if let.dst.kind is Kind.K):
        return program
    form = _Form(ratios=_ratios(program), wanted=read_by(program, has_bend), kinked=read_by(program, has_kink))
    sources = [k.node for k in program.inputs if k.kind is Kind.K]
    for node in sources:
        _make_normal(form, node)
        form.tangents.add(node)
    per_pair = tuple(new for s in program.per_pair for new in _rewritten(s, form))
    added = [let for node in sources for let in form.added[node]]
    per_sample = (*added, *(_own(s2) for s in program.per_sample for s2 in _with_norms(s, form)))
    inputs = tuple(_normal_key(k) if k.kind in (Kind.K, Kind.T) else k for k in program.inputs)
    outputs = {name: _read(sp.sympify(expr), form) for name, expr in program.outputs.items()}
    return verify(replace(program, per_sample=per_sample, per_pair=per_pair, inputs=inputs, outputs=outputs))


def _reads_gap(let: Let) -> bool:
    """An activation that has a form in the gap of its operand."""
    return bool(mixture_of(let) or erf_operand(let) or let.expr.has(Stepped))


def _normal_key(key: Stream) -> Stream:
    return key.of(Kind.G if key.kind is Kind.K else Kind.H)


def _norm(node: str, side: int = SAMPLE) -> sp.Symbol:
    return Stream(Kind.N, node, node, side)


def _make_normal(form: _Form, node: str) -> None:
    form.covariances.add(node)
    form.added.setdefault(node, []).insert(0, Let(_norm(node), sp.sqrt(variance(node)), node))


def _read(expr: sp.Expr, form: _Form) -> sp.Expr:
    """An expression of K and T, with n1 n2 (1 - delta) and n1 n2 tau put in where nodes are normalised."""
    expr = _stepped_in_gaps(in_noise(expr, form.covariances), form)
    values: dict[sp.Expr, sp.Expr] = {}
    for node in form.covariances:
        slope = (NearSlope if node in form.nonnegative else ArcSlope)(Stream(Kind.G, node))
        values[Angle(*symbols(node))] = sp.pi * slope - sp.pi / 2
        values[Stream(Kind.K, node)] = _norm(node, 1) * _norm(node, 2) * (1 - Stream(Kind.G, node))
    for node in form.tangents:
        values[Stream(Kind.T, node)] = _norm(node, 1) * _norm(node, 2) * Stream(Kind.H, node)
    return expr.xreplace(values)


def _stepped_in_gaps(expr: sp.Expr, form: _Form) -> sp.Expr:
    """Expectations of polynomials with steps, from the gap of their operand where it is known."""

    def at(call: sp.Expr) -> sp.Expr:
        *rest, k = call.args
        known = isinstance(k, Stream) and k.kind is Kind.K and k.node in form.covariances
        return OF_GAP[type(call)](*rest, Stream(Kind.G, k.node)) if known else call

    return expr.replace(lambda e: isinstance(e, tuple(OF_GAP)), at)


def _rewritten(statement: Statement, form: _Form) -> list[Statement]:
    if isinstance(statement, Loop):
        return _rewritten_loop(statement, form)
    if form.is_smooth and statement.dst.kind is Kind.K and erf_operand(statement) in form.covariances & form.wanted:
        return [*erf_distance(statement)]
    return [_rewritten_let(statement, form)]


def _rewritten_let(let: Let, form: _Form) -> Let:
    return _rewritten_covariance(let, form) if let.dst.kind is Kind.K else _rewritten_tangent(let, form)


def _rewritten_covariance(let: Let, form: _Form) -> Let:
    node, mixture = let.dst.node, mixture_of(let)
    if mixture:
        operand = operand_of(let)
        _make_normal(form, node)
        near = operand in form.nonnegative
        if near or mixture.is_nonnegative:
            form.nonnegative.add(node)
        return Let(Stream(Kind.G, node), mixture.gap(_gap(operand, form), near), let.layer)
    if node in form.wanted and erf_operand(let) in form.covariances:
        _make_normal(form, node)
        if erf_operand(let) in form.nonnegative:
            form.nonnegative.add(node)
        return Let(Stream(Kind.G, node), erf_gap(let, node in form.kinked), let.layer)
    linear = linear_terms(let.expr)
    if linear is None or not set(linear) - {BIAS} <= form.covariances:
        return replace(let, expr=_read(let.expr, form))
    _make_normal(form, node)
    form.linear[node] = linear
    if set(linear) - {BIAS} <= form.nonnegative and all(c.is_nonnegative for c in linear.values()):
        form.nonnegative.add(node)
    form.shares[node] = _add_shares(node, linear, form)
    return Let(Stream(Kind.G, node), _merged(node, form), let.layer)


def _merged(node: str, form: _Form) -> sp.Expr:
    """The gap of a sum: that of each operand by its shares, and that between the two vectors of shares.

    The latter is sum_i (c1_i - c2_i)^2 / 2; for two shares, cos a and sin a, it is 2 sin((a1 - a2) / 2)^2.
    """
    shares = form.shares[node]
    total = sp.S.Zero
    for name, share in shares.items():
        c1, c2 = _both_sides(share, node, name)
        total += c1 * c2 * Stream(Kind.G, name) if name != BIAS else 0
    open_shares = [name for name, share in shares.items() if share.free_symbols]
    if len(open_shares) != 2:
        pairs = [_both_sides(shares[name], node, name) for name in open_shares]
        return total + sp.Add(*((c1 - c2) ** 2 / 2 for c1, c2 in pairs))
    cosine, sine = (shares[name] for name in sorted(open_shares, key=lambda name: name == BIAS))
    half_cosine, half_sine = Stream(Kind.B, node, side=SAMPLE), Stream(Kind.A, node, side=SAMPLE)
    # Scaled by the fourth root of 2, so that the square of the sine of the difference comes doubled.
    form.added[node].append(Let(half_cosine, sp.sqrt((1 + cosine) / sp.sqrt(2)), node))
    form.added[node].append(Let(half_sine, sine / (sp.sqrt(2) * half_cosine), node))
    a1, a2, b1, b2 = (k.on(side) for k in (half_sine, half_cosine) for side in (1, 2))
    return total + (a1 * b2 - a2 * b1) ** 2


def _both_sides(share: sp.Expr, node: str, operand: str) -> tuple[sp.Expr, sp.Expr]:
    """A share as read on side 1 and on side 2."""
    own = _share(node, operand)
    return share.xreplace({own: _share(node, operand, 1)}), share.xreplace({own: _share(node, operand, 2)})


def _gap(node: str, form: _Form) -> sp.Expr:
    """delta of a node; from K where the node is not normalised."""
    if node in form.covariances:
        return Stream(Kind.G, node)
    if not any(let.dst.kind is Kind.N for let in form.added.get(node, [])):
        norm = Let(_norm(node), sp.sqrt(variance(node)), node)
        form.added.setdefault(node, []).append(norm)
    return Gap(Stream(Kind.K, node), _norm(node, 1) * _norm(node, 2))


def _share(node: str, operand: str, side: int = SAMPLE) -> sp.Symbol:
    return Stream(Kind.C, node, operand, side)


def _add_shares(node: str, linear: Mapping[str, sp.Expr], form: _Form) -> dict[str, sp.Expr]:
    """Share of each operand in the norm: sqrt(c_i) n_i / n, a number where n_i / n is the same for all samples."""
    shares: dict[str, sp.Expr] = {}
    for operand, c in linear.items():
        same_base = {form.ratios.get(n, ("", sp.S.Zero))[0] for n in (operand, node)}
        if operand in form.ratios and len(same_base) == 1:
            shares[operand] = sp.sqrt(c * form.ratios[operand][1] / form.ratios[node][1])
            continue
        part = sp.sqrt(c) * (1 if operand == BIAS else _norm(operand))
        form.added[node].append(Let(Stream(Kind.C, node, operand, SAMPLE), Ratio(part, _norm(node)), node))
        shares[operand] = _share(node, operand)
    return shares


def _rewritten_tangent(let: Let, form: _Form) -> Let:
    node = let.dst.node
    normal = _normal_slope(let, form) if node not in form.linear else _normal_sum(let, form)
    if node not in form.covariances or normal is None:
        return replace(let, expr=_read(let.expr, form))
    form.tangents.add(node)
    return Let(Stream(Kind.H, node), normal, let.layer)


def _normal_slope(let: Let, form: _Form) -> sp.Expr | None:
    """T_v (c0 + c1 Angle)  ->  tau_v (c0 + c1 pi/2 slope(delta_v)) / total."""
    operand = operand_of(let)
    if operand not in form.tangents or let.dst.node not in form.covariances:
        return None
    factor = sp.expand(let.expr / Stream(Kind.T, operand))
    mixture = recognise_slope(factor, *symbols(operand))
    if mixture is None:
        return None
    slope = mixture.slope(Stream(Kind.G, operand), operand in form.nonnegative)
    return Stream(Kind.H, operand) * slope / mixture.total


def _normal_sum(let: Let, form: _Form) -> sp.Expr | None:
    """sum_i t_i T_i + sum_i k_i K_i + K + c  ->  the same over n1 n2, in shares."""
    node = let.dst.node
    weights, shares = form.linear[node], form.shares[node]
    total, rest = sp.S.Zero, sp.expand(let.expr)
    symbols = {Stream(Kind.K, node): 1 - Stream(Kind.G, node)}
    for name in set(weights) - {BIAS}:
        c1, c2 = _both_sides(shares[name], node, name)
        symbols[Stream(Kind.K, name)] = c1 * c2 / weights[name] * (1 - Stream(Kind.G, name))
        if name in form.tangents:
            symbols[Stream(Kind.T, name)] = c1 * c2 / weights[name] * Stream(Kind.H, name)
    for symbol in sorted(symbols, key=str):
        total += rest.coeff(symbol, 1) * symbols[symbol]
        rest = rest.coeff(symbol, 0)
    if any(s.kind in (Kind.K, Kind.T) for s in streams_in(rest) | streams_in(total)):
        return None
    if _has_open_denominator(total, weights.values()):
        return None  # weights of an open scale are trained in the standard parameterization, at a scale of 0 too
    if rest != 0 and BIAS not in weights:
        return None  # a sample of norm zero has a tangent kernel all the same, which n1 n2 tau cannot hold
    return total + rest / (_norm(node, 1) * _norm(node, 2))


def _has_open_denominator(expr: sp.Expr, weights: Iterable[sp.Expr]) -> bool:
    """Whether it divides by a hyper-parameter of these weights."""
    is_open = any(w.free_symbols for w in weights)
    return is_open and any(not isinstance(s, Stream) for s in sp.denom(sp.cancel(expr)).free_symbols)


def _rewritten_loop(loop: Loop, form: _Form) -> list[Statement]:
    """A loop carries delta (tau) if its body, started with it, ends with it; what enters is put into that form."""
    covariances = [c for c in loop.carry if c.start.kind is Kind.K]
    inside = [let for let in loop.body if let.dst.kind is Kind.K]
    bends = any(mixture_of(let) or (erf_operand(let) and not form.is_smooth) for let in inside)
    normal = {c for c in covariances if bends or c.before.node in form.covariances}
    normal |= {c for c in loop.carry if c.start.kind is Kind.T and c.before.node in form.tangents}
    nonnegative = all(c.before.node in form.nonnegative for c in covariances)
    while True:
        trial = _copied(form)
        after = _loop_in_form(loop, trial, normal, nonnegative)
        still = {
            c
            for c, new in zip(loop.carry, after.carry, strict=True)
            if c in normal and new.end.kind in (Kind.G, Kind.H)
        }
        ends_nonnegative = nonnegative and all(c.end.node in trial.nonnegative for c in covariances)
        if (still, ends_nonnegative) == (normal, nonnegative):
            break
        normal, nonnegative = still, ends_nonnegative
    return [*_entries(loop, form, normal), _loop_in_form(loop, form, normal, nonnegative)]


def _entries(loop: Loop, form: _Form, normal: set[Carry]) -> list[Statement]:
    """Statements that bring what enters a loop into the form that the loop carries."""
    made: list[Statement] = []
    for c in loop.carry:
        is_normal = c.before.node in (form.covariances if c.before.kind is Kind.K else form.tangents)
        if c in normal and not is_normal:
            made.append(Let(_normal_key(c.before), _gap(c.before.node, form), loop.layer))
            form.covariances.add(c.before.node)
        elif is_normal and c not in normal:
            made.append(Let(c.before, _read(c.before, form), loop.layer))
    return made


def _copied(form: _Form) -> _Form:
    return _Form(
        set(form.covariances),
        set(form.tangents),
        dict(form.shares),
        {},
        dict(form.linear),
        set(form.nonnegative),
        form.ratios,
        form.wanted,
        form.kinked,
    )


def _loop_in_form(loop: Loop, form: _Form, normal: Iterable[Carry], nonnegative: bool) -> Loop:
    """The loop with these carries started in normalised form."""
    for c in normal:
        if c.start.kind is Kind.K:
            _make_normal(form, c.start.node)
            form.nonnegative.update([c.start.node] if nonnegative else [])
        else:
            form.tangents.add(c.start.node)
    body = tuple(_rewritten_let(let, form) for let in loop.body)
    return replace(loop, body=body, carry=tuple(_carry_in_form(c, c in normal, form) for c in loop.carry))


def _carry_in_form(c: Carry, is_normal: bool, form: _Form) -> Carry:
    """A carry after its body was rewritten; `end` tells the form that the body ends in."""
    ends_normal = c.end.node in (form.covariances if c.end.kind is Kind.K else form.tangents)
    if not (is_normal and ends_normal):
        return c
    if c.after.kind is Kind.K:
        _make_normal(form, c.after.node)
        form.nonnegative.update([c.after.node] if c.end.node in form.nonnegative else [])
    else:
        form.tangents.add(c.after.node)
    return Carry(*(_normal_key(k) for k in (c.before, c.start, c.end, c.after)))


def _own(statement: Statement) -> Statement:
    """A per-sample statement without products of variances."""
    if isinstance(statement, Loop):
        return replace(statement, body=tuple(replace(let, expr=own_in_noise(let.expr)) for let in statement.body))
    return replace(statement, expr=own_in_noise(statement.expr))


def _with_norms(statement: Statement, form: _Form) -> list[Statement]:
    """A per-sample statement, followed by the norms and shares of its nodes."""
    if isinstance(statement, Let):
        return [statement, *form.added.get(statement.dst.node, [])]
    body: list[Let] = []
    for c in statement.carry:
        body += form.added.get(c.start.node, [])
    for let in statement.body:
        body += [let, *form.added.get(let.dst.node, [])]
    kept = (*statement.stacked, *(let.dst for let in body if let.dst not in statement.stacked))
    after = [let for c in statement.carry for let in form.added.get(c.after.node, [])]
    return [replace(statement, body=tuple(body), stacked=kept), *after]


def _ratios(program: Program) -> dict[str, tuple[str, sp.Expr]]:
    """Nodes whose variance is a number times that of another, the base:  q_u = ratio q_base."""
    ratios = {k.node: (k.node, sp.S.One) for k in program.inputs if k.kind is Kind.S}
    for statement in program.per_sample:
        if isinstance(statement, Loop):
            ratios.update({n: (n, sp.S.One) for c in statement.carry for n in (c.start.node, c.after.node)})
        for let in lets((statement,)):
            _add_ratio(let, ratios)
    return ratios


def _add_ratio(let: Let, ratios: dict[str, tuple[str, sp.Expr]]) -> None:
    known = {s: ratios.get(s.node) for s in streams_in(let.expr) if s.kind is Kind.S}
    bases = {r[0] for r in known.values() if r} if None not in known.values() else set[str]()
    if let.dst.kind is Kind.S:
        ratios[let.dst.node] = (let.dst.node, sp.S.One)  # a base of its own, unless it is a number times another
    if len(bases) != 1:
        return
    base = sp.Dummy("q", positive=True)
    slope = sp.expand(let.expr.xreplace({s: r[1] * base for s, r in known.items() if r}) / base)
    if base not in slope.free_symbols:
        ratios[let.dst.node] = (bases.pop(), slope)
