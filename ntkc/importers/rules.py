"""Every primitive that a model may use, and the rule that reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ntkc.importers import attention, elementwise, products, shapes
from ntkc.importers.reader import Reader, Rule
from ntkc.importers.values import Gained, Logits, Value
from ntkc.tracing import PRIMITIVES, WHOLE

MOVES = ("transpose", "reshape", "squeeze", "broadcast_in_dim", "expand_dims")


def _with_logits(rule: Rule) -> Rule:
    """A rule that also takes logits, and gains: multiples of them stay, all else reads their values."""

    def read(reader: Reader, eqn: Any, operands: Sequence[Value]) -> Any:
        if rule is not elementwise.elementwise:
            operands = [elementwise.resolved(reader, v) if isinstance(v, Gained) else v for v in operands]
        if not any(isinstance(v, Logits) for v in operands):
            return rule(reader, eqn, operands)
        made = elementwise.of_logits(reader, eqn, operands)
        if made is not None:
            return made
        known = [attention.settled(reader, v) if isinstance(v, Logits) else v for v in operands]
        return reader.again(eqn, known)

    return read


_OF_PRIMITIVES: dict[str, Rule] = {
    name: _with_logits(rule)
    for name, rule in {
        **dict.fromkeys((name for name in PRIMITIVES if name not in MOVES), elementwise.elementwise),
        **dict.fromkeys(MOVES, shapes.moved),
        "slice": shapes.sliced,
        "split": shapes.split,
        "concatenate": shapes.joined,
        "gather": shapes.turned,
        "dot_general": products.product,
        "conv_general_dilated": products.convolved,
        "reduce_window_sum": products.pooled,
        "reduce_window_max": products.pooled,
        "reduce_sum": products.summed,
        **dict.fromkeys(("reduce_max", "reduce_min", "argmax", "argmin", "sort", "top_k"), products.largest),
    }.items()
}
RULES: Mapping[str, Rule] = {**_OF_PRIMITIVES, **{f"call {name}": elementwise.known_call for name in WHOLE}}
"""By the name of a primitive, or of a function that is called."""
