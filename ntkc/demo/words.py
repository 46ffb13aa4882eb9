"""What the console and the page both say of a study."""

from __future__ import annotations

from ntkc.demo.data import Split
from ntkc.demo.study import RIDGES, VALIDATION_SHARE, Score, Study

HEADS = (
    ("architecture", False),
    ("kernel", False),
    ("test %", True),
    ("mean NLL", True),
    ("ridge", True),
    ("noise σ²", True),
    ("compile s", True),
    ("kernels s", True),
    ("solve s", True),
)
"""Columns of the results, and whether they hold numbers."""
CONSOLE_HEADS = (*HEADS[:6], ("seconds", True))


def cells(score: Score) -> tuple[str, ...]:
    """A row under HEADS."""
    seconds = (f"{s:.2f}" for s in (score.compile_seconds, score.kernel_seconds, score.solve_seconds))
    return (
        score.architecture,
        score.kernel,
        score.percent,
        f"{score.loss:.3f}",
        f"{score.ridge:.0e}",
        f"{score.noise:.1e}",
        *seconds,
    )


def best_line(study: Study) -> str:
    """The last line of the demo."""
    best = study.best
    return f"best test accuracy {best.percent} % ({best.architecture}, {best.kernel})"


def split_line(data: Split) -> str:
    return (
        f"{data.name}: {len(data.train.y):,} samples train, {len(data.test.y):,} test, drawn class by class with seed "
        f"{data.seed}; {data.train.x.shape[1]} features, divided by {data.scale:g}, the largest of the training set."
    )


def method() -> str:
    ridges = ", ".join(f"{r:.0e}" for r in RIDGES)
    return (
        f"Targets are one-hot minus 1/classes, predictions the largest mean. The ridge, out of {ridges} times the mean "
        f"diagonal of the kernel, and the scale of the predictive variance are those of the best likelihood on "
        f"{VALIDATION_SHARE:.0%} of the training set, held out for this and given back for the final fit; the test set "
        "chooses neither, though the best row is named by its test accuracy. NLL: negative log "
        "likelihood of the Gaussian predictions, noise σ² included, averaged over test samples and outputs. "
        "Seconds: symbolic compilation; both kernels, with XLA's compilation; all solves. "
        "The first two are shared by the two rows of a network."
    )
