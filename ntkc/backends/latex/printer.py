r"""sympy  ->  LaTeX as people write it: numbers first, one root for a product of roots, numbers as TeX.

9 kappa sqrt(q) sqrt(q') / 8 + 1/100   ->   \frac{9}{8} \kappa_1(\theta_{1}) \sqrt{q_{1} q'_{1}} + \frac{1}{100}
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import sympy as sp
from sympy.printing.latex import LatexPrinter
from sympy.printing.precedence import PRECEDENCE

from ntkc.backends.latex.labels import Entry, Kappa, Label
from ntkc.gaussian.functions import Edge, Orthant, Ridge, explicit
from ntkc.gaussian.series import Sigmoid, Softplus
from ntkc.ir.program import PATTERN, PATTERN1, PATTERN2, SAME_PIXEL, SAME_SAMPLE, WIDTH

TURN = r"\ell"
RESERVED_TEXTS = {
    SAME_PIXEL: r"\delta_{p p'}",
    SAME_SAMPLE: r"\delta_{x x'}",
    PATTERN: "A",
    PATTERN1: "A",
    PATTERN2: "A'",
    WIDTH: "d",
}
"""Symbols of pixels and samples, and the weights of edges of a sample."""
TAKEN = frozenset((*"cdeikpqtuvxAKM", r"\pi", r"\kappa", r"\theta", r"\sigma", r"\Theta"))
"""What a page uses for itself."""
GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi "
    "omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega".split()
)
NAME = re.compile(r"([A-Za-z]+)([0-9]*)((?:_[A-Za-z0-9]+)*)")
LARGEST_DENOMINATOR, LARGEST_NUMERATOR = 1000, 10_000


class Chance(sp.Function):
    """Chance(k, q1, q2, c1, c2) = P(u > c1, v > c2)."""

    nargs = 5
    is_extended_real = True


def plain(expr: sp.Expr) -> sp.Expr:
    """An expression in functions that readers know."""
    shown = expr.replace(Edge, _edge).replace(Ridge, _ridge)
    if shown.has(Orthant):
        shown = shown.replace(Orthant, lambda *a: 4 * Chance(*a))
        shown = sp.Add(*map(sp.factor_terms, sp.Add.make_args(shown)))
    shown = shown.replace(Sigmoid, lambda a: 1 / (1 + sp.exp(-a))).replace(Softplus, lambda a: sp.log(1 + sp.exp(a)))
    return explicit(shown)


def _edge(k: sp.Expr, q1: sp.Expr, q2: sp.Expr, c1: sp.Expr, c2: sp.Expr) -> sp.Expr:
    density = sp.sqrt(2 / (sp.pi * q1)) * sp.exp(-(c1**2) / (2 * q1))
    return density * sp.erfc((q1 * c2 - k * c1) / sp.sqrt(2 * q1 * (q1 * q2 - k**2)))


def _ridge(k: sp.Expr, q1: sp.Expr, q2: sp.Expr, c1: sp.Expr, c2: sp.Expr) -> sp.Expr:
    square = q1 * q2 - k**2
    form = (q2 * c1**2 - 2 * k * c1 * c2 + q1 * c2**2) / (2 * square)
    return 2 / sp.pi * sp.sqrt(square) * sp.exp(-form)


class Printer(LatexPrinter):
    """sympy's printer for entries, maps and attention, with products and numbers in our order."""

    def __init__(self, names: Mapping[sp.Symbol, str] | None = None) -> None:
        super().__init__({"symbol_names": {**RESERVED_TEXTS, **(names or {})}, "inv_trig_style": "full"})

    def _print_Entry(self, expr: Entry) -> str:
        return entry_text(expr)

    def _print_Kappa(self, expr: sp.Expr) -> str:
        order, angle = expr.args
        return rf"\kappa_{order}({self._print(angle)})"

    def _print_Rational(self, expr: sp.Rational) -> str:
        return self._number(expr) if _is_long(expr) else _fraction(expr < 0, str(abs(expr.p)), str(expr.q))

    def _print_Integer(self, expr: sp.Integer) -> str:
        return self._number(expr) if _is_long(expr) else str(int(expr))

    def _print_Float(self, expr: sp.Float) -> str:
        return self._number(expr)

    def _number(self, expr: sp.Number) -> str:
        r"""2.5e-7  ->  2.5 \cdot 10^{-7}."""
        value = float(expr)
        shortest = repr(value) if value and abs(value) != float("inf") else str(sp.N(expr, 15))
        digits, _, power = shortest.partition("e")
        digits = digits.removesuffix(".0")
        if not power:
            return digits
        ten = rf"10^{{{int(power)}}}"
        return {"1": ten, "-1": f"-{ten}"}.get(digits, rf"{digits} \cdot {ten}")

    def _print_Add(self, expr: sp.Add, order: str | None = None) -> str:
        terms = sorted(self._as_ordered_terms(expr, order=order), key=_order)
        text = self._print(terms[0])
        for term in terms[1:]:
            text += f" - {self._print(-term)}" if _is_negative(term) else f" + {self._print(term)}"
        return text

    def _print_Mul(self, expr: sp.Mul) -> str:
        if _is_negative(expr):
            positive = -expr
            text = self._print(positive)
            return f"- {self._bracketed(text)}" if isinstance(positive, sp.Add) else f"- {text}"
        return self._product(sp.Mul.make_args(expr))

    def _print_Pow(self, expr: sp.Pow) -> str:
        base, power = expr.as_base_exp()
        if power.is_Rational and power < 0:
            return self._product((expr,))
        if power == sp.S.Half:
            return rf"\sqrt{{{self._print(base)}}}"
        if base.is_Rational and (_is_long(base) or base.q != 1):
            return rf"{self._bracketed(self._print(base))}^{{{self._print(power)}}}"
        return super()._print_Pow(expr)

    def _product(self, factors: Iterable[sp.Expr]) -> str:
        """Number, then what is multiplied, over what it is divided by."""
        numbers: list[sp.Expr] = []
        above: list[sp.Expr] = []
        below: list[sp.Expr] = []
        for factor in factors:
            base, power = factor.as_base_exp()
            if factor.is_number:
                numbers.append(factor)
            elif power.is_Rational and power < 0:
                below.append(base**-power)
            else:
                above.append(factor)
        number = sp.Mul(*numbers)
        over, under = self._fraction_of(number)
        if below and (not above or under == "1"):
            top = " ".join(t for t in ("" if over == "1" else over, self._factors(above)) if t) or "1"
            bottom = " ".join(t for t in ("" if under == "1" else under, self._factors(below, bool(above))) if t)
            return rf"\frac{{{top}}}{{{bottom}}}"
        first = over if under == "1" else _fraction(False, over, under)
        rest = self._factors(above, bool(below) or first == "1")
        rest = rf"\frac{{{rest}}}{{{self._factors(below, True)}}}" if below else rest
        return _joined([*([] if first == "1" and rest else [first]), *([rest] if rest else [])])

    def _fraction_of(self, number: sp.Expr) -> tuple[str, str]:
        """A positive number above and below the line."""
        rational, rest = number.as_coeff_Mul()
        if not rational.is_Rational or (_is_long(rational) and rest == 1):
            return self._print(number) if number.is_Number else self._bracketed_sum(number), "1"
        if _is_long(rational):
            return f"{self._print(rational)} {self._bracketed_sum(rest)}", "1"
        over, under = sp.fraction(number)
        return self._number_factors(over), self._number_factors(under)

    def _number_factors(self, number: sp.Expr) -> str:
        whole, rest = number.as_coeff_Mul()
        factors = [] if rest == 1 else [self._bracketed_sum(f) for f in sp.Mul.make_args(rest)]
        return _joined([*([] if whole == 1 and factors else [self._print(whole)]), *factors])

    def _bracketed_sum(self, expr: sp.Expr) -> str:
        return self._bracketed(self._print(expr)) if isinstance(expr, sp.Add) else self._print(expr)

    def _factors(self, factors: Sequence[sp.Expr], alone: bool = False) -> str:
        """Factors one after the other, roots last under one root; a sum needs no brackets if it is alone."""
        roots = [f.base for f in factors if isinstance(f, sp.Pow) and f.exp == sp.S.Half]
        others = sorted((f for f in factors if not (isinstance(f, sp.Pow) and f.exp == sp.S.Half)), key=_place)
        if alone and len(factors) == 1 and others:
            return self._print(others[0])
        texts = [self._factor(f) for f in others]
        if roots:
            inside = [a for r in roots for a in sp.Mul.make_args(r)]
            texts.append(rf"\sqrt{{{self._product(inside) if len(inside) > 1 else self._print(inside[0])}}}")
        return _joined(texts)

    def _factor(self, factor: sp.Expr) -> str:
        return self.parenthesize(factor, PRECEDENCE["Mul"])

    def parenthesize(self, item: sp.Expr, level: int, is_neg: bool = False, strict: bool = False) -> str:
        return self._bracketed(self._print(item)) if isinstance(item, sp.Add) else super().parenthesize(item, level)

    @staticmethod
    def _bracketed(text: str) -> str:
        return rf"\left({text}\right)"

    def _print_Mixed(self, expr: sp.Expr) -> str:
        return rf"{map_text(str(expr.args[1]))}\!\left({self._print(expr.args[0])}\right)"

    def _print_Between(self, expr: sp.Expr) -> str:
        left, middle, right = map(self._factor, expr.args)
        return rf"{left} \, {middle} \, {{{right}}}^{{\top}}"

    def _print_Gathered(self, expr: sp.Expr) -> str:
        left, middle, right = map(self._factor, expr.args[:3])
        return rf"{{{left}}}^{{\top}} \, {middle} \, {right}"

    def _print_Inner(self, expr: sp.Expr) -> str:
        left, right = map(self._print, expr.args)
        return rf"\left\langle {left}, {right} \right\rangle"

    def _print_Softmax(self, expr: sp.Expr) -> str:
        return rf"\operatorname{{softmax}}\!\left({self._print(expr.args[0])}\right)"

    def _print_Positions(self, expr: sp.Expr) -> str:
        power, decay = expr.args
        distance = sp.Dummy("distance", positive=True)
        text = self._bracketed(rf"\sum_i |p_i - p_i'|^{{{self._print(power)}}}")
        return type(self)({**self._settings["symbol_names"], distance: text}).doprint(
            decay.expr.xreplace({decay.variables[0]: distance})
        )

    def _print_Chance(self, expr: sp.Expr, exp: str | None = None) -> str:
        k, q1, q2, c1, c2 = map(self._print, expr.args)
        text = rf"\mathbb{{P}}_{{{q1}, {q2}, {k}}}\left[u > {c1}, v > {c2}\right]"
        return text if exp is None else rf"{text}^{{{exp}}}"


def _joined(texts: Sequence[str]) -> str:
    """Factors side by side; a dot before a digit, so that two numbers do not become one."""
    made = texts[0] if texts else ""
    for text in texts[1:]:
        made += rf" \cdot {text}" if text[:1].isdigit() else f" {text}"
    return made


def _fraction(is_negative: bool, over: str, under: str) -> str:
    return rf"{'- ' if is_negative else ''}\frac{{{over}}}{{{under}}}"


def _is_long(number: sp.Number) -> bool:
    """Shown as a decimal."""
    if isinstance(number, sp.Integer):
        return abs(number) >= 10**9
    return not isinstance(number, sp.Rational) or number.q > LARGEST_DENOMINATOR or abs(number.p) > LARGEST_NUMERATOR


def _is_negative(term: sp.Expr) -> bool:
    return bool(term.as_coeff_Mul()[0].is_negative)


def _order(term: sp.Expr) -> tuple[bool, bool, int]:
    """Negative terms after positive ones, numbers after others, long products after short ones."""
    factors = [f for f in sp.Mul.make_args(term) if not f.is_number]
    return _is_negative(term), not factors, len(factors)


def _place(factor: sp.Expr) -> tuple[int, object]:
    """Hyper-parameters, arc-cosine functions, entries, sums, other functions."""
    base, _ = factor.as_base_exp()
    heads = ((Kappa, 1), (Entry, 2), (sp.Symbol, 0), (sp.Add, 3))
    rank = next((place for head, place in heads if isinstance(base, head)), 4)
    return rank, factor.sort_key()


def entry_text(entry: Entry) -> str:
    r"""`K_{2}`, `q'_{\ell+1}`, `K_{2,\mathrm{relu}}`."""
    return f"{entry.letter}{chr(39) if entry.is_second else ''}_{{{_label_text(entry.label)}}}"


def _label_text(label: Label) -> str:
    level = str(label.level)
    if label.turns:
        level = TURN if label.level == 0 else f"{TURN}{label.level:+d}"
    return rf"{level},\mathrm{{{escaped(label.mark)}}}" if label.mark else level


def map_text(name: str) -> str:
    r"""`conv1` -> `\mathcal{A}_{\mathrm{conv1}}`."""
    return rf"\mathcal{{A}}_{{\mathrm{{{escaped(name)}}}}}"


def escaped(name: str) -> str:
    r"""`a_b` -> `a\_b`."""
    return name.replace("_", r"\_")


def names_of(parameters: Iterable[sp.Symbol], entries: Iterable[Entry]) -> dict[sp.Symbol, str]:
    """Hyper-parameters as their names read, upright where another symbol of the page looks the same."""
    taken = {entry_text(e) for e in entries} | TAKEN
    names: dict[sp.Symbol, str] = {}
    for symbol in parameters:
        text = parameter_text(symbol.name)
        names[symbol] = upright(symbol.name) if text in taken else text
        taken.add(names[symbol])
    return names


def parameter_text(name: str) -> str:
    r"""`W_std` -> `W_{std}`, `theta_1` -> `\theta_{1}`, `self` -> `\mathrm{self}`, `lambda_` -> `\mathrm{lambda\_}`."""
    match = NAME.fullmatch("".join(map(_letter_name, name)))
    if match is None:
        return upright(name)
    head, number, rest = match.groups()
    text = rf"\{head}" if head in GREEK else head if len(head) == 1 else rf"\mathrm{{{head}}}"
    below = [*([number] if number else []), *(rf"\{part}" if part in GREEK else part for part in rest.split("_")[1:])]
    return text + (f"_{{{' '.join(below)}}}" if below else "")


def upright(name: str) -> str:
    r"""`K_1` -> `\mathrm{K\_1}`."""
    return rf"\mathrm{{{escaped(name)}}}"


def _letter_name(letter: str) -> str:
    """A Greek letter by its name."""
    words = unicodedata.name(letter, "").split()
    if words[:1] != ["GREEK"] or words[2:3] != ["LETTER"] or len(words) != 4:
        return letter
    name = words[3].lower().replace("lamda", "lambda")
    name = name.capitalize() if words[1] == "CAPITAL" else name
    return name if name in GREEK else letter
