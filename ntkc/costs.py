"""What a call costs, known before it runs: operations counted on the program, memory taken from the compiled code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import sympy as sp

from ntkc.ir.maps import AxisMap, Framed, Mixed, Patch, Window
from ntkc.ir.program import Let, Loop, Program, Statement
from ntkc.passes.forms import Forms

ARC_COSINE_OPERATIONS = 40
"""Of a root and two polynomials; other functions count as much."""


@dataclass(frozen=True)
class Cost:
    """Of one call for n1 x n2 pairs of samples.

    Attributes:
        flops: floating-point operations, counted on the program.
        bytes: read and written once by every statement, counted on the program.
        peak_memory: bytes of data, result and temporaries at a time, from the compiled code.
    """

    flops: int
    bytes: int
    peak_memory: int

    def __str__(self) -> str:
        return f"{self.flops:.3g} flops, {self.bytes / 1e6:,.1f} MB moved, {self.peak_memory / 1e6:,.1f} MB at a time"


def count(program: Program, forms: Forms | None, n1: int, n2: int | None, features: Sequence[int]) -> tuple[int, int]:
    """Operations, and numbers moved, for all pairs (one triangle if n2 is None) and the per-sample values.

    `features`: of each input.
    """
    pairs = n1 * (n1 + 1) // 2 if n2 is None else n1 * n2
    samples = n1 + (n2 or 0)
    flops = moved = 0
    for statements, times in ((program.per_pair, pairs), (program.per_sample, samples)):
        for let, turns in _unrolled(statements):
            entries = forms.entries(let.dst) if forms else 1
            flops += times * turns * entries * _operations(let.expr, program)
            moved += times * turns * entries * (1 + len(let.expr.free_symbols))
    widths = dict(zip(program.data, features, strict=True))
    first = sum((forms.entries(k) if forms else 1) * widths[k.node] for k in program.inputs if k.side is None)
    return flops + 2 * pairs * first, moved + (samples + pairs) * sum(features)


def peak_memory(
    function: Any, samples: Iterable[Sequence[tuple[int | None, ...]] | None], dtype: Any, parameters: Iterable[str]
) -> int:
    """Bytes that the compiled function has at a time, for data of these shapes, one for each input."""
    arrays = [None if s is None else _structures(s, dtype) for s in samples]
    scalars = {name: jax.ShapeDtypeStruct((), jnp.result_type(float)) for name in parameters}
    analysis = function.lower(*arrays, **scalars).compile().memory_analysis()
    return sum(int(getattr(analysis, f"{part}_size_in_bytes")) for part in ("argument", "output", "temp"))


def _structures(shapes: Sequence[tuple[int | None, ...]], dtype: Any) -> Any:
    made = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    return tuple(made) if len(made) > 1 else made[0]


def _unrolled(statements: Iterable[Statement]) -> Iterable[tuple[Let, int]]:
    for s in statements:
        if isinstance(s, Loop):
            yield from ((let, s.count) for let in s.body)
        else:
            yield s, 1


def _operations(expr: sp.Expr, program: Program) -> int:
    """Arithmetic of one entry."""
    own = int(sp.count_ops(expr.replace(lambda e: isinstance(e, Mixed), lambda e: e.args[0])))
    functions = sum(not isinstance(f, (Framed, Mixed)) for f in expr.atoms(sp.Function))
    taps = sum(prod(map(_taps, program.maps[str(m.args[1])])) for m in expr.atoms(Mixed))
    return own + ARC_COSINE_OPERATIONS * functions + taps


def _taps(m: AxisMap) -> int:
    return m.window if isinstance(m, (Patch, Window)) else 1
