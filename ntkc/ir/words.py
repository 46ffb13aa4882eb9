"""Text of strangers on its way into comments, docstrings, formulas and messages."""

from __future__ import annotations

import re
import reprlib

LONGEST_LINE = 200
"""Characters of a label."""
UNSAFE = "\\"


def one_line(text: str, most: int = LONGEST_LINE) -> str:
    """ "a<newline>b" -> "a?b":  one printable line, of at most `most` characters, that ends no string or comment.

    Backslashes and what cannot be printed become question marks, double quotes single ones, of which at most two stand
    side by side.
    """
    plain = "".join(c if c.isprintable() and c not in UNSAFE else "?" for c in text[: 2 * most])
    quoted = re.sub("'{3,}", "''", plain.replace('"', "'"))
    return quoted if len(quoted) <= most and len(text) <= 2 * most else f"{quoted[: most - 3]}..."


def quoted(name: object) -> str:
    """A name in a message."""
    return one_line(repr(name), 80)


def shown(value: object) -> str:
    """repr, in one short line, also of values that have none."""
    try:
        return one_line(reprlib.repr(value))
    except (ValueError, RecursionError):
        return f"a value of type {type(value).__name__} too large to show"
