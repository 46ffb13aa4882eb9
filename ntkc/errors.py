"""Everything ntkc raises on purpose: each message says what was given, the rule, and the remedy."""

from collections.abc import Iterable

# Saved modules warn without ntkc: their run time has these two.
from ntkc.runtime.alarm import PrecisionLost as PrecisionLost
from ntkc.runtime.alarm import SeriesNotConverged as SeriesNotConverged


class NtkcError(Exception):
    """Base of all errors of ntkc."""


class NoInfiniteLimit(NtkcError, ValueError):
    """The network has no deterministic infinite-width kernel (say, an activation of something not Gaussian)."""


class NoFiniteNetwork(NtkcError, NotImplementedError):
    """The layer exists in the infinite-width limit only."""


class NoClosedForm(NtkcError, ValueError):
    """E[f(u) f(v)] exists, but has no closed form that ntkc can derive."""


class UnsupportedExpr(NtkcError, ValueError):
    """An expression or text holds something outside the whitelist."""


class ShapeMismatch(NtkcError, ValueError):
    """Array or layer shapes that do not fit together."""


class InvalidInput(NtkcError, ValueError):
    """Data with NaN, infinities or no rows, or an argument out of its range."""


class NoKernel(InvalidInput, NotImplementedError):
    """Something that finite networks do and that has no infinite-width kernel, as picking one of the channels."""


class InvalidGraph(NtkcError, ValueError):
    """A graph or document that is no network: unknown layers or fields, cycles, several outputs, missing edges."""


class UnknownName(NtkcError, ValueError):
    """A name outside a fixed list; the message lists the known ones."""


class MissingExtra(NtkcError, ImportError):
    """An optional dependency is not installed; the message names the extra that installs it."""


class NotConverged(NtkcError, RuntimeError):
    """An iteration took as many steps as it may without reaching its tolerance; the message names the remedies."""


class InvalidStore(NtkcError, ValueError):
    """A folder that is no store of this Gram matrix: foreign files, or another program, hyper-parameters or data."""


class CorruptedTile(NtkcError, ValueError):
    """A stored tile fails its checksum; the message names the tile."""


class StoreBusy(NtkcError, RuntimeError):
    """Another process writes to the store; the message names it."""


class StoreUnwritable(NtkcError, RuntimeError):
    """A store cannot be written, say because its disk is full; tiles that are there stay valid."""


class StoreChanged(UserWarning):
    """A store has tiles to compute anew, or was begun by another version of JAX: the message names them."""


class NotPositiveDefinite(UserWarning):
    """A Gram matrix was not positive definite: the message names its smallest eigenvalue and the jitter added."""


class SolverNotConverged(UserWarning):
    """An iteration ended before its tolerance was met: the message states the residual."""


def unknown(kind: str, name: object, known: Iterable[object]) -> UnknownName:
    """The error for a name outside a list:  `no layer 'Dens'; have Abs, Dense, Relu`."""
    return UnknownName(f"no {kind} {name!r}; have {', '.join(sorted(map(str, known)))}")
