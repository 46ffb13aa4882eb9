"""A hand-written function of emitted source."""

from __future__ import annotations

from typing import NamedTuple


class Helper(NamedTuple):
    """Text of a function, the helpers it calls, and the coefficient tables it reads."""

    text: str
    needs: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
