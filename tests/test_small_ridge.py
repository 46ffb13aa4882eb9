"""A ridge below the rounding of float32 entries: it is added in float64, and predictions are those of 40 digits."""

import numpy as np
import pytest
from mpmath import mp, mpf

import ntkc
from ntkc import predict, stax

RIDGE = 1e-5
S = np.linspace(0, 1, 16)
GRAM = np.exp(-2 * (S[:, None] - S) ** 2).astype(np.float32)
Y = np.sin(9 * S).astype(np.float32)


def in_digits(gram, y):
    """(G, y) in 40 digits."""
    entries = mp.matrix([[mpf(float(v)) for v in row] for row in gram])
    return entries + mpf(float(np.float32(RIDGE))) * mp.eye(len(y)), mp.matrix([mpf(float(v)) for v in y])


def test_likelihood_and_held_out_variances():
    with mp.workdps(40):
        G, y = in_digits(GRAM, Y)
        fit = (y.T * mp.lu_solve(G, y))[0]
        likelihood = -(fit + mp.log(mp.det(G)) + 16 * mp.log(2 * mp.pi)) / 2
        inverse = G**-1
        variances = [float(1 / inverse[i, i]) for i in range(16)]
    keywords = {"diag_reg": RIDGE, "diag_reg_absolute_scale": True}
    found = predict.gram_log_marginal_likelihood(GRAM, Y, **keywords)
    np.testing.assert_allclose(found, float(likelihood), rtol=1e-6)
    np.testing.assert_allclose(predict.leave_one_out(GRAM, Y, **keywords).variance, variances, rtol=1e-6)


@pytest.mark.parametrize("t", [None, 1e9])
def test_saved_modules_add_it_in_float64(t, tmp_path):
    program = ntkc.compile(stax.serial(stax.Dense(1, 1.0, 1.0), stax.Erf(), stax.Dense(1)))
    names = {}
    exec(program.save(tmp_path / "kernel.py").read_text(), names)
    x = np.stack([S, 1 - S**2], 1).astype(np.float32)
    gram = np.asarray(names["nngp"](x))
    with mp.workdps(40):
        G, y = in_digits(gram, Y)
        expected = np.array([float(v) for v in mp.lu_solve(G, y)])
    predicted = names["fit"](x, Y, ridge=1e-4, get="nngp", t=t)(x)
    assert np.isfinite(predicted).all()
    weights = names["weights_of"](gram, Y[:, None], RIDGE, t)[:, 0]
    np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
