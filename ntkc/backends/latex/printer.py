r"""sympy  ->  LaTeX as people write it: numbers first, one root for a product of roots, numbers as TeX.

9 kappa sqrt(q) sqrt(q') / 8 + 1/100   ->   \frac{9}{8} \kappa_1(\theta_{1}) \sqrt{q_{1} q'_{1}} + \frac{1}{100}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sympy as sp
from sympy.printing.latex import LatexPrinter
from sympy.printing.precedence import PRECEDENCE

from ntkc.backends.latex.labels import Entry, Kappa
from ntkc.backends.latex.names import entry_text, map_text
from ntkc.ir.program import PATTERN, PATTERN1, PATTERN2, SAME_PIXEL, SAME_SAMPLE, WIDTH

RESERVED_TEXTS = {
    SAME_PIXEL: r"\delta_{p p'}",
    SAME_SAMPLE: r"\delta_{x x'}",
    PATTERN: "A",
    PATTERN1: "A",
    PATTERN2: "A'",
    WIDTH: "d",
}
"""Symbols of pixels and samples, and the weights of edges of a sample."""
LARGEST_DENOMINATOR, LARGEST_NUMERATOR = 1000, 10_000


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
        digits = digits.rstrip("0").removesuffix(".") if "." in digits else digits
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
        if isinstance(base, Entry) and base.is_second:
            return f"{{{self._print(base)}}}^{{{self._print(power)}}}"  # a prime is a superscript: TeX takes one
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
            bottom = " ".join(t for t in ("" if under == "1" else under, self._factors(below, under == "1")) if t)
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


def _order(term: sp.Expr) -> tuple[bool, int, int]:
    """Negative terms after positive ones, constants after others, long products after short ones."""
    factors = [f for f in sp.Mul.make_args(term) if not f.is_number]
    rank = 2 if not factors else 0 if term.has(Entry) else 1
    return _is_negative(term), rank, len(factors)


def _place(factor: sp.Expr) -> tuple[int, object]:
    """Hyper-parameters, arc-cosine functions, entries, sums, other functions."""
    base, _ = factor.as_base_exp()
    heads = ((Kappa, 1), (Entry, 2), (sp.Symbol, 0), (sp.Add, 3))
    rank = next((place for head, place in heads if isinstance(base, head)), 4)
    return rank, factor.sort_key()
