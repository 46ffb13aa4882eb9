"""Operations and bytes of a pair  ->  the least time that a device needs for it."""

from collections.abc import Sequence
from dataclasses import dataclass

from pixel_networks import Stage

CONV_OPERATIONS = 11
"""Of an entry: nine taps as 4 additions (rows, then columns) for K and T each, then w^2 K + b^2 and K' + w^2 T."""
RELU_OPERATIONS = 34
"""Of an entry: cosine, square root, two arc-cosine functions as polynomials, and their products with T and norms."""
COPIES = 4
"""K and T, read and written, by each convolution with the ReLU before it."""


@dataclass(frozen=True)
class Device:
    """Vector instructions (a fused multiply-add is one) and bytes of its memory a second."""

    name: str
    float32: float
    float64: float
    bandwidth: float

    def instructions(self, dtype: str) -> float:
        return {"float32": self.float32, "float64": self.float64}[dtype]


DEVICES = (
    Device("H100 PCIe", 25.6e12, 12.8e12, 2.0e12),
    Device("H100", 33.5e12, 16.75e12, 3.35e12),
    Device("H200", 33.5e12, 16.75e12, 4.8e12),
    Device("A100", 9.75e12, 4.85e12, 1.555e12),
)
"""From the makers' data sheets, half the stated FLOP/s; the first whose name is in the device's."""


@dataclass(frozen=True)
class Limits:
    """Seconds of a pair: by instructions alone, and when every layer passes through the device's memory."""

    arithmetic_s: float
    memory_s: float


def device_of(name: str) -> Device | None:
    """None for a device without an entry."""
    return next((device for device in DEVICES if device.name in name), None)


def operations(stages: Sequence[Stage]) -> int:
    """Instructions of a pair."""
    return sum(stage.entries * (stage.convs * CONV_OPERATIONS + stage.relus * RELU_OPERATIONS) for stage in stages)


def traffic(stages: Sequence[Stage], item_bytes: int) -> int:
    """Bytes of a pair, each layer through memory."""
    return sum(stage.entries * stage.convs * COPIES * item_bytes for stage in stages)


def limits_of(stages: Sequence[Stage], device: Device, dtype: str) -> Limits:
    """The least times of a pair on this device."""
    item_bytes = {"float32": 4, "float64": 8}[dtype]
    return Limits(
        operations(stages) / device.instructions(dtype),
        traffic(stages, item_bytes) / device.bandwidth,
    )
