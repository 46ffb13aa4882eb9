r"""Streams as a reader meets them:  K of dense1  ->  K_{1},  q2 of relu1  ->  q'_{1,relu},  in a turn  K_{\ell+1}.

An Entry knows its level as a number, or as a distance from the turn of a range: lines can be moved and compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import sympy as sp

from ntkc.ir.graph import Graph, inputs_of, op_of, operands, ordered
from ntkc.ir.streams import Kind, Stream
from ntkc.ir.value import Law
from ntkc.passes.analyse import analyse
from ntkc.passes.roll import Block

DIGITS = "0123456789"


@dataclass(frozen=True)
class Label:
    """Where a node stands.

    Attributes:
        level: the number of Gaussian layers up to it; in a block, those since the turn began.
        mark: the activation on top, if any, or the input.
        turns: the level is counted from the turn.
    """

    level: int
    mark: str = ""
    turns: bool = False


class Entry(sp.Symbol):
    r"""A symbol of the page; equal entries look the same.

    Attributes:
        letter: K, \Theta, q, ...
        label: where it stands.
        is_second: of the second sample, x'.
    """

    __slots__ = ("is_second", "label", "letter")

    letter: str
    label: Label
    is_second: bool

    def __new__(cls, letter: str, label: Label, is_second: bool = False) -> Entry:
        return _entry(letter, label, is_second)

    def __getnewargs_ex__(self) -> tuple[tuple[str, Label, bool], dict[str, object]]:
        return (self.letter, self.label, self.is_second), {}

    def _hashable_content(self) -> tuple[object, ...]:
        return (self.letter, self.label.level, self.label.mark, self.label.turns, self.is_second)

    def at(self, turn: int) -> Entry:
        """The entry of one turn."""
        if not self.label.turns:
            return self
        return Entry(self.letter, replace(self.label, level=self.label.level + turn, turns=False), self.is_second)

    def moved(self, by: int, turns: bool) -> Entry:
        """The entry some levels further on, counted from a turn or not."""
        return Entry(self.letter, replace(self.label, level=self.label.level + by, turns=turns), self.is_second)

    def on(self, is_second: bool) -> Entry:
        """The same of the first or the second sample."""
        return Entry(self.letter, self.label, is_second)


@lru_cache(maxsize=2**14)
def _entry(letter: str, label: Label, is_second: bool) -> Entry:
    place = f"{label.level:05d}{'turn' if label.turns else ''}{label.mark}"
    made = sp.Symbol.__xnew__(Entry, f"{letter}_{place}{'2' if is_second else ''}", real=True)
    made.letter, made.label, made.is_second = letter, label, is_second
    return made


class Kappa(sp.Function):
    """Kappa(n, theta): the arc-cosine function of order n at an angle."""

    nargs = 2
    is_extended_real = True


def entry_of(stream: Stream, labels: Mapping[str, Label]) -> Entry:
    """A stream as the page shows it."""
    return Entry(stream.kind.latex, labels[stream.node], stream.side == 2)


def angle_of(node: str, labels: Mapping[str, Label], within: bool = False) -> Entry:
    """The angle between two samples, or (within) between two pixels of one."""
    return Entry(r"\vartheta" if within else Kind.P.latex, labels[node])


def labels_of(graph: Graph) -> dict[str, Label]:
    """A label for every node, the bodies of blocks included."""
    values, inputs = analyse(graph), inputs_of(graph)
    labels = {n: Label(0, n if len(inputs) > 1 else "") for n in inputs}
    level = 0
    for node in ordered(graph):
        if node in labels:
            continue
        op, below = op_of(graph, node), labels[operands(graph, node)[0]]
        if isinstance(op, Block):
            level = below.level + op.count
            labels[node] = Label(level, below.mark)
            labels |= _labels_of_body(op.body, below.mark)
        elif values[node].law is Law.POINTWISE:
            labels[node] = _unique(Label(below.level, node.rstrip(DIGITS)), node, labels)
        else:
            level += 1
            labels[node] = Label(level)
    return labels


def _labels_of_body(body: Graph, mark: str) -> dict[str, Label]:
    labels: dict[str, Label] = {}
    for node in ordered(body):
        labels[node] = _unique(Label(0, node.rstrip(DIGITS), turns=True), node, labels)
    labels[body.graph["input"]] = Label(0, mark, turns=True)
    labels[body.graph["output"]] = Label(1, mark, turns=True)
    return labels


def _unique(label: Label, node: str, taken: Mapping[str, Label]) -> Label:
    return replace(label, mark=node) if label in taken.values() else label
