"""Emitted source  ->  a stand-alone module that also predicts."""

from __future__ import annotations

from ntkc.backends.bundle import bundle

FIT = "\n\nfit = predictor(nngp, ntk)\n"


def module_text(source: str) -> str:
    """The source with `fit`, and all that it calls: needs jax only."""
    return bundle(_with_predictor(source))


def _with_predictor(source: str) -> str:
    return (
        source.rstrip("\n").replace(
            "from ntkc.runtime import ", "from ntkc.runtime import predictor\nfrom ntkc.runtime import ", 1
        )
        + FIT
    )
