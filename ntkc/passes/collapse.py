"""A chain of statements in delta alone  ->  two polynomials of known error, whatever the depth (see `normalise`)."""

from ntkc.ir.program import Program


def collapse(program: Program) -> Program:
    return program
