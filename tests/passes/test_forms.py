"""Which pairs of pixels each stream keeps: F all pairs along an axis, D equal pixels; entries are counted."""

from dataclasses import replace

import pytest

import ntkc
from ntkc import stax
from ntkc.ir.maps import Level, Local, Patch, Pick, Place, Take, Total, Trace, Window
from ntkc.ir.streams import SAMPLE, Kind, Stream
from ntkc.passes.carry_gap import carry_gap
from ntkc.passes.forms import count_entries, find_forms, inner_form, joined, letter_of, step_of
from ntkc.passes.prune import prune

SHAPE = (4, 3, 2)
R, FLAT, MEAN, D = stax.Relu(), stax.Flatten(), stax.GlobalAvgPool(), stax.Dense(1, 1.1)
POOL = stax.AvgPool((2, 2), None, "SAME")


def conv(filter_shape=(3, 3)):
    return stax.Conv(4, filter_shape, None, "SAME", 1.2, 0.1)


def block(*layers):
    return stax.serial(stax.FanOut(2), stax.parallel(stax.serial(*layers), stax.Identity()), stax.FanInSum())


def named(program, diagonal=False):
    """{"K_conv1": its form}."""
    return {key.name: form for key, form in find_forms(program, diagonal).of.items()}


def in_covariances(*layers, shape=SHAPE):
    """The program as it is before gaps stand for covariances."""
    return prune(ntkc.compile(stax.serial(*layers), until="lower", input_shape=shape))


def forms_of(*layers, diagonal=False):
    return named(in_covariances(*layers), diagonal)


def of_streams(forms, *letters):
    """{form of a stream}, for streams of these letters that have pixels."""
    return {form for name, form in forms.items() if name.split("_")[0] in letters and form}


def test_a_net_that_ends_in_flatten_carries_diagonals_only():
    forms = forms_of(conv(), R, conv(), R, FLAT, D)
    assert of_streams(forms, "K", "T") == {"DD"}
    assert not of_streams(forms, "w")
    assert forms["K_input1"] == "DD"
    assert forms["K_dense1"] == ""


def test_a_net_that_ends_in_a_global_pool_carries_all_pairs():
    forms = forms_of(conv(), R, conv(), R, MEAN, D)
    assert of_streams(forms, "K", "T") == {"FF"}
    assert forms["K_globalavgpool1"] == forms["T_dense1"] == ""


@pytest.mark.parametrize("after", [(), (POOL,), (POOL, conv())], ids=["global pool", "pool", "pool, conv"])
def test_without_a_nonlinearity_after_a_pool_pairs_need_no_covariance_within_a_sample(after):
    program = in_covariances(conv(), R, conv(), R, *after, MEAN, D)
    assert of_streams(named(program), "w") == {"FF"}
    pairs = prune(replace(program, outputs={get: program.outputs[get] for get in ("nngp", "ntk")}))
    assert {k for k, form in named(pairs).items() if k[0] == "w" and form == "FF"} == set()
    assert [s.dst.kind for s in pairs.per_sample if s.dst.kind not in (Kind.S, Kind.I)] == []


def test_with_a_nonlinearity_after_a_pool_they_do():
    program = in_covariances(conv(), R, POOL, conv(), R, FLAT)
    pairs = prune(replace(program, outputs={get: program.outputs[get] for get in ("nngp", "ntk")}))
    assert {k for k, form in named(pairs).items() if k[0] == "w" and form == "FF"} == {
        "w_input1",
        "w_conv1",
        "w_relu1",
    }


def test_a_pool_in_the_middle_has_all_pairs_above_it_and_diagonals_below():
    forms = forms_of(conv(), R, POOL, conv(), R, FLAT, D)
    above, below = ("input1", "conv1", "relu1"), ("avgpool1", "conv2", "relu2")
    assert {forms[f"K_{n}"] for n in above} == {forms[f"w_{n}"] for n in above} == {"FF"}
    assert {forms[f"K_{n}"] for n in below} == {forms[f"T_{n}"] for n in below} == {"DD"}
    assert not {f"w_{n}" for n in below} & set(forms)


@pytest.mark.parametrize(("head", "form"), [(MEAN, "FF"), (FLAT, "DD")], ids=["mean", "flatten"])
def test_loops_carry_one_form(head, form):
    program = in_covariances(*[conv(), R] * 6, head)
    forms = find_forms(program).of
    (loop,) = (s for s in program.per_pair if hasattr(s, "body"))
    assert loop.count == 5
    for carry in loop.carry:
        assert {forms[getattr(carry, part)] for part in ("start", "end", "after")} == {form}


def test_a_residual_block_has_the_form_of_its_reader():
    assert of_streams(forms_of(conv(), block(R, conv()), R, FLAT), "K", "T") == {"DD"}
    assert of_streams(forms_of(conv(), block(R, conv()), R, MEAN), "K", "T") == {"FF"}


def test_a_part_of_an_axis_is_a_diagonal():
    forms = forms_of(conv(), R, stax.Index(stax.Slice[:, 1]), FLAT)
    assert forms["K_index1"] == "D"
    assert forms["K_relu1"] == forms["K_conv1"] == "DD"


def test_local_filters_read_diagonals():
    forms = forms_of(conv(), R, stax.ConvLocal(4, (3, 3), None, "SAME"), R, MEAN)
    assert forms["K_relu2"] == "FF"
    assert forms["K_relu1"] == forms["K_conv1"] == "DD"


def test_attention_reads_all_pairs():
    forms = forms_of(conv(), R, stax.GlobalSelfAttention(4, 4, 4, 2), FLAT)
    assert forms["K_globalselfattention1"] == "DD"
    assert forms["K_relu1"] == forms["T_relu1"] == forms["w_relu1"] == "FF"
    assert forms["z_globalselfattention1"] == "FF"


def test_outputs_of_pixels_are_pairs_or_diagonals():
    assert of_streams(forms_of(conv(), R), "K", "T") == {"FF"}
    assert of_streams(forms_of(conv(), R, diagonal=True), "K", "T") == {"DD"}


@pytest.mark.parametrize(
    ("form", "sizes", "entries"),
    [
        *[("", (), 1), ("D", (5,), 5), ("F", (5,), 25), ("DD", (4, 3), 12), ("FD", (4, 3), 48), ("FF", (4, 3), 144)],
        *[("2", (6,), 18), ("3", (6,), 12), ("2F", (6, 3), 162), ("2D", (6, 3), 54)],
    ],
)
def test_count_entries(form, sizes, entries):
    assert count_entries(form, sizes) == entries


def test_entries_of_keys_and_the_report():
    net = stax.serial(conv(), R, FLAT, D)
    forms = ntkc.compile(net, until="forms", input_shape=SHAPE)
    assert forms.entries(Stream(Kind.K, "conv1")) == 12
    assert forms.entries(Stream(Kind.T, "dense1")) == 1
    assert forms.entries(Stream(Kind.S, "conv1", side=SAMPLE)) == 12
    (report,) = (r.what for r in ntkc.compile(net, input_shape=SHAPE).stages if r.stage == "forms")
    # Distance, K and T of conv and K and T of relu with 12 entries each, K and T of flatten and dense with one.
    assert report.startswith("64 entries a pair, 724 if all were full: eta_conv1 DD 12, K_conv1 DD 12, ")


def strided(stride):
    return stax.Conv(4, (3, 3), stride, "SAME", 1.2, 0.1)


@pytest.mark.parametrize(
    ("strides", "shape", "letters"),
    [
        ([(2, 2)], (8, 8, 2), ["22", "FF"]),
        ([(2, 2), (2, 2)], (8, 8, 2), ["44", "22", "FF"]),
        ([(2, 1), (1, 2)], (8, 8, 2), ["22", "F2", "FF"]),
        ([(3, 3), (3, 1)], (9, 9, 2), ["33", "FF", "FF"]),
        ([(2, 2)], (7, 5, 2), ["FF", "FF"]),
    ],
    ids=str,
)
def test_above_strides_pairs_are_kept_mod_s(strides, shape, letters):
    """Where s divides the pixels; above a stride of one after that, too."""
    layers = [layer for s in strides for layer in (strided(s), R)]
    forms = named(in_covariances(*layers, MEAN, shape=shape))
    assert [forms["K_input1"], *(forms[f"K_conv{i + 1}"] for i in range(len(strides)))] == letters


def test_above_strides_a_diagonal_stays_one():
    program = in_covariances(strided((2, 2)), R, strided((2, 2)), R, FLAT, shape=(8, 8, 2))
    assert of_streams(named(program), "K", "T") == {"DD"}


def test_steps_and_letters():
    assert [step_of(f, 6) for f in "FD23"] == [1, 6, 2, 3]
    assert [letter_of(s, 6) for s in (1, 2, 3, 4, 6, 12)] == ["F", "2", "3", "F", "F", "F"]
    assert letter_of(11, 22) == "F"


@pytest.mark.parametrize(
    ("maps", "form", "inner"),
    [
        ((Patch(3, 2, 0, 1), Patch(3, 1, 1, 1)), "FF", "2F"),
        ((Patch(3, 2, 0, 1), Patch(3, 3, 0, 0)), "2F", "4F"),
        ((Patch(3, 2, 1, 1, interior=2), Take((0, 2))), "2D", "FD"),
        ((Patch(3, 1, 1, 1), Patch()), "FD", "FD"),
        ((Local(3, 1, 1, 1), Patch()), "FF", "DF"),
        ((Window(2, 1, 0, 0, False, (0.5,)), Take((0, 2))), "DD", "FD"),
        ((Total(0.5), Total(0.5)), "", "FF"),
        ((Trace(0.5), Trace(0.5)), "", "DD"),
        ((Pick(1), Place(0, 9)), "F", "DF"),
        ((Level(), Patch()), "FD", "DD"),
    ],
)
def test_inner_form(maps, form, inner):
    assert inner_form(maps, form, (8, 8)) == inner


def test_joined():
    assert [joined(a, b) for a, b in (("DD", "DD"), ("DF", "FD"), ("FD", "DD"), ("", ""))] == ["DD", "FF", "FD", ""]
    assert [joined(a, b) for a, b in (("2", "4"), ("2", "3"), ("2", "D"), ("F", "2"))] == ["2", "F", "2", "F"]


OF_GAPS = {Kind.E: Kind.K, Kind.J: Kind.W}
"""Distances, and the covariances that they stand for."""


def test_gaps_change_no_form():
    """Streams that stay have the form that they had, distances that of covariances."""
    program = ntkc.compile(stax.serial(conv(), R, POOL, conv(), R, MEAN), until="lower", input_shape=SHAPE)
    before, after = find_forms(program).of, find_forms(carry_gap(program)).of
    places = [(key, key.of(OF_GAPS.get(key.kind, key.kind)), form) for key, form in after.items()]
    assert {form for key, place, form in places if before.get(place, form) != form} == set()
    assert {(place.kind, place.node) for _, place, _ in places} >= {
        (kind, node) for kind in (Kind.K, Kind.T) for node in ("conv1", "relu1", "avgpool1", "conv2", "relu2")
    }
