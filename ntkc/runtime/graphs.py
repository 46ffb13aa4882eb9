"""Sums over the edges of a graph for each sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from ntkc.runtime.attention import lanes_of


def gathered(first: Array, k: Array, second: Array, form: str, to: str, axes: Sequence[int]) -> Array:
    """sum_a sum_b first[a, p] k[a, b] second[b, p'] over some spatial axes; first, second [a ..., p ..., samples].

    Samples: first [..., n1, 1], k [..., n1, n2], second [..., 1, n2], or all [..., n].
    """
    is_pair = lanes_of(first) == 2
    first, second = (first[..., 0], second[..., 0, :]) if is_pair else (first, second)
    read, made = "", ""
    for i, (f, t) in enumerate(zip(form, to, strict=True)):
        a, p, r = "abcdefgh"[i], "ijklmnop"[i], "qrstuvwx"[i]
        whole = {"D": a, "F": a + a.upper()}.get(f, r + a + a.upper())
        read += whole
        made += whole if i not in axes else p + p.upper() if t == "F" else p
    tails, heads = ("".join(letters[i] for i in axes) for letters in ("abcdefgh", "ijklmnop"))
    others = "".join(p.upper() if to[i] == "F" else p for i, p in zip(axes, heads, strict=True))
    lanes = "yz" if is_pair else "y"
    spec = f"{tails}{heads}y,{read}{lanes},{tails.upper()}{others}{lanes[-1]}->{made}{lanes}"
    return jnp.einsum(spec, first, k, second, precision=lax.Precision.HIGHEST)


def adjacency(edges: Array, sizes: Sequence[int], dtype: Any) -> Array:
    """[n, tails ..., heads ...]: how often an edge stands in [n, edges, axes, 2], tails and heads; negative is none."""
    places: Any = 0
    count = 1
    for i, size in enumerate(sizes):
        places, count = places * size + edges[:, :, i], count * size
    is_edge = jnp.all(edges >= 0, (2, 3))
    tails, heads = (jnp.where(is_edge, places[..., side], 0) for side in (0, 1))
    samples = jnp.arange(len(edges))[:, None]
    made = jnp.zeros((len(edges), count, count), dtype).at[samples, tails, heads].add(is_edge.astype(dtype))
    return made.reshape(len(edges), *sizes, *sizes)
