"""`gradient_descent_mse_discrete`: outputs after a number of steps of gradient descent, with momentum, in closed form.

A step of rate h / lambda moves the error e and the step u of an eigenvector, both in units of the first error, by

    (e, u) -> N (e, u),    N = [[1 - h, -h momentum], [1, momentum]],    (e, u) = (1, 0) at first,

so the error after s steps is N^s [0, 0]. Powers are taken of I - N, by doubling the exponent, so that eigenvalues next
to 0 keep their digits:

    I - N^s = [[h p, h q], [r, w]],    I - N^(s + s') = (I - N^s) + (I - N^s') - (I - N^s) (I - N^s')

p_s = (1 - e_s) / h are the weights of the targets; without momentum p_s = (1 - (1 - h)^s) / h.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ntkc.errors import InvalidInput
from ntkc.predict.factor import Spectrum, is_concrete, noise_floor, spectral_product
from ntkc.predict.outputs import TrainingSet, read_momentum, read_rate, read_request, read_training_set
from ntkc.predict.posterior import Times, bound_time
from ntkc.predict.rates import rate_limit
from ntkc.predict.targets import require_not_negative


class StepsFn(Protocol):
    def __call__(
        self, steps: Any = None, fx_train_0: Any = 0.0, fx_test_0: Any = None, k_test_train: Any = None
    ) -> Array | tuple[Array, Array]: ...


def gradient_descent_mse_discrete(
    k_train_train: Any,
    y_train: Any,
    learning_rate: float = 1.0,
    momentum: float = 0.0,
    diag_reg: float = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: int | Sequence[int] = (-1,),
) -> StepsFn:
    """s steps of gradient descent on the loss |f - y|^2 / (2 n), n = y.size, with h = learning_rate G / n:

        f(s)  = f(0)  + K  (I - (I - h)^s) G^{-1} (y - f(0)),    G = K + reg I
        f*(s) = f*(0) + K* (I - (I - h)^s) G^{-1} (y - f(0))

    With momentum, steps u -> momentum u - learning_rate gradient from u = 0 (Polyak 1964; `optax.sgd`,
    `torch.optim.SGD`), (I - h)^s becomes e_s:

        e_{s+1} = (1 + momentum - h) e_s - momentum e_{s-1},    e_0 = I,  e_1 = I - h

    K is the kernel of the training set, * a test index; reg = diag_reg, times tr / m unless `diag_reg_absolute_scale`,
    adds reg |w - w(0)|^2 / (2 n) to the loss. What a linearised network of any width computes, if K is its own NTK.

    Shapes as in `gradient_descent_mse`. Returns f(steps=None, fx_train_0=0., fx_test_0=None, k_test_train=None). steps:
    None for infinitely many, an integer, or an array of them whose axes lead those of the results. The other arguments
    are those of `gradient_descent_mse`. All counts share one eigendecomposition, and each takes as many products of
    2 x 2 matrices as an integer has bits; works under jit, with derivatives in everything but momentum and steps.

    Raises `InvalidInput` for a rate above `max_learning_rate` of G (under jit and traced, when the program runs),
    `ShapeMismatch`; warns `NotPositiveDefinite` with the jitter it added.
    """
    rate = read_rate(learning_rate)
    train = read_training_set(k_train_train, y_train, diag_reg, diag_reg_absolute_scale, trace_axes)
    return Descent(train, rate, read_momentum(momentum)).predict_fn


@dataclass(frozen=True, eq=False)
class Descent:
    """The training set and how it is stepped; `predict_fn` is what the user gets."""

    train: TrainingSet
    learning_rate: Any
    momentum: float

    def predict_fn(
        self, steps: Any = None, fx_train_0: Any = 0.0, fx_test_0: Any = None, k_test_train: Any = None
    ) -> Array | tuple[Array, Array]:
        """Outputs after a number of steps; see `gradient_descent_mse_discrete`."""
        request = read_request(self.train, fx_train_0, fx_test_0, k_test_train)
        times = read_steps(steps)
        spectrum = self.train.spectrum
        one = self.require_stable(spectrum)
        if times.is_infinite:
            return self.train.outputs(spectrum, one * bound_time(times.tau, self.train.dtype), times.shape, request)
        steps = Steps(spectrum, one * self.learning_rate / self.train.targets.size, self.momentum)
        return self.train.outputs(steps, times.tau, times.shape, request)

    def require_stable(self, spectrum: Spectrum) -> Array:
        """1, or an error: at once if the numbers are known, else when a compiled program needs the 1."""
        # Known numbers are compared now even under jit.
        with jax.ensure_compile_time_eval():
            rate = jnp.asarray(self.learning_rate, self.train.dtype)
            largest = spectrum.values[-1] - 2 * noise_floor(spectrum.gram)
            limit = rate_limit(largest, self.train.targets.size, self.momentum)
            check = partial(refuse_divergence, self.momentum, 8 * float(jnp.finfo(limit.dtype).eps))
            if is_concrete(rate, limit):
                return jnp.asarray(check(rate, limit), limit.dtype)
        fixed = jax.lax.stop_gradient((rate, limit))
        is_stable = jax.pure_callback(check, jax.ShapeDtypeStruct((), bool), *fixed, vmap_method="sequential")
        return is_stable.astype(limit.dtype)


@dataclass(frozen=True, eq=False)
class Steps:
    """The spectrum of G seen by steps of `rate`, a `Factor` whose times are numbers of steps."""

    spectrum: Spectrum
    rate: Array
    momentum: float

    @property
    def shift(self) -> Array:
        return self.spectrum.shift

    def ramp(self, rhs: Array, tau: Array) -> Array:
        return self.rate * self.product(fitted, rhs, tau)

    def decay(self, rhs: Array, tau: Array) -> Array:
        return self.product(left, rhs, tau)

    def product(self, function: Any, rhs: Array, tau: Array) -> Array:
        """function(momentum, rate G, steps) v."""
        gram = self.rate * self.spectrum.gram
        # The largest stable rate, rounded up, would grow in many steps.
        values = jnp.minimum(self.rate * self.spectrum.values, 2 * (1 + self.momentum))
        return spectral_product(partial(function, self.momentum), gram, values, self.spectrum.vectors, tau, rhs)


class Power(NamedTuple):
    """p, q, r, w of I - N^s = [[h p, h q], [r, w]]."""

    p: Array
    q: Array
    r: Array
    w: Array


@jax.jit
def fitted(momentum: Array, h: Array, steps: Array) -> Array:
    """p_s = (1 - e_s) / h,  by binary powers of N."""
    one = jnp.ones_like(h)
    first = Power(one, one * momentum, -one, one * (1 - momentum))
    none = Power(*[jnp.zeros(jnp.broadcast_shapes(h.shape, steps.shape), h.dtype)] * 4)
    places = jnp.arange(jnp.iinfo(steps.dtype).bits - 1, dtype=steps.dtype)
    digits = (steps >> places.reshape(-1, *[1] * steps.ndim)) & 1
    return jax.lax.scan(partial(add_digit, h), (first, none), digits)[0][1].p


def left(momentum: Array, h: Array, steps: Array) -> Array:
    """e_s = 1 - h p_s."""
    return 1 - h * fitted(momentum, h, steps)


def add_digit(h: Array, powers: tuple[Power, Power], digit: Array) -> tuple[tuple[Power, Power], None]:
    """(N^(2^i), N^s) -> (N^(2^(i + 1)), N^(s + digit 2^i))."""
    square, total = powers
    added = compose(h, total, square)
    total = jax.tree.map(partial(jnp.where, digit == 1), added, total)
    return (compose(h, square, square), total), None


def compose(h: Array, a: Power, b: Power) -> Power:
    """A + B - A B  for A = I - N^s, B = I - N^s'."""
    return Power(
        a.p + b.p - h * a.p * b.p - a.q * b.r,
        a.q + b.q - h * a.p * b.q - a.q * b.w,
        a.r + b.r - h * a.r * b.p - a.w * b.r,
        a.w + b.w - h * a.r * b.q - a.w * b.w,
    )


def read_steps(steps: Any) -> Times:
    """Counts of steps, flattened; None is infinity."""
    if steps is None:
        return Times(jnp.full((1,), jnp.inf), (), is_infinite=True)
    if not np.issubdtype(np.asarray(steps).dtype if is_concrete(steps) else steps.dtype, np.integer):
        raise InvalidInput(f"steps is {steps}, but must count whole steps; give integers, or None for infinitely many")
    require_not_negative("steps", steps)
    largest = jnp.iinfo(jnp.asarray(0).dtype).max
    if is_concrete(steps) and np.size(steps) and int(np.max(steps)) > largest:
        raise InvalidInput(f"steps is {steps}, but must be at most {largest}; give fewer, or enable x64 in jax")
    counts = jnp.asarray(steps, jnp.asarray(0).dtype)
    return Times(counts.reshape(-1), counts.shape, is_infinite=False)


def refuse_divergence(momentum: float, rounding: float, learning_rate: Array, limit: Array) -> np.ndarray:
    # A rate taken from `max_learning_rate` is at the limit, but for rounding.
    if float(learning_rate) <= float(limit) * (1 + rounding):
        return np.ones((), bool)
    raise InvalidInput(
        f"learning_rate is {float(learning_rate):.6g}, but with momentum {momentum:g} steps diverge above "
        f"max_learning_rate, here {float(limit):.6g}; give a smaller rate"
    )
