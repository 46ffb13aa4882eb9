"""A jaxpr  ->  the nodes of a network: every equation is read by the rule of its primitive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend import core

from ntkc.empirical.inlining import bound
from ntkc.errors import UnsupportedExpr
from ntkc.importers.net import Net
from ntkc.importers.values import Constant, Value, Weight

Rule = Callable[["Reader", Any, Sequence[Value]], Any]
CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Parameters that hold the body of a call."""
LOOPS = {"scan", "while", "cond"}
OWN = (str(Path(__file__).parent.parent), str(Path(jnp.__file__).parents[1]))


@dataclass
class Reader:
    """What the rules share: the network so far, and what the caller chose.

    Attributes:
        net: the nodes.
        rules: by primitive.
        replace_max: max pools are read as average pools.
        attention: how softmax attention at 1 / sqrt(d) is read.
        notes: what the limit changes, in words.
    """

    net: Net
    rules: Mapping[str, Rule]
    replace_max: bool = False
    attention: str = "refuse"
    notes: dict[str, None] = field(default_factory=dict[str, None])

    def run(self, closed: core.ClosedJaxpr, arguments: Sequence[Value]) -> list[Value]:
        """The values of a whole jaxpr."""
        constants = [Constant(np.asarray(c)) for c in closed.consts]
        return self._body(closed.jaxpr, constants, arguments, "")

    def _body(
        self, jaxpr: core.Jaxpr, constants: Sequence[Value], arguments: Sequence[Value], place: str
    ) -> list[Value]:
        known: dict[Any, Value] = dict(zip(jaxpr.constvars, constants, strict=True))
        known.update(zip(jaxpr.invars, arguments, strict=True))

        def read(variable: Any) -> Value:
            return Constant(np.asarray(variable.val)) if isinstance(variable, core.Literal) else known[variable]

        for eqn in _needed(jaxpr):
            own = place_of(eqn) or place
            known.update(zip(eqn.outvars, self._equation(eqn, [read(v) for v in eqn.invars], own), strict=True))
        return [read(v) for v in jaxpr.outvars]

    def _equation(self, eqn: Any, operands: Sequence[Value], place: str) -> Sequence[Value]:
        name = eqn.primitive.name
        if name not in LOOPS and all(isinstance(v, Constant) for v in operands):
            known = (v.array for v in operands if isinstance(v, Constant))
            arrays = [np.asarray(a, v.aval.dtype) for a, v in zip(known, eqn.invars, strict=True)]
            return [Constant(np.asarray(v)) for v in bound(eqn, arrays)]
        body = next((eqn.params[p] for p in CALLS if p in eqn.params), None)
        if body is not None and name not in LOOPS:
            whole = self.rules.get(f"call {eqn.params.get('name')}")
            self.net.place = place
            made = None if whole is None else whole(self, eqn, operands)
            if made is not None:
                return [made]
            inner, consts = (body.jaxpr, body.consts) if isinstance(body, core.ClosedJaxpr) else (body, ())
            return self._body(inner, [Constant(np.asarray(c)) for c in consts], operands, place)
        self.net.place = place
        rule = self.rules.get(name)
        if rule is None:
            raise self.net.refusal(*self._unknown(name, operands))
        try:
            made = rule(self, eqn, operands)
            return made if isinstance(made, list) else [made]
        except UnsupportedExpr as error:
            raise self.net.refusal(str(error), "write it with functions that have an expression") from error

    def again(self, eqn: Any, operands: Sequence[Value]) -> list[Value]:
        """An equation whose operands have become known."""
        return list(self._equation(eqn, operands, self.net.place))

    @staticmethod
    def _unknown(name: str, operands: Sequence[Value]) -> tuple[str, str]:
        if name in LOOPS:
            words = {"scan": "a loop (scan)", "while": "a loop (while)", "cond": "control flow that depends on data"}
            return f"{words[name]} has no rule", "write its steps out, each with weights of its own"
        if any(isinstance(v, Weight) for v in operands):
            return f"a weight goes through {name} before it is used", "use weights as they are"
        return f"{name} has no infinite-width rule", "leave it out, or put it after the network"


def _needed(jaxpr: core.Jaxpr) -> list[Any]:
    """The equations that the outputs read."""
    wanted = {v for v in jaxpr.outvars if not isinstance(v, core.Literal)}
    kept: list[Any] = []
    for eqn in reversed(jaxpr.eqns):
        if wanted.intersection(eqn.outvars):
            kept.append(eqn)
            wanted.update(v for v in eqn.invars if not isinstance(v, core.Literal))
    return kept[::-1]


def place_of(eqn: Any) -> str:
    """The module of an equation, else the file and line of the model that it stands in."""
    module = str(eqn.source_info.name_stack)
    if module:
        return module
    traceback = eqn.source_info.traceback
    frames = [] if traceback is None else traceback.frames
    own = (f for f in frames if not f.file_name.startswith(OWN) and "site-packages" not in f.file_name)
    frame = next(own, None)
    return "" if frame is None else f"{Path(frame.file_name).name}:{frame.line_num}"


def number_of(value: Value) -> Any:
    """The one number that a constant holds everywhere; None for others."""
    if not isinstance(value, Constant) or value.array.size == 0:
        return None
    first = value.array.reshape(-1)[0]
    is_nan = value.array.dtype.kind == "f" and np.isnan(first)
    same = np.isnan(value.array) if is_nan else value.array == first
    return first if value.array.size == 1 or bool(same.all()) else None


def shape_of(eqn: Any) -> tuple[int, ...]:
    """Shape of the result."""
    return tuple(eqn.outvars[0].aval.shape)
