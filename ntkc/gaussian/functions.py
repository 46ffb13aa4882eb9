"""Two opaque functions that every dual activation with a kink is made of; guards live where they are emitted."""

from __future__ import annotations

from typing import Any

import sympy as sp


class Root(sp.Function):
    """Root(k, Q1, Q2) = sqrt(Q1 Q2 - k^2), the square root of the determinant."""

    nargs = 3

    @classmethod
    def eval(cls, k: sp.Expr, Q1: sp.Expr, Q2: sp.Expr) -> sp.Expr | None:
        if k == Q1 and k == Q2:
            return sp.S.Zero
        return sp.sqrt(Q1) * sp.sqrt(Q2) if k.is_zero else None

    def explicit(self) -> sp.Expr:
        """The same in elementary functions."""
        k, Q1, Q2 = self.args
        return sp.sqrt(Q1 * Q2 - k**2)  # type: ignore[operator]

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.explicit()._eval_evalf(prec)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        k, Q1, Q2 = self.args
        return (-k, Q2 / 2, Q1 / 2)[argindex - 1] / self  # type: ignore[operator]

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = printer._print(self.explicit())
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class Angle(sp.Function):
    """Angle(k, Q1, Q2) = arcsin(k / sqrt(Q1 Q2)), between -pi/2 and pi/2."""

    nargs = 3

    @classmethod
    def eval(cls, k: sp.Expr, Q1: sp.Expr, Q2: sp.Expr) -> sp.Expr | None:
        if k.is_zero:
            return sp.S.Zero
        return sp.pi / 2 if k == Q1 and k == Q2 else None

    def explicit(self) -> sp.Expr:
        """The same in elementary functions."""
        k, Q1, Q2 = self.args
        return sp.asin(k / sp.sqrt(Q1 * Q2))  # type: ignore[operator]

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.explicit()._eval_evalf(prec)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        k, Q1, Q2 = self.args
        return (1, -k / (2 * Q1), -k / (2 * Q2))[argindex - 1] / Root(k, Q1, Q2)  # type: ignore[operator]

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = printer._print(self.explicit())
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class Ratio(sp.Function):
    """Ratio(a, b) = a / b for b > 0, and 0 for b = 0: shares and cosines of samples of norm zero."""

    nargs = 2

    @classmethod
    def eval(cls, a: sp.Expr, b: sp.Expr) -> sp.Expr | None:
        return a / b if b.is_number else None

    def explicit(self) -> sp.Expr:
        """The same in elementary functions."""
        return self.args[0] / self.args[1]

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.explicit()._eval_evalf(prec)


class Gap(sp.Function):
    """Gap(k, scale) = 1 - k / scale, between 0 and 2, from a covariance: rounding of k is all it knows near 0."""

    nargs = 2

    def explicit(self) -> sp.Expr:
        """The same in elementary functions."""
        return 1 - self.args[0] / self.args[1]

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.explicit()._eval_evalf(prec)


def explicit(expr: sp.Expr) -> sp.Expr:
    """`expr` without opaque functions: what a reader or sympy itself can evaluate."""
    return expr.replace(lambda e: isinstance(e, (Root, Angle, Ratio, Gap)), lambda e: e.explicit())
