"""Per-sample parts of pairs: the text of what is moved, and unchanged numbers."""

import jax
import numpy as np
import pytest
import sympy as sp

import ntkc
from ntkc import stax
from ntkc.backends.jax import emit
from ntkc.gaussian.certificates import TOLERANCES
from ntkc.ir.program import Loop
from ntkc.passes.prune import prune
from ntkc.passes.schedule import Schedule


def dense(**extra):
    return stax.Dense(9, 1.3, 0.2, **extra)


NETS = {
    "gelu": stax.serial(dense(), stax.Gelu(), dense()),
    "gelu deep": stax.serial(dense(), *[stax.Gelu(), dense()] * 6),
    "waves": stax.serial(dense(), stax.Sin(), dense()),
    "open": stax.serial(dense(), stax.Activation(sp.erf(sp.Symbol("w") * sp.Symbol("x")) * sp.Symbol("x")), dense()),
}
MOVED = {
    "gelu": ["i_gelu1 = 1/(q_dense1 + 1)"],
    "gelu deep": ["i_gelu1 = 1/(q_dense1 + 1)", "i_gelu2 = 1/(q_beforegelu2 + 1)"],
    "open": ["i_activation1 = q_dense1 + 1/(2*w**2)", "i_activation1_2 = 1/(q_dense1 + 1/(2*w**2))"],
}


def stages(name):
    return (ntkc.compile(NETS[name], until=stage) for stage in ("series", "hoist"))


@pytest.mark.parametrize("name", MOVED)
def test_what_is_moved(name):
    _, after = stages(name)
    lines = [line.strip() for line in after.text().splitlines()]
    for text in MOVED[name]:
        assert text in lines
    assert sum(line.startswith("i_") for line in lines) >= len(MOVED[name])


@pytest.mark.parametrize("net", [[stax.Relu()], [stax.Relu(), dense(), stax.Relu()], [stax.Monomial(3)]], ids=str)
def test_sums_and_products_stay(net):
    net = stax.serial(dense(), *net, dense())
    before, after = (ntkc.compile(net, until=stage) for stage in ("series", "hoist"))
    assert after.text() == before.text()


def test_vectors_of_a_loop_are_kept_for_every_turn():
    _, after = stages("gelu deep")
    (loop,) = (s for s in after.per_sample if isinstance(s, Loop))
    assert "i_gelu2" in [key.name for key in loop.stacked]
    assert "i_gelu2" in [let.dst.name for let in loop.body]


LONG = ("gelu deep", "gelu", "open")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in NETS])
def test_numbers_are_the_same(name, pair, x64):
    values = []
    for program in stages(name):
        module = {}
        exec(emit(prune(program), Schedule(), name, TOLERANCES), module)
        parameters = {"w": 0.7} if program.parameters else {}
        x1, x2 = (np.vstack([x, np.zeros((1, 6))]) for x in pair)
        values.append(np.stack(module["kernel"](x1, x2, **parameters)))
        gradient = jax.grad(lambda x, m=module, p=parameters: m["ntk"](x, pair[1], **p).sum())(x1)
        assert np.isfinite(gradient).all()
    np.testing.assert_allclose(values[1], values[0], rtol=1e-13, atol=1e-13)
