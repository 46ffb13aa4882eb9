"""The networks of the demo."""

from __future__ import annotations

from dataclasses import dataclass

from ntkc import stax

WIDTH = 512
W_STD, B_STD = 2**0.5, 0.1
"""He scaling: it keeps the variance of ReLU networks at every depth."""


@dataclass(frozen=True, eq=False)
class Architecture:
    """A network and its name in tables."""

    name: str
    net: stax.Layer


def dense(out_dim: int = WIDTH) -> stax.Layer:
    return stax.Dense(out_dim, W_std=W_STD, b_std=B_STD)


def chain(activation: stax.Layer, depth: int, outputs: int) -> stax.Layer:
    """x -> [Dense -> activation] depth times -> Dense."""
    hidden = [layer for _ in range(depth) for layer in (dense(), activation)]
    return stax.serial(*hidden, dense(outputs))


def residual(blocks: int, outputs: int) -> stax.Layer:
    """x -> Dense -> [x + Dense(ReLU(x))] blocks times -> ReLU -> Dense."""
    branch = stax.serial(stax.Relu(), dense())
    block = stax.serial(stax.FanOut(2), stax.parallel(stax.Identity(), branch), stax.FanInSum())
    return stax.serial(dense(), *[block] * blocks, stax.Relu(), dense(outputs))


def architectures(outputs: int) -> tuple[Architecture, ...]:
    """In the order of the results table."""
    return (
        Architecture("relu depth 1", chain(stax.Relu(), 1, outputs)),
        Architecture("relu depth 3", chain(stax.Relu(), 3, outputs)),
        Architecture("relu depth 10", chain(stax.Relu(), 10, outputs)),
        Architecture("erf depth 3", chain(stax.Erf(), 3, outputs)),
        Architecture("residual relu depth 4", residual(3, outputs)),
    )
