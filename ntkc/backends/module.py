"""Emitted source  ->  a stand-alone module that also predicts."""

from __future__ import annotations

from collections.abc import Sequence

FIT = '''

def fit(x, y, ridge=0.0, t=None, get="ntk"{keywords}):
    """Closed-form predictor of the infinitely wide network.

    f(x*) = K(x*, x) (K + ridge I)^-1 (I - exp(-(K + ridge I) t / n)) y,   t None: t = infinity

    is the mean of gradient flow of the mean squared error / 2 after time t (get="ntk"), or, for get="nngp" and t
    None, the posterior mean of the Gaussian process with noise variance `ridge`.

    x: {data}, y: [n] or [n, outputs], ridge >= 0, t >= 0. Returns predict(x_new) -> [m] or [m, outputs].
    Raises ValueError where data are not finite, or K + ridge I is not positive definite.
    """
    gram_of = {{"ntk": ntk, "nngp": nngp}}[get]
    dtype = jnp.result_type({star}x, jnp.float32)
    x, y = {as_data}, jnp.asarray(y, dtype)
    count = len({first})
    targets = y[:, None] if y.ndim == 1 else y
    if count != len(targets):
        raise ValueError(f"{{count}} rows of x and {{len(targets)}} targets: one target a row is needed")
    if not ({is_finite} and jnp.isfinite(y).all()):
        raise ValueError("x or y holds NaN or infinity: remove or impute it")
    if not ridge >= 0 or not (t is None or t >= 0):
        raise ValueError(f"ridge = {{ridge}}, t = {{t}}: neither may be negative or NaN")
    values, vectors = jnp.linalg.eigh(gram_of(x{named}) + ridge * jnp.eye(count, dtype=dtype))
    floor = count * jnp.finfo(values.dtype).eps * values[-1]
    if t is None and not values[0] > floor:
        needed = 2 * floor - values[0]
        raise ValueError(f"the smallest eigenvalue is {{values[0]:.2e}}: a ridge of {{needed:.1e}} or more is needed")
    # (1 - exp(-v t / n)) / v is t / n in the limit v = 0
    rate = 0.0 if t is None else t / count
    safe = jnp.where(values > floor, values, 1)
    filtered = 1 / safe if t is None else jnp.where(values > floor, -jnp.expm1(-safe * rate) / safe, rate)
    weights = vectors @ (filtered[:, None] * (vectors.T @ targets))

    def predict(x_new):
        """Predictions for samples x_new."""
        x_new = {as_new_data}
        mean = jnp.matmul(gram_of(x_new, x{named}), weights, precision=lax.Precision.HIGHEST)
        return mean[:, 0] if y.ndim == 1 else mean

    return predict
'''


ONE_INPUT = {
    "star": "",
    "as_data": "jnp.asarray(x, dtype)",
    "as_new_data": "jnp.asarray(x_new, dtype)",
    "first": "x",
    "is_finite": "jnp.isfinite(x).all()",
    "data": "[n, ..., features]",
}
SEVERAL_INPUTS = {
    "star": "*",
    "as_data": "tuple(jnp.asarray(v, dtype) for v in x)",
    "as_new_data": "tuple(jnp.asarray(v, dtype) for v in x_new)",
    "first": "x[0]",
    "is_finite": "all(jnp.isfinite(v).all() for v in x)",
    "data": "a tuple of [n, ..., features]",
}


def module_text(source: str, parameters: Sequence[str], inputs: int = 1) -> str:
    """The source with `fit`."""
    keywords = ", *, " + ", ".join(parameters) if parameters else ""
    named = "".join(f", {p}={p}" for p in parameters)
    return source + FIT.format(keywords=keywords, named=named, **(ONE_INPUT if inputs == 1 else SEVERAL_INPUTS))
