"""Regression by networks of infinite width."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import validate_data

from ntkc.data import refuse_masked
from ntkc.errors import InvalidInput
from ntkc.sklearn.estimators import InfiniteNetwork
from ntkc.sklearn.training import NetworkPosterior, train


class InfiniteRegressor(MultiOutputMixin, RegressorMixin, InfiniteNetwork):
    """f(x*) = K(x*, x) (I - e^{-G tau}) G^{-1} y,  G = K + ridge I,  tau = learning_rate t / y.size.

    Args:
        network: stax layers, a networkx graph, a JSON document or a KernelProgram; None for three hidden layers of
            ReLU. Its hyper-parameters are numbers.
        ridge: added to the diagonal of the kernel, times its mean unless `absolute_ridge`.
        t: time of gradient flow; None for infinity.
        learning_rate: multiplies t.
        normalize_y: train on (y - mean) / standard deviation, of each output.
        dtype: "float32" or "float64", of the kernel; results are float64.

    Attributes:
        n_features_in_, feature_names_in_: of X.
        posterior_: the trained network.
    """

    posterior_: NetworkPosterior

    def __init__(
        self,
        network: Any = None,
        *,
        ridge: float = 1e-4,
        absolute_ridge: bool = False,
        t: float | None = None,
        learning_rate: float = 1.0,
        normalize_y: bool = True,
        dtype: str = "float64",
    ) -> None:
        super().__init__(
            network, ridge=ridge, absolute_ridge=absolute_ridge, t=t, learning_rate=learning_rate, dtype=dtype
        )
        self.normalize_y = normalize_y

    def fit(self, X: Any, y: Any) -> Self:
        """Train on X [n, features] and y [n] or [n, outputs]."""
        plan = self.plan()
        refuse_masked(X=X, y=y)
        inputs, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64)
        y = np.asarray(y, np.float64)
        self._is_vector = y.ndim == 1
        y = y[:, None] if self._is_vector else y
        self._offset, self._scale = moments(y) if self.normalize_y else (np.zeros(y.shape[1]), np.ones(y.shape[1]))
        self.posterior_ = train(plan, inputs, (y - self._offset) / self._scale)
        return self

    def predict(self, X: Any, return_std: bool = False, return_cov: bool = False) -> Any:
        """Mean [n*] or [n*, outputs], like y; with it the standard deviation, of that shape, or the covariance.

        The deviations are those of the function, without noise: over initialisations of the trained network (NTK), or
        of the posterior (NNGP). The covariance is [n*, n*], or [n*, n*, outputs].
        """
        if return_std and return_cov:
            raise InvalidInput("return_std and return_cov are both True; ask for one of them, the other follows")
        x = self.checked_inputs(X)
        mean = self._shaped(self.posterior_.predictor.mean(x) * self._scale + self._offset)
        if return_std:
            return mean, self._shaped(self.posterior_.std(x)[:, None] * self._scale)
        if return_cov:
            return mean, self._shaped(self.posterior_.covariance(x)[..., None] * self._scale**2)
        return mean

    def _shaped(self, values: Any) -> Any:
        return values[..., 0] if self._is_vector else values


def moments(y: Any) -> tuple[Any, Any]:
    """Mean and standard deviation of each output, 1 for constants."""
    with np.errstate(over="ignore", invalid="ignore"):
        scale = y.std(axis=0)
    if not np.isfinite(scale).all():
        raise InvalidInput("y is so large that its square overflows float64; scale it, or set normalize_y=False")
    return y.mean(axis=0), np.where(scale > 0, scale, 1.0)


class NTKRegressor(InfiniteRegressor):
    __doc__ = f"""A network of infinite width, all of its layers trained by gradient descent on the squared error.

    {InfiniteRegressor.__doc__}
    Source: Jacot et al. 2018 (1806.07572), Lee et al. 2019 (1902.06720).
    """

    kernel_name = "ntk"


class NNGPRegressor(InfiniteRegressor):
    __doc__ = f"""The Gaussian process of a Bayesian network of infinite width (its last layer trained, for finite t).

    {InfiniteRegressor.__doc__}
    Source: Lee et al. 2018 (1711.00165), Matthews et al. 2018 (1804.11271).
    """

    kernel_name = "nngp"
