"""A traced function  ->  a list of calls by numpy, which runs without compilation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import numpy as np
from jax.extend import core

from ntkc.host.primitives import TABLE

ENTRY_SECONDS, CALL_SECONDS = 2e-9, 2e-6
"""What an entry of a result and a call take, roughly."""


@dataclass(frozen=True)
class Tape:
    """Calls in their order, each with places of what it reads and writes; what it takes, roughly, in seconds.

    Places hold constants from the start; `length` is the number of calls that XLA would compile.
    """

    calls: tuple[tuple[Callable[..., Any], tuple[int, ...], tuple[int, ...], bool], ...]
    start: tuple[Any, ...]
    given: tuple[int, ...]
    made: tuple[int, ...]
    seconds: float
    length: int

    def __call__(self, *given: Any) -> list[Any]:
        places = list(self.start)
        for place, value in zip(self.given, given, strict=True):
            places[place] = value
        for function, reads, writes, is_single in self.calls:
            made = function(*[places[i] for i in reads])
            if is_single:
                places[writes[0]] = made
            else:
                for place, value in zip(writes, made, strict=True):
                    places[place] = value
        return [places[i] for i in self.made]


def tape_of(traced: Any) -> Tape:
    """The calls of a jaxpr, closed or open."""
    jaxpr, constants = (traced.jaxpr, traced.consts) if isinstance(traced, core.ClosedJaxpr) else (traced, ())
    return _Recorder().recorded(jaxpr, constants)


class _Recorder:
    """Places of variables, and the calls that fill them."""

    def __init__(self) -> None:
        self.places: dict[Any, int] = {}
        self.start: list[Any] = []
        self.seconds, self.length = 0.0, 0

    def recorded(self, jaxpr: Any, constants: Sequence[Any]) -> Tape:
        for variable, value in zip(jaxpr.constvars, constants, strict=True):
            self.start[self.place(variable)] = np.asarray(value)
        given = tuple(map(self.place, jaxpr.invars))
        calls = tuple(map(self.call, jaxpr.eqns))
        made = tuple(map(self.place, jaxpr.outvars))
        return Tape(calls, tuple(self.start), given, made, self.seconds, self.length)

    def place(self, variable: Any) -> int:
        if isinstance(variable, core.Literal):
            self.start.append(np.asarray(variable.val, _dtype(variable.aval)))
            return len(self.start) - 1
        if variable not in self.places:
            self.places[variable] = len(self.start)
            self.start.append(None)
        return self.places[variable]

    def call(self, eqn: Any) -> tuple[Callable[..., Any], tuple[int, ...], tuple[int, ...], bool]:
        function, inner_seconds, length = _function(eqn)
        entries = sum(prod(v.aval.shape) for v in eqn.outvars)
        self.seconds += inner_seconds + CALL_SECONDS + ENTRY_SECONDS * entries * _turns(eqn)
        self.length += 1 + length
        reads, writes = (tuple(map(self.place, variables)) for variables in (eqn.invars, eqn.outvars))
        return function, reads, writes, not _gives_list(eqn)


def _dtype(aval: Any) -> Any:
    return aval.dtype


def _turns(eqn: Any) -> int:
    """Terms of a sum that makes one entry."""
    if eqn.primitive.name != "dot_general":
        return 1
    (contracted, _), _ = eqn.params["dimension_numbers"]
    return 1 + prod(eqn.invars[0].aval.shape[i] for i in contracted) // 8


def _gives_list(eqn: Any) -> bool:
    name = eqn.primitive.name
    return name in INNER or eqn.primitive.multiple_results


def _function(eqn: Any) -> tuple[Callable[..., Any], float, int]:
    """What an equation computes, what programs inside it take, and their calls."""
    name = eqn.primitive.name
    if name in INNER:
        return INNER[name](eqn.params)
    known = TABLE[name](**eqn.params) if name in TABLE else None
    if known is not None:
        return known, 0.0, 0
    return _by_jax(eqn), COMPILED_SECONDS, 0


COMPILED_SECONDS = 0.03
"""A primitive that numpy has not is compiled, alone."""


def _by_jax(eqn: Any) -> Callable[..., Any]:
    def function(*given: Any) -> Any:
        with jax.enable_x64(True):
            made = eqn.primitive.bind(*given, **eqn.params)
            return jax.tree.map(np.asarray, made)

    return function


Inner = tuple[Callable[..., Any], float, int]


def _called(name: str) -> Callable[[Any], Inner]:
    def build(params: Any) -> Inner:
        tape = tape_of(params[name])
        return tape, tape.seconds, tape.length

    return build


def _cond(params: Any) -> Inner:
    tapes = [tape_of(b) for b in params["branches"]]

    def function(which: Any, *given: Any) -> list[Any]:
        return tapes[min(max(int(which), 0), len(tapes) - 1)](*given)

    return function, max(t.seconds for t in tapes), sum(t.length for t in tapes)


def _while(params: Any) -> Inner:
    condition, body = tape_of(params["cond_jaxpr"]), tape_of(params["body_jaxpr"])
    first, second = params["cond_nconsts"], params["body_nconsts"]

    def function(*given: Any) -> list[Any]:
        fixed, other, state = given[:first], given[first : first + second], list(given[first + second :])
        while condition(*fixed, *state)[0]:
            state = body(*other, *state)
        return state

    return function, TURNS * (condition.seconds + body.seconds), condition.length + body.length


TURNS = 30
"""Of a loop that ends when it has converged."""


def _scan(params: Any) -> Inner:
    tape, count = tape_of(params["jaxpr"]), params["length"]
    consts, carried = params["num_consts"], params["num_carry"]
    shapes = [v.aval for v in params["jaxpr"].jaxpr.outvars[carried:]]
    order = range(count)[::-1] if params["reverse"] else range(count)

    def function(*given: Any) -> list[Any]:
        fixed, state, along = given[:consts], list(given[consts : consts + carried]), given[consts + carried :]
        piles = [np.empty((count, *s.shape), s.dtype) for s in shapes]
        for i in order:
            made = tape(*fixed, *state, *(v[i] for v in along))
            state = made[:carried]
            for pile, value in zip(piles, made[carried:], strict=True):
                pile[i] = value
        return [*state, *piles]

    return function, count * tape.seconds, tape.length


INNER: dict[str, Callable[[Any], Inner]] = {
    "jit": _called("jaxpr"),
    "pjit": _called("jaxpr"),
    "closed_call": _called("call_jaxpr"),
    "remat2": _called("jaxpr"),
    "checkpoint": _called("jaxpr"),
    "custom_jvp_call": _called("call_jaxpr"),
    "custom_vjp_call": _called("call_jaxpr"),
    "custom_vmap_call": _called("call"),
    "cond": _cond,
    "while": _while,
    "scan": _scan,
}
"""Primitives with programs inside."""
