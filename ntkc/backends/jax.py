"""Program  ->  the text of a JAX module with per_sample, pair, nngp, ntk and kernel."""

from __future__ import annotations

import re
import types
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count

import sympy as sp

from ntkc.backends.driver import driver_text, unresolved_text
from ntkc.backends.expression import jax_text
from ntkc.backends.prelude import DEFAULT_TOLERANCE, HELPERS, helper_text, table_text
from ntkc.gaussian.arc_cosine import ArcGap, ArcSlope, EvenGap, EvenSlope, NearGap, NearSlope
from ntkc.gaussian.functions import Angle, Edge, Minor, Orthant, Ridge, Root
from ntkc.gaussian.kinks import CHOICES, KinkCoefficients, is_kinked, kink_of
from ntkc.ir.program import SAMPLE, Let, Loop, Program, Statement, lets
from ntkc.passes.schedule import Schedule

INDENT = "    "
_PAIRS = (
    (ArcGap, ArcSlope, "arc_cosine"),
    (NearGap, NearSlope, "arc_cosine_near"),
    (EvenGap, EvenSlope, "arc_cosine_even"),
)
ARC_COSINES = {function: pair for pair in _PAIRS for function in pair[:2]}
"""The two functions of one gap that a single call gives, and the name of that call."""
STEPS = ("orthant", "edge1", "edge2", "ridge")
"""What one call gives for steps of two Gaussians."""
SHARED: dict[type[sp.Function], str] = {Root: "root", Angle: "angle", Minor: "minor"}
"""Functions that are computed once where several statements of a layer read them, and the name of the result."""
LONG_SUM, MANY_TIMES = 4, 3
"""Operations of a sum, and how often it is read, that earn it a line of its own."""


@dataclass(frozen=True)
class _Sampled:
    """What per_sample hands to pair: vectors, then one stacked array for each loop."""

    vectors: tuple[str, ...]
    stacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def unpacking(self) -> list[str]:
        """Lines of pair that name what it was handed, along one axis for each side."""
        lines: list[str] = []
        for side, spread in ((1, "columns"), (2, "rows")):
            names = "".join(f", {loop}_{side}" for loop in self.stacks)
            if self.vectors or self.stacks:
                lines.append(f"vectors{side}{names or ','} = stats{side}")
            if self.vectors:
                lines.append(f"{_list([_sided(v, side) for v in self.vectors])} = {spread}(vectors{side})")
        return lines


def emit(
    program: Program, schedule: Schedule, title: str, tolerances: Mapping[str, float] = types.MappingProxyType({})
) -> str:
    """The module as text: formulas first, then the loops over samples and pairs that `schedule` decided.

    `tolerances` are those of series, by precision.
    """
    sampled = _what_pairs_read(program)
    functions = [_per_sample_text(program, sampled), _pair_text(program, sampled), _driver_text(program, schedule)]
    body = "\n\n".join(functions)
    helpers = helper_text(name for name in HELPERS if re.search(rf"\b{name}\(", body))
    helpers = helpers.replace(DEFAULT_TOLERANCE, f"TOLERANCE = {braced(tolerances)}\n")
    helpers = own_tables(program) + kink_tables(program) + helpers
    numpy = "import numpy as np\n" if "np." in helpers.replace("jnp.", "") else ""
    math = "from math import pi\n\n" if re.search(r"\bpi\b", helpers + body) else ""
    return (
        f'"""NNGP and NTK kernels of an infinitely wide network.\n\n{title}\n\n'
        'Written by ntkc; needs jax only. Arrays of data are [samples, features].\n"""\n\n'
        f"{math}import jax\nimport jax.numpy as jnp\n{numpy}from jax import lax\n{helpers}\n\n{body}"
    )


def braced(tolerances: Mapping[str, float]) -> str:
    """A dictionary as text."""
    return "{" + ", ".join(f'"{name}": {value!r}' for name, value in tolerances.items()) + "}"


def own_tables(program: Program) -> str:
    """The coefficient tables of a collapsed program."""
    return "".join(
        table_text(
            name, f"{name} over the norms, a polynomial of u", {d: (c, t.errors[d]) for d, c in t.coefficients.items()}
        )
        for name, t in program.tables.items()
    )


def kink_tables(program: Program) -> str:
    """What is taken out of functions with a kink: c, p_0, p_1, ... for each precision."""
    atoms = {a for let in lets(program.per_sample) for a in let.expr.atoms(KinkCoefficients)}
    named = {str(table): f.expr for f, table, _ in (a.args for a in atoms) if is_kinked(f.expr)}
    return "".join(_kink_table(name, named[name]) for name in sorted(named))


def _kink_table(name: str, f: sp.Expr) -> str:
    lines = [f"\n# sign(x) (p_0 + p_1 x + ...) exp(-c x^2 / 2) has the kink of {f} at 0\n{name} = {{\n"]
    for dtype in CHOICES:
        kink = kink_of(f, dtype)
        lines.append(f'    "{dtype}": (\n        {kink.c!r},\n')
        lines += [f"        {p!r},\n" for p in kink.p]
        lines.append("    ),\n")
    return "".join([*lines, "}\n"])


def _list(names: Sequence[str]) -> str:
    return f"[{', '.join(names)}]"


def _sided(name: str, side: int) -> str:
    """`q_dense1`  ->  `q1_dense1`."""
    letter, _, rest = name.partition("_")
    return f"{letter}{side}_{rest}"


def _unsided(name: str) -> str | None:
    match = re.fullmatch(r"([a-z]+)[12]_(.+)", name)
    return f"{match[1]}_{match[2]}" if match else None


def _what_pairs_read(program: Program) -> _Sampled:
    """Per-sample vectors read by pairs and outputs, those made inside loops apart."""
    in_loops = {k.name: s.layer for s in program.per_sample if isinstance(s, Loop) for k in s.stacked}
    read: dict[str, None] = {}
    for expr in [*(let.expr for s in program.per_pair for let in _lets(s)), *program.outputs.values()]:
        for symbol in sorted(expr.free_symbols, key=str):
            name = _unsided(symbol.name)
            if name is not None:
                read[name] = None
    stacks: dict[str, tuple[str, ...]] = {}
    for name in read:
        if name in in_loops:
            stacks[in_loops[name]] = (*stacks.get(in_loops[name], ()), name)
    return _Sampled(tuple(n for n in read if n not in in_loops), stacks)


def _lets(statement: Statement) -> Sequence[Let]:
    return statement.body if isinstance(statement, Loop) else (statement,)


def arguments_of(program: Program, *first: str) -> str:
    """Arguments of a function, the open hyper-parameters last."""
    return ", ".join([*first, *(p.name for p in program.parameters)])


def _per_sample_text(program: Program, sampled: _Sampled) -> str:
    (source,) = (k.name for k in program.inputs if k.side == SAMPLE)
    lines = [
        f"def per_sample({arguments_of(program, source)}):",
        f'{INDENT}"""Variance of the output, and what pairs need of each sample."""',
    ]
    for s, comment in commented(program.per_sample, program.comments):
        lines += comment
        lines += _sample_loop(s, sampled, source) if isinstance(s, Loop) else [_sample_let(s, source)]
    handed = "".join(f", {loop}" for loop in sampled.stacks) or ","
    lines.append(f"return {jax_text(program.outputs['variance'])}, ({_list(sampled.vectors)}{handed})")
    return indented(lines)


def _sample_let(let: Let, source: str) -> str:
    """One statement; a number is spread over the samples."""
    text = jax_text(let.expr)
    is_vector = any(re.match(r"[a-z]+_", s.name) for s in let.expr.free_symbols)
    return f"{let.dst.name} = {text}" if is_vector else f"{let.dst.name} = jnp.full_like({source}, {text})"


def _sample_loop(loop: Loop, sampled: _Sampled, source: str) -> Iterator[str]:
    kept = sampled.stacks.get(loop.layer, ())
    starts, ends, befores, afters = (
        ", ".join(getattr(c, part).name for c in loop.carry) for part in ("start", "end", "before", "after")
    )
    yield f"def turn({starts}, _):"
    for let in loop.body:
        yield INDENT + _sample_let(let, source)
    stacked = (_list(kept) if _are_mixed(kept) else f"jnp.stack({_list(kept)})") if kept else "None"
    yield f"{INDENT}return {ends}, {stacked}"
    yield ""
    yield f"{afters}, {loop.layer if kept else '_'} = lax.scan(turn, {befores}, length={loop.count})"


def _are_mixed(names: Sequence[str]) -> bool:
    """Coefficients of a series have an axis more than other per-sample values."""
    return any(name.startswith("h_") for name in names)


def _pair_text(program: Program, sampled: _Sampled) -> str:
    inputs = [k.name for k in program.inputs if k.side is None]
    lines = [
        f"def pair({arguments_of(program, *inputs, 'stats1', 'stats2')}):",
        f'{INDENT}"""nngp and ntk of every pair of two sets of samples."""',
    ]
    lines += sampled.unpacking()
    made: dict[sp.Expr, str] = {}
    shared = counted_parts(s for s in program.per_pair if isinstance(s, Let))
    for s, comment in commented(program.per_pair, program.comments):
        lines += comment
        lines += _pair_loop(s, sampled) if isinstance(s, Loop) else pair_let(s, made, shared)
    lines.append(f"return {jax_text(program.outputs['nngp'])}, {jax_text(program.outputs['ntk'])}")
    return indented(lines)


def counted_parts(statements: Iterable[Let]) -> Counter[sp.Expr]:
    """How often each root, angle, minor and long sum is read, and how often a power of one over a root."""
    parts = [e for let in statements for e in sp.preorder_traversal(let.expr)]
    read = (e for e in parts if isinstance(e, tuple(SHARED)) or _is_long_sum(e))
    return Counter([*read, *(1 / e.base for e in parts if _is_over_root(e))])


def _is_long_sum(expr: sp.Basic) -> bool:
    return isinstance(expr, sp.Add) and int(sp.count_ops(expr)) >= LONG_SUM


def _is_over_root(expr: sp.Basic) -> bool:
    """Root(...) to the power of -1, -2, ..."""
    return isinstance(expr, sp.Pow) and isinstance(expr.base, Root) and bool(expr.exp.is_Integer) and expr.exp < 0


def pair_let(let: Let, made: dict[sp.Expr, str], shared: Counter[sp.Expr]) -> Iterator[str]:
    """One statement; what several read, and the arc-cosine pair of an argument, stands on a line of its own."""
    for call in sorted(let.expr.atoms(*ARC_COSINES), key=str):
        argument = call.args[0]
        gap, slope, name = ARC_COSINES[type(call)]
        if gap(argument) not in made:
            made[gap(argument)], made[slope(argument)] = f"gap_{let.dst.u}", f"slope_{let.dst.u}"
            yield f"gap_{let.dst.u}, slope_{let.dst.u} = {name}({jax_text(argument)})"
    for arguments in _steps(let.expr):
        calls = Orthant(*arguments), *_edges(*arguments), Ridge(*arguments)
        if calls[0] not in made:
            names = [_unused(f"{name}_{let.dst.u}", made.values()) for name in STEPS]
            made.update(zip(calls, names, strict=True))
            yield f"{', '.join(names)} = steps({', '.join(map(jax_text, arguments))})"
    for call in sorted(let.expr.atoms(*SHARED), key=str):
        if shared[call] > 1 and call not in made:
            name = _unused(f"{SHARED[type(call)]}_{let.dst.u}", made.values())
            yield f"{name} = {jax_text(call)}"
            made[call] = name
    sums = (e for e in let.expr.atoms(sp.Add) if shared[e] >= MANY_TIMES and e not in made)
    for repeated in sorted(sums, key=lambda e: (int(sp.count_ops(e)), str(e))):
        name = _unused(f"sum_{let.dst.u}", made.values())
        yield f"{name} = {jax_text(repeated, made)}"
        made[repeated] = name
    for over in sorted({1 / e.base for e in let.expr.atoms(sp.Pow) if _is_over_root(e)}, key=str):
        if shared[over] > 1 and over not in made:
            name = _unused(f"over_{made[over.base]}", made.values())
            yield f"{name} = 1/{made[over.base]}"
            made[over] = name
    yield f"{let.dst.name} = {jax_text(_with_overs(let.expr, made), made)}"


def _with_overs(expr: sp.Expr, made: Mapping[sp.Expr, str]) -> sp.Expr:
    """K / Root^3  ->  K over^3."""

    def over(power: sp.Pow) -> sp.Expr:
        return sp.Symbol(made[1 / power.base], real=True) ** -power.exp

    return expr.replace(lambda e: _is_over_root(e) and 1 / e.base in made, over)


def _steps(expr: sp.Expr) -> list[tuple[sp.Expr, ...]]:
    """The arguments of Orthant and Ridge, and of an Edge that those do not bring with them."""
    found = dict.fromkeys(a.args for a in sorted(expr.atoms(Orthant, Ridge), key=str))
    for edge in sorted(expr.atoms(Edge), key=str):
        if not any(edge in _edges(*arguments) for arguments in found):
            found[edge.args] = None
    return list(found)


def _edges(k: sp.Expr, q1: sp.Expr, q2: sp.Expr, c1: sp.Expr, c2: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """A delta function for the first step, and for the second."""
    return Edge(k, q1, q2, c1, c2), Edge(k, q2, q1, c2, c1)


def _unused(name: str, taken: Iterable[str]) -> str:
    """`root_gelu1`, `root_gelu1_2`, ..."""
    names = chain([name], (f"{name}_{i}" for i in count(2)))
    used = set(taken)
    return next(n for n in names if n not in used)


def _pair_loop(loop: Loop, sampled: _Sampled) -> Iterator[str]:
    for c in loop.carry:
        yield f"{c.start.name} = {c.before.name}"
    kept = sampled.stacks.get(loop.layer, ())
    if kept:
        turns = (f"zip(*{loop.layer}_{side})" if _are_mixed(kept) else f"{loop.layer}_{side}" for side in (1, 2))
        yield f"for turn1, turn2 in zip({', '.join(turns)}):"
        yield f"{INDENT}{_list([_sided(n, 1) for n in kept])} = columns(turn1)"
        yield f"{INDENT}{_list([_sided(n, 2) for n in kept])} = rows(turn2)"
    else:
        yield f"for _ in range({loop.count}):"
    made: dict[sp.Expr, str] = {}
    shared = counted_parts(loop.body)
    for let in loop.body:
        for line in pair_let(let, made, shared):
            yield INDENT + line
    starts, ends = (", ".join(getattr(c, part).name for c in loop.carry) for part in ("start", "end"))
    yield f"{INDENT}{starts} = {ends}"
    for c in loop.carry:
        yield f"{c.after.name} = {c.start.name}"


def commented(statements: Iterable[Statement], comments: Mapping[str, str]) -> Iterator[tuple[Statement, list[str]]]:
    """Statements, with a comment line before the first of each layer."""
    layer = None
    for s in statements:
        comment = [f"# {s.layer}: {comments[s.layer]}"] if s.layer != layer and s.layer in comments else []
        layer = s.layer
        yield s, comment


def indented(lines: Sequence[str]) -> str:
    """A function: all lines but the first further in."""
    first, *rest = lines
    return (
        "\n".join([first, *(line if not line or line.startswith(f'{INDENT}"""') else INDENT + line for line in rest)])
        + "\n"
    )


def _driver_text(program: Program, schedule: Schedule) -> str:
    streams = [k.stream for k in program.inputs if k.side is None]
    parameters = [p.name for p in program.parameters]
    text = driver_text(streams, parameters, schedule.rows, program.is_port).strip("\n") + "\n"
    has_series = any(let.dst.stream == "M" for let in lets(program.per_sample))
    has_kinks = any(let.expr.has(KinkCoefficients) for let in lets(program.per_sample))
    return text + unresolved_text(parameters, has_kinks) if has_series and not program.is_port else text
