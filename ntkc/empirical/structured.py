"""J1 J2^T from the places where weights are used, without Jacobians in weights.

    y = x W inside f  ->  Theta = sum x1 x2^T dF1/dy (dF2/dy)^T

A weight's Jacobian in y = x W is the outer product of x and dF/dy. The sum over pairs of uses is one einsum of four
small factors, and its cheapest order is found for the shapes at hand. Products (`dot_general`) and convolutions of a
weight, or of a view of one, are read off the jaxpr of f, also in scans, whose steps are one more axis of x and y; a
weight that is used in any other way contributes by its Jacobian.
Source: Novak, Sohl-Dickstein and Schoenholz 2022 (2206.08720), section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core

from ntkc.empirical.axes import Pairing, contract
from ntkc.empirical.inlining import bound, flattened
from ntkc.empirical.views import Axis, View, view_of

Key = tuple[Axis, ...]
"""The axes of a weight, in order, that one axis of x or y runs over; empty for a single entry."""


@dataclass(frozen=True)
class Use:
    """y = x W of a view of a weight, operand `side`: which axes of x, and which of y, run over axes of the weight.

    An axis of the weight that x and y share is that of a product for each entry of it.
    """

    view: View
    side: int
    of_x: tuple[tuple[int, Key], ...]
    of_y: tuple[tuple[int, Key], ...]

    @property
    def keys(self) -> frozenset[Key]:
        """The axes of the weight, without those of one entry."""
        return frozenset(key for _, key in (*self.of_x, *self.of_y) if key)

    def meets(self, other: Use) -> bool:
        """Of the same entries of a weight, along the same axes: labels say which belong together."""
        same = self.view.weight == other.view.weight and self.view.offset == other.view.offset
        return same and self.keys == other.keys

    def is_apart_from(self, other: Use) -> bool:
        """No entry of a weight is in both."""
        return self.view.weight != other.view.weight or self.view.is_apart_from(other.view)

    def stacked(self) -> Use:
        """The same use with a new first axis of x and of y."""
        of_x, of_y = (tuple((a + 1, key) for a, key in axes) for axes in (self.of_x, self.of_y))
        return Use(self.view, self.side, of_x, of_y)

    def of_all_steps(self) -> Use:
        """The use by all steps of the innermost scan: an axis of the weight where each step sees entries of its own."""
        loop, whole = self.view.loops[-1], self.stacked()
        own = () if loop is None else ((0, _key(loop)),)
        return Use(self.view.of_all_steps(), self.side, (*own, *whole.of_x), (*own, *whole.of_y))

    def labels(
        self, x_ndim: int, y_ndim: int, of_key: dict[Key, int], fresh: Iterator[int]
    ) -> tuple[list[int], list[int]]:
        """Labels of the axes of x and of y: those of the weight are given, x and y share the others in order."""
        x_keys, y_keys = dict(self.of_x), dict(self.of_y)
        y = [of_key[y_keys[a]] if y_keys.get(a) else next(fresh) for a in range(y_ndim)]
        free = iter(label for a, label in enumerate(y) if a not in y_keys)
        x = [next(free) if a not in x_keys else of_key[x_keys[a]] if x_keys[a] else next(fresh) for a in range(x_ndim)]
        return x, y


WEIGHT, FREE = 100, 140
"""Where labels of the weight's axes and of all others begin."""


@dataclass(frozen=True, eq=False)
class Factors:
    """A use, its x, and dF/dy [*outputs, *y]."""

    use: Use
    x: Any
    slope: Any


def by_structure(f1: Callable[[Any], Any], f2: Callable[[Any], Any], params: Any, pairing: Pairing) -> Any:
    """J1 J2^T, weights in products and convolutions by their factors."""
    leaves, structure = jax.tree.flatten(params)
    plans = [_plan(f, leaves, structure) for f in (f1, f2)]
    weights = _agreed(plans[0], plans[1])
    (factors1, rest1), (factors2, rest2) = (_read(plan, weights, leaves, pairing.ndim) for plan in plans)
    parts = [contract(a, b, pairing) for a, b in zip(rest1, rest2, strict=True)]
    parts += [_product(a, b, pairing) for a in factors1 for b in factors2 if a.use.meets(b.use)]
    if not parts:
        return _zero(f1, f2, params, pairing)
    return sum(parts[1:], parts[0])


def _plan(f: Callable[[Any], Any], leaves: Sequence[Any], structure: Any) -> Plan:
    return Plan.of(jax.make_jaxpr(lambda *v: f(jax.tree.unflatten(structure, v)))(*leaves))


def _zero(f1: Callable[[Any], Any], f2: Callable[[Any], Any], params: Any, pairing: Pairing) -> Any:
    """The kernel of functions that use no weight in common."""
    one, two = (jax.eval_shape(f, params) for f in (f1, f2))
    return contract(jnp.zeros((*one.shape, 0), one.dtype), jnp.zeros((*two.shape, 0), two.dtype), pairing)


def _product(left: Factors, right: Factors, pairing: Pairing) -> Any:
    """The part of one pair of uses of the same entries of a weight."""
    first, second, kernel = pairing.labels()
    of_key = {key: WEIGHT + i for i, key in enumerate(sorted(left.use.keys))}
    fresh, weight = count(FREE), list(of_key.values())
    terms: list[list[Any]] = []
    for factors, outputs in ((left, first), (right, second)):
        x, y = factors.use.labels(factors.x.ndim, factors.slope.ndim - pairing.ndim, of_key, fresh)
        terms.append([factors.x, x, factors.slope, [*outputs, *y]])
    if _jacobians_are_cheaper(left, pairing.ndim):
        # Made once for each sample, while the factors below are multiplied for each pair.
        jacobian1 = _einsum(*terms[0], [*first, *weight])
        jacobian2 = _einsum(*terms[1], [*second, *weight])
        total = _einsum(jacobian1, [*first, *weight], jacobian2, [*second, *weight], kernel)
    else:
        total = _einsum(*terms[0], *terms[1], kernel)
    return total / pairing.size(left.slope.shape)


def _einsum(*terms: Any) -> Any:
    """Arrays, each with its labels, then the labels of the result."""
    return jnp.einsum(*terms, optimize="optimal", precision=lax.Precision.HIGHEST)


def _jacobians_are_cheaper(factors: Factors, outputs: int) -> bool:
    """Per pair: o^2 s w  for Jacobians,  f^2 s + o^2 f^2 w  or  f^2 s + o f^2 w + o^2 f w  for factors.

    o outputs, s entries of x that meet the weight, w columns of the weight, f all other entries of x.
    """
    x, slope, use = factors.x, factors.slope, factors.use
    o = math.prod(slope.shape[:outputs])
    w = math.prod(slope.shape[outputs:][a] for a, _ in use.of_y)
    s = math.prod(x.shape[a] for a, _ in use.of_x)
    f = x.size // s
    return o * o * s * w < f * f * s + min(o * o * f * f * w, o * f * f * w + o * o * f * w)


Path = tuple[int, ...]
"""The number of an equation, after those of the scans around it."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A function of weights as a flat jaxpr; its uses of weights, and scans of them, by the number of the equation."""

    flat: core.ClosedJaxpr
    own_uses: dict[int, Use]
    scans: dict[int, Plan]
    spoiled: frozenset[int]
    """Weights that are used in another way as well."""

    @classmethod
    def of(cls, closed: core.ClosedJaxpr) -> Plan:
        """All arguments are weights."""
        return cls.on(closed, [View.whole(n, aval.shape) for n, aval in enumerate(closed.in_avals)])

    @classmethod
    def on(cls, closed: core.ClosedJaxpr, given: Sequence[View | None]) -> Plan:
        """Some arguments are views of weights."""
        flat = flattened(closed, [view is not None for view in given])
        views = {v: view for v, view in zip(flat.jaxpr.invars, given, strict=True) if view is not None}
        uses: dict[int, Use] = {}
        scans: dict[int, Plan] = {}
        spoiled: set[int] = set()
        for place, eqn in enumerate(flat.jaxpr.eqns):
            read = [None if isinstance(v, core.Literal) else views.get(v) for v in eqn.invars]
            weights = {view.weight for view in read if view is not None}
            if not weights:
                continue
            view = view_of(eqn.primitive.name, eqn.params, read[0]) if len(read) == 1 and read[0] else None
            if view is not None:
                views[eqn.outvars[0]] = view
            elif (use := use_of(eqn, read)) is not None:
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
        return _agreed(self, self)


def _body_plan(eqn: Any, read: Sequence[View | None]) -> Plan:
    """Of one step of a scan; a weight that is carried from step to step is not followed."""
    start, end = _counts(eqn)
    given = [view and view.in_steps(i >= end) for i, view in enumerate(read)]
    carried = {view.weight for view in read[start:end] if view is not None}
    body = Plan.on(eqn.params["jaxpr"], [*given[:start], *[None] * (end - start), *given[end:]])
    return replace(body, spoiled=body.spoiled | carried)


def _counts(eqn: Any) -> tuple[int, int]:
    """Where the carry of a scan begins and ends among its operands."""
    return eqn.params["num_consts"], eqn.params["num_consts"] + eqn.params["num_carry"]


def _agreed(one: Plan, two: Plan) -> set[int]:
    """Weights all of whose uses, here and there, are of the same entries along the same axes, or of other entries."""
    lists = [{use for use, _ in plan.uses().values()} for plan in (one, two)]
    used = {use.view.weight for uses in lists for use in uses}
    clash = {a.view.weight for a in lists[0] for b in lists[1] if not (a.meets(b) or a.is_apart_from(b))}
    return used - clash - one.spoiled - two.spoiled


def _read(plan: Plan, weights: set[int], leaves: Sequence[Any], outputs: int) -> tuple[list[Factors], list[Any]]:
    """The factors of all uses of `weights`, and the Jacobians in all other leaves."""
    uses = {path: found for path, found in plan.uses().items() if found[0].view.weight in weights}
    probes = {path: jnp.zeros(shape, plan.dtype(path)) for path, (_, shape) in uses.items()}
    plain = [v for i, v in enumerate(leaves) if i not in weights]

    def probed(rest: Sequence[Any], probes: dict[Path, Any]) -> Any:
        whole = iter(rest)
        given = [v if i in weights else next(whole) for i, v in enumerate(leaves)]
        (output,), inputs = _run(plan, given, probes)
        return output, inputs

    if not plain and not probes:
        return [], []
    (rest, slopes), inputs = jax.jacrev(probed, (0, 1), has_aux=True)(plain, probes)
    factors = [
        _in_full(Factors(use, inputs[path], slopes[path]), leaves[use.view.weight]) for path, (use, _) in uses.items()
    ]
    return _gathered(factors, outputs), rest


def _in_full(factors: Factors, weight: Any) -> Factors:
    """In the weight's own precision, as its Jacobian would be."""
    dtype = jnp.result_type(weight)
    return Factors(factors.use, factors.x.astype(dtype), factors.slope.astype(dtype))


def _gathered(factors: Sequence[Factors], outputs: int) -> list[Factors]:
    """Equal uses of one weight as one use:  sum_t x_t dF/dy_t  is a sum over one more axis."""
    groups: dict[Any, list[Factors]] = {}
    for f in factors:
        groups.setdefault((f.use, f.x.shape, f.slope.shape, f.x.dtype, f.slope.dtype), []).append(f)
    return [group[0] if len(group) == 1 else _stacked(group, outputs) for group in groups.values()]


def _stacked(group: Sequence[Factors], outputs: int) -> Factors:
    x, slope = jnp.stack([f.x for f in group]), jnp.stack([f.slope for f in group], outputs)
    return Factors(group[0].use.stacked(), x, slope)


def _run(plan: Plan, given: Sequence[Any], probes: dict[Path, Any]) -> tuple[list[Any], dict[Path, Any]]:
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
            inputs[place,] = _input(eqn, operands, plan.own_uses[place])
            made = [made[0] + inner[()]]
        known.update(zip(eqn.outvars, made, strict=True))
    return [v.val if isinstance(v, core.Literal) else known[v] for v in jaxpr.outvars], inputs


def _scan(eqn: Any, body: Plan, operands: Sequence[Any], probes: dict[Path, Any]) -> tuple[list[Any], dict[Path, Any]]:
    """A scan whose steps get probes, and return what they were made from."""
    start, end = _counts(eqn)

    def step(carry: Sequence[Any], seen: Any) -> Any:
        outputs, inputs = _run(body, [*operands[:start], *carry, *seen[0]], seen[1])
        return outputs[: end - start], (outputs[end - start :], inputs)

    over = list(operands[end:]), probes
    carry, (ys, inputs) = lax.scan(step, list(operands[start:end]), over, eqn.params["length"], eqn.params["reverse"])
    return [*carry, *ys], inputs


def use_of(eqn: Any, views: Sequence[View | None]) -> Use | None:
    """The use of one weight in a product or a convolution; None for anything else."""
    sides = [i for i, view in enumerate(views) if view is not None]
    reader = READERS.get(eqn.primitive.name)
    if reader is None or len(sides) != 1:
        return None
    view = views[sides[0]]
    assert view is not None
    return reader(eqn, sides[0], view)


def _key(*axes: Axis) -> Key:
    return tuple(axis for axis in axes if axis[0] != 1)


def _dot(eqn: Any, side: int, view: View) -> Use | None:
    """y [*batch, *free of lhs, *free of rhs]."""
    contracting, batch = eqn.params["dimension_numbers"]
    w_summed, x_summed, w_batch, x_batch = contracting[side], contracting[1 - side], batch[side], batch[1 - side]
    x_ndim = eqn.invars[1 - side].aval.ndim
    columns = [a for a in range(len(view.axes)) if a not in (*w_summed, *w_batch)]
    start = len(w_batch) + (x_ndim - len(x_summed) - len(x_batch) if side else 0)
    of_x = [(a, _key(view.axes[b])) for a, b in zip((*x_summed, *x_batch), (*w_summed, *w_batch), strict=True)]
    of_y = [(i, _key(view.axes[b])) for i, b in enumerate(w_batch)]
    of_y += [(start + i, _key(view.axes[b])) for i, b in enumerate(columns)]
    return Use(view, side, tuple(of_x), tuple(of_y))


def _conv(eqn: Any, side: int, view: View) -> Use | None:
    """y = patches W: the channels of patches are those of x, for each entry of the filter."""
    is_plain = eqn.params["feature_group_count"] == eqn.params["batch_group_count"] == 1
    if side != 1 or not is_plain:
        return None
    channel = eqn.params["dimension_numbers"].out_spec[1]
    column, *summed = eqn.params["dimension_numbers"].rhs_spec
    return Use(view, side, ((channel, _key(*(view.axes[a] for a in summed))),), ((channel, _key(view.axes[column])),))


READERS: dict[str, Callable[[Any, int, View], Use | None]] = {"dot_general": _dot, "conv_general_dilated": _conv}


def _input(eqn: Any, values: Sequence[Any], use: Use) -> Any:
    """x of y = x W: the other operand, for a convolution its patches."""
    if eqn.primitive.name == "dot_general":
        return values[1 - use.side]
    p = eqn.params
    numbers = p["dimension_numbers"]
    filter_shape = [eqn.invars[1].aval.shape[i] for i in numbers.rhs_spec[2:]]
    return lax.conv_general_dilated_patches(
        values[0],
        filter_shape,
        p["window_strides"],
        p["padding"],
        p["lhs_dilation"],
        p["rhs_dilation"],
        dimension_numbers=numbers,
        precision=lax.Precision.HIGHEST,
    )
