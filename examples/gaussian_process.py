"""A network of infinite width as a Gaussian process: its hyper-parameters fitted, its doubts checked and shown."""

import jax
import numpy as np
import sympy

import ntkc
from ntkc import predict, stax

jax.config.update("jax_enable_x64", True)

w, b = sympy.symbols("w b")
layer = stax.Dense(512, W_std=w, b_std=b)
program = ntkc.compile(stax.serial(layer, stax.Erf(), layer, stax.Erf(), stax.Dense(1, W_std=w, b_std=b)))

rng = np.random.default_rng(0)
x, x_test = rng.uniform(-3, 3, (60, 1)), np.linspace(-3, 3, 7)[:, None]
noise = 0.1
y = np.sin(2 * x[:, 0]) + noise * rng.normal(size=60)

fitted = predict.fit_hyperparameters(
    program, x, y, {"w": (0.5, 20.0), "b": (0.05, 20.0)}, diag_reg=(1e-4, 1.0), diag_reg_absolute_scale=True
)
print("fitted", {name: round(value, 3) for name, value in fitted.parameters.items()}, "converged", fitted.is_converged)
print(f"noise found {fitted.diag_reg**0.5:.3f}, true {noise}; log evidence {fitted.log_marginal_likelihood:.2f}")
print("where the searches ended:", [round(start.log_marginal_likelihood, 2) for start in fitted.starts])


def kernel(x1, x2=None):
    return program(x1, x2, "nngp", **fitted.parameters)


gram = kernel(x)
held_out = predict.leave_one_out(gram, y, fitted.diag_reg, diag_reg_absolute_scale=True)
error = np.sqrt(np.mean((held_out.mean - y) ** 2))
inside = np.mean(np.abs(held_out.mean - y) < 1.96 * np.sqrt(held_out.variance))
print(f"leave-one-out: error {error:.3f}, mean log density {held_out.log_density.mean():.3f}, {inside:.0%} in 95 %")

posterior = predict.gp_inference(gram, y, fitted.diag_reg, diag_reg_absolute_scale=True)
gaussian = posterior("nngp", kernel(x_test, x), kernel(x_test))
lower, upper = predict.credible_interval(gaussian)
samples = predict.posterior_samples(jax.random.key(0), gaussian, 3)
for row in zip(x_test[:, 0], np.sin(2 * x_test[:, 0]), gaussian.mean, lower, upper, samples.T, strict=True):
    print("x {:5.1f}  true {:6.3f}  mean {:6.3f}  in [{:6.3f}, {:6.3f}]  samples {}".format(*row[:5], row[5].round(2)))

spectrum = predict.eigenspectrum(gram, y)
print(f"{spectrum.participation_ratio:.1f} directions have weight; ten hold {spectrum.alignment[9]:.1%} of the targets")
