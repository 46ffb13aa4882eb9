"""commute: sums move below the maps of pixels that all their operands are, where nothing else has a rule."""

import numpy as np
import pytest

from ntkc import stax
from ntkc.frontends import to_graph
from ntkc.ir.graph import GraphBuilder, op_of, operands, ordered
from ntkc.layers.activations import Relu
from ntkc.layers.branching import FanInSum
from ntkc.layers.conv import Conv
from ntkc.layers.inputs import Input
from ntkc.layers.pooling import AvgPool
from ntkc.passes.commute import commute
from ntkc.passes.settle import masked, on_data, settle

C, R = stax.Conv(4, (2, 2), W_std=1.3, b_std=0.2), stax.Relu()
POOL = stax.AvgPool((2, 2))
SHAPE = (6, 6, 2)


def sum_of(*branches):
    return stax.serial(stax.FanOut(len(branches)), stax.parallel(*branches), stax.FanInSum())


def settled(net):
    return settle(on_data(to_graph(net), [SHAPE]))


def layers(graph):
    return [type(op_of(graph, n)).__name__ for n in ordered(graph)]


def test_the_map_of_a_sum():
    graph = settled(sum_of(stax.serial(C, R, POOL), stax.serial(C, R, POOL)))
    moved = commute(graph)
    assert layers(graph).count("AvgPool") == 2
    assert layers(moved)[-2:] == ["FanInSum", "AvgPool"]
    assert layers(moved).count("AvgPool") == 1


def test_maps_of_maps():
    branch = stax.serial(C, R, POOL, stax.Flatten())
    assert layers(commute(settled(sum_of(branch, branch))))[-3:] == ["FanInSum", "AvgPool", "FlattenPixels"]


def test_a_map_that_others_read_stays():
    builder = GraphBuilder()
    source = builder.add(Input(2, (6, 6)))
    conv = [builder.add(Conv(4, (2, 2)), [source]) for _ in range(2)]
    pools = [builder.add(AvgPool((2, 2)), [builder.add(Relu(), [u])]) for u in conv]
    other = builder.add(Conv(4, (1, 1)), [pools[0]])
    total = builder.add(FanInSum(), [builder.add(FanInSum(), pools), other])
    moved = commute(builder.finish(total))
    assert operands(moved, other) == (pools[0],)
    assert layers(moved).count("AvgPool") == 2


@pytest.mark.parametrize(
    "net",
    [
        sum_of(stax.serial(C, POOL), stax.serial(C, R, POOL)),
        sum_of(stax.serial(C, R, POOL), stax.serial(C, R, stax.SumPool((2, 2)))),
        sum_of(POOL, POOL),
        stax.serial(C, R, POOL),
    ],
    ids=["one mean is 0", "other maps", "raw data", "no sum"],
)
def test_what_stays(net):
    graph = settled(net)
    assert commute(graph) is graph


def test_masked_pixels_have_weights_of_their_own():
    graph = masked(settled(sum_of(stax.serial(C, R, POOL), stax.serial(C, R, POOL))))
    assert commute(graph) is graph


def images():
    return np.random.default_rng(0).standard_normal((3, *SHAPE)).astype(np.float32)


def test_a_sum_with_itself():
    """y + y = 2 y."""
    once = stax.serial(C, R, POOL)
    twice = stax.serial(once, sum_of(stax.Identity(), stax.Identity()))
    for get in ("nngp", "ntk"):
        np.testing.assert_allclose(twice[2](images(), None, get), 4 * once[2](images(), None, get), rtol=1e-5)


def test_kernel_says_what_the_output_is():
    kernel = sum_of(stax.serial(C, R, POOL), stax.serial(C, R, POOL))[2](images())
    assert not kernel.is_gaussian
    assert not kernel.is_input
    assert kernel.shape1 == (3, 4, 4, 4)
