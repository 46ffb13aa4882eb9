"""ONNX models, and what strangers may put into their files."""

import json

import numpy as np
import pytest

import ntkc
from ntkc import cli

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

RNG = np.random.default_rng(0)
IMAGES = np.float32(RNG.standard_normal((2, 3, 8, 8)))


def uniform(*shape, fan_in):
    return np.float32(RNG.uniform(-1, 1, shape) / fan_in**0.5)


WEIGHTS = {
    "k": uniform(64, 3, 3, 3, fan_in=27),
    "b": uniform(64, fan_in=27),
    "w": uniform(10, 1024, fan_in=1024),
    "c": uniform(10, fan_in=1024),
}
NODES = (
    ("Conv", ["x", "k", "b"], "y", {"pads": [1, 1, 1, 1]}),
    ("Relu", ["y"], "z", {}),
    ("AveragePool", ["z"], "p", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("Flatten", ["p"], "f", {}),
    ("Gemm", ["f", "w", "c"], "out", {"transB": 1}),
)


def model(nodes=NODES, weights=WEIGHTS, shape=("n", 3, 8, 8)):
    made = [helper.make_node(op, given, [out], name=f"{op.lower()}_{out}", **more) for op, given, out, more in nodes]
    sizes = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    output = [helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, None)]
    tensors = [numpy_helper.from_array(v, name) for name, v in weights.items()]
    return helper.make_model(helper.make_graph(made, "g", sizes, output, tensors))


def written(folder, made=None):
    path = folder / "model.onnx"
    path.write_bytes((made or model()).SerializeToString())
    return path


REPORT = """\
                                             4 parameters, 6 layers
┏━━━━━━━━━━━┳━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━┳━━━━━━━┓
┃ parameter ┃ shape          ┃ initialisation                                       ┃ read as          ┃ notes ┃
┡━━━━━━━━━━━╇━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━╇━━━━━━━┩
│ k         │ 64 x 3 x 3 x 3 │ 1/(3 fan_in), default of torch and Equinox (uniform) │ W_std^2 = 1/3    │       │
│ b         │ 64             │ 1/(3 fan_in), default of torch and Equinox (uniform) │ b_std^2 = 1/81   │       │
│ w         │ 10 x 1024      │ 1/(3 fan_in), default of torch and Equinox (uniform) │ W_std^2 = 1/3    │       │
│ c         │ 10             │ 1/(3 fan_in), default of torch and Equinox (uniform) │ b_std^2 = 1/3072 │       │
└───────────┴────────────────┴──────────────────────────────────────────────────────┴──────────────────┴───────┘
"""


def test_report():
    assert str(ntkc.from_onnx(model()).report) == REPORT


def test_kernel_of_a_file_and_of_a_model(tmp_path):
    found = ntkc.compile(str(written(tmp_path)))(IMAGES, None, "ntk")
    np.testing.assert_allclose(ntkc.compile(model())(IMAGES, None, "ntk"), found)
    assert np.linalg.eigvalsh(found).min() > 0


def test_command_line(tmp_path, capsys):
    path, target = written(tmp_path), tmp_path / "net.json"
    assert cli.main(["import", str(path), "-o", str(target), "--report"]) == 0
    printed = capsys.readouterr().out
    assert "W_std^2 = 1/3" in printed
    assert "6 layers" in printed
    assert json.loads(target.read_text())["nodes"][0]["channel_axis"] == 1
    assert cli.main(["derive", str(path)]) == 0
    derived = capsys.readouterr().out
    assert cli.main(["derive", str(target)]) == 0
    assert capsys.readouterr().out == derived
    assert cli.main(["import", str(path), "-o", str(target)]) == 2
    assert "--force" in capsys.readouterr().err


def test_batch_norm_with_running_statistics():
    ones = np.ones(64, np.float32)
    weights = {**WEIGHTS, "g": ones, "h": 0 * ones, "m": 0 * ones, "v": ones}
    nodes = (NODES[0], ("BatchNormalization", ["y", "g", "h", "m", "v"], "n", {}), ("Relu", ["n"], "z", {}), *NODES[2:])
    names = [r.name for r in ntkc.from_onnx(model(nodes, weights)).readings]
    assert sorted(names) == ["b", "c", "g", "h", "k", "w"]


@pytest.mark.parametrize("count", [0, 1, 100, 4000])
def test_truncated_files(tmp_path, count):
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:count])
    with pytest.raises(ntkc.errors.InvalidGraph, match="is no ONNX model"):
        ntkc.from_onnx(path)


def test_random_bytes_raise_errors_of_ntkc(tmp_path):
    whole = bytearray(written(tmp_path).read_bytes())
    path = tmp_path / "changed.onnx"
    for place in RNG.integers(0, 400, 60):
        changed = bytearray(whole)
        changed[-int(place) - 1] ^= int(RNG.integers(1, 256))
        path.write_bytes(changed)
        try:
            ntkc.from_onnx(path)
        except ntkc.errors.NtkcError:
            continue


def external(folder, location, offset=0, length=None, dims=(64, 3, 3, 3)):
    made = model()
    tensor = next(t for t in made.graph.initializer if t.name == "k")
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.dims[:]
    tensor.dims.extend(dims)
    entries = {"location": location, "offset": str(offset), "length": str(length or len(data))}
    for key, value in entries.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    (folder / "weights.bin").write_bytes(data)
    return written(folder, made)


def test_external_data_in_the_folder(tmp_path):
    found = ntkc.from_onnx(external(tmp_path, "weights.bin"))
    assert found.readings[0].read_as == "W_std^2 = 1/3"


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "link.bin", "missing.bin", "", "."])
def test_external_data_stay_in_the_folder(tmp_path, location):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(10**5))
    (home / "link.bin").symlink_to(tmp_path / "weights.bin")
    with pytest.raises(ntkc.errors.InvalidGraph, match="are no file in the folder of the model"):
        ntkc.from_onnx(external(home, location))


@pytest.mark.parametrize(
    "given", [{"offset": 8}, {"length": 10**12}, {"length": 4}, {"dims": (64, 3, 3, 10**6)}, {"dims": (-1, 3, 3, 3)}]
)
def test_sizes_of_external_data(tmp_path, given):
    with pytest.raises(ntkc.errors.InvalidGraph, match=r"tensor 'k' (of|has) shape"):
        ntkc.from_onnx(external(tmp_path, "weights.bin", **given))


def test_a_model_without_its_folder_has_no_external_data(tmp_path):
    made = onnx.load_model(str(external(tmp_path, "weights.bin")), load_external_data=False)
    with pytest.raises(ntkc.errors.InvalidGraph, match="give the path of the model"):
        ntkc.from_onnx(made)


@pytest.mark.parametrize("dims", [(2**40,), (64, 3, 3, 4)])
def test_sizes_are_checked_before_anything_is_made(dims):
    made = model()
    tensor = made.graph.initializer[0]
    del tensor.dims[:]
    tensor.dims.extend(dims)
    with pytest.raises(ntkc.errors.InvalidGraph, match="tensor 'k'"):
        ntkc.from_onnx(made)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            (*NODES[:4], ("Gemm", ["f", "w", "gone"], "out", {"transB": 1})),
            "reads 'gone', which nothing before it makes",
        ),
        ((*NODES[:1], ("LSTM", ["y"], "out", {})), r"lstm_out \(LSTM\): the operation LSTM has no rule"),
        (
            (*NODES[:2], ("MaxPool", ["z"], "out", {"kernel_shape": [2, 2]})),
            r"maxpool_out \(MaxPool\): a max pool has no closed form",
        ),
    ],
)
def test_refusals(nodes, message):
    with pytest.raises(ntkc.errors.NtkcError, match=message):
        ntkc.from_onnx(model(nodes))


def test_a_shape_that_the_model_does_not_say():
    made = model(shape=("n", 3, "h", "w"))
    with pytest.raises(ntkc.errors.InvalidInput, match="give example=x"):
        ntkc.from_onnx(made)
    assert len(ntkc.from_onnx(made, example=IMAGES).graph) == 6
