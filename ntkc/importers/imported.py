"""Imported: the graph of a model, how each parameter was read, and what the infinite limit changes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ntkc.errors import NtkcError
from ntkc.ir.graph import NODE_NAME, Graph

if TYPE_CHECKING:
    from ntkc.importers.report import Report


@dataclass(frozen=True)
class Reading:
    """One row of the report.

    Attributes:
        name: of the parameter in the model.
        shape: its shape.
        initialiser: by which it seems to have been drawn.
        read_as: what stands in the network for it.
        notes: what else is to be known.
    """

    name: str
    shape: tuple[int, ...]
    initialiser: str
    read_as: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Imported:
    """What `ntkc.compile` takes in the place of a model.

    Attributes:
        graph: the network.
        readings: a row for each parameter.
        notes: what the infinite limit drops or changes.
        warnings: what makes it doubtful that the limit is that of the model.
        values: of hyper-parameters that were measured and stay open, used where a call gives no others.
        places: where in the model each node stands.
        function, params: the model as f(params, x) in JAX, for `empirical_ntk_fn` and its like.
    """

    graph: Graph
    readings: tuple[Reading, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict[str, float])
    places: Mapping[str, str] = field(default_factory=dict[str, str])
    function: Callable[[Any, Any], Any] | None = field(default=None, repr=False, compare=False)
    params: Any = field(default=None, repr=False, compare=False)

    @property
    def report(self) -> Report:
        """One row a parameter, then what changes, then warnings; `print` shows it."""
        from ntkc.importers.report import Report  # rich takes a tenth of a second

        return Report(self)

    def __str__(self) -> str:
        return str(self.report)

    def located(self, error: NtkcError) -> NtkcError:
        """The error with the places of the nodes that it names."""
        named = [n for n in re.findall(NODE_NAME, str(error)) if self.places.get(n)]
        where = ", ".join(f"{n} is {self.places[n]}" for n in dict.fromkeys(named))
        return type(error)(f"{error} ({where})") if where else error
