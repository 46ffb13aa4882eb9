"""How an infinitely wide network trains: by gradient flow, by steps with and without momentum, on cross-entropy."""

import jax
import jax.numpy as jnp
import numpy as np

from ntkc import compile, predict, stax

net = stax.serial(
    stax.Dense(512, W_std=2**0.5, b_std=0.1), stax.Relu(), stax.Dense(512, W_std=2**0.5), stax.Relu(), stax.Dense(1)
)
kernel_fn = compile(net)


def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in the square and, one-hot, whether they lie inside a ring."""
    x = np.random.default_rng(seed).uniform(-1, 1, size=(n, 2))
    inside = abs(np.linalg.norm(x, axis=1) - 0.6) < 0.25
    return x, np.stack([inside, ~inside], 1).astype(float)


def accuracy(outputs: jax.Array, labels: np.ndarray) -> np.ndarray:
    return (outputs.argmax(-1) == labels.argmax(-1)).mean(-1)


def cross_entropy(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    return -jnp.mean((jax.nn.log_softmax(outputs) * labels).sum(-1))


def main() -> None:
    """Test accuracy along training, by three ways to train."""
    (x, y), (x_test, y_test) = draw(150, 0), draw(500, 1)
    ntk, ntk_test = kernel_fn(x, None, "ntk"), kernel_fn(x_test, x, "ntk")
    rate = 0.5 * float(predict.max_learning_rate(ntk, y.size))
    print(f"half of the largest stable learning rate: {rate:.1f}")

    counts = 10 ** np.arange(6)
    flow = predict.gradient_descent_mse(ntk, y, rate)
    plain = predict.gradient_descent_mse_discrete(ntk, y, rate)
    heavy = predict.gradient_descent_mse_discrete(ntk, y, rate, momentum=0.9)
    print("\ntest accuracy    " + "".join(f"{count:>9}" for count in counts) + "  steps")
    for name, predict_fn in (("gradient flow", flow), ("plain steps", plain), ("momentum 0.9", heavy)):
        outputs = predict_fn(counts, None, 0.0, ntk_test)
        print(f"{name:<17}" + "".join(f"{share:9.3f}" for share in accuracy(outputs, y_test)))
    print(f"trained for ever  {accuracy(flow(None, None, 0.0, ntk_test), y_test):.3f}")

    softmax = predict.gradient_descent(cross_entropy, ntk, y, rate)
    fit, outputs = softmax(np.array([10.0, 100.0, 1000.0]), 0.0, 0.0, ntk_test)
    print("\ncross-entropy, by an ODE solver, at t = 10, 100, 1000")
    print("loss of training ", *[f"{cross_entropy(f, jnp.asarray(y)):8.4f}" for f in fit])
    print("test accuracy    ", *[f"{share:8.3f}" for share in accuracy(outputs, y_test)])


if __name__ == "__main__":
    main()
