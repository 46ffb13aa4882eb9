"""Wrapped statements are the statements they were."""

import ast

import pytest

from ntkc.backends.jax.lines import function, wrapped

LONG = "left(x.q_convtranspose2, 'FF') + 16*minor_fanout2/25 + right(y.q_convtranspose2, 'FF')"
STATEMENTS = [
    f"T_fanout2 = 484*K_convtranspose2*T_convtranspose2*left(x.m, 'FF')*right(y.m, 'FF')/(625*({LONG})**(3/2))",
    f"k = ({LONG})**(3/2)",
    f"k = (({LONG})*({LONG}))**2",
    f"k = safe_sqrt({LONG})**2 + f('a)b', {LONG})",
    f"return f({LONG}, ({LONG})**(1.5)), g({LONG})",
]


@pytest.mark.parametrize("room", [40, 60, 80, 100, 116])
@pytest.mark.parametrize("line", STATEMENTS)
def test_wrapped_lines_mean_the_same(line, room):
    made = function("def f():", "", wrapped(line, room))
    nested = function("def g():", "", made, 2)
    expected = ast.dump(ast.parse(f"def g():\n  def f():\n    {line}"))
    assert ast.dump(ast.parse("\n".join(nested))) == expected
