"""Gradient flow of the outputs as an ordinary differential equation, solved by diffrax:

    no momentum    f' = -T grad L(f),    f*' = -T* grad L(f)
    momentum       f' = q,  f*' = q*,    q'  = -T grad L(f) + drag q,    q*' = -T* grad L(f) + drag q*

f are the outputs on the training set and T its kernel, f* those on a test set and T* the kernel between the two.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ntkc.errors import MissingExtra, NotConverged
from ntkc.predict.factor import is_concrete, matmul
from ntkc.predict.targets import Shape, Targets

Loss = Callable[[Array, Array], Any]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ODEState:
    """(f, f*, q, q*):  outputs on the training and the test set and, with momentum, their velocities; a pytree."""

    fx_train: Any = None
    fx_test: Any = None
    qx_train: Any = None
    qx_test: Any = None

    def replace(self, **changes: Any) -> ODEState:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def asdict(self) -> dict[str, Any]:
        """Fields by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def astuple(self) -> tuple[Any, ...]:
        """Fields in order."""
        return tuple(self.asdict().values())


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


def integrate(accuracy: Accuracy, field: Field, start: ODEState, forces: Forces, times: Array | None) -> ODEState:
    """States at increasing times, or at rest for times None."""
    diffrax = import_diffrax()
    tolerance = accuracy.tolerance
    is_known = is_concrete(start, forces, times)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        accuracy.solver or diffrax.Tsit5(),
        t0=0.0,
        t1=jnp.inf if times is None else times[-1],
        dt0=None,
        y0=start,
        args=forces,
        saveat=diffrax.SaveAt(t1=True) if times is None else diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
        event=diffrax.Event(Rest(field)) if times is None else None,
        max_steps=accuracy.max_steps,
        throw=not is_known,
    )
    if is_known and not bool(diffrax.is_okay(solution.result)):
        raise NotConverged(
            f"the flow was not done after max_steps={accuracy.max_steps} steps; give a smaller t, a larger "
            "max_steps or tolerance, or solver=diffrax.Kvaerno5() if time scales lie far apart"
        )
    return solution.ys


def import_diffrax() -> Any:
    try:
        import diffrax
    except ImportError as error:
        raise MissingExtra('gradient_descent needs diffrax: pip install "ntkc[ode]"') from error
    return diffrax
