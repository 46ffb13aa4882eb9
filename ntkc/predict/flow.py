"""`gradient_descent_mse`: outputs during gradient flow on mean squares, from kernels that the caller has computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jax import Array

from ntkc.data import broadcasting
from ntkc.predict.ensemble import read_times
from ntkc.predict.outputs import OutputsFn, TrainingSet, read_rate, read_request, read_training_set
from ntkc.predict.posterior import bound_time


def gradient_descent_mse(
    k_train_train: Any,
    y_train: Any,
    learning_rate: float = 1.0,
    diag_reg: float = 0.0,
    diag_reg_absolute_scale: bool = False,
    trace_axes: int | Sequence[int] = (-1,),
) -> OutputsFn:
    """Gradient flow for a time t on the loss |f - y|^2 / (2 n), n = y.size, with tau = learning_rate t / n:

        f(t)  = f(0)  + K  (I - e^{-G tau}) G^{-1} (y - f(0)),    G = K + reg I
        f*(t) = f*(0) + K* (I - e^{-G tau}) G^{-1} (y - f(0))

    K is the kernel of the training set, * a test index; reg = diag_reg, times tr / m unless `diag_reg_absolute_scale`
    (Jacot et al. 2018, arXiv:1806.07572; Lee et al. 2019, arXiv:1902.06720, eqs. 8-11). reg pulls the weights to where
    they started: f' = -(K (f - y) + reg (f - f(0))) / n on the training set.

    Shapes: y (n, ...); K zip(y.shape, y.shape) less `trace_axes`, along which it is K x I. Targets (n,) are one output,
    and so are f(0) and f(t) then; integers count as floats.

    Returns f(t=None, fx_train_0=0., fx_test_0=None, k_test_train=None). t: None for infinity, a number, or an array
    whose axes lead those of the results. The outputs before training are arrays, or numbers for all of them; None
    leaves that set out, and f(0) = 0 then. Gives f(t), f*(t), or the pair; works under jit and grad. All times share
    one eigendecomposition, t None takes a Cholesky factor; each is made when first needed.

    With diag_reg > 0, f(t) equals f*(t) for K* = K; the peer has y - e^{-G tau} (y - f(0)) there, and y at t None.

    Raises `InvalidInput`, `ShapeMismatch`; warns `NotPositiveDefinite` with the jitter it added.
    """
    rate = read_rate(learning_rate)
    train = read_training_set(k_train_train, y_train, diag_reg, diag_reg_absolute_scale, trace_axes)
    return Flow(train, rate).predict_fn


@dataclass(frozen=True, eq=False)
class Flow:
    """The training set and the learning rate; `predict_fn` is what the user gets."""

    train: TrainingSet
    learning_rate: Any

    def predict_fn(
        self, t: Any = None, fx_train_0: Any = 0.0, fx_test_0: Any = None, k_test_train: Any = None
    ) -> Array | tuple[Array, Array]:
        """Outputs at time t; see `gradient_descent_mse`."""
        request = read_request(self.train, fx_train_0, fx_test_0, k_test_train)
        times = read_times(t, self.learning_rate, self.train.targets.size)
        with broadcasting():
            factor = self.train.factorise(times.is_infinite)
            return self.train.outputs(factor, bound_time(times.tau, self.train.dtype), times.shape, request)
