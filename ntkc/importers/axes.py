"""Where the axes of an array come from: each is a group of atoms, and each atom a part of one axis of a node.

Reshaping [n, 12] to [n, 3, 4]   (channels: stride 1, size 12)  ->  (stride 4, size 3), (stride 1, size 4)
Flattening [n, h, w, c]          the last axis is a group of three atoms, h, w and c
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

SAMPLES = 0


class Atom(NamedTuple):
    """Entries of one axis of a node: 0 the samples, 1, 2, ... the pixels, the last the channels."""

    axis: int
    stride: int
    size: int


Group = tuple[Atom, ...]
"""One axis of an array; an axis of size 1 has no atoms."""
Groups = tuple[Group, ...]


def whole(shape: Sequence[int]) -> Groups:
    """Every axis of a node, as it stands."""
    return tuple((Atom(axis, 1, size),) if size > 1 else () for axis, size in enumerate(shape))


def size_of(group: Group) -> int:
    """How long an axis is."""
    return math.prod(atom.size for atom in group)


def axes_of(groups: Sequence[Group]) -> set[int]:
    """The axes of the node that these are parts of."""
    return {atom.axis for group in groups for atom in group}


def merged(atoms: Sequence[Atom]) -> Group:
    """Atoms side by side as one, where the second continues the first."""
    made: list[Atom] = []
    for atom in atoms:
        if made and made[-1].axis == atom.axis and made[-1].stride == atom.stride * atom.size:
            made[-1] = Atom(atom.axis, atom.stride, made[-1].size * atom.size)
        else:
            made.append(atom)
    return tuple(made)


def is_complete(groups: Sequence[Group], axis: int, size: int) -> bool:
    """These hold each entry of an axis of the node once, in any order."""
    atoms = sorted(a for group in groups for a in group if a.axis == axis)
    reach = 1
    for atom in atoms:
        if atom.stride != reach:
            return False
        reach *= atom.size
    return reach == size


def reshaped(groups: Groups, sizes: Sequence[int]) -> Groups | None:
    """Axes of these sizes, cut from the old ones in their order; None where they are not made of whole parts."""
    left = [atom for group in groups for atom in group]
    made: list[Group] = []
    for size in reversed(sizes):
        taken = _taken(left, size)
        if taken is None:
            return None
        made.append(merged(taken))
    return None if left else tuple(reversed(made))


def _taken(left: list[Atom], size: int) -> list[Atom] | None:
    """The last atoms of that many entries; the first of them may be a part of one."""
    taken: list[Atom] = []
    while size > 1:
        if not left:
            return None
        atom = left.pop()
        if size % atom.size == 0:
            taken.insert(0, atom)
            size //= atom.size
            continue
        if atom.size % size:
            return None
        left.append(Atom(atom.axis, atom.stride * size, atom.size // size))
        taken.insert(0, Atom(atom.axis, atom.stride, size))
        size = 1
    return taken


def aligned(one: Groups, two: Groups) -> Groups | None:
    """The axes of a sum of two arrays, of which either may have size 1; None where others meet."""
    if len(one) != len(two):
        return None
    pairs = list(zip(one, two, strict=True))
    return tuple(a or b for a, b in pairs) if all(a == b or not (a and b) for a, b in pairs) else None


def renumbered(group: Group, axes: dict[int, int]) -> Group:
    """The same parts of another node's axes."""
    return tuple(Atom(axes[a.axis], a.stride, a.size) for a in group)
