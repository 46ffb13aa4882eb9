"""What a first call is of, in both packages, and the CPU seconds that it takes:  first_calls.py PACKAGE CASE.

Prints one line of JSON: seconds from making the layers to the result, then of another `get`, number of samples, x2, and
of the same network built again. Runs in both environments.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pixel_networks import Cnn, Myrtle, WideResNet

ROWS, FEATURES = 20, 784


@dataclass(frozen=True)
class FirstCall:
    """A network and the data of its first call."""

    layers: Callable[[ModuleType], list[Any]]
    shape: tuple[int, ...] = (ROWS, FEATURES)
    of: str = "ntk"
    has_peer: bool = True


def mlp(activation: Callable[[ModuleType], Any], b_std: float | None, depth: int = 3) -> Callable[..., list[Any]]:
    def layers(stax: ModuleType) -> list[Any]:
        hidden = [layer for _ in range(depth) for layer in (stax.Dense(512, 1.5, b_std), activation(stax))]
        return [*hidden, stax.Dense(1, 1.0, b_std)]

    return layers


def small_cnn(stax: ModuleType) -> list[Any]:
    block = [stax.Conv(64, (3, 3), padding="SAME", W_std=1.4, b_std=0.1), stax.Relu(), stax.AvgPool((2, 2), (2, 2))]
    return [*block * 3, stax.Flatten(), stax.Dense(10)]


def transformer(stax: ModuleType) -> list[Any]:
    """Twelve blocks of attention and a residual ReLU layer, no two of one W_std."""

    def block(i: int) -> list[Any]:
        attention = stax.GlobalSelfAttention(64, 16, 16, 4, linear_scaling=True, W_out_std=1 + 0.01 * i)
        inner = stax.serial(stax.Dense(64, 1.4 + 0.01 * i), stax.Relu(), stax.Dense(64))
        branches = stax.serial(stax.FanOut(2), stax.parallel(stax.Identity(), inner), stax.FanInSum())
        return [attention, stax.LayerNorm(), branches, stax.LayerNorm()]

    return [*(layer for i in range(12) for layer in block(i)), stax.GlobalAvgPool(), stax.Dense(1)]


CASES = {
    "relu, biases": FirstCall(mlp(lambda stax: stax.Relu(), 0.1)),
    "relu": FirstCall(mlp(lambda stax: stax.Relu(), None)),
    "gelu": FirstCall(mlp(lambda stax: stax.Gelu(), 0.1)),
    "erf": FirstCall(mlp(lambda stax: stax.Erf(), 0.1)),
    "tanh": FirstCall(mlp(lambda stax: stax.Activation("tanh(x)"), 0.1), has_peer=False),
    "gradient of an ntk": FirstCall(mlp(lambda stax: stax.Relu(), 0.1), of="gradient"),
    "distillation step": FirstCall(small_cnn, (20, 8, 8, 3), of="distillation"),
    "cnn of 21 layers": FirstCall(lambda stax: Cnn(21, True).layers(stax, 16), (2, 16, 16, 3)),
    "myrtle-10": FirstCall(lambda stax: Myrtle((2, 2, 3)).layers(stax, 32), (2, 32, 32, 3)),
    "wideresnet-28": FirstCall(lambda stax: WideResNet(4).layers(stax, 32), (2, 32, 32, 3)),
    "12 transformer blocks": FirstCall(transformer, (2, 8, 16)),
}
LABELS, SUPPORT = 10, 10


def loss_of(kernel_fn: Any, x: Any) -> Callable[..., Any]:
    """Kernel ridge regression of labels on a few images, which are learned."""
    y = np.random.default_rng(1).normal(size=(len(x), LABELS)).astype("float32")

    def loss(images: Any, labels: Any) -> Any:
        own, between = kernel_fn(images, None, "ntk"), kernel_fn(x, images, "ntk")
        ridge = 1e-3 * jnp.trace(own) / SUPPORT * jnp.eye(SUPPORT)
        return jnp.mean((between @ jnp.linalg.solve(own + ridge, labels) - y) ** 2)

    return loss


def calls_of(case: FirstCall, kernel_fn: Any, is_jitted: bool) -> dict[str, Callable[[], Any]]:
    """The first call, then others, by name."""
    x = np.random.default_rng(0).normal(size=case.shape).astype("float32")
    if case.of == "distillation":
        step = jax.jit(jax.value_and_grad(loss_of(kernel_fn, x), argnums=(0, 1)))
        return {"first": lambda: step(x[:SUPPORT], np.zeros((SUPPORT, LABELS), "float32"))}
    if case.of == "gradient":
        gradient = jax.jit(jax.grad(lambda x: kernel_fn(x, None, "ntk").sum()))
        return {"first": lambda: gradient(x)}
    call = jax.jit(kernel_fn, static_argnums=2) if is_jitted else kernel_fn
    fewer = x[: max(1, len(x) * 3 // 4)]
    return {
        "first": lambda: call(x, None, "ntk"),
        "get": lambda: call(x, None, "nngp"),
        "n": lambda: call(fewer, None, "ntk"),
        "x2": lambda: call(x, fewer, "ntk"),
    }


def main(package: str, name: str) -> None:
    stax = importlib.import_module(f"{package}.stax")
    case, is_peer = CASES[name], package != "ntkc"
    jax.block_until_ready(jnp.zeros(3) + 1)
    seconds: dict[str, float] = {}
    begin = time.process_time()
    for label, call in calls_of(case, stax.serial(*case.layers(stax))[2], is_peer).items():
        jax.block_until_ready(call())
        seconds[label], begin = time.process_time() - begin, time.process_time()
    jax.block_until_ready(calls_of(case, stax.serial(*case.layers(stax))[2], is_peer)["first"]())
    print(json.dumps({**seconds, "again": time.process_time() - begin}))


if __name__ == "__main__":
    main(*sys.argv[1:])
