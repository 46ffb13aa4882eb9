"""The one error of models that have no kernel here: where, the rule, and the remedy."""

from __future__ import annotations

from ntkc.errors import NtkcError
from ntkc.ir.words import one_line


class UnsupportedModel(NtkcError, ValueError):
    """A model holds what has no infinite-width kernel, or none that ntkc derives."""

    def __init__(self, place: str, rule: str = "", remedy: str = "") -> None:
        parts = (one_line(place, 120), one_line(rule, 400))
        text = ": ".join(p for p in parts if p) + (f"; {one_line(remedy, 300)}" if remedy else "")
        super().__init__(text)
