"""KernelProgram: a compiled network, to call, to read and to save."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import sympy as sp

from ntkc.backends.bundle import module_text
from ntkc.backends.formula import formula_of
from ntkc.backends.latex import latex_of
from ntkc.compile import Compilation, compile_graph
from ntkc.costs import Cost, count, peak_memory
from ntkc.data import (
    are_one_set,
    are_same_patterns,
    arranged,
    arrays_of,
    broadcasting,
    checked_data,
    checked_patterns,
    checked_value,
    flat_inputs,
    presence,
    refuse_masked,
    shapes_of,
    with_nan,
)
from ntkc.errors import InvalidInput, ShapeMismatch, unknown
from ntkc.gaussian.certificates import TOLERANCES
from ntkc.host.loaded import Loaded, loaded
from ntkc.ir.graph import Graph, feature_shapes, inputs_of, op_of
from ntkc.ir.hyper import is_own_name
from ntkc.ir.program import Program
from ntkc.ir.value import Law
from ntkc.kernel import Kernel
from ntkc.layers.aggregate import checked_pattern
from ntkc.passes.demand import demand
from ntkc.passes.lower import in_closed_forms, lower, open_symbols
from ntkc.passes.roll import roll
from ntkc.passes.settle import has_patterns, is_masked, is_open
from ntkc.presence import presence_after
from ntkc.runtime.alarm import exportable, report
from ntkc.variants import Variant, fits

if TYPE_CHECKING:
    from ntkc.stage_table import StageTable

GETS = ("nngp", "ntk")

__all__ = ["GETS", "KernelProgram", "build", "exportable"]


class KernelProgram:
    """The NNGP and NTK kernels of a network: jitted functions, formulas, and the source that runs."""

    def __init__(self, compilation: Compilation, variants: dict[Variant, KernelProgram] | None = None) -> None:
        self._compilation = compilation
        self._variants: dict[Variant, KernelProgram] = {} if variants is None else variants
        self.imported: Any = None
        """How a model of another library was read (`print` shows it); None for other networks."""

    def with_import(self, imported: Any) -> KernelProgram:
        """The same program, which tells what it was read from, and has measured hyper-parameters as defaults."""
        made = KernelProgram(self._compilation, self._variants)
        made.imported = imported
        return made

    @property
    def graph(self) -> Graph:
        """The network: a networkx.MultiDiGraph whose nodes carry their layer as `op`."""
        return self._compilation.graph

    @property
    def source(self) -> str:
        """The JAX module, as text; this very text is what runs."""
        return self._stage("emit")

    @property
    def parameters(self) -> tuple[str, ...]:
        """Hyper-parameters left open, by name: keyword arguments of a call."""
        if is_open(self.graph):
            return tuple(sorted({s.name for n in self.graph for s in open_symbols(op_of(self.graph, n))}))
        return tuple(p.name for p in self._stage("prune").parameters)

    def _stage(self, name: str) -> Any:
        """What a stage made; of the one shape that was met, where the network fits data of any."""
        if name in self._compilation.made:
            return self._compilation.made[name]
        met = [program for variant, program in self._variants.items() if variant.shapes]
        if len(met) == 1:
            return met[0]._stage(name)
        raise InvalidInput(
            "the program depends on the shape of the data: say it, as ntkc.compile(net, input_shape=(32, 32, 3)), "
            "or call the kernel on data first"
        )

    def variant(self, variant: Variant) -> KernelProgram:
        """The program of this network for a kind of data; made once for each."""
        if variant not in self._variants:
            graph = variant.graph(self.graph)
            diagonal = variant.diagonal or self._compilation.diagonal
            is_own = graph is self.graph and diagonal == self._compilation.diagonal
            self._variants[variant] = self if is_own else build(graph, None, self.tolerance, diagonal)
        return self._variants[variant]

    def on(self, *shapes: tuple[int, ...]) -> KernelProgram:
        """The program for samples of a shape (pixels ..., features), one for each Input; made once for each.

        Raises:
            ShapeMismatch: the network does not fit it.
        """
        if fits(self.graph, shapes):
            return self
        stated = (op_of(self.graph, n).shape(()) for n in inputs_of(self.graph))
        for shape, known in zip(shapes, stated, strict=True):
            if known:
                self._check_shape(shape, known[:-1], known[-1])
        return self.variant(Variant(shapes))

    @property
    def tolerance(self) -> float | None:
        """The error of series that was asked for; None for the usual ones."""
        given = self._compilation.tolerances
        return None if given == TOLERANCES else max(given.values())

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle holds the network; reading it compiles anew."""
        network = (self.graph, None, self.tolerance, self._compilation.diagonal)
        if self.imported is None:
            return build, network
        return _built_with_import, (network, replace(self.imported, function=None, params=None))

    def __deepcopy__(self, memo: Any) -> KernelProgram:
        return self

    def __call__(
        self,
        /,
        x1: Any,
        x2: Any = None,
        get: str | tuple[str, ...] | None = None,
        *,
        mask_constant: float | None = None,
        diagonal_spatial: bool | None = None,
        pattern: Any = None,
        **parameters: Any,
    ) -> Any:
        """K(x1, x2) and T(x1, x2).

        Args:
            x1: [n1, features] data, or [n1, pixels ..., features]; x2: [n2, ...], or None for x1 with itself (one
                triangle is computed), which is also what x1 itself and arrays of equal values mean. A network of
                several inputs takes a tuple of arrays, or nested tuples.
            get: "nngp" or "ntk" for an array [n1, n2] (then all pairs of the pixels that are left, axis by axis), a
                tuple of both for a named tuple, None for a Kernel.
            mask_constant: entries equal to it (NaN, too) are missing, and so are pixels that miss all features.
            diagonal_spatial: True for pairs of equal pixels only, of the pixels that are left: [n1, n2, pixels ...].
            pattern: the graphs of x1 and of x2, read by Aggregate; with x2=None those of x1, and the same or None.
            parameters: a value for each open hyper-parameter.

        Raises:
            ShapeMismatch, InvalidInput: data of other shapes, empty, masked by numpy.ma, or with NaN or infinities; a
                hyper-parameter that is not one finite real number.
        """
        with broadcasting():
            return self._called(x1, x2, get, mask_constant, bool(diagonal_spatial), pattern, parameters)

    def _called(
        self,
        x1: Any,
        x2: Any,
        get: str | tuple[str, ...] | None,
        mask_constant: Any,
        diagonal: bool,
        pattern: Any,
        parameters: Mapping[str, Any],
    ) -> Any:
        refuse_masked(x1=x1, x2=x2)
        parameters = self._with_measured(parameters)
        is_one = are_one_set(x1, x2) and (pattern is None or are_same_patterns(*pattern))
        given, x2 = x2, None if is_one else x2
        pattern = checked_patterns(pattern, x2, has_patterns(self.graph))
        program = self.variant(Variant(None, mask_constant is not None, diagonal, pattern is not None))
        if mask_constant is not None and not is_masked(self.graph):
            x1, x2 = (self._with_nan(name, x, mask_constant) for name, x in (("x1", x1), ("x2", x2)))
        x1, x2 = program.checked_pair(x1, x2)
        made = program.on(*(x.shape[1:] for x in arrays_of(x1)))._results(x1, x2, get, pattern, parameters)
        return made.replace(cov2=made.cov1, mask2=made.mask1) if is_one and given is not None and get is None else made

    def _results(
        self,
        x1: Any,
        x2: Any,
        get: str | tuple[str, ...] | None,
        pattern: tuple[Any, Any] | None,
        parameters: Mapping[str, Any],
    ) -> Any:
        """What a call gives, of data that are checked, by the program that is for such data."""
        values = self._checked_parameters(parameters, arrays_of(x1)[0].dtype)
        patterns: tuple[Any, Any] = (None, None)
        if pattern is not None:
            x2 = x1 if x2 is None and pattern[1] is not None else x2
            patterns = self._patterns(pattern, x1, x2)
        if get is None:
            return self._kernel(x1, x2, values, patterns)
        if isinstance(get, str):
            return self._run(_checked_get(get), x1, x2, values, patterns)
        names = tuple(_checked_get(g) for g in (get if isinstance(get, (tuple, list)) else (get,)))
        if len(set(names)) == 1:
            return _result(names)(*(self._run(n, x1, x2, values, patterns) for n in names))
        both: dict[str, Any] = dict(zip(GETS, self._run("kernel", x1, x2, values, patterns), strict=True))
        return _result(names)(*(both[n] for n in names))

    def _with_measured(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        return parameters if self.imported is None else {**self.imported.values, **parameters}

    def _with_nan(self, name: str, x: Any, constant: float) -> Any:
        """Data with NaN in the place of a constant, in every input."""
        count = len(inputs_of(self.graph))
        if x is None or count == 1:
            return None if x is None else with_nan(name, x, constant)
        return tuple(with_nan(name, v, constant) for v in flat_inputs(name, x, count))

    @staticmethod
    def _check_shape(shape: tuple[int, ...], spatial: tuple[int | None, ...], stated: int | None) -> None:
        if spatial and spatial != shape[:-1]:
            raise ShapeMismatch(f"samples of shape {shape} given to a network whose Input has {spatial} pixels")
        if stated is not None and stated != shape[-1]:
            raise ShapeMismatch(f"data with {shape[-1]} features given to a network whose Input has {stated}")

    def _patterns(self, pattern: tuple[Any, Any], x1: Any, x2: Any) -> tuple[Any, Any]:
        kind = self._stage("prune").pattern
        first, second = (
            None if p is None or x is None else checked_pattern(name, p, len(x), kind.sizes, kind.is_sparse, jnp)
            for name, p, x in zip(("pattern1", "pattern2"), pattern, (x1, x2), strict=True)
        )
        return first, second

    def _kernel(self, x1: Any, x2: Any, values: Mapping[str, Any], patterns: tuple[Any, Any]) -> Kernel:
        nngp, ntk = self._run("kernel", x1, x2, values, patterns)
        count1, count2 = (len(arrays_of(x)[0]) for x in (x1, x1 if x2 is None else x2))
        mask1, mask2 = (None if x is None else self._mask(presence(arrays_of(x))) for x in (x1, x2))
        return Kernel(
            nngp,
            ntk,
            self._loaded("variance", x1, pattern=patterns[0], **values),
            None if x2 is None else self._loaded("variance", x2, pattern=patterns[1], **values),
            x1_is_x2=x2 is None,
            mask1=mask1,
            mask2=mask2,
            **self._of_output(count1, count2, arrays_of(x1)[0].shape[-1]),
        )

    def _of_output(self, count1: int, count2: int, width: int) -> dict[str, Any]:
        """The fields of a Kernel that say what the output is."""
        *pixels, stated = feature_shapes(self.graph)[self.graph.graph["output"]]
        spatial, law = tuple(n for n in pixels if n is not None), self._output_law
        return {
            "is_gaussian": law is Law.GAUSSIAN,
            "is_input": law is Law.GIVEN,
            "shape1": (count1, *spatial, stated or width),
            "shape2": (count2, *spatial, stated or width),
            "batch_axis": 0,
            "channel_axis": 1 + len(pixels),
            "diagonal_spatial": self._compilation.diagonal and bool(pixels),
        }

    def _mask(self, there: tuple[Any, ...]) -> Any:
        """Where the output is masked, [n, pixels ..., 1], from the pixels of the inputs that are there."""
        if not is_masked(self.graph):
            return None
        return (presence_after(self.graph, [v.astype(float) for v in there]) == 0)[..., None]

    def onward(self, kernels: Sequence[Kernel], parameters: Mapping[str, Any]) -> Kernel:
        """The Kernel after this network, from the Kernels before it, one for each Port, of data in plain order."""
        with broadcasting():
            return self._continued(kernels, parameters)

    def _continued(self, kernels: Sequence[Kernel], parameters: Mapping[str, Any]) -> Kernel:
        first = kernels[0]
        values = self._checked_parameters(parameters, first.nngp.dtype)
        masks = [(_there(k.mask1), _there(k.mask1 if k.cov2 is None and k.mask2 is None else k.mask2)) for k in kernels]
        given = [_given(k, *m) for k, m in zip(kernels, masks, strict=True)]
        same = jnp.eye(*first.nngp.shape[:2], dtype=bool) & first.x1_is_x2
        self._check_pixels(any(k.diagonal_spatial for k in kernels))
        (nngp, ntk, cov1, cov2), concern = self._loaded("onward", tuple(given), same, **values)
        report(self.module["onward"].watch, concern)
        mask1, mask2 = (self._mask(tuple(m[side] for m in masks)) for side in (0, 1))
        shapeless = {"shape1": None, "shape2": None} if first.shape1 is None else {}
        return first.replace(
            nngp=nngp,
            ntk=ntk,
            cov1=cov1,
            cov2=None if first.cov2 is None else cov2,
            mask1=mask1,
            mask2=None if first.cov2 is None else mask2,
            **self._of_output(nngp.shape[0], nngp.shape[1], first.shape1[-1] if first.shape1 else 0) | shapeless,
        )

    def _check_pixels(self, diagonal: bool) -> None:
        """Kernels of equal pixels only serve networks that read no others.

        Raises:
            InvalidInput: this one does.
        """
        forms = self._stage("forms").of
        read = {form for stream, form in forms.items() if stream.node in inputs_of(self.graph)}
        if diagonal and set("".join(read)) - {"D"}:
            raise InvalidInput(
                "a Kernel of equal pixels only (diagonal_spatial=True) cannot be continued by a network that reads "
                "covariances of different pixels, as pools and strided filters do: leave diagonal_spatial out"
            )

    @property
    def _output_law(self) -> Law:
        made = self._compilation.made
        return made["analyse"][made.get("settle", self.graph).graph["output"]].law

    @staticmethod
    def named_result(names: tuple[str, ...]) -> Any:
        """The named tuple that a tuple of `get` returns."""
        return _result(names)

    def _run(self, name: str, x1: Any, x2: Any, values: Mapping[str, Any], patterns: tuple[Any, Any]) -> Any:
        made, concern = self._loaded(name, x1, x2, pattern=patterns, **values)
        report(self.module[name].watch, concern)
        return made

    @cached_property
    def _loaded(self) -> Loaded:
        return loaded(self.source)

    @property
    def module(self) -> dict[str, Any]:
        """The names that the source defines, after running it once."""
        return self._loaded.names

    def checked_pair(self, x1: Any, x2: Any) -> tuple[Any, Any]:
        """Data as arrays of one precision, or tuples of them for several inputs; or the errors of a call."""
        names = inputs_of(self.graph)
        if len(names) == 1:
            return self._checked_arrays(x1, x2, names[0])
        first = flat_inputs("x1", x1, len(names))
        second = [None] * len(names) if x2 is None else flat_inputs("x2", x2, len(names))
        pairs = [self._checked_arrays(a, b, n, i) for i, (a, b, n) in enumerate(zip(first, second, names, strict=True))]
        dtype = jnp.result_type(*(a for a, _ in pairs))
        left = tuple(a.astype(dtype) for a, _ in pairs)
        right = () if x2 is None else tuple(b.astype(dtype) for _, b in pairs)
        for name, side in (("x1", left), ("x2", right)):
            if len({len(v) for v in side}) > 1:
                raise ShapeMismatch(f"inputs of {name} have {[len(v) for v in side]} samples: all need the same number")
        return left, right or None

    def _checked_arrays(self, x1: Any, x2: Any, node: str, place: int | None = None) -> tuple[Any, Any]:
        """One input on both sides; `place` is its number among several."""
        stated = op_of(self.graph, node).shape(())
        axes = len(stated) + 1 if stated else None
        missing = is_masked(self.graph)
        name1, name2 = ("x1", "x2") if place is None else (f"x1[{place}]", f"x2[{place}]")
        source = op_of(self.graph, node)
        x1, x2 = arranged(name1, source, x1), None if x2 is None else arranged(name2, source, x2)
        first = checked_data(name1, x1, axes, missing)
        second = None if x2 is None else checked_data(name2, x2, axes, missing)
        if second is not None and second.shape[1:] != first.shape[1:]:
            if second.ndim == first.ndim == 2:
                raise ShapeMismatch(
                    f"{name2} has {second.shape[1]} features, {first.shape[1]} expected "
                    f"(by the network's Input, or to match x1); shapes are [samples, features]"
                )
            raise ShapeMismatch(f"samples of {name1} have shape {first.shape[1:]}, those of {name2} {second.shape[1:]}")
        if second is None:
            return first, None
        dtype = jnp.promote_types(first.dtype, second.dtype)
        return first.astype(dtype), second.astype(dtype)

    def check_series(self, x1: Any, x2: Any, values: Mapping[str, Any]) -> None:
        """Warn of series that have not converged for any of these samples, before there are pairs of them."""
        for x in (x1, x2):
            if self.module.get("unresolved") is not None and x is not None:
                report(self.module["nngp"].watch, self._loaded("unresolved", x, **values))

    def _checked_parameters(self, given: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
        given = {name: v for name, v in given.items() if name in self.parameters or not is_own_name(name)}
        for name in given:
            if name not in self.parameters:
                raise unknown("hyper-parameter", name, self.parameters or ["none: all are numbers"])
        missing = [name for name in self.parameters if name not in given]
        if missing:
            raise InvalidInput(f"the hyper-parameters {missing} are symbols: give their values, {missing[0]}=1.0")
        return {name: checked_value(name, value, dtype) for name, value in given.items()}

    def cost(
        self,
        n1: int,
        n2: int | None = None,
        get: str = "ntk",
        shape: Any = None,
        dtype: Any = "float32",
    ) -> Cost:
        """Operations, bytes moved and peak memory of a call, before it is made; compiles it.

        Args:
            n1, n2: samples; n2 None for one set with itself.
            get: "nngp", "ntk", or "kernel" for both.
            shape: of one sample, (pixels ..., features), or a tuple of them for several inputs; that of the Input
                unless given.
        """
        stated = [op_of(self.graph, n).shape(()) for n in inputs_of(self.graph)]
        shapes = stated if shape is None else shapes_of(shape, len(stated))
        if any(not s or None in s or len(s) < len(known) for s, known in zip(shapes, stated, strict=True)):
            raise InvalidInput("cost needs the shape of a sample: shape=(32, 32, 3), or shape=(784,)")
        program = self.on(*(tuple(int(n) for n in s if n is not None) for s in shapes))
        name = "kernel" if get == "kernel" else _checked_get(get)
        made = program._compilation.made
        flops, moved = count(made["prune"], made.get("forms"), n1, n2, [s[-1] or 1 for s in shapes])
        first, second = ([(n, *s) for s in shapes] if n is not None else None for n in (n1, n2))
        memory = peak_memory(program.module[name], (first, second), dtype, self.parameters)
        return Cost(flops, moved * np.dtype(dtype).itemsize, memory)

    def formula(self, get: str = "ntk") -> sp.Expr:
        """The kernel as one sympy expression of k = x . x' / d, q1 = x . x / d, q2 = x' . x' / d.

        Raises:
            InvalidInput: it is of several inputs, or of pixels: `latex` shows such kernels.
        """
        if [len(op_of(self.graph, n).shape(())) for n in inputs_of(self.graph)] != [1]:
            raise InvalidInput("formula() is of one input without pixels: latex() shows this kernel")
        return formula_of(self._derivation[1], _checked_get(get))

    @cached_property
    def _derivation(self) -> tuple[Graph, Program]:
        """The network with its repeated layers rolled from the first on, as people write them, and its program."""
        graph = roll(self._stage("fuse"), keep_first=False)
        diagonal = self._compilation.diagonal
        return graph, in_closed_forms(lower(graph, demand(graph, diagonal), diagonal))

    def latex(self, get: str = "ntk") -> str:
        """The derivation as an `aligned` LaTeX environment, repeated layers written once."""
        return latex_of(*self._derivation, _checked_get(get))

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def explain(self) -> StageTable:
        """One row per stage: statements, operations, milliseconds and what it did; a rich table that `print` shows."""
        from ntkc.stage_table import StageTable  # rich takes a tenth of a second that kernels need not wait for

        return StageTable(self._compilation.reports)

    @property
    def stages(self) -> Any:
        """The rows of `explain()`, as data."""
        return tuple(self._compilation.reports)

    def save(self, path: str | Path) -> Path:
        """Write a stand-alone module (needs jax only): nngp, ntk, kernel, variance, fit(x, y, ridge, t) -> predict."""
        target = Path(path)
        target.write_text(module_text(self.source), encoding="utf-8")
        return target

    def __repr__(self) -> str:
        open_names = f", open hyper-parameters {', '.join(self.parameters)}" if self.parameters else ""
        return f"<KernelProgram of {len(self.graph)} layers{open_names}; .latex(), .source, .explain()>"


def _there(mask: Any) -> Any:
    """1 for pixels that are there, [n, pixels ...]; None without a mask."""
    return None if mask is None else 1.0 - jnp.asarray(mask)[..., 0]


def _given(kernel: Kernel, there1: Any, there2: Any) -> tuple[Any, ...]:
    """What the program reads of a Kernel."""
    dtype, second = kernel.nngp.dtype, kernel.cov1 if kernel.cov2 is None else kernel.cov2
    ntk = jnp.zeros_like(kernel.nngp) if kernel.ntk is None else jnp.broadcast_to(kernel.ntk, kernel.nngp.shape)
    there = (None if v is None else v.astype(dtype) for v in (there1, there2))
    return (kernel.nngp, ntk, kernel.cov1, second, *there)


@lru_cache(maxsize=64)
def _result(names: tuple[str, ...]) -> Any:
    return namedtuple("Kernels", names)  # pyright: ignore[reportUntypedNamedTuple]


def _checked_get(get: object) -> str:
    name = get.lower() if isinstance(get, str) else get
    if name not in GETS:
        raise unknown("kernel", get, GETS)
    return str(name)


def _built_with_import(network: tuple[Any, ...], imported: Any) -> KernelProgram:
    return build(*network).with_import(imported)


def build(graph: Graph, until: str | None = None, tolerance: float | None = None, diagonal: bool = False) -> Any:
    """A KernelProgram, or what the stage `until` made."""
    done = compile_graph(graph, until or "emit", tolerance, diagonal)
    if until is not None and until not in done.made:
        raise InvalidInput(
            f"this network has no stage {until!r}, its stages are {', '.join(done.made)}; "
            "those of a network with pixels need input_shape=(32, 32, 3)"
        )
    return KernelProgram(done) if until is None else done.made[until]
