"""E[f(u) h(v)] without a closed form  ->  coefficients per sample, and one Hermite sum per pair.

per sample    h_dense1_f = Coefficients(tanh, q_dense1)
              chunks_dense1_f = Chunks(h_dense1_f)
per pair      K_tanh1 = HermiteSum(h1_dense1_f, h2_dense1_f, Cosine(K_dense1, q1_dense1, q2_dense1), chunks1_..., ...)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import sympy as sp

from ntkc.gaussian.series import Chunks, Coefficients, Cosine, HermiteSum, Series, certificate
from ntkc.ir.program import SAMPLE, Key, Let, Loop, Program, Statement, lets, verify


@dataclass
class _Coefficients:
    """A name for each function, and for each node the functions whose coefficients its variance must give."""

    names: dict[sp.Lambda, str] = field(default_factory=dict[sp.Lambda, str])
    wanted: dict[str, dict[sp.Lambda, None]] = field(default_factory=dict[str, dict[sp.Lambda, None]])

    def key(self, node: str, function: sp.Lambda) -> Key:
        name = self.names.setdefault(function, f"f{len(self.names) + 1}")
        self.wanted.setdefault(node, {})[function] = None
        return Key("M", node, name, SAMPLE)

    def lets(self, node: str, layer: str) -> list[Let]:
        """Statements that make the coefficients of a node, and say how many are needed."""
        variance = Key("S", node, node, SAMPLE).symbol
        made: list[Let] = []
        for f in self.wanted.get(node, {}):
            key = self.key(node, f)
            made.append(Let(key, Coefficients(f, variance), layer))
            made.append(Let(_chunks(key), Chunks(key.symbol), layer))
        return made


def _chunks(key: Key) -> Key:
    return replace(key, stream="L")


def expand_series(program: Program) -> Program:
    """The program with every Series in terms of per-sample coefficients; unchanged if there is none."""
    if not series_of(program):
        return program
    made = _Coefficients()
    per_pair = tuple(_expanded(s, made) for s in program.per_pair)
    sources = [let for k in program.inputs if k.side == SAMPLE for let in made.lets(k.u, k.u)]
    per_sample = (*sources, *(new for s in program.per_sample for new in _with_coefficients(s, made)))
    return verify(replace(program, per_sample=per_sample, per_pair=per_pair))


def series_of(program: Program) -> list[sp.Lambda]:
    """The functions that a program holds series of."""
    atoms = [a for let in lets(program.per_pair) for a in let.expr.atoms(Series)]
    return sorted({f for a in atoms for f in a.args[:2]}, key=str)


def describe_series(program: Program, tolerances: Mapping[str, float]) -> str:
    """The certificates, for reports."""
    wanted = dict.fromkeys(tolerances.values())
    return "; ".join(certificate(f.expr).text(wanted) for f in series_of(program))


def _expanded(statement: Statement, made: _Coefficients) -> Statement:
    if isinstance(statement, Loop):
        return replace(statement, body=tuple(_expanded_let(let, made) for let in statement.body))
    return _expanded_let(statement, made)


def _expanded_let(let: Let, made: _Coefficients) -> Let:
    sums = {atom: _sum_of(atom, made) for atom in sorted(let.expr.atoms(Series), key=str)}
    return replace(let, expr=let.expr.xreplace(sums))


def _sum_of(atom: Series, made: _Coefficients) -> sp.Expr:
    f, h, q1, q2, k = atom.args
    keys = [made.key(q.name.removeprefix(f"q{side}_"), g).on(side) for side, g, q in ((1, f, q1), (2, h, q2))]
    (first, second), (chunks1, chunks2) = ([k.symbol for k in keys], [_chunks(k).symbol for k in keys])
    return HermiteSum(first, second, Cosine(k, q1, q2), chunks1, chunks2)


def _with_coefficients(statement: Statement, made: _Coefficients) -> list[Statement]:
    """A per-sample statement, followed by the coefficients at its variance."""
    if isinstance(statement, Let):
        return [statement, *made.lets(statement.dst.u, statement.layer)]
    body = [let for c in statement.carry for let in made.lets(c.start.u, statement.layer)]
    for let in statement.body:
        body += [let, *made.lets(let.dst.u, let.layer)]
    kept = (*statement.stacked, *(let.dst for let in body if let.dst not in statement.stacked))
    after = [let for c in statement.carry for let in made.lets(c.after.u, statement.layer)]
    return [replace(statement, body=tuple(body), stacked=kept), *after]
