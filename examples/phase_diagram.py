"""Order and chaos in wide random networks: where (W_std, b_std) let signals through; an argument names an SVG file."""

import sys
from pathlib import Path

import numpy as np

from ntkc import meanfield

WIDTHS, BIASES = np.linspace(0.6, 2.4, 10), (0.05, 0.2, 0.5, 1.0)
SIGNS = {"ordered": ".", "critical": "c", "chaotic": "#"}


def svg(lines: dict[str, list[tuple[float, float]]]) -> str:
    """Critical lines in the plane of W_std (from 0.5 to 2.5) and b_std (from 0 to 1.1), one polyline each."""
    parts = []
    for i, (name, line) in enumerate(lines.items()):
        places = [(240 * (w - 0.5), 330 - 300 * b) for w, b in line]
        colour = ("#1f77b4", "#d62728")[i]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{places[-1][0]:.1f}" y="{places[-1][1] - 6:.1f}" fill="{colour}">{name}</text>')
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 480 340">{"".join(parts)}</svg>\n'


def main() -> None:
    """Tables of the phases of erf and ReLU, the critical line of erf, and the depth scales across it."""
    erf, relu = meanfield("erf(x)"), meanfield("relu(x)")
    print("erf: critical where (W_std, b_std) =", erf.critical_line)
    print("phases of erf, W_std from 0.6 to 2.4 (. ordered, # chaotic):")
    for b in BIASES:
        print(f"  b_std = {b:.2f}  ", "".join(SIGNS[erf.phase(w, b)] for w in WIDTHS))
    line = [(erf.critical_W_std(b), b) for b in np.linspace(0, 1, 6)]
    print("critical line:", ", ".join(f"({w:.4f}, {b:.1f})" for w, b in line))
    for w in (1.0, line[1][0], 1.5):
        scales = erf.depth_scales(w, 0.2)
        print(f"W_std = {w:.4f}, b_std = 0.2: variances settle in {scales[0]:.2f} layers, angles in {scales[1]:.4g}")
    print("ReLU is critical at one point:", relu.critical_line, "and there is", relu.phase(2**0.5))
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(svg({"erf": line}), encoding="utf-8")
        print("written to", sys.argv[1])


if __name__ == "__main__":
    main()
