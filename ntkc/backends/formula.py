"""Program  ->  one sympy expression of k, q1, q2."""

from __future__ import annotations

import sympy as sp

from ntkc.gaussian.dual import K12, Q1, Q2
from ntkc.gaussian.functions import explicit
from ntkc.ir.evaluate import run, substitute
from ntkc.ir.program import Program
from ntkc.ir.streams import SAMPLE


def formula_of(program: Program, get: str) -> sp.Expr:
    """The output of a program in K, T and S, all statements put into one another."""
    first, second = ({k: q for k in program.inputs if k.side == SAMPLE} for q in (Q1, Q2))
    pair = {k: K12 for k in program.inputs if k.side is None}
    return explicit(run(program, first, second, pair, substitute)[get])
