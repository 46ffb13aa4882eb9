"""A pure function f(params, x)  ->  Imported:  from_jax(f, params, x), which all other doors go through."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntkc.empirical.views import View
from ntkc.errors import InvalidInput, unknown
from ntkc.importers.assemble import Parameters, assembled
from ntkc.importers.axes import axes_of
from ntkc.importers.elementwise import resolved
from ntkc.importers.imported import Imported
from ntkc.importers.initialisers import Moments
from ntkc.importers.net import SAMPLES_SIZE, Net
from ntkc.importers.products import ChannelAxis
from ntkc.importers.reader import Reader
from ntkc.importers.refusals import UnsupportedModel
from ntkc.importers.rules import RULES
from ntkc.importers.values import Constant, Field, Gained, Tokens, Value, Weight
from ntkc.layers.dense import PARAMETERIZATIONS
from ntkc.layers.inputs import Input
from ntkc.layers.resampling import REST, WHOLE, Index

ATTENTIONS = ("refuse", "sample", "uniform")
MAX_POOLS = ("maxpool", "maxpool1d", "maxpool2d", "maxpool3d")


@dataclass(frozen=True)
class Options:
    """What a caller chooses; see `from_jax`."""

    parameterization: str = "standard"
    attention: str = "refuse"
    replace_max: bool = False
    trainable: Callable[[str], bool] = lambda name: True


def options(parameterization: str, attention: str, replace: Mapping[str, str] | None, trainable: Any) -> Options:
    """The options, checked."""
    if parameterization not in PARAMETERIZATIONS:
        raise unknown("parameterization", parameterization, PARAMETERIZATIONS)
    if attention not in ATTENTIONS:
        raise unknown("attention", attention, ATTENTIONS)
    pairs = {str(k).lower().replace("_", ""): v for k, v in (replace or {}).items()}
    for key, value in pairs.items():
        if key not in MAX_POOLS or value != "avg":
            raise InvalidInput(f"replace={dict(replace or {})}: max pools may be replaced, {{'MaxPool2d': 'avg'}}")
    return Options(parameterization, attention, bool(pairs), _predicate(trainable))


def _predicate(trainable: Any) -> Callable[[str], bool]:
    if trainable is None:
        return lambda name: True
    if callable(trainable):
        return lambda name: bool(trainable(name))
    if isinstance(trainable, str) or not isinstance(trainable, Iterable):
        raise InvalidInput("trainable: a function of a parameter's name, or a list of names (or beginnings of them)")
    names = tuple(str(n) for n in trainable)
    return lambda name: any(name == n or name.startswith(f"{n}.") for n in names)


def from_jax(
    f: Callable[[Any, Any], Any],
    params: Any,
    x: Any,
    *,
    parameterization: str = "standard",
    attention: str = "refuse",
    replace: Mapping[str, str] | None = None,
    trainable: Any = None,
) -> Imported:
    """f(params, x)  ->  the infinite network of random parameters like these.

    Args:
        f: a pure function, of JAX; samples are the first axis of x and of what it returns.
        params: its parameters, drawn at random: their entries tell the initialisers.
        x: an example of the data, one sample or more, or a tuple of arrays; only shapes and kinds of numbers matter.
        parameterization: "standard", the NTK of the very function, or "ntk", that of weights drawn from N(0, 1).
        attention: what becomes of softmax attention at 1/sqrt(d): "refuse", or "uniform" (its limit for small logits).
        replace: {"MaxPool2d": "avg"} reads max pools as average pools.
        trainable: which parameters the NTK counts: a function of their names, or a list of names.

    Raises:
        UnsupportedModel: naming the place in the model, the rule, and the remedy.
    """
    chosen = options(parameterization, attention, replace, trainable)
    leaves, structure = jax.tree.flatten(params)
    paths, _ = zip(*jax.tree_util.tree_flatten_with_path(params)[0], strict=True) if leaves else ((), ())
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path in paths]
    inputs, inputs_structure = jax.tree.flatten(x)

    def flat(weights: Sequence[Any], data: Sequence[Any]) -> Any:
        return f(jax.tree.unflatten(structure, weights), jax.tree.unflatten(inputs_structure, data))

    made = imported(flat, Parameters(names, leaves), [_example(v) for v in inputs], chosen)
    return dataclasses.replace(made, function=f, params=params)


def _example(x: Any) -> jax.ShapeDtypeStruct:
    """The shape of an example, for a fixed number of samples."""
    shape, dtype = np.shape(x), jnp.result_type(x)
    if not shape or 0 in shape:
        raise InvalidInput(f"the example has shape {shape}: [samples, ...] is needed")
    is_real = jnp.issubdtype(dtype, jnp.floating)
    return jax.ShapeDtypeStruct((SAMPLES_SIZE, *shape[1:]), np.float64 if is_real else dtype)


def imported(
    flat: Callable[[Sequence[Any], Sequence[Any]], Any],
    parameters: Parameters,
    examples: Sequence[jax.ShapeDtypeStruct],
    chosen: Options,
) -> Imported:
    """The import of a function of lists of parameters and inputs."""
    with jax.enable_x64(True):
        closed = jax.make_jaxpr(flat)([_abstract(v) for v in parameters.arrays], list(examples))
        if len(closed.jaxpr.outvars) != 1:
            raise InvalidInput(f"the model returns {len(closed.jaxpr.outvars)} arrays: let it return one")
        net, output, reader = _read(closed, parameters, examples, chosen)
    return assembled(net, output, parameters, chosen.parameterization, chosen.trainable, reader.notes)


def _abstract(array: Any) -> Any:
    """Real weights in float64, without a copy; anything else as it is."""
    if not _is_weight(array):
        return array
    return jax.ShapeDtypeStruct(np.shape(array), np.float64)


def _is_weight(array: Any) -> bool:
    return hasattr(array, "shape") and jnp.issubdtype(jnp.result_type(array), jnp.floating)


def _read(
    closed: Any, parameters: Parameters, examples: Sequence[jax.ShapeDtypeStruct], chosen: Options
) -> tuple[Net, int, Reader]:
    """The network; begun again when it shows that features of an input are on another axis."""
    layouts: dict[int, int] = {}
    same = _first_of_each(parameters.arrays)
    while True:
        reader = Reader(Net(), RULES, chosen.replace_max, chosen.attention)
        weights: list[Value] = [
            Weight(View.whole(same[i], np.shape(v))) if _is_weight(v) else Constant(np.asarray(v))
            for i, v in enumerate(parameters.arrays)
        ]
        data = [_source(reader.net, s, layouts.get(i, -1)) for i, s in enumerate(examples)]
        try:
            (value,) = reader.run(closed, [*weights, *data])
        except ChannelAxis as found:
            if found.source in layouts:
                raise reader.net.refusal(
                    "the features of the data are on different axes for different layers", "keep them on one axis"
                ) from found
            layouts[found.source] = found.axis
            continue
        return reader.net, _output(reader, value), reader


def _first_of_each(arrays: Sequence[Any]) -> list[int]:
    """An array that stands in several places is one parameter, unless all its entries are one number."""
    first: dict[int, int] = {}
    made: list[int] = []
    for i, array in enumerate(arrays):
        place = first.setdefault(id(array), i)
        is_apart = place != i and bool(np.asarray(array).size) and Moments.of(array).is_constant
        made.append(i if is_apart else place)
    return made


def _source(net: Net, example: jax.ShapeDtypeStruct, axis: int) -> Value:
    """The node of an input."""
    _, *shape = example.shape
    if not jnp.issubdtype(example.dtype, jnp.floating):
        node = net.add(Input(1, tuple(shape), tokens=True))
        return Tokens(node, net.groups(node)[:-1])
    place = len(shape) if axis == -1 else axis
    pixels = tuple(n for i, n in enumerate(shape, 1) if i != place)
    node = net.add(Input(shape[place - 1] if shape else 1, pixels, channel_axis=axis))
    groups = net.groups(node)
    ordered = list(groups[:-1])
    ordered.insert(place, groups[-1])
    return Field(node, tuple(ordered))


def _output(reader: Reader, value: Value) -> int:
    value = resolved(reader, value) if isinstance(value, Gained) else value
    if not isinstance(value, Field):
        raise UnsupportedModel("", f"the model returns a {type(value).__name__.lower()}, which no data reach", "")
    made = reader.net.materialised(value)
    found, channel = axes_of(made.groups), reader.net.channel_axis(made.node)
    if 0 not in found or not found <= set(range(channel + 1)):
        raise UnsupportedModel("", "the output has no axis of samples", "return [samples, ...]")
    return _without_single_pixels(reader.net, made.node)


def _without_single_pixels(net: Net, node: int) -> int:
    """[n, 1, 1, channels]  ->  [n, channels]."""
    parts = tuple(0 if n == 1 else WHOLE for n in net.pixels(node))
    return net.add(Index((*parts, REST)), [node]) if 0 in parts else node
