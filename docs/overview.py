"""docs/overview.svg, the picture of the README:  python docs/overview.py"""

from pathlib import Path

import ntkc
from ntkc import stax
from ntkc.demo.drawing import draw
from ntkc.demo.plots import angle_curves, line_plot

STYLE = """
text { font-family: system-ui, sans-serif; fill: #1d2430; text-anchor: middle }
.name { font-size: 12.5px; font-weight: 600 }
.detail, .tick { font-size: 10.5px; fill: #5b6575 } .box { fill: #f6f7f9; stroke: #0b62a8 } .relu { stroke: #c2410c }
.fanout, .faninsum { stroke: #15803d }
.edge, .curve { fill: none; stroke: #5b6575; stroke-width: 1.5 } .head { fill: #5b6575 }
.grid { stroke: #d9dee6; fill: none } .c0 { stroke: #0b62a8 } .c1 { stroke: #c2410c } .c2 { stroke: #15803d }
.c3 { stroke: #7e22ce } .legend { text-anchor: start; font-size: 12px }
"""
DEPTHS = {"c0": 1, "c1": 3, "c2": 10, "c3": 50}


def relu_net(depth: int) -> stax.Layer:
    return stax.serial(*[stax.Dense(512, W_std=2**0.5), stax.Relu()] * depth, stax.Dense(1, W_std=2**0.5))


def residual_net() -> stax.Layer:
    branch = stax.serial(stax.Relu(), stax.Dense(512, W_std=1.2))
    block = stax.serial(stax.FanOut(2), stax.parallel(branch, stax.Identity()), stax.FanInSum())
    return stax.serial(stax.Dense(512), block, stax.Dense(1))


def main() -> None:
    programs = {kind: ntkc.compile(relu_net(depth)) for kind, depth in DEPTHS.items()}
    curves = {kind: angle_curves(program) for kind, program in programs.items()}
    angles = next(iter(curves.values()))[0]
    names = {f"depth {DEPTHS[kind]}": kind for kind in curves}
    plots = [
        line_plot(title, angles, {n: curves[k][i] for n, k in names.items()}, names)
        for i, title in ((1, "NNGP of ReLU networks, K / K(0)"), (2, "NTK of ReLU networks, T / T(0)"))
    ]
    legend = "".join(
        f'<path class="curve {kind}" d="M{440 + 130 * i} 380h26"/>'
        f'<text class="legend" x="{472 + 130 * i}" y="384">{name}</text>'
        for i, (name, kind) in enumerate(names.items())
    )
    graph = draw(ntkc.compile(residual_net()).graph).replace("<svg ", '<svg x="20" y="10" ', 1)
    for i, plot in enumerate(plots):
        graph += plot.replace("<svg ", f'<svg x="{400 + 345 * i}" y="90" width="340" height="230" ', 1)
    style = f"<style>{STYLE}</style><rect width='1080' height='480' fill='white'/>"
    target = Path(__file__).with_name("overview.svg")
    target.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1080 480">{style}{graph}{legend}</svg>\n')
    print(target)


if __name__ == "__main__":
    main()
