"""Case -> (nngp, ntk, cov1, cov2) by Neural Tangents 0.6.5 in float64, written to kernels.npz.

Run in the peer's environment (see README.md). Every case has inputs of the same shape, so that each quantity is one
array with the case as its first axis: name and spec (C,), x1 (C, 5, 6), x2 (C, 4, 6), nngp and ntk (C, 5, 4),
nngp_self and ntk_self (C, 5, 5) for x2=None, cov1 (C, 5), cov2 (C, 4).
"""

import json
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from build import Spec, build  # noqa: E402
from neural_tangents import stax  # noqa: E402

TARGET = Path(__file__).with_name("kernels.npz")
SQRT2 = 2**0.5
RELU, IDENTITY, FLATTEN = ["Relu"], ["Identity"], ["Flatten"]


def dense(W_std: float = 1.0, b_std: float | None = None, out_dim: int = 16) -> Spec:
    return ["Dense", {"out_dim": out_dim, "W_std": W_std, "b_std": b_std}]


def standard(W_std: float, b_std: float | None, out_dim: int, s: tuple[int, int]) -> Spec:
    keywords = {"out_dim": out_dim, "W_std": W_std, "b_std": b_std, "parameterization": "standard", "s": list(s)}
    return ["Dense", keywords]


def activation(name: str, **constants: object) -> Spec:
    return [name, constants] if constants else [name]


def serial(*layers: Spec) -> Spec:
    return ["serial", *layers]


def shallow(phi: Spec) -> Spec:
    """Dense, phi, Dense."""
    return serial(dense(1.3, 0.1), phi, dense(1.1, 0.2))


def deep(phi: Spec) -> Spec:
    """Dense, phi, Dense, phi, Dense: phi also sees what it made itself. Small weights keep polynomials and exp tame."""
    return serial(dense(0.7, 0.1), phi, dense(0.6, 0.2), phi, dense(0.9, None))


def mlp(depth: int, W_std: float, b_std: float | None) -> Spec:
    """(Dense, Relu) depth times, then Dense."""
    return serial(["times", serial(dense(W_std, b_std), RELU), depth], dense(W_std, b_std))


def sum_of(left: Spec, right: Spec) -> Spec:
    """left(x) + right(x). The peer takes the two as independent: only one may be without a Dense of its own."""
    return serial(["FanOut", {"num": 2}], ["parallel", left, right], ["FanInSum"])


def residual(depth: int, W_std: float, b_std: float | None) -> Spec:
    """Dense, then depth times x + Dense(relu(x)), then Dense(relu(x))."""
    block = sum_of(IDENTITY, serial(RELU, dense(W_std, b_std)))
    return serial(dense(W_std, b_std), ["times", block, depth], RELU, dense(W_std, b_std))


ACTIVATIONS: dict[str, Spec] = {
    "relu": RELU,
    "leaky_relu_0.1": activation("LeakyRelu", alpha=0.1),
    "leaky_relu_0.3": activation("LeakyRelu", alpha=0.3),
    "abrelu_-0.5_2": activation("ABRelu", a=-0.5, b=2.0),
    "abrelu_0.4_-0.7": activation("ABRelu", a=0.4, b=-0.7),
    "abrelu_1_1": activation("ABRelu", a=1.0, b=1.0),
    "abrelu_1_0": activation("ABRelu", a=1.0, b=0.0),
    "abs": activation("Abs"),
    "erf": activation("Erf"),
    "erf_a1.5_b0.7": activation("Erf", a=1.5, b=0.7, c=0.0),
    "erf_a1.5_b0.7_c0.4": activation("Erf", a=1.5, b=0.7, c=0.4),
    "sin": activation("Sin"),
    "sin_a1.2_b0.8_c0.5": activation("Sin", a=1.2, b=0.8, c=0.5),
    "cos": activation("Cos"),
    "cos_a0.9_b1.3_c-0.4": activation("Cos", a=0.9, b=1.3, c=-0.4),
    "exp_b0.3": activation("Exp", a=1.0, b=0.3),
    "exp_a0.5_b-0.4": activation("Exp", a=0.5, b=-0.4),
    "monomial_0": activation("Monomial", degree=0),
    "monomial_1": activation("Monomial", degree=1),
    "monomial_2": activation("Monomial", degree=2),
    "monomial_3": activation("Monomial", degree=3),
    "monomial_4": activation("Monomial", degree=4),
    "monomial_5": activation("Monomial", degree=5),
    "polynomial_linear": activation("Polynomial", coef=[0.3, 1.2]),
    "polynomial_square": activation("Polynomial", coef=[0.5, 0.0, 1.0]),
    "polynomial_cubic": activation("Polynomial", coef=[0.2, -0.7, 0.3, 0.1]),
    "polynomial_quintic": activation("Polynomial", coef=[0.0, 0.5, 0.0, -0.2, 0.05, 0.02]),
    "gaussian": activation("Gaussian"),
    "gaussian_a1.3_b-0.4": activation("Gaussian", a=1.3, b=-0.4),
    "rbf_0.6": activation("Rbf", gamma=0.6),
    "gelu": activation("Gelu"),
    "gabor": activation("Gabor"),
    "sigmoid_like": activation("Sigmoid_like"),
}

PARAMETERISATIONS: dict[str, Spec] = {
    "linear_no_bias": dense(1.4, None),
    "linear_zero_bias": dense(1.4, 0.0),
    "linear_bias": dense(1.4, 0.3),
    "linear_defaults": ["Dense", {"out_dim": 16}],
    "linear_depth_3": ["times", dense(0.9, 0.2), 3],
    "standard_linear_no_bias": standard(1.4, None, 16, (1, 1)),
    "standard_linear_zero_bias": standard(1.4, 0.0, 16, (1, 1)),
    "standard_linear_bias": standard(1.4, 0.3, 16, (1, 1)),
    "standard_relu_no_bias": serial(standard(SQRT2, None, 16, (1, 1)), RELU, standard(SQRT2, None, 3, (1, 1))),
    "standard_relu_zero_bias": serial(standard(SQRT2, 0.0, 16, (1, 1)), RELU, standard(SQRT2, 0.0, 3, (1, 1))),
    "standard_relu_bias": serial(standard(SQRT2, 0.1, 16, (1, 1)), RELU, standard(SQRT2, 0.1, 3, (1, 1))),
    "standard_relu_s_1_2": serial(standard(SQRT2, 0.1, 16, (1, 2)), RELU, standard(SQRT2, 0.1, 3, (2, 1))),
    "standard_relu_s_1_3_5": serial(
        standard(1.2, None, 8, (1, 3)), RELU, standard(1.1, 0.2, 12, (3, 5)), RELU, standard(1.3, 0.1, 3, (5, 1))
    ),
    "standard_then_ntk": serial(standard(1.2, 0.1, 24, (1, 1)), RELU, dense(1.1, 0.2)),
}

DEPTHS: dict[str, Spec] = {
    f"relu_{bias_name}_depth_{depth}": mlp(depth, SQRT2, b_std)
    for bias_name, b_std in (("bias", 0.1), ("no_bias", None))
    for depth in (1, 3, 10, 50)
}

RESIDUALS: dict[str, Spec] = {
    f"residual_{bias_name}_depth_{depth}": residual(depth, 1.2, b_std)
    for bias_name, b_std in (("bias", 0.1), ("no_bias", None))
    for depth in (1, 2, 3, 4, 5)
}

STRUCTURES: dict[str, Spec] = {
    "sum_of_relu_and_erf": serial(
        dense(1.2, 0.1), sum_of(serial(RELU, dense(1.1, 0.1)), serial(["Erf"], dense(0.8, 0.2)))
    ),
    "sum_of_sin_and_deep_relu": serial(
        dense(1.2, 0.1), sum_of(serial(["Sin"], dense(1.1)), serial(RELU, dense(1.4), RELU, dense(0.8))), RELU, dense()
    ),
    "sum_from_the_input": serial(
        sum_of(serial(dense(1.2, 0.1), RELU, dense(1.1)), serial(dense(0.7, 0.3), ["Abs"], dense(1.3))), RELU, dense()
    ),
    "sum_of_three": serial(
        dense(1.2, 0.1),
        ["FanOut", {"num": 3}],
        ["parallel", IDENTITY, serial(RELU, dense(0.9, 0.1)), serial(["Erf"], dense(1.1, 0.2))],
        ["FanInSum"],
        RELU,
        dense(1.3, 0.1),
    ),
    "sum_within_a_sum": serial(
        dense(1.1, 0.1),
        sum_of(IDENTITY, serial(RELU, dense(0.9, 0.1), sum_of(IDENTITY, serial(["Erf"], dense(1.2, 0.1))))),
        ["Abs"],
        dense(1.1, 0.2),
    ),
    "residual_standard": serial(
        standard(1.2, 0.1, 16, (1, 1)), sum_of(IDENTITY, serial(RELU, standard(1.1, 0.2, 16, (1, 1))))
    ),
    "repeat_dense_relu": serial(dense(1.3, 0.1), ["repeat", serial(RELU, dense(1.3, 0.1)), 7]),
    "repeat_residual": serial(
        dense(1.3, 0.1), ["repeat", sum_of(IDENTITY, serial(RELU, dense(0.5, 0.1))), 4], RELU, dense(1.1, 0.1)
    ),
    "repeat_once": serial(dense(1.3, 0.1), ["repeat", serial(["Erf"], dense(1.2, 0.1)), 1]),
    "starts_with_identity": serial(IDENTITY, dense(1.3, 0.1), RELU, dense(1.1, 0.1)),
    "identity_in_the_middle": serial(dense(1.3, 0.1), IDENTITY, RELU, IDENTITY, dense(1.1, 0.1), IDENTITY),
    "identity_alone": IDENTITY,
    "starts_with_flatten": serial(FLATTEN, dense(1.3, 0.1), RELU, dense(1.1, 0.1)),
    "flatten_in_the_middle": serial(dense(1.3, 0.1), RELU, FLATTEN, dense(1.1, 0.1)),
    "flatten_alone": FLATTEN,
    "nested_serial": serial(serial(serial(dense(1.3, 0.1)), RELU), serial(dense(1.1, 0.1))),
    "serial_of_one": serial(dense(1.3, 0.1)),
    "ends_in_relu": serial(dense(1.3, 0.1), RELU),
    "ends_in_erf": serial(dense(1.3, 0.1), RELU, dense(1.1), ["Erf"]),
    "ends_in_sin": serial(dense(1.3, None), activation("Sin", a=0.7, b=1.1, c=0.3)),
    "mixed_activations": serial(
        dense(1.3, 0.1),
        ["Erf"],
        dense(1.2, None),
        activation("LeakyRelu", alpha=0.2),
        dense(0.9, 0.2),
        ["Sin"],
        dense(1.4),
    ),
}

ZERO_ROW: dict[str, Spec] = {
    "zero_row_relu_bias": mlp(3, SQRT2, 0.1),
    "zero_row_relu_no_bias": mlp(3, SQRT2, None),
    "zero_row_erf_no_bias": serial(dense(1.3, None), ["Erf"], dense(1.1, None)),
    "zero_row_sin_no_bias": serial(dense(1.3, None), ["Sin"], dense(1.1, None)),
}

CASES: dict[str, Spec] = {
    **{f"{name}_shallow": shallow(phi) for name, phi in ACTIVATIONS.items()},
    **{f"{name}_deep": deep(phi) for name, phi in ACTIVATIONS.items()},
    **PARAMETERISATIONS,
    **DEPTHS,
    **RESIDUALS,
    **STRUCTURES,
    **ZERO_ROW,
}


def plain_inputs() -> tuple[np.ndarray, np.ndarray]:
    """x1 (5, 6) and x2 (4, 6): x1[3] = x1[0]; x2[0] = x1[0], x2[1] = -x1[1], x2[2] = 3 x1[2]; the rest is random."""
    rng = np.random.default_rng(20240607)
    x1, x2 = rng.standard_normal((5, 6)), rng.standard_normal((4, 6))
    x1[3] = x1[0]
    x2[:3] = x1[0], -x1[1], 3 * x1[2]
    return x1, x2


def inputs(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The plain inputs, and for the zero_row cases x1[4] = 0 and x2[3] = 0."""
    x1, x2 = plain_inputs()
    if name.startswith("zero_row"):
        x1[4] = x2[3] = 0
    return x1, x2


def evaluate(name: str) -> dict[str, np.ndarray]:
    x1, x2 = inputs(name)
    _, _, kernel_fn = build(stax, CASES[name])
    pair, alone = kernel_fn(x1, x2), kernel_fn(x1, None)
    values = {
        "x1": x1,
        "x2": x2,
        "nngp": pair.nngp,
        # A network without parameters gets a scalar 0 from the peer.
        "ntk": np.broadcast_to(pair.ntk, pair.nngp.shape),
        "nngp_self": alone.nngp,
        "ntk_self": np.broadcast_to(alone.ntk, alone.nngp.shape),
        "cov1": pair.cov1,
        "cov2": pair.cov2,
    }
    for quantity, value in values.items():
        if value.dtype != np.float64 or not np.isfinite(value).all():
            raise ValueError(f"{name}: {quantity} is not finite float64; keep the case out of the reference")
    return {quantity: np.asarray(value) for quantity, value in values.items()}


def main() -> None:
    rows = [evaluate(name) for name in CASES]
    stacked = {quantity: np.stack([row[quantity] for row in rows]) for quantity in rows[0]}
    specs = np.array([json.dumps(spec) for spec in CASES.values()])
    np.savez_compressed(TARGET, name=np.array(list(CASES)), spec=specs, **stacked)
    print(f"{len(CASES)} cases, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
