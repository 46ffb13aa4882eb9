"""Normalisation by the variance of a sample, and dropout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import sympy as sp

from ntkc.errors import InvalidInput, NoInfiniteLimit, ShapeMismatch, unknown
from ntkc.gaussian.functions import Ratio
from ntkc.ir.exact import exact
from ntkc.ir.maps import Level, Maps, Patch
from ntkc.ir.op import Op, Requests, Scalar, Shape
from ntkc.ir.value import Law, Value, variable
from ntkc.layers.pointwise import is_odd

MODES = ("train", "test")


@dataclass(frozen=True)
class _Norm(Op):
    """K -> K / sqrt((v1 + eps) (v2 + eps)),  T -> T / sqrt((v1 + eps) (v2 + eps)):  v the variance of a side."""

    acts_on_pixels: ClassVar[bool] = True

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        (x,) = operands
        is_centered = not x.has_mean or (x.law is Law.POINTWISE and is_odd_in(x))
        if x.law in (Law.POINTWISE, Law.OTHER) and is_centered:
            return Value(Law.OTHER, variable(node), x.fields, x.trained, True, x.alike)
        if x.law is not Law.GAUSSIAN:
            raise NoInfiniteLimit(
                f"{node} ({type(self).__name__}) normalises a value that is {x.law.value}, not Gaussian, with a mean: "
                "put it after a layer with weights"
            )
        return Value(Law.GAUSSIAN, variable(node), x.fields, x.trained)

    def shape(self, operands: Sequence[Shape]) -> Shape:
        return operands[0]

    def scale(self) -> sp.Expr:
        """What is added to the variance."""
        raise NotImplementedError

    def _factor(self, ask: Requests) -> sp.Expr:
        sides = [1 / sp.sqrt(ask.statistic(side) + self.scale()) for side in (1, 2)]
        return sides[0] * sides[1]

    def covariance(self, ask: Requests) -> sp.Expr:
        return ask.covariance(0, 0) * self._factor(ask)

    def tangent(self, ask: Requests) -> sp.Expr:
        return ask.tangent(0, 0) * self._factor(ask)


def is_odd_in(x: Value) -> bool:
    """f(-u) = -f(u) in all Gaussian variables, so that its mean is 0."""
    gains = {gain for gain, _ in x.gains}
    return not x.opaque and is_odd(x.expr.xreplace(dict(x.gains)), x.expr.free_symbols - gains)


def mean_over(ask: Requests, maps: Maps) -> sp.Expr:
    """The variance averaged over pixels, those that are there."""
    if not ask.is_masked:
        return ask.covariance(0, 0, maps)
    return Ratio(ask.covariance(0, 0, maps, ask.presence(0)), ask.presence(0, None, maps))


def moments(x: Any, axes: tuple[int, ...], there: Any) -> tuple[Any, Any]:
    """Mean and variance over axes, of the pixels that are there; of all where none is."""
    if there is None:
        return x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    seen = there[..., None] > 0
    spatial = tuple(a for a in axes if a % x.ndim != x.ndim - 1)
    seen = seen | ~seen.any(spatial, keepdims=True)
    return x.mean(axes, keepdims=True, where=seen), x.var(axes, keepdims=True, where=seen)


@dataclass(frozen=True)
class LayerNorm(_Norm):
    """K -> K / sqrt((v1 + eps) (v2 + eps)),  v the variance, averaged over the spatial axes that are normalised.

    `axis` counts the samples as axis 0; it holds the channels (-1), and may hold spatial axes. Its input is Gaussian,
    so the mean over channels is 0 in the limit. Source: Novak et al. 2020 (1912.02803), appendix E.
    """

    axis: int | tuple[int, ...] = -1
    eps: Scalar = 1e-12

    def check_fields(self) -> None:
        axes = (self.axis,) if isinstance(self.axis, int) else tuple(self.axis)
        if not axes or not all(isinstance(a, int) for a in axes):
            raise InvalidInput(f"LayerNorm(axis={self.axis!r}): one axis, or several, are needed")
        if 0 in axes:
            raise InvalidInput(f"LayerNorm(axis={self.axis!r}): normalising over samples is not supported")
        object.__setattr__(self, "axis", axes)

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (LayerNorm(), LayerNorm(-1, 0.1))

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes, as a tuple."""
        return self.axis if isinstance(self.axis, tuple) else (self.axis,)

    def places(self, rank: int) -> set[int]:
        """Axes of a sample: 0 the first spatial one, `rank` - 1 the channels."""
        places = {a - 1 if a > 0 else a + rank for a in self.axes}
        if not places <= set(range(rank)):
            raise ShapeMismatch(f"{self.label()} of arrays with {rank + 1} axes")
        if rank - 1 not in places:
            raise NoInfiniteLimit(f"{self.label()} does not normalise over channels: its limit depends on the weights")
        return places

    def shape(self, operands: Sequence[Shape]) -> Shape:
        self.places(len(operands[0]))
        return operands[0]

    def scale(self) -> sp.Expr:
        return exact(self.eps)

    def statistic(self, ask: Requests) -> sp.Expr:
        axes = len(ask.spatial(0))
        places = self.places(axes + 1)
        maps: Maps = tuple(Level() if i in places else Patch() for i in range(axes))
        return mean_over(ask, maps)

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        (x,) = operands
        mean, var = moments(x, self.axes, pointwise.there)
        return (x - mean) / (pointwise.number(self.eps, "eps") + var) ** 0.5


@dataclass(frozen=True)
class RMSNorm(_Norm):
    """K -> K / sqrt((q1 + eps) (q2 + eps)):  each pixel divided by the root mean square of its channels.

    Source: Zhang and Sennrich 2019 (1910.07467), eq. 4, without gains.
    """

    eps: Scalar = 1e-12

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (RMSNorm(), RMSNorm(0.1))

    def scale(self) -> sp.Expr:
        return exact(self.eps)

    def statistic(self, ask: Requests) -> sp.Expr:
        return ask.covariance(0, 0)

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        (x,) = operands
        return x / (pointwise.number(self.eps, "eps") + (x * x).mean(-1, keepdims=True)) ** 0.5


@dataclass(frozen=True)
class GroupNorm(_Norm):
    """K -> K / sqrt((v1 + eps) (v2 + eps)),  v the variance averaged over all pixels:  each of `groups` of channels.

    Every group has the same variance in the limit of many channels. Source: Wu and He 2018 (1803.08494), eq. 1, 7.
    """

    groups: int = 1
    eps: Scalar = 1e-5

    def check_fields(self) -> None:
        if not isinstance(self.groups, int) or self.groups < 1:
            raise InvalidInput(f"GroupNorm(groups={self.groups!r}): a positive whole number is needed")

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (GroupNorm(), GroupNorm(2, 0.1))

    def scale(self) -> sp.Expr:
        return exact(self.eps)

    def shape(self, operands: Sequence[Shape]) -> Shape:
        channels = operands[0][-1]
        if channels is not None and channels % self.groups:
            raise ShapeMismatch(f"{self.label()}: {channels} channels do not split into {self.groups} groups")
        if channels == self.groups > 1:
            raise NoInfiniteLimit(
                f"{self.label()} normalises each of {channels} channels alone: its limit depends on the weights; give "
                "fewer groups, whose channels grow in number"
            )
        return operands[0]

    def statistic(self, ask: Requests) -> sp.Expr:
        return mean_over(ask, tuple(Level() for _ in ask.spatial(0)))

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        (x,) = operands
        grouped = x.reshape(*x.shape[:-1], self.groups, -1)
        axes = (*range(1, x.ndim - 1), x.ndim)
        there = None if pointwise.there is None else pointwise.there[..., None]
        mean, var = moments(grouped, axes, there)
        return ((grouped - mean) / (pointwise.number(self.eps, "eps") + var) ** 0.5).reshape(x.shape)


@dataclass(frozen=True)
class Dropout(Op):
    """K -> K (1 + (1 / rate - 1) 1[same sample, same pixel]),  T likewise:  entries are kept with probability `rate`.

    `mode` "test" changes nothing. Source: Novak et al. 2020 (1912.02803), appendix E; Srivastava et al. 2014.
    """

    acts_on_pixels: ClassVar[bool] = True

    rate: Scalar
    mode: str = "train"

    def check_fields(self) -> None:
        is_number = isinstance(self.rate, (int, float)) and 0 < self.rate <= 1
        if not is_number and not isinstance(self.rate, sp.Expr):
            raise InvalidInput(f"Dropout(rate={self.rate!r}): the probability to keep an entry, above 0 and at most 1")
        if self.mode not in MODES:
            raise unknown("mode", self.mode, MODES)

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (Dropout(0.5), Dropout(0.9, "test"))

    def shape(self, operands: Sequence[Shape]) -> Shape:
        return operands[0]

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        (x,) = operands
        if self.mode == "test":
            return x
        if x.law is Law.GIVEN:
            raise NoInfiniteLimit(f"{node} drops entries of the raw input: put a layer with weights before it")
        return Value(Law.OTHER, variable(node), x.fields, x.trained, not x.has_mean, x.alike)

    def _factor(self, ask: Requests) -> sp.Expr:
        more = 1 / exact(self.rate) - 1
        return 1 + more * ask.same_sample() * ask.same_pixel()

    def covariance(self, ask: Requests) -> sp.Expr:
        return ask.covariance(0, 0) * self._factor(ask)

    def tangent(self, ask: Requests) -> sp.Expr:
        return ask.tangent(0, 0) * self._factor(ask)

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        (x,) = operands
        if self.mode == "test" or self.rate == 1:
            return x
        return pointwise.kept(x, pointwise.number(self.rate, "rate"))
