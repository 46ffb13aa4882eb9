"""One Python name for each object of a program, equal to no other."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable
from dataclasses import dataclass, field
from itertools import chain, count

import sympy as sp

from ntkc.errors import UnsupportedExpr
from ntkc.ir.hyper import Parameter
from ntkc.ir.program import PATTERN, SAME_SAMPLE, WIDTH
from ntkc.ir.streams import SAMPLE, Stream

TAKEN = ("p", "x", "y", "same", "one", "features", "pattern", "pi", "jax", "jnp", "lax", "per_sample", "pair", "lambda")
"""Arguments and imports of emitted functions."""
SIDES = {1: "x", 2: "y"}


@dataclass
class Names:
    """Names handed out so far."""

    of: dict[Hashable, str] = field(default_factory=dict[Hashable, str])
    used: set[str] = field(default_factory=lambda: set(TAKEN))

    def name(self, key: Hashable, wish: str) -> str:
        """The name of an object: the one wished for, or the first of wish_2, wish_3, ... that is free."""
        if key not in self.of:
            self.of[key] = self.unused(wish)
            self.used.add(self.of[key])
        return self.of[key]

    def unused(self, wish: str, others: Container[str] = ()) -> str:
        """A name that nothing has, for one function."""
        free = chain([wish], (f"{wish}_{i}" for i in count(2)))
        return next(n for n in free if n not in self.used and n not in others)

    def reserve(self, names: Iterable[str]) -> None:
        """Names that something else has."""
        self.used.update(names)

    def stream(self, stream: Stream) -> str:
        """`K_dense1`, or `q_dense1` whatever the side."""
        return self.name(stream.sample, stream.sample.name)

    def symbol(self, symbol: sp.Symbol) -> str:
        """The text of a symbol: a stream's name, `x.q_dense1` of a sample of the pair, `p.w` for a hyper-parameter."""
        if isinstance(symbol, Stream):
            name = self.stream(symbol)
            return name if symbol.side in (None, SAMPLE) else f"{SIDES[symbol.side]}.{name}"
        if symbol in PLACE_NAMES:
            return PLACE_NAMES[symbol]
        if isinstance(symbol, Parameter):
            return f"p.{symbol.name}"
        raise UnsupportedExpr(f"{symbol}: the JAX backend does not know what it stands for")


PLACE_NAMES = {WIDTH: "features", SAME_SAMPLE: "same", PATTERN: "pattern"}
"""What emitted functions call what stands around an entry."""
