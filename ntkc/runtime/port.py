"""The kernels of a network whose input is a kernel, which another network may have made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from ntkc.runtime.alarm import NOTHING_LOST, Concern, Watch, looked_at, losses_of, worse
from ntkc.runtime.arc_cosine import gap_of
from ntkc.runtime.jitted import OfKernels
from ntkc.runtime.loops import Values, left_lanes, right_lanes
from ntkc.runtime.pixels import left, narrowed, right, same_pixels
from ntkc.runtime.roots import ratio, safe_sqrt


class Given(NamedTuple):
    """A kernel: nngp, ntk [n1, n2, pairs of pixels ...], variances [n, pairs of pixels ...], pixels there [n, ...]."""

    nngp: Array
    ntk: Array
    variance1: Array
    variance2: Array
    there1: Array | None = None
    there2: Array | None = None


def continued(
    per_sample: Callable[..., Any],
    pair: Callable[..., Any],
    *,
    samples: Sequence[Sequence[Any]],
    pairs: Sequence[Sequence[Any]],
    output: str = "",
    sizes: Sequence[int] = (),
    axes: Sequence[int] = (),
    watch: Watch = NOTHING_LOST,
) -> Callable[..., tuple[Array, Array, Array, Array]]:
    """onward(kernels, same, **parameters)  ->  (nngp, ntk, variance1, variance2) after this network.

    kernels: a `Given` for each kernel that the network starts from.  same [n1, n2].  axes: spatial axes of each kernel,
    which has all pairs of pixels along them, or pairs of equal ones.
    samples: (number of the kernel, kind, form) of "q" (equal pixels), "w", "e" (half the mean square of the difference
    of two pixels) and "m" (pixels that are there).
    pairs: the same of "K" and "T", of "gap" and "tau" (both over the norms), of "E" (half the mean square of the
    difference) and "D" (the difference of mean squares).
    """
    shown = tuple(n for f, size in zip(output, sizes, strict=True) for n in ((size, size) if f == "F" else (size,)))

    def axes_of(i: int) -> int:
        return axes[i] if axes else 0

    def one_side(variances: Sequence[Any], there: Sequence[Any], p: Any) -> tuple[Array, Values]:
        read: list[Any] = []
        for i, kind, to in map(place_kind_and_form, samples):
            read.append(there[i] if kind == "m" else of_sample(kind, to, axes_of(i), variances[i]))
        lanes, dtype = variances[0].shape[-1:], variances[0].dtype
        made, values = per_sample(p, jnp.ones(lanes, dtype), *read)
        return jnp.broadcast_to(jnp.asarray(made, dtype), shown + lanes), Values(values)

    def onward(
        kernels: Sequence[Given], same: Array, parameters: Mapping[str, Any]
    ) -> tuple[tuple[Array, Array, Array, Array], Concern]:
        """(nngp, ntk, variance1, variance2) after this network, from the kernels before it, and what is lost."""
        p = SimpleNamespace(**parameters)
        given = [Given(*map(lanes_last, k, (2, 2, 1, 1, 1, 1))) for k in kernels]
        (out1, values1), (out2, values2) = (
            one_side([k[2 + side] for k in given], [k[4 + side] for k in given], p) for side in (0, 1)
        )
        read = [stream(kind, form, axes_of(i), given[i], same) for i, kind, form in map(place_kind_and_form, pairs)]
        dtype = given[0].nngp.dtype
        made = pair(p, left_lanes(values1), right_lanes(values2), same.astype(dtype), *read)
        k, t = (jnp.broadcast_to(jnp.asarray(v, dtype), shown + same.shape) for v in made)
        k, t = (jnp.moveaxis(v, (-2, -1), (0, 1)) for v in (k, t))
        concern = worse(losses_of(watch, values1, k.dtype), losses_of(watch, values2, k.dtype))
        concern = looked_at(jnp.stack([k, t]), concern)
        return (k, t, jnp.moveaxis(out1, -1, 0), jnp.moveaxis(out2, -1, 0)), concern

    return OfKernels(onward, watch)


def lanes_last(array: Any, samples: int) -> Any:
    """[samples ..., pixels ...]  ->  [pixels ..., samples ...]."""
    return None if array is None else jnp.moveaxis(array, range(samples), range(-samples, 0))


def form_given(array: Array, axes: int, samples: int) -> str:
    """All pairs of pixels along each axis, or equal ones, of an array [pixels ..., samples ...]."""
    return ("D" if array.ndim - samples == axes else "F") * axes


def place_kind_and_form(of: Sequence[Any]) -> tuple[int, str, str]:
    """The number of a kernel, and a kind with its form, which networks without pixels leave out."""
    place, kind, *forms = of
    return place, kind, "".join(forms)


def of_sample(kind: str, form: str, axes: int, variance: Array) -> Array:
    """What one sample reads of a kernel, for the entries of a form: [pixels ..., n]."""
    full = form_given(variance, axes, 1)
    if kind != "e":
        return narrowed(variance, full, form or "D" * len(full))
    q = narrowed(variance, full, "D" * len(full))
    made = jnp.maximum((left(q, form) + right(q, form)) / 2 - narrowed(variance, full, form), 0)
    return jnp.where(same_pixels(form, q.shape[:-1], jnp.ones(1, bool)), 0, made)


def stream(kind: str, form: str, axes: int, given: Given, same: Array) -> Array:
    """What a pair reads of a kernel, for the entries of a form: [pixels ..., n1, n2]."""
    nngp, ntk, variance1, variance2, *_ = given
    full = form_given(nngp, axes, 2)
    k, t = (narrowed(v, full, form) for v in (nngp, ntk))
    if kind in "KT":
        return k if kind == "K" else t
    q1, q2 = (narrowed(v, full, "D" * len(form)) for v in (variance1, variance2))
    if kind in ("gap", "tau"):
        scale = left(safe_sqrt(q1)[..., :, None], form) * right(safe_sqrt(q2)[..., None, :], form)
        return gap_of(k, scale) if kind == "gap" else ratio(t, scale)
    q1, q2 = left(q1[..., :, None], form), right(q2[..., None, :], form)
    sizes = nngp.shape[: -2 : 1 if "D" in full else 2]
    is_one = same & same_pixels(form, sizes, same)
    made = q1 - q2 if kind == "D" else jnp.maximum((q1 + q2) / 2 - k, 0)
    return jnp.where(is_one, 0, made)
