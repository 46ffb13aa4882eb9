"""Linear maps of pixels as calls of ntkc.runtime, and the tables they read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ntkc.backends.jax.names import Names
from ntkc.ir.maps import (
    AxisMap,
    JointMap,
    Level,
    Local,
    Maps,
    Matrix,
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

MapText = Callable[[str, str, Maps, str, str], str]
"""The text of maps of one kind: of their argument, its form, all maps of the layer, the name of their tables, and what
stands around the image, as one more argument of filters."""


def called(text: str, form: str, maps: Maps, table: str, frame: str = "") -> str:
    """Maps of single axes applied to what a text stands for."""
    for kind, call in KINDS.items():
        if any(type(m) is kind for m in maps):
            text = call(text, form, maps, table, frame)
    return text


def joint_called(text: str, inner: str, outer: str, joint: JointMap, table: str) -> str:
    """A map of all axes at once applied to what a text stands for."""
    if isinstance(joint, Permuted):
        return f'permuted({text}, "{inner}", {joint.order})'
    assert isinstance(joint, Product)
    labels = (joint.reads, joint.own, joint.made)
    if isinstance(joint, ProductOfValues):
        return f"contracted_values({text}, {table}, {labels})"
    return f'contracted({text}, "{inner}", "{outer}", {table}, {labels})'


def table_lines(all_maps: Mapping[str, Maps], names: Names) -> Iterator[str]:
    """What the maps of each layer are, axis by axis."""
    for name, maps in all_maps.items():
        table = names.name(("map", name), name.upper())
        joint = joint_map(maps)
        if isinstance(joint, Product):
            yield f"{table} = {joint.array!r}"
        for kind, row in TABLES.items():
            if any(type(m) is kind for m in maps) and not all(m.is_identity for m in maps):
                rows = tuple(row(m) if type(m) is kind else IDLE.get(kind) for m in maps)
                yield f"{table_of(table, maps, kind)} = {rows!r}"


def table_of(table: str, maps: Maps, kind: type[AxisMap]) -> str:
    """One table for each kind of map that a layer has."""
    kinds = [k for k in KINDS if any(type(m) is k for m in maps)]
    return table + ("" if len(kinds) == 1 else f"_{kind.__name__.upper()}")


def _by_table(function: str, kind: type[AxisMap]) -> MapText:
    def text(argument: str, form: str, maps: Maps, table: str, frame: str) -> str:
        framed = frame if kind is Patch else ""
        return f'{function}({argument}, "{form}", {table_of(table, maps, kind)}{framed})'

    return text


def _scaled_sum(argument: str, form: str, maps: Maps, table: str, frame: str) -> str:
    scale = 1.0
    for m in maps:
        scale *= m.scale**2 if isinstance(m, Total) else m.scale if isinstance(m, Trace) else 1.0
    return f'total({argument}, "{form}", {scale!r})'


def _levelled(argument: str, form: str, maps: Maps, table: str, frame: str) -> str:
    return f"levelled({argument}, {tuple(i for i, m in enumerate(maps) if isinstance(m, Level))})"


KINDS: Mapping[type[AxisMap], MapText] = {
    Patch: _by_table("patched", Patch),
    Local: _by_table("patched", Local),
    Window: _by_table("pooled", Window),
    Matrix: _by_table("multiplied", Matrix),
    Spread: _by_table("multiplied", Spread),
    Take: _by_table("taken", Take),
    Place: _by_table("placed", Place),
    Pick: _by_table("picked", Pick),
    Level: _levelled,
    Total: _scaled_sum,
    Trace: _scaled_sum,
}
"""How each kind of map is written; others of the same layer are left alone by it."""

TABLES = {
    Patch: lambda m: (m.window, m.stride, m.low, m.high, m.wraps, m.spread, m.interior),
    Local: lambda m: (m.window, m.stride, m.low, m.high, m.wraps, m.spread, m.interior),
    Window: lambda m: (m.window, m.stride, m.low, m.high, m.wraps, _short(m.scales)),
    Matrix: lambda m: m.rows,
    Spread: lambda m: m.rows,
    Take: lambda m: m.places,
    Place: lambda m: (m.start, m.total),
    Pick: lambda m: m.place,
}
IDLE: Mapping[type[AxisMap], tuple[object, ...]] = {
    Patch: (1, 1, 0, 0, False, 1, 1),
    Local: (1, 1, 0, 0, False, 1, 1),
    Window: (1, 1, 0, 0, False, 1.0),
}


def _short(scales: tuple[float, ...]) -> float | tuple[float, ...]:
    return scales[0] if len(set(scales)) == 1 else scales
