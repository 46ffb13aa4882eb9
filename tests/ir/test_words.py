"""Labels and names of strangers are one safe line."""

from contextlib import suppress

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkc.errors import NtkcError
from ntkc.ir.op import public_ops
from ntkc.ir.words import LONGEST_LINE, one_line, quoted, shown
from ntkc.layers.activations import Activation, Polynomial
from ntkc.layers.dense import Dense
from ntkc.layers.pointwise import Pointwise

TEXT = st.text() | st.text(alphabet="'\"\\\n\r\u2028#{}%a \x00")


def is_safe(line, most=LONGEST_LINE):
    """It ends no comment and no docstring, whatever stands around it."""
    return line.isprintable() and not {'"', "\\"} & {*line} and "'''" not in line and len(line) <= most


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Dense(out_dim=3)", "Dense(out_dim=3)"),
        ('a\nb\\"""c', "a?b?''c"),
        ("''''", "''"),
        ("\u2028\u202e\x00é", "???é"),
        ("a" * 201, "a" * 197 + "..."),
        ("'" * 500, "''..."),
    ],
)
def test_one_line(text, line):
    assert one_line(text) == line


@given(TEXT)
def test_any_text(text):
    assert is_safe(one_line(text))
    assert is_safe(quoted(text), 80)
    assert is_safe(shown(text))
    compile(f'"""{one_line(text)}"""\n# {one_line(text)}\n', "x", "exec")


@given(TEXT)
@settings(deadline=None)
def test_labels_with_any_text(text):
    for op in (Pointwise(sp.Symbol("u"), (), (text, text)), Pointwise(sp.Symbol(text), ())):
        assert is_safe(op.label())
    for name in sorted(public_ops()):
        example = public_ops()[name].examples()[0]
        for field in vars(example):
            broken = type(example).__new__(type(example))
            vars(broken).update({**vars(example), field: text})
            assert is_safe(broken.label()), (name, field)


@given(TEXT)
def test_layers_with_any_text_are_refused_or_safe(text):
    for make in (lambda: Dense(3, parameterization=text), lambda: Activation(text), lambda: Dense(3, sp.Symbol(text))):
        with suppress(NtkcError):
            assert is_safe(make().label())


def test_long_labels_end_in_dots():
    label = Polynomial(tuple(i + 0.123456789 for i in range(20))).label()
    assert len(label) == LONGEST_LINE
    assert label.endswith("...")
