"""Program  ->  the pairs of pixels that each stream needs, per spatial axis: all (F), p = p' (D), or p = p' mod s (s).

A filter of stride s reads pairs whose distance is s times that of the pairs it makes. Found backward from the outputs:
a net that ends in Flatten carries diagonals, one that ends in a global pool carries no full covariance within one
sample, one with pools carries full ones only below them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import gcd, prod

import sympy as sp

from ntkc.ir.maps import AxisMap, Maps, Mixed, Patch, joint_map
from ntkc.ir.program import Let, Loop, Program, Statement
from ntkc.ir.streams import Kind, Stream
from ntkc.layers.aggregate import Gathered
from ntkc.layers.attention import Between, Inner, Softmax

ALL, DIAGONAL = "F", "D"
LARGEST_STEP = 9
Form = str
"""One letter a spatial axis."""


@dataclass(frozen=True)
class Forms:
    """The form of every stream of pairs of pixels, by its key."""

    of: Mapping[Stream, Form]
    spatial: Mapping[str, tuple[int, ...]]
    outputs: Form

    def entries(self, key: Stream) -> int:
        """Numbers kept for one pair of samples (W: for one sample)."""
        return count_entries(self.of.get(key, DIAGONAL * len(self.spatial[key.node])), self.spatial[key.node])


def count_entries(form: Form, sizes: tuple[int, ...]) -> int:
    """Numbers in an array of this form."""
    return prod(n * n // step_of(f, n) for f, n in zip(form, sizes, strict=True))


def step_of(letter: str, count: int) -> int:
    """Pairs p, p' are kept where p - p' is a multiple of it."""
    return {ALL: 1, DIAGONAL: count}.get(letter) or int(letter)


def letter_of(step: int, count: int) -> str:
    """The letter of a step, all pairs where no letter fits."""
    return str(step) if 1 < step <= LARGEST_STEP and step < count and count % step == 0 else ALL


@dataclass
class _Needs:
    program: Program
    of: dict[Stream, Form] = field(default_factory=dict[Stream, Form])

    def add(self, key: Stream, form: Form) -> None:
        """A reader wants this form."""
        self.of[key] = joined(self.of.get(key, DIAGONAL * len(form)), form)

    def read(self, expr: sp.Expr, form: Form) -> None:
        """What an expression of this form reads."""
        if isinstance(expr, Mixed):
            name = str(expr.args[1])
            inner = inner_form(self.program.maps[name], form, self.program.sizes[name])
            self.read(expr.args[0], inner)
        elif isinstance(expr, Gathered):
            self.read(expr.args[1], gathered_form(expr, form))
        elif isinstance(expr, FULL):
            for part in expr.args:
                self.read(part, ALL * len(form))
        elif isinstance(expr, Stream):
            if expr.kind.is_paired:
                self.add(expr.sample, form)
        else:
            for part in expr.args:
                if isinstance(part, sp.Expr):
                    self.read(part, form)

    def statement(self, s: Statement) -> None:
        """What a statement reads, its own needs being known."""
        if isinstance(s, Loop):
            return self.loop(s)
        diagonal = DIAGONAL * len(self.program.spatial[s.dst.node])
        form = self.of.get(s.dst, diagonal) if s.dst.kind.is_paired else diagonal
        form = form.replace(DIAGONAL, ALL) if s.dst.kind is Kind.Z else form
        if s.dst.kind.is_paired:
            self.of[s.dst] = form
        return self.read(s.expr, form)

    def loop(self, loop: Loop) -> None:
        """Carried streams have one form all through."""
        carries = [c for c in loop.carry if c.start.kind.is_paired]
        for c in carries:
            self.add(c.end, self.of.get(c.after, DIAGONAL * len(self.program.spatial[c.end.node])))
        while True:
            before = [self.of.get(c.start) for c in carries]
            for let in reversed(loop.body):
                self.statement(let)
            for c in carries:
                self.add(c.start, self.of[c.end])
                self.add(c.end, self.of[c.start])
            if before == [self.of.get(c.start) for c in carries]:
                break
        for c in carries:
            self.add(c.before, self.of[c.start])
            self.of[c.after] = self.of[c.start]


FULL = (Between, Inner, Softmax)
"""Functions of all pairs of pixels."""


def joined(first: Form, second: Form) -> Form:
    """A form with the pairs of both."""
    return "".join(_joined_letter(a, b) for a, b in zip(first, second, strict=True))


def _joined_letter(a: str, b: str) -> str:
    if DIAGONAL in (a, b):
        return b if a == DIAGONAL else a
    step = 1 if ALL in (a, b) else gcd(int(a), int(b))
    return ALL if step == 1 else str(step)


def inner_form(maps: Maps, form: Form, sizes: tuple[int, ...]) -> Form:
    """The form that maps read so that their result has `form`, on operands of these sizes."""
    joint = joint_map(maps)
    if joint is not None:
        return joint.inner_form(form)
    letters = iter(form)
    return "".join(_inner_letter(m, letters, n) for m, n in zip(maps, sizes, strict=True))


def gathered_form(expr: Gathered, form: Form) -> Form:
    """The form of what is summed over the edges of a graph."""
    return "".join(ALL if i in expr.axes else f for i, f in enumerate(form))


def _inner_letter(m: AxisMap, letters: Iterator[str], count: int) -> str:
    letter = next(letters) if m.keeps_axis else DIAGONAL
    if m.reads_all_pairs:
        return ALL
    if m.reads_diagonal or letter == DIAGONAL or m.is_identity:
        return DIAGONAL if m.reads_diagonal else letter
    if not isinstance(m, Patch) or m.interior > 1:
        return ALL
    return letter_of(step_of(letter, count) * m.stride, count)


def outer_letter(m: AxisMap, letter: str) -> str:
    """The letter of the result of a map on an operand with this letter; none if the axis is gone."""
    if not m.keeps_axis:
        return ""
    if m.reads_all_pairs:
        return ALL
    if letter in (ALL, DIAGONAL) or not isinstance(m, Patch):
        return letter
    step = int(letter) // m.stride
    return ALL if step == 1 else str(step)


def find_forms(program: Program, diagonal: bool = False) -> Forms:
    """The forms that outputs need: of all pairs of pixels of the output node, or of equal pixels."""
    needs = _Needs(program)
    whole = (DIAGONAL if diagonal else ALL) * len(program.spatial[program.output])
    for expr in program.outputs.values():
        needs.read(sp.sympify(expr), whole)
    for statements in (program.per_pair, program.per_sample):
        for s in reversed(statements):
            needs.statement(s)
    for key in program.inputs:
        if key.kind.is_paired:
            needs.of.setdefault(key, DIAGONAL * len(program.spatial[key.node]))
    return Forms(needs.of, program.spatial, whole)


def describe_forms(program: Program, forms: Forms) -> str:
    """Entries of a pair that all layers keep, and what full covariances of all of them would be."""
    lets = [s for part in (program.per_pair, program.per_sample) for s in _unrolled(part)]
    kept = sum(forms.entries(let.dst) for let in lets if let.dst.kind.is_paired)
    sizes = [program.spatial[let.dst.node] for let in lets if let.dst.kind.is_paired]
    full = sum(count_entries(ALL * len(s), s) for s in sizes)
    listed = ", ".join(
        f"{let.dst.name} {forms.of[let.dst] or 'scalar'} {forms.entries(let.dst):,}"
        for let in lets
        if let.dst.kind.is_paired
    )
    return f"{kept:,} entries a pair, {full:,} if all were full: {listed}"


def _unrolled(statements: Iterable[Statement]) -> list[Let]:
    return [let for s in statements for let in (s.body if isinstance(s, Loop) else (s,))]
