r"""Maps of pixels  ->  lines that say what they do, with free indices only on the left.

filter   \mathcal{A}_{conv1}(K)_{p,p'} = 1/3 \sum_{0 \le t < 3} K_{p + t - 1, p' + t - 1}      (0 outside of the image)
pool     \mathcal{A}_{pool1}(K) = 1/4 \sum_{p, p'} K_{p, p'}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import sympy as sp

from ntkc.backends.latex.names import map_text
from ntkc.backends.latex.parts import PARTS, TOGETHER, Index, Part, tuple_text
from ntkc.backends.latex.printer import Printer
from ntkc.ir.exact import exact
from ntkc.ir.maps import JointMap, Maps, Mixed, Permuted, Product, ProductOfValues, joint_map
from ntkc.ir.program import Program


def definitions_of_maps(program: Program, exprs: Sequence[sp.Expr]) -> Iterator[str]:
    """A line for each map that the expressions hold, of K[p, p'] (of v[p, p] = v[p] for one value a pixel)."""
    used = {str(call.args[1]) for expr in exprs for call in expr.atoms(Mixed)}
    for name, maps in program.maps.items():
        if name in used:
            yield f"{map_text(name)}(K){meaning(maps, program.sizes[name])}"


def meaning(maps: Maps, sizes: Sequence[int]) -> str:
    """`_{p,p'} &= ...` for maps of operands of these sizes."""
    joint = joint_map(maps)
    if joint is not None:
        return _meaning_of_joint(joint)
    kinds = {type(m) for m in maps}
    if len(kinds) == 1 and kinds <= set(TOGETHER):
        parts = [PARTS[kinds.pop()](maps, sizes, Index())]
    else:
        indices = [Index(f"_{i + 1}" if len(maps) > 1 else "") for i in range(len(maps))]
        parts = [PARTS[type(m)]([m], [n], i) for m, n, i in zip(maps, sizes, indices, strict=True)]
        return _equation(parts, indices)
    return _equation(parts, [Index()])


def _equation(parts: Sequence[Part], indices: Sequence[Index]) -> str:
    free = [i for part, i in zip(parts, indices, strict=True) if part.is_free]
    sides = ",".join(tuple_text(i(p) for i in free) for p in ("p", "p'"))
    below = f"_{{{sides}}}" if free else ""
    weight = sp.Rational(prod(part.weight for part in parts)).limit_denominator(10**9)
    bound = ", ".join(part.bound for part in parts if part.bound)
    front = [
        "" if weight == 1 else str(weight) if weight.q == 1 else rf"\frac{{{weight.p}}}{{{weight.q}}}",
        *(part.factor for part in parts),
        rf"\sum_{{{bound}}}" if bound else "",
    ]
    inside = [part.inside for part in parts if part.inside]
    operand = rf"K_{{{tuple_text(part.left for part in parts)},\, {tuple_text(part.right for part in parts)}}}"
    notes = "".join(rf", \quad {note}" for note in dict.fromkeys(part.note for part in parts if part.note))
    return f"{below} &= {' '.join([*(t for t in front if t), *inside, operand])}{notes}"


def _meaning_of_joint(joint: JointMap) -> str:
    below = "_{p,p'}" if joint.made else ""
    if isinstance(joint, Permuted):
        return rf"_{{p,p'}} &= K_{{\sigma p,\, \sigma p'}}, \quad \sigma = {tuple_text(map(str, joint.order))}"
    if isinstance(joint, ProductOfValues):
        matrix = "M_{p, a}" if joint.made else "M_{a}"
        return rf"{below} &= \sum_{{a}} {matrix} K_{{a,\, a}}"
    if isinstance(joint, Product) and not joint.own and isinstance(joint.array, float):
        return rf"{below} &= {Printer().doprint(exact(joint.array) ** 2)} K_{{p,\, p'}}"
    matrix = "M_{p, a} M_{p', a'}" if joint.made else "M_{a} M_{a'}"
    return rf"{below} &= \sum_{{a, a'}} {matrix} K_{{a,\, a'}}"
