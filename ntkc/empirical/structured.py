"""J1 J2^T from the places where weights are used, without Jacobians in weights.

    y = x W inside f  ->  Theta = sum x1 x2^T dF1/dy (dF2/dy)^T

A weight's Jacobian in y = x W is the outer product of x and dF/dy. The sum over pairs of uses is one einsum of four
small factors, and its cheapest order is found for the shapes at hand. Products (`dot_general`) and convolutions of a
weight are read off the jaxpr of f; a weight that is used in any other way contributes by its Jacobian.
Source: Novak, Sohl-Dickstein and Schoenholz 2022 (2206.08720), section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core

from ntkc.empirical.axes import Pairing, contract

INLINED = ("pjit", "jit", "closed_call", "core_call")
"""Calls whose body is read as if it stood in their place."""


@dataclass(frozen=True)
class Use:
    """y = x W:  the weight's number, and which axes of x are summed and which of y come from W."""

    weight: int
    summed: tuple[int, ...]
    from_weight: tuple[int, ...]

    def labels(self, x_ndim: int, y_ndim: int, first: int, columns: Sequence[int]) -> tuple[list[int], list[int]]:
        """Labels of x and of y: those of W's columns are given, the free axes of x are counted from `first`."""
        free = iter(range(first, first + y_ndim))
        weight = iter(columns)
        y = [next(weight) if a in self.from_weight else next(free) for a in range(y_ndim)]
        kept = iter(label for a, label in enumerate(y) if a not in self.from_weight)
        x = [_summed(self.summed.index(a)) if a in self.summed else next(kept) for a in range(x_ndim)]
        return x, y


SUMMED, COLUMNS, FREE = 100, 120, 140
"""Where labels of summed axes, of W's own axes and of free axes begin."""


def _summed(place: int) -> int:
    return SUMMED + place


def by_structure(f1: Callable[[Any], Any], f2: Callable[[Any], Any], params: Any, pairing: Pairing) -> Any:
    """J1 J2^T, weights in products and convolutions by their factors."""
    (uses1, factors1, rest1), (uses2, factors2, rest2) = _read(f1, params), _read(f2, params)
    parts = [contract(a, b, pairing) for a, b in zip(rest1, rest2, strict=True)]
    for use1, left in zip(uses1, factors1, strict=True):
        for use2, right in zip(uses2, factors2, strict=True):
            if use1.weight == use2.weight:
                parts.append(_product(use1, left, use2, right, pairing))
    return sum(parts[1:], parts[0])


def _product(use1: Use, left: Any, use2: Use, right: Any, pairing: Pairing) -> Any:
    """The part of one pair of uses of a weight; `left` and `right` are (x, dF/dy)."""
    (x1, slope1), (x2, slope2) = left, right
    first, second, kernel = pairing.labels()
    columns = [COLUMNS + i for i in range(len(use1.from_weight))]
    y1, y2 = slope1.ndim - pairing.ndim, slope2.ndim - pairing.ndim
    lx1, ly1 = use1.labels(x1.ndim, y1, FREE, columns)
    lx2, ly2 = use2.labels(x2.ndim, y2, FREE + y1, columns)
    left_terms, right_terms = (x1, lx1, slope1, [*first, *ly1]), (x2, lx2, slope2, [*second, *ly2])
    weight = [*columns, *sorted({*lx1} - {*ly1})]
    if _jacobians_are_cheaper(use1, x1, slope1, pairing.ndim):
        # Made once for each sample, while the factors below are multiplied for each pair.
        jacobian1, jacobian2 = _einsum(*left_terms, [*first, *weight]), _einsum(*right_terms, [*second, *weight])
        total = _einsum(jacobian1, [*first, *weight], jacobian2, [*second, *weight], kernel)
    else:
        total = _einsum(*left_terms, *right_terms, kernel)
    return total / pairing.size(slope1.shape)


def _einsum(*terms: Any) -> Any:
    """Arrays, each with its labels, then the labels of the result."""
    return jnp.einsum(*terms, optimize="optimal", precision=lax.Precision.HIGHEST)


def _jacobians_are_cheaper(use: Use, x: Any, slope: Any, outputs: int) -> bool:
    """Per pair: o^2 s w  for Jacobians,  f^2 s + o^2 f^2 w  or  f^2 s + o f^2 w + o^2 f w  for factors.

    o outputs, s summed entries of x, w columns of the weight, f all other entries of x.
    """
    o = math.prod(slope.shape[:outputs])
    w = math.prod(slope.shape[outputs:][a] for a in use.from_weight)
    s = math.prod(x.shape[a] for a in use.summed)
    f = x.size // s
    return o * o * s * w < f * f * s + min(o * o * f * f * w, o * f * f * w + o * o * f * w)


def _read(f: Callable[[Any], Any], params: Any) -> tuple[list[Use], list[tuple[Any, Any]], list[Any]]:
    """Uses of structured weights with (x, dF/dy) of each, and the Jacobians in all other leaves."""
    leaves, structure = jax.tree.flatten(params)
    closed = jax.make_jaxpr(lambda *v: f(jax.tree.unflatten(structure, v)))(*leaves)
    plan = Plan.of(closed)
    plain = [v for i, v in enumerate(leaves) if i not in plan.weights]

    def probed(rest: Sequence[Any], probes: Sequence[Any]) -> Any:
        whole = iter(rest)
        given = [leaves[i] if i in plan.weights else next(whole) for i in range(len(leaves))]
        run = _Run(plan, list(probes))
        (output,) = run.evaluate(closed, given, [*range(len(leaves))])
        return output, run.inputs

    probes = [jnp.zeros(shape, dtype) for shape, dtype in plan.shapes]
    if not plain and not probes:
        return [], [], []
    (rest, slopes), inputs = jax.jacrev(probed, (0, 1), has_aux=True)(plain, probes)
    return plan.uses, list(zip(inputs, slopes, strict=True)), rest


@dataclass
class Plan:
    """The structured weights, and each of their uses in the order of evaluation."""

    weights: set[int]
    uses: list[Use]
    shapes: list[tuple[tuple[int, ...], Any]]

    @classmethod
    def of(cls, closed: core.ClosedJaxpr) -> Plan:
        uses: list[Use] = []
        shapes: list[tuple[tuple[int, ...], Any]] = []
        spoiled = {n for n, out in enumerate(closed.jaxpr.invars) if any(out is v for v in closed.jaxpr.outvars)}
        for eqn, numbers in _equations(closed.jaxpr, [*range(len(closed.jaxpr.invars))]):
            use = use_of(eqn, numbers)
            if use is None:
                spoiled |= {n for n in numbers if n is not None}
                continue
            uses.append(use)
            shapes.append((eqn.outvars[0].aval.shape, eqn.outvars[0].aval.dtype))
        kept = [i for i, u in enumerate(uses) if u.weight not in spoiled]
        return cls({uses[i].weight for i in kept}, [uses[i] for i in kept], [shapes[i] for i in kept])


def _equations(jaxpr: core.Jaxpr, numbers: Sequence[int | None]) -> Iterator[tuple[Any, list[int | None]]]:
    """Equations that read weights, bodies of calls in their place, with the number of the weight in each operand."""
    known: dict[Any, int] = {v: n for v, n in zip(jaxpr.invars, numbers, strict=True) if n is not None}
    for eqn in jaxpr.eqns:
        read = [None if isinstance(v, core.Literal) else known.get(v) for v in eqn.invars]
        if all(n is None for n in read):
            continue
        body = _body(eqn)
        if body is None or _returns_weight(body, read):
            yield eqn, read
        else:
            yield from _equations(body.jaxpr, read)


def _body(eqn: Any) -> core.ClosedJaxpr | None:
    return eqn.params["jaxpr"] if eqn.primitive.name in INLINED and "jaxpr" in eqn.params else None


def _returns_weight(body: core.ClosedJaxpr, read: Sequence[int | None]) -> bool:
    """A call that hands a weight on: what happens to it afterwards is not followed."""
    weights = [v for v, n in zip(body.jaxpr.invars, read, strict=True) if n is not None]
    return any(out is v for out in body.jaxpr.outvars for v in weights)


def use_of(eqn: Any, numbers: Sequence[int | None]) -> Use | None:
    """The use of one weight in a product or a convolution; None for anything else."""
    given = [i for i, n in enumerate(numbers) if n is not None]
    reader = READERS.get(eqn.primitive.name)
    if reader is None or len(given) != 1:
        return None
    return reader(eqn, given[0], numbers[given[0]])


def _dot(eqn: Any, side: int, weight: int) -> Use | None:
    contracting, batch = eqn.params["dimension_numbers"]
    if batch[0]:
        return None
    x, w = eqn.invars[1 - side].aval, eqn.invars[side].aval
    free_x, free_w = x.ndim - len(contracting[0]), w.ndim - len(contracting[0])
    columns = range(free_x, free_x + free_w) if side else range(free_w)
    # The summed axes of x in the order of W's, so that both uses of a weight label them alike.
    order = sorted(range(len(contracting[0])), key=lambda i: contracting[side][i])
    places = _places(w.ndim, contracting[side])
    return Use(weight, tuple(contracting[1 - side][i] for i in order), tuple(columns)) if places else None


def _places(ndim: int, contracted: Sequence[int]) -> bool:
    """The weight is summed over its first or its last axes: all its uses then agree on which are which."""
    return sorted(contracted) == list(range(len(contracted)))


def _conv(eqn: Any, side: int, weight: int) -> Use | None:
    is_plain = eqn.params["feature_group_count"] == eqn.params["batch_group_count"] == 1
    if side != 1 or not is_plain:
        return None
    channel = eqn.params["dimension_numbers"].out_spec[1]
    return Use(weight, (channel,), (channel,))


READERS: dict[str, Callable[[Any, int, Any], Use | None]] = {"dot_general": _dot, "conv_general_dilated": _conv}


def _input(eqn: Any, values: Sequence[Any], use: Use, side: int) -> Any:
    """x of y = x W: the other operand, for a convolution its patches."""
    if eqn.primitive.name == "dot_general":
        return values[1 - side]
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


@dataclass
class _Run:
    """One evaluation: a probe is added to the result of each use, and what it was made from is kept."""

    plan: Plan
    probes: list[Any]

    def __post_init__(self) -> None:
        self.inputs: list[Any] = []

    def evaluate(self, closed: core.ClosedJaxpr, values: Sequence[Any], numbers: Sequence[int | None]) -> list[Any]:
        jaxpr = closed.jaxpr
        known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*closed.consts, *values), strict=True))
        weights = {v: n for v, n in zip(jaxpr.invars, numbers, strict=True) if n is not None}
        for eqn in jaxpr.eqns:
            given = [v.val if isinstance(v, core.Literal) else known[v] for v in eqn.invars]
            read = [None if isinstance(v, core.Literal) else weights.get(v) for v in eqn.invars]
            made = self._equation(eqn, given, read)
            known.update(zip(eqn.outvars, made, strict=True))
        return [v.val if isinstance(v, core.Literal) else known[v] for v in jaxpr.outvars]

    def _equation(self, eqn: Any, given: Sequence[Any], read: Sequence[int | None]) -> list[Any]:
        body = _body(eqn)
        if any(n is not None for n in read):
            if body is not None and not _returns_weight(body, read):
                return self.evaluate(body, given, read)
            use = use_of(eqn, read)
            if use is not None and use.weight in self.plan.weights:
                side = next(i for i, n in enumerate(read) if n is not None)
                self.inputs.append(_input(eqn, given, use, side))
                return [_bound(eqn, given)[0] + self.probes[len(self.inputs) - 1]]
        return _bound(eqn, given)


def _bound(eqn: Any, given: Sequence[Any]) -> list[Any]:
    made = eqn.primitive.bind(*given, **eqn.primitive.get_bind_params(eqn.params))
    return list(made) if eqn.primitive.multiple_results else [made]
