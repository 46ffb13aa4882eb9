"""What a layer of the user's own needs of its Kernel: the names that Neural Tangents has for it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntkc.data import with_nan
from ntkc.errors import InvalidInput
from ntkc.kernel import Kernel

DIAGONALS = ("diagonal_batch", "diagonal_spatial")


class Bool(enum.IntEnum):
    """No, maybe, yes; `&` is the lesser."""

    NO = 0
    MAYBE = 1
    YES = 2

    def __and__(self, other: int) -> Bool:
        return Bool(min(self, other))

    __rand__ = __and__


@dataclass(frozen=True)
class Diagonal:
    """Whether a layer may read, and makes, equal pixels (or single samples) only; true if both may be so.

    first >> second: the need of `second` on top of `first`, which is associative.  first & second: of both.
    """

    input: Bool = Bool.YES
    output: Bool = Bool.NO

    def __rshift__(self, other: Diagonal) -> Diagonal:
        if self.output is Bool.YES:
            return self
        return Diagonal(self._input_before(other), other.output)

    def _input_before(self, other: Diagonal) -> Bool:
        if self.output is Bool.NO:
            return self.input if other.input is Bool.YES else Bool.NO
        return self.input if other.input is not Bool.NO else Bool.NO

    def __lshift__(self, other: Diagonal) -> Diagonal:
        return other >> self

    def __and__(self, other: Diagonal) -> Diagonal:
        return Diagonal(self.input & other.input, self.output & other.output)

    __rand__ = __and__

    def __bool__(self) -> bool:
        return self.input is Bool.YES and self.output is not Bool.NO


def forbids(requirement: Any) -> bool:
    """Equal pixels, or single samples, are not enough."""
    return requirement is False or (isinstance(requirement, Diagonal) and requirement.input is Bool.NO)


def requires(**requirements: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """@requires(diagonal_spatial=False, batch_axis=0, ...) above kernel_fn(kernel): Kernels without that are refused.

    `diagonal_batch`, `diagonal_spatial`: False, or a Diagonal whose input is Bool.NO, where all pairs are needed;
    `batch_axis`, `channel_axis`: where samples and channels have to be.

    Raises:
        InvalidInput: the Kernel that comes has them not.
    """

    def decorated(kernel_fn: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(kernel_fn)
        def checked(kernel: Any, **keywords: Any) -> Any:
            if isinstance(kernel, Kernel):
                _check(kernel, requirements, kernel_fn.__name__)
            return kernel_fn(kernel, **keywords)

        checked.requirements = requirements  # type: ignore[attr-defined]
        return checked

    return decorated


def _check(kernel: Kernel, requirements: dict[str, Any], name: str) -> None:
    for key in DIAGONALS:
        if getattr(kernel, key) and forbids(requirements.get(key)):
            raise InvalidInput(f"{name} requires {key}=False, and got a Kernel with {key}=True")
    rank = 2 + kernel.nngp.ndim - 2 if kernel.shape1 is None else len(kernel.shape1)
    for key in ("batch_axis", "channel_axis"):
        wanted = requirements.get(key)
        if wanted is not None and wanted % rank != getattr(kernel, key):
            raise InvalidInput(f"{name} requires {key}={wanted}, and got a Kernel with {key}={getattr(kernel, key)}")


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True)
class MaskedArray:
    """An array, and a mask that is True where an entry is missing."""

    masked_value: Any
    mask: Any

    def tree_flatten(self) -> tuple[tuple[Any, Any], None]:
        """Both, for JAX."""
        return (self.masked_value, self.mask), None

    @classmethod
    def tree_unflatten(cls, _: None, children: tuple[Any, Any]) -> MaskedArray:
        """From both, for JAX."""
        return cls(*children)


def _is_masked(x: Any) -> bool:
    return isinstance(x, MaskedArray)


def unmask_fn(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn` with arrays, 0 where they are masked, in the place of MaskedArrays; layers of stax return such arrays."""

    def unmasked(x: Any) -> Any:
        return jnp.where(x.mask, 0, x.masked_value) if _is_masked(x) and x.mask is not None else _value(x)

    @wraps(fn)
    def plain(*args: Any, **keywords: Any) -> Any:
        return jax.tree.map(unmasked, fn(*args, **keywords), is_leaf=_is_masked)

    return plain


def _value(x: Any) -> Any:
    return x.masked_value if _is_masked(x) else x


def masked_array(x: Any, mask_constant: Any) -> MaskedArray:
    """An array with 0 in the place of a constant (NaN, too), and where it was."""
    if _is_masked(x):
        return x
    if mask_constant is None:
        return MaskedArray(x, None)
    mask = jnp.isnan(with_nan("inputs", x, mask_constant))
    return MaskedArray(jnp.where(mask, 0, x), mask)


def supports_masking(remask_kernel: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """@supports_masking(...) below @layer: apply_fn(params, inputs, mask=...), and (init, apply, kernel[, mask_fn]).

    `mask_fn(mask, input_shape)` is the mask of the output, the same unless given. `remask_kernel`: covariances are put
    to 0 where it is True.
    """

    def decorated(layer_fn: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(layer_fn)
        def with_masks(*args: Any, **keywords: Any) -> Any:
            init_fn, apply_fn, kernel_fn, *rest = layer_fn(*args, **keywords)
            mask_fn = rest[0] if rest else (lambda mask, input_shape: mask)
            return init_fn, _of_masked(apply_fn, mask_fn), _of_masked_kernels(kernel_fn, mask_fn, remask_kernel)

        return with_masks

    return decorated


def _of_masked(apply_fn: Callable[..., Any], mask_fn: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(apply_fn)
    def apply(params: Any, inputs: Any, *, mask_constant: Any = None, **keywords: Any) -> Any:
        masked = jax.tree.map(lambda x: masked_array(x, mask_constant), inputs, is_leaf=_is_masked)
        value = jax.tree.map(lambda m: m.masked_value, masked, is_leaf=_is_masked)
        mask = jax.tree.map(lambda m: m.mask, masked, is_leaf=_is_masked)
        made = apply_fn(params, value, mask=mask, **keywords)
        if not jax.tree.leaves(mask):
            return made
        shapes = np.shape(value) if hasattr(value, "shape") else [np.shape(v) for v in value]
        return MaskedArray(made, mask_fn(mask, shapes))

    return apply


def _of_masked_kernels(
    kernel_fn: Callable[..., Any], mask_fn: Callable[..., Any], remask_kernel: bool
) -> Callable[..., Any]:
    @wraps(kernel_fn)
    def of_kernels(kernels: Any, **keywords: Any) -> Any:
        made = kernel_fn(kernels, **keywords)
        if not isinstance(kernels, Kernel) or kernels.mask1 is None:
            return made
        mask1 = mask_fn(kernels.mask1, kernels.shape1)
        mask2 = None if kernels.mask2 is None else mask_fn(kernels.mask2, kernels.shape2)
        return made.mask(mask1, mask2) if remask_kernel else made.replace(mask1=mask1, mask2=mask2)

    return of_kernels
