"""The kernels of a network whose input is a kernel, which another network may have made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
from jax import Array

from ntkc.runtime.arc_cosine import gap_of
from ntkc.runtime.jitted import OfKernels
from ntkc.runtime.loops import Values, left_lanes, right_lanes
from ntkc.runtime.pixels import left, narrowed, right, same_pixels
from ntkc.runtime.roots import ratio, safe_sqrt


def continued(
    per_sample: Callable[..., Any],
    pair: Callable[..., Any],
    *,
    samples: Sequence[Sequence[str]],
    pairs: Sequence[Sequence[str]],
    output: str = "",
    sizes: Sequence[int] = (),
) -> Callable[..., tuple[Array, Array, Array, Array]]:
    """onward(nngp, ntk, variance1, variance2, same, **parameters)  ->  the same four, after this network.

    nngp, ntk [n1, n2, all pairs of pixels ...], variances [n, all pairs of pixels ...], same [n1, n2].
    samples: (kind, form) of "q" (equal pixels) and "w".  pairs: (kind, form) of "K" and "T", of "gap" and "tau" (both
    over the norms), of "E" (half the mean square of the difference) and "D" (the difference of mean squares).
    """
    shown = tuple(n for f, size in zip(output, sizes, strict=True) for n in ((size, size) if f == "F" else (size,)))

    def one_side(variance: Array, p: SimpleNamespace) -> tuple[Array, Values]:
        form = "F" * (variance.ndim // 2)
        read = [narrowed(variance, form, to or "D" * len(form)) for _, to in map(kind_and_form, samples)]
        lanes = variance.shape[-1:]
        made, values = per_sample(p, jnp.ones(lanes, variance.dtype), *read)
        return jnp.broadcast_to(jnp.asarray(made, variance.dtype), shown + lanes), Values(values)

    def onward(
        nngp: Array, ntk: Array, variance1: Array, variance2: Array, same: Array, parameters: Mapping[str, Any]
    ) -> tuple[Array, Array, Array, Array]:
        """(nngp, ntk, variance1, variance2) after this network, from those before it."""
        p = SimpleNamespace(**parameters)
        variance1, variance2 = (jnp.moveaxis(v, 0, -1) for v in (variance1, variance2))
        nngp, ntk = (jnp.moveaxis(v, (0, 1), (-2, -1)) for v in (nngp, ntk))
        (out1, values1), (out2, values2) = one_side(variance1, p), one_side(variance2, p)
        read = [stream(*kind_and_form(of), nngp, ntk, variance1, variance2, same) for of in pairs]
        made = pair(p, left_lanes(values1), right_lanes(values2), same.astype(nngp.dtype), *read)
        k, t = (jnp.broadcast_to(jnp.asarray(v, nngp.dtype), shown + nngp.shape[-2:]) for v in made)
        k, t = (jnp.moveaxis(v, (-2, -1), (0, 1)) for v in (k, t))
        return k, t, jnp.moveaxis(out1, -1, 0), jnp.moveaxis(out2, -1, 0)

    return OfKernels(onward)


def kind_and_form(of: Sequence[str]) -> tuple[str, str]:
    """A kind with its form, which networks without pixels leave out."""
    kind, *forms = of
    return kind, "".join(forms)


def stream(kind: str, form: str, nngp: Array, ntk: Array, variance1: Array, variance2: Array, same: Array) -> Array:
    """What a pair reads of all pairs of pixels, for the entries of a form: [pixels ..., n1, n2]."""
    full = "F" * len(form)
    k, t = (narrowed(v, full, form) for v in (nngp, ntk))
    if kind in "KT":
        return k if kind == "K" else t
    q1, q2 = (narrowed(v, full, "D" * len(form)) for v in (variance1, variance2))
    if kind in ("gap", "tau"):
        scale = left(safe_sqrt(q1)[..., :, None], form) * right(safe_sqrt(q2)[..., None, :], form)
        return gap_of(k, scale) if kind == "gap" else ratio(t, scale)
    q1, q2 = left(q1[..., :, None], form), right(q2[..., None, :], form)
    is_one = same & same_pixels(form, nngp.shape[: 2 * len(form) : 2], same)
    made = q1 - q2 if kind == "D" else jnp.maximum((q1 + q2) / 2 - k, 0)
    return jnp.where(is_one, 0, made)
