"""Images and labels:  a data file or scikit-learn's digits  ->  a scaled, stratified train / test split."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ntkc.errors import InvalidInput, MissingExtra

FEWEST_PER_CLASS = 8
MOST_SAMPLES = 12_000
"""The largest Gram matrix is then some 650 MB in float64."""
TEST_SHARE = 450 / 1797
"""Of scikit-learn's digits: 1,347 images train, 450 test."""


@dataclass(frozen=True, eq=False)
class Part:
    """x [n, features], y [n] class numbers, targets [n, classes] = one-hot - 1 / classes."""

    x: Any
    y: Any
    targets: Any

    def take(self, rows: Any) -> Part:
        """Some of the samples."""
        return Part(self.x[rows], self.y[rows], self.targets[rows])


@dataclass(frozen=True, eq=False)
class Split:
    """Training and test samples, and in words where they come from."""

    name: str
    classes: tuple[str, ...]
    train: Part
    test: Part
    scale: float
    seed: int


def load(path: str | Path | None, seed: int = 0) -> Split:
    """The split of a data file, or of scikit-learn's digits.

    Args:
        path: an .npz file with arrays x [n, ...] and y [n], or a .csv file of one sample a line, the label last.
        seed: of the split.

    Raises:
        InvalidInput: the file is missing, of another kind, or holds what no classifier can learn from.
        MissingExtra: no path given, and scikit-learn is not installed.
    """
    if path is None:
        return split("scikit-learn digits", *read_digits(), seed)
    file = Path(path)
    if file.suffix not in READERS:
        raise InvalidInput(f"{file}: data files end in {' or '.join(READERS)}")
    if not file.is_file():
        raise InvalidInput(f"{file} is no file; give a .npz with arrays x, y or a .csv with the label last")
    return split(file.name, *READERS[file.suffix](file), seed)


def read_digits() -> tuple[Any, Any]:
    """1,797 images of 8 x 8 pixels, values 0 ... 16."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra("the digits come with scikit-learn: pip install ntkc[demo], or give --data FILE") from error
    images, labels = load_digits(return_X_y=True)
    return images, labels


def read_npz(file: Path) -> tuple[Any, Any]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            missing = {"x", "y"} - set(arrays.files)
            if missing:
                raise InvalidInput(
                    f"{file} has arrays {sorted(arrays.files)}: x [samples, ...] and y [samples] are needed"
                )
            return arrays["x"], arrays["y"]
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{file} is no .npz file of plain arrays: {error}") from error


def read_csv(file: Path) -> tuple[Any, Any]:
    """Lines `feature, ..., feature, label`; a first line that is no numbers is a header."""
    with file.open(newline="", encoding="utf-8") as stream:
        lines = [(number, row) for number, row in enumerate(csv.reader(stream), 1) if row]
    if lines and not _is_numeric(lines[0][1][:-1]):
        lines = lines[1:]
    if not lines:
        raise InvalidInput(f"{file} holds no samples")
    width = len(lines[0][1])
    for number, row in lines:
        if len(row) != width or width < 2:
            raise InvalidInput(
                f"{file}, line {number}: {len(row)} fields, {max(width, 2)} expected (features, then label)"
            )
        if not _is_numeric(row[:-1]):
            raise InvalidInput(f"{file}, line {number}: features must be numbers; only the last field is a label")
    return np.array([row[:-1] for _, row in lines], float), np.array([row[-1].strip() for _, row in lines])


READERS = {".npz": read_npz, ".csv": read_csv}


def _is_numeric(fields: Sequence[str]) -> bool:
    try:
        np.array(list(fields), float)
    except ValueError:
        return False
    return True


def split(name: str, images: Any, labels: Any, seed: int) -> Split:
    """x / max|x_train|, the test share drawn class by class."""
    images, labels = checked(name, images, labels)
    classes, y = np.unique(labels, return_inverse=True)
    is_test = stratified(y, round(TEST_SHARE * len(y)), seed)
    scale = float(np.abs(images[~is_test]).max()) or 1.0
    targets = np.eye(len(classes), dtype=np.float32)[y] - np.float32(1 / len(classes))
    whole = Part((images / scale).astype(np.float32), y, targets)
    return Split(name, tuple(map(str, classes)), whole.take(~is_test), whole.take(is_test), scale, seed)


def checked(name: str, images: Any, labels: Any) -> tuple[Any, Any]:
    """Images as float [n, features], labels [n], or an error that says what is wrong."""
    if np.ndim(labels) != 1 or np.ndim(images) < 2 or len(images) != len(labels):
        raise InvalidInput(f"{name}: x {np.shape(images)} and y {np.shape(labels)}; [n, ...] and [n] are needed")
    if images.dtype.kind not in "biuf" or labels.dtype.kind not in "biufUS":
        raise InvalidInput(f"{name}: x is {images.dtype}, y {labels.dtype}; numbers, and numbers or text are needed")
    if len(images) > MOST_SAMPLES:
        raise InvalidInput(
            f"{name}: {len(images)} samples; kernels of at most {MOST_SAMPLES} are demonstrated, keep a part"
        )
    flat = np.asarray(images, float).reshape(len(images), -1)
    if flat.size == 0 or not np.isfinite(flat).all():
        raise InvalidInput(f"{name}: x is empty or holds NaN or infinities; drop or repair those samples")
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < FEWEST_PER_CLASS:
        raise InvalidInput(
            f"{name}: {len(counts)} classes, the smallest of {counts.min()} samples; "
            f"2 or more classes of at least {FEWEST_PER_CLASS} samples are needed (is y a class label?)"
        )
    return flat, labels


def stratified(y: Any, size: int, seed: int) -> Any:
    """A mask with `size` true entries, spread over the classes in proportion to their sizes."""
    order = np.random.default_rng(seed).permutation(len(y))
    share = np.empty(len(y))
    for label in np.unique(y):
        members = order[y[order] == label]
        share[members] = (np.arange(len(members)) + 0.5) / len(members)
    mask = np.zeros(len(y), bool)
    mask[np.argsort(share, kind="stable")[:size]] = True
    return mask
