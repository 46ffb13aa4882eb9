"""The demo: data files, splits, LaTeX to MathML, drawings, the page, and the accuracy on real digits."""

import re
import runpy
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import ntkc
from ntkc import cli, stax
from ntkc.demo.architectures import architectures
from ntkc.demo.data import load, split, stratified
from ntkc.demo.drawing import draw
from ntkc.demo.mathml import mathml
from ntkc.demo.page import formula_markup
from ntkc.demo.study import KERNELS, evaluate
from ntkc.errors import InvalidInput, UnsupportedExpr

LAST_LINE = re.compile(r"best test accuracy (\d+\.\d\d) % \([a-z0-9 ]+, (?:NNGP|NTK)\)")
VOID = {"meta", "img"}


def blobs(n=96, features=16, classes=3):
    """Separable classes, whole-number pixels."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % classes
    centres = rng.integers(0, 12, (classes, features))
    return centres[y] + rng.integers(0, 4, (n, features)), y


# mathml


@pytest.mark.parametrize(
    ("latex", "markup"),
    [
        ("x", "<mi>x</mi>"),
        ("12.5", "<mn>12.5</mn>"),
        (r"\theta", "<mi>θ</mi>"),
        (r"\Theta", "<mi>Θ</mi>"),
        (r"\lambda", "<mi>λ</mi>"),
        ("x^2", "<msup><mrow><mi>x</mi></mrow><mn>2</mn></msup>"),
        ("q_{1}^{2}", "<msubsup><mrow><mi>q</mi></mrow><mn>1</mn><mn>2</mn></msubsup>"),
        (r"x^{\prime}", "<msup><mrow><mi>x</mi></mrow><mo>′</mo></msup>"),
        ("x'", "<msup><mrow><mi>x</mi></mrow><mo>′</mo></msup>"),
        (r"x^\top", "<msup><mrow><mi>x</mi></mrow><mi>⊤</mi></msup>"),
        (r"\frac{1}{\pi}", "<mfrac><mn>1</mn><mi>π</mi></mfrac>"),
        (r"\sqrt{2}", "<msqrt><mn>2</mn></msqrt>"),
        (r"\sqrt[3]{x}", "<mroot><mi>x</mi><mn>3</mn></mroot>"),
        (r"\operatorname{erf}", '<mi mathvariant="normal">erf</mi>'),
        (r"\text{for all } x", "<mrow><mtext>for\xa0all\xa0</mtext><mi>x</mi></mrow>"),
        (r"\mathbb{E}", "<mi>𝔼</mi>"),
        (r"\mathcal{N}", "<mi>𝒩</mi>"),
        ("a < b", "<mrow><mi>a</mi><mo>&lt;</mo><mi>b</mi></mrow>"),
        (
            r"p \bmod 2",
            '<mrow><mi>p</mi><mo lspace="0.3em" rspace="0.3em">mod</mo><mn>2</mn></mrow>',
        ),
        (
            r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}",
            '<mrow><mo fence="true" stretchy="true">(</mo><mtable class="pmatrix" displaystyle="false">'
            "<mtr><mtd><mi>a</mi></mtd><mtd><mi>b</mi></mtd></mtr><mtr><mtd><mi>c</mi></mtd><mtd><mi>d</mi></mtd></mtr>"
            '</mtable><mo fence="true" stretchy="true">)</mo></mrow>',
        ),
        (r"a \cdot b - 1", "<mrow><mi>a</mi><mo>·</mo><mi>b</mi><mo>−</mo><mn>1</mn></mrow>"),
        (
            r"\left(x\right)",
            '<mrow><mo fence="true" stretchy="true">(</mo><mi>x</mi><mo fence="true" stretchy="true">)</mo></mrow>',
        ),
    ],
)
def test_mathml(latex, markup):
    assert mathml(latex) == f'<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">{markup}</math>'


def test_mathml_sets_equations_in_rows_of_two_cells():
    table = ET.fromstring(
        mathml(r"\begin{aligned} a &= \arccos\left(b\right) \\[2pt] c &= \lVert d \rVert \\ \end{aligned}")
    )
    rows = [[child.tag.split("}")[1] for child in row] for row in table.iter("{http://www.w3.org/1998/Math/MathML}mtr")]
    assert rows == [["mtd", "mtd"], ["mtd", "mtd"]]


@pytest.mark.parametrize(
    ("latex", "named"),
    [
        (r"\mystery{x}", r"\\mystery"),
        (r"\begin{tikzpicture}x\end{tikzpicture}", "tikzpicture"),
        (r"\frac{1}{2", "}"),
        (r"\left(x", "right"),
        (r"\left x", "bracket"),
        ("x^", "end"),
        ("a # b", "#"),
    ],
)
def test_mathml_refuses_what_it_does_not_know(latex, named):
    with pytest.raises(UnsupportedExpr, match=named):
        mathml(latex)
    assert formula_markup(latex) == f"<pre><code>{latex}</code></pre>"


NETS = {
    **{a.name: a.net for a in architectures(10)},
    **{
        str(layer): stax.serial(stax.Dense(8, 1.5, 0.2), layer, stax.Dense(1))
        for layer in (
            stax.Sin(),
            stax.Abs(),
            stax.LeakyRelu(0.1),
            stax.Polynomial((0, 1, 2)),
            stax.Activation("x*exp(x)"),
            stax.Activation("tanh(x)"),
            stax.Activation("max(min(x, 1), -1)"),
        )
    },
}


@pytest.mark.parametrize("get", KERNELS)
@pytest.mark.parametrize("name", NETS)
def test_the_latex_of_every_network_converts(name, get):
    assert ET.fromstring(mathml(ntkc.compile(NETS[name]).latex(get))).tag.endswith("math")


PIXEL_LAYERS = {
    "circular": stax.Conv(4, (3,), (2,), "CIRCULAR", b_std=0.1),
    "transposed": stax.ConvTranspose(4, (3,), (2,), "CIRCULAR", b_std=0.1),
    "normalized": stax.AvgPool((3,), padding="SAME", normalize_edges=True),
    "attention": stax.GlobalSelfAttention(4, 4, 4, 2),
}


@pytest.mark.parametrize("name", PIXEL_LAYERS)
def test_the_latex_of_pixels_converts(name):
    net = stax.serial(stax.Conv(4, (2,), b_std=0.1), PIXEL_LAYERS[name], stax.Flatten(), stax.Dense(1))
    text = ntkc.compile(net, input_shape=(6, 2)).latex()
    assert ET.fromstring(mathml(text)).tag.endswith("math")


# drawing


def boxes_and_edges(net):
    svg = ET.fromstring(draw(ntkc.compile(net).graph))
    kinds = [element.get("class", "") for element in svg]
    texts = [element.text for element in svg if element.get("class") == "name"]
    return texts, kinds.count("head")


def test_drawing_of_a_chain():
    assert boxes_and_edges(stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))) == (
        ["Input", "Dense", "Relu", "Dense"],
        3,
    )


def test_a_long_chain_is_abbreviated():
    texts, edges = boxes_and_edges(NETS["relu depth 10"])
    assert "⋮" in texts
    assert texts[-1] == "Dense"
    assert edges == len(texts) - 1 <= 11


def test_residual_edges_are_drawn():
    net = stax.serial(
        stax.Dense(8),
        stax.FanOut(2),
        stax.parallel(stax.serial(stax.Relu(), stax.Dense(8)), stax.Identity()),
        stax.FanInSum(),
    )
    assert boxes_and_edges(net) == (["Input", "Dense", "FanOut", "Relu", "Identity", "Dense", "FanInSum"], 7)


# data


def test_splits_are_stratified_and_reproducible():
    y = np.repeat([0, 1, 2], [40, 80, 120])
    mask = stratified(y, 60, seed=3)
    assert [int(mask[y == c].sum()) for c in range(3)] == [10, 20, 30]
    assert (mask == stratified(y, 60, seed=3)).all()
    assert (mask != stratified(y, 60, seed=4)).any()


def test_data_are_scaled_by_the_training_set_and_targets_sum_to_zero():
    data = split("blobs", *blobs(), seed=0)
    assert len(data.test.y) == 24
    assert np.abs(data.train.x).max() == 1
    np.testing.assert_allclose(data.train.targets.sum(1), 0, atol=1e-6)


def test_csv_with_header_and_text_labels(tmp_path):
    x, y = blobs()
    rows = [",".join([*map(str, row), "abc"[label]]) for row, label in zip(x, y, strict=True)]
    header = ",".join([*(f"pixel{i}" for i in range(16)), "label"])
    (tmp_path / "blobs.csv").write_text("\n".join([header, *rows]))
    data = load(tmp_path / "blobs.csv")
    assert data.classes == ("a", "b", "c")
    assert len(data.train.y) + len(data.test.y) == 96


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("data.txt", "1,2,a", "end in .npz or .csv"),
        ("data.csv", "", "no samples"),
        ("data.csv", "1,2,a\n1,a\n", "line 2: 2 fields, 3 expected"),
        ("data.csv", "1,2,a\n1,x,a\n", "line 2: features must be numbers"),
        ("data.csv", "1,2,a\n1,nan,b\n", "NaN"),
        ("data.csv", "1,2,a\n1,2,b\n", "at least 8"),
        ("data.npz", "no archive", "no .npz file"),
    ],
)
def test_bad_data_files(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInput, match=message):
        load(tmp_path / name)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((9, 2))}, "arrays"),
        ({"x": np.ones((9, 2)), "y": np.ones(8)}, r"\(9, 2\) and y \(8,\)"),
        ({"x": np.ones((9, 2), complex), "y": np.ones(9)}, "complex"),
        ({"x": np.ones((13_000, 1)), "y": np.arange(13_000) % 2}, "at most 12000"),
        ({"x": np.ones((9, 2)), "y": np.array([None] * 9)}, "plain arrays"),
    ],
)
def test_bad_arrays(tmp_path, arrays, message):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(InvalidInput, match=message):
        load(tmp_path / "data.npz")


def test_a_missing_file(tmp_path):
    with pytest.raises(InvalidInput, match="is no file"):
        load(tmp_path / "none.npz")


# the whole


class Checker(HTMLParser):
    """Counts tags, and holds that each is closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.count, self.addresses = [], {}, []

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """(exit code, page) of a run on a small data file."""
    folder = tmp_path_factory.mktemp("demo")
    x, y = blobs()
    np.savez(folder / "blobs.npz", x=x.reshape(-1, 4, 4), y=y)
    code = cli.main(["demo", "--data", str(folder / "blobs.npz"), "--output", str(folder / "page.html"), "--seed", "1"])
    return code, (folder / "page.html").read_text(encoding="utf-8")


def test_the_page_stands_alone(demo):
    code, page = demo
    checker = Checker()
    checker.feed(page)
    assert code == 0
    assert checker.open == []
    assert checker.count["math"] == 2 * len(architectures(3))
    assert checker.count["svg"] == 2 + len(architectures(3))
    assert "script" not in checker.count
    assert all(address.startswith("data:") for address in checker.addresses)


def test_the_page_has_every_result(demo):
    page = demo[1]
    table = page[page.index("<table>") : page.index("</table>")]
    assert table.count("<tr") == 1 + 2 * len(architectures(3))
    assert all(f"<td>{a.name}</td>" in table for a in architectures(3))
    assert "seed 1" in page
    assert "def pair(" in page


def test_the_last_line_is_the_best_accuracy(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ntkc.demo.console.architectures", lambda n: architectures(n)[:1])
    x, y = blobs()
    np.savez(tmp_path / "blobs.npz", x=x, y=y)
    assert cli.main(["demo", "--data", str(tmp_path / "blobs.npz"), "--output", str(tmp_path / "page.html")]) == 0
    found = LAST_LINE.fullmatch(capsys.readouterr().out.splitlines()[-1])
    assert found
    assert float(found[1]) > 90


def test_97_percent_of_real_digits():
    pytest.importorskip("sklearn")
    data = load(None)
    outcome = evaluate(architectures(10)[1], data)
    assert (len(data.train.y), len(data.test.y)) == (1347, 450)
    assert min(score.accuracy for score in outcome.scores) >= 0.97
    # Predictions that ignore the images have a loss of 0.22: N(0, 0.09), the variance of the targets.
    assert max(score.loss for score in outcome.scores) < -1


@pytest.mark.slow
def test_the_whole_demo_on_real_digits(tmp_path, capsys):
    pytest.importorskip("sklearn")
    assert cli.main(["demo", "--output", str(tmp_path / "page.html")]) == 0
    assert float(LAST_LINE.fullmatch(capsys.readouterr().out.splitlines()[-1])[1]) >= 97


EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quickstart", "digits", "formulas"])
def test_examples_print_their_result(name, capsys):
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 60
    runpy.run_path(str(EXAMPLES / f"{name}.py"))
    assert capsys.readouterr().out
