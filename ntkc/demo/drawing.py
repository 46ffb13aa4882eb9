"""A network graph  ->  SVG: boxes in layers, long edges (residual branches) on tracks of their own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from html import escape
from typing import Any

import networkx as nx
import sympy as sp

from ntkc.ir.graph import Graph, op_of, operands, ordered

BOX_WIDTH, BOX_HEIGHT, TRACK_WIDTH = 168, 38, 26
COLUMN_GAP, LAYER_GAP, MARGIN = 22, 24, 8
MOST_LAYERS = 11
Edge = tuple[str, str, int]


@dataclass(frozen=True)
class Picture:
    """Nodes with labels and edges; `tracks` are the points that long edges pass, one for each layer."""

    labels: dict[str, tuple[str, str]]
    edges: tuple[Edge, ...]
    layers: tuple[tuple[str, ...], ...]
    tracks: frozenset[str]

    def width(self, node: str) -> int:
        return TRACK_WIDTH if node in self.tracks else BOX_WIDTH


def draw(graph: Graph) -> str:
    """The network from input to output, top to bottom, as one <svg> element."""
    return render(layered(*shortened(graph)))


def label_of(op: Any) -> tuple[str, str]:
    """Dense(512, 1.4142135, 0.1)  ->  ("Dense", "512, W_std 1.41, b_std 0.1")."""
    shown = [f for f in fields(op) if getattr(op, f.name) != f.default]
    texts = [
        _value(getattr(op, f.name)) if f.name in PLAIN else f"{f.name} {_value(getattr(op, f.name))}" for f in shown
    ]
    return type(op).__name__, ", ".join(texts)


PLAIN = ("out_dim", "num", "expr")
"""Fields whose value speaks for itself."""


def _value(value: Any) -> str:
    text = f"{float(value):.3g}" if isinstance(value, float | sp.Number) else str(value)
    return text if len(text) <= 24 else text[:23] + "…"


def shortened(graph: Graph) -> tuple[dict[str, tuple[str, str]], list[Edge]]:
    """Labels and edges, the middle of a long network as one box `⋮ n more layers`."""
    labels = {n: label_of(op_of(graph, n)) for n in ordered(graph)}
    edges = [(u, n, slot) for n in labels for slot, u in enumerate(operands(graph, n))]
    span = _middle(graph)
    if span is None:
        return labels, edges
    first, last, inside = span
    kept = {n: label for n, label in labels.items() if n not in inside}
    kept["⋮"] = ("⋮", f"{len(inside)} more layers")
    outside = [e for e in edges if e[0] in kept and e[1] in kept]
    return kept, [*outside, (first, "⋮", 0), ("⋮", last, 0)]


def _middle(graph: Graph) -> tuple[str, str, set[str]] | None:
    """(a, b, nodes between) for two nodes that every path passes, far from both ends; None for a short network."""
    levels = list(nx.topological_generations(graph))
    if len(levels) <= MOST_LAYERS:
        return None
    depth = {n: i for i, level in enumerate(levels) for n in level}
    dominators = nx.immediate_dominators(graph, graph.graph["input"])
    cuts = [graph.graph["output"]]
    while cuts[-1] != graph.graph["input"]:
        cuts.append(dominators[cuts[-1]])
    early = [n for n in cuts if depth[n] <= MOST_LAYERS - 5]
    late = [n for n in cuts if depth[n] >= len(levels) - 3]
    if not early or not late:
        return None
    first, last = max(early, key=depth.__getitem__), min(late, key=depth.__getitem__)
    inside = {n for n in graph if depth[first] < depth[n] < depth[last]}
    return (first, last, inside) if len(inside) > 1 else None


def layered(labels: dict[str, tuple[str, str]], edges: Sequence[Edge]) -> Picture:
    """Layer = longest path from the input; an edge over several layers gets a track point on each between."""
    order = nx.DiGraph()
    order.add_nodes_from(labels)
    order.add_edges_from((u, v) for u, v, _ in edges)
    layers = [list(level) for level in nx.topological_generations(order)]
    depth = {n: i for i, level in enumerate(layers) for n in level}
    tracks: set[str] = set()
    pieces: list[Edge] = []
    for u, v, slot in edges:
        stops = [f"{u}>{v}>{slot}@{i}" for i in range(depth[u] + 1, depth[v])]
        for i, stop in enumerate(stops, depth[u] + 1):
            layers[i].append(stop)
        tracks.update(stops)
        path = [u, *stops, v]
        pieces += [(a, b, slot if b == v else 0) for a, b in itertools.pairwise(path)]
    return Picture(labels, tuple(pieces), _uncrossed(layers, pieces), frozenset(tracks))


def _uncrossed(layers: Sequence[Sequence[str]], edges: Sequence[Edge]) -> tuple[tuple[str, ...], ...]:
    """Each layer sorted by the mean place of what feeds it."""
    place: dict[str, float] = {}
    done: list[tuple[str, ...]] = []
    for layer in layers:
        feeds = {n: [place[u] + 0.1 * slot for u, v, slot in edges if v == n] for n in layer}
        row = sorted(layer, key=lambda n: sum(feeds[n]) / max(1, len(feeds[n])))
        place.update({n: i - (len(row) - 1) / 2 for i, n in enumerate(row)})
        done.append(tuple(row))
    return tuple(done)


def render(picture: Picture) -> str:
    """Picture -> SVG text."""
    spans = [sum(picture.width(n) for n in row) + COLUMN_GAP * (len(row) - 1) for row in picture.layers]
    width = max(spans) + 2 * MARGIN
    height = len(picture.layers) * (BOX_HEIGHT + LAYER_GAP) - LAYER_GAP + 2 * MARGIN
    centres: dict[str, tuple[float, float]] = {}
    for i, (row, span) in enumerate(zip(picture.layers, spans, strict=True)):
        x = (width - span) / 2
        for node in row:
            centres[node] = (x + picture.width(node) / 2, MARGIN + i * (BOX_HEIGHT + LAYER_GAP) + BOX_HEIGHT / 2)
            x += picture.width(node) + COLUMN_GAP
    lines = [_edge(edge, picture, centres) for edge in picture.edges]
    boxes = [_box(*centres[n], *picture.labels[n]) for n in itertools.chain(*picture.layers) if n in picture.labels]
    title = f"network of {len(picture.labels)} boxes"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="graph" role="img" aria-label="{title}" '
        f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}">{"".join(lines + boxes)}</svg>'
    )


def _edge(edge: Edge, picture: Picture, centres: dict[str, tuple[float, float]]) -> str:
    """A smooth line down; an arrow head where it enters a box, and a straight line along a track."""
    u, v, slot = edge
    inputs = sum(1 for _, other, _ in picture.edges if other == v)
    (x1, y1), (x2, y2) = centres[u], centres[v]
    x2 += 0 if v in picture.tracks else (slot - (inputs - 1) / 2) * 24
    y1 += BOX_HEIGHT / 2
    y2 -= BOX_HEIGHT / 2
    bend = (y2 - y1) / 2
    path = f"M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}"
    if v in picture.tracks:
        return f'<path class="edge" d="{path}v{BOX_HEIGHT}"/>'
    return f'<path class="edge" d="{path}"/><path class="head" d="M{x2 - 4:g} {y2 - 7:g}h8l-4 7z"/>'


def _box(x: float, y: float, name: str, detail: str) -> str:
    left, top = x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2
    kind = name.lower() if name.isalpha() else "more"
    rect = f'<rect class="box {kind}" x="{left:g}" y="{top:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"/>'
    if not detail:
        return rect + f'<text class="name" x="{x:g}" y="{y + 4.5:g}">{escape(name)}</text>'
    return (
        rect + f'<text class="name" x="{x:g}" y="{y - 2.5:g}">{escape(name)}</text>'
        f'<text class="detail" x="{x:g}" y="{y + 12:g}">{escape(detail)}</text>'
    )
