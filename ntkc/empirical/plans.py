"""Which weights are used in products and convolutions alone, and the function with probes at these uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.extend import core

from ntkc.empirical.inlining import bound, flattened
from ntkc.empirical.uses import Use, input_of, use_of
from ntkc.empirical.views import View, view_of

Path = tuple[int, ...]
"""The number of an equation, after those of the scans around it."""


@dataclass(frozen=True, eq=False)
class JaxprPlan:
    """A function of weights as a flat jaxpr; its uses of weights, and scans of them, by the number of the equation."""

    flat: core.ClosedJaxpr
    own_uses: dict[int, Use]
    scans: dict[int, JaxprPlan]
    spoiled: frozenset[int]
    """Weights that are used in another way as well."""

    @classmethod
    def of(cls, closed: core.ClosedJaxpr, weights: int | None = None) -> JaxprPlan:
        """The first arguments are weights; all of them if it is not said how many."""
        given = [View.whole(n, aval.shape) for n, aval in enumerate(closed.in_avals)]
        count = len(given) if weights is None else weights
        return cls.on(closed, [*given[:count], *[None] * (len(given) - count)])

    @classmethod
    def on(cls, closed: core.ClosedJaxpr, given: Sequence[View | None]) -> JaxprPlan:
        """Some arguments are views of weights."""
        flat = flattened(closed, [view is not None for view in given])
        views = {v: view for v, view in zip(flat.jaxpr.invars, given, strict=True) if view is not None}
        uses: dict[int, Use] = {}
        scans: dict[int, JaxprPlan] = {}
        spoiled: set[int] = set()
        for place, eqn in enumerate(flat.jaxpr.eqns):
            read = [None if isinstance(v, core.Literal) else views.get(v) for v in eqn.invars]
            weights = {view.weight for view in read if view is not None}
            if not weights:
                continue
            view = view_of(eqn.primitive.name, eqn.params, read[0]) if len(read) == 1 and read[0] else None
            if view is not None:
                views[eqn.outvars[0]] = view
            elif (use := use_of(eqn, read)) is not None and not _is_complex(eqn):
                uses[place] = use
            elif eqn.primitive.name == "scan":
                scans[place] = _body_plan(eqn, read)
                spoiled |= scans[place].spoiled
            else:
                spoiled |= weights
        returned = (views.get(v) for v in flat.jaxpr.outvars if not isinstance(v, core.Literal))
        spoiled |= {view.weight for view in returned if view is not None}
        return cls(flat, uses, scans, frozenset(spoiled))

    def uses(self) -> dict[Path, tuple[Use, tuple[int, ...]]]:
        """Every use, with the shape of its y; steps of scans are first axes."""
        eqns = self.flat.jaxpr.eqns
        found: dict[Path, tuple[Use, tuple[int, ...]]] = {}
        found.update({(i,): (use, eqns[i].outvars[0].aval.shape) for i, use in self.own_uses.items()})
        for i, body in self.scans.items():
            length = eqns[i].params["length"]
            found.update({(i, *p): (use.of_all_steps(), (length, *shape)) for p, (use, shape) in body.uses().items()})
        return found

    def dtype(self, path: Path) -> Any:
        """Of the y of a use."""
        place, *inner = path
        return self.scans[place].dtype(tuple(inner)) if inner else self.flat.jaxpr.eqns[place].outvars[0].aval.dtype

    @property
    def weights(self) -> set[int]:
        """The weights whose Jacobian with themselves needs factors only."""
        return agreed(self, self)


def _is_complex(eqn: Any) -> bool:
    """Of complex numbers, whose factors would be read as real ones."""
    return any(jnp.issubdtype(v.aval.dtype, jnp.complexfloating) for v in (*eqn.invars, *eqn.outvars))


def _body_plan(eqn: Any, read: Sequence[View | None]) -> JaxprPlan:
    """Of one step of a scan; a weight that is carried from step to step is not followed."""
    start, end = _counts(eqn)
    given = [view and view.in_steps(i >= end) for i, view in enumerate(read)]
    carried = {view.weight for view in read[start:end] if view is not None}
    body = JaxprPlan.on(eqn.params["jaxpr"], [*given[:start], *[None] * (end - start), *given[end:]])
    return replace(body, spoiled=body.spoiled | carried)


def _counts(eqn: Any) -> tuple[int, int]:
    """Where the carry of a scan begins and ends among its operands."""
    return eqn.params["num_consts"], eqn.params["num_consts"] + eqn.params["num_carry"]


def agreed(one: JaxprPlan, two: JaxprPlan) -> set[int]:
    """Weights all of whose uses, here and there, are of the same entries along the same axes, or of other entries."""
    lists = [{use for use, _ in plan.uses().values()} for plan in (one, two)]
    used = {use.view.weight for uses in lists for use in uses}
    clash = {a.view.weight for a in lists[0] for b in lists[1] if not (a.meets(b) or a.is_apart_from(b))}
    return used - clash - one.spoiled - two.spoiled


def run(plan: JaxprPlan, given: Sequence[Any], probes: dict[Path, Any]) -> tuple[list[Any], dict[Path, Any]]:
    """The outputs, a probe added to the result of each use, and the x of each."""
    jaxpr = plan.flat.jaxpr
    known: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*plan.flat.consts, *given), strict=True))
    inputs: dict[Path, Any] = {}
    for place, eqn in enumerate(jaxpr.eqns):
        operands = [v.val if isinstance(v, core.Literal) else known[v] for v in eqn.invars]
        inner = {path[1:]: probe for path, probe in probes.items() if path[0] == place}
        if inner and place in plan.scans:
            made, seen = _scan(eqn, plan.scans[place], operands, inner)
            inputs.update({(place, *path): x for path, x in seen.items()})
        else:
            made = bound(eqn, operands)
        if () in inner:
            inputs[place,] = input_of(eqn, operands, plan.own_uses[place])
            made = [made[0] + inner[()]]
        known.update(zip(eqn.outvars, made, strict=True))
    return [v.val if isinstance(v, core.Literal) else known[v] for v in jaxpr.outvars], inputs


def _scan(
    eqn: Any, body: JaxprPlan, operands: Sequence[Any], probes: dict[Path, Any]
) -> tuple[list[Any], dict[Path, Any]]:
    """A scan whose steps get probes, and return what they were made from."""
    start, end = _counts(eqn)

    def step(carry: Sequence[Any], seen: Any) -> Any:
        outputs, inputs = run(body, [*operands[:start], *carry, *seen[0]], seen[1])
        return outputs[: end - start], (outputs[end - start :], inputs)

    over = list(operands[end:]), probes
    carry, (ys, inputs) = lax.scan(step, list(operands[start:end]), over, eqn.params["length"], eqn.params["reverse"])
    return [*carry, *ys], inputs
