r"""Fewer lines that say the same:  one recursion for equal layers, no line that only renames.

K_{2} = f(K_{1}), K_{3} = f(K_{2})   ->   K_{\ell+1} = f(K_{\ell}), \ell = 1, 2
K_{5} = K_{4}, T_{5} = K_{5} + 1     ->   T_{5} = K_{4} + 1
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import sympy as sp

from ntkc.backends.latex.labels import Entry
from ntkc.backends.latex.lines import Given, Line, entries_in
from ntkc.ir.streams import Kind


def simplified(lines: Sequence[Line], output: sp.Expr) -> tuple[list[Line], sp.Expr]:
    """Fewer lines that say the same, and the output in their terms."""
    shown = _inlined(lines, output)
    shown, output = _without_aliases(shown, output, same_letter=True)
    shown = _merged(shown)
    shown, output = _without_aliases(shown, output)
    shown, output = _named_directly(_needed(shown, output), output)
    return [replace(line, expr=_without_powers(line.expr)) for line in shown], _without_powers(output)


def _without_powers(expr: sp.Expr) -> sp.Expr:
    """m**2 -> m of what is 1 or 0."""
    return expr.replace(_is_power_of_presence, lambda e: e.base)


def _is_power_of_presence(expr: sp.Expr) -> bool:
    is_presence = isinstance(expr, sp.Pow) and isinstance(expr.base, Entry) and expr.base.letter == Kind.Y.latex
    return is_presence and expr.exp.is_positive is True


def _inlined(lines: Sequence[Line], output: sp.Expr) -> list[Line]:
    """A line of an activation that one other line reads is put into that line."""
    current = dict(enumerate(lines))
    readers: dict[Entry, set[int]] = {}
    for i, line in current.items():
        for entry in line.read:
            readers.setdefault(entry, set()).add(i)
    kept = {e.on(False) for e in entries_in(output)}
    on_a_side = {e.on(False) for line in lines for e in entries_in(line.expr) if e.is_second}
    for i, line in enumerate(lines):
        at = {j for e in current[i].made for j in readers.get(e, ())}
        is_activation = bool(line.dst.label.mark) and not isinstance(line.expr, Given)
        if not is_activation or len(at) != 1 or line.made & kept or line.dst in on_a_side:
            continue
        (j,) = at
        reader = current[j]
        if line.dst not in entries_in(reader.expr) or reader.turns != line.turns or j == i:
            continue
        inner = current.pop(i)
        expr = sp.expand_mul(reader.expr.xreplace({line.dst: inner.expr}), deep=False)
        current[j] = replace(reader, expr=expr)
        for entry in inner.read:
            readers[entry] = (readers[entry] - {i}) | {j}
    return list(current.values())


def _merged(lines: Sequence[Line]) -> list[Line]:
    """Lines that are equal but for the turn as one line with a range."""
    made: list[Line] = []
    places: dict[tuple[Entry, sp.Expr], int] = {}
    for line in lines:
        general = _general(line)
        key = (general.dst, general.expr)
        before = made[places[key]].turns if key in places else None
        turns = general.turns
        if line.is_alias or before is None or turns is None or before.stop != turns.start:
            places[key] = len(made)
            made.append(general)
            continue
        made[places[key]] = replace(general, turns=range(before.start, turns.stop))
    return [_particular(line) for line in made]


def _general(line: Line) -> Line:
    """The line in terms of a turn, the lowest level that it reads or makes."""
    entries = {line.dst, *entries_in(line.expr)}
    moving = {e for e in entries if e.label.turns} if line.turns else entries
    lowest = min(e.label.level for e in moving)
    start, count = (line.turns.start, len(line.turns)) if line.turns else (0, 1)
    shifted = line.with_entries(lambda e: e.moved(-lowest, True) if e in moving else e)
    return replace(shifted, turns=range(start + lowest, start + lowest + count))


def _particular(line: Line) -> Line:
    """The line of a range of one turn, with numbers."""
    if line.turns is None or len(line.turns) > 1:
        return line
    return line.at(line.turns.start)


def _without_aliases(lines: Sequence[Line], output: sp.Expr, same_letter: bool = False) -> tuple[list[Line], sp.Expr]:
    """Without lines a = b: b in the place of a; or a in that of b, if b is given; or both before one equals sign.

    A range needs the entry that it starts from under its own name.
    """
    pending, shown = [line for line in lines if line.is_alias], list(lines)
    while pending:
        line = pending.pop(0)
        if same_letter and line.dst.letter != line.expr.letter:
            continue
        rest = [other for other in shown if other is not line]
        renamed = _constant(line) if line.turns else _renamed(line, rest)
        if renamed is None:
            shown = _joint(line, rest) or shown
            continue
        shown = [other.with_entries(renamed) for other in rest]
        pending = [other for other in shown if other.is_alias and other.dst != line.dst]
        output = output.xreplace({e: renamed(e) for e in entries_in(output)})
    return shown, output


Renaming = Callable[[Entry], Entry]


def _renamed(line: Line, rest: Sequence[Line]) -> Renaming | None:
    """What takes the place of what; None where both names are needed."""
    a, b = line.dst, line.expr
    pinned = {e for other in rest if other.turns for e in other.read | other.made}
    is_given = a.letter == b.letter and any(o.dst == b and isinstance(o.expr, Given) for o in rest)
    if b not in pinned and (is_given or a in pinned) and not b.is_second:
        return lambda e: a.on(e.is_second) if e.on(False) == b else e
    return None if a in pinned else lambda e: b.on(e.is_second) if e.on(False) == a else e


def _constant(line: Line) -> Renaming | None:
    """K_{l+1} = K_{l} in a range: the first of them in the place of all."""
    a, b, turns = line.dst, line.expr, line.turns or range(1)
    if b.moved(1, b.label.turns) != a:
        return None
    first, same = b.at(turns.start), {b.at(turn) for turn in range(turns.start, turns.stop + 1)}

    def renamed(entry: Entry) -> Entry:
        is_same = line.each([entry.on(False)]) <= same if entry.label.turns else entry.on(False) in same
        return first.on(entry.is_second) if is_same else entry

    return renamed


def _joint(line: Line, rest: Sequence[Line]) -> list[Line]:
    """b = f, a = b  ->  a = b = f;  of a b that a range makes, a = f;  nothing if b has no line."""
    for i, other in enumerate(rest):
        if line.expr not in other.made:
            continue
        if other.turns is None:
            return [*rest[:i], replace(other, also=(*other.also, line.dst)), *rest[i + 1 :]]
        (turn,) = (t for t in other.turns if other.dst.at(t) == line.expr)
        return [*rest[: i + 1], replace(line, expr=other.at(turn).expr), *rest[i + 1 :]]
    return []


def _needed(lines: Sequence[Line], output: sp.Expr) -> list[Line]:
    """The lines that the output depends on."""
    by_entry = {e: line for line in lines for e in line.made}
    pending = [e.on(False) for e in entries_in(output)]
    found: set[Line] = set()
    while pending:
        line = by_entry[pending.pop()]
        if line not in found:
            found.add(line)
            pending.extend(line.read)
    return [line for line in lines if line in found]


def _named_directly(lines: Sequence[Line], output: sp.Expr) -> tuple[list[Line], sp.Expr]:
    """K_{5} = f, output K_{5}  ->  output f, where nothing else reads K_{5}."""
    if not isinstance(output, Entry):
        return list(lines), output
    (line,) = (line for line in lines if output in line.made)
    if line.turns or line.also or any(output in other.read for other in lines):
        return list(lines), output
    return [other for other in lines if other is not line], line.expr
