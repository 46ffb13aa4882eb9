"""What a kernel knows of its own error:  kernels -> (kernels, concern),  and PrecisionLost where it is too much.

A concern is a row for each loss that a network watches, (relative error, variance where it is largest, 0), and a last
row, (is a result not finite, largest value of any sample, place of that value).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from inspect import currentframe
from math import inf, isnan
from typing import Any, NamedTuple
from warnings import warn as issue

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.core import Tracer

from ntkc.runtime.loops import Values
from ntkc.runtime.series import TERMS, TOLERANCE, Tolerance


class PrecisionLost(UserWarning):
    """A kernel is not within its bound, or not finite: the message names the place, the value, and the remedy."""


class SeriesNotConverged(PrecisionLost):
    """A Hermite series keeps more than its tolerance: the variances of the data are too large for its terms."""


Loss = tuple[str, str, str]
"""Names of the relative errors and of the variances among the values of samples, and what they are of, in words."""
HEADROOM = 1 / 8
"""Where a value to the eighth power is finite, so is all that pairs make of it."""
_WITHOUT_CALLBACKS: ContextVar[bool] = ContextVar("without_callbacks", default=False)


class Watch(NamedTuple):
    """What is watched: losses, and the errors that are allowed; results that are not finite always are."""

    losses: Sequence[Loss] = ()
    tolerance: Tolerance = TOLERANCE


NOTHING_LOST = Watch()


@jax.tree_util.register_pytree_node_class
class Concern:
    """Rows as above, and the names of the values of samples."""

    def __init__(self, rows: Any, places: tuple[str, ...] = ()) -> None:
        self.rows, self.places = rows, places

    def tree_flatten(self) -> tuple[tuple[Any], tuple[str, ...]]:
        """Rows, then places."""
        return (self.rows,), self.places

    @classmethod
    def tree_unflatten(cls, places: tuple[str, ...], rows: tuple[Any]) -> Concern:
        """The inverse of `tree_flatten`."""
        return cls(*rows, places)


@contextmanager
def exportable() -> Generator[None]:
    """Trace kernels without warnings: jax.export writes no callbacks, which calls under jit warn by."""
    token = _WITHOUT_CALLBACKS.set(True)
    try:
        yield
    finally:
        _WITHOUT_CALLBACKS.reset(token)


# In the compiled function.


def concern_of(watch: Watch, values: Values, **others: Any) -> Concern:
    """The concern of some samples, its last row (largest value, that value, its place)."""
    made = {**named(values), **others}
    rows = [largest_loss(made, loss, variance) for loss, variance, _ in watch.losses]
    places = tuple(name for name, v in made.items() if TERMS not in jnp.shape(v)[:-1])
    sizes = [jnp.max(jnp.abs(jnp.asarray(made[name])), initial=0) for name in places]
    at = jnp.argmax(jnp.stack(sizes))
    size = jnp.stack(sizes)[at]
    rows.append(jnp.stack([size, size, at.astype(size.dtype)]))
    return Concern(lax.stop_gradient(jnp.stack(rows)), places)


def losses_of(watch: Watch, values: Values, dtype: Any = None) -> Concern:
    """The same without a last row that says anything."""
    made = named(values) if watch.losses else {}
    rows = [largest_loss(made, loss, variance) for loss, variance, _ in watch.losses]
    nothing = jnp.zeros(3, rows[0].dtype if rows else dtype)
    return Concern(lax.stop_gradient(jnp.stack([*rows, nothing])))


def named(values: Values) -> dict[str, Any]:
    """Values by name, those of loops as "block1.q_tanh2"."""
    names, arrays = values.tree_flatten()[::-1]
    found: dict[str, Any] = {}
    for name, v in zip(names, arrays, strict=True):
        inner = {f"{name}.{n}": a for n, a in named(v).items()} if isinstance(v, Values) else {name: v}
        found |= {n: a for n, a in inner.items() if n.rpartition(".")[2] != "pattern"}
    return found


def largest_loss(made: dict[str, Any], loss: str, variance: str) -> Array:
    """The row of a loss: where it is largest of all samples."""
    losses = jnp.ravel(made[loss])
    at = jnp.argmax(losses)
    q = jnp.ravel(jnp.broadcast_to(made[variance], made[loss].shape))[at] if variance else jnp.nan
    return jnp.stack([losses[at], jnp.asarray(q, losses.dtype), jnp.zeros((), losses.dtype)])


def worst(rows: Array) -> Array:
    """[concerns, rows, 3]  ->  [rows, 3]: of each row the one that has most."""
    keys = jnp.where(jnp.isnan(rows[..., 0]), jnp.inf, rows[..., 0])
    is_it = jnp.arange(len(rows))[:, None] == jnp.argmax(keys, 0)
    return jnp.sum(jnp.where(is_it[..., None], rows, 0), 0)


def worse(first: Concern, second: Concern) -> Concern:
    """The worst of two."""
    return Concern(worst(jnp.stack([first.rows, second.rows])), first.places)


def judged(made: Array, concern: Concern) -> Concern:
    """The concern of a result: all of it is looked at only where values of samples are near what a float can hold."""
    size = concern.rows[-1, 0]
    is_suspect = ~(size < float(jnp.finfo(size.dtype).max) ** HEADROOM)
    is_bad = lax.cond(is_suspect, lambda v: ~jnp.all(jnp.isfinite(v)), lambda v: jnp.zeros((), bool), made)
    return _with_flag(concern, is_bad)


def looked_at(made: Array, concern: Concern) -> Concern:
    """The same where results are few beside what they are made of."""
    return _with_flag(concern, ~jnp.all(jnp.isfinite(made)))


def _with_flag(concern: Concern, is_bad: Array) -> Concern:
    rows = concern.rows
    last = jnp.concatenate([lax.stop_gradient(is_bad).astype(rows.dtype)[None], rows[-1, 1:]])
    return Concern(jnp.concatenate([rows[:-1], last[None]]), concern.places)


# On the host.


def report(watch: Watch, concern: Concern) -> None:
    """Warns of what is lost: at once if the numbers are known, else when the compiled program runs."""
    if not isinstance(concern.rows, Tracer):
        warn(watch, concern.places, concern.rows)
    elif not _WITHOUT_CALLBACKS.get():
        _alarm(watch, concern.places)(concern.rows)


def _alarm(watch: Watch, places: tuple[str, ...]) -> Any:
    """rows -> rows, with the warning: one for a whole batch."""

    def plain(rows: Array) -> Array:
        is_lost = jnp.any(~(rows[:, 0] <= jnp.asarray(allowed(watch, rows), rows.dtype)))
        say = partial(jax.debug.callback, partial(warn, watch, places))
        lax.cond(is_lost, lambda r: say(r), lambda r: None, rows)
        return rows

    def batched(size: int, is_batched: Sequence[bool], rows: Array) -> tuple[Array, bool]:
        del size, is_batched
        made(worst(rows))
        return rows, True

    made: Any = jax.custom_batching.custom_vmap(plain)
    made.def_vmap(batched)
    return made


def allowed(watch: Watch, rows: Any) -> list[float]:
    """What the first of each row may be: the tolerance, with the rounding of sums of squares."""
    most = watch.tolerance[rows.dtype.name] + 8 * float(jnp.finfo(rows.dtype).eps)
    return [most] * len(watch.losses) + [0.5]


def warn(watch: Watch, places: tuple[str, ...], rows: Any) -> None:
    """A warning for each row that has more than it may; of losses, for the largest of them."""
    numbers: list[list[float]] = rows.tolist()
    lost = [i for i, (row, most) in enumerate(zip(numbers, allowed(watch, rows), strict=True)) if not row[0] <= most]
    losses = [i for i in lost if i < len(watch.losses)]
    if losses:
        at = max(losses, key=lambda i: inf if isnan(numbers[i][0]) else numbers[i][0])
        bound, q, _ = numbers[at]
        _say(of_series(watch.losses[at][2], bound, q, others=len(losses) - 1), SeriesNotConverged)
    if len(watch.losses) in lost:
        _, size, place = numbers[-1]
        _say(of_overflow(places, size, int(place), rows.dtype.name), PrecisionLost)


def of_series(words: str, bound: float, q: float, others: int) -> str:
    """What is said of a series that is cut."""
    more = f", as do {others} more," if others else ""
    at = "" if isnan(q) else f" at the variance {q:.3g}"
    return (
        f"{words}: a series{more} keeps a relative error of up to {bound:.1e}{at}: the variances of these data are too "
        "large for its terms (explain() shows how many each needs); rescale the data or lower W_std"
    )


def of_overflow(places: tuple[str, ...], size: float, place: int, dtype: str) -> str:
    """What is said of a result that is not finite."""
    at = f": {places[place]} reaches {size:.3g}, and products of it are" if places else ": some values are"
    wider = ", or compute in float64 (jax_enable_x64)" if dtype == "float32" else ""
    return f"the kernel holds NaN or infinities{at} beyond what {dtype} can hold; rescale the data, lower W_std{wider}"


def _say(message: str, category: type[Warning]) -> None:
    """A warning of the line outside of this package and jax that called."""
    level, frame = 1, currentframe()
    while frame is not None and frame.f_back is not None and _is_inside(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    issue(message, category, stacklevel=level)


def _is_inside(module: str) -> bool:
    return module.startswith((__name__.partition(".")[0], "jax", "contextlib"))
