"""Program  ->  LaTeX."""

from ntkc.backends.latex.page import latex_of

__all__ = ["latex_of"]
