"""LaTeX is read back by a reader of its own, and its value is that of the program."""

import math
import re
import sys

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sympy as sp

import ntkc
from ntkc import stax

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
        if not label and letter in self.bound:
            return self.bound[letter]
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
