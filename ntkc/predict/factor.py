"""Functions of a regularised Gram matrix:  G = K + shift I  ->  f(G) v,  the numerical core of every prediction.

Two functions of G drive gradient descent on a mean squared error for a scaled time tau:

    decay  e^{-G tau}                 what is left of the error
    ramp   (1 - e^{-G tau}) G^{-1}    weights of the training targets; G^{-1} at tau = infinity

`Spectrum` has both for any number of times from one eigendecomposition; `Cholesky` has tau = infinity, some 20 times
faster. Each factorises in float64 whatever the dtype of the kernel, and the shift holds the ridge and the jitter that a
numerically indefinite matrix needs.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero

from ntkc.errors import NotPositiveDefinite

SpectralFunction = Callable[[Array, Array], Array]

# TF32, the default of recent GPUs, keeps 10 bits of a Gram matrix.
matmul = partial(jnp.matmul, precision="highest")

DOUBLE_EPS = 2.0**-52


class Factor(Protocol):
    """A factorised G = K + shift I; right-hand sides are (m, k) or (n_times, m, k)."""

    @property
    def shift(self) -> Array: ...

    def ramp(self, rhs: Array, tau: Array) -> Array: ...

    def decay(self, rhs: Array, tau: Array) -> Array: ...


@dataclass(frozen=True, eq=False)
class Spectrum:
    """G = V diag(values) V^T; results have a leading axis of times."""

    gram: Array
    values: Array
    vectors: Array
    shift: Array

    def ramp(self, rhs: Array, tau: Array) -> Array:
        return spectral_product(ramp, self.gram, self.values, self.vectors, tau, rhs)

    def decay(self, rhs: Array, tau: Array) -> Array:
        return spectral_product(decay, self.gram, self.values, self.vectors, tau, rhs)


@dataclass(frozen=True, eq=False)
class Cholesky:
    """G = L L^T with L in float64; every time counts as infinite."""

    gram: Array
    lower: Array
    shift: Array

    def ramp(self, rhs: Array, tau: Array) -> Array:
        del tau
        solve = partial(solve_in_double, self.lower)
        return jax.lax.custom_linear_solve(partial(matmul, self.gram), rhs, lambda _, b: solve(b), symmetric=True)

    def decay(self, rhs: Array, tau: Array) -> Array:
        del tau
        return jnp.zeros_like(rhs)


def residual(factor: Factor, rhs: Array, tau: Array) -> Array:
    """(I - K ramp(G)) v = decay(G) v + shift ramp(G) v:  the part of v not fitted on the training set."""
    return factor.decay(rhs, tau) + factor.shift * factor.ramp(rhs, tau)


def spectral_factor(label: str, gram: Array, ridge: Array) -> Spectrum:
    """G = gram + ridge I = V diag(values) V^T, for any time; warns `NotPositiveDefinite` if it adds jitter."""
    regular = add_diagonal(gram, ridge)
    values, vectors = eigh_in_double(gram, ridge)
    jitter = jnp.maximum(noise_floor(regular) - values[0], 0)
    report(label, values[0], jitter)
    # A derivative of the jitter would be one of rounding noise.
    jitter = jax.lax.stop_gradient(jitter)
    return Spectrum(add_diagonal(regular, jitter), values + jitter, vectors, ridge + jitter)


def cholesky_factor(label: str, gram: Array, ridge: Array) -> Cholesky:
    """G = gram + ridge I = L L^T, for infinite time; warns `NotPositiveDefinite` if it adds jitter."""
    regular = add_diagonal(gram, ridge)
    fixed, shift = jax.lax.stop_gradient((gram, ridge))
    floor = noise_floor(jax.lax.stop_gradient(regular))
    is_sound = jnp.isfinite(cholesky_in_double(fixed, shift, -floor)).all()
    jitter = choose_jitter(label, fixed, shift, is_sound)
    return Cholesky(add_diagonal(regular, jitter), cholesky_in_double(fixed, shift, jitter), ridge + jitter)


def choose_jitter(label: str, gram: Array, ridge: Array, is_sound: Array) -> Array:
    """0 for a sound matrix, else  noise floor - smallest eigenvalue,  reported."""
    floor = noise_floor(add_diagonal(gram, ridge))
    if not is_concrete(is_sound):
        return jax.lax.cond(is_sound, jnp.zeros_like, partial(measure_jitter, label, gram, ridge), floor)
    if bool(is_sound):
        return jnp.zeros((), gram.dtype)
    return measure_jitter(label, gram, ridge, floor)


def measure_jitter(label: str, gram: Array, ridge: Array, floor: Array) -> Array:
    smallest = eigh_in_double(gram, ridge)[0][0]
    jitter = jnp.maximum(floor - smallest, 0)
    report(label, smallest, jitter)
    return jitter


def noise_floor(gram: Array) -> Array:
    """trace(G) max(eps / sqrt(m), 8 eps_64):  eigenvalues below it are rounding noise.

    The first term is the spectral norm of independent relative errors eps in m x m entries of the size of the diagonal,
    the second the error of a float64 factorisation. A matrix of trace zero has no scale and gets 1.
    """
    trace = jnp.abs(jnp.trace(gram))
    relative = max(float(jnp.finfo(gram.dtype).eps) / math.sqrt(gram.shape[0]), 8 * DOUBLE_EPS)
    return jax.lax.stop_gradient(jnp.where(trace > 0, trace * relative, 1).astype(gram.dtype))


def report(label: str, smallest: Array, jitter: Array) -> None:
    """Warns of a jitter > 0: at once if the numbers are known, else when the compiled program runs."""
    if is_concrete(smallest, jitter):
        warn_not_positive_definite(label, smallest, jitter)
    else:
        jax.debug.callback(partial(warn_not_positive_definite, label), smallest, jitter)


def warn_not_positive_definite(label: str, smallest: Array, jitter: Array) -> None:
    if not float(jitter) > 0:
        return
    warnings.warn(
        f"the {label} Gram matrix of the training set has smallest eigenvalue {float(smallest):.3g}, not above its "
        f"rounding noise; added jitter {float(jitter):.3g} to its diagonal; set diag_reg for a ridge of your choice, "
        "drop repeated training points, or compute the kernel in float64",
        NotPositiveDefinite,
        stacklevel=2,
    )


def ramp(values: Array, tau: Array) -> Array:
    """(1 - e^{-lambda tau}) / lambda."""
    return -jnp.expm1(-values * tau) / values


def decay(values: Array, tau: Array) -> Array:
    """e^{-lambda tau}."""
    return jnp.exp(-values * tau)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def spectral_product(
    function: SpectralFunction, gram: Array, values: Array, vectors: Array, tau: Array, rhs: Array
) -> Array:
    """f(G, tau) v = V f(values, tau) V^T v  for each time, (n_times, m, k).

    `gram` carries the derivative: that of eigenvectors is infinite at repeated eigenvalues, that of f(G) is not.
    """
    del gram
    return matmul(vectors, function(values, tau[:, None])[..., None] * matmul(vectors.T, rhs))


@partial(spectral_product.defjvp, symbolic_zeros=True)
def spectral_product_jvp(function: SpectralFunction, primals: tuple[Array, ...], tangents: tuple[Any, ...]):
    """d f(G) v = V (F * V^T dG V) V^T v + V df/dtau V^T v dtau + f(G) dv,  F divided differences (Daleckii, Krein)."""
    _, values, vectors, tau, rhs = primals
    gram_dot, _, _, tau_dot, rhs_dot = tangents
    value = spectral_product(function, *primals)
    tangent = jnp.zeros_like(value)
    if not isinstance(rhs_dot, SymbolicZero):
        tangent += spectral_product(function, *primals[:4], rhs_dot)
    if not isinstance(tau_dot, SymbolicZero):
        rates = jax.jvp(lambda s: function(values, s[:, None]), (tau,), (tau_dot,))[1]
        tangent += matmul(vectors, rates[..., None] * matmul(vectors.T, rhs))
    if not isinstance(gram_dot, SymbolicZero):
        change = divided_differences(function, values, tau) * matmul(vectors.T, matmul(gram_dot, vectors))
        tangent += matmul(vectors, matmul(change, matmul(vectors.T, rhs)))
    return value, tangent


def divided_differences(function: SpectralFunction, values: Array, tau: Array) -> Array:
    """(f(a) - f(b)) / (a - b), or f'((a + b) / 2) where a and b are close:  (n_times, m, m)."""
    a, b, tau = values[:, None], values[None, :], tau[:, None, None]
    # The mean's slope errs by (a - b)**2, the quotient by eps / (a - b): they meet at the cube root.
    is_close = jnp.abs(a - b) <= jnp.cbrt(jnp.finfo(values.dtype).eps) * (a + b)
    middle = (a + b) / 2
    slope = jax.jvp(lambda v: function(v, tau), (middle,), (jnp.ones_like(middle),))[1]
    return jnp.where(is_close, slope, (function(a, tau) - function(b, tau)) / jnp.where(is_close, 1, a - b))


def add_diagonal(gram: Array, amount: Array) -> Array:
    return gram + amount * jnp.eye(gram.shape[0], dtype=gram.dtype)


def shifted_in_double(gram: Array, *shifts: Array) -> Array:
    """gram + sum of shifts I, in float64: a ridge below the rounding of the entries would be lost in theirs."""
    shift = sum((jnp.asarray(s).astype(jnp.float64) for s in shifts), jnp.zeros((), jnp.float64))
    return gram.astype(jnp.float64) + shift * jnp.eye(gram.shape[0], dtype=jnp.float64)


def eigh_in_double(gram: Array, *shifts: Array) -> tuple[Array, Array]:
    """Eigenvalues (ascending) and vectors of gram + shifts I; float32 routines lose a factor sqrt(m) of digits."""
    with jax.enable_x64(True):
        values, vectors = jnp.linalg.eigh(shifted_in_double(gram, *shifts))
        return values.astype(gram.dtype), vectors.astype(gram.dtype)


def cholesky_in_double(gram: Array, *shifts: Array) -> Array:
    """L L^T = gram + shifts I."""
    with jax.enable_x64(True):
        return jnp.linalg.cholesky(shifted_in_double(gram, *shifts))


def solve_in_double(lower: Array, rhs: Array) -> Array:
    with jax.enable_x64(True):
        return jax.scipy.linalg.cho_solve((lower, True), rhs.astype(jnp.float64)).astype(rhs.dtype)


def is_concrete(*values: object) -> bool:
    """Whether no number in `values` waits for a transformation (jit, grad, vmap) to supply it."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))
