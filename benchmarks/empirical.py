"""Empirical NTKs of three networks, N = 16 and O = 10: time and temporary memory of each implementation.

    python benchmarks/empirical.py --peer .venv-peer/bin/python
    python benchmarks/empirical.py --peer .venv-peer/bin/python --rounds 5 --only CNN

Both packages in turn, a fresh process each, --rounds times: the least time of all calls counts. The same file runs in
both environments: with --one it prints a JSON line for the package it finds.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

SAMPLES, OUTPUTS = 16, 10
SECONDS, CALLS = 1.5, 3
"""Calls go on so long, and are at least so many."""
NUMBERS = ("NHWC", "HWIO", "NHWC")


def draw(rng, *shape):
    return np.float32(rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1])))


def fcn(params, x):
    *hidden, last = params
    for w in hidden:
        x = jnp.maximum(x @ w, 0)
    return x @ last


def convolved(x, w, stride=1):
    return lax.conv_general_dilated(x, w, (stride, stride), "SAME", dimension_numbers=NUMBERS)


def cnn(params, x):
    *hidden, last = params
    for w in hidden:
        x = jnp.maximum(convolved(x, w), 0)
    return x.mean((1, 2)) @ last


def resnet(params, x):
    first, blocks, last = params
    x = convolved(x, first)
    for i, (a, b, skip) in enumerate(blocks):
        stride = 1 if i == 0 else 2
        y = convolved(jnp.maximum(x, 0), a, stride)
        x = convolved(x, skip, stride) + convolved(jnp.maximum(y, 0), b)
    return x.mean((1, 2)) @ last


def networks():
    """Name -> (f, params, x1, x2)."""
    rng = np.random.default_rng(0)
    mlp = [draw(rng, 784, 512), draw(rng, 512, 512), draw(rng, 512, 512), draw(rng, 512, OUTPUTS)]
    images = [draw(rng, SAMPLES, 16, 16, 3) for _ in range(2)]
    filters = [draw(rng, 3, 3, c, 32) for c in (3, 32, 32)]
    blocks = [[draw(rng, 3, 3, a, b), draw(rng, 3, 3, b, b), draw(rng, 1, 1, a, b)] for a, b in ((16, 16), (16, 32))]
    residual = [draw(rng, 3, 3, 3, 16), blocks, draw(rng, 32, OUTPUTS)]
    vectors = [draw(rng, SAMPLES, 784) for _ in range(2)]
    return {
        "FCN 3x512": (fcn, mlp, *vectors),
        "CNN 3x32": (cnn, [*filters, draw(rng, 32, OUTPUTS)], *images),
        "ResNet 2 blocks": (resnet, residual, *images),
    }


def package():
    """The empirical_ntk_fn and NtkImplementation that this environment has."""
    try:
        from ntkc import empirical
    except ImportError:
        import neural_tangents as empirical
    return empirical.empirical_ntk_fn, empirical.NtkImplementation


def measured(f, params, x1, x2, implementation):
    """Best seconds of a call by the clock and of the processors, and megabytes of temporary memory."""
    empirical_ntk_fn, _ = package()
    ntk_fn = empirical_ntk_fn(f, trace_axes=(), vmap_axes=0, implementation=implementation)
    given = jax.device_put((x1, x2, params))
    compiled = jax.jit(ntk_fn).lower(*given).compile()
    value = jax.block_until_ready(compiled(*given))
    walls, cpus = [], []
    while len(walls) < CALLS or sum(walls) < SECONDS:
        wall, cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(compiled(*given))
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    temporary = getattr(compiled.memory_analysis(), "temp_size_in_bytes", 0) / 1e6
    checksum = float(np.sum(np.abs(value)))
    return {"ms": min(walls) * 1e3, "cpu_ms": min(cpus) * 1e3, "MB": temporary, "checksum": checksum}


def attempted(*arguments):
    """What was measured, or why not: the peer's structured derivatives do not run on every JAX."""
    try:
        return measured(*arguments)
    except AttributeError as error:
        return {"error": str(error)}


def one(only):
    """All implementations of this environment on the networks whose name has `only` in it."""
    _, implementations = package()
    return {
        net: {way.name: attempted(*parts, way) for way in implementations}
        for net, parts in networks().items()
        if only in net
    }


def run(python, only):
    command = [python, "-W", "ignore", __file__, "--one", "--only", only]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def best(rounds):
    """The least times of several rounds; memory and sums are the same in each."""
    return {
        net: {
            way: {**found, **{key: min(r[net][way][key] for r in rounds) for key in ("ms", "cpu_ms") if key in found}}
            for way, found in ways.items()
        }
        for net, ways in rounds[0].items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="the Python of an environment with neural_tangents")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="part of the name of a network")
    parser.add_argument("--one", action="store_true", help="this environment alone, once, as JSON")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(arguments.only)))
        return
    pythons = {"ntkc": sys.executable, **({"peer": str(arguments.peer)} if arguments.peer else {})}
    rounds = [{who: run(python, arguments.only) for who, python in pythons.items()} for _ in range(arguments.rounds)]
    found = {who: best([r[who] for r in rounds]) for who in pythons}
    form = "{ms:9.2f} ms, cpu {cpu_ms:9.2f} ms {MB:8.1f} MB   sum |NTK| {checksum:.6g}"
    for net in found["ntkc"]:
        print(net)
        for who, results in found.items():
            for name, r in results[net].items():
                print(f"    {who:5} {name:24} {(form if 'ms' in r else 'fails: {error}').format(**r)}")


if __name__ == "__main__":
    main()
