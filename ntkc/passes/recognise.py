"""What a statement computes: a sum of covariances, an activation of degree one, an erf; and which nodes those read."""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from ntkc.gaussian.arc_cosine import Mixture, recognise
from ntkc.gaussian.erf_gap import recognise_erf
from ntkc.gaussian.functions import Angle, Root
from ntkc.ir.program import PLACES, Let, Loop, Program, lets
from ntkc.ir.streams import Kind, Stream, streams_in, variance

BIAS = "bias"


def symbols(node: str) -> tuple[Stream, Stream, Stream]:
    """K of a node, and q of it on both sides."""
    return Stream(Kind.K, node), variance(node, 1), variance(node, 2)


def operand_of(let: Let) -> str:
    """The one node whose covariance an activation reads; empty if there are several."""
    nodes = {a.args[0].node for a in let.expr.atoms(Angle) if isinstance(a.args[0], Stream)}
    return nodes.pop() if len(nodes) == 1 else ""


def mixture_of(let: Let) -> Mixture | None:
    operand = operand_of(let)
    return recognise(let.expr, *symbols(operand)) if operand else None


def erf_operand(let: Let) -> str:
    """The node that an erf without a constant reads, as K alone; empty for anything else."""
    operand = operand_of(let)
    found = recognise_erf(let.expr, *symbols(operand)) if operand else None
    return operand if found is not None and found.constant == 0 else ""


def linear_terms(expr: sp.Expr) -> dict[str, sp.Expr] | None:
    """sum_i c_i K_i + b  ->  {operand i: c_i, "bias": b}; None for anything else, cross terms K[u, v] included."""
    streams = streams_in(expr)
    if not streams or expr.has(*PLACES) or any(s.kind is not Kind.K or s.node != s.other for s in streams):
        return None
    terms: dict[str, sp.Expr] = {s.node: sp.S.Zero for s in sorted(streams, key=str)}
    bias = sp.S.Zero
    for term in sp.Add.make_args(sp.expand(expr)):
        read = [f for f in sp.Mul.make_args(term) if not streams.isdisjoint(f.free_symbols)]
        if not read:
            bias += term
        elif len(read) == 1 and isinstance(read[0], Stream):
            terms[read[0].node] += term / read[0]
        else:
            return None
    return terms if bias == 0 else {**terms, BIAS: bias}


def read_by(program: Program, is_reader: Callable[[sp.Expr], bool]) -> frozenset[str]:
    """Nodes whose gap such an activation reads: in their own covariance, or in that of a sum of them."""
    reads = [(let.dst.node, let.expr) for let in lets(program.per_pair) if let.dst.kind is Kind.K]
    for s in program.per_pair:
        if isinstance(s, Loop):
            reads += [(c.start.node, k) for c in s.carry for k in (c.before, c.end)]
            reads += [(c.after.node, c.end) for c in s.carry]
    read = {s.node for _, expr in reads if is_reader(expr) for s in streams_in(expr) if s.kind is Kind.K}
    while True:
        more = {s.node for node, expr in reads if node in read for s in streams_in(expr) if s.kind is Kind.K}
        if more <= read:
            return frozenset(read)
        read |= more


def has_bend(expr: sp.Expr) -> bool:
    return expr.has(Angle, Root)


def has_kink(expr: sp.Expr) -> bool:
    """An activation with a kink at 0: there is no noise in what its angle reads."""
    return any(isinstance(atom.args[1], Stream) for atom in expr.atoms(Angle, Root))
