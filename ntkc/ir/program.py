"""Program: the covariance recursions as an ordered list of statements, once per sample and once per pair.

per sample    q_dense1 = 2 q_input + 1/100
per pair      K_dense1 = 2 K_input + 1/100
              T_dense1 = K_dense1
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import sympy as sp

from ntkc.errors import NtkcError
from ntkc.ir.maps import Maps
from ntkc.ir.op import Shape

SAME_PIXEL = sp.Symbol("same_pixel", real=True)
"""1 where both sides of an entry are the same pixel."""
SAME_SAMPLE = sp.Symbol("same_sample", real=True)
"""1 where both sides of an entry are the same sample."""
PATTERN, PATTERN1, PATTERN2 = sp.symbols("pattern_graph pattern1_graph pattern2_graph", real=True)
"""The edges between pixels that a sample brings with it, and those of the samples on both sides."""
PLACES = (SAME_PIXEL, SAME_SAMPLE, PATTERN, PATTERN1, PATTERN2)

SAMPLE = 0
"""Side of a stream that belongs to one sample, as seen while it is computed; pairs read it on side 1 and 2."""


LETTERS = {
    "K": "K",
    "T": "T",
    "S": "q",
    "N": "n",
    "G": "delta",
    "H": "tau",
    "C": "c",
    "A": "a",
    "B": "b",
    "P": "theta",
    "U": "u",
    "M": "h",
    "L": "chunks",
    "E": "eta",
    "D": "d",
    "R": "r",
    "F": "phi",
    "I": "i",
    "W": "w",
    "V": "v",
    "Z": "z",
    "Y": "m",
}
"""How each stream is written in programs and source."""


@dataclass(frozen=True)
class Key:
    """What a symbol stands for: a stream of a pair of nodes.

    Streams: K covariance, T tangent kernel, S variance, W covariance of two pixels of one sample, V and Z what
    layer u makes of each pixel, and each pair of pixels, of a sample, Y 1 for a
    pixel that is there and 0 for one that is masked; in normalised form N = sqrt(S), G = 1 - K / (N1 N2),
    H = T / (N1 N2), C the share of an operand v (or of "bias") in the norm of u, A and B sine and cosine of half the
    angle between two shares; P = arccos(1 - G) / pi and U, the variable of collapsed programs; M the
    Hermite coefficients, at the variance of u, of the function called v, and L how many chunks of them are needed.
    In distance form E = (S1 + S2) / 2 - K, D = S1 - S2; R = sqrt(1 + 2 S / noise) - 1 and F = arcsin(S / (S + noise))
    of the variance S that the erf u reads. I is what pairs read of one sample, made once per sample (v: which one).
    `side` is None for pairs, 0 for one sample, 1 and 2 for the samples of a pair.
    """

    stream: str
    u: str
    v: str
    side: int | None = None

    @property
    def symbol(self) -> sp.Symbol:
        """The one symbol of this key."""
        return sp.Symbol(self.name, positive=True) if self.stream in "SNV" else sp.Symbol(self.name, real=True)

    @property
    def name(self) -> str:
        """`K_dense1`, `q1_relu2`, `T_sum1_dense1`."""
        letter = LETTERS[self.stream]
        place = self.u if self.u == self.v else f"{self.u}_{self.v}"
        return f"{letter}{self.side or ''}_{place}"

    def on(self, side: int) -> Key:
        """The same per-sample stream, read on a side of the pair."""
        return replace(self, side=side)


@dataclass(frozen=True)
class Let:
    """dst = expr, made for `layer` (a node, with its description as a comment)."""

    dst: Key
    expr: sp.Expr
    layer: str = ""


@dataclass(frozen=True)
class Carry:
    """One stream of a loop: before it, at the start of a turn, at its end, and after the loop."""

    before: Key
    start: Key
    end: Key
    after: Key


@dataclass(frozen=True)
class Loop:
    """Repeat `body` `count` times with the carried streams; per-sample keys in `stacked` are kept for every turn."""

    body: tuple[Let, ...]
    count: int
    carry: tuple[Carry, ...]
    stacked: tuple[Key, ...] = ()
    layer: str = ""
    name: str = ""


Statement = Let | Loop


@dataclass(frozen=True)
class Table:
    """Coefficients of a polynomial for each working precision, with the error of each."""

    coefficients: Mapping[str, tuple[float, ...]]
    errors: Mapping[str, float]


@dataclass(frozen=True)
class Pattern:
    """Edges between pixels of a sample: pixels along the axes they join, and whether they come as a list of edges."""

    sizes: tuple[int, ...]
    is_sparse: bool


@dataclass(frozen=True)
class Program:
    """Statements with their inputs and outputs; `comments` says in words what each layer is."""

    per_sample: tuple[Statement, ...]
    per_pair: tuple[Statement, ...]
    inputs: tuple[Key, ...]
    outputs: Mapping[str, sp.Expr]
    parameters: tuple[sp.Symbol, ...] = ()
    comments: Mapping[str, str] = field(default_factory=dict[str, str])
    tables: Mapping[str, Table] = field(default_factory=dict[str, Table])
    data: Mapping[str, Shape] = field(default_factory=dict[str, Shape])
    """Every Input, in the order of the data, and the shape of its samples, (pixels ..., features)."""
    is_port: bool = False
    """Starts from a kernel given by the caller instead of data."""
    maps: Mapping[str, Maps] = field(default_factory=dict[str, Maps])
    """Linear maps of pixels, by the name that Mixed(K, name) gives them."""
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    """Pixels of what maps of a name are applied to."""
    spatial: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    """Pixels of each node along each spatial axis."""
    output: str = ""
    """The node of the output."""
    pattern: Pattern | None = None
    """What samples bring besides their pixels."""

    def count_statements(self) -> int:
        """Statements, those inside loops counted once."""
        return len(list(lets(self.per_sample))) + len(list(lets(self.per_pair)))

    def count_operations(self) -> int:
        """Arithmetic operations of one turn of everything."""
        return sum(int(sp.count_ops(s.expr)) for part in (self.per_sample, self.per_pair) for s in lets(part))

    def text(self) -> str:
        """The program as text, for people and golden files."""
        return "\n".join(["per sample:", *_lines(self.per_sample), "per pair:", *_lines(self.per_pair)])


def lets(statements: Iterable[Statement]) -> Iterator[Let]:
    """Every Let, those inside loops included."""
    for statement in statements:
        if isinstance(statement, Loop):
            yield from statement.body
        else:
            yield statement


def unsided(name: str) -> str:
    """`q1_dense1`, `q2_dense1`  ->  `q_dense1`; other names as they are."""
    letter, _, rest = name.partition("_")
    return f"{letter[:-1]}_{rest}" if letter[-1:] in ("1", "2") else name


def _lines(statements: Iterable[Statement], indent: str = "    ") -> Iterator[str]:
    for s in statements:
        if isinstance(s, Let):
            yield f"{indent}{s.dst.name} = {s.expr}"
            continue
        yield f"{indent}repeat {s.count} times: {', '.join(f'{c.start.name} = {c.before.name}' for c in s.carry)}"
        yield from _lines(s.body, indent + "    ")
        yield f"{indent}    next {', '.join(f'{c.start.name} = {c.end.name}' for c in s.carry)}"
        yield f"{indent}then {', '.join(f'{c.after.name} = {c.end.name}' for c in s.carry)}"


class BrokenProgram(NtkcError):
    """A pass made a program that reads what it does not define, or defines something twice: a bug of ntkc."""


def verify(program: Program) -> Program:
    """The program itself, if every symbol is defined once, and before it is read."""
    places = {p.name for p in PLACES}
    given = {k.name for k in program.inputs if k.side == SAMPLE}
    sample = _defined(program.per_sample, given | places, program)
    seen = places | {k.name for k in program.inputs if k.side is None}
    for name in sample - {p.name for p in program.parameters}:
        letter, _, rest = name.partition("_")
        seen |= {f"{letter}1_{rest}", f"{letter}2_{rest}"}
    pair = _defined(program.per_pair, seen, program)
    for name, output in program.outputs.items():
        read = {s.name for s in output.free_symbols}
        missing = read - sample - pair - {p.name for p in program.parameters}
        if missing:
            raise BrokenProgram(f"output {name} reads {missing}\n{program.text()}")
    return program


def _defined(statements: Iterable[Statement], seen: set[str], program: Program) -> set[str]:
    known = set(seen) | {p.name for p in program.parameters}
    for s in statements:
        if isinstance(s, Let):
            _define(s, known, program)
            continue
        inside = known | {c.start.name for c in s.carry}
        for let in s.body:
            _define(let, inside, program)
        missing = {c.before.name for c in s.carry} - known | {c.end.name for c in s.carry} - inside
        if missing:
            raise BrokenProgram(f"loop {s.layer} carries undefined {missing}\n{program.text()}")
        known |= {c.after.name for c in s.carry} | {k.name for k in s.stacked}
    return known


def _define(let: Let, known: set[str], program: Program) -> None:
    missing = {s.name for s in let.expr.free_symbols} - known
    if let.dst.side == SAMPLE:  # reads both sides of what its own sample has
        missing = {name for name in missing if unsided(name) not in known}
    if missing:
        raise BrokenProgram(f"{let.dst.name} reads undefined {missing}\n{program.text()}")
    if let.dst.name in known:
        raise BrokenProgram(f"{let.dst.name} is defined twice\n{program.text()}")
    known.add(let.dst.name)
