"""Products without weights: queries with keys, and fixed matrices with pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import sympy as sp

from ntkc.gaussian.normal_form import X
from ntkc.importers.axes import Atom, Group, axes_of, is_complete, renumbered, size_of
from ntkc.importers.net import SAMPLES_SIZE
from ntkc.importers.reader import Reader
from ntkc.importers.values import Constant, Field, Logits, Value
from ntkc.layers.linear_maps import DotGeneral

Side = tuple[Any, tuple[int, ...], tuple[int, ...]]
"""A value, and its axes that are summed over, and those that both sides have."""


def free_axes(side: Side, count: int) -> list[int]:
    """The other axes."""
    return [i for i in range(count) if i not in (*side[1], *side[2])]


def logits_of(reader: Reader, left: Side, right: Side, shape: tuple[int, ...]) -> Value:
    """q . k of each pair of pixels, per head."""
    net = reader.net
    sides = [(net.materialised(v), summed, shared) for v, summed, shared in (left, right)]
    factors = [_split_factor(v) for v, _, _ in (left, right)]
    if all(f is not None for f in factors):
        sides = [(Field(v.node, v.groups), s, b) for v, s, b in (left, right)]
    for value, summed, shared in sides:
        axes = axes_of([value.groups[i] for i in summed])
        if axes != {net.channel_axis(value.node)} or 0 not in axes_of([value.groups[i] for i in shared]):
            raise net.refusal("a product of two layers that sums over other than channels", "multiply entry by entry")
    (query, summed, _), (key, *_) = sides
    uses = [net.nodes[v.node].use for v in (query, key)]
    if query.node == key.node or any(u is None or u.kernel is None for u in uses):
        raise net.refusal(
            "products of queries and keys that are not both layers of weights of their own",
            "make queries and keys by a linear layer each",
        )
    size = math.prod(size_of(query.groups[i]) for i in summed)
    scale = sp.Mul(*factors) if all(f is not None for f in factors) else sp.S.One
    return Logits(size, shape, scale)


def _split_factor(value: Value) -> sp.Expr | None:
    """c u  ->  c."""
    factor = sp.cancel(value.expr / X) if isinstance(value, Field) else X
    return None if X in factor.free_symbols else factor


def settled(reader: Reader, logits: Logits) -> Constant:
    """Logits at 1/d are 0 in the limit; at 1/sqrt(d) they are Gaussian, and softmax of them has no closed form."""
    net = reader.net
    scale = float(logits.factor) * logits.size
    if not math.isclose(scale, 1, rel_tol=1e-6):
        is_root = math.isclose(scale, math.sqrt(logits.size), rel_tol=1e-6)
        where = "1/sqrt(d)" if is_root else "no known scale"
        rule = f"softmax of logits at {where}, d = {logits.size}"
        if reader.attention == "sample":
            raise net.refusal(
                f"{rule}, whose kernel is an average over Gaussian logits: sampling is not there yet",
                'scale logits by 1/d, or read them as uniform with attention="uniform"',
            )
        if reader.attention != "uniform":
            raise net.refusal(
                f"{rule}, which stay random in the limit of many channels a head",
                'scale logits by 1/d, or read them as uniform with attention="uniform"',
            )
        reader.notes[f"attention at {net.place}: weights that depend on random logits are read as uniform"] = None
    else:
        reader.notes["softmax attention at 1/d: its logits are 0 in the limit, so that weights are uniform"] = None
    return Constant(np.zeros(logits.shape))


def mapped(reader: Reader, left: Side, right: Side) -> Value:
    """A x:  a fixed matrix over pixels, the same for all samples and channels."""
    net = reader.net
    is_left = isinstance(left[0], Constant)
    (constant, of_array, shared_array), (value, summed, shared) = (left, right) if is_left else (right, left)
    below = net.materialised(value)
    channel, shape = net.channel_axis(below.node), (SAMPLES_SIZE, *net.nodes[below.node].shape)
    groups = [below.groups[i] for i in summed]
    found = axes_of(groups)
    if channel in found or 0 in found or not all(is_complete(groups, a, shape[a]) for a in found):
        raise net.refusal("a fixed matrix over channels", "pass it among the parameters, so that it is a layer")
    array = constant.array
    for axis in sorted(shared_array, reverse=True):
        first = array.take([0], axis)
        if not np.allclose(array, first, rtol=1e-12, atol=0):
            raise net.refusal("a fixed matrix that differs between samples or heads", "use one matrix for all")
    order = [*(a for a in range(array.ndim) if a not in (*of_array, *shared_array)), *of_array, *shared_array]
    array = array.transpose(order)[(..., *(0 for _ in shared_array))]
    free = array.shape[: array.ndim - len(of_array)]
    atoms = [atom for group in groups for atom in group]
    shape_of_atoms = tuple(a.size for a in atoms)
    splits = len(atoms) > 1 and free == (math.prod(shape_of_atoms),)
    free = shape_of_atoms if splits else free  # the pixels that it makes are those that it reads
    kept_free = tuple(n for n in free if n > 1)
    array = array.reshape(*kept_free, *shape_of_atoms)
    places = [len(kept_free) + i for i in range(len(atoms))]
    if len(atoms) != len(found):
        raise net.refusal("a fixed matrix over parts of an axis", "keep axes of pixels whole")
    op = DotGeneral(tuple(array.ravel().tolist()), array.shape, tuple(a.axis - 1 for a in atoms), tuple(places))
    made = net.add(op, [below.node])
    rest = [a for a in range(1, channel) if a not in found]
    renamed = {0: 0, channel: net.channel_axis(made), **{a: i + 1 for i, a in enumerate(rest)}}
    new = iter(Atom(len(rest) + 1 + i, 1, n) for i, n in enumerate(kept_free))
    own: list[Group] = [(next(new),) if n > 1 else () for n in free]
    own = [tuple(atom for group in own for atom in group)] if splits else own
    batch = [renumbered(below.groups[i], renamed) for i in shared]
    kept = [renumbered(below.groups[i], renamed) for i in free_axes((below, summed, shared), len(below.groups))]
    return Field(made, (*batch, *own, *kept) if is_left else (*batch, *kept, *own))
