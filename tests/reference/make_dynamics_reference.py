"""Writes dynamics.npz: training dynamics of Neural Tangents 0.6.5 in float64, with the kernels that they came from.

Run in an environment with the peer package:  python tests/reference/make_dynamics_reference.py
Keys: `<case>/<input>` for kernels, targets and outputs before training, `<case>/<call>/<result>` for results. The calls
are those of tests/test_predict_dynamics.py, repeated here because the peer's environment has no ntkc.
"""

from pathlib import Path

import jax.numpy as jnp
import neural_tangents as nt
import numpy as np
from jax.nn import log_softmax
from make_predict_reference import CASES, N_TEST, RATE, TIMES, draw_blocks

ODE_CASES = ("traced", "full", "image")
ODE_TIMES = {"scalar": 3.0, "grid": np.array([[0.0, 0.3, 2.0], [5.0, 11.0, 30.0]])}
MOMENTA = {"plain": None, "momentum": 0.8}


def mean_squares(fx, y):
    return jnp.mean((fx - y) ** 2) / 2


def cross_entropy(fx, y):
    return -jnp.mean(log_softmax(fx) * y)


LOSSES = {"squares": mean_squares, "entropy": cross_entropy}


def store_mse(out, case, blocks, y, start, start_test):
    _, trace_axes, diag_reg, is_absolute = CASES[case]
    train, cross = blocks["train_train"], blocks["test_train"]
    predict = nt.predict.gradient_descent_mse(train, y, RATE, diag_reg, is_absolute, trace_axes)
    for name, t in TIMES.items():
        out[f"{case}/{name}/both/test"] = predict(t, start, start_test, cross)[1]
        out[f"{case}/{name}/numbers/test"] = predict(t, 0.5, 0.25, cross)[1]
        out[f"{case}/{name}/test/test"] = predict(t, None, start_test, cross)
        # The peer leaves the ridge out of the training set; this is its way to have it.
        out[f"{case}/{name}/both/train"] = predict(t, start, start, train)[1]
        out[f"{case}/{name}/train/train"] = predict(t, 0.0, 0.0, train)[1]
        if diag_reg == 0:
            assert np.allclose(predict(t, start), out[f"{case}/{name}/both/train"])


def store_ode(out, case, blocks, y, start, start_test):
    trace_axes = CASES[case][1]
    for loss_name, loss in LOSSES.items():
        for momentum_name, momentum in MOMENTA.items():
            call = f"{case}/{loss_name}/{momentum_name}"
            predict = nt.predict.gradient_descent(loss, blocks["train_train"], y, RATE, momentum, trace_axes)
            for name, t in ODE_TIMES.items():
                result = predict(t, start, start_test, blocks["test_train"])
                out[f"{call}/{name}/train"], out[f"{call}/{name}/test"] = result
            state = nt.predict.ODEState(start, start_test)
            state = predict(3.0, state, None, blocks["test_train"])
            state = predict(ODE_TIMES["grid"], state, None, blocks["test_train"])
            for field in ("fx_train", "fx_test", "qx_train", "qx_test"):
                if getattr(state, field) is not None:
                    out[f"{call}/resumed/{field}"] = getattr(state, field)


def main():
    out = {}
    for seed, (case, (shape, trace_axes, _, _)) in enumerate(CASES.items()):
        rng = np.random.default_rng(100 + seed)
        axes = {axis % len(shape) for axis in trace_axes}
        blocks = draw_blocks(rng, tuple(size for axis, size in enumerate(shape) if axis not in axes))
        y, start, start_test = (rng.normal(size=(n, *shape[1:])) for n in (shape[0], shape[0], N_TEST))
        out |= {f"{case}/{name}": block for name, block in blocks.items() if name != "test_test"}
        out |= {f"{case}/y": y, f"{case}/start": start, f"{case}/start_test": start_test}
        store_mse(out, case, blocks, y, start, start_test)
        if case in ODE_CASES:
            labels = np.exp(y) / np.exp(y).sum(-1, keepdims=True)
            store_ode(out, case, blocks, labels, start, start_test)
        for momentum in (0.0, 0.8):
            rate = nt.predict.max_learning_rate(blocks["train_train"], y.size, momentum)
            out[f"{case}/max_learning_rate/{momentum}"] = rate
    np.savez_compressed(Path(__file__).with_name("dynamics.npz"), **{k: np.asarray(v) for k, v in out.items()})


if __name__ == "__main__":
    main()
