"""Estimators and kernels against scikit-learn's own checks, its Gaussian process, refits, and finite differences."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from ntkc import stax
from ntkc.sklearn import NNGPClassifier, NNGPRegressor, NTKClassifier, NTKRegressor

SHALLOW = stax.serial(stax.Dense(1, 1.5), stax.Relu(), stax.Dense(1))


@parametrize_with_checks([NTKRegressor(SHALLOW), NNGPClassifier(SHALLOW)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([NTKRegressor(), NNGPRegressor(), NTKClassifier(), NNGPClassifier(), NTKClassifier(t=1e3)])
def test_scikit_learn_checks_of_defaults(estimator, check):
    check(estimator)
