"""J1 J2^T from the places where weights are used, without Jacobians in weights.

    y = x W inside f  ->  Theta = sum x1 x2^T dF1/dy (dF2/dy)^T

A weight's Jacobian in y = x W is the outer product of x and dF/dy, summed over pixels and the like. The sum over pairs
of uses is one einsum of four small factors, and its cheapest order is found for the shapes at hand; where many pixels
make factors dearer than Jacobians, x and dF/dy are multiplied once for each sample. Products (`dot_general`) and
convolutions of a weight, or of a view of one, are read off the jaxpr of f, also in scans, whose steps are one more axis
of x and y; a weight that is used in any other way contributes by its Jacobian.
Source: Novak, Sohl-Dickstein and Schoenholz 2022 (2206.08720), section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ntkc.empirical.axes import Pairing, contract
from ntkc.empirical.plans import JaxprPlan, Path, agreed, run
from ntkc.empirical.sides import Function, Pair, Sides
from ntkc.empirical.uses import Key, Use

WEIGHT, FREE = 100, 140
"""Where labels of the weight's axes and of all others begin."""


@partial(jax.tree_util.register_dataclass, data_fields=["x", "slope"], meta_fields=["use"])
@dataclass(frozen=True, eq=False)
class WeightFactors:
    """A use, its x, and dF/dy [*outputs, *y]; of many samples, both have an axis of these first."""

    use: Use
    x: Any
    slope: Any

    def terms(self, outputs: Sequence[int], samples: int, of_key: dict[Key, int], fresh: count[int]) -> list[Any]:
        """Operands of an einsum, each with its labels; the labels of samples are the first of the outputs."""
        x, y = self.use.labels(self.x.ndim - samples, self.slope.ndim - len(outputs), of_key, fresh)
        return [self.x, [*outputs[:samples], *x], self.slope, [*outputs, *y]]

    def jacobian(self, outputs: int, samples: int = 0) -> Jacobian:
        """Multiplied, and summed over all that is no axis of the weight."""
        labels, of_key = [*range(outputs)], labels_of(self.use)
        terms = self.terms(labels, samples, of_key, count(FREE))
        return Jacobian(self.use, _einsum(*terms, [*labels, *of_key.values()]))


@partial(jax.tree_util.register_dataclass, data_fields=["entries"], meta_fields=["use"])
@dataclass(frozen=True, eq=False)
class Jacobian:
    """dF/dW of one use of a weight, [*outputs, *axes of the weight in the order of `labels_of`]."""

    use: Use
    entries: Any

    def jacobian(self, outputs: int, samples: int = 0) -> Jacobian:
        return self


Part = WeightFactors | Jacobian


def by_structure(pair: Pair) -> Sides:
    """Weights in products and convolutions by factors, or by Jacobians that are made of these."""
    plans = [_plan(f, pair.params, sample) for f, sample in ((pair.f1, pair.sample1), (pair.f2, pair.sample2))]
    weights = agreed(*plans)
    leaves = jax.tree.leaves(pair.params)
    left, right = (partial(_parts, plan, weights, leaves) for plan in plans)
    return Sides(left, right, _sum_of_products)


def _plan(f: Function, params: Any, sample: Any) -> JaxprPlan:
    leaves, structure = jax.tree.flatten(params)

    def flat(weights: Sequence[Any], sample: Any) -> Any:
        return f(jax.tree.unflatten(structure, weights), sample)

    return JaxprPlan.of(jax.make_jaxpr(flat)(leaves, sample), len(leaves))


def _parts(plan: JaxprPlan, weights: set[int], leaves: Sequence[Any], sample: Any) -> tuple[list[Part], list[Any]]:
    """What each use of `weights` has for other samples, and Jacobians in all other leaves; an empty one at least."""
    uses = {path: found for path, found in plan.uses().items() if found[0].view.weight in weights}
    probes = {path: jnp.zeros(shape, plan.dtype(path)) for path, (_, shape) in uses.items()}
    plain = [v for i, v in enumerate(leaves) if i not in weights]
    output = plan.flat.jaxpr.outvars[0].aval
    empty = jnp.zeros((*output.shape, 0), output.dtype)

    def probed(rest: Sequence[Any], probes: dict[Path, Any]) -> Any:
        whole = iter(rest)
        given = [v if i in weights else next(whole) for i, v in enumerate(leaves)]
        (made,), inputs = run(plan, [*given, *jax.tree.leaves(sample)], probes)
        return made, inputs

    if not plain and not probes:
        return [], [empty]
    (rest, slopes), inputs = jax.jacrev(probed, (0, 1), has_aux=True)(plain, probes)
    factors = [
        _in_full(WeightFactors(use, inputs[path], slopes[path]), leaves[use.view.weight])
        for path, (use, _) in uses.items()
    ]
    cheap = [
        f.jacobian(output.ndim) if _jacobians_are_cheaper(f, output.ndim) else f
        for f in _gathered(factors, output.ndim)
    ]
    return cheap, [empty, *rest]


def _in_full(factors: WeightFactors, weight: Any) -> WeightFactors:
    """In the weight's own precision, as its Jacobian would be."""
    dtype = jnp.result_type(weight)
    return WeightFactors(factors.use, factors.x.astype(dtype), factors.slope.astype(dtype))


def _gathered(factors: Sequence[WeightFactors], outputs: int) -> list[WeightFactors]:
    """Equal uses of one weight as one use:  sum_t x_t dF/dy_t  is a sum over one more axis."""
    groups: dict[Any, list[WeightFactors]] = {}
    for f in factors:
        groups.setdefault((f.use, f.x.shape, f.slope.shape, f.x.dtype, f.slope.dtype), []).append(f)
    return [group[0] if len(group) == 1 else _stacked(group, outputs) for group in groups.values()]


def _stacked(group: Sequence[WeightFactors], outputs: int) -> WeightFactors:
    x, slope = jnp.stack([f.x for f in group]), jnp.stack([f.slope for f in group], outputs)
    return WeightFactors(group[0].use.stacked(), x, slope)


def _jacobians_are_cheaper(factors: WeightFactors, outputs: int) -> bool:
    """Per pair: o^2 s w  for Jacobians,  f^2 s + o^2 f^2 w  or  f^2 s + o f^2 w + o^2 f w  for factors.

    o outputs, s entries of x that meet the weight, w columns of the weight, f all other entries of x.
    """
    x, slope, use = factors.x, factors.slope, factors.use
    o = math.prod(slope.shape[:outputs])
    w = math.prod(slope.shape[outputs:][a] for a, _ in use.of_y)
    s = math.prod(x.shape[a] for a, _ in use.of_x)
    f = x.size // s
    return o * o * s * w < f * f * s + min(o * o * f * f * w, o * f * f * w + o * o * f * w)


def _sum_of_products(one: tuple[list[Part], list[Any]], two: tuple[list[Part], list[Any]], pairing: Pairing) -> Any:
    """Over the uses of the same entries of a weight, and over Jacobians."""
    (parts1, rest1), (parts2, rest2) = one, two
    kernels = [contract(a, b, pairing) for a, b in zip(rest1, rest2, strict=True)]
    kernels += [_product(a, b, pairing) for a in parts1 for b in parts2 if a.use.meets(b.use)]
    return sum(kernels[1:], kernels[0])


def _product(left: Part, right: Part, pairing: Pairing) -> Any:
    """The part of one pair of uses of the same entries of a weight."""
    samples = int(pairing.of_samples)
    if isinstance(left, WeightFactors) and isinstance(right, WeightFactors):
        first, second, kernel = pairing.labels()
        of_key, fresh = labels_of(left.use), count(FREE)
        terms = [*left.terms(first, samples, of_key, fresh), *right.terms(second, samples, of_key, fresh)]
        return _einsum(*terms, kernel) / pairing.size(left.slope.shape)
    one, two = (part.jacobian(pairing.ndim, samples).entries for part in (left, right))
    return contract(one, two, pairing)


def labels_of(use: Use) -> dict[Key, int]:
    """Axes of a weight in one order for all its uses, the innermost first: it is the last axis of y = x W."""
    keys = sorted(use.keys, key=lambda key: min(stride for _, stride in key))
    return {key: WEIGHT + i for i, key in enumerate(keys)}


def _einsum(*terms: Any) -> Any:
    """Arrays, each with its labels, then the labels of the result."""
    return jnp.einsum(*terms, optimize="optimal", precision=lax.Precision.HIGHEST)
