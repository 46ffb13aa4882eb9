"""Entries of weights  ->  initialisers."""

import numpy as np
import pytest

import ntkc
from ntkc.importers.initialisers import Fans, Moments, matches, top_singular

RNG = np.random.default_rng(0)
FANS = Fans(300, 500)


def cut_normal(shape):
    x = RNG.standard_normal((4, *shape))
    return np.take_along_axis(x, np.argmax(np.abs(x) < 2, 0)[None], 0)[0]


@pytest.mark.parametrize(
    ("entries", "label"),
    [
        (RNG.uniform(-1, 1, (300, 500)) / 300**0.5, "1/(3 fan_in), default of torch and Equinox"),
        (RNG.standard_normal((300, 500)) / 300**0.5, "LeCun, 1/fan_in"),
        (RNG.standard_normal((300, 500)) * (2 / 300) ** 0.5, "He, 2/fan_in"),
        (RNG.uniform(-1, 1, (300, 500)) * (6 / 300) ** 0.5, "He, 2/fan_in"),
        (RNG.standard_normal((300, 500)) * (2 / 500) ** 0.5, "He, 2/fan_out"),
        (RNG.uniform(-1, 1, (300, 500)) * (6 / 800) ** 0.5, "Glorot, 2/(fan_in + fan_out)"),
        (RNG.standard_normal((300, 500)), "N(0, 1)"),
        (RNG.standard_normal((300, 500)) * 0.02, "N(0, 0.02^2)"),
        (cut_normal((300, 500)) / 300**0.5, "N(0, 1/fan_in) cut at 2 deviations, default of Haiku"),
    ],
)
def test_known_initialisers(entries, label):
    assert [name for name, _ in matches(Moments.of(entries), FANS)] == [label]


def test_others_are_measured():
    assert matches(Moments.of(0.1234 * RNG.standard_normal((300, 500))), FANS) == []


@pytest.mark.parametrize("law", ["uniform", "normal", "truncated normal"])
def test_laws(law):
    draw = {"uniform": RNG.uniform(-1, 1, (200, 200)), "normal": RNG.standard_normal((200, 200))}
    assert Moments.of(draw.get(law, cut_normal((200, 200)))).law == law


def test_moments_in_blocks_are_those_of_the_whole():
    entries = RNG.standard_normal((1000, 700)) + 0.5
    moments = Moments.of(entries)
    assert moments.mean == pytest.approx(entries.mean())
    assert moments.variance == pytest.approx(entries.var())
    assert moments.has_mean


def test_of_large_arrays_some_rows_are_read():
    entries = RNG.standard_normal((3000, 700))
    moments = Moments.of(entries)
    assert moments.count < entries.size
    assert moments.variance == pytest.approx(1, abs=0.01)
    entries[1, 1] = np.nan
    assert np.isnan(Moments.of(entries).mean)


def test_singular_values_tell_trained_and_orthogonal_matrices():
    matrix = RNG.standard_normal((128, 128))
    orthogonal, _ = np.linalg.qr(matrix)
    trained = matrix + 3 * np.outer(*RNG.standard_normal((2, 128)))
    sizes = [top_singular(m, m.var()) for m in (matrix, orthogonal, trained)]
    assert 0.85 < sizes[0] < 1.1
    assert sizes[1] == pytest.approx(0.5, abs=0.02)
    assert sizes[2] > 1.3


def imported(w):
    x = np.ones((2, w.shape[0]))
    return ntkc.from_jax(lambda p, x: np.ones(1) * (x @ p["w"]), {"w": w}, x)


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (lambda w: w + 0.02, "w has mean 0.0"),
        (lambda w: np.linalg.qr(w)[0], "w looks orthogonal"),
        (lambda w: w + 0.3 * np.outer(*RNG.standard_normal((2, 128))), "w is no matrix of independent entries"),
    ],
)
def test_warnings(change, warning):
    made = imported(change(RNG.standard_normal((128, 128)) / 128**0.5))
    assert any(warning in w for w in made.warnings)


def test_narrow_layers_are_warned_of():
    params = {"w": RNG.standard_normal((20, 16)) / 20**0.5, "v": RNG.standard_normal((16, 1)) / 4}
    made = ntkc.from_jax(lambda p, x: np.ones(1) * (x @ p["w"]) @ p["v"], params, np.ones((2, 20)))
    assert any("fewer than 64 channels" in w for w in made.warnings)


def test_few_entries_are_read_as_the_other_layers_are():
    """8 entries are those of many initialisers; 20 x 256 ones are not."""
    params = {
        "w": RNG.standard_normal((256, 256)) * (2 / 256) ** 0.5,
        "v": RNG.standard_normal((256, 1)) * (2 / 256) ** 0.5,
    }
    made = ntkc.from_jax(lambda p, x: np.ones(1) * (x @ p["w"]) @ p["v"], params, np.ones((2, 256)))
    assert [r.read_as for r in made.readings] == ["W_std^2 = 2", "W_std^2 = 2"]
