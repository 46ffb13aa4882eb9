"""Errors of kernels against graded quadrature  ->  docs/accuracy.md:  python benchmarks/accuracy.py [--quick].

E[f(u) f(v)] and E[f'(u) f'(v)] of Dense(1), f, Dense(1) for variances from 1e-8 to 1e4 and correlations up to +-1, in
both precisions. Errors are over sqrt(V V'), and over that plus sqrt(q q') sqrt(E[f'^2] E[f'^2]') for the NTK.
"""

import argparse
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import jax
import mpmath as mp
import numpy as np
import sympy as sp
from gaussian_quadrature import Function, X

import ntkc
from ntkc import stax
from ntkc.errors import NtkcError, PrecisionLost
from ntkc.gaussian.parse import parse
from ntkc.layers import activations

PAGE = Path(__file__).parent.parent / "docs" / "accuracy.md"
VARIANCES = (1e-8, 1e-6, 1e-4, 1e-2, 0.1, 1.0, 10.0, 100.0, 1e4)
COSINES = (*(s * c for c in (0.5, 0.9, 0.999, 1 - 1e-12, 1.0) for s in (1, -1)), 0.0)
BOUNDS = {"float32": 1e-6, "float64": 1e-10}
DEPTHS = (1, 3, 10, 30, 100)
MOST = 1e3
"""Of variances that functions with a grain, or that grow like exp, are tried at."""
TEXTS = """tanh(x); sigmoid(x); softplus(x); silu(x); mish(x); elu(x); x/(1+abs(x)); tanh(x)*sin(x); 1/cosh(x)
log(1+x^2); sqrt(1+x^2)-1; softplus(x)-log(2); x/(1+x^2); x*tanh(x); atan(x); tanh(2*x)+x; 2*sigmoid(3*x)-1; exp(-x^2)
x*exp(-x^2); exp(-x^2)*relu(x); x*erf(x); x^2*erf(x); x*erf(3*x-2); erf(2*x)+x; erf(x)*exp(-x^2); relu(x)^2; relu(x)^3
relu(x)+x; abs(x)*x; relu(x-1); hard_tanh(x); relu6(x); max(0,min(x,1))^2; sign(x)+x; sign(x-0.01)+sign(x+3); sin(2*x)
cos(x)+x; x^3-x; x^5/10; exp(x/2); relu(x)*sin(x); erf(x-1/2)"""
QUICK = ("tanh(x)", "log(1+x^2)", "elu(x)", "x*erf(x)", "relu(x)")


@dataclass(frozen=True)
class Row:
    """One function at one variance, in one precision."""

    name: str
    dtype: str
    q: float
    nngp: float
    ntk: float
    is_warned: bool

    @property
    def is_wrong(self) -> bool:
        """Above its bound, and nobody was told."""
        return not max(self.nngp, self.ntk) <= BOUNDS[self.dtype] and not self.is_warned


def expressions(is_quick: bool) -> Iterator[tuple[str, sp.Expr]]:
    """Names and expressions of X, real."""
    texts = QUICK if is_quick else [t.strip() for line in TEXTS.splitlines() for t in line.split(";")]
    named = [(text, parse(text)) for text in texts]
    classes = [
        c
        for c in vars(activations).values()
        if getattr(c, "of", None) and getattr(c, "__module__", "") == activations.__name__
    ]
    for kind in [] if is_quick else classes:
        named += [(str(op), op.of(parse("x"))) for op in kind.examples()]
    for name, f in dict(named).items():
        if f.free_symbols == parse("x").free_symbols:
            yield name, f.xreplace({parse("x"): X})


def function(f: sp.Expr) -> Function:
    """The same for quadrature, with its kinks, and the size of its waves."""
    kinks = {0.0, *(float(v) for part in f.atoms(sp.Max, sp.Min, sp.Abs, sp.sign) for v in edges(part))}
    waves = [abs(float(sp.diff(w.args[0], X))) for w in f.atoms(sp.sin, sp.cos) if sp.diff(w.args[0], X).is_number]
    return Function(f, tuple(kinks), 1.5 / max(waves) if waves else None)


def edges(part: sp.Expr) -> list[sp.Expr]:
    """Where the branches of a function meet."""
    inner = part.args[0] if isinstance(part, (sp.Abs, sp.sign)) else part.args[0] - part.args[1]
    return [v for v in sp.solve(inner, X) if v.is_real] if X in inner.free_symbols else []


def points(q: float, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """x1 [1, 2] and x2 [correlations, 2] of variance q, as they are in a precision."""
    rho = np.array(COSINES)
    scale = np.sqrt(2 * q)
    return scale * np.array([[1, 0]], dtype), (scale * np.stack([rho, np.sqrt(1 - rho * rho)], 1)).astype(dtype)


@mp.workdps(40)
def measured(name: str, f: Function, program: ntkc.KernelProgram, q: float, dtype: str) -> Row:
    """The largest errors of all correlations."""
    x1, x2 = (v.astype(dtype) for v in points(q, dtype))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        got = program(x1, x2, ("nngp", "ntk"))
    largest, slope = [0.0, 0.0], f.slope
    for j, row in enumerate(x2):
        a, b = ([mp.mpf(float(v)) for v in r] for r in (x1[0], row))
        q1, q2, k = (mp.fdot(u, v) / 2 for u, v in ((a, a), (b, b), (a, b)))
        if k == 0 or q1 * q2 - k * k < 0:
            k = k and mp.sign(k) * mp.sqrt(q1 * q2)
        scale = np.sqrt(f.mean_square(q1) * f.mean_square(q2))
        slopes = float(mp.sqrt(q1 * q2)) * np.sqrt(slope.mean_square(q1) * slope.mean_square(q2))
        value = f.product(q1, q2, k)
        tangent = value + (float(k) * slope.product(q1, q2, k) if k else 0.0)
        errors = abs(float(got.nngp[0, j]) - value) / scale, abs(float(got.ntk[0, j]) - tangent) / (scale + slopes)
        largest = [float(np.fmax(a, b)) if np.isfinite(b) else np.inf for a, b in zip(largest, errors, strict=True)]
    return Row(name, dtype, q, *largest, any(issubclass(w.category, PrecisionLost) for w in caught))


def all_rows(is_quick: bool = False) -> Iterator[Row]:
    """Every function, precision and variance."""
    for name, f in expressions(is_quick):
        reference = function(f)
        is_wild = reference.grain is not None or bool([e for e in f.atoms(sp.exp) if e.args[0].coeff(X, 1) > 0])
        try:
            layer = stax.Activation(f.xreplace({X: parse("x")}))
            program = ntkc.compile(stax.serial(stax.Dense(1), layer, stax.Dense(1)))
        except NtkcError as error:
            print(f"{name}: {type(error).__name__}: {error}")
            continue
        for dtype in BOUNDS:
            for q in VARIANCES[::4] if is_quick else VARIANCES:
                if not is_wild or q <= (10 if f.has(sp.exp) else MOST):
                    yield measured(name, reference, program, q, dtype)


def deep_rows() -> Iterator[Row]:
    """Networks Dense(1.3, .2), f to a depth, against the same recursion of quadratures in 80 bits."""
    for name, layer, f in (
        ("Relu", stax.Relu(), sp.Max(X, 0)),
        ("Erf", stax.Erf(), sp.erf(X)),
        ("Tanh", stax.Tanh(), sp.tanh(X)),
        ("Gelu", stax.Gelu(), X * (1 + sp.erf(X / sp.sqrt(2))) / 2),
    ):
        w2, b2 = (mp.mpf(2) if name in ("Relu", "Gelu") else mp.mpf("1.69")), mp.mpf("0.04")
        block = stax.serial(stax.Dense(1, 2**0.5 if w2 == 2 else 1.3, 0.2), layer)
        programs = {d: ntkc.compile(stax.serial(*[block] * d, stax.Dense(1))) for d in DEPTHS}
        x = np.array([[1.0, 0.5, -0.25], [0.75, 0.5, 0.125]])
        with mp.workdps(40):
            exact = dict(recursion(function(f), x, w2, b2))
        for depth, program in programs.items():
            for dtype in BOUNDS:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    got = program(x[:1].astype(dtype), x[1:].astype(dtype), ("nngp", "ntk"))
                k, t = exact[depth]
                errors = abs(float(got.nngp[0, 0]) / k - 1), abs(float(got.ntk[0, 0]) / t - 1)
                is_warned = any(issubclass(w.category, PrecisionLost) for w in caught)
                yield Row(f"{name}, depth {depth}", dtype, float("nan"), *errors, is_warned)


def recursion(f: Function, x: np.ndarray, w2: mp.mpf, b2: mp.mpf) -> Iterator[tuple[int, tuple[float, float]]]:
    """K and T of two samples after each depth; consume it in 40 digits."""
    a, b = ([mp.mpf(float(v)) for v in r] for r in x)
    q1, q2, k = (mp.fdot(u, v) / len(a) for u, v in ((a, a), (b, b), (a, b)))
    t, slope = mp.mpf(0), f.slope
    for depth in range(1, max(DEPTHS) + 1):
        q1, q2, k, t = w2 * q1 + b2, w2 * q2 + b2, w2 * k + b2, w2 * t + w2 * k + b2
        t = t * mp.mpf(slope.product(q1, q2, k))
        q1, q2, k = mp.mpf(f.mean_square(q1)), mp.mpf(f.mean_square(q2)), mp.mpf(f.product(q1, q2, k))
        yield depth, (float(k), float(k + t))


def page(rows: list[Row], seconds: float) -> str:
    """Markdown: what is wrong first, then the largest errors of each function."""
    wrong = [r for r in rows if r.is_wrong]
    lines = [
        "# Accuracy",
        "",
        "Written by `make accuracy`: largest errors of `Dense(1), f, Dense(1)` over correlations 0, +-.5, +-.9,",
        "+-.999, +-(1 - 1e-12), +-1, relative to sqrt(V V') (NTK: plus sqrt(q q' E[f'^2] E[f'^2]')), against graded",
        f"quadrature in 80 bits. Bounds: {BOUNDS['float32']:.0e} in float32, {BOUNDS['float64']:.0e} in float64;",
        "**!** an error above it of which no `PrecisionLost` tells, w: it tells.",
        "",
        f"{len(rows)} entries of {len({r.name for r in rows})} functions and networks, "
        f"{sum(r.is_warned for r in rows)} warned of, **{len(wrong)} above their bound without a warning**; "
        f"{seconds / 60:.0f} minutes.",
        "",
    ]
    places = sorted({r.q for r in rows if r.q == r.q})
    for dtype in BOUNDS:
        lines += [f"## {dtype}", "", "NNGP / NTK at variance", ""]
        lines += [f"| f | {' | '.join(f'{q:g}' for q in places)} |", "|---" * (len(places) + 1) + "|"]
        for name in dict.fromkeys(r.name for r in rows if r.q == r.q):
            found = {r.q: cell(r) for r in rows if (r.name, r.dtype) == (name, dtype)}
            text = name.replace("|", "\\|")
            lines.append(f"| `{text}` | " + " | ".join(found.get(q, "") for q in places) + " |")
        lines += ["", "| network | NNGP / NTK |", "|---|---|"]
        lines += [f"| {r.name} | {cell(r)} |" for r in rows if r.q != r.q and r.dtype == dtype]
        lines.append("")
    return "\n".join(lines)


def cell(r: Row) -> str:
    """`1e-08 / 2e-08 w`."""
    return f"{r.nngp:.0e} / {r.ntk:.0e}" + (" w" if r.is_warned else " **!**" if r.is_wrong else "")


def main() -> None:
    """Write the page, or print what is wrong of a quick run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few functions and variances, and no page")
    parser.add_argument("--minutes", type=float, default=18, help="of CPU time, after which no function is begun")
    given = parser.parse_args()
    is_quick = given.quick
    jax.config.update("jax_enable_x64", True)
    start = time.process_time()
    rows: list[Row] = []
    for row in chain(() if is_quick else deep_rows(), all_rows(is_quick)):
        if time.process_time() - start > 60 * given.minutes and row.name != rows[-1].name:
            break
        rows.append(row)
    text = page(rows, time.process_time() - start)
    print(text)
    if not is_quick:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
