"""Predictions of infinitely wide networks and of Gaussian processes, from their kernels."""

from ntkc.predict.ensemble import gradient_descent_mse_ensemble
from ntkc.predict.inference import gp_inference
from ntkc.predict.matrix_free import iterative_inference
from ntkc.predict.posterior import Gaussian

__all__ = ["Gaussian", "gp_inference", "gradient_descent_mse_ensemble", "iterative_inference"]
