"""The part of emitted modules with pixels that walks over tiles of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod

from ntkc.backends.driver import argument_texts
from ntkc.ir.program import SAMPLE, Key, Pattern, Program
from ntkc.passes.forms import Forms
from ntkc.passes.schedule import PixelSchedule

DRIVER = '''
LANES, BLOCK = {lanes}, {block}  # pairs of samples a tile; samples whose per-sample values are kept
if jax.default_backend() != "cpu":
    LANES = {wide_lanes}  # an accelerator has no core's cache to stay in, and more units to fill


def samples_of(x{parameters}):
    """Variance of the output, and what pairs need, of each sample: arrays [pixels ..., samples]."""
    {features}return per_sample({sample_inputs}{arguments})


def stats_of(x{parameters}):
    """What pairs need of each sample{few_doc}."""
    {few_code}

def tile(x1, x2, stats1, stats2, same{parameters}):
    """nngp and ntk of all pairs of two sets of samples: arrays [pixels ..., n1, n2]."""
    {features1}return pair({pair_inputs}, stats1, stats2, same{arguments})


def nngp_tile(x1, x2, stats1, stats2, same{parameters}):
    """nngp alone."""
    {features1}return (nngp_of_pair({pair_inputs}, stats1, stats2, same{arguments}),)


def padded(x, size):
    """Samples added, copies of the last, up to a whole number of blocks of `size`; blocks along a first axis."""
    x = jnp.pad(x, [(0, -len(x) % size)] + [(0, 0)] * (x.ndim - 1), mode="edge")
    return x.reshape(-1, size, *x.shape[1:])


def gram(take, some, x1, x2{parameters}):
    """`take` of all pairs, tile after tile; of one triangle and its mirror image if x2 is None."""
    is_symmetric = x2 is None
    x2 = x1 if is_symmetric else x2
    columns = min(LANES, BLOCK, -(-len(x2) // 8) if is_symmetric else len(x2))
    rows = min(max(1, LANES // columns), BLOCK, len(x1))
    count = min(BLOCK // rows, -(-len(x1) // rows))
    left, right = padded(x1, rows * count), padded(x2, columns)
    size = {output_size}

    @jax.checkpoint
    def compute(left, right, stats1, stats2, start, stop):
        same = (start + jnp.arange(rows))[:, None] == stop + jnp.arange(columns)
        made = take(*some(left, right, stats1, stats2, same & is_symmetric{parameters}))
        return jnp.broadcast_to(made, (*size, rows, columns))

    def nothing(*given):
        made = jax.eval_shape(compute, *given)
        return jnp.zeros(made.shape, made.dtype)

    def blocks(_, i):
        stats = stats_of(left[i]{parameters})

        def tiles(_, j):
            stats2 = stats_of(right[j]{parameters})

            def turn(_, g):
                start, stop = (i * count + g) * rows, j * columns
                some_left = lax.dynamic_slice_in_dim(left[i], g * rows, rows)
                stats1 = jax.tree.map(lambda v: lax.dynamic_slice_in_dim(v, g * rows, rows, -1), stats)
                given = some_left, right[j], stats1, stats2, start, stop
                if is_symmetric:
                    return None, lax.cond(stop < start + rows, compute, nothing, *given)
                return None, compute(*given)

            return None, lax.scan(turn, None, jnp.arange(count))[1]

        return None, lax.scan(tiles, None, jnp.arange(len(right)))[1]

    made = lax.scan(blocks, None, jnp.arange(len(left)))[1]
    made = jnp.moveaxis(made, (0, 2, -2, 1, -1), (0, 1, 2, 3, 4)).reshape(-1, len(right) * columns, *size)
    made = made[: len(x1), : len(x2)]
    if not is_symmetric:
        return made
    below = jnp.tri(len(x1), dtype=bool).reshape(len(x1), len(x1), *(1 for _ in size))
    return jnp.where(below, made, jnp.transpose(made, {mirror}))


@jax.jit
def nngp(x1, x2=None{patterns}{keywords}):
    """K of every pair of samples of x1 and x2; of x1 with itself if x2 is None."""
    return gram(lambda k: k, nngp_tile, {both}{parameters})


@jax.jit
def ntk(x1, x2=None{patterns}{keywords}):
    """T of every pair of samples of x1 and x2; of x1 with itself if x2 is None."""
    return gram(lambda k, t: t, tile, {both}{parameters})


@jax.jit
def kernel(x1, x2=None{patterns}{keywords}):
    """(nngp, ntk), which travel as one complex array."""
    both = gram(lambda k, t: lax.complex(*(jnp.asarray(v, {dtype}) for v in (k, t))), tile, {both}{parameters})
    return both.real, both.imag


@jax.jit
def variance(x{pattern}{keywords}):
    """nngp of every sample with itself: [samples, pixels ...], of all pairs of pixels if nngp is."""
    made = samples_of({own}{parameters})[0]
    return jnp.moveaxis(jnp.broadcast_to(made, ({pixels}{count})), -1, 0)
'''


UNRESOLVED = '''
@jax.jit
def unresolved(x{pattern}{keywords}):
    """The largest share that the last terms have in the squares of a series: 0 where all have converged."""

    def of_sample(v):
        stats = samples_of(v[None]{parameters})[1]
        shares = []
        for h in {smooth}:
            shares.append(ratio(jnp.sum(h[-CHUNK:] ** 2, 0), jnp.sum(h * h, 0)))
        for h in {kinked}:
            shares.append(jnp.sqrt(jnp.prod(kink_tails(h)[:, -1], 0)))
        return jnp.max(jnp.stack([jnp.max(s) for s in shares]))

    return jnp.max(lax.map(of_sample, {own}))
'''


ONE_BY_ONE = """made = lax.map(lambda v: samples_of(v[None]{parameters})[1], x)
    return jax.tree.map(lambda v: jnp.moveaxis(v[..., 0], 0, -1), made)
"""
AT_ONCE = """return samples_of(x{parameters})[1]
"""


PORT_DRIVER = '''
@jax.jit
def onward(nngp, ntk, variance1, variance2, same{keywords}):
    """(nngp, ntk, variance1, variance2) after this network, from those before it: [n1, n2, all pairs of pixels ...]."""
    variance1, variance2 = (jnp.moveaxis(v, 0, -1) for v in (variance1, variance2))
    (out1, stats1), (out2, stats2) = (per_sample({sample_inputs}{arguments}) for v in (variance1, variance2))
    nngp, ntk = (jnp.moveaxis(v, (0, 1), (-2, -1)) for v in (nngp, ntk))
    k, t = pair({pair_inputs}, stats1, stats2, same{arguments})
    k, t = (jnp.broadcast_to(jnp.asarray(v, nngp.dtype), {size} + nngp.shape[-2:]) for v in (k, t))
    out1, out2 = (jnp.broadcast_to(v, {size} + w.shape[-1:]) for v, w in ((out1, variance1), (out2, variance2)))
    return *(jnp.moveaxis(v, (-2, -1), (0, 1)) for v in (k, t)), *(jnp.moveaxis(v, -1, 0) for v in (out1, out2))
'''
PORT_NAMES = {"K": "nngp", "T": "ntk"}


def unresolved_text(program: Program, series: Sequence[tuple[str, bool]]) -> str:
    """The function that says how far the series of a program have converged; `series`: places, and if kinked."""
    parts = _PARTS[program.pattern is not None, len(program.data) > 1]
    smooth, kinked = ([text for text, is_kinked in series if is_kinked == wanted] for wanted in (False, True))
    lines = UNRESOLVED.format(
        smooth=f"({', '.join(smooth)},)",
        kinked=f"({', '.join(kinked)},)",
        **parts.texts() | argument_texts([p.name for p in program.parameters]),
    ).splitlines(keepends=True)
    empty = [i for i, line in enumerate(lines) if line.strip() == "for h in (,):"]
    return "".join(line for i, line in enumerate(lines) if not {i, i - 1} & set(empty)).lstrip("\n")


def port_driver_text(program: Program, forms: Forms) -> str:
    """The driver for a kernel given by the caller, of all pairs of pixels."""
    full = "F" * len(program.spatial[program.inputs[0].u])
    sizes = program.spatial[program.output]
    places = zip(forms.outputs, sizes, strict=True)
    shown = tuple(n for f, size in places for n in ((size, size) if f == "F" else (size,)))
    wanted = ["D" * len(full) if k.stream == "S" else forms.of[k.name] for k in _samples(program)]
    samples = [_narrowed("v", full, form) for form in wanted]
    pairs = [_narrowed(PORT_NAMES[k.stream], full, forms.of[k.name]) for k in program.inputs if k.side is None]
    return PORT_DRIVER.format(
        sample_inputs=", ".join(samples),
        pair_inputs=", ".join(pairs),
        size=repr(shown),
        **argument_texts([p.name for p in program.parameters]),
    ).lstrip("\n")


def _narrowed(name: str, form: str, to: str) -> str:
    return name if form == to else f'narrowed({name}, "{form}", "{to}")'


def pixel_driver_text(program: Program, forms: Forms, schedule: PixelSchedule) -> str:
    """The driver for data with pixels."""
    parameters = [p.name for p in program.parameters]
    sizes = program.spatial[program.output]
    parts = _PARTS[program.pattern is not None, len(program.data) > 1]
    sample_inputs = [_sample_input(k, forms, _data(program, k, "x", parts)) for k in _samples(program)]
    pairs = [k for k in program.inputs if k.side is None]
    letters = forms.outputs
    shown = tuple(n for f, size in zip(letters, sizes, strict=True) for n in ((size, size) if f == "F" else (size,)))
    names = argument_texts(parameters)
    text = DRIVER.format(
        few_doc=", sample by sample: each has a covariance of all pairs of its pixels" if schedule.one_by_one else "",
        few_code=(ONE_BY_ONE if schedule.one_by_one else AT_ONCE).format(parameters=names["parameters"]),
        lanes=schedule.lanes,
        wide_lanes=schedule.wide_lanes,
        block=schedule.block,
        sample_inputs=", ".join([*sample_inputs, *(["pattern"] if program.pattern else [])]),
        pair_inputs=", ".join(_pair_input(program, k, forms, parts) for k in pairs),
        output_size=repr(shown),
        mirror=repr(_mirror(letters)),
        pixels="".join(f"{n}, " for n in shown),
        features=parts.split + ("features = x.shape[-1]\n    " if "features" in parameters else ""),
        features1=parts.splits + ("features = x1.shape[-1]\n    " if "features" in parameters else ""),
        **parts.texts(),
        **names,
    )
    return (_parts_text(program) + text).strip("\n") + "\n"


PATTERN_PARTS = '''
def joined(x, pattern):
    """Samples and their patterns as one array, a row for each."""
    if x is None:
        return None
    return jnp.concatenate([x.reshape(len(x), -1), jnp.asarray(pattern, x.dtype).reshape(len(x), -1)], 1)


def parts(both):
    """Samples [n, pixels ..., channels], and their patterns [tails ..., heads ..., n]."""
    x, pattern = both[:, :{count}], both[:, {count}:]
    return x.reshape(-1, {sample}), jnp.moveaxis({dense}, 0, -1)

'''
INPUT_PARTS = '''
def joined(inputs):
    """The inputs of each sample as one row."""
    return None if inputs is None else jnp.concatenate([x.reshape(len(x), -1) for x in inputs], 1)


def parts(x):
    """Every input, [n, pixels ..., features]."""
    cut = jnp.split(x, {places}, axis=1)
    return [x.reshape(-1, *shape) for x, shape in zip(cut, {shapes})]

'''


@dataclass(frozen=True)
class _Parts:
    """How functions take data that are more than one array, and what takes them apart again."""

    patterns: str = ""
    both: str = "x1, x2"
    pattern: str = ""
    own: str = "x"
    dtype: str = "x1.dtype"
    count: str = "len(x)"
    split: str = ""
    splits: str = ""
    are_many: bool = False

    def texts(self) -> dict[str, str]:
        """What the driver shows of them."""
        return {n: getattr(self, n) for n in ("patterns", "both", "pattern", "own", "dtype", "count")}


_PARTS = {
    (False, False): _Parts(),
    (True, False): _Parts(
        patterns=", pattern1=None, pattern2=None",
        both="joined(x1, pattern1), joined(x2, pattern2)",
        pattern=", pattern=None",
        own="joined(x, pattern)",
        split="x, pattern = parts(x)\n    ",
        splits="x1, x2 = parts(x1)[0], parts(x2)[0]\n    ",
    ),
    (False, True): _Parts(
        both="joined(x1), joined(x2)",
        own="joined(x)",
        dtype="x1[0].dtype",
        count="len(x[0])",
        split="x = parts(x)\n    ",
        splits="x1, x2 = parts(x1), parts(x2)\n    ",
        are_many=True,
    ),
}
"""For data with patterns, and of several inputs."""


def _parts_text(program: Program) -> str:
    shapes = [tuple(n or 1 for n in shape) for shape in program.data.values()]
    if len(shapes) > 1:
        places = list(accumulate(map(prod, shapes)))[:-1]
        return INPUT_PARTS.format(places=places, shapes=shapes)
    return "" if program.pattern is None else _pattern_text(program.pattern, shapes[0])


def _pattern_text(pattern: Pattern, shape: tuple[int, ...]) -> str:
    sizes = ", ".join(map(str, pattern.sizes))
    dense = f"pattern.reshape(-1, {sizes}, {sizes})"
    if pattern.is_sparse:
        edges = f"pattern.reshape(len(x), -1, {len(pattern.sizes)}, 2).astype(int)"
        dense = f"adjacency({edges}, ({sizes},), x.dtype)"
    return PATTERN_PARTS.format(count=prod(shape), sample=", ".join(map(str, shape)), dense=dense)


def _samples(program: Program) -> list[Key]:
    return [k for k in program.inputs if k.side == SAMPLE]


def _data(program: Program, key: Key, name: str, parts: _Parts) -> str:
    """The data that a key is of: `x`, or `x[1]`; with 0 for what is masked."""
    place = f"{name}[{list(program.data).index(key.u)}]" if parts.are_many else name
    is_masked = any(k.stream == "Y" for k in program.inputs)
    return f"cleaned({place})" if is_masked and key.stream != "Y" else place


def _sample_input(key: Key, forms: Forms, x: str) -> str:
    if key.stream == "Y":
        return f"present({x})"
    if key.stream == "W":
        return f'products({x}, {x}, "{forms.of.get(key.name, "")}", True)'
    return f"jnp.moveaxis(jnp.mean({x} ** 2, -1), 0, -1)"


def _pair_input(program: Program, key: Key, forms: Forms, parts: _Parts) -> str:
    x1, x2 = (_data(program, key, name, parts) for name in ("x1", "x2"))
    return f'products({x1}, {x2}, "{forms.of[key.name]}")'


def _mirror(form: str) -> tuple[int, ...]:
    """The axes of K(x2, x1) in the order of K(x1, x2): samples, and the two pixels of each entry, change sides."""
    order, place = [1, 0], 2
    for letter in form:
        order += [place + 1, place] if letter == "F" else [place]
        place += 2 if letter == "F" else 1
    return tuple(order)
