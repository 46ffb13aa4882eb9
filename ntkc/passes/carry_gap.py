"""K  ->  what loses no digits where samples, or pixels, are near: the gap of cosines, or half the squared distance.

Rows whose network is homogeneous keep cosines and norms apart (`normalise`), and may collapse to one polynomial; all
others, rows and pixels alike, carry distances (`gaps`).
"""

from __future__ import annotations

from ntkc.ir.program import Program, lets
from ntkc.ir.streams import Kind
from ntkc.passes.gaps.carry import carry_distance
from ntkc.passes.normalise import linear_terms, mixture_of, normalise


def carry_gap(program: Program) -> Program:
    """The program in gaps; unchanged if no activation needs them."""
    return normalise(program) if is_of_angles(program) else carry_distance(program)


def is_of_angles(program: Program) -> bool:
    """Rows, all activations homogeneous of degree one, and all else linear."""
    covariances = [let for let in lets(program.per_pair) if let.dst.kind is Kind.K]
    return not program.has_pixels and all(mixture_of(let) or linear_terms(let.expr) for let in covariances)
