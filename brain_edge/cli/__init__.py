"""The command line: `brain-edge`. Commands parse, call one library function, and print."""

from brain_edge.cli.main import main

__all__ = ["main"]
