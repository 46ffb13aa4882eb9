"""Predictions of infinitely wide networks and of Gaussian processes, from their kernels."""

from ntkc.predict.calibration import CalibratedClassifier, calibrated_classification
from ntkc.predict.data_sets import Eigenspectrum, LearningCurve, eigenspectrum, learning_curve
from ntkc.predict.descent import gradient_descent
from ntkc.predict.ensemble import gradient_descent_mse_ensemble
from ntkc.predict.fitting import FittedHyperparameters, fit_hyperparameters
from ntkc.predict.flow import gradient_descent_mse
from ntkc.predict.held_out import LeaveOneOut, leave_one_out
from ntkc.predict.inference import gp_inference
from ntkc.predict.laplace import LaplaceClassifier, laplace_classification
from ntkc.predict.likelihood import gram_log_marginal_likelihood, log_marginal_likelihood
from ntkc.predict.matrix_free import iterative_inference
from ntkc.predict.ode import ODEState
from ntkc.predict.posterior import GaussianOutputs as Gaussian
from ntkc.predict.rates import max_learning_rate
from ntkc.predict.sampling import Interval, credible_interval, posterior_samples
from ntkc.predict.steps import gradient_descent_mse_discrete

__all__ = [
    "CalibratedClassifier",
    "Eigenspectrum",
    "FittedHyperparameters",
    "Gaussian",
    "Interval",
    "LaplaceClassifier",
    "LearningCurve",
    "LeaveOneOut",
    "ODEState",
    "calibrated_classification",
    "credible_interval",
    "eigenspectrum",
    "fit_hyperparameters",
    "gp_inference",
    "gradient_descent",
    "gradient_descent_mse",
    "gradient_descent_mse_discrete",
    "gradient_descent_mse_ensemble",
    "gram_log_marginal_likelihood",
    "iterative_inference",
    "laplace_classification",
    "learning_curve",
    "leave_one_out",
    "log_marginal_likelihood",
    "max_learning_rate",
    "posterior_samples",
]
