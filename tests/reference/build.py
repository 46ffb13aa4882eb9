"""["serial", ["Dense", {"out_dim": 16}], ["Relu"]]  ->  stax.serial(stax.Dense(out_dim=16), stax.Relu()).

A spec is plain JSON, so that one file of reference networks serves every package with the stax interface:
`[name]`, `[name, {keyword: value}]`, `[combinator, spec, ...]`, `["repeat", spec, n]`, and `["times", spec, n]`, which
stands for `serial` of n separately built layers. The module is an argument: the peer's `stax` or our own.
"""

from types import ModuleType
from typing import Any

Spec = list[Any]
COMBINATORS = ("serial", "parallel")


def build(stax: ModuleType, spec: Spec) -> Any:
    """The layer (init_fn, apply_fn, kernel_fn) of `stax` that `spec` names."""
    name, *operands = spec
    if name in COMBINATORS:
        return getattr(stax, name)(*[build(stax, inner) for inner in operands])
    if name == "repeat":
        layer, count = operands
        return stax.repeat(build(stax, layer), count)
    if name == "times":
        layer, count = operands
        return stax.serial(*[build(stax, layer) for _ in range(count)])
    keywords = operands[0] if operands else {}
    return getattr(stax, name)(**{key: _argument(value) for key, value in keywords.items()})


def _argument(value: Any) -> Any:
    # JSON has no tuples; layers take tuples (s, shapes) and treat them as constants.
    return tuple(value) if isinstance(value, list) else value
