"""From what users have (layers, networkx graphs, JSON documents) to a graph."""

from ntkc.frontends.documents import from_json
from ntkc.frontends.graphs import from_networkx
from ntkc.frontends.networks import compile, to_graph, to_json

__all__ = ["compile", "from_json", "from_networkx", "to_graph", "to_json"]
