"""The command `ntkc`:  demo, derive, compile, import, bench."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ntkc.errors import InvalidInput, NtkcError
from ntkc.frontends import compile, to_json
from ntkc.importers import from_onnx
from ntkc.importers.functions import ATTENTIONS
from ntkc.ir.graph import feature_shapes
from ntkc.ir.program import Program
from ntkc.layers.dense import PARAMETERIZATIONS
from ntkc.passes.prune import prune
from ntkc.program import GETS, KernelProgram

FAILURE, INTERRUPTED = 2, 130
FEATURES = 100
"""Of random data, where the Input leaves the number open."""
DOCUMENT = 'JSON document of a network, {"format": "ntkc-network", ...}; ntkc.to_json writes it; or an ONNX model'


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 if it worked, 2 after an error, which is one line on stderr, 130 after Ctrl-C."""
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except KeyboardInterrupt:
        return fail("interrupted", INTERRUPTED)
    except OSError as error:
        return fail(f"{error.filename or 'file'}: {error.strerror or error}", FAILURE)
    except NtkcError as error:
        return fail(str(error), FAILURE)
    return 0


def fail(message: str, code: int) -> int:
    line = Text("ntkc: ", "bold red") + Text(" ".join(message.split()), "red")
    Console(stderr=True).print(line, soft_wrap=True)
    return code


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("ntkc", description="Neural networks -> their infinite-width kernels (NNGP and NTK).")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_demo(commands)
    add_derive(commands)
    add_compile(commands)
    add_import(commands)
    add_bench(commands)
    return top


def add_command(
    commands: Any, name: str, text: str, run: Callable[[argparse.Namespace], None]
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(run=run)
    return command


def add_demo(commands: Any) -> None:
    text = "classify handwritten digits with the kernels of five networks and write a report in HTML"
    command = add_command(commands, "demo", text, demo)
    command.add_argument(
        "--data",
        metavar="FILE",
        help=".npz with arrays x, y, or .csv with the label last (default: scikit-learn's digits)",
    )
    command.add_argument("--output", metavar="FILE", default="ntkc-demo.html", help="the report (default: %(default)s)")
    command.add_argument("--seed", type=whole, default=0, help="seed of the train / test split (default: %(default)s)")


def add_derive(commands: Any) -> None:
    command = add_command(commands, "derive", "print the derivation of a kernel as LaTeX", derive)
    command.add_argument("net", help=DOCUMENT)
    command.add_argument("--get", choices=GETS, default="ntk", help="which kernel (default: %(default)s)")
    command.add_argument("--plain", action="store_true", help="the recursion as plain text instead of LaTeX")


def add_compile(commands: Any) -> None:
    text = "write a network's kernels as a stand-alone Python module (needs jax only)"
    command = add_command(commands, "compile", text, write_module)
    command.add_argument("net", help=DOCUMENT)
    command.add_argument("-o", "--output", metavar="FILE", required=True, help="the module to write")
    command.add_argument("--force", action="store_true", help="replace the file if it exists")


def add_import(commands: Any) -> None:
    command = add_command(
        commands, "import", "read an ONNX model as an infinite network, and write it as JSON", read_model
    )
    command.add_argument("model", help="the ONNX model")
    command.add_argument("-o", "--output", metavar="FILE", help="the JSON document to write")
    command.add_argument("--report", action="store_true", help="print how each parameter was read")
    command.add_argument("--parameterization", choices=PARAMETERIZATIONS, default="standard", help="of the NTK")
    command.add_argument("--attention", choices=ATTENTIONS, default="refuse", help="softmax attention at 1/sqrt(d)")
    command.add_argument("--average-pools", action="store_true", help="read max pools as average pools")
    command.add_argument("--force", action="store_true", help="replace the file if it exists")


def add_bench(commands: Any) -> None:
    command = add_command(commands, "bench", "time a network's kernels on random data", bench)
    command.add_argument("net", help=DOCUMENT)
    command.add_argument("--n", type=positive, default=1000, help="samples in each of two sets (default: %(default)s)")
    command.add_argument(
        "--features", type=positive, help=f"features of a sample (default: what the Input states, or {FEATURES})"
    )
    command.add_argument(
        "--repeats", type=positive, default=5, help="timed calls, of which the median counts (default: 5)"
    )


def whole(text: str) -> int:
    """A number 0, 1, 2, ..."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 0")
    return int(text)


def positive(text: str) -> int:
    """A number 1, 2, 3, ..."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def read(path: str) -> Path:
    """The path itself, if a file is there."""
    file = Path(path)
    if not file.is_file():
        raise InvalidInput(f"{path} is no file; give the {DOCUMENT}")
    return file


def demo(arguments: argparse.Namespace) -> None:
    from ntkc.demo import run_demo  # the other commands need none of it

    run_demo(arguments.data, arguments.output, arguments.seed, Console())


def derive(arguments: argparse.Namespace) -> None:
    file = read(arguments.net)
    print(plain(file, arguments.get) if arguments.plain else compile(file).latex(arguments.get))


def plain(file: Path, get: str) -> str:
    """`K_relu1 = ...`, one statement a line, without what the kernel does not read."""
    derivation: Program = compile(file, until="lower")
    output = derivation.outputs[get]
    text = prune(replace(derivation, outputs={get: output})).text()
    return f"{text}\n{get} = {getattr(output, 'name', output)}"


def write_module(arguments: argparse.Namespace) -> None:
    target = Path(arguments.output)
    if target.exists() and not arguments.force:
        raise InvalidInput(f"{target} exists; --force replaces it")
    written = compile(read(arguments.net)).save(target)
    print(f"wrote {written}: {len(written.read_text(encoding='utf-8').splitlines())} lines")


def read_model(arguments: argparse.Namespace) -> None:
    target = None if arguments.output is None else Path(arguments.output)
    if target is not None and target.exists() and not arguments.force:
        raise InvalidInput(f"{target} exists; --force replaces it")
    made = from_onnx(
        read(arguments.model),
        parameterization=arguments.parameterization,
        attention=arguments.attention,
        replace={"MaxPool": "avg"} if arguments.average_pools else None,
    )
    if arguments.report or target is None:
        Console().print(made.report)
    if target is not None:
        target.write_text(json.dumps(to_json(made), indent=1), encoding="utf-8")
        print(f"wrote {target}: {len(made.graph)} layers")


def bench(arguments: argparse.Namespace) -> None:
    start = time.perf_counter()
    program: KernelProgram = compile(read(arguments.net))
    seconds = time.perf_counter() - start
    features = arguments.features or stated_features(program) or FEATURES
    x1, x2 = np.random.default_rng(0).standard_normal((2, arguments.n, features)).astype(np.float32)
    table = Table(title=f"{arguments.net}: {arguments.n} x {arguments.n} pairs, {features} features, {platform()}")
    for column in ("kernel", "first call s", "steady ms", "pairs per second"):
        table.add_column(column, justify="left" if column == "kernel" else "right")
    for name, get in (("nngp", "nngp"), ("ntk", "ntk"), ("both", GETS)):
        table.add_row(name, *timed(program, x1, x2, get, arguments.repeats))
    set_to_one = f" Open hyper-parameters set to 1: {', '.join(program.parameters)}." if program.parameters else ""
    table.caption = f"symbolic compilation {seconds:.2f} s.{set_to_one}"
    Console().print(table)


def stated_features(program: KernelProgram) -> int | None:
    """Of the Input; None if it takes any."""
    return feature_shapes(program.graph)[program.graph.graph["input"]][0]


def platform() -> str:
    device = jax.devices()[0]
    return f"float32 on {device.device_kind}"


def timed(program: KernelProgram, x1: Any, x2: Any, get: Any, repeats: int) -> tuple[str, str, str]:
    """(seconds of the first call, median milliseconds of later ones, pairs per second)."""
    values: dict[str, Any] = dict.fromkeys(program.parameters, 1.0)
    seconds: list[float] = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(program(x1, x2, get, **values))
        seconds.append(time.perf_counter() - start)
    steady = float(np.median(seconds[1:]))
    return f"{seconds[0]:.2f}", f"{1e3 * steady:.2f}", f"{len(x1) * len(x2) / steady:,.0f}"
