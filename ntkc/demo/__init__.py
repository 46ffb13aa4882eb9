"""The demonstration: infinitely wide networks on handwritten digits, with a report in HTML."""

from ntkc.demo.console import run_demo

__all__ = ["run_demo"]
