"""Predictions of infinitely wide networks and of Gaussian processes, from their kernels."""

from ntkc.predict.descent import gradient_descent
from ntkc.predict.ensemble import gradient_descent_mse_ensemble
from ntkc.predict.flow import gradient_descent_mse
from ntkc.predict.inference import gp_inference
from ntkc.predict.matrix_free import iterative_inference
from ntkc.predict.ode import ODEState
from ntkc.predict.posterior import Gaussian
from ntkc.predict.rates import max_learning_rate
from ntkc.predict.steps import gradient_descent_mse_discrete

__all__ = [
    "Gaussian",
    "ODEState",
    "gp_inference",
    "gradient_descent",
    "gradient_descent_mse",
    "gradient_descent_mse_discrete",
    "gradient_descent_mse_ensemble",
    "iterative_inference",
    "max_learning_rate",
]
