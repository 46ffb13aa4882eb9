"""Handwritten digits with an infinitely wide network: what training for a time t, or for ever, predicts."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from ntkc import compile, predict, stax

x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x / 16, y, test_size=450, stratify=y, random_state=0)
targets = np.eye(10)[y_train] - 0.1

layer = stax.serial(stax.Dense(512, W_std=2**0.5, b_std=0.1), stax.Relu())
program = compile(stax.serial(layer, layer, layer, stax.Dense(10)))


def accuracy(mean) -> str:
    """Share of test images whose largest output is their digit."""
    return f"{100 * np.mean(np.argmax(mean, axis=1) == y_test):.2f} %"


ensemble = predict.gradient_descent_mse_ensemble(program, x_train, targets, diag_reg=1e-4)
for t in (1e3, 1e5, 1e7):
    print(f"gradient descent for t = {t:.0e}: test accuracy", accuracy(ensemble(t=t, x_test=x_test, get="ntk")))

trained = ensemble(x_test=x_test, get=("nngp", "ntk"), compute_cov=True)
print("trained to the end (NTK): test accuracy", accuracy(trained.ntk.mean))
print("Bayesian posterior (NNGP): test accuracy", accuracy(trained.nngp.mean))

std = np.sqrt(np.diagonal(trained.nngp.covariance))
wrong = np.argmax(trained.nngp.mean, axis=1) != y_test
print(f"posterior standard deviation: {std[~wrong].mean():.4f} where right, {std[wrong].mean():.4f} where wrong")
