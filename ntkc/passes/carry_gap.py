"""K  ->  what loses no digits where two samples are near: the gap of cosines, or half the squared distance."""

from __future__ import annotations

from ntkc.ir.program import Program
from ntkc.passes.carry_distance import carry_distance
from ntkc.passes.normalise import normalise
from ntkc.passes.take_angles import take_angles


def carry_gap(program: Program) -> Program:
    """The program in gaps; unchanged if no activation needs them."""
    if program.has_pixels:
        return take_angles(program)
    normal = normalise(program)
    return carry_distance(normal) if normal is program else normal
