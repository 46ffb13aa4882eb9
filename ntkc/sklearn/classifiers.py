"""Classification by networks of infinite width: regression on centred one-hot targets."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from ntkc.data import refuse_masked
from ntkc.errors import InvalidInput
from ntkc.predict.calibration import fit_temperature
from ntkc.sklearn.calibration import held_out_scores
from ntkc.sklearn.estimators import InfiniteNetwork
from ntkc.sklearn.training import Predictor


class InfiniteClassifier(ClassifierMixin, InfiniteNetwork):
    """f(x*) = K(x*, x) (I - e^{-G tau}) G^{-1} Y,  Y = one-hot - 1 / classes,  p = softmax(f / temperature).

    G = K + ridge I and tau = learning_rate t / Y.size. The temperature has the least cross-entropy on what the network
    says of each training sample when trained without it, in closed form; for finite t, without its fold of five.

    Args:
        network: stax layers, a networkx graph, a JSON document or a KernelProgram; None for three hidden layers of
            ReLU. Its hyper-parameters are numbers.
        ridge: added to the diagonal of the kernel, times its mean unless `absolute_ridge`.
        t: time of gradient flow; None for infinity.
        learning_rate: multiplies t.
        dtype: "float32" or "float64", of the kernel; results are float64.

    Attributes:
        classes_: the labels, sorted.
        temperature_: see above.
        n_features_in_, feature_names_in_: of X.
        predictor_: the trained network.
    """

    classes_: Any
    temperature_: float
    predictor_: Predictor

    def fit(self, X: Any, y: Any) -> Self:
        """Train on X [n, features] and labels y [n]."""
        plan = self.plan()
        refuse_masked(X=X, y=y)
        inputs, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InvalidInput(f"y holds one class, {self.classes_[0]!r}; give samples of two classes or more")
        x = inputs.astype(plan.dtype)
        targets = np.eye(len(self.classes_))[labels] - 1 / len(self.classes_)
        gram = plan.gram(x)
        factor = plan.factorise(gram)
        self.predictor_ = Predictor(plan, x, plan.weights(factor, targets))
        self.temperature_ = fit_temperature(held_out_scores(plan, gram, factor, targets, labels), labels)
        return self

    def outputs(self, X: Any) -> Any:
        """f(x*), [n*, classes]."""
        x = self.checked_inputs(X)
        return self.predictor_.mean(x)

    def decision_function(self, X: Any) -> Any:
        """f(x*), [n*, classes]; for two classes that of the second less that of the first, [n*]."""
        scores = self.outputs(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: Any) -> Any:
        """softmax(f(x*) / temperature), [n*, classes]."""
        return softmax(self.outputs(X) / self.temperature_, axis=1)

    def predict(self, X: Any) -> Any:
        """The class of the largest output."""
        best = np.argmax(self.outputs(X), axis=1)
        return self.classes_[best]


class NTKClassifier(InfiniteClassifier):
    __doc__ = f"""A network of infinite width, all of its layers trained by gradient descent on the squared error.

    {InfiniteClassifier.__doc__}
    Source: Jacot et al. 2018 (1806.07572), Lee et al. 2019 (1902.06720).
    """

    kernel_name = "ntk"


class NNGPClassifier(InfiniteClassifier):
    __doc__ = f"""The Gaussian process of a Bayesian network of infinite width (its last layer trained, for finite t).

    {InfiniteClassifier.__doc__}
    Source: Lee et al. 2018 (1711.00165).
    """

    kernel_name = "nngp"
