"""Op: everything ntkc knows about one kind of layer stands in one frozen dataclass."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol

import sympy as sp

from ntkc.errors import InvalidGraph, unknown
from ntkc.ir.hyper import Parameter, checked_fields
from ntkc.ir.layout import Layout
from ntkc.ir.maps import Maps
from ntkc.ir.traced import opened_fields
from ntkc.ir.value import Value
from ntkc.ir.words import one_line

Shape = tuple[int | None, ...]
"""Shape of one sample: pixels along each spatial axis, then features; None where only the data will tell."""

UNKNOWN: Shape = ()
"""The shape of everything on top of data whose number of axes is not known yet."""

Scalar = int | float | sp.Expr
"""A hyper-parameter: a number folds into the code, a sympy symbol stays an argument of the program."""

WeightSpec = tuple[tuple[int, ...], Scalar]
"""Shape and standard deviation of one weight array of the finite layer."""


class Requests(Protocol):
    """What a rule may ask for, by operand slot. The same rule serves pairs of samples and a sample with itself."""

    @property
    def arity(self) -> int:
        """Number of operands."""
        ...

    def related(self, i: int) -> Sequence[int]:
        """Slots of operands that may be correlated with operand i, itself among them."""
        ...

    def covariance(self, i: int, j: int, maps: Maps = (), factor: sp.Expr = sp.S.One) -> sp.Expr:
        """K[a_i, a_j]: covariance of operand i on side 1 and operand j on side 2, times a factor, with maps applied."""
        ...

    def variance(self, i: int, side: int) -> sp.Expr:
        """q: variance of operand i on side 1 or 2."""
        ...

    def own(self) -> sp.Expr:
        """K of this layer itself, for a tangent kernel that holds it."""
        ...

    def pairs(self, i: int, j: int) -> sp.Expr:
        """K[a_i, a_j] of all pairs of pixels, within one sample, too."""
        ...

    def tangent(self, i: int, j: int, maps: Maps = (), factor: sp.Expr = sp.S.One) -> sp.Expr:
        """T[a_i, a_j]: tangent kernel, times a factor, with maps of pixels applied."""
        ...

    def statistic(self, side: int) -> sp.Expr:
        """What `Op.statistic` makes of the sample on side 1 or 2."""
        ...

    @property
    def is_masked(self) -> bool:
        """Pixels of the data may be missing."""
        ...

    def presence(self, i: int, side: int | None = None, maps: Maps = ()) -> sp.Expr:
        """1 for pixels of operand i that are there, 0 for masked ones: on a side, or (None) of the sample itself."""
        ...

    def absence(self, i: int, maps: Maps) -> sp.Expr:
        """Maps applied to 1 for masked pixels of operand i, 0 for those that are there."""
        ...

    def same_pixel(self) -> sp.Expr:
        """1 where both sides are the same pixel, 0 elsewhere."""
        ...

    def same_sample(self) -> sp.Expr:
        """1 where both sides are the same sample, 0 elsewhere."""
        ...

    def patterns(self, sizes: tuple[int, ...], is_sparse: bool) -> tuple[sp.Expr, sp.Expr]:
        """Edges between pixels of these axes, of the sample on side 1 and on side 2."""
        ...

    def width(self, i: int) -> sp.Expr:
        """Number of features of operand i."""
        ...

    def spatial(self, i: int) -> tuple[int, ...]:
        """Pixels of operand i along each spatial axis."""
        ...


OPS: dict[str, type[Op]] = {}
"""Every layer, by the name it has in graphs and JSON documents."""


TRACED = (
    "the network has hyper-parameters that JAX traces: call its kernel_fn, or compile it with sympy.Symbol('w') in "
    "their place and give the value at the call, w=value"
)
"""What an error says where a network must stand for itself."""


@dataclass(frozen=True)
class Op(ABC):
    """One layer: its finite network, its law, its infinite-width rules, its shape, and examples of itself.

    A concrete subclass registers under its own name.
    """

    arity: ClassVar[int | None] = 1
    """Number of operands; None for any number from one."""
    fresh: ClassVar[bool] = False
    """Draws weights of its own, so that its output is a new Gaussian field."""
    internal: ClassVar[bool] = False
    """Made by passes only, never by a user."""
    transparent: ClassVar[bool] = False
    """y = x: the layer changes nothing."""
    linear: ClassVar[bool] = False
    """y = a sum of the operands, a the `factor`: covariances with other nodes distribute over them."""
    acts_on_pixels: ClassVar[bool] = False
    """Acts on pixels, or on one pair of samples in another way than on others: needs the program that knows them."""

    statistic_is_matrix: ClassVar[bool] = False
    """`statistic` has a number for each pair of pixels, not for each pixel."""

    remasks: ClassVar[bool] = False
    """Its covariances are put back to 0 where pixels are masked."""

    like_data: ClassVar[tuple[int, ...]] = ()
    """Weight arrays, by number, whose axes are those of the output."""

    frozen: bool = field(default=False, kw_only=True)
    """Its weights are not trained: its tangent kernel is that of its operands, propagated."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__post_init__" in vars(cls):
            raise TypeError(f"{cls.__name__}: write check_fields; __post_init__ is Op's, which checks hyper-parameters")
        if not cls.__name__.startswith("_"):
            OPS[cls.__name__] = cls

    def __post_init__(self) -> None:
        if not self.internal:
            self._open_fields()
        self.check_fields()
        for name, value in () if self.internal else checked_fields(self).items():
            object.__setattr__(self, name, value)
        self.check_range()

    def check_range(self) -> None:  # noqa: B027  # most layers have nothing to add
        """What float32 cannot hold is refused, once all fields have their one form."""

    def _open_fields(self) -> None:
        changed, traced = opened_fields(self)
        for name, value in changed.items():
            object.__setattr__(self, name, value)
        if traced:
            object.__setattr__(self, "_traced", traced)

    @property
    def traced(self) -> Mapping[Parameter, Any]:
        """Values, traced by JAX, of hyper-parameters of this very layer: no part of what equal layers share."""
        return vars(self).get("_traced", {})

    @property
    def factor(self) -> sp.Expr:
        """What a linear layer multiplies the sum of its operands with."""
        return sp.S.One

    def check_fields(self) -> None:  # noqa: B027  # most layers have nothing to add
        """The layer's own checks, and its fields in their one form; those of its hyper-parameters follow."""

    @classmethod
    def examples(cls) -> tuple[Op, ...]:
        """Instances for the tests that run over every layer; a public layer without any fails them."""
        return ()

    @abstractmethod
    def shape(self, operands: Sequence[Shape]) -> Shape:
        """Feature shape of the output."""

    @abstractmethod
    def value(self, node: str, operands: Sequence[Value]) -> Value:
        """Law of the output in the infinite-width limit."""

    @abstractmethod
    def covariance(self, ask: Requests) -> sp.Expr:
        """K of the output, and its variance when asked for one sample with itself."""

    @abstractmethod
    def tangent(self, ask: Requests) -> sp.Expr:
        """T of the output."""

    def statistic(self, ask: Requests) -> sp.Expr:
        """A number for each pixel of a sample, that `covariance` and `tangent` may ask for on either side."""
        raise AssertionError(f"{type(self).__name__} has no statistic")

    def presence(self, ask: Requests) -> sp.Expr:
        """1 for pixels of the output that are there, 0 for masked ones: masked where all operands are."""
        missing = sp.Mul(*(1 - ask.presence(i) for i in range(ask.arity)))
        return sp.expand(1 - missing)

    def weights(self, operands: Sequence[Shape]) -> tuple[WeightSpec | None, ...]:
        """The weight arrays of the finite layer; None for one that is left out."""
        return ()

    @abstractmethod
    def forward(self, weights: Sequence[Any], operands: Sequence[Any], pointwise: Any) -> Any:
        """The finite layer on arrays [n, ..., features].

        `pointwise(expr, arrays)` evaluates an expression on arrays, `pointwise.number(self.W_std, "W_std")` is a
        hyper-parameter, `pointwise.jnp` and `pointwise.lax` are JAX's, and `pointwise.rng` is the key of a random
        layer, or None.
        """

    def kernel_identity(self, widths: Sequence[object]) -> object:
        """Layers with equal identities have equal rules; `roll` compares them."""
        return self

    def latex_name(self) -> str:
        """The name in formulas and drawings."""
        return type(self).__name__

    def layout_after(self, layout: Layout, operand: Shape) -> Layout:
        """Where samples and channels of the output are, for an operand of this shape that has them as in `layout`."""
        return layout

    def label(self) -> str:
        """`Dense(out_dim=512, W_std=1.5)`: the arguments that differ from their defaults, in one safe line."""
        return one_line(self.words())

    def words(self) -> str:
        """What the label says."""
        shown = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default]
        return f"{type(self).__name__}({', '.join(shown)})"


def spatial_of(shape: Shape) -> tuple[int, ...]:
    """Pixels along each spatial axis."""
    return tuple(n for n in shape[:-1] if n is not None)


FROZEN = "frozen"
"""The field that every layer has: no derivatives in its weights."""


def public_ops() -> dict[str, type[Op]]:
    """The layers a user may name."""
    return {name: op for name, op in OPS.items() if not op.internal and not inspect.isabstract(op)}


def make_op(name: object, parameters: Mapping[str, Any]) -> Op:
    """OPS[name](**parameters), with errors that name the layer and its fields."""
    known_ops = public_ops()
    if not isinstance(name, str) or name not in known_ops:
        raise unknown("layer", name, known_ops)
    known = [f.name for f in fields(known_ops[name]) if f.name != FROZEN]
    for key in parameters:
        if key not in (*known, FROZEN):
            raise unknown(f"field of {name}", key, known or ["no fields"])
    try:
        return known_ops[name](**parameters)
    except TypeError as error:
        raise InvalidGraph(f"{name} with {dict(parameters)}: {error}; its fields are {', '.join(known)}") from error
