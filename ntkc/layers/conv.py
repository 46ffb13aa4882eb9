"""Convolutions: one filter for all places, transposed, or one filter for each place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import prod
from typing import Any, ClassVar

import sympy as sp

from ntkc.errors import InvalidInput, ShapeMismatch, unknown
from ntkc.ir.exact import exact, whole
from ntkc.ir.maps import PADDINGS, AxisMap, Local, Maps, Padding, Patch, Take, centres, patch, patch_transposed, reach
from ntkc.ir.op import Op, Requests, Scalar, Shape, WeightSpec, spatial_of
from ntkc.ir.value import Law, Value, variable
from ntkc.layers.dense import PARAMETERIZATIONS, over, width_scales


@dataclass(frozen=True)
class _Conv(Op):
    """K -> W_std^2 A(K) + b_std^2,  T -> K' + W_std^2 A(T):  A the mean over the taps of the filter."""

    remasks: ClassVar[bool] = True
    fresh: ClassVar[bool] = True
    acts_on_pixels: ClassVar[bool] = True
    like_data: ClassVar[tuple[int, ...]] = (1,)

    out_chan: int
    filter_shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    padding: str | tuple[tuple[int, int], ...] = "VALID"
    W_std: Scalar = 1.0
    b_std: Scalar | None = None
    parameterization: str = "ntk"
    s: tuple[int, int] = (1, 1)

    def check_fields(self) -> None:
        name = type(self).__name__
        object.__setattr__(self, "out_chan", whole(self.out_chan, f"{name} out_chan"))
        object.__setattr__(self, "filter_shape", sizes(self.filter_shape, f"{name} filter_shape"))
        if self.strides is not None:
            object.__setattr__(self, "strides", sizes(self.strides, f"{name} strides", len(self.filter_shape)))
        object.__setattr__(self, "padding", padding_name(self.padding, len(self.filter_shape)))
        if not isinstance(self.parameterization, str) or self.parameterization.lower() not in PARAMETERIZATIONS:
            raise unknown("parameterization", self.parameterization, PARAMETERIZATIONS)
        object.__setattr__(self, "parameterization", self.parameterization.lower())
        object.__setattr__(self, "s", width_scales(self.s))

    @property
    def is_standard(self) -> bool:
        """Weights of variance W_std^2 / fan-in, gradients not rescaled."""
        return self.parameterization == "standard"

    @property
    def parts(self) -> int:
        """Parts of the channels that do not see each other."""
        return 1

    @property
    def steps(self) -> tuple[int, ...]:
        """Stride of each axis."""
        return self.strides or (1,) * len(self.filter_shape)

    @property
    def w2(self) -> sp.Expr:
        """W_std^2."""
        return exact(self.W_std) ** 2

    @property
    def b2(self) -> sp.Expr:
        """b_std^2, zero without a bias."""
        return exact(self.b_std or 0) ** 2

    @abstractmethod
    def axis_map(self, count: int, axis: int) -> AxisMap:
        """The map along one axis of `count` pixels."""

    def maps(self, spatial: Sequence[int]) -> Maps:
        """The map along each axis."""
        if len(spatial) != len(self.filter_shape):
            raise ShapeMismatch(
                f"{self.label()} has a filter of {len(self.filter_shape)} axes, its input {len(spatial)} spatial axes"
            )
        return tuple(self.axis_map(n, i) for i, n in enumerate(spatial))

    def shape(self, operands: Sequence[Shape]) -> Shape:
        spatial = spatial_of(operands[0])
        sizes_after = (m.size(n) for m, n in zip(self.maps(spatial), spatial, strict=True))
        return (*sizes_after, self.out_chan * self.s[1] if self.is_standard else self.out_chan)

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        return Value(Law.GAUSSIAN, variable(node), frozenset({node}), trained=True)

    def bias(self, ask: Requests, value: sp.Expr) -> sp.Expr:
        """What a bias of variance `value` adds."""
        return value

    def covariance(self, ask: Requests) -> sp.Expr:
        return self.w2 * ask.covariance(0, 0, self.maps(ask.spatial(0))) + self.bias(ask, self.b2)

    def tangent(self, ask: Requests) -> sp.Expr:
        maps = self.maps(ask.spatial(0))
        below = self.w2 * ask.tangent(0, 0, maps)
        if not self.is_standard:
            return ask.own() + below
        fan_in = ask.width(0) * prod(self.filter_shape) / self.s[0] / self.parts
        bias = sp.S.Zero if self.b_std is None else self.bias(ask, sp.S.One)
        return fan_in * ask.covariance(0, 0, maps) + below + bias

    def presence(self, ask: Requests) -> sp.Expr:
        spatial = ask.spatial(0)
        places = zip(self.maps(spatial), spatial, strict=True)
        return ask.presence(0, None, tuple(self.axis_presence(m, n) for m, n in places))

    def axis_presence(self, m: AxisMap, count: int) -> AxisMap:
        """A pixel is masked where the middle of its window is."""
        assert isinstance(m, Patch)
        places = centres((m.window - 1) * m.spread + 1, m.stride, m.low, m.size(count))
        return Patch() if places == Take(tuple(range(count))) else places

    def fan_in(self, operands: Sequence[Shape]) -> int:
        """Inputs of one output of the finite layer."""
        channels = operands[0][-1]
        if channels is None:
            raise ShapeMismatch(f"{self.label()}: the finite network needs the number of input channels")
        return channels * prod(self.filter_shape)

    def scales(self, operands: Sequence[Shape]) -> tuple[Scalar, Scalar]:
        """Standard deviations of weights and biases."""
        if not self.is_standard:
            return 1.0, 1.0
        width = self.fan_in(operands) / self.s[0]
        return over(self.W_std, width**0.5), self.b_std or 0.0

    def weights(self, operands: Sequence[Shape]) -> tuple[WeightSpec | None, ...]:
        w_scale, b_scale = self.scales(operands)
        *spatial, width = self.shape(operands)
        assert width is not None
        channels = self.fan_in(operands) // prod(self.filter_shape)
        bias = (*(1,) * (len(spatial) + 1), width)
        return (self.filter_weights(channels, width), w_scale), None if self.b_std is None else (bias, b_scale)

    def filter_weights(self, channels: int, width: int) -> tuple[int, ...]:
        """Shape of the filter: its axes, inputs, outputs."""
        return (*self.filter_shape, channels, width)

    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        (W, b), (x,) = weights, operands
        fan_in = x.shape[-1] * prod(self.filter_shape)
        scale = self.s[0] ** -0.5 if self.is_standard else pointwise.number(self.W_std, "W_std") / fan_in**0.5
        y = scale * self.convolved(x, W, pointwise)
        if b is None:
            return y
        return y + b if self.is_standard else y + pointwise.number(self.b_std or 0.0, "b_std") * b

    @abstractmethod
    def convolved(self, x: Any, filters: Any, pointwise: Any) -> Any:
        """The convolution of arrays [n, ..., channels]."""

    def kernel_identity(self, widths: Sequence[object]) -> object:
        own = (type(self), self.filter_shape, self.steps, self.padding, self.w2, self.b2)
        return (*own, self.b_std is None, self.s[0], tuple(widths)) if self.is_standard else own


@dataclass(frozen=True)
class Conv(_Conv):
    """K[p, p'] -> W_std^2 / w sum_d K[s p + d, s p' + d] + b_std^2,  T -> K' + W_std^2 / w sum_d T[s p + d, s p' + d].

    The same tap d on both sides, w taps in all; outside the image K is 0 (SAME), its other end (CIRCULAR), or not asked
    for (VALID). In the standard parameterization T -> n A(K) + W_std^2 A(T) + 1[b_std is not None], n the fan-in.
    `dilation` spreads the taps; `groups` are parts of the channels that do not see each other, which changes nothing in
    the limit of many channels a group. Groups of one channel, and groups of the data, have laws of their own: linear
    layers may follow, nonlinearities may not.

    Source: Novak et al. 2019 (1810.05148), Arora et al. 2019 (1904.11955).
    """

    dilation: tuple[int, ...] | None = None
    groups: int = 1

    def check_fields(self) -> None:
        super().check_fields()
        if self.dilation is not None:
            object.__setattr__(self, "dilation", sizes(self.dilation, "Conv dilation", len(self.filter_shape)))
        object.__setattr__(self, "groups", whole(self.groups, "Conv groups"))
        if self.out_chan % self.groups:
            raise InvalidInput(f"Conv(groups={self.groups}) does not divide out_chan={self.out_chan}")

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (
            Conv(3, (3, 3), padding="SAME"),
            Conv(3, (3, 2), (2, 1), "VALID", 1.3, 0.2),
            Conv(3, (2, 3), (1, 2), "CIRCULAR", 1.5, 0.1, "standard", (1, 2)),
            Conv(4, (3, 3), None, "SAME", 1.5, dilation=(2, 2), groups=2),
        )

    @property
    def parts(self) -> int:
        return self.groups

    def on_channels(self, count: int | None) -> Conv:
        """The layer as it acts on so many channels."""
        if self.groups == 1 or count != self.groups or isinstance(self, DepthwiseConv):
            return self
        return DepthwiseConv(**{f.name: getattr(self, f.name) for f in fields(self)})

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        (x,) = operands
        made = super().value(node, operands)
        if self.groups > 1 and x.law is Law.GIVEN:
            return replace(made, law=Law.OTHER, centered=True, alike=False)
        return made

    @property
    def spreads(self) -> tuple[int, ...]:
        """Distance of neighbouring taps along each axis."""
        return self.dilation or (1,) * len(self.filter_shape)

    def axis_map(self, count: int, axis: int) -> AxisMap:
        return patch(along(self.padding, axis), count, self.filter_shape[axis], self.steps[axis], self.spreads[axis])

    def fan_in(self, operands: Sequence[Shape]) -> int:
        channels = operands[0][-1]
        if channels is not None and channels % self.groups:
            raise ShapeMismatch(f"{self.label()}: {channels} input channels do not split into {self.groups} groups")
        return super().fan_in(operands) // self.groups

    def convolved(self, x: Any, filters: Any, pointwise: Any) -> Any:
        maps = [m for m in self.maps(x.shape[1:-1]) if isinstance(m, Patch)]
        if any(m.wraps for m in maps):
            x = pointwise.jnp.pad(x, [(0, 0), *((m.low, m.high) for m in maps), (0, 0)], mode="wrap")
            pads = [(0, 0)] * len(maps)
        else:
            pads = [(m.low, m.high) for m in maps]
        return pointwise.lax.conv_general_dilated(
            x,
            filters,
            self.steps,
            pads,
            rhs_dilation=self.spreads,
            dimension_numbers=channels_last(len(pads)),
            feature_group_count=self.groups,
        ) * (self.groups**0.5 if not self.is_standard else 1)

    def kernel_identity(self, widths: Sequence[object]) -> object:
        return super().kernel_identity(widths), self.spreads, self.groups


@dataclass(frozen=True)
class DepthwiseConv(Conv):
    """K, T as in Conv:  each group has one channel, so that outputs are no sums of many terms, and not Gaussian."""

    internal: ClassVar[bool] = True

    def value(self, node: str, operands: Sequence[Value]) -> Value:
        made = super().value(node, operands)
        return replace(made, law=Law.OTHER, centered=True)

    def words(self) -> str:
        return "Conv" + super().words().removeprefix(type(self).__name__)


@dataclass(frozen=True)
class ConvTranspose(_Conv):
    """K[p, p'] -> W_std^2 / w sum_d K[(p - d) / s, (p' - d) / s] + b_std^2 over whole quotients:  a transposed filter.

    T as in Conv; the taps and paddings are those of jax.lax.conv_transpose.
    """

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (
            ConvTranspose(3, (3, 3), (2, 2), "SAME", 1.2, 0.1),
            ConvTranspose(3, (2, 3), (1, 2), "VALID", 1.3, 0.2, "standard"),
            ConvTranspose(3, (3, 3), (2, 1), "CIRCULAR"),
        )

    def axis_map(self, count: int, axis: int) -> AxisMap:
        return patch_transposed(str(self.padding), count, self.filter_shape[axis], self.steps[axis])

    def check_fields(self) -> None:
        super().check_fields()
        if isinstance(self.padding, tuple):
            raise InvalidInput(f"ConvTranspose(padding={self.padding}): VALID, SAME or CIRCULAR is needed")

    def presence(self, ask: Requests) -> sp.Expr:
        """A pixel is masked where one that it reads is."""
        sizes_before = zip(self.filter_shape, self.steps, ask.spatial(0), strict=True)
        padding = "SAME" if self.padding == "CIRCULAR" else str(self.padding)
        maps = tuple(reach(patch_transposed(padding, n, w, s), n) for w, s, n in sizes_before)
        return 1 - sp.Min(ask.absence(0, maps), 1)

    def convolved(self, x: Any, filters: Any, pointwise: Any) -> Any:
        jnp, axes = pointwise.jnp, range(1, x.ndim - 1)
        maps = [m for m in self.maps(x.shape[1:-1]) if isinstance(m, Patch)]
        wide = [1 if i not in axes else maps[i - 1].interior for i in range(x.ndim)]
        ends = [(0, 0, d - 1) if i not in axes else (0, maps[i - 1].trailing, d - 1) for i, d in enumerate(wide)]
        x = pointwise.lax.pad(x, jnp.zeros((), x.dtype), ends)
        pads = [(0, 0), *((m.low, m.high) for m in maps), (0, 0)]
        x = jnp.pad(x, pads, mode="wrap" if self.padding == "CIRCULAR" else "constant")
        steps, numbers = (1,) * len(maps), channels_last(len(maps))
        return pointwise.lax.conv_general_dilated(x, filters, steps, "VALID", dimension_numbers=numbers)


@dataclass(frozen=True)
class ConvLocal(_Conv):
    """K[p, p] -> W_std^2 / w sum_d K[s p + d, s p + d] + b_std^2, K[p, p'] = 0 elsewhere:  a filter for each place.

    T -> K' + W_std^2 A(T) on the diagonal. Source: Novak et al. 2019 (1810.05148), section 5.1.
    """

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        return (ConvLocal(3, (3, 3), None, "SAME", 1.2, 0.1), ConvLocal(3, (3, 2), (1, 2), "VALID", 1.1))

    def axis_map(self, count: int, axis: int) -> AxisMap:
        p = patch(along(self.padding, axis), count, self.filter_shape[axis], self.steps[axis])
        return Local(p.window, p.stride, p.low, p.high, p.wraps)

    def bias(self, ask: Requests, value: sp.Expr) -> sp.Expr:
        return value * ask.same_pixel()

    def weights(self, operands: Sequence[Shape]) -> tuple[WeightSpec | None, ...]:
        w_scale, b_scale = self.scales(operands)
        *spatial, width = (n or 1 for n in self.shape(operands))
        bias = (1, *spatial, width)
        filters = (*spatial, self.fan_in(operands), width)
        return (filters, w_scale), None if self.b_std is None else (bias, b_scale)

    def convolved(self, x: Any, filters: Any, pointwise: Any) -> Any:
        maps = [m for m in self.maps(x.shape[1:-1]) if isinstance(m, Patch)]
        mode = "wrap" if self.padding == "CIRCULAR" else "constant"
        x = pointwise.jnp.pad(x, [(0, 0), *((m.low, m.high) for m in maps), (0, 0)], mode=mode)
        numbers = channels_last(len(maps))
        return pointwise.lax.conv_general_dilated_local(
            x, filters, self.steps, "VALID", self.filter_shape, dimension_numbers=numbers
        )


def sizes(given: object, name: str, count: int | None = None) -> tuple[int, ...]:
    """Positive whole numbers, one for each spatial axis."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise InvalidInput(f"{name} = {given!r}: a whole number for each spatial axis is needed, as (3, 3)")
    found = tuple(whole(n, name) for n in given)
    if count is not None and len(found) != count:
        raise InvalidInput(f"{name} = {given!r}: {count} numbers are needed, one for each spatial axis")
    return found


def along(padding: str | tuple[tuple[int, int], ...], axis: int) -> Padding:
    """The padding of one axis."""
    return padding if isinstance(padding, str) else padding[axis]


def padding_name(padding: object, count: int) -> str | tuple[tuple[int, int], ...]:
    """VALID, SAME or CIRCULAR, from a name or an enumeration; or zeros (before, after) for each of `count` axes."""
    if isinstance(padding, (tuple, list)):
        return _pairs(padding, count)
    name = getattr(padding, "name", padding)
    if not isinstance(name, str) or name.upper() not in PADDINGS:
        raise unknown("padding", padding, PADDINGS)
    return name.upper()


def _pairs(padding: Sequence[Any], count: int) -> tuple[tuple[int, int], ...]:
    are_pairs = all(isinstance(p, (tuple, list)) and len(p) == 2 for p in padding)
    if len(padding) != count or not are_pairs:
        raise InvalidInput(f"padding = {padding!r}: (before, after) for each of {count} axes, as ((1, 1), (1, 1))")
    return tuple((whole(low, "padding", 0), whole(high, "padding", 0)) for low, high in padding)


def channels_last(axes: int) -> tuple[str, str, str]:
    """jax.lax dimension numbers of arrays [n, ..., channels]."""
    letters = "HWDXYZABEFGJKLMPQRSTUV"[:axes]
    return f"N{letters}C", f"{letters}IO", f"N{letters}C"
