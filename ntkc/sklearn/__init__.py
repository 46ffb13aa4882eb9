"""Networks of infinite width as scikit-learn estimators, and their kernels as scikit-learn kernels."""

from ntkc.errors import MissingExtra

try:
    from ntkc.sklearn.classifiers import NNGPClassifier, NTKClassifier
    from ntkc.sklearn.kernels import NTKKernel
    from ntkc.sklearn.regressors import NNGPRegressor, NTKRegressor
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("sklearn", "scipy"):
        raise
    raise MissingExtra('ntkc.sklearn needs scikit-learn 1.6 or newer: pip install "ntkc[sklearn]"') from error

__all__ = ["NNGPClassifier", "NNGPRegressor", "NTKClassifier", "NTKKernel", "NTKRegressor"]
