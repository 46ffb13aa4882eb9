r"""Names of the page:  entries, maps, and hyper-parameters, which keep their names and look like nothing else.

theta_1  ->  \theta_{1},  or \mathrm{theta\_1} where \theta_{1} is an angle
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import sympy as sp

from ntkc.backends.latex.labels import Entry, Label

TURN = r"\ell"
TAKEN = frozenset((*"cdeikpqtuvxAKM", r"\pi", r"\kappa", r"\theta", r"\sigma", r"\Theta"))
"""What a page uses for itself."""
GREEK_LETTERS = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi "
    "omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
)
GREEK = frozenset(GREEK_LETTERS.split())
NAME = re.compile(r"([A-Za-z]+)([0-9]*)((?:_[A-Za-z0-9]+)*)")


def entry_text(entry: Entry) -> str:
    r"""`K_{2}`, `q'_{\ell+1}`, `K_{2,\mathrm{relu}}`."""
    prime = "'" if entry.is_second else ""
    return f"{entry.letter}{prime}_{{{_label_text(entry.label)}}}"


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
