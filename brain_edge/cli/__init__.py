"""The command line: `brain-edge`. Commands parse, call one library function, and print."""

from brain_edge.cli.main import command_line, main

__all__ = ["command_line", "main"]
