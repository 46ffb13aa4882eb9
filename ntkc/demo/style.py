"""The style sheet of the report."""

CSS = """
:root { --ink: #1d2430; --soft: #5b6575; --line: #d9dee6; --paper: #fff; --panel: #f6f7f9; --accent: #0b62a8;
  --c0: #0b62a8; --c1: #c2410c; --c2: #15803d; --c3: #7e22ce; --c4: #a16207; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #9aa5b5; --line: #343c49; --paper: #14181f;
  --panel: #1c222b; --accent: #6cb4f0; --c0: #6cb4f0; --c1: #fb923c; --c2: #4ade80; --c3: #c084fc; --c4: #eab308; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.6 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", Arial, sans-serif; -webkit-text-size-adjust: 100%; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: clamp(1.6rem, 5vw, 2.3rem); line-height: 1.2; margin: 0 0 .6rem; letter-spacing: -.02em; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; letter-spacing: -.01em; }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
p { max-width: 44rem; margin: .5rem 0 1rem; }
.lead { font-size: 1.1rem; color: var(--soft); }
.best { display: inline-block; margin: .2rem 0 0; padding: .5rem .9rem; border-left: 4px solid var(--accent);
  background: var(--panel); border-radius: 0 6px 6px 0; }
.scroll { overflow-x: auto; margin: .6rem 0 1rem; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 2px solid var(--line); }
th, td { padding: .32rem .9rem .32rem 0; }
td { border-bottom: 1px solid var(--line); }
.number { text-align: right; }
tr.top td { font-weight: 650; color: var(--accent); }
.note { font-size: .9rem; color: var(--soft); }
details { border: 1px solid var(--line); border-radius: 8px; margin: .7rem 0; }
summary { cursor: pointer; padding: .6rem 1rem; font-weight: 600; }
summary span { color: var(--soft); font-weight: 400; margin-left: .5rem; }
details > div { padding: 0 1rem 1rem; }
.network { display: grid; grid-template-columns: minmax(0, 16rem) minmax(0, 1fr); gap: 0 2rem; align-items: start; }
@media (max-width: 44rem) { .network { grid-template-columns: minmax(0, 1fr); } }
.graph { display: block; max-width: 100%; height: auto; margin: .6rem auto; }
.graph .box { fill: var(--panel); stroke: var(--line); }
.graph .dense { stroke: var(--c0); }
.graph .relu, .graph .erf { stroke: var(--c1); }
.graph .fanout, .graph .faninsum { stroke: var(--c2); }
.graph .more { fill: none; stroke-dasharray: 3 3; }
.graph .edge { fill: none; stroke: var(--soft); stroke-width: 1.3; }
.graph .head { fill: var(--soft); }
svg text { font-family: inherit; fill: var(--ink); text-anchor: middle; }
svg .name { font-size: 12.5px; font-weight: 600; }
svg .detail, svg .tick { font-size: 10.5px; fill: var(--soft); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 1rem; max-width: 48rem; }
.plot .grid { stroke: var(--line); fill: none; }
.curve { fill: none; stroke-width: 1.8; }
.curve.c0 { stroke: var(--c0); } .curve.c1 { stroke: var(--c1); } .curve.c2 { stroke: var(--c2); }
.curve.c3 { stroke: var(--c3); } .curve.c4 { stroke: var(--c4); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .88rem; padding: 0; list-style: none; }
.legend i { display: inline-block; width: 1.4em; border-top: 3px solid; margin-right: .4em; vertical-align: .25em; }
.legend .c0 { border-color: var(--c0); } .legend .c1 { border-color: var(--c1); }
.legend .c2 { border-color: var(--c2); }
.legend .c3 { border-color: var(--c3); } .legend .c4 { border-color: var(--c4); }
.images { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; font-size: .85rem; text-align: center; color: var(--soft); }
figure img { width: 88px; height: 88px; image-rendering: pixelated; border: 1px solid var(--line); display: block; }
math { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "TeX Gyre DejaVu Math", math; }
.formula { overflow-x: auto; overflow-y: hidden; padding: .3rem 0; }
.formula math { display: block math; text-align: left; width: max-content; font-size: 1.02rem; }
mtable.aligned mtd { padding: .28em 0; text-align: left; }
mtable.aligned mtd:nth-child(odd) { text-align: right; text-align: -webkit-right; }
mtable.aligned mtd:nth-child(even) { padding-right: 1.6em; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; overflow: auto;
  max-height: 34rem; font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
"""
