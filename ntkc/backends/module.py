"""Emitted source  ->  a stand-alone module that also predicts."""

from __future__ import annotations

from collections.abc import Sequence

FIT = '''

def fit(x, y, ridge=0.0, t=None, get="ntk"{keywords}):
    """Closed-form predictor of the infinitely wide network.

    f(x*) = K(x*, x) (K + ridge I)^-1 (I - exp(-(K + ridge I) t / n)) y,   t None: t = infinity

    is the mean of gradient flow of the mean squared error / 2 after time t (get="ntk"), or, for get="nngp" and t
    None, the posterior mean of the Gaussian process with noise variance `ridge`.

    x: [n, features], y: [n] or [n, outputs], ridge >= 0, t >= 0. Returns predict(x_new) -> [m] or [m, outputs].
    Raises ValueError where data are not finite, or K + ridge I is not positive definite.
    """
    gram_of = {{"ntk": ntk, "nngp": nngp}}[get]
    x = jnp.asarray(x, jnp.result_type(x, jnp.float32))
    y = jnp.asarray(y, x.dtype)
    targets = y[:, None] if y.ndim == 1 else y
    if len(x) != len(targets):
        raise ValueError(f"{{len(x)}} rows of x and {{len(targets)}} targets: one target a row is needed")
    if not (jnp.isfinite(x).all() and jnp.isfinite(y).all()):
        raise ValueError("x or y holds NaN or infinity: remove or impute it")
    if not ridge >= 0 or not (t is None or t >= 0):
        raise ValueError(f"ridge = {{ridge}}, t = {{t}}: neither may be negative or NaN")
    values, vectors = jnp.linalg.eigh(gram_of(x{named}) + ridge * jnp.eye(len(x), dtype=x.dtype))
    floor = len(x) * jnp.finfo(values.dtype).eps * values[-1]
    if t is None and not values[0] > floor:
        needed = 2 * floor - values[0]
        raise ValueError(f"the smallest eigenvalue is {{values[0]:.2e}}: a ridge of {{needed:.1e}} or more is needed")
    # (1 - exp(-v t / n)) / v is t / n in the limit v = 0
    rate = 0.0 if t is None else t / len(x)
    safe = jnp.where(values > floor, values, 1)
    filtered = 1 / safe if t is None else jnp.where(values > floor, -jnp.expm1(-safe * rate) / safe, rate)
    weights = vectors @ (filtered[:, None] * (vectors.T @ targets))

    def predict(x_new):
        """Predictions for rows of x_new."""
        x_new = jnp.asarray(x_new, x.dtype)
        mean = jnp.matmul(gram_of(x_new, x{named}), weights, precision=lax.Precision.HIGHEST)
        return mean[:, 0] if y.ndim == 1 else mean

    return predict
'''


def module_text(source: str, parameters: Sequence[str]) -> str:
    """The source with `fit`."""
    keywords = ", *, " + ", ".join(parameters) if parameters else ""
    named = "".join(f", {p}={p}" for p in parameters)
    return source + FIT.format(keywords=keywords, named=named)
