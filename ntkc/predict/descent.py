"""`gradient_descent`: outputs during gradient flow on any loss, with or without momentum, by an ODE solver."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from ntkc.errors import InvalidInput, ShapeMismatch
from ntkc.predict.factor import is_concrete
from ntkc.predict.ode import Accuracy, Field, Forces, Loss, ODEState, import_diffrax, integrate
from ntkc.predict.outputs import (
    Request,
    TrainingSet,
    read_momentum,
    read_outputs,
    read_rate,
    read_request,
    read_training_set,
    restore_wanted,
)
from ntkc.predict.targets import Shape, Targets, flatten_pairs, require_count, require_finite, require_not_negative


class StateFn(Protocol):
    def __call__(
        self, t: Any = None, fx_train_or_state_0: Any = 0.0, fx_test_0: Any = None, k_test_train: Any = None
    ) -> Any: ...


def gradient_descent(
    loss: Loss,
    k_train_train: Any,
    y_train: Any,
    learning_rate: float = 1.0,
    momentum: float | None = None,
    trace_axes: int | Sequence[int] = (-1,),
    *,
    tolerance: float | None = None,
    max_steps: int = 100_000,
    solver: Any = None,
) -> StateFn:
    """Gradient flow of the outputs for a time t on `loss(f, y)`, with T the NTK of the training set, * a test index:

        no momentum    f' = -T grad L(f),  f*' = -T* grad L(f)                      at learning_rate t
        momentum m     f' = q,  q' = -T grad L(f) + (m - 1) / sqrt(learning_rate) q,
                       f*' = q*, q*' alike with T*                                  at sqrt(learning_rate) t

    so that t counts steps of gradient descent in both; q is 0 at first (Lee et al. 2019, arXiv:1902.06720, eqs. 4-5 and
    appendix B; heavy-ball momentum). The loss is a differentiable function of f and y in the shape of y, to one number.

    Shapes: y (n, ...); kernels zip(y.shape, y.shape) less `trace_axes`, along which they are T x I. Targets (n,) are
    one output, and f and f(0) have their shape then.

    Returns f(t=None, fx_train_or_state_0=0., fx_test_0=None, k_test_train=None). t: a number, or an array in any order
    whose axes lead those of the results; None until size |grad L| and |q| are below 10 tolerance (1 + |f|), where a
    loss without minimum (cross-entropy) may take long. Outputs before training are arrays, or numbers for all of them;
    None leaves that set out, and f(0) = 0 then. Gives f(t), f*(t), or the pair. An `ODEState` in place of f(0) holds
    all of the start and gives an `ODEState`, which resumes. Works under jit and grad.

    Solved by diffrax, in the extra `ode`: to relative and absolute `tolerance`, 1e-8 in float64 and 8e-6 in float32
    unless given, in at most `max_steps`, by `solver`, Tsit5 unless given. An explicit solver takes about
    t learning_rate lambda_max / (3 n) steps; where that is many, give say `diffrax.Kvaerno5()`.

    Raises `InvalidInput`, `ShapeMismatch`, `MissingExtra`, and `NotConverged` after `max_steps` (under jit a run-time
    error of diffrax).
    """
    import_diffrax()
    rate = read_rate(learning_rate)
    train = read_training_set(k_train_train, y_train, trace_axes=trace_axes)
    if momentum is not None:
        momentum = read_momentum(momentum)
        require_moving(rate)
    if tolerance is None:
        tolerance = max(1e-8, 64 * float(jnp.finfo(train.dtype).eps))
    if not 0 < tolerance < 1:
        raise InvalidInput(f"tolerance is {tolerance}, but must be between 0 and 1; say 1e-8")
    require_count("max_steps", max_steps)
    y = jnp.asarray(y_train)
    require_scalar(loss, y, train.dtype)
    field = Field(loss, train.targets.shape, train.targets.trace_axes, train.targets.is_vector)
    return LossFlow(field, y, train, rate, momentum, Accuracy(tolerance, max_steps, solver)).predict_fn


@dataclass(frozen=True, eq=False)
class LossFlow:
    """The training set, the loss and the rates; `predict_fn` is what the user gets."""

    field: Field
    y: Array
    train: TrainingSet
    learning_rate: Any
    momentum: float | None
    accuracy: Accuracy

    def predict_fn(
        self, t: Any = None, fx_train_or_state_0: Any = 0.0, fx_test_0: Any = None, k_test_train: Any = None
    ) -> Any:
        """Outputs, or the state, at time t; see `gradient_descent`."""
        is_state = isinstance(fx_train_or_state_0, ODEState)
        given = read_state(fx_train_or_state_0, fx_test_0, has_momentum=self.momentum is not None)
        request = read_request(self.train, given.fx_train, given.fx_test, k_test_train)
        times = read_instants(t, self.train.dtype)
        reached = self.solve(self.start(given, request), request.cross, times)
        shape = () if times is None else times.shape
        if is_state:
            return self.restore_state(reached, shape, request.kept)
        train = reached.fx_train if request.is_train_wanted else None
        return restore_wanted(self.train.targets, train, reached.fx_test, shape, request.kept)

    def start(self, given: ODEState, request: Request) -> ODEState:
        """The start as matrices (m, c); velocities are 0 unless given, and absent without momentum."""
        if self.momentum is None:
            return ODEState(request.train, request.test)
        qx_train = read_outputs("qx_train", given.qx_train, self.train, self.train.targets.kept)
        if request.test is None:
            return ODEState(request.train, None, qx_train)
        qx_test = read_outputs("qx_test", given.qx_test, self.train, request.kept)
        return ODEState(request.train, request.test, qx_train, qx_test)

    def restore_state(self, state: ODEState, times: Shape, kept: Shape) -> ODEState:
        """(n_times, m, c) in the shapes of the outputs, each part that there is."""
        restore = partial(restore_part, self.train.targets, times)
        trained = self.train.targets.kept
        return ODEState(
            restore(trained, state.fx_train),
            restore(kept, state.fx_test),
            restore(trained, state.qx_train),
            restore(kept, state.qx_test),
        )

    def solve(self, start: ODEState, cross: Array | None, times: Array | None) -> ODEState:
        """States at the times, in their order and flattened: (n_times, m, c); (1, m, c) for times None."""
        unit = jnp.asarray(self.learning_rate, self.train.dtype)
        drag = None
        if self.momentum is not None:
            unit = jnp.sqrt(unit)
            drag = (self.momentum - 1) / unit
        slow = jnp.asarray(10 * self.accuracy.tolerance)
        forces = Forces(flatten_pairs(self.train.block), cross, self.y, drag, slow)
        require_differentiable(self.field.slope(start, forces))
        if times is None:
            return integrate(self.accuracy, self.field, start, forces, None)
        instants = times.reshape(-1) * unit
        order = jnp.argsort(instants)
        states = integrate(self.accuracy, self.field, start, forces, instants[order])
        return jax.tree.map(lambda leaf: leaf[jnp.argsort(order)], states)


def restore_part(targets: Targets, times: Shape, kept: Shape, matrices: Array | None) -> Array | None:
    return None if matrices is None else targets.restore(matrices, times, kept)


def read_state(fx_train_or_state_0: Any, fx_test_0: Any, has_momentum: bool) -> ODEState:
    """The start as an `ODEState`, its parts checked against each other."""
    if not isinstance(fx_train_or_state_0, ODEState):
        return ODEState(fx_train_or_state_0, fx_test_0)
    state = fx_train_or_state_0
    if fx_test_0 is not None:
        raise InvalidInput("fx_test_0 is given beside an ODEState, which holds it; leave fx_test_0 None")
    if not has_momentum and (state.qx_train is not None or state.qx_test is not None):
        raise InvalidInput("the ODEState has velocities qx, but momentum is None; give momentum, or leave them None")
    if state.fx_test is None and state.qx_test is not None:
        raise InvalidInput("the ODEState has qx_test without fx_test; give fx_test too")
    return state


def read_instants(t: Any, dtype: Any) -> Array | None:
    if t is None:
        return None
    require_not_negative("t", t)
    require_finite("t", t)
    times = jnp.asarray(t, dtype)
    if times.size == 0:
        raise InvalidInput(f"t has shape {times.shape}, which is empty; give a time, or None")
    return times


def require_moving(learning_rate: Any) -> None:
    if is_concrete(learning_rate) and float(learning_rate) == 0:
        raise InvalidInput("learning_rate is 0, which momentum divides by; give a positive rate")


def require_scalar(loss: Loss, y: Array, dtype: Any) -> None:
    value = jax.eval_shape(loss, jax.ShapeDtypeStruct(y.shape, dtype), y)
    if value.shape != ():
        raise ShapeMismatch(f"loss returns shape {value.shape}, but must return one number; take the mean")


def require_differentiable(slope: Array) -> None:
    if not is_concrete(slope) or bool(jnp.isfinite(slope).all()):
        return
    raise InvalidInput("the gradient of loss is NaN or infinite at the start; give a loss that is smooth at fx_train_0")
