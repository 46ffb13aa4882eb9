"""LaTeX is read back by a reader of its own, and its value is that of the program."""

import itertools
import math
import re
import sys

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sympy as sp
from pixel_oracle import moving_taps, transposed_taps

import ntkc
from ntkc import stax
from ntkc.backends.latex.labels import Entry, Kappa, Label
from ntkc.backends.latex.maps import meaning
from ntkc.backends.latex.names import names_of
from ntkc.backends.latex.printer import Printer
from ntkc.demo.mathml import mathml
from ntkc.ir.maps import Matrix, Patch, Pick, Take, Total, Trace, Window, patch, patch_transposed, pool
from ntkc.variants import Variant

D, R, E = stax.Dense, stax.Relu, stax.Erf
W, B = sp.symbols("W_std b")
TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|[A-Za-z]|\S")
IGNORED = {r"\left", r"\right", r"\,", r"\!"}
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
FUNCTIONS = {
    r"\arccos": np.arccos,
    r"\arcsin": np.arcsin,
    r"\arctan": np.arctan,
    r"\sin": np.sin,
    r"\cos": np.cos,
    r"\sinh": np.sinh,
    r"\cosh": np.cosh,
    r"\tanh": np.tanh,
    r"\log": np.log,
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
}
CLOSING = {")", "}", "]", ",", r"\rVert", "|", "+", "-", "=", "&", ">"}
UNREAD = ("\\kappa", "(u, v)", "u")
"""What lines define that a result need not read by its name."""


def residual(branch):
    return stax.serial(stax.FanOut(2), stax.parallel(branch, stax.Identity()), stax.FanInSum())


NETS = {
    "relu biased 50": (stax.serial(*[D(8, 2**0.5, 0.1), R()] * 50, D(1, 1.2, 0.3)), {}),
    "zonal 10": (stax.serial(*[D(8, 1.3), R()] * 10, D(1, 1.1)), {}),
    "abs biased 4": (stax.serial(*[D(8, 1.3, 0.2), stax.Abs()] * 4, D(1)), {}),
    "erf 2": (stax.serial(*[D(8, 1.5, 0.1), E()] * 2, D(1)), {}),
    "residual 4": (stax.serial(D(8, 1.2, 0.1), *[residual(stax.serial(R(), D(8, 1.1)))] * 4, R(), D(1)), {}),
    "two branches": (
        stax.serial(D(8, 1.2, 0.1), stax.FanOut(2), stax.parallel(stax.serial(R(), D(8)), stax.serial(E(), D(8))),
                    stax.FanInSum(), R(), D(1)),
        {},
    ),
    "ends in relu": (stax.serial(D(8, 1.2, 0.1), R()), {}),
    "sin": (stax.serial(D(8, 1.2, 0.1), stax.Sin(1.1, 0.7, 0.3), D(1)), {}),
    "exp": (stax.serial(D(8, 0.6, 0.1), stax.Exp(0.5, 0.7), D(1)), {}),
    "polynomial": (stax.serial(D(8, 0.6, 0.1), stax.Polynomial((0.5, -1.0, 0.25)), D(1)), {}),
    "x erf(x), symbols": (stax.serial(D(8, W, B), stax.Activation("x*erf(x)"), D(1, W)), {"W_{std}": 1.3, "b": 0.4}),
    "relu, symbols": (stax.serial(*[D(8, W, B), R()] * 4, D(1, W)), {"W_{std}": 1.3, "b": 0.4}),
    "linear": (D(1, 1.3, 0.5), {}),
    "deep linear": (stax.serial(*[D(8, 1.3, 0.5)] * 5, D(1)), {}),
    "deep linear of one": (stax.serial(*[D(8)] * 6), {}),
    "linear of one, relu": (stax.serial(D(8), D(8), R(), D(8), D(8), R(), D(1, 1.0, 0.1)), {}),
    "zonal, other read-out": (stax.serial(*[D(8, 1.3), R()] * 3, D(1, 0.2)), {}),
    "zonal in relu": (stax.serial(D(8), R()), {}),
    "zonal abs": (stax.serial(*[D(8, 1.3), stax.Abs()] * 3, D(1)), {}),
    "zonal leaky": (stax.serial(*[D(8, 1.3), stax.LeakyRelu(0.1)] * 3, D(1)), {}),
    "zonal residual": (stax.serial(D(8, 1.2), *[residual(stax.serial(R(), D(8, 1.1)))] * 3, R(), D(1)), {}),
    "tanh": (stax.serial(D(8, 0.6, 0.1), stax.Activation("tanh(x)"), D(1)), {}),
    "softplus": (stax.serial(D(8, 0.6, 0.1), stax.Activation("log(1 + exp(x))"), D(1)), {}),
    "hard tanh": (stax.serial(D(8, 0.9, 0.1), stax.Activation("max(min(x, 1), -1)"), D(1)), {}),
    "small and large": (stax.serial(D(8, 1e-6, 0.00025), R(), D(1, 1e6)), {}),
}  # fmt: skip


@pytest.fixture(autouse=True)
def deep_recursion():
    """Fifty layers, looked up from the last to the first."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    yield
    sys.setrecursionlimit(limit)


PAIR = (
    r"(u, v) &\sim \mathcal{N}\left(0, \begin{pmatrix} q & k \\ k & q' \end{pmatrix}\right) "
    r"\quad \text{in } \mathbb{E}_{q, q', k}"
)


class Derivation:
    """The lines of an `aligned` environment; a value is looked up by its name, and its line read when needed."""

    def __init__(self, text, x1, x2, parameters):
        self.parameters = parameters
        self.sides = {False: (x1, x2), True: (x2, x1)}
        self.lines = {}
        self.known = {}
        for row in text.removeprefix("\\begin{aligned}\n").removesuffix("\n\\end{aligned}").split(" \\\\\n"):
            if r" &\sim \mathcal{N}" in row:
                self.lines[row.partition(" &")[0]] = (row, None)
                continue
            left, right = row.split(" &= ")
            formula, _, span = right.partition(r" \qquad \ell = ")
            turns = [int(t) for t in re.fullmatch(r"(\d+),(?: \\dots,)? (\d+)", span).groups()] if span else None
            assert not turns or (turns[1] == turns[0] + 1) == ("dots" not in span)
            for turn in range(turns[0], turns[1] + 1) if turns else (None,):
                for name in at_turn(left, turn).split(" = "):
                    assert name not in self.lines, f"{name} is defined twice"
                    self.lines[name] = (formula, turn)

    def value(self, name, is_second=False):
        """The value of `K_{3}`, or `q_{3}` of the second sample."""
        if (name, is_second) not in self.known:
            formula, turn = self.lines[name]
            self.known[name, is_second] = Reader(self, formula, turn, is_second).whole()
        return self.known[name, is_second]


def at_turn(text, turn):
    """`K_{\\ell+1}` -> `K_{4}` at turn 3."""
    return text if turn is None else text.replace(r"\ell+1", str(turn + 1)).replace(r"\ell", str(turn))


class Reader:
    """Recursive descent over one formula: sums of products of powers of atoms."""

    def __init__(self, derivation, text, turn=None, is_second=False, angle=None):
        self.derivation, self.turn, self.is_second, self.angle = derivation, turn, is_second, angle
        self.bound = {}
        self.tokens = [t for t in TOKEN.findall(at_turn(text, turn)) if t not in IGNORED]
        self.place = 0

    def next(self):
        return self.tokens[self.place] if self.place < len(self.tokens) else "&"

    def take(self, *expected):
        token = self.next()
        assert not expected or token in expected, f"{token} instead of {expected} in {self.tokens}"
        self.place += 1
        return token

    def whole(self):
        value = self.sum()
        assert self.place == len(self.tokens), f"{self.tokens[self.place :]} is left over"
        return value

    def sum(self):
        total = -self.product() if self.next() == "-" and self.take() else self.product()
        while self.next() in ("+", "-"):
            total = total + self.product() if self.take() == "+" else total - self.product()
        return total

    def product(self):
        value = self.power()
        while self.next() not in CLOSING:
            if self.next() in ("/", r"\bmod"):
                value = value / self.power() if self.take() == "/" else value % self.power()
                continue
            is_dotted = self.next() == r"\cdot" and self.take()
            factor = self.power()
            value = value @ factor if is_dotted and np.ndim(value) == np.ndim(factor) == 1 else value * factor
        return value

    def power(self):
        base = self.atom()
        return base ** self.braced() if self.next() == "^" and self.take() else base

    def braced(self):
        return self.between("{", "}")

    def between(self, opening, closing):
        self.take(opening)
        value = self.sum()
        self.take(closing)
        return value

    def atom(self):
        token = self.next()
        for opening, closing in (("(", ")"), ("{", "}"), ("[", "]")):
            if token == opening:
                return self.between(opening, closing)
        self.take()
        if token[0].isdigit():
            return float(token)
        if token == r"\frac":
            return self.braced() / self.braced()
        if token == r"\sqrt":
            return np.sqrt(self.braced())
        if token == r"\operatorname":
            return self.function(self.word())
        if token in (r"\mathbb", r"\mathrm"):
            return {"E": self.expectation, "P": self.chance}.get(word := self.word(), lambda: self.parameter(word))()
        if token == r"\lVert":
            norm = np.linalg.norm(self.sum())
            self.take(r"\rVert")
            return norm
        if token in FUNCTIONS:
            return self.function(token)
        return self.name(token)

    def function(self, name):
        """`\\sin x`, `\\sin^{2} x`."""
        power = self.braced() if self.next() == "^" and self.take() else 1
        return FUNCTIONS[name](self.power()) ** power

    def word(self):
        """What stands in `{...}`, as text."""
        self.take("{")
        text = ""
        while self.next() != "}":
            text += self.take()
        self.take("}")
        return text

    def parameter(self, name):
        return self.derivation.parameters[rf"\mathrm{{{name}}}"]

    def moments(self):
        """`_{q, q', k}`."""
        self.take("_")
        self.take("{")
        values = [self.sum()]
        while self.next() == ",":
            self.take()
            values.append(self.sum())
        self.take("}")
        return values

    def expectation(self):
        """E[f(u, v)], (u, v) ~ N(0, [[q, k], [k, q']]), by a quadrature; or of u alone."""
        values = self.moments()
        pair = PAIR if len(values) == 3 else r"u &\sim \mathcal{N}\left(0, q\right) \quad \text{in } \mathbb{E}_{q}"
        assert self.derivation.lines["(u, v)" if len(values) == 3 else "u"][0] in (pair, pair.replace("E", "P"))
        q1, q2, k = values if len(values) == 3 else (*values, *values, 0.0)
        rho = k / math.sqrt(q1 * q2)
        u = math.sqrt(q1) * NODES[:, None]
        v = math.sqrt(q2) * (rho * NODES[:, None] + math.sqrt(max(1 - rho**2, 0)) * NODES)
        self.bound = {"u": u, "v": v}
        inside = self.between("[", "]")
        self.bound = {}
        return np.sum(WEIGHTS[:, None] * WEIGHTS * inside) / np.sum(WEIGHTS) ** 2

    def chance(self):
        """P[u > a, v > b]."""
        q1, q2, k = self.moments()
        assert self.derivation.lines["(u, v)"][0] == PAIR.replace("E", "P")
        bounds = []
        for opening, letter in (("[", "u"), (",", "v")):
            self.take(opening), self.take(letter), self.take(">")
            bounds.append(-self.sum())
        self.take("]")
        return scipy.stats.multivariate_normal([0, 0], [[q1, k], [k, q2]]).cdf(bounds)

    def name(self, letter):
        primes = 0
        while self.next() == "'":
            primes += bool(self.take())
        if letter == r"\kappa":
            return self.kappa()
        label = self.label()
        if not label and letter + "'" * primes in self.bound:
            return self.bound[letter + "'" * primes]
        first, second = self.derivation.sides[self.is_second]
        constants = {"d": len(first), "x": second if primes else first, r"\pi": math.pi, "e": math.e}
        if not label and letter in constants:
            return constants[letter]
        if not label and letter == r"\theta":
            return self.angle
        parameter = f"{letter}_{{{label}}}" if label else letter
        if parameter in self.derivation.parameters:
            return self.derivation.parameters[parameter]
        return self.derivation.value(f"{letter}_{{{label}}}", self.is_second or bool(primes))

    def label(self):
        """What stands in `_{...}`, as text."""
        if self.next() != "_":
            return ""
        self.take()
        depth, text = 0, ""
        while True:
            token = self.take()
            depth += (token == "{") - (token == "}")
            text += token
            if depth == 0:
                return text[1:-1]

    def kappa(self):
        self.take("_")
        formula, _ = self.derivation.lines[rf"\kappa_{self.take('0', '1')}(\theta)"]
        return Reader(self.derivation, formula, angle=self.between("(", ")")).whole()


OUTPUTS = {"nngp": "K(x, x')", "ntk": r"\Theta(x, x')"}


LOOSE = {"tanh": 1e-7, "softplus": 1e-7, "hard tanh": 1e-7}
"""Series in float64 against quadratures."""
LONG = ("relu biased 50", "residual 4")


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in NETS])
def test_the_derivation_gives_the_kernel(name):
    net, parameters = NETS[name]
    rng = np.random.default_rng(5)
    x1, x2 = rng.standard_normal((2, 4)), rng.standard_normal((2, 4))
    program = ntkc.compile(net)
    for get, output in OUTPUTS.items():
        text = program.latex(get)
        read = [[Derivation(text, a, b, parameters).value(output) for b in x2] for a in x1]
        values = {"W_std" if n == "W_{std}" else n: v for n, v in parameters.items()}
        np.testing.assert_allclose(read, program(x1, x2, get, **values), rtol=LOOSE.get(name, 1e-10), atol=1e-12)


def test_a_repeated_block_is_written_once():
    shallow, deep = (ntkc.compile(stax.serial(*[D(8, 1.3, 0.1), R()] * n, D(1, 1.3, 0.1))).latex() for n in (10, 200))
    assert shallow.count("\n") == deep.count("\n")
    assert r"\ell = 1, \dots, 200" in deep


@pytest.mark.parametrize("bias", [0.1, None])
@pytest.mark.parametrize("last_width", [1, 8])
@pytest.mark.parametrize("depth", [2, 3, 7])
def test_equal_layers_are_one_recursion(depth, bias, last_width):
    net = stax.serial(*[D(8, 1.5, bias), R()] * depth, D(last_width, 1.5, bias))
    text = ntkc.compile(net).latex()
    between = "" if depth == 2 else r" \dots,"
    span = rf"\qquad \ell = 1,{between} {depth}"
    letters = ("K", r"\Theta") if bias else ("f", r"\tau")
    for letter in letters:
        assert re.search(rf"^{re.escape(letter)}_{{\\ell\+1}} &= .*{re.escape(span)} ", text, re.MULTILINE)
        assert len(re.findall(rf"^{re.escape(letter)}_.*&=", text, re.MULTILINE)) <= 3
    assert rf"= \Theta_{{{depth + 1}}}" in text or rf"\tau_{{{depth + 1}}}" in text


def test_equal_convolutions_are_one_recursion():
    layers = [stax.Conv(8, (3, 3), padding="SAME", W_std=1.4, b_std=0.1), R()] * 4
    text = ntkc.compile(stax.serial(*layers, stax.GlobalAvgPool(), D(1)), input_shape=(8, 8, 3)).latex()
    for letter in ("q", "K", r"\Theta"):
        assert rf"{letter}_{{\ell+1}} &= " in text
    assert text.count(r"\ell = 1, \dots, 3") == 3


def test_masks_and_graphs_have_derivations():
    masked = ntkc.compile(
        stax.serial(stax.Conv(4, (2,), b_std=0.1), R(), stax.GlobalAvgPool(), D(1)), input_shape=(5, 2)
    )
    text = masked.variant(Variant(None, masked=True)).latex()
    assert r"m_{0} &= \left[x_{p}\right]" in text
    assert r"\kappa_1(\theta_{1}) m_{1} m'_{1} \sqrt{q_{1} q'_{1}}" in text
    assert mathml(text)
    graph = ntkc.compile(stax.serial(D(4), stax.Aggregate(), R(), stax.GlobalAvgPool(), D(1)), input_shape=(5, 2))
    assert mathml(graph.latex())


def test_no_line_only_renames():
    for net, _ in NETS.values():
        for get in OUTPUTS:
            for row in ntkc.compile(net).latex(get).split("\n"):
                left, _, right = row.removesuffix(r" \\").partition(" &= ")
                is_alias = re.fullmatch(r"(?:[A-Za-z]|\\[A-Za-z]+)'?_\{[^{}]*\}", right)
                assert not is_alias or left in OUTPUTS.values(), row


def test_aliases_share_a_line_or_go():
    text = ntkc.compile(stax.serial(*[D(8, 1.5, 0.1), R()] * 3, D(1, 1.5, 0.1))).latex()
    assert r"K_{1} = \Theta_{1} &= \frac{9}{4} K_{0} + \frac{1}{100} \\" in text
    assert ntkc.compile(D(1)).latex("nngp") == (
        "\\begin{aligned}\nK(x, x') &= \\frac{1}{d} x \\cdot x'\n\\end{aligned}"
    )


q1, q2, k = (Entry(letter, Label(1), prime) for letter, prime in (("q", False), ("q", True), ("K", False)))


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (9 * Kappa(1, Entry(r"\theta", Label(0, turns=True))) * sp.sqrt(q1) * sp.sqrt(q2) / 8 + sp.Rational(1, 100),
         r"\frac{9}{8} \kappa_1(\theta_{\ell}) \sqrt{q_{1} q'_{1}} + \frac{1}{100}"),
        (q1**2 * q2**2 * k, r"K_{1} q_{1}^{2} {q'_{1}}^{2}"),
        (k / (sp.sqrt(q1) * sp.sqrt(q2)), r"\frac{K_{1}}{\sqrt{q_{1} q'_{1}}}"),
        (2 * k / (sp.pi * sp.sqrt(q1)), r"\frac{2}{\pi} \frac{K_{1}}{\sqrt{q_{1}}}"),
        (-k / 2 + q1, r"q_{1} - \frac{1}{2} K_{1}"),
        (-k / 2 - q1, r"- \frac{1}{2} K_{1} - q_{1}"),
        (1 / (2 * q1 + 1), r"\frac{1}{2 q_{1} + 1}"),
        (3 / q1, r"\frac{3}{q_{1}}"),
        ((q1 + 1) * k / sp.pi, r"\frac{1}{\pi} K_{1} \left(q_{1} + 1\right)"),
        ((q1 + 1) ** sp.Rational(3, 2), r"\left(q_{1} + 1\right)^{\frac{3}{2}}"),
        (W**2 * k + B**2, r"W_{std}^{2} K_{1} + b^{2}"),
        (3 * 2**W, r"3 \cdot 2^{W_{std}}"),
        (Entry("K", Label(1, "relu", True)), r"K_{\ell+1,\mathrm{relu}}"),
        (sp.Rational(1, 10**12), r"10^{-12}"),
        (-sp.Rational(1, 10**12), r"-10^{-12}"),
        (sp.Rational(25, 10**8) * k, r"2.5 \cdot 10^{-7} K_{1}"),
        (sp.Integer(10) ** 30 * k, r"10^{30} K_{1}"),
        (sp.Integer(10) ** 400, r"10^{400}"),
        (sp.Rational(20503125, 10**7), "2.0503125"),
        (sp.Float(0.5), "0.5"),
    ],
)  # fmt: skip
def test_expressions(expr, text):
    assert Printer(names_of([W, B], ())).doprint(expr) == text


def test_numbers_are_those_of_tex():
    for net, _ in NETS.values():
        text = ntkc.compile(net).latex()
        assert not re.search(r"\d[eE][+-]?\d|\binf\b|\bnan\b", text)
    assert "10^{-12}" in ntkc.compile(stax.serial(D(8), stax.LayerNorm(), D(1, 1.0, 0.1)), input_shape=(3,)).latex()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("W_std", "W_{std}"),
        ("b", "b"),
        ("sigma_w", r"\sigma_{w}"),
        ("σ_w", r"\sigma_{w}"),
        ("alpha2", r"\alpha_{2}"),
        ("a_lambda", r"a_{\lambda}"),
        ("a_b_c", "a_{b c}"),
        ("self", r"\mathrm{self}"),
        ("lambda_", r"\mathrm{lambda\_}"),
        ("_x", r"\mathrm{\_x}"),
        ("W__x", r"\mathrm{W\_\_x}"),
        ("x", r"\mathrm{x}"),
        ("K_1", r"\mathrm{K\_1}"),
        ("theta_1", r"\mathrm{theta\_1}"),
        ("K_dense1", "K_{dense1}"),
        ("q1_dense1", "q_{1 dense1}"),
    ],
)
def test_hyper_parameters_by_name(name, text):
    symbol = sp.Symbol(name)
    entries = [Entry("K", Label(1)), Entry(r"\theta", Label(1))]
    assert names_of([symbol], entries) == {symbol: text}
    assert mathml(text)


def test_two_names_that_look_the_same():
    symbols = sp.symbols("theta1 theta_1")
    assert list(names_of(symbols, ()).values()) == [r"\theta_{1}", r"\mathrm{theta\_1}"]


@pytest.mark.parametrize(
    ("maps", "sizes", "text"),
    [
        ((Total(1 / 2), Total(1 / 2)), (2, 2), r" &= \frac{1}{16} \sum_{p, p'} K_{p,\, p'}"),
        ((Trace(1 / 8),), (8,), r" &= \frac{1}{8} \sum_{p} K_{p,\, p}"),
        ((Patch(3),), (8,), r"_{p,p'} &= \frac{1}{3} \sum_{0 \le t < 3} K_{p + t,\, p' + t}"),
        ((Patch(3, 2, 1, 1, wraps=True),), (8,),
         r"_{p,p'} &= \frac{1}{3} \sum_{0 \le t < 3} K_{(2 p + t - 1) \bmod 8,\, (2 p' + t - 1) \bmod 8}"),
        ((Total(1 / 4), Patch()), (4, 5),
         r"_{p_2,p'_2} &= \frac{1}{16} \sum_{p_1, p'_1} K_{(p_1, p_2),\, (p'_1, p'_2)}"),
        ((Pick(1), Take((2, 1, 0))), (4, 3),
         r"_{p_2,p'_2} &= K_{(1, i_2(p_2)),\, (1, i_2(p'_2))}, \quad i_2 = (2, 1, 0)"),
        ((Window(2, 2, 0, 0, False, (0.5, 0.5)),), (4,),
         r"_{p,p'} &= \frac{1}{4} \sum_{0 \le t, t' < 2} K_{2 p + t,\, 2 p' + t'}"),
        ((Matrix(((1.0, 2.0),)),), (2,), r"_{p,p'} &= \sum_{a, a'} {M}_{p, a} {M}_{p', a'} K_{a,\, a'}"),
    ],
)  # fmt: skip
def test_maps(maps, sizes, text):
    assert meaning(maps, sizes) == text
    assert mathml(f"K{text}".replace("&", ""))


FILTERS = [
    (mode, padding, window, stride, spread)
    for padding in ("VALID", "SAME", "CIRCULAR")
    for mode, window, stride, spread in (("conv", 3, 1, 1), ("conv", 3, 2, 1), ("conv", 2, 1, 3), ("pool", 3, 2, 1),
                                         ("pool", 2, 2, 1), ("transposed", 3, 2, 1), ("transposed", 2, 3, 1))
]  # fmt: skip


@pytest.mark.parametrize(("mode", "padding", "window", "stride", "spread"), FILTERS)
def test_filters_and_pools_read_the_pixels_of_the_oracle(mode, padding, window, stride, spread):
    """The line of a map, read for every pair of pixels, against matrices for each tap."""
    count = 6
    if mode == "transposed":
        m, taps = patch_transposed(padding, count, window, stride), transposed_taps(padding, count, window, stride)
    else:
        m = patch(padding, count, window, stride, spread)
        m = pool(padding, count, window, stride, True, False) if mode == "pool" else m
        taps = moving_taps(padding, count, window, stride, spread)
    K = np.random.default_rng(0).standard_normal((count, count))
    whole = [sum(taps)] if mode == "pool" else taps
    expected = sum(A @ K @ A.T for A in map(np.asarray, whole)) / window ** (2 if mode == "pool" else 1)
    np.testing.assert_allclose(read_map(meaning((m,), (count,)), K, len(expected)), expected, rtol=1e-12)


MAP = re.compile(
    r"_\{p,p'\} &= (\\frac\{\d+\}\{\d+\}) \\sum_\{0 \\le t(, t')? < (\d+)\} K_\{(.*),\\, ([^}]*)\}(?:, \\quad .*)?"
)


def read_map(text, K, size):
    """K'[p, p'] of a map along one axis, by its line; 0 for pixels that are not there."""
    front, is_apart, window, left, right = MAP.fullmatch(text).groups()
    taps = itertools.product(range(int(window)), repeat=2) if is_apart else [(t, t) for t in range(int(window))]
    made = np.zeros((size, size))
    for (t, other), (p, q) in itertools.product(list(taps), itertools.product(range(size), repeat=2)):
        bound = {"p": p, "p'": q, "t": t, "t'": other}
        places = [read_with(place, bound) for place in (left, right)]
        if all(place == int(place) and 0 <= place < len(K) for place in places):
            made[p, q] += K[int(places[0]), int(places[1])]
    return read_with(front, {}) * made


def read_with(text, bound):
    reader = Reader(None, text)
    reader.derivation = Derivation("y &= 1", np.ones(1), np.ones(1), {})
    reader.bound = bound
    return reader.whole()


def test_bound_indices_stand_on_no_left_side():
    net = stax.serial(stax.Conv(4, (3, 3), b_std=0.1), R(), stax.GlobalAvgPool(), D(1))
    text = ntkc.compile(net, input_shape=(4, 4, 2)).latex()
    assert r"\mathcal{A}_{\mathrm{globalavgpool1}}(K) &= \frac{1}{16} \sum_{p, p'} K_{p,\, p'}" in text
    flat = ntkc.compile(stax.serial(stax.Conv(4, (3,), b_std=0.1), R(), stax.Flatten(), D(1)), input_shape=(8, 2))
    assert r"\mathcal{A}_{\mathrm{flatten1}}(K) &= \frac{1}{6} \sum_{p} K_{p,\, p}" in flat.latex()


def test_every_line_is_read():
    """A derivation holds nothing that its result does not need."""
    rng = np.random.default_rng(5)
    x1, x2 = rng.standard_normal((2, 4))
    for net, parameters in NETS.values():
        for get, output in OUTPUTS.items():
            derivation = Derivation(ntkc.compile(net).latex(get), x1, x2, parameters)
            derivation.value(output)
            unread = set(derivation.lines) - {name for name, _ in derivation.known}
            assert {n for n in unread if not n.startswith(UNREAD)} == set()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"\frac{1}{4} + 2 \cdot 3", 6.25),
        (r"2.5 \cdot 10^{-7}", 2.5e-7),
        (r"\tanh^{2}{\left(1 \right)} + \operatorname{erf}{\left(0\right)}", math.tanh(1) ** 2),
        (r"\frac{3}{4} \left(1 + 2^{3}\right)", 6.75),
        (r"- \sqrt{4} + 15", 13),
        (r"\sin \frac{\pi}{2} - \cos{\left(0\right)}", 0),
        (r"\lVert x \rVert^{2} - x \cdot x", 0),
        (r"2 W_{std}^{2}", 18),
        (r"e^{- 2}", math.exp(-2)),
    ],
)
def test_the_reader(text, value):
    x = np.array([1.0, 2.0])
    reader = Reader(Derivation("y &= 1", x, x, {"W_{std}": 3.0}), text)
    assert abs(reader.whole() - value) < 1e-12
