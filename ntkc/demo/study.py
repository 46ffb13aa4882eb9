"""One network on one data set:  kernels -> ridge by validation -> test accuracy and likelihood."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from ntkc import predict
from ntkc.demo.architectures import Architecture
from ntkc.demo.data import Split, stratified
from ntkc.frontends import compile
from ntkc.program import KernelProgram

RIDGES = (1e-4, 1e-3, 1e-2)
"""Candidates for the ridge, in units of the mean of the diagonal of the training kernel."""
VALIDATION_SHARE = 0.25
KERNELS = {"nngp": "NNGP", "ntk": "NTK"}
Tick = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Grams:
    """Pairs (nngp, ntk) of kernels between training (1) and evaluation (2) samples:  K11, K21, K22."""

    train: Any
    cross: Any
    test: Any


@dataclass(frozen=True, eq=False)
class Forecast:
    """Gaussian predictions: mean [n, classes], variance [n] with the noise in it, and that noise."""

    mean: Any
    variance: Any
    noise: float

    def stretch(self, targets: Any) -> float:
        """s = mean((y - mean)^2 / variance): the factor that makes variances as large as squared errors."""
        return float(np.mean((targets - self.mean) ** 2 / self.variance[:, None]))

    def scaled(self, s: float) -> Forecast:
        """variance -> s variance: the posterior of the kernel s K and the noise s sigma^2; the mean stays."""
        return Forecast(self.mean, s * self.variance, s * self.noise)

    def loss(self, targets: Any) -> float:
        """-log N(y; mean, variance), averaged over samples and outputs."""
        v = self.variance[:, None]
        return float(np.mean(0.5 * np.log(2 * math.pi * v) + 0.5 * (targets - self.mean) ** 2 / v))


@dataclass(frozen=True, eq=False)
class Score:
    """One row of the results table; seconds of compiling, of both kernels with XLA's compilation, of all solves."""

    architecture: str
    kernel: str
    accuracy: float
    loss: float
    ridge: float
    noise: float
    compile_seconds: float
    kernel_seconds: float
    solve_seconds: float
    predicted: Any

    @property
    def percent(self) -> str:
        return f"{100 * self.accuracy:.2f}"

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.compile_seconds + self.kernel_seconds + self.solve_seconds


@dataclass(frozen=True, eq=False)
class Outcome:
    """A network with its scores, NNGP and NTK."""

    name: str
    program: KernelProgram
    scores: tuple[Score, ...]


@dataclass(frozen=True, eq=False)
class Study:
    """All networks on one data set."""

    data: Split
    outcomes: tuple[Outcome, ...]

    @property
    def scores(self) -> tuple[Score, ...]:
        return tuple(score for outcome in self.outcomes for score in outcome.scores)

    @cached_property
    def best(self) -> Score:
        """The highest test accuracy; of equal ones, the smallest loss."""
        return max(self.scores, key=lambda score: (score.accuracy, -score.loss))


def evaluate(architecture: Architecture, data: Split, tick: Tick = lambda _: None) -> Outcome:
    """Compile, compute all kernels once, fit NNGP and NTK; `tick` hears of each step."""
    start = time.perf_counter()
    tick(f"{architecture.name}: compile")
    program = compile(architecture.net)
    compiled = time.perf_counter()
    tick(f"{architecture.name}: kernels")
    grams = all_grams(program, data)
    seconds = (compiled - start, time.perf_counter() - compiled)
    scores: list[Score] = []
    for get in KERNELS:
        tick(f"{architecture.name}: {KERNELS[get]} regression")
        scores.append(score(architecture.name, get, grams, data, seconds))
    return Outcome(architecture.name, program, tuple(scores))


def all_grams(program: KernelProgram, data: Split) -> Grams:
    """One Gram matrix of all samples, cut in blocks: XLA compiles once."""
    whole = program(np.concatenate([data.train.x, data.test.x]), None, tuple(KERNELS))
    jax.block_until_ready(whole)
    train, test = slice(None, len(data.train.y)), slice(len(data.train.y), None)
    return Grams(_block(whole, train, train), _block(whole, test, train), _block(whole, test, test))


def score(name: str, get: str, grams: Grams, data: Split, seconds: tuple[float, float]) -> Score:
    """Ridge and stretch from the validation part, the rest from the test set."""
    start = time.perf_counter()
    ridge, s = tuned(get, grams, data)
    posterior = infer(get, grams, data.train.targets, ridge).scaled(s)
    predicted = np.argmax(posterior.mean, axis=1)
    return Score(
        name,
        KERNELS[get],
        float(np.mean(predicted == data.test.y)),
        posterior.loss(data.test.targets),
        ridge,
        posterior.noise,
        *seconds,
        time.perf_counter() - start,
        predicted,
    )


def tuned(get: str, grams: Grams, data: Split) -> tuple[float, float]:
    """(ridge, s) of the smallest loss on a quarter of the training set, predicted from the other three."""
    held = stratified(data.train.y, round(VALIDATION_SHARE * len(data.train.y)), data.seed)
    parts = Grams(_block(grams.train, ~held, ~held), _block(grams.train, held, ~held), _block(grams.train, held, held))
    targets = data.train.targets
    found: list[tuple[float, float, float]] = []
    for ridge in RIDGES:
        posterior = infer(get, parts, targets[~held], ridge)
        s = posterior.stretch(targets[held])
        found.append((posterior.scaled(s).loss(targets[held]), ridge, s))
    return min(found)[1:]


def infer(get: str, grams: Grams, targets: Any, ridge: float) -> Forecast:
    """Variance = diag(covariance) + sigma^2,  sigma^2 = ridge mean(diag K11), K11 the kernel that is solved with.

    NNGP: the posterior of the Gaussian process. NTK: the infinite ensemble of networks trained to the end by gradient
    descent (Lee et al. 2019, 1902.06720, eq. 16).
    """
    fitted = predict.gp_inference(grams.train, targets, diag_reg=ridge)(get, grams.cross, grams.test)
    noise = ridge * float(np.mean(np.diagonal(getattr(grams.train, get))))
    variance = np.diagonal(fitted.covariance).astype(float) + noise
    return Forecast(np.asarray(fitted.mean, float), variance, noise)


def _block(pair: Any, rows: Any, columns: Any) -> Any:
    return jax.tree.map(lambda k: np.asarray(k)[rows][:, columns], pair)
