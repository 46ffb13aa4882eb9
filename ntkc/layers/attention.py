"""Global self-attention over all pixels (or tokens)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
import sympy as sp

from ntkc.errors import InvalidInput, NoInfiniteLimit, ShapeMismatch, unknown
from ntkc.gaussian.normal_form import X
from ntkc.gaussian.parse import parse
from ntkc.ir.exact import exact, whole
from ntkc.ir.hyper import checked_number
from ntkc.ir.op import Op, Requests, Scalar, Shape, WeightSpec, spatial_of
from ntkc.ir.program import SAME_PIXEL
from ntkc.ir.value import Law, Value, variable

MECHANISMS = ("SOFTMAX", "IDENTITY", "ABS", "RELU")
EMBEDDINGS = ("NONE", "SUM", "CONCAT")


class Between(sp.Function):
    """Between(S1, K, S2)[p, p'] = sum_a sum_b S1[p, a] K[a, b] S2[p', b]."""

    nargs = 3
    is_extended_real = True


class Inner(sp.Function):
    """Inner(A, B) = sum_p sum_p' A[p, p'] B[p, p']."""

    nargs = 2
    is_extended_real = True


class Softmax(sp.Function):
    """Softmax(A)[p, p'] = exp(A[p, p']) / sum_a exp(A[p, a])."""

    nargs = 1
    is_extended_real = True


class Positions(sp.Function):
    """Positions(n, f)[p, p'] = f(sum_i |p_i - p_i'|^n), f a Lambda: a covariance of positions."""

    nargs = 2
    is_extended_real = True


@dataclass(frozen=True)
class GlobalSelfAttention(Op):
    """K -> O^2 G1 K G2^T + b_std^2,  T -> O^2 G1 T G2^T + 2 (K' - b_std^2) + b_std^2.

    O = W_o W_v, and G = zeta(W_q W_k K~) is made of the covariance K~ of one sample; zeta is the softmax over keys, x,
    |x| or max(x, 0). That is linear scaling, queries and keys tied, Q K / n_key. With square-root scaling and the
    identity, g = (W_q W_k O)^2,

        K' = g <K~, K> K~ + b_std^2,   T' = g ((<K~, T> + <K, T~>) K~ + <K~, K> (T~ + 4 K~)) + b_std^2,

    <A, B> the sum over all pairs of positions. K~ = alpha K + beta R adds the covariance R of positions (the identity,
    or `pos_emb_decay_fn` of sum_i |p_i - p_i'|^pos_emb_p_norm); SUM: alpha = 1, beta = W_pos_emb_std^2; CONCAT: both
    times the share of their channels. `val_pos_emb` puts K~ in the place of K (and T~ of T) in the values, too.

    Source: Hron et al. 2020 (2006.10540), eq. 11-15 and section 4.
    """

    remasks: ClassVar[bool] = True
    fresh: ClassVar[bool] = True
    acts_on_pixels: ClassVar[bool] = True
    statistic_is_matrix: ClassVar[bool] = True
    like_data: ClassVar[tuple[int, ...]] = (4, 5)
    variables: ClassVar[tuple[sp.Symbol, ...]] = (X,)

    n_chan_out: int
    n_chan_key: int
    n_chan_val: int
    n_heads: int
    linear_scaling: bool = True
    W_key_std: Scalar = 1.0
    W_value_std: Scalar = 1.0
    W_query_std: Scalar = 1.0
    W_out_std: Scalar = 1.0
    b_std: Scalar | None = None
    attention_mechanism: str = "SOFTMAX"
    pos_emb_type: str = "NONE"
    pos_emb_p_norm: Scalar = 2
    pos_emb_decay: str | sp.Expr | None = None
    n_chan_pos_emb: int | None = None
    W_pos_emb_std: Scalar = 1.0
    val_pos_emb: bool = False

    def check_fields(self) -> None:
        for name in ("n_chan_out", "n_chan_key", "n_chan_val", "n_heads"):
            object.__setattr__(self, name, whole(getattr(self, name), f"GlobalSelfAttention {name}"))
        if self.n_chan_pos_emb is not None:
            object.__setattr__(self, "n_chan_pos_emb", whole(self.n_chan_pos_emb, "n_chan_pos_emb"))
        for name, known in (("attention_mechanism", MECHANISMS), ("pos_emb_type", EMBEDDINGS)):
            value = str(getattr(getattr(self, name), "name", getattr(self, name))).upper()
            if value not in known:
                raise unknown(name, getattr(self, name), known)
            object.__setattr__(self, name, value)
        if isinstance(self.pos_emb_decay, str):
            object.__setattr__(self, "pos_emb_decay", parse(self.pos_emb_decay))
        stds = (self.W_query_std, self.W_key_std, self.W_out_std, self.W_value_std)
        product = sp.Mul(*(exact(v, "GlobalSelfAttention W_..._std") for v in stds))
        checked_number(product, "GlobalSelfAttention W_query_std W_key_std W_out_std W_value_std")
        if not isinstance(self.linear_scaling, bool) or not isinstance(self.val_pos_emb, bool):
            raise InvalidInput("GlobalSelfAttention: linear_scaling and val_pos_emb are True or False")

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (
            GlobalSelfAttention(4, 3, 3, 2, b_std=0.1),
            GlobalSelfAttention(4, 3, 3, 2, attention_mechanism="RELU", pos_emb_type="SUM", val_pos_emb=True),
            GlobalSelfAttention(4, 3, 3, 2, False, attention_mechanism="IDENTITY", pos_emb_type="CONCAT"),
        )

    def shape(self, operands: Sequence[Shape]) -> Shape:
        return (*operands[0][:-1], self.n_chan_out)

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        if not self.linear_scaling and self.attention_mechanism != "IDENTITY":
            raise NoInfiniteLimit(
                f"{node}: square-root scaling has a closed form for attention_mechanism='IDENTITY' only; "
                "use linear_scaling=True, or sample with monte_carlo_kernel_fn"
            )
        return Value(Law.GAUSSIAN, variable(node), frozenset({node}), trained=True)

    @property
    def out2(self) -> sp.Expr:
        """(W_out_std W_value_std)^2."""
        return (exact(self.W_out_std) * exact(self.W_value_std)) ** 2

    @property
    def qk(self) -> sp.Expr:
        """W_query_std W_key_std."""
        return exact(self.W_query_std) * exact(self.W_key_std)

    @property
    def b2(self) -> sp.Expr:
        """b_std^2."""
        return exact(self.b_std or 0) ** 2

    def _with_positions(self, stream: sp.Expr, ask: Requests) -> sp.Expr:
        """alpha K + beta R."""
        if self.pos_emb_type == "NONE":
            return stream
        decay = self.pos_emb_decay
        covariance = SAME_PIXEL if decay is None else Positions(exact(self.pos_emb_p_norm), sp.Lambda(X, decay))
        own, added = sp.S.One, exact(self.W_pos_emb_std) ** 2
        if self.pos_emb_type == "CONCAT":
            width = ask.width(0)
            more = width if self.n_chan_pos_emb is None else sp.Integer(self.n_chan_pos_emb)
            own, added = own * width / (width + more), added * more / (width + more)
        if ask.is_masked:
            covariance = covariance * ask.presence(0, 1) * ask.presence(0, 2)
        return own * stream + added * covariance

    def statistic(self, ask: Requests) -> sp.Expr:
        scores = self.qk * self._with_positions(ask.pairs(0, 0), ask)
        if ask.is_masked:
            seen = ask.presence(0, 2)
            hidden = -sp.Float(1e20) * (1 - seen) ** 2 if self.attention_mechanism == "SOFTMAX" else sp.S.Zero
            scores = scores * seen + hidden
        made = {"SOFTMAX": Softmax, "ABS": sp.Abs, "RELU": lambda v: sp.Max(v, 0), "IDENTITY": lambda v: v}
        return made[self.attention_mechanism](scores)

    def _values(self, stream: sp.Expr, ask: Requests) -> sp.Expr:
        return self._with_positions(stream, ask) if self.val_pos_emb else stream

    def covariance(self, ask: Requests) -> sp.Expr:
        k = ask.pairs(0, 0)
        if self.linear_scaling:
            return self.out2 * Between(ask.statistic(1), self._values(k, ask), ask.statistic(2)) + self.b2
        seen = self._with_positions(k, ask)
        return self.qk**2 * self.out2 * Inner(seen, self._values(k, ask)) * seen + self.b2

    def tangent(self, ask: Requests) -> sp.Expr:
        t = ask.tangent(0, 0)
        if self.linear_scaling:
            values = self._values(t, ask)
            below = sp.S.Zero if values == 0 else self.out2 * Between(ask.statistic(1), values, ask.statistic(2))
            return below + 2 * ask.own() - self.b2
        k = ask.pairs(0, 0)
        seen, seen_t = self._with_positions(k, ask), self._with_positions(t, ask)
        k, t = self._values(k, ask), self._values(t, ask)
        mixed = sp.Add(*(Inner(a, b) for a, b in ((seen, t), (k, seen_t)) if a != 0 and b != 0))
        scale = self.qk**2 * self.out2
        return scale * (mixed * seen + Inner(seen, k) * (seen_t + 4 * seen)) + self.b2

    def _channels(self, operands: Sequence[Shape]) -> tuple[int, int, int]:
        """Inputs of keys, of values, and channels of the embedding."""
        channels = operands[0][-1]
        if channels is None:
            raise ShapeMismatch(f"{self.label()}: the finite network needs the number of input channels")
        if self.pos_emb_type == "NONE":
            return channels, channels, 0
        more = self.n_chan_pos_emb or channels
        if self.pos_emb_type == "SUM":
            return channels, channels, channels
        return channels + more, channels + more * self.val_pos_emb, more

    def weights(self, operands: Sequence[Shape]) -> tuple[WeightSpec | None, ...]:
        keys, values, embedding = self._channels(operands)
        spatial = spatial_of(operands[0])
        queries = None if self.linear_scaling else ((self.n_heads, keys, self.n_chan_key), 1.0)
        bias = None if self.b_std is None else ((*(1,) * (len(spatial) + 1), self.n_chan_out), 1.0)
        positions = None if self.pos_emb_type == "NONE" else ((1, *spatial, embedding), 1.0)
        return (
            queries,
            ((self.n_heads, keys, self.n_chan_key), 1.0),
            ((self.n_heads, values, self.n_chan_val), 1.0),
            ((self.n_chan_val * self.n_heads, self.n_chan_out), 1.0),
            bias,
            positions,
        )

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        jnp = pointwise.jnp
        W_query, W_key, W_value, W_out, b, positions = weights
        (x,) = operands
        spatial = x.shape[1:-1]
        seen, values = x, x
        if positions is not None:
            added = pointwise.number(self.W_pos_emb_std, "W_pos_emb_std") * self._correlated(positions, jnp)
            if self.pos_emb_type == "SUM":
                seen = x + added
            else:
                seen = jnp.concatenate([x, jnp.broadcast_to(added, (*x.shape[:-1], added.shape[-1]))], -1)
            values = seen if self.val_pos_emb else x
        if pointwise.there is not None:
            seen, values = (v * pointwise.there[..., None] for v in (seen, values))
        seen, values = (v.reshape(len(x), prod(spatial), v.shape[-1]) for v in (seen, values))
        keys = jnp.einsum("npc,hck->hnpk", seen, W_key)
        queries = keys if W_query is None else jnp.einsum("npc,hck->hnpk", seen, W_query)
        scale = seen.shape[-1] * self.n_chan_key ** (1 if self.linear_scaling else 0.5)
        scale = pointwise.number(self.qk, "W_query_std W_key_std") / scale
        scores = scale * jnp.einsum("hnpk,hnqk->hnpq", queries, keys)
        if pointwise.there is not None and self.attention_mechanism == "SOFTMAX":
            scores = jnp.where(pointwise.there.reshape(len(x), 1, -1) > 0, scores, -1e20)
        heads = jnp.einsum("hnpq,hnqv->npvh", self._attended(scores, jnp), jnp.einsum("npc,hcv->hnpv", values, W_value))
        fan_in = self.n_chan_val * self.n_heads * values.shape[-1]
        y = (
            pointwise.number(sp.sqrt(self.out2), "W_out_std W_value_std")
            / fan_in**0.5
            * (heads.reshape(*heads.shape[:2], -1) @ W_out)
        )
        y = y.reshape(len(x), *spatial, self.n_chan_out)
        return y if b is None else y + pointwise.number(self.b_std or 0.0, "b_std") * b

    def _attended(self, scores: Any, jnp: Any) -> Any:
        if self.attention_mechanism == "SOFTMAX":
            made = jnp.exp(scores - scores.max(-1, keepdims=True))
            return made / made.sum(-1, keepdims=True)
        return {"ABS": jnp.abs, "RELU": lambda v: jnp.maximum(v, 0), "IDENTITY": lambda v: v}[self.attention_mechanism](
            scores
        )

    def _correlated(self, positions: Any, jnp: Any) -> Any:
        """Embeddings of the covariance that positions have."""
        if self.pos_emb_decay is None:
            return positions
        spatial = positions.shape[1:-1]
        places = np.array(list(np.ndindex(*spatial)), int).reshape(prod(spatial), len(spatial))
        power = float(exact(self.pos_emb_p_norm))
        distance = (np.abs(places[:, None] - places) ** power).sum(-1)
        decay = np.vectorize(lambda d: float(sp.sympify(self.pos_emb_decay).subs(X, d)))
        factor = np.linalg.cholesky(decay(distance))
        mixed = jnp.asarray(factor, positions.dtype) @ positions.reshape(len(places), -1)
        return mixed.reshape(positions.shape)
