"""Random legal networks with pixels: the compiled kernels are those of pixel_oracle, or a clear error says why not.

Network number i is drawn by random.Random(i): what hypothesis generates is too alike where each network costs seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
import pytest
from pixel_oracle import kernels
from sympy import PolynomialError

from ntkc import stax
from ntkc.errors import NtkcError
from ntkc.frontends.networks import to_graph
from ntkc.ir.program import BrokenProgram

DEEPEST = 12
WIDTH = 4
TOLERANCE = 1e-9
SERIES_TOLERANCE = 1e-5
"""A series is good to 1e-10, and the angle of a Relu above it has the square root of that."""
W_STD, B_STD = (0.8, 1.0, 1.3), (None, 0.0, 0.3)
PADDINGS = ("SAME", "VALID", "CIRCULAR")
RAMPS = (stax.Relu(), stax.LeakyRelu(0.2), stax.ABRelu(-0.5, 1.25), stax.Abs())
SMOOTH = (
    stax.Erf(),
    stax.Erf(0.7, 0.8, 0.2),
    stax.Sin(),
    stax.Cos(1.2, 0.7, 0.3),
    stax.Exp(0.6, 0.3),
    stax.Gaussian(1.1, -0.4),
    stax.Gelu(),
    stax.Polynomial((0.2, 0.6, 0.1)),
    stax.Monomial(2),
)


@dataclass(frozen=True)
class State:
    """What the layers so far end in: pixels, a law as in ntkc.ir.value, channels."""

    spatial: tuple[int, ...]
    law: str = "given"
    width: int = 2
    is_ramp: bool = False
    """a min(x, 0) + b max(x, 0) of a Gaussian."""
    has_series: bool = False
    """Some kernel may have no closed form."""

    def after(self, law: str, spatial: tuple[int, ...] | None = None, width: int | None = None) -> State:
        return State(self.spatial if spatial is None else spatial, law, width or self.width, False, self.has_series)


Step = tuple[Any, State]
"""A layer, and the state after it."""


def weights(rng: Random) -> tuple[tuple[float, float | None], dict[str, Any], int]:
    """(W_std, b_std), the parameterization, and the width that a layer of WIDTH gets."""
    deviations = rng.choice(W_STD), rng.choice(B_STD)
    if rng.random() < 0.7:
        return deviations, {}, WIDTH
    s = rng.choice([1, 2])
    return deviations, {"parameterization": "standard", "s": (1, s)}, WIDTH * s


def dense(rng: Random, state: State) -> Step:
    deviations, options, width = weights(rng)
    return stax.Dense(WIDTH, *deviations, **options), state.after("gaussian", width=width)


def moving(rng: Random, state: State) -> tuple[tuple[int, ...], tuple[int, ...], str, tuple[int, ...]]:
    """Window, strides, padding, and the pixels after a window has moved over them."""
    window = tuple(rng.randint(1, min(n, 3)) for n in state.spatial)
    strides = tuple(rng.choice([1, 1, 2]) for _ in state.spatial)
    padding = rng.choice(PADDINGS)
    sizes = zip(state.spatial, window, strides, strict=True)
    after = tuple((n - w) // s + 1 if padding == "VALID" else -(-n // s) for n, w, s in sizes)
    return window, strides, padding, after


def conv(rng: Random, state: State) -> Step:
    window, strides, padding, spatial = moving(rng, state)
    deviations, options, width = weights(rng)
    kind = rng.choice([stax.Conv, stax.Conv, stax.Conv, stax.ConvLocal])
    return kind(WIDTH, window, strides, padding, *deviations, **options), state.after("gaussian", spatial, width)


def conv_transpose(rng: Random, state: State) -> Step:
    window, strides, padding, _ = moving(rng, state)
    strides = strides if max(state.spatial) <= 3 else (1,) * len(strides)
    deviations, options, width = weights(rng)
    overflow = [max(w - s, 0) if padding == "VALID" else 0 for w, s in zip(window, strides, strict=True)]
    spatial = tuple(n * s + more for n, s, more in zip(state.spatial, strides, overflow, strict=True))
    layer = stax.ConvTranspose(WIDTH, window, strides, padding, *deviations, **options)
    return layer, state.after("gaussian", spatial, width)


def dilated(rng: Random, state: State) -> Step:
    """A filter with gaps, on groups of channels."""
    (w, b), options, width = weights(rng)
    two = (2,) * len(state.spatial)
    groups = 2 if state.width > 2 and state.width % 2 == 0 and state.law != "given" else 1
    padding = rng.choice(["SAME", "CIRCULAR"])
    layer = stax.Conv(WIDTH, two, None, padding, w, b, dilation=two, groups=groups, **options)
    return layer, state.after("gaussian", width=width)


def same_conv(rng: Random, state: State) -> Step:
    """A filter that keeps pixels and width."""
    window = tuple(rng.randint(1, 3) for _ in state.spatial)
    layer = stax.Conv(state.width, window, None, rng.choice(["SAME", "CIRCULAR"]), rng.choice(W_STD), rng.choice(B_STD))
    return layer, state.after("gaussian")


def pool(rng: Random, state: State) -> Step:
    window, strides, padding, spatial = moving(rng, state)
    after = state.after("other" if state.law == "pointwise" else state.law, spatial)
    if rng.random() < 0.6:
        return stax.AvgPool(window, strides, padding, rng.random() < 0.5), after
    return stax.SumPool(window, strides, padding), after


def activation(rng: Random, state: State) -> Step:
    if rng.random() < 0.4:
        return rng.choice(RAMPS), replace(state.after("pointwise"), is_ramp=True)
    return rng.choice(SMOOTH), state.after("pointwise")


def second_activation(rng: Random, state: State) -> Step:
    """The oracle knows kinks at 0 only."""
    return (rng.choice(RAMPS), state) if state.is_ramp else (rng.choice(SMOOTH), replace(state, has_series=True))


def norm(rng: Random, state: State) -> Step:
    last = len(state.spatial)
    axes = rng.choice([-1, (*range(1, last + 1), -1), (last, -1)])
    layers = [stax.LayerNorm(axes, rng.choice([1e-12, 0.1])), stax.RMSNorm(0.01), stax.GroupNorm(2, 0.01)]
    return rng.choice(layers if state.width % 2 == 0 else layers[:2]), state.after("gaussian")


def dropout(rng: Random, state: State) -> Step:
    if rng.random() < 0.3:
        return stax.Dropout(0.5, "test"), state
    return stax.Dropout(rng.choice([0.5, 0.8])), state.after("other")


def branches(join: Any, *layers: Any) -> Any:
    return stax.serial(stax.FanOut(len(layers)), stax.parallel(*layers), join)


def residual(rng: Random, state: State) -> Step:
    """x + branch(x); the two are correlated where the branch has no weights."""
    parts, below = [], state
    if state.law == "gaussian" and rng.random() < 0.6:
        layer, below = activation(rng, below)
        parts.append(layer)
    if not parts or rng.random() < 0.6:
        layer, below = same_conv(rng, below)
        parts.append(layer)
    laws = {state.law, below.law}
    law = below.law if laws in ({"gaussian"}, {"gaussian", "pointwise"}) else "other"
    is_ramp = below.is_ramp and below.law == "pointwise"
    law = "pointwise" if law == "pointwise" or laws == {"gaussian", "pointwise"} else law
    net = branches(stax.FanInSum(), stax.Identity(), stax.serial(*parts))
    return net, replace(state.after(law), is_ramp=is_ramp, has_series=state.has_series or not is_ramp)


def joined(rng: Random, state: State) -> Step:
    """Two or three independent branches, summed, multiplied or concatenated."""
    made = [branch(rng, state) for _ in range(rng.choice([2, 2, 3]))]
    axis = rng.choice([-1, *range(1, len(state.spatial) + 1)])
    join = rng.choice([stax.FanInSum(), stax.FanInProd(), stax.FanInConcat(axis)])
    name = join[0].__name__
    is_longer = name == "FanInConcat" and axis > 0
    spatial = tuple(len(made) * n if is_longer and i + 1 == axis else n for i, n in enumerate(state.spatial))
    is_gaussian = all(after.law == "gaussian" for _, after in made) and (name == "FanInSum" or is_longer)
    width = state.width * (len(made) if name == "FanInConcat" and axis == -1 else 1)
    law = "gaussian" if is_gaussian else "other"
    return branches(join, *(layer for layer, _ in made)), state.after(law, spatial, width)


def branch(rng: Random, state: State) -> Step:
    """Weights, perhaps an activation, perhaps a pool."""
    layer, after = same_conv(rng, state)
    parts = [layer]
    if rng.random() < 0.5:
        layer, after = activation(rng, after)
        parts.append(layer)
    if rng.random() < 0.2:
        parts.append(stax.AvgPool((2,) * len(state.spatial), None, "SAME"))
        after = after.after("gaussian" if after.law == "gaussian" else "other")
    return stax.serial(*parts), after


def resize(rng: Random, state: State) -> Step:
    spatial = tuple(rng.choice([n, rng.randint(1, 4)]) for n in state.spatial)
    method = rng.choice(["nearest", "linear", "cubic", "cubic", "lanczos3"])
    law = "other" if state.law == "pointwise" else state.law
    return stax.ImageResize((-1, *spatial, -1), method, rng.random() < 0.5), state.after(law, spatial)


def product(rng: Random, state: State) -> Step:
    """An array with entries of both signs along one axis, which it may keep, shorten or sum over."""
    axis = rng.randrange(len(state.spatial))
    kept = () if rng.random() < 0.3 and len(state.spatial) > 1 else (rng.randint(1, 3),)
    array = np.array([rng.gauss(0, 1) for _ in range(state.spatial[axis] * (*kept, 1)[0])])
    others = state.spatial[:axis] + state.spatial[axis + 1 :]
    is_left = rng.random() < 0.3
    shaped = array.reshape(state.spatial[axis], *kept)
    contracted = ((0,), (1 + axis,)) if is_left else ((1 + axis,), (0,))
    layer = stax.DotGeneral(**{"lhs" if is_left else "rhs": shaped}, dimension_numbers=(contracted, ((), ())))
    law = "other" if state.law == "pointwise" else state.law
    return layer, state.after(law, (*kept, *others) if is_left else (*others, *kept))


def part(rng: Random, state: State) -> Step:
    """Every other pixel, all in reverse, or all but the first."""
    kinds = [
        slice(None, None, -1),
        slice(None, None, 2),
        slice(None),
        *([slice(1, None)] if min(state.spatial) > 1 else []),
    ]
    index = [rng.choice(kinds) for _ in state.spatial]
    spatial = tuple(len(range(n)[i]) for n, i in zip(state.spatial, index, strict=True))
    return stax.Index((slice(None), *index, slice(None))), replace(state, spatial=spatial)


Maker = Callable[[Random, State], Step]


def makers(state: State, with_maps: bool = False) -> list[Maker]:
    """What may follow; after a Gaussian half of it is a nonlinearity."""
    found: list[Maker] = [conv, conv, conv, conv_transpose, dilated, dense, pool, residual, joined]
    if np.prod(state.spatial) > 30:
        found = [conv, dense, pool]
    if with_maps:
        found += [resize, product, part] * 2
    if state.law != "given":
        found.append(dropout)
    if state.law == "gaussian":
        found += [activation] * len(found) + [norm, norm]
    if state.law == "pointwise":
        found.append(second_activation)
    return found


def random_network(number: int, with_maps: bool = False) -> tuple[Any, tuple[int, ...], float]:
    """A network, the pixels of its input, and what its kernels may be off by.

    `with_maps`: images of other sizes, products with arrays and parts of images are among its layers.
    """
    rng = Random(number)
    axes = rng.choice([1, 2, 2])
    pixels = tuple(rng.randint(3, 6 if axes == 1 else 4) for _ in range(axes))
    state, parts = State(pixels), []
    for _ in range(rng.randint(2, DEEPEST - 3)):
        layer, state = rng.choice(makers(state, with_maps))(rng, state)
        parts.append(layer)
    parts.append(rng.choice([stax.Flatten(), stax.GlobalAvgPool(), stax.GlobalSumPool(), stax.Identity()]))
    if rng.random() < 0.5:
        parts += [stax.Dense(3, 1.1, 0.2), stax.Relu()]
    return stax.serial(*parts), pixels, SERIES_TOLERANCE if state.has_series else TOLERANCE


def compare(number: int, tally: Counter[str], with_both: bool, with_maps: bool = False) -> None:
    """Equal kernels, of x1 with x2 and of x1 with itself, or an error that is counted."""
    net, pixels, tolerance = random_network(number, with_maps)
    for is_symmetric in [False, True] if with_both else [number % 2 == 1]:
        outcome, why = compared(net, pixels, is_symmetric, tolerance)
        assert outcome != "differs", f"network {number} on {pixels}, {is_symmetric=}: {why}\n{net}"
        tally[outcome] += 1
        if outcome != "equal":
            tally[f"{number}: {why}"] += 1


def compared(net: Any, pixels: tuple[int, ...], is_symmetric: bool, tolerance: float = TOLERANCE) -> tuple[str, str]:
    """What came out: equal, differs, refused by ntkc, or beyond the oracle."""
    x1, x2 = samples(pixels)
    x2 = None if is_symmetric else x2
    try:
        found = net[2](x1, x2, ("nngp", "ntk"))
    except PolynomialError as error:
        return "differs", f"an error of sympy: {error}"
    except NtkcError as error:
        is_clear = not isinstance(error, BrokenProgram) and len(str(error)) > 30
        return "refused" if is_clear else "differs", f"{type(error).__name__}: {error}"
    try:
        expected = kernels(to_graph(net), x1, x2)
    except NotImplementedError as error:
        return "unknown", str(error)
    for name, got, want in zip(("nngp", "ntk"), found, expected, strict=True):
        if got.shape != want.shape:
            return "differs", f"{name} of shape {got.shape}, not {want.shape}"
        error = np.abs(got - want).max() / (np.abs(want).max() or 1)
        if not error <= tolerance:
            return "differs", f"{name} by {error:.1e}"
    return "equal", ""


def samples(pixels: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Two and one, of two channels; one of them twice."""
    rng = np.random.default_rng(11)
    x1 = rng.standard_normal((2, *pixels, 2))
    return x1, x1[1:] if pixels[0] % 2 else rng.standard_normal((1, *pixels, 2))


def compare_all(numbers: range, with_both: bool, with_maps: bool = False) -> None:
    """At most a tenth are refused; the oracle knows nearly all."""
    tally: Counter[str] = Counter()
    for number in numbers:
        compare(number, tally, with_both, with_maps)
    count = len(numbers) * (2 if with_both else 1)
    assert tally["refused"] <= max(1, count / 10), tally
    assert tally["equal"] >= 0.8 * count, tally


@pytest.mark.parametrize("start", range(0, 25, 5))
def test_few_random_networks(start, x64):
    compare_all(range(start, start + 5), with_both=False)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 200, 20))
def test_random_networks(start, x64):
    compare_all(range(start, start + 20), with_both=True)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 1060, 20))
def test_random_networks_with_maps(start, x64):
    compare_all(range(start, start + 20), with_both=False, with_maps=True)


def of_two(join: Any, *layers: Any) -> Any:
    """Two independent branches of different variances, each a Conv and these layers, joined."""
    first = stax.Conv(2, (2, 2), None, "SAME", 1.3, 0.2)
    second = stax.Conv(2, (1, 2), None, "SAME", 2.5)
    return branches(join, stax.serial(first, *layers), stax.serial(second, *layers))


HARD = {
    "sum of pools of relus": of_two(stax.FanInSum(), stax.Relu(), stax.AvgPool((2, 2))),
    "sum of means of relus": of_two(stax.FanInSum(), stax.Relu(), stax.GlobalAvgPool()),
    "sum of flattened relus": of_two(stax.FanInSum(), stax.Relu(), stax.Flatten()),
    "sum of dropped relus": of_two(stax.FanInSum(), stax.Relu(), stax.Dropout(0.5)),
    "sum of products of relus": of_two(stax.FanInSum(), of_two(stax.FanInProd(), stax.Relu())),
    "sum of relu and its pool": stax.serial(
        stax.Conv(2, (2, 2)),
        stax.Relu(),
        branches(stax.FanInSum(), stax.Identity(), stax.AvgPool((2, 2), None, "SAME")),
    ),
    "rows of relus": stax.serial(of_two(stax.FanInConcat(1), stax.Relu()), stax.GlobalAvgPool()),
    "rows, then relu": stax.serial(of_two(stax.FanInConcat(1)), stax.Relu(), stax.GlobalAvgPool()),
    "channels, then relu": stax.serial(of_two(stax.FanInConcat(-1)), stax.Relu(), stax.GlobalAvgPool()),
    "channels, then layer norm": stax.serial(of_two(stax.FanInConcat(-1)), stax.LayerNorm(), stax.Flatten()),
    "sum of concatenated channels": branches(
        stax.FanInSum(), of_two(stax.FanInConcat(-1), stax.Relu()), of_two(stax.FanInConcat(-1), stax.Relu())
    ),
    "product of concatenated channels": branches(
        stax.FanInProd(), of_two(stax.FanInConcat(-1)), of_two(stax.FanInConcat(-1))
    ),
    "product of flattened": of_two(stax.FanInProd(), stax.Flatten()),
    "sum of relu and gelu, x + conv": stax.serial(
        branches(
            stax.FanInSum(),
            stax.serial(stax.Conv(2, (1, 1)), stax.Relu()),
            stax.serial(stax.Conv(2, (1, 1)), stax.Gelu()),
        ),
        branches(stax.FanInSum(), stax.Identity(), stax.Conv(2, (1, 1))),
        stax.GlobalSumPool(),
    ),
    "sum of gelu and exp, conv": stax.serial(
        branches(
            stax.FanInSum(),
            stax.serial(stax.Conv(2, (1, 1)), stax.Gelu()),
            stax.serial(stax.Conv(2, (1, 1)), stax.Exp(0.6, 0.3)),
        ),
        stax.Conv(2, (1, 1)),
        stax.Flatten(),
    ),
    "sum of exp and relu": stax.serial(
        branches(
            stax.FanInSum(),
            stax.serial(stax.Conv(2, (1, 1)), stax.Exp(0.6, 0.3)),
            stax.serial(stax.Conv(2, (1, 1)), stax.Relu()),
        ),
        stax.GlobalSumPool(),
    ),
    "relu of a series": stax.serial(
        stax.Conv(2, (1, 1)), stax.Erf(), stax.Gaussian(1.1, -0.4), stax.Dense(2), stax.Relu(), stax.Flatten()
    ),
    "standard with groups": stax.serial(
        stax.Conv(4, (2, 2), None, "SAME", 1.3, 0.2, parameterization="standard", groups=2), stax.Flatten()
    ),
    "zero pixels": stax.serial(stax.ConvTranspose(2, (1, 1), (2, 2)), stax.Relu(), stax.GlobalAvgPool()),
    "equal pixels": stax.serial(
        stax.AvgPool((3, 3), None, "CIRCULAR"), stax.Conv(2, (3, 3), None, "CIRCULAR"), stax.Relu()
    ),
    "flattened twice": stax.serial(stax.Conv(2, (2, 2)), stax.Flatten(), stax.Flatten(), stax.Dense(2), stax.Relu()),
}
"""Branches whose means are not zero, channels of several laws, pixels of no variance."""


@pytest.mark.parametrize("is_symmetric", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", HARD)
def test_hard_networks(name, is_symmetric, x64):
    tolerance = SERIES_TOLERANCE if "series" in name else TOLERANCE
    outcome, why = compared(HARD[name], (3, 3), is_symmetric, tolerance)
    assert outcome in ("equal", "refused"), why
