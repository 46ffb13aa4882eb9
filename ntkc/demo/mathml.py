r"""LaTeX -> MathML:  `\frac{\pi}{2}`  ->  `<mfrac><mi>π</mi><mn>2</mn></mfrac>`, for the LaTeX that ntkc writes.

Browsers draw MathML themselves, so a page with formulas needs no script and no network.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from html import escape

from ntkc.errors import UnsupportedExpr

TOKEN = re.compile(r"\\[A-Za-z]+\*?|\\.|\d+(?:\.\d+)?|\s+|.", re.DOTALL)
GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi "
    "omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
)


def _greek(name: str) -> str:
    case = "CAPITAL" if name[0].isupper() else "SMALL"
    return unicodedata.lookup(f"GREEK {case} LETTER {name.upper().replace('LAMBDA', 'LAMDA')}")


IDENTIFIERS = {
    **{f"\\{name}": _greek(name) for name in GREEK.split()},
    "\\varepsilon": "ε",
    "\\varphi": "φ",
    "\\ell": "ℓ",
    "\\infty": "∞",
    "\\partial": "∂",
    "\\top": "⊤",
    "\\emptyset": "∅",
}
OPERATORS = {
    "\\cdot": "·",
    "\\times": "×",
    "\\prime": "′",
    "'": "′",
    "-": "−",
    "*": "∗",
    "\\ast": "∗",
    "\\pm": "±",
    "\\leq": "≤",
    "\\le": "≤",
    "\\geq": "≥",
    "\\ge": "≥",
    "\\neq": "≠",
    "\\ne": "≠",
    "\\approx": "≈",
    "\\equiv": "≡",
    "\\sim": "∼",
    "\\in": "∈",
    "\\to": "→",
    "\\rightarrow": "→",
    "\\mapsto": "↦",
    "\\leftarrow": "←",
    "\\gets": "←",
    "\\mid": "∣",
    "\\dots": "…",
    "\\ldots": "…",
    "\\cdots": "⋯",
    "\\vdots": "⋮",
    "\\circ": "∘",
    "\\langle": "⟨",
    "\\rangle": "⟩",
    "\\lVert": "‖",
    "\\rVert": "‖",
    "\\Vert": "‖",
    "\\|": "‖",
    "\\lvert": "|",
    "\\rvert": "|",
    "\\vert": "|",
    "\\{": "{",
    "\\}": "}",
    "\\sum": "∑",
    "\\prod": "∏",
    "\\int": "∫",
    **{c: c for c in "+=<>()[]|,;:!/."},
}
FENCES = frozenset("()[]{}|‖⟨⟩.")
RELATIONS = frozenset("=≤≥≠≈≡∼")
LARGE = frozenset("∑∏")
FUNCTIONS = (
    "arccos arcsin arctan cos cosh cot coth csc deg det dim exp inf ker lim ln log max min sec sin sinh sup tan tanh"
)
SPACES = {"\\,": 0.17, "\\:": 0.22, "\\;": 0.28, "\\!": -0.17, "\\ ": 0.3, "~": 0.3, "\\quad": 1, "\\qquad": 2}
ACCENTS = {
    "\\hat": "^",
    "\\widehat": "^",
    "\\tilde": "~",
    "\\widetilde": "~",
    "\\bar": "¯",
    "\\overline": "¯",
    "\\dot": "˙",
    "\\ddot": "¨",
    "\\vec": "→",
}
ALPHABETS = {"\\mathbb": "DOUBLE-STRUCK", "\\mathcal": "SCRIPT", "\\mathbf": "BOLD"}
WORDS = {"\\bmod": "mod"}
"""Operators that are words."""
UPRIGHT = ("\\operatorname", "\\operatorname*", "\\mathrm", "\\mathsf")
NO_BREAK = "\u00a0"
TEXTS = ("\\text", "\\textrm", "\\mbox")
ENVIRONMENTS = {
    **dict.fromkeys(("aligned", "align", "align*"), "aligned"),
    **{name: name for name in ("gathered", "cases", "pmatrix")},
}
BRACKETS = {"cases": ("{", ""), "pmatrix": ("(", ")")}
"""What stands on both sides of an environment."""
SIZES = tuple(f"\\{size}{side}" for size in ("big", "Big", "bigg", "Bigg") for side in ("", "l", "r", "m"))
STYLES = ("\\displaystyle", "\\textstyle", "\\limits", "\\nolimits")


def mathml(latex: str) -> str:
    r"""`x^2`  ->  `<math display="block">...<msup><mi>x</mi><mn>2</mn></msup></math>`.

    Raises:
        UnsupportedExpr: naming the command, brace or environment that it does not know.
    """
    reader = Reader(tuple(TOKEN.findall(latex.strip().strip("$"))))
    content = reader.row(())
    return f'<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">{content}</math>'


@dataclass
class Reader:
    """Tokens, and the place of the next one; each method reads one construct and returns its MathML."""

    tokens: tuple[str, ...]
    place: int = 0

    def peek(self) -> str:
        """The next token that is no blank, "" at the end."""
        while self.place < len(self.tokens) and self.tokens[self.place].isspace():
            self.place += 1
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def take(self, expected: str = "") -> str:
        """The next token, which must be the expected one if there is one."""
        token = self.peek()
        if not token or (expected and token != expected):
            raise self.failure(f"{expected or 'more'} expected, {token or 'the end'} found")
        self.place += 1
        return token

    def failure(self, what: str) -> UnsupportedExpr:
        around = "".join(self.tokens[max(0, self.place - 5) : self.place + 5])
        return UnsupportedExpr(f"LaTeX to MathML: {what}, near {around!r}")

    def row(self, ends: tuple[str, ...]) -> str:
        """Atoms up to one of `ends`, which is left unread."""
        atoms: list[str] = []
        while self.peek() not in (*ends, ""):
            atoms.append(self.scripted())
        if ends and not self.peek():
            raise self.failure(f"{' or '.join(ends)} is missing")
        return atoms[0] if len(atoms) == 1 else f"<mrow>{''.join(atoms)}</mrow>"

    def scripted(self) -> str:
        """An atom with its ^ and _."""
        is_large = self.peek() in ("\\sum", "\\prod", "\\underbrace", "\\overbrace", "\\lim", "\\max", "\\min")
        base = self.atom()
        scripts: dict[str, str] = {}
        while self.peek() in ("^", "_", "'", "\\limits", "\\nolimits"):
            mark = self.take()
            if mark.startswith("\\"):
                continue
            script = "<mo>′</mo>" if mark == "'" else self.argument()
            slot = "^" if mark == "'" else mark
            scripts[slot] = f"<mrow>{scripts[slot]}{script}</mrow>" if slot in scripts else script
        return _attached(base, scripts, is_large)

    def argument(self) -> str:
        """`{...}`, or one atom."""
        if self.peek() != "{":
            return self.atom()
        self.take("{")
        content = self.row(("}",))
        self.take("}")
        return content

    def word(self) -> str:
        """The plain text of `{...}`, blanks included."""
        self.take("{")
        first = self.place
        while self.peek() != "}":
            if self.take() == "{":
                raise self.failure("braces inside of text")
        text = "".join(self.tokens[first : self.place]).replace("\\_", "_").replace("\\ ", " ")
        self.take("}")
        return text

    def atom(self) -> str:
        token = self.take()
        if token == "{":
            self.place -= 1
            return self.argument()
        if token in IDENTIFIERS:
            return f"<mi>{IDENTIFIERS[token]}</mi>"
        if token in OPERATORS:
            return _operator(OPERATORS[token])
        if token in SPACES:
            return f'<mspace width="{SPACES[token]}em"></mspace>'
        if token[0].isdigit():
            return f"<mn>{token}</mn>"
        if token.isalpha():
            return f"<mi>{token}</mi>"
        return self.command(token)

    def command(self, token: str) -> str:
        """A command with arguments."""
        if token in ("\\frac", "\\tfrac", "\\dfrac"):
            return f"<mfrac>{self.argument()}{self.argument()}</mfrac>"
        if token == "\\sqrt":
            return self.root()
        if token == "\\left":
            return self.fenced()
        if token == "\\begin":
            return self.environment()
        if token in SIZES or token in STYLES:
            return self.atom()
        if token in ACCENTS:
            return f'<mover accent="true">{self.argument()}<mo>{ACCENTS[token]}</mo></mover>'
        if token in ("\\underbrace", "\\overbrace"):
            tag, brace = ("munder", "⏟") if token == "\\underbrace" else ("mover", "⏞")
            return f'<{tag}>{self.argument()}<mo stretchy="true">{brace}</mo></{tag}>'
        return self.name(token)

    def name(self, token: str) -> str:
        """A function, a word, or letters of another alphabet."""
        if token[1:] in FUNCTIONS.split():
            return f'<mi>{token[1:]}</mi><mspace width="0.1em"></mspace>'
        if token in WORDS:
            return f'<mo lspace="0.3em" rspace="0.3em">{WORDS[token]}</mo>'
        if token in UPRIGHT:
            return f'<mi mathvariant="normal">{escape(self.word().strip())}</mi>'
        if token in TEXTS:
            return f"<mtext>{escape(self.word()).replace(' ', NO_BREAK)}</mtext>"
        if token in ALPHABETS:
            return f"<mi>{''.join(_letter(c, ALPHABETS[token]) for c in self.word())}</mi>"
        raise self.failure(f"the command {token} is unknown")

    def root(self) -> str:
        if self.peek() != "[":
            return f"<msqrt>{self.argument()}</msqrt>"
        self.take("[")
        degree = self.row(("]",))
        self.take("]")
        return f"<mroot>{self.argument()}{degree}</mroot>"

    def fenced(self) -> str:
        r"""`\left( ... \right)`."""
        first = self.fence()
        content = self.row(("\\right",))
        self.take("\\right")
        return f"<mrow>{first}{content}{self.fence()}</mrow>"

    def fence(self) -> str:
        token = self.take()
        sign = OPERATORS.get(token)
        if sign is None or sign not in FENCES:
            raise self.failure(f"{token} is no bracket")
        return "" if sign == "." else f'<mo fence="true" stretchy="true">{escape(sign)}</mo>'

    def environment(self) -> str:
        """Rows of cells; `aligned` sets columns right, left, right, left, ..."""
        name = self.word()
        if name not in ENVIRONMENTS:
            raise self.failure(f"the environment {name} is unknown, known are {sorted(ENVIRONMENTS)}")
        rows = [[self.row(("&", "\\\\", "\\end"))]]
        while self.peek() != "\\end":
            if self.take() == "\\\\":
                self.row_gap()
                rows.append([])
            rows[-1].append(self.row(("&", "\\\\", "\\end")))
        self.take("\\end")
        if self.word() != name:
            raise self.failure(f"\\begin{{{name}}} ends as something else")
        return _table(ENVIRONMENTS[name], [r for r in rows if r != ["<mrow></mrow>"]])

    def row_gap(self) -> None:
        r"""`\\[4pt]`: the gap is left to the style sheet."""
        if self.peek() == "[":
            while self.take() != "]":
                pass


def _attached(base: str, scripts: dict[str, str], is_large: bool) -> str:
    below, above = scripts.get("_"), scripts.get("^")
    if not scripts:
        return base
    base = f"<mrow>{base}</mrow>"
    if below and above:
        tag = "munderover" if is_large else "msubsup"
        return f"<{tag}>{base}{below}{above}</{tag}>"
    tag = ("munder" if is_large else "msub") if below else ("mover" if is_large else "msup")
    return f"<{tag}>{base}{below or above}</{tag}>"


def _operator(sign: str) -> str:
    if sign in RELATIONS:
        # At the start of a cell a browser would take it for a prefix and leave out its space.
        return f'<mo form="infix">{sign}</mo>'
    if sign in LARGE:
        return f'<mo largeop="true" movablelimits="false">{sign}</mo>'
    return f'<mo stretchy="false">{sign}</mo>' if sign in FENCES else f"<mo>{escape(sign)}</mo>"


def _letter(letter: str, alphabet: str) -> str:
    case = "CAPITAL" if letter.isupper() else "SMALL"
    for name in (f"MATHEMATICAL {alphabet} {case} {letter.upper()}", f"{alphabet} {case} {letter.upper()}"):
        try:
            return unicodedata.lookup(name)
        except KeyError:
            continue
    raise UnsupportedExpr(f"LaTeX to MathML: no {alphabet.lower()} letter {letter!r}")


def _table(kind: str, rows: list[list[str]]) -> str:
    body = "".join(f"<mtr>{''.join(f'<mtd>{cell}</mtd>' for cell in row)}</mtr>" for row in rows)
    table = f'<mtable class="{kind}" displaystyle="{"false" if kind in BRACKETS else "true"}">{body}</mtable>'
    if kind not in BRACKETS:
        return table
    left, right = (f'<mo fence="true" stretchy="true">{b}</mo>' if b else "" for b in BRACKETS[kind])
    return f"<mrow>{left}{table}{right}</mrow>"
