"""What a map of pixels does along one axis, or along all of them at once with vectors of numbers.

Patch(3, stride=2, low=1)   ->   1/3 sum_{0 <= t < 3} K[2 p + t - 1, 2 p' + t - 1]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Any

from ntkc.ir.maps import AxisMap, Level, Local, Matrix, Patch, Pick, Place, Spread, Take, Total, Trace, Window


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
    p, q = index("p"), index("p'")
    return replace(part, factor=rf"\delta_{{{p} {q}}}")


def _pool(maps: Sequence[Window], sizes: Sequence[int], index: Index) -> Part:
    left, right = (_in_window(maps, sizes, index(p), index(t)) for p, t in (("p", "t"), ("p'", "t'")))
    windows = _numbers(m.window for m in maps)
    t2 = index("t'")
    bound = rf"0 \le {index('t')}, {t2} < {windows}"
    if all(len(set(m.scales)) == 1 for m in maps):
        return Part(left, right, bound, prod(m.scales[0] for m in maps) ** 2, note=_beyond(maps))
    n = [rf"n_{{{index(p)}}}" for p in ("p", "p'")]
    inside = rf"\left[0 \le {left} < {_numbers(sizes)}\right]"
    note = rf"{n[0]} = \sum_{{0 \le {index('t')} < {windows}}} {inside}"
    return Part(left, right, bound, 1, rf"\frac{{1}}{{{n[0]} {n[1]}}}", note=note)


def _in_window(maps: Sequence[Window], sizes: Sequence[int], p: str, t: str) -> str:
    place = _shifted(f"{_times((m.stride for m in maps), p)} + {t}", (m.low for m in maps))
    return rf"({place}) \bmod {_numbers(sizes)}" if any(m.wraps for m in maps) else place


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
    start, step = next(iter(places), 0), next((b - a for a, b in pairwise(places)), 1)
    if places == tuple(start + step * i for i in range(len(places))) and step > 0:
        left, right = (_shifted(_times([step], index(p)), [-start]) for p in ("p", "p'"))
        return Part(left, right)
    i, p, q = index("i"), index("p"), index("p'")
    return Part(f"{i}({p})", f"{i}({q})", note=f"{i} = {tuple_text(map(str, places))}")


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
    return tuple_text(map(str, given))


def tuple_text(given: Iterable[str]) -> str:
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
