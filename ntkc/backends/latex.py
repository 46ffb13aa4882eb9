"""Program  ->  LaTeX."""
from ntkc.ir.graph import Graph
from ntkc.ir.program import Program


def latex_of(graph: Graph, program: Program, get: str) -> str:
    return ""
