"""Networks with pixels, and what of them is measured: NTKs of images, side x side x 3. Imports in both environments."""

from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

SQRT2 = 2**0.5
SIDE, CHANNELS = 32, 3
WIDTH = 16
"""Channels of every layer; kernels do not depend on it."""
QUICK_SIDE, QUICK_N = 8, 2
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Stage:
    """Layers at one resolution; `entries`: how many K[p, p'] of a pair of samples the output needs from each."""

    convs: int
    relus: int
    entries: int


@dataclass(frozen=True)
class Cnn:
    """(Conv 3x3 SAME, ReLU) depth times, GlobalAvgPool or Flatten, Dense."""

    depth: int
    is_pooled: bool

    def layers(self, stax: ModuleType, side: int) -> list[Any]:
        head = stax.GlobalAvgPool() if self.is_pooled else stax.Flatten()
        return [*convolved(stax) * self.depth, head, stax.Dense(1, W_std=SQRT2)]

    def stages(self, side: int) -> tuple[Stage, ...]:
        """Flatten needs p = p' alone, and a layer of stride 1 keeps p' - p."""
        return (Stage(self.depth, self.depth, side**4 if self.is_pooled else side**2),)

    def quick(self) -> "Cnn":
        return replace(self, depth=2)


@dataclass(frozen=True)
class Myrtle:
    """Groups of (Conv, ReLU), each before an AvgPool 2x2, more pools down to one pixel, Flatten, Dense.

    Shankar et al. 2020 (2003.02237), as in the peer's README.
    """

    groups: tuple[int, int, int]

    def layers(self, stax: ModuleType, side: int) -> list[Any]:
        pool = stax.AvgPool((2, 2), strides=(2, 2))
        grouped = [layer for size in self.groups for layer in (*convolved(stax, 0.0) * size, pool)]
        last_pools = side.bit_length() - 1 - len(self.groups)
        return [*grouped, *[pool] * last_pools, stax.Flatten(), stax.Dense(1, W_std=SQRT2, b_std=0.0)]

    def stages(self, side: int) -> tuple[Stage, ...]:
        """A pool averages over p and p' apart: all of them."""
        return tuple(Stage(size, size, (side >> i) ** 4) for i, size in enumerate(self.groups))

    def quick(self) -> "Myrtle":
        return replace(self, groups=(1, 1, 1))


@dataclass(frozen=True)
class WideResNet:
    """Conv, three groups of residual blocks, the last two of stride 2, AvgPool over what is left, Flatten, Dense.

    Zagoruyko and Komodakis 2016 (1605.07146) without batch norms, as in the peer's README.
    """

    block_size: int
    k: int = 1

    def layers(self, stax: ModuleType, side: int) -> list[Any]:
        groups = [
            self._group(stax, width * self.k, strides) for width, strides in ((16, (1, 1)), (32, (2, 2)), (64, (2, 2)))
        ]
        pool = stax.AvgPool((side // 4, side // 4))
        return [stax.Conv(16, (3, 3), padding="SAME"), *groups, pool, stax.Flatten(), stax.Dense(10, 1.0, 0.0)]

    def _group(self, stax: ModuleType, width: int, strides: tuple[int, int]) -> Any:
        first = _residual(stax, width, strides, stax.Conv(width, (3, 3), strides, padding="SAME"))
        return stax.serial(first, *[_residual(stax, width, (1, 1), stax.Identity())] * (self.block_size - 1))

    def stages(self, side: int) -> tuple[Stage, ...]:
        """Before a stride of 2 only even p' - p count, 1 in 4; before two of them 1 in 16."""
        convs, relus = 2 * self.block_size + 1, 2 * self.block_size
        # A group's first ReLU is still at the resolution before its stride.
        return (
            Stage(convs + 1, relus + 1, side**4 // 16),
            Stage(convs, relus, (side // 2) ** 4 // 4),
            Stage(convs, relus - 1, (side // 4) ** 4),
        )

    def quick(self) -> "WideResNet":
        return replace(self, block_size=1)


def convolved(stax: ModuleType, b_std: float | None = None) -> list[Any]:
    """Conv 3x3 and ReLU."""
    return [stax.Conv(WIDTH, (3, 3), padding="SAME", W_std=SQRT2, b_std=b_std), stax.Relu()]


def _residual(stax: ModuleType, width: int, strides: tuple[int, int], shortcut: Any) -> Any:
    """x -> f(x) + shortcut(x),  f = (ReLU, Conv) twice."""
    main = stax.serial(
        stax.Relu(),
        stax.Conv(width, (3, 3), strides, padding="SAME"),
        stax.Relu(),
        stax.Conv(width, (3, 3), padding="SAME"),
    )
    return stax.serial(stax.FanOut(2), stax.parallel(main, shortcut), stax.FanInSum())


Network = Cnn | Myrtle | WideResNet


@dataclass(frozen=True)
class PixelCase:
    """n x n pairs of images; the peer has peer_n x peer_n of the same ones. Targets are for a CPU."""

    name: str
    network: Network
    n: int
    peer_n: int
    target_float32: float
    target_float64: float
    target_first_s: float
    side: int = SIDE

    def target(self, dtype: str) -> float:
        """The peer's time of a pair over ours."""
        return {"float32": self.target_float32, "float64": self.target_float64}[dtype]


PIXEL_CASES = (
    PixelCase("cnn_pool", Cnn(21, True), 2, 2, 100, 12, 6),
    PixelCase("cnn_pool_16", Cnn(21, True), 16, 2, 150, 18, 6),
    PixelCase("cnn_flatten", Cnn(21, False), 128, 128, 20, 7, 4),
    PixelCase("myrtle_5", Myrtle((2, 1, 1)), 10, 10, 30, 6, 8),
    PixelCase("myrtle_7", Myrtle((2, 2, 2)), 10, 10, 30, 6, 8),
    PixelCase("myrtle_10", Myrtle((3, 3, 3)), 10, 10, 30, 6, 8),
    PixelCase("wide_resnet_28", WideResNet(4), 2, 2, 500, 50, 8),
)


def find_pixels(name: str) -> PixelCase:
    """The case of that name."""
    for case in PIXEL_CASES:
        if case.name == name:
            return case
    raise KeyError(f"no case {name!r}; have {[case.name for case in PIXEL_CASES]}")


def quick_pixels(case: PixelCase) -> PixelCase:
    """Few small images in a shallow network of the same kind: shows that everything runs, and no speed."""
    return with_n(replace(case, network=case.network.quick(), side=QUICK_SIDE), QUICK_N)


def with_n(case: PixelCase, n: int) -> PixelCase:
    """The same case for n x n pairs in both packages."""
    return replace(case, n=n, peer_n=n)
