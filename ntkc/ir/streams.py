"""Stream: what a symbol of a program stands for, a statistic of one node or two, of one sample or a pair.

Stream(Kind.K, "dense1")             K_dense1     covariance of a pair of samples
Stream(Kind.S, "dense1", side=1)     q1_dense1    variance of the first sample of a pair
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

import sympy as sp

SAMPLE = 0
"""Side of a stream that belongs to one sample, as seen while it is computed; pairs read it on side 1 and 2."""


@dataclass(frozen=True)
class _Row:
    """One row of the table of kinds.

    Attributes:
        letter: in programs and source.
        latex: in formulas.
        meaning: in words, of a node u (and v).
        is_sample: made once a sample, not once a pair.
        pixels: "none", "each" pixel, or "pairs" of pixels have a number of their own.
        is_positive: sympy may take roots apart.
    """

    letter: str
    latex: str
    meaning: str
    is_sample: bool
    pixels: str
    is_positive: bool = False


class Kind(Enum):
    """Every kind of stream, a row each."""

    Y = _Row("m", "m", "1 for a pixel that is there, 0 for one that is masked", True, "each")
    V = _Row("v", "v", "what layer u makes of each pixel of a sample", True, "each", True)
    Z = _Row("z", "G", "what layer u makes of each pair of pixels of a sample", True, "pairs")
    S = _Row("q", "q", "variance", True, "each", True)
    J = _Row("e", r"\eta", "half the mean squared distance of two pixels of one sample", True, "pairs")
    W = _Row("w", "W", "covariance of two pixels of one sample", True, "pairs")
    Q = _Row("s", "s", "half the mean squared distance of the pixels of a sample that u is the mean of", True, "each")
    E = _Row("eta", r"\eta", "half the mean squared distance, (q1 + q2) / 2 - K", False, "pairs")
    D = _Row("d", "d", "difference q1 - q2 of variances", False, "pairs")
    K = _Row("K", "K", "covariance (NNGP)", False, "pairs")
    T = _Row("T", r"\Theta", "tangent kernel (NTK)", False, "pairs")
    N = _Row("n", "n", "norm sqrt(q)", True, "each", True)
    G = _Row("delta", "f", "gap 1 - K / (n1 n2)", False, "pairs")
    H = _Row("tau", r"\tau", "T / (n1 n2)", False, "pairs")
    C = _Row("c", "c", "share of an operand, or the bias, in a norm", True, "each")
    A = _Row("a", "a", "sine of half the angle of two shares, scaled", True, "each")
    B = _Row("b", "b", "its cosine, scaled", True, "each")
    P = _Row("theta", r"\theta", "arccos(1 - delta) / pi", False, "pairs")
    U = _Row("u", "u", "variable of the polynomials of a collapsed program", False, "pairs")
    M = _Row("h", "h", "Hermite coefficients of the function v at the variance of u", True, "each")
    L = _Row("chunks", "c", "how many chunks of Hermite coefficients are needed", True, "each")
    X = _Row("lost", "o", "relative error that the series of the function v has at the variance of u", True, "each")
    R = _Row("r", "r", "sqrt(1 + 2 q / noise) - 1 of the variance that the erf u reads", True, "each")
    F = _Row("phi", r"\phi", "arcsin(q / (q + noise)) of the variance that the erf u reads", True, "each")
    I = _Row("i", "i", "what pairs read of one sample, made once a sample", True, "each")

    @property
    def letter(self) -> str:
        """How it is written in programs and source."""
        return self.value.letter

    @property
    def latex(self) -> str:
        """How it is written in formulas."""
        return self.value.latex

    @property
    def meaning(self) -> str:
        """What it is, in words."""
        return self.value.meaning

    @property
    def is_sample(self) -> bool:
        """Made once a sample."""
        return self.value.is_sample

    @property
    def is_paired(self) -> bool:
        """Pairs of pixels have a number each."""
        return self.value.pixels == "pairs"

    @property
    def is_positive(self) -> bool:
        """Never negative; zero only where a guard stands."""
        return self.value.is_positive

    @property
    def rank(self) -> int:
        """Place in the order in which the streams of a node are computed."""
        return _RANKS[self]


_RANKS = {kind: i for i, kind in enumerate(Kind)}


class Reserved(sp.Symbol):
    """A symbol of ntkc's own: equal to no hyper-parameter, whatever its name."""

    __slots__ = ()


class Stream(sp.Symbol):
    """The symbol of a stream of a pair of nodes; its name is for readers only, its identity is what it stands for.

    Attributes:
        kind: which statistic.
        node, other: the nodes; the same but for shares (of an operand), Hermite coefficients (of a function) and parts.
        side: None for pairs, 0 for one sample, 1 and 2 for the samples of a pair.
    """

    __slots__ = ("kind", "node", "other", "side")

    kind: Kind
    node: str
    other: str
    side: int | None

    def __new__(cls, kind: Kind, node: str, other: str | None = None, side: int | None = None) -> Stream:
        return _stream(kind, node, node if other is None else other, side)

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.kind, self.node, self.other, self.side), {}

    def _hashable_content(self) -> tuple[Any, ...]:
        return (self.kind.name, self.node, self.other, -1 if self.side is None else self.side)

    def on(self, side: int | None) -> Stream:
        """The same per-sample stream, read on a side of the pair (0: as it is computed)."""
        return Stream(self.kind, self.node, self.other, side)

    @property
    def sample(self) -> Stream:
        """The per-sample stream that is read on a side; streams of pairs as they are."""
        return self if self.side is None else self.on(SAMPLE)

    def of(self, kind: Kind) -> Stream:
        """Another statistic of the same nodes."""
        return Stream(kind, self.node, self.other, SAMPLE if kind.is_sample else None)


@lru_cache(maxsize=2**16)
def _stream(kind: Kind, node: str, other: str, side: int | None) -> Stream:
    place = node if node == other else f"{node}_{other}"
    assumption = {"positive": True} if kind.is_positive else {"real": True}
    made = sp.Symbol.__xnew__(Stream, f"{kind.letter}{side or ''}_{place}", **assumption)
    made.kind, made.node, made.other, made.side = kind, node, other, side
    return made


def variance(node: str, side: int = SAMPLE) -> Stream:
    """q of a node."""
    return Stream(Kind.S, node, side=side)


def streams_in(expr: sp.Basic) -> set[Stream]:
    """The streams that an expression reads."""
    return {s for s in expr.free_symbols if isinstance(s, Stream)}
