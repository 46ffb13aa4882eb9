"""K  ->  what loses no digits where samples, or pixels, are near: the gap of cosines, or half the squared distance.

Rows with an activation of degree one keep cosines and norms apart (`normalise`), near-opposite ones too, and may
collapse to one polynomial; all others, rows and pixels alike, carry distances (`gaps`).
"""

from __future__ import annotations

import sympy as sp

from ntkc.gaussian.erf_gap import recognise_erf
from ntkc.ir.program import PLACES, Let, Program, lets
from ntkc.ir.streams import Kind, Stream, streams_in, variance
from ntkc.passes.gaps.carry import carry_distance
from ntkc.passes.normalise import linear_terms, mixture_of, normalise, operand_of


def carry_gap(program: Program) -> Program:
    """The program in gaps; unchanged if no activation needs them."""
    covariances = [let for let in lets(program.per_pair) if let.dst.kind is Kind.K]
    if program.has_pixels or not all(linear_terms(let.expr) or _is_of_single_nodes(let.expr) for let in covariances):
        return carry_distance(program)
    if any(map(mixture_of, covariances)):
        return normalise(program)
    # Distances of rows that are parallel and of other norms lose digits, which other functions keep in K.
    return carry_distance(program) if all(linear_terms(let.expr) or _is_erf(let) for let in covariances) else program


def _is_erf(let: Let) -> bool:
    node = operand_of(let)
    return (
        bool(node) and recognise_erf(let.expr, Stream(Kind.K, node), variance(node, 1), variance(node, 2)) is not None
    )


def _is_of_single_nodes(expr: sp.Expr) -> bool:
    """Every term reads K and q of one node, and nothing else."""
    found = [(streams_in(t), t.free_symbols) for t in sp.Add.make_args(sp.expand(expr))]
    return not any(
        symbols & set(PLACES) or {s.kind for s in streams} - {Kind.K, Kind.S} or len({s.node for s in streams}) > 1
        for streams, symbols in found
    )
