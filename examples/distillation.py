"""Distillation: 20 images and labels whose kernel ridge regression stands for 80, by gradients through the NTK."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ntkc import stax

COUNT, CLASSES, STEPS, RATE, RIDGE = 20, 4, 50, 0.3, 1e-3


def data(dtype: str):
    """80 noisy images of 4 kinds, and labels."""
    rng = np.random.default_rng(0)
    kinds = np.arange(80) % CLASSES
    patterns = rng.standard_normal((CLASSES, 5, 5, 2))
    images = patterns[kinds] + 0.7 * rng.standard_normal((80, 5, 5, 2))
    return images.astype(dtype), (np.eye(CLASSES)[kinds] - 1 / CLASSES).astype(dtype)


def network() -> stax.Layer:
    layer = stax.serial(stax.Conv(64, (3, 3), padding="SAME", W_std=2**0.5, b_std=0.1), stax.Relu())
    return stax.serial(layer, layer, layer, stax.Flatten(), stax.Dense(1))


def loss(kernel_fn, images, labels, support):
    """Mean squared error on the images of kernel ridge regression from the support."""
    x, y = support
    gram = kernel_fn(x, None, "ntk")
    ridge = RIDGE * jnp.trace(gram) / COUNT * jnp.eye(COUNT, dtype=gram.dtype)
    outputs = kernel_fn(images, x, "ntk") @ jnp.linalg.solve(gram + ridge, y)
    return jnp.mean((outputs - labels) ** 2) / 2


def distilled(dtype: str):
    """Support after gradient descent with momentum on images and labels; the loss before each step and after."""
    images, labels = data(dtype)
    step = jax.jit(jax.value_and_grad(partial(loss, network()[2], images, labels)))
    support = jnp.asarray(images[:COUNT]), jnp.asarray(labels[:COUNT])
    speed, losses = jax.tree.map(jnp.zeros_like, support), []
    for _ in range(STEPS):
        value, slope = step(support)
        speed = jax.tree.map(lambda v, s: 0.9 * v + s, speed, slope)
        support = jax.tree.map(lambda s, v: s - RATE * v, support, speed)
        losses.append(float(value))
    return support, [*losses, float(step(support)[0])]


if __name__ == "__main__":
    for dtype in ("float32", "float64"):
        jax.config.update("jax_enable_x64", dtype == "float64")
        losses = distilled(dtype)[1]
        print(
            f"{dtype}: loss {losses[0]:.6f} at first, {losses[25]:.6f} after 25 steps, {losses[-1]:.6f} after {STEPS}"
        )
