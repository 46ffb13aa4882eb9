"""K  ->  half the mean squared distance E = (q1 + q2) / 2 - K, wherever an activation reads it through linear layers.

Near-duplicates have an E of 1e-8 q and less, which float32 keeps in E and loses in K. Within one sample the same of two
of its pixels; rows are images of no axes.
"""

from __future__ import annotations

from dataclasses import replace

from ntkc.ir.program import Program, verify
from ntkc.passes.gaps.mixes import Mixes
from ntkc.passes.gaps.rewrite import Rewriter
from ntkc.passes.gaps.rules import Rules
from ntkc.passes.gaps.samples import finished
from ntkc.passes.gaps.signs import nonnegative
from ntkc.passes.gaps.wanted import bends_of, carried_differences, find_wanted


def carry_distance(program: Program) -> Program:
    """The program in distances; unchanged if no activation reads one."""
    mixes = Mixes(dict(program.maps), dict(program.sizes))
    rules = Rules(bends_of(nonnegative(program), carried_differences(program, mixes)), mixes)
    wanted = find_wanted(program, rules)
    if not wanted.distances:
        return program
    program = replace(program, maps=mixes.maps, sizes=mixes.sizes)
    return verify(finished(Rewriter(program, wanted).all(), program, rules))
