r"""LaTeX of what networks with pixels have more: maps of pixels, attention, statistics of a sample.

Mixed(K, conv1)  ->  \mathcal{A}_{\mathrm{conv1}}\!\left(K\right),  with a line that says what the map is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import prod
from typing import Any

import sympy as sp
from sympy.printing.latex import LatexPrinter

from ntkc.ir.maps import (
    AxisMap,
    Level,
    Local,
    Maps,
    Matrix,
    Patch,
    Permuted,
    Pick,
    Place,
    Product,
    Spread,
    Take,
    Total,
    Trace,
    Window,
)
from ntkc.ir.program import Program, lets

PLACES = {
    "same_pixel": r"\delta_{p p'}",
    "same_sample": r"\delta_{x x'}",
    "pattern_graph": "A",
    "pattern1_graph": "A",
    "pattern2_graph": "A'",
}
"""Symbols of pixels and samples, and the weights of edges of a sample."""
WITHIN = "WVZY"
"""Streams that only programs with pixels have."""


class PixelPrinter(LatexPrinter):
    """sympy's printer, with maps and attention as operators."""

    def _print_Mixed(self, expr: sp.Expr) -> str:
        return rf"{map_name(str(expr.args[1]))}\!\left({self._print(expr.args[0])}\right)"

    def _print_Between(self, expr: sp.Expr) -> str:
        left, middle, right = (self.parenthesize(a, 50) for a in expr.args)
        return rf"{left} \, {middle} \, {{{right}}}^{{\top}}"

    def _print_Gathered(self, expr: sp.Expr) -> str:
        left, middle, right = (self.parenthesize(a, 50) for a in expr.args[:3])
        return rf"{{{left}}}^{{\top}} \, {middle} \, {right}"

    def _print_Inner(self, expr: sp.Expr) -> str:
        left, right = map(self._print, expr.args)
        return rf"\left\langle {left}, {right} \right\rangle"

    def _print_Softmax(self, expr: sp.Expr) -> str:
        return rf"\operatorname{{softmax}}\!\left({self._print(expr.args[0])}\right)"

    def _print_Positions(self, expr: sp.Expr) -> str:
        power, decay = expr.args
        distance = sp.Symbol(rf"\textstyle\sum_i |p_i - p_i'|^{{{self._print(power)}}}")
        return self._print(decay.expr.xreplace({decay.variables[0]: distance}))


def map_name(name: str) -> str:
    r"""`conv1` -> `\mathcal{A}_{\mathrm{conv1}}`."""
    plain = name.replace("_", r"\_")
    return rf"\mathcal{{A}}_{{\mathrm{{{plain}}}}}"


def has_pixels(program: Program) -> bool:
    """Something in it is of pixels, or of equal samples: a rule that only programs with pixels have."""
    statements = [*lets(program.per_sample), *lets(program.per_pair)]
    read = {s.name for let in statements for s in let.expr.free_symbols}
    is_within = any(let.dst.kind in WITHIN for let in statements)
    return bool(program.maps) or any(program.spatial.values()) or is_within or bool(read & set(PLACES))


def map_definitions(program: Program, text: str) -> Iterator[str]:
    """What each map that the text has does to K[p, p'] (to v[p], of one value a pixel)."""
    for name, maps in program.maps.items():
        if rf"{map_name(name)}\!" in text:
            yield rf"{map_name(name)}(K)_{{p,p'}} &= {_meaning(maps)}"


def _meaning(maps: Maps) -> str:
    kinds = [type(m) for m in maps if not m.is_identity]
    for kind, meaning in MEANINGS.items():
        if kind in kinds:
            return meaning([m for m in maps if isinstance(m, kind)], maps)
    return "K_{p,p'}"


def _filter(maps: list[Patch], all_maps: Maps) -> str:
    count = prod(m.window for m in maps)
    step = "" if all(m.stride == 1 for m in maps) else _numbers(m.stride for m in maps)
    tap = "t" if all(m.spread == 1 for m in maps) else rf"{_numbers(m.spread for m in maps)} t"
    low = "" if all(m.low == 0 for m in maps) else f" - {_numbers(m.low for m in maps)}"
    place, other = f"{step} p + {tap}{low}".strip(), f"{step} p' + {tap}{low}".strip()
    if any(m.interior > 1 for m in maps):
        wide = _numbers(m.interior for m in maps)
        place, other = rf"({place}) / {wide}", rf"({other}) / {wide}"
    return rf"\frac{{1}}{{{count}}} \sum_{{t}} K_{{{place},\, {other}}}"


def _local(maps: list[Local], all_maps: Maps) -> str:
    return rf"\delta_{{p p'}} {_filter(list(maps), all_maps)}"


def _window(maps: list[Window], all_maps: Maps) -> str:
    step = "" if all(m.stride == 1 for m in maps) else _numbers(m.stride for m in maps)
    low = "" if all(m.low == 0 for m in maps) else f" - {_numbers(m.low for m in maps)}"
    sides = rf"\sum_{{t, t'}} K_{{{step} p + t{low},\, {step} p' + t'{low}}}"
    if any(len(set(m.scales)) > 1 for m in maps):
        return rf"c_p c_{{p'}} {sides}"
    scale = round(1 / prod(m.scales[0] for m in maps)) ** 2
    return _mean_of(sides, scale)


def _total(maps: list[Total], all_maps: Maps) -> str:
    scale = round(1 / prod(m.scale for m in maps)) ** 2
    return _mean_of(r"\sum_{p, p'} K_{p, p'}", scale)


def _trace(maps: list[Trace], all_maps: Maps) -> str:
    scale = round(1 / prod(m.scale for m in maps))
    return _mean_of(r"\sum_{p} K_{p, p}", scale)


def _mean_of(total: str, count: int) -> str:
    return total if count == 1 else rf"\frac{{1}}{{{count}}} {total}"


def _level(maps: list[Level], all_maps: Maps) -> str:
    axes = [i + 1 for i, m in enumerate(all_maps) if isinstance(m, Level)]
    return rf"\operatorname{{mean}}_{{{', '.join(f'p_{i}' for i in axes)}}} K_{{p, p}}"


def _taken(maps: list[AxisMap], all_maps: Maps) -> str:
    parts = r" \times ".join(_places(m) for m in all_maps)
    return rf"K_{{i(p),\, i(p')}}, \quad i \in {parts}"


def _places(m: AxisMap) -> str:
    if isinstance(m, Pick):
        return rf"\{{{m.place}\}}"
    return rf"({', '.join(map(str, m.places))})" if isinstance(m, Take) else r"\mathbb{N}"


def _placed(maps: list[Place], all_maps: Maps) -> str:
    start = _numbers(m.start if isinstance(m, Place) else 0 for m in all_maps)
    return rf"K_{{p - {start},\, p' - {start}}}"


def _product(maps: list[AxisMap], all_maps: Maps) -> str:
    return r"\left(M K M^{\top}\right)_{p, p'}"


def _permuted(maps: list[Permuted], all_maps: Maps) -> str:
    return rf"K_{{\sigma p,\, \sigma p'}}, \quad \sigma = {_numbers(maps[0].order)}"


def _numbers(given: Iterable[int]) -> str:
    numbers = list(given)
    return str(numbers[0]) if len(numbers) == 1 else f"({', '.join(map(str, numbers))})"


MEANINGS: Mapping[type[AxisMap], Callable[[Any, Maps], str]] = {
    Total: _total,
    Trace: _trace,
    Level: _level,
    Window: _window,
    Local: _local,
    Matrix: _product,
    Spread: _product,
    Product: _product,
    Permuted: _permuted,
    Place: _placed,
    Pick: _taken,
    Take: _taken,
    Patch: _filter,
}
"""How maps of each kind are written; the first kind that a layer has says it."""
