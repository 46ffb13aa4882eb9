"""Kernels of random finite networks, averaged over draws of their weights."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import random

from ntkc.batching import batch
from ntkc.data import are_one_set
from ntkc.empirical import NtkImplementation, empirical_kernel_fn
from ntkc.empirical.axes import Axes
from ntkc.empirical.kernels import VmapAxes
from ntkc.errors import InvalidInput
from ntkc.ir.exact import whole


def monte_carlo_kernel_fn(
    init_fn: Callable[..., Any],
    apply_fn: Callable[..., Any],
    key: Any,
    n_samples: int | Iterable[int],
    batch_size: int = 0,
    device_count: int = -1,
    store_on_device: bool = True,
    trace_axes: Axes = (-1,),
    diagonal_axes: Axes = (),
    vmap_axes: VmapAxes = None,
    implementation: int = NtkImplementation.JACOBIAN_CONTRACTION,
) -> MonteCarloKernel:
    """kernel_fn(x1, x2=None, get=None):  the mean over `n_samples` draws of weights of the empirical kernels.

    For several numbers of samples it is a generator of the means after each of them. `with_errors` gives the mean and
    its standard error, over the same draws. The draws are those of the peer for the same key.

    Args:
        init_fn, apply_fn: a network, as `ntkc.stax` makes it; apply_fn gets a key as `rng`.
        n_samples: a whole number, or several.
        batch_size, device_count, store_on_device: as in `ntkc.batch`.
        trace_axes, diagonal_axes, vmap_axes, implementation: as in `ntkc.empirical_ntk_fn`.

    Raises:
        InvalidInput: no sample is asked for.
    """
    counts = tuple(n_samples) if isinstance(n_samples, Iterable) else (n_samples,)
    counts = tuple(whole(n, "n_samples") for n in counts)
    if not counts:
        raise InvalidInput("n_samples is empty: give a number of samples, or several")
    kernel_fn = jax.jit(
        empirical_kernel_fn(apply_fn, trace_axes, diagonal_axes, vmap_axes, implementation), static_argnums=2
    )
    in_tiles = bool(batch_size) or (device_count not in (0, 1) and jax.device_count() > 1)
    tiled = batch(kernel_fn, batch_size, device_count, store_on_device) if in_tiles else kernel_fn
    return MonteCarloKernel(init_fn, tiled, key, counts, not isinstance(n_samples, Iterable))


@dataclass(frozen=True, eq=False)
class MonteCarloKernel:
    """A sampled kernel: call it as kernel_fn(x1, x2=None, get=None)."""

    init_fn: Callable[..., Any]
    empirical_fn: Callable[..., Any]
    key: Any
    counts: tuple[int, ...]
    is_single: bool

    def __call__(self, x1: Any, x2: Any = None, get: Any = None, **kwargs: Any) -> Any:
        """The mean, or a generator of means if several numbers of samples were given."""
        means = (mean for mean, _ in self._moments(x1, x2, get, kwargs))
        return next(means) if self.is_single else means

    def with_errors(self, x1: Any, x2: Any = None, get: Any = None, **kwargs: Any) -> Any:
        """(mean, standard error of the mean), or a generator of such pairs. One sample has an infinite error."""
        pairs = self._moments(x1, x2, get, kwargs)
        return next(pairs) if self.is_single else pairs

    def _moments(self, x1: Any, x2: Any, get: Any, kwargs: dict[str, Any]) -> Generator[tuple[Any, Any]]:
        """Welford's running mean, and the error of it, after each of the numbers of samples."""
        names = tuple(get) if isinstance(get, list) else get
        x2 = None if are_one_set(x1, x2) else x2
        shape = jax.tree.map(jnp.shape, x1)
        mean = squares = None
        for n, key in enumerate(_keys(self.key, max(self.counts)), 1):
            init_key, apply_key = random.split(key)
            _, params = self.init_fn(init_key, shape)
            value = self.empirical_fn(x1, x2, names, params, rng=apply_key, **kwargs)
            if mean is None:
                mean, squares = value, jax.tree.map(jnp.zeros_like, value)
            else:
                before = mean
                mean = jax.tree.map(lambda m, v, n=n: m + (v - m) / n, mean, value)
                squares = jax.tree.map(lambda s, v, b, m: s + (v - b) * (v - m), squares, value, before, mean)
            if n in self.counts:
                yield mean, jax.tree.map(lambda s, n=n: _error(s, n), squares)


def _keys(key: Any, count: int) -> Generator[Any]:
    for _ in range(count):
        key, drawn = random.split(key)
        yield drawn


def _error(squares: Any, n: int) -> Any:
    return jnp.sqrt(squares / (n - 1) / n) if n > 1 else jnp.full_like(squares, jnp.inf)
