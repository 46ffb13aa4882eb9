"""The opaque functions that dual activations are made of; guards live where they are emitted."""

from __future__ import annotations

from typing import Any

import mpmath as mp
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


class Minor(sp.Function):
    """Minor(k, q1, q2) = q1 q2 - k^2, emitted without cancellation."""

    nargs = 3

    @classmethod
    def eval(cls, k: sp.Expr, q1: sp.Expr, q2: sp.Expr) -> sp.Expr | None:
        if k.is_zero or (k == q1 and k == q2):
            return q1 * q2 - k**2
        return cls(-k, q1, q2) if k.could_extract_minus_sign() else None

    def explicit(self) -> sp.Expr:
        """The same in elementary functions."""
        k, q1, q2 = self.args
        return q1 * q2 - k**2  # type: ignore[operator]

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.explicit()._eval_evalf(prec)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        k, q1, q2 = self.args
        return (-2 * k, q2, q1)[argindex - 1]  # type: ignore[operator]

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = rf"\left({printer._print(self.explicit())}\right)"
        return text if exp is None else rf"{text}^{{{exp}}}"


class ExpSinh(sp.Function):
    """ExpSinh(a, b) = exp(a) sinh(b), emitted without cancellation near b = 0 and without overflow."""

    nargs = 2

    @classmethod
    def eval(cls, a: sp.Expr, b: sp.Expr) -> sp.Expr | None:
        if b.is_zero:
            return sp.S.Zero
        return -cls(a, -b) if b.could_extract_minus_sign() else None

    def explicit(self) -> sp.Expr:
        """The same in elementary functions."""
        return sp.exp(self.args[0]) * sp.sinh(self.args[1])

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.explicit()._eval_evalf(prec)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        a, b = self.args
        return self if argindex == 1 else (sp.exp(a + b) + sp.exp(a - b)) / 2  # type: ignore[operator]

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

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        a, b = self.args
        return Ratio(sp.S.One, b) if argindex == 1 else -a * Ratio(sp.S.One, b) ** 2  # type: ignore[operator]


class Gap(sp.Function):
    """Gap(k, scale) = 1 - k / scale, between 0 and 2, from a covariance: rounding of k is all it knows near 0."""

    nargs = 2

    def explicit(self) -> sp.Expr:
        """The same in elementary functions."""
        return 1 - self.args[0] / self.args[1]

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.explicit()._eval_evalf(prec)


class CosineGap(sp.Function):
    """CosineGap(rho) = 1 - rho, between 0 and 2, of a cosine that rounding may have taken beyond 1."""

    nargs = 1

    def explicit(self) -> sp.Expr:
        """The same in elementary functions."""
        return 1 - self.args[0]

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.explicit()._eval_evalf(prec)


class ProductGap(sp.Function):
    """ProductGap(n1 n2 - K, 1 / (n1 n2)) = 1 - rho, between 0 and 2; 1 where a norm is 0, and its inverse 0."""

    nargs = 2

    def explicit(self) -> sp.Expr:
        """The same in elementary functions."""
        return self.args[0] * self.args[1]

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.explicit()._eval_evalf(prec)


class Excess(sp.Function):
    """Excess(a, b) = a - b, which is never negative: 0 where it is rounding; Excess(a, b, top): and never above top."""

    nargs = (2, 3)

    def explicit(self) -> sp.Expr:
        """The same in elementary functions."""
        return self.args[0] - self.args[1]  # type: ignore[operator]

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.explicit()._eval_evalf(prec)


class Tail(sp.Function):
    """Tail(Q, c) = erfc(c / sqrt(2 Q)) = 2 P(u > c), u ~ N(0, Q)."""

    nargs = 2

    @classmethod
    def eval(cls, Q: sp.Expr, c: sp.Expr) -> sp.Expr | None:
        return sp.S.One if c.is_zero else None

    def explicit(self) -> sp.Expr:
        """The same in elementary functions."""
        Q, c = self.args
        return sp.erfc(c / sp.sqrt(2 * Q))  # type: ignore[operator]

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.explicit()._eval_evalf(prec)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        Q, c = self.args
        return (c / (2 * Q), sp.S.NegativeOne)[argindex - 1] * Density(Q, c)  # type: ignore[operator]

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = printer._print(self.explicit())
        return text if exp is None else rf"{text}^{{{exp}}}"


class Density(sp.Function):
    """Density(Q, c) = sqrt(2 / (pi Q)) exp(-c^2 / (2 Q)): twice the density of N(0, Q) at c."""

    nargs = 2

    def explicit(self) -> sp.Expr:
        """The same in elementary functions."""
        Q, c = self.args
        return sp.sqrt(2 / sp.pi) * sp.exp(-(c**2) / (2 * Q)) / sp.sqrt(Q)  # type: ignore[operator]

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.explicit()._eval_evalf(prec)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        Q, c = self.args
        return ((c**2 / Q - 1) / (2 * Q), -c / Q)[argindex - 1] * self  # type: ignore[operator]

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = printer._print(self.explicit())
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class _Steps(sp.Function):
    """Functions of (k, Q1, Q2, c1, c2): steps 2 [u > c1] and 2 [v > c2] of Gaussians of variances Q, covariance k."""

    nargs = 5

    def _numbers(self, prec: int) -> tuple[Any, ...] | None:
        if self.free_symbols:
            return None
        return tuple(mp.mpf(str(sp.N(a, mp.libmp.prec_to_dps(prec) + 10))) for a in self.args)

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        with mp.workprec(prec + 30):
            numbers = self._numbers(prec)
            return None if numbers is None else sp.Float(type(self).number(*numbers), mp.libmp.prec_to_dps(prec))

    @staticmethod
    def number(k: Any, Q1: Any, Q2: Any, c1: Any, c2: Any) -> Any:
        """The value in mpmath's precision."""
        raise NotImplementedError


class Orthant(_Steps):
    """4 P(u > c1, v > c2)."""

    @staticmethod
    def number(k: Any, Q1: Any, Q2: Any, c1: Any, c2: Any) -> Any:
        a, b, rho = c1 / mp.sqrt(Q1), c2 / mp.sqrt(Q2), k / mp.sqrt(Q1 * Q2)
        above = lambda c: mp.erfc(c / mp.sqrt(2))  # noqa: E731
        if rho >= 1 - mp.eps:
            return 2 * above(max(a, b))
        if rho <= mp.eps - 1:
            return 2 * max(above(a) - above(-b), mp.mpf(0))
        # d/drho of the probability is the density (Plackett 1954); from independence to rho = sin(t).
        density = lambda t: mp.exp(-(a * a - 2 * a * b * mp.sin(t) + b * b) / (2 * mp.cos(t) ** 2))  # noqa: E731
        change = mp.quad(density, mp.linspace(0, mp.asin(rho), 5)) if rho else mp.mpf(0)
        return above(a) * above(b) + 2 / mp.pi * change


class Edge(_Steps):
    """E[2 delta(u - c1) 2 [v > c2]] = Density(Q1, c1) erfc((Q1 c2 - k c1) / (S sqrt(2 Q1)))."""

    @staticmethod
    def number(k: Any, Q1: Any, Q2: Any, c1: Any, c2: Any) -> Any:
        density = mp.sqrt(2 / (mp.pi * Q1)) * mp.exp(-c1 * c1 / (2 * Q1))
        top, bottom = Q1 * c2 - k * c1, mp.sqrt(max(Q1 * Q2 - k * k, mp.mpf(0)) * 2 * Q1)
        return density * (mp.erfc(top / bottom) if bottom else 1 - mp.sign(top))


class Ridge(_Steps):
    """S^2 E[2 delta(u - c1) 2 delta(v - c2)] = (2 / pi) S exp(-c' C^-1 c / 2)."""

    @staticmethod
    def number(k: Any, Q1: Any, Q2: Any, c1: Any, c2: Any) -> Any:
        square = max(Q1 * Q2 - k * k, mp.mpf(0))
        if not square:
            return mp.mpf(0)
        form = (Q2 * c1 * c1 - 2 * k * c1 * c2 + Q1 * c2 * c2) / square
        return 2 / mp.pi * mp.sqrt(square) * mp.exp(-form / 2)


_ELEMENTARY = (Root, Angle, Ratio, Gap, CosineGap, ProductGap, Excess, Minor, ExpSinh, Tail, Density)


def explicit(expr: sp.Expr) -> sp.Expr:
    """`expr` without opaque functions: what a reader or sympy itself can evaluate."""
    return expr.replace(lambda e: isinstance(e, _ELEMENTARY), lambda e: e.explicit())
