"""Gram matrices in tiles, in memory and on disk: the plain call's numbers, and no bit changed by a kill."""

import errno
import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp
import zarr

import ntkc
from ntkc import stax
from ntkc.errors import (
    CorruptedTile,
    InvalidInput,
    InvalidStore,
    MissingExtra,
    SeriesNotConverged,
    ShapeMismatch,
    StoreBusy,
    StoreChanged,
    StoreUnwritable,
    UnknownName,
)
from ntkc.gram import StoredGram, gram
from ntkc.gram.files import LOCK, PARTIAL, is_sound, one_writer, read_tile
from ntkc.gram.maker import TileMaker
from ntkc.gram.plan import TilePlan, plan_tiles
from ntkc.gram.store import Store

NET = stax.serial(stax.Dense(16, 1.2, 0.1), stax.Relu(), stax.Dense(1, 1.1))
LINEAR = stax.serial(stax.Dense(16, 1.2, sp.Symbol("b")), stax.Dense(1, 1.1))
RNG = np.random.default_rng(0)
X1, X2 = (np.float32(RNG.standard_normal((n, 5))) for n in (1001, 300))
SMALL = 1_010_000
"""Bytes for which X1 has four rows of tiles."""
build = functools.partial(gram, LINEAR, X1, memory=SMALL, b=0.3)


def close(ours, expected):
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6 * np.max(np.abs(expected)))


def tile_files(folder):
    """Files of tiles, partial ones left out."""
    return sorted(f for f in Path(folder).glob("n*/c/*/*") if not f.name.endswith(PARTIAL))


def stamps(folder, kernels=("ntk",)):
    """When the files of each tile that is there for all kernels were written."""

    def is_done(file):
        return all((folder / kernel / "c" / file.parent.name / file.name).exists() for kernel in kernels)

    return {file: file.stat().st_mtime_ns for file in tile_files(folder) if is_done(file)}


def remake(matrix, **changes):
    """The call that made a matrix, again."""
    return build(**{"out": matrix.path, **changes})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished store that no test writes to."""
    return build(out=tmp_path_factory.mktemp("made") / "store")


@pytest.fixture
def matrix(made, tmp_path):
    """A copy of it."""
    shutil.copytree(made.path, tmp_path / "copy")
    return StoredGram.open(tmp_path / "copy")


# Plans


@pytest.mark.parametrize("area", [1, 7, 12, 1000])
@pytest.mark.parametrize(
    ("shape", "is_triangle"), [((7, 7), True), ((7, 5), False), ((1, 9), False), ((9, 1), False), ((1, 1), True)]
)
def test_tiles_cover_each_pair_once(shape, is_triangle, area):
    plan, count = TilePlan.of(shape, is_triangle, area), np.zeros(shape, int)
    for tile in plan.tiles():
        count[tile.rows, tile.columns] += 1
        if tile.is_mirrored:
            count[tile.columns, tile.rows] += 1
    assert (count == 1).all()
    assert plan.area <= area
    assert len({plan.place(tile) for tile in plan.tiles()}) == len(plan.tiles())


def test_a_plan_shrinks_until_it_fits():
    measured = []

    def need(plan):
        measured.append(12 * plan.area + 100 * sum(plan.tile))
        return measured[-1]

    plan = plan_tiles((10_000, 10_000), True, 1e6, 1, need)
    assert measured[0] > 1e6 > measured[-1] > 0.5e6
    assert measured[-1] == need(plan)
    with pytest.raises(InvalidInput, match="one pair of samples needs 212"):
        plan_tiles((10_000, 10_000), True, 200, 1, need)


def test_a_program_that_does_not_say_what_it_needs():
    function = SimpleNamespace(
        lower=lambda *args: SimpleNamespace(compile=lambda: SimpleNamespace(memory_analysis=lambda: None))
    )
    maker = TileMaker(SimpleNamespace(module={"ntk": function}), ("ntk",), X1, None, {})
    assert maker.need(TilePlan((1001, 1001), (100, 100), True)) == 8 * 4 * (100 * 100 + 200 * 5)


# Numbers


@pytest.mark.parametrize("x2", [None, X2], ids=["triangle", "pair"])
@pytest.mark.parametrize("net", [LINEAR, pytest.param(NET, marks=pytest.mark.slow)], ids=["linear", "relu"])
def test_the_plain_call(net, x2, tmp_path):
    values = {"b": 0.3} if net is LINEAR else {}
    plain = ntkc.compile(net)(X1, x2, ("ntk", "nngp"), **values)
    ours = gram(net, X1, x2, ("ntk", "nngp"), memory=SMALL, **values)
    stored = gram(net[2], X1, x2, ("ntk", "nngp"), out=tmp_path / "store", memory=SMALL, **values)
    for name in ("ntk", "nngp"):
        close(getattr(ours, name), getattr(plain, name))
        assert type(getattr(ours, name)) is np.ndarray
        np.testing.assert_array_equal(np.asarray(getattr(stored, name)), getattr(ours, name))
    if x2 is None:
        np.testing.assert_array_equal(ours.ntk, ours.ntk.T)
    assert stored._fields == ("ntk", "nngp")


def test_one_triangle_is_stored(made):
    assert made.header.plan.tile == (251, 251)
    assert [f"{f.parent.name}/{f.name}" for f in tile_files(made.path)] == [
        f"{i}/{j}" for i in range(4) for j in range(i + 1)
    ]
    whole = np.asarray(made)
    np.testing.assert_array_equal(whole, whole.T)
    np.testing.assert_array_equal(whole, build())


def test_any_zarr_reader(made):
    group = zarr.open_group(made.path, mode="r")
    ours, whole = group["ntk"][:], np.asarray(made)
    lower = np.tri(len(whole), dtype=bool)
    np.testing.assert_array_equal(ours[lower], whole[lower])
    assert np.isnan(ours[0, -1])
    assert group.attrs["ntkc_gram"]["stored_tiles"] == "lower triangle"


@pytest.mark.parametrize(
    ("key", "plain"),
    [
        ((3, 700), lambda k: k[3, 700]),
        (5, lambda k: k[5]),
        ((slice(None), -1), lambda k: k[:, -1]),
        ((slice(170, 400), slice(10, 999, 7)), lambda k: k[170:400, 10:999:7]),
        (([5, 600, 5], [700, 0]), lambda k: k[np.ix_([5, 600, 5], [700, 0])]),
        ((slice(None, None, -1), slice(3, 3)), lambda k: k[::-1, 3:3]),
        ((np.arange(1001) % 2 == 0, np.arange(1001) > 300), lambda k: k[::2, 301:]),
        (..., lambda k: k),
    ],
    ids=["number", "row", "column", "slices", "lists", "nothing", "masks", "all"],
)
def test_rows_and_columns(made, key, plain):
    ours, expected = made[key], plain(build())
    np.testing.assert_array_equal(ours, expected)
    assert np.shape(ours) == np.shape(expected)


def test_a_stored_gram_is_like_an_array(made):
    assert (made.shape, made.ndim, made.dtype, len(made)) == ((1001, 1001), 2, np.dtype("float32"), 1001)
    assert np.asarray(made, "float64").dtype == "float64"
    assert repr(made) == f"<StoredGram ntk 1001 x 1001 float32 in '{made.path}', 10 tiles of 251 x 251>"
    for key in ((0, 0, 0), np.zeros((2, 2), int), 1001, (0, [0, -1002])):
        with pytest.raises(IndexError):
            made[key]
    with pytest.raises(ValueError, match="copy"):
        np.asarray(made, copy=False)
    with pytest.raises(UnknownName, match="nngp"):
        StoredGram.open(made.path, "nngp")


@pytest.mark.slow
def test_images(tmp_path):
    convolutions = [stax.Conv(8, (3, 3), padding="SAME"), stax.Relu()]
    images = np.float32(RNG.standard_normal((300, 4, 4, 2)))
    net = stax.serial(*convolutions, stax.Flatten(), stax.Dense(1))
    stored = gram(net, images, out=tmp_path / "store", memory=SMALL)
    assert len(tile_files(stored.path)) > 1
    close(stored[:, :], net[2](images, None, "ntk"))
    with pytest.raises(ShapeMismatch, match="end the network with"):
        gram(stax.serial(*convolutions), images)


@pytest.mark.slow
def test_float64(x64, tmp_path):
    x = X1[:90].astype(float)
    stored = gram(LINEAR, x, X2[:20], "nngp", out=tmp_path / "store", b=0.3)
    assert stored.dtype == "float64"
    close(stored[:, :], ntkc.compile(LINEAR)(x, X2[:20], "nngp", b=0.3))


def test_data_are_checked_once(monkeypatch):
    checked = []

    def check_series(self, x1, x2, values):
        if not isinstance(x1, jax.core.Tracer):
            checked.append((x1.shape, x2, float(values["b"])))

    monkeypatch.setattr(ntkc.KernelProgram, "check_series", check_series)
    build()
    assert checked == [((1001, 5), None, np.float32(0.3))]


@pytest.mark.slow
def test_a_series_is_warned_of_once():
    softplus = stax.serial(stax.Dense(16), stax.Activation("softplus(x)"), stax.Dense(1))
    with pytest.warns(SeriesNotConverged) as caught:
        gram(softplus, 1e4 * X1, memory=SMALL)
    assert [Path(w.filename).name for w in caught] == [Path(__file__).name]


def test_bars_are_shown_when_asked_for(matrix, capfd):
    tile_files(matrix.path)[0].unlink()
    remake(matrix, progress=True)
    shown = capfd.readouterr().err
    assert "checksums, 1001 x 1001" in shown
    assert "gram, 251 x 251" in shown


# Going on after an interruption


def test_only_tiles_that_are_missing_are_computed(matrix, made):
    files = tile_files(matrix.path)
    lost = files[2:5]
    before = stamps(matrix.path)
    for file in lost:
        file.unlink()
    (lost[0].parent / (lost[0].name + PARTIAL)).write_bytes(b"half a tile")
    with pytest.raises(InvalidStore, match=r"tile \(2, 0\) of ntk .* is not there"):
        matrix[:]
    again = remake(matrix, memory="1GB")
    assert again.header == made.header
    assert [f for f, stamp in stamps(matrix.path).items() if stamp != before[f]] == lost
    assert not list(matrix.path.rglob("*" + PARTIAL))
    np.testing.assert_array_equal(np.asarray(again), np.asarray(made))


@pytest.mark.parametrize("damage", [lambda raw: raw[:-9], lambda raw: raw[:500] + b"\x01" + raw[501:], lambda raw: b""])
def test_a_corrupted_tile(matrix, made, damage):
    file = matrix.path / "ntk/c/2/1"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(CorruptedTile, match="ntk/c/2/1 fails its checksum"):
        matrix[300, 600]
    assert matrix[0, 0] == made[0, 0]
    with pytest.warns(StoreChanged, match=r"1 tile.* computed anew: \(2, 1\)") as caught:
        again = remake(matrix)
    assert [Path(w.filename).name for w in caught] == [Path(__file__).name]
    np.testing.assert_array_equal(np.asarray(again), np.asarray(made))


def test_metadata_that_is_missing_is_written(matrix):
    (matrix.path / "ntk/zarr.json").unlink()
    remake(matrix)
    assert zarr.open_group(matrix.path, mode="r")["ntk"].shape == (1001, 1001)


def test_another_version_is_told_of_when_it_computes(matrix, monkeypatch):
    monkeypatch.setattr(sys.modules[TileMaker.__module__], "version", lambda package: "0.99")
    remake(matrix)
    tile_files(matrix.path)[0].unlink()
    with pytest.warns(StoreChanged, match=r"goes on with .*0\.99.* the 1 tiles to come"):
        remake(matrix)


MANY = np.float32(RNG.standard_normal((3003, 5)))
"""Samples of 78 tiles and more."""
SERVER = """
import os, sys
sys.path.insert(0, sys.argv[1])
import test_gram
for line in sys.stdin:
    writer = os.fork()  # JAX has not started its threads yet
    if not writer:
        test_gram.build_many(sys.argv[3].split(","), sys.argv[2])
        os._exit(0)
    print(writer, flush=True)
    sys.stdin.readline()
    print(os.waitpid(writer, 0)[1], flush=True)
"""


def build_many(get, out=None):
    return gram(LINEAR, MANY, None, get, out, SMALL, b=0.3)


def server(get, folder):
    """A process that starts a writer of the store at each second line, and tells how it ended at the other ones."""
    folders = [str(Path(__file__).parent), str(Path(ntkc.__file__).parent.parent)]
    variables = {"PYTHONPATH": folders[1], "JAX_COMPILATION_CACHE_DIR": f"{folder} cache"}
    variables["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    command = [sys.executable, "-c", SERVER, folders[0], str(folder), ",".join(get)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, env={**os.environ, **variables}, text=True, bufsize=1, **pipes)


def kill_at_some_moment(process, folder, moments, most):
    """Wait for the first sign of work, or for up to `most` tiles more, and a little longer; how the writer ended."""
    wanted, is_early = len(tile_files(folder)) + moments.randrange(1, most), moments.random() < 0.2
    process.stdin.write("start\n")
    writer, deadline = int(process.stdout.readline()), time.monotonic() + 60
    while len(tile_files(folder)) < wanted and not (is_early and folder.exists()) and time.monotonic() < deadline:
        time.sleep(0.0005)
    time.sleep(moments.uniform(0, 0.01))
    os.kill(writer, signal.SIGKILL)
    process.stdin.write("tell\n")
    return int(process.stdout.readline())


def check_kills(tmp_path, get, count):
    """No tile that a kill left is unsound, none is written twice, and the end is the uninterrupted result."""
    folder, moments, before = tmp_path / "store", random.Random(count), {}
    with server(get, folder) as process:
        for _ in range(count):
            assert kill_at_some_moment(process, folder, moments, len(get) * 60 // count) == signal.SIGKILL
            after = stamps(folder, get)
            assert all(after[file] == stamp for file, stamp in before.items())
            assert all(is_sound(f, (251, 251) if len(get) == 1 else (177, 177), "float32") for f in tile_files(folder))
            before = after
        process.stdin.close()
    found, expected = build_many(get, folder), build_many(get)
    for ours, plain in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), plain)
    after = stamps(folder, get)
    assert all(after[file] == stamp for file, stamp in before.items())
    assert len(after) == len(get) * len(found.ntk.header.plan.tiles())
    assert not list(folder.rglob("*" + PARTIAL))


def test_killed_three_times(tmp_path):
    check_kills(tmp_path, ("ntk",), 3)


@pytest.mark.slow
def test_killed_twenty_times(tmp_path):
    check_kills(tmp_path, ("ntk", "nngp"), 20)


# Refusals


def test_a_second_writer(matrix):
    with one_writer(matrix.path), pytest.raises(StoreBusy, match=f"by process {os.getpid()} on "):
        remake(matrix)
    remake(matrix)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"b": 0.4}, "hyper-parameters"),
        ({"get": "nngp"}, "get"),
        ({"get": ("nngp", "ntk")}, "get"),
        ({"x2": X2}, "x2"),
        ({"resume": False}, "holds a store already"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_another_call(matrix, changes, words):
    before = stamps(matrix.path)
    with pytest.raises(InvalidStore, match=words):
        remake(matrix, **changes)
    assert stamps(matrix.path) == before


def test_other_data_or_another_program(matrix):
    other = X1.copy()
    other[-1, -1] += 1e-6
    for x in (other, X1[:-1], X1[:, :4]):
        with pytest.raises(InvalidStore, match="another x1:"):
            gram(LINEAR, x, out=matrix.path, b=0.3)
    with pytest.raises(InvalidStore, match="another program, hyper-parameters:"):
        gram(NET, X1, out=matrix.path)
    assert gram(LINEAR, jnp.asarray(X1), out=matrix.path, b=np.float32(0.3)).header == matrix.header


@pytest.mark.parametrize("name", ["notes.txt", "zarr.json", "c"])
def test_a_folder_of_others(tmp_path, name):
    folder = tmp_path / "folder"
    zarr.create_group(folder) if name == "zarr.json" else (folder / name).mkdir(parents=True)
    before = sorted(folder.rglob("*"))
    for call in (build, functools.partial(build, resume=False)):
        with pytest.raises(InvalidStore, match="is no store of"):
            call(out=folder)
    with pytest.raises(InvalidStore):
        StoredGram.open(folder)
    assert sorted(folder.rglob("*")) == before


def test_no_folder(tmp_path, matrix):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InvalidStore, match="no store"):
        build(out=tmp_path / "file")
    with pytest.raises(InvalidInput, match="not a URL"):
        build(out="s3://bucket/store")
    with pytest.raises(InvalidStore, match="holds no store"):
        StoredGram.open(tmp_path / "nothing")
    metadata = matrix.path / "zarr.json"
    metadata.write_text(metadata.read_text().replace('"format": 1', '"format": 7'))
    with pytest.raises(InvalidStore, match="format 7"):
        remake(matrix)


def test_a_read_only_folder(matrix, tmp_path, monkeypatch):
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o555)
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "open", failing(errno.EACCES))
    with pytest.raises(StoreUnwritable, match="is read-only; give another"):
        build(out=folder)
    assert not list(folder.iterdir())
    assert matrix[3, 4] == StoredGram.open(matrix.path)[3, 4]


def failing(number, after=0):
    """A function that raises an OSError, or that is `os.replace` for the first calls."""
    replace, calls = os.replace, []

    def fails(*args, **kwargs):
        calls.append(args)
        if len(calls) <= after:
            return replace(*args, **kwargs)
        raise OSError(number, os.strerror(number))

    return fails


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_full_disk(tmp_path, made, monkeypatch, name):
    """Two files of metadata and three tiles are written before the disk is full."""
    folder, after = tmp_path / "store", 5 if name == "replace" else 0
    with monkeypatch.context() as patch:
        patch.setattr(os, name, failing(errno.ENOSPC, after))
        with pytest.raises(StoreUnwritable, match=r"disk is full; free some space.*valid: call again"):
            build(out=folder)
    assert not list(folder.rglob("*" + PARTIAL))
    assert len(tile_files(folder)) == max(0, after - 2)
    assert all(is_sound(file, made.header.plan.tile, "float32") for file in tile_files(folder))
    np.testing.assert_array_equal(np.asarray(build(out=folder)), np.asarray(made))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"get": "cov1"}, UnknownName),
        ({"get": None}, UnknownName),
        ({"get": ()}, UnknownName),
        ({"c": 1.0}, UnknownName),
        ({"memory": "many"}, InvalidInput),
        ({"x2": X2[:, :3]}, ShapeMismatch),
        ({"x2": np.full((3, 5), np.nan)}, InvalidInput),
    ],
)
def test_bad_input_makes_no_folder(tmp_path, changes, error):
    with pytest.raises(error):
        build(out=tmp_path / "store", **changes)
    assert not (tmp_path / "store").exists()


def test_without_zarr(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    with pytest.raises(MissingExtra, match=r"ntkc\[store\]"):
        build(out=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_new_store_starts_in_an_empty_or_locked_folder(tmp_path):
    (tmp_path / LOCK).touch()
    stored = build(out=tmp_path, resume=False)
    store = Store(stored.path, stored.header)
    assert store.file("ntk", (0, 0)) == tmp_path / "ntk/c/0/0"
    assert read_tile(tmp_path / "ntk/c/0/0", (251, 251), "float32").shape == (251, 251)


# Memory

PEAK = """
import resource, sys
import numpy as np
from ntkc import stax
from ntkc.gram import gram
net = stax.serial(stax.Dense(16, 1.2, 0.1), stax.Relu(), stax.Dense(1, 1.1))
x = np.float32(np.random.default_rng(0).standard_normal((12_000, 50)))
gram(net, x[:3000], out=sys.argv[1] + "/first", memory="20MB")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
gram(net, x, out=sys.argv[1] + "/second", memory=float(sys.argv[2]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("memory", [1e8, 2.5e8])
def test_peak_memory(tmp_path, memory):
    """The matrix has 576 MB; XLA's compiler and the allocator keep up to 100 MB of their own."""
    variables = {**os.environ, "PYTHONPATH": str(Path(ntkc.__file__).parent.parent)}
    command = [sys.executable, "-c", PEAK, str(tmp_path), str(memory)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < memory + 1e8
