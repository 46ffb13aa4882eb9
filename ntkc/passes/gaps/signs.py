"""Which covariances cannot be negative: arc-cosines of those need not tell signs apart."""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp

from ntkc.gaussian.arc_cosine import Mixture
from ntkc.ir.maps import Maps, Mixed
from ntkc.ir.program import Let, Loop, Program
from ntkc.ir.streams import Stream
from ntkc.passes.gaps.parts import is_covariance, split_of


def nonnegative(program: Program) -> set[Stream]:
    """Covariances that are sums, with coefficients that are not negative, of those of Relu and the like."""
    found: set[Stream] = set()
    for s in (*program.per_sample, *program.per_pair):
        if isinstance(s, Let):
            _add(s, found, program.maps)
        else:
            _add_loop(s, found, program.maps)
    return found


def _add_loop(loop: Loop, found: set[Stream], maps: Mapping[str, Maps]) -> None:
    starts = {c.start for c in loop.carry if c.before in found}
    while True:
        inside = found | starts
        for let in loop.body:
            _add(let, inside, maps)
        still = {c.start for c in loop.carry if c.start in starts and c.end in inside}
        if still == starts:
            break
        starts = still
    found |= inside | {c.after for c in loop.carry if c.start in starts}


def _add(let: Let, found: set[Stream], maps: Mapping[str, Maps]) -> None:
    if not is_covariance(let.dst):
        return
    found_here = split_of(let)
    if found_here is None:
        return
    are_ramps = all(isinstance(f, Mixture) and f.is_nonnegative for f in found_here.bent.values())
    if are_ramps and _is_nonnegative(found_here.rest, found, maps):
        found.add(let.dst)


def _is_nonnegative(expr: sp.Expr, found: set[Stream], maps: Mapping[str, Maps]) -> bool:
    if isinstance(expr, Mixed):
        k, name = expr.args
        return all(m.is_nonnegative for m in maps[str(name)]) and _is_nonnegative(k, found, maps)
    if isinstance(expr, sp.Symbol):
        return expr in found or bool(expr.is_nonnegative)
    if isinstance(expr, (sp.Add, sp.Mul)):
        return all(_is_nonnegative(a, found, maps) for a in expr.args)
    return bool(expr.is_nonnegative)
