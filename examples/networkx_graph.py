"""A residual network drawn as a plain networkx graph, and its NTK:  python examples/networkx_graph.py."""

import networkx as nx
import numpy as np

import ntkc


def residual_network() -> nx.DiGraph:
    """x -> Dense -> (x erf(x) -> Dense) + itself -> Relu -> Dense: nodes carry a layer's name and its arguments."""
    graph = nx.DiGraph()
    graph.add_node("pixels", op="Input")
    graph.add_node("stem", op="Dense", out_dim=512, W_std=1.5, b_std=0.1)
    graph.add_node("bend", op="Activation", expr="x*erf(x)")
    graph.add_node("branch", op="Dense", out_dim=512)
    graph.add_node("skip", op="FanInSum")
    graph.add_node("relu", op="Relu")
    graph.add_node("head", op="Dense", out_dim=1)
    nx.add_path(graph, ["pixels", "stem", "bend", "branch", "skip", "relu", "head"])
    graph.add_edge("stem", "skip")
    return graph


def main() -> None:
    """Compile the graph and print its kernels on a few points."""
    program = ntkc.compile(residual_network())
    x = np.random.default_rng(0).normal(size=(4, 10))
    with np.printoptions(precision=4, suppress=True):
        print("NTK of four points:", np.asarray(program(x, None, "ntk")), sep="\n")
        print("NNGP of the same points:", np.asarray(program(x, None, "nngp")), sep="\n")
    print("The same network as JSON has", len(ntkc.to_json(residual_network())["nodes"]), "nodes")


if __name__ == "__main__":
    main()
