"""Lines of Python text: no longer than people read, calls and sums over several where they must be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

WIDTH = 120
INDENT = "    "
OPERATORS = (" + ", " - ", "*", "/")


def function(head: str, doc: str, body: Iterable[str], depth: int = 1) -> list[str]:
    """A function: its `def` line, what it does, and its lines, each wrapped; `depth`: how far in its lines stand."""
    made = [head, *([f'{INDENT}"""{doc}"""'] if doc else [])]
    return [*made, *indented(line for text in body for line in wrapped(text, WIDTH - depth * len(INDENT)))]


def indented(lines: Iterable[str]) -> Iterator[str]:
    """Lines one level further in."""
    for line in lines:
        yield INDENT + line if line else line


def wrapped(line: str, room: int = WIDTH - len(INDENT)) -> list[str]:
    """A statement `target = text`, or any other line, over as many lines as it needs."""
    if len(line) <= room:
        return [line]
    start = line[: len(line) - len(line.lstrip())]
    text = line.lstrip()
    head, sign, rest = text.partition(" = ")
    if text.startswith("return "):
        head, sign, rest = "return", " ", text.removeprefix("return ")
    if not sign or "(" in head or rest.startswith("lambda"):
        return [line]
    inside = _broken(rest, room - len(start) - len(INDENT))
    if len(inside) > 1 and _is_call(inside) and len(start + head + sign + inside[0]) <= room:
        return [start + head + sign + inside[0], *(start + v for v in inside[1:])]
    return [f"{start}{head}{sign}(", *(start + INDENT + v for v in inside), f"{start})"]


def _is_call(lines: Sequence[str]) -> bool:
    """`f(`, its arguments, `)`: brackets of its own hold it together."""
    return lines[0].endswith("(") and lines[-1] == ")" and not any(v[:1] not in " )" for v in lines[1:])


def _broken(text: str, room: int) -> list[str]:
    """An expression over lines that hold together inside brackets."""
    if len(text) <= room:
        return [text]
    for operator in OPERATORS:
        parts = _split(text, operator)
        if len(parts) > 1:
            lead = operator.strip() + (" " if operator.startswith(" ") else "")
            made = _broken(parts[0], room)
            for part in parts[1:]:
                first, *more = _broken(part, room - len(lead))
                made += [lead + first, *more]
            return _joined(made, room) if operator == "*" else made
    opened = text.find("(")
    if opened < 0:
        return [text]
    closed = _closing(text, opened)
    head, inside, tail = text[: opened + 1], text[opened + 1 : closed], text[closed:]
    if not head[:-1].replace(".", "_").isidentifier():  # no call: a comma would make a tuple of it
        return [head, *(INDENT + line for line in _broken(inside, room - len(INDENT))), tail]
    lines = [line for a in _split(inside, ", ") for line in _closed(_broken(a, room - len(INDENT) - 1))]
    return [head, *(INDENT + line for line in _joined(lines, room - len(INDENT), ", ")), tail]


def _closing(text: str, opened: int) -> int:
    """The place of the bracket that closes the one at `opened`."""
    depth, quote = 0, ""
    for i, c in enumerate(text[opened:], opened):
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'":
            quote = c
        depth += 0 if quote else (c == "(") - (c == ")")
        if depth == 0:
            return i
    raise AssertionError(f"no bracket closes {text}")


def _closed(lines: list[str]) -> list[str]:
    return [*lines[:-1], f"{lines[-1]},"]


def _joined(lines: Sequence[str], room: int, between: str = "*") -> list[str]:
    """Short lines that follow each other on one."""
    made = [lines[0]]
    for line in lines[1:]:
        gap = " " if between == ", " else ""
        is_plain = not line.startswith((" ", ")")) and not made[-1].startswith((" ", ")")) and made[-1][-1:] != "("
        if is_plain and len(made[-1]) + len(gap) + len(line) <= room:
            made[-1] += gap + line
        else:
            made.append(line)
    return made


def _split(text: str, separator: str) -> list[str]:
    """Parts between separators that stand in no brackets and no quotes; powers and exponents stay whole."""
    parts, depth, start, i, quote = [""], 0, 0, 0, ""
    while i < len(text):
        c = text[i]
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'":
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif depth == 0 and i > 0 and text.startswith(separator, i) and "**" not in text[i - 1 : i + 2]:
            parts[-1] = text[start:i]
            parts.append("")
            start = i + len(separator)
            i = start
            continue
        i += 1
    parts[-1] = text[start:]
    return parts
