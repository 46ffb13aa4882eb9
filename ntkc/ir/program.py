"""Program: the covariance recursions as an ordered list of statements, once per sample and once per pair.

per sample    q_dense1 = 2 q_input + 1/100
per pair      K_dense1 = 2 K_input + 1/100
              T_dense1 = K_dense1
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import sympy as sp

from ntkc.errors import NtkcError
from ntkc.ir.maps import Maps
from ntkc.ir.op import Shape
from ntkc.ir.streams import SAMPLE, Reserved, Stream

SAME_PIXEL = Reserved("same_pixel", real=True)
"""1 where both sides of an entry are the same pixel."""
SAME_SAMPLE = Reserved("same_sample", real=True)
"""1 where both sides of an entry are the same sample."""
PATTERN, PATTERN1, PATTERN2 = (Reserved(f"pattern{side}_graph", real=True) for side in ("", "1", "2"))
"""The edges between pixels that a sample brings with it, and those of the samples on both sides."""
WIDTH = Reserved("features", positive=True, integer=True)
"""Number of features of the data, where the graph does not state it."""
PLACES = (SAME_PIXEL, SAME_SAMPLE, PATTERN, PATTERN1, PATTERN2)


@dataclass(frozen=True)
class Let:
    """dst = expr, made for `layer` (a node, with its description as a comment)."""

    dst: Stream
    expr: sp.Expr
    layer: str = ""


@dataclass(frozen=True)
class Carry:
    """One stream of a loop: before it, at the start of a turn, at its end, and after the loop."""

    before: Stream
    start: Stream
    end: Stream
    after: Stream


@dataclass(frozen=True)
class Loop:
    """Repeat `body` `count` times with the carried streams; per-sample keys in `stacked` are kept for every turn."""

    body: tuple[Let, ...]
    count: int
    carry: tuple[Carry, ...]
    stacked: tuple[Stream, ...] = ()
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
    inputs: tuple[Stream, ...]
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
    constants: Mapping[str, Mapping[str, sp.Expr]] = field(default_factory=dict[str, Mapping[str, sp.Expr]])
    """Hyper-parameters of each layer that are numbers, by name."""
    pattern: Pattern | None = None
    """What samples bring besides their pixels."""
    is_masked: bool = False
    """NaN in the data stands for what is missing."""

    @property
    def has_pixels(self) -> bool:
        """Some node has spatial axes, or the data are not one array of rows."""
        return any(self.spatial.values()) or len(self.data) > 1 or self.pattern is not None or self.is_masked

    @property
    def reads_width(self) -> bool:
        """The number of features of the data is read."""
        exprs = [*self.outputs.values(), *(let.expr for let in lets([*self.per_sample, *self.per_pair]))]
        return any(WIDTH in expr.free_symbols for expr in exprs)

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
    given = {k for k in program.inputs if k.side == SAMPLE}
    sample = _defined(program.per_sample, given, program)
    seen = {k for k in program.inputs if k.side is None}
    pair = _defined(program.per_pair, seen | {k.on(side) for k in sample for side in (1, 2)}, program)
    for name, output in program.outputs.items():
        missing = _read(output, program) - sample - pair
        if missing:
            raise BrokenProgram(f"output {name} reads {missing}\n{program.text()}")
    return program


def _read(expr: sp.Expr, program: Program) -> set[sp.Basic]:
    """What a program must define for an expression."""
    return expr.free_symbols - {*PLACES, WIDTH, *program.parameters}


def _defined(statements: Iterable[Statement], seen: set[Stream], program: Program) -> set[Stream]:
    known = set(seen)
    for s in statements:
        if isinstance(s, Let):
            _define(s, known, program)
            continue
        inside = known | {c.start for c in s.carry}
        for let in s.body:
            _define(let, inside, program)
        missing = {c.before for c in s.carry} - known | {c.end for c in s.carry} - inside
        if missing:
            raise BrokenProgram(f"loop {s.layer} carries undefined {missing}\n{program.text()}")
        known |= {c.after for c in s.carry} | set(s.stacked)
    return known


def _define(let: Let, known: set[Stream], program: Program) -> None:
    missing = _read(let.expr, program) - known
    if let.dst.side == SAMPLE:  # reads both sides of what its own sample has
        missing = {s for s in missing if not (isinstance(s, Stream) and s.sample in known)}
    if missing:
        raise BrokenProgram(f"{let.dst.name} reads undefined {missing}\n{program.text()}")
    if let.dst in known:
        raise BrokenProgram(f"{let.dst.name} is defined twice\n{program.text()}")
    known.add(let.dst)
