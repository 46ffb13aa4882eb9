"""A Gram matrix on disk, computed in tiles, killed, taken up again, and read like an array."""

import tempfile
from pathlib import Path

import numpy as np

from ntkc import stax
from ntkc.gram import StoredGram, gram

network = stax.serial(stax.Dense(512, 1.5, 0.1), stax.Relu(), stax.Dense(1))
x = np.random.default_rng(0).standard_normal((1000, 20)).astype("float32")
x /= np.linalg.norm(x, axis=1, keepdims=True)

with tempfile.TemporaryDirectory() as parent:
    folder = Path(parent) / "ntk"

    stored = gram(network, x, out=folder, memory="1MB")
    print(stored)
    files = [file for file in sorted((folder / "ntk" / "c").rglob("*")) if file.is_file()]
    print(
        f"one triangle: {len(files)} files, {sum(f.stat().st_size for f in files) / 1e6:.1f} MB of {x.shape[0]}^2 * 4"
    )

    # As after a kill: some tiles are not there. The same call computes those, and no others.
    made = {file: file.stat().st_mtime_ns for file in files}
    for file in files[3:7]:
        file.unlink()
    again = gram(network, x, out=folder, memory="1MB")
    print("computed again:", sum(file.stat().st_mtime_ns != made[file] for file in files), "tiles")

    # Another process opens it by its path; rows and columns are picked as of an array.
    opened = StoredGram.open(folder)
    train, test = np.arange(0, 1000, 2), np.arange(1, 1000, 2)
    print("K[test, train]:", opened[test, train].shape, "K[3, 5] == K[5, 3]:", bool(opened[3, 5] == opened[5, 3]))
    in_memory = gram(network, x, memory="1MB")
    print("the same bits as in memory:", np.array_equal(np.asarray(again), in_memory))
