"""Fields of a layer as strangers give them: each value is held against the type that the layer declares."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import sympy as sp

from ntkc.errors import InvalidGraph
from ntkc.ir.op import Op, public_ops
from ntkc.ir.words import shown

LARGEST_WHOLE = 2**63 - 1
WORDS = {
    int: "a whole number",
    float: "a finite number",
    str: "text",
    bool: "True or False",
    sp.Expr: 'a sympy expression (in JSON {"symbol": "w"} or {"expr": "sqrt(2)"})',
    NoneType: "None",
}


def checked_fields(op: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """{"coef": [1, np.float32(2)]}  ->  {"coef": (1, 2.0)},  once every value is of the type its field declares.

    Raises:
        InvalidGraph: a value of another type.
    """
    hints = field_types(op)
    for key, value in parameters.items():
        if key in hints and not _fits(hints[key], value):
            raise InvalidGraph(f"{op}({key}={shown(value)}): {describe(hints[key])} is needed")
    return {key: _plain(value) for key, value in parameters.items()}


def field_types(op: object) -> Mapping[str, Any]:
    """The type of each field of a layer; none for an unknown layer."""
    known = public_ops()
    return _hints(known[op]) if isinstance(op, str) and op in known else {}


@lru_cache(maxsize=256)
def _hints(op: type[Op]) -> Mapping[str, Any]:
    hints = get_type_hints(op)
    return {f.name: hints[f.name] for f in fields(op)}


def _plain(value: Any) -> Any:
    """numpy numbers and fractions  ->  int and float,  lists  ->  tuples."""
    if isinstance(value, (list, tuple)):
        return tuple(_plain(v) for v in value)
    if isinstance(value, (bool, sp.Expr)) or not isinstance(value, numbers.Real):
        return value
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _fits(hint: Any, value: Any) -> bool:
    if isinstance(hint, UnionType):
        return any(_fits(h, value) for h in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, (tuple, list)) and _all_fit(get_args(hint), value)
    if hint is int:
        return is_whole(value) and abs(value) <= LARGEST_WHOLE
    if hint is float:
        return isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral) and math.isfinite(value)
    return isinstance(value, hint)


def _all_fit(hints: Sequence[Any], values: Sequence[Any]) -> bool:
    if hints[-1] is ...:
        return all(_fits(hints[0], v) for v in values)
    return len(hints) == len(values) and all(_fits(h, v) for h, v in zip(hints, values, strict=True))


def is_whole(value: object) -> bool:
    """An integer of Python or numpy; True and False are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)  # pyright: ignore[reportUnnecessaryIsInstance]


def describe(hint: Any) -> str:
    """`int | None`  ->  `a whole number or None`."""
    if isinstance(hint, UnionType):
        options = [h for h in get_args(hint) if not (h is int and float in get_args(hint))]
        return " or ".join(describe(h) for h in options)
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        return f"a list of {'' if inner[-1] is ... else f'{len(inner)}, each '}{describe(inner[0])}"
    return WORDS.get(hint, str(hint))
