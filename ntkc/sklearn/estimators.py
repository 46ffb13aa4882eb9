"""What regressors and classifiers share: the parameters of the network and of its training."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from ntkc.data import refuse_masked
from ntkc.sklearn.recipes import portable
from ntkc.sklearn.training import TrainingPlan, read_plan


class InfiniteNetwork(BaseEstimator):
    """An estimator whose parameters say what network is trained, and how."""

    kernel_name: ClassVar[str]

    def __init__(
        self,
        network: Any = None,
        *,
        ridge: float = 1e-4,
        absolute_ridge: bool = False,
        t: float | None = None,
        learning_rate: float = 1.0,
        dtype: str = "float64",
    ) -> None:
        self.network = network
        self.ridge = ridge
        self.absolute_ridge = absolute_ridge
        self.t = t
        self.learning_rate = learning_rate
        self.dtype = dtype

    def plan(self) -> TrainingPlan:
        """The checked parameters."""
        return read_plan(
            self.network, self.kernel_name, self.ridge, self.absolute_ridge, self.t, self.learning_rate, self.dtype
        )

    def checked_inputs(self, X: Any) -> Any:
        """Inputs of a fitted estimator, as float64 [n, features]."""
        check_is_fitted(self)
        refuse_masked(X=X)
        return validate_data(self, X, reset=False, dtype=np.float64)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {**state, "network": portable(state["network"])}
