r"""Maps of pixels  ->  lines that say what they do, with free indices only on the left.

filter   \mathcal{A}_{conv1}(K)_{p,p'} = 1/3 \sum_{0 \le t < 3} K_{p + t - 1, p' + t - 1}      (0 outside of the image)
pool     \mathcal{A}_{pool1}(K) = 1/4 \sum_{p, p'} K_{p, p'}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import sympy as sp

from ntkc.backends.latex.printer import Printer, map_text
from ntkc.ir.exact import exact
from ntkc.ir.maps import (
    AxisMap,
    JointMap,
    Level,
    Local,
    Maps,
    Matrix,
    Mixed,
    Patch,
    Permuted,
    Pick,
    Place,
    Product,
    ProductOfValues,
    Spread,
    Take,
    Total,
    Trace,
    Window,
    joint_map,
)
from ntkc.ir.program import Program


@dataclass(frozen=True)
class Index:
    """The letters of an axis, or of all axes at once: p, p_{2}."""

    below: str = ""

    def __call__(self, letter: str) -> str:
        name, prime = letter[0], letter[1:]
        return f"{name}{prime}{self.below}"


@dataclass(frozen=True)
class Part:
    """What a map does along one axis, or along all of them:  weight factor sum_bound K[left, right].

    Attributes:
        left, right: the pixel of the operand on each side.
        bound: what is summed over.
        weight, factor: in front of the sum.
        inside: in front of K, in the sum.
        is_free: the result has a pixel of this axis.
        note: what else a reader needs.
    """

    left: str
    right: str
    bound: str = ""
    weight: float = 1
    factor: str = ""
    inside: str = ""
    is_free: bool = True
    note: str = ""


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
    below = f"_{{{_tuple(i('p') for i in free)},{_tuple(i(chr(112) + chr(39)) for i in free)}}}" if free else ""
    weight = sp.Rational(prod(part.weight for part in parts)).limit_denominator(10**9)
    bound = ", ".join(part.bound for part in parts if part.bound)
    front = [
        "" if weight == 1 else str(weight) if weight.q == 1 else rf"\frac{{{weight.p}}}{{{weight.q}}}",
        *(part.factor for part in parts),
        rf"\sum_{{{bound}}}" if bound else "",
    ]
    inside = [part.inside for part in parts if part.inside]
    operand = rf"K_{{{_tuple(part.left for part in parts)},\, {_tuple(part.right for part in parts)}}}"
    notes = "".join(rf", \quad {note}" for note in dict.fromkeys(part.note for part in parts if part.note))
    return f"{below} &= {' '.join([*(t for t in front if t), *inside, operand])}{notes}"


def _meaning_of_joint(joint: JointMap) -> str:
    below = "_{p,p'}" if joint.made else ""
    if isinstance(joint, Permuted):
        return rf"_{{p,p'}} &= K_{{\sigma p,\, \sigma p'}}, \quad \sigma = {_tuple(map(str, joint.order))}"
    if isinstance(joint, ProductOfValues):
        matrix = "M_{p, a}" if joint.made else "M_{a}"
        return rf"{below} &= \sum_{{a}} {matrix} K_{{a,\, a}}"
    if isinstance(joint, Product) and not joint.own and isinstance(joint.array, float):
        return rf"{below} &= {Printer().doprint(exact(joint.array) ** 2)} K_{{p,\, p'}}"
    matrix = "M_{p, a} M_{p', a'}" if joint.made else "M_{a} M_{a'}"
    return rf"{below} &= \sum_{{a, a'}} {matrix} K_{{a,\, a'}}"



def _filter(maps: Sequence[Patch], sizes: Sequence[int], index: Index) -> Part:
    count = prod(m.window for m in maps)
    left, right = (_tap(maps, sizes, index(p), index("t") if count > 1 else "") for p in ("p", "p'"))
    bound = rf"0 \le {index('t')} < {_numbers(m.window for m in maps)}" if count > 1 else ""
    return Part(left, right, bound, 1 / count, note=_beyond(maps))


def _beyond(maps: Sequence[Patch | Window]) -> str:
    """What stands where the operand has no pixel."""
    if any(isinstance(m, Patch) and m.interior > 1 for m in maps):
        return r"\text{0 outside and at fractions}"
    is_padded = any(m.low > 0 or m.high > 0 for m in maps)
    return r"\text{0 outside}" if is_padded and not any(m.wraps for m in maps) else ""


def _tap(maps: Sequence[Patch], sizes: Sequence[int], p: str, t: str) -> str:
    """s p + d t - low, of a wider or a periodic image where it is one."""
    taps = _times((m.spread for m in maps), t)
    place = _shifted(_times((m.stride for m in maps), p) + (f" + {taps}" if taps else ""), (m.low for m in maps))
    if any(m.wraps for m in maps):
        place = rf"({place}) \bmod {_numbers(n * m.interior for n, m in zip(sizes, maps, strict=True))}"
    if any(m.interior > 1 for m in maps):
        place = rf"({place}) / {_numbers(m.interior for m in maps)}"
    return place


def _local(maps: Sequence[Local], sizes: Sequence[int], index: Index) -> Part:
    part = _filter(maps, sizes, index)
    factor = rf"\delta_{{{index('p')} {index(chr(112) + chr(39))}}}"
    return replace(part, factor=factor)


def _pool(maps: Sequence[Window], sizes: Sequence[int], index: Index) -> Part:
    sides = [
        _shifted(_times((m.stride for m in maps), index(p)) + f" + {index(t)}", (m.low for m in maps))
        for p, t in (("p", "t"), ("p'", "t'"))
    ]
    if any(m.wraps for m in maps):
        sides = [rf"({side}) \bmod {_numbers(sizes)}" for side in sides]
    windows = _numbers(m.window for m in maps)
    bound = rf"0 \le {index('t')}, {index(chr(116) + chr(39))} < {windows}"
    if all(len(set(m.scales)) == 1 for m in maps):
        return Part(*sides, bound, prod(m.scales[0] for m in maps) ** 2, note=_beyond(maps))
    n = [rf"n_{{{index(p)}}}" for p in ("p", "p'")]
    inside = rf"\left[0 \le {sides[0]} < {_numbers(sizes)}\right]"
    note = rf"{n[0]} = \sum_{{0 \le {index('t')} < {windows}}} {inside}"
    return Part(*sides, bound, 1, rf"\frac{{1}}{{{n[0]} {n[1]}}}", note=note)


def _total(maps: Sequence[Total], sizes: Sequence[int], index: Index) -> Part:
    p, q = index("p"), index("p'")
    return Part(p, q, f"{p}, {q}", prod(m.scale for m in maps) ** 2, is_free=False)


def _trace(maps: Sequence[Trace], sizes: Sequence[int], index: Index) -> Part:
    return Part(index("p"), index("p"), index("p"), prod(m.scale for m in maps), is_free=False)


def _level(maps: Sequence[Level], sizes: Sequence[int], index: Index) -> Part:
    return Part(index("a"), index("a"), index("a"), 1 / prod(sizes))


def _pick(maps: Sequence[Pick], sizes: Sequence[int], index: Index) -> Part:
    return Part(str(maps[0].place), str(maps[0].place), is_free=False)


def _taken(maps: Sequence[Take], sizes: Sequence[int], index: Index) -> Part:
    places = maps[0].places
    step = places[1] - places[0] if len(places) > 1 else 1
    if places == tuple(places[0] + step * i for i in range(len(places))) and step > 0:
        left, right = (_shifted(_times([step], index(p)), [-places[0]]) for p in ("p", "p'"))
        return Part(left, right)
    i = index("i")
    return Part(f"{i}({index('p')})", f"{i}({index(chr(112) + chr(39))})", note=f"{i} = {_tuple(map(str, places))}")


def _placed(maps: Sequence[Place], sizes: Sequence[int], index: Index) -> Part:
    left, right = (_shifted(index(p), (m.start for m in maps)) for p in ("p", "p'"))
    return Part(left, right)


def _product(maps: Sequence[Matrix], sizes: Sequence[int], index: Index) -> Part:
    p, q, a, b, m = (index(letter) for letter in ("p", "p'", "a", "a'", "M"))
    return Part(a, b, f"{a}, {b}", inside=f"{{{m}}}_{{{p}, {a}}} {{{m}}}_{{{q}, {b}}}")


def _spread(maps: Sequence[Spread], sizes: Sequence[int], index: Index) -> Part:
    p, a, m = (index(letter) for letter in "paM")
    return Part(a, a, a, inside=f"{{{m}}}_{{{p}, {a}}}")


def _times(given: Iterable[int], letter: str) -> str:
    numbers = list(given)
    return letter if not letter or set(numbers) == {1} else f"{_numbers(numbers)} {letter}"


def _shifted(place: str, lows: Iterable[int]) -> str:
    numbers = list(lows)
    if set(numbers) == {0}:
        return place
    if all(n <= 0 for n in numbers):
        return f"{place} + {_numbers(-n for n in numbers)}"
    return f"{place} - {_numbers(numbers)}"


def _numbers(given: Iterable[int]) -> str:
    return _tuple(map(str, given))


def _tuple(given: Iterable[str]) -> str:
    texts = list(given)
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"


PARTS: Mapping[type[AxisMap], Callable[[Any, Sequence[int], Index], Part]] = {
    Patch: _filter,
    Local: _local,
    Window: _pool,
    Total: _total,
    Trace: _trace,
    Level: _level,
    Pick: _pick,
    Take: _taken,
    Place: _placed,
    Matrix: _product,
    Spread: _spread,
}
TOGETHER = (Patch, Local, Window, Total, Trace, Level)
"""Maps that are written for all axes at once, with vectors of numbers."""
