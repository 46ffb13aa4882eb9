"""Tree  ->  (init_fn, apply_fn, kernel_fn), whose kernel_fn compiles the network when it is first called."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntkc.data import broadcasting, pair_of, refuse_masked
from ntkc.errors import InvalidGraph, InvalidInput, unknown
from ntkc.ir.hyper import Parameter
from ntkc.ir.layout import Layout
from ntkc.ir.op import TRACED, Op
from ntkc.ir.traced import renamed
from ntkc.kernel import Kernel
from ntkc.layers.aggregate import Aggregate
from ntkc.layers.reshape import Identity
from ntkc.networks.graph import SeveralOutputs, check_plain_data, graph_of, place_of, stated_layouts
from ntkc.networks.masks import Masked, masked_data
from ntkc.networks.onward import in_layout, of_single_samples, onward
from ntkc.networks.outputs import KEPT_PROGRAMS, flat, like, on_each, outputs_on_data
from ntkc.networks.tree import ONE, Inputs, Leaf, Parallel, Spot, Tree, moved
from ntkc.networks.triples import Triple, has_triples, needs_all_samples, split, stepwise
from ntkc.program import KernelProgram, build


class Layer(tuple[Any, Any, "KernelFn"]):
    """(init_fn, apply_fn, kernel_fn), made from a Tree."""

    tree: Tree

    def __new__(cls, tree: Tree) -> Layer:
        init_fn, apply_fn = _named(tree.init, tree.name), _named(partial(applied, tree), tree.name)
        layer = super().__new__(cls, (init_fn, apply_fn, KernelFn(tree)))
        layer.tree = tree
        return layer

    def __repr__(self) -> str:
        return f"stax.{self.tree.text()}"

    def __getnewargs__(self) -> tuple[Tree]:
        return (self.tree,)


def _named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def named(*args: Any, **kwargs: Any) -> Any:
        with broadcasting():
            return function(*args, **kwargs)

    named.__name__ = named.__qualname__ = name
    named.__doc__ = function.__doc__ or applied.__doc__
    return named


def applied(
    tree: Tree,
    params: Any,
    inputs: Any,
    *,
    rng: Any = None,
    pattern: Any = None,
    mask_constant: float | None = None,
    keys: Any = None,
    **others: Any,
) -> Any:
    """apply_fn(params, inputs) -> outputs [n, features], or nested lists of arrays for several inputs or outputs.

    Args:
        rng: the key of random layers. pattern: graphs, which Aggregate reads.
        mask_constant: entries equal to it (it may be NaN) are missing: they are 0, and so are pixels without any
            channel after each layer; global averages, norms and attention are over pixels that are there.
        keys: accepted for compatibility, and read by no layer. others: for layers that are triples of the user's own.

    Raises:
        UnknownName: any other keyword, without such layers. InvalidInput: numpy.ma data, or NaN beside another
            `mask_constant`.
    """
    for name in () if has_triples(tree) else others:
        raise unknown("keyword of apply_fn", name, ("rng", "pattern", "mask_constant"))
    refuse_masked(inputs=inputs)
    keywords = {"rng": rng, "pattern": pattern, **others}
    if mask_constant is None:
        return tree.apply(params, inputs, **keywords)
    layouts = stated_layouts(tree, inputs_of_data(inputs))
    made = tree.apply(params, _with_masks(inputs, mask_constant, layouts), **keywords)
    return jax.tree.map(lambda m: m.value, made, is_leaf=lambda m: isinstance(m, Masked))


def _with_masks(x: Any, constant: Any, layouts: Any) -> Any:
    if not isinstance(layouts, Layout):
        return type(x)([_with_masks(part, constant, layout) for part, layout in zip(x, layouts, strict=True)])
    return masked_data(x, constant, layouts.on(jnp.ndim(x)))


class KernelFn:
    """kernel_fn(x1, x2=None, get=None): the kernel of a layer, on data or on the Kernel of the layers before it."""

    def __init__(self, tree: Tree) -> None:
        self.made_of = tree
        self.tree, self.values = closed(tree)
        self.__name__ = self.__qualname__ = tree.name

    def __reduce__(self) -> tuple[Any, ...]:
        return KernelFn, (self.made_of,)

    def __deepcopy__(self, memo: Any) -> KernelFn:
        return self

    @cached_property
    def program(self) -> KernelProgram:
        """The compiled network, of data [samples, pixels ..., channels].

        Raises:
            InvalidInput: the network reads data with other axes, or JAX traces its hyper-parameters.
        """
        if self.values:
            raise InvalidInput(TRACED)
        check_plain_data(self.tree)
        return self._program

    @cached_property
    def _program(self) -> KernelProgram:
        # A network whose hyper-parameters are traced is built anew inside each trace.
        return _input_program(self.tree, self.tree.inputs) if self.values else build(graph_of(self.tree))

    def _program_of(self, inputs: Inputs) -> KernelProgram:
        """The program for data of this structure."""
        return self._program if inputs == self.tree.inputs else _input_program(self.tree, inputs)

    @cached_property
    def _is_plain(self) -> bool:
        return all(_is_plain(leaf) for leaf in self.tree.leaves())

    def _plain(self, x: Any, layouts: Any) -> Any:
        """Data as [samples, pixels ..., channels]."""
        if x is None:
            return None
        if not isinstance(layouts, Layout):
            return tuple(self._plain(*pair) for pair in zip(x, layouts, strict=True))
        if layouts.is_plain():
            return x
        refuse_masked(**{"the data": x})
        return moved(jnp.asarray(x), layouts.order(jnp.ndim(x)))

    def _dense(self, pattern: Any) -> Any:
        """A pair of patterns as the layers read them."""
        if pattern is None:
            return None
        first, second = pattern
        made = {leaf.to_dense for leaf in self.tree.leaves() if isinstance(leaf.op, Aggregate)}
        if len(made) > 1:
            raise InvalidInput("Aggregate layers of one network with several to_dense are not supported")
        to_dense = next(iter(made), None)
        if to_dense is None:
            return first, second
        dense = None if first is None else to_dense(first)
        return dense, dense if second is first else None if second is None else to_dense(second)

    def __call__(
        self,
        /,
        x1_or_kernel: Any,
        x2: Any = None,
        get: str | Iterable[str] | None = None,
        *,
        pattern: Any = None,
        mask_constant: float | None = None,
        diagonal_batch: bool | None = None,
        diagonal_spatial: bool | None = None,
        **parameters: Any,
    ) -> Any:
        """K and T of data [n1, features] and [n2, features], or of a Kernel.

        `get` is None for a Kernel, the name of one of its fields, or a tuple of names for a named tuple.
        """
        parameters = {**self.values, **parameters}
        x2 = None if _is_nothing(x2) else x2
        if has_triples(self.tree):
            options = {"pattern": pattern, "mask_constant": mask_constant, "diagonal_spatial": diagonal_spatial}
            return self._stepwise(x1_or_kernel, x2, get, diagonal_batch, options, parameters)
        pattern = self._dense(pair_of(pattern, x2))
        if _is_of_kernels(x1_or_kernel):
            if pattern is not None and any(p is not None for p in pattern):
                raise InvalidInput("pattern with a Kernel is not supported: give data to the whole network")
            options = {"mask_constant": mask_constant, "diagonal_spatial": diagonal_spatial, "x2": x2}
            _refuse_of_data({**options, "diagonal_batch": diagonal_batch})
            made = onward(self.tree, x1_or_kernel, parameters)
            return like(x1_or_kernel, on_each(lambda kernel: _selected(kernel, get), made))
        options = {"mask_constant": mask_constant, "diagonal_spatial": diagonal_spatial, "pattern": pattern}
        return self._of_data(x1_or_kernel, x2, get, diagonal_batch is not False, options, parameters)

    def _stepwise(self, x1: Any, x2: Any, get: Any, diagonal_batch: Any, options: Any, parameters: Any) -> Any:
        """What a call of a network with layers of the user's own gives, as their kernel_fn make it."""
        rest, kernels = self.tree, x1
        keywords = {name: value for name, value in parameters.items() if name not in self.values}
        if not _is_of_kernels(x1):
            first, rest = split(self.tree)
            is_diagonal = False if needs_all_samples(self.tree) else diagonal_batch
            inside = KernelFn(_identities(inputs_of_data(x1)) if first is None else first)
            kernels = inside(x1, x2, diagonal_batch=is_diagonal, **options)
        names = (get,) if isinstance(get, str) else get
        if names is not None and "ntk" not in {str(n).lower() for n in names}:
            kernels = on_each(lambda kernel: kernel.replace(ntk=None), kernels)
        made = stepwise(rest, kernels, self.values, keywords)
        if diagonal_batch is not False and not _is_of_kernels(x1):
            made = on_each(of_single_samples, made)
        return on_each(lambda kernel: _selected(kernel, get), made)

    def _of_data(self, x1: Any, x2: Any, get: Any, diagonal_batch: bool, options: Any, parameters: Any) -> Any:
        """What a call on data gives, for each output of the network."""
        inputs = inputs_of_data(x1)
        if x2 is not None and inputs_of_data(x2) != inputs:
            raise InvalidInput("x1 and x2 are different nested tuples of arrays")
        layouts, outputs = stated_layouts(self.tree, inputs), self._outputs(inputs)
        first = self._plain(x1, layouts)
        second = first if x2 is x1 else self._plain(x2, layouts)
        shape = _shape_of(first)
        spots = on_each(lambda _: None, outputs) if self._is_plain else place_of(self.tree, shape)

        def of_output(output: Any, spot: Spot | None) -> Any:
            if isinstance(output, KernelProgram):
                return _called(output, first, second, get, diagonal_batch, spot, options, parameters)
            x1, x2 = (None if x is None else output.of(flat(x)) for x in (first, second))
            return _called(output.program, x1, x2, get, diagonal_batch, spot, options, parameters)

        return like(x1, on_each(of_output, outputs, spots))

    def _outputs(self, inputs: Inputs) -> Any:
        """The program of a network of one output, or an Output for each."""
        try:
            return self._program_of(inputs)
        except SeveralOutputs:
            return outputs_on_data(self.tree, inputs)


def _called(
    program: KernelProgram,
    x1: Any,
    x2: Any,
    get: Any,
    diagonal_batch: bool,
    spot: Spot | None,
    options: dict[str, Any],
    parameters: dict[str, Any],
) -> Any:
    """What a program gives for data, and what a Kernel has besides."""
    names = (get,) if isinstance(get, str) else get
    if names is not None and {str(n).lower() for n in names} <= {"nngp", "ntk"}:
        return program(x1, x2, get if isinstance(get, str) else tuple(names), **options, **parameters)
    kernel = program(x1, x2, None, **options, **parameters)
    if not diagonal_batch:

        def nngp(x: Any, own: Any) -> Any:
            return program(x, None, "nngp", **{**options, "pattern": own}, **parameters)

        kernel = _with_all_pairs(kernel, nngp, (x1, x2), options["pattern"])
    return _selected(kernel if spot is None else in_layout(kernel, spot.layout), get)


def _refuse_of_data(options: dict[str, Any]) -> None:
    for name, value in options.items():
        if value is not None:
            raise InvalidInput(f"{name} is given with a Kernel, which it does not change: give it with the data")


def closed(tree: Tree) -> tuple[Tree, dict[str, Any]]:
    """The tree without values that JAX traces, and these by the names of hyper-parameters in their place.

    Names follow the order of layers, one for each value: networks of one structure are one tree.
    """
    names: dict[int, Parameter] = {}
    values: dict[str, Any] = {}

    def closed_op(op: Op) -> Op:
        if not op.traced:
            return op
        for symbol, value in op.traced.items():
            name = names.setdefault(id(value), Parameter(f"{symbol.name}{len(names)}__"))
            values[name.name] = value
        return renamed(op, {symbol: names[id(value)] for symbol, value in op.traced.items()})

    is_traced = any(leaf.op.traced for leaf in tree.leaves())
    return (tree.mapped(closed_op), values) if is_traced else (tree, values)


def tree_of(layer: Any) -> Tree:
    """The tree of a Layer, of its kernel_fn, or of the triple taken apart and put together again."""
    if isinstance(layer, (Layer, KernelFn)):
        return layer.tree if isinstance(layer, Layer) else layer.made_of
    if isinstance(layer, (tuple, list)) and len(layer) == 3 and isinstance(layer[2], KernelFn):
        return layer[2].made_of
    if isinstance(layer, (tuple, list)) and len(layer) == 3 and all(map(callable, layer)):
        return Triple(getattr(layer[2], "__name__", "layer"), *layer)
    raise InvalidGraph(f"{layer!r} is no layer: layers are made by ntkc.stax, as stax.Dense(512)")


@lru_cache(maxsize=KEPT_PROGRAMS)
def _input_program(tree: Tree, inputs: Inputs) -> KernelProgram:
    return build(graph_of(tree, inputs))


def _identities(inputs: Inputs) -> Tree:
    """A network that changes nothing, for data of this structure."""
    if inputs == ONE:
        return Leaf("Identity", Identity())
    return Parallel("parallel", tuple(map(_identities, inputs)))


def _is_of_kernels(x: Any) -> bool:
    """A Kernel, or nested tuples and lists of them."""
    return isinstance(x, Kernel) or (isinstance(x, (list, tuple)) and len(x) > 0 and all(map(_is_of_kernels, x)))


def inputs_of_data(x: Any) -> Inputs:
    """ONE for one array, nested tuples for nested tuples or lists of arrays; lists of numbers are arrays."""
    is_many = isinstance(x, (tuple, list)) and len(x) > 0 and all(_is_data(part) for part in x)
    return tuple(inputs_of_data(part) for part in x) if is_many else ONE


def _is_nothing(x: Any) -> bool:
    """None, or nested tuples of it."""
    return x is None or (isinstance(x, (tuple, list)) and len(x) > 0 and all(map(_is_nothing, x)))


def _is_data(x: Any) -> bool:
    """An array of samples, or a tuple of them."""
    if isinstance(x, (tuple, list)):
        return len(x) > 0 and all(_is_data(part) for part in x)
    return getattr(x, "ndim", 0) > 1


def _shape_of(x: Any) -> Any:
    """Shape of one sample, or nested tuples of shapes."""
    return tuple(map(_shape_of, x)) if isinstance(x, tuple) else tuple(np.shape(x)[1:])


def _is_plain(leaf: Leaf) -> bool:
    return all(layout is None or layout.is_plain() for layout in (leaf.layout, leaf.layout_out))


def _with_all_pairs(kernel: Kernel, nngp: Callable[[Any, Any], Any], inputs: tuple[Any, Any], pattern: Any) -> Kernel:
    """The Kernel with covariances of all pairs of samples in the place of variances."""
    patterns = (None, None) if pattern is None else pattern
    full = [
        None if x is None else nngp(x, None if p is None else (p, p)) for x, p in zip(inputs, patterns, strict=True)
    ]
    return kernel.replace(cov1=full[0], cov2=full[1], diagonal_batch=False)


def _selected(kernel: Kernel, get: str | Iterable[str] | None) -> Any:
    if get is None:
        return kernel
    names = tuple(n.lower() for n in ((get,) if isinstance(get, str) else get))
    for name in names:
        if name not in kernel.asdict():
            raise unknown("kernel field", name, kernel.asdict())
    if isinstance(get, str):
        return getattr(kernel, names[0])
    return KernelProgram.named_result(names)(*(getattr(kernel, n) for n in names))
