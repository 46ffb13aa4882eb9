"""Writes predict.npz: predictions of Neural Tangents 0.6.5 in float64, with the kernels that they came from.

Run in an environment with the peer package:  python tests/reference/make_predict_reference.py
Keys: `<case>/<input>` for kernels and targets, `<case>/<call>/<mode>/<mean or covariance>` for results. The calls are
those of `CALLS` in tests/test_predict.py, repeated here because the peer's environment has no ntkc.
"""

from collections import namedtuple
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import neural_tangents as nt  # noqa: E402
import numpy as np  # noqa: E402

Kernel = namedtuple("Kernel", "nngp ntk")
GRID = np.array([[0.0, 0.3, 2.0], [10.0, 300.0, 1e4]])
TIMES = {"none": None, "zero": 0.0, "scalar": 3.0, "grid": GRID}
RATE = 0.7
# name: shape of y, trace_axes, diag_reg, diag_reg_absolute_scale
CASES = {
    "traced": ((6, 3), (-1,), 0.0, False),
    "full": ((5, 2), (), 0.0, False),
    "image": ((3, 2, 2), (1,), 0.0, False),
    "relative": ((6, 3), (-1,), 0.05, False),
    "absolute": ((5, 2), (), 0.3, True),
    "image absolute": ((3, 2, 2), (1,), 0.2, True),
    "two traced": ((5, 2, 3), (1, -1), 0.1, False),
}
N_TEST = 4


def draw_kernel(rng, rows):
    """Well-conditioned symmetric (rows, rows), the sum of a random Gram matrix and a diagonal."""
    factor = rng.normal(size=(rows, 2 * rows))
    return factor @ factor.T / rows + 0.5 * np.eye(rows)


def pair_axes(matrix, rows, columns):
    k = len(rows)
    order = [axis for i in range(k) for axis in (i, k + i)]
    return matrix.reshape(rows + columns).transpose(order)


def draw_blocks(rng, kept):
    test = (N_TEST, *kept[1:])
    m = int(np.prod(kept))
    joint = draw_kernel(rng, m + int(np.prod(test)))
    return {
        "train_train": pair_axes(joint[:m, :m], kept, kept),
        "test_train": pair_axes(joint[m:, :m], test, kept),
        "test_test": pair_axes(joint[m:, m:], test, test),
    }


def lookup(blocks):
    def kernel_fn(x1, x2, get, **keywords):
        name = "train_train" if len(x1) != N_TEST else "test_test" if x2 is None else "test_train"
        if isinstance(get, str):
            return blocks[get][name]
        return namedtuple("Kernel", get)(*(blocks[g][name] for g in get))

    return kernel_fn


def store(out, prefix, result):
    for mode, value in result._asdict().items():
        for field in ("mean", "covariance"):
            if hasattr(value, field):
                out[f"{prefix}/{mode}/{field}"] = np.asarray(getattr(value, field))


def main():
    out = {}
    for seed, (case, (shape, trace_axes, diag_reg, is_absolute)) in enumerate(CASES.items()):
        rng = np.random.default_rng(seed)
        axes = {axis % len(shape) for axis in trace_axes}
        kept = tuple(size for axis, size in enumerate(shape) if axis not in axes)
        blocks = {"nngp": draw_blocks(rng, kept), "ntk": draw_blocks(rng, kept)}
        y = rng.normal(size=shape)
        out[f"{case}/y"] = y
        out |= {f"{case}/{kernel}/{name}": b for kernel, named in blocks.items() for name, b in named.items()}
        x, x_test = np.zeros((shape[0], 2)), np.ones((N_TEST, 2))
        predict = nt.predict.gradient_descent_mse_ensemble(
            lookup(blocks), x, y, RATE, diag_reg, is_absolute, trace_axes
        )
        for name, t in TIMES.items():
            store(out, f"{case}/{name}/test", predict(t, x_test, None, compute_cov=True))
            if diag_reg == 0:
                store(out, f"{case}/{name}/train", predict(t, None, None, compute_cov=True))
        train, cross, test = (
            Kernel(blocks["nngp"][b], blocks["ntk"][b]) for b in ("train_train", "test_train", "test_test")
        )
        posterior = nt.predict.gp_inference(train, y, diag_reg, is_absolute, trace_axes)
        modes = ("nngp", "ntk", "ntkgp")
        store(out, f"{case}/posterior/test", posterior(modes, cross, test))
        for mode, mean in posterior(modes, cross)._asdict().items():
            out[f"{case}/means/test/{mode}"] = np.asarray(mean)
    np.savez_compressed(Path(__file__).with_name("predict.npz"), **out)


if __name__ == "__main__":
    main()
