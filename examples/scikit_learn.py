"""Networks of infinite width in scikit-learn: a searched pipeline, probabilities, and a kernel for other models."""

import numpy as np
from sklearn.datasets import load_diabetes, load_wine
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import WhiteKernel
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from ntkc import stax
from ntkc.sklearn import NNGPRegressor, NTKClassifier, NTKKernel

x, y = load_wine(return_X_y=True)
x, x_test, y, y_test = train_test_split(x, y, test_size=0.5, stratify=y, random_state=0)

shallow = stax.serial(stax.Dense(512, W_std=1.5, b_std=0.1), stax.Relu(), stax.Dense(1))
pipeline = make_pipeline(StandardScaler(), NTKClassifier(shallow))
search = GridSearchCV(pipeline, {"ntkclassifier__ridge": [1e-3, 1e-2, 1e-1]}, cv=3).fit(x, y)
p = search.predict_proba(x_test)
print("wine: chosen", search.best_params_, f"test accuracy {search.score(x_test, y_test):.3f}")
print(f"log loss of its probabilities {log_loss(y_test, p):.3f}, least sure of sample {p.max(axis=1).argmin()}")

machine = make_pipeline(StandardScaler(), SVC(kernel=NTKKernel(depth=1))).fit(x, y)
print(f"support vector machine with the same kernel: test accuracy {machine.score(x_test, y_test):.3f}")

x, y = load_diabetes(return_X_y=True)
x, x_test, y, y_test = train_test_split(StandardScaler().fit_transform(x), y, test_size=0.5, random_state=0)
fitted = GaussianProcessRegressor(NTKKernel(depth=1, get="nngp") + WhiteKernel(), normalize_y=True).fit(x, y)
print("diabetes: kernel of the largest marginal likelihood", fitted.kernel_)
print(f"test R2 {fitted.score(x_test, y_test):.3f}")

model = NNGPRegressor(shallow, ridge=1.0).fit(x, y)
mean, std = model.predict(x_test, return_std=True)
noise = np.sqrt(np.mean((model.predict(x) - y) ** 2))
share = np.mean(np.abs(y_test - mean) < 1.96 * np.hypot(std, noise))
print(f"NNGPRegressor: test R2 {model.score(x_test, y_test):.3f}, {100 * share:.0f} % within their 95 % intervals")
