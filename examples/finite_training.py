"""Real networks trained beside their linearisation and their infinite limit; an argument names an SVG file."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ntkc import empirical_ntk_fn, linearize, predict, stax

WIDTHS, STEPS, lines = (16, 128, 512), 200, []
rng = np.random.default_rng(0)
x, x_test = (rng.standard_normal((n, 3)).astype("float32") for n in (24, 50))
y = np.sin(2 * x[:, :1])


def network(width: int) -> stax.Layer:
    layer = stax.serial(stax.Dense(width, 1.5, 0.1), stax.Erf())
    return stax.serial(layer, layer, stax.Dense(1))


def trained(f, params, rate: float):
    """Parameters, and outputs on test data after each step, by gradient descent on |f - y|^2 / 2n."""

    def step(p, _):
        slope = jax.grad(lambda q: jnp.mean((f(q, x) - y) ** 2) / 2)(p)
        p = jax.tree.map(lambda a, b: a - rate * b, p, slope)
        return p, f(p, x_test)

    return jax.jit(lambda p: jax.lax.scan(step, p, None, STEPS))(params)


def norm(tree) -> float:
    return float(np.sqrt(sum(np.sum(np.square(v)) for v in jax.tree.leaves(tree))))


kernel_fn = network(1)[2]
ntk, ntk_test = kernel_fn(x, None, "ntk"), kernel_fn(x_test, x, "ntk")
rate = 0.5 * float(predict.max_learning_rate(ntk, y.size))
predict_fn = predict.gradient_descent_mse_discrete(ntk, y, rate)
print(f"{STEPS} steps: relative distances of the network to its linearisation and to its infinite limit, and its moves")
print("width   linearisation   limit   parameters   kernel")
for i, width in enumerate(WIDTHS):
    init_fn, f, _ = network(width)
    start = init_fn(jax.random.PRNGKey(0), x.shape)[1]
    (end, path), (_, linear) = trained(f, start, rate), trained(linearize(f, start), start, rate)
    limit = predict_fn(STEPS, f(start, x), f(start, x_test), ntk_test)[1]  # the same start, the infinite kernel
    own_ntk = jax.jit(empirical_ntk_fn(f, vmap_axes=0, implementation=3))
    theta, moved = own_ntk(x, None, start), jax.tree.map(jnp.subtract, end, start)
    drifts = norm(moved) / norm(start), norm(own_ntk(x, None, end) - theta) / norm(theta)
    apart = norm(path[-1] - linear[-1]) / norm(path[-1]), norm(path[-1] - limit) / norm(path[-1])
    print(f"{width:5}{apart[0]:16.3f}{apart[1]:8.3f}{drifts[0]:13.4f}{drifts[1]:9.3f}")
    gaps = [norm(a - b) / norm(a) for a, b in zip(path, linear, strict=True)]
    points = " ".join(f"{2 * t:.0f},{200 - 200 * gap:.1f}" for t, gap in enumerate(gaps))
    lines.append(f'<polyline points="{points}" fill="none" stroke="{("#1f77b4", "#d62728", "#2ca02c")[i]}"/>')
if len(sys.argv) > 1:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 200">{"".join(lines)}</svg>'
    Path(sys.argv[1]).write_text(svg, encoding="utf-8")
