"""K  ->  what loses no digits where samples, or pixels, are near: the gap of cosines, or half the squared distance.

Rows keep cosines and norms apart (`normalise`) through activations of degree one and what an erf makes of them, the
near-opposite ones too, and may collapse to one polynomial. Rows with no activation but erf go on from there with
distances (`gaps`), which all others, rows and pixels alike, carry from the data.
"""

from __future__ import annotations

import sympy as sp

from ntkc.ir.program import PLACES, Program, lets
from ntkc.ir.streams import Kind, streams_in
from ntkc.passes.gaps.carry import carry_distance
from ntkc.passes.normalise import normalise
from ntkc.passes.recognise import erf_operand, linear_terms


def carry_gap(program: Program) -> Program:
    """The program in gaps; unchanged if no activation needs them."""
    covariances = [let for let in lets(program.per_pair) if let.dst.kind is Kind.K]
    if program.has_pixels or not all(linear_terms(let.expr) or _is_of_single_nodes(let.expr) for let in covariances):
        return carry_distance(program)
    normal = normalise(program)
    # Distances of rows that are parallel and of other norms lose digits, which other functions keep in K.
    is_erf_alone = all(linear_terms(let.expr) or erf_operand(let) for let in covariances)
    return carry_distance(normal) if is_erf_alone else normal


def _is_of_single_nodes(expr: sp.Expr) -> bool:
    """Every term reads K and q of one node, and nothing else."""
    found = [(streams_in(t), t.free_symbols) for t in sp.Add.make_args(sp.expand(expr))]
    return not any(
        symbols & set(PLACES) or {s.kind for s in streams} - {Kind.K, Kind.S} or len({s.node for s in streams}) > 1
        for streams, symbols in found
    )
