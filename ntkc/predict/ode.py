"""`gradient_descent`: outputs during gradient flow on any loss, with or without momentum, by an ODE solver."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from ntkc.errors import InvalidInput, MissingExtra, NotConverged, ShapeMismatch
from ntkc.predict.factor import is_concrete, matmul
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
from ntkc.predict.targets import Shape, Targets, flatten_pairs, require_finite, require_not_negative

Loss = Callable[[Array, Array], Any]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ODEState:
    """(f, f*, q, q*):  outputs on the training and the test set and, with momentum, their velocities; a pytree."""

    fx_train: Any = None
    fx_test: Any = None
    qx_train: Any = None
    qx_test: Any = None


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
    if max_steps < 1:
        raise InvalidInput(f"max_steps is {max_steps}, but must be at least 1; say 100_000")
    y = jnp.asarray(y_train)
    require_scalar(loss, y, train.dtype)
    field = Field(loss, train.targets.shape, train.targets.trace_axes, train.targets.is_vector)
    return LossFlow(field, y, train, rate, momentum, Accuracy(tolerance, max_steps, solver)).predict_fn


@dataclass(frozen=True, eq=False)
class Accuracy:
    """How the ODE is solved."""

    tolerance: float
    max_steps: int
    solver: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Forces:
    """Numbers of the vector field: T, T* as matrices, y, the drag (m - 1) / sqrt(learning_rate), the speed of rest."""

    train: Array
    test: Array | None
    y: Array
    drag: Array | None
    slow: Array


@dataclass(frozen=True)
class Field:
    """The vector field of the flow; equal ones share compiled programs, whatever their numbers."""

    loss: Loss
    shape: Shape
    trace_axes: Shape
    is_vector: bool

    def __call__(self, t: Any, state: ODEState, forces: Forces) -> ODEState:
        """(f', f*')  or with momentum  (f', f*', q', q*')."""
        del t
        slope = self.slope(state, forces)
        push = -matmul(forces.train, slope)
        push_test = None if forces.test is None else -matmul(forces.test, slope)
        if forces.drag is None:
            return ODEState(push, push_test)
        push += forces.drag * state.qx_train
        push_test = None if push_test is None else push_test + forces.drag * state.qx_test
        return ODEState(state.qx_train, state.qx_test, push, push_test)

    def slope(self, state: ODEState, forces: Forces) -> Array:
        """grad L(f) as a matrix (m, c)."""
        layout = Targets(state.fx_train, self.shape, self.trace_axes, self.is_vector)
        outputs = layout.restore(state.fx_train, (), layout.kept)
        return layout.flatten(jax.grad(self.loss)(outputs, forces.y))


@dataclass(frozen=True)
class Rest:
    """Whether  size |grad L|, for mean squares |f - y|, and |q|  are next to the noise of the solver."""

    field: Field

    def __call__(self, t: Any, state: ODEState, forces: Forces, **unused: Any) -> Array:
        del t, unused
        size = math.prod(self.field.shape)
        speeds = [size * self.field.slope(state, forces), state.qx_train, state.qx_test]
        largest = [jnp.max(jnp.abs(speed)) for speed in speeds if speed is not None]
        return jnp.max(jnp.stack(largest)) < forces.slow * (1 + jnp.max(jnp.abs(state.fx_train)))


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
        def restore(matrices: Array | None, sizes: Shape) -> Array | None:
            return None if matrices is None else self.train.targets.restore(matrices, times, sizes)

        trained = self.train.targets.kept
        return ODEState(
            restore(state.fx_train, trained),
            restore(state.fx_test, kept),
            restore(state.qx_train, trained),
            restore(state.qx_test, kept),
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
            return self.integrate(start, forces, None)
        instants = times.reshape(-1) * unit
        order = jnp.argsort(instants)
        states = self.integrate(start, forces, instants[order])
        return jax.tree.map(lambda leaf: leaf[jnp.argsort(order)], states)

    def integrate(self, start: ODEState, forces: Forces, times: Array | None) -> ODEState:
        """States at increasing times, or at rest for times None."""
        diffrax = import_diffrax()
        tolerance = self.accuracy.tolerance
        is_known = is_concrete(start, forces, times)
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(self.field),
            self.accuracy.solver or diffrax.Tsit5(),
            t0=0.0,
            t1=jnp.inf if times is None else times[-1],
            dt0=None,
            y0=start,
            args=forces,
            saveat=diffrax.SaveAt(t1=True) if times is None else diffrax.SaveAt(ts=times),
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
            event=diffrax.Event(Rest(self.field)) if times is None else None,
            max_steps=self.accuracy.max_steps,
            throw=not is_known,
        )
        if is_known and not bool(diffrax.is_okay(solution.result)):
            raise NotConverged(
                f"the flow was not done after max_steps={self.accuracy.max_steps} steps; give a smaller t, a larger "
                "max_steps or tolerance, or solver=diffrax.Kvaerno5() if time scales lie far apart"
            )
        return solution.ys


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


def import_diffrax() -> Any:
    try:
        import diffrax
    except ImportError as error:
        raise MissingExtra('gradient_descent needs diffrax: pip install "ntkc[ode]"') from error
    return diffrax
