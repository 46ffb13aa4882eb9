"""K  ->  half the mean squared distance E = (q1 + q2) / 2 - K, wherever an activation reads it through linear layers.

Near-duplicates have an E of 1e-8 q and less, which float32 keeps in E and loses in K. Within one sample the same of two
of its pixels; rows are images of no axes.
"""

from __future__ import annotations

from ntkc.ir.program import Program, verify
from ntkc.passes.gaps.mixes import Mixes
from ntkc.passes.gaps.rewrite import Rewriter, with_sample_parts, with_variances
from ntkc.passes.gaps.rules import Rules
from ntkc.passes.gaps.signs import nonnegative
from ntkc.passes.gaps.wanted import bends_of, carried_differences, find_wanted
from ntkc.passes.prune import alive


def carry_distance(program: Program) -> Program:
    """The program in distances; unchanged if no activation reads one."""
    mixes = Mixes(program.maps, program.sizes)
    rules = Rules(bends_of(nonnegative(program), carried_differences(program, mixes)), mixes)
    wanted = find_wanted(program, rules)
    if not wanted.distances:
        return program
    rewritten = with_variances(alive(Rewriter(program, wanted).all()), program)
    return verify(with_sample_parts(rewritten, rules))
